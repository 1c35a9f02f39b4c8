/* SDM volume 3, "Checks on VMX Controls". */
#include "cpu/vmentry_checks.h"

/* Fields of the EPT pointer (SDM "Format of Extended-Page-Table Pointer"). */
#define EPTP_MEMORY_TYPE    7ull
#define EPTP_WALK_LENGTH(e) ((e) >> 3 & 7) /* less 1 */
#define EPTP_ACCESSED_DIRTY (1ull << 6)
#define EPTP_RESERVED       0xf80ull
#define MEMORY_TYPE_UC      0
#define MEMORY_TYPE_WB      6

#define INJECTION_RESERVED      0x7ffff000u
#define INJECTION_TYPE_RESERVED 1
#define ERROR_CODE_RESERVED     0xffff0000u
#define INSTRUCTION_LENGTH_MAX  15
#define MSR_ENTRY_SIZE          16

/* Vectors whose exceptions push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC. */
#define ERROR_CODE_VECTORS                                                                     \
    (1u << VECTOR_DF | 1u << VECTOR_TS | 1u << VECTOR_NP | 1u << VECTOR_SS | 1u << VECTOR_GP | \
     1u << VECTOR_PF | 1u << VECTOR_AC)

/* "Reserved bits must be set properly": as the capability MSRs allow. */
static void check_allowed(struct vmentry_checks *checks, enum vmcs_field field, uint32_t msr,
                          uint32_t true_msr)
{
    struct vmx_allowed allowed = vmx_allowed_by(checks->cpu->profile, msr, true_msr);
    uint32_t value = (uint32_t)checked(checks, field);
    require(checks, !(allowed.ones & ~value), field,
            "controls that the capability MSR fixes to 1 must be 1");
    require(checks, !(value & ~allowed.may), field,
            "controls that the capability MSR does not allow to be 1 must be 0");
}

static void check_page_address(struct vmentry_checks *checks, enum vmcs_field field)
{
    uint64_t address = checked(checks, field);
    require(checks, !(address & 0xfff), field, "bits 11:0 of the address must be 0");
    require(checks, fits_physical(checks, address), field,
            "the address must not exceed the physical-address width");
}

static void check_eptp(struct vmentry_checks *checks)
{
    uint64_t eptp = checked(checks, VMCS_EPTP);
    uint64_t capability = vmx_capability(checks->cpu->profile, MSR_VMX_EPT_VPID_CAP);
    uint64_t type = eptp & EPTP_MEMORY_TYPE;
    uint64_t levels = EPTP_WALK_LENGTH(eptp) + 1;
    require(checks,
            (type == MEMORY_TYPE_UC && capability & VMX_EPT_UNCACHEABLE) ||
                (type == MEMORY_TYPE_WB && capability & VMX_EPT_WRITE_BACK),
            VMCS_EPTP, "the EPT memory type must be one that the processor supports");
    require(checks,
            (levels == 4 && capability & VMX_EPT_4_LEVELS) ||
                (levels == 5 && capability & VMX_EPT_5_LEVELS),
            VMCS_EPTP, "the EPT page-walk length must be one that the processor supports");
    require(checks, implies(eptp & EPTP_ACCESSED_DIRTY, capability & VMX_EPT_ACCESSED_DIRTY),
            VMCS_EPTP, "bit 6 requires a processor with accessed and dirty flags for EPT");
    require(checks, !(eptp & EPTP_RESERVED) && fits_physical(checks, eptp), VMCS_EPTP,
            "bits 11:7 and bits beyond the physical-address width must be 0");
}

static void check_execution_controls(struct vmentry_checks *checks)
{
    uint32_t pin = checks->pin, primary = checks->primary, secondary = checks->secondary;
    checks->section = "VM-Execution Control Fields";
    check_allowed(checks, VMCS_PIN_BASED_CONTROLS, MSR_VMX_PINBASED_CTLS, MSR_VMX_TRUE_PINBASED);
    check_allowed(checks, VMCS_PRIMARY_CONTROLS, MSR_VMX_PROCBASED_CTLS, MSR_VMX_TRUE_PROCBASED);
    if (primary & PRIMARY_SECONDARY_CONTROLS)
        check_allowed(checks, VMCS_SECONDARY_CONTROLS, MSR_VMX_PROCBASED_CTLS2,
                      MSR_VMX_PROCBASED_CTLS2);
    uint64_t misc = vmx_capability(checks->cpu->profile, MSR_VMX_MISC);
    require(checks, checked(checks, VMCS_CR3_TARGET_COUNT) <= VMX_MISC_CR3_TARGETS(misc),
            VMCS_CR3_TARGET_COUNT, "the CR3-target count must not exceed the processor's (4)");
    if (primary & PRIMARY_IO_BITMAPS) {
        check_page_address(checks, VMCS_IO_BITMAP_A);
        check_page_address(checks, VMCS_IO_BITMAP_B);
    }
    if (primary & PRIMARY_MSR_BITMAPS)
        check_page_address(checks, VMCS_MSR_BITMAP);
    require(checks, implies(pin & PIN_VIRTUAL_NMIS, pin & PIN_NMI_EXITING), VMCS_PIN_BASED_CONTROLS,
            "\"virtual NMIs\" requires \"NMI exiting\"");
    require(checks, implies(primary & PRIMARY_NMI_WINDOW_EXITING, pin & PIN_VIRTUAL_NMIS),
            VMCS_PRIMARY_CONTROLS, "\"NMI-window exiting\" requires \"virtual NMIs\"");
    require(checks, implies(secondary & SECONDARY_VPID, checked(checks, VMCS_VPID) != 0), VMCS_VPID,
            "\"enable VPID\" requires a VPID other than 0");
    if (secondary & SECONDARY_EPT)
        check_eptp(checks);
    require(checks, implies(checks->unrestricted, secondary & SECONDARY_EPT),
            VMCS_SECONDARY_CONTROLS, "\"unrestricted guest\" requires \"enable EPT\"");
}

static void check_msr_list(struct vmentry_checks *checks, enum vmcs_field count_field,
                           enum vmcs_field address_field)
{
    uint64_t count = checked(checks, count_field), address = checked(checks, address_field);
    if (count == 0)
        return;
    require(checks, !(address & (MSR_ENTRY_SIZE - 1)), address_field,
            "bits 3:0 of an MSR area's address must be 0");
    require(checks, fits_physical(checks, address), address_field,
            "an MSR area's address must not exceed the physical-address width");
    require(checks,
            !fits_physical(checks, address) ||
                fits_physical(checks, address + count * MSR_ENTRY_SIZE - 1),
            address_field, "an MSR area's last byte must not exceed the physical-address width");
}

static void check_exit_controls(struct vmentry_checks *checks)
{
    checks->section = "VM-Exit Control Fields";
    check_allowed(checks, VMCS_EXIT_CONTROLS, MSR_VMX_EXIT_CTLS, MSR_VMX_TRUE_EXIT);
    require(checks,
            implies(checks->exit & EXIT_SAVE_PREEMPTION_TIMER, checks->pin & PIN_PREEMPTION_TIMER),
            VMCS_EXIT_CONTROLS,
            "\"save VMX-preemption timer value\" requires \"activate VMX-preemption timer\"");
    check_msr_list(checks, VMCS_EXIT_MSR_STORE_COUNT, VMCS_EXIT_MSR_STORE_ADDRESS);
    check_msr_list(checks, VMCS_EXIT_MSR_LOAD_COUNT, VMCS_EXIT_MSR_LOAD_ADDRESS);
}

static void check_injected_vector(struct vmentry_checks *checks)
{
    unsigned vector = checks->injection & INTR_INFO_VECTOR;
    require(checks, implies(injects(checks, EVENT_NMI), vector == VECTOR_NMI),
            VMCS_ENTRY_INTERRUPTION_INFO, "injection of an NMI requires vector 2");
    require(checks, implies(injects(checks, EVENT_HARDWARE_EXCEPTION), vector <= 31),
            VMCS_ENTRY_INTERRUPTION_INFO,
            "injection of a hardware exception requires a vector of at most 31");
    require(checks,
            implies((checks->injection >> INTR_INFO_TYPE_SHIFT & 7) == INJECTION_OTHER_EVENT,
                    vector == 0),
            VMCS_ENTRY_INTERRUPTION_INFO,
            "injection of \"other event\" (a pending MTF VM exit) requires vector 0");
}

static void check_injected_error_code(struct vmentry_checks *checks)
{
    unsigned vector = checks->injection & INTR_INFO_VECTOR;
    bool exception = injects(checks, EVENT_HARDWARE_EXCEPTION);
    bool deliver = checks->injection & INTR_INFO_ERROR_CODE;
    bool real_mode = checks->unrestricted && !(checks->cr0 & CR0_PE);
    bool any_vector =
        vmx_capability(checks->cpu->profile, MSR_VMX_BASIC) & VMX_BASIC_ANY_ERROR_CODE;
    bool has_code = vector < 32 && ERROR_CODE_VECTORS >> vector & 1;
    require(checks, implies(deliver, exception), VMCS_ENTRY_INTERRUPTION_INFO,
            "delivery of an error code requires a hardware exception");
    require(checks, implies(deliver, !real_mode), VMCS_ENTRY_INTERRUPTION_INFO,
            "delivery of an error code requires CR0.PE = 1");
    if (exception && !real_mode && !any_vector)
        require(checks, deliver == has_code, VMCS_ENTRY_INTERRUPTION_INFO,
                "an error code must be delivered for the vectors 8, 10 to 14 and 17, and no other");
    require(
        checks,
        implies(deliver, !(checked(checks, VMCS_ENTRY_EXCEPTION_ERROR_CODE) & ERROR_CODE_RESERVED)),
        VMCS_ENTRY_EXCEPTION_ERROR_CODE, "bits 31:16 of the error code must be 0");
}

static void check_injected_length(struct vmentry_checks *checks)
{
    if (!injects(checks, EVENT_SOFTWARE_INTERRUPT) && !injects(checks, EVENT_SOFTWARE_EXCEPTION) &&
        !injects(checks, EVENT_PRIVILEGED_SOFTWARE_EXCEPTION))
        return;
    uint64_t length = checked(checks, VMCS_ENTRY_INSTRUCTION_LENGTH);
    bool zero_allowed = vmx_capability(checks->cpu->profile, MSR_VMX_MISC) & VMX_MISC_ZERO_LENGTH;
    require(checks, length <= INSTRUCTION_LENGTH_MAX, VMCS_ENTRY_INSTRUCTION_LENGTH,
            "injection of a software event requires an instruction length of at most 15");
    require(checks, length != 0 || zero_allowed, VMCS_ENTRY_INSTRUCTION_LENGTH,
            "injection with instruction length 0 requires a processor that allows it");
}

static void check_injection(struct vmentry_checks *checks)
{
    if (!(checks->injection & INTR_INFO_VALID))
        return;
    uint32_t type = checks->injection >> INTR_INFO_TYPE_SHIFT & 7;
    struct vmx_allowed primary = vmx_control_allowed(checks->cpu->profile, VMCS_PRIMARY_CONTROLS);
    require(checks,
            type != INJECTION_TYPE_RESERVED &&
                implies(type == INJECTION_OTHER_EVENT, primary.may & PRIMARY_MONITOR_TRAP_FLAG),
            VMCS_ENTRY_INTERRUPTION_INFO, "the interruption type must not be a reserved one");
    check_injected_vector(checks);
    check_injected_error_code(checks);
    require(checks, !(checks->injection & INJECTION_RESERVED), VMCS_ENTRY_INTERRUPTION_INFO,
            "bits 30:12 of the interruption information must be 0");
    check_injected_length(checks);
}

static void check_entry_controls(struct vmentry_checks *checks)
{
    checks->section = "VM-Entry Control Fields";
    check_allowed(checks, VMCS_ENTRY_CONTROLS, MSR_VMX_ENTRY_CTLS, MSR_VMX_TRUE_ENTRY);
    check_injection(checks);
    check_msr_list(checks, VMCS_ENTRY_MSR_LOAD_COUNT, VMCS_ENTRY_MSR_LOAD_ADDRESS);
    require(checks, !(checks->entry & ENTRY_TO_SMM), VMCS_ENTRY_CONTROLS,
            "\"entry to SMM\" requires a processor in SMM");
    require(checks, !(checks->entry & ENTRY_DEACTIVATE_DUAL_MONITOR), VMCS_ENTRY_CONTROLS,
            "\"deactivate dual-monitor treatment\" requires a processor in SMM");
}

void vmentry_check_controls(struct vmentry_checks *checks)
{
    check_execution_controls(checks);
    check_exit_controls(checks);
    check_entry_controls(checks);
}
