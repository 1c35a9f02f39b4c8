/*
 * The remaining instructions that VMX can intercept: the faults of their pages in the SDM's volume
 * 2, the order with VM exits of volume 3's "Relative Priority of Faults and VM Exits", and what
 * they do; and the state after RESET and INIT.
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

TestSuite(system, .init = set_up, .fini = tear_down);

/* --- Privilege, existence and interception in one table --------------------------------------- */

static enum outcome do_rdtsc(struct cpu *cpu)
{
    return insn_rdtsc(cpu);
}
static enum outcome do_rdrand(struct cpu *cpu)
{
    return insn_rdrand(cpu, false, GPR_RAX, 8);
}
static enum outcome do_rdseed(struct cpu *cpu)
{
    return insn_rdrand(cpu, true, GPR_RAX, 8);
}
static enum outcome do_rdpid(struct cpu *cpu)
{
    return insn_rdpid(cpu, GPR_RAX);
}
static enum outcome do_invlpg(struct cpu *cpu)
{
    return insn_invlpg(cpu, 0x1000);
}
static enum outcome do_invpcid(struct cpu *cpu)
{
    return insn_invpcid(cpu, 2, 0x20000, 0, 0);
}
static enum outcome do_vmcall(struct cpu *cpu)
{
    return insn_vmx(cpu, EXIT_VMCALL, 0, 0);
}
static enum outcome do_vmread(struct cpu *cpu)
{
    return insn_vmx(cpu, EXIT_VMREAD, 0, 0);
}
static enum outcome do_getsec(struct cpu *cpu)
{
    return insn_vmx(cpu, EXIT_GETSEC, 0, 0);
}
static enum outcome do_vmfunc(struct cpu *cpu)
{
    return insn_vmx(cpu, EXIT_VMFUNC, 0, 0);
}

/* A secondary control without which the instruction does not exist, or one that intercepts it. */
static const struct instruction {
    const char *name;
    enum outcome (*execute)(struct cpu *cpu);
    int user;                    /* fault above CPL 0 (a vector), -1: none */
    int root;                    /* outcome at CPL 0 outside VMX non-root operation: vector or -1 */
    enum exit_reason reason;     /* with the control */
    uint32_t primary, secondary; /* the control that makes it exit, both 0: always */
    uint32_t enables;            /* secondary control that makes it exist in non-root operation */
} instructions[] = {
    {"CPUID", insn_cpuid, -1, -1, EXIT_CPUID, 0, 0, 0},
    {"HLT", insn_hlt, VECTOR_GP, -1, EXIT_HLT, PRIMARY_HLT_EXITING, 0, 0},
    {"INVD", insn_invd, VECTOR_GP, -1, EXIT_INVD, 0, 0, 0},
    {"WBINVD", insn_wbinvd, VECTOR_GP, -1, EXIT_WBINVD, 0, SECONDARY_WBINVD_EXITING, 0},
    {"RDTSC", do_rdtsc, -1, -1, EXIT_RDTSC, PRIMARY_RDTSC_EXITING, 0, 0},
    {"RDTSCP", insn_rdtscp, -1, -1, EXIT_RDTSCP, PRIMARY_RDTSC_EXITING, 0, SECONDARY_RDTSCP},
    {"RDPMC", insn_rdpmc, VECTOR_GP, VECTOR_GP, EXIT_RDPMC, PRIMARY_RDPMC_EXITING, 0, 0},
    {"RDRAND", do_rdrand, -1, -1, EXIT_RDRAND, 0, SECONDARY_RDRAND_EXITING, 0},
    {"RDSEED", do_rdseed, -1, -1, EXIT_RDSEED, 0, SECONDARY_RDSEED_EXITING, 0},
    {"PAUSE", insn_pause, -1, -1, EXIT_PAUSE, PRIMARY_PAUSE_EXITING, 0, 0},
    {"INVLPG", do_invlpg, VECTOR_GP, -1, EXIT_INVLPG, PRIMARY_INVLPG_EXITING, 0, 0},
    {"INVPCID", do_invpcid, VECTOR_GP, -1, EXIT_INVPCID, PRIMARY_INVLPG_EXITING, 0,
     SECONDARY_INVPCID},
    {"VMCALL", do_vmcall, -1, VECTOR_UD, EXIT_VMCALL, 0, 0, 0},
    {"VMREAD", do_vmread, -1, VECTOR_UD, EXIT_VMREAD, 0, 0, 0},
};

/* What the processor does not have is #UD, whatever the controls say. */
static enum outcome (*const missing[])(struct cpu *) = {insn_monitor, insn_mwait, do_rdpid,
                                                        do_getsec, do_vmfunc};

static void expect(const char *name, enum outcome outcome, int vector)
{
    cr_assert_eq(outcome, vector < 0 ? OUTCOME_DONE : OUTCOME_EXCEPTION, "%s: outcome %d", name,
                 outcome);
    if (vector >= 0)
        cr_assert_eq(machine.cpu.fault.vector, vector, "%s: vector %u", name,
                     machine.cpu.fault.vector);
}

static void check_interception(const struct instruction *i, unsigned cpl)
{
    struct cpu *cpu = &machine.cpu;
    bool unconditional = !i->primary && !i->secondary;
    int fault = cpl ? i->user : -1;
    enum outcome outcome;

    machine_set_mode(&machine, MODE_64BIT, cpl);
    machine_enter_vmx(&machine, i->primary, i->secondary | i->enables);
    cpu->instruction_length = 3;
    outcome = i->execute(cpu);
    if (fault >= 0) {
        expect(i->name, outcome, fault);
    } else {
        cr_assert_eq(outcome, OUTCOME_EXIT, "%s must exit", i->name);
        cr_assert_eq(cpu->exit.reason, i->reason);
        cr_assert_eq(cpu->exit.instruction_length, 3);
    }
    if (!unconditional) {
        machine_enter_vmx(&machine, 0, i->enables);
        expect(i->name, i->execute(cpu), fault >= 0 ? fault : i->root);
    }
    if (i->enables) {
        machine_enter_vmx(&machine, i->primary, i->secondary);
        expect(i->name, i->execute(cpu), VECTOR_UD);
    }
}

Test(system, interception_and_privilege)
{
    for (unsigned i = 0; i < sizeof(instructions) / sizeof(instructions[0]); i++)
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            int user = instructions[i].user, root = instructions[i].root;

            machine_set_mode(&machine, MODE_64BIT, cpl);
            expect(instructions[i].name, instructions[i].execute(&machine.cpu),
                   root == VECTOR_UD  ? root
                   : cpl && user >= 0 ? user
                                      : root);
            check_interception(&instructions[i], cpl);
        }
    for (unsigned i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        machine_set_mode(&machine, MODE_64BIT, 0);
        expect("missing", missing[i](&machine.cpu), VECTOR_UD);
        machine_enter_vmx(&machine, ~0u, ~0u & ~SECONDARY_VM_FUNCTIONS);
        expect("missing", missing[i](&machine.cpu), VECTOR_UD);
    }
}

/* "IF ... (CR0.PE = 0) or (RFLAGS.VM = 1) or (IA32_EFER.LMA = 1 and CS.L = 0) THEN #UD" precedes
 * the VM exit for all VMX instructions but VMCALL. */
Test(system, vmx_instructions_by_mode)
{
    for (enum cpu_mode mode = MODE_REAL; mode < MODE_COUNT; mode++) {
        bool ud = mode <= MODE_UNREAL || mode == MODE_VIRTUAL_8086 || mode == MODE_COMPATIBILITY;

        machine_set_mode(&machine, mode, mode == MODE_VIRTUAL_8086 ? 3 : 0);
        machine_enter_vmx(&machine, 0, SECONDARY_UNRESTRICTED_GUEST);
        cr_assert_eq(insn_vmx(&machine.cpu, EXIT_VMWRITE, 0x123, 0x456),
                     ud ? OUTCOME_EXCEPTION : OUTCOME_EXIT, "%s", cpu_mode_name(mode));
        if (!ud) {
            cr_assert_eq(machine.cpu.exit.instruction_info, 0x123);
            cr_assert_eq(machine.cpu.exit.qualification, 0x456);
        }
        cr_assert_eq(insn_vmx(&machine.cpu, EXIT_VMCALL, 0, 0), OUTCOME_EXIT);
    }
}

/* --- Results --------------------------------------------------------------------------------- */

Test(system, time_stamp_and_random_numbers)
{
    struct cpu *cpu = &machine.cpu;
    uint64_t *gpr = cpu->state.gpr;

    machine_set_mode(&machine, MODE_64BIT, 3);
    machine.tsc = 0x1234567890abcdef;
    cpu->state.tsc_aux = 0x77;
    gpr[GPR_RAX] = gpr[GPR_RDX] = gpr[GPR_RCX] = ~0ull;
    cr_assert_eq(insn_rdtscp(cpu), OUTCOME_DONE);
    cr_assert_eq(gpr[GPR_RAX], 0x90abcdef);
    cr_assert_eq(gpr[GPR_RDX], 0x12345678);
    cr_assert_eq(gpr[GPR_RCX], 0x77);
    cpu->state.cr4 |= CR4_TSD;
    cr_assert_eq(insn_rdtsc(cpu), OUTCOME_EXCEPTION, "CR4.TSD above CPL 0");
    cr_assert_eq(insn_rdtscp(cpu), OUTCOME_EXCEPTION);
    machine_set_segments(&machine, 0, 0xa09b);
    cr_assert_eq(insn_rdtsc(cpu), OUTCOME_DONE);

    machine.random = 0xfedcba9876543210;
    for (unsigned size = 2; size <= 8; size *= 2) {
        cpu->state.rflags = RFLAGS_FIXED | RFLAGS_OF | RFLAGS_SF | RFLAGS_ZF | RFLAGS_IF;
        gpr[GPR_R9] = ~0ull;
        cr_assert_eq(insn_rdrand(cpu, false, GPR_R9, size), OUTCOME_DONE);
        cr_assert_eq(gpr[GPR_R9], size == 2   ? 0xffffffffffff3210
                                  : size == 4 ? 0x76543210
                                              : 0xfedcba9876543210);
        cr_assert_eq(cpu->state.rflags, RFLAGS_FIXED | RFLAGS_CF | RFLAGS_IF);
    }
}

/* RDPID goes with its CPUID flag and, like RDTSCP, with "enable RDTSCP"; RDRAND and RDSEED with
 * theirs. */
Test(system, instructions_by_feature)
{
    struct cpu *cpu = &machine.cpu;

    machine_set_mode(&machine, MODE_64BIT, 3);
    machine.profile.features |= 1ull << FEATURE_RDPID;
    cpu->state.tsc_aux = 0x55;
    cpu->state.gpr[GPR_RBX] = ~0ull;
    expect("RDPID", insn_rdpid(cpu, GPR_RBX), -1);
    cr_assert_eq(cpu->state.gpr[GPR_RBX], 0x55);
    machine_enter_vmx(&machine, 0, 0);
    expect("RDPID", insn_rdpid(cpu, GPR_RBX), VECTOR_UD);
    machine_enter_vmx(&machine, 0, SECONDARY_RDTSCP);
    expect("RDPID", insn_rdpid(cpu, GPR_RBX), -1);
    machine.profile.features &= ~(1ull << FEATURE_RDRAND);
    expect("RDRAND", do_rdrand(cpu), VECTOR_UD);
    expect("RDSEED", do_rdseed(cpu), -1);
    machine.profile.features &= ~(1ull << FEATURE_RDSEED | 1ull << FEATURE_RDTSCP);
    expect("RDSEED", do_rdseed(cpu), VECTOR_UD);
    expect("RDTSCP", insn_rdtscp(cpu), VECTOR_UD);
    machine_set_mode(&machine, MODE_64BIT, 0);
    machine.profile.features &= ~(1ull << FEATURE_INVPCID);
    expect("INVPCID", do_invpcid(cpu), VECTOR_UD);
    /* A processor with MONITOR: CPL 0 only (#UD, not #GP), and exits by control. */
    machine.profile.features |= 1ull << FEATURE_MONITOR;
    expect("MONITOR", insn_monitor(cpu), -1);
    machine_enter_vmx(&machine, PRIMARY_MWAIT_EXITING, 0);
    expect("MONITOR", insn_monitor(cpu), -1);
    cr_assert_eq(insn_mwait(cpu), OUTCOME_EXIT);
    cr_assert_eq(cpu->exit.reason, EXIT_MWAIT);
    machine_set_segments(&machine, 3, 0xa09b);
    expect("MWAIT", insn_mwait(cpu), VECTOR_UD);
}

/* SDM "XSETBV": ECX must be 0, bit 0 must be 1, unsupported bits must be 0. */
Test(system, xsetbv)
{
    struct cpu *cpu = &machine.cpu;

    for (uint64_t value = 0; value < 16; value++)
        for (unsigned index = 0; index <= 1; index++) {
            bool legal = index == 0 && (value == 1 || value == 3);

            machine_set_mode(&machine, MODE_64BIT, 0);
            cpu->state.cr4 |= CR4_OSXSAVE;
            cpu->state.gpr[GPR_RAX] = value;
            cpu->state.gpr[GPR_RDX] = 0;
            cpu->state.gpr[GPR_RCX] = index;
            expect("XSETBV", insn_xsetbv(cpu), legal ? -1 : VECTOR_GP);
            cr_assert_eq(cpu->state.xcr0, legal ? value : 1);
        }
    cpu->state.gpr[GPR_RDX] = 1;
    expect("XSETBV, EDX", insn_xsetbv(cpu), VECTOR_GP);
    machine_enter_vmx(&machine, 0, 0);
    cr_assert_eq(insn_xsetbv(cpu), OUTCOME_EXIT, "the operand is not looked at");
    machine_set_segments(&machine, 3, 0xa09b);
    expect("XSETBV, CPL 3", insn_xsetbv(cpu), VECTOR_GP);
    cpu->state.cr4 &= ~CR4_OSXSAVE;
    expect("XSETBV, CR4.OSXSAVE = 0", insn_xsetbv(cpu), VECTOR_UD);
}

/* --- INVLPG and INVPCID
 * --------------------------------------------------------------------------------- */

/* INVLPG drops what was cached for the page; an address that is not canonical is ignored. */
Test(system, invlpg)
{
    struct cpu *cpu = &machine.cpu;
    struct translation translation;
    struct mmu_fault fault;

    machine_set_mode(&machine, MODE_64BIT, 0);
    cr_assert_eq(mmu_translate(&cpu->mmu, 0x50123, ACCESS_READ, &translation, &fault), MMU_OK);
    machine_store64(&machine, machine_pte64(0x50000), 0x60000 | PAGE_FLAGS);
    expect("INVLPG", insn_invlpg(cpu, 0x51000), -1);
    expect("INVLPG, not canonical", insn_invlpg(cpu, 1ull << 47 | 0x50000), -1);
    mmu_translate(&cpu->mmu, 0x50123, ACCESS_READ, &translation, &fault);
    cr_assert_eq(translation.hpa, 0x50123, "still cached");
    expect("INVLPG", insn_invlpg(cpu, 0x50fff), -1);
    mmu_translate(&cpu->mmu, 0x50123, ACCESS_READ, &translation, &fault);
    cr_assert_eq(translation.hpa, 0x60123);
}

#define DESCRIPTOR 0x20ff8u /* crosses a page */

/* SDM "INVPCID": "#GP(0) If an invalid type is specified", "if bits 63:12 of INVPCID_DESC are not
 * all zero", "if CR4.PCIDE=0, type is 0 or 1, and INVPCID_DESC[11:0] is not zero", "if type is 0
 * and the linear address is not canonical". */
Test(system, invpcid_operands)
{
    static const struct {
        uint64_t type, low, linear;
        bool pcide, legal;
    } cases[] = {
        {0, 0, 0x1000, false, true},     {0, 1, 0x1000, false, false},
        {1, 1, 0, false, false},         {2, 1, 0, false, true},
        {3, 0xfff, 0, false, true},      {0, 0xfff, 0x1000, true, true},
        {1, 0x123, 0, true, true},       {0, 0, 1ull << 47, true, false},
        {1, 0, 1ull << 47, true, true},  {2, 0x1000, 0, true, false},
        {0, 1ull << 63, 0, true, false}, {4, 0, 0, true, false},
        {1ull << 32, 0, 0, true, false},
    };
    struct cpu *cpu = &machine.cpu;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        machine_set_mode(&machine, MODE_64BIT, 0);
        cpu->state.cr4 |= cases[i].pcide ? CR4_PCIDE : 0;
        machine_sync_mmu(&machine);
        machine_store64(&machine, DESCRIPTOR, cases[i].low);
        machine_store64(&machine, DESCRIPTOR + 8, cases[i].linear);
        expect("INVPCID", insn_invpcid(cpu, cases[i].type, DESCRIPTOR, 0, 0),
               cases[i].legal ? -1 : VECTOR_GP);
        cr_assert_eq(!!(cpu->changed & CPU_CHANGED_TLB), cases[i].legal);
    }
    machine_store64(&machine, machine_pte64(DESCRIPTOR + 8), 0);
    mmu_flush_vpid0(&cpu->mmu);
    expect("INVPCID", insn_invpcid(cpu, 2, DESCRIPTOR, 0, 0), VECTOR_PF);
    cr_assert_eq(cpu->fault.cr2, DESCRIPTOR + 8);
    expect("INVPCID", insn_invpcid(cpu, 2, 1ull << 47, 0, 0), VECTOR_GP);
}

/* --- Debug registers ------------------------------------------------------------------------- */

Test(system, debug_registers)
{
    struct cpu *cpu = &machine.cpu;
    uint64_t *gpr = cpu->state.gpr;

    machine_set_mode(&machine, MODE_64BIT, 0);
    for (unsigned reg = 0; reg < 4; reg++) {
        gpr[GPR_RAX] = 0xffff800000000000 + reg;
        expect("MOV DR", insn_mov_to_dr(cpu, reg, GPR_RAX), -1);
        expect("MOV DR", insn_mov_from_dr(cpu, reg, GPR_RBX), -1);
        cr_assert_eq(gpr[GPR_RBX], gpr[GPR_RAX]);
    }
    /* "Debug Registers": DR6 and DR7 have fixed bits; bits 63:32 must be 0. */
    gpr[GPR_RAX] = 0;
    expect("DR6", insn_mov_to_dr(cpu, 6, GPR_RAX), -1);
    cr_assert_eq(cpu->state.dr6, 0xffff0ff0);
    expect("DR7", insn_mov_to_dr(cpu, 7, GPR_RAX), -1);
    cr_assert_eq(cpu->state.dr7, 0x400);
    gpr[GPR_RAX] = 0xffffffff;
    expect("DR6", insn_mov_to_dr(cpu, 6, GPR_RAX), -1);
    cr_assert_eq(cpu->state.dr6, 0xffffefff);
    gpr[GPR_RAX] = 0xffffffff & ~DR7_GD;
    expect("DR7", insn_mov_to_dr(cpu, 7, GPR_RAX), -1);
    cr_assert_eq(cpu->state.dr7, 0xffff07ff);
    gpr[GPR_RAX] = 1ull << 32;
    expect("DR6", insn_mov_to_dr(cpu, 6, GPR_RAX), VECTOR_GP);
    expect("DR7", insn_mov_to_dr(cpu, 7, GPR_RAX), VECTOR_GP);
    /* DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE. */
    expect("DR4", insn_mov_from_dr(cpu, 4, GPR_RBX), -1);
    cr_assert_eq(gpr[GPR_RBX], 0xffffefff);
    cpu->state.cr4 |= CR4_DE;
    expect("DR5", insn_mov_from_dr(cpu, 5, GPR_RBX), VECTOR_UD);
    /* General detect. */
    cpu->state.dr7 |= DR7_GD;
    expect("GD", insn_mov_from_dr(cpu, 0, GPR_RBX), VECTOR_DB);
    cr_assert_eq(cpu->fault.debug, DR6_BD);
    machine_set_segments(&machine, 3, 0xa09b);
    expect("CPL 3", insn_mov_from_dr(cpu, 0, GPR_RBX), VECTOR_GP);
    /* MOV-DR exiting has priority over the privilege check and over CR4.DE. */
    machine_enter_vmx(&machine, PRIMARY_MOV_DR_EXITING, 0);
    cr_assert_eq(insn_mov_to_dr(cpu, 5, GPR_R12), OUTCOME_EXIT);
    cr_assert_eq(cpu->exit.qualification, 5 | GPR_R12 << 8);
    cr_assert_eq(insn_mov_from_dr(cpu, 4, GPR_RBX), OUTCOME_EXIT);
    cr_assert_eq(cpu->exit.qualification, 4 | 1 << 4 | GPR_RBX << 8);
    /* 32 bits outside 64-bit mode. */
    machine_set_mode(&machine, MODE_PROTECTED_32, 0);
    gpr[GPR_RAX] = 0x1234567800000001;
    expect("DR7", insn_mov_to_dr(cpu, 7, GPR_RAX), -1);
    cr_assert_eq(cpu->state.dr7, 0x401);
}

/* --- Descriptor tables ----------------------------------------------------------------------- */

/* SDM volume 2: SLDT, STR, LLDT, LTR are not recognized in real-address and virtual-8086 mode;
 * LGDT, LIDT, LLDT, LTR need CPL 0; SGDT, SIDT, SLDT, STR too with CR4.UMIP = 1. */
Test(system, descriptor_tables)
{
    for (enum descriptor_instruction i = INSN_SGDT; i <= INSN_LTR; i++)
        for (enum cpu_mode mode = MODE_REAL; mode < MODE_COUNT; mode++)
            for (unsigned cpl = 0; cpl <= 3; cpl++)
                for (unsigned umip = 0; umip <= 1; umip++) {
                    bool real = mode <= MODE_UNREAL, v86 = mode == MODE_VIRTUAL_8086;
                    bool load = i == INSN_LGDT || i == INSN_LIDT || i == INSN_LLDT || i == INSN_LTR;
                    int vector = (real || v86) && i >= INSN_SLDT ? VECTOR_UD
                                 : cpl && (load || umip)         ? VECTOR_GP
                                                                 : -1;

                    if ((real && cpl) || (v86 && cpl != 3))
                        continue;
                    machine_set_mode(&machine, mode, cpl);
                    machine.cpu.state.cr4 |= umip ? CR4_UMIP : 0;
                    expect(cpu_mode_name(mode), insn_descriptor_table(&machine.cpu, i, 0, 0),
                           vector);
                    machine_enter_vmx(&machine, 0, SECONDARY_DESCRIPTOR_TABLE_EXITING);
                    cr_assert_eq(insn_descriptor_table(&machine.cpu, i, 7, 9),
                                 vector < 0 ? OUTCOME_EXIT : OUTCOME_EXCEPTION);
                    if (vector < 0) {
                        cr_assert_eq(machine.cpu.exit.reason,
                                     i <= INSN_LIDT ? EXIT_GDTR_IDTR : EXIT_LDTR_TR);
                        cr_assert_eq(machine.cpu.exit.qualification, 9);
                    }
                }
}

/* --- RESET and INIT -------------------------------------------------------------------------- */

/* Table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT". */
static void check_reset_state(uint64_t cr0)
{
    const struct cpu_state *state = &machine.cpu.state;

    cr_assert_eq(state->rflags, 2);
    cr_assert_eq(state->rip, 0xfff0);
    cr_assert_eq(state->cr0, cr0);
    cr_assert_eq(state->cr2 | state->cr3 | state->cr4 | state->efer, 0);
    cr_assert_eq(state->seg[SEG_CS].selector, 0xf000);
    cr_assert_eq(state->seg[SEG_CS].base, 0xffff0000);
    for (unsigned i = SEG_ES; i <= SEG_TR; i++)
        cr_assert_eq(state->seg[i].limit, 0xffff);
    cr_assert_eq(state->gpr[GPR_RDX], 0x506e3);
    cr_assert_eq(state->gpr[GPR_RAX] | state->gpr[GPR_RSP] | state->gpr[GPR_R15], 0);
    cr_assert_eq(state->dr6, 0xffff0ff0);
    cr_assert_eq(state->dr7, 0x400);
    cr_assert_eq(state->gdtr.limit, 0xffff);
    cr_assert_eq(state->idtr.base, 0);
    cr_assert_eq(cpu_mode(&machine.cpu), MODE_REAL);
    cr_assert_eq(cpu_cpl(&machine.cpu), 0);
    cr_assert_eq(machine.cpu.mmu.regs.cr0, cr0);
    cr_assert_eq(machine.cpu.changed, ~0u);
}

Test(system, reset_and_init)
{
    struct cpu_state *state = &machine.cpu.state;

    machine_set_mode(&machine, MODE_64BIT, 3);
    cpu_reset(&machine.cpu);
    check_reset_state(0x60000010);
    cr_assert_eq(state->pat, 0x0007040600070406);
    cr_assert_eq(state->apic_base, 0xfee00900);
    cr_assert_eq(state->xcr0, 1);
    cr_assert_eq(state->mtrr_def_type, 0);

    machine_set_mode(&machine, MODE_64BIT, 3);
    state->cr0 |= CR0_CD;
    state->pat = 0x0606060606060606;
    state->star = 0x1234;
    state->tsc_adjust = 99;
    state->xcr0 = 3;
    state->activity = ACTIVITY_WAIT_FOR_SIPI;
    cpu_init(&machine.cpu);
    check_reset_state(CR0_ET | CR0_CD);
    cr_assert_eq(state->pat, 0x0606060606060606);
    cr_assert_eq(state->star, 0x1234);
    cr_assert_eq(state->tsc_adjust, 99);
    cr_assert_eq(state->xcr0, 3);

    machine.cpu.apic_id = 2;
    cpu_reset(&machine.cpu);
    cr_assert_eq(state->apic_base, 0xfee00800, "not the bootstrap processor");
}
