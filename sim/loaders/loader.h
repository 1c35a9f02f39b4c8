/*
 * Image loaders: from a file to guest memory and the processor state that the image starts with.
 *
 * The format is told by content, in this order: Linux bzImage, Multiboot 1 (header in the first
 * 8 KiB), ELF64 (entered by the Linux 64-bit boot protocol), boot sector (0xaa55 at byte 510). Any
 * other content is a flat image, which is loaded only when the caller says its mode.
 *
 * What a loader puts besides the image (boot parameters, command line, page tables, GDT) lies below
 * 640 KiB; 0xa0000-0xfffff is left to the firmware's tables.
 */
#ifndef VTXSIM_SIM_LOADERS_LOADER_H
#define VTXSIM_SIM_LOADERS_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/state.h"

enum loader_format {
    LOADER_AUTO,
    LOADER_FLAT,
    LOADER_MULTIBOOT,
    LOADER_ELF64,
    LOADER_BZIMAGE,
};

enum loader_mode {
    LOADER_REAL16,      /* real-address mode */
    LOADER_PROTECTED32, /* protected mode, flat segments, paging off */
    LOADER_LONG64,      /* 64-bit mode, 4 GiB mapped at its own address */
};

/* A file: read from the path `name`, unless data is given (then name only appears in messages). */
struct loader_file {
    const char *name;
    const void *data; /* borrowed; NULL: read the file */
    size_t size;
};

struct loader_module {
    struct loader_file file;
    const char *arguments; /* words after the name on the module's command line; may be NULL */
};

/* What to load. Zero or NULL is the default everywhere but in image. All pointers are borrowed. */
struct loader_options {
    enum loader_format format;
    struct loader_file image;
    const char
        *arguments; /* command line: of Linux as it is, of Multiboot after the image's name */

    struct loader_file initrd;           /* Linux: initial RAM disk; Multiboot: module 0 */
    const struct loader_module *modules; /* Multiboot */
    unsigned module_count;

    unsigned flat_mode;    /* 16, 32 or 64; 0: 16 for a boot sector, else the image is refused */
    uint64_t flat_address; /* load address; 0: 0x7c00 for 16-bit, 1 MiB for 32- and 64-bit images */
    bool linux_entry32;    /* enter a bzImage by the 32-bit boot protocol */

    uint64_t seed;      /* of the random numbers that Linux is given (SETUP_RNG_SEED) */
    uint64_t acpi_rsdp; /* guest-physical address; 0: none */
};

/* Guest memory as a loader sees it: zeroed RAM at [0, 3 GiB) and from 4 GiB (models/platform.h). */
struct loader_target {
    void *context;
    uint64_t ram_size; /* bytes */
    /* Writes within RAM. Returns 0 or -errno. */
    int (*write)(void *context, uint64_t gpa, const void *data, size_t size);
};

/* How the image starts; the table below gives what is not here. */
struct loader_entry {
    enum loader_format format;
    enum loader_mode mode;
    uint64_t rip; /* real mode: offset in the segment */
    uint64_t gpr[GPR_COUNT];
    uint16_t code_selector, data_selector; /* real mode: base = selector * 16 */
    uint64_t cr3;                          /* 64-bit mode */
    struct descriptor_table gdtr;
    char description[160]; /* one line for the log: what was loaded where */
};

/*
 * Loads an image. Returns 0, or -errno with a message that names file, cause and remedy: -ENOENT
 * and other errors of reading, -ENOEXEC for malformed or unknown images, -ENOSPC when it does not
 * fit into guest memory, -EINVAL for options that contradict the image, or target->write's error.
 * After an error guest memory may be partly written.
 */
int loader_load(const struct loader_options *options, const struct loader_target *target,
                struct loader_entry *entry, char *message, size_t size);

/*
 * Sets general-purpose registers, RIP, RFLAGS, segment and descriptor-table registers, CR0, CR3,
 * CR4 and EFER; the rest of state, normally as after RESET, is left alone.
 */
void loader_entry_to_state(const struct loader_entry *entry, struct cpu_state *state);

/* "bzImage", "Multiboot", ... */
const char *loader_format_name(enum loader_format format);

#endif
