/*
 * Random instruction sequences. A sequence is a function of seed, number and mode; with it comes,
 * for each instruction's offset, which arithmetic flags the SDM leaves defined before it.
 */
#ifndef GENERATOR_H
#define GENERATOR_H

#include <stdbool.h>
#include <stdint.h>

#define SEQUENCE_BYTES        768
#define SEQUENCE_INSTRUCTIONS 96

enum sequence_mode {
    SEQUENCE_USER,     /* 64-bit code in ring 3 */
    SEQUENCE_KERNEL,   /* 64-bit code in ring 0 */
    SEQUENCE_COMPAT,   /* 32-bit code in ring 3 */
    SEQUENCE_COMPAT16, /* 16-bit code in ring 3 */
    SEQUENCE_MODES,
};

struct sequence {
    uint8_t code[SEQUENCE_BYTES];
    unsigned size;
    unsigned instructions; /* `starts` and `defined` have one more: the end */
    uint16_t starts[SEQUENCE_INSTRUCTIONS + 1];
    uint16_t defined[SEQUENCE_INSTRUCTIONS + 1]; /* mask of RFLAGS bits */
};

/* sse: SSE2 instructions, too, on XMM0 to XMM7 (which start as anything: each is loaded first). */
void sequence_generate(struct sequence *sequence, enum sequence_mode mode, bool sse, uint64_t seed,
                       uint64_t number);

#endif
