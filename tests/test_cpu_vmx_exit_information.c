/*
 * What a VM exit tells: the VM-exit information fields, IDT-vectoring information, the resume flag
 * and pending debug exceptions in the saved state (SDM "Recording VM-Exit Information", "Saving
 * Guest State").
 */
#include "tests/vmx_machine.h"

#define INJECT(type, vector) (INTR_INFO_VALID | (uint32_t)(type) << INTR_INFO_TYPE_SHIFT | (vector))

/* --- Information ------------------------------------------------------------------------------ */

Test(vmx_transitions, exit_information_arrives_in_the_vmcs)
{
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    machine->cpu.exit = (struct vm_exit){.reason = 30,
                                         .instruction_length = 2,
                                         .qualification = 0x1122334455667788,
                                         .guest_linear_address = 3,
                                         .guest_physical_address = 4,
                                         .interruption_info = 5,
                                         .interruption_error_code = 6,
                                         .instruction_info = 9};
    vmcs_store(&machine->vmcs, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2));
    machine_leave_guest(machine);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_REASON), 30);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_INSTRUCTION_LENGTH), 2);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_QUALIFICATION), 0x1122334455667788);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_LINEAR_ADDRESS), 3);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_PHYSICAL_ADDRESS), 4);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_INTERRUPTION_INFO), 5);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_INTERRUPTION_ERROR_CODE), 6);
    cr_assert_eq(machine_field(machine, VMCS_IDT_VECTORING_INFO), 0);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_INSTRUCTION_INFO), 9);
    cr_assert_eq(machine_field(machine, VMCS_ENTRY_INTERRUPTION_INFO), 0x202, "valid bit cleared");
    machine_destroy(machine);
}

/* "Information for VM Exits During Event Delivery". */
Test(vmx_transitions, idt_vectoring_information)
{
    static const struct {
        struct event delivering;
        enum exit_reason reason;
        uint32_t interruption_info;
        uint32_t info, error_code, length;
    } rows[] = {
        {{.type = EVENT_EXTERNAL_INTERRUPT, .vector = 0x31},
         EXIT_EPT_VIOLATION,
         0,
         0x80000031,
         0,
         0},
        {{.type = EVENT_NMI, .vector = 2}, EXIT_EPT_MISCONFIG, 0, 0x80000202, 0, 0},
        {{.type = EVENT_HARDWARE_EXCEPTION, .vector = 14, .has_error_code = true, .error_code = 7},
         EXIT_EPT_VIOLATION,
         0,
         0x80000b0e,
         7,
         0},
        {{.type = EVENT_SOFTWARE_INTERRUPT, .vector = 0x80, .instruction_length = 2},
         EXIT_EPT_VIOLATION,
         0,
         0x80000480,
         0,
         2},
        {{.type = EVENT_SOFTWARE_EXCEPTION, .vector = 3, .instruction_length = 1},
         EXIT_TASK_SWITCH,
         0,
         0x80000603,
         0,
         1},
        {{.type = EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, .vector = 1, .instruction_length = 1},
         EXIT_EXCEPTION_OR_NMI,
         0x80000b0d,
         0x80000501,
         0,
         1},
        {{.type = EVENT_HARDWARE_EXCEPTION, .vector = 8, .has_error_code = true},
         EXIT_EPT_VIOLATION,
         0,
         0x80000b08,
         0,
         0},
        /* Not counted as during delivery: a triple fault, a double fault that exits directly. */
        {{.type = EVENT_HARDWARE_EXCEPTION, .vector = 8, .has_error_code = true},
         EXIT_TRIPLE_FAULT,
         0,
         0,
         0,
         0},
        {{.type = EVENT_HARDWARE_EXCEPTION, .vector = 13, .has_error_code = true},
         EXIT_EXCEPTION_OR_NMI,
         0x80000b08,
         0,
         0,
         0},
    };
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cpu *cpu = &machine->cpu;
        vmx_exit_event(cpu, rows[i].reason);
        cpu->exit.interruption_info = rows[i].interruption_info;
        cpu->delivering = rows[i].delivering;
        cpu->delivery_in_progress = true;
        vmexit_record_information(cpu);
        cr_assert_eq(machine_field(machine, VMCS_IDT_VECTORING_INFO), rows[i].info, "row %u", i);
        cr_assert_eq(machine_field(machine, VMCS_IDT_VECTORING_ERROR_CODE), rows[i].error_code,
                     "row %u", i);
        cr_assert_eq(machine_field(machine, VMCS_EXIT_INSTRUCTION_LENGTH), rows[i].length, "row %u",
                     i);
        cr_assert_not(cpu->delivery_in_progress);
    }
    machine->cpu.vmx.nmi_unblocked_by_iret = true;
    vmexit_record_information(&machine->cpu);
    cr_assert_not(machine->cpu.vmx.nmi_unblocked_by_iret);
    machine_destroy(machine);
}

/* "Saving RIP, RSP, RFLAGS, and SSP": the resume flag. */
Test(vmx_transitions, resume_flag)
{
    const uint32_t exception = 0x80000300;
    static const struct event none = {0};
    static const struct event fault = {.type = EVENT_HARDWARE_EXCEPTION, .vector = 13};
    static const struct event interrupt = {.type = EVENT_EXTERNAL_INTERRUPT, .vector = 0x20};
    const struct {
        enum exit_reason reason;
        uint32_t interruption_info;
        uint64_t qualification;
        const struct event *delivering;
        bool set_if_clear, set_if_set; /* saved RF for RF = 0 and 1 before the exit */
    } rows[] = {
        {EXIT_CPUID, 0, 0, &none, false, false},
        {EXIT_IO, 0, 0, &none, false, false},
        {EXIT_WRMSR, 0, 0, &none, false, false},
        {EXIT_EPT_VIOLATION, 0, 0, &none, true, true},
        {EXIT_EPT_MISCONFIG, 0, 0, &none, true, true},
        {EXIT_EPT_VIOLATION, 0, 0, &fault, true, true},
        {EXIT_EPT_VIOLATION, 0, 0, &interrupt, false, true},
        {EXIT_EXCEPTION_OR_NMI, exception | VECTOR_GP, 0, &none, true, true},
        {EXIT_EXCEPTION_OR_NMI, exception | VECTOR_PF, 0, &none, true, true},
        {EXIT_EXCEPTION_OR_NMI, exception | VECTOR_DB, 1 << 14, &none, false, true},
        {EXIT_EXCEPTION_OR_NMI, exception | VECTOR_DB, 1 << 13, &none, true, true},
        {EXIT_EXCEPTION_OR_NMI, 0x80000603, 0, &none, false, true}, /* INT3 */
        {EXIT_EXCEPTION_OR_NMI, 0x80000202, 0, &none, false, true}, /* NMI */
        {EXIT_TASK_SWITCH, 0, 0, &fault, true, true},
        {EXIT_TASK_SWITCH, 0, 0, &none, false, true},
        {EXIT_EXTERNAL_INTERRUPT, 0x80000020, 0, &none, false, true},
        {EXIT_INTERRUPT_WINDOW, 0, 0, &none, false, true},
        {EXIT_PREEMPTION_TIMER, 0, 0, &none, false, true},
        {EXIT_TRIPLE_FAULT, 0, 0, &none, false, true},
    };
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    struct cpu *cpu = &machine->cpu;
    for (unsigned i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        bool before = i & 1, expected = before ? rows[i / 2].set_if_set : rows[i / 2].set_if_clear;
        cpu->state.rflags = RFLAGS_FIXED | (before ? RFLAGS_RF : 0);
        vmx_exit_event(cpu, rows[i / 2].reason);
        cpu->exit.interruption_info = rows[i / 2].interruption_info;
        cpu->exit.qualification = rows[i / 2].qualification;
        cpu->delivering = *rows[i / 2].delivering;
        cpu->delivery_in_progress = rows[i / 2].delivering != &none;
        vmexit_record_information(cpu);
        cr_assert(vmexit_save_guest_state(cpu));
        cr_assert_eq(machine_field(machine, VMCS_GUEST_RFLAGS),
                     RFLAGS_FIXED | (expected ? RFLAGS_RF : 0), "row %u, RF %u", i / 2, before);
    }
    machine_destroy(machine);
}

/* "Saving Non-Register State": pending debug exceptions. */
Test(vmx_transitions, pending_debug_exceptions)
{
    const uint64_t pending = 1 << 12 | 2, step = 1 << 14;
    const struct {
        enum exit_reason reason;
        uint32_t interruption_info, interruptibility;
        uint64_t rflags, expected;
    } rows[] = {
        {EXIT_CPUID, 0, 0, 0, 0},
        {EXIT_CPUID, 0, BLOCKING_BY_STI, 0, 0},
        {EXIT_CPUID, 0, BLOCKING_BY_MOV_SS, 0, pending},
        {EXIT_CPUID, 0, BLOCKING_BY_MOV_SS, RFLAGS_TF, pending | step},
        {EXIT_EXCEPTION_OR_NMI, 0x80000301, BLOCKING_BY_MOV_SS, RFLAGS_TF, 0},
        {EXIT_EXCEPTION_OR_NMI, 0x8000030d, BLOCKING_BY_MOV_SS, 0, pending},
        {EXIT_INIT, 0, 0, 0, pending},
        {EXIT_MONITOR_TRAP_FLAG, 0, 0, 0, pending},
        {EXIT_EXTERNAL_INTERRUPT, 0, 0, 0, 0},
    };
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    struct cpu *cpu = &machine->cpu;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vmx_exit_event(cpu, rows[i].reason);
        cpu->exit.interruption_info = rows[i].interruption_info;
        cpu->state.pending_debug = pending;
        cpu->state.interruptibility = rows[i].interruptibility;
        cpu->state.rflags = RFLAGS_FIXED | rows[i].rflags;
        vmexit_record_information(cpu);
        cr_assert(vmexit_save_guest_state(cpu));
        cr_assert_eq(machine_field(machine, VMCS_GUEST_PENDING_DEBUG), rows[i].expected, "row %u",
                     i);
    }
    machine_destroy(machine);
}

/* An NMI exit leaves the host with NMIs blocked; the guest's virtual blocking is the guest's. */
Test(vmx_transitions, nmi_blocking_in_the_host)
{
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    struct cpu *cpu = &machine->cpu;
    cpu->state.interruptibility = BLOCKING_BY_NMI;
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cr_assert_eq(cpu->state.interruptibility, 0);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_BY_NMI);
    vmcs_set(&machine->vmcs, VMCS_GUEST_INTERRUPTIBILITY, 0);
    cr_assert_eq(vmentry(cpu, false), VMENTRY_OK);
    cr_assert(vmx_intercepts_nmi(cpu));
    machine_leave_guest(machine);
    cr_assert_eq(cpu->state.interruptibility, BLOCKING_BY_NMI);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_INTERRUPTIBILITY), 0);
    machine_destroy(machine);
}
