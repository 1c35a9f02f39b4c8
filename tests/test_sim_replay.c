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

#define TYPE "(head -c 13000 $V; sleep 0.01; head -c 12000 $V)"

Test(sim_replay, equal_at_every_level)
{
    static const char *const levels[] = {"inputs", "exits", "translations", "blocks", "memory"};
    static const struct {
        const char *input, *guest; /* with its options */
    } runs[] = {
        {"", "$G/demo.img"},
        {"", "--memory 32M --ept-withdraw 5000:7 $G/torture.multiboot rounds=1"},
        {"", "--max-instructions 3000000 --full-exits $G/torture.multiboot rounds=1"},
        {TYPE " | ", "$G/engine-echo.multiboot"},
    };

    for (unsigned i = 0; i < sizeof(runs) / sizeof(*runs); i++) {
        for (unsigned level = 0; level < sizeof(levels) / sizeof(*levels); level++) {
            char told[64];
            int status;

            shell("%s $V run -t t.vtx --trace-level %s %s >console", runs[i].input, levels[level],
                  runs[i].guest);
            status = shell("$V replay t.vtx");
            snprintf(told, sizeof(told), ": %lu events equal", count_events("t.vtx"));
            expect(status, told, runs[i].guest);
            cr_assert_eq(status, 0, "%s, %s: %s", runs[i].guest, levels[level], errors);
            rename("out", "replayed");
            cr_assert_eq(shell("cmp replayed console"), 0, "%s: the consoles differ",
                         runs[i].guest);
        }
    }
}
