/*
 * The breakpoint registers in translated code, and the means that a debugger's points (debug.c)
 * share with them. Nothing of this costs anything while DR7 enables none and no debugger has any.
 *
 * Instructions. While a breakpoint on execution is enabled, translated code is of a second kind
 * (HF_BREAKPOINTS is part of a block's identity): blocks end in front of a breakpoint, and the
 * block that starts at one only returns to the main loop, which calls unicorn_code_breakpoints
 * before it goes on. An instruction that is to run in spite of its breakpoint (RFLAGS.RF, MOV SS
 * before it) is translated alone, and without it.
 *
 * Data. The library takes its slow path for a page when cpu_watchpoint_address_matches says so, and
 * asks cpu_check_watchpoint before each access. The access may be in the middle of a block: then
 * its instruction is started over alone. Hits are noted; the exception is a trap and comes at the
 * next boundary. Two aligned reads that the library makes in place of one misaligned read are each
 * looked at, so that a breakpoint on reads may also meet bytes beside a misaligned operand.
 * Operands that the processor model itself reads or writes (descriptor tables, event delivery, INS,
 * OUTS) meet a debugger's watchpoints, but no breakpoint register.
 */
#include <string.h>

#include "cpu/breakpoints.h"
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

/* VMCS format of pending debug exceptions. */
#define PENDING_BREAKPOINT (1ull << 12)
#define PENDING_BS         (1ull << 14)

enum { LIB_WATCH_READ = 1, LIB_WATCH_WRITE = 2 };

#define ACCESS_SIZE_MAX 8 /* of one access in translated code */

/* --- The registers change ------------------------------------------------------------------ */

static bool watches_data(const struct cpu_state *state)
{
    return breakpoints_enabled(state, BREAKPOINT_READ) ||
           breakpoints_enabled(state, BREAKPOINT_WRITE);
}

/* The addresses for which the code of the second kind is made; unused ones are not canonical. */
static void code_addresses(const struct cpu_state *state, uint64_t addresses[BREAKPOINT_COUNT])
{
    unsigned enabled = breakpoints_enabled(state, BREAKPOINT_FETCH);
    for (unsigned n = 0; n < BREAKPOINT_COUNT; n++)
        addresses[n] = enabled >> n & 1 ? state->dr[n] : 1ull << 63;
}

void unicorn_breakpoints_changed(struct unicorn_engine *engine)
{
    const struct cpu_state *state = &engine->cpu->state;
    struct breakpoints *breakpoints = &engine->breakpoints;
    if (state->dr7 == breakpoints->dr7 && !memcmp(state->dr, breakpoints->dr, sizeof state->dr))
        return;
    breakpoints->dr7 = state->dr7;
    memcpy(breakpoints->dr, state->dr, sizeof state->dr);

    bool data = watches_data(state);
    if (data || breakpoints->data)
        unicorn_flush_tlb(engine);
    breakpoints->data = data;

    if (!breakpoints_enabled(state, BREAKPOINT_FETCH))
        return;
    uint64_t code[BREAKPOINT_COUNT];
    code_addresses(state, code);
    if (memcmp(code, breakpoints->code, sizeof code)) {
        memcpy(breakpoints->code, code, sizeof code);
        breakpoints->code_changed = true;
        unicorn_set_budget(engine, unicorn_instructions(engine)); /* to unicorn_debug_traps */
    }
}

/* --- Translation --------------------------------------------------------------------------- */

static bool guest_breaks(const struct unicorn_engine *engine)
{
    return breakpoints_enabled(&engine->cpu->state, BREAKPOINT_FETCH);
}

uint32_t unicorn_breakpoint_hflags(const struct unicorn_engine *engine)
{
    return guest_breaks(engine) || engine->debugger.code_active ? HF_BREAKPOINTS : 0;
}

bool unicorn_is_code_breakpoint(const struct unicorn_engine *engine, const struct translator *db)
{
    return (db->tb->flags & HF_BREAKPOINTS) &&
           (breakpoints_met(&engine->cpu->state, BREAKPOINT_FETCH, db->pc_next, 1) ||
            (!engine->tracing.measuring && unicorn_debug_has_code(engine, db->pc_next)));
}

/* The block in place of an instruction with a breakpoint: translate.c puts PAUSE there. */
EXPORT void helper_pause_x86_64(struct env *env, int next_eip_addend)
{
    env->bnd_regs[0] += 1; /* it counted, but is no instruction */
    unicorn_resume(unicorn_current);
}

/* --- Accesses ------------------------------------------------------------------------------ */

EXPORT int cpu_watchpoint_address_matches_x86_64(void *cs, uint64_t address, uint64_t length)
{
    struct unicorn_engine *engine = unicorn_current;
    if (!engine)
        return 0;
    if (unicorn_debug_watches(engine, address, length))
        return LIB_WATCH_READ | LIB_WATCH_WRITE;
    if (!engine->breakpoints.data)
        return 0;
    const struct cpu_state *state = &engine->cpu->state;
    return (breakpoints_met(state, BREAKPOINT_READ, address, length) ? LIB_WATCH_READ : 0) |
           (breakpoints_met(state, BREAKPOINT_WRITE, address, length) ? LIB_WATCH_WRITE : 0);
}

/* Notes hits of the instruction at RIP; `count` instructions have retired before it. */
static void note_hits(struct unicorn_engine *engine, unsigned hits, uint64_t count, uint64_t rip)
{
    struct breakpoints *breakpoints = &engine->breakpoints;
    bool same = count == breakpoints->hit_count && rip == breakpoints->hit_rip;
    if (breakpoints->hits && !same) { /* of the instruction before, held back by MOV SS */
        engine->cpu->state.pending_debug |= breakpoints->hits | PENDING_BREAKPOINT;
        breakpoints->hits = 0;
    }
    breakpoints->hits |= hits;
    breakpoints->hit_count = count;
    breakpoints->hit_rip = rip;
}

/*
 * Before a misaligned store, which is made byte by byte, the library announces [address, address +
 * length) and the rest on the next page; within one page these lengths are nonsense, but calls for
 * each byte follow. A store of some bytes cannot be started over: whether one of the bytes meets a
 * breakpoint must be found out now, with the greatest size that there is.
 */
static bool is_exact(uint64_t address, uint64_t length)
{
    return length <= ACCESS_SIZE_MAX && !(length & (length - 1)) && !(address & (length - 1));
}

EXPORT void cpu_check_watchpoint_x86_64(void *cs, uint64_t address, uint64_t length,
                                        uint32_t attributes, int flags, uintptr_t return_address)
{
    struct unicorn_engine *engine = unicorn_current;
    if (!engine)
        return;
    enum breakpoint_use use = flags & LIB_WATCH_WRITE ? BREAKPOINT_WRITE : BREAKPOINT_READ;
    bool exact = is_exact(address, length);
    uint64_t size = exact ? length : ACCESS_SIZE_MAX, point;
    unsigned hits = breakpoints_met(&engine->cpu->state, use, address, size);
    bool debugged = unicorn_debug_met(engine, use == BREAKPOINT_WRITE, address, size, &point);
    if (!hits && !debugged)
        return;

    struct env *env = engine->env;
    uint64_t budget = env->bnd_regs[0], eip = env->eip;
    uint32_t cc_op = env->cc_op;
    if (return_address)
        cpu_restore_state_x86_64(cs, return_address, true);
    if (env->bnd_regs[0] - budget > 1) { /* the trap must find it at the end of a block */
        CS_FIELD(cs, CS_CFLAGS_NEXT_TB, uint32_t) = 1;
        unicorn_resume(engine);
    }
    if (exact && hits)
        note_hits(engine, hits, unicorn_instructions(engine), env->eip);
    if (exact && debugged)
        unicorn_debug_note(engine, point, unicorn_instructions(engine), env->eip);
    env->bnd_regs[0] = budget;
    env->eip = eip;
    env->cc_op = cc_op;
    if (exact) /* back to the main loop after it */
        unicorn_set_budget(engine, unicorn_instructions(engine));
}

void unicorn_io_breakpoints(struct unicorn_engine *engine, uint16_t port, unsigned size)
{
    unsigned hits = breakpoints_met(&engine->cpu->state, BREAKPOINT_IO, port, size);
    if (!hits)
        return;
    engine->cpu->state.pending_debug |= hits | PENDING_BREAKPOINT;
    unicorn_set_budget(engine, unicorn_instructions(engine));
}

/* --- At boundaries ------------------------------------------------------------------------- */

/* Hits of an instruction that did not complete are not due: it starts over and meets them again. */
static unsigned due_hits(const struct unicorn_engine *engine)
{
    const struct breakpoints *breakpoints = &engine->breakpoints;
    bool completed = unicorn_instructions(engine) != breakpoints->hit_count ||
                     engine->env->eip != breakpoints->hit_rip;
    return completed ? breakpoints->hits : 0;
}

static bool blocked_by_mov_ss(const struct unicorn_engine *engine)
{
    return (engine->env->hflags & HF_INHIBIT_IRQ) && !engine->sti_shadow;
}

void unicorn_take_debug_hits(struct unicorn_engine *engine, struct event *event)
{
    struct cpu_state *state = &engine->cpu->state;
    uint64_t pending = due_hits(engine) | state->pending_debug;
    bool hardware = event->type == EVENT_HARDWARE_EXCEPTION;
    if (event->vector != VECTOR_DB || !pending ||
        !(hardware || event->type == EVENT_PRIVILEGED_SOFTWARE_EXCEPTION))
        return;
    if (!hardware) { /* one #DB for INT1 and what MOV SS held back */
        state->rip += event->instruction_length;
        event->type = EVENT_HARDWARE_EXCEPTION;
    }
    event->debug |= pending & ~PENDING_BREAKPOINT;
    state->pending_debug = 0;
    engine->breakpoints.hits = 0;
}

void unicorn_keep_debug_hits(struct unicorn_engine *engine)
{
    unsigned hits = due_hits(engine);
    if (hits)
        engine->cpu->state.pending_debug |= hits | PENDING_BREAKPOINT;
    engine->breakpoints.hits = 0;
}

uint64_t unicorn_linear_rip(const struct unicorn_engine *engine)
{
    const struct env *env = engine->env;
    return env->hflags & HF_CS64 ? env->eip : (uint32_t)(env->eip + env->segs[SEG_CS].base);
}

/* Is a repeated string instruction at RIP? Its repetitions count like instructions. */
static bool is_repeated_string(struct unicorn_engine *engine)
{
    unsigned access = ACCESS_FETCH | ((engine->env->hflags & 3) == 3 ? ACCESS_USER : 0);
    struct mmu_fault fault;
    bool repeated = false;
    for (unsigned i = 0; i < INSN_LENGTH_MAX; i++) {
        uint8_t byte;
        if (mmu_read(&engine->cpu->mmu, unicorn_linear_rip(engine) + i, &byte, 1, access, &fault))
            return false;
        repeated |= (byte & 0xfe) == 0xf2;
        bool string = (byte & 0xfc) == 0x6c || (byte & 0xfc) == 0xa4 || (byte & 0xfe) == 0xaa ||
                      (byte & 0xfc) == 0xac;
        if (string)
            return repeated;
    }
    return false;
}

/* RF holds for one instruction: until the count has moved on, and with REP until RIP has. */
static void expire_rf(struct unicorn_engine *engine, uint64_t now)
{
    struct env *env = engine->env;
    struct breakpoints *breakpoints = &engine->breakpoints;
    if (!(env->eflags & RFLAGS_RF)) {
        breakpoints->rf_seen = false;
    } else if (!guest_breaks(engine) ||
               (breakpoints->rf_seen && breakpoints->rf_count != now &&
                !(breakpoints->rf_rip == env->eip && is_repeated_string(engine)))) {
        env->eflags &= ~RFLAGS_RF;
        breakpoints->rf_seen = false;
    } else {
        breakpoints->rf_seen = true;
        breakpoints->rf_count = now;
        breakpoints->rf_rip = env->eip;
    }
}

void unicorn_rf_loaded(struct unicorn_engine *engine)
{
    struct env *env = engine->env;
    engine->breakpoints.rf_seen = false;
    if (!guest_breaks(engine))
        env->eflags &= ~RFLAGS_RF; /* there is nothing that it could hold back */
    else if (env->eflags & RFLAGS_RF)
        unicorn_set_budget(engine, unicorn_instructions(engine)); /* it covers one instruction */
}

/* At the end of a block: too late for what IRET has loaded in it, too early for REP. */
EXPORT void helper_reset_rf_x86_64(struct env *env)
{
    if (!unicorn_current)
        ORIGINAL(helper_reset_rf_x86_64)(env);
}

void unicorn_debug_traps(struct unicorn_engine *engine)
{
    uint64_t now = unicorn_instructions(engine);
    if (engine->breakpoints.code_changed) { /* not before: the flush erases the code that called */
        engine->breakpoints.code_changed = false;
        unicorn_tracing_begin(engine); /* whose wishes may be why */
        tb_flush_x86_64(engine->cs);
        unicorn_resume(engine); /* the library forgets the block that it came from */
    }
    expire_rf(engine, now);
    bool due =
        due_hits(engine) || (engine->cpu->state.pending_debug & (PENDING_BREAKPOINT | PENDING_BS));
    if (!due) {
        engine->breakpoints.hits = 0;
    } else if (blocked_by_mov_ss(engine)) {
        unicorn_set_budget(engine, now + 1);
    } else {
        unicorn_pull(engine, STATE_ALL);
        struct event event = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB};
        unicorn_deliver(engine, &event);
    }
}

void unicorn_code_breakpoints(struct unicorn_engine *engine)
{
    struct env *env = engine->env;
    if (!(env->hflags & HF_BREAKPOINTS))
        return;
    uint64_t rip = unicorn_linear_rip(engine);
    unsigned met = breakpoints_met(&engine->cpu->state, BREAKPOINT_FETCH, rip, 1);
    if ((env->eflags & RFLAGS_RF) || (met && blocked_by_mov_ss(engine)) ||
        (!met && unicorn_debug_has_code(engine, rip))) {
        /* A budget of one makes a block of one instruction, which has no breakpoint. */
        unicorn_set_budget(engine, unicorn_instructions(engine) + 1);
    } else if (met) {
        unicorn_pull(engine, STATE_ALL);
        struct event event = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB, .debug = met};
        unicorn_deliver(engine, &event);
    }
}
