/*
 * What the VM handler asks of an execution engine: to run one virtual processor in VMX non-root
 * operation until something needs the handler.
 *
 * An engine keeps its own copy of the processor state while it runs. It calls the processor model
 * (cpu/) for everything that VMX can intercept, and vcpu_exit (sim/vcpu.h) when that ends in a VM
 * exit: most exits are settled there and then, and the engine goes on; for the others it returns.
 */
#ifndef VTXSIM_SIM_ENGINE_H
#define VTXSIM_SIM_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "sim/config.h"
#include "sim/debug.h"

struct cpu_profile;
struct vcpu;

struct engine_statistics {
    uint64_t blocks_translated, instructions_translated;
    uint64_t code_cache_bytes, code_cache_flushes;
    uint64_t tlb_fills, tlb_flushes;
    uint64_t entries; /* times that the engine was (re-)entered */
};

struct engine_operations {
    const char *name;
    /* Returns 0 or -errno with a message. The engine's state hangs off vcpu->engine. */
    int (*create)(struct vcpu *vcpu, char *message, size_t size);
    void (*destroy)(struct vcpu *vcpu);
    /* Runs from vcpu->cpu.state until a VM exit must leave (cpu.exit filled, not yet recorded), and
     * brings cpu.state up to date. Returns 0, or -errno with vcpu->engine_message. */
    int (*run)(struct vcpu *vcpu);
    /* From any thread or signal handler: have run() return soon (external-interrupt exit). */
    void (*kick)(struct vcpu *vcpu);
    /* Instructions retired so far; exact at exits. */
    uint64_t (*instructions)(const struct vcpu *vcpu);
    uint64_t (*user_instructions)(const struct vcpu *vcpu);
    /* The next instruction count at which the engine must consult vcpu_boundary. */
    void (*set_deadline)(struct vcpu *vcpu, uint64_t instructions);
    /* Brings the deadline nearer by a number of instructions: time has passed without any. */
    void (*advance)(struct vcpu *vcpu, uint64_t instructions);
    /* The handler has completed an instruction in the engine's stead: it counts as retired. */
    void (*retire)(struct vcpu *vcpu);
    /* Guest-physical or EPT mappings changed: drop cached translations. */
    void (*flush_tlb)(struct vcpu *vcpu);
    /* In vcpu_boundary: cpu.state <- all of the engine's copy; and back, when it was changed. */
    void (*pull)(struct vcpu *vcpu);
    void (*push)(struct vcpu *vcpu);
    /* Guest memory was written behind the engine's back, or the VM's sink wants other events than
     * before: drop what was made of the guest's code. */
    void (*flush_code)(struct vcpu *vcpu);
    /* The general-purpose registers in the order of enum gpr, where the engine has them: current
     * while a block's event is told. NULL if the engine tells no such events. */
    const uint64_t *(*general_registers)(const struct vcpu *vcpu);
    /* From now on the first write of the guest to each page is noted (physmem_note_write). NULL:
     * that cannot be had, and there are no state hashes. */
    void (*watch_writes)(struct vcpu *vcpu);
    /* vm->debug.points are others than before; NULL: the engine has no such thing. */
    void (*points_changed)(struct vcpu *vcpu);
    /* x87 and SSE registers as FXSAVE64 stores them (SDM, "Layout of the 64-Bit-Mode FXSAVE64
     * Map"). NULL: not to be had. */
    void (*read_fpu)(struct vcpu *vcpu, uint8_t image[FXSAVE_BYTES]);
    void (*write_fpu)(struct vcpu *vcpu, const uint8_t image[FXSAVE_BYTES]);
    void (*get_statistics)(const struct vcpu *vcpu, struct engine_statistics *statistics);
    /* May be NULL. A profile as the guest will see it on this engine: its TSC frequency. */
    void (*adjust_profile)(struct cpu_profile *profile);
    /* May be NULL. What the engine runs on, for the head of a trace: "pvm", "vmx"; NULL: nothing. */
    const char *(*environment)(void);
};

/* Each is NULL in a program that was built without it; see engine_find. */
extern const struct engine_operations unicorn_engine __attribute__((weak));
extern const struct engine_operations kvm_engine __attribute__((weak));

/* NULL if this program was built without the backend's engine. */
static inline const struct engine_operations *engine_find(enum vm_backend backend)
{
    return backend == BACKEND_KVM ? &kvm_engine : &unicorn_engine;
}

#endif
