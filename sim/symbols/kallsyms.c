/*
 * The symbol tables inside a Linux kernel, as scripts/kallsyms.c lays them out (Linux 4.20 and
 * later, 64-bit, relative addresses). Nothing in the file points at them, but each has a form that
 * hardly anything else has, and they check each other:
 *
 *   [offsets, relative_base]        here before Linux 6.4
 *   num_syms                        32 bits
 *   names                           of each symbol its length, then so many tokens
 *   markers                         32 bits: where every 256th name begins in `names`
 *   [seqs_of_names                  24 bits: the order of the names; in Linux 6.1 to 6.3, not all]
 *   token_table                     256 strings
 *   token_index                     16 bits: where each of them begins
 *   [offsets, relative_base]        here since Linux 6.4
 *
 * Each table begins at a multiple of 8 bytes. The first character of a name is the symbol's type.
 */
#include <errno.h>
#include <string.h>

#include "sim/symbols/internal.h"

#define TOKENS          256u
#define TOKEN_MAX       128u /* bytes of one; far fewer in practice */
#define MARKED          256u /* names between two markers */
#define NAME_LENGTH_MAX 512u /* characters, the type included (KSYM_NAME_LEN) */
#define SYMBOLS_MIN     64u
#define NAMES_MAX       (64u << 20) /* bytes of the tables before that of tokens */
#define SEQUENCE_SIZE   3u
#define ALIGNMENT       8u
#define KERNEL_HALF     (1ull << 63)

struct tables {
    const uint8_t *data;
    size_t size;
    /* Places in data. */
    size_t names, token_table, token_index, offsets, relative_base;
    uint32_t count;
};

static uint16_t get16(const struct tables *tables, size_t at)
{
    uint16_t value;

    memcpy(&value, tables->data + at, sizeof(value));
    return value;
}

static uint32_t get32(const struct tables *tables, size_t at)
{
    uint32_t value;

    memcpy(&value, tables->data + at, sizeof(value));
    return value;
}

static uint64_t get64(const struct tables *tables, size_t at)
{
    uint64_t value;

    memcpy(&value, tables->data + at, sizeof(value));
    return value;
}

static size_t align_up(size_t value)
{
    return (value + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

/* --- Tokens
 * ------------------------------------------------------------------------------------------ */

/* 256 growing places, the first 0. */
static bool is_token_index(const struct tables *tables, size_t at)
{
    unsigned previous = 0;

    if (get16(tables, at) != 0)
        return false;
    for (unsigned i = 1; i < TOKENS; i++) {
        unsigned place = get16(tables, at + 2 * i);

        if (place <= previous || place - previous > TOKEN_MAX)
            return false;
        previous = place;
    }
    return true;
}

/* Does each place in the index begin a string of a table at `at`, which ends where the index is? */
static bool is_token_table(const struct tables *tables, size_t at)
{
    size_t last = at + get16(tables, tables->token_index + 2 * (TOKENS - 1));
    const uint8_t *end;

    for (unsigned i = 1; i < TOKENS; i++)
        if (tables->data[at + get16(tables, tables->token_index + 2 * i) - 1] != 0)
            return false;
    end = memchr(tables->data + last, 0, tables->token_index - last);
    return end && align_up((size_t)(end - tables->data) + 1) == tables->token_index;
}

/* The table lies before its index; only the length of the last string is open. */
static bool find_token_table(struct tables *tables)
{
    size_t length = get16(tables, tables->token_index + 2 * (TOKENS - 1));
    size_t nearest = length + 1, farthest = length + TOKEN_MAX + ALIGNMENT;

    for (size_t before = align_up(nearest); before <= farthest; before += ALIGNMENT) {
        if (before > tables->token_index)
            return false;
        if (!is_token_table(tables, tables->token_index - before))
            continue;
        tables->token_table = tables->token_index - before;
        return true;
    }
    return false;
}

/* --- Names
 * ------------------------------------------------------------------------------------------- */

/* The tokens of the name at *at, which then is the next one. False where it leaves the table. */
static bool take_name(const struct tables *tables, size_t *at, size_t *tokens, uint32_t *count)
{
    if (*at + 2 > tables->token_table)
        return false;
    *count = tables->data[(*at)++];
    if (*count & 0x80)
        *count = (*count & 0x7f) | (uint32_t)tables->data[(*at)++] << 7;
    *tokens = *at;
    *at += *count;
    return *count > 0 && *count <= NAME_LENGTH_MAX && *at <= tables->token_table;
}

/* Do the markers tell where every 256th of the names begins? */
static bool are_markers(const struct tables *tables, size_t markers)
{
    size_t at = tables->names, tokens;
    uint32_t length;

    for (uint32_t i = 0; i < tables->count; i++) {
        if (i % MARKED == 0 && get32(tables, markers + i / MARKED * 4) != at - tables->names)
            return false;
        take_name(tables, &at, &tokens, &length);
    }
    return true;
}

/* Does the number of symbols stand at `at`, so that all tables up to that of tokens fit? */
static bool is_symbol_count(struct tables *tables, size_t at)
{
    size_t distance = tables->token_table - at, markers, behind, tokens;
    uint32_t count = get32(tables, at), length;

    if (count < SYMBOLS_MIN || count > distance / 2 || count < distance / NAME_LENGTH_MAX ||
        get32(tables, at + 4) != 0)
        return false;
    tables->count = count;
    tables->names = markers = at + ALIGNMENT;
    for (uint32_t i = 0; i < count; i++)
        if (!take_name(tables, &markers, &tokens, &length))
            return false;
    markers = align_up(markers);
    behind = markers + align_up((size_t)(count + MARKED - 1) / MARKED * 4);
    if (behind != tables->token_table &&
        behind + align_up((size_t)count * SEQUENCE_SIZE) != tables->token_table)
        return false;
    return are_markers(tables, markers);
}

static bool find_names(struct tables *tables)
{
    size_t at = tables->token_table & ~(size_t)(ALIGNMENT - 1);
    size_t lowest = at > NAMES_MAX ? at - NAMES_MAX : 0;

    while (at >= lowest + ALIGNMENT) {
        at -= ALIGNMENT;
        if (is_symbol_count(tables, at))
            return true;
    }
    return false;
}

/* --- Addresses
 * --------------------------------------------------------------------------------------- */

/* Two ways: the offset from the base; or, with numbers of per-CPU symbols among them, those as they
 * are and addresses as negative offsets from below the base. */
static uint64_t address_of(const struct tables *tables, uint32_t number, bool per_cpu)
{
    uint32_t offset = get32(tables, tables->offsets + (size_t)number * 4);
    uint64_t base = get64(tables, tables->relative_base);

    if (!per_cpu)
        return base + offset;
    return (int32_t)offset >= 0 ? offset : base - 1 - (uint64_t)(int64_t)(int32_t)offset;
}

/* Symbols are in the order of their addresses. */
static bool are_sorted(const struct tables *tables, bool per_cpu)
{
    uint64_t previous = 0;

    for (uint32_t i = 0; i < tables->count; i++) {
        uint64_t address = address_of(tables, i, per_cpu);

        if (address < previous)
            return false;
        previous = address;
    }
    return previous >= KERNEL_HALF;
}

static bool find_addresses(struct tables *tables, bool *per_cpu)
{
    size_t length = align_up((size_t)tables->count * 4);
    size_t before = tables->names - ALIGNMENT;
    size_t behind = tables->token_index + align_up(TOKENS * 2);

    for (unsigned place = 0; place < 2; place++) {
        if (place == 0 ? before < length + ALIGNMENT : behind + length + ALIGNMENT > tables->size)
            continue;
        tables->offsets = place == 0 ? before - ALIGNMENT - length : behind;
        tables->relative_base = tables->offsets + length;
        for (unsigned way = 0; way < 2; way++)
            if (are_sorted(tables, (*per_cpu = way)))
                return true;
    }
    return false;
}

/* --- All of it
 * --------------------------------------------------------------------------------------- */

static int add_all(struct symbols *symbols, const struct tables *tables, bool per_cpu)
{
    size_t at = tables->names, tokens;
    char name[NAME_LENGTH_MAX + TOKEN_MAX];
    uint32_t count;

    for (uint32_t i = 0; i < tables->count && take_name(tables, &at, &tokens, &count); i++) {
        size_t length = 0;

        for (uint32_t token = 0; token < count && length < NAME_LENGTH_MAX; token++) {
            unsigned number = tables->data[tokens + token];
            const char *text = (const char *)tables->data + tables->token_table +
                               get16(tables, tables->token_index + 2 * number);
            size_t part = strnlen(text, TOKEN_MAX);

            memcpy(name + length, text, part);
            length += part;
        }
        if (length > 1 &&
            symbols_add(symbols, address_of(tables, i, per_cpu), 0, name[0], name + 1, length - 1))
            return -ENOMEM;
    }
    return 0;
}

int symbols_read_kallsyms(struct symbols *symbols, const uint8_t *data, size_t size)
{
    struct tables tables = {.data = data, .size = size};
    bool per_cpu;

    for (size_t at = 0; at + TOKENS * 2 <= size; at += ALIGNMENT) {
        if (!is_token_index(&tables, at))
            continue;
        tables.token_index = at;
        if (find_token_table(&tables) && find_names(&tables) && find_addresses(&tables, &per_cpu))
            return add_all(symbols, &tables, per_cpu);
    }
    return -ENOENT;
}
