/* Descriptor tables, task-state segments and gates for the suites about event delivery. */
#ifndef VTXSIM_TESTS_CPU_TABLES_H
#define VTXSIM_TESTS_CPU_TABLES_H

#include "cpu_machine.h"

/* Selectors of the GDT that tables_build makes. */
enum selector {
    CODE0 = 0x08,
    DATA0 = 0x10,
    CODE3 = 0x18,
    DATA3 = 0x20,
    CONFORMING0 = 0x28,
    LONG0 = 0x30,
    LONG3 = 0x38,
    LONG_CONFORMING0 = 0x40,
    STACK0_16BIT = 0x48,
    TSS32_AVAILABLE = 0x50,
    CODE1 = 0x60,
    DATA1 = 0x68,
    LONG1 = 0x70,
    NOT_PRESENT_CODE0 = 0x78,
    NOT_PRESENT_DATA0 = 0x80,
    READ_ONLY_DATA0 = 0x88,
    NOT_PRESENT_TSS = 0x90,
    LONG_NOT_PRESENT = 0x98,
    LONG_AND_BIG = 0xa0,
    SMALL_CODE0 = 0xa8,
    SMALL_STACK0 = 0xb0,
    GDT_SIZE = 0xb8,
};

#define HANDLER      0x20000u
#define HANDLER_STEP 0x100u
#define STACK0       0x30800u
#define STACK1       0x31800u
#define IST_STACK(n) (0x32000u + 0x1000u * (n) + 0x808u) /* not aligned, on purpose */
#define USER_STACK   0x3c008u
#define USER_CODE    0x40000u

/* type: P, DPL, S, type as in the descriptor's sixth byte; flags: G, D/B, L, AVL. */
static inline uint64_t descriptor(uint32_t base, uint32_t limit, unsigned type, unsigned flags)
{
    return (uint64_t)(limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 |
           (uint64_t)(base >> 24) << 56;
}

static inline void tables_build_gdt(struct machine *machine)
{
    static const struct {
        enum selector selector;
        uint32_t base, limit;
        uint8_t type, flags;
    } rows[] = {
        {CODE0, 0, 0xfffff, 0x9a, 0xc},
        {DATA0, 0, 0xfffff, 0x92, 0xc},
        {CODE3, 0, 0xfffff, 0xfa, 0xc},
        {DATA3, 0, 0xfffff, 0xf2, 0xc},
        {CONFORMING0, 0, 0xfffff, 0x9e, 0xc},
        {LONG0, 0, 0, 0x9a, 0x2},
        {LONG3, 0, 0, 0xfa, 0x2},
        {LONG_CONFORMING0, 0, 0, 0x9e, 0x2},
        {STACK0_16BIT, 0, 0xffff, 0x92, 0x0},
        {TSS32_AVAILABLE, TSS_ADDRESS, 0x67, 0x89, 0},
        {CODE1, 0, 0xfffff, 0xba, 0xc},
        {DATA1, 0, 0xfffff, 0xb2, 0xc},
        {LONG1, 0, 0, 0xba, 0x2},
        {NOT_PRESENT_CODE0, 0, 0xfffff, 0x1a, 0xc},
        {NOT_PRESENT_DATA0, 0, 0xfffff, 0x12, 0xc},
        {READ_ONLY_DATA0, 0, 0xfffff, 0x90, 0xc},
        {NOT_PRESENT_TSS, TSS_ADDRESS, 0x67, 0x09, 0},
        {LONG_NOT_PRESENT, 0, 0, 0x1a, 0x2},
        {LONG_AND_BIG, 0, 0, 0x9a, 0x6},
        {SMALL_CODE0, 0, 0x1ffff, 0x9a, 0x4},
        {SMALL_STACK0, 0, 0x307f0, 0x92, 0x4},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        machine_store64(machine, GDT_ADDRESS + rows[i].selector,
                        descriptor(rows[i].base, rows[i].limit, rows[i].type, rows[i].flags));
    machine_store64(machine, GDT_ADDRESS, 0);
    machine->cpu.state.gdtr = (struct descriptor_table){GDT_ADDRESS, GDT_SIZE - 1};
}

/* 8-byte gate; type as in the descriptor: P, DPL, type. */
static inline void tables_set_gate(struct machine *machine, unsigned vector, uint16_t selector,
                                   uint32_t offset, unsigned type)
{
    machine_store64(machine, IDT_ADDRESS + 8 * vector,
                    (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)type << 40 |
                        (uint64_t)(offset >> 16) << 48);
}

static inline void tables_set_gate64(struct machine *machine, unsigned vector, uint16_t selector,
                                     uint64_t offset, unsigned type, unsigned ist)
{
    machine_store64(machine, IDT_ADDRESS + 16 * vector,
                    (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 |
                        (uint64_t)type << 40 | (offset >> 16 & 0xffff) << 48);
    machine_store64(machine, IDT_ADDRESS + 16 * vector + 8, offset >> 32);
}

static inline uint64_t handler_of(unsigned vector)
{
    return HANDLER + HANDLER_STEP * vector;
}

/* IDT with 32 gates of 16 bytes, TSS with RSP0-2 and IST1-7. */
static inline void tables_build_64bit(struct machine *machine)
{
    struct cpu_state *state = &machine->cpu.state;

    tables_build_gdt(machine);
    for (unsigned vector = 0; vector < 256; vector++)
        tables_set_gate64(machine, vector, LONG0, handler_of(vector), 0x8e, 0);
    machine_store64(machine, TSS_ADDRESS + 4, STACK0);
    machine_store64(machine, TSS_ADDRESS + 12, STACK1);
    for (unsigned ist = 1; ist <= 7; ist++)
        machine_store64(machine, TSS_ADDRESS + 28 + 8 * ist, IST_STACK(ist));
    state->idtr = (struct descriptor_table){IDT_ADDRESS, 0xfff};
    state->seg[SEG_TR] = (struct segment){TSS_ADDRESS, 0x67, 0x8b, TSS32_AVAILABLE};
}

/* IDT with gates of 8 bytes, 32-bit or 16-bit TSS. */
static inline void tables_build_legacy(struct machine *machine, bool tss32)
{
    struct cpu_state *state = &machine->cpu.state;

    tables_build_gdt(machine);
    for (unsigned vector = 0; vector < 256; vector++)
        tables_set_gate(machine, vector, CODE0, handler_of(vector), 0x8e);
    if (tss32) {
        machine_store32(machine, TSS_ADDRESS + 4, STACK0);
        machine_store32(machine, TSS_ADDRESS + 8, DATA0);
        machine_store32(machine, TSS_ADDRESS + 12, STACK1);
        machine_store32(machine, TSS_ADDRESS + 16, DATA1 | 1);
    } else {
        machine_store32(machine, TSS_ADDRESS + 2, (STACK0 & 0xffff) | DATA0 << 16);
        machine_store32(machine, TSS_ADDRESS + 6, (STACK1 & 0xffff) | (DATA1 | 1) << 16);
    }
    state->idtr = (struct descriptor_table){IDT_ADDRESS, 0x7ff};
    state->seg[SEG_TR] = (struct segment){TSS_ADDRESS, 0x67, tss32 ? 0x8b : 0x83, TSS32_AVAILABLE};
}

/* A program at CPL 0, 1 or 3 with flat segments, in the middle of something. */
static inline void tables_start_program(struct machine *machine, bool long_mode, unsigned cpl)
{
    struct cpu_state *state = &machine->cpu.state;
    static const uint16_t code[] = {CODE0, CODE1, 0, CODE3}, data[] = {DATA0, DATA1, 0, DATA3},
                          long_code[] = {LONG0, LONG1, 0, LONG3};

    machine_set_segments(machine, cpl, long_mode ? 0xa09b : 0xc09b);
    state->seg[SEG_CS].selector = (long_mode ? long_code : code)[cpl] | cpl;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        if (i != SEG_CS)
            state->seg[i].selector = data[cpl] | cpl;
    state->rip = USER_CODE;
    state->gpr[GPR_RSP] = USER_STACK;
    state->rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_CF | RFLAGS_AC;
}

#endif
