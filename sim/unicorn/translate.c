/*
 * Translation of guest code: what is added to every block, and what is taken out.
 *
 * Counting. Each block begins by taking its number of instructions from the budget in
 * env->bnd_regs[0], and leaves for the main loop, before anything has happened, when the budget
 * does not suffice. So the count is exact at the end of every block. Where a block is left in its
 * middle (a fault), the library restores RIP from a table made at translation; the index of the
 * instruction travels along in that table and the rest of the block is refunded.
 *
 * The funnel. An instruction that VMX can intercept ends its block, and the library is given the
 * two bytes of SYSCALL to translate in its place: that compiles to "store RIP and flags, call
 * helper_syscall, return to the main loop", which is all that the processor model needs. The helper
 * (intercept.c) then decodes and executes the real instruction.
 */
#include <assert.h>
#include <string.h>

#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

/* Bits above the condition-code operation in the second word of a block's restore table. */
#define INDEX_SHIFT 16

#define PAGE_MASK 0xfffull

/* --- Capturing what gen_tb_start makes, to add the counting behind it ---------------------------
 */

/* Steps of gen_tb_start, an inline function of the library: load icount_decr, branch if < 0. */
enum { CAPTURE_OFF, CAPTURE_LOAD, CAPTURE_BRANCH, CAPTURE_DONE };

EXPORT void tcg_gen_op2_x86_64(void *tcg, int opcode, uint64_t a, uint64_t b)
{
    struct unicorn_engine *engine = unicorn_current;
    if (opcode == OP_insn_start && engine) {
        unicorn_alignment_next_insn(engine, a);
        b = (b & ((1u << INDEX_SHIFT) - 1)) | (uint64_t)engine->instruction_index++ << INDEX_SHIFT;
        engine->insn_start = unicorn_emit(tcg, opcode, a, b, 0);
        return;
    }
    ORIGINAL(tcg_gen_op2_x86_64)(tcg, opcode, a, b);
}

/*
 * SETcc, RCL and RCR turn the deferred flags into EFLAGS before they access memory. If that faults,
 * the table must not say that the flags are still deferred: the library takes EFLAGS for an operand
 * then. CMOVcc does so behind its load: a fault of that finds them deferred.
 */
EXPORT void tcg_gen_callN_x86_64(void *tcg, void *function, void *result, int count,
                                 void **arguments)
{
    struct unicorn_engine *engine = unicorn_current;
    if (engine && engine->insn_start && function == (void *)helper_cc_compute_all_x86_64)
        engine->insn_start->args[1] =
            (engine->insn_start->args[1] & ~(uint64_t)((1u << INDEX_SHIFT) - 1)) | CC_OP_EFLAGS;
    ORIGINAL(tcg_gen_callN_x86_64)(tcg, function, result, count, arguments);
}

struct tcg_operation *unicorn_emit(void *tcg, int opcode, uint64_t a, uint64_t b, uint64_t c)
{
    struct tcg_operation *operation = tcg_emit_op_x86_64(tcg, opcode);
    operation->args[0] = a;
    operation->args[1] = b;
    operation->args[2] = c;
    return operation;
}

/* A load or store, with what is added to it. */
static void memory_access(struct unicorn_engine *engine, void *tcg, int opcode, uint64_t value,
                          uint64_t address, uint64_t oi)
{
    engine->insn_start = NULL;
    void *traced = engine->tracing.accesses ? unicorn_tracing_access_start(tcg, address) : NULL;
    struct tcg_operation *operation = unicorn_emit(tcg, opcode, value, address, oi);
    if (opcode >= OP_qemu_ld_i64)
        unicorn_alignment_access(engine, operation, opcode);
    if (traced)
        unicorn_tracing_access_end(engine, tcg, operation, opcode, traced);
}

EXPORT void tcg_gen_op3_x86_64(void *tcg, int opcode, uint64_t a, uint64_t b, uint64_t c)
{
    struct unicorn_engine *engine = unicorn_current;
    if (opcode == OP_ld_i32 && engine && engine->capture == CAPTURE_LOAD) {
        engine->capture_context = tcg;
        engine->capture_env = b;
        engine->capture = CAPTURE_BRANCH;
    }
    if (engine && opcode >= OP_qemu_ld_i32 && opcode <= OP_qemu_st_i64)
        memory_access(engine, tcg, opcode, a, b, c);
    else
        ORIGINAL(tcg_gen_op3_x86_64)(tcg, opcode, a, b, c);
}

EXPORT void tcg_gen_op4_x86_64(void *tcg, int opcode, uint64_t a, uint64_t b, uint64_t c,
                               uint64_t d)
{
    struct unicorn_engine *engine = unicorn_current;
    if (opcode == OP_brcond_i32 && engine && engine->capture == CAPTURE_BRANCH) {
        engine->capture_label = d;
        engine->capture = CAPTURE_DONE;
    }
    ORIGINAL(tcg_gen_op4_x86_64)(tcg, opcode, a, b, c, d);
}

/* if (budget < N) leave; budget -= N; where tb_stop fills in N. The budget is loaded twice: a value
 * that lives across a branch would be spilled, and the way of the budget through memory is what a
 * round of a short loop takes. */
static void emit_count(struct unicorn_engine *engine)
{
    void *tcg = engine->capture_context;
    void *budget = tcg_temp_new_internal_x86_64(tcg, TCG_TYPE_I64, false);
    void *count = tcg_temp_new_internal_x86_64(tcg, TCG_TYPE_I64, false);
    uint64_t offset = offsetof(struct env, bnd_regs);
    uint64_t b = (uint64_t)budget, n = (uint64_t)count;

    unicorn_emit(tcg, OP_ld_i64, b, engine->capture_env, offset);
    engine->block_size_operation[0] = unicorn_emit(tcg, OP_movi_i64, n, 1, 0);
    unicorn_emit(tcg, OP_brcond_i64, b, n, TCG_COND_LT)->args[3] = engine->capture_label;
    *(uint32_t *)engine->capture_label += 1u << 16; /* the label's count of references */
    unicorn_emit(tcg, OP_ld_i64, b, engine->capture_env, offset);
    engine->block_size_operation[1] = unicorn_emit(tcg, OP_movi_i64, n, 1, 0);
    unicorn_emit(tcg, OP_sub_i64, b, b, n);
    unicorn_emit(tcg, OP_st_i64, b, engine->capture_env, offset);

    tcg_temp_free_internal_x86_64(tcg, budget);
    tcg_temp_free_internal_x86_64(tcg, count);
}

static void counting_tb_start(struct translator *db, void *cs)
{
    struct unicorn_engine *engine = unicorn_current;
    engine->original_operations.tb_start(db, cs);
    assert(engine->capture == CAPTURE_DONE);
    engine->capture = CAPTURE_OFF;
    emit_count(engine);
    if (engine->tracing.blocks)
        unicorn_tracing_block_start(engine, db);
}

static void counting_tb_stop(struct translator *db, void *cs)
{
    struct unicorn_engine *engine = unicorn_current;
    engine->original_operations.tb_stop(db, cs);
    for (unsigned i = 0; i < 2; i++)
        engine->block_size_operation[i]->args[1] = (uint64_t)db->num_insns;
    if (engine->tracing.blocks)
        unicorn_tracing_block_end(engine, db);
    if (engine->tracing.measuring)
        return;
    engine->statistics.blocks_translated++;
    engine->statistics.instructions_translated += (uint64_t)db->num_insns;
}

/* The library puts RIP and the flags' state back to where a block was left; so do we the count. */
EXPORT void restore_state_to_opc_x86_64(struct env *env, struct translation_block *tb,
                                        uint64_t *data)
{
    struct unicorn_engine *engine = unicorn_current;
    if (!engine) {
        ORIGINAL(restore_state_to_opc_x86_64)(env, tb, data);
        return;
    }
    uint64_t clean[2] = {data[0], data[1] & ((1u << INDEX_SHIFT) - 1)};
    ORIGINAL(restore_state_to_opc_x86_64)(env, tb, clean);
    unsigned index = (unsigned)(data[1] >> INDEX_SHIFT);
    env->bnd_regs[0] += tb->icount - index;
    if (engine->tracing.blocks)
        unicorn_tracing_left(engine, tb, data[0], index);
}

/* --- The funnel ---------------------------------------------------------------------------------
 */

#define SUBSTITUTE_LENGTH 2
static const uint8_t funnel_bytes[SUBSTITUTE_LENGTH] = {0x0f, 0x05};     /* SYSCALL */
static const uint8_t invalid_bytes[SUBSTITUTE_LENGTH] = {0x0f, 0x0b};    /* UD2 */
static const uint8_t breakpoint_bytes[SUBSTITUTE_LENGTH] = {0xf3, 0x90}; /* PAUSE */

EXPORT uint32_t cpu_ldub_code_x86_64(struct env *env, uint64_t address)
{
    struct unicorn_engine *engine = unicorn_current;
    if (engine && engine->substitute && address - engine->substitute_pc < SUBSTITUTE_LENGTH)
        return engine->substitute[address - engine->substitute_pc];
    return ORIGINAL(cpu_ldub_code_x86_64)(env, address);
}

/* Behind the helper, the library would return to its main loop; most instructions of the funnel
 * need that as little as an indirect jump does. Whatever is due makes the next block leave. */
EXPORT void tcg_gen_exit_tb_x86_64(void *tcg, struct translation_block *tb, unsigned index)
{
    struct unicorn_engine *engine = unicorn_current;
    if (engine && engine->substitute && !tb)
        tcg_gen_lookup_and_goto_ptr_x86_64(tcg);
    else
        ORIGINAL(tcg_gen_exit_tb_x86_64)(tcg, tb, index);
}

struct code_reader {
    struct env *env;
    uint64_t pc;
};

/* Reads guest code as the library would; a fetch fault does not return. */
static uint8_t read_code(void *context, unsigned index)
{
    struct code_reader *reader = context;
    return (uint8_t)ORIGINAL(cpu_ldub_code_x86_64)(reader->env, reader->pc + index);
}

static enum code_size code_size_of(uint32_t hflags)
{
    return hflags & HF_CS64 ? CODE64 : hflags & HF_CS32 ? CODE32 : CODE16;
}

/* The length of the instruction if it belongs into the funnel, else 0. */
static unsigned funneled_length(struct env *env, struct translator *db)
{
    struct code_reader reader = {env, db->pc_next};
    enum code_size code = code_size_of(db->tb->flags);
    if (!insn_first_byte_matters(read_code(&reader, 0), code))
        return 0;
    struct insn insn;
    return insn_decode(&insn, code, read_code, &reader) ? insn.length : 0;
}

static bool lock_is_invalid(struct env *env, struct translator *db, unsigned *length)
{
    struct code_reader reader = {env, db->pc_next};
    return unicorn_lock_is_invalid(read_code, &reader, db->tb->flags & HF_CS64, length);
}

/*
 * One instruction. A block ends where the next instruction might reach into the next page: a fetch
 * fault there must find RIP at that instruction, and it does only at the start of a block.
 */
static void translate_insn(struct translator *db, void *cs)
{
    struct unicorn_engine *engine = unicorn_current;
    unsigned length;
    if (db->num_insns == 1 && db->max_insns > 1 && unicorn_is_code_breakpoint(engine, db)) {
        length = 1; /* back to the main loop */
        engine->substitute = breakpoint_bytes;
    } else if (lock_is_invalid(engine->env, db, &length)) {
        engine->substitute = invalid_bytes;
    } else {
        length = funneled_length(engine->env, db);
        engine->substitute = length ? funnel_bytes : NULL;
    }
    engine->substitute_pc = db->pc_next;
    engine->original_operations.translate_insn(db, cs);
    engine->substitute = NULL;
    if (length) /* the block depends on all of the instruction's bytes */
        db->pc_next = engine->substitute_pc + length;

    uint64_t next = db->pc_next;
    bool crosses = (next & ~PAGE_MASK) != ((next + INSN_LENGTH_MAX - 1) & ~PAGE_MASK);
    if (db->is_jmp == TRANSLATOR_NEXT &&
        (crosses || !(next & PAGE_MASK) || unicorn_is_code_breakpoint(engine, db)))
        db->is_jmp = TRANSLATOR_TOO_MANY;
}

EXPORT void translator_loop_x86_64(const struct translator_operations *operations,
                                   struct translator *db, void *cs, struct translation_block *tb,
                                   int max_insns)
{
    struct unicorn_engine *engine = unicorn_current;
    if (!engine) {
        ORIGINAL(translator_loop_x86_64)(operations, db, cs, tb, max_insns);
        return;
    }
    struct translator_operations ours = *operations;
    engine->original_operations = *operations;
    ours.tb_start = counting_tb_start;
    ours.translate_insn = translate_insn;
    ours.tb_stop = counting_tb_stop;
    engine->substitute = NULL; /* the last translation may have ended in a fetch fault */
    engine->capture = CAPTURE_LOAD;
    engine->instruction_index = 0;
    engine->insn_start = NULL;
    engine->tracing.cs_base = tb->cs_base;
    ORIGINAL(translator_loop_x86_64)(&ours, db, cs, tb, max_insns);
}

/*
 * The library adds a check for stop requests behind every load and store, which restarts the block
 * from its beginning when it strikes: instructions would execute twice. Requests are looked at
 * between blocks.
 */
EXPORT void check_exit_request_x86_64(void *tcg)
{
    if (!unicorn_current)
        ORIGINAL(check_exit_request_x86_64)(tcg);
}

EXPORT void tcg_tb_insert_x86_64(void *tcg, struct translation_block *tb)
{
    if (unicorn_current)
        unicorn_current->tcg = tcg;
    ORIGINAL(tcg_tb_insert_x86_64)(tcg, tb);
}

EXPORT void tb_flush_x86_64(void *cs)
{
    if (unicorn_current) {
        unicorn_current->statistics.code_cache_flushes++;
        unicorn_current->instructions_at_flush =
            unicorn_current->statistics.instructions_translated;
        unicorn_forget_decoded(unicorn_current);
    }
    ORIGINAL(tb_flush_x86_64)(cs);
}
