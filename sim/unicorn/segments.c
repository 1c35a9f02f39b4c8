/*
 * IRET, far RET and loads of segment registers, where the library differs from the SDM.
 *
 * Returns to a less privileged level put null selectors into the segment registers
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

/* The return address, where IRETQ finds it. If that faults, so does the IRETQ. */
static uint64_t return_rip(struct unicorn_engine *engine)
{
    unsigned access = ACCESS_READ | (cpu_cpl(engine->cpu) == 3 ? ACCESS_USER : 0) |
                      (engine->env->eflags & RFLAGS_AC ? ACCESS_AC : 0);
    struct mmu_fault fault;
    uint64_t rip;
    engine->tracing.looking = true;
    enum mmu_status status =
        mmu_read(&engine->cpu->mmu, engine->env->regs[GPR_RSP], &rip, 8, access, &fault);
    engine->tracing.looking = false;
    if (status)
        unicorn_memory_fault(engine, &fault);
    return rip;
}

EXPORT void helper_iret_protected_x86_64(struct env *env, int shift, int next_eip)
{
    struct unicorn_engine *engine = unicorn_current;
    struct bases bases = get_bases(env);
    if ((env->hflags & HF_CS64) && shift == 2 && !unicorn_is_canonical(return_rip(engine)))
        raise_exception_err_x86_64(env, VECTOR_GP, 0);
    ORIGINAL(helper_iret_protected_x86_64)(env, shift, next_eip);
    keep_bases(env, bases);
    unicorn_rf_loaded(engine);
}

EXPORT void helper_iret_real_x86_64(struct env *env, int shift)
{
    ORIGINAL(helper_iret_real_x86_64)(env, shift);
    unicorn_rf_loaded(unicorn_current);
}

EXPORT void helper_lret_protected_x86_64(struct env *env, int shift, int addend)
{
    struct bases bases = get_bases(env);
    env->bnd_regs[0] += 1; /* the last instruction of its block: a fault does not come back here */
    ORIGINAL(helper_lret_protected_x86_64)(env, shift, addend);
    env->bnd_regs[0] -= 1;
    keep_bases(env, bases);
}

/* In 64-bit mode SS may be null, with RPL = CPL (SDM "MOV"). The library's function finds out by
 * its return address where it was called: it is jumped to, also without optimization. */
__attribute__((optimize("O2"))) EXPORT void helper_load_seg_x86_64(struct env *env, int segment,
                                                                   int selector)
{
    bool null_stack = segment == SEG_SS && !(selector & 0xfffc) && (env->hflags & HF_CS64);
    if (null_stack && ((unsigned)selector & 3) != (env->hflags & 3))
        raise_exception_err_ra_x86_64(env, VECTOR_GP, 0, CALLER);
    ORIGINAL(helper_load_seg_x86_64)(env, segment, selector);
}
