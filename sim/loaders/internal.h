/* What the loaders share: the load in progress, its memory layout, messages. */
#ifndef VTXSIM_SIM_LOADERS_INTERNAL_H
#define VTXSIM_SIM_LOADERS_INTERNAL_H

#include "sim/loaders/loader.h"

/* Ends of the ranges that a PC leaves to software below 1 MiB. */
#define LOW_MEMORY_START 0x500ull   /* above the real-mode vectors and the BIOS data area */
#define LOW_MEMORY_END   0x9f000ull /* below the extended BIOS data area */
#define FIRMWARE_START   0xa0000ull /* video memory, option ROMs, ACPI tables */
#define FIRMWARE_END     0x100000ull

/* Command lines and their terminating zero; the longest that a loader passes on. */
#define COMMAND_LINE_MAX 4096

/* A range of guest-physical memory in use, half-open. */
struct claim {
    uint64_t start, end;
    const char *what; /* "the kernel"; a string literal */
};

struct load {
    const struct loader_options *options;
    const struct loader_target *target;
    struct loader_entry *entry;
    const char *name; /* of the image */
    const uint8_t *image;
    size_t image_size;

    struct claim claim[64];
    unsigned claims;

    char *message;
    size_t message_size;
};

/* Writes the message "NAME: ..." and returns the negative errno `error`. */
int load_fail(struct load *load, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The bytes of a file: `owned` is to be freed. */
struct contents {
    const uint8_t *data;
    size_t size;
    void *owned;
};
int contents_read(struct load *load, const struct loader_file *file, struct contents *contents);
void contents_release(struct contents *contents);

/* Ends of RAM below and above the PCI hole; high RAM is empty if both are 4 GiB. */
uint64_t ram_low_end(const struct load *load);
uint64_t ram_high_end(const struct load *load);

/* Takes [start, start + size) for `what`; fails with a message where it is not free RAM. */
int layout_claim(struct load *load, uint64_t start, uint64_t size, const char *what);
/*
 * Takes the highest free range of that size and alignment (a power of two) inside [min, max).
 * Returns its start, or UINT64_MAX (no message) if there is none.
 */
uint64_t layout_find(struct load *load, uint64_t size, uint64_t alignment, uint64_t min,
                     uint64_t max, const char *what);
/* layout_find in the memory below 640 KiB, then writes data there; fails with a message. */
int layout_place_low(struct load *load, const void *data, size_t size, const char *what,
                     uint64_t *address);

int guest_write(struct load *load, uint64_t gpa, const void *data, size_t size);

/* Writes a GDT with flat code (0x10) and data (0x18) segments for entry->mode, and identity page
 * tables for 64-bit mode; sets gdtr, selectors and cr3 in the entry. */
int entry_write_tables(struct load *load);

/* ELF (sim/loaders/elf.c): loads PT_LOAD segments at their physical addresses; *entry is the
 * physical address of the entry point, [*start, *end) what the segments span. */
int elf_load_segments(struct load *load, uint64_t *entry, uint64_t *start, uint64_t *end);
bool elf_is_image(const struct load *load);

/* Formats. *_matches tells by content; *_load is called in any case when the format is forced. */
bool bzimage_matches(const struct load *load);
int bzimage_load(struct load *load);
bool multiboot_matches(const struct load *load);
int multiboot_load(struct load *load);
bool elf64_matches(const struct load *load);
int elf64_load(struct load *load);
bool flat_matches(const struct load *load);
int flat_load(struct load *load);

static inline uint64_t round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

#endif
