/*
 * Reading traces: from any place, cut anywhere, damaged anywhere.
 */
#include <errno.h>
#include <zstd.h>

#include "tests/traces_random.h"

TestSuite(traces_reader, .init = make_folder, .fini = remove_folder);

/* The first event at or behind a place, by looking at all. */
static unsigned naive_seek(const struct trace_event *events, unsigned count, enum trace_index index,
                           uint64_t place)
{
    unsigned i = 0;

    for (; i < count; i++)
        if (index == TRACE_INDEX_EVENT ? i >= place
            : index == TRACE_INDEX_INSTRUCTIONS
                ? events[i].instructions >= place
                : events[i].type != TRACE_BLOCK && events[i].type != TRACE_ACCESS &&
                      events[i].time >= place)
            break;
    return i;
}

Test(traces_reader, seek)
{
    const unsigned count = 150000;
    struct trace_event *events = random_events(count, false);
    uint64_t most[] = {count, events[count - 1].instructions, 9000ull * count / 2};
    size_t size;
    uint8_t *file;

    write_trace(path, events, count);
    file = slurp(path, &size);
    spill(other, file, size - 1); /* the same events, but no index to go by */
    for (unsigned cut = 0; cut < 2; cut++) {
        struct trace_reader *reader;

        cr_assert_eq(trace_reader_open(&reader, cut ? other : path, NULL, 0), 0);
        for (unsigned i = 0; i < 100; i++) {
            enum trace_index index = random_next() % 3;
            uint64_t place = i < 3 ? 0 : random_next() % (most[index] + most[index] / 16);
            unsigned expected = naive_seek(events, count, index, place);
            struct trace_event event;

            cr_assert_eq(trace_reader_seek(reader, index, place), 0);
            cr_assert_eq(trace_reader_position(reader), expected, "by %u to %lu: at %lu, not %u",
                         index, place, trace_reader_position(reader), expected);
            for (unsigned next = expected; next < expected + 3 && next < count; next++) {
                cr_assert_eq(trace_reader_next(reader, &event), 1);
                expect_equal(&event, &events[next], next);
            }
            if (expected == count)
                cr_assert_eq(trace_reader_next(reader, &event), cut ? -ENODATA : 0);
        }
        cr_assert_eq(trace_reader_is_whole(reader), !cut);
        trace_reader_close(reader);
    }
    free(file);
    free(events);
}

/* A reader that looks for the frames of a cut file must not lose its place by that. */
Test(traces_reader, frames_while_reading)
{
    const unsigned count = 150000;
    struct trace_event *events = random_events(count, true), event;
    const struct trace_frame *frames, *scanned;
    struct trace_reader *reader, *cut;
    int64_t whole_count;
    size_t size;
    uint8_t *file;

    write_trace(path, events, count);
    file = slurp(path, &size);
    spill(other, file, size - 1);
    cr_assert_eq(trace_reader_open(&reader, path, NULL, 0), 0);
    cr_assert_eq(trace_reader_open(&cut, other, NULL, 0), 0);
    cr_assert_str_eq(trace_reader_options(reader), OPTIONS);
    cr_assert_eq(trace_reader_level(reader), TRACE_LEVEL_MEMORY);
    for (unsigned i = 0; i < count; i++) {
        if (i == 1000) {
            whole_count = trace_reader_frames(reader, &frames);
            cr_assert_eq(trace_reader_frames(cut, &scanned), whole_count);
            cr_assert_gt(whole_count, 3);
            for (int64_t frame = 0; frame < whole_count; frame++)
                cr_assert_arr_eq(&frames[frame], &scanned[frame], sizeof(*frames));
        }
        cr_assert_eq(trace_reader_next(cut, &event), 1);
        expect_equal(&event, &events[i], i);
    }
    trace_reader_close(reader);
    trace_reader_close(cut);
    free(file);
    free(events);
}

Test(traces_reader, cut_anywhere)
{
    const unsigned count = 200000; /* about half of them blocks: three frames at least */
    struct trace_event *events = random_events(count, false);
    const struct trace_frame *frames;
    struct trace_reader *reader;
    int64_t frame_count;
    size_t size;
    uint8_t *file;

    write_trace(path, events, count);
    file = slurp(path, &size);
    cr_assert_eq(trace_reader_open(&reader, path, NULL, 0), 0);
    frame_count = trace_reader_frames(reader, &frames);
    cr_assert_geq(frame_count, 3);
    for (unsigned i = 0; i < 60; i++) {
        /* Random lengths, and those around every boundary. */
        const struct trace_frame *near = &frames[i / 5 % (size_t)frame_count];
        size_t length = i < 5 * frame_count        ? near->offset + i % 5 - 2
                        : i < 5 * frame_count + 20 ? size - 1 - (i - 5 * (size_t)frame_count)
                                                   : random_next() % size;
        unsigned expected = 0;
        int result;

        for (int64_t frame = 0; frame < frame_count; frame++)
            if (frames[frame].offset + frames[frame].compressed_size <= length)
                expected += (unsigned)frames[frame].count;
        spill(other, file, length);
        cr_assert_eq(read_trace(other, events, &result), expected, "cut at %zu", length);
        cr_assert_eq(result, -ENODATA, "cut at %zu: %d", length, result);
    }
    trace_reader_close(reader);
    free(file);
    free(events);
}

/* A changed byte is told, or nothing depends on it: no event is ever a wrong one. */
Test(traces_reader, every_byte_flipped)
{
    const unsigned count = 60;
    struct trace_event *events = random_events(count, false);
    unsigned told = 0;
    uint8_t *file;
    size_t size;

    write_trace(path, events, count);
    file = slurp(path, &size);
    for (size_t at = 0; at < size; at++) {
        uint8_t flipped = at % 2 ? 0xff : (uint8_t)(1u << random_next() % 8);
        unsigned found;
        int result;

        file[at] ^= flipped;
        spill(other, file, size);
        found = read_trace(other, events, &result);
        cr_assert(result < 0 || found == count, "byte %zu: %u events", at, found);
        told += result != 0;
        file[at] ^= flipped;
    }
    cr_assert_geq(told, size * 9 / 10, "only %u of %zu damaged traces were told", told, size);
    free(file);
    free(events);
}

Test(traces_reader, not_a_trace)
{
    static const char text[] = "This is not a trace, whatever its name says.";
    uint8_t packed[256];
    char message[256];
    struct trace_reader *reader;
    size_t size;
    int result;

    read_trace("/nonexistent/trace.vtx", NULL, &result);
    cr_assert_eq(result, -ENOENT);
    read_trace(folder, NULL, &result);
    cr_assert_eq(result, -EISDIR);
    read_trace("/dev/zero", NULL, &result);
    cr_assert_eq(result, -ESPIPE);
    spill(path, text, 0);
    read_trace(path, NULL, &result);
    cr_assert_eq(result, -ENODATA);
    spill(path, text, sizeof(text));
    read_trace(path, NULL, &result);
    cr_assert_eq(result, -EBADMSG);
    /* Good zstd with something else in it. */
    size = ZSTD_compress(packed, sizeof(packed), text, sizeof(text), 1);
    spill(path, packed, size);
    read_trace(path, NULL, &result);
    cr_assert_eq(result, -EBADMSG);
    size = ZSTD_compress(packed, sizeof(packed), "VTXTRACE\2\0\0\0\0\0\0\0", 16, 1);
    spill(path, packed, size);
    cr_assert_eq(trace_reader_open(&reader, path, message, sizeof(message)), -ENOTSUP);
    cr_assert(strstr(message, "version 2") && strstr(message, "version 3"), "%s", message);
}
