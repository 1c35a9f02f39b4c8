/* The index of a trace and its seek table. */
#include "traces/index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define CHECKSUM_SIZE    8
#define HEAD_SIZE_MAX    (3 * TRACE_VARINT_MAX)
#define ENTRY_SIZE_MAX   (5 * TRACE_VARINT_MAX + CHECKSUM_SIZE)
#define ENTRY_SIZE_LEAST (5 + CHECKSUM_SIZE)

uint64_t trace_frames_end(const struct trace_frames *frames)
{
    const struct trace_frame *last;

    if (frames->count == 0)
        return frames->header_size;
    last = &frames->frame[frames->count - 1];
    return last->offset + last->compressed_size;
}

uint64_t trace_frames_events(const struct trace_frames *frames)
{
    const struct trace_frame *last;

    if (frames->count == 0)
        return 0;
    last = &frames->frame[frames->count - 1];
    return last->first + last->count;
}

int trace_frames_add(struct trace_frames *frames, const struct trace_frame *frame)
{
    struct trace_frame placed = *frame;

    placed.offset = trace_frames_end(frames);
    placed.first = trace_frames_events(frames);
    if (frames->count == frames->allocated) {
        size_t allocated = frames->allocated ? 2 * frames->allocated : 64;
        void *grown = realloc(frames->frame, allocated * sizeof(*frames->frame));

        if (!grown)
            return -ENOMEM;
        frames->frame = grown;
        frames->allocated = allocated;
    }
    frames->frame[frames->count++] = placed;
    return 0;
}

void trace_frames_release(struct trace_frames *frames)
{
    free(frames->frame);
}

/* --- writing -------------------------------------------------------------------------------- */

static uint8_t *put_skippable_header(uint8_t *out, uint32_t magic, size_t size)
{
    trace_put_u32(out, magic);
    trace_put_u32(out + 4, (uint32_t)size);
    return out + TRACE_SKIPPABLE_HEADER_SIZE;
}

static uint8_t *put_index(const struct trace_frames *frames, uint8_t *begin)
{
    uint8_t *content = begin + TRACE_SKIPPABLE_HEADER_SIZE, *out = content;
    uint64_t instructions = 0, time = 0;

    out = trace_put_varint(out, frames->count);
    out = trace_put_varint(out, frames->header_size);
    out = trace_put_varint(out, frames->header_content_size);
    for (size_t i = 0; i < frames->count; i++) {
        const struct trace_frame *frame = &frames->frame[i];

        out = trace_put_varint(out, frame->compressed_size);
        out = trace_put_varint(out, frame->content_size);
        out = trace_put_varint(out, frame->count);
        out = trace_put_varint(out, trace_difference(frame->instructions, instructions));
        out = trace_put_varint(out, trace_difference(frame->time, time));
        trace_put_u64(out, frame->checksum);
        out += CHECKSUM_SIZE;
        instructions = frame->instructions;
        time = frame->time;
    }
    trace_put_u64(out, XXH64(content, (size_t)(out - content), 0));
    out += CHECKSUM_SIZE;
    put_skippable_header(begin, TRACE_INDEX_MAGIC, (size_t)(out - content));
    return out;
}

static uint8_t *put_seek_entry(uint8_t *out, uint64_t compressed, uint64_t content)
{
    trace_put_u32(out, (uint32_t)compressed);
    trace_put_u32(out + 4, (uint32_t)content);
    return out + TRACE_SEEK_ENTRY_SIZE;
}

/* It tells of all frames before it: the header, the events, the index. */
static uint8_t *put_seek_table(const struct trace_frames *frames, size_t index_size, uint8_t *out)
{
    size_t entries = frames->count + 2;

    out = put_skippable_header(out, TRACE_SEEK_MAGIC,
                               entries * TRACE_SEEK_ENTRY_SIZE + TRACE_SEEK_FOOTER_SIZE);
    out = put_seek_entry(out, frames->header_size, frames->header_content_size);
    for (size_t i = 0; i < frames->count; i++)
        out = put_seek_entry(out, frames->frame[i].compressed_size, frames->frame[i].content_size);
    out = put_seek_entry(out, index_size, 0);
    trace_put_u32(out, (uint32_t)entries);
    out[4] = 0; /* descriptor: entries without checksums */
    trace_put_u32(out + 5, TRACE_SEEK_FOOTER_MAGIC);
    return out + TRACE_SEEK_FOOTER_SIZE;
}

uint8_t *trace_frames_pack(const struct trace_frames *frames, size_t *size)
{
    size_t most = 2 * TRACE_SKIPPABLE_HEADER_SIZE + HEAD_SIZE_MAX + CHECKSUM_SIZE +
                  frames->count * ENTRY_SIZE_MAX + (frames->count + 2) * TRACE_SEEK_ENTRY_SIZE +
                  TRACE_SEEK_FOOTER_SIZE;
    uint8_t *begin = malloc(most), *end;

    if (!begin)
        return NULL;
    end = put_index(frames, begin);
    end = put_seek_table(frames, (size_t)(end - begin), end);
    *size = (size_t)(end - begin);
    assert(*size <= most);
    return begin;
}

/* --- reading -------------------------------------------------------------------------------- */

/* Takes an entry, coded against the one before it; numbers are believed as far as they are
 * possible. */
static int take_entry(struct trace_frame *before, const uint8_t **in, const uint8_t *end)
{
    struct trace_frame frame = {0};
    uint64_t instructions, time;

    if (!trace_get_varint(in, end, &frame.compressed_size) ||
        !trace_get_varint(in, end, &frame.content_size) ||
        !trace_get_varint(in, end, &frame.count) || !trace_get_varint(in, end, &instructions) ||
        !trace_get_varint(in, end, &time) || end - *in < CHECKSUM_SIZE)
        return -EBADMSG;
    if (frame.compressed_size > UINT32_MAX || frame.content_size > TRACE_FRAME_MAX ||
        frame.count == 0 || frame.count > TRACE_FRAME_EVENTS_MAX)
        return -EBADMSG;
    frame.instructions = trace_apply(before->instructions, instructions);
    frame.time = trace_apply(before->time, time);
    frame.checksum = trace_get_u64(*in);
    *in += CHECKSUM_SIZE;
    *before = frame;
    return 0;
}

static int take_index(struct trace_frames *frames, const uint8_t *data, size_t size)
{
    const uint8_t *in = data + TRACE_SKIPPABLE_HEADER_SIZE, *end;
    struct trace_frame frame = {0};
    uint64_t count;
    uint32_t length;

    if (size < TRACE_SKIPPABLE_HEADER_SIZE || trace_get_u32(data) != TRACE_INDEX_MAGIC)
        return -EBADMSG;
    length = trace_get_u32(data + 4);
    if (length > size - TRACE_SKIPPABLE_HEADER_SIZE || length < CHECKSUM_SIZE)
        return -EBADMSG;
    end = in + length - CHECKSUM_SIZE;
    if (!trace_get_varint(&in, end, &count) || !trace_get_varint(&in, end, &frames->header_size) ||
        !trace_get_varint(&in, end, &frames->header_content_size) ||
        count > (uint64_t)(end - in) / ENTRY_SIZE_LEAST)
        return -EBADMSG;
    for (uint64_t i = 0; i < count; i++) {
        int error = take_entry(&frame, &in, end);

        if (!error)
            error = trace_frames_add(frames, &frame);
        if (error)
            return error;
    }
    return 0;
}

int trace_frames_unpack(struct trace_frames *frames, const uint8_t *data, size_t size,
                        uint64_t offset)
{
    int error = take_index(frames, data, size);
    size_t packed_size;
    uint8_t *packed;

    if (error)
        return error;
    if (frames->header_size > UINT32_MAX || trace_frames_end(frames) != offset)
        return -EBADMSG;
    /* There is one form only, checksum and seek table included. */
    packed = trace_frames_pack(frames, &packed_size);
    if (!packed)
        return -ENOMEM;
    error = packed_size == size && memcmp(packed, data, size) == 0 ? 0 : -EBADMSG;
    free(packed);
    return error;
}
