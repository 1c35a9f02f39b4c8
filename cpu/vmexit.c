/*
 * VM exits: SDM volume 3, chapter "VM Exits", in its order: "Recording VM-Exit Information and
 * Updating VM-Entry Control Fields", "Saving Guest State", "Saving MSRs", "Loading Host State",
 * "Loading MSRs", "VMX Aborts".
 */
#include "cpu/modes.h"
#include "cpu/vmx_capabilities.h"
#include "cpu/vmx_transition.h"

/* SDM "VMX Aborts". */
enum vmx_abort {
    ABORT_SAVING_MSRS = 1,
    ABORT_HOST_PDPTES = 2,
    ABORT_LOADING_MSRS = 4,
    ABORT_64BIT_GUEST_32BIT_HOST = 6,
};

#define PENDING_DEBUG_BS  (1ull << 14)
#define PENDING_DEBUG_BD  (1ull << 13) /* in exit qualifications for debug exceptions */
#define HOST_TABLE_LIMIT  0xffff
#define HOST_TSS_LIMIT    0x67
#define HOST_CODE_TYPE    (AR_CODE | AR_WRITABLE | AR_ACCESSED)
#define HOST_DATA_TYPE    (AR_WRITABLE | AR_ACCESSED)
#define HOST_TSS_TYPE     11
#define ALL_STATE_CHANGED (~(uint32_t)CPU_CHANGED_TLB)

/* --- Recording VM-exit information -------------------------------------------------------------
 */

static bool is_software_event(enum event_type type)
{
    return type == EVENT_SOFTWARE_INTERRUPT || type == EVENT_SOFTWARE_EXCEPTION ||
           type == EVENT_PRIVILEGED_SOFTWARE_EXCEPTION;
}

/* "Information for VM Exits During Event Delivery": a triple fault and a double fault that exits
 * directly are not counted as occurring during delivery. */
static bool exit_counts_as_during_delivery(const struct vm_exit *exit)
{
    if (exit->reason == EXIT_TRIPLE_FAULT)
        return false;
    const uint32_t double_fault =
        VECTOR_DF | EVENT_HARDWARE_EXCEPTION << INTR_INFO_TYPE_SHIFT | INTR_INFO_VALID;
    const uint32_t what = INTR_INFO_VALID | INTR_INFO_VECTOR | 7u << INTR_INFO_TYPE_SHIFT;
    return exit->reason != EXIT_EXCEPTION_OR_NMI ||
           (exit->interruption_info & what) != double_fault;
}

static void merge_idt_vectoring(struct cpu *cpu)
{
    const struct event *event = &cpu->delivering;
    struct vm_exit *exit = &cpu->exit;
    if (!cpu->delivery_in_progress)
        return;
    cpu->delivery_in_progress = false;
    if (!exit_counts_as_during_delivery(exit))
        return;
    exit->idt_vectoring_info =
        event->vector | (uint32_t)event->type << INTR_INFO_TYPE_SHIFT | INTR_INFO_VALID;
    if (event->has_error_code) {
        exit->idt_vectoring_info |= INTR_INFO_ERROR_CODE;
        exit->idt_vectoring_error_code = event->error_code;
    }
    if (is_software_event(event->type))
        exit->instruction_length = event->instruction_length;
}

void vmexit_record_information(struct cpu *cpu)
{
    merge_idt_vectoring(cpu);
    cpu->vmx.nmi_unblocked_by_iret = false;

    const struct vm_exit *exit = &cpu->exit;
    struct vmcs *vmcs = cpu->vmcs;
    vmcs_store(vmcs, VMCS_EXIT_REASON, exit->reason);
    vmcs_store(vmcs, VMCS_EXIT_QUALIFICATION, exit->qualification);
    vmcs_store(vmcs, VMCS_GUEST_LINEAR_ADDRESS, exit->guest_linear_address);
    vmcs_store(vmcs, VMCS_GUEST_PHYSICAL_ADDRESS, exit->guest_physical_address);
    vmcs_store(vmcs, VMCS_EXIT_INTERRUPTION_INFO, exit->interruption_info);
    vmcs_store(vmcs, VMCS_EXIT_INTERRUPTION_ERROR_CODE, exit->interruption_error_code);
    vmcs_store(vmcs, VMCS_IDT_VECTORING_INFO, exit->idt_vectoring_info);
    vmcs_store(vmcs, VMCS_IDT_VECTORING_ERROR_CODE, exit->idt_vectoring_error_code);
    vmcs_store(vmcs, VMCS_EXIT_INSTRUCTION_LENGTH, exit->instruction_length);
    vmcs_store(vmcs, VMCS_EXIT_INSTRUCTION_INFO, exit->instruction_info);
    vmcs_store(vmcs, VMCS_ENTRY_INTERRUPTION_INFO,
               vmcs_get(vmcs, VMCS_ENTRY_INTERRUPTION_INFO) & ~(uint64_t)INTR_INFO_VALID);
}

/* --- Saving guest state ------------------------------------------------------------------------
 */

static void save_control_registers(struct cpu *cpu)
{
    const struct cpu_state *state = &cpu->state;
    struct vmcs *vmcs = cpu->vmcs;
    uint64_t exit_controls = vmcs_get(vmcs, VMCS_EXIT_CONTROLS);

    vmcs_store(vmcs, VMCS_GUEST_CR0, state->cr0);
    vmcs_store(vmcs, VMCS_GUEST_CR3, state->cr3);
    vmcs_store(vmcs, VMCS_GUEST_CR4, state->cr4);
    vmcs_store(vmcs, VMCS_GUEST_SYSENTER_CS, (uint32_t)state->sysenter_cs);
    vmcs_store(vmcs, VMCS_GUEST_SYSENTER_ESP, state->sysenter_esp);
    vmcs_store(vmcs, VMCS_GUEST_SYSENTER_EIP, state->sysenter_eip);
    if (exit_controls & EXIT_SAVE_DEBUG_CONTROLS) {
        vmcs_store(vmcs, VMCS_GUEST_DR7, state->dr7);
        vmcs_store(vmcs, VMCS_GUEST_DEBUGCTL, state->debugctl);
    }
    if (exit_controls & EXIT_SAVE_PAT)
        vmcs_store(vmcs, VMCS_GUEST_PAT, state->pat);
    if (exit_controls & EXIT_SAVE_EFER)
        vmcs_store(vmcs, VMCS_GUEST_EFER, state->efer);
    if (vmx_capability(cpu->profile, MSR_VMX_MISC) & VMX_MISC_STORES_LMA) {
        uint64_t entry_controls = vmcs_get(vmcs, VMCS_ENTRY_CONTROLS) & ~ENTRY_IA32E_MODE_GUEST;
        if (state->efer & EFER_LMA)
            entry_controls |= ENTRY_IA32E_MODE_GUEST;
        vmcs_store(vmcs, VMCS_ENTRY_CONTROLS, entry_controls);
    }
}

static void save_segments(struct cpu *cpu)
{
    const struct cpu_state *state = &cpu->state;
    struct vmcs *vmcs = cpu->vmcs;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const struct segment *segment = &state->seg[i];
        vmcs_store(vmcs, VMCS_GUEST_ES_SELECTOR + i, segment->selector);
        vmcs_store(vmcs, VMCS_GUEST_ES_BASE + i, segment->base);
        vmcs_store(vmcs, VMCS_GUEST_ES_LIMIT + i, segment->limit);
        vmcs_store(vmcs, VMCS_GUEST_ES_ACCESS_RIGHTS + i, segment->access_rights);
    }
    vmcs_store(vmcs, VMCS_GUEST_GDTR_BASE, state->gdtr.base);
    vmcs_store(vmcs, VMCS_GUEST_GDTR_LIMIT, state->gdtr.limit);
    vmcs_store(vmcs, VMCS_GUEST_IDTR_BASE, state->idtr.base);
    vmcs_store(vmcs, VMCS_GUEST_IDTR_LIMIT, state->idtr.limit);
}

/* How RFLAGS.RF is saved ("Saving RIP, RSP, RFLAGS, and SSP"). */
enum rf_rule {
    RF_KEEP,   /* as it is */
    RF_CLEAR,  /* an instruction that the controls intercept */
    RF_EVENT,  /* as in the image that delivery of the event would have pushed */
    RF_MEMORY, /* 1, or as RF_EVENT for the event in delivery */
};
static const uint8_t rf_rules[EXIT_REASON_COUNT] = {
    [EXIT_EXCEPTION_OR_NMI] = RF_EVENT,
    [EXIT_TASK_SWITCH] = RF_EVENT,
    [EXIT_EPT_VIOLATION] = RF_MEMORY,
    [EXIT_EPT_MISCONFIG] = RF_MEMORY,
    [EXIT_CPUID] = RF_CLEAR,
    [EXIT_GETSEC] = RF_CLEAR,
    [EXIT_HLT] = RF_CLEAR,
    [EXIT_INVD] = RF_CLEAR,
    [EXIT_INVLPG] = RF_CLEAR,
    [EXIT_RDPMC] = RF_CLEAR,
    [EXIT_RDTSC] = RF_CLEAR,
    [EXIT_VMCALL] = RF_CLEAR,
    [EXIT_VMCLEAR] = RF_CLEAR,
    [EXIT_VMLAUNCH] = RF_CLEAR,
    [EXIT_VMPTRLD] = RF_CLEAR,
    [EXIT_VMPTRST] = RF_CLEAR,
    [EXIT_VMREAD] = RF_CLEAR,
    [EXIT_VMRESUME] = RF_CLEAR,
    [EXIT_VMWRITE] = RF_CLEAR,
    [EXIT_VMXOFF] = RF_CLEAR,
    [EXIT_VMXON] = RF_CLEAR,
    [EXIT_CR_ACCESS] = RF_CLEAR,
    [EXIT_MOV_DR] = RF_CLEAR,
    [EXIT_IO] = RF_CLEAR,
    [EXIT_RDMSR] = RF_CLEAR,
    [EXIT_WRMSR] = RF_CLEAR,
    [EXIT_MWAIT] = RF_CLEAR,
    [EXIT_MONITOR] = RF_CLEAR,
    [EXIT_PAUSE] = RF_CLEAR,
    [EXIT_GDTR_IDTR] = RF_CLEAR,
    [EXIT_LDTR_TR] = RF_CLEAR,
    [EXIT_INVEPT] = RF_CLEAR,
    [EXIT_RDTSCP] = RF_CLEAR,
    [EXIT_INVVPID] = RF_CLEAR,
    [EXIT_WBINVD] = RF_CLEAR,
    [EXIT_XSETBV] = RF_CLEAR,
    [EXIT_RDRAND] = RF_CLEAR,
    [EXIT_INVPCID] = RF_CLEAR,
    [EXIT_RDSEED] = RF_CLEAR,
};

/* Delivery of faults pushes RF = 1, except for instruction breakpoints; of anything else, RF as it
 * is (SDM "Instruction-Breakpoint Exception Condition"). */
static bool event_sets_rf(uint32_t info, uint64_t debug)
{
    unsigned vector = info & INTR_INFO_VECTOR;
    if ((info >> INTR_INFO_TYPE_SHIFT & 7) != EVENT_HARDWARE_EXCEPTION)
        return false;
    if (vector == VECTOR_DB)
        return debug & PENDING_DEBUG_BD;
    return vector != VECTOR_DF && vector != VECTOR_MC;
}

static bool saved_rf(const struct cpu *cpu)
{
    const struct vm_exit *exit = &cpu->exit;
    bool current = cpu->state.rflags & RFLAGS_RF;
    uint8_t rule = exit->reason < EXIT_REASON_COUNT ? rf_rules[exit->reason] : RF_KEEP;
    if (rule == RF_CLEAR)
        return false;
    if (rule == RF_KEEP)
        return current;
    if (exit->idt_vectoring_info & INTR_INFO_VALID)
        return current || event_sets_rf(exit->idt_vectoring_info, cpu->delivering.debug);
    if (rule == RF_MEMORY)
        return true;
    return current || (exit->interruption_info & INTR_INFO_VALID &&
                       event_sets_rf(exit->interruption_info, exit->qualification));
}

static void save_rip_rsp_rflags(struct cpu *cpu)
{
    const struct cpu_state *state = &cpu->state;
    struct vmcs *vmcs = cpu->vmcs;
    vmcs_store(vmcs, VMCS_GUEST_RIP, state->rip);
    vmcs_store(vmcs, VMCS_GUEST_RSP, state->gpr[GPR_RSP]);
    vmcs_store(vmcs, VMCS_GUEST_RFLAGS,
               (state->rflags & ~RFLAGS_RF) | (saved_rf(cpu) ? RFLAGS_RF : 0));
}

static bool is_debug_exception(const struct vm_exit *exit)
{
    return exit->reason == EXIT_EXCEPTION_OR_NMI &&
           (exit->interruption_info & INTR_INFO_VECTOR) == VECTOR_DB;
}

/* "Saving Non-Register State": pending debug exceptions survive only exits that come between
 * instructions without being debug exceptions, and those during MOV-SS blocking, which holds back
 * the single step of the MOV itself too. */
static uint64_t saved_pending_debug(const struct cpu *cpu)
{
    const struct cpu_state *state = &cpu->state;
    bool steps = (state->rflags & RFLAGS_TF) && !(state->debugctl & DEBUGCTL_BTF);
    switch (cpu->exit.reason) {
    case EXIT_INIT:
    case EXIT_IO_SMI:
    case EXIT_OTHER_SMI:
    case EXIT_TPR_BELOW_THRESHOLD:
    case EXIT_VIRTUALIZED_EOI:
    case EXIT_APIC_WRITE:
    case EXIT_MONITOR_TRAP_FLAG:
        return state->pending_debug;
    default:
        if (!(state->interruptibility & BLOCKING_BY_MOV_SS) || is_debug_exception(&cpu->exit))
            return 0;
        return state->pending_debug | (steps ? PENDING_DEBUG_BS : 0);
    }
}

/* The VMX-preemption timer counts at the rate of one TSC bit ("VMX-Preemption Timer"). */
static uint64_t remaining_preemption_time(const struct cpu *cpu)
{
    uint64_t now = cpu->callbacks->tsc(cpu->machine);
    uint64_t deadline = cpu->vmx.preemption_deadline;
    unsigned rate = VMX_MISC_TIMER_RATE(vmx_capability(cpu->profile, MSR_VMX_MISC));
    return deadline <= now ? 0 : (deadline >> rate) - (now >> rate);
}

static void save_non_register_state(struct cpu *cpu)
{
    const struct cpu_state *state = &cpu->state;
    struct vmcs *vmcs = cpu->vmcs;
    vmcs_store(vmcs, VMCS_GUEST_ACTIVITY_STATE, state->activity);
    vmcs_store(vmcs, VMCS_GUEST_INTERRUPTIBILITY, state->interruptibility);
    vmcs_store(vmcs, VMCS_GUEST_PENDING_DEBUG, saved_pending_debug(cpu));
    if (vmcs_get(vmcs, VMCS_EXIT_CONTROLS) & EXIT_SAVE_PREEMPTION_TIMER)
        vmcs_store(vmcs, VMCS_PREEMPTION_TIMER_VALUE, remaining_preemption_time(cpu));
    if (vmx_secondary_controls(vmcs) & SECONDARY_EPT &&
        cpu_pae_paging(state->cr0, state->cr4, state->efer)) {
        for (unsigned i = 0; i < 4; i++)
            vmcs_store(vmcs, VMCS_GUEST_PDPTE0 + i, state->pdpte[i]);
    }
}

/* The processor stops: nothing but RESET leaves this state. */
static bool vmx_abort(struct cpu *cpu, enum vmx_abort indicator)
{
    cpu->vmcs->abort_indicator = indicator;
    cpu->state.activity = ACTIVITY_SHUTDOWN;
    cpu->non_root = false;
    return false;
}

bool vmexit_save_guest_state(struct cpu *cpu)
{
    struct vmcs *vmcs = cpu->vmcs;
    save_control_registers(cpu);
    save_segments(cpu);
    save_rip_rsp_rflags(cpu);
    save_non_register_state(cpu);
    uint32_t count = (uint32_t)vmcs_get(vmcs, VMCS_EXIT_MSR_STORE_COUNT);
    if (vmx_store_msr_list(cpu, vmcs_get(vmcs, VMCS_EXIT_MSR_STORE_ADDRESS), count))
        return vmx_abort(cpu, ABORT_SAVING_MSRS);
    return true;
}

/* --- Loading host state ------------------------------------------------------------------------
 */

static void load_host_control_registers(struct cpu *cpu, uint64_t exit_controls)
{
    struct cpu_state *state = &cpu->state;
    const struct vmcs *vmcs = cpu->vmcs;
    struct vmx_fixed cr0 = vmx_fixed_cr0(cpu->profile), cr4 = vmx_fixed_cr4(cpu->profile);
    bool host64 = exit_controls & EXIT_HOST_ADDRESS_SPACE_SIZE;

    state->cr0 = (vmcs_get(vmcs, VMCS_HOST_CR0) & ~CR0_KEPT_BY_TRANSITIONS) |
                 (state->cr0 & CR0_KEPT_BY_TRANSITIONS) | (cr0.ones & cr0.may);
    state->cr3 = vmcs_get(vmcs, VMCS_HOST_CR3);
    state->cr4 = vmcs_get(vmcs, VMCS_HOST_CR4) | (cr4.ones & cr4.may);
    state->cr4 = host64 ? state->cr4 | CR4_PAE : state->cr4 & ~CR4_PCIDE;
    state->dr7 = DR7_FIXED_ONES;
    state->debugctl = 0;
    state->sysenter_cs = vmcs_get(vmcs, VMCS_HOST_SYSENTER_CS);
    state->sysenter_esp = vmcs_get(vmcs, VMCS_HOST_SYSENTER_ESP);
    state->sysenter_eip = vmcs_get(vmcs, VMCS_HOST_SYSENTER_EIP);
    if (exit_controls & EXIT_LOAD_EFER)
        state->efer = vmcs_get(vmcs, VMCS_HOST_EFER);
    else
        state->efer = (state->efer & ~(EFER_LMA | EFER_LME)) | (host64 ? EFER_LMA | EFER_LME : 0);
    if (exit_controls & EXIT_LOAD_PAT)
        state->pat = vmcs_get(vmcs, VMCS_HOST_PAT);
}

/* "Loading Host Segment and Descriptor-Table Registers": the fields give selectors and some
 * bases; all else is fixed. */
static void load_host_segments(struct cpu *cpu, bool host64)
{
    struct cpu_state *state = &cpu->state;
    const struct vmcs *vmcs = cpu->vmcs;

    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        uint16_t selector = (uint16_t)vmcs_get(vmcs, VMCS_HOST_ES_SELECTOR + i);
        state->seg[i] = (struct segment){
            .selector = selector,
            .limit = UINT32_MAX,
            .access_rights =
                HOST_DATA_TYPE | AR_S | AR_P | AR_DB | AR_G | (selector == 0 ? AR_UNUSABLE : 0),
        };
    }
    state->seg[SEG_CS].access_rights =
        HOST_CODE_TYPE | AR_S | AR_P | AR_G | (host64 ? AR_L : AR_DB);
    state->seg[SEG_FS].base = vmcs_get(vmcs, VMCS_HOST_FS_BASE);
    state->seg[SEG_GS].base = vmcs_get(vmcs, VMCS_HOST_GS_BASE);
    state->seg[SEG_LDTR] = (struct segment){.access_rights = AR_UNUSABLE};
    state->seg[SEG_TR] = (struct segment){
        .selector = (uint16_t)vmcs_get(vmcs, VMCS_HOST_TR_SELECTOR),
        .base = vmcs_get(vmcs, VMCS_HOST_TR_BASE),
        .limit = HOST_TSS_LIMIT,
        .access_rights = HOST_TSS_TYPE | AR_P,
    };
    state->gdtr = (struct descriptor_table){vmcs_get(vmcs, VMCS_HOST_GDTR_BASE), HOST_TABLE_LIMIT};
    state->idtr = (struct descriptor_table){vmcs_get(vmcs, VMCS_HOST_IDTR_BASE), HOST_TABLE_LIMIT};
}

/* "Updating Non-Register State". With "virtual NMIs" the blocking bit was the guest's own. */
static void load_host_non_register_state(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;
    bool nmi = cpu->exit.reason == EXIT_EXCEPTION_OR_NMI &&
               (cpu->exit.interruption_info >> INTR_INFO_TYPE_SHIFT & 7) == EVENT_NMI;
    bool virtual_nmis = vmcs_get(cpu->vmcs, VMCS_PIN_BASED_CONTROLS) & PIN_VIRTUAL_NMIS;
    uint32_t kept = virtual_nmis ? 0 : state->interruptibility & BLOCKING_BY_NMI;
    state->interruptibility = nmi ? BLOCKING_BY_NMI : kept;
    state->activity = ACTIVITY_ACTIVE;
    state->pending_debug = 0;
}

/* A host in PAE paging has its PDPTEs in memory. */
static bool load_host_pdptes(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;
    struct mmu_fault fault;
    bool reserved;
    if (!cpu_pae_paging(state->cr0, state->cr4, state->efer))
        return true;
    return mmu_load_pdptes(&cpu->mmu, state->cr3, state->pdpte, &reserved, &fault) == MMU_OK;
}

bool vmexit_load_host_state(struct cpu *cpu)
{
    struct vmcs *vmcs = cpu->vmcs;
    uint64_t exit_controls = vmcs_get(vmcs, VMCS_EXIT_CONTROLS);
    bool host64 = exit_controls & EXIT_HOST_ADDRESS_SPACE_SIZE;
    bool vpid = vmx_secondary_controls(vmcs) & SECONDARY_VPID;

    if (cpu->non_root && cpu_long_mode(cpu) && !host64)
        return vmx_abort(cpu, ABORT_64BIT_GUEST_32BIT_HOST);
    load_host_control_registers(cpu, exit_controls);
    load_host_segments(cpu, host64);
    cpu->state.rip = vmcs_get(vmcs, VMCS_HOST_RIP);
    cpu->state.gpr[GPR_RSP] = vmcs_get(vmcs, VMCS_HOST_RSP);
    cpu->state.rflags = RFLAGS_FIXED;
    load_host_non_register_state(cpu);
    cpu->non_root = false;
    cpu->changed |= ALL_STATE_CHANGED;

    mmu_set_ept(&cpu->mmu, false, cpu->mmu.eptp, 0); /* the next entry uses the same, most likely */
    if (!load_host_pdptes(cpu))
        return vmx_abort(cpu, ABORT_HOST_PDPTES);
    vmx_load_paging(cpu, !vpid);
    uint32_t count = (uint32_t)vmcs_get(vmcs, VMCS_EXIT_MSR_LOAD_COUNT);
    if (vmx_load_msr_list(cpu, vmcs_get(vmcs, VMCS_EXIT_MSR_LOAD_ADDRESS), count))
        return vmx_abort(cpu, ABORT_LOADING_MSRS);
    return true;
}
