/*
 * Events of the deeper trace levels, for the sink that the VM has.
 *
 * Walks and flushes are told by the model's MMU. Most walks serve a miss of the soft TLB in the
 * middle of a block: RIP and count are then looked up in the block's restore table, only when there
 * has been a walk and somebody wants it.
 *
 * Blocks. Where they are wanted, translated code calls a helper at the start of each, behind the
 * check of the budget, so that a block that leaves there has not begun. The library's helpers for
 * MPX, which is never enabled, serve for that. The events are a function of what the guest executes
 * alone: where a boundary cuts a block in two, or it is left for an exit and taken up again, there
 * is one event for the whole of it, with the size that it would have had.
 */
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"
#include "sim/vm_internal.h"

/* --- Where the processor is ---------------------------------------------------------------------
 */

static void locate(struct unicorn_engine *engine, struct trace_event *event)
{
    const struct tracing *tracing = &engine->tracing;
    event->cpu = (uint16_t)engine->vcpu->index;
    if (unicorn_current == engine && tracing->filling) {
        struct block_position position;
        unicorn_position_at(engine, tracing->fill_return_address, &position);
        event->instructions = unicorn_instructions(engine);
        event->rip = engine->env->eip;
        unicorn_position_back(engine, &position);
    } else {
        event->instructions = unicorn_instructions(engine) - tracing->executing;
        event->rip = engine->cpu->state.rip;
    }
    event->time = event->instructions + engine->vcpu->extra_cycles;
}

/* --- Walks and flushes ------------------------------------------------------------------------ */

static void observe_walk(void *context, const struct mmu_walk_report *report)
{
    struct unicorn_engine *engine = context;
    struct trace_sink *sink = engine->tracing.sink;
    struct trace_event event = {
        .type = TRACE_WALK,
        .walk =
            {
                .linear = report->linear,
                .guest_physical_address = report->gpa,
                .host_physical_address = report->hpa,
                .access = report->access,
                .status = report->status,
                .error_code = report->error_code,
                .guest_references = (uint8_t)report->guest_references,
                .ept_references = (uint8_t)report->ept_references,
                .page_shift = report->page_shift,
            },
    };
    if (!trace_wants(sink, TRACE_WALK))
        return;
    locate(engine, &event);
    sink->event(sink, &event);
}

_Static_assert(TRACE_FLUSH_CR3 == (int)MMU_FLUSH_CR3 &&
                   TRACE_FLUSH_TRANSITION == (int)MMU_FLUSH_TRANSITION,
               "enum trace_flush_kind is enum mmu_flush");

static void observe_flush(void *context, enum mmu_flush kind, unsigned type, uint64_t address)
{
    struct unicorn_engine *engine = context;
    struct trace_sink *sink = engine->tracing.sink;
    struct trace_event event = {
        .type = TRACE_FLUSH,
        .flush = {.kind = (uint8_t)kind, .type = (uint8_t)type, .address = address},
    };
    if (!trace_wants(sink, TRACE_FLUSH))
        return;
    locate(engine, &event);
    sink->event(sink, &event);
}

/* --- Blocks -------------------------------------------------------------------------------------
 */

/* The size of a block that is translated only in part is found by translating it twice. */
EXPORT void gen_intermediate_code_x86_64(void *cs, struct translation_block *tb, int max_insns)
{
    struct unicorn_engine *engine = unicorn_current;
    if (engine && engine->tracing.blocks && (tb->cflags & CFLAGS_COUNT)) {
        engine->tracing.measuring = true;
        ORIGINAL(gen_intermediate_code_x86_64)(cs, tb, BLOCK_MAX);
        engine->tracing.whole = tb->icount;
        tcg_func_start_x86_64(engine->capture_context);
    }
    if (engine)
        engine->tracing.measuring = false;
    ORIGINAL(gen_intermediate_code_x86_64)(cs, tb, max_insns);
}

static void *emit_constant(void *tcg, uint64_t value, struct tcg_operation **operation)
{
    void *temp = tcg_temp_new_internal_x86_64(tcg, TCG_TYPE_I64, false);
    *operation = unicorn_emit(tcg, OP_movi_i64, (uint64_t)temp, value, 0);
    return temp;
}

/* The numbers that are not known yet are filled in at the end of the block. */
void unicorn_tracing_block_start(struct unicorn_engine *engine, const struct translator *db)
{
    struct tracing *tracing = &engine->tracing;
    void *tcg = engine->capture_context;
    struct tcg_operation *unused;
    bool cut = db->tb->cflags & CFLAGS_COUNT;
    void *arguments[5] = {(void *)engine->capture_env};
    unsigned count = 1;

    arguments[count++] = emit_constant(tcg, db->tb->pc, &unused);
    arguments[count++] = emit_constant(tcg, 0, &tracing->size_operation);
    if (cut) {
        arguments[count++] = emit_constant(tcg, tracing->whole, &unused);
        arguments[count++] = emit_constant(tcg, 0, &tracing->end_operation);
    }
    void *helper = cut ? (void *)helper_bndstx32_x86_64 : (void *)helper_bndstx64_x86_64;
    tcg_gen_callN_x86_64(tcg, helper, NULL, (int)count, arguments);
    while (--count > 0)
        tcg_temp_free_internal_x86_64(tcg, arguments[count]);
}

void unicorn_tracing_block_end(struct unicorn_engine *engine, const struct translator *db)
{
    struct tracing *tracing = &engine->tracing;
    tracing->size_operation->args[1] = (uint64_t)db->num_insns;
    if (db->tb->cflags & CFLAGS_COUNT)
        tracing->end_operation->args[1] = db->pc_next;
}

void unicorn_tracing_left(struct unicorn_engine *engine, const struct translation_block *tb,
                          uint64_t pc, unsigned index)
{
    struct tracing *tracing = &engine->tracing;
    uint64_t count = unicorn_instructions(engine), rest = tb->icount - index;
    if (tracing->cut.instructions && tracing->cut.count == count + rest)
        rest += tracing->cut.instructions;
    tracing->left = (struct block_rest){pc, count, rest};
}

static bool goes_on(const struct block_rest *rest, uint64_t pc, uint64_t count)
{
    return rest->instructions && rest->pc == pc && rest->count == count;
}

/*
 * A block of `size` instructions begins, up to the linear address `end` (0 if it is not known).
 * Returns true if it is the rest of one whose event has been recorded.
 */
static bool block_goes_on(struct unicorn_engine *engine, uint64_t pc, uint64_t count, uint64_t size,
                          uint64_t end)
{
    struct tracing *tracing = &engine->tracing;
    struct block_rest rest = goes_on(&tracing->left, pc, count)  ? tracing->left
                             : goes_on(&tracing->cut, pc, count) ? tracing->cut
                                                                 : (struct block_rest){0};
    tracing->left.instructions = tracing->cut.instructions = 0;
    if (!rest.instructions)
        return false;
    if (size > rest.instructions) { /* not so far: what comes behind is another block */
        struct env *env = engine->env;
        tracing->cut = rest;
        env->bnd_regs[0] += size;
        env->eip = pc - env->segs[SEG_CS].base;
        CS_FIELD(engine->cs, CS_CFLAGS_NEXT_TB, uint32_t) = (uint32_t)rest.instructions;
        unicorn_resume(engine);
    }
    if (end)
        tracing->cut = (struct block_rest){end, count + size, rest.instructions - size};
    return true;
}

static inline bool is_left(const struct tracing *tracing)
{
    return __builtin_expect((tracing->left.instructions | tracing->cut.instructions) != 0, 0);
}

/* A block begins. */
EXPORT void helper_bndstx64_x86_64(struct env *env, uint64_t pc, uint64_t size, uint64_t unused1,
                                   uint64_t unused2)
{
    struct unicorn_engine *engine = unicorn_current;
    struct tracing *tracing = &engine->tracing;
    uint64_t count = engine->instruction_base - env->bnd_regs[0] - size;
    if (is_left(tracing) && block_goes_on(engine, pc, count, size, 0))
        return;
    tracing->sink->block(tracing->sink, pc, count, (uint32_t)size);
}

/* A block of `whole` instructions begins, of which `size` follow here, up to `end`. */
EXPORT void helper_bndstx32_x86_64(struct env *env, uint64_t pc, uint64_t size, uint64_t whole,
                                   uint64_t end)
{
    struct unicorn_engine *engine = unicorn_current;
    struct tracing *tracing = &engine->tracing;
    uint64_t count = engine->instruction_base - env->bnd_regs[0] - size;
    if (is_left(tracing) && block_goes_on(engine, pc, count, size, end))
        return;
    tracing->cut = (struct block_rest){end, count + size, whole - size};
    tracing->sink->block(tracing->sink, pc, count, (uint32_t)whole);
}

void unicorn_tracing_begin(struct unicorn_engine *engine)
{
    struct tracing *tracing = &engine->tracing;
    struct trace_sink *sink = engine->vcpu->vm->sink;
    bool walks = trace_wants(sink, TRACE_WALK) || trace_wants(sink, TRACE_FLUSH);
    tracing->sink = sink;
    tracing->blocks = trace_wants(sink, TRACE_BLOCK) && sink->block;
    tracing->observer = (struct mmu_observer){observe_walk, observe_flush, engine};
    engine->cpu->mmu.observer = walks ? &tracing->observer : NULL;
}
