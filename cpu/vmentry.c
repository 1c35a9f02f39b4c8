/*
 * VM entries: SDM volume 3, chapter "VM Entries", in its order: "Basic VM-Entry Checks", the checks
 * (vmentry_checks*.c), "Loading Guest State", "Loading MSRs", "Event Injection", "Special Features
 * of VM Entry", "VM-Entry Failures During or After Loading Guest State".
 */
#include "cpu/modes.h"
#include "cpu/vmentry_checks.h"
#include "cpu/vmx_transition.h"

#define PENDING_DEBUG_BREAKPOINT (1ull << 12) /* "enabled breakpoint" */
#define PENDING_DEBUG_BS         (1ull << 14)

/* --- Basic VM-entry checks ---------------------------------------------------------------------
 */

static enum vmentry_status fail_valid(struct cpu *cpu, enum vmentry_status status, uint32_t error)
{
    vmcs_store(cpu->vmcs, VMCS_VM_INSTRUCTION_ERROR, error);
    return status;
}

/* The VM-instruction error of VMLAUNCH or VMRESUME before any field counts; 0: none. */
static uint32_t basic_check(const struct cpu *cpu, bool launch)
{
    if (cpu->state.interruptibility & BLOCKING_BY_MOV_SS)
        return VMENTRY_ERROR_BLOCKED_BY_MOV_SS;
    if (launch && cpu->vmcs->launched)
        return VMENTRY_ERROR_LAUNCH_NOT_CLEAR;
    if (!launch && !cpu->vmcs->launched)
        return VMENTRY_ERROR_RESUME_NOT_LAUNCHED;
    return 0;
}

/* --- Loading guest state -----------------------------------------------------------------------
 */

static void load_control_registers(struct cpu *cpu, uint64_t entry_controls)
{
    struct cpu_state *state = &cpu->state;
    const struct vmcs *vmcs = cpu->vmcs;
    bool ia32e = entry_controls & ENTRY_IA32E_MODE_GUEST;

    state->cr0 = (vmcs_get(vmcs, VMCS_GUEST_CR0) & ~CR0_KEPT_BY_TRANSITIONS) |
                 (state->cr0 & CR0_KEPT_BY_TRANSITIONS);
    state->cr3 = vmcs_get(vmcs, VMCS_GUEST_CR3);
    state->cr4 = vmcs_get(vmcs, VMCS_GUEST_CR4);
    if (entry_controls & ENTRY_LOAD_DEBUG_CONTROLS) {
        state->dr7 = (vmcs_get(vmcs, VMCS_GUEST_DR7) & ~DR7_FIXED_ZEROS) | DR7_FIXED_ONES;
        state->debugctl = vmcs_get(vmcs, VMCS_GUEST_DEBUGCTL);
    }
    state->sysenter_cs = vmcs_get(vmcs, VMCS_GUEST_SYSENTER_CS);
    state->sysenter_esp = vmcs_get(vmcs, VMCS_GUEST_SYSENTER_ESP);
    state->sysenter_eip = vmcs_get(vmcs, VMCS_GUEST_SYSENTER_EIP);
    if (entry_controls & ENTRY_LOAD_PAT)
        state->pat = vmcs_get(vmcs, VMCS_GUEST_PAT);
    if (entry_controls & ENTRY_LOAD_EFER) {
        state->efer = vmcs_get(vmcs, VMCS_GUEST_EFER);
    } else {
        /* LME follows LMA, except that a guest without paging keeps the processor's LME. */
        uint64_t follows = EFER_LMA | (state->cr0 & CR0_PG ? EFER_LME : 0);
        state->efer = (state->efer & ~follows) | (ia32e ? follows : 0);
    }
}

static void load_segments(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;
    const struct vmcs *vmcs = cpu->vmcs;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        struct segment *segment = &state->seg[i];
        segment->selector = (uint16_t)vmcs_get(vmcs, VMCS_GUEST_ES_SELECTOR + i);
        segment->base = vmcs_get(vmcs, VMCS_GUEST_ES_BASE + i);
        segment->limit = (uint32_t)vmcs_get(vmcs, VMCS_GUEST_ES_LIMIT + i);
        segment->access_rights = (uint32_t)vmcs_get(vmcs, VMCS_GUEST_ES_ACCESS_RIGHTS + i);
    }
    state->gdtr.base = vmcs_get(vmcs, VMCS_GUEST_GDTR_BASE);
    state->gdtr.limit = (uint16_t)vmcs_get(vmcs, VMCS_GUEST_GDTR_LIMIT);
    state->idtr.base = vmcs_get(vmcs, VMCS_GUEST_IDTR_BASE);
    state->idtr.limit = (uint16_t)vmcs_get(vmcs, VMCS_GUEST_IDTR_LIMIT);
}

static void load_non_register_state(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;
    const struct vmcs *vmcs = cpu->vmcs;
    state->activity = (enum activity_state)vmcs_get(vmcs, VMCS_GUEST_ACTIVITY_STATE);
    state->interruptibility = (uint32_t)vmcs_get(vmcs, VMCS_GUEST_INTERRUPTIBILITY);
    state->pending_debug = vmcs_get(vmcs, VMCS_GUEST_PENDING_DEBUG);
}

/* The translation controls take effect before anything is translated for the guest. PAE paging
 * needs its PDPTEs: from the VMCS with EPT, else from memory. Returns false if they are invalid. */
static bool load_paging(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;
    const struct vmcs *vmcs = cpu->vmcs;
    uint32_t secondary = vmx_secondary_controls(vmcs);
    bool ept = secondary & SECONDARY_EPT, vpid = secondary & SECONDARY_VPID;
    bool valid = true;

    mmu_set_ept(&cpu->mmu, ept, ept ? vmcs_get(vmcs, VMCS_EPTP) : 0,
                vpid ? (uint16_t)vmcs_get(vmcs, VMCS_VPID) : 0);
    if (cpu_pae_paging(state->cr0, state->cr4, state->efer)) {
        if (ept) {
            for (unsigned i = 0; i < 4; i++)
                state->pdpte[i] = vmcs_get(vmcs, VMCS_GUEST_PDPTE0 + i);
        } else {
            struct mmu_fault fault;
            bool reserved;
            valid =
                mmu_load_pdptes(&cpu->mmu, state->cr3, state->pdpte, &reserved, &fault) == MMU_OK;
        }
    }
    vmx_load_paging(cpu, !vpid);
    return valid;
}

/* "VMX-Preemption Timer": counts down when one TSC bit changes. */
static void start_preemption_timer(struct cpu *cpu)
{
    const struct vmcs *vmcs = cpu->vmcs;
    cpu->vmx.preemption_deadline = PREEMPTION_TIMER_OFF;
    if (!(vmcs_get(vmcs, VMCS_PIN_BASED_CONTROLS) & PIN_PREEMPTION_TIMER))
        return;
    unsigned rate = VMX_MISC_TIMER_RATE(vmx_capability(cpu->profile, MSR_VMX_MISC));
    uint64_t now = cpu->callbacks->tsc(cpu->machine);
    cpu->vmx.preemption_deadline = ((now >> rate) + vmcs_get(vmcs, VMCS_PREEMPTION_TIMER_VALUE))
                                   << rate;
}

static bool load_guest_state(struct cpu *cpu)
{
    const struct vmcs *vmcs = cpu->vmcs;
    load_control_registers(cpu, vmcs_get(vmcs, VMCS_ENTRY_CONTROLS));
    load_segments(cpu);
    cpu->state.rip = vmcs_get(vmcs, VMCS_GUEST_RIP);
    cpu->state.gpr[GPR_RSP] = vmcs_get(vmcs, VMCS_GUEST_RSP);
    cpu->state.rflags = vmcs_get(vmcs, VMCS_GUEST_RFLAGS);
    load_non_register_state(cpu);
    cpu->changed |= ~(uint32_t)CPU_CHANGED_TLB;
    return load_paging(cpu);
}

/* --- Failures after the host-state checks ------------------------------------------------------
 */

/* A VM exit that saves nothing and reports reason and qualification only ("VM-Entry Failures
 * During or After Loading Guest State"). */
static enum vmentry_status fail_entry(struct cpu *cpu, enum vmentry_status status,
                                      uint64_t qualification)
{
    enum exit_reason reason =
        status == VMENTRY_FAILED_MSR ? EXIT_ENTRY_MSR_LOADING : EXIT_ENTRY_GUEST_STATE;
    cpu->exit = (struct vm_exit){.reason = reason | EXIT_REASON_ENTRY_FAILURE,
                                 .qualification = qualification};
    vmcs_store(cpu->vmcs, VMCS_EXIT_REASON, cpu->exit.reason);
    vmcs_store(cpu->vmcs, VMCS_EXIT_QUALIFICATION, qualification);
    vmexit_load_host_state(cpu);
    return status;
}

/* --- Event injection ---------------------------------------------------------------------------
 */

static enum vmentry_status deliver(struct cpu *cpu, const struct event *event, bool injected)
{
    switch (cpu_deliver(cpu, event, injected)) {
    case DELIVERED:
        return VMENTRY_OK;
    default: /* in VMX non-root operation even a triple fault is a VM exit */
        return VMENTRY_EXIT;
    }
}

static enum vmentry_status inject(struct cpu *cpu, uint32_t info)
{
    const struct vmcs *vmcs = cpu->vmcs;
    struct cpu_state *state = &cpu->state;
    unsigned type = info >> INTR_INFO_TYPE_SHIFT & 7;
    if (type == INJECTION_OTHER_EVENT) {
        vmx_exit_event(cpu, EXIT_MONITOR_TRAP_FLAG);
        return VMENTRY_EXIT;
    }
    struct event event = {
        .type = (enum event_type)type,
        .vector = info & INTR_INFO_VECTOR,
        .has_error_code = info & INTR_INFO_ERROR_CODE,
        .error_code = (uint32_t)vmcs_get(vmcs, VMCS_ENTRY_EXCEPTION_ERROR_CODE),
        .instruction_length = (uint8_t)vmcs_get(vmcs, VMCS_ENTRY_INSTRUCTION_LENGTH),
        .cr2 = state->cr2, /* injection of a page fault leaves CR2 alone */
    };
    return deliver(cpu, &event, true);
}

/* "Delivery of Pending Debug Exceptions after VM Entry": which the injected event discards. */
static bool discards_pending_debug(const struct cpu *cpu, uint32_t info)
{
    if (!(info & INTR_INFO_VALID))
        return cpu->state.activity == ACTIVITY_SHUTDOWN ||
               cpu->state.activity == ACTIVITY_WAIT_FOR_SIPI;
    switch (info >> INTR_INFO_TYPE_SHIFT & 7) {
    case EVENT_SOFTWARE_INTERRUPT:
    case EVENT_SOFTWARE_EXCEPTION:
        return !(cpu->state.interruptibility & BLOCKING_BY_MOV_SS);
    case INJECTION_OTHER_EVENT:
        return false;
    default:
        return true;
    }
}

/* A debug exception that the entry finds pending comes before the guest's first instruction, unless
 * blocking by MOV SS holds it back until after that. */
static enum vmentry_status deliver_pending_debug(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;
    uint64_t pending = state->pending_debug;
    if (!(pending & (PENDING_DEBUG_BREAKPOINT | PENDING_DEBUG_BS)) ||
        (state->interruptibility & BLOCKING_BY_MOV_SS))
        return VMENTRY_OK;
    struct event event = {
        .type = EVENT_HARDWARE_EXCEPTION,
        .vector = VECTOR_DB,
        .debug = pending & ~PENDING_DEBUG_BREAKPOINT,
    };
    state->pending_debug = 0;
    return deliver(cpu, &event, false);
}

static enum vmentry_status deliver_events(struct cpu *cpu)
{
    uint32_t info = (uint32_t)vmcs_get(cpu->vmcs, VMCS_ENTRY_INTERRUPTION_INFO);
    if (discards_pending_debug(cpu, info))
        cpu->state.pending_debug = 0;
    return info & INTR_INFO_VALID ? inject(cpu, info) : deliver_pending_debug(cpu);
}

/* --- The whole of it ---------------------------------------------------------------------------
 */

/* What must be checked: everything, or what software has written since the last entry. */
static uint32_t dirty_parts(const struct cpu *cpu, bool launch)
{
    const struct vmcs *vmcs = cpu->vmcs;
    bool clean = cpu->skip_clean_checks && !launch && !(vmcs->dirty & ~VMCS_DIRTY_RIP);
    return clean ? vmcs->dirty : VMCS_DIRTY_ALL;
}

enum vmentry_status vmentry(struct cpu *cpu, bool launch)
{
    struct vmcs *vmcs = cpu->vmcs;
    uint32_t qualification = 0;
    uint32_t error = basic_check(cpu, launch);
    if (error)
        return fail_valid(cpu, VMENTRY_FAILED_CONTROLS, error);

    enum vmentry_status status =
        vmentry_checks_run(cpu, dirty_parts(cpu, launch), NULL, &qualification);
    if (status == VMENTRY_FAILED_CONTROLS)
        return fail_valid(cpu, status, VMENTRY_ERROR_CONTROLS);
    if (status == VMENTRY_FAILED_HOST)
        return fail_valid(cpu, status, VMENTRY_ERROR_HOST_STATE);
    if (status == VMENTRY_FAILED_GUEST)
        return fail_entry(cpu, status, qualification);

    if (!load_guest_state(cpu))
        return fail_entry(cpu, VMENTRY_FAILED_GUEST, QUALIFICATION_PDPTE);
    uint32_t entry = vmx_load_msr_list(cpu, vmcs_get(vmcs, VMCS_ENTRY_MSR_LOAD_ADDRESS),
                                       (uint32_t)vmcs_get(vmcs, VMCS_ENTRY_MSR_LOAD_COUNT));
    if (entry)
        return fail_entry(cpu, VMENTRY_FAILED_MSR, entry);

    vmcs->launched = true;
    vmcs->dirty = 0;
    cpu->non_root = true;
    cpu->vmx.last_pause = 0;
    cpu->vmx.nmi_unblocked_by_iret = false;
    start_preemption_timer(cpu);
    return deliver_events(cpu);
}
