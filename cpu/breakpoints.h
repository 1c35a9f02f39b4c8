/*
 * The breakpoint registers: which accesses meet the breakpoints that DR7 enables. SDM "Debug
 * Registers", "Debug Address Registers (DR0-DR3)" and "Debug Control Register (DR7)".
 */
#ifndef VTXSIM_CPU_BREAKPOINTS_H
#define VTXSIM_CPU_BREAKPOINTS_H

#include "cpu/state.h"

#define BREAKPOINT_COUNT 4

enum breakpoint_use {
    BREAKPOINT_FETCH, /* of an instruction's first byte */
    BREAKPOINT_READ,
    BREAKPOINT_WRITE,
    BREAKPOINT_IO, /* address: the port; breakpoints on I/O need CR4.DE */
};

/* The enabled breakpoints for such accesses: bit n stands for DRn. */
unsigned breakpoints_enabled(const struct cpu_state *state, enum breakpoint_use use);

/* Of these, those which an access of `size` bytes at a linear address or port meets: B0-B3 of DR6.
 */
unsigned breakpoints_met(const struct cpu_state *state, enum breakpoint_use use, uint64_t address,
                         uint64_t size);

#endif
