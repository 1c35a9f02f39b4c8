/*
 * What a trace record costs the thread that writes it, and how small it gets: a made-up run in
 * which exits of a few kinds recur, about 100 ns apart. The reference is the same loop without a
 * trace.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "traces/writer.h"

#define RECORDS 4000000u
#define WORK    100u /* additions through memory, some 1 ns each, in place of the guest */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double run(struct trace_writer *writer)
{
    static const uint32_t reasons[] = {10, 30, 30, 30, 32, 48, 1, 28};
    volatile uint64_t sink = 0;
    uint64_t state = 88172645463325252u, instructions = 0, now = 0;
    double start = seconds();

    for (unsigned i = 0; i < RECORDS; i++) {
        struct trace_event exit;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        instructions += state % 3000;
        now += state % 7000;
        exit = (struct trace_event){
            .type = TRACE_EXIT,
            .instructions = instructions,
            .time = now,
            .rip = 0xffffffff81000000u + (state >> 20) % 64 * 32,
            .exit.qualification = reasons[state % 8] == 30 ? 0x3f80000 : 0,
            .exit.reason = reasons[state % 8],
            .exit.value = state >> 56,
            .exit.cycles = 1200,
        };
        sink = sink + exit.time;
        for (unsigned wait = 0; wait < WORK; wait++)
            sink = sink + wait;
        if (writer)
            trace_writer_sink(writer)->event(trace_writer_sink(writer), &exit);
    }
    return seconds() - start;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/dev/null";
    struct trace_writer *writer;
    double without, with, start;
    uint64_t bytes;

    without = run(NULL);
    if (trace_writer_open(&writer, path, "{}", TRACE_LEVEL_EXITS)) {
        perror(path);
        return 1;
    }
    start = seconds();
    with = run(writer);
    bytes = trace_writer_bytes(writer);
    if (trace_writer_close(writer)) {
        perror(path);
        return 1;
    }
    printf("record: %.1f ns for the writing thread (%.1f ns without a trace), %.1f ns in all, "
           "%.2f bytes\n",
           with / RECORDS * 1e9, without / RECORDS * 1e9, (seconds() - start) / RECORDS * 1e9,
           (double)bytes / RECORDS);
    return 0;
}
