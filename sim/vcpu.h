/*
 * A virtual processor: the logical processor, its VMCS, and the loop of VM entries and VM exits.
 *
 *   vcpu_run:   [prepare events] -> VM entry -> engine -> VM exit -> handler -> again, or stop
 *
 * Most exits never get that far: the engine calls vcpu_exit where it stands, the handler settles
 * the exit, and the guest goes on (the processor's state is not saved and reloaded: only RIP and
 * RFLAGS pass through the VMCS). vcpu_exit says no when the handler needs more than that.
 */
#ifndef VTXSIM_SIM_VCPU_H
#define VTXSIM_SIM_VCPU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cpu/cpu.h"
#include "cpu/vmx.h"
#include "sim/engine.h"
#include "sim/exit_statistics.h"
#include "sim/vm.h"
#include "traces/sink.h"

struct vm;

struct vcpu {
    struct cpu cpu;
    struct vmcs vmcs; /* the VMCS that the VM handler keeps for this processor */
    struct vm *vm;
    unsigned index;

    const struct engine_operations *engine_operations;
    void *engine;             /* the engine's own state */
    char engine_message[256]; /* why run() failed */

    /* Simulated time = instructions retired + extra cycles (exits, waiting in HLT, PAUSE, ...). */
    uint64_t extra_cycles;

    bool in_place;           /* the handler runs while the processor holds the guest's state */
    bool exit_settled; /* the exit that left the engine was handled already */
    bool event_raised; /* an interrupt or NMI is new: the handler must look at it */
    bool nmi_pending;
    _Atomic bool kicked; /* pause, stop or input is asked for */

    /* MMIO accesses of the instruction at this instruction count need no further exit: it was
     * restarted after leaving the engine for one. */
    uint64_t mmio_granted_at;

    uint64_t begun_at;        /* time of the instruction that the engine has begun last */
    uint64_t entered_at;      /* instruction count at the last VM entry */
    uint32_t exit_cycles;     /* charged for every exit with its entry */
    struct trace_event record; /* the exit being handled; the handler sets operand and value */

    struct exit_statistics exits;
    uint64_t exits_in_place, exits_full;
};

/* What to do after an exit. */
enum vcpu_action {
    VCPU_RESUME, /* settled: continue at the VMCS's GUEST_RIP */
    VCPU_ACCESS, /* EPT violation on a device: perform the access through the bus */
    VCPU_LEAVE,  /* leave the engine; exit_settled tells whether the handler has run */
};

/*
 * The engine hands over the VM exit in cpu.exit. General-purpose registers, RIP, RFLAGS and the
 * access rights of CS and SS are up to date in cpu.state; on VCPU_RESUME the general-purpose
 * registers, RIP and RFLAGS may have changed.
 */
enum vcpu_action vcpu_exit(struct vcpu *vcpu);

/*
 * At an instruction boundary whose instruction count has reached the deadline, or after a kick:
 * true if a VM exit is due (cpu.exit is filled; call vcpu_exit or leave). Sets the next deadline.
 */
bool vcpu_boundary(struct vcpu *vcpu);

/* Lets simulated time pass that no instruction counts: exits, PAUSE, waiting in HLT. */
void vcpu_charge(struct vcpu *vcpu, uint64_t cycles);

/* Simulated cycles now: the host TSC of the simulated processor. */
uint64_t vcpu_cycles(const struct vcpu *vcpu);

/* Runs until the VM stops or is paused. Returns 0, or -errno after an engine's failure. */
int vcpu_run(struct vcpu *vcpu);

/* Reads an operand register of the guest wherever it is: RSP lives in the VMCS. */
uint64_t vcpu_gpr(const struct vcpu *vcpu, unsigned gpr);
void vcpu_set_gpr(struct vcpu *vcpu, unsigned gpr, uint64_t value);

#endif
