/*
 * --inject-flip COUNT:REGISTER:BIT: one bit of one register is inverted once so many instructions
 * have retired. A seeded change for those who test what finds changes: deterministic, and part of
 * the run's description, so that a replay repeats it.
 */
#ifndef VTXSIM_SIM_INJECT_FLIP_H
#define VTXSIM_SIM_INJECT_FLIP_H

#include <stdint.h>

struct vcpu;

struct inject_flip {
    uint64_t at; /* instructions retired; UINT64_MAX: never, or not any more */
    unsigned gpr, bit;
};

/* NULL: no flip. Returns 0 or -EINVAL. */
int inject_flip_parse(struct inject_flip *flip, const char *text);
/* At an instruction boundary with so many retired, once all that comes before the next has come:
 * inverts the bit if it is due. */
void inject_flip_boundary(struct vcpu *vcpu, uint64_t instructions);

#endif
