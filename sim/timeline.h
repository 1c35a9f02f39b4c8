/*
 * Going to any point of a replay, forwards or backwards: checkpoints are processes.
 *
 * A checkpoint is a copy of the replaying process made by fork(), asleep at an instruction boundary:
 * it holds the complete state (guest memory copy-on-write, devices, TLBs, translated code, the
 * position in the trace) without anybody having to list it. Going back wakes the nearest
 * checkpoint before the place, which then runs forwards to it; the process that was current ends.
 * The process that the user started waits for whichever is current, and ends as it does.
 */
#ifndef VTXSIM_SIM_TIMELINE_H
#define VTXSIM_SIM_TIMELINE_H

#include <stddef.h>
#include <stdint.h>

struct timeline;

/* What a traveller takes along. */
#define TIMELINE_MESSAGE_MAX 4096

/*
 * Splits the process: the caller goes on in a child, while the parent waits and ends with its exit
 * status. Call it before a VM is created and before any thread is started. Signals that the
 * terminal sends reach the current process. Returns 0 or -errno.
 */
int timeline_start(struct timeline **timeline);

/*
 * Makes a checkpoint of the calling process, which must have no other threads that matter, at
 * `instructions`. Returns 0 in the process that goes on; returns 1 in the copy when a traveller
 * wakes it, with the message that it sent (and leaves a fresh checkpoint behind at the same place);
 * -errno if none could be made. Keeps a bounded number: denser near the last ones made.
 */
int timeline_checkpoint(struct timeline *timeline, uint64_t instructions, void *message,
                        size_t *size);

/* The count of the nearest checkpoint at or before `instructions`, or UINT64_MAX. */
uint64_t timeline_nearest(const struct timeline *timeline, uint64_t instructions);

/* Wakes the nearest checkpoint at or before `instructions` with a message, and ends the calling
 * process. Returns -ENOENT if there is none, -E2BIG if the message is too long. */
int timeline_travel(struct timeline *timeline, uint64_t instructions, const void *message,
                    size_t size);

/* Ends every checkpoint. In the current process only. */
void timeline_end(struct timeline *timeline);

#endif
