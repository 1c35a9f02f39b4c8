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

/*
 * What the processor model needs from the machine around it. All calls get `machine`. Only `tsc`
 * and `random` must be there; without the others the local APIC is no more than its base address.
 */
struct cpu_callbacks {
    /* The host TSC: simulated cycles since power-on. */
    uint64_t (*tsc)(void *machine);
    /* 64 random bits from the machine's seeded generator (RDRAND, RDSEED). */
    uint64_t (*random)(void *machine);
    /* Local APIC registers through MSRs (x2APIC, IA32_TSC_DEADLINE, IA32_APIC_BASE). Return false
     * for #GP. MSR numbers as in the SDM. */
    bool (*apic_read_msr)(void *machine, uint32_t msr, uint64_t *value);
    bool (*apic_write_msr)(void *machine, uint32_t msr, uint64_t value);
    /* Guest TSC - host TSC has become `offset` (IA32_TIME_STAMP_COUNTER or IA32_TSC_ADJUST was
     * written): deadlines of IA32_TSC_DEADLINE move. */
    void (*tsc_offset_changed)(void *machine, uint64_t offset);
    /* CR8 = bits 7:4 of the local APIC's TPR. */
    uint64_t (*read_cr8)(void *machine);
    void (*write_cr8)(void *machine, uint64_t value);
};

/* What VMX non-root operation keeps beside the architectural registers, from entry to exit. */
struct vmx_run {
    uint64_t first_pause, last_pause; /* PAUSE-loop exiting: TSC values; last_pause 0: none yet */
    uint64_t preemption_deadline;     /* TSC at which the VMX-preemption timer expires */
    bool nmi_unblocked_by_iret;       /* the faulting instruction is an IRET that unblocked NMIs */
};
#define PREEMPTION_TIMER_OFF UINT64_MAX

/*
 * What cpu/ changed behind the engine's back, in cpu->changed: bits are set by the functions of
 * cpu/instructions.h, cpu/msr.h, cpu/modes.h and by cpu_deliver, and cleared by the engine once it
 * has taken the new values over. General-purpose registers, RIP and RFLAGS are not tracked.
 */
enum cpu_change {
    CPU_CHANGED_CR0 = 1 << 0,
    CPU_CHANGED_CR2 = 1 << 1,
    CPU_CHANGED_CR3 = 1 << 2,
    CPU_CHANGED_CR4 = 1 << 3,
    CPU_CHANGED_CR8 = 1 << 4,
    CPU_CHANGED_XCR0 = 1 << 5,
    CPU_CHANGED_EFER = 1 << 6,
    CPU_CHANGED_DEBUG = 1 << 7,    /* DR0-DR3, DR6, DR7 */
    CPU_CHANGED_SEGMENTS = 1 << 8, /* selectors, hidden parts, CPL; FS.base and GS.base */
    CPU_CHANGED_MSR = 1 << 9,      /* any other MSR that has a field in struct cpu_state */
    CPU_CHANGED_TLB = 1 << 10,     /* translations are stale: the engine must flush its own */
};

struct cpu {
    struct cpu_state state;
    struct mmu mmu;
    const struct cpu_profile *profile;
    uint32_t apic_id;   /* initial local APIC ID, x2APIC ID */
    uint32_t cpu_count; /* logical processors of the machine, for CPUID; 0 counts as 1 */
    uint32_t changed;   /* enum cpu_change bits */

    bool non_root;      /* VMX non-root operation */
    struct vmcs *vmcs;  /* the current VMCS; controls are honoured while non_root */
    struct vm_exit exit; /* the exit being built or handled */
    struct vmx_run vmx;
    bool skip_clean_checks; /* VMRESUME with an unchanged VMCS skips the VM-entry checks */
    uint8_t instruction_length; /* of the instruction being executed, set by the engine */

    struct event fault;          /* the exception of an OUTCOME_EXCEPTION */
    struct event delivering;     /* event in delivery: IDT-vectoring information of an exit */
    bool delivery_in_progress;

    const struct cpu_callbacks *callbacks;
    void *machine;
};

/*
 * Registers as after RESET (SDM "Processor State After Reset"), signature in EDX. profile, mmu
 * (mmu_init), apic_id, callbacks and machine must be set before; everything shows in cpu->changed.
 */
void cpu_reset(struct cpu *cpu);
/* Registers as after INIT: those of RESET, but CR0.CD and CR0.NW, the MSRs and the TSC stay. */
void cpu_init(struct cpu *cpu);

/* Current privilege level: DPL of SS, 3 in virtual-8086 mode, 0 in real mode. */
static inline unsigned cpu_cpl(const struct cpu *cpu)
{
    return AR_DPL(cpu->state.seg[SEG_SS].access_rights);
}

#endif
