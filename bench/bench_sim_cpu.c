/*
 * How fast guest code runs: the loops of tests/guests/bench under vtxsim in an EPT guest, beside
 * the same code in plain Unicorn (plain_unicorn.c) and, where it is installed, in QEMU's TCG.
 *
 * All take turns; figures are medians, in million instructions a second of processor time: the
 * guest's thread's for vtxsim and Unicorn, the whole process's for QEMU, less that of a run of one
 * round, which is all start-up. First touches of memory are part of it.
 *
 * Plain Unicorn delivers no interrupts, so that loop has only QEMU beside it.
 *
 * Usage: bench_sim_cpu [--json] [ROUNDS]
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/guest_run.h"

#define DEFAULT_ROUNDS 5
#define MAX_ROUNDS     99
#define QEMU_EXIT_ZERO 1 /* isa-debug-exit: value << 1 | 1 */

struct loop {
    const char *guest, *text;
    uint64_t rounds;
    const char *ept_page_size;
    bool unicorn;     /* plain Unicorn can run it */
    double of_plain;  /* goal: share of plain Unicorn's speed; 0: none */
    double mips_goal; /* 0: none */
    uint64_t instructions;
    double vtxsim[MAX_ROUNDS], plain[MAX_ROUNDS], qemu[MAX_ROUNDS]; /* nanoseconds */
};

/* Bochs 3.0.devel reached 7.8 MIPS in the random loop in an EPT guest with 4-KiB pages. */
static struct loop loops[] = {
    {.guest = "compute", .text = "compute", .rounds = 50000000, .unicorn = true, .of_plain = 0.7},
    {.guest = "sequential", .text = "sequential 32 KiB", .rounds = 20000, .unicorn = true},
    {.guest = "call", .text = "call, return", .rounds = 10000000, .unicorn = true},
    {.guest = "random",
     .text = "random 64 MiB",
     .rounds = 2000000,
     .unicorn = true,
     .mips_goal = 7.8 * 1.3},
    {.guest = "random",
     .text = "random 64 MiB, EPT 4K",
     .rounds = 2000000,
     .ept_page_size = "4K",
     .unicorn = true,
     .mips_goal = 7.8 * 1.3},
    {.guest = "interrupt", .text = "INT n, IRETQ", .rounds = 200000},
};
#define LOOPS (sizeof loops / sizeof *loops)

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_sim_cpu: %s\n", what);
    exit(1);
}

static char *image_to_file(const struct guest_image *image)
{
    char *path = temporary_file();
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(image->bytes, 1, image->size, file) != image->size || fclose(file))
        die("a temporary file cannot be written");
    return path;
}

static double measure_vtxsim(struct loop *loop, const struct guest_image *image)
{
    struct config_option option = {"ept-page-size", loop->ept_page_size};
    struct guest_run run = guest_run(image, &option, loop->ept_page_size ? 1 : 0);
    loop->instructions = run.instructions;
    return run.elapsed.thread;
}

static double measure_plain(const struct guest_image *image)
{
    char *path = image_to_file(image), command[8192];
    double nanoseconds = 0;
    snprintf(command, sizeof command, "'%s' '%s'", PLAIN_UNICORN, path);
    FILE *output = popen(command, "r");
    if (!output || fscanf(output, "%lf", &nanoseconds) != 1 || pclose(output))
        die("plain_unicorn failed");
    remove(path);
    free(path);
    return nanoseconds;
}

/* Processor nanoseconds of one run of QEMU; negative if it cannot be started. */
static double qemu_time(const struct guest_image *image)
{
    char *path = image_to_file(image);
    char *const arguments[] = {"qemu-system-x86_64",
                               "-accel",
                               "tcg",
                               "-cpu",
                               "max",
                               "-m",
                               "256",
                               "-display",
                               "none",
                               "-nodefaults",
                               "-no-reboot",
                               "-device",
                               "isa-debug-exit,iobase=0xf4,iosize=4",
                               "-kernel",
                               path,
                               NULL};
    pid_t child = fork();
    if (child == 0) {
        execvp(arguments[0], arguments);
        _exit(127);
    }
    int status = 0;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        die("QEMU cannot be waited for");
    remove(path);
    free(path);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != QEMU_EXIT_ZERO)
        return -1;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

static double measure_qemu(const struct loop *loop)
{
    struct guest_image image = guest_image_read_multiboot(loop->guest, loop->rounds);
    struct guest_image start = guest_image_read_multiboot(loop->guest, 1);
    double all = qemu_time(&image), start_up = qemu_time(&start);
    free(image.bytes);
    free(start.bytes);
    return all < 0 || start_up < 0 ? -1 : all - start_up;
}

static void measure(struct loop *loop, unsigned round, bool *qemu)
{
    struct guest_image image = guest_image_read(loop->guest, loop->rounds);
    loop->vtxsim[round] = measure_vtxsim(loop, &image);
    if (loop->unicorn)
        loop->plain[round] = measure_plain(&image);
    if (*qemu) {
        loop->qemu[round] = measure_qemu(loop);
        *qemu = loop->qemu[round] > 0;
    }
    free(image.bytes);
}

static void print_reference(const char *format, double mips, double ours)
{
    if (mips > 0)
        printf(format, mips, ours / mips);
    else
        printf(" %10s %8s", "-", "");
}

static void print_loop(const struct loop *loop, double ours, double plain, double qemu)
{
    printf("%-24s %10.1f", loop->text, ours);
    print_reference(" %10.1f (%5.2f)", plain, ours);
    print_reference(" %10.1f (%5.2f)", qemu, ours);
    if (loop->of_plain > 0)
        printf("  %.2f of plain: %s", loop->of_plain,
               ours >= loop->of_plain * plain ? "met" : "MISSED");
    if (loop->mips_goal > 0)
        printf("  %.1f: %s", loop->mips_goal, ours >= loop->mips_goal ? "met" : "MISSED");
    putchar('\n');
}

static void print(bool json, bool qemu, unsigned rounds)
{
    json_t *all = json_array();
    if (!json)
        printf("%-24s %10s %10s %8s %10s %8s  %s\n", "MIPS", "vtxsim", "Unicorn", "(ratio)",
               "QEMU TCG", "(ratio)", "goal");
    for (struct loop *loop = loops; loop < loops + LOOPS; loop++) {
        double instructions = (double)loop->instructions * 1e3;
        double ours = instructions / median(loop->vtxsim, rounds);
        double plain = loop->unicorn ? instructions / median(loop->plain, rounds) : 0;
        double theirs = qemu ? instructions / median(loop->qemu, rounds) : 0;
        json_array_append_new(all, json_pack("{s:s, s:f, s:f, s:f, s:f, s:f}", "loop", loop->text,
                                             "vtxsim_mips", ours, "unicorn_mips", plain,
                                             "qemu_mips", theirs, "goal_of_unicorn", loop->of_plain,
                                             "goal_mips", loop->mips_goal));
        if (!json)
            print_loop(loop, ours, plain, theirs);
    }
    if (json) {
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
        putchar('\n');
    }
    json_decref(all);
}

int main(int argc, char **argv)
{
    bool json = argc > 1 && !strcmp(argv[1], "--json");
    unsigned rounds = argc > 1 + json ? (unsigned)atoi(argv[1 + json]) : DEFAULT_ROUNDS;
    bool qemu = true; /* until it turns out that there is none */
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: %s [--json] [ROUNDS (1 to %d)]\n", argv[0], MAX_ROUNDS);
        return 2;
    }
    for (unsigned round = 0; round < rounds; round++)
        for (struct loop *loop = loops; loop < loops + LOOPS; loop++)
            measure(loop, round, &qemu);
    print(json, qemu, rounds);
    return 0;
}
