/*
 * Stops at instruction counts: exact, repeatable, and invisible to the guest.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "sim/debug.h"
#include "tests/sim_machine.h"

#define STOPS 200

struct stops {
    uint64_t at[STOPS], hash[STOPS], rip[STOPS];
    unsigned count, wanted, ends;
};

static void note(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    struct stops *stops = context;
    unsigned i = stops->count;

    if (stop->reason == VM_DEBUG_END) {
        stops->ends++;
        return;
    }
    cr_assert_eq(stop->reason, VM_DEBUG_COUNT);
    cr_assert_eq(stop->instructions, stops->at[i], "stop %u at %lu instead of %lu", i,
                 stop->instructions, stops->at[i]);
    stops->hash[i] = vm_debug_hash_registers(vm);
    stops->rip[i] = vm_debug_cpu(vm)->state.rip;
    vm_debug_stop_at(vm, stop->instructions); /* here already: never met */
    if (++stops->count < stops->wanted)
        vm_debug_stop_at(vm, stops->at[stops->count]);
    else
        vm_debug_stop_at(vm, UINT64_MAX);
}

static void run(const char *guest, struct stops *stops, struct run_statistics *run,
                uint64_t *console)
{
    struct machine machine = {0};

    stops->count = stops->ends = 0;
    machine_create(&machine, guest, NO_SETTINGS);
    vm_debug_attach(machine.vm, note, stops);
    vm_debug_stop_at(machine.vm, stops->wanted ? stops->at[0] : UINT64_MAX);
    machine_run(&machine);
    cr_assert_eq(stops->count, stops->wanted);
    cr_assert_eq(stops->ends, 1);
    *run = machine_statistics(&machine, NULL);
    *console = machine.console_size;
    machine_destroy(&machine);
}

static int ascending(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Every place is reached exactly, in the same state however many stops were made before it, and
 * the guest ends as it does without any. */
Test(sim_debug, stops_are_exact_and_invisible)
{
    static struct stops none, all, some;
    struct run_statistics plain, stopped;
    uint64_t console[2];

    run("torture.multiboot rounds=1", &none, &plain, &console[0]);
    for (unsigned i = 0; i < STOPS; i++)
        all.at[i] = i < 60 ? i : (uint64_t)rand() * 7919 % plain.instructions;
    all.wanted = STOPS;
    qsort(all.at, STOPS, sizeof(*all.at), ascending);
    for (unsigned i = 0; i + 1 < all.wanted; i++)
        if (all.at[i] == all.at[i + 1])
            memmove(&all.at[i], &all.at[i + 1], (--all.wanted - i) * sizeof(*all.at));
    run("torture.multiboot rounds=1", &all, &stopped, &console[1]);
    cr_assert_eq(plain.instructions, stopped.instructions);
    cr_assert_eq(plain.simulated_cycles, stopped.simulated_cycles);
    cr_assert_eq(plain.interrupts_injected, stopped.interrupts_injected);
    cr_assert_eq(console[0], console[1]);

    for (unsigned i = 0; i < all.wanted; i += 7)
        some.at[some.wanted++] = all.at[i];
    run("torture.multiboot rounds=1", &some, &stopped, &console[1]);
    for (unsigned i = 0; i < some.wanted; i++) {
        cr_assert_eq(some.hash[i], all.hash[i * 7], "registers at %lu", some.at[i]);
        cr_assert_eq(some.rip[i], all.rip[i * 7]);
    }
}

/* Memory reads and writes at linear addresses, and what changes in the registers stays. */
static void meddle(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    static const uint8_t jump_here[] = {0xeb, 0xfe};
    unsigned *step = context;
    struct cpu *cpu = vm_debug_cpu(vm);
    uint8_t bytes[2];

    if (stop->reason == VM_DEBUG_END)
        return;
    if ((*step)++ == 0) {
        cr_assert_eq(vm_debug_write(vm, cpu->state.rip, jump_here, 2), 2);
        cr_assert_eq(vm_debug_read(vm, cpu->state.rip, bytes, 2), 2);
        cr_assert_arr_eq(bytes, jump_here, 2);
        cr_assert_eq(vm_debug_read(vm, 0x7fffdeadb000, bytes, 2), 0);
        cpu->state.gpr[GPR_R15] = 0x1234567;
        vm_debug_changed(vm);
        vm_debug_stop_at(vm, stop->instructions + 1000);
    } else {
        cr_assert_eq(cpu->state.gpr[GPR_R15], 0x1234567, "it loops and changes nothing");
        vm_stop(vm);
    }
}

Test(sim_debug, changes)
{
    struct machine machine = {0};
    unsigned step = 0;

    machine_create(&machine, "bench-compute.multiboot", NO_SETTINGS);
    vm_debug_attach(machine.vm, meddle, &step);
    vm_debug_stop_at(machine.vm, 5000);
    machine_run(&machine);
    cr_assert_eq(step, 2);
    cr_assert_eq(vm_get_stop(machine.vm)->reason, VM_STOP_REQUESTED);
    machine_destroy(&machine);
}
