/*
 * What it takes to find out that two large traces are equal, and where they differ, at each step of
 * the comparison. References: cmp on the same files, and reading one trace without comparing.
 *
 * bench_traces_diff [MIB [FOLDER]]: size of the traces (default 256), where they are made.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "traces/diff.h"
#include "traces/writer.h"

#define GOAL_SECONDS 1.0 /* for two equal files of 1 GiB in the page cache */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Exits with values that nothing can compress, up to a size of the file or a number of events; one
 * event, counted from the end, gets another value. Returns the number of events. */
static uint64_t write_trace(const char *path, const char *options, uint64_t bytes, uint64_t events,
                            uint64_t changed)
{
    struct trace_writer *writer;
    uint64_t state = 88172645463325252u, count = 0;

    if (trace_writer_open(&writer, path, options, TRACE_LEVEL_EXITS))
        fail(path);
    while (events ? count < events : trace_writer_bytes(writer) < bytes) {
        struct trace_event exit = {
            .type = TRACE_EXIT,
            .instructions = 1000 * count,
            .time = 2200 * count,
            .rip = random_next(&state),
            .exit.qualification = random_next(&state),
            .exit.reason = 30,
            .exit.value = random_next(&state),
            .exit.cycles = 1200,
        };

        if (events && events - count == changed)
            exit.exit.value ^= 1;
        trace_writer_sink(writer)->event(trace_writer_sink(writer), &exit);
        count++;
    }
    if (trace_writer_close(writer))
        fail(path);
    return count;
}

static bool take(void *context, const struct trace_difference *difference)
{
    (void)difference;
    ++*(unsigned *)context;
    return false;
}

/* Returns the seconds that a comparison takes. */
static double compare(const char *a, const char *b, bool every_frame, unsigned *differences)
{
    static struct trace_comparison comparison;
    static struct trace_diff_result result;
    struct trace_diff_request request = {.comparison = &comparison,
                                         .every_frame = every_frame,
                                         .found = take,
                                         .context = differences};
    struct trace_reader *reader[2];
    double start = seconds();

    *differences = 0;
    trace_comparison_init(&comparison);
    if (trace_reader_open(&reader[0], a, NULL, 0) || trace_reader_open(&reader[1], b, NULL, 0) ||
        trace_diff(reader, &request, &result))
        fail("trace_diff");
    trace_reader_close(reader[0]);
    trace_reader_close(reader[1]);
    return seconds() - start;
}

static double read_all(const char *path)
{
    struct trace_reader *reader;
    struct trace_event event;
    double start = seconds();

    if (trace_reader_open(&reader, path, NULL, 0))
        fail(path);
    while (trace_reader_next(reader, &event) == 1)
        ;
    trace_reader_close(reader);
    return seconds() - start;
}

static double compare_files(const char *const path[2])
{
    double start = seconds();
    unsigned failed;

    if (trace_files_equal(path, &failed) != 1)
        fail(path[failed % 2]);
    return seconds() - start;
}

static double run_cmp(void)
{
    double start = seconds();

    if (system("cmp a.vtx same.vtx"))
        fail("cmp");
    return seconds() - start;
}

int main(int argc, char **argv)
{
    static const char *const equal[] = {"a.vtx", "same.vtx"};
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 256, count;
    char folder[4096];
    unsigned differences;
    double best = 1e9, cmp, frames, last, decoded, reading;

    snprintf(folder, sizeof(folder), "%s/vtxsim-bench-XXXXXX", argc > 2 ? argv[2] : "/tmp");
    if (!mkdtemp(folder) || chdir(folder))
        fail(folder);
    count = write_trace("a.vtx", "{}", mib << 20, 0, 0);
    if (system("cp a.vtx same.vtx"))
        fail("cp");
    write_trace("other.vtx", "{\"seed\":1}", 0, count, 0);
    write_trace("last.vtx", "{}", 0, count, 10);

    for (unsigned round = 0; round < 3; round++) {
        double time = compare_files(equal);

        best = time < best ? time : best;
    }
    cmp = run_cmp();
    frames = compare("a.vtx", "other.vtx", false, &differences);
    last = compare("a.vtx", "last.vtx", false, &differences);
    reading = read_all("a.vtx");
    decoded = compare("a.vtx", "other.vtx", true, &differences);

    printf("%.0f million events in %llu MiB\n", (double)count / 1e6, (unsigned long long)mib);
    printf("equal files                  %7.3f s   %.1f GB/s; cmp: %.3f s\n", best,
           (double)mib / 1024 * 1.0737 / best, cmp);
    printf("equal frames, other options  %7.3f s\n", frames);
    printf("the last frame differs       %7.3f s\n", last);
    printf("every event compared         %7.3f s   %.2f times reading both\n", decoded,
           decoded / (2 * reading));
    printf("goal: equal files of 1 GiB in %.0f s: %s\n", GOAL_SECONDS,
           best * 1024 / (double)mib <= GOAL_SECONDS ? "met" : "MISSED");
    unlink("a.vtx");
    unlink("same.vtx");
    unlink("other.vtx");
    unlink("last.vtx");
    if (chdir("/") || rmdir(folder))
        fail(folder);
    return 0;
}
