/*
 * The command as a user meets it: statuses, messages, streams, signals, keys. It runs the program
 * and the guests that were built beside this suite.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "traces/reader.h"

#define ARGUMENTS_MAX 16
#define SECONDS_MAX   120 /* then a hanging command is killed */

static char build[512]; /* the build folder */
static char folder[] = "/tmp/vtxsim-command-XXXXXX";
static char *output, *errors; /* of the last command */
static size_t output_size;

static void begin(void)
{
    ssize_t length = readlink("/proc/self/exe", build, sizeof(build) - 1);

    cr_assert_gt(length, 0);
    build[length] = '\0';
    *strrchr(build, '/') = '\0';
    *strrchr(build, '/') = '\0';
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void end(void)
{
    static const char *const files[] = {"out", "err", "a.vtx", "b.vtx", "file"};

    free(output);
    free(errors);
    for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++)
        unlink(files[i]);
    cr_assert_eq(rmdir(folder), 0);
}

TestSuite(sim_command, .init = begin, .fini = end);

static char *slurp(const char *path, size_t *size)
{
    FILE *file = fopen(path, "re");
    struct stat status;
    char *data;

    cr_assert(file && fstat(fileno(file), &status) == 0, "%s", path);
    data = calloc(1, (size_t)status.st_size + 1);
    *size = fread(data, 1, (size_t)status.st_size, file);
    fclose(file);
    return data;
}

/* "@x" is the guest x in the build folder. */
static void execute(const char *const *arguments)
{
    char program[600], guests[ARGUMENTS_MAX][600];
    char *argv[ARGUMENTS_MAX + 2] = {program};

    snprintf(program, sizeof(program), "%s/vtxsim", build);
    for (unsigned i = 0; arguments[i]; i++) {
        snprintf(guests[i], sizeof(guests[i]), "%s/guests/%s", build, arguments[i] + 1);
        argv[i + 1] = *arguments[i] == '@' ? guests[i] : (char *)arguments[i];
    }
    alarm(SECONDS_MAX);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* the engine's library keeps some */
    execv(program, argv);
    _exit(99);
}

static pid_t start(const char *const *arguments, const char *to)
{
    pid_t pid = fork();

    if (pid == 0) {
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(open(to, O_WRONLY | O_CREAT | O_TRUNC, 0666), STDOUT_FILENO);
        dup2(open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
        execute(arguments);
    }
    cr_assert_gt(pid, 0);
    return pid;
}

/* The status as a shell gives it. */
static int finish(pid_t pid)
{
    size_t size;
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    free(errors);
    errors = slurp("err", &size);
    cr_assert(!strstr(errors, "Sanitizer") && !strstr(errors, "runtime error"), "%s", errors);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int run_to(const char *to, const char *const *arguments)
{
    return finish(start(arguments, to));
}

static int run(const char *const *arguments)
{
    int status = run_to("out", arguments);

    free(output);
    output = slurp("out", &output_size);
    return status;
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Whatever the user does wrong: a status, and a message that says what. */
Test(sim_command, wrong_use)
{
    static const struct {
        const char *arguments[6];
        int status;
        const char *told;
    } cases[] = {
        {{NULL}, 2, "Usage"},
        {{"frobnicate"}, 2, "frobnicate"},
        {{"run"}, 2, "nothing to run"},
        {{"run", "--frobnicate"}, 2, "--frobnicate"},
        {{"run", "--memory"}, 2, "requires an argument"},
        {{"run", "--memory", "12Q", "@demo.img"}, 2, "memory"},
        {{"run", "--memory", "1000T", "@demo.img"}, 2, "memory"},
        {{"run", "--cpus", "0", "@demo.img"}, 2, "cpus"},
        {{"run", "--seed", "-1", "@demo.img"}, 2, "seed"},
        {{"run", "--log-level", "vmx=loud", "@demo.img"}, 2, "loud"},
        {{"run", "--backend", "kvm", "-n9", "@demo.img"}, 2, "does not count instructions"},
        {{"run", "--config", "/nonexistent", "@demo.img"}, 2, "/nonexistent"},
        {{"run", "--config", "/", "@demo.img"}, 2, "directory"},
        {{"run", "--kernel", "k", "@demo.img"}, 2, "only one"},
        {{"run", "/nonexistent"}, 127, "/nonexistent"},
        {{"run", "/"}, 127, "directory"},
        {{"run", "--kernel", "/nonexistent"}, 127, "/nonexistent"},
        {{"run", "--cpu", "8086", "@demo.img"}, 127, "8086"},
        {{"run", "--cpu", "/", "@demo.img"}, 127, "/"},
        {{"run", "--trace", "/nonexistent/t", "@demo.img"}, 127, "/nonexistent/t"},
        {{"run", "--trace", "/", "@demo.img"}, 127, "trace"},
        {{"run", "--trace", "/dev/full", "@demo.img"}, 127, "No space"},
        {{"run", "--log-file", "/nonexistent/l", "@demo.img"}, 127, "/nonexistent/l"},
        {{"check-entry"}, 2, "name the file"},
        {{"check-entry", "/nonexistent"}, 2, "/nonexistent"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int status = run(cases[i].arguments);

        cr_assert_eq(status, cases[i].status, "case %u: status %d, \"%s\"", i, status, errors);
        cr_assert(strstr(errors, cases[i].told), "case %u: \"%s\"", i, errors);
        cr_assert_eq(output_size, 0, "case %u wrote to standard output", i);
    }
}

Test(sim_command, information)
{
    cr_assert_eq(run(ARGUMENTS("--version")), 0);
    cr_assert_eq(strncmp(output, "vtxsim ", 7), 0);
    cr_assert_eq(run(ARGUMENTS("--help")), 0);
    cr_assert(strstr(output, "check-entry"));
    cr_assert_eq(run(ARGUMENTS("run", "--help")), 0);
    cr_assert(strstr(output, "--ept-withdraw"));
    cr_assert_eq(run(ARGUMENTS("cpus")), 0);
    cr_assert(strstr(output, "skylake-client"));
    cr_assert_eq(run_to("/dev/full", ARGUMENTS("cpus")), 126);
    cr_assert_eq(run(ARGUMENTS("check-entry", "--fields")), 0);
    cr_assert(strstr(output, "GUEST_CR0 "));
}

/* Every failing check is named; a VMCS of zeros fails in all three groups. */
Test(sim_command, check_entry)
{
    FILE *file = fopen("file", "we");

    fputs("GUEST_CR0 = 0x80000000\n", file);
    fclose(file);
    cr_assert_eq(run(ARGUMENTS("check-entry", "file")), 1);
    cr_assert(strstr(output, "GUEST_CR0 = 0x80000000: "));
    cr_assert(strstr(output, "VM-instruction error 7"));
    cr_assert(strstr(output, "HOST_"));
}

Test(sim_command, same_run_same_bytes)
{
    size_t a_size, b_size, size;
    char *first, *a, *b;
    int status = run(ARGUMENTS("run", "@demo.img", "--trace", "a.vtx"));

    first = output;
    size = output_size;
    output = NULL;
    cr_assert_gt(size, 1000);
    cr_assert(strstr(errors, "\ninstructions "));
    cr_assert_eq(run(ARGUMENTS("run", "@demo.img", "--trace", "b.vtx")), status);
    cr_assert(size == output_size && memcmp(first, output, size) == 0);
    a = slurp("a.vtx", &a_size);
    b = slurp("b.vtx", &b_size);
    cr_assert(a_size == b_size && memcmp(a, b, a_size) == 0, "the traces differ");
    free(first);
    free(a);
    free(b);
}

static json_t *totals(json_t *document, const char *name)
{
    return json_object_get(json_object_get(document, "totals"), name);
}

/* One JSON document on standard output; its counts are those of the trace. */
Test(sim_command, json)
{
    struct trace_reader *reader;
    struct trace_event exit;
    json_int_t events = 0, exits = 0;
    json_t *document, *options;
    int status = run(ARGUMENTS("run", "--json", "--trace", "a.vtx", "@demo.img")), more;

    document = json_loads(output, 0, NULL);
    cr_assert(json_is_object(document), "%s", output);
    cr_assert(strstr(errors, "64-bit"), "the guest's console is on standard error");
    cr_assert_eq(
        json_integer_value(json_object_get(json_object_get(document, "stop"), "exit_status")),
        status);
    cr_assert_eq(trace_reader_open(&reader, "a.vtx", NULL, 0), 0);
    while ((more = trace_reader_next(reader, &exit)) == 1) {
        events++;
        exits += exit.type == TRACE_EXIT;
    }
    cr_assert_eq(more, 0, "the trace is not whole");
    options = json_loads(trace_reader_options(reader), 0, NULL);
    cr_assert(json_is_object(options));
    json_decref(options);
    trace_reader_close(reader);
    cr_assert_eq(json_integer_value(totals(document, "exits")), exits);
    cr_assert_eq(json_integer_value(totals(document, "trace_events")), events);
    cr_assert_gt(json_integer_value(totals(document, "instructions")), 100000);
    json_decref(document);
}

Test(sim_command, how_guests_end)
{
    cr_assert_eq(run(ARGUMENTS("run", "@bad-halt.img")), 125, "%s", errors);
    cr_assert(strstr(errors, "halted"));
    cr_assert_eq(run(ARGUMENTS("run", "@bad-triple-fault.img")), 125, "%s", errors);
    cr_assert(strstr(errors, "triple fault"));
    cr_assert_eq(run(ARGUMENTS("run", "-n", "100000", "@bad-infinite-loop.img")), 124, "%s",
                 errors);
    cr_assert(strstr(errors, "100000"));
}

/* Nobody reads, or nothing fits: told, and not status 0. */
Test(sim_command, output_fails)
{
    int pipes[2], status;
    pid_t pid;

    cr_assert_eq(run_to("/dev/full", ARGUMENTS("run", "@demo.img")), 126, "%s", errors);
    cr_assert(strstr(errors, "No space"));
    cr_assert_eq(run_to("/dev/full", ARGUMENTS("run", "--json", "@demo.img")), 126);
    cr_assert(strstr(errors, "No space"));

    cr_assert_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        close(pipes[0]);
        dup2(pipes[1], STDOUT_FILENO);
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
        execute(ARGUMENTS("run", "@demo.img"));
    }
    close(pipes[1]);
    close(pipes[0]);
    status = finish(pid);
    cr_assert_eq(status, 126, "status %d: %s", status, errors);
    cr_assert(strstr(errors, "Broken pipe"));
}

static char process_state(pid_t pid)
{
    char path[64], *text, state;
    size_t size;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    text = malloc(4096);
    FILE *file = fopen(path, "re");
    size = file ? fread(text, 1, 4095, file) : 0;
    text[size] = '\0';
    state = size ? strrchr(text, ')')[2] : 'X';
    if (file)
        fclose(file);
    free(text);
    return state;
}

/* Waits until the guest runs: the trace's header has been written, and some time has passed. */
static void wait_for_guest(void)
{
    struct stat status;

    for (unsigned i = 0; i < 3000 && (stat("a.vtx", &status) || status.st_size == 0); i++)
        usleep(10000);
    usleep(300000);
}

Test(sim_command, signals)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        struct trace_reader *reader;
        struct trace_event exit;
        int status, more;
        pid_t pid;

        unlink("a.vtx");
        pid = start(ARGUMENTS("run", "--trace", "a.vtx", "@bad-infinite-loop.img"), "out");
        wait_for_guest();
        kill(pid, SIGUSR1); /* pause, resume: it goes on */
        usleep(200000);
        kill(pid, SIGUSR1);
        usleep(100000);
        cr_assert_neq(process_state(pid), 'X');
        kill(pid, numbers[i]);
        status = finish(pid);
        cr_assert_eq(status, 128 + numbers[i], "status %d: %s", status, errors);
        cr_assert(strstr(errors, "paused") && strstr(errors, "resumed"));
        cr_assert(strstr(errors, "\ninstructions "), "the table is printed");
        cr_assert_eq(trace_reader_open(&reader, "a.vtx", NULL, 0), 0);
        while ((more = trace_reader_next(reader, &exit)) == 1)
            continue;
        cr_assert_eq(more, 0, "the trace is not whole");
        trace_reader_close(reader);
    }
}

static char screen[65536];
static size_t screen_size;

/* Reads from the terminal until the text appears there. */
static void expect(int terminal, const char *text)
{
    struct pollfd ready = {.fd = terminal, .events = POLLIN};

    while (!memmem(screen, screen_size, text, strlen(text))) {
        ssize_t length;

        cr_assert_eq(poll(&ready, 1, SECONDS_MAX * 1000), 1, "no \"%s\" in \"%s\"", text, screen);
        length = read(terminal, screen + screen_size, sizeof(screen) - 1 - screen_size);
        cr_assert_gt(length, 0, "no \"%s\" in \"%s\"", text, screen);
        screen_size += (size_t)length;
    }
    screen_size = 0;
}

static void type(int terminal, const char *keys)
{
    cr_assert_eq(write(terminal, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static bool is_raw(int terminal)
{
    struct termios mode;

    cr_assert_eq(tcgetattr(terminal, &mode), 0);
    return !(mode.c_lflag & ICANON);
}

Test(sim_command, keys)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave, status;
    char name[64];
    pid_t pid;

    cr_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    snprintf(name, sizeof(name), "%s", ptsname(terminal));
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    pid = fork();
    if (pid == 0) {
        setsid();
        for (int fd = 0; fd < 3; fd++)
            dup2(open(name, O_RDWR), fd);
        execute(ARGUMENTS("run", "@bad-infinite-loop.img"));
    }
    for (unsigned i = 0; i < 3000 && !is_raw(slave); i++)
        usleep(10000);
    type(terminal, "\001h");
    expect(terminal, "Ctrl-A p");
    type(terminal, "\003\032\001p"); /* Ctrl-C and Ctrl-Z are the guest's */
    expect(terminal, "paused");
    type(terminal, "\001s");
    expect(terminal, "timing: fast");
    type(terminal, "\001p");
    expect(terminal, "resumed");
    type(terminal, "\001d");
    expect(terminal, "logging everything");
    type(terminal, "\001d");
    expect(terminal, "logging as before");

    /* The shell suspends and continues it. */
    kill(pid, SIGTSTP);
    cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
    cr_assert(WIFSTOPPED(status));
    cr_assert_not(is_raw(slave), "the shell gets its own mode");
    kill(pid, SIGCONT);
    for (unsigned i = 0; i < 1000 && !is_raw(slave); i++)
        usleep(10000);
    cr_assert(is_raw(slave));

    type(terminal, "\001x");
    expect(terminal, "timing: fast");
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 130, "status %#x", status);
    cr_assert_not(is_raw(slave));
    close(slave);
    close(terminal);
}
