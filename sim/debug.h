/*
 * Looking into a virtual processor at an instruction boundary, for replay and debuggers. Stops are
 * invisible to the guest: they cause no VM exit and take no simulated time.
 *
 * All functions are called on the thread of vm_run (from the hook) or before vm_run.
 */
#ifndef VTXSIM_SIM_DEBUG_H
#define VTXSIM_SIM_DEBUG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/vm.h"

struct cpu;

enum vm_debug_reason {
    VM_DEBUG_COUNT,      /* the instruction count or time asked for is reached */
    VM_DEBUG_BREAKPOINT, /* the next instruction has a breakpoint */
    VM_DEBUG_WATCHPOINT, /* the last instruction has met a watchpoint */
    VM_DEBUG_INTERRUPT,  /* vm_debug_interrupt was called */
    VM_DEBUG_END,        /* the guest has stopped: see vm_get_stop; it cannot go on */
};

struct vm_debug_stop {
    enum vm_debug_reason reason;
    uint64_t instructions; /* retired */
    uint64_t address;      /* of the watchpoint that was met */
};

/* The processor stands still while the hook runs. */
typedef void vm_debug_hook(void *context, struct vm *vm, const struct vm_debug_stop *stop);
void vm_debug_attach(struct vm *vm, vm_debug_hook *hook, void *context);

/*
 * A count names one state: events that come at that boundary have been delivered, and an
 * instruction executes next.
 *
 * Calls the hook when so many instructions have retired; at once if they have already, but from the
 * hook only for a count to come. UINT64_MAX: never. One place at a time; met once.
 */
void vm_debug_stop_at(struct vm *vm, uint64_t instructions);
/* The same with simulated time (cycles): at the first boundary when it has come. Both may be asked
 * for; the first to come does not take back the other. */
void vm_debug_stop_at_time(struct vm *vm, uint64_t cycles);
/* Has the hook called soon; from any thread or signal handler. */
void vm_debug_interrupt(struct vm *vm);

enum vm_debug_point { VM_DEBUG_EXECUTE, VM_DEBUG_READ, VM_DEBUG_WRITE, VM_DEBUG_ACCESS };
#define VM_DEBUG_POINTS 64
/*
 * Linear addresses; size in bytes (1 for VM_DEBUG_EXECUTE). A breakpoint stops in front of its
 * instruction, once at each boundary; a watchpoint behind the instruction, or the delivery of an
 * event, that met it. Paging structures that the processor reads and marks meet none. Returns 0, -ENOSPC when there are VM_DEBUG_POINTS already, -ENOTSUP if the engine has none,
 * -ENOENT if there is none to remove.
 */
int vm_debug_set_point(struct vm *vm, enum vm_debug_point kind, uint64_t address, uint64_t size);
int vm_debug_clear_point(struct vm *vm, enum vm_debug_point kind, uint64_t address, uint64_t size);
void vm_debug_clear_points(struct vm *vm);

/* The processor's whole state, current in the hook. After changing it call vm_debug_changed. */
struct cpu *vm_debug_cpu(struct vm *vm);
void vm_debug_changed(struct vm *vm);

/* x87 and SSE registers as FXSAVE64 stores them; all 0 where the engine does not give them. */
#define FXSAVE_BYTES 512
void vm_debug_read_fpu(struct vm *vm, uint8_t image[FXSAVE_BYTES]);
void vm_debug_write_fpu(struct vm *vm, const uint8_t image[FXSAVE_BYTES]);

/* Guest memory at a linear address of the current context, without side effects on A/D flags or the
 * TLB; devices are not touched. Returns the bytes done: fewer where a page does not translate. */
size_t vm_debug_read(struct vm *vm, uint64_t linear, void *data, size_t size);
size_t vm_debug_write(struct vm *vm, uint64_t linear, const void *data, size_t size);
/* The same at guest-physical addresses. */
size_t vm_debug_read_physical(struct vm *vm, uint64_t gpa, void *data, size_t size);

/* XXH64 over registers (general, RIP, RFLAGS, segments, control and debug registers, MSRs) in a
 * fixed order and form: equal states give equal hashes. */
uint64_t vm_debug_hash_registers(struct vm *vm);
/* XXH64 over all of guest memory: as slow as that is. */
uint64_t vm_debug_hash_memory(struct vm *vm);

#endif
