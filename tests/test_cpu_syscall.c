/*
 * SYSCALL, SYSRET, SYSENTER and SYSEXIT: the operation sections of their pages in the SDM's volume
 * 2, from every mode and with every fault that they list.
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

TestSuite(syscalls, .init = set_up, .fini = tear_down);

#define STAR         0x0023001000000000ull /* SYSRET: 0x23, SYSCALL: 0x10 */
#define LSTAR        0xffffffff81000000ull
#define FMASK        (RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC)
#define HOLE         0x0000800000000000ull
#define SYSENTER_CS  0x13u /* RPL is ignored */
#define SYSENTER_EIP 0xffffffff82000000ull
#define SYSENTER_ESP 0xffffc90000001000ull

static void prepare(enum cpu_mode mode, unsigned cpl)
{
    struct cpu_state *state = &machine.cpu.state;

    machine_set_mode(&machine, mode, cpl);
    state->star = STAR;
    state->lstar = LSTAR;
    state->fmask = FMASK;
    state->efer |= EFER_SCE;
    state->sysenter_cs = SYSENTER_CS;
    state->sysenter_eip = SYSENTER_EIP;
    state->sysenter_esp = SYSENTER_ESP;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        state->gpr[i] = 0x1111111100000000 * (i & 7) + 0x1000 + i;
    state->rip = 0x401000;
    state->rflags |= RFLAGS_IF | RFLAGS_CF | RFLAGS_RF | RFLAGS_DF;
    state->interruptibility = BLOCKING_BY_STI;
    machine.cpu.instruction_length = 2;
}

static void check_segment(enum segment_register reg, uint16_t selector, uint32_t access_rights)
{
    const struct segment *segment = &machine.cpu.state.seg[reg];

    cr_assert_eq(segment->selector, selector, "0x%x", segment->selector);
    cr_assert_eq(segment->base, 0);
    cr_assert_eq(segment->limit, 0xffffffff);
    cr_assert_eq(segment->access_rights, access_rights, "0x%x", segment->access_rights);
}

/* Access rights: G, D or L, P, DPL, S, type 11 (code) or 3 (data). */
#define CODE64(dpl)  (0xa09bu | (dpl) << 5)
#define CODE32(dpl)  (0xc09bu | (dpl) << 5)
#define STACK32(dpl) (0xc093u | (dpl) << 5)

Test(syscalls, syscall)
{
    struct cpu *cpu = &machine.cpu;

    for (unsigned cpl = 0; cpl <= 3; cpl++) {
        struct cpu_state before;

        prepare(MODE_64BIT, cpl);
        before = cpu->state;
        cr_assert_eq(insn_syscall(cpu), OUTCOME_DONE);
        cr_assert_eq(cpu->state.rip, LSTAR);
        cr_assert_eq(cpu->state.gpr[GPR_RCX], 0x401002);
        cr_assert_eq(cpu->state.gpr[GPR_R11], before.rflags & ~RFLAGS_RF);
        cr_assert_eq(cpu->state.rflags, RFLAGS_FIXED | RFLAGS_CF);
        check_segment(SEG_CS, 0x10, CODE64(0));
        check_segment(SEG_SS, 0x18, STACK32(0));
        cr_assert_eq(cpu_cpl(cpu), 0);
        cr_assert_eq(cpu->state.gpr[GPR_RSP], before.gpr[GPR_RSP]);
        cr_assert_eq(cpu->state.interruptibility, 0);
        cr_assert(cpu->changed & CPU_CHANGED_SEGMENTS);
    }
}

/* "IF (CS.L != 1) or (IA32_EFER.LMA != 1) or (IA32_EFER.SCE != 1) THEN #UD". */
Test(syscalls, syscall_and_sysret_exist_in_64bit_mode_only)
{
    struct cpu *cpu = &machine.cpu;

    for (enum cpu_mode mode = MODE_REAL; mode < MODE_COUNT; mode++)
        for (unsigned sce = 0; sce <= 1; sce++) {
            bool exists = mode == MODE_64BIT && sce;

            prepare(mode, mode == MODE_VIRTUAL_8086 ? 3 : 0);
            cpu->state.efer &= sce ? ~0ull : ~EFER_SCE;
            cr_assert_eq(insn_syscall(cpu), exists ? OUTCOME_DONE : OUTCOME_EXCEPTION, "%s",
                         cpu_mode_name(mode));
            if (!exists)
                cr_assert_eq(cpu->fault.vector, VECTOR_UD);
            prepare(mode, mode == MODE_VIRTUAL_8086 ? 3 : 0);
            cpu->state.efer &= sce ? ~0ull : ~EFER_SCE;
            cr_assert_eq(insn_sysret(cpu, 4), exists ? OUTCOME_DONE : OUTCOME_EXCEPTION, "%s",
                         cpu_mode_name(mode));
            if (!exists)
                cr_assert_eq(cpu->fault.vector, VECTOR_UD);
        }
}

Test(syscalls, sysret)
{
    struct cpu *cpu = &machine.cpu;

    prepare(MODE_64BIT, 0);
    cpu->state.gpr[GPR_RCX] = 0x00007ffffffff000;
    cpu->state.gpr[GPR_R11] = ~0ull;
    cr_assert_eq(insn_sysret(cpu, 8), OUTCOME_DONE);
    cr_assert_eq(cpu->state.rip, 0x00007ffffffff000);
    cr_assert_eq(cpu->state.rflags, 0x3c7fd7, "RF and VM are not loaded");
    check_segment(SEG_CS, 0x33, CODE64(3));
    check_segment(SEG_SS, 0x2b, STACK32(3));
    cr_assert_eq(cpu_cpl(cpu), 3);

    prepare(MODE_64BIT, 0);
    cpu->state.gpr[GPR_RCX] = HOLE | 0x12345678;
    cpu->state.gpr[GPR_R11] = 0;
    cr_assert_eq(insn_sysret(cpu, 4), OUTCOME_DONE, "canonicality is of no matter for EIP");
    cr_assert_eq(cpu->state.rip, 0x12345678);
    cr_assert_eq(cpu->state.rflags, RFLAGS_FIXED);
    check_segment(SEG_CS, 0x23, CODE32(3));
    check_segment(SEG_SS, 0x2b, STACK32(3));
}

/* "IF CPL != 0 or (operand size is 64-bit and RCX is not canonical) THEN #GP(0)", at CPL 0. */
Test(syscalls, sysret_faults)
{
    static const uint64_t targets[] = {HOLE, HOLE - 1, 0xffff7fffffffffff, 0xffff800000000000};
    struct cpu *cpu = &machine.cpu;

    for (unsigned i = 0; i < 4; i++) {
        struct cpu_state before;
        bool canonical = i == 1 || i == 3;

        prepare(MODE_64BIT, 0);
        cpu->state.gpr[GPR_RCX] = targets[i];
        before = cpu->state;
        cr_assert_eq(insn_sysret(cpu, 8), canonical ? OUTCOME_DONE : OUTCOME_EXCEPTION);
        if (!canonical) {
            cr_assert_eq(cpu->fault.vector, VECTOR_GP);
            cr_assert_eq(memcmp(&before, &cpu->state, sizeof(before)), 0, "still at CPL 0");
        }
    }
    for (unsigned cpl = 1; cpl <= 3; cpl++) {
        prepare(MODE_64BIT, cpl);
        cr_assert_eq(insn_sysret(cpu, 8), OUTCOME_EXCEPTION);
        cr_assert_eq(cpu->fault.vector, VECTOR_GP);
    }
}

/* Canonical addresses have 57 bits with CR4.LA57. */
Test(syscalls, sysret_with_57_bits)
{
    prepare(MODE_64BIT, 0);
    machine.cpu.state.cr4 |= CR4_LA57;
    machine.cpu.state.gpr[GPR_RCX] = HOLE;
    cr_assert_eq(insn_sysret(&machine.cpu, 8), OUTCOME_DONE);
}

Test(syscalls, sysenter)
{
    struct cpu *cpu = &machine.cpu;

    for (enum cpu_mode mode = MODE_PROTECTED_16; mode < MODE_COUNT; mode++) {
        bool long_mode = mode >= MODE_COMPATIBILITY;
        uint64_t mask = long_mode ? ~0ull : 0xffffffff;

        prepare(mode, 3);
        cr_assert_eq(insn_sysenter(cpu), OUTCOME_DONE, "%s", cpu_mode_name(mode));
        cr_assert_eq(cpu->state.rip, SYSENTER_EIP & mask);
        cr_assert_eq(cpu->state.gpr[GPR_RSP], SYSENTER_ESP & mask);
        check_segment(SEG_CS, 0x10, long_mode ? CODE64(0) : CODE32(0));
        check_segment(SEG_SS, 0x18, STACK32(0));
        cr_assert_eq(cpu->state.rflags, RFLAGS_FIXED | RFLAGS_CF | RFLAGS_DF,
                     "IF, VM and RF are 0");
        cr_assert_eq(cpu_cpl(cpu), 0);
        cr_assert_eq(cpu->state.interruptibility, 0);
    }
}

Test(syscalls, sysexit)
{
    struct cpu *cpu = &machine.cpu;

    for (enum cpu_mode mode = MODE_PROTECTED_16; mode < MODE_COUNT; mode++)
        for (unsigned size = 4; size <= 8; size += 4) {
            if (mode == MODE_VIRTUAL_8086 || (size == 8 && mode != MODE_64BIT))
                continue;
            prepare(mode, 0);
            cpu->state.gpr[GPR_RDX] = 0x7ff012345678;
            cpu->state.gpr[GPR_RCX] = 0x7ff0abcd0000;
            cr_assert_eq(insn_sysexit(cpu, size), OUTCOME_DONE);
            cr_assert_eq(cpu->state.rip, size == 8 ? 0x7ff012345678 : 0x12345678);
            cr_assert_eq(cpu->state.gpr[GPR_RSP], size == 8 ? 0x7ff0abcd0000 : 0xabcd0000);
            check_segment(SEG_CS, (size == 8 ? 0x30 : 0x20) | 3, size == 8 ? CODE64(3) : CODE32(3));
            check_segment(SEG_SS, (size == 8 ? 0x38 : 0x28) | 3, STACK32(3));
            cr_assert_eq(cpu_cpl(cpu), 3);
        }
}

/* "#GP(0) If IA32_SYSENTER_CS[15:2] = 0", "If CR0.PE = 0", SYSEXIT also "If CPL != 0" and "If RCX
 * or RDX contains a non-canonical address". */
Test(syscalls, sysenter_and_sysexit_faults)
{
    struct cpu *cpu = &machine.cpu;
    struct cpu_state before;

    for (enum cpu_mode mode = MODE_REAL; mode < MODE_COUNT; mode++) {
        prepare(mode, mode == MODE_VIRTUAL_8086 ? 3 : 0);
        cpu->state.sysenter_cs = 0x10003; /* only bits 15:2 count */
        before = cpu->state;
        cr_assert_eq(insn_sysenter(cpu), OUTCOME_EXCEPTION);
        cr_assert_eq(cpu->fault.vector, VECTOR_GP);
        cr_assert_eq(cpu->fault.has_error_code, mode > MODE_UNREAL);
        cr_assert_eq(insn_sysexit(cpu, 4), OUTCOME_EXCEPTION);
        cr_assert_eq(memcmp(&before, &cpu->state, sizeof(before)), 0);
    }
    prepare(MODE_REAL, 0);
    cr_assert_eq(insn_sysenter(cpu), OUTCOME_EXCEPTION);
    cr_assert_eq(insn_sysexit(cpu, 4), OUTCOME_EXCEPTION);
    for (unsigned cpl = 1; cpl <= 3; cpl++) {
        prepare(MODE_PAE, cpl);
        cr_assert_eq(insn_sysexit(cpu, 4), OUTCOME_EXCEPTION);
    }
    prepare(MODE_64BIT, 0);
    cpu->state.gpr[GPR_RDX] = HOLE;
    cr_assert_eq(insn_sysexit(cpu, 8), OUTCOME_EXCEPTION);
    prepare(MODE_64BIT, 0);
    cpu->state.gpr[GPR_RDX] = 0;
    cpu->state.gpr[GPR_RCX] = HOLE;
    cr_assert_eq(insn_sysexit(cpu, 8), OUTCOME_EXCEPTION);
    cr_assert_eq(cpu->fault.vector, VECTOR_GP);
}
