/*
 * The checks of VM entry: one function for each section of the SDM, in files by topic. Each demand
 * is one call of `require`, so nothing but comparisons happens while all of them hold.
 */
#ifndef VTXSIM_CPU_VMENTRY_CHECKS_H
#define VTXSIM_CPU_VMENTRY_CHECKS_H

#include "cpu/vmx.h"
#include "cpu/vmx_capabilities.h"

/* Exit qualifications of failed entries (SDM "VM-Entry Failures During or After Loading Guest
 * State"). */
enum vmentry_qualification {
    QUALIFICATION_NONE = 0,
    QUALIFICATION_PDPTE = 2,
    QUALIFICATION_NMI_BLOCKED_BY_STI = 3,
    QUALIFICATION_LINK_POINTER = 4,
};

struct vmentry_checks {
    const struct cpu *cpu;
    const struct vmcs *vmcs;
    struct vmentry_report *report; /* NULL: nobody asks */

    /* Of the first failure. */
    enum vmentry_status status;
    uint32_t qualification;

    /* Of the section being checked. */
    const char *section;
    enum vmentry_status section_status;

    /* What many demands look at. */
    uint32_t pin, primary, secondary, exit, entry, injection;
    uint64_t cr0, cr4, rflags;
    uint64_t beyond_physical; /* address bits beyond the physical-address width */
    unsigned linear_shift;    /* 64 - linear-address width */
    bool ia32e, unrestricted, virtual_8086;
};

/* Notes a violated demand. */
void vmentry_demand_violated(struct vmentry_checks *checks, enum vmcs_field field,
                             const char *demand, uint32_t qualification);

static inline void require_or(struct vmentry_checks *checks, bool fulfilled, enum vmcs_field field,
                              const char *demand, uint32_t qualification)
{
    if (__builtin_expect(!fulfilled, 0))
        vmentry_demand_violated(checks, field, demand, qualification);
}

static inline void require(struct vmentry_checks *checks, bool fulfilled, enum vmcs_field field,
                           const char *demand)
{
    require_or(checks, fulfilled, field, demand, QUALIFICATION_NONE);
}

static inline uint64_t checked(const struct vmentry_checks *checks, enum vmcs_field field)
{
    return vmcs_get(checks->vmcs, field);
}

static inline bool fits_physical(const struct vmentry_checks *checks, uint64_t address)
{
    return !(address & checks->beyond_physical);
}

static inline bool canonical(const struct vmentry_checks *checks, uint64_t address)
{
    unsigned shift = checks->linear_shift;
    return (uint64_t)((int64_t)(address << shift) >> shift) == address;
}

/* a implies b */
static inline bool implies(bool a, bool b)
{
    return !a || b;
}

static inline bool injects(const struct vmentry_checks *checks, enum event_type type)
{
    return (checks->injection & INTR_INFO_VALID) &&
           (checks->injection >> INTR_INFO_TYPE_SHIFT & 7) == type;
}

/* Access rights of every segment in virtual-8086 mode. */
#define VIRTUAL_8086_RIGHTS 0xf3

/* Type 7: a pending MTF VM exit instead of an event. */
#define INJECTION_OTHER_EVENT 7

void vmentry_check_controls(struct vmentry_checks *checks);
void vmentry_check_host(struct vmentry_checks *checks);
void vmentry_check_guest_registers(struct vmentry_checks *checks);
void vmentry_check_guest_segments(struct vmentry_checks *checks);
void vmentry_check_guest_descriptor_tables(struct vmentry_checks *checks);
void vmentry_check_guest_rip(struct vmentry_checks *checks);
void vmentry_check_guest_non_register(struct vmentry_checks *checks);
void vmentry_check_guest_pdptes(struct vmentry_checks *checks);

/* The checks that the dirty parts (VMCS_DIRTY_*) call for, in the SDM's order. Returns VMENTRY_OK
 * or the status of the first failure, then with its qualification. With a report they run on after
 * a failure. */
enum vmentry_status vmentry_checks_run(const struct cpu *cpu, uint32_t dirty,
                                       struct vmentry_report *report, uint32_t *qualification);

#endif
