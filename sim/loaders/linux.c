#include "sim/loaders/linux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "models/platform.h"

#define E820_RAM      1
#define E820_RESERVED 2

/* Protocol versions in which fields appeared. */
#define VERSION_SETUP_DATA 0x0209

static void e820_add(struct boot_params *params, uint64_t start, uint64_t end, uint32_t type)
{
    if (end > start)
        params->e820_table[params->e820_entries++] =
            (struct boot_e820_entry){.addr = start, .size = end - start, .type = type};
}

static void fill_e820(const struct load *load, struct boot_params *params)
{
    e820_add(params, 0, LOW_MEMORY_END, E820_RAM);
    e820_add(params, LOW_MEMORY_END, FIRMWARE_START, E820_RESERVED);
    e820_add(params, 0xe0000, FIRMWARE_END, E820_RESERVED);
    e820_add(params, FIRMWARE_END, ram_low_end(load), E820_RAM);
    e820_add(params, PLATFORM_HIGH_RAM_BASE, ram_high_end(load), E820_RAM);
}

static int place_initrd(struct load *load, struct boot_params *params, uint64_t initrd_end,
                        struct linux_initrd *initrd)
{
    const struct loader_file *file = &load->options->initrd;
    struct contents contents;
    int error = contents_read(load, file, &contents);

    if (error)
        return error;
    initrd->size = contents.size;
    initrd->address =
        layout_find(load, contents.size, 4096, FIRMWARE_END, initrd_end, "the initrd");
    if (initrd->address == UINT64_MAX)
        error =
            load_fail(load, ENOSPC,
                      "no room for the initrd %s (%zu KiB) beside the kernel below 0x%llx: give "
                      "the guest more memory with --memory",
                      file->name, contents.size >> 10, (unsigned long long)initrd_end);
    else
        error = guest_write(load, initrd->address, contents.data, contents.size);
    contents_release(&contents);
    params->hdr.ramdisk_image = initrd->address;
    params->hdr.ramdisk_size = initrd->size;
    return error;
}

static int place_command_line(struct load *load, struct boot_params *params)
{
    const char *text = load->options->arguments ? load->options->arguments : "";
    size_t length = strlen(text);
    uint64_t address;

    if (length > params->hdr.cmdline_size)
        return load_fail(load, EINVAL,
                         "the command line has %zu bytes, this kernel takes %u: shorten --append",
                         length, params->hdr.cmdline_size);
    int error = layout_place_low(load, text, length + 1, "the command line", &address);
    params->hdr.cmd_line_ptr = address;
    return error;
}

/* SplitMix64: spreads a seed of few bits over as many words as wanted. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static int place_random_seed(struct load *load, struct boot_params *params)
{
    struct {
        struct setup_data head;
        uint64_t seed[4];
    } node = {.head = {.type = SETUP_RNG_SEED, .len = sizeof(node.seed)}};
    uint64_t state = load->options->seed, address;

    if (params->hdr.version < VERSION_SETUP_DATA)
        return 0;
    for (size_t i = 0; i < sizeof(node.seed) / sizeof(node.seed[0]); i++)
        node.seed[i] = next_random(&state);
    int error = layout_place_low(load, &node, sizeof(node), "the random seed", &address);
    params->hdr.setup_data = address;
    return error;
}

int linux_place_boot_params(struct load *load, struct boot_params *params, uint64_t initrd_end,
                            struct linux_initrd *initrd)
{
    int error = 0;

    params->hdr.type_of_loader = LINUX_LOADER_OTHER;
    params->acpi_rsdp_addr = load->options->acpi_rsdp;
    fill_e820(load, params);
    if (load->options->initrd.name)
        error = place_initrd(load, params, initrd_end, initrd);
    if (!error)
        error = place_command_line(load, params);
    if (!error)
        error = place_random_seed(load, params);
    if (!error)
        error = layout_place_low(load, params, sizeof(*params), "the boot parameters",
                                 &load->entry->gpr[GPR_RSI]);
    return error;
}

void linux_describe(struct load *load, const char *version, uint64_t start,
                    const struct linux_initrd *initrd)
{
    struct loader_entry *entry = load->entry;
    char where[48] = "no initrd";

    if (initrd->size)
        snprintf(where, sizeof(where), "initrd at 0x%llx (%llu KiB)",
                 (unsigned long long)initrd->address, (unsigned long long)initrd->size >> 10);
    snprintf(entry->description, sizeof(entry->description),
             "%s, %s at 0x%llx, entry 0x%llx (%s), %s", loader_format_name(entry->format), version,
             (unsigned long long)start, (unsigned long long)entry->rip,
             entry->mode == LOADER_LONG64 ? "64-bit" : "32-bit", where);
}
