/*
 * Two runs that are executed again side by side, each in a process of its own, and go where they
 * are told: to an instruction count, or back to a checkpoint.
 */
#ifndef VTXSIM_SIM_DIVERGENCE_RUNNER_H
#define VTXSIM_SIM_DIVERGENCE_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/state.h"
#include "sim/engine.h"
#include "sim/instruction_text.h"

struct runners;

/* Where a run stands. */
struct runner_place {
    uint64_t instructions;
    uint64_t registers; /* hash */
    uint64_t chain;     /* hash of the registers at every block, each on top of the last */
    uint64_t memory;    /* hash; 0 unless it is wanted */
    bool ended;         /* the guest has stopped after so many instructions */
};

struct runners_options {
    const char *path[2];     /* of the traces */
    const char *const *find; /* as in struct replay_options */
    unsigned find_count;
    /* Called about ten times a second while the runs go on; false: enough. May be NULL. */
    bool (*progress)(void *context, uint64_t instructions);
    void *context;
};

/*
 * Starts both: they stand before their first instruction. Returns 0, or -errno with a message. All
 * functions below that return an int return 0, -ECANCELED after `progress` has said so, or -errno
 * if a run fails (runners_message tells why).
 */
int runners_start(struct runners **runners, const struct runners_options *options, char *message,
                  size_t size);
void runners_end(struct runners *runners);
const char *runners_message(const struct runners *runners);

const struct runner_place *runners_place(const struct runners *runners, unsigned side);
/* True if the two places cannot be told apart. */
bool runners_agree(const struct runners *runners);

/* Both run on to a count at or behind the place, or to the guest's end. */
int runners_go(struct runners *runners, uint64_t instructions);
/* Makes a checkpoint here; without one (no memory) going back only takes longer. */
int runners_mark(struct runners *runners);
/* Both go back to the nearest checkpoint at or before a count. */
int runners_back(struct runners *runners, uint64_t instructions);
/* From here on the chain is kept. */
int runners_keep_chain(struct runners *runners);
/* From here on places tell of memory, too, or no more. */
int runners_watch_memory(struct runners *runners, bool on);

/* The processor's state here, and the bytes at RIP. */
int runners_look(struct runners *runners);
const struct cpu_state *runners_state(const struct runners *runners, unsigned side);
/* x87 and SSE state in the format of FXSAVE, FXSAVE_BYTES. */
const uint8_t *runners_fpu(const struct runners *runners, unsigned side);
/* Returns the number of bytes, at most INSTRUCTION_BYTES. */
unsigned runners_code(const struct runners *runners, unsigned side, const uint8_t **bytes);

/* Reads the 16 bytes at a linear address of each run; present[side] is false where it cannot. */
#define RUNNER_LINE 16
int runners_read(struct runners *runners, uint64_t linear, uint8_t line[2][RUNNER_LINE],
                 bool present[2]);

/* The pages of guest memory that differ: their number, and the addresses of the first ones. */
int runners_compare_pages(struct runners *runners, uint64_t *gpa, unsigned most, uint64_t *count);

#endif
