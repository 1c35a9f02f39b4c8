/* vtxsim validate: a configuration on the simulation and on something else, compared at exits. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "cpu/exit.h"
#include "sim/commands/commands.h"
#include "sim/commands/settings.h"
#include "sim/commands/validate_report.h"
#include "sim/log.h"

#define KEY_AGAINST     0x2000
#define KEY_PROFILES    0x2001
#define KEY_TIMEOUT     0x2002
#define SECONDS_DEFAULT 60

#define STATUS_AGREE    0
#define STATUS_DISAGREE 1
#define STATUS_TROUBLE  2

struct request {
    struct settings_request settings;
    char *profiles[2]; /* NULL: against KVM */
    unsigned seconds;
};

static const struct argp_option own_options[] = {
    {"against", KEY_AGAINST, "kvm", 0, "Compare with this machine's KVM (the default)", 0},
    {"profiles", KEY_PROFILES, "A,B", 0, "Compare the simulations of two CPU profiles instead", 0},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0,
     "End a run after so long (default 60; 0: never); what there is then is compared", 0},
    {0},
};

static const char doc[] =
    "Run an image, or a Linux kernel, on the simulation and on KVM (or on two CPU profiles), and "
    "compare both at VM exits."
    "\vEvery setting of vtxsim run can be given. What the two cannot agree on - host time, exits "
    "that KVM keeps to itself - is left out, and named.\n\n"
    "Exit status: 0 all that is compared agrees, 1 something does not, 2 trouble (wrong options, "
    "no "
    "usable /dev/kvm, the image cannot be run).";

static void parse_profiles(struct argp_state *state, char *text)
{
    struct request *request = state->input;
    char *comma = strchr(text, ',');

    if (!comma || comma == text || !comma[1] || strchr(comma + 1, ','))
        argp_error(state, "--profiles: name two, as in skylake-client,haswell");
    *comma = '\0';
    request->profiles[0] = text;
    request->profiles[1] = comma + 1;
}

static error_t parse_own(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    char *end;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->settings;
        return 0;
    case KEY_AGAINST:
        if (strcmp(argument, "shadow") == 0)
            argp_error(state, "--against shadow: this release has no guests on shadow page tables "
                              "yet; compare with kvm, or two profiles");
        if (strcmp(argument, "kvm") != 0)
            argp_error(state, "--against: \"%s\" is not known: choose kvm", argument);
        return 0;
    case KEY_PROFILES:
        parse_profiles(state, argument);
        return 0;
    case KEY_TIMEOUT:
        request->seconds = (unsigned)strtoul(argument, &end, 10);
        if (end == argument || *end || *argument == '-' || request->seconds > 1000000)
            argp_error(state, "--timeout: \"%s\" is not a number of seconds", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- The two runs --- */

/* The files of both, in a folder of their own. */
struct files {
    char folder[64], trace[2][80], console[2][80];
};

static int create_files(struct files *files)
{
    const char *folder = getenv("TMPDIR");

    if (!folder || strlen(folder) > 30)
        folder = "/tmp";
    snprintf(files->folder, sizeof(files->folder), "%s/vtxsim-validate-XXXXXX", folder);
    if (!mkdtemp(files->folder))
        return -errno;
    for (unsigned side = 0; side < 2; side++) {
        snprintf(files->trace[side], sizeof(files->trace[side]), "%s/%u.vtx", files->folder, side);
        snprintf(files->console[side], sizeof(files->console[side]), "%s/%u.txt", files->folder,
                 side);
    }
    return 0;
}

static void remove_files(const struct files *files)
{
    for (unsigned side = 0; side < 2; side++) {
        unlink(files->trace[side]);
        unlink(files->console[side]);
    }
    rmdir(files->folder);
}

/* Two copies of the configuration, each for one side. */
static int make_sides(const struct request *request, const struct vm_config *config,
                      struct vm_config side[2])
{
    for (unsigned i = 0; i < 2; i++) {
        int error = vm_config_copy(&side[i], config);

        if (error)
            return error;
        side[i].backend = i && !request->profiles[0] ? BACKEND_KVM : BACKEND_UNICORN;
        if (!request->profiles[0])
            continue;
        free(side[i].cpu);
        side[i].cpu = strdup(request->profiles[i]);
        if (!side[i].cpu)
            return -ENOMEM;
    }
    return 0;
}

static int run_sides(const struct request *request, const struct vm_config side[2],
                     const struct files *files, struct validate_report *report)
{
    for (unsigned i = 0; i < 2; i++) {
        bool progress = isatty(STDERR_FILENO);

        if (progress)
            fprintf(stderr, "running %s ...\r", report->name[i]);
        validate_run(&side[i], files->trace[i], files->console[i], request->seconds,
                     &report->end[i]);
        if (progress)
            fputs("\033[K", stderr);
        /* An engine that gives up in the middle is a result, too. */
        if (report->end[i].error && report->end[i].reason == VM_STOP_NONE) {
            command_error("%s: %s", report->name[i], report->end[i].message);
            return report->end[i].error;
        }
    }
    report->ends_differ = report->end[0].reason != report->end[1].reason ||
                          report->end[0].guest_status != report->end[1].guest_status;
    return 0;
}

/* --- Comparing --- */

/* One side goes on where the other met its time limit. */
static bool is_behind_limit(const struct validate_report *report,
                            const struct trace_difference *difference)
{
    unsigned other = !difference->side;

    return difference->change == TRACE_ONLY_ONE && report->end[other].timed_out &&
           difference->number[other] >= report->comparable[other];
}

static bool on_difference(void *context, const struct trace_difference *difference)
{
    struct validate_report *report = context;

    if (is_behind_limit(report, difference))
        return false;
    if (report->differences++ == 0)
        report->first = *difference;
    return true;
}

/* The backend as the trace names it, with what KVM it was. */
static void name_backend(struct validate_report *report, unsigned side, const char *options)
{
    json_t *object = json_loads(options, 0, NULL);
    const char *backend = json_string_value(json_object_get(object, "backend"));
    const char *environment = json_string_value(json_object_get(object, "environment"));

    snprintf(report->backend[side], sizeof(report->backend[side]), "%s%s%s",
             backend ? backend : "unicorn", environment ? "/" : "", environment ? environment : "");
    if (environment)
        snprintf(report->name[side], sizeof(report->name[side]), "%s", report->backend[side]);
    json_decref(object);
}

/* What is compared. Profiles differ in what an exit costs, and so in time and state hashes; a run
 * that met its time limit was stopped at some place or other. */
static void choose(struct validate_report *report)
{
    static const struct trace_exception costs[] = {
        {0, -1, "time", 0}, {TRACE_EXIT, -1, "cycles", 0}, {TRACE_STATE_HASH, -1, NULL, 0}};
    static const struct trace_exception limits[] = {
        {TRACE_INPUT, -1, NULL, 0},
        {TRACE_END, -1, NULL, 0},
        {TRACE_STATE_HASH, -1, NULL, 0},
        {TRACE_EXIT, EXIT_EXTERNAL_INTERRUPT, NULL, 0},
    };

    trace_comparison_init(&report->comparison);
    trace_comparison_normalize(&report->comparison, report->backend[0], report->backend[1]);
    for (unsigned i = 0; i < sizeof(costs) / sizeof(*costs) && report->profiles; i++)
        trace_comparison_except(&report->comparison, &costs[i]);
    for (unsigned i = 0; i < sizeof(limits) / sizeof(*limits); i++)
        if (report->end[0].timed_out || report->end[1].timed_out)
            trace_comparison_except(&report->comparison, &limits[i]);
}

/* One more than the number of the last event that is compared. */
static int count_comparable(struct trace_reader *reader, const struct trace_comparison *comparison,
                            uint64_t *count)
{
    struct trace_event event;

    *count = 0;
    while (trace_reader_next(reader, &event) == 1)
        if (trace_is_compared(comparison, &event))
            *count = trace_reader_position(reader);
    return trace_reader_seek(reader, TRACE_INDEX_EVENT, 0);
}

static int compare_traces(const struct files *files, struct validate_report *report)
{
    const struct trace_diff_request diff = {.comparison = &report->comparison,
                                            .every_frame = true,
                                            .found = on_difference,
                                            .context = report};
    struct trace_reader *reader[2] = {NULL, NULL};
    char message[512];
    int error = 0;

    for (unsigned side = 0; side < 2 && !error; side++) {
        error = trace_reader_open(&reader[side], files->trace[side], message, sizeof(message));
        if (error)
            command_error("%s", message);
        else
            name_backend(report, side, trace_reader_options(reader[side]));
    }
    if (!error) {
        choose(report);
        for (unsigned side = 0; side < 2 && !error; side++)
            if (report->end[side].timed_out)
                error =
                    count_comparable(reader[side], &report->comparison, &report->comparable[side]);
    }
    if (!error) {
        error = trace_diff(reader, &diff, &report->result);
        if (error)
            command_error("the runs cannot be compared: %s", strerror(-error));
    }
    for (unsigned side = 0; side < 2; side++)
        trace_reader_close(reader[side]);
    return error;
}

/* The line of a console's output that holds the byte at `place`. */
static void read_line_at(const char *path, uint64_t place, char line[160])
{
    FILE *file = fopen(path, "re");
    uint64_t at = 0;
    size_t length = 0;
    int c = 0;

    while (file && (c = fgetc(file)) != EOF) {
        if (c == '\n') {
            if (at++ >= place)
                break;
            length = 0;
            continue;
        }
        if (c >= ' ' && length < 159)
            line[length++] = (char)c;
        at++;
    }
    line[length] = '\0';
    if (file)
        fclose(file);
}

static void compare_consoles(const struct files *files, struct validate_report *report)
{
    FILE *file[2] = {fopen(files->console[0], "re"), fopen(files->console[1], "re")};

    for (bool same = true; file[0] && file[1];) {
        int c[2] = {fgetc(file[0]), fgetc(file[1])};

        if (c[0] == EOF && c[1] == EOF)
            break;
        same &= c[0] == c[1];
        report->console_equal += same;
        report->console_size[0] += c[0] != EOF;
        report->console_size[1] += c[1] != EOF;
        report->console_differs |= !same;
    }
    for (unsigned side = 0; side < 2; side++) {
        if (file[side])
            fclose(file[side]);
        if (report->console_differs)
            read_line_at(files->console[side], report->console_equal, report->console_line[side]);
    }
}

/* What the processors were like at the first difference. */
static void find_states(const struct request *request, const struct vm_config side[2],
                        struct validate_report *report)
{
    const struct trace_difference *first = &report->first;

    for (unsigned i = 0; i < 2 && report->differences; i++)
        validate_find_state(&side[i], first->number[i], request->seconds, &report->state[i]);
}

static int validate(const struct request *request, const struct vm_config *config)
{
    struct vm_config side[2] = {{0}, {0}};
    static struct validate_report report;
    struct files files;
    int status = STATUS_TROUBLE, error = create_files(&files);

    if (error) {
        command_error("no folder for the traces can be made: %s; set TMPDIR", strerror(-error));
        return STATUS_TROUBLE;
    }
    report.profiles = request->profiles[0];
    for (unsigned i = 0; i < 2; i++)
        snprintf(report.name[i], sizeof(report.name[i]), "%s",
                 request->profiles[0] ? request->profiles[i]
                 : i                  ? "kvm"
                                      : "simulation");
    error = make_sides(request, config, side);
    if (error)
        command_error("%s", strerror(-error));
    if (!error && run_sides(request, side, &files, &report) == 0 &&
        compare_traces(&files, &report) == 0) {
        compare_consoles(&files, &report);
        find_states(request, side, &report);
        status = validate_agrees(&report) ? STATUS_AGREE : STATUS_DISAGREE;
        if (!config->json)
            validate_report_print(&report);
        else if (validate_report_print_json(&report, status))
            status = STATUS_TROUBLE;
    }
    remove_files(&files);
    vm_config_destroy(&side[0]);
    vm_config_destroy(&side[1]);
    return status;
}

int command_validate(int argc, char **argv)
{
    struct argp_option options[SETTINGS_OPTIONS];
    const struct argp settings = {options, settings_parse, NULL, NULL, NULL, NULL, NULL};
    const struct argp_child children[] = {{&settings, 0, "", 1}, {0}};
    const struct argp argp = {own_options, parse_own, "[IMAGE [ARGUMENT...]]", doc, children,
                              NULL,        NULL};
    char message[CONFIG_MESSAGE_SIZE];
    struct request request = {.seconds = SECONDS_DEFAULT};
    struct vm_config config;
    int status = STATUS_TROUBLE;

    settings_options(options);
    argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (vm_config_build(&config, request.settings.file, request.settings.options,
                        request.settings.count, message, sizeof(message))) {
        command_error("%s", message);
        free(request.settings.options);
        return STATUS_TROUBLE;
    }
    free(request.settings.options);
    if (log_set_levels(config.log_level, message, sizeof(message)))
        command_error("log-level: %s", message);
    else
        status = validate(&request, &config);
    vm_config_destroy(&config);
    return status;
}
