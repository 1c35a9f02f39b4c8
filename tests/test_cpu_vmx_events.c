/*
 * What VM entry does after the guest's state is loaded: event injection, pending debug exceptions,
 * MSR lists; and what goes wrong there (SDM "Event Injection", "Loading MSRs", "VMX Aborts").
 */
#include "tests/vmx_machine.h"

#define INJECT(type, vector) (INTR_INFO_VALID | (uint32_t)(type) << INTR_INFO_TYPE_SHIFT | (vector))
#define HANDLER              0x00009000u
#define STACK_TOP            0x8000u
#define BEYOND_MEMORY        0x00800000u /* guest-physical: not mapped by EPT */
#define PENDING_STEP         (1ull << 14)
#define PENDING_ENABLED      (1ull << 12)

static void *guest_pointer(struct machine *machine, uint64_t gpa)
{
    return physmem_at(&machine->physmem, machine->guest_memory + gpa);
}

/* A flat 32-bit guest without paging: GDT at 0x5000 (code at 8, data at 0x10), IDT at 0x6000 with
 * an interrupt gate to HANDLER for every vector. Only #BP and INT 0x80 are open to CPL 3. */
static void prepare_protected(struct machine *machine)
{
    machine_prepare(machine, GUEST_UNPAGED);
    uint64_t *gdt = guest_pointer(machine, 0x5000), *idt = guest_pointer(machine, 0x6000);
    gdt[1] = 0x00cf9b000000ffff;
    gdt[2] = 0x00cf93000000ffff;
    for (unsigned vector = 0; vector < 256; vector++)
        idt[vector] = 0x00008e0000080000 | (HANDLER + vector);
    vmcs_set(&machine->vmcs, VMCS_GUEST_IDTR_LIMIT, 0x7ff);
    vmcs_set(&machine->vmcs, VMCS_GUEST_RSP, STACK_TOP);
}

static struct machine *machine_protected(void)
{
    struct machine *machine = machine_create();
    prepare_protected(machine);
    return machine;
}

static enum vmentry_status enter_injecting(struct machine *machine, uint32_t info)
{
    vmcs_set(&machine->vmcs, VMCS_ENTRY_INTERRUPTION_INFO, info);
    return vmentry(&machine->cpu, true);
}

/* --- Injection -----------------------------------------------------------------------------------
 */

Test(vmx_events, injection_runs_through_the_idt)
{
    static const struct {
        uint32_t info;
        uint32_t length;
        bool code;
        bool masks_interrupts;
    } rows[] = {
        {INJECT(EVENT_EXTERNAL_INTERRUPT, 0x31), 0, false, true},
        {INJECT(EVENT_NMI, 2), 0, false, true},
        {INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD), 0, false, true},
        {INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_PF) | INTR_INFO_ERROR_CODE, 0, true, true},
        {INJECT(EVENT_SOFTWARE_INTERRUPT, 0x80), 2, false, true},
        {INJECT(EVENT_SOFTWARE_EXCEPTION, VECTOR_BP), 1, false, true},
        {INJECT(EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, VECTOR_DB), 1, false, true},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct machine *machine = machine_protected();
        struct cpu_state *state = &machine->cpu.state;
        uint32_t vector = rows[i].info & 0xff, words = rows[i].code ? 4 : 3;
        state->cr2 = 0x1111;
        vmcs_set(&machine->vmcs, VMCS_ENTRY_INSTRUCTION_LENGTH, rows[i].length);
        vmcs_set(&machine->vmcs, VMCS_ENTRY_EXCEPTION_ERROR_CODE, 0x15);
        /* An injected event is never held against the exception bitmap. */
        vmcs_set(&machine->vmcs, VMCS_EXCEPTION_BITMAP, UINT32_MAX);
        vmcs_set(&machine->vmcs, VMCS_PIN_BASED_CONTROLS,
                 machine_field(machine, VMCS_PIN_BASED_CONTROLS) | PIN_NMI_EXITING);
        cr_assert_eq(enter_injecting(machine, rows[i].info), VMENTRY_OK, "row %u", i);
        cr_assert_eq(state->rip, HANDLER + vector, "row %u", i);
        cr_assert_eq(state->gpr[GPR_RSP], STACK_TOP - 4 * words, "row %u", i);
        const uint32_t *stack = guest_pointer(machine, STACK_TOP - 4 * words);
        if (rows[i].code)
            cr_assert_eq(*stack++, 0x15);
        cr_assert_eq(stack[0], 0x1234 + rows[i].length, "row %u", i);
        cr_assert_eq(stack[1], 8);
        cr_assert_eq(stack[2] & ~RFLAGS_RF, RFLAGS_FIXED | RFLAGS_IF);
        cr_assert_eq(!(state->rflags & RFLAGS_IF), rows[i].masks_interrupts);
        cr_assert_eq(state->interruptibility, vector == VECTOR_NMI ? BLOCKING_BY_NMI : 0);
        cr_assert_eq(state->cr2, 0x1111, "injection leaves CR2 alone");
        cr_assert(machine->cpu.non_root);
        machine_destroy(machine);
    }
}

Test(vmx_events, injection_wakes_an_inactive_guest)
{
    static const struct {
        enum activity_state activity;
        uint32_t info;
    } rows[] = {
        {ACTIVITY_HLT, INJECT(EVENT_EXTERNAL_INTERRUPT, 0x31)},
        {ACTIVITY_HLT, INJECT(EVENT_NMI, 2)},
        {ACTIVITY_HLT, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_DB)},
        {ACTIVITY_SHUTDOWN, INJECT(EVENT_NMI, 2)},
        {ACTIVITY_SHUTDOWN, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_MC)},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct machine *machine = machine_protected();
        vmcs_set(&machine->vmcs, VMCS_GUEST_ACTIVITY_STATE, rows[i].activity);
        cr_assert_eq(enter_injecting(machine, rows[i].info), VMENTRY_OK, "row %u", i);
        cr_assert_eq(machine->cpu.state.activity, ACTIVITY_ACTIVE);
        cr_assert_eq(machine->cpu.state.rip, HANDLER + (rows[i].info & 0xff));
        machine_destroy(machine);
    }
    struct machine *machine = machine_protected();
    vmcs_set(&machine->vmcs, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    cr_assert_eq(machine->cpu.state.activity, ACTIVITY_HLT);
    machine_destroy(machine);
}

Test(vmx_events, real_mode_injection_uses_the_ivt)
{
    struct machine *machine = machine_create();
    machine_prepare(machine, GUEST_REAL);
    uint32_t *ivt = guest_pointer(machine, 0x6000);
    ivt[VECTOR_GP] = 0x02000042;
    vmcs_set(&machine->vmcs, VMCS_GUEST_IDTR_LIMIT, 0x3ff);
    cr_assert_eq(enter_injecting(machine, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_GP)), VMENTRY_OK);
    cr_assert_eq(machine->cpu.state.rip, 0x42);
    cr_assert_eq(machine->cpu.state.seg[SEG_CS].selector, 0x200);
    cr_assert_eq(machine->cpu.state.seg[SEG_CS].base, 0x2000);
    cr_assert_eq(machine->cpu.state.gpr[GPR_RSP], STACK_TOP - 6);
    machine_destroy(machine);
}

/* An EPT violation in mid-injection: the exit says what was being delivered, and a second entry
 * with that information completes the delivery. */
Test(vmx_events, exit_in_the_middle_of_injection)
{
    struct machine *machine = machine_protected();
    struct cpu *cpu = &machine->cpu;
    vmcs_set(&machine->vmcs, VMCS_GUEST_IDTR_BASE, BEYOND_MEMORY);
    vmcs_set(&machine->vmcs, VMCS_ENTRY_INSTRUCTION_LENGTH, 2);
    cr_assert_eq(enter_injecting(machine, INJECT(EVENT_SOFTWARE_INTERRUPT, 0x80)), VMENTRY_EXIT);
    cr_assert_eq(cpu->exit.reason, EXIT_EPT_VIOLATION);
    cr_assert_eq(cpu->exit.guest_physical_address, BEYOND_MEMORY + 8 * 0x80);
    cr_assert(cpu->non_root);
    machine_leave_guest(machine);
    cr_assert_eq(machine_field(machine, VMCS_IDT_VECTORING_INFO),
                 INJECT(EVENT_SOFTWARE_INTERRUPT, 0x80));
    cr_assert_eq(machine_field(machine, VMCS_EXIT_INSTRUCTION_LENGTH), 2);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_RIP), 0x1234);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_RSP), STACK_TOP);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_IF);
    cr_assert_not(machine_field(machine, VMCS_ENTRY_INTERRUPTION_INFO) & INTR_INFO_VALID);

    vmcs_set(&machine->vmcs, VMCS_GUEST_IDTR_BASE, 0x6000);
    vmcs_set(&machine->vmcs, VMCS_ENTRY_INTERRUPTION_INFO,
             machine_field(machine, VMCS_IDT_VECTORING_INFO));
    cr_assert_eq(vmentry(cpu, false), VMENTRY_OK);
    cr_assert_eq(cpu->state.rip, HANDLER + 0x80);
    machine_destroy(machine);
}

/* A guest that can deliver nothing: the faults of delivery end in a triple fault, which exits. */
Test(vmx_events, injection_into_a_broken_guest)
{
    struct machine *machine = machine_protected();
    vmcs_set(&machine->vmcs, VMCS_GUEST_IDTR_LIMIT, 0);
    cr_assert_eq(enter_injecting(machine, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD)),
                 VMENTRY_EXIT);
    cr_assert_eq(machine->cpu.exit.reason, EXIT_TRIPLE_FAULT);
    machine_destroy(machine);

    /* The #GP of the delivery is held against the bitmap, the injected #UD is not. */
    machine = machine_protected();
    vmcs_set(&machine->vmcs, VMCS_GUEST_IDTR_LIMIT, 0);
    vmcs_set(&machine->vmcs, VMCS_EXCEPTION_BITMAP, 1u << VECTOR_GP | 1u << VECTOR_UD);
    cr_assert_eq(enter_injecting(machine, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD)),
                 VMENTRY_EXIT);
    vmexit_record_information(&machine->cpu);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_INTERRUPTION_INFO),
                 INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_GP) | INTR_INFO_ERROR_CODE);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_INTERRUPTION_ERROR_CODE), VECTOR_UD * 8 + 2 + 1);
    cr_assert_eq(machine_field(machine, VMCS_IDT_VECTORING_INFO),
                 INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD));
    machine_destroy(machine);
}

/* Type 7: a pending MTF VM exit, before the guest's first instruction. */
Test(vmx_events, injection_of_a_pending_mtf_exit)
{
    struct machine *machine = machine_protected();
    cr_assert_eq(enter_injecting(machine, INJECT(7, 0)), VMENTRY_EXIT);
    cr_assert_eq(machine->cpu.exit.reason, EXIT_MONITOR_TRAP_FLAG);
    cr_assert_eq(machine->cpu.state.rip, 0x1234);
    cr_assert(machine->cpu.non_root);
    machine_destroy(machine);
}

/* --- Pending debug exceptions ----------------------------------------------------------------- */

/* "Delivery of Pending Debug Exceptions after VM Entry". */
Test(vmx_events, pending_debug_exceptions)
{
    enum fate { DELIVERED_NOW, KEPT, DROPPED };
    static const struct {
        uint64_t pending;
        uint32_t interruptibility;
        uint64_t rflags;
        enum activity_state activity;
        uint32_t info;
        enum fate fate;
    } rows[] = {
        {PENDING_STEP, 0, 0, ACTIVITY_ACTIVE, 0, DELIVERED_NOW},
        {PENDING_ENABLED | 1, 0, 0, ACTIVITY_ACTIVE, 0, DELIVERED_NOW},
        {PENDING_ENABLED | 1, BLOCKING_BY_STI, RFLAGS_IF, ACTIVITY_ACTIVE, 0, DELIVERED_NOW},
        {PENDING_ENABLED | 1, 0, 0, ACTIVITY_HLT, 0, DELIVERED_NOW},
        {1, 0, 0, ACTIVITY_ACTIVE, 0, KEPT}, /* neither BS nor "enabled breakpoint" */
        {PENDING_ENABLED | 1, BLOCKING_BY_MOV_SS, 0, ACTIVITY_ACTIVE, 0, KEPT},
        {PENDING_ENABLED | 1, 0, 0, ACTIVITY_SHUTDOWN, 0, DROPPED},
        {PENDING_ENABLED | 1, 0, 0, ACTIVITY_ACTIVE, INJECT(EVENT_NMI, 2), DROPPED},
        {PENDING_ENABLED | 1, 0, 0, ACTIVITY_ACTIVE, INJECT(EVENT_SOFTWARE_INTERRUPT, 0x80),
         DROPPED},
        {PENDING_ENABLED | 1, BLOCKING_BY_MOV_SS, 0, ACTIVITY_ACTIVE,
         INJECT(EVENT_SOFTWARE_INTERRUPT, 0x80), KEPT},
        {PENDING_ENABLED | 1, BLOCKING_BY_MOV_SS, 0, ACTIVITY_ACTIVE,
         INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD), DROPPED},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct machine *machine = machine_protected();
        struct cpu_state *state = &machine->cpu.state;
        vmcs_set(&machine->vmcs, VMCS_GUEST_PENDING_DEBUG, rows[i].pending);
        vmcs_set(&machine->vmcs, VMCS_GUEST_INTERRUPTIBILITY, rows[i].interruptibility);
        vmcs_set(&machine->vmcs, VMCS_GUEST_RFLAGS, RFLAGS_FIXED | rows[i].rflags);
        vmcs_set(&machine->vmcs, VMCS_GUEST_ACTIVITY_STATE, rows[i].activity);
        vmcs_set(&machine->vmcs, VMCS_ENTRY_INSTRUCTION_LENGTH, 2);
        state->dr6 = DR6_FIXED;
        cr_assert_eq(enter_injecting(machine, rows[i].info), VMENTRY_OK, "row %u", i);
        bool delivered = state->rip == HANDLER + VECTOR_DB;
        cr_assert_eq(delivered, rows[i].fate == DELIVERED_NOW, "row %u", i);
        cr_assert_eq(state->pending_debug, rows[i].fate == KEPT ? rows[i].pending : 0, "row %u", i);
        cr_assert_eq(state->dr6,
                     delivered ? DR6_FIXED | (rows[i].pending & (PENDING_STEP | 0xf)) : DR6_FIXED,
                     "row %u: DR6 %#lx", i, (unsigned long)state->dr6);
        machine_destroy(machine);
    }
}

/* A pending debug exception is an ordinary one for the exception bitmap. */
Test(vmx_events, pending_debug_exception_exits)
{
    struct machine *machine = machine_protected();
    vmcs_set(&machine->vmcs, VMCS_GUEST_PENDING_DEBUG, PENDING_ENABLED | 2);
    vmcs_set(&machine->vmcs, VMCS_EXCEPTION_BITMAP, 1u << VECTOR_DB);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_EXIT);
    cr_assert_eq(machine->cpu.exit.reason, EXIT_EXCEPTION_OR_NMI);
    cr_assert_eq(machine->cpu.exit.qualification, 2);
    machine_destroy(machine);
}

/* --- MSR lists -------------------------------------------------------------------------------- */

struct list_entry {
    uint32_t index, reserved;
    uint64_t data;
};

static struct list_entry *list_at(struct machine *machine, unsigned offset)
{
    return physmem_at(&machine->physmem, machine->msr_lists + offset);
}

static void set_list(struct machine *machine, enum vmcs_field count_field,
                     enum vmcs_field address_field, unsigned offset, unsigned count)
{
    vmcs_set(&machine->vmcs, count_field, count);
    vmcs_set(&machine->vmcs, address_field, machine->msr_lists + offset);
}

Test(vmx_events, msr_lists_load_and_store)
{
    struct machine *machine = machine_protected();
    struct cpu *cpu = &machine->cpu;
    struct list_entry *load = list_at(machine, 0), *store = list_at(machine, 0x400);
    struct list_entry *host = list_at(machine, 0x800);
    load[0] = (struct list_entry){MSR_KERNEL_GS_BASE, 0, 0xffff888000001000};
    load[1] = (struct list_entry){MSR_LSTAR, 0, 0xffffffff81000000};
    store[0] = (struct list_entry){MSR_LSTAR, 0, 0};
    host[0] = (struct list_entry){MSR_LSTAR, 0, 0x1234};
    set_list(machine, VMCS_ENTRY_MSR_LOAD_COUNT, VMCS_ENTRY_MSR_LOAD_ADDRESS, 0, 2);
    set_list(machine, VMCS_EXIT_MSR_STORE_COUNT, VMCS_EXIT_MSR_STORE_ADDRESS, 0x400, 1);
    set_list(machine, VMCS_EXIT_MSR_LOAD_COUNT, VMCS_EXIT_MSR_LOAD_ADDRESS, 0x800, 1);
    cr_assert_eq(vmentry(cpu, true), VMENTRY_OK);
    cr_assert_eq(cpu->state.kernel_gs_base, 0xffff888000001000);
    cr_assert_eq(cpu->state.lstar, 0xffffffff81000000);
    cpu->state.lstar = 0xffffffff82000000;
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cr_assert_eq(store[0].data, 0xffffffff82000000);
    cr_assert_eq(cpu->state.lstar, 0x1234);
    machine_destroy(machine);
}

/* "Loading MSRs": entries that fail the entry, with their number as qualification. */
Test(vmx_events, msr_list_entries_that_fail_the_entry)
{
    static const struct list_entry bad[] = {
        {MSR_FS_BASE, 0, 0}, {MSR_GS_BASE, 0, 0}, {0x800, 0, 0},
        {0x8ff, 0, 0},       {0x9b, 0, 0},        {0x79, 0, 0},
        {MSR_LSTAR, 1, 0},   {0x12345678, 0, 0},  {MSR_LSTAR, 0, 1ull << 63},
        {MSR_PAT, 0, 2},
    };
    for (unsigned i = 0; i < 2 * sizeof(bad) / sizeof(bad[0]); i++) {
        struct machine *machine = machine_protected();
        struct list_entry *load = list_at(machine, 0);
        unsigned position = i & 1;
        load[0] = load[1] = (struct list_entry){MSR_STAR, 0, 0x0010000800000000};
        load[position] = bad[i / 2];
        set_list(machine, VMCS_ENTRY_MSR_LOAD_COUNT, VMCS_ENTRY_MSR_LOAD_ADDRESS, 0, 2);
        vmcs_set(&machine->vmcs, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2));
        cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_FAILED_MSR, "entry %u", i / 2);
        cr_assert_eq(machine_field(machine, VMCS_EXIT_REASON), 0x80000022);
        cr_assert_eq(machine_field(machine, VMCS_EXIT_QUALIFICATION), position + 1);
        cr_assert_eq(machine->cpu.state.rip, HOST_ENTRY_POINT);
        cr_assert_not(machine->cpu.non_root);
        cr_assert_not(machine->vmcs.launched);
        cr_assert(machine_field(machine, VMCS_ENTRY_INTERRUPTION_INFO) & INTR_INFO_VALID);
        machine_destroy(machine);
    }
}

/* --- VMX aborts ------------------------------------------------------------------------------- */

/* "Saving MSRs": an MSR that does not exist, SMBASE outside SMM, the local APIC's, reserved bits.
 */
Test(vmx_events, abort_storing_msrs)
{
    static const struct list_entry bad[] = {
        {0x12345678, 0, 0}, {0x9e, 0, 0}, {0x802, 0, 0}, {MSR_LSTAR, 1, 0}};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct machine *machine = machine_protected();
        *list_at(machine, 0) = bad[i];
        set_list(machine, VMCS_EXIT_MSR_STORE_COUNT, VMCS_EXIT_MSR_STORE_ADDRESS, 0, 1);
        cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
        vmx_exit_event(&machine->cpu, EXIT_INTERRUPT_WINDOW);
        vmexit_record_information(&machine->cpu);
        cr_assert_not(vmexit_save_guest_state(&machine->cpu), "entry %u", i);
        cr_assert_eq(machine->vmcs.abort_indicator, 1);
        cr_assert_eq(machine->cpu.state.activity, ACTIVITY_SHUTDOWN);
        cr_assert_not(machine->cpu.non_root);
        machine_destroy(machine);
    }
}

Test(vmx_events, abort_loading_msrs)
{
    struct machine *machine = machine_protected();
    *list_at(machine, 0) = (struct list_entry){MSR_FS_BASE, 0, 0};
    set_list(machine, VMCS_EXIT_MSR_LOAD_COUNT, VMCS_EXIT_MSR_LOAD_ADDRESS, 0, 1);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    vmx_exit_event(&machine->cpu, EXIT_INTERRUPT_WINDOW);
    cr_assert(vmexit_save_guest_state(&machine->cpu));
    cr_assert_not(vmexit_load_host_state(&machine->cpu));
    cr_assert_eq(machine->vmcs.abort_indicator, 4);
    machine_destroy(machine);
}

Test(vmx_events, abort_host_pdptes)
{
    struct machine *machine = machine_create();
    machine_prepare(machine, GUEST_32BIT_HOST);
    uint64_t frame = physmem_alloc_frame(&machine->physmem);
    *(uint64_t *)physmem_at(&machine->physmem, frame) = 0x1003;
    vmcs_set(&machine->vmcs, VMCS_HOST_CR4, CR4_VMXE | CR4_PAE);
    vmcs_set(&machine->vmcs, VMCS_HOST_CR3, frame);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    vmx_exit_event(&machine->cpu, EXIT_INTERRUPT_WINDOW);
    cr_assert_not(vmexit_load_host_state(&machine->cpu));
    cr_assert_eq(machine->vmcs.abort_indicator, 2);
    machine_destroy(machine);
}

Test(vmx_events, abort_64_bit_guest_of_32_bit_host)
{
    struct machine *machine = machine_in_guest(GUEST_32BIT_HOST);
    machine->cpu.state.efer |= EFER_LMA | EFER_LME;
    vmx_exit_event(&machine->cpu, EXIT_INTERRUPT_WINDOW);
    cr_assert_not(vmexit_load_host_state(&machine->cpu));
    cr_assert_eq(machine->vmcs.abort_indicator, 6);
    machine_destroy(machine);
}

/* --- Capabilities ----------------------------------------------------------------------------- */

/* Nothing is advertised that vtxsim does not have, and what is advertised can be entered with. */
Test(vmx_events, capabilities_are_cut_down)
{
    struct cpu_profile profile;
    machine_profile(&profile);
    static const struct {
        enum vmcs_field field;
        uint32_t offered, withheld;
    } rows[] = {
        {VMCS_PIN_BASED_CONTROLS, 0x69, PIN_POSTED_INTERRUPTS},
        {VMCS_PRIMARY_CONTROLS, 0xfbd99e8c, PRIMARY_TPR_SHADOW | PRIMARY_TERTIARY_CONTROLS},
        {VMCS_SECONDARY_CONTROLS,
         SECONDARY_EPT | SECONDARY_VPID | SECONDARY_UNRESTRICTED_GUEST | SECONDARY_RDTSCP |
             SECONDARY_INVPCID,
         SECONDARY_PML | SECONDARY_VM_FUNCTIONS | SECONDARY_APIC_ACCESSES | SECONDARY_XSAVES},
        {VMCS_EXIT_CONTROLS, EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_LOAD_EFER,
         EXIT_LOAD_PERF_GLOBAL_CTRL | EXIT_CLEAR_BNDCFGS},
        {VMCS_ENTRY_CONTROLS, ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_EFER,
         ENTRY_LOAD_PERF_GLOBAL_CTRL | ENTRY_LOAD_BNDCFGS},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vmx_allowed allowed = vmx_control_allowed(&profile, rows[i].field);
        const char *name = vmcs_field_name(rows[i].field);
        cr_assert_eq(rows[i].offered & ~allowed.may, 0, "%s: %#x", name, allowed.may);
        cr_assert_eq(rows[i].withheld & allowed.may, 0, "%s: %#x", name, allowed.may);
        cr_assert_eq(allowed.ones & ~allowed.may, 0, "%s", name);
        cr_assert_eq(vmx_control_adjust(&profile, rows[i].field, 0), allowed.ones);
        cr_assert_eq(vmx_control_adjust(&profile, rows[i].field, UINT32_MAX), allowed.may);
    }
    /* CR3-load exiting is in the default1 class: only the TRUE MSR lets it be 0. */
    cr_assert_eq(vmx_control_allowed(&profile, VMCS_PRIMARY_CONTROLS).ones, 0x04006172);
    profile.vmx_msr[0] &= ~VMX_BASIC_TRUE_CONTROLS;
    cr_assert_eq(vmx_control_allowed(&profile, VMCS_PRIMARY_CONTROLS).ones, 0x0401e172);
    cr_assert_eq(vmx_capability(&profile, MSR_VMX_VMCS_ENUM), 0x26 << 1);
    cr_assert_eq(vmx_capability(&profile, MSR_VMX_VMFUNC), 0);
}
