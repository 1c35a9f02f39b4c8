/* vtxsim trace export: a trace for other programs. */
#include "sim/commands/trace_export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/commands/commands.h"

struct export_request {
    struct trace_request common;
    const struct trace_export_format *format;
    const char *output;
    enum trace_weight weight;
    enum trace_clock clock;
};

enum { KEY_WEIGHT = 0x2200, KEY_CLOCK };

static const struct trace_export_format *const formats[] = {
    &trace_export_perfetto,
    &trace_export_csv,
    &trace_export_folded,
};
#define FORMATS (sizeof(formats) / sizeof(*formats))

static unsigned choose(struct argp_state *state, const char *text, const char *const *words,
                       unsigned count)
{
    char list[128] = "";

    for (unsigned i = 0; i < count; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", words[i]);
    }
    argp_error(state, "\"%s\" is none of: %s", text, list);
    return 0;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    static const char *const format_names[FORMATS] = {"perfetto", "csv", "folded"};
    static const char *const weights[] = {"cycles", "instructions", "count"};
    static const char *const clocks[] = {"time", "instructions"};
    struct export_request *request = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->common;
        return 0;
    case 'f':
        request->format = formats[choose(state, argument, format_names, FORMATS)];
        return 0;
    case 'o':
        request->output = argument;
        return 0;
    case KEY_WEIGHT:
        request->weight = (enum trace_weight)choose(state, argument, weights, 3);
        return 0;
    case KEY_CLOCK:
        request->clock = (enum trace_clock)choose(state, argument, clocks, 2);
        return 0;
    case ARGP_KEY_END:
        if (!request->format)
            argp_error(state, "name the format: --format perfetto, csv or folded");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Returns an exit status. */
static int export_events(struct trace_exporter *exporter, const struct trace_export_format *format)
{
    struct trace_event event;
    uint64_t number;
    int error = format->begin(exporter), finished;

    while (!error && !ferror(exporter->out) && trace_view_next(exporter->view, &event, &number))
        error = format->event(exporter, number, &event);
    finished = format->finish(exporter);
    if (!error)
        error = finished;
    if (!error)
        return 0;
    command_error("%s: %s", exporter->view->request->path, strerror(-error));
    return STATUS_ERROR;
}

/* Half of a document is of no use to anyone; devices and pipes stay. */
static void remove_half(const char *path)
{
    struct stat status;

    if (lstat(path, &status) == 0 && S_ISREG(status.st_mode))
        unlink(path);
}

static int export_to(struct trace_view *view, const struct export_request *request)
{
    struct trace_exporter exporter = {
        .view = view, .out = stdout, .weight = request->weight, .clock = request->clock};
    const char *name = request->output ? request->output : "standard output";
    int status;

    if (request->output)
        exporter.out = fopen(request->output, "we");
    if (!exporter.out) {
        command_error("%s: %s", name, strerror(errno));
        return STATUS_ERROR;
    }
    status = export_events(&exporter, request->format);
    if (!status)
        status = trace_flush_output(exporter.out, name);
    if (!request->output)
        return status;
    if (fclose(exporter.out) && !status) {
        command_error("%s: %s", name, strerror(errno));
        status = STATUS_ERROR;
    }
    if (status || view->interrupted)
        remove_half(request->output);
    return status;
}

int trace_export(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"format", 'f', "FORMAT", 0, "perfetto, csv or folded", 1},
        {"output", 'o', "FILE", 0, "Write there instead of to standard output", 1},
        {"weight", KEY_WEIGHT, "WEIGHT", 0,
         "folded: cycles of VM exits (default), instructions of blocks, or count of VM exits", 1},
        {"clock", KEY_CLOCK, "CLOCK", 0,
         "perfetto: simulated time (default), or instructions, which blocks need: 1000 of them "
         "show as 1 microsecond",
         1},
        {0},
    };
    static const struct argp_child children[] = {{&trace_request_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        options,
        parse_option,
        "TRACE",
        "Write a trace in a format of other programs."
        "\vperfetto: JSON of Chrome's trace event format, which ui.perfetto.dev opens. csv: a line "
        "for each event under a line of names; with --type only the columns of those types. "
        "folded: stacks with weights, for flame graphs.",
        children,
        NULL,
        NULL};
    struct export_request request = {0};
    struct trace_view view;
    int status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = trace_view_open(&view, &request.common);
    if (status)
        return status;
    status = export_to(&view, &request);
    return trace_view_close(&view, status);
}
