/* vtxsim trace: its subcommands, and the trace that each of them opens. */
#include "sim/commands/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "cpu/profile.h"
#include "sim/commands/commands.h"

#define PROGRESS_EVENTS 4000000

enum { KEY_SYMBOLS = 0x2000, KEY_OFFSET, KEY_FROM, KEY_TO, KEY_TYPE, KEY_JSON };

static volatile sig_atomic_t interrupted;

/* --- Options
 * ----------------------------------------------------------------------------------------- */

/* "N" or "KIND:N", where the kind may be abbreviated. */
static void parse_place(struct argp_state *state, const char *text, struct trace_place *place)
{
    static const char *const kinds[] = {
        [TRACE_INDEX_EVENT] = "event",
        [TRACE_INDEX_INSTRUCTIONS] = "instructions",
        [TRACE_INDEX_TIME] = "time",
    };
    const char *colon = strchr(text, ':'), *number = colon ? colon + 1 : text;
    size_t length = colon ? (size_t)(colon - text) : 0;
    unsigned kind = 0;
    char *end;

    while (colon && kind < 3 && (length == 0 || strncmp(text, kinds[kind], length) != 0))
        kind++;
    errno = 0;
    place->given = true;
    place->index = (enum trace_index)kind;
    place->value = strtoull(number, &end, 0);
    if (kind == 3 || errno || end == number || *end)
        argp_error(state, "\"%s\": a place is N, instructions:N or time:N", text);
}

static void parse_types(struct argp_state *state, const char *text, uint32_t *types)
{
    char name[64];

    for (; *text; text += strspn(text, ",")) {
        size_t length = strcspn(text, ",");
        unsigned type;

        snprintf(name, sizeof(name), "%.*s", (int)length, text);
        type = trace_event_find(name);
        if (!type)
            argp_error(state, "there is no type of event \"%s\"", name);
        *types |= 1u << type;
        text += length;
    }
}

static void parse_operand(struct argp_state *state, struct trace_request *request, char *argument)
{
    unsigned wanted = request->operands_wanted ? request->operands_wanted : 1;

    if (++request->operands > wanted)
        argp_error(state, "one trace only: \"%s\" is too much", argument);
    else if (request->operands == wanted)
        request->path = argument;
    else
        request->first_operand = argument;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct trace_request *request = state->input;

    switch (key) {
    case KEY_SYMBOLS:
        request->symbols = argument;
        return 0;
    case KEY_OFFSET:
        request->symbols_offset = argument;
        return 0;
    case KEY_FROM:
        parse_place(state, argument, &request->from);
        return 0;
    case KEY_TO:
        parse_place(state, argument, &request->to);
        return 0;
    case KEY_TYPE:
        parse_types(state, argument, &request->types);
        return 0;
    case KEY_JSON:
        request->json = true;
        return 0;
    case ARGP_KEY_ARG:
        parse_operand(state, request, argument);
        return 0;
    case ARGP_KEY_END:
        if (!request->path)
            argp_error(state, "name the trace");
        if (request->symbols_offset && !request->symbols)
            argp_error(state, "--symbols-offset needs --symbols");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "What of the trace:", 10},
    {"from", KEY_FROM, "PLACE", 0, "Begin there: N (an event), instructions:N or time:N", 10},
    {"to", KEY_TO, "PLACE", 0, "End before this place", 10},
    {"type", KEY_TYPE, "TYPE,...", 0, "Only events of these types", 10},
    {NULL, 0, NULL, 0, "Names and form:", 11},
    {"symbols", KEY_SYMBOLS, "FILE", 0,
     "Names for addresses: vmlinux, System.map, a copy of /proc/kallsyms, or the kernel's bzImage; "
     "auto: the image that ran",
     11},
    {"symbols-offset", KEY_OFFSET, "N|auto", 0,
     "How far above FILE's addresses the guest had them (KASLR). Default: auto, found from the "
     "trace for Linux kernels",
     11},
    {"json", KEY_JSON, NULL, 0, "JSON instead of text", 11},
    {0},
};
const struct argp trace_request_argp = {options, parse_option, NULL, NULL, NULL, NULL, NULL};

/* --- An open trace
 * ----------------------------------------------------------------------------------- */

static void note_interrupt(int signal)
{
    interrupted = signal;
}

/* What reading would say comes from the seek. */
static void seek_to_begin(struct trace_view *view)
{
    const struct trace_place *from = &view->request->from;

    if (!from->given)
        return;
    view->result = trace_reader_seek(view->reader, from->index, from->value) ?: 1;
    view->next = trace_reader_position(view->reader);
    if (from->index == TRACE_INDEX_TIME) /* events without a time of their own come now */
        view->time = from->value;
}

int trace_view_open(struct trace_view *view, const struct trace_request *request)
{
    struct sigaction action = {.sa_handler = note_interrupt, .sa_flags = (int)SA_RESETHAND};
    char message[512] = "";
    int error, status;

    *view = (struct trace_view){.request = request, .result = 1};
    error = trace_reader_open(&view->reader, request->path, message, sizeof(message));
    if (error) {
        command_error("%s", *message ? message : strerror(-error));
        return STATUS_NO_START;
    }
    status = trace_view_open_symbols(view);
    if (status) {
        trace_reader_close(view->reader);
        symbols_free(view->symbols);
        return status;
    }
    seek_to_begin(view);
    view->shows_progress = isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO);
    view->progress_at = PROGRESS_EVENTS;
    sigaction(SIGINT, &action, NULL);
    return 0;
}

/* Where an event is on the scale of a place. */
static uint64_t place_of(const struct trace_view *view, enum trace_index index, uint64_t number,
                         const struct trace_event *event)
{
    return index == TRACE_INDEX_EVENT          ? number
           : index == TRACE_INDEX_INSTRUCTIONS ? event->instructions
                                               : view->time;
}

static void show_progress(struct trace_view *view)
{
    view->progress_at = view->next + PROGRESS_EVENTS;
    if (view->shows_progress)
        fprintf(stderr, "\r%" PRIu64 " million events", view->next / 1000000);
}

bool trace_view_next(struct trace_view *view, struct trace_event *event, uint64_t *number)
{
    const struct trace_place *from = &view->request->from, *to = &view->request->to;

    while (view->result == 1 && !interrupted &&
           (view->result = trace_reader_next(view->reader, event)) == 1) {
        *number = trace_reader_position(view->reader) - 1;
        view->next = *number + 1;
        if (event->time)
            view->time = event->time;
        if (view->next >= view->progress_at)
            show_progress(view);
        if (to->given && place_of(view, to->index, *number, event) >= to->value)
            return false;
        if (from->given && place_of(view, from->index, *number, event) < from->value)
            continue;
        if (!view->request->types || (view->request->types >> event->type & 1))
            return true;
    }
    view->interrupted = interrupted;
    return false;
}

int trace_view_close(struct trace_view *view, int status)
{
    const char *path = view->request->path;

    if (view->shows_progress && view->progress_at > PROGRESS_EVENTS)
        fputs("\r\033[K", stderr);
    if (view->result == -ENODATA)
        command_error("%s: cut off after %" PRIu64 " events (the run was killed, or its disk was "
                      "full); what came before is whole",
                      path, view->next);
    else if (view->result < 0)
        command_error("%s: damaged after %" PRIu64 " events (%s); what came before is whole", path,
                      view->next, strerror(-view->result));
    if (!status && view->result < 0)
        status = STATUS_INCOMPLETE;
    if (!status && view->interrupted)
        status = STATUS_SIGNAL + SIGINT;
    trace_reader_close(view->reader);
    symbols_free(view->symbols);
    return status;
}

const char *trace_level_name(enum trace_level level)
{
    static const char *const names[TRACE_LEVELS] = {"inputs", "exits", "translations", "blocks",
                                                    "memory"};

    return level < TRACE_LEVELS ? names[level] : "unknown";
}

/* Where the CPU profile of the run is: where it was then, or where its name leads now. */
static bool find_profile(json_t *cpu, char *path, size_t size)
{
    const char *then = json_string_value(json_object_get(cpu, "path"));
    const char *name = json_string_value(json_object_get(cpu, "profile"));

    snprintf(path, size, "%s", then ?: "");
    if (then && access(path, R_OK) == 0)
        return true;
    if (!name)
        name = json_string_value(cpu);
    return name && cpu_profile_find(name, path, size) == 0;
}

uint64_t trace_view_tsc_hz(const struct trace_view *view)
{
    json_t *options = json_loads(trace_reader_options(view->reader), 0, NULL);
    struct cpu_profile profile;
    char path[4096], message[512];
    uint64_t hz = 0;

    if (find_profile(json_object_get(options, "cpu"), path, sizeof(path)) &&
        cpu_profile_load(&profile, path, message, sizeof(message)) == 0)
        hz = profile.tsc_hz;
    json_decref(options);
    return hz;
}

int trace_flush_output(FILE *file, const char *name)
{
    int error = 0;

    errno = 0;
    if (fflush(file) || ferror(file))
        error = errno ? errno : EIO;
    if (!error || error == EPIPE)
        return 0;
    command_error("%s: %s", name, strerror(error));
    return STATUS_ERROR;
}

/* --- The command
 * ------------------------------------------------------------------------------------- */

static const struct {
    const char *name; /* as the subcommand sees itself */
    int (*run)(int argc, char **argv);
    const char *summary;
} subcommands[] = {
    {"vtxsim trace stat", trace_stat, "tables: exits by reason, RIP, page, operand; walks; blocks"},
    {"vtxsim trace dump", trace_dump, "every event on a line"},
    {"vtxsim trace grep", trace_grep, "the events that meet a condition"},
    {"vtxsim trace export", trace_export, "for Perfetto, spreadsheets, flame graphs"},
};
#define SUBCOMMANDS (sizeof(subcommands) / sizeof(*subcommands))
#define NAME_OFFSET (sizeof("vtxsim trace ") - 1)

static void print_usage(FILE *file)
{
    fputs("Usage: vtxsim trace COMMAND [OPTION...] TRACE\n\n", file);
    for (unsigned i = 0; i < SUBCOMMANDS; i++)
        fprintf(file, "  %-12s %s\n", subcommands[i].name + NAME_OFFSET, subcommands[i].summary);
    fputs("\nvtxsim trace COMMAND --help tells more. Traces come from vtxsim run --trace FILE.\n",
          file);
}

int command_trace(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    signal(SIGPIPE, SIG_DFL); /* whoever reads has seen enough */
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_usage(stdout);
        return trace_flush_output(stdout, "standard output");
    }
    for (unsigned i = 0; i < SUBCOMMANDS; i++) {
        if (strcmp(name, subcommands[i].name + NAME_OFFSET) != 0)
            continue;
        argv[1] = (char *)subcommands[i].name;
        return subcommands[i].run(argc - 1, argv + 1);
    }
    if (*name)
        command_error("there is no command \"trace %s\"", name);
    print_usage(stderr);
    return STATUS_USAGE;
}
