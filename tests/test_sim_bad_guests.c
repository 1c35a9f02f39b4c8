/*
 * Bad guests and bad input, through the command as users meet it: each run ends in bounded time,
 * with the documented status and a sentence about why, and without a finding of a sanitizer.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "traces/reader.h"

#define ARGUMENTS_MAX 12
#define SECONDS_MAX   60 /* then a run that does not end is killed */

static char build[512]; /* the build folder */
static char folder[] = "/tmp/vtxsim-bad-guests-XXXXXX";
static char told[65536]; /* what the last run wrote on standard error */

static void begin(void)
{
    ssize_t length = readlink("/proc/self/exe", build, sizeof(build) - 1);

    cr_assert_gt(length, 0);
    build[length] = '\0';
    *strrchr(build, '/') = '\0';
    *strrchr(build, '/') = '\0';
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);

    /* AddressSanitizer looks for our leaks: the engine's library keeps a little. */
    char options[600];
    FILE *file = fopen("suppressions", "we");

    cr_assert(file && fputs("leak:libunicorn\n", file) > 0 && fclose(file) == 0);
    snprintf(options, sizeof(options), "suppressions=%s/suppressions:print_suppressions=0", folder);
    setenv("LSAN_OPTIONS", options, 1);
}

static void end(void)
{
    static const char *const files[] = {"err", "image", "trace.vtx", "suppressions"};

    for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++)
        unlink(files[i]);
    rmdir(folder);
}

TestSuite(sim_bad_guests, .init = begin, .fini = end, .timeout = 240);

/* "@x" is the guest x in the build folder. Returns the status as a shell gives it. */
static int run(const char *const *arguments)
{
    size_t length;
    FILE *file;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        char program[600], guests[ARGUMENTS_MAX][600];
        char *argv[ARGUMENTS_MAX + 3] = {program, "run"};

        snprintf(program, sizeof(program), "%s/vtxsim", build);
        for (unsigned i = 0; arguments[i]; i++) {
            argv[i + 2] = (char *)arguments[i];
            if (*arguments[i] != '@')
                continue;
            snprintf(guests[i], sizeof(guests[i]), "%s/guests/%s", build, arguments[i] + 1);
            argv[i + 2] = guests[i];
        }
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
        dup2(open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
        alarm(SECONDS_MAX);
        signal(SIGALRM, SIG_DFL);
        execv(program, argv);
        _exit(99);
    }
    cr_assert_gt(pid, 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    file = fopen("err", "re");
    cr_assert_not_null(file);
    length = fread(told, 1, sizeof(told) - 1, file);
    told[length] = '\0';
    fclose(file);
    cr_assert(!strstr(told, "Sanitizer") && !strstr(told, "runtime error") &&
                  !strstr(told, "Assertion"),
              "%s", told);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

/* The guests of tests/guests/bad, each with what its head says must happen. */
static const struct {
    const char *image;
    int status;
    const char *told;
} guests[] = {
    {"@bad-triple-fault.img", 125, "triple fault"},
    {"@bad-jump-nowhere.img", 125, "0xd0000000"},
    {"@bad-page-table-loop.img", 125, "triple fault"},
    {"@bad-self-modifying.img", 1, NULL},
    {"@bad-halt.img", 125, "halted"},
    {"@bad-mmio.img", 1, NULL},
    {"@bad-exceptions.img", 1, NULL},
    {"@bad-ports.img", -1, NULL}, /* whichever port ends it */
};
#define GUESTS (sizeof(guests) / sizeof(*guests))

static void expect_end(unsigned i, int status)
{
    bool ended = guests[i].status < 0 ? status == 0 || status == 1 : status == guests[i].status;

    cr_assert(ended, "%s: status %d: %s", guests[i].image, status, told);
    cr_assert(!guests[i].told || strstr(told, guests[i].told), "%s: \"%s\"", guests[i].image, told);
}

Test(sim_bad_guests, end_as_they_must)
{
    for (unsigned i = 0; i < GUESTS; i++)
        expect_end(i, RUN(guests[i].image));
}

/* The same with everything that makes more of each exit; one of them has none. */
Test(sim_bad_guests, end_so_with_full_exits)
{
    for (unsigned i = 0; i < GUESTS; i++)
        if (!strstr(guests[i].image, "self-modifying"))
            expect_end(i,
                       RUN("--full-exits", "--ept-lazy", "--trace", "trace.vtx", guests[i].image));
}

Test(sim_bad_guests, end_so_with_pages_withdrawn)
{
    for (unsigned i = 0; i < GUESTS; i++)
        expect_end(i, RUN("--ept-withdraw", "5000", "--ept-page-size", "4K", guests[i].image));
}

static uint64_t instructions_told(void)
{
    const char *line = strstr(told, "\ninstructions ");

    cr_assert_not_null(line, "%s", told);
    return strtoull(line + strlen("\ninstructions "), NULL, 10);
}

/* A limit ends each of them after exactly so many instructions. */
Test(sim_bad_guests, limits)
{
    static const char *const images[] = {
        "@bad-infinite-loop.img",
        "@bad-self-modifying.img",
        "@bad-exceptions.img",
        "@bad-mmio.img",
    };
    static const char *const limits[] = {"1", "777", "20011"};

    for (unsigned i = 0; i < sizeof(images) / sizeof(*images); i++)
        for (unsigned j = 0; j < sizeof(limits) / sizeof(*limits); j++) {
            int status = RUN("-n", limits[j], images[i]);

            cr_assert_eq(status, 124, "%s -n %s: status %d: %s", images[i], limits[j], status,
                         told);
            cr_assert_eq(instructions_told(), strtoull(limits[j], NULL, 10), "%s -n %s: %s",
                         images[i], limits[j], told);
        }
}

/* A signal ends those that never end, at once. */
Test(sim_bad_guests, signals)
{
    static const char *const images[] = {"bad-infinite-loop.img", "bad-self-modifying.img"};

    for (unsigned i = 0; i < sizeof(images) / sizeof(*images); i++) {
        char program[600], guest[600];
        struct timespec before, after;
        int status;
        pid_t pid;

        snprintf(program, sizeof(program), "%s/vtxsim", build);
        snprintf(guest, sizeof(guest), "%s/guests/%s", build, images[i]);
        pid = fork();
        if (pid == 0) {
            dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
            dup2(STDIN_FILENO, STDOUT_FILENO);
            dup2(STDIN_FILENO, STDERR_FILENO);
            alarm(SECONDS_MAX);
            execl(program, program, "run", guest, NULL);
            _exit(99);
        }
        usleep(700000);
        clock_gettime(CLOCK_MONOTONIC, &before);
        kill(pid, SIGTERM);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        clock_gettime(CLOCK_MONOTONIC, &after);
        /* The second one may have ended by itself before. */
        cr_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 128 + SIGTERM ||
                                        (i == 1 && WEXITSTATUS(status) == 1)),
                  "%s: status 0x%x", images[i], (unsigned)status);
        cr_assert_lt(after.tv_sec - before.tv_sec, 10, "%s", images[i]);
    }
}

/* --- Images
 * ------------------------------------------------------------------------------------------ */

static void write_image(const void *data, size_t size)
{
    FILE *file = fopen("image", "we");

    cr_assert(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* A refused image: 127, and its name. One that is loaded may end in any way that is told. */
static void expect_clear_end(const char *what)
{
    int status = RUN("--memory", "16M", "-n", "200000", "image");
    bool clear = status == 127 || status == 124 || status == 125 || status == 0 || (status & 1);

    cr_assert(clear && status < 1000 && status != 126, "%s: status %d: %s", what, status, told);
    cr_assert(status != 127 || strstr(told, "image"), "%s: \"%s\"", what, told);
}

Test(sim_bad_guests, no_images)
{
    write_image("", 0);
    cr_assert_eq(RUN("image"), 127);
    cr_assert(strstr(told, "image") && strstr(told, "empty"), "%s", told);
    cr_assert_eq(RUN("nothing"), 127);
    cr_assert(strstr(told, "nothing"), "%s", told);
    cr_assert_eq(RUN("--kernel", "nothing", "--initrd", "nothing"), 127);
    cr_assert_eq(RUN("--kernel", "@demo.img", "--initrd", "nothing"), 127);
    write_image("", 0);
    chmod("image", 0);
    if (geteuid() != 0)
        cr_assert_eq(RUN("image"), 127);
    cr_assert_eq(RUN("/dev/zero", "--memory", "16M"), 127, "%s", told);
}

static uint64_t random_state = 0x853c49e6748fea9b;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static char *slurp_guest(const char *guest, size_t *size)
{
    char path[600];
    struct stat status;
    char *data;
    FILE *file;

    snprintf(path, sizeof(path), "%s/guests/%s", build, guest);
    file = fopen(path, "re");
    cr_assert(file && fstat(fileno(file), &status) == 0, "%s", path);
    data = malloc((size_t)status.st_size);
    *size = fread(data, 1, (size_t)status.st_size, file);
    fclose(file);
    return data;
}

/* Cut anywhere. */
Test(sim_bad_guests, truncated_images)
{
    static const char *const images[] = {"torture.multiboot", "demo.img", "bad-halt.img"};

    for (unsigned i = 0; i < sizeof(images) / sizeof(*images); i++) {
        size_t size;
        char *data = slurp_guest(images[i], &size), what[64];

        for (unsigned cut = 0; cut < 5; cut++) {
            size_t length = cut == 0 ? 1 : cut == 1 ? 511 : next_random() % size;

            snprintf(what, sizeof(what), "%s cut to %zu", images[i], length);
            write_image(data, length < size ? length : size - 1);
            expect_clear_end(what);
        }
        free(data);
    }
}

/* Bytes changed anywhere, and boot sectors of nothing but noise. */
Test(sim_bad_guests, garbage)
{
    size_t size;
    char *data = slurp_guest("torture.multiboot", &size), what[64];
    uint64_t noise[64];

    for (unsigned i = 0; i < 6; i++) {
        for (unsigned j = 0; j < 20u << i; j++)
            data[next_random() % (i < 2 ? 64 : size)] = (char)next_random();
        write_image(data, size);
        snprintf(what, sizeof(what), "damage %u", i);
        expect_clear_end(what);
    }
    free(data);
    for (unsigned i = 0; i < 12; i++) {
        for (unsigned j = 0; j < 64; j++)
            noise[j] = next_random();
        ((uint8_t *)noise)[510] = 0x55;
        ((uint8_t *)noise)[511] = 0xaa;
        write_image(noise, sizeof(noise));
        snprintf(what, sizeof(what), "noise %u", i);
        expect_clear_end(what);
    }
    /* The same bytes as 32- and 64-bit code. */
    for (unsigned i = 0; i < 6; i++) {
        for (unsigned j = 0; j < 63; j++)
            noise[j] = next_random();
        noise[63] = 0;
        write_image(noise, sizeof(noise));
        int status =
            RUN("--memory", "16M", "-n", "200000", "--flat-mode", i % 2 ? "64" : "32", "image");
        cr_assert(status == 124 || status == 125 || status == 0 || ((status & 1) && status < 256),
                  "flat noise %u: status %d: %s", i, status, told);
    }
}

/* --- Options
 * ----------------------------------------------------------------------------------------- */

Test(sim_bad_guests, absurd_options)
{
    static const struct {
        const char *name, *value;
        int status; /* -1: accepted or refused, but clearly */
    } cases[] = {
        {"--memory", "0", 2},
        {"--memory", "1", 2},
        {"--memory", "4097", 2},
        {"--memory", "-1", 2},
        {"--memory", "18446744073709551616", 2},
        {"--memory", "16777216T", 2},
        {"--memory", "4K", -1},
        {"--memory", "64K", -1},
        {"--memory", "100G", -1},
        {"--cpus", "0", 2},
        {"--cpus", "4294967297", 2},
        {"--cpus", "255", -1},
        {"-n", "-5", 2},
        {"-n", "x", 2},
        {"--seed", "99999999999999999999", 2},
        {"--ept-page-size", "3K", 2},
        {"--ept-withdraw", "0", 2},
        {"--ept-withdraw", "1", -1},
        {"--exit-cycles", "-2", 2},
        {"--exit-cycles", "4294967295", -1},
        {"--flat-mode", "48", 2},
        {"--timing", "soon", 2},
        {"--backend", "qemu", 2},
        {"--log-level", "vmx", 2},
        {"--log-size", "1Q", 2},
        {"--cpu", "", 2},
        {"--trace", "", -1},
        {"--trace", "/proc/self/trace", 127},
        {"--log-file", "/nonexistent/l", 127},
        {"--log-file", "/", 127},
        {"--config", "/dev/null", -1},
        {"--config", "/dev/zero", 2},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int status = RUN(cases[i].name, cases[i].value, "@bad-halt.img");

        if (cases[i].status < 0) {
            cr_assert(status == 2 || status == 125 || status == 127, "%s %s: status %d: %s",
                      cases[i].name, cases[i].value, status, told);
        } else {
            cr_assert_eq(status, cases[i].status, "%s %s: status %d: %s", cases[i].name,
                         cases[i].value, status, told);
        }
        cr_assert_gt(strlen(told), 10, "%s %s says nothing", cases[i].name, cases[i].value);
    }
}

/* Traces that cannot be written from the start, or not to the end. */
Test(sim_bad_guests, unwritable_traces)
{
    struct rlimit limit = {20000, 20000};
    struct trace_reader *reader;
    struct trace_event exit;
    int status, more;
    pid_t pid;

    cr_assert_eq(RUN("--trace", "/nonexistent/t", "@demo.img"), 127);
    cr_assert_eq(RUN("--trace", ".", "@demo.img"), 127);
    cr_assert_eq(RUN("--trace", "/dev/full", "@demo.img"), 127);

    /* The disk is full after a while: what was written is whole as far as it goes. */
    pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(RUN("--trace", "trace.vtx", "@torture.multiboot", "rounds=60") == 126 ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the status is not 126");
    cr_assert_eq(trace_reader_open(&reader, "trace.vtx", NULL, 0), 0);
    while ((more = trace_reader_next(reader, &exit)) == 1)
        continue;
    cr_assert(more == -ENODATA || more == -EBADMSG, "%d", more);
    trace_reader_close(reader);
}
