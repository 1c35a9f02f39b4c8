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
 *
 * Accesses. Where they are wanted, translated code calls a helper behind each load and store, and
 * those that the library's helpers make are seen on their way (cpu_ld*_mmuidx_ra). Operands that
 * the processor model reads or writes are told by its MMU.
 */
#include <string.h>

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

/* What the processor model was doing starts over if EPT was in its way. */
static void model_walk_failed(struct unicorn_engine *engine, enum mmu_status status)
{
    struct tracing *tracing = &engine->tracing;
    if (status == MMU_EPT_VIOLATION || status == MMU_EPT_MISCONFIG)
        tracing->access_skip = tracing->access_made;
}

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
    if (!engine->tracing.filling)
        model_walk_failed(engine, report->status);
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

/* A block that is translated only in part: to stop behind so many instructions, or perhaps in front
 * of a debugger's breakpoint. */
static bool is_cut(const struct unicorn_engine *engine, const struct translation_block *tb)
{
    return (tb->cflags & CFLAGS_COUNT) ||
           ((tb->flags & HF_BREAKPOINTS) && engine->debugger.code_active);
}

/* The size of a block that is translated only in part is found by translating it twice. */
EXPORT void gen_intermediate_code_x86_64(void *cs, struct translation_block *tb, int max_insns)
{
    struct unicorn_engine *engine = unicorn_current;
    if (engine && engine->tracing.blocks && is_cut(engine, tb)) {
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
    bool cut = is_cut(engine, db->tb);
    void *arguments[5] = {(void *)engine->capture_env};
    unsigned count = 1;

    tracing->size_operation = NULL;
    if (unicorn_debug_is_stop(engine, db)) /* no block of the guest's */
        return;
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
    if (!tracing->size_operation)
        return;
    tracing->size_operation->args[1] = (uint64_t)db->num_insns;
    if (is_cut(engine, db->tb))
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
    if (count == tracing->access_count)
        tracing->access_skip = tracing->access_made;
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

void unicorn_tracing_not_retired(struct unicorn_engine *engine)
{
    const struct env *env = engine->env;
    if (engine->tracing.blocks)
        engine->tracing.left =
            (struct block_rest){env->segs[SEG_CS].base + env->eip, unicorn_instructions(engine), 1};
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
    tracing->block_count = count;
    if (is_left(tracing) && block_goes_on(engine, pc, count, size, 0))
        return;
    tracing->block(tracing->sink, pc, count, (uint32_t)size);
}

/* A block of `whole` instructions begins, of which `size` follow here, up to `end`. */
EXPORT void helper_bndstx32_x86_64(struct env *env, uint64_t pc, uint64_t size, uint64_t whole,
                                   uint64_t end)
{
    struct unicorn_engine *engine = unicorn_current;
    struct tracing *tracing = &engine->tracing;
    uint64_t count = engine->instruction_base - env->bnd_regs[0] - size;
    tracing->block_count = count;
    if (is_left(tracing) && block_goes_on(engine, pc, count, size, end))
        return;
    tracing->cut = (struct block_rest){end, count + size, whole - size};
    tracing->block(tracing->sink, pc, count, (uint32_t)whole);
}

static void ignore_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions,
                         uint32_t size)
{
}

/* --- Accesses -----------------------------------------------------------------------------------
 */

/* What a helper is told of an access: index of the instruction in its block, size, kind. */
#define WHAT(index, size, write) ((uint64_t)(index) << 16 | (size) << 1 | (write))
#define WHAT_INDEX(what)         ((what) >> 16)
#define WHAT_SIZE(what)          ((what) >> 1 & 0xff)
#define WHAT_WRITE(what)         ((what)&1)

void *unicorn_tracing_access_start(void *tcg, uint64_t address)
{
    void *copy = tcg_temp_new_internal_x86_64(tcg, TCG_TYPE_I64, false);
    unicorn_emit(tcg, OP_mov_i64, (uint64_t)copy, address, 0); /* a load may overwrite it */
    return copy;
}

void unicorn_tracing_access_end(struct unicorn_engine *engine, void *tcg,
                                const struct tcg_operation *operation, int opcode, void *address)
{
    uint64_t value = operation->args[0], oi = operation->args[2];
    bool write = opcode == OP_qemu_st_i32 || opcode == OP_qemu_st_i64;
    struct tcg_operation *unused;
    void *wide = NULL;

    if (opcode <= OP_qemu_st_i32) {
        wide = tcg_temp_new_internal_x86_64(tcg, TCG_TYPE_I64, false);
        tcg_gen_extu_i32_i64_x86_64(tcg, (uintptr_t)wide - (uintptr_t)tcg, value - (uintptr_t)tcg);
        value = (uint64_t)wide;
    }
    void *rip = emit_constant(tcg, engine->alignment.pc - engine->tracing.cs_base, &unused);
    void *what = emit_constant(
        tcg, WHAT(engine->instruction_index - 1, MEMORY_OPERATION_SIZE(oi), write), &unused);
    void *arguments[5] = {(void *)engine->capture_env, address, (void *)value, rip, what};
    tcg_gen_callN_x86_64(tcg, (void *)helper_bndldx64_x86_64, NULL, 5, arguments);
    tcg_temp_free_internal_x86_64(tcg, address);
    tcg_temp_free_internal_x86_64(tcg, rip);
    tcg_temp_free_internal_x86_64(tcg, what);
    if (wide)
        tcg_temp_free_internal_x86_64(tcg, wide);
}

/* delivered: see access_event. */
static void record_access(struct unicorn_engine *engine, struct trace_event *event,
                          unsigned delivered)
{
    struct tracing *tracing = &engine->tracing;
    bool same = event->instructions == tracing->access_count && event->rip == tracing->access_rip &&
                delivered == tracing->access_event;
    if (same && tracing->access_skip) {
        tracing->access_skip--;
        return;
    }
    if (!same)
        tracing->access_made = 0;
    tracing->access_skip = 0;
    tracing->access_made++;
    tracing->access_count = event->instructions;
    tracing->access_rip = event->rip;
    tracing->access_event = delivered;
    event->type = TRACE_ACCESS;
    event->cpu = (uint16_t)engine->vcpu->index;
    event->time = 0;
    tracing->sink->event(tracing->sink, event);
}

static uint64_t low_bytes(uint64_t value, uint64_t size)
{
    return size < 8 ? value & ((1ull << 8 * size) - 1) : value;
}

/* By translated code. */
EXPORT void helper_bndldx64_x86_64(struct env *env, uint64_t linear, uint64_t value, uint64_t rip,
                                   uint64_t what)
{
    struct unicorn_engine *engine = unicorn_current;
    struct trace_event event = {
        .instructions = engine->tracing.block_count + WHAT_INDEX(what),
        .rip = rip,
        .access = {linear, low_bytes(value, WHAT_SIZE(what)), (uint8_t)WHAT_SIZE(what),
                   WHAT_WRITE(what)},
    };
    record_access(engine, &event, 0);
}

/* By the processor model. */
static void observe_access(void *context, uint64_t linear, const void *data, size_t size,
                           unsigned access)
{
    struct unicorn_engine *engine = context;
    struct trace_event event = {
        .access = {.linear = linear,
                   .size = (uint8_t)size,
                   .write = (access & ACCESS_TYPE_MASK) == ACCESS_WRITE},
    };
    if (engine->tracing.looking)
        return;
    unicorn_debug_model_access(engine, event.access.write, linear, size);
    if (!engine->tracing.accesses)
        return;
    memcpy(&event.access.value, data, size < 8 ? size : 8);
    locate(engine, &event);
    const struct event *delivering = &engine->cpu->delivering;
    bool delivers = engine->cpu->delivery_in_progress;
    record_access(engine, &event,
                  delivers ? 1u << 16 | (unsigned)delivering->type << 8 | delivering->vector : 0);
}

/* By a helper of the library, called at this place in translated code. */
static void helper_access(uint64_t linear, uint64_t value, uint8_t size, bool write,
                          uintptr_t return_address)
{
    struct unicorn_engine *engine = unicorn_current;
    struct trace_event event = {.access = {linear, low_bytes(value, size), size, write}};
    struct tracing *tracing = &engine->tracing;
    tracing->fill_return_address = return_address;
    tracing->filling = true;
    locate(engine, &event);
    tracing->filling = false;
    record_access(engine, &event, 0);
}

static bool wants_accesses(void)
{
    return unicorn_current && unicorn_current->tracing.accesses;
}

#define HELPER_LOAD(name, type, bytes)                                                         \
    EXPORT type name(struct env *env, uint64_t address, int mmu_idx, uintptr_t return_address) \
    {                                                                                          \
        type value = ORIGINAL(name)(env, address, mmu_idx, return_address);                    \
        if (wants_accesses())                                                                  \
            helper_access(address, (uint64_t)value, bytes, false, return_address);             \
        return value;                                                                          \
    }
#define HELPER_STORE(name, type, bytes)                                          \
    EXPORT void name(struct env *env, uint64_t address, type value, int mmu_idx, \
                     uintptr_t return_address)                                   \
    {                                                                            \
        ORIGINAL(name)(env, address, value, mmu_idx, return_address);            \
        if (wants_accesses())                                                    \
            helper_access(address, value, bytes, true, return_address);          \
    }

HELPER_LOAD(cpu_ldub_mmuidx_ra_x86_64, uint32_t, 1)
HELPER_LOAD(cpu_ldsb_mmuidx_ra_x86_64, int, 1)
HELPER_LOAD(cpu_lduw_mmuidx_ra_x86_64, uint32_t, 2)
HELPER_LOAD(cpu_ldsw_mmuidx_ra_x86_64, int, 2)
HELPER_LOAD(cpu_ldl_mmuidx_ra_x86_64, uint32_t, 4)
HELPER_LOAD(cpu_ldq_mmuidx_ra_x86_64, uint64_t, 8)
HELPER_STORE(cpu_stb_mmuidx_ra_x86_64, uint32_t, 1)
HELPER_STORE(cpu_stw_mmuidx_ra_x86_64, uint32_t, 2)
HELPER_STORE(cpu_stl_mmuidx_ra_x86_64, uint32_t, 4)
HELPER_STORE(cpu_stq_mmuidx_ra_x86_64, uint64_t, 8)

void unicorn_tracing_begin(struct unicorn_engine *engine)
{
    struct tracing *tracing = &engine->tracing;
    struct trace_sink *sink = engine->vcpu->vm->sink;
    bool walks = trace_wants(sink, TRACE_WALK) || trace_wants(sink, TRACE_FLUSH);
    tracing->sink = sink;
    tracing->accesses = trace_wants(sink, TRACE_ACCESS);
    bool blocks = trace_wants(sink, TRACE_BLOCK) && sink->block;
    tracing->blocks = blocks || tracing->accesses; /* accesses need the block's count */
    tracing->block = blocks ? sink->block : ignore_block;
    tracing->observer = (struct mmu_observer){
        .walk = observe_walk,
        .flush = observe_flush,
        .access = observe_access,
        .context = engine,
    };
    bool accesses = tracing->accesses || engine->debugger.data_active;
    engine->cpu->mmu.observer = walks || accesses ? &tracing->observer : NULL;
}
