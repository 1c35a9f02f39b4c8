/*
 * MSRs: which exist, which bits and values they take, and what they do. The lists are from the
 * SDM's volume 4, "Architectural MSRs", and the sections named below.
 */
#include "cpu_machine.h"

static struct machine machine;

static void set_up(void)
{
    machine_init(&machine);
    machine_set_mode(&machine, MODE_64BIT, 0);
}

static void tear_down(void)
{
    machine_destroy(&machine);
}

TestSuite(msr, .init = set_up, .fini = tear_down);

/* --- Existence ------------------------------------------------------------------------------- */

enum access { NONE, RO, WO, RW };

/* What a processor without VMX, PMU and SMM features has. */
static const struct {
    uint32_t first, last;
    enum access access;
} existing[] = {
    {0x10, 0x10, RW},   /* time-stamp counter */
    {0x17, 0x17, RO},   /* platform ID */
    {0x1b, 0x1b, RW},   /* APIC base */
    {0x3a, 0x3a, RW},   /* feature control; locked */
    {0x3b, 0x3b, RW},   /* TSC adjust */
    {0x48, 0x48, RW},   /* speculation control */
    {0x49, 0x49, WO},   /* prediction command */
    {0x79, 0x79, WO},   /* microcode update trigger */
    {0x8b, 0x8b, RW},   /* microcode signature */
    {0xce, 0xce, RO},   /* platform information */
    {0xfe, 0xfe, RO},   /* MTRRcap */
    {0x10a, 0x10a, RO}, /* architectural capabilities */
    {0x174, 0x176, RW}, /* SYSENTER */
    {0x179, 0x179, RO}, /* MCG_CAP */
    {0x17a, 0x17a, RW}, /* MCG_STATUS */
    {0x1a0, 0x1a0, RW}, /* MISC_ENABLE */
    {0x1d9, 0x1d9, RW}, /* DEBUGCTL */
    {0x200, 0x213, RW}, /* 10 variable-range MTRRs */
    {0x250, 0x250, RW}, /* fixed-range MTRRs */
    {0x258, 0x259, RW},
    {0x268, 0x26f, RW},
    {0x277, 0x277, RW},           /* PAT */
    {0x2ff, 0x2ff, RW},           /* MTRR default type */
    {0x400, 0x40f, RW},           /* 4 machine-check banks */
    {0x6e0, 0x6e0, RW},           /* TSC deadline */
    {0x800, 0x8ff, RW},           /* x2APIC, as far as the local APIC allows */
    {0xc0000080, 0xc0000084, RW}, /* EFER, STAR, LSTAR, CSTAR, FMASK */
    {0xc0000100, 0xc0000103, RW}, /* FS, GS, kernel GS base, TSC_AUX */
};

static enum access access_of(uint32_t msr)
{
    for (unsigned i = 0; i < sizeof(existing) / sizeof(existing[0]); i++)
        if (msr >= existing[i].first && msr <= existing[i].last)
            return existing[i].access;
    return NONE;
}

/* A value that every writable register takes, and that changes nothing that matters. */
static uint64_t harmless(uint32_t msr)
{
    uint64_t value;

    return cpu_msr_read(&machine.cpu, msr, &value) ? value : 0;
}

static void check_existence(uint32_t msr)
{
    enum access access = access_of(msr);
    uint64_t value;

    cr_assert_eq(cpu_msr_read(&machine.cpu, msr, &value), access == RO || access == RW,
                 "RDMSR 0x%x", msr);
    if (msr == MSR_FEATURE_CONTROL)
        return;
    cr_assert_eq(cpu_msr_write(&machine.cpu, msr, harmless(msr)), access == WO || access == RW,
                 "WRMSR 0x%x", msr);
}

Test(msr, existence)
{
    for (uint32_t msr = 0; msr < 0x2000; msr++) {
        check_existence(msr);
        check_existence(0xc0000000 + msr);
    }
    check_existence(0x2000);
    check_existence(0x40000000);
    check_existence(0xbfffffff);
    check_existence(0xc0010015);
    check_existence(0xffffffff);
}

/* --- Values ---------------------------------------------------------------------------------- */

#define UPPER 0xffff800000000000ull
#define HOLE  0x0000800000000000ull

// clang-format off
static const struct {
    const char *name;
    uint32_t msr;
    uint64_t value;
    bool legal;
} writes[] = {
    { "SYSENTER_CS", 0x174, 0xffff, true },
    { "SYSENTER_ESP canonical", 0x175, UPPER, true },
    { "SYSENTER_ESP not canonical", 0x175, HOLE, false },
    { "SYSENTER_EIP not canonical", 0x176, ~UPPER + 1, false },
    { "LSTAR canonical", 0xc0000082, UPPER | 0x1000, true },
    { "LSTAR not canonical", 0xc0000082, 1ull << 63, false },
    { "CSTAR not canonical", 0xc0000083, HOLE, false },
    { "FS base canonical", 0xc0000100, 0x7fffffffffff, true },
    { "FS base not canonical", 0xc0000100, HOLE, false },
    { "GS base not canonical", 0xc0000101, HOLE, false },
    { "kernel GS base canonical", 0xc0000102, UPPER, true },
    { "kernel GS base not canonical", 0xc0000102, 0xfffeffffffffffff, false },
    { "STAR", 0xc0000081, ~0ull, true },
    { "FMASK", 0xc0000084, 0xffffffff, true },
    { "TSC_AUX", 0xc0000103, 0xffffffff, true },
    { "TSC_AUX, upper half", 0xc0000103, 1ull << 32, false },
    /* "IA32_PAT MSR": types 0, 1, 4-7; the rest reserved. */
    { "PAT, all types", 0x277, 0x0107060504010000, true },
    { "PAT, type 2", 0x277, 0x0007040600070402, false },
    { "PAT, type 3", 0x277, 0x0300000000000000, false },
    { "PAT, type 8", 0x277, 0x0000000800000000, false },
    /* "MTRRs": types 0, 1, 4, 5, 6. */
    { "default type: WB, enabled", 0x2ff, 0xc06, true },
    { "default type: UC-", 0x2ff, 0xc07, false },
    { "default type: type 2", 0x2ff, 0xc02, false },
    { "default type: bit 9", 0x2ff, 0x200, false },
    { "default type: bit 12", 0x2ff, 0x1000, false },
    { "fixed, all types", 0x26f, 0x0605040100000605, true },
    { "fixed, type 7", 0x250, 0x0700000000000000, false },
    { "variable base", 0x200, 0x7ffffff006, true },
    { "variable base, type 3", 0x202, 0x1003, false },
    { "variable base, bit 8", 0x202, 0x1106, false },
    { "variable base, MAXPHYADDR", 0x202, 0x8000000000, false },
    { "variable mask", 0x213, 0x7ffffff800, true },
    { "variable mask, bit 10", 0x213, 0x7ffffffc00, false },
    { "variable mask, MAXPHYADDR", 0x213, 0x8000000800, false },
    /* "Machine-Check MSRs". */
    { "MC0_CTL", 0x400, ~0ull, true },
    { "MC0_CTL, not all", 0x400, 1, false },
    { "MC1_STATUS, clear", 0x405, 0, true },
    { "MC1_STATUS, set", 0x405, 1, false },
    { "MCG_STATUS", 0x17a, 7, true },
    { "MCG_STATUS, reserved", 0x17a, 8, false },
    /* "Speculation control": IBRS, STIBP, SSBD. */
    { "SPEC_CTRL", 0x48, 7, true },
    { "SPEC_CTRL, reserved", 0x48, 8, false },
    { "PRED_CMD", 0x49, 1, true },
    { "PRED_CMD, reserved", 0x49, 2, false },
    { "DEBUGCTL: LBR, BTF", 0x1d9, 3, true },
    { "DEBUGCTL, reserved", 0x1d9, 1 << 2, false },
    { "MISC_ENABLE", 0x1a0, 1, true },
    { "MISC_ENABLE, reserved", 0x1a0, 2, false },
    { "feature control, locked", 0x3a, 1, false },
    { "TSC adjust", 0x3b, ~0ull, true },
};
// clang-format on

Test(msr, values)
{
    for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        struct cpu_state before = machine.cpu.state;
        uint64_t value;

        machine.cpu.changed = 0;
        cr_assert_eq(cpu_msr_write(&machine.cpu, writes[i].msr, writes[i].value), writes[i].legal,
                     "%s", writes[i].name);
        if (!writes[i].legal) {
            cr_assert_eq(memcmp(&before, &machine.cpu.state, sizeof(before)), 0, "%s changed",
                         writes[i].name);
        } else if (cpu_msr_read(&machine.cpu, writes[i].msr, &value)) {
            cr_assert_neq(machine.cpu.changed, 0, "%s must be noted", writes[i].name);
            if (writes[i].msr != MSR_MISC_ENABLE)
                cr_assert_eq(value, writes[i].value, "%s reads 0x%lx", writes[i].name, value);
        }
    }
    cr_assert_eq(machine.cpu.state.misc_enable, 0x1801, "BTS and PEBS stay unavailable");
}

/* --- What they do ---------------------------------------------------------------------------- */

/* SDM "IA32_TSC_ADJUST MSR" and "TSC offsetting". */
Test(msr, time_stamp_counter)
{
    struct cpu *cpu = &machine.cpu;
    uint64_t value;

    machine.tsc = 1000;
    cr_assert(cpu_msr_read(cpu, MSR_TSC, &value));
    cr_assert_eq(value, 1000);
    cr_assert(cpu_msr_write(cpu, MSR_TSC_ADJUST, 50));
    cr_assert_eq(cpu_tsc(cpu), 1050);
    cr_assert_eq(machine.tsc_offset, 50, "the local APIC's deadlines follow");
    cr_assert(cpu_msr_write(cpu, MSR_TSC, 7));
    cr_assert_eq(cpu_tsc(cpu), 7);
    cr_assert(cpu_msr_read(cpu, MSR_TSC_ADJUST, &value));
    cr_assert_eq(value, (uint64_t)(7 - 1000));
    machine.tsc += 5;
    cr_assert_eq(cpu_tsc(cpu), 12);

    machine_enter_vmx(&machine, 0, 0);
    vmcs_set(&machine.vmcs, VMCS_TSC_OFFSET, 100);
    cr_assert_eq(cpu_tsc(cpu), 12, "the control is off");
    vmcs_set(&machine.vmcs, VMCS_PRIMARY_CONTROLS, PRIMARY_TSC_OFFSETTING);
    cr_assert_eq(cpu_tsc(cpu), 112);
    cr_assert_eq(cpu_tsc_offset(cpu) + machine.tsc, 112);
    cr_assert(cpu_msr_read(cpu, MSR_TSC, &value));
    cr_assert_eq(value, 112, "RDMSR too");
}

/* SDM "x2APIC State Transitions". States: 0 disabled, 1 invalid, 2 xAPIC, 3 x2APIC. */
Test(msr, apic_base)
{
    static const bool legal[4][4] = {
        [0] = {[0] = true, [2] = true},
        [2] = {[0] = true, [2] = true, [3] = true},
        [3] = {[0] = true, [3] = true},
    };
    struct cpu *cpu = &machine.cpu;

    for (unsigned from = 0; from < 4; from++)
        for (unsigned to = 0; to < 4 && from != 1; to++) {
            cpu->state.apic_base = 0xfee00000 | from << 10;
            cr_assert_eq(cpu_msr_write(cpu, MSR_APIC_BASE, 0xfee00100 | to << 10), legal[from][to],
                         "%u to %u", from, to);
            if (legal[from][to])
                cr_assert_eq(cpu->state.apic_base, 0xfee00100 | to << 10);
        }
    cpu->state.apic_base = 0xfee00800;
    cr_assert(cpu_msr_write(cpu, MSR_APIC_BASE, 0x7ffffff000 | 0x800));
    cr_assert_eq(machine.apic_base, 0x7ffffff800, "the local APIC hears of it");
    cr_assert_not(cpu_msr_write(cpu, MSR_APIC_BASE, 0x8000000000 | 0x800), "MAXPHYADDR");
    for (unsigned bit = 0; bit < 12; bit++)
        if (bit != 8 && bit != 10 && bit != 11)
            cr_assert_not(cpu_msr_write(cpu, MSR_APIC_BASE, 0xfee00800 | 1 << bit), "bit %u", bit);
}

static struct cpu_profile profile_without(uint32_t leaf, unsigned reg, unsigned bit)
{
    struct cpu_profile without = machine.profile;

    for (unsigned i = 0; i < without.cpuid_count; i++)
        if (without.cpuid[i].leaf == leaf && without.cpuid[i].subleaf == 0)
            (&without.cpuid[i].eax)[reg] &= ~(1u << bit);
    cpuid_prepare(&without);
    return without;
}

/* Without x2APIC, IA32_APIC_BASE[10] is reserved; other registers of the local APIC leave it alone;
 * without a local APIC around it, a processor has the base register and no more. */
Test(msr, other_local_apics)
{
    struct cpu_profile without = profile_without(1, 2, 21);
    struct cpu_callbacks callbacks = {.tsc = machine_tsc, .random = machine_random};
    struct cpu *cpu = &machine.cpu;
    uint64_t base = cpu->state.apic_base, value;

    cr_assert(cpu_msr_write(cpu, 0x808, 0x20));
    cr_assert(cpu_msr_write(cpu, MSR_TSC_DEADLINE, 0x1234));
    cr_assert_eq(machine.apic_msr[8], 0x20);
    cr_assert_eq(machine.tsc_deadline, 0x1234);
    cr_assert_eq(cpu->state.apic_base, base);
    cpu->profile = &without;
    cr_assert_not(cpu_msr_write(cpu, MSR_APIC_BASE, base | APIC_BASE_X2APIC));
    cpu->profile = &machine.profile;
    cpu->callbacks = &callbacks;
    cr_assert(cpu_msr_read(cpu, MSR_APIC_BASE, &value));
    cr_assert_eq(value, base);
    cr_assert_not(cpu_msr_read(cpu, 0x808, &value));
    cr_assert_not(cpu_msr_read(cpu, MSR_TSC_DEADLINE, &value));
    cr_assert_not(cpu_msr_write(cpu, MSR_TSC_DEADLINE, 0));
    cr_assert(cpu_msr_write(cpu, MSR_TSC, 5), "nobody to tell");
}

/* "Lock bit: once it is set, a write to the MSR causes a general-protection exception." */
Test(msr, feature_control)
{
    struct cpu *cpu = &machine.cpu;

    cpu->state.feature_control = 0;
    cr_assert(cpu_msr_write(cpu, MSR_FEATURE_CONTROL, 4));
    cr_assert(cpu_msr_write(cpu, MSR_FEATURE_CONTROL, 1));
    cr_assert_not(cpu_msr_write(cpu, MSR_FEATURE_CONTROL, 0));
    cr_assert_eq(cpu->state.feature_control, 1);
}

/* FS.base and GS.base are in the segment registers. */
Test(msr, segment_bases)
{
    struct cpu *cpu = &machine.cpu;

    cpu->changed = 0;
    cr_assert(cpu_msr_write(cpu, MSR_GS_BASE, UPPER | 0x123));
    cr_assert_eq(cpu->state.seg[SEG_GS].base, UPPER | 0x123);
    cr_assert_eq(cpu->changed, CPU_CHANGED_SEGMENTS);
    cr_assert(cpu_msr_write(cpu, MSR_FS_BASE, 0x456));
    cr_assert_eq(cpu->state.seg[SEG_FS].base, 0x456);
}

/* An MSR goes with the CPUID flag that announces it. */
Test(msr, existence_follows_cpuid)
{
    static const struct {
        uint32_t msr, leaf;
        unsigned reg, bit; /* EAX is 0 */
    } rows[] = {
        {MSR_TSC_ADJUST, 7, 1, 1},         {MSR_SPEC_CTRL, 7, 3, 26},      {MSR_PAT, 1, 3, 16},
        {MSR_ARCH_CAPABILITIES, 7, 3, 29}, {MSR_MTRRCAP, 1, 3, 12},        {MSR_MCG_CAP, 1, 3, 14},
        {MSR_SYSENTER_CS, 1, 3, 11},       {MSR_TSC_DEADLINE, 1, 2, 24},   {0x802, 1, 2, 21},
        {MSR_TSC_AUX, 0x80000001, 3, 27},  {MSR_LSTAR, 0x80000001, 3, 29},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cpu_profile without = profile_without(rows[i].leaf, rows[i].reg, rows[i].bit);
        uint64_t value;

        cr_assert(cpu_msr_read(&machine.cpu, rows[i].msr, &value), "0x%x", rows[i].msr);
        machine.cpu.profile = &without;
        cr_assert_not(cpu_msr_read(&machine.cpu, rows[i].msr, &value), "0x%x", rows[i].msr);
        machine.cpu.profile = &machine.profile;
    }
}

/* RDMSR and WRMSR: EDX:EAX, ECX; #GP(0) above CPL 0 comes before VM exits, unknown MSRs after. */
Test(msr, instructions)
{
    struct cpu *cpu = &machine.cpu;
    uint64_t *gpr = cpu->state.gpr;

    gpr[GPR_RCX] = 0xabcd00000000 | MSR_KERNEL_GS_BASE;
    gpr[GPR_RAX] = 0x9999999976543210;
    gpr[GPR_RDX] = 0x88888888ffffffff;
    cr_assert_eq(insn_wrmsr(cpu), OUTCOME_DONE);
    cr_assert_eq(cpu->state.kernel_gs_base, 0xffffffff76543210);
    gpr[GPR_RAX] = gpr[GPR_RDX] = ~0ull;
    cr_assert_eq(insn_rdmsr(cpu), OUTCOME_DONE);
    cr_assert_eq(gpr[GPR_RAX], 0x76543210);
    cr_assert_eq(gpr[GPR_RDX], 0xffffffff);

    gpr[GPR_RCX] = 0x12345;
    cr_assert_eq(insn_rdmsr(cpu), OUTCOME_EXCEPTION);
    cr_assert_eq(insn_wrmsr(cpu), OUTCOME_EXCEPTION);
    cr_assert_eq(cpu->fault.vector, VECTOR_GP);
    machine_enter_vmx(&machine, 0, 0); /* no MSR bitmaps: every RDMSR and WRMSR exits */
    cr_assert_eq(insn_rdmsr(cpu), OUTCOME_EXIT);
    cr_assert_eq(cpu->exit.reason, EXIT_RDMSR);
    cr_assert_eq(insn_wrmsr(cpu), OUTCOME_EXIT);
    cr_assert_eq(cpu->exit.reason, EXIT_WRMSR);
    machine_set_segments(&machine, 3, 0xa09b);
    cr_assert_eq(insn_rdmsr(cpu), OUTCOME_EXCEPTION);
    cr_assert_eq(insn_wrmsr(cpu), OUTCOME_EXCEPTION);
}
