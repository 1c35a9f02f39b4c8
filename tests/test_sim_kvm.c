/*
 * The KVM backend. What it can show depends on the machine: without a usable /dev/kvm, or with one
 * that lacks what a guest needs, a test says so and is skipped.
 */
#include <jansson.h>
#include <pthread.h>
#include <sys/wait.h>

#include "sim/debug.h"
#include "sim/kvm/probe.h"
#include "sim_machine.h"

/* Skips the test, with the reason, where no guest can run on KVM at all. */
static void need_kvm(void)
{
    static const struct vm_callbacks callbacks = {0};
    const struct config_option options[] = {{"backend", "kvm"}, {"image", "none"}};
    char message[CONFIG_MESSAGE_SIZE] = "";
    struct vm_config config;
    struct vm *vm;
    cr_assert_eq(vm_config_build(&config, NULL, options, 2, message, sizeof message), 0);
    int error = vm_create(&vm, &config, &callbacks, NULL, message, sizeof message);
    vm_config_destroy(&config);
    if (error) {
        fprintf(stderr, "SKIP: %s\n", message);
        cr_skip_test("%s", message);
    }
    vm_destroy(vm);
}

/* A device that is none, or that may not be opened: one message with the cause and the remedy. */
Test(sim_kvm, says_why_there_is_none)
{
    static const struct {
        const char *path, *message;
    } cases[] = {
        {"/nonexistent/kvm", "there is no KVM on this machine"},
        {"/dev/null", "is no KVM device"},
        {"/", "Is a directory"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const struct vm_callbacks callbacks = {0};
        const struct config_option options[] = {{"backend", "kvm"}, {"image", "none"}};
        char message[CONFIG_MESSAGE_SIZE] = "";
        struct vm_config config;
        struct vm *vm;
        setenv("VTXSIM_KVM_DEVICE", cases[i].path, 1);
        cr_assert_eq(vm_config_build(&config, NULL, options, 2, message, sizeof message), 0);
        cr_assert_neq(vm_create(&vm, &config, &callbacks, NULL, message, sizeof message), 0);
        cr_assert(strstr(message, cases[i].message), "%s: %s", cases[i].path, message);
        cr_assert(strstr(message, "--backend unicorn"), "%s", message);
        vm_config_destroy(&config);
    }
}

/* What vtxsim prints and returns, with the device at another path unless that is NULL. */
static int run_command(const char *words, const char *device, char *output, size_t size)
{
    char folder[512], command[1200];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    cr_assert_gt(length, 0);
    folder[length] = '\0';
    *strrchr(folder, '/') = '\0';
    snprintf(command, sizeof command, "%s%s %s/../vtxsim %s 2>&1",
             device ? "VTXSIM_KVM_DEVICE=" : "", device ? device : "", folder, words);
    FILE *pipe = popen(command, "r");
    cr_assert_not_null(pipe);
    output[fread(output, 1, size - 1, pipe)] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(sim_kvm, probe_command)
{
    char output[8192];
    cr_assert_eq(run_command("kvm-probe", "/nonexistent", output, sizeof output), 127);
    cr_assert(strstr(output, "there is no KVM on this machine"), "%s", output);
    cr_assert_eq(run_command("kvm-probe --json", "/dev/null", output, sizeof output), 127);

    need_kvm();
    cr_assert_eq(run_command("kvm-probe --json", NULL, output, sizeof output), 0, "%s", output);
    json_t *report = json_loads(output, 0, NULL);
    cr_assert(report, "%s", output);
    const char *environment = json_string_value(json_object_get(report, "environment"));
    cr_assert_str_eq(environment, kvm_identity()->environment);
    size_t i;
    json_t *feature;
    json_array_foreach(json_object_get(report, "features"), i, feature)
    {
        const char *name = json_string_value(json_object_get(feature, "feature"));
        bool present = json_is_true(json_object_get(feature, "present"));
        if (!strcmp(environment, "pvm") && strstr(name, "at CPL 0"))
            cr_assert(strstr(name, "single-step") || strstr(name, "breakpoint") ? present
                                                                                : !present,
                      "kvm_pvm: %s: %d", name, present);
    }
    cr_assert_geq(i, 20);
    json_decref(report);
}

/* --- Beside the simulation
 * --------------------------------------------------------------------- */

/* The exits that the kernel gives away, in their order. */
struct log {
    struct trace_sink sink;
    struct trace_event *event;
    unsigned count;
};

#define LOG_MAX 20000u

static bool is_comparable(const struct trace_event *event)
{
    switch (event->exit.reason) {
    case EXIT_IO:
    case EXIT_HLT:
    case EXIT_RDMSR:
    case EXIT_WRMSR:
    case EXIT_EPT_VIOLATION:
    case EXIT_TRIPLE_FAULT:
        return true;
    }
    return false;
}

static void keep(struct trace_sink *sink, const struct trace_event *event)
{
    struct log *log = (struct log *)sink;
    if (event->type == TRACE_EXIT && is_comparable(event) && log->count < LOG_MAX)
        log->event[log->count++] = *event;
}

static void run_logged(struct machine *machine, struct log *log, const char *guest,
                       const char *backend)
{
    *log = (struct log){
        {.types = 1u << TRACE_EXIT, .event = keep}, calloc(LOG_MAX, sizeof *log->event), 0};
    *machine = (struct machine){0};
    machine_create(machine, guest, SETTINGS({"backend", backend}));
    cr_assert_eq(vm_attach_sink(machine->vm, &log->sink), 0);
    vm_run(machine->vm);
}

static void expect_equal_exits(const char *guest, const struct log *a, const struct log *b)
{
    for (unsigned i = 0; i < a->count && i < b->count; i++) {
        const struct trace_event *x = &a->event[i], *y = &b->event[i];
        bool equal = x->exit.reason == y->exit.reason && x->rip == y->rip &&
                     x->exit.qualification == y->exit.qualification &&
                     x->exit.guest_linear_address == y->exit.guest_linear_address &&
                     x->exit.guest_physical_address == y->exit.guest_physical_address &&
                     x->exit.operand == y->exit.operand && x->exit.value == y->exit.value;
        cr_assert(equal,
                  "%s, exit %u: simulation %s at %llx, qualification %llx, gpa %llx, operand %llx, "
                  "value %llx; KVM %s at %llx, qualification %llx, gpa %llx, operand %llx, value "
                  "%llx",
                  guest, i, exit_reason_name(x->exit.reason), (unsigned long long)x->rip,
                  (unsigned long long)x->exit.qualification,
                  (unsigned long long)x->exit.guest_physical_address,
                  (unsigned long long)x->exit.operand, (unsigned long long)x->exit.value,
                  exit_reason_name(y->exit.reason), (unsigned long long)y->rip,
                  (unsigned long long)y->exit.qualification,
                  (unsigned long long)y->exit.guest_physical_address,
                  (unsigned long long)y->exit.operand, (unsigned long long)y->exit.value);
    }
    cr_assert_eq(a->count, b->count, "%s: %u exits in the simulation, %u on KVM", guest, a->count,
                 b->count);
}

static bool is_present(const char *feature)
{
    const struct kvm_report *report = kvm_report();
    for (unsigned i = 0; i < report->count; i++)
        if (!strcmp(report->finding[i].feature, feature))
            return report->finding[i].present;
    cr_assert_fail("no feature \"%s\" is probed", feature);
    return false;
}

/* Consoles, ends and exits of guests that do not depend on time are those of the simulation. */
static void compare(const char *guest)
{
    struct machine simulated, real;
    struct log simulated_log, real_log;
    run_logged(&simulated, &simulated_log, guest, "unicorn");
    run_logged(&real, &real_log, guest, "kvm");
    const struct vm_stop *a = vm_get_stop(simulated.vm), *b = vm_get_stop(real.vm);
    expect_equal_exits(guest, &simulated_log, &real_log);
    cr_assert_str_eq(simulated.console, real.console, "%s", guest);
    cr_assert_eq(a->reason, b->reason, "%s: %s", guest, b->message);
    cr_assert_eq(a->guest_status, b->guest_status, "%s: %s", guest, b->message);
    free(simulated_log.event);
    free(real_log.event);
    machine_destroy(&simulated);
    machine_destroy(&real);
}

Test(sim_kvm, guests_do_as_in_the_simulation)
{
    static const struct {
        const char *guest;
        const char *needs[4]; /* of KVM */
    } cases[] = {
        {"firmware.img", {"real mode"}},
        {"bad-halt.img", {"real mode"}},
        {"bad-self-modifying.img", {"real mode", "self-modifying code"}},
        {"bad-jump-nowhere.img", {"protected mode without paging"}},
        /* kvm_pvm ends it before it has set CR0.PG; elsewhere this holds wherever 64-bit mode does.
         */
        {"bad-page-table-loop.img", {"64-bit mode", "CS as loaded, at CPL 3"}},
        {"bad-exceptions.img", {"INT n at CPL 0"}},
        {"engine-code.multiboot", {"64-bit mode", "self-modifying code"}},
        {"engine-devices.multiboot", {"64-bit mode"}},
        {"engine-faults.multiboot", {"INT n at CPL 0", "SSE at CPL 0"}},
        {"engine-steps.multiboot", {"INT n at CPL 0", "single-step trap at CPL 0"}},
        {"engine-debug.multiboot", {"INT n at CPL 0", "breakpoint registers at CPL 0"}},
    };
    need_kvm();
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *missing = NULL;
        for (unsigned j = 0; j < 4 && cases[i].needs[j]; j++)
            if (!is_present(cases[i].needs[j]))
                missing = cases[i].needs[j];
        if (missing)
            fprintf(stderr, "SKIP: %s: this KVM (%s) lacks %s\n", cases[i].guest,
                    kvm_identity()->environment, missing);
        else
            compare(cases[i].guest);
    }
}

static void *run_thread(void *vm)
{
    vm_run(vm);
    return NULL;
}

/* Interrupts come from the platform, by the host's clock: out of HLT, out of a loop that nothing
 * else ends, and through an interrupt window. */
Test(sim_kvm, interrupts_reach_the_guest)
{
    static const char *const backends[] = {"unicorn", "kvm"};
    need_kvm();
    for (unsigned i = 0; i < 2; i++) {
        struct machine machine = {0};
        struct exit_statistics exits;
        machine_create(&machine, "engine-ticks.img", SETTINGS({"backend", backends[i]}));
        machine_run(&machine);
        machine_expect_success(&machine, backends[i]);
        cr_assert_str_eq(machine.console, "hhh bbb w", "%s", backends[i]);
        machine_statistics(&machine, &exits);
        cr_assert_eq(exits.reason[EXIT_HLT].count, 3, "%s", backends[i]);
        cr_assert_geq(exits.reason[EXIT_INTERRUPT_WINDOW].count, 1, "%s", backends[i]);
        machine_destroy(&machine);
    }
}

/* Pause, input and stop from another thread, while the guest runs and while it waits. */
Test(sim_kvm, requests_reach_a_running_guest)
{
    static const char *const guests[] = {"bad-infinite-loop.img", "engine-echo.multiboot"};
    need_kvm();
    for (unsigned i = 0; i < 2; i++) {
        struct machine machine = {0};
        pthread_t thread;
        machine_create(&machine, guests[i], SETTINGS({"backend", "kvm"}));
        vm_set_interactive(machine.vm, true);
        cr_assert_eq(pthread_create(&thread, NULL, run_thread, machine.vm), 0);
        while (vm_get_state(machine.vm) != VM_RUNNING)
            usleep(1000);
        for (unsigned round = 0; round < 20; round++) {
            cr_assert_eq(vm_pause(machine.vm), 0, "%s, round %u", guests[i], round);
            cr_assert_eq(vm_get_state(machine.vm), VM_PAUSED);
            cr_assert_eq(vm_resume(machine.vm), 0, "%s, round %u", guests[i], round);
        }
        vm_stop(machine.vm);
        pthread_join(thread, NULL);
        cr_assert_eq(vm_get_stop(machine.vm)->reason, VM_STOP_REQUESTED, "%s: %s", guests[i],
                     vm_get_stop(machine.vm)->message);
        machine_destroy(&machine);
    }
}

/* A debugger that stops after every instruction sees the simulation's registers on KVM, too. */
#define STEPS 400u

struct steps {
    uint64_t rip[STEPS], hash[STEPS];
    unsigned count;
};

static void step(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    struct steps *steps = context;
    const struct cpu_state *state = &vm_debug_cpu(vm)->state;
    uint64_t hash = state->rflags & ~RFLAGS_RF;
    if (stop->reason != VM_DEBUG_COUNT || steps->count == STEPS)
        return;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        hash = hash * 0x9e3779b97f4a7c15 + state->gpr[i];
    steps->rip[steps->count] = state->rip;
    steps->hash[steps->count++] = hash;
    if (steps->count < STEPS)
        vm_debug_stop_at(vm, stop->instructions + 1);
    else
        vm_stop(vm);
}

Test(sim_kvm, steps_as_the_simulation)
{
    static struct steps steps[2];
    static const char *const backends[] = {"unicorn", "kvm"};
    need_kvm();
    for (unsigned i = 0; i < 2; i++) {
        struct machine machine = {0};
        machine_create(&machine, "bad-self-modifying.img", SETTINGS({"backend", backends[i]}));
        vm_debug_attach(machine.vm, step, &steps[i]);
        vm_debug_stop_at(machine.vm, 0);
        vm_run(machine.vm);
        machine_destroy(&machine);
    }
    cr_assert_eq(steps[1].count, STEPS);
    for (unsigned i = 0; i < STEPS; i++)
        cr_assert(steps[0].rip[i] == steps[1].rip[i] && steps[0].hash[i] == steps[1].hash[i],
                  "after %u instructions: RIP %llx in the simulation, %llx on KVM, registers %s", i,
                  (unsigned long long)steps[0].rip[i], (unsigned long long)steps[1].rip[i],
                  steps[0].hash[i] == steps[1].hash[i] ? "equal" : "different");
}
