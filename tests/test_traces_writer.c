/*
 * Writing traces: what is written is what is read, byte for byte the same for the same events, good
 * up to the last whole frame however a file is cut or a disk fills.
 */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/traces_random.h"

TestSuite(traces_writer, .init = make_folder, .fini = remove_folder);

Test(traces_writer, round_trip)
{
    static const unsigned counts[] = {0, 1, 5000, 200000};

    for (unsigned i = 0; i < 8; i++) {
        unsigned count = counts[i / 2];
        struct trace_event *events = random_events(count, i % 2);
        int result;

        write_trace(path, events, count);
        cr_assert_eq(read_trace(path, events, &result), count);
        cr_assert_eq(result, 0, "%u events end with %d", count, result);
        free(events);
    }
}

Test(traces_writer, same_events_same_bytes)
{
    const unsigned count = 200000;
    struct trace_event *events = random_events(count, true);
    struct trace_writer *writer;
    uint8_t *a, *b;
    size_t a_size, b_size;

    write_trace(path, events, count);
    /* The second time with pauses, so that the threads meet differently. */
    cr_assert_eq(trace_writer_open(&writer, other, OPTIONS, TRACE_LEVEL_MEMORY), 0);
    for (unsigned i = 0; i < count; i += 5000) {
        write_events(trace_writer_sink(writer), events + i, 5000);
        usleep(1000);
    }
    cr_assert_eq(trace_writer_close(writer), 0);
    a = slurp(path, &a_size);
    b = slurp(other, &b_size);
    cr_assert_eq(a_size, b_size);
    cr_assert_arr_eq(a, b, a_size);
    free(a);
    free(b);
    free(events);
}

/* A recorder that is killed loses no more than a frame may span: 64 million instructions. */
Test(traces_writer, frames_end_by_instructions_and_time)
{
    static const struct {
        uint64_t instructions, time;
    } steps[] = {{10 << 20, 1}, {1, 300 << 20}};

    for (unsigned i = 0; i < 2; i++) {
        struct trace_event *events = random_events(300, false);
        const struct trace_frame *frames;
        struct trace_reader *reader;
        int64_t count;

        for (unsigned event = 0; event < 300; event++) {
            events[event].type = TRACE_INJECTION;
            events[event].instructions = steps[i].instructions * event;
            events[event].time = steps[i].time * event;
        }
        write_trace(path, events, 300);
        cr_assert_eq(trace_reader_open(&reader, path, NULL, 0), 0);
        count = trace_reader_frames(reader, &frames);
        cr_assert_gt(count, 30);
        for (int64_t frame = 0; frame < count; frame++)
            cr_assert(frames[frame].count > 1 && frames[frame].count <= 9);
        trace_reader_close(reader);
        free(events);
    }
}

Test(traces_writer, unwritable)
{
    struct trace_writer *writer;

    cr_assert_eq(trace_writer_open(&writer, "/nonexistent/trace.vtx", OPTIONS, 1), -ENOENT);
    cr_assert_eq(trace_writer_open(&writer, folder, OPTIONS, 1), -EISDIR);
    cr_assert_eq(trace_writer_open(&writer, "/dev/full", OPTIONS, 1), -ENOSPC);
}

/* A disk that fills in the middle (here: a limit on the file's size) ends the trace cleanly. */
Test(traces_writer, disk_full_while_running)
{
    const unsigned count = 400000;
    struct trace_event *events = random_events(count, false);
    struct rlimit limit = {0, RLIM_INFINITY};
    struct trace_reader *reader;
    struct trace_writer *writer;
    struct stat status;
    uint64_t bytes;
    unsigned found;
    int result;

    write_trace(path, events, count);
    cr_assert_eq(stat(path, &status), 0);
    limit.rlim_cur = (rlim_t)status.st_size * 2 / 3;
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(trace_writer_open(&writer, path, OPTIONS, TRACE_LEVEL_MEMORY), 0);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    write_events(trace_writer_sink(writer), events, count);
    result = trace_writer_finish(writer);
    cr_assert_eq(result, -EFBIG);
    cr_assert_eq(trace_writer_error(writer), -EFBIG);
    bytes = trace_writer_bytes(writer);
    cr_assert_eq(trace_writer_close(writer), -EFBIG);
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq((uint64_t)status.st_size, bytes, "the file ends with a whole frame");
    found = read_trace(path, events, &result);
    cr_assert_eq(result, -ENODATA);
    cr_assert(found > 0 && found < count);
    cr_assert_eq(trace_reader_open(&reader, path, NULL, 0), 0);
    cr_assert(!trace_reader_is_whole(reader));
    trace_reader_close(reader);
    free(events);
}

/* Everything that is left must be what was written, again and again. */
static void check_remains(const struct trace_event *events, unsigned count)
{
    struct trace_reader *reader;
    struct trace_event event;
    uint64_t number = 0;
    int result;

    cr_assert_eq(trace_reader_open(&reader, path, NULL, 0), 0);
    while ((result = trace_reader_next(reader, &event)) == 1) {
        expect_equal(&event, &events[number % count], number);
        number++;
    }
    cr_assert_eq(result, -ENODATA);
    cr_assert(number > 0 && !trace_reader_is_whole(reader));
    trace_reader_close(reader);
}

/* Killed at any moment, the recorder leaves a trace that opens. */
Test(traces_writer, killed)
{
    const unsigned count = 100000;
    struct trace_event *events = random_events(count, false);

    for (unsigned i = 0; i < 8; i++) {
        off_t wanted = 1000000 + (off_t)(random_next() % 2000000); /* a frame has 0.6 MB */
        struct stat status = {0};
        pid_t child;

        unlink(path);
        child = fork();
        if (child == 0) {
            struct trace_writer *writer;

            if (trace_writer_open(&writer, path, OPTIONS, TRACE_LEVEL_MEMORY))
                _exit(1);
            for (;;)
                write_events(trace_writer_sink(writer), events, count);
        }
        while ((stat(path, &status) != 0 || status.st_size < wanted) &&
               waitpid(child, NULL, WNOHANG) == 0)
            usleep(500);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        check_remains(events, count);
    }
    free(events);
}
