/*
 * LLDT and LTR: each row is a selector with its descriptor, and the outcome by the pages of the two
 * instructions in the SDM's volume 2.
 */
#include "cpu_machine.h"

static struct machine machine;

static void set_up(void)
{
    machine_init(&machine);
}

static void tear_down(void)
{
    machine_destroy(&machine);
}

TestSuite(system_segments, .init = set_up, .fini = tear_down);

#define SELECTOR 0x28
#define LIMIT    0x4f /* of the GDT */

/* Limit 0x1234 and BASE; then type, S, DPL, P. */
#define DESCRIPTOR(rights) (0x890000abcdef1234ull | (uint64_t)(rights) << 40)
#define BASE               0x89abcdefull

#define LDT   0x82
#define TSS16 0x81
#define TSS32 0x89

// clang-format off
static const struct load {
    const char *name;
    bool task, long_mode;
    uint16_t selector;
    uint8_t rights;
    uint64_t upper;  /* IA-32e mode */
    int vector;      /* -1: it is loaded */
    uint32_t error;
} loads[] = {
    {"LLDT",                        false, false, SELECTOR,     LDT,   0,          -1,        0},
    {"LLDT, RPL does not matter",   false, false, SELECTOR | 3, LDT,   0,          -1,        0},
    {"LLDT in the LDT",             false, false, SELECTOR | 4, LDT,   0,          VECTOR_GP, SELECTOR | 4},
    {"LLDT of a TSS",               false, false, SELECTOR,     TSS32, 0,          VECTOR_GP, SELECTOR},
    {"LLDT of a data segment",      false, false, SELECTOR,     0x92,  0,          VECTOR_GP, SELECTOR},
    {"LLDT, not present",           false, false, SELECTOR | 2, 0x02,  0,          VECTOR_NP, SELECTOR},
    {"LLDT, last of the GDT",       false, false, 0x48,         LDT,   0,          -1,        0},
    {"LLDT, beyond the GDT",        false, false, 0x50,         LDT,   0,          VECTOR_GP, 0x50},
    {"LLDT, 64 bits",               false, true,  SELECTOR,     LDT,   0xffff8000, -1,        0},
    {"LLDT, upper half outside",    false, true,  0x48,         LDT,   0,          VECTOR_GP, 0x48},
    {"LLDT, not canonical",         false, true,  SELECTOR,     LDT,   0x00aaaaaa, VECTOR_GP, SELECTOR},
    {"LLDT, type in upper half",    false, true,  SELECTOR,     LDT,   0x100ull << 32, VECTOR_GP, SELECTOR},
    {"LTR",                         true,  false, SELECTOR,     TSS32, 0,          -1,        0},
    {"LTR, 16 bits",                true,  false, SELECTOR,     TSS16, 0,          -1,        0},
    {"LTR, null",                   true,  false, 3,            TSS32, 0,          VECTOR_GP, 0},
    {"LTR, busy",                   true,  false, SELECTOR,     0x8b,  0,          VECTOR_GP, SELECTOR},
    {"LTR of an LDT",               true,  false, SELECTOR,     LDT,   0,          VECTOR_GP, SELECTOR},
    {"LTR, busy before absent",     true,  false, SELECTOR,     0x0b,  0,          VECTOR_GP, SELECTOR},
    {"LTR, not present",            true,  false, SELECTOR,     0x09,  0,          VECTOR_NP, SELECTOR},
    {"LTR, 64 bits",                true,  true,  SELECTOR,     TSS32, 0x00007fff, -1,        0},
    {"LTR, 16 bits in IA-32e mode", true,  true,  SELECTOR,     TSS16, 0,          VECTOR_GP, SELECTOR},
    {"LTR, not canonical",          true,  true,  SELECTOR,     TSS32, 0xff008000, VECTOR_GP, SELECTOR},
    {"LTR, absent before upper",    true,  true,  SELECTOR,     0x09,  0xff008000, VECTOR_NP, SELECTOR},
};
// clang-format on

static void check(const struct load *load)
{
    struct cpu *cpu = &machine.cpu;
    uint64_t entry = GDT_ADDRESS + (load->selector & ~7u);
    struct segment *segment = &cpu->state.seg[load->task ? SEG_TR : SEG_LDTR], before;
    enum outcome outcome;
    uint8_t rights;

    machine_set_mode(&machine, load->long_mode ? MODE_64BIT : MODE_PROTECTED_32, 0);
    cpu->state.gdtr = (struct descriptor_table){GDT_ADDRESS, LIMIT};
    machine_store64(&machine, entry, DESCRIPTOR(load->rights));
    machine_store64(&machine, entry + 8, load->upper);
    before = *segment;
    outcome = insn_load_system_segment(cpu, load->task, load->selector);
    rights = (uint8_t)machine_load(&machine, entry + 5, 1);
    if (load->vector >= 0) {
        cr_assert_eq(outcome, OUTCOME_EXCEPTION, "%s", load->name);
        cr_expect_eq(cpu->fault.vector, load->vector, "%s", load->name);
        cr_expect_eq(cpu->fault.error_code, load->error, "%s: 0x%x", load->name,
                     cpu->fault.error_code);
        cr_expect_eq(memcmp(segment, &before, sizeof(before)), 0, "%s changed it", load->name);
        cr_expect_eq(rights, load->rights, "%s: busy", load->name);
        return;
    }
    cr_assert_eq(outcome, OUTCOME_DONE, "%s", load->name);
    cr_expect_eq(segment->selector, load->selector, "%s", load->name);
    cr_expect_eq(segment->base, BASE | load->upper << 32, "%s", load->name);
    cr_expect_eq(segment->limit, 0x1234, "%s", load->name);
    cr_expect_eq(rights, load->task ? load->rights | 2 : load->rights, "%s", load->name);
    cr_expect_eq(segment->access_rights, rights, "%s: 0x%x", load->name, segment->access_rights);
    cr_expect(cpu->changed & CPU_CHANGED_SEGMENTS, "%s", load->name);
}

Test(system_segments, loads)
{
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
        check(&loads[i]);
}

/* A null LDTR is there, but no selector reaches through it. */
Test(system_segments, null_ldt)
{
    machine_set_mode(&machine, MODE_64BIT, 0);
    cr_assert_eq(insn_load_system_segment(&machine.cpu, false, 2), OUTCOME_DONE);
    cr_expect(machine.cpu.state.seg[SEG_LDTR].access_rights & AR_UNUSABLE);
    cr_expect_eq(machine.cpu.state.seg[SEG_LDTR].selector, 2);
}

/* #PF by the read of the GDT is an access of the supervisor's, whatever the CPL. */
Test(system_segments, gdt_not_mapped)
{
    machine_set_mode(&machine, MODE_64BIT, 0);
    machine.cpu.state.gdtr = (struct descriptor_table){GDT_ADDRESS, LIMIT};
    machine_store64(&machine, machine_pte64(GDT_ADDRESS), 0);
    machine_sync_mmu(&machine);
    cr_assert_eq(insn_load_system_segment(&machine.cpu, true, SELECTOR), OUTCOME_EXCEPTION);
    cr_expect_eq(machine.cpu.fault.vector, VECTOR_PF);
    cr_expect_eq(machine.cpu.fault.cr2, GDT_ADDRESS + SELECTOR);
    cr_expect_eq(machine.cpu.fault.error_code, 0);
}
