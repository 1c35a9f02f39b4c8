/*
 * bzImage: the compressed Linux kernel. Its own code decompresses it and chooses the address that
 * it runs at (KASLR); the loader follows the boot protocol of the kernel's documentation
 * (Documentation/arch/x86/boot.rst), in which all field names below are defined.
 */
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "sim/loaders/linux.h"

#define HEADER_START  offsetof(struct boot_params, hdr)
#define HEADER_MAGIC  0x202
#define HEADER_LENGTH 0x201 /* byte: where the header ends, from HEADER_MAGIC on */
#define SECTOR        512u
#define ENTRY64       0x200 /* from the start of the protected-mode code */

/* Protocol versions in which fields appeared. */
#define VERSION_CMDLINE_SIZE 0x0206
#define VERSION_INIT_SIZE    0x020a
#define VERSION_XLOADFLAGS   0x020c

bool bzimage_matches(const struct load *load)
{
    uint16_t boot_flag;

    if (load->image_size < HEADER_MAGIC + 4 || memcmp(load->image + HEADER_MAGIC, "HdrS", 4))
        return false;
    memcpy(&boot_flag, load->image + HEADER_START + offsetof(struct setup_header, boot_flag), 2);
    return boot_flag == LINUX_BOOT_FLAG;
}

/* The header proper, zero where this kernel's is shorter than ours. */
static int read_header(struct load *load, struct setup_header *header)
{
    size_t end = HEADER_MAGIC + load->image[HEADER_LENGTH];
    size_t size = end - HEADER_START;

    if (end > load->image_size)
        return load_fail(load, ENOEXEC, "ends inside the setup header: the image is truncated");
    if (size > sizeof(*header))
        size = sizeof(*header);
    memset(header, 0, sizeof(*header));
    memcpy(header, load->image + HEADER_START, size);

    if (header->version < VERSION_CMDLINE_SIZE)
        return load_fail(load, ENOEXEC,
                         "speaks boot protocol %u.%02u, at least 2.06 (Linux 2.6.22) is needed",
                         header->version >> 8, header->version & 0xff);
    if (!(header->loadflags & LOADED_HIGH))
        return load_fail(load, ENOEXEC, "is a zImage, which loads below 640 KiB: build a bzImage");
    return 0;
}

/* The protected-mode code: where it begins in the file, and its size. */
static int find_code(struct load *load, const struct setup_header *header, size_t *offset,
                     size_t *size)
{
    unsigned sectors = header->setup_sects ? header->setup_sects : 4;

    *offset = (sectors + 1) * SECTOR;
    *size = (size_t)header->syssize * 16;
    if (*size <= ENTRY64)
        return load_fail(load, ENOEXEC, "the setup header names %zu bytes of code: it is damaged",
                         *size);
    /* syssize is rounded up; what follows the code is a signature. */
    if (*offset > load->image_size || load->image_size - *offset + 15 < *size)
        return load_fail(load, ENOEXEC,
                         "should have %zu bytes by its setup header, but has %zu: the image is "
                         "truncated, get it again",
                         *offset + *size, load->image_size);
    if (*size > load->image_size - *offset)
        *size = load->image_size - *offset;
    return 0;
}

/* A relocatable kernel goes where it prefers to be, others to where they were built for. */
static uint64_t load_address(const struct setup_header *header)
{
    if (header->version >= VERSION_INIT_SIZE && header->relocatable_kernel)
        return header->pref_address;
    return header->code32_start;
}

static int load_code(struct load *load, struct setup_header *header)
{
    size_t offset, size;
    uint64_t address = load_address(header);
    int error = find_code(load, header, &offset, &size);

    if (error)
        return error;
    if (address < FIRMWARE_END || address >> 32)
        return load_fail(load, ENOEXEC,
                         "the setup header asks for load address 0x%llx, not between 1 MiB and "
                         "4 GiB: it is damaged",
                         (unsigned long long)address);
    /* init_size covers the kernel after decompression too. */
    uint64_t needed = header->version >= VERSION_INIT_SIZE ? header->init_size : 0;
    if (needed < size)
        needed = size;
    error = layout_claim(load, address, needed, "the kernel with its room to decompress");
    header->code32_start = address;
    return error ? error : guest_write(load, address, load->image + offset, size);
}

static void set_entry(struct load *load, const struct setup_header *header)
{
    struct loader_entry *entry = load->entry;
    bool has64 = header->version >= VERSION_XLOADFLAGS && (header->xloadflags & XLF_KERNEL_64);

    entry->mode = has64 && !load->options->linux_entry32 ? LOADER_LONG64 : LOADER_PROTECTED32;
    entry->rip = header->code32_start + (entry->mode == LOADER_LONG64 ? ENTRY64 : 0);
}

/* "Linux 6.1.0-37-amd64", as far as the text is printable; "Linux" without one. */
static void read_version(const struct load *load, const struct setup_header *header, char *version,
                         size_t size)
{
    size_t used = snprintf(version, size, "Linux ");
    size_t at = header->kernel_version + (size_t)SECTOR;

    while (header->kernel_version && at < load->image_size && used < size - 1 &&
           isgraph(load->image[at]))
        version[used++] = load->image[at++];
    while (version[used - 1] == ' ')
        used--;
    version[used] = '\0';
}

int bzimage_load(struct load *load)
{
    struct boot_params params = {0};
    struct linux_initrd initrd = {0};
    char version[48];

    if (!bzimage_matches(load))
        return load_fail(load, ENOEXEC, "is no bzImage: it has no setup header");
    int error = read_header(load, &params.hdr);
    if (!error)
        error = load_code(load, &params.hdr);
    if (error)
        return error;
    set_entry(load, &params.hdr);
    error = linux_place_boot_params(load, &params, params.hdr.initrd_addr_max + 1ull, &initrd);
    if (!error)
        error = entry_write_tables(load);
    if (error)
        return error;
    read_version(load, &params.hdr, version, sizeof(version));
    linux_describe(load, version, params.hdr.code32_start, &initrd);
    return 0;
}
