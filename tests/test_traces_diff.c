/*
 * Two traces that differ in a known way: what is found must be exactly that, event by event. The
 * pairs are made of one run of events and a list of edits.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "traces/diff.h"
#include "traces/writer.h"

#define EVENTS    3000u
#define EDITS_MAX 64

static char folder[] = "/tmp/vtxsim-diff-XXXXXX";

static void begin(void)
{
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void end(void)
{
    unlink("a.vtx");
    unlink("b.vtx");
    cr_assert_eq(chdir("/"), 0);
    rmdir(folder);
}

TestSuite(traces_diff, .init = begin, .fini = end, .timeout = 60);

/* --- Traces --- */

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545f4914f6cdd1dull;
}

/* Exits of a few reasons at a few addresses that recur, injections and inputs between them. */
static struct trace_event make_event(uint64_t *random, unsigned number)
{
    static const uint32_t reasons[] = {10, 30, 30, 30, 32, 48, 1, 28};
    uint64_t bits = random_next(random);
    struct trace_event event = {
        .type = bits % 16 == 0   ? TRACE_INJECTION
                : bits % 16 == 1 ? TRACE_INPUT
                                 : TRACE_EXIT,
        .instructions = 1000ull * number,
        .time = 3000ull * number,
        .rip = 0x100000 + (bits >> 8) % 32 * 16,
    };

    if (event.type == TRACE_INJECTION) {
        event.injection.info = 0x80000000u | (uint32_t)(bits >> 16) % 256;
    } else if (event.type == TRACE_INPUT) {
        event.input.kind = TRACE_INPUT_CONSOLE;
        event.input.size = 1 + (bits >> 16) % 8;
        memcpy(event.input.data, &bits, event.input.size);
    } else {
        event.exit.reason = reasons[bits >> 4 & 7];
        event.exit.value = bits >> 32;
        event.exit.cycles = 1200;
    }
    return event;
}

static void make_run(struct trace_event *event, unsigned count, uint64_t seed)
{
    for (unsigned i = 0; i < count; i++)
        event[i] = make_event(&seed, i);
}

static void write_trace(const char *path, const char *options, const struct trace_event *event,
                        unsigned count)
{
    struct trace_writer *writer;

    cr_assert_eq(trace_writer_open(&writer, path, options, TRACE_LEVEL_EXITS), 0);
    for (unsigned i = 0; i < count; i++)
        trace_writer_sink(writer)->event(trace_writer_sink(writer), &event[i]);
    cr_assert_eq(trace_writer_close(writer), 0);
}

/* --- Edits --- */

enum edit_kind { CHANGE_VALUE, CHANGE_TIME, CHANGE_CLASS, REMOVE, INSERT };

/* What is done to events [at, at + count) of the run to make the second trace. */
struct edit {
    enum edit_kind kind;
    unsigned at, count;
};

static void change(struct trace_event *event, enum edit_kind kind)
{
    if (kind == CHANGE_VALUE && event->type == TRACE_INJECTION)
        event->injection.info ^= 1;
    else if (kind == CHANGE_VALUE && event->type == TRACE_INPUT)
        event->input.data[0] ^= 1;
    else if (kind == CHANGE_VALUE)
        event->exit.value ^= 1;
    else if (kind == CHANGE_TIME)
        event->time++;
    else
        *event = (struct trace_event){.type = TRACE_STATE_HASH, .rip = event->rip};
}

/* Returns the number of events of the second trace. Inserted ones are like no others. */
static unsigned apply_edits(const struct trace_event *from, unsigned count,
                            const struct edit *edits, unsigned edit_count, struct trace_event *to)
{
    unsigned made = 0;

    for (unsigned i = 0; i <= count; i++) {
        bool removed = false;

        for (unsigned k = 0; k < edit_count; k++)
            if (edits[k].kind == INSERT && edits[k].at == i)
                for (unsigned n = 0; n < edits[k].count; n++)
                    to[made++] = (struct trace_event){
                        .type = TRACE_EXIT, .rip = 0xdead, .exit.reason = 31, .exit.value = n};
        if (i == count)
            break;
        to[made] = from[i];
        for (unsigned k = 0; k < edit_count; k++) {
            if (edits[k].kind == INSERT || i < edits[k].at || i >= edits[k].at + edits[k].count)
                continue;
            if (edits[k].kind == REMOVE)
                removed = true;
            else
                change(&to[made], edits[k].kind);
        }
        made += !removed;
    }
    return made;
}

/* --- Comparing --- */

struct findings {
    struct trace_difference difference[4096];
    unsigned count, most;
};

static bool take(void *context, const struct trace_difference *difference)
{
    struct findings *findings = context;

    cr_assert_lt(findings->count, 4096);
    findings->difference[findings->count++] = *difference;
    return findings->count < findings->most;
}

static void compare(const struct trace_comparison *comparison, bool every_frame, unsigned most,
                    struct findings *findings, struct trace_diff_result *result)
{
    struct trace_diff_request request = {
        .comparison = comparison, .every_frame = every_frame, .found = take, .context = findings};
    struct trace_reader *reader[2];

    findings->count = 0;
    findings->most = most;
    cr_assert_eq(trace_reader_open(&reader[0], "a.vtx", NULL, 0), 0);
    cr_assert_eq(trace_reader_open(&reader[1], "b.vtx", NULL, 0), 0);
    cr_assert_eq(trace_diff(reader, &request, result), 0);
    trace_reader_close(reader[0]);
    trace_reader_close(reader[1]);
}

static struct trace_event run[EVENTS], edited[2 * EVENTS];
static struct findings findings;
static struct trace_comparison comparison;
static struct trace_diff_result result;

/* Every edit is found as what it is, where it is, and nothing else is. */
static void expect_edits(const char *what, const struct edit *edits, unsigned count)
{
    unsigned made = apply_edits(run, EVENTS, edits, count, edited), next = 0, shift = 0;
    uint64_t changed = 0, only[2] = {0, 0};

    write_trace("a.vtx", "{}", run, EVENTS);
    write_trace("b.vtx", "{}", edited, made);
    compare(&comparison, true, UINT32_MAX, &findings, &result);
    for (unsigned i = 0; i < count; i++) {
        for (unsigned k = 0; k < edits[i].count; k++, next++) {
            const struct trace_difference *found = &findings.difference[next];
            enum edit_kind kind = edits[i].kind;
            /* A class that changes has no partner: first what one side has, then the other's. */
            unsigned parts = kind == CHANGE_CLASS ? 2 : 1, side;

            for (unsigned part = 0; part < parts; part++, found++) {
                uint64_t at = edits[i].at + (kind == INSERT ? 0 : k);

                cr_assert_lt(next + part, findings.count, "%s: edit %u: nothing found", what, i);
                side = kind == INSERT || (kind == CHANGE_CLASS && found->side == 1);
                cr_assert_eq(found->change, kind <= CHANGE_TIME ? TRACE_CHANGED : TRACE_ONLY_ONE,
                             "%s: edit %u: change %u at %lu", what, i, found->change,
                             (unsigned long)found->number[0]);
                if (found->change == TRACE_ONLY_ONE)
                    cr_assert_eq(found->side, side, "%s: edit %u: side %u", what, i, found->side);
                if (found->change == TRACE_CHANGED || found->side == 0)
                    cr_assert_eq(found->number[0], at, "%s: edit %u: event %lu, not %lu", what, i,
                                 (unsigned long)found->number[0], (unsigned long)at);
                else
                    cr_assert_eq(found->number[1], edits[i].at + shift + k,
                                 "%s: edit %u: event %lu of the other", what, i,
                                 (unsigned long)found->number[1]);
                changed += found->change == TRACE_CHANGED;
                only[found->side] += found->change == TRACE_ONLY_ONE;
            }
            next += parts - 1;
        }
        if (edits[i].kind == INSERT)
            shift += edits[i].count;
        if (edits[i].kind == REMOVE)
            shift -= edits[i].count;
    }
    cr_assert_eq(next, findings.count, "%s: %u differences, not %u", what, findings.count, next);
    cr_assert_eq(result.changed, changed);
    cr_assert_eq(result.only[0], only[0]);
    cr_assert_eq(result.only[1], only[1]);
    cr_assert_eq(result.equal, EVENTS - changed - only[0]);
    cr_assert(result.end[0] == 0 && result.end[1] == 0);
}

Test(traces_diff, edits)
{
    static const struct {
        const char *what;
        struct edit edits[4];
    } cases[] = {
        {"nothing", {{0}}},
        {"a value", {{CHANGE_VALUE, 100, 1}}},
        {"the first event", {{CHANGE_VALUE, 0, 1}}},
        {"the last event", {{CHANGE_VALUE, EVENTS - 1, 1}}},
        {"the time of a few in a row", {{CHANGE_TIME, 50, 5}}},
        {"another class", {{CHANGE_CLASS, 77, 1}}},
        {"one is missing", {{REMOVE, 10, 1}}},
        {"the first is missing", {{REMOVE, 0, 1}}},
        {"the last are missing", {{REMOVE, EVENTS - 20, 20}}},
        {"one more", {{INSERT, 10, 1}}},
        {"more at the start", {{INSERT, 0, 3}}},
        {"more at the end", {{INSERT, EVENTS, 30}}},
        {"many more", {{INSERT, 500, 300}}},
        {"many are missing", {{REMOVE, 500, 300}}},
        {"several", {{REMOVE, 100, 2}, {INSERT, 130, 2}, {CHANGE_VALUE, 160, 1}}},
    };

    make_run(run, EVENTS, 1);
    trace_comparison_init(&comparison);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        unsigned count = 0;

        while (count < 4 && cases[i].edits[count].count)
            count++;
        expect_edits(cases[i].what, cases[i].edits, count);
    }
}

/* Random edits with room between them. */
Test(traces_diff, random_edits)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct edit edits[EDITS_MAX];
        uint64_t random = seed * 77;
        unsigned count = 0;
        char what[40];

        make_run(run, EVENTS, seed);
        trace_comparison_init(&comparison);
        for (unsigned at = random_next(&random) % 50; at + 20 < EVENTS && count < EDITS_MAX;
             at += 40 + random_next(&random) % 100) {
            unsigned kind = random_next(&random) % 5;

            edits[count++] = (struct edit){kind, at, 1};
            /* Of two equal neighbours one is missing: which cannot be told. */
            if (kind == REMOVE)
                run[at].exit.qualification = 1000 + at;
        }
        snprintf(what, sizeof(what), "seed %lu", (unsigned long)seed);
        expect_edits(what, edits, count);
    }
}

/* A bare comparison stops where it is told to. */
Test(traces_diff, first_difference)
{
    const struct edit edits[] = {{CHANGE_VALUE, 2000, 1}, {REMOVE, 2500, 1}};

    make_run(run, EVENTS, 3);
    write_trace("a.vtx", "{}", run, EVENTS);
    write_trace("b.vtx", "{}", edited, apply_edits(run, EVENTS, edits, 2, edited));
    trace_comparison_init(&comparison);
    compare(&comparison, false, 1, &findings, &result);
    cr_assert_eq(findings.count, 1);
    cr_assert_eq(findings.difference[0].number[0], 2000);
    cr_assert_eq(result.last_equal[0], 2000);
    cr_assert_eq(result.last_equal[1], 2000);
    cr_assert_eq(result.end[0], 1);
}

static void except(unsigned type, int reason, const char *field)
{
    struct trace_exception exception = {type, reason, field, 0};

    cr_assert_eq(trace_comparison_except(&comparison, &exception), 0);
}

/* What is left out does not differ; what is not, still does. */
Test(traces_diff, exceptions)
{
    static const struct {
        const char *what;
        struct edit edit;
        unsigned type;
        int reason;
        const char *field;
        unsigned left; /* differences */
    } cases[] = {
        {"time", {CHANGE_TIME, 20, 500}, 0, -1, "time", 0},
        {"time of exits only", {CHANGE_TIME, 0, EVENTS}, TRACE_EXIT, -1, "time", 2},
        {"another field", {CHANGE_TIME, 20, 3}, 0, -1, "instructions", 3},
        {"a class that was inserted", {INSERT, 40, 9}, TRACE_EXIT, 31, NULL, 0},
        {"another class", {INSERT, 40, 9}, TRACE_EXIT, 30, NULL, 9},
        {"a type", {CHANGE_CLASS, 0, EVENTS}, TRACE_STATE_HASH, -1, NULL, 1},
    };
    struct trace_exception unknown = {0, -1, "frobnication", 0};

    make_run(run, EVENTS, 4);
    write_trace("a.vtx", "{}", run, EVENTS);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        unsigned made = apply_edits(run, EVENTS, &cases[i].edit, 1, edited);

        trace_comparison_init(&comparison);
        except(cases[i].type, cases[i].reason, cases[i].field);
        write_trace("b.vtx", "{}", edited, made);
        compare(&comparison, false, 4096, &findings, &result);
        if (cases[i].left == 0 || cases[i].left > 2)
            cr_assert_eq(findings.count, cases[i].left, "%s: %u", cases[i].what, findings.count);
        else
            cr_assert_gt(findings.count, 100, "%s: %u", cases[i].what, findings.count);
        for (unsigned k = 0; k < findings.count; k++)
            if (strcmp(cases[i].what, "time of exits only") == 0)
                cr_assert_neq(findings.difference[k].event[0].type, TRACE_EXIT);
    }
    cr_assert_eq(trace_comparison_except(&comparison, &unknown), -ENOENT);
}

/* The table: KVM's traces lack what the table says, and the table says by which rows. */
Test(traces_diff, normalizations)
{
    static const struct trace_event lacking[] = {
        {.type = TRACE_STATE_HASH},
        {.type = TRACE_EXIT, .exit.reason = 10},
        {.type = TRACE_EXIT, .exit.reason = 1},
        {.type = TRACE_INJECTION},
    };
    struct trace_event a = {.type = TRACE_EXIT, .time = 1, .rip = 5, .exit.reason = 30}, b = a;

    b.time = 2;
    trace_comparison_init(&comparison);
    trace_comparison_normalize(&comparison, "unicorn", "unicorn");
    cr_assert_eq(comparison.applied_count, 0);
    cr_assert_eq(trace_compare(&comparison, &a, &b), 1u << 2);

    trace_comparison_normalize(&comparison, "unicorn", "kvm/vmx");
    cr_assert_gt(comparison.applied_count, 0);
    cr_assert_eq(trace_compare(&comparison, &a, &b), 0);
    for (unsigned i = 0; i < sizeof(lacking) / sizeof(*lacking); i++)
        cr_assert_not(trace_is_compared(&comparison, &lacking[i]));
    b.rip = 7;
    cr_assert_eq(trace_compare(&comparison, &a, &b), 1u << 3);
    b.rip = a.rip;
    trace_comparison_init(&comparison);
    trace_comparison_normalize(&comparison, "kvm/pvm", "unicorn");
    cr_assert_eq(trace_compare(&comparison, &a, &b), 0, "the other way round, too");
    b.exit.guest_physical_address = 1;
    cr_assert_neq(trace_compare(&comparison, &a, &b), 0);
}

/* Leading frames that are equal are not decoded, and what comes behind is found all the same. */
Test(traces_diff, frames)
{
    const unsigned count = 120000;
    struct trace_event *event = calloc(count, sizeof(*event));
    struct trace_diff_result decoded;

    make_run(event, count, 5);
    write_trace("a.vtx", "{}", event, count);
    event[90000].exit.value ^= 4;
    write_trace("b.vtx", "{\"seed\":1}", event, count);
    trace_comparison_init(&comparison);
    compare(&comparison, true, 4096, &findings, &decoded);
    compare(&comparison, false, 4096, &findings, &result);
    cr_assert_eq(findings.count, 1);
    cr_assert_eq(findings.difference[0].number[0], 90000);
    cr_assert_gt(result.frames_skipped, 0);
    cr_assert_eq(decoded.frames_skipped, 0);
    cr_assert_gt(result.events_skipped, 60000);
    cr_assert_eq(result.equal, decoded.equal);
    cr_assert_eq(result.equal, count - 1);
    free(event);
}

/* One that was cut agrees as far as it goes. */
Test(traces_diff, cut)
{
    make_run(run, EVENTS, 6);
    write_trace("a.vtx", "{}", run, EVENTS);
    write_trace("b.vtx", "{}", run, EVENTS);
    cr_assert_eq(truncate("b.vtx", 1000), 0);
    trace_comparison_init(&comparison);
    compare(&comparison, false, 10, &findings, &result);
    cr_assert_eq(findings.count, 0);
    cr_assert_eq(result.end[1], -ENODATA);
}

Test(traces_diff, files)
{
    static const char *const same[] = {"a.vtx", "a.vtx"}, *const other[] = {"a.vtx", "b.vtx"},
                             *const none[] = {"a.vtx", "c.vtx"}, *const folders[] = {".", "a.vtx"};
    unsigned failed;

    make_run(run, EVENTS, 7);
    write_trace("a.vtx", "{}", run, EVENTS);
    write_trace("b.vtx", "{}", run, EVENTS);
    cr_assert_eq(trace_files_equal(same, &failed), 1);
    cr_assert_eq(trace_files_equal(other, &failed), 1);
    cr_assert_eq(truncate("b.vtx", 1000), 0);
    cr_assert_eq(trace_files_equal(other, &failed), 0);
    cr_assert_eq(truncate("b.vtx", 0), 0);
    cr_assert_eq(trace_files_equal(other, &failed), 0);
    cr_assert_eq(trace_files_equal(none, &failed), -ENOENT);
    cr_assert_eq(failed, 1);
    cr_assert_eq(trace_files_equal(folders, &failed), -EISDIR);
    cr_assert_eq(failed, 0);
}
