/*
 * Where things are inside Unicorn 2.1.1's x86-64 processor. All offsets that the engine relies on
 * stand here, and unicorn_layout_check (layout_check.c) verifies them when an engine is created.
 *
 * Unicorn is QEMU 5.0: CPUX86State ("env") follows CPUState ("cs") in one object.
 */
#ifndef VTXSIM_SIM_UNICORN_LAYOUT_H
#define VTXSIM_SIM_UNICORN_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#define ENV_OFFSET 0x8a50 /* of env in the CPU object */

struct env_segment {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags; /* the descriptor's high dword */
};

/* The head of CPUX86State. */
struct env {
    uint64_t regs[16];
    uint64_t eip, eflags; /* eflags without the condition codes and DF */
    uint64_t cc_dst, cc_src, cc_src2;
    uint32_t cc_op;
    int32_t df; /* 1 or -1 */
    uint32_t hflags, hflags2;
    struct env_segment segs[6], ldt, tr, gdt, idt;
    uint64_t cr[5];
    int32_t a20_mask;
    uint64_t bnd_regs[8]; /* MPX, which is never enabled: [0] is the instruction budget */
    uint64_t bndcs_regs[2], msr_bndcfgs;
    uint64_t efer;
};

/* Offsets in env beyond its head. */
#define ENV_KERNEL_GS_BASE 4832
#define ENV_TSC_AUX        4864
#define ENV_XCR0           4872
#define ENV_DR             5368

/* Offsets in CPUState. */
#define CS_CFLAGS_NEXT_TB    0x18
#define CS_INTERRUPT_REQUEST 0x1c
#define CS_EXCEPTION_INDEX   0x81a0

/* icount_decr, a u32 in the CPU object just before env: generated code leaves when negative. */
#define ENV_ICOUNT_DECR (-16)

#define CS_FIELD(cs, offset, type)   (*(type *)((uint8_t *)(cs) + (offset)))
#define ENV_FIELD(env, offset, type) (*(type *)((uint8_t *)(env) + (offset)))

static inline struct env *env_of(void *cs)
{
    return (struct env *)((uint8_t *)cs + ENV_OFFSET);
}

static inline void *cs_of(struct env *env)
{
    return (uint8_t *)env - ENV_OFFSET;
}

/* hflags: what translated code depends on. */
#define HF_INHIBIT_IRQ (1u << 3)
#define HF_CS32        (1u << 4)
#define HF_SS32        (1u << 5)
#define HF_ADDSEG      (1u << 6)
#define HF_PE          (1u << 7)
#define HF_LMA         (1u << 14)
#define HF_CS64        (1u << 15)
#define HF_OSFXSR      (1u << 22)
#define HF_SMAP        (1u << 23)
#define HF_BREAKPOINTS (1u << 24) /* the library's is about I/O, which it never executes here */

#define CC_OP_EFLAGS 1 /* cc_src holds the flags */

/* The head of TranslationBlock. */
struct translation_block {
    uint64_t pc, cs_base;
    uint32_t flags;
    uint16_t size, icount;
    uint32_t cflags;
    uint32_t trace_state;
    void *code; /* where its translation begins */
};

/* cflags of an ordinary block (cluster index -1), and a flag that plays no part in finding one. */
#define CFLAGS_ORDINARY 0xff000000u
#define CFLAGS_NOCACHE  0x00010000u
#define CFLAGS_COUNT    0x00007fffu /* no more instructions than this; 0: as many as there are */
#define BLOCK_MAX       512         /* instructions that the library puts into a block */

/* CPUState.tb_jmp_cache: blocks by a hash of their linear address; 16 bytes behind env_ptr. */
#define JUMP_CACHE_BITS      12
#define JUMP_CACHE_PAGE_BITS (JUMP_CACHE_BITS / 2)

/* DisasContextBase and TranslatorOps of QEMU's translator loop. */
struct translator {
    struct translation_block *tb;
    uint64_t pc_first, pc_next;
    int is_jmp; /* TRANSLATOR_* */
    int num_insns, max_insns;
    bool singlestep_enabled;
};
#define TRANSLATOR_NEXT     0
#define TRANSLATOR_TOO_MANY 1

struct translator_operations {
    void (*init_disas_context)(struct translator *, void *cs);
    void (*tb_start)(struct translator *, void *cs);
    void (*insn_start)(struct translator *, void *cs);
    bool (*breakpoint_check)(struct translator *, void *cs, const void *breakpoint);
    void (*translate_insn)(struct translator *, void *cs);
    void (*tb_stop)(struct translator *, void *cs);
};

/* TCG's intermediate code: an operation and its arguments. */
struct tcg_operation {
    uint32_t head;
    uint64_t link[2];
    uint64_t args[10];
};

/* Operation numbers: the order of tcg/tcg-opc.h as configured for x86-64 hosts. */
enum tcg_opcode {
    OP_ld_i32 = 13,
    OP_brcond_i32 = 38,
    OP_mov_i64 = 63,
    OP_movi_i64 = 64,
    OP_ld_i64 = 73,
    OP_st_i64 = 77,
    OP_sub_i64 = 79,
    OP_brcond_i64 = 103,
    OP_insn_start = 129,
    OP_qemu_ld_i32 = 133,
    OP_qemu_st_i32 = 134,
    OP_qemu_ld_i64 = 135,
    OP_qemu_st_i64 = 136,
};
/* Their last argument: memory operation << 4 | MMU index. */
#define MEMORY_OPERATION(oi)      ((oi) >> 4)
#define MEMORY_OPERATION_SIZE(oi) (1u << (MEMORY_OPERATION(oi) & 3)) /* bytes */
#define TCG_TYPE_I64              1
#define TCG_COND_LT               2

/* The jump cache of a CPU object whose layout was checked. */
struct translation_block **unicorn_jump_cache(void *cs);
/* Names a message if this library is not the one described above; returns 0 or -ENOTSUP. */
int unicorn_layout_check(void *uc, void *cs, char *message, unsigned size);

#endif
