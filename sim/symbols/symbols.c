/* The table of symbols: where it comes from, its order, and finding in it. */
#include "sim/symbols/symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/symbols/internal.h"

/* How far the last symbol reaches if nothing tells. */
#define LAST_SYMBOL_SIZE 4096

#define KERNEL_HALF (1ull << 63)

/* --- Building
 * ---------------------------------------------------------------------------------------- */

static int grow(void **list, size_t *room, size_t needed, size_t item)
{
    size_t wanted = *room ? *room : 1024;
    void *grown;

    if (needed <= *room)
        return 0;
    while (wanted < needed)
        wanted *= 2;
    grown = realloc(*list, wanted * item);
    if (!grown)
        return -ENOMEM;
    *list = grown;
    *room = wanted;
    return 0;
}

int symbols_add(struct symbols *symbols, uint64_t address, uint64_t size, char type,
                const char *name, size_t length)
{
    if (symbols->names_size + length >= UINT32_MAX ||
        grow((void **)&symbols->names, &symbols->names_room, symbols->names_size + length + 1, 1) ||
        grow((void **)&symbols->entry, &symbols->room, symbols->count + 1, sizeof(*symbols->entry)))
        return -ENOMEM;
    symbols->entry[symbols->count++] = (struct symbols_entry){
        .address = address,
        .size = size,
        .name = (uint32_t)symbols->names_size,
        .type = type,
    };
    memcpy(symbols->names + symbols->names_size, name, length);
    symbols->names[symbols->names_size + length] = '\0';
    symbols->names_size += length + 1;
    return 0;
}

/* Global names before local ones, code before data. */
static unsigned rank(char type)
{
    static const char order[] = "TWtwDBRVdbrv";
    const char *place = type ? strchr(order, type) : NULL;

    return place ? (unsigned)(place - order) : sizeof(order);
}

static int compare_entries(const void *a, const void *b)
{
    const struct symbols_entry *left = a, *right = b;

    if (left->address != right->address)
        return left->address < right->address ? -1 : 1;
    if (rank(left->type) != rank(right->type))
        return rank(left->type) < rank(right->type) ? -1 : 1;
    return left->name < right->name ? -1 : left->name > right->name;
}

/* A kernel's table has offsets into per-CPU areas and other numbers, which are no addresses. */
static void drop_numbers(struct symbols *symbols)
{
    size_t kept = 0;
    bool kernel = false;

    for (size_t i = 0; i < symbols->count; i++)
        kernel |= symbols->entry[i].address >= KERNEL_HALF;
    if (!kernel)
        return;
    for (size_t i = 0; i < symbols->count; i++)
        if (symbols->entry[i].address >= KERNEL_HALF)
            symbols->entry[kept++] = symbols->entry[i];
    symbols->count = kept;
}

static int read_plain(struct symbols *symbols, const uint8_t *data, size_t size)
{
    static int (*const readers[])(struct symbols *, const uint8_t *, size_t) = {
        symbols_read_elf,
        symbols_read_map,
        symbols_read_kallsyms,
    };
    int error = -ENOENT;

    for (unsigned i = 0; i < sizeof(readers) / sizeof(*readers) && error == -ENOENT; i++)
        error = readers[i](symbols, data, size);
    return error;
}

static int read_any(struct symbols *symbols, const uint8_t *data, size_t size, const char **format)
{
    size_t unpacked_size, start, length;
    uint8_t *unpacked;
    bool bzimage = bzimage_payload(data, size, &start, &length);
    int error;

    if (bzimage) {
        data += start;
        size = length;
    }
    error = symbols_decompress(data, size, &unpacked, &unpacked_size, format);
    if (error == -ENOENT)
        return read_plain(symbols, data, size);
    if (error)
        return error;
    error = read_plain(symbols, unpacked, unpacked_size);
    free(unpacked);
    return error;
}

/* Maps a file. Returns 0 or -errno. */
static int map_file(const char *path, const uint8_t **data, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = 0;
    struct stat status;
    void *mapped = MAP_FAILED;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status))
        error = -errno;
    else if (S_ISDIR(status.st_mode))
        error = -EISDIR;
    else if (!S_ISREG(status.st_mode) || status.st_size == 0)
        error = -ENOENT;
    else if ((mapped = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
                            0)) == MAP_FAILED)
        error = -errno;
    close(fd);
    *data = mapped;
    *size = (size_t)status.st_size;
    return error;
}

static void explain(int error, const char *path, const char *format, char *message, size_t size)
{
    if (error == -ENOENT)
        snprintf(message, size,
                 "%s: no symbols in it: name a vmlinux with symbols, System.map, a copy of "
                 "/proc/kallsyms, or a kernel built with CONFIG_KALLSYMS",
                 path);
    else if (error == -ENOTSUP)
        snprintf(message, size,
                 "%s: compressed with %s, which is not known here: decompress it with the "
                 "kernel's scripts/extract-vmlinux and name the result",
                 path, format);
    else if (error == -EBADMSG)
        snprintf(message, size, "%s: damaged: get it again", path);
    else
        snprintf(message, size, "%s: cannot be read: %s", path, strerror(-error));
}

int symbols_load(struct symbols **result, const char *path, char *message, size_t size)
{
    struct symbols *symbols = calloc(1, sizeof(*symbols));
    const char *format = "";
    const uint8_t *data = NULL;
    size_t length = 0;
    int error = symbols ? map_file(path, &data, &length) : -ENOMEM;

    if (error == -ENOENT && access(path, F_OK) != 0) {
        snprintf(message, size, "%s: %s", path, strerror(ENOENT));
        free(symbols);
        return error;
    }
    if (!error) {
        error = read_any(symbols, data, length, &format);
        munmap((void *)data, length);
    }
    if (!error)
        drop_numbers(symbols);
    if (error) {
        explain(error, path, format, message, size);
        symbols_free(symbols);
        return error;
    }
    qsort(symbols->entry, symbols->count, sizeof(*symbols->entry), compare_entries);
    *result = symbols;
    return 0;
}

void symbols_free(struct symbols *symbols)
{
    if (!symbols)
        return;
    free(symbols->entry);
    free(symbols->names);
    free(symbols);
}

/* --- Finding
 * ----------------------------------------------------------------------------------------- */

void symbols_set_offset(struct symbols *symbols, uint64_t offset)
{
    symbols->offset = offset;
}

uint64_t symbols_offset(const struct symbols *symbols)
{
    return symbols->offset;
}

/* Number of the first entry above an address. */
static size_t first_above(const struct symbols *symbols, uint64_t address)
{
    size_t low = 0, high = symbols->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (symbols->entry[middle].address > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Where an entry ends, in the file's addresses. */
static uint64_t end_of(const struct symbols *symbols, const struct symbols_entry *entry)
{
    size_t next;

    if (entry->size)
        return entry->address + entry->size;
    next = first_above(symbols, entry->address);
    return next < symbols->count ? symbols->entry[next].address : entry->address + LAST_SYMBOL_SIZE;
}

const char *symbols_find(const struct symbols *symbols, uint64_t address, uint64_t *into)
{
    const struct symbols_entry *entry;
    size_t place;

    address -= symbols->offset;
    place = first_above(symbols, address);
    if (place == 0)
        return NULL;
    entry = &symbols->entry[place - 1];
    while (entry > symbols->entry && entry[-1].address == entry->address)
        entry--;
    if (address >= end_of(symbols, entry))
        return NULL;
    *into = address - entry->address;
    return symbols->names + entry->name;
}

bool symbols_range(const struct symbols *symbols, const char *name, uint64_t *start, uint64_t *end)
{
    for (size_t i = 0; i < symbols->count; i++) {
        if (strcmp(symbols->names + symbols->entry[i].name, name) != 0)
            continue;
        *start = symbols->entry[i].address + symbols->offset;
        *end = end_of(symbols, &symbols->entry[i]) + symbols->offset;
        return true;
    }
    return false;
}

size_t symbols_count(const struct symbols *symbols)
{
    return symbols->count;
}

struct symbol symbols_get(const struct symbols *symbols, size_t number)
{
    const struct symbols_entry *entry = &symbols->entry[number];

    return (struct symbol){
        .address = entry->address + symbols->offset,
        .type = entry->type,
        .name = symbols->names + entry->name,
    };
}
