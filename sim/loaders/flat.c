/* Flat images: raw code that is loaded as it is and entered at its first byte. */
#include <errno.h>
#include <stdio.h>

#include "sim/loaders/internal.h"

#define BOOT_SECTOR_ADDRESS 0x7c00ull
#define BOOT_SECTOR_SIZE    512
#define BOOT_DRIVE          0x80 /* what a BIOS leaves in DL: the first hard disk */
#define HIGH_LOAD_ADDRESS   0x100000ull

bool flat_matches(const struct load *load)
{
    return load->image_size >= BOOT_SECTOR_SIZE && load->image[510] == 0x55 &&
           load->image[511] == 0xaa;
}

/* CS:IP = 0:address in the first 64 KiB, as a BIOS enters boot sectors; address/16:0 above. */
static int enter_real_mode(struct load *load, uint64_t address)
{
    struct loader_entry *entry = load->entry;

    if (address >= FIRMWARE_START || (address > 0xffff && address % 16))
        return load_fail(load, EINVAL,
                         "a 16-bit image cannot start at 0x%llx: choose an address below 64 KiB, "
                         "or a multiple of 16 below 640 KiB",
                         (unsigned long long)address);
    entry->mode = LOADER_REAL16;
    entry->code_selector = address > 0xffff ? address / 16 : 0;
    entry->rip = address - entry->code_selector * 16;
    entry->gpr[GPR_RDX] = BOOT_DRIVE;
    return 0;
}

int flat_load(struct load *load)
{
    const struct loader_options *options = load->options;
    struct loader_entry *entry = load->entry;
    unsigned bits = options->flat_mode ? options->flat_mode : 16;
    uint64_t address = options->flat_address;
    int error = 0;

    if (bits != 16 && bits != 32 && bits != 64)
        return load_fail(load, EINVAL, "a flat image has no %u-bit mode: choose 16, 32 or 64",
                         bits);
    if (!address)
        address = bits == 16 ? BOOT_SECTOR_ADDRESS : HIGH_LOAD_ADDRESS;

    error = layout_claim(load, address, load->image_size, "the flat image");
    if (!error)
        error = guest_write(load, address, load->image, load->image_size);
    if (error)
        return error;

    if (bits == 16) {
        error = enter_real_mode(load, address);
    } else {
        entry->mode = bits == 32 ? LOADER_PROTECTED32 : LOADER_LONG64;
        entry->rip = address;
        error = entry_write_tables(load);
    }
    if (error)
        return error;
    /* As a BIOS does: a stack below the boot sector's place. */
    entry->gpr[GPR_RSP] = BOOT_SECTOR_ADDRESS;
    snprintf(entry->description, sizeof(entry->description),
             "flat image, %zu bytes at 0x%llx, entered in %u-bit mode", load->image_size,
             (unsigned long long)address, bits);
    return 0;
}
