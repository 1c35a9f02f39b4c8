/*
 * A frame of events as columns: what changes together lies together, and most of it does not
 * change at all. A frame is coded and decoded without any other.
 */
#ifndef VTXSIM_TRACES_COLUMNS_H
#define VTXSIM_TRACES_COLUMNS_H

#include "traces/blocks.h"
#include "traces/column.h"
#include "traces/event.h"

#define TRACE_OWN_FIELDS (TRACE_COLUMNS - TRACE_COLUMN_OWN)

/*
 * What the values of an event are held against: those of the last event with the same kind and
 * RIP, the last RIP of its kind, the counters of the last event of its processor. The kind is the
 * type and, of exits, the reason. Zero at the start of every frame.
 */
#define TRACE_CPU_SLOTS  64
#define TRACE_KIND_SLOTS 1024
#define TRACE_SITE_SLOTS 1024
struct trace_predictor {
    uint64_t cpu;
    struct trace_counters {
        uint64_t instructions, surplus; /* of time over instructions */
    } counters[TRACE_CPU_SLOTS];
    uint64_t rip[TRACE_KIND_SLOTS];
    uint64_t own[TRACE_SITE_SLOTS][TRACE_OWN_FIELDS];
};

/*
 * Codes frames. Blocks come in another way than other events: what is written of them is in columns
 * already (blocks.h), so the encoder is told how many there were only.
 */
struct trace_encoder {
    struct trace_predictor predictor;
    struct trace_column order;   /* of types: pairs of type and run */
    struct trace_column content; /* of the frame that ended last */
    struct trace_column column[TRACE_EVENT_TYPES][TRACE_COLUMNS]; /* but for blocks */
    uint64_t first, count;
    /* Of the frame's first event of processor 0, and of its first with a time; a frame without one
     * has the last before it. */
    struct trace_first {
        uint64_t first, last;
        bool found;
    } instructions, time;
    unsigned type;
    uint64_t run; /* of events of `type`, not in `order` yet */
    bool failed;  /* out of memory */
};

/* Blocks and accesses are too many to have a time of their own. */
static inline bool trace_is_timed(unsigned type)
{
    return type != TRACE_BLOCK && type != TRACE_ACCESS;
}

/* Begins the frame whose first event has this number. */
void trace_encoder_begin(struct trace_encoder *encoder, uint64_t first);
/* An event that is not a block. */
void trace_encoder_add(struct trace_encoder *encoder, const struct trace_event *event);
/* So many blocks, from the first to the last of these instruction counts. */
void trace_encoder_add_blocks(struct trace_encoder *encoder, uint64_t count, uint16_t cpu,
                              uint64_t first, uint64_t last);
/* Returns the frame's content, with these columns for its blocks; *size bytes, valid until the next
 * frame ends; NULL if out of memory. */
const uint8_t *trace_encoder_end(struct trace_encoder *encoder,
                                 const struct trace_column blocks[TRACE_COLUMNS], size_t *size);
/* Frees what the encoder owns. */
void trace_encoder_release(struct trace_encoder *encoder);

/* What stands before the columns. */
struct trace_frame_head {
    uint64_t first, count;       /* events */
    uint64_t instructions, time; /* as in struct trace_frame */
    uint64_t columns;
};
/* Returns 0, or -EBADMSG if the content does not begin with one. */
int trace_frame_head_read(struct trace_frame_head *head, const uint8_t *content, size_t size);

struct trace_decoder {
    struct trace_predictor predictor;
    struct trace_frame_head head;
    uint64_t given; /* of head.count, those of unknown types included */
    struct trace_cursor order;
    struct trace_cursor column[TRACE_EVENT_TYPES][TRACE_COLUMNS];
    struct trace_block_decoder blocks;
    bool after_block; /* the last event was one */
    unsigned type;
    uint64_t run; /* of `type`, not given yet */
};

/* Begins a frame's content, which must stay until the last event is given. Returns 0, or -EBADMSG
 * if it is not one. */
int trace_decoder_begin(struct trace_decoder *decoder, const uint8_t *content, size_t size);
/* Returns 1 with the next event of a type that is known; 0 behind the last; -EBADMSG. `given` then
 * counts the event and unknown ones before it. */
int trace_decoder_next(struct trace_decoder *decoder, struct trace_event *event);

#endif
