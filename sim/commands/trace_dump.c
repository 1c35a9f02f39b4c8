/* vtxsim trace dump: every event on a line. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sim/commands/commands.h"
#include "sim/commands/trace_lines.h"

struct dump_request {
    struct trace_request common;
    uint64_t limit;
    bool header;
};

enum { KEY_HEADER = 0x2100 };

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct dump_request *request = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->common;
        return 0;
    case 'n':
        request->limit = trace_parse_count(state, argument);
        return 0;
    case KEY_HEADER:
        request->header = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What the trace says about itself. Returns 0 or an exit status. */
static int print_header(const struct trace_view *view)
{
    const char *level = trace_level_name(trace_reader_level(view->reader));
    json_t *settings = json_loads(trace_reader_options(view->reader), 0, NULL);
    json_t *value, *document;
    const char *name;

    if (view->request->json) {
        document = json_pack("{s:s, s:s, s:o}", "trace", view->request->path, "level", level,
                             "options", settings ? settings : json_object());
        json_dumpf(document, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(document);
        return 0;
    }
    printf("%-24s %s\n%-24s %s\n", "trace", view->request->path, "level", level);
    json_object_foreach(settings, name, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

        printf("%-24s %s\n", name, json_is_string(value) ? json_string_value(value) : text);
        free(text);
    }
    json_decref(settings);
    return 0;
}

static void print_events(struct trace_view *view, uint64_t limit)
{
    struct trace_event event;
    uint64_t number;

    if (!view->request->json)
        trace_print_heading(view, stdout);
    for (uint64_t i = 0; i < limit && !ferror(stdout); i++) {
        if (!trace_view_next(view, &event, &number))
            break;
        trace_print_event(view, number, &event, stdout);
    }
}

int trace_dump(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"limit", 'n', "N", 0, "At most N events", 1},
        {"header", KEY_HEADER, NULL, 0, "Print the trace's header: its level and the run's options",
         1},
        {0},
    };
    static const struct argp_child children[] = {{&trace_request_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        options,
        parse_option,
        "TRACE",
        "Print the events of a trace, one on a line."
        "\vAddresses in < > have their symbol. With --json each line is an object.",
        children,
        NULL,
        NULL};
    struct dump_request request = {.limit = UINT64_MAX};
    struct trace_view view;
    int status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = trace_view_open(&view, &request.common);
    if (status)
        return status;
    if (request.header)
        print_header(&view);
    else
        print_events(&view, request.limit);
    status = trace_flush_output(stdout, "standard output");
    return trace_view_close(&view, status);
}
