/*
 * Reading a trace, from its beginning or from any place in it. Damage is told, never crashed on:
 * every event that the reader gives has passed its frame's checksum.
 */
#ifndef VTXSIM_TRACES_READER_H
#define VTXSIM_TRACES_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "traces/event.h"

struct trace_reader;

/*
 * Returns 0 or -errno: -EBADMSG if it is not a trace or damaged, -ENODATA if it is cut within its
 * header, -ENOTSUP if its version is not this one's. `message` (may be NULL) then says what is
 * wrong and what to do, and names the file.
 */
int trace_reader_open(struct trace_reader **reader, const char *path, char *message, size_t size);
void trace_reader_close(struct trace_reader *reader);

/* The options of the run (JSON). Valid until trace_reader_close. */
const char *trace_reader_options(const struct trace_reader *reader);
enum trace_level trace_reader_level(const struct trace_reader *reader);

/*
 * The next event. Returns 1; 0 at the end of a whole trace; -ENODATA at the end of one that was
 * cut off (all events of its whole frames have been given); -EBADMSG where it is damaged; -errno
 * if reading fails. Values are those of the file, be they sensible or not; only input.size is at
 * most TRACE_INPUT_MAX for certain. After anything but 1 the answer stays the same until a seek.
 * Events of types that this version does not know are skipped; they count.
 */
int trace_reader_next(struct trace_reader *reader, struct trace_event *event);
/* The same with the next event of one type, if not all of its fields are zero. Frames that have
 * none are passed over as a whole. */
int trace_reader_next_of(struct trace_reader *reader, enum trace_event_type type,
                         struct trace_event *event);
/* Number of the event that trace_reader_next gives next, counted from 0 (or of one of an unknown
 * type before it). */
uint64_t trace_reader_position(const struct trace_reader *reader);

/*
 * Goes to an event by its number, or to the first at or after an instruction count (of processor
 * 0) or a time. A place behind the end is the end. Returns 0 or -errno as trace_reader_next does,
 * but 0 where a cut trace ends.
 */
enum trace_index { TRACE_INDEX_EVENT, TRACE_INDEX_INSTRUCTIONS, TRACE_INDEX_TIME };
int trace_reader_seek(struct trace_reader *reader, enum trace_index index, uint64_t place);

/* The frames of events, for those who compare files by them. */
struct trace_frame {
    uint64_t offset;          /* in the file */
    uint64_t compressed_size; /* bytes */
    uint64_t content_size;    /* bytes, decompressed */
    uint64_t first, count;    /* events */
    uint64_t instructions;    /* of its first event of processor 0 */
    uint64_t time;            /* of its first event that has one */
    uint64_t checksum;        /* XXH64 of the decompressed content */
};
/* Frames that the file's index names; of a cut or damaged file, those found whole by reading it, up
 * to where it is damaged. Returns their number or -errno; *frames stays the reader's. */
int64_t trace_reader_frames(struct trace_reader *reader, const struct trace_frame **frames);
/* True if the bytes of a frame are those of another file's frame: a checksum in an index says
 * nothing about what has become of the frame since. */
bool trace_reader_frame_equals(struct trace_reader *reader, const struct trace_frame *frame,
                               struct trace_reader *other, const struct trace_frame *others);
/* False where the trace was cut off or its frames cannot all be found. */
bool trace_reader_is_whole(struct trace_reader *reader);

#endif
