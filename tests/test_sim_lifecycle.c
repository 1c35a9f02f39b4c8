/*
 * The life of a VM: its states and who may change them, from this thread and from others; creation
 * that fails; nothing left behind.
 */
#include "sim_machine.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

TestSuite(sim_lifecycle, .timeout = 120);

static void *run_thread(void *context)
{
    struct machine *machine = context;

    machine_run(machine);
    return NULL;
}

static pthread_t start(struct machine *machine)
{
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, run_thread, machine), 0);
    while (vm_get_state(machine->vm) == VM_CREATED)
        usleep(100);
    return thread;
}

static uint64_t paused_instructions(struct machine *machine)
{
    cr_assert_eq(vm_get_state(machine->vm), VM_PAUSED);
    return machine_instructions(machine);
}

/* What each state refuses. */
Test(sim_lifecycle, transitions)
{
    struct machine machine = {0};
    pthread_t thread;

    machine_create(&machine, "bad-infinite-loop.img", NO_SETTINGS);
    cr_assert_eq(vm_get_state(machine.vm), VM_CREATED);
    cr_assert_eq(vm_pause(machine.vm), -EINVAL);
    cr_assert_eq(vm_resume(machine.vm), -EINVAL);
    cr_assert_eq(vm_get_stop(machine.vm)->reason, VM_STOP_NONE);

    thread = start(&machine);
    cr_assert_eq(vm_run(machine.vm), -EINVAL, "it runs already");
    cr_assert_eq(vm_resume(machine.vm), -EINVAL);
    cr_assert_eq(vm_pause(machine.vm), 0);
    cr_assert_eq(vm_get_state(machine.vm), VM_PAUSED);
    cr_assert_eq(vm_pause(machine.vm), -EINVAL);
    cr_assert_eq(vm_run(machine.vm), -EINVAL);
    cr_assert_eq(vm_resume(machine.vm), 0);
    cr_assert_eq(vm_pause(machine.vm), 0, "again");
    cr_assert_eq(vm_resume(machine.vm), 0);
    vm_stop(machine.vm);
    pthread_join(thread, NULL);

    cr_assert_eq(vm_get_state(machine.vm), VM_STOPPED);
    cr_assert_eq(vm_get_stop(machine.vm)->reason, VM_STOP_REQUESTED);
    cr_assert_eq(vm_run(machine.vm), -EINVAL);
    cr_assert_eq(vm_pause(machine.vm), -EINVAL);
    cr_assert_eq(vm_resume(machine.vm), -EINVAL);
    vm_stop(machine.vm);
    cr_assert_eq(vm_get_state(machine.vm), VM_STOPPED);
    machine_destroy(&machine);
}

/* A paused VM stands still; a resumed one goes on. */
Test(sim_lifecycle, pause)
{
    struct machine machine = {0};
    uint64_t before = 0, now;
    pthread_t thread;

    machine_create(&machine, "bad-infinite-loop.img", NO_SETTINGS);
    thread = start(&machine);
    for (unsigned i = 0; i < 200; i++) {
        cr_assert_eq(vm_pause(machine.vm), 0);
        now = paused_instructions(&machine);
        if (i % 20 == 0) {
            usleep(2000);
            cr_assert_eq(paused_instructions(&machine), now, "it goes on");
        }
        cr_assert_geq(now, before);
        before = now;
        cr_assert_eq(vm_resume(machine.vm), 0);
        if (i % 20 == 0)
            usleep(2000);
    }
    cr_assert_gt(before, 1000, "it never ran");
    vm_stop(machine.vm);
    pthread_join(thread, NULL);
    machine_destroy(&machine);
}

/* Before it runs, while it runs, while it is paused. */
Test(sim_lifecycle, stop)
{
    struct machine machine = {0};
    pthread_t thread;

    machine_create(&machine, "bad-infinite-loop.img", NO_SETTINGS);
    vm_stop(machine.vm);
    machine_run(&machine);
    cr_assert_eq(vm_get_stop(machine.vm)->reason, VM_STOP_REQUESTED);
    cr_assert_lt(machine_instructions(&machine), 100000);
    machine_destroy(&machine);

    machine_create(&machine, "bad-infinite-loop.img", NO_SETTINGS);
    thread = start(&machine);
    cr_assert_eq(vm_pause(machine.vm), 0);
    vm_stop(machine.vm);
    pthread_join(thread, NULL);
    cr_assert_eq(vm_get_stop(machine.vm)->reason, VM_STOP_REQUESTED);
    machine_destroy(&machine);
}

/* Guests that give the engine no quiet moment can be paused and stopped all the same. */
Test(sim_lifecycle, busy_guests)
{
    static const char *const guests[] = {"bad-self-modifying.img", "bad-exceptions.img",
                                         "bad-mmio.img", "bad-ports.img",
                                         "torture.multiboot rounds=1000"};

    for (unsigned i = 0; i < sizeof(guests) / sizeof(*guests); i++) {
        struct machine machine = {0};
        pthread_t thread;

        machine_create(&machine, guests[i], NO_SETTINGS);
        thread = start(&machine);
        if (vm_pause(machine.vm) == 0)
            cr_assert_eq(vm_resume(machine.vm), 0);
        vm_stop(machine.vm);
        pthread_join(thread, NULL);
        cr_assert_neq(vm_get_stop(machine.vm)->reason, VM_STOP_NONE);
        machine_destroy(&machine);
    }
}

/*
 * Kicks from another thread, and from this one in the middle of exits, while the guest writes a
 * sequence to a port from the middle of its blocks: nothing is written twice or left out.
 */
static atomic_bool finished;
static atomic_uint kicks;

static void *kick(void *context)
{
    struct machine *machine = context;

    while (!atomic_load(&finished))
        if (vm_pause(machine->vm) == 0) {
            atomic_fetch_add(&kicks, 1);
            vm_resume(machine->vm);
        }
    return NULL;
}

static void kick_sometimes(struct machine *machine)
{
    if (machine->console_size % 13 == 0)
        vm_console_input(machine->vm, "x", 1); /* nobody reads it */
}

Test(sim_lifecycle, kicks_repeat_nothing)
{
    struct machine machine = {.at_output = kick_sometimes};
    pthread_t thread;

    machine_create(&machine, "engine-sequence.multiboot", NO_SETTINGS);
    cr_assert_eq(pthread_create(&thread, NULL, kick, &machine), 0);
    machine_run(&machine);
    atomic_store(&finished, true);
    pthread_join(thread, NULL);
    machine_expect_success(&machine, "engine-sequence");
    cr_assert_gt(kicks, 100, "%u kicks came through", kicks);
    cr_assert_eq(machine.console_size, 200000);
    for (size_t i = 0; i < machine.console_size; i++)
        cr_assert_eq((uint8_t)machine.console[i], (uint8_t)i, "byte %zu is %u", i,
                     (uint8_t)machine.console[i]);
    machine_destroy(&machine);
}

/* Console input from another thread arrives whole and in order. */
static atomic_bool prompted;

static void see_prompt(struct machine *machine)
{
    atomic_store(&prompted, true);
}

static void *type(void *context)
{
    struct machine *machine = context;

    while (!atomic_load(&prompted))
        usleep(100);
    for (unsigned sent = 0; sent < 20000;) {
        uint8_t data[64];

        for (unsigned i = 0; i < sizeof(data); i++)
            data[i] = (uint8_t)((sent + i) % 251);
        unsigned size = 20000 - sent < sizeof(data) ? 20000 - sent : sizeof(data);
        size_t taken = vm_console_input(machine->vm, data, size);
        sent += (unsigned)taken;
        if (!taken)
            usleep(100);
    }
    return NULL;
}

Test(sim_lifecycle, input)
{
    struct machine machine = {.at_output = see_prompt};
    pthread_t thread;

    machine_create(&machine, "engine-echo.multiboot", NO_SETTINGS);
    vm_set_interactive(machine.vm, true);
    cr_assert_eq(pthread_create(&thread, NULL, type, &machine), 0);
    machine_run(&machine);
    pthread_join(thread, NULL);
    machine_expect_success(&machine, "engine-echo");
    cr_assert_eq(machine.console_size, 1 + 20000);
    for (size_t i = 0; i < 20000; i++)
        cr_assert_eq((uint8_t)machine.console[1 + i], (uint8_t)(i % 251), "byte %zu", i);
    machine_destroy(&machine);
}

/* --- Creation
 * ---------------------------------------------------------------------------------------- */

/* What single settings allow, without the check of the whole: vm_create has the last word. */
static void build(struct vm_config *config, const char *image, const char *name, const char *value)
{
    struct config_option options[] = {{"image", image}, {"memory", "32M"}};
    char message[CONFIG_MESSAGE_SIZE] = "";

    cr_assert_eq(vm_config_build(config, NULL, options, 2, message, sizeof(message)), 0, "%s",
                 message);
    if (name)
        cr_assert_eq(vm_config_set(config, name, value, message, sizeof(message)), 0, "%s",
                     message);
}

/* Each tells what it is, what to do about it, and leaves no VM. */
Test(sim_lifecycle, creation_fails)
{
    static const struct {
        const char *name, *value;
        int error;
        const char *told;
    } cases[] = {
        {"cpu", "/nonexistent", -ENOENT, "/nonexistent"},
        {"cpu", "8086", -ENOENT, "vtxsim cpus"},
        {"trace", "/nonexistent/t", -ENOENT, "/nonexistent/t"},
        {"trace", "/", -EISDIR, "trace /"},
        {"cpus", "2", -ENOTSUP, "--cpus 1"},
        {"ept", "off", -ENOTSUP, "EPT"},
        {"unrestricted-guest", "off", -ENOTSUP, "unrestricted guest"},
        {"backend", "kvm", -ENOENT, "/nonexistent/kvm"},
    };

    setenv("VTXSIM_KVM_DEVICE", "/nonexistent/kvm", 1);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char message[CONFIG_MESSAGE_SIZE] = "";
        struct vm *vm = (struct vm *)&vm;
        struct vm_config config;
        int error;

        build(&config, "none", cases[i].name, cases[i].value);
        error = vm_create(&vm, &config, NULL, NULL, message, sizeof(message));
        cr_assert_eq(error, cases[i].error, "%s=%s: %d, \"%s\"", cases[i].name, cases[i].value,
                     error, message);
        cr_assert(strstr(message, cases[i].told), "%s=%s: \"%s\"", cases[i].name, cases[i].value,
                  message);
        cr_assert_null(vm);
        vm_config_destroy(&config);
    }
}

/* More than the host may have: it works, or the message says how much it was. */
Test(sim_lifecycle, much_memory)
{
    char message[CONFIG_MESSAGE_SIZE] = "";
    struct vm_config config;
    struct vm *vm;

    build(&config, "none", "memory", "256G");
    if (vm_create(&vm, &config, NULL, NULL, message, sizeof(message))) {
        cr_assert_null(vm);
        cr_assert(strstr(message, "memory"), "\"%s\"", message);
    }
    vm_destroy(vm);
    vm_config_destroy(&config);
}

/* An image that is not there or no image: the VM is there, and can be destroyed. */
Test(sim_lifecycle, loading_fails)
{
    static const char *const images[] = {"/nonexistent", "/", "/dev/null"};

    for (unsigned i = 0; i < sizeof(images) / sizeof(*images); i++) {
        char message[CONFIG_MESSAGE_SIZE] = "";
        struct vm_config config;
        struct vm *vm;

        build(&config, images[i], NULL, NULL);
        cr_assert_eq(vm_create(&vm, &config, NULL, NULL, message, sizeof(message)), 0, "%s",
                     message);
        cr_assert_lt(vm_load(vm, message, sizeof(message)), 0);
        cr_assert(strstr(message, images[i]), "%s: \"%s\"", images[i], message);
        cr_assert_eq(vm_get_state(vm), VM_CREATED);
        vm_destroy(vm);
        vm_config_destroy(&config);
    }
    vm_destroy(NULL);
}

/* --- Nothing is left behind
 * --------------------------------------------------------------------------- */

static unsigned count_entries(const char *path)
{
    DIR *directory = opendir(path);
    unsigned count = 0;

    cr_assert_not_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static uint64_t mapped_pages(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    cr_assert(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return pages;
}

static void live_once(unsigned i)
{
    static const char *const guests[] = {"bad-halt.img", "bad-triple-fault.img", "demo.img"};
    struct machine machine = {0};

    machine_create(&machine, guests[i % 3], NO_SETTINGS);
    if (i % 4) /* some are never run */
        machine_run(&machine);
    machine_destroy(&machine);
}

#ifdef __SANITIZE_ADDRESS__
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

/* Files, threads, mappings; the heap stays what it is after the first few. */
Test(sim_lifecycle, nothing_is_left)
{
    unsigned files, threads;
    uint64_t pages;
    size_t heap;

    for (unsigned i = 0; i < 12; i++)
        live_once(i);
    files = count_entries("/proc/self/fd");
    threads = count_entries("/proc/self/task");
    pages = mapped_pages();
    heap = mallinfo2().uordblks;
    for (unsigned i = 0; i < 36; i++)
        live_once(i);
    cr_assert_eq(count_entries("/proc/self/fd"), files);
    cr_assert_eq(count_entries("/proc/self/task"), threads);
    if (sanitized) /* keeps what is freed for a while, and looks for leaks itself */
        return;
    cr_assert_lt(mapped_pages(), pages + 36 * 16, "mappings grow: %lu pages, then %lu", pages,
                 mapped_pages());
    cr_assert_lt(mallinfo2().uordblks, heap + 36 * 4096, "the heap grows: %zu, then %zu", heap,
                 mallinfo2().uordblks);
}

/* Several at once, of which one thread runs one after another. */
Test(sim_lifecycle, several)
{
    struct machine machines[3] = {{0}};

    for (unsigned i = 0; i < 3; i++)
        machine_create(&machines[i], "engine-code.multiboot", NO_SETTINGS);
    for (unsigned i = 0; i < 3; i++)
        machine_run(&machines[i]);
    for (unsigned i = 0; i < 3; i++) {
        machine_expect_success(&machines[i], "one of three");
        machine_destroy(&machines[i]);
    }
}

/* Two at once, on two threads. */
Test(sim_lifecycle, side_by_side)
{
    struct machine machines[2] = {{0}};
    pthread_t threads[2];

    for (unsigned i = 0; i < 2; i++)
        machine_create(&machines[i], "torture.multiboot rounds=1", NO_SETTINGS);
    for (unsigned i = 0; i < 2; i++)
        threads[i] = start(&machines[i]);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        machine_expect_success(&machines[i], "one of two");
    }
    cr_assert_eq(machine_instructions(&machines[0]), machine_instructions(&machines[1]));
    cr_assert_eq(machines[0].console_size, machines[1].console_size);
    for (unsigned i = 0; i < 2; i++)
        machine_destroy(&machines[i]);
}
