/*
 * The list of a trace's frames, and its form in the file: behind the frames of events stand the
 * index and the seek table. A trace that lacks them was cut off.
 */
#ifndef VTXSIM_TRACES_INDEX_H
#define VTXSIM_TRACES_INDEX_H

#include "traces/format.h"
#include "traces/reader.h"

/* The frames of events follow the header's without a gap. */
struct trace_frames {
    uint64_t header_size, header_content_size; /* compressed, decompressed */
    struct trace_frame *frame;
    size_t count, allocated;
};

/* Where the next frame begins in the file, and the number of its first event. */
uint64_t trace_frames_end(const struct trace_frames *frames);
uint64_t trace_frames_events(const struct trace_frames *frames);

/* Adds a frame; its offset and first are set here. Returns 0 or -ENOMEM. */
int trace_frames_add(struct trace_frames *frames, const struct trace_frame *frame);
void trace_frames_release(struct trace_frames *frames);

/* The index and the seek table, *size bytes, owned by the caller (free); NULL if out of memory. */
uint8_t *trace_frames_pack(const struct trace_frames *frames, size_t *size);

/*
 * Fills empty `frames` from the end of a file, which is all that follows the frames of events and
 * begins at this offset. Returns 0, -ENOMEM, or -EBADMSG if it is not what trace_frames_pack makes.
 */
int trace_frames_unpack(struct trace_frames *frames, const uint8_t *data, size_t size,
                        uint64_t offset);

#endif
