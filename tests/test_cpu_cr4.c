/*
 * CR4, CR3 and IA32_EFER: every pattern of the bits that have rules, from every mode, in VMX
 * non-root operation with masks and shadows; what must happen comes from the sentences of the SDM.
 */
#include "cpu_machine.h"

static const uint64_t cr4_bits[] = {CR4_PSE,  CR4_PAE,    CR4_PGE,     CR4_PCIDE,
                                    CR4_SMEP, CR4_VMXE,   CR4_OSXSAVE, CR4_LA57,
                                    CR4_UMIP, 1ull << 15, 1ull << 40};
#define PATTERNS (1u << (sizeof(cr4_bits) / sizeof(cr4_bits[0])))

static uint64_t pattern_to_cr4(unsigned pattern)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < sizeof(cr4_bits) / sizeof(cr4_bits[0]); i++)
        if (pattern >> i & 1)
            value |= cr4_bits[i];
    return value;
}

struct situation {
    const char *name;
    enum cpu_mode mode;
    uint64_t cr4;    /* set beside what the mode needs */
    uint64_t pcid;   /* CR3[11:0] */
    bool bad_pdptes; /* where CR3 points to */
    bool vmx;
    uint64_t mask, shadow;
};

// clang-format off
static const struct situation situations[] = {
    { "real mode", .mode = MODE_REAL },
    { "protected, no paging", .mode = MODE_PROTECTED_16 },
    { "32-bit paging", .mode = MODE_PROTECTED_32 },
    { "32-bit paging, PSE, PGE", .mode = MODE_PROTECTED_32, .cr4 = CR4_PSE | CR4_PGE },
    { "32-bit paging, bad PDPTEs", .mode = MODE_PROTECTED_32, .bad_pdptes = true },
    { "PAE", .mode = MODE_PAE },
    { "PAE, bad PDPTEs", .mode = MODE_PAE, .bad_pdptes = true },
    { "PAE, SMEP, PGE, bad PDPTEs", .mode = MODE_PAE, .cr4 = CR4_SMEP | CR4_PGE,
      .bad_pdptes = true },
    { "compatibility", .mode = MODE_COMPATIBILITY },
    { "compatibility, PCIDE", .mode = MODE_COMPATIBILITY, .cr4 = CR4_PCIDE },
    { "compatibility, PCID in CR3", .mode = MODE_COMPATIBILITY, .pcid = 0x18 },
    { "64-bit", .mode = MODE_64BIT },
    { "64-bit, PCIDE, PCID in CR3", .mode = MODE_64BIT, .cr4 = CR4_PCIDE, .pcid = 1 },
    { "64-bit, PCID in CR3", .mode = MODE_64BIT, .pcid = 0x800 },
    { "VMX, real mode", .mode = MODE_REAL, .vmx = true },
    { "VMX, PAE, bad PDPTEs", .mode = MODE_PAE, .vmx = true, .bad_pdptes = true },
    { "VMX, 64-bit", .mode = MODE_64BIT, .vmx = true },
    { "VMX, 64-bit, VMXE masked", .mode = MODE_64BIT, .vmx = true, .mask = CR4_VMXE },
    { "VMX, 64-bit, VMXE masked, shadow 1", .mode = MODE_64BIT, .vmx = true, .mask = CR4_VMXE,
      .shadow = CR4_VMXE },
    { "VMX, PAE, PAE and VMXE masked", .mode = MODE_PAE, .vmx = true, .mask = CR4_VMXE | CR4_PAE,
      .shadow = CR4_PAE },
    { "VMX, 32-bit, PAE pretended", .mode = MODE_PROTECTED_32, .vmx = true,
      .mask = CR4_VMXE | CR4_PAE, .shadow = CR4_PAE },
    { "VMX, reserved bits masked", .mode = MODE_64BIT, .vmx = true,
      .mask = CR4_VMXE | 1ull << 15 | 1ull << 40 | CR4_LA57, .shadow = 1ull << 15 },
    { "VMX, everything masked", .mode = MODE_64BIT, .vmx = true, .mask = ~0ull,
      .shadow = CR4_PAE },
};
// clang-format on

struct attempt {
    const struct situation *situation;
    uint64_t old, new, cr3;
    bool long_mode, paging;
};

/* --- The sentences --------------------------------------------------------------------------- */

/* "#GP(0) If an attempt is made to write a 1 to any reserved bit in CR4." Of the bits of the
 * patterns, the profile's CPUID has PSE, PAE, PGE, PCID, SMEP, UMIP and XSAVE; CR4.VMXE exists
 * where VMX operation is in force. */
static bool reserved_bit(const struct attempt *a)
{
    uint64_t exists = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_UMIP | CR4_OSXSAVE;

    return a->new & ~(exists | (a->situation->vmx ? CR4_VMXE : 0));
}

/* "If an attempt is made to leave IA-32e mode by clearing CR4.PAE[bit 5]." */
static bool pae_cleared(const struct attempt *a)
{
    return a->long_mode && !(a->new &CR4_PAE);
}

/* "If an attempt is made to change CR4.PCIDE from 0 to 1 while CR3[11:0] is not 000H"; "...if
 * IA32_EFER.LMA = 0". */
static bool pcide_set(const struct attempt *a)
{
    return !(a->old & CR4_PCIDE) && (a->new &CR4_PCIDE) && (!a->long_mode || (a->cr3 & 0xfff) != 0);
}

/* IA32_VMX_CR4_FIXED0 is 2000H: VMXE must be 1 in VMX operation. */
static bool vmxe_cleared(const struct attempt *a)
{
    return a->situation->vmx && !(a->new &CR4_VMXE);
}

/* "...modifying any of ... CR4.PAE, CR4.PGE, CR4.PSE, or CR4.SMEP; then the PDPTEs are loaded." */
static bool bad_pdpte_loaded(const struct attempt *a)
{
    return a->situation->bad_pdptes && a->paging && !a->long_mode && (a->new &CR4_PAE) &&
           ((a->old ^ a->new) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP));
}

static bool raises_gp(const struct attempt *a)
{
    return reserved_bit(a) || pae_cleared(a) || pcide_set(a) || vmxe_cleared(a) ||
           bad_pdpte_loaded(a);
}

/* --- The machine ----------------------------------------------------------------------------- */

static struct machine machine;

static void set_up(void)
{
    machine_init(&machine);
}

static void tear_down(void)
{
    machine_destroy(&machine);
}

TestSuite(cr4, .init = set_up, .fini = tear_down);

#define CHECK(condition, ...)            \
    do {                                 \
        if (!(condition))                \
            cr_assert_fail(__VA_ARGS__); \
    } while (0)

static void enter(const struct situation *s)
{
    struct cpu_state *state = &machine.cpu.state;

    machine_set_mode(&machine, s->mode, 0);
    state->cr4 |= s->cr4;
    state->cr3 |= s->pcid;
    if (s->mode == MODE_PROTECTED_32) /* setting CR4.PAE will load PDPTEs from there */
        state->cr3 = PDPT_ADDRESS;
    machine_store64(&machine, PDPT_ADDRESS + 16, s->bad_pdptes ? 1ull << 60 | 1 : 0);
    if (s->vmx) {
        machine_enter_vmx(&machine, 0, SECONDARY_UNRESTRICTED_GUEST);
        vmcs_set(&machine.vmcs, VMCS_CR4_MASK, s->mask);
        vmcs_set(&machine.vmcs, VMCS_CR4_READ_SHADOW, s->shadow);
        state->cr0 |= CR0_NE;
        state->cr4 |= CR4_VMXE;
    }
    machine_sync_mmu(&machine);
}

static void restore(const struct cpu_state *before)
{
    machine.cpu.state = *before;
    machine_sync_mmu(&machine);
    machine.cpu.changed = 0;
}

static void check_done(const struct attempt *a, const struct cpu_state *before)
{
    const struct cpu *cpu = &machine.cpu;
    const uint64_t flushing = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP;

    CHECK(cpu->state.cr4 == a->new && cpu->mmu.regs.cr4 == a->new, "%s: CR4 0x%lx, not 0x%lx",
          a->situation->name, cpu->state.cr4, a->new);
    CHECK(cpu->state.cr0 == before->cr0 && cpu->state.efer == before->efer, "only CR4 changes");
    CHECK(!(a->old ^ a->new) == !(cpu->changed & CPU_CHANGED_CR4), "CPU_CHANGED_CR4");
    CHECK(!a->paging || !((a->old ^ a->new) & flushing) || (cpu->changed & CPU_CHANGED_TLB),
          "%s: 0x%lx to 0x%lx: the engine must flush", a->situation->name, a->old, a->new);
}

Test(cr4, mov_to_cr4_all_patterns)
{
    for (unsigned i = 0; i < sizeof(situations) / sizeof(situations[0]); i++) {
        const struct situation *s = &situations[i];
        struct cpu_state start;

        enter(s);
        start = machine.cpu.state;
        for (unsigned pattern = 0; pattern < PATTERNS; pattern++) {
            uint64_t operand = pattern_to_cr4(pattern);
            uint64_t requested = s->mode == MODE_64BIT ? operand : (uint32_t)operand;
            struct cpu_state before = start;
            struct attempt a = {.situation = s,
                                .old = start.cr4,
                                .new = s->vmx ? (start.cr4 & s->mask) | (requested & ~s->mask)
                                              : requested,
                                .cr3 = start.cr3,
                                .long_mode = s->mode >= MODE_COMPATIBILITY,
                                .paging = s->mode >= MODE_PROTECTED_32};
            enum outcome outcome;

            before.gpr[GPR_RBX] = operand;
            restore(&before);
            outcome = insn_mov_to_cr(&machine.cpu, 4, GPR_RBX);
            if (s->vmx && ((requested ^ s->shadow) & s->mask)) {
                CHECK(outcome == OUTCOME_EXIT &&
                          machine.cpu.exit.qualification == (4 | GPR_RBX << 8),
                      "%s: MOV to CR4 0x%lx must exit", s->name, operand);
            } else if (raises_gp(&a)) {
                CHECK(outcome == OUTCOME_EXCEPTION && machine.cpu.fault.vector == VECTOR_GP,
                      "%s: MOV to CR4 0x%lx must raise #GP", s->name, operand);
            } else {
                CHECK(outcome == OUTCOME_DONE, "%s: MOV to CR4 0x%lx must succeed", s->name,
                      operand);
                check_done(&a, &before);
                continue;
            }
            CHECK(!memcmp(&machine.cpu.state, &before, sizeof(before)), "%s: changed", s->name);
        }
    }
}

/* Which CPUID flag gives which CR4 bit: SDM "Control Registers", the descriptions of the bits. */
static const struct {
    uint64_t bit;
    uint32_t leaf;
    unsigned reg, flag; /* 1 EBX, 2 ECX, 3 EDX */
} cpuid_of_bits[] = {
    {CR4_TSD, 1, 3, 4},      {CR4_DE, 1, 3, 2},          {CR4_PSE, 1, 3, 3},
    {CR4_PAE, 1, 3, 6},      {CR4_MCE, 1, 3, 7},         {CR4_PGE, 1, 3, 13},
    {CR4_OSFXSR, 1, 3, 24},  {CR4_OSXMMEXCPT, 1, 3, 25}, {CR4_UMIP, 7, 2, 2},
    {CR4_FSGSBASE, 7, 1, 0}, {CR4_PCIDE, 1, 2, 17},      {CR4_OSXSAVE, 1, 2, 26},
    {CR4_SMEP, 7, 1, 7},     {CR4_SMAP, 7, 1, 20},
};

static struct cpuid_leaf *find_leaf(struct cpu_profile *profile, uint32_t leaf)
{
    for (unsigned i = 0; i < profile->cpuid_count; i++)
        if (profile->cpuid[i].leaf == leaf && profile->cpuid[i].subleaf == 0)
            return &profile->cpuid[i];
    cr_assert_fail("leaf 0x%x is missing", leaf);
    return NULL;
}

Test(cr4, bits_exist_by_cpuid)
{
    for (unsigned i = 0; i < sizeof(cpuid_of_bits) / sizeof(cpuid_of_bits[0]); i++) {
        struct cpuid_leaf *leaf = find_leaf(&machine.profile, cpuid_of_bits[i].leaf);
        uint32_t *reg = &leaf->eax + cpuid_of_bits[i].reg;
        uint64_t bit = cpuid_of_bits[i].bit | CR4_PAE;

        machine_set_mode(&machine, MODE_64BIT, 0);
        cr_assert_eq(cpu_write_cr4(&machine.cpu, bit), OUTCOME_DONE, "CR4 0x%lx", bit);
        cr_assert_eq(machine.cpu.state.cr4, bit);
        machine_set_mode(&machine, MODE_64BIT, 0);
        *reg &= ~(1u << cpuid_of_bits[i].flag);
        cpuid_prepare(&machine.profile);
        cr_assert_eq(cpu_write_cr4(&machine.cpu, bit), OUTCOME_EXCEPTION, "CR4 0x%lx", bit);
        *reg |= 1u << cpuid_of_bits[i].flag;
        cpuid_prepare(&machine.profile);
    }
    for (unsigned bit = 24; bit < 64; bit++) {
        machine_set_mode(&machine, MODE_64BIT, 0);
        cr_assert_eq(cpu_write_cr4(&machine.cpu, CR4_PAE | 1ull << bit), OUTCOME_EXCEPTION);
    }
}

/* Rules about bits that no profile has yet: "CR4.CET can be set only if CR0.WP is set", "CR0.WP
 * cannot be cleared as long as CR4.CET = 1", "LA57 cannot be changed in IA-32e mode". */
Test(cr4, cet_and_la57)
{
    struct cpu *cpu = &machine.cpu;

    machine.profile.cr4_allowed |= CR4_CET | CR4_LA57;
    machine_set_mode(&machine, MODE_64BIT, 0);
    cr_assert_eq(cpu_write_cr4(cpu, CR4_PAE | CR4_CET), OUTCOME_EXCEPTION);
    cr_assert_eq(cpu_write_cr4(cpu, CR4_PAE | CR4_LA57), OUTCOME_EXCEPTION);
    cr_assert_eq(cpu_write_cr0(cpu, cpu->state.cr0 | CR0_WP), OUTCOME_DONE);
    cr_assert_eq(cpu_write_cr4(cpu, CR4_PAE | CR4_CET), OUTCOME_DONE);
    cr_assert_eq(cpu_write_cr0(cpu, cpu->state.cr0 & ~CR0_WP), OUTCOME_EXCEPTION);
    machine_set_mode(&machine, MODE_PROTECTED_16, 0);
    cr_assert_eq(cpu_write_cr4(cpu, CR4_PAE | CR4_LA57), OUTCOME_DONE);
}

/* --- CR3 ------------------------------------------------------------------------------------- */

/* In IA-32e mode bits 63:MAXPHYADDR are reserved but for bit 63 with CR4.PCIDE = 1, which "is not
 * stored in CR3"; elsewhere operands have 32 bits. */
Test(cr4, mov_to_cr3)
{
    static const struct {
        enum cpu_mode mode;
        uint64_t cr4, operand, result; /* result 1: #GP(0) */
    } cases[] = {
        {MODE_64BIT, 0, PML4_ADDRESS, PML4_ADDRESS},
        {MODE_64BIT, 0, PML4_ADDRESS | 0x18, PML4_ADDRESS | 0x18},
        {MODE_64BIT, 0, PML4_ADDRESS | 0xfe7, PML4_ADDRESS | 0xfe7},
        {MODE_64BIT, 0, 0x4000000000, 0x4000000000}, /* bit 38: below MAXPHYADDR = 39 */
        {MODE_64BIT, 0, 0x8000000000, 1},
        {MODE_64BIT, 0, 1ull << 51 | PML4_ADDRESS, 1},
        {MODE_64BIT, 0, 1ull << 61 | PML4_ADDRESS, 1},
        {MODE_64BIT, 0, 1ull << 63 | PML4_ADDRESS, 1},
        {MODE_64BIT, CR4_PCIDE, 1ull << 63 | PML4_ADDRESS | 5, PML4_ADDRESS | 5},
        {MODE_64BIT, CR4_PCIDE, 1ull << 62 | PML4_ADDRESS | 5, 1},
        {MODE_64BIT, CR4_PCIDE, 1ull << 63 | 1ull << 45, 1},
        {MODE_COMPATIBILITY, 0, 0xffff00000000 | PML4_ADDRESS, PML4_ADDRESS},
        {MODE_PROTECTED_32, 0, 0xffff00000000 | PD32_ADDRESS, PD32_ADDRESS},
        {MODE_REAL, 0, 0xfffffabc, 0xfffffabc},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cpu_state before;
        enum outcome outcome;

        machine_set_mode(&machine, cases[i].mode, 0);
        machine.cpu.state.cr4 |= cases[i].cr4;
        machine.cpu.state.gpr[GPR_RSI] = cases[i].operand;
        machine_sync_mmu(&machine);
        before = machine.cpu.state;
        outcome = insn_mov_to_cr(&machine.cpu, 3, GPR_RSI);
        if (cases[i].result == 1) {
            cr_assert_eq(outcome, OUTCOME_EXCEPTION, "case %u", i);
            cr_assert_eq(memcmp(&machine.cpu.state, &before, sizeof(before)), 0);
        } else {
            cr_assert_eq(outcome, OUTCOME_DONE, "case %u", i);
            cr_assert_eq(machine.cpu.state.cr3, cases[i].result, "case %u", i);
            cr_assert_eq(machine.cpu.mmu.regs.cr3, cases[i].result, "case %u", i);
            cr_assert(machine.cpu.changed & CPU_CHANGED_CR3);
        }
    }
}

/* SDM "PDPTE Registers": MOV to CR3 loads all four, or faults and loads none. */
Test(cr4, mov_to_cr3_loads_pdptes)
{
    struct cpu *cpu = &machine.cpu;
    const uint32_t table = 0x20020; /* 32-byte aligned is enough */

    machine_set_mode(&machine, MODE_PAE, 0);
    for (unsigned i = 0; i < 4; i++)
        machine_store64(&machine, table + 8 * i, (PD_ADDRESS + 0x1000 * i) | (i != 2));
    cpu->state.gpr[GPR_RAX] = table;
    cr_assert_eq(insn_mov_to_cr(cpu, 3, GPR_RAX), OUTCOME_DONE);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(cpu->state.pdpte[i], (PD_ADDRESS + 0x1000 * i) | (i != 2));
        cr_assert_eq(cpu->mmu.regs.pdpte[i], cpu->state.pdpte[i]);
    }
    /* Reserved: bits 2:1, 8:5 and 63:MAXPHYADDR; only of entries that are present. */
    for (unsigned bit = 1; bit < 64; bit++) {
        bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 39;

        for (unsigned present = 0; present <= 1; present++) {
            struct cpu_state before;

            machine_store64(&machine, table + 24, 1ull << bit | present);
            machine_set_mode(&machine, MODE_PAE, 0);
            cpu->state.gpr[GPR_RAX] = table;
            before = cpu->state;
            if (reserved && present) {
                cr_assert_eq(insn_mov_to_cr(cpu, 3, GPR_RAX), OUTCOME_EXCEPTION, "bit %u", bit);
                cr_assert_eq(cpu->fault.vector, VECTOR_GP);
                cr_assert_eq(memcmp(&cpu->state, &before, sizeof(before)), 0);
            } else {
                cr_assert_eq(insn_mov_to_cr(cpu, 3, GPR_RAX), OUTCOME_DONE, "bit %u", bit);
            }
        }
    }
}

/* The PDPTEs are read through EPT, and not by a linear address. */
Test(cr4, pdptes_behind_ept)
{
    struct cpu *cpu = &machine.cpu;
    struct cpu_state before;

    machine_enable_ept(&machine);
    machine_set_mode(&machine, MODE_PAE, 0);
    machine_enter_vmx(&machine, 0, SECONDARY_EPT);
    cpu->state.cr0 |= CR0_NE;
    cpu->state.cr4 |= CR4_VMXE;
    ept_unmap(&machine.ept, 0x30000, FRAME_SIZE);
    cpu->state.gpr[GPR_RAX] = 0x30040;
    before = cpu->state;
    cr_assert_eq(insn_mov_to_cr(cpu, 3, GPR_RAX), OUTCOME_EXIT);
    cr_assert_eq(cpu->exit.reason, EXIT_EPT_VIOLATION);
    cr_assert_eq(cpu->exit.guest_physical_address, 0x30040);
    cr_assert_eq(cpu->exit.qualification & 0x83, 1, "a read, without a linear address");
    cr_assert_eq(memcmp(&cpu->state, &before, sizeof(before)), 0);
    cpu->state.cr3 = before.cr3 = 0x30040;
    cr_assert_eq(cpu_write_cr4(cpu, cpu->state.cr4 | CR4_PGE), OUTCOME_EXIT);
    cr_assert_eq(memcmp(&cpu->state, &before, sizeof(before)), 0);
    ept_map(&machine.ept, 0x30000, 0x30000, 12, EPT_ALL, EPT_TYPE_WB);
    cr_assert_eq(cpu_write_cr4(cpu, cpu->state.cr4 | CR4_PGE), OUTCOME_DONE);
}

/* --- Other control registers ----------------------------------------------------------------- */

Test(cr4, cr2_cr8_and_reads)
{
    struct cpu *cpu = &machine.cpu;

    machine_set_mode(&machine, MODE_64BIT, 0);
    cpu->state.gpr[GPR_RAX] = 0xdeadbeefcafebabe;
    cr_assert_eq(insn_mov_to_cr(cpu, 2, GPR_RAX), OUTCOME_DONE);
    cr_assert_eq(insn_mov_from_cr(cpu, 2, GPR_R15), OUTCOME_DONE);
    cr_assert_eq(cpu->state.gpr[GPR_R15], 0xdeadbeefcafebabe);
    for (uint64_t value = 0; value < 32; value++) {
        cpu->state.gpr[GPR_RAX] = value;
        cr_assert_eq(insn_mov_to_cr(cpu, 8, GPR_RAX),
                     value <= 15 ? OUTCOME_DONE : OUTCOME_EXCEPTION, "CR8 %lu", value);
    }
    cr_assert_eq(machine.cr8, 15, "the local APIC sees it");
    machine.cr8 = 7;
    cr_assert_eq(insn_mov_from_cr(cpu, 8, GPR_RCX), OUTCOME_DONE);
    cr_assert_eq(cpu->state.gpr[GPR_RCX], 7);
    /* "CR1, CR5-CR7, CR9-CR15: #UD" */
    for (unsigned reg = 0; reg < 16; reg++)
        if (reg != 0 && reg != 2 && reg != 3 && reg != 4 && reg != 8) {
            cr_assert_eq(insn_mov_from_cr(cpu, reg, GPR_RCX), OUTCOME_EXCEPTION);
            cr_assert_eq(cpu->fault.vector, VECTOR_UD);
        }
    /* Outside 64-bit mode 32 bits move. */
    machine_set_mode(&machine, MODE_COMPATIBILITY, 0);
    cpu->state.cr2 = 0x123456789abcdef0;
    cr_assert_eq(insn_mov_from_cr(cpu, 2, GPR_RCX), OUTCOME_DONE);
    cr_assert_eq(cpu->state.gpr[GPR_RCX], 0x9abcdef0);
    /* Guest/host mask and read shadow. */
    machine_set_mode(&machine, MODE_64BIT, 0);
    machine_enter_vmx(&machine, 0, 0);
    cpu->state.cr4 |= CR4_VMXE | CR4_PGE;
    vmcs_set(&machine.vmcs, VMCS_CR4_MASK, CR4_VMXE | CR4_SMEP);
    vmcs_set(&machine.vmcs, VMCS_CR4_READ_SHADOW, CR4_SMEP | CR4_TSD);
    cr_assert_eq(insn_mov_from_cr(cpu, 4, GPR_RCX), OUTCOME_DONE);
    cr_assert_eq(cpu->state.gpr[GPR_RCX], CR4_PAE | CR4_PGE | CR4_SMEP);
}

/* "CR3-load exiting", "CR3-store exiting" and their kin for CR8; the other reads never exit. */
Test(cr4, intercepted_moves)
{
    static const struct {
        unsigned reg;
        bool to;
        uint32_t control;
    } cases[] = {
        {3, true, PRIMARY_CR3_LOAD_EXITING},
        {3, false, PRIMARY_CR3_STORE_EXITING},
        {8, true, PRIMARY_CR8_LOAD_EXITING},
        {8, false, PRIMARY_CR8_STORE_EXITING},
    };
    const unsigned count = sizeof(cases) / sizeof(cases[0]);
    struct cpu *cpu = &machine.cpu;

    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < count; j++) {
            struct cpu_state before;
            enum outcome outcome;

            machine_set_mode(&machine, MODE_64BIT, 0);
            machine_enter_vmx(&machine, cases[j].control, 0);
            cpu->state.gpr[GPR_R8] = cases[i].reg == 3 ? PML4_ADDRESS : 9;
            before = cpu->state;
            outcome = cases[i].to ? insn_mov_to_cr(cpu, cases[i].reg, GPR_R8)
                                  : insn_mov_from_cr(cpu, cases[i].reg, GPR_R8);
            cr_assert_eq(outcome, i == j ? OUTCOME_EXIT : OUTCOME_DONE);
            if (i != j)
                continue;
            cr_assert_eq(cpu->exit.qualification,
                         cases[i].reg | (cases[i].to ? 0 : 1 << 4) | GPR_R8 << 8);
            cr_assert_eq(memcmp(&cpu->state, &before, sizeof(before)), 0);
        }
}

/* --- IA32_EFER ------------------------------------------------------------------------------- */

/* "An attempt is made to enable or disable IA-32e mode while paging is enabled" is a #GP; LMA is
 * read-only; the other bits are reserved. */
Test(cr4, efer_all_patterns)
{
    static const enum cpu_mode modes[] = {MODE_REAL, MODE_PROTECTED_16,  MODE_PROTECTED_32,
                                          MODE_PAE,  MODE_COMPATIBILITY, MODE_64BIT};
    static const uint64_t bits[] = {EFER_SCE,  EFER_LME,   EFER_LMA,   EFER_NXE,
                                    1ull << 1, 1ull << 12, 1ull << 14, 1ull << 32};

    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        for (unsigned pattern = 0; pattern < 256; pattern++) {
            struct cpu *cpu = &machine.cpu;
            struct cpu_state before;
            uint64_t value = 0, kept;
            bool fault;

            for (unsigned bit = 0; bit < 8; bit++)
                value |= pattern >> bit & 1 ? bits[bit] : 0;
            machine_set_mode(&machine, modes[i], 0);
            before = cpu->state;
            kept = before.efer & EFER_LMA;
            fault = (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) ||
                    ((before.cr0 & CR0_PG) && ((value ^ before.efer) & EFER_LME));
            CHECK(cpu_msr_write(cpu, MSR_EFER, value) == !fault, "%s: EFER 0x%lx",
                  cpu_mode_name(modes[i]), value);
            if (fault) {
                CHECK(!memcmp(&before, &cpu->state, sizeof(before)), "changed by a fault");
                continue;
            }
            CHECK(cpu->state.efer == ((value & ~EFER_LMA) | kept), "LMA is read-only");
            CHECK(cpu->mmu.regs.efer == cpu->state.efer, "the MMU follows");
            CHECK(!((value ^ before.efer) & EFER_NXE) || !(before.cr0 & CR0_PG) ||
                      (cpu->changed & CPU_CHANGED_TLB),
                  "NXE changes what translations allow");
        }
}
