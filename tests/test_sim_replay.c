/*
 * vtxsim replay as a user meets it: recordings at every level are repeated exactly, whatever does
 * not fit is found and named, and any place of a run can be gone to, forwards and backwards.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "traces/reader.h"
#include "traces/writer.h"

#define COMMAND_MAX 16384

static char folder[] = "/tmp/vtxsim-replay-XXXXXX";
static char *output, *errors; /* of the last command */

static void begin(void)
{
    char build[512], guests[600], program[600];
    ssize_t length = readlink("/proc/self/exe", build, sizeof(build) - 1);

    cr_assert_gt(length, 0);
    build[length] = '\0';
    *strrchr(build, '/') = '\0';
    *strrchr(build, '/') = '\0';
    snprintf(guests, sizeof(guests), "%s/guests", build);
    snprintf(program, sizeof(program), "%s/vtxsim", build);
    setenv("G", guests, 1);
    setenv("V", program, 1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* the engine's library keeps some */
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void end(void)
{
    char command[64];

    free(output);
    free(errors);
    cr_assert_eq(chdir("/"), 0);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(sim_replay, .init = begin, .fini = end, .timeout = 300);

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "re");
    struct stat status;
    char *data;

    cr_assert(file && fstat(fileno(file), &status) == 0, "%s", path);
    data = calloc(1, (size_t)status.st_size + 1);
    (void)!fread(data, 1, (size_t)status.st_size, file);
    fclose(file);
    return data;
}

/* A shell command: $V is the program, $G the folder of guests. Returns its exit status. */
static int shell(const char *format, ...)
{
    char command[COMMAND_MAX];
    va_list arguments;
    int length, status;

    va_start(arguments, format);
    length = 1 + vsnprintf(command + 1, sizeof(command) - 1, format, arguments);
    va_end(arguments);
    cr_assert_lt(length, (int)sizeof(command) - 40);
    command[0] = '(';
    strcat(command, ") >out 2>err </dev/null");
    status = system(command);
    free(output);
    free(errors);
    output = slurp("out");
    errors = slurp("err");
    cr_assert(!strstr(errors, "Sanitizer") && !strstr(errors, "runtime error"), "%s", errors);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void expect(int status, const char *told, const char *what)
{
    cr_assert(strstr(errors, told), "%s: status %d, \"%s\" instead of \"%s\"", what, status, errors,
              told);
}

static uint64_t count_events(const char *path)
{
    struct trace_reader *reader;
    struct trace_event event;
    uint64_t count = 0;

    cr_assert_eq(trace_reader_open(&reader, path, NULL, 0), 0);
    while (trace_reader_next(reader, &event) == 1)
        count++;
    trace_reader_close(reader);
    return count;
}

/* --- Equal
 * ---------------------------------------------------------------------------------------- */

Test(sim_replay, equal_at_every_level)
{
    static const struct {
        const char *levels[6], *input, *guest; /* with its options */
    } runs[] = {
        {{"inputs", "exits", "memory"}, "", "-n 1000000 --hash-every 300000 $G/demo.img"},
        {{"translations"},
         "",
         "--memory 32M -n 1500000 --ept-withdraw 5000:7 $G/torture.multiboot rounds=1"},
        {{"blocks"}, "", "-n 300000 --full-exits $G/torture.multiboot rounds=1"},
        {{"inputs", "exits", "translations", "blocks", "memory"},
         "(head -c 1000 $V; sleep 0.005; head -c 9000 $V) | ",
         "-n 200000 $G/engine-echo.multiboot"},
    };

    for (unsigned i = 0; i < sizeof(runs) / sizeof(*runs); i++) {
        for (unsigned level = 0; runs[i].levels[level]; level++) {
            char told[64];
            int status;

            shell("%s $V run -t t.vtx --trace-level %s %s >console", runs[i].input,
                  runs[i].levels[level], runs[i].guest);
            status = shell("$V replay t.vtx");
            snprintf(told, sizeof(told), ": %lu events equal", count_events("t.vtx"));
            expect(status, told, runs[i].guest);
            cr_assert_eq(status, 0, "%s, %s: %s", runs[i].guest, runs[i].levels[level], errors);
            rename("out", "replayed");
            cr_assert_eq(shell("cmp replayed console"), 0, "%s: the consoles differ",
                         runs[i].guest);
        }
    }
}

/* A run that the user ends by a signal ends at the same instruction again. */
Test(sim_replay, interrupted_recordings)
{
    for (unsigned i = 0; i < 3; i++) {
        int status =
            shell("$V run -t t.vtx $G/bad-infinite-loop.img & sleep 0.%u; kill $!; wait $!", 3 + i);

        cr_assert_eq(status, 128 + 15, "%s", errors);
        cr_assert_geq(count_events("t.vtx"), 2); /* the request, the end */
        status = shell("$V replay t.vtx");
        cr_assert_eq(status, 0, "%s", errors);
        expect(status, " events equal", "interrupted");
    }
}

/* --- Files
 * ---------------------------------------------------------------------------------------- */

Test(sim_replay, input_files)
{
    static const struct {
        const char *prepare, *replay;
        int status;
        const char *told;
    } cases[] = {
        {"mkdir a b && cp $G/demo.img a && $V run -t t.vtx a/demo.img", "t.vtx", 0, "events equal"},
        {"mv a/demo.img b", "t.vtx", 127, "demo.img No such file"},
        {"true", "t.vtx", 127, "--find"},
        {"true", "--find b t.vtx", 0, "events equal"},
        {"mv b/demo.img b/other", "--find b/other t.vtx", 0, "events equal"},
        {"cp b/other demo.img", "t.vtx", 0, "events equal"}, /* beside the trace */
        {"cp t.vtx b/t.vtx", "b/t.vtx", 127, "a/demo.img"},
        {"printf x | dd of=demo.img conv=notrunc bs=1 seek=700", "t.vtx", 127,
         "./demo.img differs"},
        {"true", "--find b/other t.vtx", 0, "events equal"},
        {"mkdir c && cp $V a/file && $V run -t t.vtx -m 'a/file some words' "
         "$G/engine-random.multiboot; [ $? = 1 ]",
         "t.vtx", 0, "events equal"},
        {"echo >>a/file", "t.vtx", 127, "module"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int status;

        cr_assert_eq(shell("%s", cases[i].prepare), 0, "%s: %s", cases[i].prepare, errors);
        status = shell("$V replay %s", cases[i].replay);
        cr_assert_eq(status, cases[i].status, "case %u: %d, %s", i, status, errors);
        expect(status, cases[i].told, cases[i].prepare);
    }
}

/* The CPU profile is a file as well, though given by its name. */
Test(sim_replay, changed_profile)
{
    struct trace_reader *reader;
    json_t *options;
    int status;

    cr_assert_eq(shell("$V run -t t.vtx $G/demo.img"), 0);
    cr_assert_eq(trace_reader_open(&reader, "t.vtx", NULL, 0), 0);
    options = json_loads(trace_reader_options(reader), 0, NULL);
    cr_assert_eq(shell("cp -r $(dirname %s) cpus",
                       json_string_value(json_object_get(json_object_get(options, "cpu"), "path"))),
                 0, "%s", errors);
    json_decref(options);
    trace_reader_close(reader);
    cr_assert_eq(shell("VTXSIM_CPUS=cpus $V run -t t.vtx -c haswell $G/demo.img"), 0, "%s", errors);
    cr_assert_eq(shell("VTXSIM_CPUS=cpus $V replay t.vtx"), 0, "%s", errors);
    cr_assert_eq(shell("echo '# changed' >>cpus/haswell.cfg"), 0);
    status = shell("VTXSIM_CPUS=cpus $V replay t.vtx");
    cr_assert_eq(status, 127, "%s", errors);
    expect(status, "haswell.cfg differs", "profile");
}

/* --- Differences
 * ---------------------------------------------------------------------------------- */

enum change_kind { CHANGE_OPTION, CHANGE_FIELD, CHANGE_DROP, CHANGE_DOUBLE };
struct change {
    enum change_kind kind;
    uint64_t event; /* its number */
    const struct trace_field *field;
    const char *from, *to; /* in the options, of the same length */
};

static void change_event(struct trace_event *event, const struct trace_field *field)
{
    if (field->kind == TRACE_FIELD_BYTES)
        ((uint8_t *)event)[field->offset] ^= 1;
    else
        trace_field_set(event, field, trace_field_get(event, field) ^ 1);
}

/* Writes from.vtx with a change into t.vtx. */
static void rewrite(const struct change *change)
{
    struct trace_reader *reader;
    struct trace_writer *writer;
    struct trace_event event;
    char *options, *place;
    uint64_t number;

    cr_assert_eq(trace_reader_open(&reader, "from.vtx", NULL, 0), 0);
    options = strdup(trace_reader_options(reader));
    if (change->kind == CHANGE_OPTION) {
        place = strstr(options, change->from);
        cr_assert(place, "%s", options);
        memcpy(place, change->to, strlen(change->to));
    }
    cr_assert_eq(trace_writer_open(&writer, "t.vtx", options, trace_reader_level(reader)), 0);
    for (number = 0; trace_reader_next(reader, &event) == 1; number++) {
        enum change_kind kind = number == change->event ? change->kind : CHANGE_OPTION;

        if (kind == CHANGE_FIELD)
            change_event(&event, change->field);
        for (int times = kind == CHANGE_DROP     ? 0
                         : kind == CHANGE_DOUBLE ? 2
                                                 : 1;
             times > 0; times--)
            trace_writer_sink(writer)->event(trace_writer_sink(writer), &event);
    }
    cr_assert_eq(trace_writer_close(writer), 0);
    trace_reader_close(reader);
    free(options);
}

/* The difference as the JSON document tells it. */
static json_t *difference(int status, const char *what)
{
    json_t *document, *check;

    cr_assert_eq(status, 1, "%s: status %d, %s", what, status, errors);
    document = json_loads(output, 0, NULL);
    check = json_object_get(document, "check");
    cr_assert_str_eq(json_string_value(json_object_get(check, "state")), "different");
    cr_assert_gt(json_array_size(json_object_get(check, "before")), 0);
    json_incref(check);
    json_decref(document);
    return check;
}

static void read_event(uint64_t number, struct trace_event *event)
{
    struct trace_reader *reader;

    cr_assert_eq(trace_reader_open(&reader, "from.vtx", NULL, 0), 0);
    cr_assert_eq(trace_reader_seek(reader, TRACE_INDEX_EVENT, number), 0);
    cr_assert_eq(trace_reader_next(reader, event), 1);
    trace_reader_close(reader);
}

/* Every field of an exit, an injection and the end: the event and the field are named. */
Test(sim_replay, changed_events)
{
    uint64_t count, chosen[] = {20, 0, 0};
    struct trace_event event;

    cr_assert_eq(shell("$V run -t from.vtx $G/engine-interrupts.multiboot"), 1);
    count = count_events("from.vtx");
    for (uint64_t i = 0; i < count; i++) {
        read_event(i, &event);
        if (event.type == TRACE_INJECTION)
            chosen[1] = i;
        if (event.type == TRACE_END)
            chosen[2] = i;
    }
    for (unsigned i = 0; i < 3; i++) {
        read_event(chosen[i], &event);
        const struct trace_field *const lists[] = {trace_common_fields, trace_fields(event.type)};
        for (unsigned list = 0; list < 2; list++) {
            for (const struct trace_field *field = lists[list]; field->name; field++) {
                if (field->offset == offsetof(struct trace_event, cpu))
                    continue; /* another processor: other predictions, no other coding */
                rewrite(&(struct change){CHANGE_FIELD, chosen[i], field, NULL, NULL});
                json_t *found = difference(shell("$V replay --json t.vtx"), field->name);
                cr_assert_str_eq(json_string_value(json_object_get(found, "field")), field->name);
                cr_assert_eq(json_integer_value(json_object_get(found, "position")),
                             (json_int_t)chosen[i]);
                json_decref(found);
            }
        }
    }
}

Test(sim_replay, lost_and_doubled_events)
{
    cr_assert_eq(shell("$V run -t from.vtx --trace-level translations $G/demo.img"), 0);
    for (uint64_t number = 20; number < 100; number += 26) {
        for (enum change_kind kind = CHANGE_DROP; kind <= CHANGE_DOUBLE; kind++) {
            rewrite(&(struct change){kind, number, NULL, NULL, NULL});
            json_t *found = difference(shell("$V replay --json t.vtx"), "events");
            /* Of two equal ones in a row nobody can tell which was there. */
            cr_assert_eq(json_integer_value(json_object_get(found, "position")),
                         (json_int_t)(number + (kind == CHANGE_DOUBLE)));
            json_decref(found);
        }
    }
    /* The run goes on behind the trace's last event, or ends before it. */
    rewrite(&(struct change){CHANGE_DROP, count_events("from.vtx") - 1, NULL, NULL, NULL});
    cr_assert_eq(shell("$V replay t.vtx"), 0);
    expect(0, "was cut off", "no end");
    rewrite(&(struct change){CHANGE_DOUBLE, count_events("from.vtx") - 1, NULL, NULL, NULL});
    cr_assert_eq(shell("$V replay t.vtx"), 1);
    expect(1, "it ends here", "two ends");
}

/* Settings that the run depends on, changed in the trace's head. */
Test(sim_replay, changed_settings)
{
    static const struct change changes[] = {
        {CHANGE_OPTION, 0, NULL, "\"seed\":1", "\"seed\":2"},
        {CHANGE_OPTION, 0, NULL, "\"exit-cycles\":500", "\"exit-cycles\":501"},
        {CHANGE_OPTION, 0, NULL, "\"ept-withdraw\":3000", "\"ept-withdraw\":3001"},
    };

    cr_assert_eq(shell("$V run -t from.vtx --seed 1 --exit-cycles 500 --ept-withdraw 3000 "
                       "--trace-level translations $G/engine-random.multiboot"),
                 1);
    cr_assert_eq(shell("$V replay from.vtx"), 0, "%s", errors);
    for (unsigned i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        rewrite(&changes[i]);
        json_decref(difference(shell("$V replay --json t.vtx"), changes[i].to));
    }
}

Test(sim_replay, cut_and_damaged)
{
    struct stat status;
    bool whole = false;

    cr_assert_eq(shell("$V run -n 600000 -t from.vtx --trace-level memory --memory 32M "
                       "$G/torture.multiboot"),
                 124);
    cr_assert_eq(stat("from.vtx", &status), 0);
    for (long size = 600; size < status.st_size; size += status.st_size / 5) {
        int result = shell("head -c %ld from.vtx >t.vtx && $V replay t.vtx", size);

        cr_assert_eq(result, 0, "%ld bytes: %d, %s", size, result, errors);
        expect(result, "was cut off", "cut");
        whole = whole || !strstr(errors, " 0 events");
        /* The same length, but what follows is no trace. */
        result = shell("cp from.vtx t.vtx && printf xyz | dd of=t.vtx bs=1 conv=notrunc seek=%ld "
                       "&& $V replay t.vtx",
                       size);
        cr_assert(result == 126 || result == 0, "%d, %s", result, errors);
        expect(result, result ? "damaged" : "was cut off", "damaged");
    }
    cr_assert(whole, "no cut trace had any event");
    cr_assert_eq(shell("head -c 30 from.vtx >t.vtx; $V replay t.vtx"), 127);
    expect(127, "t.vtx", "cut head");
    cr_assert_eq(shell("$V replay $V"), 127);
    expect(127, "vtxsim", "no trace");
    cr_assert_eq(shell("$V replay /nonexistent"), 127);
    expect(127, "/nonexistent", "no file");
}

/* --- Places
 * --------------------------------------------------------------------------------------- */

#define RUN "--memory 16M $G/torture.multiboot rounds=2"

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static json_t *stops_of(const char *options, const char *places)
{
    int status = shell("$V replay -q --json %s %s from.vtx", options, places);
    json_t *document = json_loads(output, 0, NULL), *stops = json_object_get(document, "stops");

    cr_assert_eq(status, 0, "%s: %s", places, errors);
    json_incref(stops);
    json_decref(document);
    return stops;
}

static json_int_t integer(const json_t *stop, const char *name)
{
    return json_integer_value(json_object_get(stop, name));
}

/* Everything but how it was asked for, and how many events the way there had. */
static void expect_same_stop(json_t *a, json_t *b, const char *what)
{
    json_object_del(a, "option");
    json_object_del(b, "option");
    json_object_del(a, "place");
    json_object_del(b, "place");
    cr_assert(json_equal(a, b), "%s: %s\n%s", what, json_dumps(a, 0), json_dumps(b, 0));
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t length_of_run(void)
{
    struct trace_event end;

    read_event(count_events("from.vtx") - 1, &end);
    cr_assert_eq(end.type, TRACE_END);
    return end.instructions;
}

#define FORWARDS  100
#define BACKWARDS 20

/* 100 places forwards, 20 of them again in any order, 3 by a run of their own: all the same. */
Test(sim_replay, places_in_any_order)
{
    uint64_t place[FORWARDS], random = 3, length;
    char places[FORWARDS * 24] = "", *at = places;
    json_t *forwards, *anyhow, *alone;

    cr_assert_eq(shell("$V run -t from.vtx --trace-level blocks " RUN), 1, "%s", errors);
    length = length_of_run();
    cr_assert_gt(length, 4000000, "too short for checkpoints");
    for (unsigned i = 0; i < FORWARDS; i++)
        place[i] = next_random(&random) % length;
    qsort(place, FORWARDS, sizeof(*place), compare_numbers);
    for (unsigned i = 0; i < FORWARDS; i++)
        at += sprintf(at, "--to %lu ", place[i]);
    forwards = stops_of("--hash-memory", places);
    cr_assert_eq(json_array_size(forwards), FORWARDS);

    unsigned chosen[BACKWARDS];
    at = places;
    for (unsigned i = 0; i < BACKWARDS; i++) {
        chosen[i] = i == 0 ? FORWARDS - 1 : i == 7 ? 0 : (unsigned)next_random(&random) % FORWARDS;
        at += sprintf(at, "--to %lu ", place[chosen[i]]);
    }
    anyhow = stops_of("--hash-memory", places);
    cr_assert_eq(json_array_size(anyhow), BACKWARDS);
    for (unsigned i = 0; i < BACKWARDS; i++) {
        cr_assert_eq(integer(json_array_get(anyhow, i), "instructions"),
                     (json_int_t)place[chosen[i]]);
        expect_same_stop(json_array_get(anyhow, i), json_array_get(forwards, chosen[i]), "again");
    }
    for (unsigned i = 10; i < FORWARDS; i += 30) {
        sprintf(places, "--to %lu", place[i]);
        alone = stops_of("--hash-memory", places);
        expect_same_stop(json_array_get(alone, 0), json_array_get(forwards, i), "alone");
        json_decref(alone);
    }
    json_decref(anyhow);
    json_decref(forwards);
}

/* Events and times, back and forth; and what lies around them. */
Test(sim_replay, events_and_times)
{
    uint64_t random = 5, count;
    char places[1000];
    json_t *stops;

    cr_assert_eq(shell("$V run -t from.vtx " RUN), 1, "%s", errors);
    count = count_events("from.vtx");
    for (unsigned i = 0; i < 3; i++) {
        struct trace_event event;
        json_t *stop, *before;
        uint64_t number = next_random(&random) % count, time;

        read_event(number, &event);
        sprintf(places, "--to-exit %lu", number);
        stops = stops_of("", places);
        stop = json_array_get(stops, 0);
        cr_assert_eq(integer(stop, "instructions"), (json_int_t)event.instructions);
        cr_assert_geq(integer(json_object_get(stop, "after"), "event"), (json_int_t)number);
        json_decref(stops);

        /* A time in the middle of an exit: the first boundary behind it, by counts and by time. */
        time = event.time + (i % 2 ? 300 : 0);
        sprintf(places, "--to-time %lu", time);
        stops = stops_of("", places);
        stop = json_array_get(stops, 0);
        cr_assert_geq(integer(stop, "cycles"), (json_int_t)time);
        sprintf(places, "--to %lld --to %lld --to-time %lu --to-exit %lu --to-time %lu",
                (long long)integer(stop, "instructions"),
                (long long)integer(stop, "instructions") - 1, time, count - 2, time);
        before = stops_of("", places);
        cr_assert_lt(integer(json_array_get(before, 1), "cycles"), (json_int_t)time);
        expect_same_stop(json_array_get(before, 0), stop, "by count");
        expect_same_stop(json_array_get(before, 2), stop, "again");
        expect_same_stop(json_array_get(before, 4), stop, "from behind");
        json_decref(before);
        json_decref(stops);
    }
}

Test(sim_replay, impossible_places)
{
    static const struct {
        const char *places;
        int status;
        const char *told;
    } cases[] = {
        {"--to 99999999999", 1, "not reached"},
        {"--to-time 10s", 1, "not reached"},
        {"--to-exit 99999999", 1, "events, counted from 0"},
        {"--to 12Q", 2, "12Q"},
        {"--to-time 5parsecs", 2, "5parsecs"},
        {"--to -1", 2, "-1"},
        {"--to 100 --to 99999999999 --to 50", 1, "not reached"},
    };

    cr_assert_eq(shell("$V run -t from.vtx $G/demo.img"), 0);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int status = shell("$V replay -q %s from.vtx", cases[i].places);

        cr_assert_eq(status, cases[i].status, "%s: %d, %s", cases[i].places, status, errors);
        expect(status, cases[i].told, cases[i].places);
    }
    /* The console stands once in the output, however often it was gone through. */
    cr_assert_eq(shell("$V replay --to 17000000 --to 100 --to 17000000 --to 200 from.vtx | "
                       "grep -c '^real mode'"),
                 0);
    cr_assert_eq(atoi(output), 1, "%s", output);
}
