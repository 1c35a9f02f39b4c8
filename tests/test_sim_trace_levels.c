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

static const char *const guests[] = {"torture.multiboot rounds=1", "engine-faults.multiboot",
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

#define BLOCKS   (1u << TRACE_BLOCK)
#define ACCESSES (1u << TRACE_ACCESS)

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

/* A sink that keeps nothing but a hash of the blocks or accesses. */
struct event_hash {
    struct trace_sink sink;
    uint64_t hash, count;
};

static void add_words(struct event_hash *hash, const uint64_t *words, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        hash->hash = ((hash->hash ^ words[i]) * 0x9e3779b97f4a7c15ull) ^ hash->hash >> 29;
    hash->count++;
}

static void hash_access(struct trace_sink *sink, const struct trace_event *event)
{
    const struct trace_access *access = &event->access;
    const uint64_t words[] = {event->rip,   event->instructions, access->linear,
                              access->size, access->write,       access->value};

    add_words((struct event_hash *)sink, words, 6);
}

static void hash_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions, uint32_t size)
{
    const uint64_t words[] = {rip, instructions, size};

    add_words((struct event_hash *)sink, words, 3);
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

static struct event_hash hash_events(const char *guest, const struct machine_setting *settings,
                                     uint32_t types, bool stops)
{
    struct event_hash hash = {.sink = {.types = types, .event = hash_access, .block = hash_block}};
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

/* Blocks and accesses are a function of what the guest executes: not of how its exits are handled,
 * of the EPT entries that come and go, or of stops. */
static void depend_on_the_guest_alone(uint32_t types)
{
    static const char *const names[] = {"torture.multiboot rounds=1", "engine-faults.multiboot",
                                        "engine-interrupts.multiboot"};
    const struct machine_setting *const settings[] = {
        SETTINGS({"exit-cycles", "0"}),
        SETTINGS({"exit-cycles", "0"}, {"full-exits", "on"}),
        SETTINGS({"exit-cycles", "0"}, {"ept-lazy", "on"}, {"ept-page-size", "4K"}),
        SETTINGS({"exit-cycles", "0"}, {"ept-withdraw", "20000:3"}),
    };

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct event_hash reference = hash_events(names[i], settings[0], types, false);
        for (unsigned j = 0; j < sizeof(settings) / sizeof(*settings); j++) {
            struct event_hash other = hash_events(names[i], settings[j], types, j % 2 == 0);
            cr_assert_eq(other.count, reference.count, "%s, case %u: %lu and %lu events", names[i],
                         j, other.count, reference.count);
            cr_assert_eq(other.hash, reference.hash, "%s, case %u", names[i], j);
        }
        printf("%s: %lu events\n", names[i], reference.count);
    }
}

Test(sim_trace_levels, blocks_depend_on_the_guest_alone)
{
    depend_on_the_guest_alone(BLOCKS);
}

Test(sim_trace_levels, accesses_depend_on_the_guest_alone)
{
    depend_on_the_guest_alone(ACCESSES);
}

/* --- Accesses
 * ---------------------------------------------------------------------------------------------- */

#define DATA  0x600000
#define STACK 0x610000
#define ANY   0xa5a5a5a5a5a5a5a5 /* value that the test does not know */

/* What tests/guests/engine/accesses.S does from its first store on. */
static const struct trace_access expected_accesses[] = {
    {DATA, 0x1122334455667788, 8, true},
    {DATA, 0x88, 1, false},
    {DATA + 7, 0x11, 1, false},
    {DATA + 6, 0x1122, 2, false},
    {DATA + 9, 0x55667788, 4, true},
    {DATA + 0xffc, 0x1122334455667788, 8, true},
    {DATA + 0xfff, 0x4455, 2, false},
    {DATA, 0x1122334455667788, 8, false},

    {DATA, 0x7788, 2, false},
    {DATA, 0x7789, 2, true},
    {DATA + 4, 0x11223344, 4, false},
    {DATA + 4, 0x11223345, 4, true},
    {DATA + 2, 0x66, 1, false},
    {DATA + 2, 0x55, 1, true},
    {DATA + 16, 0, 8, false},
    {DATA + 16, 0, 8, true},

    {STACK - 8, 0xfffffffffffffffe, 8, true},
    {STACK - 8, 0xfffffffffffffffe, 8, false},
    {DATA + 32, 0xfffffffffffffffe, 8, true},
    {STACK - 8, ANY, 8, true},
    {STACK - 8, ANY, 8, false},

    {DATA + 0x100, 0x4241, 2, true},
    {DATA + 0x100, 0x41, 1, false},
    {DATA + 0x200, 0x41, 1, true},
    {DATA + 0x101, 0x42, 1, false},
    {DATA + 0x201, 0x42, 1, true},

    {DATA + 0x300, 0, 8, true},
    {DATA + 0x308, 0, 8, true},
    {DATA + 0x308, 0, 8, false},
    {DATA + 0x310, 0, 8, false},

    {DATA + 0x400, 0x8000000000000000, 8, true},
    {DATA + 0x408, 0x3fff, 2, true},
    {DATA + 0x400, 0x8000000000000000, 8, false},
    {DATA + 0x408, 0x3fff, 2, false},
    {DATA + 0x100, 0x4241, 4, false},
    {DATA + 0x500, 0, 8, false},
    {DATA + 0x508, 0, 8, false},
    {DATA + 0x500, DATA, 8, true},
    {DATA + 0x508, 0, 8, true},

    {DATA + 0x600, ANY, 10, true},
    {DATA + 0x100, 0x41, 1, false},

    {DATA + 0x700, 0x20, 4, true},
    {DATA + 0x700, 0x20, 4, false},
    {0xfee00080, 0x20, 4, true},
    {0xfee00080, 0x20, 4, false},
};
#define EXPECTED (sizeof(expected_accesses) / sizeof(*expected_accesses))

Test(sim_trace_levels, accesses_are_those_of_the_guest)
{
    static const char guest[] = "engine-accesses.multiboot";
    struct steps steps = {0};
    struct result plain = run(guest, NO_SETTINGS, ACCESSES);
    struct result single = run_with(guest, NO_SETTINGS, ACCESSES, note_step, &steps);
    const struct trace_event *first = plain.collector.events;

    expect_same_events(&plain.collector, &single.collector, guest);
    cr_assert_gt(plain.collector.count, EXPECTED);
    first += plain.collector.count - EXPECTED;
    for (unsigned i = 0; i < EXPECTED; i++) {
        const struct trace_access *access = &first[i].access, *expected = &expected_accesses[i];
        uint64_t value = expected->value == ANY ? access->value : expected->value;
        cr_assert(access->linear == expected->linear && access->size == expected->size &&
                      access->write == expected->write && access->value == value,
                  "access %u at %#lx: %s %u bytes at %#lx, value %#lx", i, first[i].rip,
                  access->write ? "write" : "read", access->size, access->linear, access->value);
        cr_assert_eq(first[i].rip, steps.linear[first[i].instructions], "access %u", i);
    }
    free(steps.linear);
    result_free(&plain);
    result_free(&single);
}

/* --- All levels
 * -------------------------------------------------------------------------------------------- */

static char *slurp(const char *path, size_t *size)
{
    FILE *file = fopen(path, "re");
    char *data;

    cr_assert(file && fseek(file, 0, SEEK_END) == 0, "%s", path);
    *size = (size_t)ftell(file);
    rewind(file);
    data = malloc(*size + 1);
    cr_assert_eq(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

/* Equal runs write equal files at every level, and neither the guest nor the count of its exits is
 * touched by what is recorded. */
Test(sim_trace_levels, recording_is_repeatable_and_invisible)
{
    static const char *const names[] = {"torture.multiboot rounds=1", "engine-code.multiboot",
                                        "engine-interrupts.multiboot"};
    static const char *const levels[] = {"inputs", "exits", "translations", "blocks", "memory"};
    char path[] = "/tmp/vtxsim-levels-XXXXXX";

    close(mkstemp(path));
    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct result reference = run(names[i], NO_SETTINGS, 0);
        size_t last_size = 0;
        for (unsigned level = 0; level < TRACE_LEVELS; level++) {
            size_t size[2];
            char *trace[2];
            for (unsigned j = 0; j < 2; j++) {
                struct machine machine = {0};
                struct exit_statistics exits;
                machine_create(&machine, names[i],
                               SETTINGS({"trace", path}, {"trace-level", levels[level]}));
                machine_run(&machine);
                struct run_statistics statistics = machine_statistics(&machine, &exits);
                struct machine_registers registers = machine_registers(&machine);
                cr_assert_eq(statistics.instructions, reference.run.instructions, "%s, %s",
                             names[i], levels[level]);
                cr_assert_eq(statistics.simulated_cycles, reference.run.simulated_cycles);
                cr_assert_eq(machine.console_size, reference.console_size);
                cr_assert_arr_eq(machine.console, reference.console, reference.console_size);
                cr_assert_eq(memcmp(&exits, &reference.exits, sizeof(exits)), 0, "%s, %s", names[i],
                             levels[level]);
                cr_assert_eq(memcmp(&registers, &reference.registers, sizeof(registers)), 0,
                             "%s, %s", names[i], levels[level]);
                machine_destroy(&machine);
                trace[j] = slurp(path, &size[j]);
            }
            cr_assert(size[0] == size[1] && memcmp(trace[0], trace[1], size[0]) == 0,
                      "%s, %s: two runs, two traces", names[i], levels[level]);
            cr_assert_gt(size[0], last_size, "%s, %s", names[i], levels[level]);
            last_size = size[0];
            free(trace[0]);
            free(trace[1]);
        }
        result_free(&reference);
    }
    unlink(path);
}
