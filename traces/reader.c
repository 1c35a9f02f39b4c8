/*
 * The trace reader. Frames are found by the index, or in a trace that was cut off one after the
 * other; each is decompressed whole and checked before one of its events is given.
 */
#include "traces/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "traces/columns.h"
#include "traces/index.h"

#define READ_LEAST (64u << 10)
#define READ_MOST  (TRACE_FRAME_MAX + (TRACE_FRAME_MAX >> 7)) /* above ZSTD_compressBound */

struct buffer {
    uint8_t *data;
    size_t allocated;
};

struct trace_reader {
    int fd;
    uint64_t size; /* of the file */
    char *options;
    enum trace_level level;
    ZSTD_DCtx *decompressor;
    struct buffer packed, scanned, content; /* as in the file; while looking for frames; decoded */

    struct trace_frames frames; /* those known; all of them once `ending` is not 1 */
    int ending; /* what trace_reader_next says behind the last frame; 1: there may be more */

    size_t next_frame; /* the one that is decoded next */
    bool decoding;     /* the one before it, in `content` */
    struct trace_decoder decoder;
    bool has_pending; /* a seek has ended before this event */
    struct trace_event pending;
    uint64_t position;
    int result; /* what trace_reader_next goes on saying, once it is not 1 */
};

/* --- frames in the file --------------------------------------------------------------------- */

static int buffer_reserve(struct buffer *buffer, size_t size)
{
    void *grown;

    if (size <= buffer->allocated)
        return 0;
    grown = realloc(buffer->data, size);
    if (!grown)
        return -ENOMEM;
    buffer->data = grown;
    buffer->allocated = size;
    return 0;
}

/* Returns how many bytes there are, fewer than asked for at the end of the file, or -errno. */
static int64_t read_at(int fd, void *data, size_t size, uint64_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = pread(fd, (uint8_t *)data + done, size - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (int64_t)done;
}

/* The file's bytes from offset into `packed`. Returns as read_at. */
static int64_t read_packed(struct trace_reader *reader, uint64_t offset, size_t size)
{
    int error = buffer_reserve(&reader->packed, size);

    return error ? error : read_at(reader->fd, reader->packed.data, size, offset);
}

bool trace_reader_frame_equals(struct trace_reader *reader, const struct trace_frame *frame,
                               struct trace_reader *other, const struct trace_frame *others)
{
    size_t size = frame->compressed_size;

    if (size != others->compressed_size || size > READ_MOST ||
        read_packed(reader, frame->offset, size) != (int64_t)size ||
        read_packed(other, others->offset, size) != (int64_t)size)
        return false;
    return memcmp(reader->packed.data, other->packed.data, size) == 0;
}

/*
 * Reads the frame at offset, whose length nobody knows, into `packed`. Returns its length, -ENODATA
 * if the file ends within it, or -errno.
 */
static int64_t read_unknown(struct trace_reader *reader, uint64_t offset)
{
    for (size_t size = READ_LEAST;; size *= 4) {
        int64_t got = read_packed(reader, offset, size < READ_MOST ? size : READ_MOST);
        size_t length;

        if (got < 0)
            return got;
        if (got >= 4 && trace_get_u32(reader->packed.data) != ZSTD_MAGICNUMBER)
            return -EBADMSG;
        length = ZSTD_findFrameCompressedSize(reader->packed.data, (size_t)got);
        if (!ZSTD_isError(length))
            return (int64_t)length;
        if (ZSTD_getErrorCode(length) != ZSTD_error_srcSize_wrong || size >= READ_MOST)
            return -EBADMSG;
        if ((size_t)got < size)
            return -ENODATA;
    }
}

/* Decompresses the frame in `packed`. Returns its content's size, or -errno. */
static int64_t unpack(struct trace_reader *reader, size_t size, struct buffer *content)
{
    unsigned long long length = ZSTD_getFrameContentSize(reader->packed.data, size);
    size_t got;
    int error;

    /* Not known and not valid are greater, too. */
    if (length > TRACE_FRAME_MAX)
        return -EBADMSG;
    error = buffer_reserve(content, length ? length : 1);
    if (error)
        return error;
    got =
        ZSTD_decompressDCtx(reader->decompressor, content->data, length, reader->packed.data, size);
    return ZSTD_isError(got) || got != length ? -EBADMSG : (int64_t)got;
}

/* --- the list of frames --------------------------------------------------------------------- */

/* What follows the frames is the index and the seek table, or as much of it as was written. */
static int check_tail(struct trace_reader *reader)
{
    uint64_t offset = trace_frames_end(&reader->frames);
    size_t size;
    uint8_t *tail = trace_frames_pack(&reader->frames, &size);
    int64_t got = tail ? read_packed(reader, offset, size + 1) : -ENOMEM;
    int result;

    if (got < 0)
        result = (int)got;
    else if ((size_t)got > size || memcmp(tail, reader->packed.data, (size_t)got) != 0)
        result = -EBADMSG;
    else
        result = (size_t)got == size ? 0 : -ENODATA;
    free(tail);
    return result;
}

/* Finds one more frame. Returns 1, or what the trace ends with. */
static int scan_frame(struct trace_reader *reader)
{
    uint64_t offset = trace_frames_end(&reader->frames);
    int64_t size = read_unknown(reader, offset), length;
    struct trace_frame frame;
    struct trace_frame_head head;
    int error;

    if (size == -EBADMSG && trace_get_u32(reader->packed.data) == TRACE_INDEX_MAGIC)
        return check_tail(reader);
    if (size < 0)
        return (int)size;
    length = unpack(reader, (size_t)size, &reader->scanned);
    if (length < 0)
        return (int)length;
    error = trace_frame_head_read(&head, reader->scanned.data, (size_t)length);
    if (error || head.first != trace_frames_events(&reader->frames))
        return -EBADMSG;
    frame = (struct trace_frame){
        .compressed_size = (uint64_t)size,
        .content_size = (uint64_t)length,
        .count = head.count,
        .instructions = head.instructions,
        .time = head.time,
        .checksum = XXH64(reader->scanned.data, (size_t)length, 0),
    };
    error = trace_frames_add(&reader->frames, &frame);
    return error ? error : 1;
}

/* The index of a whole trace, found by the seek table's end. Where there is none that is right, the
 * frames are looked for when they are needed. */
static int load_index(struct trace_reader *reader)
{
    const size_t footer_size = TRACE_SEEK_FOOTER_SIZE + TRACE_SEEK_ENTRY_SIZE;
    uint8_t footer[TRACE_SEEK_FOOTER_SIZE + TRACE_SEEK_ENTRY_SIZE];
    struct trace_frames frames = {0};
    uint64_t tail, offset;
    int64_t got;
    int error;

    if (reader->size < footer_size)
        return 0;
    got = read_at(reader->fd, footer, footer_size, reader->size - footer_size);
    if (got != (int64_t)footer_size ||
        trace_get_u32(footer + footer_size - 4) != TRACE_SEEK_FOOTER_MAGIC)
        return got < 0 ? (int)got : 0;
    /* The last entry is the index's. */
    tail = TRACE_SKIPPABLE_HEADER_SIZE + TRACE_SEEK_FOOTER_SIZE + (uint64_t)trace_get_u32(footer) +
           (uint64_t)trace_get_u32(footer + TRACE_SEEK_ENTRY_SIZE) * TRACE_SEEK_ENTRY_SIZE;
    if (tail > reader->size || tail > TRACE_TAIL_MAX)
        return 0;
    offset = reader->size - tail;
    got = read_packed(reader, offset, tail);
    if (got != (int64_t)tail)
        return got < 0 ? (int)got : 0;
    error = trace_frames_unpack(&frames, reader->packed.data, tail, offset);
    if (!error && frames.header_size == reader->frames.header_size) {
        reader->frames = frames;
        reader->ending = 0;
        return 0;
    }
    trace_frames_release(&frames);
    return error == -ENOMEM ? error : 0;
}

static int scan_all(struct trace_reader *reader)
{
    while (reader->ending == 1)
        reader->ending = scan_frame(reader);
    return reader->ending == -ENOMEM ? -ENOMEM : 0;
}

int64_t trace_reader_frames(struct trace_reader *reader, const struct trace_frame **frames)
{
    int error = scan_all(reader);

    *frames = reader->frames.frame;
    return error ? error : (int64_t)reader->frames.count;
}

bool trace_reader_is_whole(struct trace_reader *reader)
{
    scan_all(reader);
    return reader->ending == 0;
}

/* --- events --------------------------------------------------------------------------------- */

/* Begins to decode a frame of the list. Returns 1 or -errno. */
static int begin_frame(struct trace_reader *reader, const struct trace_frame *frame)
{
    int64_t got = read_packed(reader, frame->offset, frame->compressed_size);
    int error;

    if (got < 0)
        return (int)got;
    if ((uint64_t)got != frame->compressed_size)
        return -EBADMSG; /* the file has become shorter */
    got = unpack(reader, frame->compressed_size, &reader->content);
    if (got < 0)
        return (int)got;
    if ((uint64_t)got != frame->content_size ||
        XXH64(reader->content.data, (size_t)got, 0) != frame->checksum)
        return -EBADMSG;
    error = trace_decoder_begin(&reader->decoder, reader->content.data, (size_t)got);
    if (error || reader->decoder.head.first != frame->first ||
        reader->decoder.head.count != frame->count)
        return -EBADMSG;
    return 1;
}

/* Goes on to the next frame. Returns 1, or what the trace ends with. */
static int advance(struct trace_reader *reader)
{
    int result;

    if (reader->next_frame == reader->frames.count && reader->ending == 1)
        reader->ending = scan_frame(reader);
    if (reader->next_frame == reader->frames.count)
        return reader->ending;
    result = begin_frame(reader, &reader->frames.frame[reader->next_frame]);
    if (result == 1) {
        reader->decoding = true;
        reader->next_frame++;
    }
    return result;
}

int trace_reader_next(struct trace_reader *reader, struct trace_event *event)
{
    if (reader->has_pending) {
        *event = reader->pending;
        reader->has_pending = false;
        reader->position++;
        return 1;
    }
    while (reader->result == 1) {
        int found;

        if (!reader->decoding) {
            reader->result = advance(reader);
            continue;
        }
        found = trace_decoder_next(&reader->decoder, event);
        reader->position = reader->decoder.head.first + reader->decoder.given;
        if (found == 1)
            return 1;
        reader->decoding = false;
        reader->result = found ? found : 1;
    }
    return reader->result;
}

/* A type has no column in a frame if none of its events there has a field that is not zero. */
static bool frame_has(const struct trace_decoder *decoder, enum trace_event_type type)
{
    for (unsigned i = 0; i < TRACE_COLUMNS; i++)
        if (decoder->column[type][i].end)
            return true;
    return false;
}

int trace_reader_next_of(struct trace_reader *reader, enum trace_event_type type,
                         struct trace_event *event)
{
    while (reader->result == 1) {
        if (reader->decoding && !reader->has_pending && !frame_has(&reader->decoder, type)) {
            reader->position = reader->decoder.head.first + reader->decoder.head.count;
            reader->decoding = false;
        }
        if (!reader->decoding && !reader->has_pending)
            reader->result = advance(reader);
        else if (trace_reader_next(reader, event) == 1 && event->type == type)
            return 1;
    }
    return reader->result;
}

uint64_t trace_reader_position(const struct trace_reader *reader)
{
    return reader->position;
}

static bool begins_before(const struct trace_frame *frame, enum trace_index index, uint64_t place)
{
    switch (index) {
    case TRACE_INDEX_EVENT:
        return frame->first <= place;
    case TRACE_INDEX_INSTRUCTIONS:
        return frame->instructions < place;
    case TRACE_INDEX_TIME:
        return frame->time < place;
    }
    return false;
}

/* The last frame that begins before the place, or the first. */
static size_t find_frame(const struct trace_reader *reader, enum trace_index index, uint64_t place)
{
    size_t low = 0, high = reader->frames.count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (begins_before(&reader->frames.frame[middle], index, place))
            low = middle;
        else
            high = middle;
    }
    return low;
}

static bool is_reached(const struct trace_event *event, uint64_t number, enum trace_index index,
                       uint64_t place)
{
    switch (index) {
    case TRACE_INDEX_EVENT:
        return number >= place;
    case TRACE_INDEX_INSTRUCTIONS:
        return event->cpu == 0 && event->instructions >= place;
    case TRACE_INDEX_TIME:
        return trace_is_timed(event->type) && event->time >= place;
    }
    return true;
}

int trace_reader_seek(struct trace_reader *reader, enum trace_index index, uint64_t place)
{
    struct trace_event event;
    int result = scan_all(reader);

    if (result)
        return result;
    reader->next_frame = find_frame(reader, index, place);
    reader->decoding = false;
    reader->has_pending = false;
    reader->result = 1;
    reader->position = reader->next_frame < reader->frames.count
                           ? reader->frames.frame[reader->next_frame].first
                           : 0;
    while ((result = trace_reader_next(reader, &event)) == 1) {
        if (!is_reached(&event, reader->position - 1, index, place))
            continue;
        reader->position--;
        reader->pending = event;
        reader->has_pending = true;
        return 0;
    }
    return result == -ENODATA ? 0 : result;
}

/* --- opening -------------------------------------------------------------------------------- */

static int read_header(struct trace_reader *reader, uint32_t *version)
{
    int64_t size = read_unknown(reader, 0);
    int64_t length = size < 0 ? size : unpack(reader, (size_t)size, &reader->content);
    const uint8_t *header = reader->content.data;
    uint32_t options;

    if (length < 0)
        return (int)length;
    if (length < TRACE_MAGIC_SIZE + 4 || memcmp(header, TRACE_MAGIC, TRACE_MAGIC_SIZE) != 0)
        return -EBADMSG;
    *version = trace_get_u32(header + TRACE_MAGIC_SIZE);
    if (*version != TRACE_VERSION)
        return -ENOTSUP;
    if (length < TRACE_HEADER_SIZE)
        return -EBADMSG;
    reader->level = trace_get_u32(header + TRACE_MAGIC_SIZE + 4);
    options = trace_get_u32(header + TRACE_MAGIC_SIZE + 8);
    if ((uint64_t)length != TRACE_HEADER_SIZE + (uint64_t)options || options > TRACE_OPTIONS_MAX ||
        reader->level >= TRACE_LEVELS || memchr(header + TRACE_HEADER_SIZE, 0, options))
        return -EBADMSG;
    reader->options = strndup((const char *)header + TRACE_HEADER_SIZE, options);
    reader->frames.header_size = (uint64_t)size;
    reader->frames.header_content_size = (uint64_t)length;
    return reader->options ? 0 : -ENOMEM;
}

static int open_file(struct trace_reader *reader, const char *path)
{
    struct stat status;

    reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (reader->fd < 0 || fstat(reader->fd, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    if (!S_ISREG(status.st_mode))
        return -ESPIPE;
    reader->size = (uint64_t)status.st_size;
    return 0;
}

static void explain(const struct trace_reader *reader, int error, uint32_t version,
                    const char *path, char *message, size_t size)
{
    if (error == -ENOTSUP)
        snprintf(message, size,
                 "%s: a trace in format version %u, but this vtxsim reads version %u: read it with "
                 "the vtxsim that wrote it, or record the run again",
                 path, version, TRACE_VERSION);
    else if (error == -ENODATA)
        snprintf(message, size,
                 "%s: ends within the header of a trace (%llu bytes): the recording was stopped "
                 "before it began; record the run again",
                 path, (unsigned long long)reader->size);
    else if (error == -EBADMSG)
        snprintf(message, size,
                 "%s: not a trace, or its header is damaged: give a file that 'vtxsim run --trace' "
                 "wrote, or another copy of it",
                 path);
    else if (error == -ESPIPE)
        snprintf(message, size,
                 "%s: not a regular file: traces are read at any place, so save it in a file first",
                 path);
    else
        snprintf(message, size, "%s: cannot be read: %s", path, strerror(-error));
}

int trace_reader_open(struct trace_reader **result, const char *path, char *message, size_t size)
{
    struct trace_reader *reader = calloc(1, sizeof(*reader));
    uint32_t version = 0;
    int error;

    if (!reader) {
        if (message)
            snprintf(message, size, "%s: cannot be read: %s", path, strerror(ENOMEM));
        return -ENOMEM;
    }
    reader->ending = reader->result = 1;
    reader->decompressor = ZSTD_createDCtx();
    error = open_file(reader, path);
    if (!error)
        error = reader->decompressor ? read_header(reader, &version) : -ENOMEM;
    if (!error)
        error = load_index(reader);
    if (error) {
        if (message)
            explain(reader, error, version, path, message, size);
        trace_reader_close(reader);
        return error;
    }
    *result = reader;
    return 0;
}

void trace_reader_close(struct trace_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    ZSTD_freeDCtx(reader->decompressor);
    trace_frames_release(&reader->frames);
    free(reader->packed.data);
    free(reader->scanned.data);
    free(reader->content.data);
    free(reader->options);
    free(reader);
}

const char *trace_reader_options(const struct trace_reader *reader)
{
    return reader->options;
}

enum trace_level trace_reader_level(const struct trace_reader *reader)
{
    return reader->level;
}
