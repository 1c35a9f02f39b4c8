/* vtxsim trace stat: a trace in tables. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "sim/commands/commands.h"
#include "sim/commands/trace_lines.h"
#include "sim/commands/trace_sections.h"
#include "sim/event_text.h"
#include "sim/exit_statistics.h"

#define SECTIONS_MAX 32
#define TOP_DEFAULT  10

/* The sections that are not of the table: exits by reason, and the totals. */
#define BY_REASON (1u << 30)
#define BY_TOTAL  (1u << 31)

struct stat_request {
    struct trace_request common;
    uint32_t by; /* bits by the number of the section; 0: all that have rows */
    uint64_t top;
};

struct stat_state {
    const struct stat_request *request;
    struct trace_view *view;
    struct exit_statistics exits;
    struct tally tally[SECTIONS_MAX];
    uint8_t counting[TRACE_EVENT_TYPES][SECTIONS_MAX]; /* the tables that a type counts in */
    unsigned counting_count[TRACE_EVENT_TYPES];
    uint64_t count[TRACE_EVENT_TYPES];
    uint64_t events, instructions, time; /* the last two: least and most are the run's ends */
    uint64_t first_instructions, first_time;
    struct trace_event end; /* type 0: there was none */
    int error;
};

/* --- Options
 * ----------------------------------------------------------------------------------------- */

static void parse_by(struct argp_state *state, const char *text, uint32_t *by)
{
    char list[512] = "reason total";
    unsigned i = 0;

    if (strcmp(text, "reason") == 0 || strcmp(text, "total") == 0) {
        *by |= *text == 'r' ? BY_REASON : BY_TOTAL;
        return;
    }
    while (i < trace_section_count && strcmp(trace_sections[i].name, text) != 0) {
        strncat(strncat(list, " ", sizeof(list) - strlen(list) - 1), trace_sections[i++].name,
                sizeof(list) - strlen(list) - 1);
    }
    if (i == trace_section_count)
        argp_error(state, "there is no table by \"%s\", but by: %s", text, list);
    *by |= 1u << i;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct stat_request *request = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->common;
        return 0;
    case 'b':
        for (char *next = strtok(argument, ","); next; next = strtok(NULL, ","))
            parse_by(state, next, &request->by);
        return 0;
    case 'n':
        request->top = trace_parse_count(state, argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool is_wanted(const struct stat_state *stat, uint32_t bit)
{
    return !stat->request->by || (stat->request->by & bit);
}

/* --- Counting
 * ---------------------------------------------------------------------------------------- */

static void choose_sections(struct stat_state *stat)
{
    for (unsigned i = 0; i < trace_section_count; i++) {
        const struct trace_section *section = &trace_sections[i];

        if (!is_wanted(stat, 1u << i) || (section->needs_symbols && !stat->view->symbols))
            continue;
        for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
            if (section->types >> type & 1)
                stat->counting[type][stat->counting_count[type]++] = (uint8_t)i;
    }
}

static void count_sections(struct stat_state *stat, const struct trace_event *event)
{
    for (unsigned i = 0; i < stat->counting_count[event->type]; i++) {
        unsigned number = stat->counting[event->type][i];
        uint64_t key[2] = {0}, weight = 1;

        if (trace_sections[number].key(stat->view->symbols, event, key, &weight) &&
            tally_add(&stat->tally[number], key, weight, event))
            stat->error = -ENOMEM;
    }
}

static void count_event(struct stat_state *stat, const struct trace_event *event)
{
    if (stat->events++ == 0)
        stat->first_instructions = event->instructions;
    if (stat->first_time == 0) /* blocks and accesses have none */
        stat->first_time = stat->view->time;
    stat->count[event->type]++;
    if (event->instructions > stat->instructions)
        stat->instructions = event->instructions;
    if (stat->view->time > stat->time)
        stat->time = stat->view->time;
    if (event->type == TRACE_EXIT)
        exit_statistics_add(&stat->exits, event->exit.reason, event->exit.cycles);
    if (event->type == TRACE_END)
        stat->end = *event;
    count_sections(stat, event);
}

/* --- Text
 * -------------------------------------------------------------------------------------------- */

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static void print_section(const struct stat_state *stat, unsigned number)
{
    const struct trace_section *section = &trace_sections[number];
    const struct tally *tally = &stat->tally[number];
    char label[EVENT_TEXT_SIZE];

    printf("%s:\n", section->title);
    printf("%12s %8s", "count", "share");
    if (section->weight)
        printf(" %16s %8s", section->weight, "share");
    putchar('\n');
    for (size_t i = 0; i < tally->count && i < stat->request->top; i++) {
        const struct tally_row *row = &tally->row[i];

        printf("%12" PRIu64 " %7.2f%%", row->count, 100 * ratio(row->count, tally->total));
        if (section->weight)
            printf(" %16" PRIu64 " %7.2f%%", row->weight,
                   100 * ratio(row->weight, tally->total_weight));
        section->label(stat->view->symbols, row, label, sizeof(label));
        printf("  %s\n", label);
    }
    if (tally->count > stat->request->top)
        printf("  ... and %zu more\n", tally->count - (size_t)stat->request->top);
    putchar('\n');
}

static uint64_t file_size(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static bool is_part(const struct trace_request *request)
{
    return request->from.given || request->to.given || request->types;
}

/* Ratios to the file's size hold only where the whole trace was looked at. */
static bool is_all(const struct stat_state *stat)
{
    return !is_part(&stat->request->common) && stat->view->result == 0;
}

static void print_total(const char *name, uint64_t value)
{
    printf("%-32s %16" PRIu64 "\n", name, value);
}

static void print_totals(const struct stat_state *stat)
{
    const struct trace_request *request = &stat->request->common;
    uint64_t bytes = file_size(request->path), hz = trace_view_tsc_hz(stat->view);
    uint64_t instructions = stat->instructions, cycles = stat->time;
    char text[EVENT_TEXT_SIZE];

    if (is_part(request)) {
        instructions -= stat->first_instructions;
        cycles -= stat->first_time;
    }
    printf("%-32s %16s\n", "level", trace_level_name(trace_reader_level(stat->view->reader)));
    print_total("events", stat->events);
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++) {
        snprintf(text, sizeof(text), "  %s", trace_event_name(type));
        if (stat->count[type])
            print_total(text, stat->count[type]);
    }
    print_total("instructions", instructions);
    print_total("simulated cycles", cycles);
    if (hz)
        printf("%-32s %16.6f s\n", "simulated time", ratio(cycles, hz));
    print_total("trace (bytes)", bytes);
    if (is_all(stat)) {
        printf("%-32s %16.3f\n", "bytes an event", ratio(bytes, stat->events));
        printf("%-32s %16.6f\n", "bits an instruction", ratio(8 * bytes, stat->instructions));
    }
    if (stat->end.type) {
        event_fields_text(&stat->end, NULL, text, sizeof(text));
        printf("%-32s %16s\n", "end", text);
    }
}

static void print_tables(struct stat_state *stat)
{
    if (is_wanted(stat, BY_REASON) && (stat->count[TRACE_EXIT] || stat->request->by)) {
        exit_statistics_print_exits(&stat->exits, stdout);
        putchar('\n');
    }
    for (unsigned i = 0; i < trace_section_count; i++)
        if (stat->request->by ? is_wanted(stat, 1u << i) : stat->tally[i].count > 0)
            print_section(stat, i);
    if (is_wanted(stat, BY_TOTAL))
        print_totals(stat);
}

/* --- JSON
 * -------------------------------------------------------------------------------------------- */

/* "0x..." up to a blank of a label is an address; programs want it by itself. */
static json_t *row_json(const struct stat_state *stat, const struct trace_section *section,
                        const struct tally_row *row)
{
    char label[EVENT_TEXT_SIZE];
    json_t *object;

    section->label(stat->view->symbols, row, label, sizeof(label));
    for (size_t length = strlen(label); length && label[length - 1] == ' ';)
        label[--length] = '\0';
    object = json_pack("{s:s, s:I}", "label", label, "count", (json_int_t)row->count);
    if (section->weight)
        json_object_set_new(object, section->weight, json_integer((json_int_t)row->weight));
    if (strcmp(section->name, "rip") == 0 || strcmp(section->name, "block") == 0) {
        snprintf(label, sizeof(label), "0x%" PRIx64, row->key[0]);
        json_object_set_new(object, "rip", json_string(label));
        event_symbol_text(stat->view->symbols, row->key[0], label, sizeof(label));
        if (*label)
            json_object_set_new(object, "symbol", json_string(label));
    }
    return object;
}

static json_t *section_json(const struct stat_state *stat, unsigned number)
{
    const struct tally *tally = &stat->tally[number];
    json_t *rows = json_array();

    for (size_t i = 0; i < tally->count && i < stat->request->top; i++)
        json_array_append_new(rows, row_json(stat, &trace_sections[number], &tally->row[i]));
    return json_pack("{s:o, s:I, s:I}", "rows", rows, "distinct", (json_int_t)tally->count, "total",
                     (json_int_t)tally->total);
}

static json_t *totals_json(const struct stat_state *stat)
{
    uint64_t bytes = file_size(stat->request->common.path);
    json_t *totals =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "level",
                  trace_level_name(trace_reader_level(stat->view->reader)), "events",
                  (json_int_t)stat->events, "instructions", (json_int_t)stat->instructions,
                  "simulated_cycles", (json_int_t)stat->time, "tsc_hz",
                  (json_int_t)trace_view_tsc_hz(stat->view), "trace_bytes", (json_int_t)bytes,
                  "complete", stat->view->result >= 0 && !stat->view->interrupted);
    json_t *types = json_object();

    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
        if (stat->count[type])
            json_object_set_new(types, trace_event_name(type),
                                json_integer((json_int_t)stat->count[type]));
    json_object_set_new(totals, "types", types);
    if (is_all(stat)) {
        json_object_set_new(totals, "bytes_per_event", json_real(ratio(bytes, stat->events)));
        json_object_set_new(totals, "bits_per_instruction",
                            json_real(ratio(8 * bytes, stat->instructions)));
    }
    if (stat->end.type)
        json_object_set_new(totals, "end", event_json(stat->events - 1, &stat->end, NULL));
    return totals;
}

static void print_json(const struct stat_state *stat)
{
    json_t *document = json_pack("{s:s}", "trace", stat->request->common.path);

    if (is_wanted(stat, BY_REASON))
        json_object_set_new(document, "exits", exit_statistics_exits_json(&stat->exits));
    for (unsigned i = 0; i < trace_section_count; i++)
        if (stat->request->by ? is_wanted(stat, 1u << i) : stat->tally[i].count > 0)
            json_object_set_new(document, trace_sections[i].name, section_json(stat, i));
    if (is_wanted(stat, BY_TOTAL))
        json_object_set_new(document, "totals", totals_json(stat));
    json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    putchar('\n');
    json_decref(document);
}

/* --- The command
 * ------------------------------------------------------------------------------------- */

static int stat_trace(struct stat_state *stat)
{
    struct trace_event event;
    uint64_t number;

    choose_sections(stat);
    while (!stat->error && trace_view_next(stat->view, &event, &number))
        count_event(stat, &event);
    if (stat->error) {
        command_error("%s: %s for its tables: choose some by --by, or a part by --from and --to",
                      stat->request->common.path, strerror(-stat->error));
        return STATUS_ERROR;
    }
    for (unsigned i = 0; i < trace_section_count; i++)
        tally_sort(&stat->tally[i], trace_sections[i].by_weight);
    if (stat->request->common.json)
        print_json(stat);
    else
        print_tables(stat);
    return trace_flush_output(stdout, "standard output");
}

int trace_stat(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"by", 'b', "TABLE,...", 0,
         "Only these tables: reason, rip, symbol, operand (port, MSR, CPUID leaf), page, vector, "
         "input, walk, fault, flush, block, function, access, total",
         1},
        {"top", 'n', "N", 0, "At most N rows of each (default: 10)", 1},
        {0},
    };
    static const struct argp_child children[] = {{&trace_request_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        options,  parse_option, "TRACE", "Print what is in a trace as tables.",
        children, NULL,         NULL};
    struct stat_request request = {.top = TOP_DEFAULT};
    struct trace_view view;
    struct stat_state stat = {.request = &request, .view = &view};
    int status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = trace_view_open(&view, &request.common);
    if (status)
        return status;
    for (unsigned i = 0; i < trace_section_count; i++)
        if ((request.by >> i & 1) && trace_sections[i].needs_symbols && !view.symbols) {
            command_error("the table by %s needs --symbols", trace_sections[i].name);
            return trace_view_close(&view, STATUS_USAGE);
        }
    status = stat_trace(&stat);
    for (unsigned i = 0; i < trace_section_count; i++)
        tally_free(&stat.tally[i]);
    return trace_view_close(&view, status);
}
