/*
 * The Unicorn engine's own state, and what its files offer each other.
 *
 *   engine.c     creation, running, leaving
 *   state.c      processor state: Unicorn's copy <-> cpu_state
 *   translate.c  translation: instruction counting, and the funnel for intercepted instructions
 *   intercept.c  executes what comes through the funnel with the processor model
 *   events.c     exceptions, interrupts, single-step
 *   mmu.c        Unicorn's soft TLB filled from the model's MMU; MMIO
 *   smc.c        self-modifying code
 *   branches.c   indirect branches: the next block, and targets that are not canonical
 *   alignment.c    SSE operands that must be aligned
 *   breakpoints.c  breakpoint registers
 *   debug.c        a debugger's breakpoints and watchpoints, x87 and SSE registers
 *   canonical.c    non-canonical addresses
 *   segments.c     IRET, far RET, segment loads: where the library is wrong
 *   tracing.c      events of the deeper trace levels
 *   originals.h  the functions of the library that the engine calls or replaces
 *
 * Functions named like the library's (NAME_x86_64) replace them in the whole process: the dynamic
 * linker finds the executable's definition first. They serve the engine that `unicorn_current`
 * names, which is set while its thread is inside uc_emu_start, and pass through otherwise.
 */
#ifndef VTXSIM_SIM_UNICORN_ENGINE_STATE_H
#define VTXSIM_SIM_UNICORN_ENGINE_STATE_H

#include <unicorn/unicorn.h>

#include "cpu/decode.h"
#include "sim/unicorn/layout.h"
#include "sim/vcpu.h"

/*
 * Instructions of the funnel by the place in translated code that calls for them: as long as the
 * block lives, its instruction is the same. None is ever dropped for another one: when an
 * instruction is fetched again may not depend on addresses of the host.
 */
struct decoded {
    uintptr_t caller; /* 0: empty */
    struct insn insn;
};
struct decoded_table {
    struct decoded *entries; /* open addressing */
    size_t size, count;      /* size: a power of two, at least twice the count */
};

/* breakpoints.c */
struct breakpoints {
    uint64_t dr[4], dr7; /* as last armed */
    uint64_t code[4];    /* for which code was translated last */
    bool code_changed;   /* the code is stale */
    bool data;           /* some watch data */
    /* Hits (B0-B3) of the instruction at hit_rip, before which hit_count instructions had retired.
     */
    unsigned hits;
    uint64_t hit_count, hit_rip;
    /* RFLAGS.RF was set when so many instructions had retired and RIP was this. */
    bool rf_seen;
    uint64_t rf_count, rf_rip;
};

/* debug.c */
#define DEBUGGER_CODE  128
#define DEBUGGER_PAGES 128
struct debugger {
    bool code_active, data_active; /* there are breakpoints, watchpoints */
    /* Prepared: addresses at which blocks end, pages that take the slow path; the last ones. */
    uint64_t code[DEBUGGER_CODE], page[DEBUGGER_PAGES];
    unsigned code_count, next_code, page_count, next_page;
    bool all_pages;
    /* The instruction at hit_rip, before which hit_count had retired, has met a watchpoint. */
    bool hit;
    uint64_t hit_point, hit_count, hit_rip;
    /* The breakpoint at this boundary has been reported. */
    bool stopped;
    uint64_t stopped_count, stopped_rip;
};

/* alignment.c: the last access of 8 bytes in the instruction that is being translated */
struct alignment {
    uint64_t pc;
    struct tcg_operation *first;
    int opcode;
};

/*
 * tracing.c: where a block goes on whose event has been recorded. It may be left in its middle and
 * taken up again (an exit in place, a boundary in the middle of it): that is no new block.
 */
struct block_rest {
    uint64_t pc, count;    /* linear address, instructions retired before it */
    uint64_t instructions; /* that are left of the block; 0: nothing is */
};

struct tracing {
    struct trace_sink *sink;
    struct mmu_observer observer;
    /* What translated code is made for: constant while there is any. */
    bool blocks, accesses;
    /* The sink's function, or one that does nothing: only accesses are wanted. */
    void (*block)(struct trace_sink *sink, uint64_t rip, uint64_t instructions, uint32_t size);

    /* A miss of the soft TLB is being served, for an access at this place in translated code (0: a
     * fetch between blocks). */
    bool filling;
    uintptr_t fill_return_address;
    bool looking;   /* the engine reads memory for its own purposes */
    bool executing; /* the processor model executes an instruction, which is counted already */

    struct block_rest cut;  /* behind a block that was translated only in part */
    struct block_rest left; /* from the instruction at which a block was looked at, or left */

    uint64_t block_count; /* instructions retired before the running block */
    /* Accesses of the last instruction, or delivery of an event, that made any. When it starts
     * over, at the same count, what it did before it was left is skipped. */
    uint64_t access_count, access_rip;
    unsigned access_event; /* which event; 0: an instruction */
    unsigned access_made, access_skip;

    /* During translation of a block. */
    uint64_t cs_base;
    bool measuring;         /* only to know how long the whole block would be */
    uint32_t whole;         /* so many instructions */
    struct tcg_operation *size_operation, *end_operation;
};

struct unicorn_engine {
    uc_engine *uc;
    void *cs;
    struct env *env;
    struct vcpu *vcpu;
    struct cpu *cpu;
    struct translation_block **jump_cache; /* the library's */
    void *tcg; /* the library's TCG context, known after the first translation */

    /* Instructions retired = base - budget, where the budget counts down in env->bnd_regs[0]. */
    uint64_t instruction_base;
    uint64_t user_instructions, user_since; /* user_since: count when CPL 3 was entered */
    bool in_user;

    bool step_after; /* the instruction in the funnel is followed by a single-step trap */
    bool leaving;    /* uc_emu_stop was called: cpu_exec will return */
    bool diverted;   /* at a boundary: what comes next is not what the library thinks */
    bool sti_shadow; /* the current interrupt shadow is STI's, not MOV SS's */

    /* Funnel, during translation: the library reads these two bytes instead of the guest's. */
    const uint8_t *substitute; /* NULL: none */
    uint64_t substitute_pc;

    struct decoded_table decoded;

    /* Inline counting, during translation of one block. */
    int capture; /* progress through gen_tb_start */
    uint64_t capture_env, capture_label;
    void *capture_context;
    struct tcg_operation *block_size_operation[2];
    uint32_t instruction_index;
    struct tcg_operation *insn_start; /* of the instruction; NULL once it has accessed memory */
    struct translator_operations original_operations;

    /* Self-modifying code. */
    uint8_t *code_pages; /* one byte a page of host-physical memory */
    uint64_t code_page_count;
    uint64_t last_code_write;

    struct breakpoints breakpoints;
    struct debugger debugger;
    struct alignment alignment;
    struct tracing tracing;

    /* 2-MiB regions (by hash) in which large guest pages were filled, 4 KiB at a time, since the
     * last flush: INVLPG of such a page must drop all of its pieces. */
    uint64_t large_regions[16];

    void *memory_region; /* the library's, for all of memory; NULL: not yet asked for */

    /* Early growth of the soft TLB: it is resized only when it is flushed. */
    uint64_t fills_since_flush;
    unsigned growth_steps;

    struct engine_statistics statistics;
    uint64_t instructions_at_flush; /* translated, when the code buffer was last emptied */
};

extern _Thread_local struct unicorn_engine *unicorn_current;

/* The address in translated code that called the replacement function. */
#define CALLER ((uintptr_t)__builtin_return_address(0))

#define EXPORT __attribute__((visibility("default")))

/* intercept.c */
/* The translated code that called for them is gone. */
void unicorn_forget_decoded(struct unicorn_engine *engine);

/* state.c */
enum { STATE_BASIC, STATE_ALL };
void unicorn_pull(struct unicorn_engine *engine, int depth);
void unicorn_push(struct unicorn_engine *engine, int depth);
static inline uint64_t unicorn_instructions(const struct unicorn_engine *engine)
{
    return engine->instruction_base - engine->env->bnd_regs[0];
}
void unicorn_set_budget(struct unicorn_engine *engine, uint64_t until);
void unicorn_account_ring(struct unicorn_engine *engine);

/* events.c */
_Noreturn void unicorn_resume(struct unicorn_engine *engine); /* to the loop: run on at env->eip */
_Noreturn void unicorn_leave(struct unicorn_engine *engine);  /* to the loop, which then returns */
/* Delivers an exception or interrupt; needs STATE_ALL pulled; resumes or leaves. */
_Noreturn void unicorn_deliver(struct unicorn_engine *engine, const struct event *event);
/* An instruction may have opened the window that the handler waits for: look before the next block.
 */
void unicorn_look_for_window(struct unicorn_engine *engine);
/* #PF or EPT exit of an access that the engine makes for an instruction; pulled and restartable. */
_Noreturn void unicorn_memory_fault(struct unicorn_engine *engine, const struct mmu_fault *fault);
/* cpu.exit is filled and STATE_BASIC pulled: settles it and returns true, or false: leave. */
bool unicorn_settle_exit(struct unicorn_engine *engine);

/* breakpoints.c */
/* DR0-DR3 or DR7 in cpu.state may have changed. */
void unicorn_breakpoints_changed(struct unicorn_engine *engine);
uint32_t unicorn_breakpoint_hflags(const struct unicorn_engine *engine);
/* The linear address of the next instruction. */
uint64_t unicorn_linear_rip(const struct unicorn_engine *engine);
/* True if an enabled breakpoint is at the instruction that is to be translated next. */
bool unicorn_is_code_breakpoint(const struct unicorn_engine *engine, const struct translator *db);
/* An IN, OUT, INS or OUTS in the funnel has accessed a port, with no VM exit. */
void unicorn_io_breakpoints(struct unicorn_engine *engine, uint16_t port, unsigned size);
/* A debug exception that is to be delivered takes along what is pending. */
void unicorn_take_debug_hits(struct unicorn_engine *engine, struct event *event);
/* The engine is left: what is pending goes into cpu.state. */
void unicorn_keep_debug_hits(struct unicorn_engine *engine);
/* IRET has loaded RFLAGS. */
void unicorn_rf_loaded(struct unicorn_engine *engine);
/* Between instructions, before other events; may deliver a debug exception and not return. */
void unicorn_debug_traps(struct unicorn_engine *engine);
/* The same after all other events, just before the next instruction. */
void unicorn_code_breakpoints(struct unicorn_engine *engine);

/* debug.c */
/* The debugger's points are others than before: not inside of a block. */
void unicorn_debug_points_changed(struct unicorn_engine *engine);
/* True if blocks must end in front of a linear address. */
bool unicorn_debug_has_code(const struct unicorn_engine *engine, uint64_t address);
/* True if a block is nothing but the stop in front of a debugger's breakpoint. */
bool unicorn_debug_is_stop(const struct unicorn_engine *engine, const struct translator *db);
/* True if accesses to a range must take the slow path. */
bool unicorn_debug_watches(const struct unicorn_engine *engine, uint64_t address, uint64_t length);
/* True if an access meets a watchpoint; *point is its address. */
bool unicorn_debug_met(const struct unicorn_engine *engine, bool write, uint64_t address,
                       uint64_t size, uint64_t *point);
/* The instruction at RIP, before which `count` have retired, has met a watchpoint. */
void unicorn_debug_note(struct unicorn_engine *engine, uint64_t point, uint64_t count,
                        uint64_t rip);
/* The processor model accesses data: for an instruction, or to deliver an event. */
void unicorn_debug_model_access(struct unicorn_engine *engine, bool write, uint64_t address,
                                uint64_t size);
/* The instruction that is being executed did not complete. */
void unicorn_debug_faulted(struct unicorn_engine *engine);
/* Just before the next instruction: call the debugger if a point was met. */
void unicorn_debug_watchpoints(struct unicorn_engine *engine);
void unicorn_debug_breakpoints(struct unicorn_engine *engine);
void unicorn_read_fpu(struct unicorn_engine *engine, uint8_t image[FXSAVE_BYTES]);
void unicorn_write_fpu(struct unicorn_engine *engine, const uint8_t image[FXSAVE_BYTES]);

/* alignment.c */
void unicorn_alignment_next_insn(struct unicorn_engine *engine, uint64_t pc);
/* An operation that loads or stores 8 bytes has been made. */
void unicorn_alignment_access(struct unicorn_engine *engine, struct tcg_operation *operation,
                              int opcode);

/* read_modify_write.c */
/* True if the instruction at RIP reads its memory operand in order to write it. */
bool unicorn_reads_to_write(struct unicorn_engine *engine);
/* True if LOCK stands before an instruction that it may not; looked at are `length` bytes. */
bool unicorn_lock_is_invalid(uint8_t (*read)(void *context, unsigned index), void *context,
                             bool long_mode, unsigned *length);

/* canonical.c */
static inline bool unicorn_is_canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}
/* Fetches the instruction at RIP, up to INSN_LENGTH_MAX bytes. Returns how many there are. */
size_t unicorn_fetch(struct unicorn_engine *engine, uint8_t *bytes);
/* #GP(0) or #SS(0) of an access to a linear address that is not canonical. */
_Noreturn void unicorn_noncanonical_data(struct unicorn_engine *engine, uint64_t linear,
                                         uintptr_t return_address);
/* A branch has been made: #GP(0) at it if its target is not canonical. */
void unicorn_check_branch(struct unicorn_engine *engine, uintptr_t return_address);

/* tracing.c */
/* Before the engine runs, and before its code is dropped: takes over what the sink wants. Between
 * the two that must not change. */
void unicorn_tracing_begin(struct unicorn_engine *engine);
/* Translation: behind the budget's check at the start of a block, and at its end. */
void unicorn_tracing_block_start(struct unicorn_engine *engine, const struct translator *db);
void unicorn_tracing_block_end(struct unicorn_engine *engine, const struct translator *db);
/* Translation: before and behind a load or store. `start` returns what `end` must be given. */
void *unicorn_tracing_access_start(void *tcg, uint64_t address);
void unicorn_tracing_access_end(struct unicorn_engine *engine, void *tcg,
                                const struct tcg_operation *operation, int opcode, void *address);
/* The instruction at RIP ends its block and was counted, but has not retired: it is given back. */
void unicorn_tracing_not_retired(struct unicorn_engine *engine);
/* RIP and count have been brought to the instruction of this index in a block. */
void unicorn_tracing_left(struct unicorn_engine *engine, const struct translation_block *tb,
                          uint64_t pc, unsigned index);

/* engine.c */
/* True when the code buffer has to be emptied before more is translated. */
bool unicorn_code_buffer_full(const struct unicorn_engine *engine);

/* translate.c */
/* Adds an operation to the block that is being translated. */
struct tcg_operation *unicorn_emit(void *tcg, int opcode, uint64_t a, uint64_t b, uint64_t c);

/* smc.c */
/* The next write to each page is told to the physmem again. */
void unicorn_watch_writes(struct unicorn_engine *engine);

/* mmu.c */
/* Where the block stood before a look at the state of an instruction in its middle. */
struct block_position {
    uint64_t eip, rest; /* rest: instructions of the block from the one looked at on */
    uint32_t cc_op;
};
/* Brings RIP, flags and count to the instruction at return_address (0: they are), and back. */
void unicorn_position_at(struct unicorn_engine *engine, uintptr_t return_address,
                         struct block_position *saved);
void unicorn_position_back(struct unicorn_engine *engine, const struct block_position *saved);
int unicorn_mmu_create(struct unicorn_engine *engine);
void unicorn_flush_tlb(struct unicorn_engine *engine);
void unicorn_flush_page(struct unicorn_engine *engine, uint64_t linear);

#endif
