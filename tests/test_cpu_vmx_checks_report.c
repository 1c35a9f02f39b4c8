/*
 * VM-entry checks together: guests that must enter, several violations at once, and random VMCSs.
 */
#include "tests/vmx_violations.h"

#include <time.h>

/* --- Valid guests ----------------------------------------------------------------------------- */

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
    static const struct {
        enum guest guest;
        struct change change[6];
        const char *text;
    } rows[] = {
        // clang-format off
        {GUEST_64BIT, {{SET, VMCS_GUEST_RIP, NOT_CANONICAL}}, "RIP need not be canonical"},
        {GUEST_64BIT, {{OR, VMCS_GUEST_CR0, CR0_NW}}, "CR0.NW without CR0.CD"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xa09f}}, "conforming CS"},
        {GUEST_UNPAGED, {{SET, VMCS_GUEST_CS_ACCESS_RIGHTS, 0xc093}}, "CS of type 3"},
        {GUEST_UNPAGED, {{OR, VMCS_GUEST_EFER, EFER_LME}}, "LME without paging"},
        {GUEST_PROTECTED, {{SET, VMCS_GUEST_TR_ACCESS_RIGHTS, 0x83}}, "16-bit TSS"},
        {GUEST_PROTECTED, {{OR, VMCS_GUEST_CS_SELECTOR, 3}}, "RPL of CS and SS differ, unrestricted"},
        {GUEST_VIRTUAL_8086, {{CLEAR, VMCS_SECONDARY_CONTROLS, SECONDARY_EPT | SECONDARY_UNRESTRICTED_GUEST}, {SET, VMCS_GUEST_CS_SELECTOR, 0x201}, {SET, VMCS_GUEST_CS_BASE, 0x2010}}, "virtual-8086 selectors have no RPL"},
        {GUEST_PAE, {{SET, VMCS_GUEST_PDPTE0, 0x1006}}, "PDPTE that is not present"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_PDPTE0, 0x1003}}, "PDPTE in IA-32e mode"},
        {GUEST_PROTECTED, {{SET, VMCS_GUEST_PDPTE0, 0x1003}}, "PDPTE in 32-bit paging"},
        {GUEST_UNPAGED, {{SET, VMCS_GUEST_PDPTE0, 0x1003}, {OR, VMCS_GUEST_CR4, CR4_PAE}}, "PDPTE without paging"},
        {GUEST_RESTRICTED, {{SET, VMCS_GUEST_PDPTE0, 0x1003}, {OR, VMCS_GUEST_CR4, CR4_PAE}}, "PDPTE without EPT"},
        {GUEST_64BIT, {{CLEAR, VMCS_PRIMARY_CONTROLS, PRIMARY_SECONDARY_CONTROLS}, {SET, VMCS_SECONDARY_CONTROLS, UINT32_MAX}}, "secondary controls without effect"},
        {GUEST_64BIT, {{CLEAR, VMCS_PRIMARY_CONTROLS, PRIMARY_IO_BITMAPS}, {OR, VMCS_IO_BITMAP_A, 0xfff}}, "I/O bitmaps not used"},
        {GUEST_64BIT, {{SET, VMCS_EXIT_MSR_LOAD_ADDRESS, UINT64_MAX}}, "empty MSR list"},
        {GUEST_64BIT, {{CLEAR, VMCS_ENTRY_CONTROLS, ENTRY_LOAD_DEBUG_CONTROLS}, {SET, VMCS_GUEST_DR7, UINT64_MAX}}, "debug controls not loaded"},
        {GUEST_64BIT, {{CLEAR, VMCS_ENTRY_CONTROLS, ENTRY_LOAD_EFER | ENTRY_LOAD_PAT}, {SET, VMCS_GUEST_EFER, UINT64_MAX}, {SET, VMCS_GUEST_PAT, UINT64_MAX}}, "EFER and PAT not loaded"},
        {GUEST_64BIT, {{CLEAR, VMCS_EXIT_CONTROLS, EXIT_LOAD_EFER | EXIT_LOAD_PAT}, {SET, VMCS_HOST_EFER, UINT64_MAX}, {SET, VMCS_HOST_PAT, UINT64_MAX}}, "host EFER and PAT not loaded"},
        {GUEST_64BIT, {{SET, VMCS_HOST_SS_SELECTOR, 0}, {SET, VMCS_HOST_DS_SELECTOR, 0}}, "64-bit host with null SS"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_GUEST_PENDING_DEBUG, 1u << 14}, {OR, VMCS_GUEST_RFLAGS, RFLAGS_TF}}, "single step pending in HLT"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_EXTERNAL_INTERRUPT, 0x20)}}, "interrupt ends HLT"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2)}}, "NMI ends HLT"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_DB)}}, "#DB ends HLT"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_MC)}}, "#MC ends HLT"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_HLT}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(7, 0)}}, "MTF exit pending in HLT"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_SHUTDOWN}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2)}}, "NMI ends shutdown"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_SHUTDOWN}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_MC)}}, "#MC ends shutdown"},
        {GUEST_64BIT, {{CLEAR, VMCS_PIN_BASED_CONTROLS, PIN_VIRTUAL_NMIS}, {SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI}, {SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_NMI, 2)}}, "NMI despite blocking, not virtual"},
        {GUEST_64BIT, {{SET, VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI}}, "blocking by NMI, nothing injected"},
        {GUEST_64BIT, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_PF) | INTR_INFO_ERROR_CODE}, {SET, VMCS_ENTRY_EXCEPTION_ERROR_CODE, 0xffff}}, "error code of 16 bits"},
        {GUEST_REAL, {{SET, VMCS_ENTRY_INTERRUPTION_INFO, INJECT(EVENT_HARDWARE_EXCEPTION, VECTOR_GP)}}, "#GP without error code in real mode"},
        // clang-format on
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

/* --- Several violations at once --------------------------------------------------------------- */

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

/* --- Random VMCSs ----------------------------------------------------------------------------- */

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
