/*
 * A debugger's breakpoints and watchpoints: where they are, and what meets them. The engine takes
 * care that translated code stops there (sim/unicorn/debug.c); the guest's own breakpoint registers
 * have no part in it.
 */
#ifndef VTXSIM_SIM_DEBUG_POINTS_H
#define VTXSIM_SIM_DEBUG_POINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/debug.h"

struct debug_point {
    enum vm_debug_point kind;
    uint64_t address, size; /* linear; bytes */
};

struct debug_points {
    struct debug_point point[VM_DEBUG_POINTS];
    unsigned count;
    bool changed; /* since the engine has looked */
};

/* True if an instruction at this linear address has a breakpoint. */
bool debug_points_execute(const struct debug_points *points, uint64_t address);
/* The first watchpoint that an access meets, NULL if none. */
const struct debug_point *debug_points_met(const struct debug_points *points, bool write,
                                           uint64_t address, uint64_t size);

#endif
