/* Counting by key: how often each came, and with what weight. */
#ifndef VTXSIM_SIM_COMMANDS_TALLY_H
#define VTXSIM_SIM_COMMANDS_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "traces/event.h"

struct tally_row {
    uint64_t key[2];
    uint64_t count, weight;
    struct trace_event sample; /* the first event of the key */
};

/* Zero at the start. */
struct tally {
    struct tally_row *row; /* in the order of their first event until tally_sort */
    size_t count;
    uint32_t *slot; /* hash table of numbers of rows + 1 */
    size_t slots;
    uint64_t total, total_weight;
};

/* Counts one event. Returns 0 or -ENOMEM. */
int tally_add(struct tally *tally, const uint64_t key[2], uint64_t weight,
              const struct trace_event *event);
/* Heaviest first (by_weight) or most frequent first, equal ones by key. No adding after that. */
void tally_sort(struct tally *tally, bool by_weight);
void tally_free(struct tally *tally);

#endif
