/*
 * Small images of every format, and guest memory that notices each write outside RAM, for the
 * suites of the loaders.
 */
#ifndef VTXSIM_TESTS_SIM_IMAGES_H
#define VTXSIM_TESTS_SIM_IMAGES_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "sim/loaders/loader.h"

#define MIB        (1ull << 20)
#define GIB        (1ull << 30)
#define IMAGE_SIZE 0x3000

/* ---- guest memory ---- */

static uint8_t *memory; /* guest-physical 0 to 6 GiB, sparse */
static unsigned bad_writes;

static int write_memory(void *context, uint64_t gpa, const void *data, size_t size)
{
    uint64_t ram = *(uint64_t *)context;
    uint64_t low = ram < 3 * GIB ? ram : 3 * GIB, high = 4 * GIB + ram - low;

    if (!((gpa <= low && size <= low - gpa) ||
          (gpa >= 4 * GIB && gpa <= high && size <= high - gpa))) {
        bad_writes++;
        return -EFAULT;
    }
    memcpy(memory + gpa, data, size);
    return 0;
}

static void make_memory(void)
{
    memory = mmap(NULL, 6 * GIB, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert(ne(ptr, memory, MAP_FAILED));
    bad_writes = 0;
}

static char message[512];
static struct loader_entry entry;

static int load(const struct loader_options *options, uint64_t ram)
{
    struct loader_target target = {&ram, ram, write_memory};

    message[0] = '\0';
    return loader_load(options, &target, &entry, message, sizeof(message));
}

/* ---- images ---- */

static void put_le(uint8_t *at, uint64_t value, unsigned size)
{
    memcpy(at, &value, size);
}

/* ELF with a segment at 2 MiB (0x1000 bytes of it in the file, from 0x1000 on) and one at 4 MiB. */
static void make_elf64(uint8_t *image)
{
    Elf64_Ehdr header = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = 0xffffffff80000010,
        .e_phoff = sizeof(header),
        .e_ehsize = sizeof(header),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2,
    };
    Elf64_Phdr segments[2] = {
        {PT_LOAD, PF_R | PF_X, 0x1000, 0xffffffff80000000, 2 * MIB, 0x1000, 0x8000, 0x1000},
        {PT_LOAD, PF_R | PF_W, 0x2000, 0xffffffff80200000, 4 * MIB, 0x1000, 0x1000, 0x1000},
    };

    memset(image, 0, IMAGE_SIZE);
    memcpy(image, &header, sizeof(header));
    memcpy(image + sizeof(header), segments, sizeof(segments));
    memset(image + 0x1000, 0xa1, 0x1000);
    memset(image + 0x2000, 0xa2, 0x1000);
}

/* Multiboot in ELF32, as kvm-unit-tests has it: header without addresses, 64-bit code inside. */
static void make_multiboot_elf(uint8_t *image)
{
    Elf32_Ehdr header = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_386,
        .e_version = EV_CURRENT,
        .e_entry = 0x400100,
        .e_phoff = sizeof(header),
        .e_ehsize = sizeof(header),
        .e_phentsize = sizeof(Elf32_Phdr),
        .e_phnum = 2,
    };
    Elf32_Phdr segments[2] = {
        {PT_LOAD, 0x100, 0x4000b0, 0x4000b0, 0x1f00, 0x1f00, PF_R | PF_X, 4},
        {PT_LOAD, 0x2000, 0x422000, 0x422000, 0x1000, 0xc00000, PF_R | PF_W, 0x1000},
    };

    memset(image, 0, IMAGE_SIZE);
    memcpy(image, &header, sizeof(header));
    memcpy(image + sizeof(header), segments, sizeof(segments));
    memset(image + 0x100, 0xb1, 0x1f00);
    memset(image + 0x2000, 0xb2, 0x1000);
    put_le(image + 0x200, 0x1badb002, 4);
    put_le(image + 0x204, 0, 4);
    put_le(image + 0x208, -0x1badb002u, 4);
}

/* Multiboot with addresses in the header, which is at 0x100: file offset 0 goes to 1 MiB. */
static void make_multiboot_flat(uint8_t *image)
{
    uint32_t header[] = {0x1badb002, 0x10003,  -(0x1badb002u + 0x10003),
                         0x100100,   0x100000, 0x102000,
                         0x180000,   0x100120};

    memset(image, 0xc1, IMAGE_SIZE);
    memcpy(image + 0x100, header, sizeof(header));
}

/* A bzImage of protocol 2.15 with 0x2800 - 16 bytes of code after four setup sectors. */
static void make_bzimage(uint8_t *image)
{
    static const struct {
        uint16_t offset;
        uint8_t size;
        uint64_t value;
    } fields[] = {
        {0x1f1, 1, 3},          /* setup_sects */
        {0x1f4, 4, 0x280 - 1},  /* syssize, in paragraphs */
        {0x1fe, 2, 0xaa55},     /* boot_flag */
        {0x200, 2, 0x6aeb},     /* jump: the header ends at 0x26c */
        {0x202, 4, 0x53726448}, /* header */
        {0x206, 2, 0x020f},     /* version */
        {0x20e, 2, 0x0100},     /* kernel_version, from 0x200 on */
        {0x211, 1, 1},          /* loadflags: LOADED_HIGH */
        {0x214, 4, 0x100000},   /* code32_start */
        {0x22c, 4, 0x7fffffff}, /* initrd_addr_max */
        {0x230, 4, 0x200000},   /* kernel_alignment */
        {0x234, 1, 1},          /* relocatable_kernel */
        {0x236, 2, 3},          /* xloadflags: 64-bit entry, may lie above 4 GiB */
        {0x238, 4, 100},        /* cmdline_size */
        {0x258, 8, 0x1000000},  /* pref_address */
        {0x260, 4, 0x800000},   /* init_size */
    };

    memset(image, 0xd1, IMAGE_SIZE);
    memset(image + 0x1f1, 0, 0x26c - 0x1f1);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        put_le(image + fields[i].offset, fields[i].value, fields[i].size);
    strcpy((char *)image + 0x300, "6.1.0-test (somebody@somewhere)");
}

/* A boot sector, and code behind it. */
static void make_boot_sector(uint8_t *image)
{
    memset(image, 0xe1, IMAGE_SIZE);
    put_le(image + 510, 0xaa55, 2);
}

static const struct {
    const char *name;
    void (*make)(uint8_t *image);
    enum loader_format format;
} kinds[] = {
    {"elf64", make_elf64, LOADER_ELF64},
    {"multiboot elf", make_multiboot_elf, LOADER_MULTIBOOT},
    {"multiboot flat", make_multiboot_flat, LOADER_MULTIBOOT},
    {"bzimage", make_bzimage, LOADER_BZIMAGE},
    {"boot sector", make_boot_sector, LOADER_FLAT},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static uint8_t image[IMAGE_SIZE];
static const uint8_t initrd[] = "the initial RAM disk, which is no multiple of a page";

static struct loader_options options_for(const char *name)
{
    return (struct loader_options){.image = {name, image, sizeof(image)}};
}

static struct loader_options linux_options(const char *name)
{
    struct loader_options options = options_for(name);

    options.initrd = (struct loader_file){"initrd", initrd, sizeof(initrd)};
    options.arguments = "console=ttyS0 quiet";
    options.acpi_rsdp = 0xe1230;
    options.seed = 1;
    return options;
}

#endif
