/*
 * Traces that nobody's writer made: of later versions, with lies in them, or built to exhaust who
 * reads them. What the format allows is read, all else is refused.
 */
#include <errno.h>
#include <zstd.h>

#include "tests/traces_random.h"
#include "traces/index.h"

TestSuite(traces_hostile, .init = make_folder, .fini = remove_folder);

#define HEADER "VTXTRACE\3\0\0\0\1\0\0\0\2\0\0\0{}"

static struct {
    uint8_t data[1 << 20];
    size_t size;
} file, content;

static void put_frame(const void *data, size_t size)
{
    file.size += ZSTD_compress(file.data + file.size, sizeof(file.data) - file.size, data, size, 1);
}

static void begin_file(void)
{
    file.size = 0;
    put_frame(HEADER, sizeof(HEADER) - 1);
}

/* Opens what the file holds, reads to its end; returns what that is. */
static int read_file(struct trace_event *events, unsigned *count, uint64_t *position)
{
    struct trace_reader *reader;
    struct trace_event event;
    char message[256];
    int result;

    spill(path, file.data, file.size);
    *count = 0;
    *position = 0;
    result = trace_reader_open(&reader, path, message, sizeof(message));
    if (result)
        return result;
    while ((result = trace_reader_next(reader, &event)) == 1)
        if ((*count)++ < 4)
            events[*count - 1] = event;
    *position = trace_reader_position(reader);
    trace_reader_close(reader);
    return result;
}

/* One frame of events, given by its numbers, which are below 2^32; -1 is 2^64 - 1. */
#define MANY (-1)
static const struct hostile_frame {
    const char *what;
    int64_t number[32]; /* ends with -2 */
    int result;
    unsigned count;
    uint64_t position;
} frames[] = {
    /* first, count, instructions, time, columns, {id, size}, then the columns */
    {"an exit of zeros", {0, 1, 0, 0, 1, 0, 2, 1, 1, -2}, -ENODATA, 1, 1},
    {"two events of a later type", {0, 2, 0, 0, 1, 0, 2, 99, 2, -2}, -ENODATA, 0, 2},
    {"one before, one behind an exit",
     {0, 3, 0, 0, 1, 0, 6, 99, 1, 1, 1, 77, 1, -2},
     -ENODATA,
     1,
     3},
    {"as many as there may be", {0, 1 << 27, 0, 0, 1, 0, 5, 99, 1 << 27, -2}, -ENODATA, 0, 1 << 27},
    {"more than that", {0, 1 + (1 << 27), 0, 0, 1, 0, 5, 99, 1 + (1 << 27), -2}, -EBADMSG, 0, 0},
    {"columns of later fields and types",
     {0, 1, 0, 0, 4, 0, 2, 64 + 3, 1, 64 + 63, 3, 20 * 64, 1, 1, 1, 8, 5, 5, 5, 7, -2},
     -ENODATA,
     1,
     1},
    {"a column twice", {0, 1, 0, 0, 3, 0, 2, 67, 1, 67, 1, 1, 1, 8, 8, -2}, -EBADMSG, 0, 0},
    {"a column that goes on", {0, 1, 0, 0, 2, 0, 2, 67, 2, 1, 1, 8, 8, -2}, -EBADMSG, 1, 1},
    {"a column that is too short", {0, 2, 0, 0, 2, 0, 2, 67, 1, 1, 2, 8, -2}, -EBADMSG, 1, 1},
    {"a column behind the end", {0, 1, 0, 0, 2, 0, 2, 67, 9, 1, 1, 8, -2}, -EBADMSG, 0, 0},
    {"a column beyond all numbers", {0, 1, 0, 0, 2, 0, 2, 67, MANY, 1, 1, 8, -2}, -EBADMSG, 0, 0},
    {"columns beyond all numbers", {0, 1, 0, 0, MANY, 0, 2, 1, 1, -2}, -EBADMSG, 0, 0},
    {"bytes in no column", {0, 1, 0, 0, 1, 0, 2, 1, 1, 1, -2}, -EBADMSG, 0, 0},
    {"no order of types", {0, 1, 0, 0, 0, -2}, -EBADMSG, 0, 0},
    {"a run of none", {0, 1, 0, 0, 1, 0, 4, 1, 0, 1, 1, -2}, -EBADMSG, 0, 0},
    {"a run beyond the count", {0, 1, 0, 0, 1, 0, 2, 1, 2, -2}, -EBADMSG, 0, 0},
    {"an order beyond the count", {0, 1, 0, 0, 1, 0, 4, 1, 1, 1, 1, -2}, -EBADMSG, 1, 1},
    {"no events", {0, 0, 0, 0, 1, 0, 0, -2}, -EBADMSG, 0, 0},
    {"another first event", {1, 1, 0, 0, 1, 0, 2, 1, 1, -2}, -EBADMSG, 0, 0},
    {"an input that is too long",
     {0, 1, 0, 0, 2, 0, 2, 3 * 64 + 5, 1, 3, 1, 49, -2},
     -EBADMSG,
     0,
     0},
    {"an input beyond its column",
     {0, 1, 0, 0, 2, 0, 2, 3 * 64 + 5, 2, 3, 1, 2, 65, -2},
     -EBADMSG,
     0,
     0},
    {"blocks, all predicted", {0, 3, 0, 0, 1, 0, 2, 8, 3, -2}, -ENODATA, 3, 3},
    {"a run of predictions beyond the count",
     {0, 2, 0, 0, 2, 0, 2, 8 * 64 + 15, 1, 8, 2, 7, -2},
     -EBADMSG,
     2,
     2},
    {"nothing at all", {-2}, -EBADMSG, 0, 0},
};

Test(traces_hostile, frames)
{
    for (unsigned i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
        const struct hostile_frame *frame = &frames[i];
        struct trace_event events[4];
        unsigned count;
        uint64_t position;
        uint8_t *out = content.data;
        int result;

        for (const int64_t *number = frame->number; *number != -2; number++)
            out = trace_put_varint(out, (uint64_t)*number);
        begin_file();
        put_frame(content.data, (size_t)(out - content.data));
        result = read_file(events, &count, &position);
        cr_expect(result == frame->result && count == frame->count && position == frame->position,
                  "%s: %u events up to %lu, then %d", frame->what, count, position, result);
        if (strncmp(frame->what, "columns of later", 16) == 0)
            cr_expect_eq(events[0].rip, 4, "a field beside them is lost: %#lx", events[0].rip);
    }
}

/* Small files that decompress to more than any trace's frame has. */
Test(traces_hostile, bombs)
{
    const size_t size = 64 << 20;
    uint8_t *zeros = calloc(1, size);
    ZSTD_CCtx *compressor = ZSTD_createCCtx();
    ZSTD_outBuffer out = {file.data, sizeof(file.data), 0};
    ZSTD_inBuffer in = {zeros, size, 0};
    struct trace_event events[4];
    unsigned count;
    uint64_t position;

    memcpy(zeros, HEADER, sizeof(HEADER));
    file.size = 0;
    put_frame(zeros, size);
    cr_assert_eq(read_file(events, &count, &position), -EBADMSG, "as the header");
    begin_file();
    put_frame(zeros, size);
    cr_assert_eq(read_file(events, &count, &position), -EBADMSG, "as a frame of events");
    /* Its content's size untold. */
    while (ZSTD_compressStream2(compressor, &out, &in, ZSTD_e_end) > 0)
        ;
    file.size = out.pos;
    cr_assert_eq(read_file(events, &count, &position), -EBADMSG, "as the header, untold");
    cr_assert_lt(file.size, 10000);
    ZSTD_freeCCtx(compressor);
    free(zeros);
}

/* An index whose checksum is right, but that tells of other frames than there are. */
static void lie_of_count(struct trace_frame *frame)
{
    frame->count++;
}
static void lie_of_content(struct trace_frame *frame)
{
    frame->content_size--;
}
static void lie_of_checksum(struct trace_frame *frame)
{
    frame->checksum ^= 1;
}
static void lie_of_size(struct trace_frame *frame)
{
    frame->compressed_size += 3;
}
static void lie_of_nothing(struct trace_frame *frame)
{
}

Test(traces_hostile, index_lies)
{
    static const struct {
        void (*lie)(struct trace_frame *frame);
        int result;
    } lies[] = {
        {lie_of_nothing, 0},         {lie_of_count, -EBADMSG}, {lie_of_content, -EBADMSG},
        {lie_of_checksum, -EBADMSG}, {lie_of_size, -EBADMSG},
    };
    struct trace_event *events = random_events(70000, false);
    const struct trace_frame *frame;
    struct trace_reader *reader;
    size_t size;
    uint8_t *data;

    write_trace(path, events, 70000);
    data = slurp(path, &size);
    cr_assert_eq(trace_reader_open(&reader, path, NULL, 0), 0);
    for (unsigned i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        int64_t count = trace_reader_frames(reader, &frame);
        struct trace_frames told = {.header_size = frame[0].offset, .header_content_size = 41};
        size_t index_size;
        uint8_t *index, *made;
        int result;

        for (int64_t number = 0; number < count; number++) {
            struct trace_frame one = frame[number];

            if (number == 0)
                lies[i].lie(&one);
            cr_assert_eq(trace_frames_add(&told, &one), 0);
        }
        index = trace_frames_pack(&told, &index_size);
        size = frame[count - 1].offset + frame[count - 1].compressed_size;
        made = malloc(size + index_size);
        memcpy(made, data, size);
        memcpy(made + size, index, index_size);
        spill(other, made, size + index_size);
        read_trace(other, events, &result);
        cr_assert_eq(result, lies[i].result, "lie %u: %d", i, result);
        trace_frames_release(&told);
        free(index);
        free(made);
    }
    trace_reader_close(reader);
    free(data);
    free(events);
}
