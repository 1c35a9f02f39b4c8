/*
 * A whole machine for the suites of sim/: a guest of the build folder runs under a configuration,
 * and what came of it stays.
 */
#ifndef VTXSIM_TESTS_SIM_MACHINE_H
#define VTXSIM_TESTS_SIM_MACHINE_H

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/vm.h"
#include "sim/vm_internal.h"

/* AddressSanitizer looks for our leaks: the libraries keep a little for each engine and suite. */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:libunicorn\nleak:libcriterion\n";
}
const char *__lsan_default_options(void);
__attribute__((visibility("default"))) const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

#define MACHINE_CONSOLE_SIZE (1u << 20)

struct machine {
    struct vm *vm;
    char *console;
    size_t console_size;
    /* Called at the counts that machine_next_boundary asked for: the processor stands still. */
    void (*at_boundary)(struct machine *machine, uint64_t instructions);
    /* Called with each output, in the middle of an exit. */
    void (*at_output)(struct machine *machine);
};

/* A setting by its name, as an option has it. */
struct machine_setting {
    const char *name, *value;
};

#define MACHINE_SETTINGS_MAX 12

/* Settings end with an empty one. */
#define SETTINGS(...) ((const struct machine_setting[]){__VA_ARGS__, {NULL, NULL}})
#define NO_SETTINGS   SETTINGS({NULL, NULL})

static inline void machine_console_write(void *context, const void *data, size_t size)
{
    struct machine *machine = context;

    cr_assert_lt(machine->console_size + size, MACHINE_CONSOLE_SIZE, "the console is flooded");
    memcpy(machine->console + machine->console_size, data, size);
    machine->console_size += size;
    if (machine->at_output)
        machine->at_output(machine);
}

static inline void machine_stopped(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    struct machine *machine = context;

    if (stop->reason == VM_DEBUG_COUNT)
        machine->at_boundary(machine, stop->instructions);
}

/* "torture.multiboot" in the build folder that this suite is in. */
static inline void machine_guest_path(char path[600], const char *guest)
{
    char folder[512];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

    cr_assert_gt(length, 0);
    folder[length] = '\0';
    *strrchr(folder, '/') = '\0';
    *strrchr(folder, '/') = '\0';
    snprintf(path, 600, "%s/guests/%s", folder, guest);
}

/* A guest with the words of its command line, loaded; 32 MiB unless the settings say otherwise. */
static inline void machine_create(struct machine *machine, const char *guest_and_words,
                                  const struct machine_setting *settings)
{
    static const struct vm_callbacks callbacks = {machine_console_write, NULL};
    struct config_option options[MACHINE_SETTINGS_MAX + 3];
    char path[600], words[256], message[CONFIG_MESSAGE_SIZE] = "", *word, *rest;
    struct vm_config config;
    unsigned count = 0;
    int error;

    snprintf(words, sizeof(words), "%s", guest_and_words);
    word = strtok_r(words, " ", &rest);
    machine_guest_path(path, word);
    options[count++] = (struct config_option){"memory", "32M"};
    for (; settings->name; settings++) {
        cr_assert_leq(count, MACHINE_SETTINGS_MAX);
        options[count++] = (struct config_option){settings->name, settings->value};
    }
    options[count++] = (struct config_option){"image", path};
    error = vm_config_build(&config, NULL, options, count, message, sizeof(message));
    cr_assert_eq(error, 0, "%s: %s", guest_and_words, message);
    while ((word = strtok_r(NULL, " ", &rest))) {
        error = vm_config_set(&config, "arguments", word, message, sizeof(message));
        cr_assert_eq(error, 0, "%s: %s", guest_and_words, message);
    }

    machine->console = calloc(1, MACHINE_CONSOLE_SIZE);
    machine->console_size = 0;
    error = vm_create(&machine->vm, &config, &callbacks, machine, message, sizeof(message));
    cr_assert_eq(error, 0, "%s: %s", guest_and_words, message);
    if (machine->at_boundary)
        vm_debug_attach(machine->vm, machine_stopped, machine);
    error = vm_load(machine->vm, message, sizeof(message));
    cr_assert_eq(error, 0, "%s: %s", guest_and_words, message);
    vm_config_destroy(&config);
}

static inline void machine_destroy(struct machine *machine)
{
    vm_destroy(machine->vm);
    free(machine->console);
    machine->console = NULL;
    machine->vm = NULL;
}

static inline void machine_run(struct machine *machine)
{
    const struct vm_stop *stop = vm_get_stop(machine->vm);
    int error = vm_run(machine->vm);

    cr_assert_eq(error, 0, "%s", stop->message);
}

/* The guest must have ended by the debug-exit port with 0. */
static inline void machine_expect_success(const struct machine *machine, const char *what)
{
    const struct vm_stop *stop = vm_get_stop(machine->vm);

    cr_assert(stop->reason == VM_STOP_DEBUG_EXIT && stop->guest_status == 1,
              "%s: stop reason %d, status %d, \"%s\", console:\n%s", what, stop->reason,
              stop->guest_status, stop->message, machine->console);
}

static inline struct run_statistics machine_statistics(const struct machine *machine,
                                                       struct exit_statistics *exits)
{
    struct exit_statistics unused;
    struct run_statistics run;

    vm_get_statistics(machine->vm, &run, exits ? exits : &unused);
    return run;
}

static inline uint64_t machine_instructions(const struct machine *machine)
{
    return machine_statistics(machine, NULL).instructions;
}

/* Before the run and from at_boundary: have it called after so many instructions. */
static inline void machine_next_boundary(struct machine *machine, uint64_t instructions)
{
    vm_debug_stop_at(machine->vm, machine_instructions(machine) + instructions);
}

/* --- What a guest sees of its processor, while it stands
 * ---------------------------------------------- */

struct machine_registers {
    uint64_t gpr[GPR_COUNT], rip, rflags, cr0, cr2, cr3, cr4, interruptibility, pending_debug;
    uint64_t cs, ss, activity;
};

/* From at_boundary the processor holds the guest's state; after vm_run it is in the VMCS. */
static inline struct machine_registers machine_registers(const struct machine *machine)
{
    const struct vcpu *vcpu = &machine->vm->vcpu;
    const struct vmcs *vmcs = &vcpu->vmcs;
    const struct cpu_state *state = &vcpu->cpu.state;
    bool standing = vcpu->cpu.non_root;
#define REGISTER(member, field) (standing ? state->member : vmcs_get(vmcs, VMCS_GUEST_##field))
    struct machine_registers registers = {
        .rip = REGISTER(rip, RIP),
        .rflags = REGISTER(rflags, RFLAGS),
        .cr0 = REGISTER(cr0, CR0),
        .cr2 = state->cr2,
        .cr3 = REGISTER(cr3, CR3),
        .cr4 = REGISTER(cr4, CR4),
        .interruptibility = REGISTER(interruptibility, INTERRUPTIBILITY),
        .pending_debug = REGISTER(pending_debug, PENDING_DEBUG),
        .cs = REGISTER(seg[SEG_CS].selector, CS_SELECTOR),
        .ss = REGISTER(seg[SEG_SS].selector, SS_SELECTOR),
        .activity = REGISTER(activity, ACTIVITY_STATE),
    };
#undef REGISTER
    for (unsigned i = 0; i < GPR_COUNT; i++)
        registers.gpr[i] = standing ? state->gpr[i] : vcpu_gpr(vcpu, i);
    return registers;
}

#endif
