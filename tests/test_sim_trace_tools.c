/*
 * vtxsim trace as a user meets it, on traces of this build's guests and on some that are written
 * here, with every type of event in them.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "traces/reader.h"
#include "traces/writer.h"

static char build[512]; /* the build folder */
static char folder[] = "/tmp/vtxsim-trace-XXXXXX";
static char *output, *errors; /* of the last command */

static void begin(void)
{
    ssize_t length = readlink("/proc/self/exe", build, sizeof(build) - 1);

    cr_assert_gt(length, 0);
    build[length] = '\0';
    *strrchr(build, '/') = '\0';
    *strrchr(build, '/') = '\0';
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    setenv("VTXSIM_BUILD", build, 1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* the engine's library keeps some */
}

static void end(void)
{
    char command[600];

    free(output);
    free(errors);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(sim_trace_tools, .init = begin, .fini = end, .timeout = 120);

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "re");
    struct stat status;
    char *data;

    cr_assert(file && fstat(fileno(file), &status) == 0, "%s", path);
    data = calloc(1, (size_t)status.st_size + 1);
    cr_assert_eq(fread(data, 1, (size_t)status.st_size, file), (size_t)status.st_size);
    fclose(file);
    return data;
}

/* Runs "vtxsim ..." by the shell; "@x" is the guest x. Returns the status. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
    char words[4096], command[8192], *at = command;
    va_list arguments;
    int status;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    at += sprintf(at, "\"$VTXSIM_BUILD\"/vtxsim ");
    for (const char *word = words; *word; word++)
        at += *word == '@' ? sprintf(at, "\"$VTXSIM_BUILD\"/guests/") : sprintf(at, "%c", *word);
    sprintf(at, " >out 2>err </dev/null");
    status = system(command);
    free(output);
    free(errors);
    output = slurp("out");
    errors = slurp("err");
    cr_assert(!strstr(errors, "Sanitizer") && !strstr(errors, "runtime error"), "%s", errors);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static json_t *output_json(void)
{
    json_error_t error;
    json_t *json = json_loads(output, 0, &error);

    cr_assert_not_null(json, "%s: %s", error.text, output);
    return json;
}

static unsigned lines(const char *text)
{
    unsigned count = 0;

    for (; *text; text++)
        count += *text == '\n';
    return count;
}

/* One event of each type, with every field different, and exits that have something to explain. */
static void write_sample(const char *path)
{
    static const struct trace_event events[] = {
        {.type = TRACE_EXIT,
         .instructions = 10,
         .time = 10,
         .rip = 0x1000,
         .exit = {.reason = 30, .qualification = 0x3f80000, .value = 0x41, .cycles = 600}},
        {.type = TRACE_EXIT,
         .instructions = 20,
         .time = 700,
         .rip = 0x1010,
         .exit = {.reason = 48,
                  .qualification = 0x182,
                  .guest_linear_address = 0x5000,
                  .guest_physical_address = 0xfee000b0,
                  .cycles = 700}},
        {.type = TRACE_EXIT,
         .instructions = 30,
         .time = 1500,
         .rip = 0x1020,
         .exit = {.reason = 32, .operand = 0x6e0, .value = 99, .cycles = 800}},
        {.type = TRACE_EXIT,
         .instructions = 35,
         .time = 2500,
         .rip = 0x1024,
         .exit = {.reason = 28, .qualification = 0x700, .value = 0x80000011, .cycles = 900}},
        {.type = TRACE_INJECTION,
         .instructions = 40,
         .time = 3500,
         .rip = 0x1030,
         .injection = {.info = 0x80000b0e, .error_code = 2}},
        {.type = TRACE_INPUT,
         .instructions = 50,
         .time = 3600,
         .rip = 0x1040,
         .input = {.kind = TRACE_INPUT_CONSOLE, .size = 5, .data = "a\"b\n\xff"}},
        {.type = TRACE_WALK,
         .instructions = 60,
         .time = 3700,
         .rip = 0x1050,
         .walk = {.linear = 0x5000,
                  .guest_physical_address = 0x6000,
                  .host_physical_address = 0x7000,
                  .access = 1 | 4,
                  .guest_references = 4,
                  .ept_references = 20,
                  .page_shift = 12}},
        {.type = TRACE_WALK,
         .instructions = 61,
         .time = 3701,
         .rip = 0x1050,
         .walk = {.linear = 0x8000,
                  .status = 1,
                  .error_code = 2,
                  .access = 1,
                  .guest_references = 2,
                  .ept_references = 8}},
        {.type = TRACE_FLUSH,
         .instructions = 62,
         .time = 3702,
         .rip = 0x1060,
         .flush = {.kind = TRACE_FLUSH_INVPCID, .type = 1, .address = 0x5000}},
        {.type = TRACE_BLOCK, .instructions = 70, .rip = 0x1070, .block = {.instructions = 7}},
        {.type = TRACE_BLOCK, .instructions = 77, .rip = 0x2000, .block = {.instructions = 3}},
        {.type = TRACE_BLOCK, .instructions = 80, .rip = 0x1070, .block = {.instructions = 7}},
        {.type = TRACE_ACCESS,
         .instructions = 80,
         .rip = 0x1070,
         .access = {.linear = 0x9008, .value = 5, .size = 8, .write = true}},
        {.type = TRACE_STATE_HASH,
         .instructions = 90,
         .time = 4000,
         .rip = 0x1080,
         .state_hash = {.registers = 1, .memory = 2, .pages = 3}},
        {.type = TRACE_CHECKPOINT,
         .instructions = 90,
         .time = 4000,
         .rip = 0x1080,
         .checkpoint = {.number = 1}},
        {.type = TRACE_END,
         .instructions = 100,
         .time = 5000,
         .rip = 0x1090,
         .end = {.reason = 3, .status = 1}},
    };
    struct trace_writer *writer;
    struct trace_sink *sink;

    cr_assert_eq(trace_writer_open(&writer, path,
                                   "{\"cpu\":\"skylake-client\",\"image\":{\"path\":\"map\"}}",
                                   TRACE_LEVEL_MEMORY),
                 0);
    sink = trace_writer_sink(writer);
    for (unsigned i = 0; i < sizeof(events) / sizeof(*events); i++)
        sink->event(sink, &events[i]);
    cr_assert_eq(trace_writer_close(writer), 0);
}
#define SAMPLE_EVENTS 16

Test(sim_trace_tools, wrong_use)
{
    static const struct {
        const char *arguments;
        int status;
        const char *told;
    } cases[] = {
        {"trace", 2, "Usage"},
        {"trace frobnicate", 2, "frobnicate"},
        {"trace stat", 2, "name the trace"},
        {"trace stat t.vtx t.vtx", 2, "one trace only"},
        {"trace stat --by frob t.vtx", 2, "reason"},
        {"trace stat --by symbol t.vtx", 2, "--symbols"},
        {"trace stat --top x t.vtx", 2, "not a count"},
        {"trace dump --from frob:1 t.vtx", 2, "time:N"},
        {"trace dump --to 1x t.vtx", 2, "time:N"},
        {"trace dump --type exits t.vtx", 2, "\"exits\""},
        {"trace dump /nonexistent", 127, "/nonexistent"},
        {"trace dump /dev/null", 127, "/dev/null"},
        {"trace dump --symbols /nonexistent t.vtx", 127, "/nonexistent"},
        {"trace dump --symbols \"$VTXSIM_BUILD\"/vtxsim --symbols-offset x t.vtx", 2, "\"x\""},
        {"trace dump --symbols-offset 0 t.vtx", 2, "--symbols"},
        {"trace dump t.vtx >/dev/full", 126, "No space"},
        {"trace grep 'reason == io'", 2, "name the trace"},
        {"trace grep 'reason = frob' t.vtx", 2, "frob"},
        {"trace grep 'reason' /nonexistent", 2, "/nonexistent"},
        {"trace export t.vtx", 2, "--format"},
        {"trace export -f frob t.vtx", 2, "perfetto, csv, folded"},
        {"trace export -f csv -o /nonexistent/file t.vtx", 126, "/nonexistent/file"},
        {"symbols", 2, "name the image"},
        {"symbols t.vtx", 127, "t.vtx"},
    };

    write_sample("t.vtx");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char guarded[512];
        int status;

        /* Where the case redirects the output itself, that comes first. */
        snprintf(guarded, sizeof(guarded), "%s", cases[i].arguments);
        if (strstr(guarded, "/dev/full")) {
            *strstr(guarded, ">/dev/full") = '\0';
            cr_assert_eq(symlink("/dev/full", "full"), 0);
            unlink("out");
            cr_assert_eq(rename("full", "out"), 0);
        }
        status = run("%s", guarded);
        unlink("out");
        cr_assert_eq(status, cases[i].status, "%s: %d, \"%s\"", cases[i].arguments, status, errors);
        cr_assert(strstr(errors, cases[i].told), "%s: \"%s\"", cases[i].arguments, errors);
        cr_assert_eq(strlen(output), 0, "%s wrote to standard output", cases[i].arguments);
    }
}

/* The table of a trace is that of the run. */
Test(sim_trace_tools, stat_is_what_the_run_said)
{
    json_t *said, *stat;

    cr_assert_eq(run("run --json --trace t.vtx @demo.img"), 0, "%s", errors);
    said = output_json();
    cr_assert_eq(run("trace stat --json t.vtx"), 0, "%s", errors);
    stat = output_json();
    cr_assert(json_equal(json_object_get(said, "exits"), json_object_get(stat, "exits")));
    cr_assert(json_array_size(json_object_get(stat, "exits")) > 3);
    cr_assert_eq(
        json_integer_value(json_object_get(json_object_get(said, "totals"), "trace_events")),
        json_integer_value(json_object_get(json_object_get(stat, "totals"), "events")));
    cr_assert_eq(
        json_integer_value(json_object_get(json_object_get(said, "totals"), "simulated_cycles")),
        json_integer_value(json_object_get(json_object_get(stat, "totals"), "simulated_cycles")));
    json_decref(said);
    json_decref(stat);

    cr_assert_eq(run("trace stat --by reason t.vtx"), 0);
    cr_assert(strstr(output, "IO_INSTRUCTION") && strstr(output, "total cycles"), "%s", output);
}

/* Each table counts the events that it is about, with their weights. */
Test(sim_trace_tools, stat_tables)
{
    static const struct {
        const char *table, *label; /* of the first row: its beginning */
        int distinct, total;
        const char *weight;
        int heaviest;
    } cases[] = {
        {"rip", "CR_ACCESS           0x1024", 4, 4, "cycles", 900},
        {"operand", "CR_ACCESS           MOV to CR0 from RDI", 3, 3, "cycles", 900},
        {"page", "0xfee00000     write", 1, 1, "cycles", 700},
        {"vector", "hardware exception #PF", 1, 1, NULL, 0},
        {"input", "console", 1, 1, "bytes", 5},
        {"walk", "ok                 4 guest + 20 EPT references, 4 KiB page", 2, 2, "references",
         24},
        {"fault", "page-fault         supervisor write, not present", 1, 1, NULL, 0},
        {"flush", "invpcid type 1", 1, 1, NULL, 0},
        {"block", "0x1070", 2, 3, "instructions", 14},
        {"access", "0x9000             write", 1, 1, "bytes", 8},
    };
    json_t *stat, *totals;

    write_sample("t.vtx");
    cr_assert_eq(run("trace stat --json t.vtx"), 0, "%s", errors);
    stat = output_json();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        json_t *table = json_object_get(stat, cases[i].table);
        json_t *row = json_array_get(json_object_get(table, "rows"), 0);
        const char *label = json_string_value(json_object_get(row, "label"));

        cr_assert(label && strncmp(label, cases[i].label, strlen(cases[i].label)) == 0,
                  "%s: \"%s\"", cases[i].table, label);
        cr_assert_eq(json_integer_value(json_object_get(table, "distinct")), cases[i].distinct,
                     "%s", cases[i].table);
        cr_assert_eq(json_integer_value(json_object_get(table, "total")), cases[i].total, "%s",
                     cases[i].table);
        if (cases[i].weight)
            cr_assert_eq(json_integer_value(json_object_get(row, cases[i].weight)),
                         cases[i].heaviest, "%s", cases[i].table);
    }
    totals = json_object_get(stat, "totals");
    cr_assert_eq(json_integer_value(json_object_get(totals, "events")), SAMPLE_EVENTS);
    cr_assert_eq(json_integer_value(json_object_get(totals, "instructions")), 100);
    cr_assert(json_is_true(json_object_get(totals, "complete")));
    json_decref(stat);

    cr_assert_eq(run("trace stat --by block --top 1 t.vtx"), 0);
    cr_assert(strstr(output, "0x1070") && !strstr(output, "0x2000") && strstr(output, "and 1 more"),
              "%s", output);
}

/* Text and JSON name every field of every type, and explain what is coded in bits. */
Test(sim_trace_tools, dump)
{
    static const char *const told[] = {
        "IO_INSTRUCTION qualification=0x3f80000 (out to port 0x3f8, 1 byte) value=0x41 cycles=600",
        "(write, page is not present) guest_linear_address=0x5000 "
        "guest_physical_address=0xfee000b0",
        "MSR_WRITE (MSR 0x6e0 IA32_TSC_DEADLINE) operand=0x6e0 value=0x63",
        "CR_ACCESS qualification=0x700 (MOV to CR0 from RDI)",
        "(hardware exception #PF) error_code=0x2",
        "input      console data=\"a\\\"b\\x0a\\xff\"",
        "(user write) ok guest_references=4 ept_references=20 page_shift=12",
        "(supervisor write, not present) page-fault",
        "invpcid invalidation_type=1 address=0x5000",
        "block      size=7",
        "write size=8 linear=0x9008 value=0x5",
        "registers=0x1 memory=0x2 pages=3",
        "end        debug-exit status=1",
    };
    char *line, *rest;
    unsigned events = 0;

    write_sample("t.vtx");
    cr_assert_eq(run("trace dump t.vtx"), 0, "%s", errors);
    cr_assert_eq(lines(output), SAMPLE_EVENTS + 1);
    for (unsigned i = 0; i < sizeof(told) / sizeof(*told); i++)
        cr_assert(strstr(output, told[i]), "no \"%s\" in:\n%s", told[i], output);

    cr_assert_eq(run("trace dump --json t.vtx"), 0, "%s", errors);
    for (line = strtok_r(output, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *event = json_loads(line, 0, NULL);
        const char *type = json_string_value(json_object_get(event, "type"));

        cr_assert_not_null(type, "%s", line);

        cr_assert_eq(json_integer_value(json_object_get(event, "event")), events++);
        for (const struct trace_field *field = trace_fields(trace_event_find(type)); field->name;
             field++)
            cr_assert_not_null(json_object_get(event, field->name), "no %s in %s", field->name,
                               line);
        json_decref(event);
    }
    cr_assert_eq(events, SAMPLE_EVENTS);

    cr_assert_eq(run("trace dump --header t.vtx"), 0);
    cr_assert(strstr(output, "skylake-client") && strstr(output, "memory"), "%s", output);
}

/* Places and types select the same events whichever way they are named. */
Test(sim_trace_tools, places)
{
    static const struct {
        const char *options;
        unsigned events;
    } cases[] = {
        {"", SAMPLE_EVENTS},
        {"--from 4", SAMPLE_EVENTS - 4},
        {"--to 4", 4},
        {"--from 4 --to 6", 2},
        {"--from 6 --to 4", 0},
        {"--from 100", 0},
        {"--from instructions:61 --to instructions:80", 4},
        {"--from i:61 --to i:80", 4},
        {"--from time:700 --to time:3600", 4},
        {"--type exit", 4},
        {"--type exit,walk --limit 5", 5},
        {"--type block --from 10", 2},
    };

    write_sample("t.vtx");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_assert_eq(run("trace dump %s t.vtx", cases[i].options), 0, "%s", errors);
        cr_assert_eq(lines(output), cases[i].events + 1, "%s:\n%s", cases[i].options, output);
    }
}

Test(sim_trace_tools, grep)
{
    static const struct {
        const char *expression;
        int count; /* -1: wrong, and told where */
        const char *told;
    } cases[] = {
        {"reason == io", 1, NULL},
        {"reason == IO_INSTRUCTION and port == 0x3f8", 1, NULL},
        {"reason == ept-violation || reason == wrmsr", 2, NULL},
        {"reason in {io, rdmsr, wrmsr}", 2, NULL},
        {"reason != io", 3, NULL}, /* the reason of an end is another field */
        {"type == exit and not reason == io", 3, NULL},
        {"not type == exit", SAMPLE_EVENTS - 4, NULL},
        {"type == walk && status != ok", 1, NULL},
        {"status = page-fault", 1, NULL},
        {"status", 2, NULL}, /* the end's is 1, the walk's page-fault */
        {"rip in 0x1000..0x1024", 4, NULL},
        {"rip in {0x1000, 0x2000..0x2fff}", 2, NULL},
        {"instructions >= 70 and instructions < 80", 2, NULL},
        {"(event < 4 or event > 14) and type != end", 4, NULL},
        {"vector == 14", 1, NULL},
        {"msr == 0x6e0", 1, NULL},
        {"page == 0xfee00000", 1, NULL},
        {"kind == invpcid", 1, NULL},
        {"kind == write", 1, NULL},
        {"access & 4", 1, NULL},
        {"data ~ 'a\"b'", 1, NULL},
        {"data == \"a\"", 0, NULL},
        {"data != \"a\"", 1, NULL},
        {"data ~ \"\\xff\"", 1, NULL},
        {"cycles > 600 and cycles <= 800", 2, NULL},
        {"reason == debug-exit", 1, NULL},
        {"!(type == exit) && !type == block", SAMPLE_EVENTS - 7, NULL},
        {"", -1, "column 1"},
        {"frob == 1", -1, "guest_physical_address"},
        {"reason == frob", -1, "column 11"},
        {"reason ==", -1, "column 10"},
        {"reason == io and", -1, "column 17"},
        {"(reason == io", -1, "\")\""},
        {"reason == io)", -1, "column 13"},
        {"reason == 12q", -1, "12q"},
        {"rip in start_kernel", -1, "symbols"},
        {"data == 5", -1, "string"},
        {"data ~ \"abc", -1, "no end"},
        {"reason in {io", -1, "\"}\""},
        {"event == 0x10000000000000000", -1, "number"},
        {"reason # io", -1, "#"},
    };

    write_sample("t.vtx");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        FILE *file = fopen("expression", "we");
        int status, expected = cases[i].count > 0 ? 0 : cases[i].count < 0 ? 2 : 1;

        fputs(cases[i].expression, file);
        fclose(file);
        status = run("trace grep -c \"$(cat expression)\" t.vtx");
        cr_assert_eq(status, expected, "%s: %d %s", cases[i].expression, status, errors);
        if (cases[i].count >= 0)
            cr_assert_eq(atoi(output), cases[i].count, "%s: %s", cases[i].expression, output);
        else
            cr_assert(strstr(errors, cases[i].told), "%s: %s", cases[i].expression, errors);
    }
    /* Nested deeper than anyone writes. */
    cr_assert_eq(run("trace grep \"$(printf '(%%.0s' $(seq 1000))\" t.vtx"), 2);
    cr_assert(strstr(errors, "nested"), "%s", errors);
}

Test(sim_trace_tools, grep_context)
{
    write_sample("t.vtx");
    cr_assert_eq(run("trace grep -B1 -A2 'type == input or event == 13' t.vtx"), 0);
    cr_assert_eq(lines(output), 4 + 1 + 4, "%s", output);
    cr_assert(strstr(output, "--\n"));
    cr_assert_eq(run("trace grep -C3 'type == input or event == 9' t.vtx"), 0);
    cr_assert_eq(lines(output), 11, "%s", output); /* from 2 to 12 */
    cr_assert_eq(run("trace grep -m2 'type == exit' t.vtx"), 0);
    cr_assert_eq(lines(output), 2, "%s", output);
    cr_assert_eq(run("trace grep -q 'type == exit' t.vtx"), 0);
    cr_assert_eq(strlen(output), 0);
    cr_assert_eq(run("trace grep 'type == exit and event > 9' t.vtx"), 1);
}

/* Symbols of a file are shown, sought and counted by. */
Test(sim_trace_tools, symbols)
{
    FILE *file = fopen("map", "we");

    fputs("0000000000001000 T first\n0000000000001070 T hot\n0000000000001080 T last\n"
          "0000000000009000 D table\n",
          file);
    fclose(file);
    write_sample("t.vtx");
    cr_assert_eq(run("trace dump --symbols map t.vtx"), 0);
    cr_assert(strstr(output, "first+0x10 ") && strstr(output, "<table+0x8>"), "%s", output);
    cr_assert_eq(run("trace grep -c 'rip in hot' --symbols map t.vtx"), 0);
    cr_assert_eq(atoi(output), 3);
    cr_assert_eq(run("trace grep -c 'rip == first+0x20' --symbols map t.vtx"), 0);
    cr_assert_eq(atoi(output), 1);
    cr_assert_eq(run("trace stat --by function,symbol --symbols map t.vtx"), 0);
    cr_assert(strstr(output, "14   82.35%  hot"), "%s", output);
    cr_assert_eq(run("trace grep -c 'rip in hot' --symbols auto t.vtx"), 0);
    cr_assert_eq(atoi(output), 3);
    cr_assert_eq(run("trace dump --symbols map --symbols-offset 0x10 t.vtx"), 0);
    cr_assert(strstr(output, "first+0x50 ") && !strstr(output, "<table+0x8>"), "%s", output);
}

/* What was cut off or damaged is told behind what could be read. */
Test(sim_trace_tools, incomplete)
{
    static const char *const commands[] = {"stat", "stat --json", "dump", "dump --json"};
    struct stat status;

    write_sample("t.vtx");
    cr_assert_eq(stat("t.vtx", &status), 0);
    for (unsigned i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
        cr_assert_eq(truncate("t.vtx", status.st_size - 3), 0);
        cr_assert_eq(run("trace %s t.vtx", commands[i]), 1, "%s: %s", commands[i], errors);
        cr_assert(strstr(errors, "t.vtx"), "%s", errors);
        cr_assert(strlen(output) > 100, "%s: %s", commands[i], output);
    }
    cr_assert_eq(run("trace grep -c type t.vtx"), 2);
    cr_assert_eq(atoi(output), SAMPLE_EVENTS);
}

/* Nothing in it is nothing wrong. */
Test(sim_trace_tools, empty)
{
    static const char *const commands[] = {"stat", "stat --json", "dump", "dump --json",
                                           "dump --header"};
    struct trace_writer *writer;

    cr_assert_eq(trace_writer_open(&writer, "t.vtx", "{}", TRACE_LEVEL_EXITS), 0);
    cr_assert_eq(trace_writer_close(writer), 0);
    for (unsigned i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        cr_assert_eq(run("trace %s t.vtx", commands[i]), 0, "%s: %s", commands[i], errors);
    cr_assert_eq(run("trace grep type t.vtx"), 1);
}

/* What a viewer of the trace event format relies on, in every event; and slices on one track do not
 * overlap. */
static void expect_viewable(json_t *document, unsigned phases[128])
{
    double ended[16] = {0};
    json_t *event;
    size_t i;

    memset(phases, 0, 128 * sizeof(*phases));
    json_array_foreach(json_object_get(document, "traceEvents"), i, event)
    {
        const char *phase = json_string_value(json_object_get(event, "ph"));
        json_int_t track = json_integer_value(json_object_get(event, "tid"));
        double begun = json_number_value(json_object_get(event, "ts"));

        cr_assert(phase && strlen(phase) == 1 && strchr("MXiC", *phase), "event %zu", i);
        cr_assert_not_null(json_string_value(json_object_get(event, "name")), "event %zu", i);
        cr_assert(json_is_integer(json_object_get(event, "pid")), "event %zu", i);
        cr_assert(*phase == 'M' || json_is_number(json_object_get(event, "ts")), "event %zu", i);
        cr_assert(strchr("Xi", *phase) == NULL || (track > 0 && track < 16), "event %zu", i);
        if (*phase == 'X') {
            cr_assert_geq(begun, ended[track] - 1e-6, "event %zu", i);
            ended[track] = begun + json_number_value(json_object_get(event, "dur"));
        } else if (*phase == 'i') {
            cr_assert(strchr("gpt", *json_string_value(json_object_get(event, "s"))));
        }
        phases[(unsigned)*phase]++;
    }
}

Test(sim_trace_tools, export_perfetto)
{
    unsigned phases[128];
    json_t *document;
    double frequency = 4008e6; /* of the profile skylake-client */
    json_t *event;

    write_sample("t.vtx");
    cr_assert_eq(run("trace export --format perfetto t.vtx"), 0, "%s", errors);
    document = output_json();
    expect_viewable(document, phases);
    cr_assert(phases['X'] == 4 && phases['i'] == 6, "%u slices, %u instants", phases['X'],
              phases['i']);
    event = json_array_get(json_object_get(document, "traceEvents"), 3);
    cr_assert_str_eq(json_string_value(json_object_get(event, "name")), "IO_INSTRUCTION");
    cr_assert_float_eq(json_number_value(json_object_get(event, "dur")), 600 / frequency * 1e6,
                       1e-9);
    json_decref(document);

    cr_assert_eq(run("trace export -f perfetto --clock instructions t.vtx -o file"), 0);
    free(output);
    output = slurp("file");
    document = output_json();
    expect_viewable(document, phases);
    cr_assert(phases['X'] == 3 && phases['i'] == 10, "%u slices, %u instants", phases['X'],
              phases['i']);
    json_decref(document);

    cr_assert_eq(run("run --trace t.vtx --trace-level translations @demo.img"), 0, "%s", errors);
    cr_assert_eq(run("trace export -f perfetto t.vtx"), 0, "%s", errors);
    document = output_json();
    expect_viewable(document, phases);
    cr_assert(phases['X'] > 0 && phases['i'] > 0 && phases['C'] > 0);
    json_decref(document);
}

/* Each line has as many values as there are names; quotes hold what needs them. */
Test(sim_trace_tools, export_csv)
{
    unsigned names = 0, count = 0;

    write_sample("t.vtx");
    cr_assert_eq(run("trace export -f csv t.vtx"), 0, "%s", errors);
    for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned commas = 0;

        for (const char *at = line; *at; at++)
            commas += *at == ',';
        if (!names)
            names = commas;
        cr_assert_eq(commas, names, "%s", line);
        cr_assert_eq(line[strlen(line) - 1], '\r');
        if (strstr(line, ",input,"))
            cr_assert(strstr(line, "\"\"\"a\\\"\"b\\x0a\\xff\"\"\""), "%s", line);
        count++;
    }
    cr_assert_eq(count, SAMPLE_EVENTS + 1);
    cr_assert_eq(run("trace export -f csv --type block t.vtx"), 0, "%s", errors);
    cr_assert_eq(strncmp(output,
                         "event,type,cpu,instructions,time,rip,size\r\n"
                         "9,block,0,70,0,0x1070,7\r\n",
                         68),
                 0, "%s", output);
}

Test(sim_trace_tools, export_folded)
{
    FILE *file = fopen("map", "we");

    fputs("0000000000001000 T first\n0000000000001070 T a;b c\n", file);
    fclose(file);
    write_sample("t.vtx");
    cr_assert_eq(run("trace export -f folded t.vtx"), 0, "%s", errors);
    cr_assert_str_eq(output, "CR_ACCESS;0x1024 900\nMSR_WRITE;0x1020 800\n"
                             "EPT_VIOLATION;0x1010 700\nIO_INSTRUCTION;0x1000 600\n");
    cr_assert_eq(run("trace export -f folded --weight instructions --symbols map t.vtx"), 0);
    cr_assert_str_eq(output, "lower half;a_b 17\n");
    cr_assert_eq(run("trace export -f folded --weight count --symbols map t.vtx"), 0);
    cr_assert_eq(lines(output), 4);

    cr_assert_eq(run("run --trace t.vtx @demo.img"), 0, "%s", errors);
    cr_assert_eq(run("trace export -f folded --weight instructions t.vtx -o file"), 126);
    cr_assert(strstr(errors, "--trace-level blocks"), "%s", errors);
    cr_assert_neq(access("file", F_OK), 0);

    /* A full disk; the link stands for a device, which is nobody's to remove. */
    cr_assert_eq(symlink("/dev/full", "device"), 0);
    cr_assert_eq(run("trace export -f csv t.vtx -o device"), 126);
    cr_assert(strstr(errors, "device: No space"), "%s", errors);
    cr_assert_eq(access("device", W_OK), 0);
}

/* A reader that has seen enough is no reason for a message. */
Test(sim_trace_tools, closed_pipe)
{
    cr_assert_eq(run("run --trace t.vtx @demo.img"), 0, "%s", errors);
    run("trace dump t.vtx | head -n 1 >/dev/null; :");
    cr_assert_eq(strlen(errors), 0, "%s", errors);
}
