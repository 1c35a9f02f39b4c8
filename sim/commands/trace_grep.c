/* vtxsim trace grep: the events that meet a condition. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/commands/commands.h"
#include "sim/commands/trace_lines.h"
#include "sim/event_text.h"
#include "traces/query.h"

/* As grep has them. */
enum { STATUS_FOUND = 0, STATUS_NONE = 1, STATUS_TROUBLE = 2 };

#define CONTEXT_MAX 100000

struct grep_request {
    struct trace_request common;
    uint64_t limit, before, after;
    bool count, quiet;
};

/* The last events, for -B. */
struct context {
    struct held {
        uint64_t number;
        struct trace_event event;
    } * held;
    uint64_t room, begin, end; /* counts of events; at most `room` lie between */
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct grep_request *request = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        request->common.operands_wanted = 2;
        state->child_inputs[0] = &request->common;
        return 0;
    case 'c':
        request->count = true;
        return 0;
    case 'q':
        request->quiet = true;
        return 0;
    case 'm':
        request->limit = trace_parse_count(state, argument);
        return 0;
    case 'A':
        request->after = trace_parse_count(state, argument);
        return 0;
    case 'B':
        request->before = trace_parse_count(state, argument);
        if (request->before > CONTEXT_MAX)
            argp_error(state, "at most %d events before", CONTEXT_MAX);
        return 0;
    case 'C':
        return parse_option('A', argument, state) || parse_option('B', argument, state);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool find_symbol(void *context, const char *name, uint64_t *start, uint64_t *end)
{
    const struct symbols *symbols = context;

    return symbols && symbols_range(symbols, name, start, end);
}

static void hold(struct context *context, uint64_t number, const struct trace_event *event)
{
    if (!context->room)
        return;
    if (context->end - context->begin == context->room)
        context->begin++;
    context->held[context->end++ % context->room] = (struct held){number, *event};
}

static void release(struct context *context, const struct trace_view *view)
{
    for (; context->begin < context->end; context->begin++) {
        const struct held *held = &context->held[context->begin % context->room];

        trace_print_event(view, held->number, &held->event, stdout);
    }
}

/* Prints what matches, with context. Returns the number of matches. */
static uint64_t search(struct trace_view *view, const struct grep_request *request,
                       const struct trace_query *query, struct context *context)
{
    bool prints = !request->count && !request->quiet;
    bool separates = prints && !view->request->json && (request->before || request->after);
    uint64_t matches = 0, number, after = 0;
    uint64_t seen = 0, behind = UINT64_MAX; /* one more than the last that was printed */
    struct trace_event event;

    for (; matches < request->limit || after; seen++) {
        bool matched;

        if (ferror(stdout) || !trace_view_next(view, &event, &number))
            break;
        matched = matches < request->limit && trace_query_matches(query, number, &event);
        matches += matched;
        if (matched && request->quiet)
            break;
        if (!prints)
            continue;
        if (matched && separates && seen - (context->end - context->begin) > behind)
            puts("--");
        if (matched) {
            release(context, view);
            after = request->after + 1;
        }
        if (after) {
            trace_print_event(view, number, &event, stdout);
            behind = seen + 1;
            after--;
        } else {
            hold(context, number, &event);
        }
    }
    return matches;
}

static int grep(struct trace_view *view, const struct grep_request *request)
{
    const struct trace_names names = {event_reason_find, find_symbol, view->symbols};
    struct context context = {.room = request->before};
    struct trace_query *query;
    char message[1024];
    uint64_t matches;
    int error =
        trace_query_parse(&query, request->common.first_operand, &names, message, sizeof(message));

    if (error) {
        command_error("%s: %s", request->common.first_operand,
                      error == -EINVAL ? message : strerror(-error));
        return STATUS_TROUBLE;
    }
    context.held = calloc(context.room + 1, sizeof(*context.held));
    matches = context.held ? search(view, request, query, &context) : 0;
    free(context.held);
    trace_query_free(query);
    if (request->count)
        printf("%" PRIu64 "\n", matches);
    if (trace_flush_output(stdout, "standard output"))
        return STATUS_TROUBLE;
    return matches ? STATUS_FOUND : STATUS_NONE;
}

int trace_grep(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"count", 'c', NULL, 0, "Print only how many there are", 1},
        {"quiet", 'q', NULL, 0, "Print nothing: the status tells", 1},
        {"max-count", 'm', "N", 0, "Stop after N", 1},
        {"after-context", 'A', "N", 0, "Print N events behind each too", 1},
        {"before-context", 'B', "N", 0, "Print N events before each too", 1},
        {"context", 'C', "N", 0, "Both", 1},
        {0},
    };
    static const struct argp_child children[] = {{&trace_request_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        options,
        parse_option,
        "EXPRESSION TRACE",
        "Print the events that meet a condition."
        "\vConditions compare fields (as dump shows them; and event, type, port, msr, leaf, "
        "subleaf, vector, page) with numbers and names by ==, !=, <, <=, >, >=, & (any of the "
        "bits), in LOW..HIGH, in {VALUE, ...}, in SYMBOL, and join by and, or, not, ( ):\n\n"
        "  reason == io and port == 0x3f8\n"
        "  type == walk && status != ok\n"
        "  rip in start_kernel or vector in {14, 0x30..0x3f}\n\n"
        "A comparison with a field that an event does not have is false.\n\n"
        "Exit status: 0 found, 1 not found, 2 trouble (wrong expression, damaged trace).",
        children,
        NULL,
        NULL};
    struct grep_request request = {.limit = UINT64_MAX};
    struct trace_view view;
    int status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (trace_view_open(&view, &request.common))
        return STATUS_TROUBLE;
    status = grep(&view, &request);
    return trace_view_close(&view, 0) ? STATUS_TROUBLE : status;
}
