/*
 * IRET and far RET to a less privileged level. They put null selectors into the segment registers
 * that this level may not use (SDM "IRET", RETURN-TO-OUTER-PRIVILEGE-LEVEL), but leave the base
 * addresses alone, which the library clears. In 64-bit mode those of FS and GS go on to count.
 */
#include "cpu/state.h"
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

struct bases {
    uint64_t fs, gs;
};

static struct bases get_bases(const struct env *env)
{
    return (struct bases){env->segs[SEG_FS].base, env->segs[SEG_GS].base};
}

static void keep_bases(struct env *env, struct bases bases)
{
    if (!(env->hflags & HF_LMA))
        return;
    env->segs[SEG_FS].base = bases.fs;
    env->segs[SEG_GS].base = bases.gs;
}

EXPORT void helper_iret_protected_x86_64(struct env *env, int shift, int next_eip)
{
    struct bases bases = get_bases(env);
    ORIGINAL(helper_iret_protected_x86_64)(env, shift, next_eip);
    keep_bases(env, bases);
}

EXPORT void helper_lret_protected_x86_64(struct env *env, int shift, int addend)
{
    struct bases bases = get_bases(env);
    env->bnd_regs[0] += 1; /* the last instruction of its block: a fault does not come back here */
    ORIGINAL(helper_lret_protected_x86_64)(env, shift, addend);
    env->bnd_regs[0] -= 1;
    keep_bases(env, bases);
}
