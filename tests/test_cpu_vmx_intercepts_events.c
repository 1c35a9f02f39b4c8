/*
 * Events that exit, and with which information: exceptions by bitmap, NMIs, interrupts and windows,
 * PAUSE loops, the VMX-preemption timer (SDM "Other Causes of VM Exits").
 */
#include "tests/vmx_machine.h"

#define LENGTH 3 /* of the instruction that every test executes */

static struct machine *machine_at_instruction(void)
{
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    machine->cpu.instruction_length = LENGTH;
    return machine;
}

static void set_control(struct machine *machine, enum vmcs_field field, uint32_t bit, bool on)
{
    uint64_t value = vmcs_get(&machine->vmcs, field);
    vmcs_store(&machine->vmcs, field, on ? value | bit : value & ~(uint64_t)bit);
}

static void assert_exit(const struct machine *machine, enum exit_reason reason,
                        uint64_t qualification)
{
    const struct vm_exit *exit = &machine->cpu.exit;
    cr_assert_eq(exit->reason, reason, "%s instead of %s", exit_reason_name(exit->reason),
                 exit_reason_name(reason));
    cr_assert_eq(exit->qualification, qualification, "%s: %#lx instead of %#lx",
                 exit_reason_name(reason), (unsigned long)exit->qualification,
                 (unsigned long)qualification);
    cr_assert_eq(exit->idt_vectoring_info, 0);
}

/* --- Exceptions, NMIs, interrupts ------------------------------------------------------------- */

Test(vmx_intercepts, exception_bitmap)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    for (unsigned type = 0; type <= EVENT_SOFTWARE_EXCEPTION; type++) {
        bool counts = type == EVENT_HARDWARE_EXCEPTION || type == EVENT_SOFTWARE_EXCEPTION ||
                      type == EVENT_PRIVILEGED_SOFTWARE_EXCEPTION;
        for (unsigned vector = 0; vector < 32; vector++) {
            struct event event = {.type = type, .vector = vector, .instruction_length = 1};
            if (vector == VECTOR_PF || type == 1)
                continue;
            vmcs_store(&machine->vmcs, VMCS_EXCEPTION_BITMAP, ~(1u << vector));
            cr_assert_not(vmx_intercepts_exception(cpu, &event));
            vmcs_store(&machine->vmcs, VMCS_EXCEPTION_BITMAP, 1u << vector);
            cr_assert_eq(vmx_intercepts_exception(cpu, &event), counts, "type %u vector %u", type,
                         vector);
            if (!counts)
                continue;
            assert_exit(machine, 0, 0);
            cr_assert_eq(cpu->exit.interruption_info, 1u << 31 | type << 8 | vector);
            cr_assert_eq(cpu->exit.instruction_length, type >= 4 ? 1 : 0);
        }
    }
    machine_destroy(machine);
}

/* Page faults: for every error code, mask and match of five bits. */
Test(vmx_intercepts, page_fault_mask_and_match)
{
    struct machine *machine = machine_at_instruction();
    for (unsigned i = 0; i < 1u << 16; i++) {
        unsigned code = i & 31, mask = i >> 5 & 31, match = i >> 10 & 31;
        bool bit = i >> 15, expected = (code & mask) == match ? bit : !bit;
        struct event event = {.type = EVENT_HARDWARE_EXCEPTION,
                              .vector = VECTOR_PF,
                              .has_error_code = true,
                              .error_code = code,
                              .cr2 = 0xdead000};
        vmcs_store(&machine->vmcs, VMCS_EXCEPTION_BITMAP, bit ? 1u << VECTOR_PF : 0);
        vmcs_store(&machine->vmcs, VMCS_PAGE_FAULT_ERROR_CODE_MASK, mask);
        vmcs_store(&machine->vmcs, VMCS_PAGE_FAULT_ERROR_CODE_MATCH, match);
        cr_assert_eq(vmx_intercepts_exception(&machine->cpu, &event), expected);
        if (!expected)
            continue;
        assert_exit(machine, 0, 0xdead000);
        cr_assert_eq(machine->cpu.exit.interruption_info, 0x80000b0e);
        cr_assert_eq(machine->cpu.exit.interruption_error_code, code);
    }
    machine_destroy(machine);
}

Test(vmx_intercepts, debug_exception_reports_pending_bits)
{
    struct machine *machine = machine_at_instruction();
    struct event event = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB, .debug = 0x4001};
    vmcs_store(&machine->vmcs, VMCS_EXCEPTION_BITMAP, 1u << VECTOR_DB);
    cr_assert(vmx_intercepts_exception(&machine->cpu, &event));
    assert_exit(machine, 0, 0x4001);
    cr_assert_eq(machine->cpu.exit.interruption_info, 0x80000301);
    /* INT1 is not a condition of the debug registers. */
    event.type = EVENT_PRIVILEGED_SOFTWARE_EXCEPTION;
    event.instruction_length = 1;
    cr_assert(vmx_intercepts_exception(&machine->cpu, &event));
    assert_exit(machine, 0, 0);
    cr_assert_eq(machine->cpu.exit.interruption_info, 0x80000501);
    machine_destroy(machine);
}

/* Bit 12: an IRET unblocked NMIs and then faulted. */
Test(vmx_intercepts, nmi_unblocking_by_iret)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    struct event event = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_GP};
    struct mmu_fault fault = {.status = MMU_EPT_VIOLATION, .qualification = 0x181};
    vmcs_store(&machine->vmcs, VMCS_EXCEPTION_BITMAP, UINT32_MAX);
    cpu->vmx.nmi_unblocked_by_iret = true;
    cr_assert(vmx_intercepts_exception(cpu, &event));
    cr_assert_eq(cpu->exit.interruption_info, 0x80001000 | 3 << 8 | VECTOR_GP);
    vmx_exit_ept(cpu, &fault);
    assert_exit(machine, 48, 0x1181);
    event.vector = VECTOR_DF;
    cr_assert(vmx_intercepts_exception(cpu, &event));
    cr_assert_not(cpu->exit.interruption_info & 1 << 12);
    cpu->delivery_in_progress = true;
    event.vector = VECTOR_GP;
    cr_assert(vmx_intercepts_exception(cpu, &event));
    cr_assert_not(cpu->exit.interruption_info & 1 << 12);
    vmx_exit_ept(cpu, &fault);
    cr_assert_eq(cpu->exit.qualification, 0x181);
    machine_destroy(machine);
}

Test(vmx_intercepts, interrupts_and_nmis)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    set_control(machine, VMCS_PIN_BASED_CONTROLS, 1u << 0 | 1u << 3, false);
    cr_assert_not(vmx_intercepts_external_interrupt(cpu, 0x33));
    cr_assert_not(vmx_intercepts_nmi(cpu));
    set_control(machine, VMCS_PIN_BASED_CONTROLS, 1u << 0, true);
    set_control(machine, VMCS_EXIT_CONTROLS, EXIT_ACKNOWLEDGE_INTERRUPT, true);
    cr_assert(vmx_intercepts_external_interrupt(cpu, 0x33));
    assert_exit(machine, 1, 0);
    cr_assert_eq(cpu->exit.interruption_info, 0x80000033);
    set_control(machine, VMCS_EXIT_CONTROLS, EXIT_ACKNOWLEDGE_INTERRUPT, false);
    cr_assert(vmx_intercepts_external_interrupt(cpu, 0x33));
    assert_exit(machine, 1, 0);
    cr_assert_eq(cpu->exit.interruption_info, 0);
    cr_assert_not(vmx_intercepts_nmi(cpu));
    set_control(machine, VMCS_PIN_BASED_CONTROLS, 1u << 3, true);
    cr_assert(vmx_intercepts_nmi(cpu));
    assert_exit(machine, 0, 0);
    cr_assert_eq(cpu->exit.interruption_info, 0x80000202);
    /* Blocking after an NMI is virtual with "virtual NMIs". */
    cpu->state.interruptibility = BLOCKING_BY_NMI;
    cr_assert_not(vmx_nmi_blocked(cpu));
    set_control(machine, VMCS_PIN_BASED_CONTROLS, PIN_VIRTUAL_NMIS, false);
    cr_assert(vmx_nmi_blocked(cpu));
    cpu->state.interruptibility = 0;
    cr_assert_not(vmx_nmi_blocked(cpu));
    machine_destroy(machine);
}

/* "Other Causes of VM Exits": interrupt-window and NMI-window exiting. */
Test(vmx_intercepts, windows)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    for (unsigned i = 0; i < 64; i++) {
        bool interrupt = i & 1, nmi = i & 2, enabled = i & 4;
        bool sti = i & 8, mov_ss = i & 16, nmi_blocked = i & 32;
        set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_INTERRUPT_WINDOW_EXITING, interrupt);
        set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_NMI_WINDOW_EXITING, nmi);
        cpu->state.rflags = RFLAGS_FIXED | (enabled ? RFLAGS_IF : 0);
        cpu->state.interruptibility = (sti ? BLOCKING_BY_STI : 0) |
                                      (mov_ss ? BLOCKING_BY_MOV_SS : 0) |
                                      (nmi_blocked ? BLOCKING_BY_NMI : 0);
        bool nmi_window = nmi && !sti && !mov_ss && !nmi_blocked;
        bool interrupt_window = interrupt && enabled && !sti && !mov_ss;
        cr_assert_eq(vmx_intercepts_window(cpu), nmi_window || interrupt_window, "case %u", i);
        if (nmi_window || interrupt_window)
            assert_exit(machine, nmi_window ? 8 : 7, 0);
    }
    machine_destroy(machine);
}

/* --- PAUSE, timer, and what no instruction asks for ---------------------------------------------
 */

Test(vmx_intercepts, pause_loop)
{
    static const struct {
        uint64_t tsc;
        unsigned cpl;
        bool exits;
    } steps[] = {
        {1000, 0, false}, /* the first PAUSE opens a loop */
        {1100, 0, false}, {1200, 0, false},
        {1300, 0, false},                   /* as long as the window: no exit yet */
        {1301, 0, true},                    /* longer than the window */
        {1302, 0, false},                   /* after the exit a new loop opens */
        {1402, 0, false}, {1503, 0, false}, /* more than the gap since the last: a new loop */
        {1603, 0, false}, {1703, 0, false},
        {1710, 3, false}, /* CPL 3 does not count */
        {1803, 0, false}, {1804, 0, true},
    };
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_PAUSE_EXITING, false);
    for (uint64_t tsc = 1; tsc < 10; tsc++) /* a window of 0, but no PAUSE-loop exiting */
        cr_assert_not(vmx_intercepts_pause(cpu, tsc));
    set_control(machine, VMCS_SECONDARY_CONTROLS, SECONDARY_PAUSE_LOOP_EXITING, true);
    vmcs_store(&machine->vmcs, VMCS_PLE_GAP, 100);
    vmcs_store(&machine->vmcs, VMCS_PLE_WINDOW, 300);
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        cpu->state.seg[SEG_SS].access_rights =
            (cpu->state.seg[SEG_SS].access_rights & ~AR_DPL_MASK) | steps[i].cpl << AR_DPL_SHIFT;
        cr_assert_eq(vmx_intercepts_pause(cpu, steps[i].tsc), steps[i].exits, "step %u", i);
    }
    assert_exit(machine, 40, 0);
    set_control(machine, VMCS_SECONDARY_CONTROLS, SECONDARY_PAUSE_LOOP_EXITING, false);
    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_PAUSE_EXITING, true);
    cpu->state.seg[SEG_SS].access_rights |= AR_DPL_MASK;
    cr_assert(vmx_intercepts_pause(cpu, 2));
    machine_destroy(machine);
}

Test(vmx_intercepts, preemption_timer_counts_tsc_bit)
{
    struct machine *machine = machine_create();
    struct cpu *cpu = &machine->cpu;
    unsigned rate = 7; /* IA32_VMX_MISC[4:0] of the profile */
    machine->tsc = 1000;
    machine_prepare(machine, GUEST_64BIT);
    vmcs_set(&machine->vmcs, VMCS_PREEMPTION_TIMER_VALUE, 10);
    cr_assert_eq(vmentry(cpu, true), VMENTRY_OK);
    /* 1000 >> 7 = 7: the bit changes for the tenth time at 17 << 7. */
    cr_assert_not(vmx_intercepts_preemption_timer(cpu, (17ull << rate) - 1));
    cr_assert(vmx_intercepts_preemption_timer(cpu, 17ull << rate));
    assert_exit(machine, 52, 0);
    machine_destroy(machine);

    machine = machine_create();
    machine_prepare(machine, GUEST_64BIT);
    vmcs_set(&machine->vmcs, VMCS_PREEMPTION_TIMER_VALUE, 0);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    cr_assert(vmx_intercepts_preemption_timer(&machine->cpu, machine->tsc));
    machine_prepare(machine, GUEST_64BIT);
    set_control(machine, VMCS_PIN_BASED_CONTROLS, PIN_PREEMPTION_TIMER, false);
    set_control(machine, VMCS_EXIT_CONTROLS, EXIT_SAVE_PREEMPTION_TIMER, false);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    cr_assert_not(vmx_intercepts_preemption_timer(&machine->cpu, UINT64_MAX - 1));
    machine_destroy(machine);
}

Test(vmx_intercepts, exits_without_instruction)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    struct mmu_fault fault = {.status = MMU_EPT_VIOLATION,
                              .linear = 0xffff888000001234,
                              .gpa = 0x1234,
                              .qualification = 0x182};
    vmx_exit_ept(cpu, &fault);
    assert_exit(machine, 48, 0x182);
    cr_assert_eq(cpu->exit.guest_physical_address, 0x1234);
    cr_assert_eq(cpu->exit.guest_linear_address, 0xffff888000001234);
    fault.qualification = 2; /* bit 7 clear: no linear address */
    vmx_exit_ept(cpu, &fault);
    cr_assert_eq(cpu->exit.guest_linear_address, 0);
    fault.status = MMU_EPT_MISCONFIG;
    vmx_exit_ept(cpu, &fault);
    assert_exit(machine, 49, 0);
    cr_assert_eq(cpu->exit.guest_physical_address, 0x1234);
    vmx_exit_triple_fault(cpu);
    assert_exit(machine, 2, 0);
    vmx_exit_event(cpu, EXIT_MONITOR_TRAP_FLAG);
    assert_exit(machine, 37, 0);
    vmx_exit_task_switch(cpu, 0x28, 3, 2);
    assert_exit(machine, 9, 0x28 | 3ull << 30);
    cr_assert_eq(cpu->exit.instruction_length, 2);
    machine_destroy(machine);
}
