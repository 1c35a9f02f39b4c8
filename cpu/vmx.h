/*
 * VMX transitions of one logical processor: which instructions and events cause VM exits, what a
 * VM exit saves and loads, what a VM entry checks and loads. SDM volume 3: "VMX Non-Root
 * Operation", "VM Entries", "VM Exits".
 */
#ifndef VTXSIM_CPU_VMX_H
#define VTXSIM_CPU_VMX_H

#include "cpu/cpu.h"
#include "cpu/instructions.h"
#include "cpu/vmx_controls.h"

/*
 * The controls decide (cpu/vmx_intercepts.c): each function returns true if the instruction or
 * event causes a VM exit now, with cpu->exit filled, else false with cpu->exit untouched. Outside
 * VMX non-root operation nothing does.
 */
bool vmx_intercepts(struct cpu *cpu, enum exit_reason reason); /* those without parameters */
/* The same for instructions that report an operand: instruction information in the format of the
 * instruction, and the displacement as qualification (VMX instructions, INVPCID). */
bool vmx_intercepts_operand(struct cpu *cpu, enum exit_reason reason, uint32_t instruction_info,
                            uint64_t displacement);
bool vmx_intercepts_rdrand(struct cpu *cpu, bool seed, enum gpr destination, unsigned operand_size);
bool vmx_intercepts_exception(struct cpu *cpu, const struct event *event);
bool vmx_intercepts_io(struct cpu *cpu, const struct io_access *access);
bool vmx_intercepts_msr(struct cpu *cpu, bool write, uint32_t msr);
bool vmx_intercepts_invlpg(struct cpu *cpu, uint64_t linear);
bool vmx_intercepts_mov_to_cr(struct cpu *cpu, unsigned reg, enum gpr source, uint64_t value);
bool vmx_intercepts_mov_from_cr(struct cpu *cpu, unsigned reg, enum gpr destination);
bool vmx_intercepts_clts(struct cpu *cpu);
bool vmx_intercepts_lmsw(struct cpu *cpu, uint16_t source, bool memory, uint64_t linear);
bool vmx_intercepts_mov_dr(struct cpu *cpu, unsigned reg, bool write, enum gpr gpr);
bool vmx_intercepts_descriptor_table(struct cpu *cpu, enum descriptor_instruction instruction,
                                     uint32_t instruction_info, uint64_t displacement);
/* vector: reported if "acknowledge interrupt on exit" is 1; else the interrupt stays pending. */
bool vmx_intercepts_external_interrupt(struct cpu *cpu, uint8_t vector);
bool vmx_intercepts_nmi(struct cpu *cpu);
bool vmx_intercepts_pause(struct cpu *cpu, uint64_t tsc); /* PAUSE exiting and PAUSE-loop exiting */
/* At an instruction boundary: NMI-window and interrupt-window exiting. */
bool vmx_intercepts_window(struct cpu *cpu);
/* At an instruction boundary: has the VMX-preemption timer expired at this time? */
bool vmx_intercepts_preemption_timer(struct cpu *cpu, uint64_t tsc);

/* CR0 and CR4 as the guest reads them through mask and read shadow. */
uint64_t vmx_guest_visible_cr0(const struct cpu *cpu);
uint64_t vmx_guest_visible_cr4(const struct cpu *cpu);
/* What a write to CR0 or CR4 that does not exit really requests: host-owned bits keep their
 * current value. */
uint64_t vmx_apply_cr0_mask(const struct cpu *cpu, uint64_t current, uint64_t requested);
uint64_t vmx_apply_cr4_mask(const struct cpu *cpu, uint64_t current, uint64_t requested);

/* The secondary controls in effect: all 0 unless the primary controls activate them. */
static inline uint32_t vmx_secondary_controls(const struct vmcs *vmcs)
{
    return vmcs_get(vmcs, VMCS_PRIMARY_CONTROLS) & PRIMARY_SECONDARY_CONTROLS
               ? (uint32_t)vmcs_get(vmcs, VMCS_SECONDARY_CONTROLS)
               : 0;
}
/* Physical NMIs are held back: by blocking after an NMI, unless "virtual NMIs" gives that bit
 * another meaning. */
bool vmx_nmi_blocked(const struct cpu *cpu);

/* Fills cpu->exit for the exits that no instruction asks for. */
void vmx_exit_ept(struct cpu *cpu, const struct mmu_fault *fault); /* violation, misconfiguration */
void vmx_exit_triple_fault(struct cpu *cpu);
void vmx_exit_event(struct cpu *cpu, enum exit_reason reason); /* windows, MTF, timer, INIT, ... */
void vmx_exit_task_switch(struct cpu *cpu, uint16_t selector, unsigned source,
                          uint8_t instruction_length);

/* --- VM exit ---------------------------------------------------------------------------------- */

/* Writes cpu->exit into the VM-exit information fields; merges IDT-vectoring information when an
 * event was in delivery; clears the valid bit of the VM-entry interruption information. */
void vmexit_record_information(struct cpu *cpu);
/* Guest-state area <- cpu->state (needs all of it); VM-exit MSR-store list. Returns false for a
 * VMX abort (SDM "VMX Aborts"), with the indicator in the VMCS. */
bool vmexit_save_guest_state(struct cpu *cpu);
/* cpu->state <- host-state area; VM-exit MSR-load list; leaves VMX non-root operation. Returns
 * false for a VMX abort. Also what a machine calls once to become its host before the first VM
 * entry (the checks want the host's EFER.LMA to fit "host address-space size"). */
bool vmexit_load_host_state(struct cpu *cpu);

/* --- VM entry --------------------------------------------------------------------------------- */

enum vmentry_status {
    VMENTRY_OK,              /* cpu->state is the guest's, non_root set, event injected */
    VMENTRY_FAILED_CONTROLS, /* VMfailValid: VMCS_VM_INSTRUCTION_ERROR says 7, 4, 5 or 26 */
    VMENTRY_FAILED_HOST,     /* VMfailValid(8) */
    VMENTRY_FAILED_GUEST,    /* VM exit with reason 33 | bit 31 */
    VMENTRY_FAILED_MSR,      /* VM exit with reason 34 | bit 31 */
    VMENTRY_EXIT,            /* entry succeeded, and injecting the event caused cpu->exit */
};

/* VM-instruction error numbers of VM entries (SDM "VM-Instruction Error Numbers"). */
#define VMENTRY_ERROR_LAUNCH_NOT_CLEAR    4
#define VMENTRY_ERROR_RESUME_NOT_LAUNCHED 5
#define VMENTRY_ERROR_CONTROLS            7
#define VMENTRY_ERROR_HOST_STATE          8
#define VMENTRY_ERROR_BLOCKED_BY_MOV_SS   26

/*
 * VMLAUNCH (launch) or VMRESUME of cpu->vmcs: checks, guest-state load, MSR load, injection.
 * cpu->state is the host's before, and after VMENTRY_FAILED_CONTROLS and _HOST unchanged; after
 * VMENTRY_FAILED_GUEST and _MSR it is loaded from the host-state area and the VMCS holds exit
 * reason and qualification. After VMENTRY_EXIT the processor is still in VMX non-root operation:
 * vmexit_* follow as for any exit.
 */
enum vmentry_status vmentry(struct cpu *cpu, bool launch);

/* One failed check. All of them are collected, not only the first. */
struct vmentry_failure {
    const char *section;   /* the SDM's section that demands it */
    const char *text;      /* the demand, in one sentence, e.g. "CR0.PG = 1 requires CR0.PE = 1" */
    enum vmcs_field field; /* the field at fault (the first, if several) */
    uint64_t value;        /* its value */
    enum vmentry_status status; /* VMENTRY_FAILED_CONTROLS, _HOST or _GUEST */
    uint32_t qualification;     /* VMENTRY_FAILED_GUEST: exit qualification of the failed entry */
};
#define VMENTRY_FAILURES_MAX 256 /* more than there are checks */
struct vmentry_report {
    unsigned count;
    struct vmentry_failure failure[VMENTRY_FAILURES_MAX];
};
/*
 * Runs every check (SDM "Checks on VMX Controls and Host-State Area" onwards, in its order)
 * without entering. The status is that of the first failure: what vmentry() would return.
 */
enum vmentry_status vmentry_check(struct cpu *cpu, struct vmentry_report *report);

#endif
