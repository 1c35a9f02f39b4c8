/*
 * The trace format's constants and its coding of records; docs/trace-format.md is the
 * specification.
 */
#ifndef VTXSIM_TRACES_FORMAT_H
#define VTXSIM_TRACES_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "traces/event.h"

#define TRACE_MAGIC         "VTXTRACE"
#define TRACE_MAGIC_SIZE    8
#define TRACE_VERSION       2
#define TRACE_FRAME_RECORDS 4096 /* in every frame of records but the last */

/* Header: magic, version, level, length of the options; then the options. */
#define TRACE_HEADER_SIZE (TRACE_MAGIC_SIZE + 12)
#define TRACE_OPTIONS_MAX (1u << 20)

/* The longest coding of one record and of a frame's head. */
#define TRACE_VARINT_MAX     10
#define TRACE_RECORD_MAX     (TRACE_INPUT_MAX + 16 * TRACE_VARINT_MAX)
#define TRACE_FRAME_HEAD_MAX (2 * TRACE_VARINT_MAX)
#define TRACE_FRAME_MAX      (TRACE_FRAME_HEAD_MAX + TRACE_FRAME_RECORDS * TRACE_RECORD_MAX)

/* The seek table is a skippable frame as in zstd's seekable format. */
#define TRACE_SEEK_MAGIC        0x184d2a5eu
#define TRACE_SEEK_FOOTER_MAGIC 0x8f92eab1u
#define TRACE_SEEK_HEADER_SIZE  8
#define TRACE_SEEK_ENTRY_SIZE   8
#define TRACE_SEEK_FOOTER_SIZE  9

/*
 * What an event is coded against: the last event of its CPU for the counters, the last of its type
 * (of exits: of its reason) for everything else. Zero at the start of every frame, so that frames
 * stand alone.
 */
#define TRACE_CPU_SLOTS  64
#define TRACE_KIND_SLOTS 256
struct trace_predictor {
    struct trace_counters {
        uint64_t instructions, time;
    } cpu[TRACE_CPU_SLOTS];
    struct trace_event kind[TRACE_KIND_SLOTS];
};

/* Appends a value; returns the byte after it. At most TRACE_VARINT_MAX bytes. */
uint8_t *trace_put_varint(uint8_t *out, uint64_t value);
/* Returns the byte after the value, or NULL where it runs past end or does not fit 64 bits. */
const uint8_t *trace_get_varint(const uint8_t *in, const uint8_t *end, uint64_t *value);

/* Codes a record; at most TRACE_RECORD_MAX bytes. Returns the byte after it. */
uint8_t *trace_encode(struct trace_predictor *predictor, const struct trace_event *event,
                      uint8_t *out);
/* Returns the byte after the record, or NULL if it is not a valid one. */
const uint8_t *trace_decode(struct trace_predictor *predictor, const uint8_t *in,
                            const uint8_t *end, struct trace_event *event);

static inline void trace_put_u32(uint8_t *out, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static inline uint32_t trace_get_u32(const uint8_t *in)
{
    return in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

#endif
