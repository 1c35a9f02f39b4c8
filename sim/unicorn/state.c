/*
 * The processor's state in Unicorn and in cpu_state.
 *
 * Control, debug and model-specific registers change through the processor model alone, so they are
 * only pushed; general-purpose registers, RIP, RFLAGS, segments, descriptor tables and the two
 * bases that SWAPGS exchanges change in translated code and are pulled too.
 */
#include <string.h>

#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

#define CC_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* VMX access rights are the descriptor's bits 55:40 without limit[19:16], which stand at 11:8. */
#define AR_DESCRIPTOR_BITS 0xf0ffu

#define TSS_BUSY 2u

_Static_assert(SEG_ES == 0 && SEG_GS == 5, "env.segs has the order of enum segment_register");

static void pull_segment(struct segment *to, const struct env_segment *from, bool system)
{
    to->selector = (uint16_t)from->selector;
    to->base = from->base;
    to->limit = from->limit;
    to->access_rights = (from->flags >> 8) & AR_DESCRIPTOR_BITS;
    /* A null selector leaves no valid descriptor behind: "unusable". */
    if (!(to->access_rights & (AR_P | AR_S)) || (system && !(to->access_rights & AR_P)))
        to->access_rights |= AR_UNUSABLE;
    else if (!system) /* loading set it in memory; the library's copy may be older */
        to->access_rights |= AR_ACCESSED;
}

static void push_segment(struct env_segment *to, const struct segment *from)
{
    to->selector = from->selector;
    to->base = from->base;
    to->limit = from->limit;
    if (from->access_rights & AR_UNUSABLE) /* keep the DPL: it is the CPL in SS */
        to->flags = (from->access_rights & AR_DPL_MASK) << 8;
    else
        to->flags = (from->access_rights & AR_DESCRIPTOR_BITS) << 8 | (from->limit & 0xf0000);
}

static uint64_t pull_rflags(struct env *env)
{
    uint64_t flags = env->eflags & ~(CC_FLAGS | RFLAGS_DF);
    flags |= cpu_cc_compute_all_x86_64(env, (int)env->cc_op);
    flags |= (uint64_t)env->df & RFLAGS_DF;
    return flags | RFLAGS_FIXED;
}

static void push_rflags(struct env *env, uint64_t rflags)
{
    env->cc_src = rflags & CC_FLAGS;
    env->cc_op = CC_OP_EFLAGS;
    env->df = rflags & RFLAGS_DF ? -1 : 1;
    env->eflags = (rflags & ~(CC_FLAGS | RFLAGS_DF)) | RFLAGS_FIXED;
}

static void pull_basic(struct unicorn_engine *engine)
{
    struct env *env = engine->env;
    struct cpu_state *state = &engine->cpu->state;
    memcpy(state->gpr, env->regs, sizeof state->gpr);
    state->rip = env->eip;
    state->rflags = pull_rflags(env);
    pull_segment(&state->seg[SEG_CS], &env->segs[SEG_CS], false);
    pull_segment(&state->seg[SEG_SS], &env->segs[SEG_SS], false);
    /* A null SS in 64-bit mode has no descriptor, but its DPL is the CPL all the same. */
    if (state->seg[SEG_SS].access_rights & AR_UNUSABLE)
        state->seg[SEG_SS].access_rights |= (env->hflags & 3) << AR_DPL_SHIFT;
    uint32_t blocking = state->interruptibility & ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    if (env->hflags & HF_INHIBIT_IRQ)
        blocking |= engine->sti_shadow ? BLOCKING_BY_STI : BLOCKING_BY_MOV_SS;
    state->interruptibility = blocking;
}

void unicorn_pull(struct unicorn_engine *engine, int depth)
{
    struct env *env = engine->env;
    struct cpu_state *state = &engine->cpu->state;
    pull_basic(engine);
    if (depth == STATE_BASIC)
        return;
    for (unsigned i = 0; i < 6; i++)
        if (i != SEG_CS && i != SEG_SS)
            pull_segment(&state->seg[i], &env->segs[i], false);
    pull_segment(&state->seg[SEG_LDTR], &env->ldt, true);
    pull_segment(&state->seg[SEG_TR], &env->tr, true);
    /* LTR makes a TSS busy; the library does so in memory only. */
    state->seg[SEG_TR].access_rights |= TSS_BUSY;
    state->gdtr = (struct descriptor_table){env->gdt.base, (uint16_t)env->gdt.limit};
    state->idtr = (struct descriptor_table){env->idt.base, (uint16_t)env->idt.limit};
    state->kernel_gs_base = ENV_FIELD(env, ENV_KERNEL_GS_BASE, uint64_t);
}

/* The bits of hflags that follow from registers. */
static uint32_t hflags_of(const struct cpu_state *state)
{
    uint32_t cs = state->seg[SEG_CS].access_rights, ss = state->seg[SEG_SS].access_rights;
    uint32_t flags = AR_DPL(ss);
    if (state->cr0 & CR0_PE)
        flags |= HF_PE;
    flags |= (uint32_t)(state->cr0 & (CR0_MP | CR0_EM | CR0_TS)) << 8;
    flags |= (uint32_t)(state->rflags & (RFLAGS_TF | RFLAGS_IOPL | RFLAGS_VM));
    if (state->cr4 & CR4_OSFXSR)
        flags |= HF_OSFXSR;
    if (state->cr4 & CR4_SMAP)
        flags |= HF_SMAP;
    if (state->interruptibility & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS))
        flags |= HF_INHIBIT_IRQ;
    if (state->efer & EFER_LMA) {
        flags |= HF_LMA;
        if (cs & AR_L)
            return flags | HF_CS32 | HF_SS32 | HF_CS64;
    }
    if (cs & AR_DB)
        flags |= HF_CS32;
    if (ss & AR_DB)
        flags |= HF_SS32;
    bool flat = (state->cr0 & CR0_PE) && !(state->rflags & RFLAGS_VM) && (cs & AR_DB) &&
                !(state->seg[SEG_DS].base | state->seg[SEG_ES].base | state->seg[SEG_SS].base);
    return flat ? flags : flags | HF_ADDSEG;
}

static void push_basic(struct unicorn_engine *engine)
{
    const struct cpu_state *state = &engine->cpu->state;
    struct env *env = engine->env;
    memcpy(env->regs, state->gpr, sizeof state->gpr);
    env->eip = state->rip;
    push_rflags(env, state->rflags);
}

/* The soft TLB knows neither address spaces nor the rules that its entries were made by. */
static bool paging_differs(const struct env *env, const struct cpu_state *state)
{
    const uint64_t cr0 = CR0_PE | CR0_WP | CR0_PG;
    const uint64_t cr4 = CR4_PSE | CR4_PAE | CR4_SMEP | CR4_SMAP | CR4_LA57 | CR4_PCIDE;
    const uint64_t efer = EFER_LMA | EFER_NXE;
    return env->cr[3] != state->cr3 || ((env->cr[0] ^ state->cr0) & cr0) ||
           ((env->cr[4] ^ state->cr4) & cr4) || ((env->efer ^ state->efer) & efer);
}

void unicorn_push(struct unicorn_engine *engine, int depth)
{
    const struct cpu_state *state = &engine->cpu->state;
    struct env *env = engine->env;
    push_basic(engine);
    if (depth == STATE_BASIC)
        return;
    bool flush = (engine->cpu->changed & CPU_CHANGED_TLB) || paging_differs(env, state);
    engine->cpu->changed = 0;
    for (unsigned i = 0; i < 6; i++)
        push_segment(&env->segs[i], &state->seg[i]);
    push_segment(&env->ldt, &state->seg[SEG_LDTR]);
    push_segment(&env->tr, &state->seg[SEG_TR]);
    env->gdt.base = state->gdtr.base;
    env->gdt.limit = state->gdtr.limit;
    env->idt.base = state->idtr.base;
    env->idt.limit = state->idtr.limit;
    env->cr[0] = state->cr0;
    env->cr[2] = state->cr2;
    env->cr[3] = state->cr3;
    env->cr[4] = state->cr4;
    env->efer = state->efer;
    ENV_FIELD(env, ENV_KERNEL_GS_BASE, uint64_t) = state->kernel_gs_base;
    ENV_FIELD(env, ENV_TSC_AUX, uint64_t) = state->tsc_aux;
    ENV_FIELD(env, ENV_XCR0, uint64_t) = state->xcr0;
    engine->sti_shadow = state->interruptibility & BLOCKING_BY_STI;
    env->hflags = hflags_of(state) | unicorn_breakpoint_hflags(engine);
    unicorn_breakpoints_changed(engine);
    unicorn_account_ring(engine);
    if (flush)
        unicorn_flush_tlb(engine);
}

void unicorn_set_budget(struct unicorn_engine *engine, uint64_t until)
{
    uint64_t now = unicorn_instructions(engine);
    engine->env->bnd_regs[0] = until > now ? until - now : 0;
    engine->instruction_base = now + engine->env->bnd_regs[0];
}

/* Books instructions to user or kernel mode when the privilege level changes. */
void unicorn_account_ring(struct unicorn_engine *engine)
{
    bool user = (engine->env->hflags & 3) == 3;
    if (user == engine->in_user)
        return;
    uint64_t now = unicorn_instructions(engine);
    if (user)
        engine->user_since = now;
    else
        engine->user_instructions += now - engine->user_since;
    engine->in_user = user;
}
