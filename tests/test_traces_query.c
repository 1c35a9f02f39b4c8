/*
 * Conditions on events: what they mean is held against the fields themselves, over random
 * expressions and events; whatever else is written is refused with its place.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "traces/query.h"

static unsigned seed;

static void begin(void)
{
    const char *given = getenv("VTXSIM_TEST_SEED");

    seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);
    fprintf(stderr, "VTXSIM_TEST_SEED=%u\n", seed);
    srandom(seed);
}

TestSuite(traces_query, .init = begin);

static int find_reason(const char *name)
{
    return strcmp(name, "io") == 0 ? 30 : strcmp(name, "cpuid") == 0 ? 10 : -1;
}

static bool find_symbol(void *context, const char *name, uint64_t *start, uint64_t *end)
{
    *start = 0x1000;
    *end = 0x1100;
    return strcmp(name, "start_kernel") == 0;
}

static const struct trace_names names = {find_reason, find_symbol, NULL};

static bool matches(const char *text, const struct trace_event *event)
{
    struct trace_query *query;
    char message[512] = "";
    bool result;

    cr_assert_eq(trace_query_parse(&query, text, &names, message, sizeof(message)), 0, "%s: %s",
                 text, message);
    result = trace_query_matches(query, 7, event);
    trace_query_free(query);
    return result;
}

/* Small values, so that comparisons meet often. */
static struct trace_event random_event(void)
{
    struct trace_event event = {0};

    event.type = (uint8_t)(1 + (unsigned)random() % (TRACE_EVENT_TYPES - 1));
    for (unsigned common = 0; common < 2; common++) {
        const struct trace_field *field = common ? trace_common_fields : trace_fields(event.type);

        for (; field->name; field++)
            if (field->kind != TRACE_FIELD_BYTES)
                trace_field_set(&event, field,
                                field->size == 1 && strcmp(field->name, "kind") == 0
                                    ? (uint64_t)random() % 2
                                    : (uint64_t)random() % 8);
    }
    return event;
}

/* The types' own field of a name, or the common one; NULL if the type has none such. */
static const struct trace_field *field_of(unsigned type, const char *name)
{
    for (unsigned common = 0; common < 2; common++) {
        const struct trace_field *field = common ? trace_common_fields : trace_fields(type);

        for (; field->name; field++)
            if (strcmp(field->name, name) == 0)
                return field;
    }
    return NULL;
}

/* Any name of a field that has a number. */
static const char *random_field(void)
{
    const struct trace_field *list[64];
    unsigned count = 0;

    for (unsigned type = 0; type < TRACE_EVENT_TYPES; type++)
        for (const struct trace_field *field = type ? trace_fields(type) : trace_common_fields;
             field->name; field++)
            if (field->kind != TRACE_FIELD_BYTES && count < 64)
                list[count++] = field;
    return list[(unsigned)random() % count]->name;
}

/* Each comparison of each field with each number is what C says of the field's value. */
Test(traces_query, comparisons)
{
    for (unsigned i = 0; i < 20000; i++) {
        struct trace_event event = random_event();
        const char *name = random_field();
        const struct trace_field *field = field_of(event.type, name);
        uint64_t low = (uint64_t)random() % 8, high = (uint64_t)random() % 8;
        uint64_t value = field ? trace_field_get(&event, field) : 0;
        const struct {
            const char *sign;
            bool holds;
        } cases[] = {
            {"==", value == low}, {"=", value == low},       {"!=", value != low},
            {"<", value < low},   {"<=", value <= low},      {">", value > low},
            {">=", value >= low}, {"&", (value & low) != 0},
        };
        unsigned number = (unsigned)random() % 10;
        char text[200];
        bool expected;

        if (number < 8) {
            snprintf(text, sizeof(text), "%s %s 0x%" PRIx64, name, cases[number].sign, low);
            expected = cases[number].holds;
        } else if (number == 8) {
            snprintf(text, sizeof(text), "%s in %" PRIu64 "..%" PRIu64, name, low, high);
            expected = value >= low && value <= high;
        } else {
            snprintf(text, sizeof(text), "%s in {%" PRIu64 ",%" PRIu64 "}", name, low, high);
            expected = value == low || value == high;
        }
        cr_assert_eq(matches(text, &event), field && expected, "%s for value %" PRIu64 " of a %s",
                     text, value, trace_event_name(event.type));
    }
}

/* A random expression and its value by the rules of logic; parentheses where they are needed. */
static bool random_expression(const struct trace_event *event, unsigned depth, char *text,
                              size_t size)
{
    static const char *const comparisons[] = {
        "instructions < 4", "time >= 3",    "rip & 2", "type == exit",         "event == 7",
        "status != ok",     "size in 1..4", "cpu",     "reason in {io, 2..5}",
    };
    char left[2000], right[2000];
    bool a, b;

    if (depth == 0 || random() % 4 == 0) {
        snprintf(text, size, "%s",
                 comparisons[(size_t)random() % (sizeof(comparisons) / sizeof(*comparisons))]);
        return matches(text, event);
    }
    a = random_expression(event, depth - 1, left, sizeof(left));
    switch (random() % 3) {
    case 0:
        snprintf(text, size, "%s (%s)", random() % 2 ? "not" : "!", left);
        return !a;
    case 1:
        b = random_expression(event, depth - 1, right, sizeof(right));
        snprintf(text, size, "(%s) %s (%s)", left, random() % 2 ? "and" : "&&", right);
        return a && b;
    default:
        b = random_expression(event, depth - 1, right, sizeof(right));
        snprintf(text, size, "(%s) %s (%s)", left, random() % 2 ? "or" : "||", right);
        return a || b;
    }
}

Test(traces_query, logic)
{
    static const char mixed[] = "cpu == 0 or cpu == 1 and cpu == 2";
    struct trace_event event = {.type = TRACE_EXIT};
    char text[4200];

    for (unsigned i = 0; i < 2000; i++) {
        struct trace_event any = random_event();
        bool expected = random_expression(&any, 4, text, sizeof(text));

        cr_assert_eq(matches(text, &any), expected, "%s", text);
    }
    cr_assert(matches(mixed, &event), "and binds closer than or");
    cr_assert_not(matches("not cpu == 0 and cpu == 0", &event), "not binds closest");
}

Test(traces_query, names)
{
    struct trace_event exit = {.type = TRACE_EXIT, .rip = 0x10ff, .exit = {.reason = 30}};
    struct trace_event failed = {.type = TRACE_EXIT, .exit = {.reason = 0x8000000a}};
    struct trace_event end = {.type = TRACE_END, .end = {.reason = 4}};

    cr_assert(matches("rip in start_kernel", &exit));
    cr_assert(matches("rip == start_kernel + 255", &exit));
    cr_assert_not(matches("rip == start_kernel", &exit));
    exit.rip = 0x1100;
    cr_assert_not(matches("rip in start_kernel", &exit));
    cr_assert(matches("rip in start_kernel+0x80..start_kernel+0x100", &exit));
    cr_assert(matches("reason == io", &exit) && !matches("reason == cpuid", &exit));
    /* The flag of a failed VM entry is not part of the name. */
    cr_assert(matches("reason == cpuid", &failed) && matches("reason == 0x8000000a", &failed));
    cr_assert(matches("reason == triple-fault", &end) && !matches("reason == io", &end));
}

/* Random words in random order are refused with a message or mean something, and nothing else. */
Test(traces_query, anything)
{
    static const char *const words[] = {
        "reason",
        "io",
        "rip",
        "start_kernel",
        "==",
        "!=",
        "<",
        ">=",
        "&",
        "&&",
        "||",
        "and",
        "or",
        "not",
        "!",
        "in",
        "..",
        "{",
        "}",
        ",",
        "(",
        ")",
        "0x10",
        "999",
        "~",
        "\"a\\x4\"",
        "data",
        "'",
        "+",
        "-",
        "type",
        "exit",
        "#",
        "kind",
        "\\",
        "1..2",
        "port",
        "\xff",
        "99999999999999999999999",
    };
    unsigned valid = 0;

    for (unsigned i = 0; i < 50000; i++) {
        unsigned count = (unsigned)random() % 9;
        struct trace_event event = random_event();
        struct trace_query *query;
        char text[512] = "", message[512] = "";

        for (unsigned word = 0; word < count; word++) {
            strcat(text, words[(size_t)random() % (sizeof(words) / sizeof(*words))]);
            strcat(text, random() % 4 ? " " : "");
        }
        if (trace_query_parse(&query, text, &names, message, sizeof(message)) == 0) {
            trace_query_matches(query, i, &event);
            trace_query_free(query);
            valid++;
        } else {
            cr_assert_eq(strncmp(message, "column ", 7), 0, "%s: %s", text, message);
        }
    }
    cr_assert_gt(valid, 100);
}
