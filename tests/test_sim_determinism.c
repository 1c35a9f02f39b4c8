/*
 * The same image, options and inputs: the same run to the last bit, however busy the host is. What
 * may differ is what the seed decides, and nothing else.
 */
#include "sim_machine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "sim/loaders/loader.h"

static char folder[] = "/tmp/vtxsim-determinism-XXXXXX";

static void begin(void)
{
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void end(void)
{
    unlink("a.vtx");
    unlink("b.vtx");
    rmdir(folder);
}

TestSuite(sim_determinism, .init = begin, .fini = end, .timeout = 120);

/* What came of a run. */
struct run_result {
    char *console;
    size_t console_size;
    char *trace;
    size_t trace_size;
    struct run_statistics run;
    struct exit_statistics exits;
    struct machine_registers registers;
    struct vm_stop stop;
};

static char *slurp(const char *path, size_t *size)
{
    FILE *file = fopen(path, "re");
    struct stat status;
    char *data;

    cr_assert(file && fstat(fileno(file), &status) == 0, "%s", path);
    data = malloc((size_t)status.st_size + 1);
    *size = fread(data, 1, (size_t)status.st_size, file);
    fclose(file);
    return data;
}

static struct run_result run(const char *guest, const struct machine_setting *settings,
                             const char *trace, void (*disturb)(struct machine *))
{
    struct machine_setting all[MACHINE_SETTINGS_MAX] = {{"trace", trace}};
    struct machine machine = {0};
    struct run_result outcome = {0};

    for (unsigned i = 0; settings[i].name; i++)
        all[i + 1] = settings[i];
    machine_create(&machine, guest, all);
    if (disturb)
        disturb(&machine);
    else
        machine_run(&machine);
    outcome.run = machine_statistics(&machine, &outcome.exits);
    outcome.run.host_seconds = 0;
    outcome.run.translation_cache_bytes = 0; /* host code: addresses in it have several lengths */
    outcome.registers = machine_registers(&machine);
    outcome.stop = *vm_get_stop(machine.vm);
    outcome.console_size = machine.console_size;
    outcome.console = malloc(machine.console_size + 1);
    memcpy(outcome.console, machine.console, machine.console_size);
    machine_destroy(&machine);
    outcome.trace = slurp(trace, &outcome.trace_size);
    return outcome;
}

static void run_result_free(struct run_result *outcome)
{
    free(outcome->console);
    free(outcome->trace);
}

static bool same_console(const struct run_result *a, const struct run_result *b)
{
    return a->console_size == b->console_size &&
           memcmp(a->console, b->console, a->console_size) == 0;
}

static bool same_trace(const struct run_result *a, const struct run_result *b)
{
    return a->trace_size == b->trace_size && memcmp(a->trace, b->trace, a->trace_size) == 0;
}

static void expect_same(const struct run_result *a, const struct run_result *b, const char *what)
{
    cr_assert(same_console(a, b), "%s: the consoles differ", what);
    cr_assert(same_trace(a, b), "%s: the traces differ (%zu and %zu bytes)", what, a->trace_size,
              b->trace_size);
    cr_assert_eq(memcmp(&a->registers, &b->registers, sizeof(a->registers)), 0,
                 "%s: the registers at the end differ", what);
    cr_assert_eq(memcmp(&a->exits, &b->exits, sizeof(a->exits)), 0, "%s: exits differ", what);
    cr_assert(a->stop.reason == b->stop.reason && a->stop.guest_status == b->stop.guest_status,
              "%s: the runs end differently", what);
}

/* TLB hits and misses, walks, translated blocks: all of the totals but the trace's size, which is
 * that of its options, too. */
static void expect_same_totals(const struct run_result *a, const struct run_result *b,
                               const char *what)
{
    const uint64_t *x = (const uint64_t *)&a->run, *y = (const uint64_t *)&b->run;

    for (unsigned i = 0; i < offsetof(struct run_statistics, trace_bytes) / sizeof(*x); i++)
        cr_assert_eq(x[i], y[i], "%s: word %u of the totals: %lu and %lu", what, i, x[i], y[i]);
}

static void expect_repeatable(const char *guest, const struct machine_setting *settings)
{
    struct run_result a = run(guest, settings, "a.vtx", NULL),
                      b = run(guest, settings, "b.vtx", NULL);

    cr_assert_gt(a.trace_size, 100);
    expect_same(&a, &b, guest);
    expect_same_totals(&a, &b, guest);
    run_result_free(&a);
    run_result_free(&b);
}

Test(sim_determinism, demo)
{
    expect_repeatable("demo.img", NO_SETTINGS);
}

Test(sim_determinism, torture)
{
    expect_repeatable("torture.multiboot rounds=2", NO_SETTINGS);
    expect_repeatable("torture.multiboot rounds=1", SETTINGS({"full-exits", "on"}));
    expect_repeatable("torture.multiboot rounds=1",
                      SETTINGS({"ept-withdraw", "500"}, {"ept-page-size", "4K"}));
}

/*
 * Other threads ask for pauses at times that differ from run to run: the guest and its trace know
 * nothing of it; only how code was translated around the pauses differs. The engine's library sizes
 * its TLB by the clock, which must be the simulated one.
 */
static atomic_bool finished;
static atomic_uint pauses;

static void *pause_and_resume(void *context)
{
    struct machine *machine = context;

    while (!atomic_load(&finished)) {
        if (vm_pause(machine->vm) == 0) {
            atomic_fetch_add(&pauses, 1);
            usleep(500);
            vm_resume(machine->vm);
        }
        usleep(300);
    }
    return NULL;
}

static void run_with_pauses(struct machine *machine)
{
    pthread_t thread;

    atomic_store(&finished, false);
    cr_assert_eq(pthread_create(&thread, NULL, pause_and_resume, machine), 0);
    machine_run(machine);
    atomic_store(&finished, true);
    pthread_join(thread, NULL);
}

Test(sim_determinism, pauses_do_not_show)
{
    struct run_result a = run("torture.multiboot rounds=2", NO_SETTINGS, "a.vtx", NULL);
    struct run_result b = run("torture.multiboot rounds=2", NO_SETTINGS, "b.vtx", run_with_pauses);

    cr_assert_gt(pauses, 2, "%u pauses", pauses);
    expect_same(&a, &b, "torture with pauses");
    cr_assert_eq(a.run.instructions, b.run.instructions);
    cr_assert_eq(a.run.simulated_cycles, b.run.simulated_cycles);
    run_result_free(&a);
    run_result_free(&b);
}

/* Fills of the engine's TLB, in a guest that misses all the time and runs long on the host. */
Test(sim_determinism, tlb_fills)
{
    const struct machine_setting *settings =
        SETTINGS({"flat-mode", "64"}, {"memory", "160M"}, {"max-instructions", "3000000"},
                 {"ept-page-size", "4K"});
    struct run_result a = run("bench-random.bin", settings, "a.vtx", NULL);
    struct run_result b = run("bench-random.bin", settings, "b.vtx", NULL);

    cr_assert_gt(a.run.walks, 10000, "%lu walks", a.run.walks);
    expect_same(&a, &b, "bench-random");
    expect_same_totals(&a, &b, "bench-random");
    run_result_free(&a);
    run_result_free(&b);
}

/* RDRAND and RDSEED come from the seed. */
Test(sim_determinism, seeds)
{
    struct run_result one = run("engine-random.multiboot", SETTINGS({"seed", "1"}), "a.vtx", NULL);
    struct run_result same = run("engine-random.multiboot", SETTINGS({"seed", "1"}), "b.vtx", NULL);
    struct run_result two = run("engine-random.multiboot", SETTINGS({"seed", "2"}), "b.vtx", NULL);

    cr_assert_gt(one.console_size, 100);
    expect_same(&one, &same, "seed 1");
    cr_assert(!same_console(&one, &two), "seeds 1 and 2 give the same numbers");
    run_result_free(&one);
    run_result_free(&same);
    run_result_free(&two);

    /* Where nothing is random the seed shows in the trace's head only. */
    one = run("torture.multiboot rounds=1", SETTINGS({"seed", "1"}), "a.vtx", NULL);
    two = run("torture.multiboot rounds=1", SETTINGS({"seed", "2"}), "b.vtx", NULL);
    cr_assert(same_console(&one, &two));
    expect_same_totals(&one, &two, "torture with seeds 1 and 2");
    run_result_free(&one);
    run_result_free(&two);
}
