/* SDM volume 3, "Checks on Host-State Area" and "Checks Related to Address-Space Size". */
#include "cpu/msr.h"
#include "cpu/vmentry_checks.h"

#define SELECTOR_RPL_TI 7u

static void check_control_registers(struct vmentry_checks *checks)
{
    struct vmx_fixed cr0 = vmx_fixed_cr0(checks->cpu->profile);
    struct vmx_fixed cr4 = vmx_fixed_cr4(checks->cpu->profile);
    uint64_t host_cr0 = checked(checks, VMCS_HOST_CR0), host_cr4 = checked(checks, VMCS_HOST_CR4);
    checks->section = "Checks on Host Control Registers, MSRs, and SSP";
    require(checks, !(cr0.ones & ~host_cr0), VMCS_HOST_CR0,
            "CR0 bits that are fixed to 1 in VMX operation must be 1");
    require(checks, !(host_cr0 & ~cr0.may), VMCS_HOST_CR0,
            "CR0 bits that are fixed to 0 in VMX operation must be 0");
    require(checks, !(cr4.ones & ~host_cr4), VMCS_HOST_CR4,
            "CR4 bits that are fixed to 1 in VMX operation must be 1");
    require(checks, !(host_cr4 & ~cr4.may), VMCS_HOST_CR4,
            "CR4 bits that are fixed to 0 in VMX operation must be 0");
    require(checks, fits_physical(checks, checked(checks, VMCS_HOST_CR3)), VMCS_HOST_CR3,
            "CR3 must not exceed the physical-address width");
}

static void check_msrs(struct vmentry_checks *checks)
{
    require(checks, canonical(checks, checked(checks, VMCS_HOST_SYSENTER_ESP)),
            VMCS_HOST_SYSENTER_ESP, "IA32_SYSENTER_ESP must be canonical");
    require(checks, canonical(checks, checked(checks, VMCS_HOST_SYSENTER_EIP)),
            VMCS_HOST_SYSENTER_EIP, "IA32_SYSENTER_EIP must be canonical");
    if (checks->exit & EXIT_LOAD_PAT)
        require(checks, msr_pat_valid(checked(checks, VMCS_HOST_PAT)), VMCS_HOST_PAT,
                "each byte of IA32_PAT must be 0, 1, 4, 5, 6 or 7");
    if (checks->exit & EXIT_LOAD_EFER) {
        uint64_t efer = checked(checks, VMCS_HOST_EFER);
        bool host64 = checks->exit & EXIT_HOST_ADDRESS_SPACE_SIZE;
        require(checks, !(efer & ~checks->cpu->profile->efer_allowed), VMCS_HOST_EFER,
                "reserved bits of IA32_EFER must be 0");
        require(checks, !(efer & EFER_LMA) == !host64 && !(efer & EFER_LME) == !host64,
                VMCS_HOST_EFER,
                "IA32_EFER.LMA and LME must equal the \"host address-space size\" VM-exit control");
    }
}

static void check_segments(struct vmentry_checks *checks)
{
    checks->section = "Checks on Host Segment and Descriptor-Table Registers";
    for (enum vmcs_field field = VMCS_HOST_ES_SELECTOR; field <= VMCS_HOST_TR_SELECTOR; field++)
        require(checks, !(checked(checks, field) & SELECTOR_RPL_TI), field,
                "RPL and TI of a host selector must be 0");
    require(checks, checked(checks, VMCS_HOST_CS_SELECTOR) != 0, VMCS_HOST_CS_SELECTOR,
            "the selector of CS must not be 0");
    require(checks, checked(checks, VMCS_HOST_TR_SELECTOR) != 0, VMCS_HOST_TR_SELECTOR,
            "the selector of TR must not be 0");
    if (!(checks->exit & EXIT_HOST_ADDRESS_SPACE_SIZE))
        require(checks, checked(checks, VMCS_HOST_SS_SELECTOR) != 0, VMCS_HOST_SS_SELECTOR,
                "the selector of SS must not be 0 without \"host address-space size\"");
    for (enum vmcs_field field = VMCS_HOST_FS_BASE; field <= VMCS_HOST_IDTR_BASE; field++)
        require(checks, canonical(checks, checked(checks, field)), field,
                "the bases of FS, GS, TR, GDTR and IDTR must be canonical");
}

static void check_address_space_size(struct vmentry_checks *checks)
{
    bool lma = checks->cpu->state.efer & EFER_LMA;
    bool host64 = checks->exit & EXIT_HOST_ADDRESS_SPACE_SIZE;
    uint64_t cr4 = checked(checks, VMCS_HOST_CR4), rip = checked(checks, VMCS_HOST_RIP);
    checks->section = "Checks Related to Address-Space Size";
    require(checks, implies(checks->ia32e, lma), VMCS_ENTRY_CONTROLS,
            "\"IA-32e mode guest\" requires a host in IA-32e mode");
    require(checks, lma == host64, VMCS_EXIT_CONTROLS,
            "\"host address-space size\" must be 1 if and only if the host is in IA-32e mode");
    if (host64) {
        require(checks, cr4 & CR4_PAE, VMCS_HOST_CR4,
                "\"host address-space size\" requires CR4.PAE = 1");
        require(checks, canonical(checks, rip), VMCS_HOST_RIP, "RIP must be canonical");
    } else {
        require(checks, !checks->ia32e, VMCS_ENTRY_CONTROLS,
                "\"IA-32e mode guest\" requires \"host address-space size\"");
        require(checks, !(cr4 & CR4_PCIDE), VMCS_HOST_CR4,
                "CR4.PCIDE = 1 requires \"host address-space size\"");
        require(checks, rip <= UINT32_MAX, VMCS_HOST_RIP,
                "bits 63:32 of RIP must be 0 without \"host address-space size\"");
    }
}

void vmentry_check_host(struct vmentry_checks *checks)
{
    check_control_registers(checks);
    check_msrs(checks);
    check_segments(checks);
    check_address_space_size(checks);
}
