/*
 * Indirect branches and returns: translated code asks here for the block to go on with.
 *
 * A near branch to an address that is not canonical raises #GP(0) at the branch (SDM "JMP", "CALL",
 * "RET"), while the library lets it happen and faults at the fetch. Here the branch is taken back.
 */
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

/* What generated code depends on, from hflags and from RFLAGS. */
#define RFLAGS_IN_FLAGS (RFLAGS_IOPL | RFLAGS_TF | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC)

/* A return address in translated code belongs to the instruction before it. */
#define CALL_BYTES 2

static bool is_canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

/* How far the branch at RIP has moved RSP: by a CALL, a RET, or not at all. */
static int64_t stack_movement(struct unicorn_engine *engine)
{
    uint8_t bytes[INSN_LENGTH_MAX];
    struct mmu_fault fault;
    unsigned access = ACCESS_FETCH | (cpu_cpl(engine->cpu) == 3 ? ACCESS_USER : 0);
    size_t length = 0;
    while (length < sizeof bytes &&
           !mmu_read(&engine->cpu->mmu, engine->env->eip + length, &bytes[length], 1, access,
                     &fault))
        length++;
    size_t i = 0;
    while (i < length && (bytes[i] == 0x66 || bytes[i] == 0x67 || bytes[i] == 0x2e ||
                          bytes[i] == 0x3e || (bytes[i] & 0xfe) == 0xf2 ||
                          (bytes[i] & 0xf0) == 0x40))
        i++;
    if (i < length && bytes[i] == 0xc3)
        return 8;
    if (i + 2 < length && bytes[i] == 0xc2)
        return 8 + (bytes[i + 1] | bytes[i + 2] << 8);
    if (i + 1 < length && bytes[i] == 0xff && (bytes[i + 1] >> 3 & 7) == 2)
        return -8;
    return 0;
}

static _Noreturn void refuse_branch(struct unicorn_engine *engine, uintptr_t caller)
{
    cpu_restore_state_x86_64(engine->cs, caller - CALL_BYTES, true);
    unicorn_pull(engine, STATE_ALL);
    engine->cpu->state.gpr[GPR_RSP] -= (uint64_t)stack_movement(engine);
    struct event event = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_GP,
                          .has_error_code = true};
    unicorn_deliver(engine, &event);
}

static unsigned jump_hash(uint64_t pc)
{
    const unsigned shift = FRAME_SHIFT - JUMP_CACHE_PAGE_BITS;
    const uint64_t address_mask = (1u << JUMP_CACHE_PAGE_BITS) - 1;
    const uint64_t page_mask = ((1u << JUMP_CACHE_BITS) - 1) & ~address_mask;
    uint64_t mixed = pc ^ pc >> shift;
    return (unsigned)((mixed >> shift & page_mask) | (mixed & address_mask));
}

/* The library's look-up in its jump cache, without its detours; it does the rest after a miss. */
EXPORT void *helper_lookup_tb_ptr_x86_64(struct env *env)
{
    struct unicorn_engine *engine = unicorn_current;
    if (!engine)
        return ORIGINAL(helper_lookup_tb_ptr_x86_64)(env);
    uint64_t cs_base = env->segs[SEG_CS].base, pc = cs_base + env->eip;
    if (__builtin_expect(!is_canonical(pc), 0) && (env->hflags & HF_CS64))
        refuse_branch(engine, CALLER);
    uint32_t flags = env->hflags | (uint32_t)(env->eflags & RFLAGS_IN_FLAGS);
    const struct translation_block *tb = engine->jump_cache[jump_hash(pc)];
    if (tb && tb->pc == pc && tb->cs_base == cs_base && tb->flags == flags &&
        (tb->cflags & ~CFLAGS_NOCACHE) == CFLAGS_ORDINARY)
        return tb->code;
    return ORIGINAL(helper_lookup_tb_ptr_x86_64)(env);
}
