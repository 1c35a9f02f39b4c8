/*
 * Exits are invisible to the guest. Where they cost no time, the torture guest prints the same and
 * executes the same number of instructions, whatever makes it exit: EPT entries withdrawn at
 * random, filled lazily or at once, of any size; every exit through the whole VM exit and entry.
 *
 * VTXSIM_LONG_TESTS=1 in the environment: hundreds of thousands of EPT violations.
 */
#include "sim_machine.h"

#define FREE_EXITS         \
    {                      \
        "exit-cycles", "0" \
    }

TestSuite(sim_invisible, .timeout = 240);

struct run_result {
    char *console;
    size_t console_size;
    struct run_statistics run;
};

static bool is_long(void)
{
    return getenv("VTXSIM_LONG_TESTS") != NULL;
}

static struct run_result run(const char *guest, const struct machine_setting *settings)
{
    struct machine machine = {0};
    struct run_result outcome;

    machine_create(&machine, guest, settings);
    machine_run(&machine);
    machine_expect_success(&machine, guest);
    outcome.run = machine_statistics(&machine, NULL);
    outcome.console_size = machine.console_size;
    outcome.console = machine.console;
    machine.console = NULL;
    machine_destroy(&machine);
    return outcome;
}

/* Runs with the settings must look like `reference` to the guest. Returns the EPT violations. */
static uint64_t expect_same(const struct run_result *reference, const char *guest,
                            const struct machine_setting *settings)
{
    struct run_result outcome = run(guest, settings);
    const char *name = settings[1].name, *value = settings[1].value;

    cr_assert(outcome.console_size == reference->console_size &&
                  memcmp(outcome.console, reference->console, outcome.console_size) == 0,
              "with %s %s the console differs:\n%s", name, value, outcome.console);
    cr_assert_eq(outcome.run.instructions, reference->run.instructions,
                 "with %s %s: %lu instructions, without %lu", name, value, outcome.run.instructions,
                 reference->run.instructions);
    cr_assert_eq(outcome.run.user_instructions, reference->run.user_instructions,
                 "with %s %s: %lu instructions in ring 3, without %lu", name, value,
                 outcome.run.user_instructions, reference->run.user_instructions);
    cr_assert_eq(outcome.run.simulated_cycles, reference->run.simulated_cycles,
                 "with %s %s: %lu cycles, without %lu", name, value, outcome.run.simulated_cycles,
                 reference->run.simulated_cycles);
    free(outcome.console);
    return outcome.run.ept_violations;
}

Test(sim_invisible, ways_to_exit)
{
    static const char *const guest = "torture.multiboot rounds=1";
    const struct machine_setting *const ways[] = {
        SETTINGS(FREE_EXITS, {"full-exits", "on"}),
        SETTINGS(FREE_EXITS, {"ept-lazy", "on"}),
        SETTINGS(FREE_EXITS, {"ept-page-size", "4K"}, {"ept-lazy", "on"}),
        SETTINGS(FREE_EXITS, {"ept-page-size", "2M"}),
        SETTINGS(FREE_EXITS, {"ept-page-size", "1G"}),
        SETTINGS(FREE_EXITS, {"ept-page-size", "1G"}, {"ept-lazy", "on"}, {"full-exits", "on"}),
        SETTINGS(FREE_EXITS, {"vpid", "off"}),
        SETTINGS(FREE_EXITS, {"vpid", "off"}, {"full-exits", "on"}),
        SETTINGS(FREE_EXITS, {"ept-withdraw", "5000"}, {"ept-page-size", "2M"}),
        SETTINGS(FREE_EXITS, {"ept-withdraw", "3000:1"}, {"ept-page-size", "4K"}),
        SETTINGS(FREE_EXITS, {"ept-withdraw", "1000:2"}, {"ept-page-size", "4K"}),
        SETTINGS(FREE_EXITS, {"ept-withdraw", "3000:3"}, {"ept-page-size", "4K"},
                 {"full-exits", "on"}),
        SETTINGS(FREE_EXITS, {"ept-withdraw", "3000:4"}, {"ept-page-size", "4K"},
                 {"ept-lazy", "on"}, {"vpid", "off"}),
    };
    struct run_result reference = run(guest, SETTINGS(FREE_EXITS));
    uint64_t violations = 0;

    for (unsigned i = 0; i < sizeof(ways) / sizeof(*ways); i++)
        violations += expect_same(&reference, guest, ways[i]);
    cr_assert_gt(violations, 20000, "%lu violations", violations);
    free(reference.console);
}

/* Entries that are gone at almost every instruction, over the first of the guest. */
Test(sim_invisible, violations_at_every_turn)
{
    static const char *const guests[] = {"engine-faults.multiboot", "engine-interrupts.multiboot",
                                         "engine-code.multiboot"};
    static const char *const rates[] = {"3:1", "10:2", "40:3"};

    for (unsigned i = 0; i < sizeof(guests) / sizeof(*guests); i++) {
        struct run_result reference = run(guests[i], SETTINGS(FREE_EXITS));

        for (unsigned j = 0; j < sizeof(rates) / sizeof(*rates); j++)
            expect_same(&reference, guests[i],
                        SETTINGS(FREE_EXITS, {"ept-withdraw", rates[j]}, {"ept-page-size", "4K"}));
        free(reference.console);
    }
}

Test(sim_invisible, hundreds_of_thousands_of_violations)
{
    const char *guest = is_long() ? "torture.multiboot rounds=20" : "torture.multiboot rounds=2";
    struct run_result reference = run(guest, SETTINGS(FREE_EXITS));
    uint64_t wanted = is_long() ? 300000 : 10000, violations = 0;

    for (unsigned seed = 1; violations < wanted; seed++) {
        char rate[32];

        snprintf(rate, sizeof(rate), "2000:%u", seed);
        violations +=
            expect_same(&reference, guest,
                        SETTINGS(FREE_EXITS, {"ept-withdraw", rate}, {"ept-page-size", "4K"}));
    }
    free(reference.console);
}
