/* Alignment by dynamic programming over all pairs. */
#include "traces/align.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Two without partners cost more than a pair that differs, unless it differs in its address too and
 * nothing speaks for it but the class. */
enum { COST_MOVED = 5, COST_CHANGED = 2, COST_ALONE = 3, COST_NEVER = 1 << 20 };

struct aligner {
    unsigned longest;
    uint32_t *cost[2]; /* of two rows: the way to (row, column) */
    uint8_t *step;     /* the last step of each such way; row-major, (longest + 1) wide */
    uint8_t *steps;
};

void aligner_destroy(struct aligner *aligner)
{
    if (!aligner)
        return;
    free(aligner->cost[0]);
    free(aligner->cost[1]);
    free(aligner->step);
    free(aligner->steps);
    free(aligner);
}

struct aligner *aligner_create(unsigned longest)
{
    struct aligner *aligner = calloc(1, sizeof(*aligner));
    size_t width = (size_t)longest + 1;

    if (!aligner)
        return NULL;
    aligner->longest = longest;
    aligner->cost[0] = calloc(width, sizeof(uint32_t));
    aligner->cost[1] = calloc(width, sizeof(uint32_t));
    aligner->step = malloc(width * width);
    aligner->steps = malloc(2 * width);
    if (aligner->cost[0] && aligner->cost[1] && aligner->step && aligner->steps)
        return aligner;
    aligner_destroy(aligner);
    return NULL;
}

static uint32_t pair_cost(const struct align_key *a, const struct align_key *b)
{
    if (a->hash == b->hash)
        return 0;
    if (a->class != b->class)
        return COST_NEVER;
    return a->rip == b->rip ? COST_CHANGED : COST_MOVED;
}

/* Where the cheapest way meets the end of either sequence; of equal ones the longest. */
struct end {
    uint32_t cost;
    unsigned a, b;
};

static void consider_end(struct end *end, uint32_t cost, unsigned a, unsigned b)
{
    if (cost < end->cost || (cost == end->cost && a + b > end->a + end->b))
        *end = (struct end){cost, a, b};
}

static struct end fill_table(struct aligner *aligner, const struct align_key *a, unsigned a_count,
                             const struct align_key *b, unsigned b_count)
{
    size_t width = (size_t)aligner->longest + 1;
    struct end end = {UINT32_MAX, 0, 0};

    for (unsigned row = 0; row <= a_count; row++) {
        uint32_t *now = aligner->cost[row & 1], *before = aligner->cost[~row & 1];
        uint8_t *step = aligner->step + row * width;

        for (unsigned column = 0; column <= b_count; column++) {
            uint32_t best = row || column ? UINT32_MAX : 0, cost;

            if (row && column) {
                cost = pair_cost(&a[row - 1], &b[column - 1]);
                best = before[column - 1] + cost;
                step[column] = cost ? ALIGN_CHANGED : ALIGN_EQUAL;
            }
            if (row && before[column] + COST_ALONE < best) {
                best = before[column] + COST_ALONE;
                step[column] = ALIGN_ONLY_A;
            }
            if (column && now[column - 1] + COST_ALONE < best) {
                best = now[column - 1] + COST_ALONE;
                step[column] = ALIGN_ONLY_B;
            }
            now[column] = best;
            if (row == a_count || column == b_count)
                consider_end(&end, best, row, column);
        }
    }
    return end;
}

unsigned align_keys(struct aligner *aligner, const struct align_key *a, unsigned a_count,
                    const struct align_key *b, unsigned b_count, const uint8_t **steps)
{
    struct end end = fill_table(aligner, a, a_count, b, b_count);
    size_t width = (size_t)aligner->longest + 1;
    unsigned count = 0, row = end.a, column = end.b;

    while (row || column) {
        uint8_t step = aligner->step[row * width + column];

        aligner->steps[count++] = step;
        row -= step != ALIGN_ONLY_B;
        column -= step != ALIGN_ONLY_A;
    }
    for (unsigned i = 0; i < count / 2; i++) {
        uint8_t swapped = aligner->steps[i];

        aligner->steps[i] = aligner->steps[count - 1 - i];
        aligner->steps[count - 1 - i] = swapped;
    }
    *steps = aligner->steps;
    return count;
}
