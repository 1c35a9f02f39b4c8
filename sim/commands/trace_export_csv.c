/* Comma-separated values (RFC 4180): a column for each name of a field. */
#include "sim/commands/trace_export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/event_text.h"

#define COLUMNS_MAX 64

struct csv {
    const char *column[COLUMNS_MAX]; /* of the types' own fields; equal names share one */
    unsigned columns;
};

static void add_column(struct csv *csv, const char *name)
{
    for (unsigned i = 0; i < csv->columns; i++)
        if (strcmp(csv->column[i], name) == 0)
            return;
    if (csv->columns < COLUMNS_MAX)
        csv->column[csv->columns++] = name;
}

static int begin_csv(struct trace_exporter *exporter)
{
    const struct trace_view *view = exporter->view;
    uint32_t types = trace_level_types(trace_reader_level(view->reader));
    struct csv *csv = calloc(1, sizeof(*csv));

    if (!csv)
        return -ENOMEM;
    exporter->state = csv;
    if (view->request->types)
        types = view->request->types;
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
        for (const struct trace_field *field = trace_fields(type); field->name; field++)
            if (types >> type & 1)
                add_column(csv, field->name);
    fputs("event,type", exporter->out);
    for (const struct trace_field *field = trace_common_fields; field->name; field++)
        fprintf(exporter->out, ",%s", field->name);
    if (view->symbols)
        fputs(",symbol", exporter->out);
    for (unsigned i = 0; i < csv->columns; i++)
        fprintf(exporter->out, ",%s", csv->column[i]);
    fputs("\r\n", exporter->out);
    return 0;
}

/* Text with what has a meaning of its own goes into quotes. */
static void put_value(FILE *file, const char *text)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        fprintf(file, ",%s", text);
        return;
    }
    fputs(",\"", file);
    for (; *text; text++)
        fprintf(file, *text == '"' ? "\"\"" : "%c", *text);
    fputc('"', file);
}

static const struct trace_field *find_field(unsigned type, const char *name)
{
    const struct trace_field *field = trace_fields(type);

    while (field->name && strcmp(field->name, name) != 0)
        field++;
    return field->name ? field : NULL;
}

static int put_csv(struct trace_exporter *exporter, uint64_t number,
                   const struct trace_event *event)
{
    const struct symbols *symbols = exporter->view->symbols;
    const struct csv *csv = exporter->state;
    char text[EVENT_TEXT_SIZE];

    fprintf(exporter->out, "%" PRIu64 ",%s", number, trace_event_name(event->type));
    for (const struct trace_field *field = trace_common_fields; field->name; field++) {
        event_field_text(event, field, text, sizeof(text));
        put_value(exporter->out, text);
    }
    if (symbols) {
        event_symbol_text(symbols, event->rip, text, sizeof(text));
        put_value(exporter->out, text);
    }
    for (unsigned i = 0; i < csv->columns; i++) {
        const struct trace_field *field = find_field(event->type, csv->column[i]);

        *text = '\0';
        if (field)
            event_field_text(event, field, text, sizeof(text));
        put_value(exporter->out, text);
    }
    fputs("\r\n", exporter->out);
    return 0;
}

static int finish_csv(struct trace_exporter *exporter)
{
    free(exporter->state);
    return 0;
}

const struct trace_export_format trace_export_csv = {"csv", begin_csv, put_csv, finish_csv};
