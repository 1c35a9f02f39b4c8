/*
 * Multiboot 1 (Multiboot Specification version 0.6.96): kernels that are entered in 32-bit
 * protected mode with EBX at a structure that tells memory, command line and modules. The image is
 * ELF, or says its addresses itself in the header ("a.out kludge").
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "models/platform.h"
#include "sim/loaders/internal.h"

#define HEADER_SEARCH 8192
#define HEADER_MAGIC  0x1badb002u
#define ENTRY_MAGIC   0x2badb002u

/* Header flags. */
#define WANTS_PAGE_ALIGNMENT (1u << 0)
#define WANTS_MEMORY_INFO    (1u << 1)
#define WANTS_VIDEO_MODE     (1u << 2)
#define MUST_UNDERSTAND      0xffffu
#define HAS_ADDRESSES        (1u << 16)

/* Information flags. */
#define INFO_MEMORY       (1u << 0)
#define INFO_COMMAND_LINE (1u << 2)
#define INFO_MODULES      (1u << 3)
#define INFO_MEMORY_MAP   (1u << 6)
#define INFO_LOADER_NAME  (1u << 9)

#define MAP_AVAILABLE 1
#define MAP_RESERVED  2
#define MODULES_MAX   16

struct multiboot_header {
    uint32_t magic, flags, checksum;
    uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* HAS_ADDRESSES */
};

struct multiboot_info {
    uint32_t flags;
    uint32_t mem_lower, mem_upper; /* KiB from 0 and from 1 MiB */
    uint32_t boot_device;
    uint32_t cmdline;
    uint32_t mods_count, mods_addr;
    uint32_t syms[4];
    uint32_t mmap_length, mmap_addr;
    uint32_t drives_length, drives_addr;
    uint32_t config_table;
    uint32_t boot_loader_name;
    uint32_t apm_table;
};

struct multiboot_module {
    uint32_t start, end; /* end: the first byte after it */
    uint32_t string;
    uint32_t reserved;
};

struct multiboot_map {
    uint32_t size; /* of what follows */
    uint64_t start, length;
    uint32_t type;
} __attribute__((packed));

/* The header's place in the image, or -1. */
static long find_header(const struct load *load, struct multiboot_header *header)
{
    size_t end = load->image_size < HEADER_SEARCH ? load->image_size : HEADER_SEARCH;

    for (size_t at = 0; at + offsetof(struct multiboot_header, header_addr) <= end; at += 4) {
        size_t size = end - at < sizeof(*header) ? end - at : sizeof(*header);
        memset(header, 0, sizeof(*header));
        memcpy(header, load->image + at, size);
        if (header->magic == HEADER_MAGIC && header->magic + header->flags + header->checksum == 0)
            return at;
    }
    return -1;
}

bool multiboot_matches(const struct load *load)
{
    struct multiboot_header header;

    return find_header(load, &header) >= 0;
}

/* The header's own addresses instead of an executable format's. */
static int load_by_addresses(struct load *load, const struct multiboot_header *header, size_t at,
                             uint64_t *entry)
{
    uint64_t into_image = (uint64_t)header->header_addr - header->load_addr;
    uint64_t size, memory;

    if (header->header_addr < header->load_addr || into_image > at)
        return load_fail(load, ENOEXEC,
                         "the Multiboot header's load address 0x%x does not fit its own address "
                         "0x%x and place in the file: the header is wrong",
                         header->load_addr, header->header_addr);
    uint64_t offset = at - into_image;
    size = header->load_end_addr ? (uint64_t)header->load_end_addr - header->load_addr
                                 : load->image_size - offset;
    if (header->load_end_addr && header->load_end_addr < header->load_addr)
        return load_fail(load, ENOEXEC, "the Multiboot header's load end is below its start");
    if (size > load->image_size - offset)
        return load_fail(
            load, ENOEXEC,
            "the Multiboot header names 0x%llx bytes to load, the file has 0x%llx: the "
            "image is truncated",
            (unsigned long long)size, (unsigned long long)load->image_size - offset);
    memory = header->bss_end_addr > header->load_addr + size
                 ? (uint64_t)header->bss_end_addr - header->load_addr
                 : size;
    if (header->entry_addr - (uint64_t)header->load_addr >= memory)
        return load_fail(load, ENOEXEC, "the Multiboot header's entry point 0x%x is outside of it",
                         header->entry_addr);
    *entry = header->entry_addr;
    int error = layout_claim(load, header->load_addr, memory, "the image");
    return error ? error : guest_write(load, header->load_addr, load->image + offset, size);
}

static int load_image(struct load *load, uint64_t *entry)
{
    struct multiboot_header header;
    long at = find_header(load, &header);
    uint64_t start, end;

    if (at < 0)
        return load_fail(load, ENOEXEC, "has no Multiboot header in its first %d bytes",
                         HEADER_SEARCH);
    if (header.flags & WANTS_VIDEO_MODE)
        return load_fail(load, ENOEXEC,
                         "asks for a video mode, and there is no display: clear bit 2 of the "
                         "Multiboot header's flags");
    if (header.flags & MUST_UNDERSTAND & ~(WANTS_PAGE_ALIGNMENT | WANTS_MEMORY_INFO))
        return load_fail(load, ENOEXEC,
                         "the Multiboot header's flags 0x%x ask for what the specification does "
                         "not define",
                         header.flags);
    if (header.flags & HAS_ADDRESSES)
        return load_by_addresses(load, &header, at, entry);
    if (!elf_is_image(load))
        return load_fail(load, ENOEXEC,
                         "has a Multiboot header without addresses (flag bit 16) and is no ELF "
                         "image: link it as ELF");
    int error = elf_load_segments(load, entry, &start, &end);
    if (!error && (*entry >> 32 || end > PLATFORM_LOW_RAM_END))
        error = load_fail(load, ENOEXEC,
                          "lies above 3 GiB, which 32-bit code without paging cannot use: link it "
                          "below");
    return error;
}

/* "FILE WORDS" */
static int place_string(struct load *load, const char *file, const char *words, const char *what,
                        uint32_t *address)
{
    char text[2 * COMMAND_LINE_MAX];
    uint64_t place;
    int length = snprintf(text, sizeof(text), "%s%s%s", file, words && *words ? " " : "",
                          words ? words : "");

    if (length < 0 || (size_t)length >= sizeof(text))
        return load_fail(load, EINVAL, "%s is longer than %zu bytes: shorten it", what,
                         sizeof(text) - 1);
    int error = layout_place_low(load, text, length + 1, what, &place);
    *address = place;
    return error;
}

/* Modules go as high as possible, out of the way of an image that grows upwards. */
static int place_module(struct load *load, const struct loader_module *module,
                        struct multiboot_module *info)
{
    struct contents contents;
    int error = contents_read(load, &module->file, &contents);

    if (error)
        return error;
    uint64_t address =
        layout_find(load, contents.size, 4096, FIRMWARE_END, PLATFORM_LOW_RAM_END, "a module");
    if (address == UINT64_MAX)
        error = load_fail(load, ENOSPC,
                          "no room for the module %s (%zu KiB) beside the image: give the guest "
                          "more memory with --memory",
                          module->file.name, contents.size >> 10);
    else
        error = guest_write(load, address, contents.data, contents.size);
    info->start = address;
    info->end = address + contents.size;
    contents_release(&contents);
    return error ? error
                 : place_string(load, module->file.name ? module->file.name : "module",
                                module->arguments, "a module's command line", &info->string);
}

static int place_modules(struct load *load, struct multiboot_info *info)
{
    const struct loader_options *options = load->options;
    struct loader_module initrd = {.file = options->initrd};
    struct multiboot_module modules[MODULES_MAX] = {0};
    unsigned count = 0;
    uint64_t address;
    int error = 0;

    if (options->module_count + (options->initrd.name ? 1 : 0) > MODULES_MAX)
        return load_fail(load, EINVAL, "more than %d modules are named", MODULES_MAX);
    if (options->initrd.name)
        error = place_module(load, &initrd, &modules[count++]);
    for (unsigned i = 0; i < options->module_count && !error; i++)
        error = place_module(load, &options->modules[i], &modules[count++]);
    if (error || !count)
        return error;

    error =
        layout_place_low(load, modules, count * sizeof(modules[0]), "the module list", &address);
    info->flags |= INFO_MODULES;
    info->mods_count = count;
    info->mods_addr = address;
    return error;
}

static int place_memory_map(struct load *load, struct multiboot_info *info)
{
    const struct {
        uint64_t start, end;
        uint32_t type;
    } ranges[] = {
        {0, LOW_MEMORY_END, MAP_AVAILABLE},
        {LOW_MEMORY_END, FIRMWARE_START, MAP_RESERVED},
        {0xe0000, FIRMWARE_END, MAP_RESERVED},
        {FIRMWARE_END, ram_low_end(load), MAP_AVAILABLE},
        {PLATFORM_HIGH_RAM_BASE, ram_high_end(load), MAP_AVAILABLE},
    };
    struct multiboot_map map[sizeof(ranges) / sizeof(ranges[0])];
    unsigned count = 0;
    uint64_t address;

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (ranges[i].end > ranges[i].start)
            map[count++] = (struct multiboot_map){
                .size = sizeof(map[0]) - sizeof(map[0].size),
                .start = ranges[i].start,
                .length = ranges[i].end - ranges[i].start,
                .type = ranges[i].type,
            };
    int error = layout_place_low(load, map, count * sizeof(map[0]), "the memory map", &address);
    info->flags |= INFO_MEMORY | INFO_MEMORY_MAP;
    info->mem_lower = LOW_MEMORY_END >> 10;
    info->mem_upper =
        ram_low_end(load) > FIRMWARE_END ? (ram_low_end(load) - FIRMWARE_END) >> 10 : 0;
    info->mmap_length = count * sizeof(map[0]);
    info->mmap_addr = address;
    return error;
}

int multiboot_load(struct load *load)
{
    struct loader_entry *entry = load->entry;
    struct multiboot_info info = {.flags = INFO_COMMAND_LINE | INFO_LOADER_NAME};
    int error = load_image(load, &entry->rip);

    if (!error)
        error = place_modules(load, &info);
    if (!error)
        error = place_memory_map(load, &info);
    if (!error)
        error = place_string(load, load->name, load->options->arguments, "the command line",
                             &info.cmdline);
    if (!error)
        error = place_string(load, "vtxsim", NULL, "the loader's name", &info.boot_loader_name);
    if (!error)
        error = layout_place_low(load, &info, sizeof(info), "the Multiboot information",
                                 &entry->gpr[GPR_RBX]);
    if (error)
        return error;

    entry->mode = LOADER_PROTECTED32;
    entry->gpr[GPR_RAX] = ENTRY_MAGIC;
    snprintf(entry->description, sizeof(entry->description),
             "Multiboot, entry 0x%llx, %u modules, information at 0x%llx",
             (unsigned long long)entry->rip, info.mods_count,
             (unsigned long long)entry->gpr[GPR_RBX]);
    return entry_write_tables(load);
}
