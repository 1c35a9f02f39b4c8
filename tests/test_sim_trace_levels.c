/*
 * The events of the deeper trace levels, taken by a sink: whether they are what happened, whether
 * they are the same in equal runs, and whether the guest notices.
 */
#include "sim_machine.h"

#include "sim/debug.h"
#include "traces/sink.h"

TestSuite(sim_trace_levels, .timeout = 120);

/* A sink that keeps every event. */
struct collector {
    struct trace_sink sink;
    struct trace_event *events;
    size_t count, room;
};

static void collect(struct trace_sink *sink, const struct trace_event *event)
{
    struct collector *collector = (struct collector *)sink;

    if (collector->count == collector->room) {
        collector->room = collector->room ? 2 * collector->room : 1024;
        collector->events =
            realloc(collector->events, collector->room * sizeof(*collector->events));
        cr_assert_not_null(collector->events);
    }
    collector->events[collector->count++] = *event;
}

static void collect_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions,
                          uint32_t size)
{
    collect(sink, &(struct trace_event){.type = TRACE_BLOCK,
                                        .rip = rip,
                                        .instructions = instructions,
                                        .block.instructions = size});
}

/* What came of a run. */
struct result {
    struct collector collector;
    char *console;
    size_t console_size;
    struct run_statistics run;
    struct exit_statistics exits;
    struct machine_registers registers;
};

static struct result run_with(const char *guest, const struct machine_setting *settings,
                              uint32_t types, vm_debug_hook *hook, void *context)
{
    struct machine machine = {0};
    struct result result = {
        .collector.sink = {.types = types, .event = collect, .block = collect_block}};

    machine_create(&machine, guest, settings);
    cr_assert_eq(vm_attach_sink(machine.vm, &result.collector.sink), 0);
    if (hook) {
        vm_debug_attach(machine.vm, hook, context);
        vm_debug_stop_at(machine.vm, 0);
    }
    machine_run(&machine);
    result.run = machine_statistics(&machine, &result.exits);
    result.registers = machine_registers(&machine);
    result.console_size = machine.console_size;
    result.console = malloc(machine.console_size + 1);
    memcpy(result.console, machine.console, machine.console_size);
    machine_destroy(&machine);
    return result;
}

static struct result run(const char *guest, const struct machine_setting *settings, uint32_t types)
{
    return run_with(guest, settings, types, NULL, NULL);
}

static void result_free(struct result *result)
{
    free(result->collector.events);
    free(result->console);
}

static const char *const guests[] = {"torture.multiboot", "engine-faults.multiboot",
                                     "engine-interrupts.multiboot", "engine-code.multiboot",
                                     "demo.img"};
#define GUESTS (sizeof(guests) / sizeof(*guests))

static uint64_t count_of(const struct collector *collector, unsigned type)
{
    uint64_t count = 0;

    for (size_t i = 0; i < collector->count; i++)
        count += collector->events[i].type == type;
    return count;
}

/* --- Walks and flushes
 * ------------------------------------------------------------------------------------- */

Test(sim_trace_levels, walks_are_those_of_the_statistics)
{
    for (unsigned i = 0; i < GUESTS; i++) {
        struct result result =
            run(guests[i], NO_SETTINGS, trace_level_types(TRACE_LEVEL_TRANSLATIONS));
        const struct run_statistics *run = &result.run;
        uint64_t guest = 0, ept = 0, faults[4] = {0};

        for (size_t j = 0; j < result.collector.count; j++) {
            const struct trace_event *event = &result.collector.events[j];
            if (event->type != TRACE_WALK)
                continue;
            guest += event->walk.guest_references;
            ept += event->walk.ept_references;
            faults[event->walk.status]++;
        }
        cr_assert_eq(count_of(&result.collector, TRACE_WALK), run->walks, "%s", guests[i]);
        cr_assert_gt(run->walks, 10);
        cr_assert_eq(guest, run->guest_references, "%s", guests[i]);
        cr_assert_eq(ept, run->ept_references, "%s", guests[i]);
        cr_assert_eq(faults[MMU_PAGE_FAULT], run->page_faults, "%s", guests[i]);
        cr_assert_eq(faults[MMU_EPT_VIOLATION], run->ept_violations, "%s", guests[i]);
        cr_assert_geq(count_of(&result.collector, TRACE_FLUSH), run->tlb_flushes, "%s", guests[i]);
        result_free(&result);
    }
}

/* Counts and times never go back, and a walk that ends in an EPT violation which exits is at the
 * instruction of that exit. */
Test(sim_trace_levels, walks_know_their_instruction)
{
    for (unsigned i = 0; i < GUESTS; i++) {
        struct result result =
            run(guests[i], NO_SETTINGS, trace_level_types(TRACE_LEVEL_TRANSLATIONS));
        const struct trace_event *event = result.collector.events, *last = NULL;
        unsigned violations = 0;

        for (size_t j = 0; j < result.collector.count; last = event++, j++) {
            if (!last)
                continue;
            cr_assert_geq(event->instructions, last->instructions, "%s: event %zu of type %u",
                          guests[i], j, event->type);
            cr_assert_geq(event->time, last->time, "%s: event %zu of type %u", guests[i], j,
                          event->type);
            if (event->type != TRACE_EXIT || event->exit.reason != EXIT_EPT_VIOLATION)
                continue;
            cr_assert_eq(last->type, TRACE_WALK, "%s: event %zu", guests[i], j);
            cr_assert_eq(last->walk.guest_physical_address, event->exit.guest_physical_address);
            cr_assert_eq(last->walk.error_code, (uint32_t)event->exit.qualification & 0xfff);
            cr_assert_eq(last->instructions, event->instructions, "%s: event %zu: %lu and %lu",
                         guests[i], j, last->instructions, event->instructions);
            cr_assert_eq(last->rip, event->rip, "%s: event %zu", guests[i], j);
            violations++;
        }
        printf("%s: %zu events, %u EPT violations\n", guests[i], result.collector.count,
               violations);
        result_free(&result);
    }
}

/* --- Blocks
 * ------------------------------------------------------------------------------------------------
 */

#define BLOCKS (1u << TRACE_BLOCK)

/* Where the processor was before each instruction. */
struct steps {
    uint64_t *linear;
    uint64_t count, room;
};

static void note_step(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    struct steps *steps = context;
    const struct cpu_state *state = &vm_debug_cpu(vm)->state;

    if (stop->reason == VM_DEBUG_END)
        return;
    cr_assert_eq(stop->instructions, steps->count);
    if (steps->count == steps->room) {
        steps->room = steps->room ? 2 * steps->room : 4096;
        steps->linear = realloc(steps->linear, steps->room * sizeof(*steps->linear));
    }
    uint64_t linear = state->seg[SEG_CS].base + state->rip;
    bool long64 = (state->efer & EFER_LMA) && (state->seg[SEG_CS].access_rights & AR_L);
    steps->linear[steps->count++] = long64 ? linear : (uint32_t)linear;
    vm_debug_stop_at(vm, steps->count);
}

static void expect_same_events(const struct collector *a, const struct collector *b,
                               const char *what)
{
    for (size_t i = 0; i < a->count && i < b->count; i++)
        cr_assert_eq(memcmp(&a->events[i], &b->events[i], sizeof(a->events[i])), 0,
                     "%s: event %zu differs: type %u and %u, count %lu and %lu, RIP %#lx and %#lx, "
                     "%u and %u instructions",
                     what, i, a->events[i].type, b->events[i].type, a->events[i].instructions,
                     b->events[i].instructions, a->events[i].rip, b->events[i].rip,
                     a->events[i].block.instructions, b->events[i].block.instructions);
    cr_assert_eq(a->count, b->count, "%s: %zu and %zu events", what, a->count, b->count);
}

/* A step sees an instruction that faults; the block that begins at the same count is that of the
 * exception's handler. Of those there are few. */
#define HANDLERS 8

static void note_handler(uint64_t handlers[HANDLERS], uint64_t linear)
{
    unsigned i = 0;

    while (i < HANDLERS && handlers[i] && handlers[i] != linear)
        i++;
    cr_assert_lt(i, HANDLERS, "a block begins at %#lx where no step has been", linear);
    handlers[i] = linear;
}

/* Instruction by instruction, the blocks are where a single-step of the same guest is; they leave
 * nothing out; and steps in the middle of blocks do not change them. */
Test(sim_trace_levels, blocks_are_what_single_steps_see)
{
    static const char *const stepped[] = {"engine-random.multiboot", "engine-faults.multiboot",
                                          "engine-interrupts.multiboot", "engine-code.multiboot",
                                          "engine-steps.multiboot"};

    for (unsigned g = 0; g < sizeof(stepped) / sizeof(*stepped); g++) {
        struct steps steps = {0};
        struct result plain = run(stepped[g], NO_SETTINGS, BLOCKS);
        struct result single = run_with(stepped[g], NO_SETTINGS, BLOCKS, note_step, &steps);
        const struct collector *blocks = &plain.collector;
        uint64_t handlers[HANDLERS] = {0};

        expect_same_events(blocks, &single.collector, stepped[g]);
        cr_assert_eq(plain.run.instructions, single.run.instructions);
        cr_assert_geq(steps.count, plain.run.instructions);
        for (size_t i = 0; i < blocks->count; i++) {
            const struct trace_event *block = &blocks->events[i];
            uint64_t end = i + 1 < blocks->count ? block[1].instructions : plain.run.instructions;
            uint64_t last = block->rip;
            if (block->rip != steps.linear[block->instructions])
                note_handler(handlers, block->rip);
            cr_assert_leq(end - block->instructions, block->block.instructions, "%s: count %lu",
                          stepped[g], block->instructions);
            for (uint64_t at = block->instructions + 1; at < end; last = steps.linear[at++])
                cr_assert_leq(steps.linear[at] - last - 1, 14,
                              "%s: no branch in a block: count %lu", stepped[g], at);
        }
        cr_assert_eq(blocks->events[0].instructions, 0);
        printf("%s: %lu instructions in %zu blocks\n", stepped[g], plain.run.instructions,
               blocks->count);
        free(steps.linear);
        result_free(&plain);
        result_free(&single);
    }
}

/* A sink that keeps nothing but a hash of the blocks. */
struct block_hash {
    struct trace_sink sink;
    uint64_t hash, count;
};

static void ignore_event(struct trace_sink *sink, const struct trace_event *event)
{
}

static void hash_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions, uint32_t size)
{
    struct block_hash *hash = (struct block_hash *)sink;
    const uint64_t words[] = {rip, instructions, size};

    for (unsigned i = 0; i < 3; i++)
        hash->hash = ((hash->hash ^ words[i]) * 0x9e3779b97f4a7c15ull) ^ hash->hash >> 29;
    hash->count++;
}

/* Stops at places that have nothing to do with blocks. */
static void stop_now_and_then(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    uint64_t *random = context;

    if (stop->reason == VM_DEBUG_END)
        return;
    *random = *random * 6364136223846793005ull + 1442695040888963407ull;
    vm_debug_stop_at(vm, stop->instructions + 1 + (*random >> 33) % 5000);
}

static struct block_hash hash_blocks(const char *guest, const struct machine_setting *settings,
                                     bool stops)
{
    struct block_hash hash = {
        .sink = {.types = BLOCKS, .event = ignore_event, .block = hash_block}};
    struct machine machine = {0};
    uint64_t random = 1;

    machine_create(&machine, guest, settings);
    cr_assert_eq(vm_attach_sink(machine.vm, &hash.sink), 0);
    if (stops) {
        vm_debug_attach(machine.vm, stop_now_and_then, &random);
        vm_debug_stop_at(machine.vm, 0);
    }
    machine_run(&machine);
    machine_destroy(&machine);
    return hash;
}

/* Blocks are a function of what the guest executes: not of how its exits are handled, of the EPT
 * entries that come and go, or of stops. */
Test(sim_trace_levels, blocks_depend_on_the_guest_alone)
{
    static const char *const names[] = {"torture.multiboot rounds=1", "demo.img"};
    const struct machine_setting *const settings[] = {
        SETTINGS({"exit-cycles", "0"}),
        SETTINGS({"exit-cycles", "0"}, {"full-exits", "on"}),
        SETTINGS({"exit-cycles", "0"}, {"ept-lazy", "on"}, {"ept-page-size", "4K"}),
        SETTINGS({"exit-cycles", "0"}, {"ept-withdraw", "20000:3"}),
    };

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct block_hash reference = hash_blocks(names[i], settings[0], false);
        for (unsigned j = 0; j < sizeof(settings) / sizeof(*settings); j++) {
            struct block_hash other = hash_blocks(names[i], settings[j], j % 2 == 0);
            cr_assert_eq(other.count, reference.count, "%s, case %u: %lu and %lu blocks", names[i],
                         j, other.count, reference.count);
            cr_assert_eq(other.hash, reference.hash, "%s, case %u", names[i], j);
        }
        printf("%s: %lu blocks\n", names[i], reference.count);
    }
}
