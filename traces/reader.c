/* The trace reader: one frame at a time is decompressed whole, checked, then decoded. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "traces/format.h"
#include "traces/reader.h"

#define INPUT_SIZE (128 * 1024)

struct trace_reader {
    FILE *file;
    ZSTD_DCtx *decompressor;
    uint8_t input[INPUT_SIZE];
    size_t input_at, input_end;

    uint8_t *frame; /* the decompressed frame, frame_limit bytes at most */
    size_t frame_limit;
    const uint8_t *next, *end;
    uint64_t frames;    /* read so far, the header included */
    uint64_t records;   /* given so far */
    uint64_t remaining; /* records left in the frame */
    struct trace_predictor predictor;

    char *options;
    enum trace_level level;
    int result; /* what trace_reader_next goes on saying, once it is not 1 */
};

/* Returns 1, 0 at the end of the file, or -errno. */
static int fill_input(struct trace_reader *reader)
{
    if (reader->input_at < reader->input_end)
        return 1;
    reader->input_at = 0;
    reader->input_end = fread(reader->input, 1, INPUT_SIZE, reader->file);
    if (reader->input_end > 0)
        return 1;
    return ferror(reader->file) ? -EIO : 0;
}

/* Returns size, or less at the end of the file, or -errno. */
static int take_input(struct trace_reader *reader, void *data, size_t size)
{
    size_t taken = 0;

    while (taken < size) {
        int filled = fill_input(reader);
        size_t part = reader->input_end - reader->input_at;

        if (filled < 0)
            return filled;
        if (!filled)
            break;
        if (part > size - taken)
            part = size - taken;
        memcpy((uint8_t *)data + taken, reader->input + reader->input_at, part);
        reader->input_at += part;
        taken += part;
    }
    return (int)taken;
}

/* As many bytes as asked for, or -ENODATA. */
static int take_exactly(struct trace_reader *reader, void *data, size_t size)
{
    int taken = take_input(reader, data, size);

    if (taken < 0)
        return taken;
    return (size_t)taken == size ? 0 : -ENODATA;
}

/*
 * Decompresses the frame of which `magic` was the beginning. Returns 0 with next and end set, or
 * -errno.
 */
static int read_zstd_frame(struct trace_reader *reader, const uint8_t magic[4])
{
    ZSTD_inBuffer in = {magic, 4, 0};
    ZSTD_outBuffer out = {reader->frame, reader->frame_limit, 0};

    ZSTD_DCtx_reset(reader->decompressor, ZSTD_reset_session_only);
    for (;;) {
        size_t left = ZSTD_decompressStream(reader->decompressor, &out, &in);
        int filled;

        if (ZSTD_isError(left))
            return -EBADMSG;
        if (in.src != magic)
            reader->input_at = in.pos;
        if (left == 0)
            break;
        if (in.pos < in.size) {
            if (out.pos == out.size)
                return -EBADMSG; /* no frame that the writer makes is this long */
            continue;
        }
        filled = fill_input(reader);
        if (filled <= 0)
            return filled ? filled : -ENODATA;
        in = (ZSTD_inBuffer){reader->input, reader->input_end, reader->input_at};
    }
    reader->next = reader->frame;
    reader->end = reader->frame + out.pos;
    reader->frames++;
    return 0;
}

/* The seek table closes a whole trace: it must tell of all frames and be the last of the file. */
static int read_seek_table(struct trace_reader *reader)
{
    uint8_t size[4], entry[TRACE_SEEK_ENTRY_SIZE], footer[TRACE_SEEK_FOOTER_SIZE];
    int error = take_exactly(reader, size, sizeof(size));

    if (error)
        return error;
    if (trace_get_u32(size) != reader->frames * TRACE_SEEK_ENTRY_SIZE + TRACE_SEEK_FOOTER_SIZE)
        return -EBADMSG;
    for (uint64_t i = 0; i < reader->frames && !error; i++)
        error = take_exactly(reader, entry, sizeof(entry));
    if (!error)
        error = take_exactly(reader, footer, sizeof(footer));
    if (error)
        return error;
    if (trace_get_u32(footer) != reader->frames || footer[4] != 0 ||
        trace_get_u32(footer + 5) != TRACE_SEEK_FOOTER_MAGIC)
        return -EBADMSG;
    error = fill_input(reader);
    return error > 0 ? -EBADMSG : error;
}

/* Returns 1 with a frame, 0 at the end of a whole trace, or -errno. */
static int read_frame(struct trace_reader *reader)
{
    uint8_t magic[4];
    int error = take_exactly(reader, magic, sizeof(magic));

    if (error)
        return error;
    if (trace_get_u32(magic) == TRACE_SEEK_MAGIC)
        return read_seek_table(reader);
    error = read_zstd_frame(reader, magic);
    return error ? error : 1;
}

/* Returns 1, 0 or -errno as trace_reader_next. */
static int begin_records(struct trace_reader *reader)
{
    uint64_t first;
    int result = read_frame(reader);

    if (result != 1)
        return result;
    memset(&reader->predictor, 0, sizeof(reader->predictor));
    reader->next = trace_get_varint(reader->next, reader->end, &first);
    if (!reader->next || first != reader->records)
        return -EBADMSG;
    reader->next = trace_get_varint(reader->next, reader->end, &reader->remaining);
    if (!reader->next || reader->remaining == 0 || reader->remaining > TRACE_FRAME_RECORDS)
        return -EBADMSG;
    return 1;
}

int trace_reader_next(struct trace_reader *reader, struct trace_event *event)
{
    if (reader->result == 1 && reader->remaining == 0)
        reader->result = begin_records(reader);
    if (reader->result != 1)
        return reader->result;
    reader->next = trace_decode(&reader->predictor, reader->next, reader->end, event);
    reader->remaining--;
    if (!reader->next || (reader->remaining == 0 && reader->next != reader->end))
        return reader->result = -EBADMSG;
    reader->records++;
    return 1;
}

static int read_header(struct trace_reader *reader)
{
    uint32_t length;
    int result = read_frame(reader);

    if (result != 1)
        return result ? result : -EBADMSG;
    if (reader->end - reader->next < TRACE_HEADER_SIZE ||
        memcmp(reader->next, TRACE_MAGIC, TRACE_MAGIC_SIZE) != 0)
        return -EBADMSG;
    if (trace_get_u32(reader->next + TRACE_MAGIC_SIZE) != TRACE_VERSION)
        return -ENOTSUP;
    reader->level = trace_get_u32(reader->next + TRACE_MAGIC_SIZE + 4);
    length = trace_get_u32(reader->next + TRACE_MAGIC_SIZE + 8);
    if ((size_t)(reader->end - reader->next) != TRACE_HEADER_SIZE + (size_t)length)
        return -EBADMSG;
    reader->options = strndup((const char *)reader->next + TRACE_HEADER_SIZE, length);
    return reader->options ? 0 : -ENOMEM;
}

int trace_reader_open(struct trace_reader **result, const char *path, char *message, size_t size)
{
    struct trace_reader *reader = calloc(1, sizeof(*reader));
    int error = 0;

    if (!reader)
        return -ENOMEM;
    reader->result = 1;
    reader->frame_limit = TRACE_HEADER_SIZE + TRACE_OPTIONS_MAX;
    if (reader->frame_limit < TRACE_FRAME_MAX)
        reader->frame_limit = TRACE_FRAME_MAX;
    reader->file = fopen(path, "rbe");
    if (!reader->file)
        error = -errno;
    if (!error) {
        reader->frame = malloc(reader->frame_limit);
        reader->decompressor = ZSTD_createDCtx();
        error = reader->frame && reader->decompressor ? read_header(reader) : -ENOMEM;
    }
    if (error) {
        if (message)
            snprintf(message, size, "%s cannot be read as a trace: %s", path, strerror(-error));
        trace_reader_close(reader);
        return error;
    }
    *result = reader;
    return 0;
}

const char *trace_reader_options(const struct trace_reader *reader)
{
    return reader->options;
}

void trace_reader_close(struct trace_reader *reader)
{
    if (reader->file)
        fclose(reader->file);
    ZSTD_freeDCtx(reader->decompressor);
    free(reader->frame);
    free(reader->options);
    free(reader);
}

enum trace_level trace_reader_level(const struct trace_reader *reader)
{
    return reader->level;
}

uint64_t trace_reader_position(const struct trace_reader *reader)
{
    return reader->records;
}
