/*
 * SDM volume 3, "Checks on the Guest State Area": control registers, debug registers and MSRs;
 * descriptor tables; RIP and RFLAGS; non-register state; PDPTEs. Segment registers have a file of
 * their own.
 */
#include <string.h>

#include "cpu/modes.h"
#include "cpu/msr.h"
#include "cpu/vmentry_checks.h"

#define DEBUGCTL_DEFINED (DEBUGCTL_LBR | DEBUGCTL_BTF)
#define RFLAGS_ZERO_BITS (~0ull << 22 | 1u << 15 | 1u << 5 | 1u << 3)

#define INTERRUPTIBILITY_RESERVED 0xfffffff0u /* with enclave interruption: there is no SGX */
#define PENDING_DEBUG_BS          (1ull << 14)
/* All but B0-B3, "enabled breakpoint" and BS; RTM is not supported. */
#define PENDING_DEBUG_RESERVED    (~0ull << 15 | 1u << 13 | 0xff0u)

#define PDPTE_PRESENT  1ull
#define PDPTE_RESERVED 0x1e6ull

#define LINK_POINTER_NONE UINT64_MAX

static void check_control_registers(struct vmentry_checks *checks)
{
    struct vmx_fixed fixed0 = vmx_fixed_cr0(checks->cpu->profile);
    struct vmx_fixed fixed4 = vmx_fixed_cr4(checks->cpu->profile);
    uint64_t cr0 = checks->cr0, cr4 = checks->cr4;
    checks->section = "Checks on Guest Control Registers, Debug Registers, and MSRs";
    if (checks->unrestricted)
        fixed0.ones &= ~(CR0_PE | CR0_PG);
    require(checks, !(fixed0.ones & ~cr0), VMCS_GUEST_CR0,
            "CR0 bits that are fixed to 1 in VMX operation must be 1");
    require(checks, !(cr0 & ~(fixed0.may | CR0_CD | CR0_NW)), VMCS_GUEST_CR0,
            "CR0 bits that are fixed to 0 in VMX operation must be 0");
    require(checks, implies(cr0 & CR0_PG, cr0 & CR0_PE), VMCS_GUEST_CR0,
            "CR0.PG = 1 requires CR0.PE = 1");
    require(checks, !(fixed4.ones & ~cr4), VMCS_GUEST_CR4,
            "CR4 bits that are fixed to 1 in VMX operation must be 1");
    require(checks, !(cr4 & ~fixed4.may), VMCS_GUEST_CR4,
            "CR4 bits that are fixed to 0 in VMX operation must be 0");
    if (checks->entry & ENTRY_LOAD_DEBUG_CONTROLS)
        require(checks, !(checked(checks, VMCS_GUEST_DEBUGCTL) & ~DEBUGCTL_DEFINED),
                VMCS_GUEST_DEBUGCTL, "reserved bits of IA32_DEBUGCTL must be 0");
    require(checks, implies(checks->ia32e, cr0 & CR0_PG), VMCS_GUEST_CR0,
            "\"IA-32e mode guest\" requires CR0.PG = 1");
    require(checks, implies(checks->ia32e, cr4 & CR4_PAE), VMCS_GUEST_CR4,
            "\"IA-32e mode guest\" requires CR4.PAE = 1");
    require(checks, implies(cr4 & CR4_PCIDE, checks->ia32e), VMCS_GUEST_CR4,
            "CR4.PCIDE = 1 requires \"IA-32e mode guest\"");
    require(checks, fits_physical(checks, checked(checks, VMCS_GUEST_CR3)), VMCS_GUEST_CR3,
            "CR3 must not exceed the physical-address width");
    if (checks->entry & ENTRY_LOAD_DEBUG_CONTROLS)
        require(checks, checked(checks, VMCS_GUEST_DR7) <= UINT32_MAX, VMCS_GUEST_DR7,
                "bits 63:32 of DR7 must be 0");
}

static void check_msrs(struct vmentry_checks *checks)
{
    require(checks, canonical(checks, checked(checks, VMCS_GUEST_SYSENTER_ESP)),
            VMCS_GUEST_SYSENTER_ESP, "IA32_SYSENTER_ESP must be canonical");
    require(checks, canonical(checks, checked(checks, VMCS_GUEST_SYSENTER_EIP)),
            VMCS_GUEST_SYSENTER_EIP, "IA32_SYSENTER_EIP must be canonical");
    if (checks->entry & ENTRY_LOAD_PAT)
        require(checks, msr_pat_valid(checked(checks, VMCS_GUEST_PAT)), VMCS_GUEST_PAT,
                "each byte of IA32_PAT must be 0, 1, 4, 5, 6 or 7");
    if (checks->entry & ENTRY_LOAD_EFER) {
        uint64_t efer = checked(checks, VMCS_GUEST_EFER);
        require(checks, !(efer & ~checks->cpu->profile->efer_allowed), VMCS_GUEST_EFER,
                "reserved bits of IA32_EFER must be 0");
        require(checks, !(efer & EFER_LMA) == !checks->ia32e, VMCS_GUEST_EFER,
                "IA32_EFER.LMA must equal the \"IA-32e mode guest\" VM-entry control");
        require(checks, implies(checks->cr0 & CR0_PG, !(efer & EFER_LMA) == !(efer & EFER_LME)),
                VMCS_GUEST_EFER, "CR0.PG = 1 requires IA32_EFER.LMA = IA32_EFER.LME");
    }
}

void vmentry_check_guest_registers(struct vmentry_checks *checks)
{
    check_control_registers(checks);
    check_msrs(checks);
}

void vmentry_check_guest_descriptor_tables(struct vmentry_checks *checks)
{
    checks->section = "Checks on Guest Descriptor-Table Registers";
    require(checks, canonical(checks, checked(checks, VMCS_GUEST_GDTR_BASE)), VMCS_GUEST_GDTR_BASE,
            "the base of GDTR must be canonical");
    require(checks, canonical(checks, checked(checks, VMCS_GUEST_IDTR_BASE)), VMCS_GUEST_IDTR_BASE,
            "the base of IDTR must be canonical");
    require(checks, checked(checks, VMCS_GUEST_GDTR_LIMIT) <= UINT16_MAX, VMCS_GUEST_GDTR_LIMIT,
            "bits 31:16 of the limit of GDTR must be 0");
    require(checks, checked(checks, VMCS_GUEST_IDTR_LIMIT) <= UINT16_MAX, VMCS_GUEST_IDTR_LIMIT,
            "bits 31:16 of the limit of IDTR must be 0");
}

void vmentry_check_guest_rip(struct vmentry_checks *checks)
{
    uint64_t rip = checked(checks, VMCS_GUEST_RIP), rflags = checks->rflags;
    bool code64 = checks->ia32e && checked(checks, VMCS_GUEST_CS_ACCESS_RIGHTS) & AR_L;
    checks->section = "Checks on Guest RIP, RFLAGS, and SSP";
    if (code64) {
        /* RIP need not be canonical: with N linear-address bits, bit N-1 may differ. */
        uint64_t upper = (uint64_t)((int64_t)rip >> (64 - checks->linear_shift));
        require(checks, upper == 0 || upper == UINT64_MAX, VMCS_GUEST_RIP,
                "bits of RIP beyond the linear-address width must be identical");
    } else {
        require(checks, rip <= UINT32_MAX, VMCS_GUEST_RIP,
                "bits 63:32 of RIP must be 0 outside 64-bit mode");
    }
    require(checks, !(rflags & RFLAGS_ZERO_BITS), VMCS_GUEST_RFLAGS,
            "RFLAGS bits 63:22, 15, 5 and 3 must be 0");
    require(checks, rflags & RFLAGS_FIXED, VMCS_GUEST_RFLAGS, "RFLAGS bit 1 must be 1");
    require(checks, implies(rflags & RFLAGS_VM, !checks->ia32e && checks->cr0 & CR0_PE),
            VMCS_GUEST_RFLAGS,
            "RFLAGS.VM = 1 requires CR0.PE = 1 and no \"IA-32e mode guest\" control");
    require(checks, implies(injects(checks, EVENT_EXTERNAL_INTERRUPT), rflags & RFLAGS_IF),
            VMCS_GUEST_RFLAGS, "injection of an external interrupt requires RFLAGS.IF = 1");
}

/* Events that can be injected into an inactive processor. */
static bool activity_accepts_injection(const struct vmentry_checks *checks, uint64_t activity)
{
    uint32_t vector = checks->injection & INTR_INFO_VECTOR;
    bool exception = injects(checks, EVENT_HARDWARE_EXCEPTION);
    bool nmi = injects(checks, EVENT_NMI);
    if (!(checks->injection & INTR_INFO_VALID))
        return true;
    switch (activity) {
    case ACTIVITY_HLT:
        return nmi || injects(checks, EVENT_EXTERNAL_INTERRUPT) ||
               (exception && (vector == VECTOR_DB || vector == VECTOR_MC)) ||
               (checks->injection >> INTR_INFO_TYPE_SHIFT & 7) == INJECTION_OTHER_EVENT;
    case ACTIVITY_SHUTDOWN:
        return nmi || (exception && vector == VECTOR_MC);
    case ACTIVITY_WAIT_FOR_SIPI:
        return false;
    default:
        return true;
    }
}

static void check_activity_state(struct vmentry_checks *checks)
{
    uint64_t activity = checked(checks, VMCS_GUEST_ACTIVITY_STATE);
    uint64_t misc = vmx_capability(checks->cpu->profile, MSR_VMX_MISC);
    bool supported =
        activity == ACTIVITY_ACTIVE || (activity <= ACTIVITY_WAIT_FOR_SIPI &&
                                        (misc & VMX_MISC_ACTIVITY_STATES) >> (activity + 5) & 1);
    uint64_t shadow =
        checked(checks, VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    require(checks, supported, VMCS_GUEST_ACTIVITY_STATE,
            "the activity state must be one that the processor supports");
    require(checks,
            implies(activity == ACTIVITY_HLT,
                    AR_DPL(checked(checks, VMCS_GUEST_SS_ACCESS_RIGHTS)) == 0),
            VMCS_GUEST_ACTIVITY_STATE, "activity state HLT requires SS.DPL = 0");
    require(checks, implies(shadow, activity == ACTIVITY_ACTIVE), VMCS_GUEST_ACTIVITY_STATE,
            "blocking by STI or by MOV SS requires the active state");
    require(checks, activity_accepts_injection(checks, activity), VMCS_GUEST_ACTIVITY_STATE,
            "the injected event must be one that ends the activity state");
}

static void check_interruptibility(struct vmentry_checks *checks)
{
    const enum vmcs_field field = VMCS_GUEST_INTERRUPTIBILITY;
    uint64_t state = checked(checks, field);
    bool sti = state & BLOCKING_BY_STI, mov_ss = state & BLOCKING_BY_MOV_SS;
    bool nmi = injects(checks, EVENT_NMI);
    require(checks, !(state & INTERRUPTIBILITY_RESERVED), field,
            "bits 31:4 of the interruptibility state must be 0");
    require(checks, !(sti && mov_ss), field,
            "blocking by STI and by MOV SS must not both be in effect");
    require(checks, implies(sti, checks->rflags & RFLAGS_IF), field,
            "blocking by STI requires RFLAGS.IF = 1");
    require(checks, implies(injects(checks, EVENT_EXTERNAL_INTERRUPT), !sti && !mov_ss), field,
            "injection of an external interrupt requires no blocking by STI or by MOV SS");
    require(checks, implies(nmi, !mov_ss), field,
            "injection of an NMI requires no blocking by MOV SS");
    require(checks, !(state & BLOCKING_BY_SMI), field,
            "blocking by SMI requires a processor in SMM");
    require_or(checks, implies(nmi, !sti), field, "injection of an NMI requires no blocking by STI",
               QUALIFICATION_NMI_BLOCKED_BY_STI);
    require(checks, implies(nmi && checks->pin & PIN_VIRTUAL_NMIS, !(state & BLOCKING_BY_NMI)),
            field, "injection of an NMI with \"virtual NMIs\" requires no blocking by NMI");
}

static void check_pending_debug(struct vmentry_checks *checks)
{
    uint64_t pending = checked(checks, VMCS_GUEST_PENDING_DEBUG);
    bool held =
        checked(checks, VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS) ||
        checked(checks, VMCS_GUEST_ACTIVITY_STATE) == ACTIVITY_HLT;
    bool steps =
        checks->rflags & RFLAGS_TF && !(checked(checks, VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);
    require(checks, !(pending & PENDING_DEBUG_RESERVED), VMCS_GUEST_PENDING_DEBUG,
            "reserved bits of the pending debug exceptions must be 0");
    require(checks, implies(held, !(pending & PENDING_DEBUG_BS) == !steps),
            VMCS_GUEST_PENDING_DEBUG,
            "with blocking by STI or MOV SS or in state HLT, pending BS must be 1 if and only if "
            "RFLAGS.TF = 1 and IA32_DEBUGCTL.BTF = 0");
}

/* The VMCS at a link pointer is one of this processor's, and not a shadow. */
static bool has_vmcs_revision(const struct vmentry_checks *checks, uint64_t hpa)
{
    const struct physmem *physmem = checks->cpu->mmu.physmem;
    uint32_t revision;
    if (!physmem_contains(physmem, hpa, sizeof(revision)))
        return false;
    memcpy(&revision, physmem_at(physmem, hpa), sizeof(revision));
    return revision == VMX_BASIC_REVISION(vmx_capability(checks->cpu->profile, MSR_VMX_BASIC));
}

static void check_link_pointer(struct vmentry_checks *checks)
{
    uint64_t pointer = checked(checks, VMCS_VMCS_LINK_POINTER);
    bool page = !(pointer & 0xfff), fits = fits_physical(checks, pointer);
    if (pointer == LINK_POINTER_NONE)
        return;
    require_or(checks, page, VMCS_VMCS_LINK_POINTER, "bits 11:0 of the VMCS link pointer must be 0",
               QUALIFICATION_LINK_POINTER);
    require_or(checks, fits, VMCS_VMCS_LINK_POINTER,
               "the VMCS link pointer must not exceed the physical-address width",
               QUALIFICATION_LINK_POINTER);
    require_or(checks, !page || !fits || has_vmcs_revision(checks, pointer), VMCS_VMCS_LINK_POINTER,
               "the VMCS link pointer must lead to a VMCS with the processor's revision identifier",
               QUALIFICATION_LINK_POINTER);
}

void vmentry_check_guest_non_register(struct vmentry_checks *checks)
{
    checks->section = "Checks on Guest Non-Register State";
    check_activity_state(checks);
    check_interruptibility(checks);
    check_pending_debug(checks);
    check_link_pointer(checks);
}

void vmentry_check_guest_pdptes(struct vmentry_checks *checks)
{
    if (!(checks->secondary & SECONDARY_EPT) || checks->ia32e || !(checks->cr0 & CR0_PG) ||
        !(checks->cr4 & CR4_PAE))
        return;
    checks->section = "Checks on Guest Page-Directory-Pointer-Table Entries";
    for (unsigned i = 0; i < 4; i++) {
        uint64_t entry = checked(checks, VMCS_GUEST_PDPTE0 + i);
        require_or(checks,
                   !(entry & PDPTE_PRESENT) ||
                       !(entry & (PDPTE_RESERVED | checks->beyond_physical)),
                   VMCS_GUEST_PDPTE0 + i, "reserved bits of a present PDPTE must be 0",
                   QUALIFICATION_PDPTE);
    }
}
