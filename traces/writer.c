/*
 * The trace writer. The processor's thread only copies a record into a buffer; coding, compression
 * and writing happen on a thread of their own. What the file holds depends on the records alone:
 * every frame has the same number of records and stands alone, however the two threads ran.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include "traces/format.h"
#include "traces/writer.h"

#define QUEUE_BATCHES     4
#define COMPRESSION_LEVEL 1

struct batch {
    unsigned count;
    struct trace_event event[TRACE_FRAME_RECORDS];
};

struct trace_writer {
    struct trace_sink sink;
    /* The processor's thread. */
    struct batch *current; /* batch[submitted % QUEUE_BATCHES], free to be filled */
    _Atomic uint64_t events;

    /* The queue: batches [completed, submitted) are the compressing thread's. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t submitted, completed;
    bool closing;
    struct batch batch[QUEUE_BATCHES];
    pthread_t thread;

    /* The compressing thread (and open and close, while it does not run). */
    int fd;
    ZSTD_CCtx *compressor;
    struct trace_predictor predictor;
    uint64_t first_record; /* of the next frame */
    uint32_t (*seek)[2];   /* compressed and decompressed size of each frame */
    size_t frames, frames_allocated;
    uint8_t plain[TRACE_FRAME_MAX];
    uint8_t *packed;
    size_t packed_size;

    _Atomic uint64_t bytes; /* written as whole frames */
    _Atomic int error;
};

static int write_all(int fd, const void *data, size_t size)
{
    const char *next = data;

    while (size > 0) {
        ssize_t written = write(fd, next, size);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        next += written;
        size -= (size_t)written;
    }
    return 0;
}

/* Writes a whole frame, or leaves the file ending with the frame before it. */
static int write_frame(struct trace_writer *writer, const void *data, size_t size)
{
    uint64_t before = atomic_load(&writer->bytes);
    int error = write_all(writer->fd, data, size);

    if (error) {
        (void)!ftruncate(writer->fd, (off_t)before); /* a reader stops at a torn frame too */
        return error;
    }
    atomic_store(&writer->bytes, before + size);
    return 0;
}

static int remember_frame(struct trace_writer *writer, size_t packed, size_t plain)
{
    if (writer->frames == writer->frames_allocated) {
        size_t allocated = writer->frames_allocated ? 2 * writer->frames_allocated : 64;
        void *grown = realloc(writer->seek, allocated * sizeof(*writer->seek));

        if (!grown)
            return -ENOMEM;
        writer->seek = grown;
        writer->frames_allocated = allocated;
    }
    writer->seek[writer->frames][0] = (uint32_t)packed;
    writer->seek[writer->frames][1] = (uint32_t)plain;
    writer->frames++;
    return 0;
}

static int compress_frame(struct trace_writer *writer, const void *plain, size_t size)
{
    size_t packed =
        ZSTD_compress2(writer->compressor, writer->packed, writer->packed_size, plain, size);
    int error;

    if (ZSTD_isError(packed))
        return -ENOMEM; /* the only way to fail: the output always has room */
    error = write_frame(writer, writer->packed, packed);
    return error ? error : remember_frame(writer, packed, size);
}

static int write_batch(struct trace_writer *writer, const struct batch *batch)
{
    uint8_t *out = writer->plain;

    memset(&writer->predictor, 0, sizeof(writer->predictor));
    out = trace_put_varint(out, writer->first_record);
    out = trace_put_varint(out, batch->count);
    for (unsigned i = 0; i < batch->count; i++)
        out = trace_encode(&writer->predictor, &batch->event[i], out);
    writer->first_record += batch->count;
    return compress_frame(writer, writer->plain, (size_t)(out - writer->plain));
}

static int write_seek_table(struct trace_writer *writer)
{
    size_t content = writer->frames * TRACE_SEEK_ENTRY_SIZE + TRACE_SEEK_FOOTER_SIZE;
    uint8_t *table = malloc(TRACE_SEEK_HEADER_SIZE + content);
    uint8_t *out = table;
    int error;

    if (!table)
        return -ENOMEM;
    trace_put_u32(out, TRACE_SEEK_MAGIC);
    trace_put_u32(out + 4, (uint32_t)content);
    out += TRACE_SEEK_HEADER_SIZE;
    for (size_t i = 0; i < writer->frames; i++, out += TRACE_SEEK_ENTRY_SIZE) {
        trace_put_u32(out, writer->seek[i][0]);
        trace_put_u32(out + 4, writer->seek[i][1]);
    }
    trace_put_u32(out, (uint32_t)writer->frames);
    out[4] = 0; /* descriptor: entries without checksums (the frames have their own) */
    trace_put_u32(out + 5, TRACE_SEEK_FOOTER_MAGIC);
    error = write_frame(writer, table, TRACE_SEEK_HEADER_SIZE + content);
    free(table);
    return error;
}

static void *compress_batches(void *context)
{
    struct trace_writer *writer = context;

    pthread_mutex_lock(&writer->mutex);
    for (;;) {
        while (writer->completed == writer->submitted && !writer->closing)
            pthread_cond_wait(&writer->changed, &writer->mutex);
        if (writer->completed == writer->submitted)
            break;
        pthread_mutex_unlock(&writer->mutex);
        if (!atomic_load(&writer->error)) {
            int error = write_batch(writer, &writer->batch[writer->completed % QUEUE_BATCHES]);

            if (error)
                atomic_store(&writer->error, error);
        }
        pthread_mutex_lock(&writer->mutex);
        writer->completed++;
        pthread_cond_broadcast(&writer->changed);
    }
    pthread_mutex_unlock(&writer->mutex);
    return NULL;
}

/* Hands the current batch over and waits until there is a free one. */
static void submit_batch(struct trace_writer *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->submitted++;
    pthread_cond_broadcast(&writer->changed);
    while (writer->submitted - writer->completed == QUEUE_BATCHES)
        pthread_cond_wait(&writer->changed, &writer->mutex);
    pthread_mutex_unlock(&writer->mutex);
    writer->current = &writer->batch[writer->submitted % QUEUE_BATCHES];
    writer->current->count = 0;
}

static void write_event(struct trace_sink *sink, const struct trace_event *event)
{
    struct trace_writer *writer = (struct trace_writer *)sink; /* its first member */
    struct batch *batch = writer->current;

    if (atomic_load_explicit(&writer->error, memory_order_relaxed))
        return;
    batch->event[batch->count++] = *event;
    atomic_store_explicit(&writer->events,
                          atomic_load_explicit(&writer->events, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (batch->count == TRACE_FRAME_RECORDS)
        submit_batch(writer);
}

static void write_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions, uint32_t size)
{
    write_event(sink, &(struct trace_event){.type = TRACE_BLOCK,
                                            .instructions = instructions,
                                            .rip = rip,
                                            .block.instructions = size});
}

static void finish_sink(struct trace_sink *sink)
{
    trace_writer_finish((struct trace_writer *)sink);
}

struct trace_sink *trace_writer_sink(struct trace_writer *writer)
{
    return &writer->sink;
}

static int write_header(struct trace_writer *writer, const char *options, enum trace_level level)
{
    size_t length = strlen(options);
    uint8_t *header;
    int error;

    if (length > TRACE_OPTIONS_MAX)
        return -E2BIG;
    header = malloc(TRACE_HEADER_SIZE + length);
    if (!header)
        return -ENOMEM;
    memcpy(header, TRACE_MAGIC, TRACE_MAGIC_SIZE);
    trace_put_u32(header + TRACE_MAGIC_SIZE, TRACE_VERSION);
    trace_put_u32(header + TRACE_MAGIC_SIZE + 4, level);
    trace_put_u32(header + TRACE_MAGIC_SIZE + 8, (uint32_t)length);
    memcpy(header + TRACE_HEADER_SIZE, options, length);
    error = compress_frame(writer, header, TRACE_HEADER_SIZE + length);
    free(header);
    return error;
}

static int create_compressor(struct trace_writer *writer)
{
    size_t largest = TRACE_FRAME_MAX > TRACE_HEADER_SIZE + TRACE_OPTIONS_MAX
                         ? TRACE_FRAME_MAX
                         : TRACE_HEADER_SIZE + TRACE_OPTIONS_MAX;

    writer->packed_size = ZSTD_compressBound(largest);
    writer->packed = malloc(writer->packed_size);
    writer->compressor = ZSTD_createCCtx();
    if (!writer->packed || !writer->compressor)
        return -ENOMEM;
    ZSTD_CCtx_setParameter(writer->compressor, ZSTD_c_compressionLevel, COMPRESSION_LEVEL);
    ZSTD_CCtx_setParameter(writer->compressor, ZSTD_c_checksumFlag, 1);
    return 0;
}

/* Signals are the business of the threads that the program made: this one blocks them all. */
static int start_thread(struct trace_writer *writer)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&writer->thread, NULL, compress_batches, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

static void writer_free(struct trace_writer *writer)
{
    ZSTD_freeCCtx(writer->compressor);
    free(writer->packed);
    free(writer->seek);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->mutex);
    free(writer);
}

int trace_writer_open(struct trace_writer **result, const char *path, const char *options,
                      enum trace_level level)
{
    struct trace_writer *writer = calloc(1, sizeof(*writer));
    int error;

    if (!writer)
        return -ENOMEM;
    pthread_mutex_init(&writer->mutex, NULL);
    pthread_cond_init(&writer->changed, NULL);
    writer->sink = (struct trace_sink){trace_level_types(level), write_event, write_block, finish_sink};
    writer->current = &writer->batch[0];
    writer->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    error = writer->fd < 0 ? -errno : create_compressor(writer);
    if (!error)
        error = write_header(writer, options, level);
    if (!error)
        error = start_thread(writer);
    if (error) {
        if (writer->fd >= 0)
            close(writer->fd);
        writer_free(writer);
        return error;
    }
    *result = writer;
    return 0;
}

int trace_writer_error(const struct trace_writer *writer)
{
    return atomic_load(&writer->error);
}

uint64_t trace_writer_events(const struct trace_writer *writer)
{
    return atomic_load_explicit(&writer->events, memory_order_relaxed);
}

uint64_t trace_writer_bytes(const struct trace_writer *writer)
{
    return atomic_load(&writer->bytes);
}

int trace_writer_finish(struct trace_writer *writer)
{
    int error;

    if (writer->fd < 0)
        return atomic_load(&writer->error);
    pthread_mutex_lock(&writer->mutex);
    if (writer->current->count > 0)
        writer->submitted++;
    writer->closing = true;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);

    error = atomic_load(&writer->error);
    if (!error)
        error = write_seek_table(writer);
    if (close(writer->fd) < 0 && !error)
        error = -errno;
    writer->fd = -1;
    atomic_store(&writer->error, error);
    return error;
}

int trace_writer_close(struct trace_writer *writer)
{
    int error = trace_writer_finish(writer);

    writer_free(writer);
    return error;
}
