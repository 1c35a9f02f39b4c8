/*
 * A frame of events as columns: what changes together lies together, and most of it does not
 * change at all. A frame is coded and decoded without any other.
 */
#ifndef VTXSIM_TRACES_COLUMNS_H
#define VTXSIM_TRACES_COLUMNS_H

#include "traces/event.h"
#include "traces/format.h"

/* Types and fields that a column may be of; those with higher numbers are skipped. */
#define TRACE_COLUMN_FIELDS 16
#define TRACE_OWN_FIELDS    (TRACE_COLUMN_FIELDS - 4)

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

struct trace_column {
    uint8_t *data;
    size_t size, allocated;
    bool used; /* holds something besides zeros */
};

struct trace_encoder {
    struct trace_predictor predictor;
    struct trace_column order; /* of types: pairs of type and run */
    struct trace_column column[TRACE_EVENT_TYPES][TRACE_COLUMN_FIELDS];
    uint64_t first, count;
    /* Least of processor 0's events, and of those with a time; a frame without has the last one
     * before it. */
    struct trace_least {
        uint64_t least, last;
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
void trace_encoder_add(struct trace_encoder *encoder, const struct trace_event *event);
/* Returns the frame's content, *size bytes, owned by the caller (free); NULL if out of memory. */
uint8_t *trace_encoder_end(struct trace_encoder *encoder, size_t *size);
/* Frees what the encoder owns. */
void trace_encoder_release(struct trace_encoder *encoder);

struct trace_cursor {
    const uint8_t *next, *end;
};

struct trace_decoder {
    struct trace_predictor predictor;
    uint64_t first, count, instructions, time; /* as in the frame's head */
    uint64_t given;                            /* of count, those of unknown types included */
    struct trace_cursor order;
    struct trace_cursor column[TRACE_EVENT_TYPES][TRACE_COLUMN_FIELDS];
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
