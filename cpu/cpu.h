/*
 * One logical processor: architectural state, address translation, the current VMCS.
 *
 * An execution engine computes with its own copy of the state. Before it calls into cpu/ it brings
 * `state` up to date (as far as the called function says it needs), and afterwards it takes over
 * what the function says it changed.
 */
#ifndef VTXSIM_CPU_CPU_H
#define VTXSIM_CPU_CPU_H

#include "cpu/event.h"
#include "cpu/exit.h"
#include "cpu/profile.h"
#include "cpu/state.h"
#include "cpu/vmcs.h"
#include "memory/mmu.h"

struct cpu;

/* What the processor model needs from the machine around it. All calls get `machine`. */
struct cpu_callbacks {
    /* The host TSC: simulated cycles since power-on. */
    uint64_t (*tsc)(void *machine);
    /* 64 random bits from the machine's seeded generator (RDRAND, RDSEED). */
    uint64_t (*random)(void *machine);
    /* Local APIC registers through MSRs (x2APIC, IA32_TSC_DEADLINE, IA32_APIC_BASE). Return false
     * for #GP. MSR numbers as in the SDM. */
    bool (*apic_read_msr)(void *machine, uint32_t msr, uint64_t *value);
    bool (*apic_write_msr)(void *machine, uint32_t msr, uint64_t value);
    /* CR8 = bits 7:4 of the local APIC's TPR. */
    uint64_t (*read_cr8)(void *machine);
    void (*write_cr8)(void *machine, uint64_t value);
};

struct cpu {
    struct cpu_state state;
    struct mmu mmu;
    const struct cpu_profile *profile;

    bool non_root;      /* VMX non-root operation */
    struct vmcs *vmcs;  /* the current VMCS; controls are honoured while non_root */
    struct vm_exit exit; /* the exit being built or handled */
    uint8_t instruction_length; /* of the instruction being executed, set by the engine */

    struct event fault;          /* the exception of an OUTCOME_EXCEPTION */
    struct event delivering;     /* event in delivery: IDT-vectoring information of an exit */
    bool delivery_in_progress;

    const struct cpu_callbacks *callbacks;
    void *machine;
};

/* Registers as after RESET (SDM "Processor State After Reset"); microcode signature in EDX. */
void cpu_reset(struct cpu *cpu);

/* Current privilege level: DPL of SS, 3 in virtual-8086 mode, 0 in real mode. */
static inline unsigned cpu_cpl(const struct cpu *cpu)
{
    return AR_DPL(cpu->state.seg[SEG_SS].access_rights);
}

#endif
