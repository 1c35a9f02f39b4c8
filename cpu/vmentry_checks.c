/*
 * VM-entry checks: which run, and what is noted of a violated demand. SDM volume 3, chapter "VM
 * Entries", "Checks on VMX Controls and Host-State Area" and "Checking and Loading Guest State".
 */
#include "cpu/vmentry_checks.h"

#include <assert.h>

void vmentry_demand_violated(struct vmentry_checks *checks, enum vmcs_field field,
                             const char *demand, uint32_t qualification)
{
    if (checks->status == VMENTRY_OK) {
        checks->status = checks->section_status;
        checks->qualification = qualification;
    }
    struct vmentry_report *report = checks->report;
    if (!report)
        return;
    assert(report->count < VMENTRY_FAILURES_MAX);
    report->failure[report->count++] = (struct vmentry_failure){
        .section = checks->section,
        .text = demand,
        .field = field,
        .value = checked(checks, field),
        .status = checks->section_status,
        .qualification = qualification,
    };
}

static void prepare(struct vmentry_checks *checks, const struct cpu *cpu,
                    struct vmentry_report *report)
{
    const struct vmcs *vmcs = cpu->vmcs;
    const struct cpu_profile *profile = cpu->profile;
    assert(profile->maxphyaddr >= 32 && profile->maxphyaddr <= 52);
    assert(profile->maxlinaddr >= 32 && profile->maxlinaddr < 64);
    *checks = (struct vmentry_checks){
        .cpu = cpu,
        .vmcs = vmcs,
        .report = report,
        .pin = (uint32_t)vmcs_get(vmcs, VMCS_PIN_BASED_CONTROLS),
        .primary = (uint32_t)vmcs_get(vmcs, VMCS_PRIMARY_CONTROLS),
        .secondary = vmx_secondary_controls(vmcs),
        .exit = (uint32_t)vmcs_get(vmcs, VMCS_EXIT_CONTROLS),
        .entry = (uint32_t)vmcs_get(vmcs, VMCS_ENTRY_CONTROLS),
        .injection = (uint32_t)vmcs_get(vmcs, VMCS_ENTRY_INTERRUPTION_INFO),
        .cr0 = vmcs_get(vmcs, VMCS_GUEST_CR0),
        .cr4 = vmcs_get(vmcs, VMCS_GUEST_CR4),
        .rflags = vmcs_get(vmcs, VMCS_GUEST_RFLAGS),
        .beyond_physical = ~0ull << profile->maxphyaddr,
        .linear_shift = 64u - profile->maxlinaddr,
    };
    checks->ia32e = checks->entry & ENTRY_IA32E_MODE_GUEST;
    checks->unrestricted = checks->secondary & SECONDARY_UNRESTRICTED_GUEST;
    checks->virtual_8086 = checks->rflags & RFLAGS_VM;
}

/*
 * The groups of checks in the SDM's order, and what their failure means. A change of one field can
 * break demands in any group (the controls say what guest state must be), but RIP and RFLAGS are
 * looked at by few.
 */
static const struct group {
    bool looks_at_rip; /* or at RFLAGS */
    enum vmentry_status status;
    void (*check)(struct vmentry_checks *checks);
} groups[] = {
    {false, VMENTRY_FAILED_CONTROLS, vmentry_check_controls},
    {false, VMENTRY_FAILED_HOST, vmentry_check_host},
    {false, VMENTRY_FAILED_GUEST, vmentry_check_guest_registers},
    {false, VMENTRY_FAILED_GUEST, vmentry_check_guest_segments},
    {false, VMENTRY_FAILED_GUEST, vmentry_check_guest_descriptor_tables},
    {true, VMENTRY_FAILED_GUEST, vmentry_check_guest_rip},
    {true, VMENTRY_FAILED_GUEST, vmentry_check_guest_non_register},
    {false, VMENTRY_FAILED_GUEST, vmentry_check_guest_pdptes},
};

/* Only RFLAGS.VM decides how segments are checked, and no valid guest outside virtual-8086 mode
 * has these rights in CS: they show that RFLAGS.VM was 1 when the segments were last valid. */
static bool virtual_8086_changed(const struct vmentry_checks *checks)
{
    return checks->virtual_8086 !=
           (checked(checks, VMCS_GUEST_CS_ACCESS_RIGHTS) == VIRTUAL_8086_RIGHTS);
}

enum vmentry_status vmentry_checks_run(const struct cpu *cpu, uint32_t dirty,
                                       struct vmentry_report *report, uint32_t *qualification)
{
    struct vmentry_checks checks;
    if (!dirty)
        return VMENTRY_OK;
    prepare(&checks, cpu, report);
    bool all = dirty != VMCS_DIRTY_RIP || virtual_8086_changed(&checks);
    for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (!all && !groups[i].looks_at_rip)
            continue;
        checks.section_status = groups[i].status;
        groups[i].check(&checks);
        if (checks.status != VMENTRY_OK && !report)
            break;
    }
    *qualification = checks.qualification;
    return checks.status;
}

enum vmentry_status vmentry_check(struct cpu *cpu, struct vmentry_report *report)
{
    uint32_t qualification;
    report->count = 0;
    return vmentry_checks_run(cpu, VMCS_DIRTY_ALL, report, &qualification);
}
