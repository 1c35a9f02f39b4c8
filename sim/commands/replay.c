/* vtxsim replay: executes the run of a trace again, and holds it against the trace. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "sim/commands/commands.h"
#include "sim/commands/console.h"
#include "sim/commands/journey.h"
#include "sim/commands/replay_report.h"
#include "sim/gdb/gdb.h"

#define KEY_TO          0x1000
#define KEY_TO_EXIT     0x1001
#define KEY_TO_TIME     0x1002
#define KEY_HASH_MEMORY 0x1003
#define KEY_GDB         0x1004

/* Events that depend on where the engine stops on the way: it looks up code once more then. */
#define STOPS_CHANGE (1u << TRACE_WALK)

#define FIND_MAX             64
#define CONSOLE_KEPT         (64u << 10) /* bytes of the console so far */
#define PROGRESS_NANOSECONDS 500000000

struct request {
    const char *trace;
    const char *find[FIND_MAX];
    unsigned find_count;
    struct goal goals[GOALS_MAX];
    unsigned goal_count;
    bool quiet, json, hash_memory;
    const char *gdb; /* where to listen for a debugger; NULL: nowhere */
};

/* A replay under way. */
struct session {
    const struct request *request;
    struct journey *journey;
    struct replay *replay;
    struct gdb_server *debugger;
    struct console out;
    struct timespec started, told; /* told: the last line of progress */
    bool progress;
    char console[2 * CONSOLE_KEPT]; /* the end of it */
    size_t console_size;
    uint64_t console_total;
};

static const struct argp_option options[] = {
    {"to", KEY_TO, "N", 0, "Stop when N instructions have retired, and show the guest", 1},
    {"to-exit", KEY_TO_EXIT, "N", 0,
     "Stop before the instruction that causes event N of the trace (one between two instructions: "
     "before the next)",
     1},
    {"to-time", KEY_TO_TIME, "TIME", 0,
     "Stop when so much simulated time has passed: cycles, or as in 1.5ms", 1},
    {"hash-memory", KEY_HASH_MEMORY, NULL, 0, "Show a hash of the guest's memory at stops", 1},
    {"gdb", KEY_GDB, "PORT", 0,
     "Wait for GDB or LLDB at [ADDRESS:]PORT (default 127.0.0.1; port 0: any); nothing is checked "
     "then, and the guest may be changed",
     1},
    {"find", 'f', "PATH", 0,
     "Look for the run's input files in this folder too, or take this file for one of them", 2},
    {"quiet", 'q', NULL, 0, "Do not write the guest's console", 3},
    {"json", 'j', NULL, 0,
     "Print one JSON document on standard output; the guest's console goes to standard error", 3},
    {0},
};

static const char doc[] =
    "Execute the run of a trace again, with the inputs that the trace holds, and hold every event "
    "and state hash against it."
    "\vWith --to, --to-exit and --to-time, which can be given several times and in any order, the "
    "replay goes to each of the places in turn, forwards or backwards, and ends at the last.\n\n"
    "Exit status: 0 all events are equal (or all places were reached), 1 they differ (or a place "
    "is not in the run), 2 wrong options, 126 the trace is damaged or an output failed, 127 the "
    "run could not be set up, 128 + N ended by signal N.";

static void add_goal(struct argp_state *state, enum goal_kind kind, const char *text)
{
    struct request *request = state->input;
    char message[256];

    if (request->goal_count == GOALS_MAX)
        argp_error(state, "more than %d places", GOALS_MAX);
    if (goal_parse(&request->goals[request->goal_count++], kind, text, message, sizeof(message)))
        argp_error(state, "%s", message);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;

    switch (key) {
    case KEY_TO:
        add_goal(state, GOAL_INSTRUCTIONS, argument);
        return 0;
    case KEY_TO_EXIT:
        add_goal(state, GOAL_EVENT, argument);
        return 0;
    case KEY_TO_TIME:
        add_goal(state, GOAL_TIME, argument);
        return 0;
    case KEY_HASH_MEMORY:
        request->hash_memory = true;
        return 0;
    case KEY_GDB:
        request->gdb = argument;
        return 0;
    case 'f':
        if (request->find_count == FIND_MAX)
            argp_error(state, "--find is given more than %d times", FIND_MAX);
        request->find[request->find_count++] = argument;
        return 0;
    case 'q':
        request->quiet = true;
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (request->trace)
            argp_error(state, "one trace at a time");
        request->trace = argument;
        return 0;
    case ARGP_KEY_END:
        if (!request->trace)
            argp_error(state, "name a trace, as vtxsim run --trace FILE writes it");
        if (request->gdb && (request->goal_count || request->json))
            argp_error(state, "with --gdb it is the debugger who goes to places: leave --to, "
                              "--to-exit, --to-time and --json away");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- The guest's console, and progress
 * ----------------------------------------------------------- */

static void keep_console(struct session *session, const char *data, size_t size)
{
    if (size > CONSOLE_KEPT) {
        data += size - CONSOLE_KEPT;
        size = CONSOLE_KEPT;
    }
    if (session->console_size + size > sizeof(session->console)) {
        size_t rest = CONSOLE_KEPT - size;
        memmove(session->console, session->console + session->console_size - rest, rest);
        session->console_size = rest;
    }
    memcpy(session->console + session->console_size, data, size);
    session->console_size += size;
}

/* What has been shown before the replay went back is not shown again. */
static void on_console(void *context, const void *data, size_t size)
{
    struct session *session = context;
    uint64_t *shown = journey_shown(session->journey), before = session->console_total;

    keep_console(session, data, size);
    session->console_total += size;
    if (session->request->quiet || session->console_total <= *shown)
        return;
    if (*shown > before) {
        data = (const char *)data + (*shown - before);
        size = session->console_total - *shown;
    }
    *shown = session->console_total;
    if (console_write(&session->out, data, size))
        replay_stop(session->replay);
}

static double seconds_between(const struct timespec *from, const struct timespec *to)
{
    return (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_nsec - from->tv_nsec) / 1e9;
}

static void on_progress(void *context, uint64_t instructions, uint64_t cycles)
{
    struct session *session = context;
    struct timespec now;

    (void)cycles;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!session->progress || seconds_between(&session->told, &now) * 1e9 < PROGRESS_NANOSECONDS)
        return;
    session->told = now;
    fprintf(stderr, "\r%.0f million instructions\033[K", (double)instructions / 1e6);
}

static void clear_progress(const struct session *session)
{
    if (session->progress)
        fputs("\r\033[K", stderr);
}

/* --- Stops
 * ---------------------------------------------------------------------------------------- */

static void write_out(void *context)
{
    struct session *session = context;

    console_flush(&session->out);
}

static void print_json(json_t *part, unsigned number)
{
    if (number)
        putchar(',');
    putchar('\n');
    json_dumpf(part, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    json_decref(part);
}

/* Printed at once: what was printed before may be another process's. */
static void on_arrival(void *context, unsigned number)
{
    static const char *const option[] = {"--to", "--to-exit", "--to-time"};
    struct session *session = context;
    const struct request *request = session->request;
    const struct replay_place place = {
        .option = option[request->goals[number].kind],
        .text = request->goals[number].text,
        .console = session->console,
        .console_size = session->console_size,
        .console_total = session->console_total,
        .hash_memory = request->hash_memory,
    };

    write_out(session);
    clear_progress(session);
    if (request->json)
        print_json(replay_place_json(session->replay, &place), number);
    else
        replay_print_place(stdout, session->replay, &place);
    fflush(stdout);
}

/* --- Signals
 * -------------------------------------------------------------------------------------- */

static struct session *volatile signalled;
static volatile sig_atomic_t signal_number;

static void on_signal(int number)
{
    if (signal_number)
        _exit(STATUS_SIGNAL + number);
    signal_number = number;
    if (signalled)
        replay_stop(signalled->replay);
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        sigaction(numbers[i], &action, NULL);
}

/* --- The verdict
 * ---------------------------------------------------------------------------------- */

static int judge(const struct session *session, const struct trace_check *check)
{
    const struct request *request = session->request;

    if (session->out.error || journey_error(session->journey))
        return STATUS_ERROR;
    if (signal_number)
        return STATUS_SIGNAL + signal_number;
    if (check->state == TRACE_CHECK_DAMAGED)
        return STATUS_ERROR;
    return check->state == TRACE_CHECK_DIFFERENT ||
           journey_reached(session->journey) < request->goal_count;
}

static void tell_verdict(const struct session *session, const struct trace_check *check,
                         const struct run_statistics *run)
{
    const struct request *request = session->request;
    unsigned reached = journey_reached(session->journey);
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (session->out.error)
        command_error("the guest's console cannot be written: %s", strerror(-session->out.error));
    if (journey_error(session->journey))
        command_error("cannot go back: %s", journey_error(session->journey) == -ENOENT
                                                ? "the checkpoints are gone; is the host's memory "
                                                  "short?"
                                                : strerror(-journey_error(session->journey)));
    if (check->state == TRACE_CHECK_DIFFERENT)
        replay_print_difference(stderr, request->trace, check);
    else if (check->state == TRACE_CHECK_DAMAGED)
        command_error("%s: damaged behind event %" PRIu64 " (%s): everything before it is equal",
                      request->trace, check->position, strerror(-check->error));
    else if (check->state == TRACE_CHECK_CUT)
        command_error("%s was cut off: replayed to its end", request->trace);
    if (!signal_number && !journey_error(session->journey) && reached < request->goal_count)
        command_error(
            "%s: not reached: the %s ends at %" PRIu64 " instructions, %" PRIu64 " cycles",
            request->goals[reached].text, check->state == TRACE_CHECK_EQUAL ? "run" : "replay",
            run->instructions, run->simulated_cycles);
    fprintf(stderr, "vtxsim: %" PRIu64 " events equal, %" PRIu64 " instructions, %.2f s\n",
            check->events, run->instructions, seconds_between(&session->started, &now));
}

/* The rest of the document whose head is begin_json's. */
static int end_json(const struct session *session, const struct trace_check *check,
                    const struct run_statistics *run, int status)
{
    struct timespec now;
    json_t *document;
    char *text;

    clock_gettime(CLOCK_MONOTONIC, &now);
    document =
        json_pack("{s:o, s:I, s:I, s:f, s:i}", "check", replay_check_json(check), "instructions",
                  (json_int_t)run->instructions, "cycles", (json_int_t)run->simulated_cycles,
                  "host_seconds", seconds_between(&session->started, &now), "exit_status", status);
    text = document ? json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(document);
    if (text)
        printf("],%s\n", text + 1); /* without the brace that the head has */
    free(text);
    return fflush(stdout) || ferror(stdout) || !text ? -EIO : 0;
}

static void begin_json(const struct request *request)
{
    json_t *name = json_string(request->trace);
    char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;

    printf("{\"vtxsim\": \"" VTXSIM_VERSION "\", \"trace\": %s, \"stops\": [",
           quoted ? quoted : "null");
    fflush(stdout);
    free(quoted);
    json_decref(name);
}

static int report(const struct session *session)
{
    struct exit_statistics exits;
    struct run_statistics run;
    struct trace_check check;
    int status;

    replay_get_check(session->replay, &check);
    vm_get_statistics(replay_vm(session->replay), &run, &exits);
    status = judge(session, &check);
    clear_progress(session);
    if (!session->request->json || status)
        tell_verdict(session, &check, &run);
    if (session->request->json && end_json(session, &check, &run, status)) {
        command_error("standard output cannot be written: the results are lost");
        return STATUS_ERROR;
    }
    return status;
}

/* --- The command
 * ---------------------------------------------------------------------------------- */

/* Lets a debugger run the replay. Returns the exit status. */
static int debug(struct session *session)
{
    int error;

    gdb_server_attach(session->debugger, replay_vm(session->replay),
                      journey_timeline(session->journey));
    gdb_server_on_copies(session->debugger, write_out, session);
    error = replay_run(session->replay);
    console_flush(&session->out);
    gdb_server_destroy(session->debugger);
    if (signal_number)
        return STATUS_SIGNAL + signal_number;
    return error ? STATUS_ERROR : 0;
}

static int run(struct session *session, char *message, size_t size)
{
    const struct request *request = session->request;
    const struct replay_options replay_options = {
        .find = request->find,
        .find_count = request->find_count,
        .check = !request->gdb,
        .ignored = request->goal_count ? STOPS_CHANGE : 0,
        .callbacks = {.console_write = on_console, .progress = on_progress},
        .context = session,
    };
    int status;

    if (replay_open(&session->replay, request->trace, &replay_options, message, size))
        return STATUS_NO_START;
    if (request->goal_count)
        journey_attach(session->journey, session->replay, on_arrival, write_out, session);
    if (request->json)
        begin_json(request);
    signalled = session;
    catch_signals();
    if (request->gdb) {
        status = debug(session);
    } else {
        replay_run(session->replay);
        console_flush(&session->out);
        status = report(session);
    }
    signalled = NULL;
    replay_close(session->replay);
    return status;
}

static int start(struct request *request)
{
    char message[REPLAY_MESSAGE_SIZE];
    struct session *session = calloc(1, sizeof(*session));
    int error = session ? 0 : -ENOMEM, status = STATUS_NO_START;

    snprintf(message, sizeof(message), "no memory is left");
    if (!error)
        error = goals_find_events(request->goals, request->goal_count, request->trace, message,
                                  sizeof(message));
    if (!error && request->gdb)
        error = gdb_server_create(&session->debugger, request->gdb, message, sizeof(message));
    if (!error) {
        error =
            journey_create(&session->journey, request->goals, request->goal_count, request->gdb);
        if (error)
            snprintf(message, sizeof(message), "cannot prepare to go back: %s", strerror(-error));
    }
    if (!error) {
        session->request = request;
        session->progress = isatty(STDERR_FILENO) && (request->quiet || !isatty(STDOUT_FILENO));
        clock_gettime(CLOCK_MONOTONIC, &session->started);
        console_init(&session->out, request->json ? STDERR_FILENO : STDOUT_FILENO);
        status = run(session, message, sizeof(message));
        console_destroy(&session->out);
        journey_destroy(session->journey);
    } else if (error == -ERANGE) {
        status = 1;
    }
    if (error || status == STATUS_NO_START)
        command_error("%s", message);
    free(session);
    return status;
}

int command_replay(int argc, char **argv)
{
    const struct argp argp = {options, parse_option, "TRACE", doc, NULL, NULL, NULL};
    struct request *request = calloc(1, sizeof(*request));
    int status;

    if (!request) {
        command_error("no memory is left");
        return STATUS_NO_START;
    }
    argp_parse(&argp, argc, argv, 0, NULL, request);
    status = start(request);
    free(request);
    return status;
}
