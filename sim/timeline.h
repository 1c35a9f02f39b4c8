/*
 * Going to any point of a replay, forwards or backwards: checkpoints are processes.
 *
 *   the user's process   waits for the current one, hands it signals, ends with its status
 *     +- current         replays
 *     +- checkpoints     copies of the current process made by fork(), asleep at an instruction
 *                        boundary: the complete state (guest memory copy-on-write, devices, TLBs,
 *                        translated code, the place in the trace) without anybody listing it
 *
 * Going back wakes the nearest checkpoint before the place, which becomes the current process and
 * runs forwards to it; the one that was current ends. Nothing survives the user's process, not even
 * when it is killed.
 *
 * What processes share after fork() they share here too: the offset of an open file (a woken copy
 * opens its files anew or reads with pread), sockets (shutdown() closes one for all), and memory
 * that timeline_shared gives. Other memory is the copy's own, as it was at its checkpoint.
 */
#ifndef VTXSIM_SIM_TIMELINE_H
#define VTXSIM_SIM_TIMELINE_H

#include <stddef.h>
#include <stdint.h>

struct timeline;

/* What a traveller takes along, in bytes. */
#define TIMELINE_MESSAGE_MAX 4096
/* What all processes of a timeline share, in bytes. */
#define TIMELINE_SHARED_SIZE 4096
/* Checkpoints at a time. */
#define TIMELINE_CHECKPOINTS 32

/*
 * Splits the process: the caller goes on in a child, while the parent waits and ends with its exit
 * status. Call it before a VM is created and before any thread is started. The current process gets
 * the signals that the terminal sends and those sent to the parent (SIGINT, SIGTERM, SIGHUP,
 * SIGQUIT, SIGUSR1). Returns 0 or -errno.
 */
int timeline_start(struct timeline **timeline);

/*
 * Makes a checkpoint of the calling process, which must have no other threads that matter, at
 * `instructions`. Returns 0 in the process that goes on (also if there is a checkpoint at this very
 * place); returns 1 in the copy when a traveller wakes it, with the traveller's message (at most
 * TIMELINE_MESSAGE_MAX bytes), having left a fresh checkpoint behind at the same place; -errno if
 * none could be made: that costs time later and is no reason to end. Keeps a bounded number, within
 * the memory there is: the denser, the nearer to `instructions`.
 */
int timeline_checkpoint(struct timeline *timeline, uint64_t instructions, void *message,
                        size_t *size);

/* The count of the nearest checkpoint at or before `instructions`, or UINT64_MAX. */
uint64_t timeline_nearest(const struct timeline *timeline, uint64_t instructions);

/* Wakes the nearest checkpoint at or before `instructions` with a message, and ends the calling
 * process. Returns -ENOENT if there is none, -E2BIG if the message is too long. */
int timeline_travel(struct timeline *timeline, uint64_t instructions, const void *message,
                    size_t size);

/* Drops the checkpoints behind `instructions`: what follows will not be what it was (somebody
 * changed the guest). */
void timeline_drop_after(struct timeline *timeline, uint64_t instructions);

/* TIMELINE_SHARED_SIZE bytes that all processes of the timeline see, 0 at first, for the caller's
 * use: what must not go back in time. */
void *timeline_shared(struct timeline *timeline);

/* Ends every checkpoint and frees. In the current process only. */
void timeline_end(struct timeline *timeline);

#endif
