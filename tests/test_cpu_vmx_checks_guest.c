/*
 * VM-entry checks of the guest-state area: for each demand of the SDM (sections "Checks on the
 * Guest State Area") a VMCS that violates it and nothing else.
 */
#include "tests/vmx_violations.h"

// clang-format off
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
