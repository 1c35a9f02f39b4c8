/*
 * The trace writer. The processor's thread only copies an event into a batch, and of blocks counts
 * those that were predicted; coding, compression and writing happen on a thread of their own. A
 * batch becomes a frame, and where it ends depends on the events alone, so the file does not depend
 * on how the two threads ran.
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

#include <xxhash.h>
#include <zstd.h>

#include "traces/columns.h"
#include "traces/index.h"
#include "traces/writer.h"

#define QUEUE_BATCHES 4

struct batch_item {
    struct trace_event event;
    /* The blocks before it: how many, since the item before; the last one's place. */
    uint64_t blocks, block_instructions;
    uint16_t block_cpu;
};

struct batch {
    unsigned count;
    uint64_t instructions, time; /* of its first event; of its first with a time */
    uint64_t first_block;        /* its instructions */
    bool begun, has_time;
    struct batch_item item[TRACE_FRAME_RECORDS + 1]; /* the last one may stand for blocks alone */
    struct trace_column blocks[TRACE_COLUMNS];
};

struct trace_writer {
    struct trace_sink sink;
    /* The processor's thread. */
    struct batch *current;          /* batch[submitted % QUEUE_BATCHES], free to be filled */
    _Atomic uint64_t events;        /* but for predicted blocks */
    _Atomic uint64_t hits;          /* predicted blocks */
    uint64_t hits_written;          /* those before the last block that was written */
    uint64_t blocks, blocks_placed; /* written ones; all of those before the last item */
    /* Predicted blocks that begin from `base` on, within so many instructions, need only be
     * counted: they are processor 0's, and the batch does not end. */
    uint64_t base, span;
    unsigned written; /* blocks, in the batch */
    struct trace_block_predictor predictor;

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
    struct trace_encoder encoder;
    struct trace_frames frames;
    struct trace_column packed; /* room for a compressed frame */

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

/* Compresses and writes. Returns the frame's size or -errno. */
static int64_t compress_frame(struct trace_writer *writer, const void *content, size_t size)
{
    struct trace_column *packed = &writer->packed;
    size_t bound = ZSTD_compressBound(size), packed_size;
    int error;

    if (!trace_column_reserve(packed, bound))
        return -ENOMEM;
    packed_size = ZSTD_compress2(writer->compressor, packed->data, bound, content, size);
    if (ZSTD_isError(packed_size))
        return -ENOMEM; /* the only way to fail: the output always has room */
    error = write_frame(writer, packed->data, packed_size);
    return error ? error : (int64_t)packed_size;
}

static int write_content(struct trace_writer *writer, const uint8_t *content, size_t size)
{
    const struct trace_encoder *encoder = &writer->encoder;
    int64_t packed_size = compress_frame(writer, content, size);

    if (packed_size < 0)
        return (int)packed_size;
    return trace_frames_add(&writer->frames, &(struct trace_frame){
                                                 .compressed_size = (uint64_t)packed_size,
                                                 .content_size = size,
                                                 .count = encoder->count,
                                                 .instructions = encoder->instructions.first,
                                                 .time = encoder->time.first,
                                                 .checksum = XXH64(content, size, 0),
                                             });
}

static int write_batch(struct trace_writer *writer, const struct batch *batch)
{
    size_t size;
    const uint8_t *content;

    trace_encoder_begin(&writer->encoder, trace_frames_events(&writer->frames));
    for (unsigned i = 0; i < batch->count; i++) {
        const struct batch_item *item = &batch->item[i];

        trace_encoder_add_blocks(&writer->encoder, item->blocks, item->block_cpu,
                                 batch->first_block, item->block_instructions);
        if (item->event.type)
            trace_encoder_add(&writer->encoder, &item->event);
    }
    content = trace_encoder_end(&writer->encoder, batch->blocks, &size);
    return content ? write_content(writer, content, size) : -ENOMEM;
}

/* What tells that the trace is whole. */
static int write_index(struct trace_writer *writer)
{
    size_t size;
    uint8_t *packed = trace_frames_pack(&writer->frames, &size);
    int error = packed ? write_frame(writer, packed, size) : -ENOMEM;

    free(packed);
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

/* --- on the processor's thread -------------------------------------------------------------- */

static void add_relaxed(_Atomic uint64_t *counter, uint64_t value)
{
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, before + value, memory_order_relaxed);
}

static uint64_t hits(const struct trace_writer *writer)
{
    return atomic_load_explicit(&writer->hits, memory_order_relaxed);
}

static void clear_batch(struct batch *batch)
{
    batch->count = 0;
    batch->begun = batch->has_time = false;
    for (unsigned i = 0; i < TRACE_COLUMNS; i++)
        trace_column_empty(&batch->blocks[i]);
}

/* Before the first event of a batch. */
static void begin_batch(struct trace_writer *writer, const struct trace_event *event)
{
    struct batch *batch = writer->current;

    batch->begun = true;
    batch->instructions = event->instructions;
    writer->base = event->instructions;
    writer->span = TRACE_FRAME_INSTRUCTIONS;
    writer->written = 0;
    writer->hits_written = hits(writer);
    trace_blocks_begin(&writer->predictor);
}

/* An item with the blocks that came since the last one. */
static struct batch_item *add_item(struct trace_writer *writer)
{
    struct batch_item *item = &writer->current->item[writer->current->count++];
    uint64_t blocks = writer->blocks + hits(writer);

    item->blocks = blocks - writer->blocks_placed;
    item->block_instructions = writer->predictor.last;
    item->block_cpu = writer->predictor.cpu;
    item->event.type = 0;
    writer->blocks_placed = blocks;
    return item;
}

static bool has_blocks(const struct trace_writer *writer)
{
    return writer->blocks + hits(writer) != writer->blocks_placed;
}

/* Hands the current batch over and waits until there is a free one. */
static void submit_batch(struct trace_writer *writer)
{
    if (has_blocks(writer))
        add_item(writer);
    pthread_mutex_lock(&writer->mutex);
    writer->submitted++;
    pthread_cond_broadcast(&writer->changed);
    while (writer->submitted - writer->completed == QUEUE_BATCHES)
        pthread_cond_wait(&writer->changed, &writer->mutex);
    pthread_mutex_unlock(&writer->mutex);
    writer->current = &writer->batch[writer->submitted % QUEUE_BATCHES];
    writer->span = 0;
    clear_batch(writer->current);
}

/* True for the last event of its frame: a frame spans so little that not much is lost with one
 * that is never written. */
static bool ends_frame(const struct trace_writer *writer, const struct trace_event *event)
{
    struct batch *batch = writer->current;

    if (!batch->has_time && trace_is_timed(event->type)) {
        batch->time = event->time;
        batch->has_time = true;
    }
    return batch->count == TRACE_FRAME_RECORDS || writer->written == TRACE_FRAME_BLOCKS ||
           (int64_t)(event->instructions - batch->instructions) >= TRACE_FRAME_INSTRUCTIONS ||
           (trace_is_timed(event->type) &&
            (int64_t)(event->time - batch->time) >= TRACE_FRAME_TIME);
}

/* Writes a block, whether it was predicted or not. */
static void put_block(struct trace_writer *writer, const struct trace_event *event)
{
    struct batch *batch = writer->current;
    int error;

    if (writer->written++ == 0)
        batch->first_block = event->instructions;
    error = trace_blocks_put(&writer->predictor, batch->blocks, event,
                             hits(writer) - writer->hits_written);
    if (error)
        atomic_store(&writer->error, error);
    writer->hits_written = hits(writer);
    writer->blocks++;
    writer->span = event->cpu == 0 ? TRACE_FRAME_INSTRUCTIONS : 0;
}

static void add_event(struct trace_writer *writer, const struct trace_event *event)
{
    if (atomic_load_explicit(&writer->error, memory_order_relaxed))
        return;
    if (!writer->current->begun)
        begin_batch(writer, event);
    if (event->type == TRACE_BLOCK)
        put_block(writer, event);
    else
        add_item(writer)->event = *event;
    add_relaxed(&writer->events, 1);
    if (ends_frame(writer, event))
        submit_batch(writer);
}

static void write_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions, uint32_t size)
{
    struct trace_writer *writer = (struct trace_writer *)sink; /* its first member */
    struct trace_block_predictor *predictor = &writer->predictor;

    if (__builtin_expect(instructions - writer->base < writer->span && size > 0 &&
                             trace_blocks_predicts(predictor, rip, instructions, size),
                         true)) {
        trace_blocks_follow(predictor, rip, instructions, size);
        add_relaxed(&writer->hits, 1);
        return;
    }
    add_event(writer, &(struct trace_event){.type = TRACE_BLOCK,
                                            .instructions = instructions,
                                            .rip = rip,
                                            .block.instructions = size});
}

static void write_event(struct trace_sink *sink, const struct trace_event *event)
{
    if (event->type == TRACE_BLOCK && event->cpu == 0 && event->time == 0)
        write_block(sink, event->rip, event->instructions, event->block.instructions);
    else
        add_event((struct trace_writer *)sink, event);
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
    int64_t packed_size;

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
    packed_size = compress_frame(writer, header, TRACE_HEADER_SIZE + length);
    free(header);
    if (packed_size < 0)
        return (int)packed_size;
    writer->frames.header_size = (uint64_t)packed_size;
    writer->frames.header_content_size = TRACE_HEADER_SIZE + length;
    return 0;
}

/* The more events, the less time for each. */
static int create_compressor(struct trace_writer *writer, enum trace_level level)
{
    static const int compression[TRACE_LEVELS] = {12, 12, 6, 3, 3};

    writer->compressor = ZSTD_createCCtx();
    if (!writer->compressor)
        return -ENOMEM;
    ZSTD_CCtx_setParameter(writer->compressor, ZSTD_c_compressionLevel, compression[level]);
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
    trace_encoder_release(&writer->encoder);
    for (unsigned batch = 0; batch < QUEUE_BATCHES; batch++)
        for (unsigned i = 0; i < TRACE_COLUMNS; i++)
            free(writer->batch[batch].blocks[i].data);
    trace_frames_release(&writer->frames);
    free(writer->packed.data);
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
    writer->sink =
        (struct trace_sink){trace_level_types(level), write_event, write_block, finish_sink};
    writer->current = &writer->batch[0];
    writer->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    error = writer->fd < 0 ? -errno : create_compressor(writer, level);
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
    return atomic_load_explicit(&writer->events, memory_order_relaxed) + hits(writer);
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
    if (has_blocks(writer))
        add_item(writer);
    if (writer->current->count > 0)
        writer->submitted++;
    writer->closing = true;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);

    error = atomic_load(&writer->error);
    if (!error)
        error = write_index(writer);
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
