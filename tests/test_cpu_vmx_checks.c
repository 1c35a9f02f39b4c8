/*
 * VM-entry checks of controls and host state: for each demand of the SDM (sections "Checks on VMX
 * Controls" to "Checks Related to Address-Space Size") a VMCS that violates it and nothing else.
 */
#include "tests/vmx_violations.h"

// clang-format off
static const struct violation control_violations[] = {
    /* VM-Execution Control Fields */
    {GUEST_64BIT, {{CLEAR, VMCS_PIN_BASED_CONTROLS, 0x2}}, CONTROLS, VMCS_PIN_BASED_CONTROLS, "controls that the capability MSR fixes to 1", 0},
    {GUEST_64BIT, {{OR, VMCS_PIN_BASED_CONTROLS, PIN_POSTED_INTERRUPTS}}, CONTROLS, VMCS_PIN_BASED_CONTROLS, "controls that the capability MSR does not allow", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_PRIMARY_CONTROLS, 0x2}}, CONTROLS, VMCS_PRIMARY_CONTROLS, "controls that the capability MSR fixes to 1", 0},
    {GUEST_64BIT, {{OR, VMCS_PRIMARY_CONTROLS, PRIMARY_TERTIARY_CONTROLS}}, CONTROLS, VMCS_PRIMARY_CONTROLS, "controls that the capability MSR does not allow", 0},
    {GUEST_64BIT, {{OR, VMCS_SECONDARY_CONTROLS, SECONDARY_PML}}, CONTROLS, VMCS_SECONDARY_CONTROLS, "controls that the capability MSR does not allow", 0},
    {GUEST_64BIT, {{SET, VMCS_CR3_TARGET_COUNT, 5}}, CONTROLS, VMCS_CR3_TARGET_COUNT, "the CR3-target count", 0},
    {GUEST_64BIT, {{OR, VMCS_IO_BITMAP_A, 0x800}}, CONTROLS, VMCS_IO_BITMAP_A, "bits 11:0 of the address", 0},
    {GUEST_64BIT, {{OR, VMCS_IO_BITMAP_A, BEYOND_PHYSICAL}}, CONTROLS, VMCS_IO_BITMAP_A, "the address must not exceed", 0},
    {GUEST_64BIT, {{OR, VMCS_IO_BITMAP_B, 1}}, CONTROLS, VMCS_IO_BITMAP_B, "bits 11:0 of the address", 0},
    {GUEST_64BIT, {{OR, VMCS_IO_BITMAP_B, BEYOND_PHYSICAL}}, CONTROLS, VMCS_IO_BITMAP_B, "the address must not exceed", 0},
    {GUEST_64BIT, {{OR, VMCS_MSR_BITMAP, 0x10}}, CONTROLS, VMCS_MSR_BITMAP, "bits 11:0 of the address", 0},
    {GUEST_64BIT, {{OR, VMCS_MSR_BITMAP, 1ull << 63}}, CONTROLS, VMCS_MSR_BITMAP, "the address must not exceed", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_PIN_BASED_CONTROLS, PIN_NMI_EXITING}}, CONTROLS, VMCS_PIN_BASED_CONTROLS, "\"virtual NMIs\" requires", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_PIN_BASED_CONTROLS, PIN_VIRTUAL_NMIS}, {OR, VMCS_PRIMARY_CONTROLS, PRIMARY_NMI_WINDOW_EXITING}}, CONTROLS, VMCS_PRIMARY_CONTROLS, "\"NMI-window exiting\" requires", 0},
    {GUEST_64BIT, {{SET, VMCS_VPID, 0}}, CONTROLS, VMCS_VPID, "\"enable VPID\" requires", 0},
    {GUEST_64BIT, {{OR, VMCS_EPTP, 1}}, CONTROLS, VMCS_EPTP, "the EPT memory type", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_EPTP, 0x38}}, CONTROLS, VMCS_EPTP, "the EPT page-walk length", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_EPTP, 0x38}, {OR, VMCS_EPTP, 0x20}}, CONTROLS, VMCS_EPTP, "the EPT page-walk length", 0},
    {GUEST_64BIT, {{OR, VMCS_EPTP, 0x100}}, CONTROLS, VMCS_EPTP, "bits 11:7", 0},
    {GUEST_64BIT, {{OR, VMCS_EPTP, BEYOND_PHYSICAL}}, CONTROLS, VMCS_EPTP, "bits 11:7", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_SECONDARY_CONTROLS, SECONDARY_EPT}}, CONTROLS, VMCS_SECONDARY_CONTROLS, "\"unrestricted guest\" requires", 0},
    /* VM-Exit Control Fields */
    {GUEST_64BIT, {{CLEAR, VMCS_EXIT_CONTROLS, 0x1}}, CONTROLS, VMCS_EXIT_CONTROLS, "controls that the capability MSR fixes to 1", 0},
    {GUEST_64BIT, {{OR, VMCS_EXIT_CONTROLS, EXIT_LOAD_PERF_GLOBAL_CTRL}}, CONTROLS, VMCS_EXIT_CONTROLS, "controls that the capability MSR does not allow", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_PIN_BASED_CONTROLS, PIN_PREEMPTION_TIMER}}, CONTROLS, VMCS_EXIT_CONTROLS, "\"save VMX-preemption timer value\" requires", 0},
    {GUEST_64BIT, {{SET, VMCS_EXIT_MSR_STORE_COUNT, 1}, {SET, VMCS_EXIT_MSR_STORE_ADDRESS, 0x1008}}, CONTROLS, VMCS_EXIT_MSR_STORE_ADDRESS, "bits 3:0", 0},
    {GUEST_64BIT, {{SET, VMCS_EXIT_MSR_STORE_COUNT, 1}, {SET, VMCS_EXIT_MSR_STORE_ADDRESS, BEYOND_PHYSICAL}}, CONTROLS, VMCS_EXIT_MSR_STORE_ADDRESS, "an MSR area's address", 0},
    {GUEST_64BIT, {{SET, VMCS_EXIT_MSR_STORE_COUNT, 2}, {SET, VMCS_EXIT_MSR_STORE_ADDRESS, BEYOND_PHYSICAL - 16}}, CONTROLS, VMCS_EXIT_MSR_STORE_ADDRESS, "an MSR area's last byte", 0},
    {GUEST_64BIT, {{SET, VMCS_EXIT_MSR_LOAD_COUNT, 1}, {SET, VMCS_EXIT_MSR_LOAD_ADDRESS, 0x1004}}, CONTROLS, VMCS_EXIT_MSR_LOAD_ADDRESS, "bits 3:0", 0},
    {GUEST_64BIT, {{SET, VMCS_EXIT_MSR_LOAD_COUNT, 1}, {SET, VMCS_EXIT_MSR_LOAD_ADDRESS, BEYOND_PHYSICAL}}, CONTROLS, VMCS_EXIT_MSR_LOAD_ADDRESS, "an MSR area's address", 0},
    {GUEST_64BIT, {{SET, VMCS_EXIT_MSR_LOAD_COUNT, 2}, {SET, VMCS_EXIT_MSR_LOAD_ADDRESS, BEYOND_PHYSICAL - 16}}, CONTROLS, VMCS_EXIT_MSR_LOAD_ADDRESS, "an MSR area's last byte", 0},
    /* VM-Entry Control Fields */
    {GUEST_64BIT, {{CLEAR, VMCS_ENTRY_CONTROLS, 0x1}}, CONTROLS, VMCS_ENTRY_CONTROLS, "controls that the capability MSR fixes to 1", 0},
    {GUEST_64BIT, {{OR, VMCS_ENTRY_CONTROLS, ENTRY_LOAD_BNDCFGS}}, CONTROLS, VMCS_ENTRY_CONTROLS, "controls that the capability MSR does not allow", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(1, 32)}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "the interruption type", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 3)}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "injection of an NMI requires vector 2", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, 32)}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "injection of a hardware exception", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(7, 1)}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "injection of \"other event\"", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_SOFTWARE_INTERRUPT, 13) | INTR_INFO_ERROR_CODE}, {SET, VMCS_ENTRY_INSTRUCTION_LENGTH, 2}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "delivery of an error code requires a hardware exception", 0},
    {GUEST_REAL, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_GP) | INTR_INFO_ERROR_CODE}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "delivery of an error code requires CR0.PE = 1", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_GP)}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "an error code must be delivered for", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD) | INTR_INFO_ERROR_CODE}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "an error code must be delivered for", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_DF)}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "an error code must be delivered for", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_AC)}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "an error code must be delivered for", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_GP) | INTR_INFO_ERROR_CODE}, {SET, VMCS_ENTRY_EXCEPTION_ERROR_CODE, 0x10000}}, CONTROLS, VMCS_ENTRY_EXCEPTION_ERROR_CODE, "bits 31:16 of the error code", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD) | 1 << 12}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "bits 30:12", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD) | 1 << 30}}, CONTROLS, VMCS_ENTRY_INTERRUPTION_INFO, "bits 30:12", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_SOFTWARE_EXCEPTION, VECTOR_BP)}, {SET, VMCS_ENTRY_INSTRUCTION_LENGTH, 16}}, CONTROLS, VMCS_ENTRY_INSTRUCTION_LENGTH, "injection of a software event requires", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_MSR_LOAD_COUNT, 1}, {SET, VMCS_ENTRY_MSR_LOAD_ADDRESS, 0x1001}}, CONTROLS, VMCS_ENTRY_MSR_LOAD_ADDRESS, "bits 3:0", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_MSR_LOAD_COUNT, 1}, {SET, VMCS_ENTRY_MSR_LOAD_ADDRESS, BEYOND_PHYSICAL}}, CONTROLS, VMCS_ENTRY_MSR_LOAD_ADDRESS, "an MSR area's address", 0},
    {GUEST_64BIT, {{SET, VMCS_ENTRY_MSR_LOAD_COUNT, 2}, {SET, VMCS_ENTRY_MSR_LOAD_ADDRESS, BEYOND_PHYSICAL - 16}}, CONTROLS, VMCS_ENTRY_MSR_LOAD_ADDRESS, "an MSR area's last byte", 0},
    {GUEST_64BIT, {{OR, VMCS_ENTRY_CONTROLS, ENTRY_TO_SMM}}, CONTROLS, VMCS_ENTRY_CONTROLS, "\"entry to SMM\"", 0},
    {GUEST_64BIT, {{OR, VMCS_ENTRY_CONTROLS, ENTRY_DEACTIVATE_DUAL_MONITOR}}, CONTROLS, VMCS_ENTRY_CONTROLS, "\"deactivate dual-monitor treatment\"", 0},
};

static const struct violation host_violations[] = {
    /* Checks on Host Control Registers, MSRs, and SSP */
    {GUEST_64BIT, {{CLEAR, VMCS_HOST_CR0, CR0_NE}}, HOST, VMCS_HOST_CR0, "CR0 bits that are fixed to 1", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_CR0, 1ull << 32}}, HOST, VMCS_HOST_CR0, "CR0 bits that are fixed to 0", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_HOST_CR4, CR4_VMXE}}, HOST, VMCS_HOST_CR4, "CR4 bits that are fixed to 1", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_CR4, 1ull << 30}}, HOST, VMCS_HOST_CR4, "CR4 bits that are fixed to 0", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_CR3, BEYOND_PHYSICAL}}, HOST, VMCS_HOST_CR3, "CR3 must not exceed", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_SYSENTER_ESP, NOT_CANONICAL}}, HOST, VMCS_HOST_SYSENTER_ESP, "IA32_SYSENTER_ESP", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_SYSENTER_EIP, NOT_CANONICAL}}, HOST, VMCS_HOST_SYSENTER_EIP, "IA32_SYSENTER_EIP", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_PAT, 0x0007040600070206}}, HOST, VMCS_HOST_PAT, "each byte of IA32_PAT", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_EFER, 1ull << 1}}, HOST, VMCS_HOST_EFER, "reserved bits of IA32_EFER", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_HOST_EFER, EFER_LMA}}, HOST, VMCS_HOST_EFER, "IA32_EFER.LMA and LME must equal", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_HOST_EFER, EFER_LME}}, HOST, VMCS_HOST_EFER, "IA32_EFER.LMA and LME must equal", 0},
    {GUEST_32BIT_HOST, {{OR, VMCS_HOST_EFER, EFER_LMA}}, HOST, VMCS_HOST_EFER, "IA32_EFER.LMA and LME must equal", 0},
    /* Checks on Host Segment and Descriptor-Table Registers */
    {GUEST_64BIT, {{OR, VMCS_HOST_ES_SELECTOR, 3}}, HOST, VMCS_HOST_ES_SELECTOR, "RPL and TI", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_CS_SELECTOR, 4}}, HOST, VMCS_HOST_CS_SELECTOR, "RPL and TI", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_SS_SELECTOR, 1}}, HOST, VMCS_HOST_SS_SELECTOR, "RPL and TI", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_DS_SELECTOR, 2}}, HOST, VMCS_HOST_DS_SELECTOR, "RPL and TI", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_FS_SELECTOR, 4}}, HOST, VMCS_HOST_FS_SELECTOR, "RPL and TI", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_GS_SELECTOR, 4}}, HOST, VMCS_HOST_GS_SELECTOR, "RPL and TI", 0},
    {GUEST_64BIT, {{OR, VMCS_HOST_TR_SELECTOR, 1}}, HOST, VMCS_HOST_TR_SELECTOR, "RPL and TI", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_CS_SELECTOR, 0}}, HOST, VMCS_HOST_CS_SELECTOR, "the selector of CS", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_TR_SELECTOR, 0}}, HOST, VMCS_HOST_TR_SELECTOR, "the selector of TR", 0},
    {GUEST_32BIT_HOST, {{SET, VMCS_HOST_SS_SELECTOR, 0}}, HOST, VMCS_HOST_SS_SELECTOR, "the selector of SS", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_FS_BASE, NOT_CANONICAL}}, HOST, VMCS_HOST_FS_BASE, "the bases of FS, GS, TR", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_GS_BASE, NOT_CANONICAL}}, HOST, VMCS_HOST_GS_BASE, "the bases of FS, GS, TR", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_TR_BASE, NOT_CANONICAL}}, HOST, VMCS_HOST_TR_BASE, "the bases of FS, GS, TR", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_GDTR_BASE, NOT_CANONICAL}}, HOST, VMCS_HOST_GDTR_BASE, "the bases of FS, GS, TR", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_IDTR_BASE, NOT_CANONICAL}}, HOST, VMCS_HOST_IDTR_BASE, "the bases of FS, GS, TR", 0},
    /* Checks Related to Address-Space Size */
    {GUEST_PROTECTED, {{CLEAR, VMCS_EXIT_CONTROLS, EXIT_HOST_ADDRESS_SPACE_SIZE}, {CLEAR, VMCS_HOST_EFER, EFER_LMA | EFER_LME}, {SET, VMCS_HOST_RIP, 0x1000}}, HOST, VMCS_EXIT_CONTROLS, "\"host address-space size\" must be 1 if", 0},
    {GUEST_32BIT_HOST, {{OR, VMCS_EXIT_CONTROLS, EXIT_HOST_ADDRESS_SPACE_SIZE}, {OR, VMCS_HOST_EFER, EFER_LMA | EFER_LME}, {OR, VMCS_HOST_CR4, CR4_PAE}}, HOST, VMCS_EXIT_CONTROLS, "\"host address-space size\" must be 1 if", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_HOST_CR4, CR4_PAE}}, HOST, VMCS_HOST_CR4, "\"host address-space size\" requires CR4.PAE", 0},
    {GUEST_64BIT, {{SET, VMCS_HOST_RIP, NOT_CANONICAL}}, HOST, VMCS_HOST_RIP, "RIP must be canonical", 0},
    {GUEST_32BIT_HOST, {{OR, VMCS_HOST_CR4, CR4_PCIDE}}, HOST, VMCS_HOST_CR4, "CR4.PCIDE = 1 requires", 0},
    {GUEST_32BIT_HOST, {{SET, VMCS_HOST_RIP, 1ull << 32}}, HOST, VMCS_HOST_RIP, "bits 63:32 of RIP", 0},
};
// clang-format on

Test(vmx_checks, each_control_demand)
{
    ASSERT_VIOLATIONS(control_violations);
}

Test(vmx_checks, each_host_demand)
{
    ASSERT_VIOLATIONS(host_violations);
}

/* A 64-bit guest under a 32-bit host breaks several demands about the address-space size. */
Test(vmx_checks, guest_in_ia32e_mode_needs_such_a_host)
{
    struct machine *machine = machine_create();
    struct vmentry_report report;
    machine_prepare(machine, GUEST_32BIT_HOST);
    vmcs_set(&machine->vmcs, VMCS_ENTRY_CONTROLS,
             vmcs_get(&machine->vmcs, VMCS_ENTRY_CONTROLS) | ENTRY_IA32E_MODE_GUEST);
    cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_FAILED_HOST);
    cr_assert(find_failure(&report, VMCS_ENTRY_CONTROLS,
                           "\"IA-32e mode guest\" requires a host in IA-32e mode"));
    cr_assert(find_failure(&report, VMCS_ENTRY_CONTROLS,
                           "\"IA-32e mode guest\" requires \"host address-space size\""));
    machine_destroy(machine);
}

/* --- What the profile's processor can do ------------------------------------------------------ */

Test(vmx_checks, capabilities_decide)
{
    static const struct {
        uint32_t msr;
        uint64_t missing;
        struct violation violation;
    } rows[] = {
        {MSR_VMX_MISC,
         VMX_MISC_ZERO_LENGTH,
         {GUEST_64BIT,
          {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_SOFTWARE_EXCEPTION, VECTOR_BP)}},
          CONTROLS,
          VMCS_ENTRY_INSTRUCTION_LENGTH,
          "injection with instruction length 0",
          0}},
        {MSR_VMX_MISC,
         1u << 6,
         {GUEST_64BIT,
          {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}},
          GUEST,
          VMCS_GUEST_ACTIVITY_STATE,
          "the activity state",
          0}},
        {MSR_VMX_MISC,
         1u << 7,
         {GUEST_64BIT,
          {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_SHUTDOWN}},
          GUEST,
          VMCS_GUEST_ACTIVITY_STATE,
          "the activity state",
          0}},
        {MSR_VMX_MISC,
         1u << 8,
         {GUEST_64BIT,
          {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_WAIT_FOR_SIPI}},
          GUEST,
          VMCS_GUEST_ACTIVITY_STATE,
          "the activity state",
          0}},
        {MSR_VMX_EPT_VPID_CAP,
         VMX_EPT_UNCACHEABLE,
         {GUEST_64BIT, {{CLEAR, VMCS_EPTP, 7}}, CONTROLS, VMCS_EPTP, "the EPT memory type", 0}},
        {MSR_VMX_EPT_VPID_CAP,
         VMX_EPT_WRITE_BACK,
         {GUEST_64BIT, {{OR, VMCS_EPTP, 6}}, CONTROLS, VMCS_EPTP, "the EPT memory type", 0}},
        {MSR_VMX_EPT_VPID_CAP,
         VMX_EPT_ACCESSED_DIRTY,
         {GUEST_64BIT, {{OR, VMCS_EPTP, 0x40}}, CONTROLS, VMCS_EPTP, "bit 6 requires", 0}},
    };
    struct machine *machine = machine_create();
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vmentry_report report;
        uint64_t *capability = &machine->profile.vmx_msr[rows[i].msr - MSR_VMX_FIRST];
        uint64_t had = *capability;
        machine_prepare(machine, rows[i].violation.guest);
        apply_all(&machine->vmcs, rows[i].violation.change, 6);
        cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_OK, "row %u", i);
        *capability &= ~rows[i].missing;
        assert_only_violation(machine, &rows[i].violation);
        *capability = had;
    }
    machine_destroy(machine);
}

/* Processors with IA32_VMX_BASIC[56] leave the choice of an error code to software. */
Test(vmx_checks, any_vector_may_have_an_error_code)
{
    struct machine *machine = machine_create();
    struct vmentry_report report;
    machine->profile.vmx_msr[0] |= VMX_BASIC_ANY_ERROR_CODE;
    machine_prepare(machine, GUEST_64BIT);
    vmcs_set(&machine->vmcs, VMCS_ENTRY_INTERRUPTION_INFO,
             INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_GP));
    cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_OK);
    machine_destroy(machine);
}
