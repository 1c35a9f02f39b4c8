/*
 * Coding of blocks. After the same two blocks mostly the same one follows as the last time, and it
 * begins where the instructions of the last one end: only what is otherwise is written, and how
 * many blocks were as predicted before it. The writer comes here for every block that the guest
 * executes, so a right prediction is a few comparisons.
 */
#ifndef VTXSIM_TRACES_BLOCKS_H
#define VTXSIM_TRACES_BLOCKS_H

#include "traces/column.h"
#include "traces/event.h"

#define TRACE_COLUMN_BLOCK_SIZE TRACE_COLUMN_OWN
#define TRACE_COLUMN_BLOCK_RUNS (TRACE_COLUMNS - 1)

/* What has followed two blocks: the last time, and before that. */
#define TRACE_BLOCK_SLOT_BITS 13
struct trace_successor {
    uint64_t rip;
    uint32_t size, other_size;
};

/* All zero before the first block of a frame, but for `successor`. */
struct trace_block_predictor {
    struct trace_successor *successor; /* of the last two blocks */
    uint64_t rip, before;              /* the last block's and the one's before it */
    uint64_t last, instructions;       /* at the last block; at the next, if all goes on */
    uint16_t cpu;
    bool used;
    struct trace_successor slot[1u << TRACE_BLOCK_SLOT_BITS];
    uint64_t other[1u << TRACE_BLOCK_SLOT_BITS]; /* RIP, to other_size */
};

static inline struct trace_successor *trace_blocks_find(struct trace_block_predictor *predictor)
{
    return &predictor->slot[(predictor->rip + 3 * predictor->before) * 0x9e3779b97f4a7c15u >>
                            (64 - TRACE_BLOCK_SLOT_BITS)];
}

static inline void trace_blocks_begin(struct trace_block_predictor *predictor)
{
    if (predictor->used)
        memset(predictor, 0, sizeof(*predictor));
    predictor->successor = trace_blocks_find(predictor);
}

static inline bool trace_blocks_predicts(const struct trace_block_predictor *predictor,
                                         uint64_t rip, uint64_t instructions, uint32_t size)
{
    return predictor->successor->rip == rip && predictor->successor->size == size &&
           predictor->instructions == instructions;
}

/* After each block, predicted or not. */
static inline void trace_blocks_follow(struct trace_block_predictor *predictor, uint64_t rip,
                                       uint64_t instructions, uint32_t size)
{
    predictor->before = predictor->rip;
    predictor->rip = rip;
    predictor->last = instructions;
    predictor->instructions = instructions + size;
    predictor->successor = trace_blocks_find(predictor);
}

/*
 * Writes a block that was not predicted, or need not have been, behind `run` predicted ones, into
 * the columns of its type. Returns 0 or -ENOMEM.
 */
int trace_blocks_put(struct trace_block_predictor *predictor,
                     struct trace_column column[TRACE_COLUMNS], const struct trace_event *block,
                     uint64_t run);

struct trace_block_decoder {
    struct trace_block_predictor predictor;
    bool begun;
    uint64_t run; /* predicted blocks before the one that is written next */
    bool endless; /* or there is none */
    bool spelled; /* that one has RIP and size with it */
};

/* Takes the next block. Returns 0 or -EBADMSG. */
int trace_blocks_take(struct trace_block_decoder *decoder,
                      struct trace_cursor column[TRACE_COLUMNS], struct trace_event *block);

#endif
