/* Indirect branches and returns: translated code asks here for the block to go on with. */
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

/* What generated code depends on, from hflags and from RFLAGS. */
#define RFLAGS_IN_FLAGS (RFLAGS_IOPL | RFLAGS_TF | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC)

static unsigned jump_hash(uint64_t pc)
{
    const unsigned shift = FRAME_SHIFT - JUMP_CACHE_PAGE_BITS;
    const uint64_t address_mask = (1u << JUMP_CACHE_PAGE_BITS) - 1;
    const uint64_t page_mask = ((1u << JUMP_CACHE_BITS) - 1) & ~address_mask;
    uint64_t mixed = pc ^ pc >> shift;
    return (unsigned)((mixed >> shift & page_mask) | (mixed & address_mask));
}

/* The library's look-up in its jump cache, without its detours; it does the rest after a miss. */
EXPORT const void *helper_lookup_tb_ptr_x86_64(struct env *env)
{
    struct unicorn_engine *engine = unicorn_current;
    if (!engine)
        return ORIGINAL(helper_lookup_tb_ptr_x86_64)(env);
    uint64_t cs_base = env->segs[SEG_CS].base, pc = cs_base + env->eip;
    if (__builtin_expect(!unicorn_is_canonical(pc), 0))
        unicorn_check_branch(engine, CALLER); /* may not return */
    uint32_t flags = env->hflags | (uint32_t)(env->eflags & RFLAGS_IN_FLAGS);
    const struct translation_block *tb = engine->jump_cache[jump_hash(pc)];
    if (tb && tb->pc == pc && tb->cs_base == cs_base && tb->flags == flags &&
        (tb->cflags & ~CFLAGS_NOCACHE) == CFLAGS_ORDINARY)
        return tb->code;
    return ORIGINAL(helper_lookup_tb_ptr_x86_64)(env);
}
