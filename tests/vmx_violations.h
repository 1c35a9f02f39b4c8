/*
 * For the suites about VM-entry checks: changes to a valid VMCS that break one demand of the SDM,
 * and what must come of them in report and entry.
 */
#ifndef VTXSIM_TESTS_VMX_VIOLATIONS_H
#define VTXSIM_TESTS_VMX_VIOLATIONS_H

#include <stdio.h>

#include "tests/vmx_machine.h"

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

static inline void apply(struct vmcs *vmcs, const struct change *change)
{
    uint64_t value = vmcs_get(vmcs, change->field);
    value = change->operation == SET  ? change->value
            : change->operation == OR ? value | change->value
                                      : value & ~change->value;
    vmcs_set(vmcs, change->field, value);
}

static inline void apply_all(struct vmcs *vmcs, const struct change *changes, unsigned max)
{
    for (unsigned i = 0; i < max && changes[i].operation != END; i++)
        apply(vmcs, &changes[i]);
}

#define CONTROLS VMENTRY_FAILED_CONTROLS
#define HOST     VMENTRY_FAILED_HOST
#define GUEST    VMENTRY_FAILED_GUEST

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

static inline void print_report(const struct vmentry_report *report)
{
    for (unsigned i = 0; i < report->count; i++)
        fprintf(stderr, "  %s: %s (%s = %#lx)\n", report->failure[i].section,
                report->failure[i].text, vmcs_field_name(report->failure[i].field),
                (unsigned long)report->failure[i].value);
}

/* VM-instruction error, or exit reason and qualification, as the entry must leave them. */
static inline void assert_entry_outcome(struct machine *machine, enum vmentry_status status,
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

static inline void assert_only_violation(struct machine *machine, const struct violation *violation)
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

static inline void assert_violations(const struct violation *violations, size_t count)
{
    struct machine *machine = machine_create();
    for (size_t i = 0; i < count; i++)
        assert_only_violation(machine, &violations[i]);
    machine_destroy(machine);
}
#define ASSERT_VIOLATIONS(table) assert_violations(table, sizeof(table) / sizeof((table)[0]))

#endif
