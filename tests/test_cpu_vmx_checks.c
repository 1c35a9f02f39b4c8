/*
 * VM-entry checks: for each demand of the SDM (sections "Checks on VMX Controls" to "Checks on
 * Guest Page-Directory-Pointer-Table Entries") a VMCS that violates it and nothing else.
 */
#include "tests/vmx_machine.h"

#include <stdio.h>
#include <time.h>

/* A change to a valid VMCS. */
enum operation { END, SET, OR, CLEAR };
struct change {
    enum operation operation;
    enum vmcs_field field;
    uint64_t value;
};

struct violation {
    enum guest guest;
    struct change change[6];
    enum vmentry_status status;
    enum vmcs_field field;
    const char *text; /* how the report's sentence begins */
    uint32_t qualification;
};

#define NOT_CANONICAL        0x0000800000000000ull
#define BEYOND_PHYSICAL      (1ull << 46)
#define INJECT(type, vector) (INTR_INFO_VALID | (uint32_t)(type) << INTR_INFO_TYPE_SHIFT | (vector))

static void apply(struct vmcs *vmcs, const struct change *change)
{
    uint64_t value = vmcs_get(vmcs, change->field);
    value = change->operation == SET  ? change->value
            : change->operation == OR ? value | change->value
                                      : value & ~change->value;
    vmcs_set(vmcs, change->field, value);
}

static void apply_all(struct vmcs *vmcs, const struct change *changes, unsigned max)
{
    for (unsigned i = 0; i < max && changes[i].operation != END; i++)
        apply(vmcs, &changes[i]);
}

#define CONTROLS VMENTRY_FAILED_CONTROLS
#define HOST     VMENTRY_FAILED_HOST
#define GUEST    VMENTRY_FAILED_GUEST

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

static const struct violation guest_violations[] = {
    /* Checks on Guest Control Registers, Debug Registers, and MSRs */
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_CR0, CR0_NE}}, GUEST, VMCS_GUEST_CR0, "CR0 bits that are fixed to 1", 0},
    {GUEST_RESTRICTED, {{CLEAR, VMCS_GUEST_CR0, CR0_PG}}, GUEST, VMCS_GUEST_CR0, "CR0 bits that are fixed to 1", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_CR0, 1ull << 40}}, GUEST, VMCS_GUEST_CR0, "CR0 bits that are fixed to 0", 0},
    {GUEST_REAL, {{OR, VMCS_GUEST_CR0, CR0_PG}}, GUEST, VMCS_GUEST_CR0, "CR0.PG = 1 requires CR0.PE = 1", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_CR4, CR4_VMXE}}, GUEST, VMCS_GUEST_CR4, "CR4 bits that are fixed to 1", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_CR4, 1ull << 31}}, GUEST, VMCS_GUEST_CR4, "CR4 bits that are fixed to 0", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_DEBUGCTL, 1ull << 2}}, GUEST, VMCS_GUEST_DEBUGCTL, "reserved bits of IA32_DEBUGCTL", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_CR0, CR0_PG}}, GUEST, VMCS_GUEST_CR0, "\"IA-32e mode guest\" requires CR0.PG", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_CR4, CR4_PAE}}, GUEST, VMCS_GUEST_CR4, "\"IA-32e mode guest\" requires CR4.PAE", 0},
    {GUEST_PAE, {{OR, VMCS_GUEST_CR4, CR4_PCIDE}}, GUEST, VMCS_GUEST_CR4, "CR4.PCIDE = 1 requires", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_CR3, BEYOND_PHYSICAL}}, GUEST, VMCS_GUEST_CR3, "CR3 must not exceed", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_DR7, 1ull << 32}}, GUEST, VMCS_GUEST_DR7, "bits 63:32 of DR7", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_SYSENTER_ESP, NOT_CANONICAL}}, GUEST, VMCS_GUEST_SYSENTER_ESP, "IA32_SYSENTER_ESP", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_SYSENTER_EIP, NOT_CANONICAL}}, GUEST, VMCS_GUEST_SYSENTER_EIP, "IA32_SYSENTER_EIP", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_PAT, 0xffull << 56}}, GUEST, VMCS_GUEST_PAT, "each byte of IA32_PAT", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_EFER, 1ull << 12}}, GUEST, VMCS_GUEST_EFER, "reserved bits of IA32_EFER", 0},
    {GUEST_UNPAGED, {{OR, VMCS_GUEST_EFER, EFER_LMA}}, GUEST, VMCS_GUEST_EFER, "IA32_EFER.LMA must equal", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_EFER, EFER_LMA | EFER_LME}}, GUEST, VMCS_GUEST_EFER, "IA32_EFER.LMA must equal", 0},
    {GUEST_PROTECTED, {{OR, VMCS_GUEST_EFER, EFER_LME}}, GUEST, VMCS_GUEST_EFER, "CR0.PG = 1 requires IA32_EFER.LMA = IA32_EFER.LME", 0},
    /* Checks on Guest Segment Registers: selectors and bases */
    {GUEST_64BIT, {{OR, VMCS_GUEST_TR_SELECTOR, 4}}, GUEST, VMCS_GUEST_TR_SELECTOR, "TI of the selector of TR", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_LDTR_SELECTOR, 4}}, GUEST, VMCS_GUEST_LDTR_SELECTOR, "TI of the selector of a usable LDTR", 0},
    {GUEST_RESTRICTED, {{OR, VMCS_GUEST_CS_SELECTOR, 3}}, GUEST, VMCS_GUEST_SS_SELECTOR, "RPL of SS must equal RPL of CS", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_TR_BASE, NOT_CANONICAL}}, GUEST, VMCS_GUEST_TR_BASE, "the base of TR", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_FS_BASE, NOT_CANONICAL}}, GUEST, VMCS_GUEST_FS_BASE, "the base of FS", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_GS_BASE, NOT_CANONICAL}}, GUEST, VMCS_GUEST_GS_BASE, "the base of GS", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_LDTR_BASE, NOT_CANONICAL}}, GUEST, VMCS_GUEST_LDTR_BASE, "the base of a usable LDTR", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_CS_BASE, 1ull << 32}}, GUEST, VMCS_GUEST_CS_BASE, "bits 63:32 of the base of CS", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_SS_BASE, 1ull << 32}}, GUEST, VMCS_GUEST_SS_BASE, "bits 63:32 of the base of a usable", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_DS_BASE, 1ull << 32}}, GUEST, VMCS_GUEST_DS_BASE, "bits 63:32 of the base of a usable", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ES_BASE, 1ull << 63}}, GUEST, VMCS_GUEST_ES_BASE, "bits 63:32 of the base of a usable", 0},
    /* access rights of CS */
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_CS_ACCESS_RIGHTS, AR_ACCESSED}}, GUEST, VMCS_GUEST_CS_ACCESS_RIGHTS, "CS requires type", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xa097}}, GUEST, VMCS_GUEST_CS_ACCESS_RIGHTS, "CS requires type", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_CS_ACCESS_RIGHTS, AR_S}}, GUEST, VMCS_GUEST_CS_ACCESS_RIGHTS, "CS requires S", 0},
    {GUEST_PROTECTED, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xc0b3}}, GUEST, VMCS_GUEST_CS_ACCESS_RIGHTS, "CS of type 3 requires DPL 0", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xa0fb}}, GUEST, VMCS_GUEST_CS_ACCESS_RIGHTS, "non-conforming CS requires", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xa0f9}}, GUEST, VMCS_GUEST_CS_ACCESS_RIGHTS, "non-conforming CS requires", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xa0bf}}, GUEST, VMCS_GUEST_CS_ACCESS_RIGHTS, "conforming CS requires", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_CS_ACCESS_RIGHTS, AR_DB}}, GUEST, VMCS_GUEST_CS_ACCESS_RIGHTS, "CS.L = 1 in IA-32e mode", 0},
    /* of SS */
    {GUEST_64BIT, {{SET, VMCS_GUEST_SS_ACCESS_RIGHTS, 0xc091}}, GUEST, VMCS_GUEST_SS_ACCESS_RIGHTS, "a usable SS requires type", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_SS_ACCESS_RIGHTS, 0xc083}}, GUEST, VMCS_GUEST_SS_ACCESS_RIGHTS, "a usable SS requires S", 0},
    {GUEST_RESTRICTED, {{SET, VMCS_GUEST_SS_ACCESS_RIGHTS, 0xc0f3}, {SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xc09f}}, GUEST, VMCS_GUEST_SS_ACCESS_RIGHTS, "SS.DPL must equal RPL", 0},
    {GUEST_REAL, {{SET, VMCS_GUEST_SS_ACCESS_RIGHTS, 0xf3}, {SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xfb}}, GUEST, VMCS_GUEST_SS_ACCESS_RIGHTS, "SS.DPL must be 0 with CS of type 3", 0},
    {GUEST_PROTECTED, {{SET, VMCS_GUEST_SS_ACCESS_RIGHTS, 0xc0b3}, {SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xc093}}, GUEST, VMCS_GUEST_SS_ACCESS_RIGHTS, "SS.DPL must be 0 with CS of type 3", 0},
    /* of TR and LDTR */
    {GUEST_64BIT, {{SET, VMCS_GUEST_TR_ACCESS_RIGHTS, 0x83}}, GUEST, VMCS_GUEST_TR_ACCESS_RIGHTS, "TR requires type", 0},
    {GUEST_PROTECTED, {{SET, VMCS_GUEST_TR_ACCESS_RIGHTS, 0x89}}, GUEST, VMCS_GUEST_TR_ACCESS_RIGHTS, "TR requires type", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_TR_ACCESS_RIGHTS, AR_S}}, GUEST, VMCS_GUEST_TR_ACCESS_RIGHTS, "TR requires S", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_TR_ACCESS_RIGHTS, AR_UNUSABLE}}, GUEST, VMCS_GUEST_TR_ACCESS_RIGHTS, "TR must be usable", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_LDTR_ACCESS_RIGHTS, 0x83}}, GUEST, VMCS_GUEST_LDTR_ACCESS_RIGHTS, "a usable LDTR requires type", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_LDTR_ACCESS_RIGHTS, AR_S}}, GUEST, VMCS_GUEST_LDTR_ACCESS_RIGHTS, "a usable LDTR requires S", 0},
    /* Checks on Guest Descriptor-Table Registers */
    {GUEST_64BIT, {{SET, VMCS_GUEST_GDTR_BASE, NOT_CANONICAL}}, GUEST, VMCS_GUEST_GDTR_BASE, "the base of GDTR", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_IDTR_BASE, NOT_CANONICAL}}, GUEST, VMCS_GUEST_IDTR_BASE, "the base of IDTR", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_GDTR_LIMIT, 0x10000}}, GUEST, VMCS_GUEST_GDTR_LIMIT, "bits 31:16 of the limit of GDTR", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_IDTR_LIMIT, 0x10000}}, GUEST, VMCS_GUEST_IDTR_LIMIT, "bits 31:16 of the limit of IDTR", 0},
    /* Checks on Guest RIP, RFLAGS, and SSP */
    {GUEST_64BIT, {{SET, VMCS_GUEST_RIP, 1ull << 48}}, GUEST, VMCS_GUEST_RIP, "bits of RIP beyond", 0},
    {GUEST_PROTECTED, {{SET, VMCS_GUEST_RIP, 1ull << 32}}, GUEST, VMCS_GUEST_RIP, "bits 63:32 of RIP", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xc09b}, {SET, VMCS_GUEST_RIP, 1ull << 32}}, GUEST, VMCS_GUEST_RIP, "bits 63:32 of RIP", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_RFLAGS, 1ull << 22}}, GUEST, VMCS_GUEST_RFLAGS, "RFLAGS bits 63:22", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_RFLAGS, 1ull << 15}}, GUEST, VMCS_GUEST_RFLAGS, "RFLAGS bits 63:22", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_RFLAGS, 1ull << 5}}, GUEST, VMCS_GUEST_RFLAGS, "RFLAGS bits 63:22", 0},
    {GUEST_64BIT, {{OR, VMCS_GUEST_RFLAGS, 1ull << 3}}, GUEST, VMCS_GUEST_RFLAGS, "RFLAGS bits 63:22", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_RFLAGS, RFLAGS_FIXED}}, GUEST, VMCS_GUEST_RFLAGS, "RFLAGS bit 1", 0},
    {GUEST_VIRTUAL_8086, {{CLEAR, VMCS_GUEST_CR0, CR0_PE | CR0_PG}}, GUEST, VMCS_GUEST_RFLAGS, "RFLAGS.VM = 1 requires", 0},
    {GUEST_64BIT, {{CLEAR, VMCS_GUEST_RFLAGS, RFLAGS_IF}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_EXTERNAL_INTERRUPT, 0x20)}}, GUEST, VMCS_GUEST_RFLAGS, "injection of an external interrupt requires RFLAGS.IF", 0},
    /* Checks on Guest Non-Register State: activity state */
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, 4}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "the activity state must be one", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_GUEST_SS_ACCESS_RIGHTS, 0xc0f3}, {SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xa0fb}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "activity state HLT requires", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "blocking by STI or by MOV SS requires", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_MOV_SS}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "blocking by STI or by MOV SS requires", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD)}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "the injected event must be one", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_SOFTWARE_INTERRUPT, 0x80)}, {SET, VMCS_ENTRY_INSTRUCTION_LENGTH, 2}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "the injected event must be one", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_SHUTDOWN}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_EXTERNAL_INTERRUPT, 0x20)}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "the injected event must be one", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_SHUTDOWN}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_DB)}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "the injected event must be one", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_WAIT_FOR_SIPI}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2)}}, GUEST, VMCS_GUEST_ACTIVITY_STATE, "the injected event must be one", 0},
    /* interruptibility */
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, 1u << 5}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "bits 31:4", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, 1u << 4}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "bits 31:4", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI | BLOCKING_BY_MOV_SS}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "blocking by STI and by MOV SS must not both", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI}, {CLEAR, VMCS_GUEST_RFLAGS, RFLAGS_IF}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "blocking by STI requires RFLAGS.IF", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_EXTERNAL_INTERRUPT, 0x20)}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "injection of an external interrupt requires no blocking", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_MOV_SS}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_EXTERNAL_INTERRUPT, 0x20)}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "injection of an external interrupt requires no blocking", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_MOV_SS}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2)}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "injection of an NMI requires no blocking by MOV SS", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_SMI}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "blocking by SMI requires", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2)}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "injection of an NMI requires no blocking by STI", 3},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2)}}, GUEST, VMCS_GUEST_INTERRUPTIBILITY, "injection of an NMI with \"virtual NMIs\"", 0},
    /* pending debug exceptions */
    {GUEST_64BIT, {{SET, VMCS_GUEST_PENDING_DEBUG, 1u << 4}}, GUEST, VMCS_GUEST_PENDING_DEBUG, "reserved bits of the pending debug", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_PENDING_DEBUG, 1u << 11}}, GUEST, VMCS_GUEST_PENDING_DEBUG, "reserved bits of the pending debug", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_PENDING_DEBUG, 1u << 13}}, GUEST, VMCS_GUEST_PENDING_DEBUG, "reserved bits of the pending debug", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_PENDING_DEBUG, 1ull << 16}}, GUEST, VMCS_GUEST_PENDING_DEBUG, "reserved bits of the pending debug", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_MOV_SS}, {OR, VMCS_GUEST_RFLAGS, RFLAGS_TF}}, GUEST, VMCS_GUEST_PENDING_DEBUG, "with blocking by STI or MOV SS", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI}, {SET, VMCS_GUEST_PENDING_DEBUG, 1u << 14}}, GUEST, VMCS_GUEST_PENDING_DEBUG, "with blocking by STI or MOV SS", 0},
    {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {OR, VMCS_GUEST_RFLAGS, RFLAGS_TF}, {SET, VMCS_GUEST_DEBUGCTL, DEBUGCTL_BTF}, {SET, VMCS_GUEST_PENDING_DEBUG, 1u << 14}}, GUEST, VMCS_GUEST_PENDING_DEBUG, "with blocking by STI or MOV SS", 0},
    /* VMCS link pointer */
    {GUEST_64BIT, {{SET, VMCS_VMCS_LINK_POINTER, 0x1008}}, GUEST, VMCS_VMCS_LINK_POINTER, "bits 11:0 of the VMCS link pointer", 4},
    {GUEST_64BIT, {{SET, VMCS_VMCS_LINK_POINTER, BEYOND_PHYSICAL}}, GUEST, VMCS_VMCS_LINK_POINTER, "the VMCS link pointer must not exceed", 4},
    {GUEST_64BIT, {{SET, VMCS_VMCS_LINK_POINTER, 0}}, GUEST, VMCS_VMCS_LINK_POINTER, "the VMCS link pointer must lead to", 4},
    /* Checks on Guest Page-Directory-Pointer-Table Entries */
    {GUEST_PAE, {{SET, VMCS_GUEST_PDPTE0, 0x1003}}, GUEST, VMCS_GUEST_PDPTE0, "reserved bits of a present PDPTE", 2},
    {GUEST_PAE, {{SET, VMCS_GUEST_PDPTE1, 0x1021}}, GUEST, VMCS_GUEST_PDPTE1, "reserved bits of a present PDPTE", 2},
    {GUEST_PAE, {{SET, VMCS_GUEST_PDPTE2, 0x1101}}, GUEST, VMCS_GUEST_PDPTE2, "reserved bits of a present PDPTE", 2},
    {GUEST_PAE, {{SET, VMCS_GUEST_PDPTE3, BEYOND_PHYSICAL | 1}}, GUEST, VMCS_GUEST_PDPTE3, "reserved bits of a present PDPTE", 2},
};
// clang-format on

/* --- Reports ------------------------------------------------------------------------------------
 */

static const struct vmentry_failure *find_failure(const struct vmentry_report *report,
                                                  enum vmcs_field field, const char *text)
{
    for (unsigned i = 0; i < report->count; i++) {
        const struct vmentry_failure *failure = &report->failure[i];
        if (failure->field == field && !strncmp(failure->text, text, strlen(text)))
            return failure;
    }
    return NULL;
}

static void print_report(const struct vmentry_report *report)
{
    for (unsigned i = 0; i < report->count; i++)
        fprintf(stderr, "  %s: %s (%s = %#lx)\n", report->failure[i].section,
                report->failure[i].text, vmcs_field_name(report->failure[i].field),
                (unsigned long)report->failure[i].value);
}

/* VM-instruction error, or exit reason and qualification, as the entry must leave them. */
static void assert_entry_outcome(struct machine *machine, enum vmentry_status status,
                                 uint32_t qualification)
{
    struct vmcs *vmcs = &machine->vmcs;
    vmcs_store(vmcs, VMCS_VM_INSTRUCTION_ERROR, 0);
    vmcs_store(vmcs, VMCS_EXIT_REASON, 0);
    cr_assert_eq(vmentry(&machine->cpu, true), status);
    cr_assert_not(machine->cpu.non_root);
    cr_assert_not(vmcs->launched);
    if (status == VMENTRY_FAILED_GUEST) {
        cr_assert_eq(vmcs_get(vmcs, VMCS_EXIT_REASON), 0x80000021);
        cr_assert_eq(vmcs_get(vmcs, VMCS_EXIT_QUALIFICATION), qualification);
        cr_assert_eq(machine->cpu.state.rip, vmcs_get(vmcs, VMCS_HOST_RIP));
        cr_assert_eq(vmcs_get(vmcs, VMCS_VM_INSTRUCTION_ERROR), 0);
    } else {
        cr_assert_eq(vmcs_get(vmcs, VMCS_VM_INSTRUCTION_ERROR),
                     status == VMENTRY_FAILED_CONTROLS ? 7 : 8);
        cr_assert_eq(vmcs_get(vmcs, VMCS_EXIT_REASON), 0);
    }
}

static void assert_only_violation(struct machine *machine, const struct violation *violation)
{
    struct vmentry_report report;
    machine_prepare(machine, violation->guest);
    apply_all(&machine->vmcs, violation->change, 6);
    enum vmentry_status status = vmentry_check(&machine->cpu, &report);
    const struct vmentry_failure *failure =
        find_failure(&report, violation->field, violation->text);
    if (!failure || report.count != 1) {
        print_report(&report);
        cr_assert_fail("expected only: %s (%s)", violation->text,
                       vmcs_field_name(violation->field));
    }
    cr_assert_eq(status, violation->status, "%s", violation->text);
    cr_assert_eq(failure->status, violation->status);
    cr_assert_eq(failure->qualification, violation->qualification, "%s", violation->text);
    cr_assert_eq(failure->value, vmcs_get(&machine->vmcs, violation->field));
    assert_entry_outcome(machine, violation->status, violation->qualification);
}

static void assert_violations(const struct violation *violations, size_t count)
{
    struct machine *machine = machine_create();
    for (size_t i = 0; i < count; i++)
        assert_only_violation(machine, &violations[i]);
    machine_destroy(machine);
}
#define ASSERT_VIOLATIONS(table) assert_violations(table, sizeof(table) / sizeof((table)[0]))

Test(vmx_checks, each_control_demand)
{
    ASSERT_VIOLATIONS(control_violations);
}

Test(vmx_checks, each_host_demand)
{
    ASSERT_VIOLATIONS(host_violations);
}

Test(vmx_checks, each_guest_demand)
{
    ASSERT_VIOLATIONS(guest_violations);
}

/* --- Demands on several segment registers -------------------------------------------------------
 */

static void assert_segment_violation(struct machine *machine, enum guest guest,
                                     enum vmcs_field field, uint64_t value, const char *text)
{
    struct violation violation = {guest, {{SET, field, value}}, GUEST, field, text, 0};
    assert_only_violation(machine, &violation);
}

/* P, reserved bits and granularity, in each segment register. */
Test(vmx_checks, each_common_segment_demand)
{
    struct machine *machine = machine_create();
    for (unsigned i = SEG_ES; i < SEG_COUNT; i++) {
        enum vmcs_field rights = VMCS_GUEST_ES_ACCESS_RIGHTS + i, limit = VMCS_GUEST_ES_LIMIT + i;
        machine_prepare(machine, GUEST_PROTECTED);
        uint64_t valid = vmcs_get(&machine->vmcs, rights);
        assert_segment_violation(machine, GUEST_PROTECTED, rights, valid & ~AR_P,
                                 "a usable segment requires P = 1");
        assert_segment_violation(machine, GUEST_PROTECTED, rights, valid | 0x100,
                                 "bits 11:8 of a usable segment");
        assert_segment_violation(machine, GUEST_PROTECTED, rights, valid | 0x800,
                                 "bits 11:8 of a usable segment");
        assert_segment_violation(machine, GUEST_PROTECTED, rights, valid | 1u << 17,
                                 "bits 31:17 of a usable segment");
        assert_segment_violation(machine, GUEST_PROTECTED, rights, valid | 1u << 31,
                                 "bits 31:17 of a usable segment");
        struct violation fine = {GUEST_PROTECTED,
                                 {{SET, limit, 0xfffffffe}, {OR, rights, AR_G}},
                                 GUEST,
                                 rights,
                                 "G = 1 requires limit bits 11:0",
                                 0};
        struct violation coarse = {GUEST_PROTECTED,
                                   {{SET, limit, 0x00100fff}, {CLEAR, rights, AR_G}},
                                   GUEST,
                                   rights,
                                   "limit bits 31:20 require G = 1",
                                   0};
        assert_only_violation(machine, &fine);
        assert_only_violation(machine, &coarse);
    }
    machine_destroy(machine);
}

Test(vmx_checks, each_data_segment_demand)
{
    static const enum segment_register data[] = {SEG_DS, SEG_ES, SEG_FS, SEG_GS};
    struct machine *machine = machine_create();
    for (unsigned i = 0; i < 4; i++) {
        enum vmcs_field rights = VMCS_GUEST_ES_ACCESS_RIGHTS + data[i];
        assert_segment_violation(machine, GUEST_64BIT, rights, 0xc092,
                                 "a usable data segment must be");
        assert_segment_violation(machine, GUEST_64BIT, rights, 0xc099, "a code segment in DS");
        assert_segment_violation(machine, GUEST_64BIT, rights, 0xc083,
                                 "a usable data segment requires");
        struct violation dpl = {GUEST_RESTRICTED,
                                {{OR, VMCS_GUEST_ES_SELECTOR + data[i], 3}},
                                GUEST,
                                rights,
                                "DPL of a data segment",
                                0};
        assert_only_violation(machine, &dpl);
        /* Conforming code is exempt, so is every segment of an unrestricted guest. */
        struct vmentry_report report;
        machine_prepare(machine, GUEST_RESTRICTED);
        vmcs_set(&machine->vmcs, VMCS_GUEST_ES_SELECTOR + data[i], 0x13);
        vmcs_set(&machine->vmcs, rights, 0xc09f);
        cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_OK);
        machine_prepare(machine, GUEST_PROTECTED);
        vmcs_set(&machine->vmcs, VMCS_GUEST_ES_SELECTOR + data[i], 0x13);
        cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_OK);
    }
    machine_destroy(machine);
}

Test(vmx_checks, each_virtual_8086_demand)
{
    struct machine *machine = machine_create();
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        assert_segment_violation(machine, GUEST_VIRTUAL_8086, VMCS_GUEST_ES_BASE + i, 0x2010,
                                 "virtual-8086 mode requires a base");
        assert_segment_violation(machine, GUEST_VIRTUAL_8086, VMCS_GUEST_ES_LIMIT + i, 0xfffff,
                                 "virtual-8086 mode requires a limit");
        assert_segment_violation(machine, GUEST_VIRTUAL_8086, VMCS_GUEST_ES_ACCESS_RIGHTS + i, 0x93,
                                 "virtual-8086 mode requires access rights");
    }
    machine_destroy(machine);
}

/* Nothing is demanded of registers that are unusable. */
Test(vmx_checks, unusable_segments_are_exempt)
{
    static const enum segment_register exempt[] = {SEG_SS, SEG_DS, SEG_ES,
                                                   SEG_FS, SEG_GS, SEG_LDTR};
    struct machine *machine = machine_create();
    struct vmentry_report report;
    for (unsigned i = 0; i < 6; i++) {
        machine_prepare(machine, GUEST_64BIT);
        vmcs_set(&machine->vmcs, VMCS_GUEST_ES_ACCESS_RIGHTS + exempt[i], AR_UNUSABLE | 0xfffe0f04);
        vmcs_set(&machine->vmcs, VMCS_GUEST_ES_LIMIT + exempt[i], 0x12345678);
        if (exempt[i] != SEG_FS && exempt[i] != SEG_GS)
            vmcs_set(&machine->vmcs, VMCS_GUEST_ES_BASE + exempt[i], NOT_CANONICAL);
        cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_OK, "segment %u", exempt[i]);
    }
    machine_destroy(machine);
}

/* --- What the profile's processor can do
 * ---------------------------------------------------------- */

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

/* --- Valid guests
 * --------------------------------------------------------------------------------- */

Test(vmx_checks, valid_guests_enter)
{
    struct machine *machine = machine_create();
    for (enum guest guest = 0; guest < GUEST_COUNT; guest++) {
        struct vmentry_report report;
        machine_prepare(machine, guest);
        enum vmentry_status status = vmentry_check(&machine->cpu, &report);
        print_report(&report);
        cr_assert_eq(status, VMENTRY_OK, "guest %u", guest);
        cr_assert_eq(report.count, 0);
        cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK, "guest %u", guest);
        cr_assert(machine->cpu.non_root);
        cr_assert(machine->vmcs.launched);
    }
    machine_destroy(machine);
}

/* States that are unusual, yet allowed. */
Test(vmx_checks, unusual_guests_enter)
{
    static const struct violation rows[] = {
        {GUEST_64BIT, {{SET, VMCS_GUEST_RIP, NOT_CANONICAL}}, 0, 0, "RIP need not be canonical", 0},
        {GUEST_64BIT, {{OR, VMCS_GUEST_CR0, CR0_NW}}, 0, 0, "CR0.NW without CR0.CD", 0},
        {GUEST_64BIT, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xa09f}}, 0, 0, "conforming CS", 0},
        {GUEST_UNPAGED, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xc093}}, 0, 0, "CS of type 3", 0},
        {GUEST_UNPAGED, {{OR, VMCS_GUEST_EFER, EFER_LME}}, 0, 0, "LME without paging", 0},
        {GUEST_PROTECTED, {{SET, VMCS_GUEST_TR_ACCESS_RIGHTS, 0x83}}, 0, 0, "16-bit TSS", 0},
        {GUEST_PAE, {{SET, VMCS_GUEST_PDPTE0, 0x1006}}, 0, 0, "PDPTE that is not present", 0},
        {GUEST_64BIT,
         {{CLEAR, VMCS_PRIMARY_CONTROLS, PRIMARY_SECONDARY_CONTROLS},
          {SET, VMCS_SECONDARY_CONTROLS, UINT32_MAX}},
         0,
         0,
         "secondary controls without effect",
         0},
        {GUEST_64BIT,
         {{CLEAR, VMCS_PRIMARY_CONTROLS, PRIMARY_IO_BITMAPS}, {OR, VMCS_IO_BITMAP_A, 0xfff}},
         0,
         0,
         "I/O bitmaps not used",
         0},
        {GUEST_64BIT, {{SET, VMCS_EXIT_MSR_LOAD_ADDRESS, UINT64_MAX}}, 0, 0, "empty MSR list", 0},
        {GUEST_64BIT,
         {{CLEAR, VMCS_ENTRY_CONTROLS, ENTRY_LOAD_DEBUG_CONTROLS},
          {SET, VMCS_GUEST_DR7, UINT64_MAX}},
         0,
         0,
         "debug controls not loaded",
         0},
        {GUEST_64BIT,
         {{CLEAR, VMCS_ENTRY_CONTROLS, ENTRY_LOAD_EFER | ENTRY_LOAD_PAT},
          {SET, VMCS_GUEST_EFER, UINT64_MAX},
          {SET, VMCS_GUEST_PAT, UINT64_MAX}},
         0,
         0,
         "EFER and PAT not loaded",
         0},
        {GUEST_64BIT,
         {{CLEAR, VMCS_EXIT_CONTROLS, EXIT_LOAD_EFER | EXIT_LOAD_PAT},
          {SET, VMCS_HOST_EFER, UINT64_MAX},
          {SET, VMCS_HOST_PAT, UINT64_MAX}},
         0,
         0,
         "host EFER and PAT not loaded",
         0},
        {GUEST_64BIT,
         {{SET, VMCS_HOST_SS_SELECTOR, 0}, {SET, VMCS_HOST_DS_SELECTOR, 0}},
         0,
         0,
         "64-bit host with null SS",
         0},
        {GUEST_64BIT,
         {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT},
          {SET, VMCS_GUEST_PENDING_DEBUG, 1u << 14},
          {OR, VMCS_GUEST_RFLAGS, RFLAGS_TF}},
         0,
         0,
         "single step pending in HLT",
         0},
        {GUEST_64BIT,
         {{SET, VMCS_ENTRY_INTERRUPTION_INFO,
           INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_PF) | INTR_INFO_ERROR_CODE},
          {SET, VMCS_ENTRY_EXCEPTION_ERROR_CODE, 0xffff}},
         0,
         0,
         "error code of 16 bits",
         0},
        {GUEST_REAL,
         {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_GP)}},
         0,
         0,
         "#GP without error code in real mode",
         0},
    };
    struct machine *machine = machine_create();
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vmentry_report report;
        machine_prepare(machine, rows[i].guest);
        apply_all(&machine->vmcs, rows[i].change, 6);
        enum vmentry_status status = vmentry_check(&machine->cpu, &report);
        print_report(&report);
        cr_assert_eq(status, VMENTRY_OK, "%s", rows[i].text);
    }
    machine_destroy(machine);
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

/* A link pointer to a VMCS with the right revision identifier; a shadow VMCS (bit 31) is none. */
Test(vmx_checks, link_pointer_leads_to_a_vmcs)
{
    struct machine *machine = machine_create();
    struct vmentry_report report;
    uint64_t frame = physmem_alloc_frame(&machine->physmem);
    uint32_t *revision = physmem_at(&machine->physmem, frame);
    machine_prepare(machine, GUEST_64BIT);
    vmcs_set(&machine->vmcs, VMCS_VMCS_LINK_POINTER, frame);
    *revision = 4;
    cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_OK);
    *revision = 4 | 1u << 31;
    cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_FAILED_GUEST);
    *revision = 5;
    cr_assert_eq(vmentry_check(&machine->cpu, &report), VMENTRY_FAILED_GUEST);
    machine_destroy(machine);
}

/* --- Several violations at once
 * -------------------------------------------------------------------- */

/* The report names every violation, whichever others there are; the status is of the first. */
Test(vmx_checks, report_names_all_violations)
{
    static const struct violation rows[] = {
        {GUEST_64BIT,
         {{SET, VMCS_CR3_TARGET_COUNT, 5}},
         CONTROLS,
         VMCS_CR3_TARGET_COUNT,
         "the CR3-target",
         0},
        {GUEST_64BIT, {{SET, VMCS_VPID, 0}}, CONTROLS, VMCS_VPID, "\"enable VPID\"", 0},
        {GUEST_64BIT,
         {{SET, VMCS_HOST_CS_SELECTOR, 0}},
         HOST,
         VMCS_HOST_CS_SELECTOR,
         "the selector of CS",
         0},
        {GUEST_64BIT, {{SET, VMCS_HOST_RIP, NOT_CANONICAL}}, HOST, VMCS_HOST_RIP, "RIP must", 0},
        {GUEST_64BIT,
         {{CLEAR, VMCS_GUEST_CR4, CR4_PAE}},
         GUEST,
         VMCS_GUEST_CR4,
         "\"IA-32e mode guest\"",
         0},
        {GUEST_64BIT, {{SET, VMCS_GUEST_RIP, 1ull << 48}}, GUEST, VMCS_GUEST_RIP, "bits of RIP", 0},
        {GUEST_64BIT,
         {{SET, VMCS_VMCS_LINK_POINTER, 0x10}},
         GUEST,
         VMCS_VMCS_LINK_POINTER,
         "bits 11:0",
         4},
    };
    const unsigned count = sizeof(rows) / sizeof(rows[0]);
    struct machine *machine = machine_create();
    for (unsigned subset = 1; subset < 1u << count; subset++) {
        struct vmentry_report report;
        unsigned expected = 0, first = count;
        machine_prepare(machine, GUEST_64BIT);
        for (unsigned i = count; i-- > 0;) {
            if (!(subset >> i & 1))
                continue;
            apply_all(&machine->vmcs, rows[i].change, 6);
            expected++;
            first = i;
        }
        cr_assert_eq(vmentry_check(&machine->cpu, &report), rows[first].status);
        cr_assert_eq(report.count, expected, "subset %#x", subset);
        for (unsigned i = 0; i < count; i++)
            cr_assert_eq(find_failure(&report, rows[i].field, rows[i].text) != NULL,
                         subset >> i & 1, "subset %#x: %s", subset, rows[i].text);
        assert_entry_outcome(machine, rows[first].status, rows[first].qualification);
    }
    machine_destroy(machine);
}

/* --- Random VMCSs
 * ------------------------------------------------------------------------------------ */

static uint64_t interesting_value(uint64_t *seed, uint64_t old)
{
    static const uint64_t values[] = {0,
                                      1,
                                      UINT64_MAX,
                                      0xffff,
                                      0x10000,
                                      0xfff,
                                      NOT_CANONICAL,
                                      BEYOND_PHYSICAL,
                                      0xffff800000000000ull,
                                      1ull << 32};
    uint64_t random = random_next(seed);
    switch (random % 4) {
    case 0:
        return random_next(seed);
    case 1:
        return values[random / 4 % (sizeof(values) / sizeof(values[0]))];
    default:
        return old ^ 1ull << (random / 4 % 64);
    }
}

static void mutate(struct vmcs *vmcs, uint64_t *seed)
{
    for (unsigned changes = 1 + random_next(seed) % 3; changes-- > 0;) {
        enum vmcs_field field = random_next(seed) % VMCS_FIELD_COUNT;
        vmcs_set(vmcs, field, interesting_value(seed, vmcs_get(vmcs, field)));
    }
}

/* vmentry() does what vmentry_check() foretells, and leaves nothing half done. */
Test(vmx_checks, random_vmcs_check_agrees_with_entry)
{
    struct machine *machine = machine_create();
    uint64_t seed = (uint64_t)time(NULL) * 2 + 1, start = seed;
    unsigned failed = 0;
    printf("seed %#lx\n", (unsigned long)start);
    for (unsigned round = 0; round < 20000; round++) {
        struct vmentry_report report;
        machine_prepare(machine, round % GUEST_COUNT);
        mutate(&machine->vmcs, &seed);
        enum vmentry_status expected = vmentry_check(&machine->cpu, &report);
        uint32_t qualification = report.count ? report.failure[0].qualification : 0;
        cr_assert_eq(report.count == 0, expected == VMENTRY_OK);
        if (expected != VMENTRY_OK) {
            failed++;
            assert_entry_outcome(machine, expected, qualification);
            continue;
        }
        enum vmentry_status status = vmentry(&machine->cpu, true);
        bool list = vmcs_get(&machine->vmcs, VMCS_ENTRY_MSR_LOAD_COUNT);
        cr_assert(status == VMENTRY_OK || status == VMENTRY_EXIT ||
                      (status == VMENTRY_FAILED_MSR && list) ||
                      (status == VMENTRY_FAILED_GUEST &&
                       vmcs_get(&machine->vmcs, VMCS_EXIT_QUALIFICATION) == 2),
                  "seed %#lx, round %u: status %u", (unsigned long)start, round, status);
        cr_assert_eq(machine->cpu.non_root, status == VMENTRY_OK || status == VMENTRY_EXIT);
    }
    cr_assert_gt(failed, 1000u);
    machine_destroy(machine);
}

/*
 * A resume after changes of RIP and RFLAGS only repeats few checks: it must still find whatever
 * the whole set finds. The saved state of an exit is left alone, as software leaves it.
 */
Test(vmx_checks, random_rip_and_rflags_partial_checks_suffice)
{
    struct machine *machine = machine_create();
    uint64_t seed = (uint64_t)time(NULL) * 2 + 1, start = seed;
    unsigned entered = 0;
    printf("seed %#lx\n", (unsigned long)start);
    for (unsigned round = 0; round < 20000; round++) {
        struct vmentry_report report;
        struct cpu *cpu = &machine->cpu;
        machine_prepare(machine, round % GUEST_COUNT);
        cr_assert_eq(vmentry(cpu, true), VMENTRY_OK);
        cpu->instruction_length = 2;
        cr_assert(vmx_intercepts(cpu, EXIT_CPUID));
        vmexit_record_information(cpu);
        cr_assert(vmexit_save_guest_state(cpu));
        cr_assert(vmexit_load_host_state(cpu));
        cr_assert_eq(machine->vmcs.dirty, 0);
        if (random_next(&seed) % 2)
            vmcs_set(&machine->vmcs, VMCS_GUEST_RIP,
                     interesting_value(&seed, vmcs_get(&machine->vmcs, VMCS_GUEST_RIP)));
        else
            vmcs_set(&machine->vmcs, VMCS_GUEST_RFLAGS,
                     interesting_value(&seed, vmcs_get(&machine->vmcs, VMCS_GUEST_RFLAGS)));
        cr_assert_eq(machine->vmcs.dirty, VMCS_DIRTY_RIP);
        enum vmentry_status expected = vmentry_check(cpu, &report);
        cr_assert_eq(vmentry(cpu, false), expected, "seed %#lx, round %u", (unsigned long)start,
                     round);
        entered += expected == VMENTRY_OK;
    }
    cr_assert(entered > 1000 && entered < 19000);
    machine_destroy(machine);
}

/* With skip_clean_checks off, and after any VMWRITE elsewhere, everything is checked again. */
Test(vmx_checks, changes_bring_the_checks_back)
{
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    struct cpu *cpu = &machine->cpu;
    vmx_exit_event(cpu, EXIT_INTERRUPT_WINDOW);
    vmexit_record_information(cpu);
    cr_assert(vmexit_save_guest_state(cpu));
    cr_assert(vmexit_load_host_state(cpu));
    /* A raw store is not seen: that is what skipping means. */
    vmcs_store(&machine->vmcs, VMCS_VPID, 0);
    cr_assert_eq(vmentry(cpu, false), VMENTRY_OK);
    cr_assert(vmexit_load_host_state(cpu));
    vmcs_set(&machine->vmcs, VMCS_HOST_RSP, 0);
    cr_assert_eq(vmentry(cpu, false), VMENTRY_FAILED_CONTROLS);
    machine->vmcs.dirty = 0;
    cpu->skip_clean_checks = false;
    cr_assert_eq(vmentry(cpu, false), VMENTRY_FAILED_CONTROLS);
    machine_destroy(machine);
}
