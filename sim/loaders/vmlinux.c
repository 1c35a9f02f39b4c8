/*
 * ELF64 images, entered by the Linux 64-bit boot protocol: an uncompressed kernel (vmlinux), or any
 * program that expects 64-bit mode, 4 GiB of identity-mapped memory and boot_params at RSI.
 */
#include <errno.h>

#include "sim/loaders/linux.h"

/* What vmlinux, which has no setup header, is known to take. */
#define VMLINUX_INITRD_END   0x80000000ull
#define VMLINUX_CMDLINE_SIZE 2047

bool elf64_matches(const struct load *load)
{
    return elf_is_image(load);
}

int elf64_load(struct load *load)
{
    struct boot_params params = {0};
    struct linux_initrd initrd = {0};
    uint64_t start, end;

    if (!elf_is_image(load) || load->image_size < 5 || load->image[4] != 2)
        return load_fail(load, ENOEXEC,
                         "is no 64-bit ELF image. A 32-bit kernel needs a Multiboot header");
    int error = elf_load_segments(load, &load->entry->rip, &start, &end);
    if (error)
        return error;
    if (load->entry->rip >> 32)
        return load_fail(load, ENOEXEC,
                         "the entry point 0x%llx is above the 4 GiB that are mapped at the start: "
                         "link the image below",
                         (unsigned long long)load->entry->rip);

    params.hdr.boot_flag = LINUX_BOOT_FLAG;
    params.hdr.header = LINUX_HEADER_MAGIC;
    params.hdr.version = 0x020f;
    params.hdr.cmdline_size = VMLINUX_CMDLINE_SIZE;
    load->entry->mode = LOADER_LONG64;
    error = linux_place_boot_params(load, &params, VMLINUX_INITRD_END, &initrd);
    if (!error)
        error = entry_write_tables(load);
    if (!error)
        linux_describe(load, "image", start, &initrd);
    return error;
}
