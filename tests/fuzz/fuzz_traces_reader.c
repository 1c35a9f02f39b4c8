/*
 * What the trace reader does with any bytes at all. An input that begins as zstd does is a whole
 * file; checksums keep most damage to those from what lies behind them, so others are put into a
 * file whose checksums are right: after a byte that is even, as the content of a frame of events,
 * and after one that is odd, as the index behind one.
 */
#define _GNU_SOURCE /* memfd_create */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

#include "traces/index.h"
#include "traces/reader.h"

#define EVENTS_MOST 1000 /* of 2^27 that a few bytes may stand for */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char header[] = "VTXTRACE\3\0\0\0\4\0\0\0\2\0\0\0{}";
/* Two exits and a block that is predicted. */
static const uint8_t events[] = {0, 3, 0, 0, 2, 0, 4, 67, 2, 1, 2, 8, 1, 2, 2};

struct file {
    uint8_t *data;
    size_t size, allocated;
};

static void put(struct file *file, const void *data, size_t size)
{
    assert(file->allocated - file->size >= size);
    memcpy(file->data + file->size, data, size);
    file->size += size;
}

/* Returns the frame's size in the file. */
static size_t put_frame(struct file *file, const void *content, size_t size)
{
    ZSTD_CCtx *compressor = ZSTD_createCCtx();
    size_t packed;

    ZSTD_CCtx_setParameter(compressor, ZSTD_c_checksumFlag, 1);
    packed = ZSTD_compress2(compressor, file->data + file->size, file->allocated - file->size,
                            content, size);
    assert(!ZSTD_isError(packed));
    ZSTD_freeCCtx(compressor);
    file->size += packed;
    return packed;
}

/* An index with this content and the checksum that belongs to it, and the seek table's end. */
static void put_index(struct file *file, const uint8_t *content, size_t size)
{
    uint8_t number[TRACE_SKIPPABLE_HEADER_SIZE], footer[TRACE_SEEK_FOOTER_SIZE] = {0};

    trace_put_u32(number, TRACE_INDEX_MAGIC);
    trace_put_u32(number + 4, (uint32_t)size + 8);
    put(file, number, 8);
    put(file, content, size);
    trace_put_u64(number, XXH64(content, size, 0));
    put(file, number, 8);

    trace_put_u32(number, TRACE_SEEK_MAGIC);
    trace_put_u32(number + 4, TRACE_SEEK_ENTRY_SIZE + TRACE_SEEK_FOOTER_SIZE);
    put(file, number, 8);
    trace_put_u32(number, TRACE_SKIPPABLE_HEADER_SIZE + (uint32_t)size + 8);
    trace_put_u32(number + 4, 0);
    put(file, number, 8);
    trace_put_u32(footer, 1);
    trace_put_u32(footer + 5, TRACE_SEEK_FOOTER_MAGIC);
    put(file, footer, sizeof(footer));
}

static void make_file(struct file *file, const uint8_t *data, size_t size)
{
    if (size >= 4 && trace_get_u32(data) == ZSTD_MAGICNUMBER) {
        put(file, data, size);
    } else if (size > 0) {
        put_frame(file, header, sizeof(header) - 1);
        if (data[0] % 2 == 0) {
            put_frame(file, data + 1, size - 1);
        } else {
            put_frame(file, events, sizeof(events));
            put_index(file, data + 1, size - 1);
        }
    }
}

static void check_event(const struct trace_event *event)
{
    assert(trace_event_name(event->type));
    assert(event->type != TRACE_INPUT || event->input.size <= TRACE_INPUT_MAX);
}

static uint64_t read_some(struct trace_reader *reader)
{
    struct trace_event event;
    uint64_t last = trace_reader_position(reader);
    int result = 1;

    for (unsigned i = 0; i < EVENTS_MOST; i++) {
        result = trace_reader_next(reader, &event);
        if (result != 1)
            break;
        check_event(&event);
        assert(trace_reader_position(reader) > last);
        last = trace_reader_position(reader);
    }
    assert(result <= 1);
    if (result != 1)
        assert(trace_reader_next(reader, &event) == result);
    return last;
}

static void read_all_ways(struct trace_reader *reader)
{
    const struct trace_frame *frames;
    struct trace_event first, again;
    uint64_t most = read_some(reader);
    int64_t count = trace_reader_frames(reader, &frames);

    assert(strlen(trace_reader_options(reader)) <= TRACE_OPTIONS_MAX);
    assert(trace_reader_level(reader) < TRACE_LEVELS);
    for (int64_t i = 1; i < count; i++)
        assert(frames[i].first == frames[i - 1].first + frames[i - 1].count);
    for (unsigned index = TRACE_INDEX_EVENT; index <= TRACE_INDEX_TIME; index++) {
        uint64_t place = index == TRACE_INDEX_EVENT ? most / 2 : 1000;

        /* The same place twice is the same event. */
        if (trace_reader_seek(reader, index, place) == 0 && trace_reader_next(reader, &first) == 1)
            assert(trace_reader_seek(reader, index, place) == 0 &&
                   trace_reader_next(reader, &again) == 1 &&
                   memcmp(&first, &again, sizeof(first)) == 0);
        read_some(reader);
    }
    trace_reader_is_whole(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file file = {.allocated = 2 * size + 4096};
    struct trace_reader *reader;
    char path[64], message[256] = "";
    int fd = memfd_create("trace", MFD_CLOEXEC);
    int error;

    file.data = malloc(file.allocated);
    assert(fd >= 0 && file.data);
    make_file(&file, data, size);
    assert(pwrite(fd, file.data, file.size, 0) == (ssize_t)file.size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    error = trace_reader_open(&reader, path, message, sizeof(message));
    if (error) {
        assert(error < 0 && strstr(message, path));
    } else {
        read_all_ways(reader);
        trace_reader_close(reader);
    }
    close(fd);
    free(file.data);
    return 0;
}
