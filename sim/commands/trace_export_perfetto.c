/*
 * Chrome's trace event format (JSON), which ui.perfetto.dev and chrome://tracing open: VM exits as
 * slices on a track of their CPU, what is injected, typed, translated and flushed as instants,
 * exits and instructions a millisecond as counters. With the clock of instructions, blocks are
 * slices of the functions that they are in.
 */
#include "sim/commands/trace_export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cpu/exit.h"
#include "sim/commands/commands.h"
#include "sim/event_text.h"

#define PROCESS  1
#define CPUS_MAX 256

/* Tracks of a CPU, by the number of a thread: 0 has a meaning of its own to viewers. */
enum track { TRACK_EXITS, TRACK_TRANSLATIONS, TRACK_CODE, TRACKS };

/* A counter's step in the clock's unit is a millisecond. */
#define MICROSECONDS_PER_STEP 1000

struct function {
    uint64_t start, begun, ended; /* address of its symbol; in instructions */
};

struct perfetto {
    double per_microsecond; /* of the clock */
    bool first;             /* no object has been written */
    bool named[CPUS_MAX][TRACKS];
    struct function function[CPUS_MAX]; /* ended 0: none */
    uint64_t step;                      /* number of the one that is being counted */
    uint64_t step_instructions;         /* at its begin */
    unsigned exits[EXIT_REASON_COUNT + 1];
    bool seen[EXIT_REASON_COUNT + 1];
};

static void put(struct trace_exporter *exporter, json_t *object)
{
    struct perfetto *perfetto = exporter->state;

    fputs(perfetto->first ? "\n" : ",\n", exporter->out);
    perfetto->first = false;
    json_dumpf(object, exporter->out, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(object);
}

static int begin_perfetto(struct trace_exporter *exporter)
{
    struct perfetto *perfetto = calloc(1, sizeof(*perfetto));
    uint64_t hz = trace_view_tsc_hz(exporter->view);
    json_t *options = json_loads(trace_reader_options(exporter->view->reader), 0, NULL);

    if (!perfetto)
        return -ENOMEM;
    exporter->state = perfetto;
    perfetto->first = true;
    perfetto->per_microsecond =
        exporter->clock == CLOCK_OF_INSTRUCTIONS || !hz ? 1e3 : (double)hz / 1e6;
    fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":", exporter->out);
    json_dumpf(options, exporter->out, JSON_COMPACT);
    json_decref(options);
    fputs(",\"traceEvents\":[", exporter->out);
    put(exporter, json_pack("{s:s, s:s, s:i, s:{s:s}}", "ph", "M", "name", "process_name", "pid",
                            PROCESS, "args", "name", "vtxsim"));
    return 0;
}

/* The number of a track; names it when it is first used. */
static int track_of(struct trace_exporter *exporter, unsigned cpu, enum track track)
{
    static const char *const names[TRACKS] = {"VM exits", "translations", "code"};
    struct perfetto *perfetto = exporter->state;
    int thread = (int)(cpu * TRACKS + track + 1);
    char name[64];

    if (cpu < CPUS_MAX && !perfetto->named[cpu][track]) {
        perfetto->named[cpu][track] = true;
        snprintf(name, sizeof(name), "CPU %u %s", cpu, names[track]);
        put(exporter, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "ph", "M", "name", "thread_name",
                                "pid", PROCESS, "tid", thread, "args", "name", name));
        put(exporter,
            json_pack("{s:s, s:s, s:i, s:i, s:{s:i}}", "ph", "M", "name", "thread_sort_index",
                      "pid", PROCESS, "tid", thread, "args", "sort_index", thread));
    }
    return thread;
}

static double microseconds(const struct trace_exporter *exporter, uint64_t clock)
{
    const struct perfetto *perfetto = exporter->state;

    return (double)clock / perfetto->per_microsecond;
}

static uint64_t clock_of(const struct trace_exporter *exporter, const struct trace_event *event)
{
    return exporter->clock == CLOCK_OF_INSTRUCTIONS ? event->instructions : exporter->view->time;
}

/* The object that all kinds have in common, with the event's fields as arguments. */
static json_t *make_object(struct trace_exporter *exporter, const char *phase, const char *name,
                           uint64_t number, const struct trace_event *event, enum track track)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:i, s:i, s:f}", "ph", phase, "name", name, "cat",
                               trace_event_name(event->type), "pid", PROCESS, "tid",
                               track_of(exporter, event->cpu, track), "ts",
                               microseconds(exporter, clock_of(exporter, event)));

    json_object_set_new(object, "args", event_json(number, event, exporter->view->symbols));
    return object;
}

static void put_instant(struct trace_exporter *exporter, const char *name, const char *scope,
                        uint64_t number, const struct trace_event *event, enum track track)
{
    json_t *object = make_object(exporter, "i", name, number, event, track);

    json_object_set_new(object, "s", json_string(scope));
    put(exporter, object);
}

/* --- Counters
 * ---------------------------------------------------------------------------------------- */

static void put_counter(struct trace_exporter *exporter, const char *name, uint64_t step,
                        json_t *values)
{
    put(exporter, json_pack("{s:s, s:s, s:i, s:I, s:o}", "ph", "C", "name", name, "pid", PROCESS,
                            "ts", (json_int_t)(step * MICROSECONDS_PER_STEP), "args", values));
}

/* Writes what the step has counted that is over. */
static void put_step(struct trace_exporter *exporter, uint64_t instructions)
{
    struct perfetto *perfetto = exporter->state;
    json_t *exits = json_object();

    for (unsigned reason = 0; reason <= EXIT_REASON_COUNT; reason++) {
        if (perfetto->seen[reason])
            json_object_set_new(exits, event_reason_name(reason),
                                json_integer(perfetto->exits[reason]));
        perfetto->exits[reason] = 0;
    }
    put_counter(exporter, "VM exits a millisecond", perfetto->step, exits);
    if (exporter->clock == CLOCK_OF_TIME)
        put_counter(exporter, "instructions a millisecond", perfetto->step,
                    json_pack("{s:I}", "instructions",
                              (json_int_t)(instructions - perfetto->step_instructions)));
    perfetto->step_instructions = instructions;
}

static void count(struct trace_exporter *exporter, const struct trace_event *event)
{
    struct perfetto *perfetto = exporter->state;
    uint64_t step =
        (uint64_t)(microseconds(exporter, clock_of(exporter, event)) / MICROSECONDS_PER_STEP);

    if (step > perfetto->step) {
        put_step(exporter, event->instructions);
        if (step > perfetto->step + 1) { /* nothing happened in between */
            perfetto->step++;
            put_step(exporter, event->instructions);
        }
        perfetto->step = step;
    }
    if (event->type == TRACE_EXIT) {
        unsigned reason = event->exit.reason & 0xffff;

        if (reason > EXIT_REASON_COUNT)
            reason = EXIT_REASON_COUNT;
        perfetto->exits[reason]++;
        perfetto->seen[reason] = true;
    }
}

/* --- Events
 * ------------------------------------------------------------------------------------------ */

static void put_exit(struct trace_exporter *exporter, uint64_t number,
                     const struct trace_event *event)
{
    const char *name = event_reason_name(event->exit.reason);
    json_t *object;

    if (exporter->clock == CLOCK_OF_INSTRUCTIONS) {
        put_instant(exporter, name, "t", number, event, TRACK_EXITS);
        return;
    }
    object = make_object(exporter, "X", name, number, event, TRACK_EXITS);
    json_object_set_new(object, "dur", json_real(microseconds(exporter, event->exit.cycles)));
    put(exporter, object);
}

static void end_function(struct trace_exporter *exporter, unsigned cpu)
{
    struct perfetto *perfetto = exporter->state;
    struct function *function = &perfetto->function[cpu];
    char name[256];

    if (!function->ended)
        return;
    event_symbol_text(exporter->view->symbols, function->start, name, sizeof(name));
    if (!*name)
        snprintf(name, sizeof(name), "0x%" PRIx64, function->start);
    put(exporter, json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f}", "ph", "X", "name", name, "cat",
                            "code", "pid", PROCESS, "tid", track_of(exporter, cpu, TRACK_CODE),
                            "ts", microseconds(exporter, function->begun), "dur",
                            microseconds(exporter, function->ended - function->begun)));
    function->ended = 0;
}

/* Blocks in a row within one function are one slice. */
static void put_block(struct trace_exporter *exporter, const struct trace_event *event)
{
    struct perfetto *perfetto = exporter->state;
    struct function *function = &perfetto->function[event->cpu % CPUS_MAX];
    uint64_t into = 0, start = event->rip;

    if (exporter->clock != CLOCK_OF_INSTRUCTIONS)
        return;
    if (exporter->view->symbols && symbols_find(exporter->view->symbols, event->rip, &into))
        start -= into;
    if (function->ended && function->start != start) {
        function->ended = event->instructions; /* a fault may have left its last block */
        end_function(exporter, event->cpu % CPUS_MAX);
    }
    if (!function->ended)
        *function = (struct function){.start = start, .begun = event->instructions};
    function->ended = event->instructions + event->block.instructions;
}

static int put_event(struct trace_exporter *exporter, uint64_t number,
                     const struct trace_event *event)
{
    char name[EVENT_TEXT_SIZE];

    count(exporter, event);
    switch (event->type) {
    case TRACE_EXIT:
        put_exit(exporter, number, event);
        break;
    case TRACE_INJECTION:
        event_explain(event, name, sizeof(name));
        put_instant(exporter, name, "t", number, event, TRACK_EXITS);
        break;
    case TRACE_INPUT:
    case TRACE_END:
        event_choice_text(event, name, sizeof(name));
        put_instant(exporter, name, "g", number, event, TRACK_EXITS);
        break;
    case TRACE_WALK:
    case TRACE_FLUSH:
        event_choice_text(event, name, sizeof(name));
        put_instant(exporter, name, "t", number, event, TRACK_TRANSLATIONS);
        break;
    case TRACE_BLOCK:
        put_block(exporter, event);
        break;
    default: /* state hashes, checkpoints, accesses: nothing to see on a line of time */
        break;
    }
    return 0;
}

static int finish_perfetto(struct trace_exporter *exporter)
{
    if (!exporter->state)
        return 0;
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++)
        end_function(exporter, cpu);
    fputs("\n]}\n", exporter->out);
    free(exporter->state);
    return 0;
}

const struct trace_export_format trace_export_perfetto = {"perfetto", begin_perfetto, put_event,
                                                          finish_perfetto};
