/*
 * What a trace costs the thread that writes it, how fast it is compressed, and how small it gets.
 * The events are those of a trace that is given, or made up: exits of a few kinds that recur. The
 * references: the same calls to a sink that does nothing, and zstd -19 and xz -9 of the same
 * events as plain records.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "traces/reader.h"
#include "traces/writer.h"

#define EVENTS_MOST  4000000u /* of a trace, from its middle */
#define RECORDS_MOST 200000u  /* of them, for the references: those are slow */

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static struct trace_event *make_up(unsigned *count)
{
    static const uint32_t reasons[] = {10, 30, 30, 30, 32, 48, 1, 28};
    struct trace_event *events = calloc(*count = 200000, sizeof(*events));
    uint64_t state = 88172645463325252u, instructions = 0, now = 0;

    for (unsigned i = 0; events && i < *count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        instructions += state % 3000;
        now += state % 7000;
        events[i] = (struct trace_event){
            .type = TRACE_EXIT,
            .instructions = instructions,
            .time = now,
            .rip = 0xffffffff81000000u + (state >> 20) % 64 * 32,
            .exit.qualification = reasons[state % 8] == 30 ? 0x3f80000 : 0,
            .exit.reason = reasons[state % 8],
            .exit.value = state >> 56,
            .exit.cycles = 1200,
        };
    }
    return events;
}

static struct trace_event *load(const char *path, unsigned *count, enum trace_level *level)
{
    struct trace_event *events = malloc(EVENTS_MOST * sizeof(*events));
    const struct trace_frame *frames;
    struct trace_reader *reader;
    char message[256];
    int64_t found;

    if (!events || trace_reader_open(&reader, path, message, sizeof(message))) {
        fprintf(stderr, "%s\n", events ? message : "out of memory");
        return NULL;
    }
    *level = trace_reader_level(reader);
    found = trace_reader_frames(reader, &frames);
    if (found > 0 && frames[found - 1].first + frames[found - 1].count > EVENTS_MOST)
        trace_reader_seek(reader, TRACE_INDEX_EVENT,
                          (frames[found - 1].first + frames[found - 1].count - EVENTS_MOST) / 2);
    *count = 0;
    while (*count < EVENTS_MOST && trace_reader_next(reader, &events[*count]) == 1)
        (*count)++;
    trace_reader_close(reader);
    return events;
}

static void ignore_event(struct trace_sink *sink, const struct trace_event *event)
{
    __asm__ volatile("" : : "r"(event) : "memory");
}

static void ignore_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions,
                         uint32_t size)
{
    __asm__ volatile("" : : "r"(rip), "r"(instructions), "r"(size));
}

/* Returns the processor time of this thread for each event, in ns. */
static double feed(struct trace_sink *sink, const struct trace_event *events, unsigned count)
{
    double start = seconds(CLOCK_THREAD_CPUTIME_ID);

    for (unsigned i = 0; i < count; i++) {
        const struct trace_event *event = &events[i];

        if (event->type == TRACE_BLOCK)
            sink->block(sink, event->rip, event->instructions, event->block.instructions);
        else
            sink->event(sink, event);
    }
    return (seconds(CLOCK_THREAD_CPUTIME_ID) - start) / count * 1e9;
}

static size_t write_field(FILE *file, const struct trace_event *event,
                          const struct trace_field *field)
{
    return fwrite((const char *)event + field->offset, 1, field->size, file);
}

/* The events as records: type, then all fields at their full size. Returns bytes. */
static uint64_t write_records(const char *path, const struct trace_event *events, unsigned count)
{
    FILE *file = fopen(path, "wb");
    uint64_t bytes = 0;

    for (unsigned i = 0; file && i < count; i++) {
        bytes += fwrite(&events[i].type, 1, 1, file);
        for (const struct trace_field *field = trace_common_fields; field->name; field++)
            bytes += write_field(file, &events[i], field);
        for (const struct trace_field *field = trace_fields(events[i].type); field->name; field++)
            bytes += write_field(file, &events[i], field);
    }
    if (file)
        fclose(file);
    return bytes;
}

static void compare(const char *command, const char *records, uint64_t bytes, unsigned count)
{
    char line[512];
    uint64_t size = 0;
    double start = seconds(CLOCK_MONOTONIC), took;
    FILE *pipe;

    snprintf(line, sizeof(line), "%s -c '%s' 2>/dev/null | wc -c", command, records);
    pipe = popen(line, "r");
    if (!pipe || fscanf(pipe, "%lu", &size) != 1)
        size = 0;
    if (pipe)
        pclose(pipe);
    took = seconds(CLOCK_MONOTONIC) - start;
    if (size)
        printf("%-10s %10lu bytes  %8.4f an event  %8.1f MB/s of records\n", command, size,
               (double)size / count, (double)bytes / took / 1e6);
    else
        printf("%-10s not installed\n", command);
}

static int run(const struct trace_event *events, unsigned count, enum trace_level level)
{
    struct trace_sink nothing = {.event = ignore_event, .block = ignore_block};
    char folder[] = "/tmp/vtxsim-bench-XXXXXX", path[64], records[64];
    struct trace_sink *volatile sink = &nothing;
    struct trace_writer *writer;
    double without, with, start, took;
    struct stat status;
    unsigned sample = count < RECORDS_MOST ? count : RECORDS_MOST;
    uint64_t bytes;

    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof(path), "%s/trace", folder);
    snprintf(records, sizeof(records), "%s/records", folder);
    without = feed(sink, events, count);
    if (trace_writer_open(&writer, path, "{}", level))
        return 1;
    sink = trace_writer_sink(writer);
    start = seconds(CLOCK_MONOTONIC);
    with = feed(sink, events, count);
    if (trace_writer_close(writer) || stat(path, &status))
        return 1;
    took = seconds(CLOCK_MONOTONIC) - start;
    bytes = write_records(records, events + (count - sample) / 2, sample);
    printf("%u events, %lu to %lu instructions, %.1f bytes an event as records\n", count,
           events[0].instructions, events[count - 1].instructions, (double)bytes / sample);
    printf("the writing thread: %.1f ns an event (%.1f ns without a trace)\n", with, without);
    printf("%-10s %10lu bytes  %8.4f an event  %8.1f MB/s of records, %.4f bits an instruction\n",
           "trace", (uint64_t)status.st_size, (double)status.st_size / count,
           (double)bytes / sample * count / took / 1e6,
           8.0 * (double)status.st_size /
               (double)(events[count - 1].instructions - events[0].instructions));
    compare("zstd -19", records, bytes, sample);
    compare("xz -9", records, bytes, sample);
    unlink(path);
    unlink(records);
    rmdir(folder);
    return 0;
}

int main(int argc, char **argv)
{
    enum trace_level level = TRACE_LEVEL_EXITS;
    unsigned count = 0;
    struct trace_event *events = argc > 1 ? load(argv[1], &count, &level) : make_up(&count);
    int failed = !events || count < 2 ? 1 : run(events, count, level);

    if (failed)
        fprintf(stderr, "usage: bench_traces_writer [TRACE with at least 2 events]\n");
    free(events);
    return failed;
}
