/* A hash table with open addressing over rows in an array. */
#include "sim/commands/tally.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SLOTS 1024

static uint64_t hash(const uint64_t key[2])
{
    uint64_t mixed = (key[0] ^ key[1] * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;

    return mixed ^ mixed >> 32;
}

static void place(struct tally *tally, uint32_t number)
{
    size_t at = hash(tally->row[number].key) & (tally->slots - 1);

    while (tally->slot[at])
        at = (at + 1) & (tally->slots - 1);
    tally->slot[at] = number + 1;
}

/* Room for one more row, with half of the slots free. */
static int make_room(struct tally *tally)
{
    size_t slots = tally->slots ? tally->slots * 2 : FIRST_SLOTS;
    struct tally_row *rows;

    if (tally->count * 2 < tally->slots)
        return 0;
    rows = realloc(tally->row, slots / 2 * sizeof(*rows));
    if (!rows)
        return -ENOMEM;
    tally->row = rows;
    free(tally->slot);
    tally->slots = 0;
    tally->slot = calloc(slots, sizeof(*tally->slot));
    if (!tally->slot)
        return -ENOMEM;
    tally->slots = slots;
    for (size_t i = 0; i < tally->count; i++)
        place(tally, (uint32_t)i);
    return 0;
}

int tally_add(struct tally *tally, const uint64_t key[2], uint64_t weight,
              const struct trace_event *event)
{
    struct tally_row *row;
    size_t at;

    if (make_room(tally))
        return -ENOMEM;
    at = hash(key) & (tally->slots - 1);
    for (; tally->slot[at]; at = (at + 1) & (tally->slots - 1)) {
        row = &tally->row[tally->slot[at] - 1];
        if (row->key[0] == key[0] && row->key[1] == key[1])
            break;
    }
    if (!tally->slot[at]) {
        row = &tally->row[tally->count];
        *row = (struct tally_row){.key = {key[0], key[1]}, .sample = *event};
        tally->slot[at] = (uint32_t)++tally->count;
    }
    row->count++;
    row->weight += weight;
    tally->total++;
    tally->total_weight += weight;
    return 0;
}

static int compare_keys(const struct tally_row *a, const struct tally_row *b)
{
    for (unsigned i = 0; i < 2; i++)
        if (a->key[i] != b->key[i])
            return a->key[i] < b->key[i] ? -1 : 1;
    return 0;
}

static int compare_counts(const void *a, const void *b)
{
    const struct tally_row *left = a, *right = b;

    if (left->count != right->count)
        return left->count > right->count ? -1 : 1;
    return compare_keys(left, right);
}

static int compare_weights(const void *a, const void *b)
{
    const struct tally_row *left = a, *right = b;

    if (left->weight != right->weight)
        return left->weight > right->weight ? -1 : 1;
    return compare_counts(a, b);
}

void tally_sort(struct tally *tally, bool by_weight)
{
    if (tally->count)
        qsort(tally->row, tally->count, sizeof(*tally->row),
              by_weight ? compare_weights : compare_counts);
}

void tally_free(struct tally *tally)
{
    free(tally->row);
    free(tally->slot);
    *tally = (struct tally){0};
}
