/*
 * The first instruction at which two recorded runs part. Both are executed again, side by side,
 * from the last place where they are known to be equal, and their registers are compared: at ever
 * nearer places, and at every block in between by a hash that each block's registers are added to,
 * so that no difference is missed for having gone away again.
 */
#ifndef VTXSIM_SIM_DIVERGENCE_H
#define VTXSIM_SIM_DIVERGENCE_H

#include "sim/divergence_runner.h"

struct divergence_request {
    struct runners_options runners;
    uint64_t from;   /* so many instructions retired, and the runs are equal */
    uint64_t to;     /* here they are known to differ, or soon after */
    unsigned before; /* instructions to be shown before the one that differs */
    bool memory;     /* look for the first difference in memory, too */
};

#define DIVERGENCE_BEFORE_MAX 32
#define DIVERGENCE_LINES      6
#define DIVERGENCE_PAGES      8

/* 16 bytes of memory before and after the instruction, as both runs have them. */
struct divergence_line {
    uint64_t linear;
    uint8_t before[2][RUNNER_LINE], after[2][RUNNER_LINE];
    bool present[2];
};

struct divergence_instruction {
    uint64_t rip;
    uint8_t bytes[INSTRUCTION_BYTES];
    struct instruction_text text;
};

enum divergence_kind {
    DIVERGENCE_NONE,  /* the registers never differ, to the end of both runs */
    DIVERGENCE_START, /* the runs begin with different registers */
    DIVERGENCE_FOUND, /* see below */
};

struct divergence {
    enum divergence_kind kind;
    /* Retired when the registers differ for the first time; one less, and they are equal. */
    uint64_t instructions;
    uint64_t agreed; /* where the search began */
    bool ended[2];   /* the guest stopped there instead of going on */
    struct cpu_state after[2];
    uint8_t fpu_after[2][FXSAVE_BYTES];
    /* What executed before on A; the last is the instruction that makes the difference. */
    struct divergence_instruction history[DIVERGENCE_BEFORE_MAX + 1];
    unsigned history_count;
    struct divergence_line line[DIVERGENCE_LINES];
    unsigned line_count;

    /* Pages of memory that differ just before that instruction. */
    uint64_t page[DIVERGENCE_PAGES], pages;
    /* With request->memory: the count at which memory differs for the first time (the place where
     * the search began, if it does there), and what differs then. */
    bool memory_differs;
    uint64_t memory_instructions, memory_page[DIVERGENCE_PAGES], memory_pages;

    uint64_t stops; /* places that were compared */
    double seconds; /* that the search took, and of that the way to where it began */
    double approach_seconds;
};

/* Returns 0, -ECANCELED after progress said so, or -errno with a message: a run cannot be
 * repeated. */
int divergence_find(const struct divergence_request *request, struct divergence *divergence,
                    char *message, size_t size);

#endif
