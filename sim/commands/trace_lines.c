/* An event as a line: columns for what all have, then the fields of its type. */
#include "sim/commands/trace_lines.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <jansson.h>

#include "sim/event_text.h"

#define SYMBOL_WIDTH 32

void trace_print_heading(const struct trace_view *view, FILE *file)
{
    fprintf(file, "%10s %3s %14s %14s %18s ", "EVENT", "CPU", "INSTRUCTIONS", "TIME", "RIP");
    if (view->symbols)
        fprintf(file, "%-*s ", SYMBOL_WIDTH, "SYMBOL");
    fputs("TYPE       FIELDS\n", file);
}

static void print_line(const struct trace_view *view, uint64_t number,
                       const struct trace_event *event, FILE *file)
{
    char text[EVENT_TEXT_SIZE];

    fprintf(file, "%10" PRIu64 " %3u %14" PRIu64 " %14" PRIu64 " %#18" PRIx64 " ", number,
            event->cpu, event->instructions, event->time, event->rip);
    if (view->symbols) {
        event_symbol_text(view->symbols, event->rip, text, sizeof(text));
        fprintf(file, "%-*s ", SYMBOL_WIDTH, *text ? text : "-");
    }
    event_fields_text(event, view->symbols, text, sizeof(text));
    fprintf(file, "%-10s %s\n", trace_event_name(event->type), text);
}

void trace_print_event(const struct trace_view *view, uint64_t number,
                       const struct trace_event *event, FILE *file)
{
    json_t *object;

    if (!view->request->json) {
        print_line(view, number, event, file);
        return;
    }
    object = event_json(number, event, view->symbols);
    json_dumpf(object, file, JSON_COMPACT);
    json_decref(object);
    fputc('\n', file);
}

uint64_t trace_parse_count(struct argp_state *state, const char *text)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno || !*text || *end || *text == '-')
        argp_error(state, "\"%s\" is not a count", text);
    return value;
}
