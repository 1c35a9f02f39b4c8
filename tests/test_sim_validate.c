/*
 * vtxsim validate as a user meets it: statuses, the table as JSON, the first disagreement. Whatever
 * needs /dev/kvm is skipped where there is none.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX (1u << 20)

static char build[512];

static void begin(void)
{
    ssize_t length = readlink("/proc/self/exe", build, sizeof(build) - 1);

    cr_assert_gt(length, 0);
    build[length] = '\0';
    *strrchr(build, '/') = '\0';
    *strrchr(build, '/') = '\0';
}

TestSuite(sim_validate, .init = begin);

/* Runs "vtxsim validate WORDS" in the folder of the guests; what it prints (2>&1 in WORDS: messages
 * too) is to be freed. Returns the exit status. */
static int validate(const char *words, char **output)
{
    char command[1600];
    size_t size;
    FILE *pipe;
    int status;

    snprintf(command, sizeof(command),
             "cd %s/guests && ASAN_OPTIONS=detect_leaks=0 exec %s/vtxsim validate --memory 32M %s",
             build, build, words);
    pipe = popen(command, "re");
    cr_assert_not_null(pipe);
    *output = calloc(1, OUTPUT_MAX + 1);
    size = fread(*output, 1, OUTPUT_MAX, pipe);
    cr_assert_lt(size, OUTPUT_MAX);
    status = pclose(pipe);
    cr_assert(!strstr(*output, "Sanitizer"), "%s", *output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static json_t *validate_json(const char *words, int expected)
{
    char *output, line[1200];
    json_t *document;
    int status;

    snprintf(line, sizeof(line), "--json %s", words);
    status = validate(line, &output);
    document = json_loads(output, 0, NULL);
    cr_assert_not_null(document, "%s: status %d: %s", words, status, output);
    cr_assert_eq(status, expected, "%s: status %d: %s", words, status, output);
    cr_assert_eq(json_integer_value(json_object_get(document, "exit_status")), expected);
    free(output);
    return document;
}

static json_t *class_of(json_t *document, const char *name)
{
    json_t *class;
    size_t i;

    json_array_foreach(json_object_get(document, "events"), i, class)
    {
        if (strcmp(json_string_value(json_object_get(class, "event")), name) == 0)
            return class;
    }
    return NULL;
}

static json_int_t count_of(json_t *document, const char *class, const char *field)
{
    return json_integer_value(json_object_get(class_of(document, class), field));
}

static json_int_t disagreements(json_t *document)
{
    json_int_t sum = 0;
    json_t *class;
    size_t i;

    json_array_foreach(json_object_get(document, "events"), i, class)
    {
        sum += json_integer_value(json_object_get(class, "differ")) +
               json_integer_value(json_object_get(class, "only_first")) +
               json_integer_value(json_object_get(class, "only_second"));
    }
    return sum;
}

Test(sim_validate, a_profile_agrees_with_itself)
{
    json_t *document =
        validate_json("--profiles skylake-client,skylake-client engine-faults.multiboot", 0);

    cr_assert(json_is_true(json_object_get(document, "agree")));
    cr_assert_eq(disagreements(document), 0);
    cr_assert_gt(count_of(document, "IO_INSTRUCTION", "agree"), 0);
    cr_assert_eq(count_of(document, "end", "agree"), 1);
    cr_assert(json_is_null(json_object_get(document, "first_disagreement")));
    json_decref(document);
}

/* The demo tells the processor's name, so CPUID differs, and what it prints. */
Test(sim_validate, two_profiles_differ_where_the_guest_asks_for_cpuid)
{
    json_t *document = validate_json("--profiles skylake-client,haswell demo.img", 1);
    json_t *first = json_array_get(json_object_get(document, "first_disagreement"), 0);
    json_t *event = json_object_get(first, "event"), *state = json_object_get(first, "state");

    cr_assert(json_is_false(json_object_get(document, "agree")));
    cr_assert(json_is_false(json_object_get(document, "console_agrees")));
    cr_assert_gt(count_of(document, "CPUID", "differ"), 0);
    cr_assert_gt(count_of(document, "IO_INSTRUCTION", "agree"), 10);
    cr_assert_str_eq(json_string_value(json_object_get(event, "reason")), "CPUID");
    cr_assert_str_eq(json_string_value(json_object_get(state, "instruction")), "cpuid ");
    cr_assert_str_eq(json_string_value(json_object_get(state, "rip")),
                     json_string_value(json_object_get(event, "rip")));
    json_decref(document);
}

Test(sim_validate, wrong_words_are_told)
{
    static const struct {
        const char *words, *told;
    } cases[] = {
        {"--against shadow demo.img 2>&1", "no guests on shadow page tables yet"},
        {"--against xen demo.img 2>&1", "\"xen\" is not known: choose kvm"},
        {"--profiles haswell demo.img 2>&1", "name two, as in"},
        {"--profiles haswell,no-such demo.img 2>&1", "no-such"},
        {"--profiles haswell,broadwell no-such.img 2>&1", "no-such.img"},
        {"--timeout soon demo.img 2>&1", "not a number of seconds"},
        {"2>&1", "image"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char *output;
        int status = validate(cases[i].words, &output);

        cr_assert_eq(status, 2, "%s: %d: %s", cases[i].words, status, output);
        cr_assert_not_null(strstr(output, cases[i].told), "%s: %s", cases[i].words, output);
        free(output);
    }
}

/* A guest that never ends is compared as far as both got. */
Test(sim_validate, the_time_limit_ends_a_run)
{
    json_t *document = validate_json(
        "--profiles haswell,haswell --timeout 1 --max-instructions 0 bad-infinite-loop.img", 0);
    json_t *side = json_array_get(json_object_get(document, "sides"), 0);

    cr_assert(json_is_true(json_object_get(side, "timed_out")));
    cr_assert_str_eq(json_string_value(json_object_get(side, "stop")), "requested");
    json_decref(document);
}

/* Whatever KVM it is: port I/O of plain instructions is the same, value by value. */
Test(sim_validate, port_io_agrees_with_kvm)
{
    const char *words = "--timeout 30 validation-io.multiboot";
    json_t *document;
    char *output, line[200];
    int status;

    if (access("/dev/kvm", R_OK | W_OK))
        cr_skip_test("no /dev/kvm that may be used");
    snprintf(line, sizeof(line), "--json %s 2>/dev/null", words);
    status = validate(line, &output);
    if (status == 2)
        cr_skip_test("this KVM cannot run the guest");
    document = json_loads(output, 0, NULL);
    cr_assert_not_null(document, "%s", output);
    cr_assert_gt(count_of(document, "IO_INSTRUCTION", "agree"), 600, "%s", output);
    cr_assert_lt(count_of(document, "IO_INSTRUCTION", "differ") +
                     count_of(document, "IO_INSTRUCTION", "only_first") +
                     count_of(document, "IO_INSTRUCTION", "only_second"),
                 40, "%s", output);
    cr_assert_gt(json_array_size(json_object_get(document, "not_compared")), 0);
    json_decref(document);
    free(output);
}
