/* What the readers of symbols share. */
#ifndef VTXSIM_SIM_SYMBOLS_INTERNAL_H
#define VTXSIM_SIM_SYMBOLS_INTERNAL_H

#include "sim/symbols/symbols.h"

/* A symbol with what order and lookup need. */
struct symbols_entry {
    uint64_t address;
    uint64_t size; /* bytes; 0: up to the next symbol */
    uint32_t name; /* place in names */
    char type;
};

struct symbols {
    struct symbols_entry *entry;
    size_t count, room;
    char *names;
    size_t names_size, names_room;
    uint64_t offset;
};

/* Appends one; returns 0 or -ENOMEM. */
int symbols_add(struct symbols *symbols, uint64_t address, uint64_t size, char type,
                const char *name, size_t length);

/* Each returns 0, -ENOENT if the data holds no symbols of the kind, -ENOMEM, or another -errno if
 * it is damaged; what was added before an error is to be thrown away. */
int symbols_read_elf(struct symbols *symbols, const uint8_t *data, size_t size);
int symbols_read_map(struct symbols *symbols, const uint8_t *data, size_t size);
int symbols_read_kallsyms(struct symbols *symbols, const uint8_t *data, size_t size);

/* What is compressed inside a bzImage: [*start, *start + *length) of the data. False: no bzImage.
 */
bool bzimage_payload(const uint8_t *data, size_t size, size_t *start, size_t *length);

/*
 * Decompresses data of any format that Linux uses. Returns 0 with *out to be freed; -ENOENT if it
 * is not compressed; -ENOTSUP with the format's name in *format if it cannot be decompressed here;
 * -EBADMSG if it is damaged; -ENOMEM.
 */
int symbols_decompress(const uint8_t *data, size_t size, uint8_t **out, size_t *out_size,
                       const char **format);

#endif
