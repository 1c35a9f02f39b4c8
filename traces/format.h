/*
 * The trace format's constants and its numbers; docs/trace-format.md is the specification. What a
 * frame of events holds is columns.h's, what closes a whole trace index.h's.
 */
#ifndef VTXSIM_TRACES_FORMAT_H
#define VTXSIM_TRACES_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_MAGIC      "VTXTRACE"
#define TRACE_MAGIC_SIZE 8
#define TRACE_VERSION    3

/* Header: magic, version, level, length of the options; then the options. */
#define TRACE_HEADER_SIZE (TRACE_MAGIC_SIZE + 12)
#define TRACE_OPTIONS_MAX (1u << 20)

/* What a reader accepts; the writer stays far below. */
#define TRACE_FRAME_MAX        (16u << 20) /* bytes of a decompressed frame, whichever it is */
#define TRACE_FRAME_EVENTS_MAX (1u << 27)
#define TRACE_TAIL_MAX         (256u << 20) /* bytes of index and seek table; longer: walk the frames */

/* When the writer closes a frame: at so many events that are not blocks, at so many blocks that
 * were not predicted, at so many instructions, or at so many cycles of simulated time. */
#define TRACE_FRAME_RECORDS      32768u
#define TRACE_FRAME_BLOCKS       131072u
#define TRACE_FRAME_INSTRUCTIONS ((int64_t)64 << 20)
#define TRACE_FRAME_TIME         ((int64_t)1 << 31)

/* Skippable frames: the index, and the seek table as in zstd's seekable format. */
#define TRACE_SKIPPABLE_HEADER_SIZE 8 /* magic, length of what follows */
#define TRACE_INDEX_MAGIC           0x184d2a51u
#define TRACE_SEEK_MAGIC            0x184d2a5eu
#define TRACE_SEEK_FOOTER_MAGIC     0x8f92eab1u
#define TRACE_SEEK_ENTRY_SIZE       8
#define TRACE_SEEK_FOOTER_SIZE      9

#define TRACE_VARINT_MAX 10

/* Appends a value; returns the byte after it. At most TRACE_VARINT_MAX bytes. */
static inline uint8_t *trace_put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)value | 0x80;
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* Takes a value from [*in, end); false, and *in anywhere in it, where there is none or it does not
 * fit 64 bits. */
static inline bool trace_get_varint(const uint8_t **in, const uint8_t *end, uint64_t *value)
{
    uint64_t result = 0;

    for (unsigned shift = 0; *in < end; shift += 7) {
        uint8_t byte = *(*in)++;

        if (shift == 63 && byte > 1)
            return false;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = result;
            return true;
        }
    }
    return false;
}

/* Signed differences, modulo 2^64, with the sign in bit 0: small ones of either sign stay short. */
static inline uint64_t trace_difference(uint64_t value, uint64_t from)
{
    uint64_t difference = value - from;

    return difference << 1 ^ (difference >> 63 ? UINT64_MAX : 0);
}

static inline uint64_t trace_apply(uint64_t from, uint64_t coded)
{
    return from + (coded >> 1 ^ (coded & 1 ? UINT64_MAX : 0));
}

static inline void trace_put_u32(uint8_t *out, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static inline uint32_t trace_get_u32(const uint8_t *in)
{
    return in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static inline void trace_put_u64(uint8_t *out, uint64_t value)
{
    trace_put_u32(out, (uint32_t)value);
    trace_put_u32(out + 4, (uint32_t)(value >> 32));
}

static inline uint64_t trace_get_u64(const uint8_t *in)
{
    return trace_get_u32(in) | (uint64_t)trace_get_u32(in + 4) << 32;
}

#endif
