/*
 * Alignment of two short sequences of events: which belong together, and which only one side has.
 * The cheapest way through: equal events cost nothing, events of one class that differ in something
 * a little, an event without a partner more.
 */
#ifndef VTXSIM_TRACES_ALIGN_H
#define VTXSIM_TRACES_ALIGN_H

#include <stdint.h>

/* What is known of an event. */
struct align_key {
    uint64_t hash;  /* of all that is compared */
    uint32_t class; /* trace_class */
    uint64_t rip;
};

enum align_step { ALIGN_EQUAL, ALIGN_CHANGED, ALIGN_ONLY_A, ALIGN_ONLY_B };

struct aligner;

/* For sequences of at most `longest`. NULL without memory. */
struct aligner *aligner_create(unsigned longest);
void aligner_destroy(struct aligner *aligner);

/*
 * Returns the number of steps (enum align_step) from the beginning of both until one has come to
 * its end, where the other may have more; that costs nothing. *steps is the aligner's until its
 * next use.
 */
unsigned align_keys(struct aligner *aligner, const struct align_key *a, unsigned a_count,
                    const struct align_key *b, unsigned b_count, const uint8_t **steps);

#endif
