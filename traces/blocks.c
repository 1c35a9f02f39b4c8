/* Blocks that were not predicted, and the decoding of blocks. */
#include "traces/blocks.h"

#include <errno.h>

/* What the predictor's slot says from now on. */
static void learn(struct trace_block_predictor *predictor, uint64_t rip, uint32_t size)
{
    struct trace_successor *successor = predictor->successor;

    predictor->used = true;
    if (successor->rip == rip && successor->size == size)
        return;
    predictor->other[successor - predictor->slot] = successor->rip;
    successor->other_size = successor->size;
    successor->rip = rip;
    successor->size = size;
}

int trace_blocks_put(struct trace_block_predictor *predictor,
                     struct trace_column column[TRACE_COLUMNS], const struct trace_event *block,
                     uint64_t run)
{
    const struct trace_successor *successor = predictor->successor;
    uint32_t size = block->block.instructions;
    bool spelled = predictor->other[successor - predictor->slot] != block->rip ||
                   successor->other_size != size;
    bool done =
        trace_column_use(&column[TRACE_COLUMN_BLOCK_RUNS], TRACE_VARINT_MAX) && /* zeros count */
        trace_column_put(&column[TRACE_COLUMN_BLOCK_RUNS], run << 1 | spelled) &&
        trace_column_put(&column[TRACE_COLUMN_CPU], trace_difference(block->cpu, predictor->cpu)) &&
        trace_column_put(&column[TRACE_COLUMN_INSTRUCTIONS],
                         trace_difference(block->instructions, predictor->instructions)) &&
        trace_column_put(&column[TRACE_COLUMN_TIME], block->time);

    if (done && spelled)
        done = trace_column_put(&column[TRACE_COLUMN_RIP],
                                trace_difference(block->rip, predictor->rip)) &&
               trace_column_put(&column[TRACE_COLUMN_BLOCK_SIZE], size);
    predictor->cpu = block->cpu;
    learn(predictor, block->rip, size);
    trace_blocks_follow(predictor, block->rip, block->instructions, size);
    return done ? 0 : -ENOMEM;
}

/* How far the predictions hold; without an end where nothing is written any more. */
static int take_run(struct trace_block_decoder *decoder, struct trace_cursor *runs)
{
    uint64_t run;

    decoder->endless = runs->next == runs->end;
    if (decoder->endless) {
        decoder->run = UINT64_MAX;
        return 0;
    }
    if (!trace_cursor_take(runs, &run))
        return -EBADMSG;
    decoder->run = run >> 1;
    decoder->spelled = run & 1;
    return 0;
}

static int take_written(struct trace_block_decoder *decoder,
                        struct trace_cursor column[TRACE_COLUMNS], struct trace_event *block)
{
    struct trace_block_predictor *predictor = &decoder->predictor;
    const struct trace_successor *successor = predictor->successor;
    uint64_t cpu, instructions, rip, size;

    if (!trace_cursor_take(&column[TRACE_COLUMN_CPU], &cpu) ||
        !trace_cursor_take(&column[TRACE_COLUMN_INSTRUCTIONS], &instructions) ||
        !trace_cursor_take(&column[TRACE_COLUMN_TIME], &block->time))
        return -EBADMSG;
    block->rip = predictor->other[successor - predictor->slot];
    block->block.instructions = successor->other_size;
    if (decoder->spelled) {
        if (!trace_cursor_take(&column[TRACE_COLUMN_RIP], &rip) ||
            !trace_cursor_take(&column[TRACE_COLUMN_BLOCK_SIZE], &size))
            return -EBADMSG;
        block->rip = trace_apply(predictor->rip, rip);
        block->block.instructions = (uint32_t)size;
    }
    block->cpu = predictor->cpu = (uint16_t)trace_apply(predictor->cpu, cpu);
    block->instructions = trace_apply(predictor->instructions, instructions);
    learn(predictor, block->rip, block->block.instructions);
    return take_run(decoder, &column[TRACE_COLUMN_BLOCK_RUNS]);
}

int trace_blocks_take(struct trace_block_decoder *decoder,
                      struct trace_cursor column[TRACE_COLUMNS], struct trace_event *block)
{
    struct trace_block_predictor *predictor = &decoder->predictor;
    int error = 0;

    if (!decoder->begun) {
        decoder->begun = true;
        trace_blocks_begin(predictor);
        error = take_run(decoder, &column[TRACE_COLUMN_BLOCK_RUNS]);
    }
    if (error)
        return error;
    if (decoder->run == 0) {
        error = take_written(decoder, column, block);
    } else {
        decoder->run--;
        block->cpu = predictor->cpu;
        block->instructions = predictor->instructions;
        block->rip = predictor->successor->rip;
        block->block.instructions = predictor->successor->size;
    }
    trace_blocks_follow(predictor, block->rip, block->instructions, block->block.instructions);
    return error;
}
