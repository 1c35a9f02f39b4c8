/* The Linux/x86 boot protocol: what bzImage and vmlinux have in common. */
#ifndef VTXSIM_SIM_LOADERS_LINUX_H
#define VTXSIM_SIM_LOADERS_LINUX_H

#include <asm/bootparam.h>

#include "sim/loaders/internal.h"

#define LINUX_HEADER_MAGIC 0x53726448 /* "HdrS" */
#define LINUX_BOOT_FLAG    0xaa55
#define LINUX_LOADER_OTHER 0xff /* type_of_loader without an assigned number */

/* Where the initrd went; size 0: there is none. */
struct linux_initrd {
    uint64_t address, size;
};

/*
 * Completes params, of which hdr is that of the image: initrd (no byte at or above initrd_end),
 * command line (of at most hdr.cmdline_size bytes), memory map, RSDP, random seed. Places all of
 * it, and sets RSI to the address of params.
 */
int linux_place_boot_params(struct load *load, struct boot_params *params, uint64_t initrd_end,
                            struct linux_initrd *initrd);

/* Sets entry->description: "Linux 6.1.0 (bzImage) at 0x1000000, entry ..." */
void linux_describe(struct load *load, const char *version, uint64_t start,
                    const struct linux_initrd *initrd);

#endif
