/* Decoding of DR7, and the comparison of addresses. SDM "Debug Registers". */
#include "cpu/breakpoints.h"

/* DR7.R/Wn. */
enum { ON_EXECUTION, ON_WRITE, ON_IO, ON_READ_OR_WRITE };

#define ANY_ENABLED(dr7)  ((dr7)&0xff)
#define ENABLED(dr7, n)   ((dr7) >> 2 * (n)&3) /* Ln, Gn */
#define CONDITION(dr7, n) ((dr7) >> (16 + 4 * (n)) & 3)
#define LENGTH(dr7, n)    ((dr7) >> (18 + 4 * (n)) & 3)

/* Uses that a condition is about, by bits 1 << enum breakpoint_use. */
static const uint8_t condition_uses[] = {
    [ON_EXECUTION] = 1 << BREAKPOINT_FETCH,
    [ON_WRITE] = 1 << BREAKPOINT_WRITE,
    [ON_IO] = 1 << BREAKPOINT_IO,
    [ON_READ_OR_WRITE] = 1 << BREAKPOINT_READ | 1 << BREAKPOINT_WRITE,
};

/* DR7.LENn. */
static const uint8_t length_bytes[] = {1, 2, 8, 4};

unsigned breakpoints_enabled(const struct cpu_state *state, enum breakpoint_use use)
{
    uint64_t dr7 = state->dr7;
    unsigned found = 0;

    if (!ANY_ENABLED(dr7) || (use == BREAKPOINT_IO && !(state->cr4 & CR4_DE)))
        return 0;
    for (unsigned n = 0; n < BREAKPOINT_COUNT; n++)
        if (ENABLED(dr7, n) && (condition_uses[CONDITION(dr7, n)] >> use & 1))
            found |= 1u << n;
    return found;
}

unsigned breakpoints_met(const struct cpu_state *state, enum breakpoint_use use, uint64_t address,
                         uint64_t size)
{
    unsigned enabled = breakpoints_enabled(state, use), met = 0;

    for (unsigned n = 0; enabled >> n; n++) {
        if (!(enabled >> n & 1))
            continue;
        /* Breakpoints on data and I/O cover a naturally aligned range. */
        uint64_t length = use == BREAKPOINT_FETCH ? 1 : length_bytes[LENGTH(state->dr7, n)];
        uint64_t start = state->dr[n] & ~(length - 1);
        if (start - address < size || address - start < length)
            met |= 1u << n;
    }
    return met;
}
