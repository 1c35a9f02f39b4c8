/*
 * Faults, single steps, interrupts and NMIs in the machine as a whole: the guests of
 * tests/guests/engine carry what must come of each case; here they run as users run them and with
 * everything that may come between: every exit through the whole VM exit and entry, EPT entries
 * that vanish in mid-instruction and in mid-delivery, large and small EPT pages.
 */
#include "sim_machine.h"

static const char *const guests[] = {
    "engine-faults.multiboot",
    "engine-steps.multiboot",
    "engine-debug.multiboot",
    "engine-interrupts.multiboot",
    "engine-code.multiboot",
};
#define GUESTS (sizeof(guests) / sizeof(*guests))

/* All guests; then those that found something wrong, with what they said. */
static void run_all(const struct machine_setting *settings)
{
    static char report[65536];
    struct machine machine = {0};
    size_t length = 0;

    for (unsigned i = 0; i < GUESTS; i++) {
        const struct vm_stop *stop;

        machine_create(&machine, guests[i], settings);
        machine_run(&machine);
        stop = vm_get_stop(machine.vm);
        if (stop->reason != VM_STOP_DEBUG_EXIT || stop->guest_status != 1)
            length += (size_t)snprintf(report + length, sizeof(report) - length,
                                       "%s: stop reason %d %s\n%.10000s", guests[i], stop->reason,
                                       stop->message, machine.console);
        machine_destroy(&machine);
    }
    cr_assert_eq(length, 0, "%s", report);
}

Test(sim_engine_events, as_users_run_them, .timeout = 60)
{
    run_all(NO_SETTINGS);
}

Test(sim_engine_events, exits_cost_nothing, .timeout = 60)
{
    run_all(SETTINGS({"exit-cycles", "0"}));
}

Test(sim_engine_events, all_exits_leave, .timeout = 60)
{
    run_all(SETTINGS({"full-exits", "on"}));
}

Test(sim_engine_events, lazy_pages, .timeout = 60)
{
    run_all(SETTINGS({"ept-lazy", "on"}, {"ept-page-size", "4K"}));
}

Test(sim_engine_events, pages_vanish, .timeout = 120)
{
    static const char *const rates[] = {"70:1", "70:2", "25:3", "300:4"};

    for (unsigned i = 0; i < sizeof(rates) / sizeof(*rates); i++)
        run_all(SETTINGS({"ept-withdraw", rates[i]}, {"ept-page-size", "4K"}));
}

Test(sim_engine_events, pages_vanish_and_all_exits_leave, .timeout = 120)
{
    run_all(SETTINGS({"ept-withdraw", "100"}, {"ept-page-size", "4K"}, {"full-exits", "on"}));
}

/*
 * INT n and IRETQ all the time, EPT entries gone every few instructions: many of the violations are
 * in mid-delivery, where the exit leaves with the event in the IDT-vectoring information and the
 * next VM entry injects it again. Nothing else that can be settled in place leaves in this guest.
 */
static uint64_t run_interrupt_loop(const struct machine_setting *settings, uint64_t *instructions)
{
    struct machine machine = {0};
    struct run_statistics run;
    struct exit_statistics exits;
    uint64_t rounds = 10000, left;

    machine_create(&machine, "bench-interrupt.bin", settings);
    cr_assert_eq(guest_memory_write(&machine.vm->memory, 0x100008, &rounds, sizeof(rounds)), 0);
    machine_run(&machine);
    machine_expect_success(&machine, "bench-interrupt.bin");
    run = machine_statistics(&machine, &exits);
    *instructions = run.instructions;
    left = run.exits_full;
    for (uint32_t reason = 0; reason < EXIT_REASON_COUNT; reason++)
        if (!exit_is_handled_in_place(reason))
            left -= exits.reason[reason].count;
    machine_destroy(&machine);
    return left;
}

Test(sim_engine_events, violations_in_mid_delivery, .timeout = 60)
{
    uint64_t plain, disturbed, left;

    left = run_interrupt_loop(SETTINGS({"flat-mode", "64"}), &plain);
    cr_assert_leq(left, 1, "the OUT that ends the run, not %lu", left);
    left = run_interrupt_loop(
        SETTINGS({"flat-mode", "64"}, {"ept-withdraw", "15"}, {"ept-page-size", "4K"}), &disturbed);
    cr_assert_gt(left, 500, "only %lu violations in mid-delivery", left);
    cr_assert_eq(plain, disturbed, "%lu instructions, not %lu", disturbed, plain);
}

/* Simulated time: what costs a cycle, and interrupts at the instruction that their time is up at.
 */
Test(sim_engine_events, simulated_time, .timeout = 60)
{
    const struct machine_setting *const settings[] = {
        SETTINGS({"exit-cycles", "0"}),
        SETTINGS({"exit-cycles", "0"}, {"full-exits", "on"}),
        SETTINGS({"exit-cycles", "0"}, {"ept-withdraw", "100"}, {"ept-page-size", "4K"}),
    };
    struct machine machine = {0};

    for (unsigned i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
        machine_create(&machine, "engine-time.multiboot", settings[i]);
        machine_run(&machine);
        machine_expect_success(&machine, "engine-time.multiboot");
        machine_destroy(&machine);
    }
}

/* More code than the engine's buffer holds: it is emptied, also while the engine is not left. */
Test(sim_engine_events, code_buffer_overflows, .timeout = 120)
{
    struct machine machine = {0};

    machine_create(&machine, "engine-blocks.multiboot", NO_SETTINGS);
    machine_run(&machine);
    machine_expect_success(&machine, "engine-blocks.multiboot");
    cr_assert_gt(machine_statistics(&machine, NULL).translation_cache_flushes, 0,
                 "the guest has too little code to show anything");
    machine_destroy(&machine);
}
