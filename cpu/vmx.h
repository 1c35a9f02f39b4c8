/*
 * VMX transitions of one logical processor: which instructions and events cause VM exits, what a
 * VM exit saves and loads, what a VM entry checks and loads. SDM volume 3: "VMX Non-Root
 * Operation", "VM Entries", "VM Exits".
 */
#ifndef VTXSIM_CPU_VMX_H
#define VTXSIM_CPU_VMX_H

#include "cpu/cpu.h"
#include "cpu/instructions.h"

/*
 * The controls decide (cpu/vmx_intercepts.c): each function returns true if the instruction or
 * event causes a VM exit now, with cpu->exit filled, else false with cpu->exit untouched. Outside
 * VMX non-root operation nothing does.
 */
bool vmx_intercepts(struct cpu *cpu, enum exit_reason reason); /* those without parameters */
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
bool vmx_intercepts_external_interrupt(struct cpu *cpu, uint8_t vector); /* vector: acknowledged */
bool vmx_intercepts_nmi(struct cpu *cpu);
bool vmx_intercepts_pause(struct cpu *cpu, uint64_t tsc); /* PAUSE exiting and PAUSE-loop exiting */

/* CR0 and CR4 as the guest reads them through mask and read shadow. */
uint64_t vmx_guest_visible_cr0(const struct cpu *cpu);
uint64_t vmx_guest_visible_cr4(const struct cpu *cpu);

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
/* cpu->state <- host-state area; VM-exit MSR-load list; leaves VMX non-root operation. */
bool vmexit_load_host_state(struct cpu *cpu);

/* --- VM entry --------------------------------------------------------------------------------- */

enum vmentry_status {
    VMENTRY_OK,             /* cpu->state is the guest's, non_root set, event injected */
    VMENTRY_FAILED_CONTROLS,/* VMfailValid(7): VMCS_VM_INSTRUCTION_ERROR set */
    VMENTRY_FAILED_HOST,    /* VMfailValid(8) */
    VMENTRY_FAILED_GUEST,   /* VM exit with reason 33 | bit 31 */
    VMENTRY_FAILED_MSR,     /* VM exit with reason 34 | bit 31 */
    VMENTRY_EXIT,           /* entry succeeded, and injecting the event caused cpu->exit */
};

/* VMLAUNCH (launch) or VMRESUME of cpu->vmcs: checks, guest-state load, MSR load, injection. */
enum vmentry_status vmentry(struct cpu *cpu, bool launch);

/* One failed check. All of them are collected, not only the first. */
struct vmentry_failure {
    const char *section; /* the SDM's section that demands it */
    const char *text;    /* the demand, in one sentence, e.g. "CR0.PG = 1 requires CR0.PE = 1" */
    enum vmcs_field field; /* the field at fault (the first, if several) */
    uint64_t value;        /* its value */
    enum vmentry_status status; /* VMENTRY_FAILED_CONTROLS, _HOST or _GUEST */
};
#define VMENTRY_FAILURES_MAX 64
struct vmentry_report {
    unsigned count;
    struct vmentry_failure failure[VMENTRY_FAILURES_MAX];
};
/* Runs every check (SDM "Basic VM-Entry Checks" onwards, in its order) without entering. */
enum vmentry_status vmentry_check(struct cpu *cpu, struct vmentry_report *report);

#endif
