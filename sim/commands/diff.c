/*
 * vtxsim diff: whether two traces are of the same run, and if not, where they begin to differ -
 * each step cheap, and the next taken only where there is a difference to explain.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/commands/commands.h"
#include "sim/commands/diff_report.h"
#include "sim/commands/trace.h"
#include "sim/event_text.h"

#define STATUS_DIFFERENT 1
#define CONTEXT_DEFAULT  5
#define CONTEXT_MAX      100000
#define EXCEPTIONS_MAX   64
#define FIND_MAX         16
/* Events that are looked through at first for the last state hash before a difference. */
#define LOOK_BACK        4096u

enum {
    KEY_IGNORE = 0x1000,
    KEY_IGNORE_FIELD,
    KEY_IGNORE_TIME,
    KEY_ALL,
    KEY_WINDOW,
    KEY_NORMALIZE,
    KEY_REPLAY,
    KEY_MEMORY,
    KEY_FIND,
    KEY_SYMBOLS,
    KEY_OFFSET,
    KEY_HEADERS,
    KEY_JSON
};

struct request {
    const char *path[2];
    unsigned paths;
    struct trace_exception exception[EXCEPTIONS_MAX];
    unsigned exceptions;
    uint64_t context;
    unsigned window;
    const char *find[FIND_MAX];
    unsigned found;
    struct trace_request view; /* of A, for the symbols */
    bool all, no_normalize, headers, json, no_replay, memory;
};

/* --- Options --- */

static void add_exception(struct argp_state *state, struct trace_exception exception)
{
    struct request *request = state->input;

    if (request->exceptions == EXCEPTIONS_MAX)
        argp_error(state, "no more than %d things can be ignored", EXCEPTIONS_MAX);
    request->exception[request->exceptions++] = exception;
}

/* A type of events, or an exit reason. */
static void ignore_class(struct argp_state *state, const char *name)
{
    unsigned type = trace_event_find(name);
    int reason = event_reason_find(name);

    if (type)
        add_exception(state, (struct trace_exception){type, -1, NULL, 0});
    else if (reason >= 0)
        add_exception(state, (struct trace_exception){TRACE_EXIT, reason, NULL, 0});
    else
        argp_error(state,
                   "--ignore: \"%s\" is neither a type of events (exit, injection, input, "
                   "state-hash, end, walk, flush, block, access, checkpoint) nor an exit reason "
                   "(io, ept-violation, ...)",
                   name);
}

static void ignore_field(struct argp_state *state, const char *name)
{
    static struct trace_comparison scratch;
    struct trace_exception exception = {0, -1, name, 0};

    if (trace_comparison_except(&scratch, &exception))
        argp_error(state, "--ignore-field: no event has a field \"%s\"", name);
    add_exception(state, exception);
}

static void for_each_word(struct argp_state *state, char *words,
                          void (*take)(struct argp_state *, const char *))
{
    char *rest;

    for (char *word = strtok_r(words, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
        take(state, word);
}

static uint64_t parse_count(struct argp_state *state, const char *name, const char *text,
                            uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value < least || value > most)
        argp_error(state, "%s: \"%s\" is not a number from %" PRIu64 " to %" PRIu64, name, text,
                   least, most);
    return value;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;

    switch (key) {
    case KEY_IGNORE:
        for_each_word(state, argument, ignore_class);
        return 0;
    case KEY_IGNORE_FIELD:
        for_each_word(state, argument, ignore_field);
        return 0;
    case KEY_IGNORE_TIME:
        ignore_field(state, "time");
        ignore_field(state, "cycles");
        return 0;
    case 'C':
        request->context = parse_count(state, "--context", argument, 0, CONTEXT_MAX);
        return 0;
    case KEY_WINDOW:
        request->window = (unsigned)parse_count(state, "--window", argument, 32, 16384);
        return 0;
    case KEY_ALL:
        request->all = true;
        return 0;
    case KEY_NORMALIZE:
        request->no_normalize = true;
        return 0;
    case KEY_REPLAY:
        request->no_replay = true;
        return 0;
    case KEY_MEMORY:
        request->memory = true;
        return 0;
    case KEY_FIND:
        if (request->found == FIND_MAX)
            argp_error(state, "--find: no more than %d places can be named", FIND_MAX);
        request->find[request->found++] = argument;
        return 0;
    case KEY_SYMBOLS:
        request->view.symbols = argument;
        return 0;
    case KEY_OFFSET:
        request->view.symbols_offset = argument;
        return 0;
    case KEY_HEADERS:
        request->headers = true;
        return 0;
    case KEY_JSON:
        request->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (request->paths == 2)
            argp_error(state, "two traces are compared, not more");
        request->path[request->paths++] = argument;
        return 0;
    case ARGP_KEY_END:
        if (request->paths < 2)
            argp_error(state, "name two traces");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"ignore", KEY_IGNORE, "CLASS,...", 0,
     "Leave out events of these types or exit reasons, as in injection,io,ept-violation", 0},
    {"ignore-field", KEY_IGNORE_FIELD, "NAME,...", 0, "Do not compare these fields", 0},
    {"ignore-time", KEY_IGNORE_TIME, NULL, 0, "Do not compare the fields time and cycles", 0},
    {"headers", KEY_HEADERS, NULL, 0, "Options of the runs that differ are a difference, too", 0},
    {"no-normalize", KEY_NORMALIZE, NULL, 0, "Compare what the two backends cannot agree on, too",
     0},
    {"context", 'C', "N", 0, "Show N events before the first difference (default 5)", 0},
    {"all", KEY_ALL, NULL, 0, "Go on after the first difference, and count them by class", 0},
    {"window", KEY_WINDOW, "N", 0,
     "Look at most N events ahead for those that both have (default 1024)", 0},
    {"no-replay", KEY_REPLAY, NULL, 0,
     "Do not execute the runs again to find the first instruction that differs", 0},
    {"memory", KEY_MEMORY, NULL, 0, "Find also when memory differs first", 0},
    {"find", KEY_FIND, "PATH", 0,
     "A folder, or a file, in which input files of the runs are looked for; may be repeated", 0},
    {"symbols", KEY_SYMBOLS, "FILE|auto", 0,
     "Names of the guest's addresses: vmlinux, System.map, bzImage, ...; auto: the image that ran",
     0},
    {"symbols-offset", KEY_OFFSET, "N|auto", 0,
     "How far above FILE's addresses the guest had them (default auto)", 0},
    {"json", KEY_JSON, NULL, 0, "Print the result as one JSON document", 0},
    {0},
};

static const char diff_doc[] =
    "Compare two traces: whether they are equal, else which event differs first, and after which "
    "instruction registers do.\v"
    "The instruction is found by executing both runs again; that takes as long as a replay to the "
    "last state hash that both have in common, and little more. Both must be repeatable, and their "
    "input files must be there.\n\n"
    "Exit status: 0 no difference, 1 a difference, 2 trouble (wrong options, unreadable or damaged "
    "traces).";

/* --- Comparing --- */

struct comparing {
    const struct request *request;
    struct diff_report *report;
    bool progress_shown;
};

static bool on_difference(void *context, const struct trace_difference *difference)
{
    struct comparing *comparing = context;

    if (comparing->report->differences++ == 0)
        comparing->report->first = *difference;
    return comparing->request->all;
}

static bool on_progress(void *context, uint64_t events)
{
    struct comparing *comparing = context;

    if (!isatty(STDERR_FILENO))
        return true;
    fprintf(stderr, "\r%" PRIu64 " thousand events compared\033[K", events / 1000);
    comparing->progress_shown = true;
    return true;
}

static int compare_events(const struct request *request, struct diff_report *report)
{
    struct comparing comparing = {request, report, false};
    const struct trace_diff_request diff = {.comparison = &report->comparison,
                                            .window = request->window,
                                            .found = on_difference,
                                            .progress = on_progress,
                                            .context = &comparing};
    int error = trace_diff(report->reader, &diff, &report->result);

    if (comparing.progress_shown)
        fputs("\r\033[K", stderr);
    if (error)
        command_error("the traces cannot be compared: %s", strerror(-error));
    return error;
}

/* What is compared: not what only one of the traces can hold, nor what the user does not want. */
static void choose(const struct request *request, struct diff_report *report)
{
    uint32_t types = trace_level_types(trace_reader_level(report->reader[0])) &
                     trace_level_types(trace_reader_level(report->reader[1]));

    trace_comparison_init(&report->comparison);
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++) {
        const struct trace_exception exception = {type, -1, NULL, 0};

        if (!(types >> type & 1))
            trace_comparison_except(&report->comparison, &exception);
    }
    if (diff_option_differs(report, "hash-every")) { /* each is of what came since the last */
        const struct trace_exception hashes = {TRACE_STATE_HASH, -1, NULL, 0};

        trace_comparison_except(&report->comparison, &hashes);
    }
    for (unsigned i = 0; i < request->exceptions; i++)
        trace_comparison_except(&report->comparison, &request->exception[i]);
    if (!request->no_normalize)
        trace_comparison_normalize(&report->comparison, report->backend[0], report->backend[1]);
}

/* Damage is trouble, unless there was a difference before it. */
static int judge(const struct request *request, const struct diff_report *report)
{
    int status = 0;

    for (unsigned side = 0; side < 2; side++) {
        int end = report->result.end[side];

        if (end < 0 && end != -ENODATA && report->differences == 0) {
            command_error("%s is damaged behind event %" PRIu64 ": %s", request->path[side],
                          trace_reader_position(report->reader[side]), strerror(-end));
            status = STATUS_USAGE;
        }
    }
    if (status)
        return status;
    return report->differences || (request->headers && diff_options_differ(report))
               ? STATUS_DIFFERENT
               : 0;
}

/* --- Executing both runs again --- */

/* The instruction count of the last state hash before the first difference, where both runs were
 * equal, registers and memory; 0 if there is none. */
static uint64_t last_agreement(const struct diff_report *report)
{
    struct trace_reader *reader = report->reader[0];
    uint64_t end = report->first.number[0], instructions = 0;
    const struct trace_event hash = {.type = TRACE_STATE_HASH};

    if (!trace_is_compared(&report->comparison, &hash))
        return 0;
    for (uint64_t back = LOOK_BACK; instructions == 0; back *= 4) {
        struct trace_event event;

        if (trace_reader_seek(reader, TRACE_INDEX_EVENT, end > back ? end - back : 0))
            return 0;
        while (trace_reader_position(reader) < end && trace_reader_next(reader, &event) == 1)
            if (event.type == TRACE_STATE_HASH)
                instructions = event.instructions;
        if (back >= end)
            break;
    }
    return instructions;
}

/* The earliest count of the events that differ. */
static uint64_t first_count(const struct trace_difference *first)
{
    const struct trace_event *event = first->event;

    if (first->change == TRACE_ONLY_ONE)
        return event[first->side].instructions;
    return event[0].instructions < event[1].instructions ? event[0].instructions
                                                         : event[1].instructions;
}

static bool on_replay(void *context, uint64_t instructions)
{
    struct comparing *comparing = context;

    if (!isatty(STDERR_FILENO))
        return true;
    fprintf(stderr, "\rexecuted again: %" PRIu64 " million instructions\033[K",
            instructions / 1000000);
    comparing->progress_shown = true;
    return true;
}

static void find_divergence(const struct request *request, struct diff_report *report)
{
    struct comparing comparing = {request, report, false};
    const struct divergence_request divergence = {
        .runners = {.path = {request->path[0], request->path[1]},
                    .find = request->find,
                    .find_count = request->found,
                    .progress = on_replay,
                    .context = &comparing},
        .from = last_agreement(report),
        .to = first_count(&report->first) + 1,
        .before = request->context < DIVERGENCE_BEFORE_MAX ? (unsigned)request->context
                                                           : DIVERGENCE_BEFORE_MAX,
        .memory = request->memory,
    };

    report->replayed = divergence_find(&divergence, &report->divergence, report->replay_message,
                                       sizeof(report->replay_message)) == 0;
    if (comparing.progress_shown)
        fputs("\r\033[K", stderr);
}

static int compare_traces(const struct request *request, struct diff_report *report)
{
    char message[512];
    int status;

    for (unsigned side = 0; side < 2; side++) {
        if (trace_reader_open(&report->reader[side], request->path[side], message,
                              sizeof(message))) {
            command_error("%s", message);
            return STATUS_USAGE;
        }
    }
    if (diff_read_options(report, message, sizeof(message))) {
        command_error("%s", message);
        return STATUS_USAGE;
    }
    choose(request, report);
    if (compare_events(request, report))
        return STATUS_USAGE;
    status = judge(request, report);
    if (status == STATUS_USAGE)
        return status;
    if (report->differences && !request->no_replay)
        find_divergence(request, report);
    diff_report_print(report, status);
    return status;
}

static int compare_files(const struct request *request, struct diff_report *report)
{
    unsigned failed;
    int equal = trace_files_equal(request->path, &failed);
    struct trace_reader *reader;
    char message[512];

    if (equal < 0) {
        command_error("%s cannot be read: %s", request->path[failed], strerror(-equal));
        return STATUS_USAGE;
    }
    if (!equal)
        return compare_traces(request, report);
    /* Two equal files that are no traces are a mistake all the same. */
    if (trace_reader_open(&reader, request->path[0], message, sizeof(message))) {
        command_error("%s", message);
        return STATUS_USAGE;
    }
    trace_reader_close(reader);
    report->files_equal = true;
    diff_report_print(report, 0);
    return 0;
}

int command_diff(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, "A B", diff_doc, NULL, NULL, NULL};
    struct request request = {.context = CONTEXT_DEFAULT};
    static struct diff_report report;
    static struct trace_view view;
    int status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    request.view.path = request.path[0];
    if (request.view.symbols && trace_view_open(&view, &request.view))
        return STATUS_USAGE;
    report.symbols = view.symbols;
    report.path = request.path;
    report.context = request.context;
    report.all = request.all;
    report.json = request.json;
    status = compare_files(&request, &report);
    diff_report_destroy(&report);
    if (request.view.symbols)
        trace_view_close(&view, status);
    if (fflush(stdout)) {
        command_error("standard output: %s", strerror(errno));
        status = STATUS_USAGE;
    }
    return status;
}
