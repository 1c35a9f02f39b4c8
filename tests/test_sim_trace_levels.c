/*
 * The events of the deeper trace levels, taken by a sink: whether they are what happened, whether
 * they are the same in equal runs, and whether the guest notices.
 */
#include "sim_machine.h"

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

/* What came of a run. */
struct result {
    struct collector collector;
    char *console;
    size_t console_size;
    struct run_statistics run;
    struct exit_statistics exits;
    struct machine_registers registers;
};

static struct result run(const char *guest, const struct machine_setting *settings, uint32_t types)
{
    struct machine machine = {0};
    struct result result = {.collector.sink = {.types = types, .event = collect}};

    machine_create(&machine, guest, settings);
    machine.vm->sink = &result.collector.sink;
    machine_run(&machine);
    result.run = machine_statistics(&machine, &result.exits);
    result.registers = machine_registers(&machine);
    result.console_size = machine.console_size;
    result.console = malloc(machine.console_size + 1);
    memcpy(result.console, machine.console, machine.console_size);
    machine_destroy(&machine);
    return result;
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
