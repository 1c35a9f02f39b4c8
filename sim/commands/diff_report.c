/* The report of vtxsim diff. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sim/commands/commands.h"
#include "sim/commands/diff_divergence.h"
#include "sim/commands/diff_report.h"
#include "sim/event_text.h"

#define NAME_WIDTH  23
#define VALUE_WIDTH 36

/* --- The options of the runs --- */

int diff_read_options(struct diff_report *report, char *message, size_t size)
{
    for (unsigned side = 0; side < 2; side++) {
        json_t *options = json_loads(trace_reader_options(report->reader[side]), 0, NULL);
        const char *backend = json_string_value(json_object_get(options, "backend"));
        const char *environment = json_string_value(json_object_get(options, "environment"));

        if (!json_is_object(options)) {
            snprintf(message, size,
                     "%s: its options are no JSON object: it was not written by "
                     "vtxsim run",
                     report->path[side]);
            json_decref(options);
            return -EBADMSG;
        }
        report->options[side] = options;
        snprintf(report->backend[side], sizeof(report->backend[side]), "%s%s%s",
                 backend ? backend : "unicorn", environment ? "/" : "",
                 environment ? environment : "");
    }
    return 0;
}

/* Of a file, its content is what matters, not where it was. */
static bool is_same_option(const json_t *a, const json_t *b)
{
    static const char *const content[] = {"xxh64", "size", "arguments"};

    if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!is_same_option(json_array_get(a, i), json_array_get(b, i)))
                return false;
        return true;
    }
    if (!json_object_get(a, "xxh64") || !json_object_get(b, "xxh64"))
        return json_equal(a, b);
    for (unsigned i = 0; i < sizeof(content) / sizeof(*content); i++) {
        const json_t *left = json_object_get(a, content[i]);
        const json_t *right = json_object_get(b, content[i]);

        if (left != right && !json_equal(left, right))
            return false;
    }
    return true;
}

/* Calls `take` with every option that is not the same on both sides; NULL where there is none. */
static void for_each_option(const struct diff_report *report, void *context,
                            void (*take)(void *context, const char *name, json_t *const value[2]))
{
    const char *name;
    json_t *value;

    json_object_foreach(report->options[0], name, value)
    {
        json_t *const values[2] = {value, json_object_get(report->options[1], name)};

        if (!is_same_option(values[0], values[1]))
            take(context, name, values);
    }
    json_object_foreach(report->options[1], name, value)
    {
        json_t *const values[2] = {json_object_get(report->options[0], name), value};

        if (!values[0])
            take(context, name, values);
    }
}

bool diff_option_differs(const struct diff_report *report, const char *name)
{
    return !json_equal(json_object_get(report->options[0], name),
                       json_object_get(report->options[1], name));
}

static void count_option(void *context, const char *name, json_t *const value[2])
{
    (*(unsigned *)context)++;
}

bool diff_options_differ(const struct diff_report *report)
{
    unsigned count = 0;

    for_each_option(report, &count, count_option);
    return count > 0;
}

/* --- Text --- */

static void print_option(void *context, const char *name, json_t *const value[2])
{
    bool *headed = context;
    char *text[2];

    if (!*headed)
        puts("options of the runs that differ:");
    *headed = true;
    for (unsigned side = 0; side < 2; side++)
        text[side] = value[side] ? json_dumps(value[side], JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    printf("  %s\n    A: %s\n    B: %s\n", name, text[0] ? text[0] : "(none)",
           text[1] ? text[1] : "(none)");
    free(text[0]);
    free(text[1]);
}

static void print_normalizations(const struct diff_report *report)
{
    const struct trace_comparison *comparison = &report->comparison;

    if (comparison->applied_count)
        printf("normalized for %s and %s:\n", report->backend[0], report->backend[1]);
    for (unsigned i = 0; i < comparison->applied_count; i++)
        printf("  %s: %s, because %s\n", comparison->applied[i]->name, comparison->applied[i]->what,
               comparison->applied[i]->why);
}

static void print_line(uint64_t number, const struct trace_event *event,
                       const struct symbols *symbols)
{
    char text[EVENT_TEXT_SIZE];

    event_fields_text(event, symbols, text, sizeof(text));
    printf("  %10" PRIu64 " %14" PRIu64 "  %016" PRIx64 "  %s %s\n", number, event->instructions,
           event->rip, trace_event_name(event->type), text);
}

/* The last events of A before the first difference. */
static void print_context(struct diff_report *report)
{
    uint64_t to = report->first.number[0];
    uint64_t from = to > report->context ? to - report->context : 0;
    struct trace_event event;

    if (from == to || trace_reader_seek(report->reader[0], TRACE_INDEX_EVENT, from))
        return;
    puts("before it (event, instructions, RIP):");
    while (trace_reader_next(report->reader[0], &event) == 1 &&
           trace_reader_position(report->reader[0]) <= to)
        print_line(trace_reader_position(report->reader[0]) - 1, &event, report->symbols);
}

static void print_row(bool marked, const char *name, const char *a, const char *b)
{
    printf("%c %-*s %-*s %s\n", marked ? '*' : ' ', NAME_WIDTH, name, b ? VALUE_WIDTH : 0, a,
           b ? b : "");
}

/* Both events field by field; those that differ get a star. */
static void print_both(const struct trace_difference *difference)
{
    const struct trace_event *event = difference->event;
    const struct trace_field *field;
    char number[2][24], text[2][EVENT_TEXT_SIZE];

    for (unsigned side = 0; side < 2; side++)
        snprintf(number[side], sizeof(number[side]), "%" PRIu64, difference->number[side]);
    print_row(false, "", "A", "B");
    print_row(false, "event", number[0], number[1]);
    print_row(false, "type", trace_event_name(event[0].type), trace_event_name(event[1].type));
    for (unsigned i = 0; (field = trace_class_field(event[0].type, i)); i++) {
        for (unsigned side = 0; side < 2; side++)
            event_field_text(&event[side], field, text[side], sizeof(text[side]));
        print_row(difference->fields >> i & 1, field->name, text[0], text[1]);
    }
    for (unsigned side = 0; side < 2; side++)
        event_explain(&event[side], text[side], sizeof(text[side]));
    if (*text[0] || *text[1])
        print_row(false, "meaning", text[0], text[1]);
}

static void print_one(const struct trace_difference *difference)
{
    const struct trace_event *event = &difference->event[difference->side];
    const struct trace_field *field;
    char text[EVENT_TEXT_SIZE];

    print_row(false, "type", trace_event_name(event->type), NULL);
    for (unsigned i = 0; (field = trace_class_field(event->type, i)); i++) {
        event_field_text(event, field, text, sizeof(text));
        print_row(false, field->name, text, NULL);
    }
    event_explain(event, text, sizeof(text));
    if (*text)
        print_row(false, "meaning", text, NULL);
}

static void print_first(struct diff_report *report)
{
    const struct trace_difference *first = &report->first;
    char own = first->side ? 'B' : 'A', other = first->side ? 'A' : 'B';

    if (first->change == TRACE_CHANGED)
        printf("the first difference: event %" PRIu64 " of A, event %" PRIu64 " of B\n",
               first->number[0], first->number[1]);
    else
        printf("the first difference: event %" PRIu64 " of %c is not in %c, where it would be "
               "event %" PRIu64 "\n",
               first->number[first->side], own, other, first->number[!first->side]);
    print_context(report);
    if (first->change == TRACE_CHANGED)
        print_both(first);
    else
        print_one(first);
}

static const char *class_name(unsigned class)
{
    unsigned reason;
    unsigned type = trace_class_type(class, &reason);

    return type == TRACE_EXIT ? event_reason_name(reason) : trace_event_name(type);
}

static bool class_differs(const struct trace_class_agreement *class)
{
    return class->changed || class->only[0] || class->only[1];
}

/* "value 3, rip 1": which fields differ, and how often. */
static void print_fields(const struct trace_class_agreement *agreement, unsigned class)
{
    const struct trace_field *field;
    const char *separator = "  ";
    unsigned reason;

    for (unsigned i = 0; (field = trace_class_field(trace_class_type(class, &reason), i)); i++) {
        if (!agreement->field[i])
            continue;
        printf("%s%s %" PRIu64, separator, field->name, agreement->field[i]);
        separator = ", ";
    }
    putchar('\n');
}

static void print_classes(const struct diff_report *report)
{
    const struct trace_diff_result *result = &report->result;

    if (result->events_skipped)
        printf("(without the %" PRIu64 " events of leading frames that are equal)\n",
               result->events_skipped);
    printf("%-24s %10s %10s %10s %10s\n", "CLASS", "EQUAL", "CHANGED", "ONLY A", "ONLY B");
    for (unsigned i = 1; i < TRACE_CLASSES; i++) {
        const struct trace_class_agreement *class = &result->class[i];

        if (!class->equal && !class_differs(class))
            continue;
        printf("%-24s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64, class_name(i),
               class->equal, class->changed, class->only[0], class->only[1]);
        print_fields(class, i);
    }
}

static void print_ends(const struct diff_report *report)
{
    for (unsigned side = 0; side < 2; side++)
        if (report->result.end[side] == -ENODATA)
            printf("%s was cut off: it is compared as far as it goes\n", report->path[side]);
}

static void print_text(struct diff_report *report)
{
    const struct trace_diff_result *result = &report->result;
    bool headed = false;

    if (report->files_equal) {
        puts("the files are equal");
        return;
    }
    for_each_option(report, &headed, print_option);
    print_normalizations(report);
    print_ends(report);
    if (result->frames_skipped)
        printf("%" PRIu64 " leading frames (%" PRIu64 " events) are equal, byte for byte\n",
               result->frames_skipped, result->events_skipped);
    if (report->differences)
        print_first(report);
    else
        printf("no event differs (%" PRIu64 " compared)\n", result->equal);
    if (report->all && report->differences)
        print_classes(report);
    if (report->replayed)
        divergence_print(&report->divergence, report->symbols);
    else if (*report->replay_message)
        printf("not executed again: %s\n", report->replay_message);
}

/* --- JSON --- */

static void add_option(void *context, const char *name, json_t *const value[2])
{
    json_t *option = json_pack("{s:s, s:O?, s:O?}", "name", name, "a", value[0], "b", value[1]);

    json_array_append_new(context, option);
}

static json_t *normalizations_json(const struct trace_comparison *comparison)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < comparison->applied_count; i++) {
        const struct trace_normalization *row = comparison->applied[i];

        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", row->name, "what",
                                              row->what, "why", row->why, "source", row->source));
    }
    return list;
}

static json_t *side_json(const struct trace_difference *difference, unsigned side)
{
    if (difference->change == TRACE_ONLY_ONE && side != difference->side)
        return json_null();
    return event_json(difference->number[side], &difference->event[side], NULL);
}

static json_t *first_json(const struct trace_difference *difference)
{
    const struct trace_event *event = &difference->event[difference->side];
    const struct trace_field *field;
    json_t *fields = json_array();

    for (unsigned i = 0; (field = trace_class_field(event->type, i)); i++)
        if (difference->fields >> i & 1)
            json_array_append_new(fields, json_string(field->name));
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "change",
                     difference->change == TRACE_CHANGED ? "changed"
                     : difference->side                  ? "only-b"
                                                         : "only-a",
                     "event_a", (json_int_t)difference->number[0], "event_b",
                     (json_int_t)difference->number[1], "fields", fields, "a",
                     side_json(difference, 0), "b", side_json(difference, 1));
}

static json_t *class_json(const struct trace_class_agreement *agreement, unsigned class)
{
    const struct trace_field *field;
    json_t *fields = json_object();
    unsigned reason;
    unsigned type = trace_class_type(class, &reason);

    for (unsigned i = 0; (field = trace_class_field(type, i)); i++)
        if (agreement->field[i])
            json_object_set_new(fields, field->name, json_integer((json_int_t)agreement->field[i]));
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "type", trace_event_name(type), "class",
                     class_name(class), "equal", (json_int_t)agreement->equal, "changed",
                     (json_int_t)agreement->changed, "only_a", (json_int_t)agreement->only[0],
                     "only_b", (json_int_t)agreement->only[1], "fields", fields);
}

static json_t *classes_json(const struct diff_report *report)
{
    json_t *list = json_array();

    for (unsigned i = 1; i < TRACE_CLASSES; i++) {
        const struct trace_class_agreement *class = &report->result.class[i];

        if (class->equal || class_differs(class))
            json_array_append_new(list, class_json(class, i));
    }
    return list;
}

static json_t *report_json(const struct diff_report *report, int status)
{
    const struct trace_diff_result *result = &report->result;
    json_t *options = json_array();
    json_t *document =
        json_pack("{s:s, s:s, s:s, s:b, s:b}", "vtxsim", VTXSIM_VERSION, "a", report->path[0], "b",
                  report->path[1], "same", status == 0, "files_equal", (int)report->files_equal);

    if (report->files_equal) {
        json_decref(options);
        return document;
    }
    for_each_option(report, options, add_option);
    json_object_set_new(document, "options", options);
    json_object_set_new(document, "normalizations", normalizations_json(&report->comparison));
    json_object_set_new(
        document, "events",
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "equal",
                  (json_int_t)result->equal, "skipped", (json_int_t)result->events_skipped,
                  "frames_skipped", (json_int_t)result->frames_skipped, "changed",
                  (json_int_t)result->changed, "only_a", (json_int_t)result->only[0], "only_b",
                  (json_int_t)result->only[1], "left_out_a", (json_int_t)result->left_out[0],
                  "left_out_b", (json_int_t)result->left_out[1], "cut_a",
                  result->end[0] == -ENODATA, "cut_b", result->end[1] == -ENODATA));
    json_object_set_new(document, "first",
                        report->differences ? first_json(&report->first) : json_null());
    if (report->all)
        json_object_set_new(document, "classes", classes_json(report));
    if (report->replayed)
        json_object_set_new(document, "instruction",
                            divergence_json(&report->divergence, report->symbols));
    else if (*report->replay_message)
        json_object_set_new(document, "not_replayed", json_string(report->replay_message));
    return document;
}

/* --- The whole --- */

void diff_report_print(struct diff_report *report, int status)
{
    json_t *document;

    if (!report->json) {
        print_text(report);
        return;
    }
    document = report_json(report, status);
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
}

void diff_report_destroy(struct diff_report *report)
{
    for (unsigned side = 0; side < 2; side++) {
        if (report->reader[side])
            trace_reader_close(report->reader[side]);
        json_decref(report->options[side]);
    }
}
