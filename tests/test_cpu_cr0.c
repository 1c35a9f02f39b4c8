/*
 * Every bit pattern of CR0 that MOV to CR0 and LMSW can ask for, from every mode, against
 * IA32_EFER.LME, CR4.PAE, CS.L, CR4.PCIDE, and in VMX non-root operation against the fixed bits,
 * guest/host mask and read shadow, with unrestricted guest on and off. What must happen is worked
 * out here from the sentences of the SDM, one predicate a sentence.
 */
#include "cpu_machine.h"

/* All CR0 bits with a name, one reserved bit, and one of the upper half. */
static const uint64_t cr0_bits[] = {CR0_PE, CR0_MP, CR0_EM, CR0_TS, CR0_ET,     CR0_NE,    CR0_WP,
                                    CR0_AM, CR0_NW, CR0_CD, CR0_PG, 1ull << 10, 1ull << 40};
#define PATTERNS (1u << (sizeof(cr0_bits) / sizeof(cr0_bits[0])))

static uint64_t pattern_to_cr0(unsigned pattern)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < sizeof(cr0_bits) / sizeof(cr0_bits[0]); i++)
        if (pattern >> i & 1)
            value |= cr0_bits[i];
    return value;
}

enum vmx { VMX_OFF, VMX_RESTRICTED, VMX_UNRESTRICTED };

/* Everything that decides about the instruction besides its operand. */
struct situation {
    const char *name;
    enum cpu_mode mode;
    bool lme, pae, cs_l; /* where the mode leaves them open */
    bool pcide, tss16;
    bool bad_pdptes;
    enum vmx vmx;
    uint64_t mask, shadow; /* CR0 guest/host mask and read shadow */
};

// clang-format off
static const struct situation situations[] = {
    { "real mode", .mode = MODE_REAL },
    { "real mode, LME", .mode = MODE_REAL, .lme = true },
    { "real mode, LME, PAE", .mode = MODE_REAL, .lme = true, .pae = true },
    { "real mode, PAE", .mode = MODE_REAL, .pae = true },
    { "protected, no paging", .mode = MODE_PROTECTED_16 },
    { "protected, CS.L", .mode = MODE_PROTECTED_16, .cs_l = true },
    { "protected, LME", .mode = MODE_PROTECTED_16, .lme = true },
    { "protected, PAE", .mode = MODE_PROTECTED_16, .pae = true },
    { "protected, PAE, bad PDPTEs", .mode = MODE_PROTECTED_16, .pae = true, .bad_pdptes = true },
    { "protected, LME, PAE", .mode = MODE_PROTECTED_16, .lme = true, .pae = true },
    { "protected, LME, PAE, CS.L", .mode = MODE_PROTECTED_16, .lme = true, .pae = true,
      .cs_l = true },
    { "protected, LME, PAE, 16-bit TSS", .mode = MODE_PROTECTED_16, .lme = true, .pae = true,
      .tss16 = true },
    { "protected, PAE, 16-bit TSS", .mode = MODE_PROTECTED_16, .pae = true, .tss16 = true },
    { "32-bit paging", .mode = MODE_PROTECTED_32 },
    { "32-bit paging, CS.L", .mode = MODE_PROTECTED_32, .cs_l = true },
    { "PAE paging", .mode = MODE_PAE },
    { "PAE paging, bad PDPTEs", .mode = MODE_PAE, .bad_pdptes = true },
    { "compatibility", .mode = MODE_COMPATIBILITY },
    { "compatibility, PCIDE", .mode = MODE_COMPATIBILITY, .pcide = true },
    { "64-bit", .mode = MODE_64BIT },
    { "64-bit, PCIDE", .mode = MODE_64BIT, .pcide = true },
    { "VMX, 32-bit paging", .mode = MODE_PROTECTED_32, .vmx = VMX_RESTRICTED },
    { "VMX, PAE paging", .mode = MODE_PAE, .vmx = VMX_RESTRICTED },
    { "VMX, PAE paging, bad PDPTEs", .mode = MODE_PAE, .vmx = VMX_RESTRICTED, .bad_pdptes = true },
    { "VMX, compatibility", .mode = MODE_COMPATIBILITY, .vmx = VMX_RESTRICTED },
    { "VMX, 64-bit", .mode = MODE_64BIT, .vmx = VMX_RESTRICTED },
    { "VMX, 64-bit, NE and TS masked", .mode = MODE_64BIT, .vmx = VMX_RESTRICTED,
      .mask = CR0_NE | CR0_TS, .shadow = 0 },
    { "VMX, 64-bit, NE and TS masked, shadow 1", .mode = MODE_64BIT, .vmx = VMX_RESTRICTED,
      .mask = CR0_NE | CR0_TS, .shadow = CR0_NE | CR0_TS },
    { "VMX, 32-bit paging, PE and PG masked", .mode = MODE_PROTECTED_32, .vmx = VMX_RESTRICTED,
      .mask = CR0_PE | CR0_PG, .shadow = CR0_PE | CR0_PG },
    { "VMX, 32-bit paging, PE and PG masked, shadow 0", .mode = MODE_PROTECTED_32,
      .vmx = VMX_RESTRICTED,
      .mask = CR0_PE | CR0_PG, .shadow = 0 },
    { "VMX, everything masked", .mode = MODE_64BIT, .vmx = VMX_RESTRICTED, .mask = ~0ull,
      .shadow = CR0_PE | CR0_PG | CR0_NE | CR0_ET },
    { "VMX, CD and NW masked", .mode = MODE_64BIT, .vmx = VMX_RESTRICTED, .mask = CR0_CD | CR0_NW,
      .shadow = CR0_CD },
    { "VMX, reserved bit masked", .mode = MODE_64BIT, .vmx = VMX_RESTRICTED, .mask = 1ull << 10 },
    { "unrestricted, real mode", .mode = MODE_REAL, .vmx = VMX_UNRESTRICTED },
    { "unrestricted, real mode, NE masked", .mode = MODE_REAL, .vmx = VMX_UNRESTRICTED,
      .mask = CR0_NE, .shadow = 0 },
    { "unrestricted, real mode, LME, PAE", .mode = MODE_REAL, .lme = true, .pae = true,
      .vmx = VMX_UNRESTRICTED },
    { "unrestricted, protected", .mode = MODE_PROTECTED_16, .vmx = VMX_UNRESTRICTED },
    { "unrestricted, protected, NE masked", .mode = MODE_PROTECTED_16, .vmx = VMX_UNRESTRICTED,
      .mask = CR0_NE, .shadow = 0 },
    { "unrestricted, protected, LME", .mode = MODE_PROTECTED_16, .lme = true,
      .vmx = VMX_UNRESTRICTED },
    { "unrestricted, protected, LME, PAE", .mode = MODE_PROTECTED_16, .lme = true, .pae = true,
      .vmx = VMX_UNRESTRICTED },
    { "unrestricted, protected, LME, PAE, CS.L", .mode = MODE_PROTECTED_16, .lme = true,
      .pae = true, .cs_l = true, .vmx = VMX_UNRESTRICTED },
    { "unrestricted, protected, PAE, bad PDPTEs", .mode = MODE_PROTECTED_16, .pae = true,
      .bad_pdptes = true, .vmx = VMX_UNRESTRICTED },
    { "unrestricted, PAE paging", .mode = MODE_PAE, .vmx = VMX_UNRESTRICTED },
    { "unrestricted, PE and PG masked", .mode = MODE_PROTECTED_32, .vmx = VMX_UNRESTRICTED,
      .mask = CR0_PE | CR0_PG, .shadow = CR0_PE | CR0_PG },
    { "unrestricted, 64-bit, PCIDE", .mode = MODE_64BIT, .pcide = true, .vmx = VMX_UNRESTRICTED },
};
// clang-format on

/* A situation and what the instruction would make of CR0. */
struct attempt {
    const struct situation *situation;
    uint64_t old, new, cr4, efer;
    bool cs_l;
};

/* --- The sentences --------------------------------------------------------------------------- */

/* "Bits 63:32 of CR0 and CR4 are reserved and must be written with zeros. Writing a nonzero value
 * to any of the upper 32 bits results in a general-protection exception, #GP(0)." */
static bool upper_half(const struct attempt *a)
{
    return a->new & 0xffffffff00000000;
}

/* "...invalid bit combinations in CR0 (such as setting the PG flag to 1 when the PE flag is set to
 * 0, or setting the CD flag to 0 when the NW flag is set to 1)." */
static bool pg_without_pe(const struct attempt *a)
{
    return (a->new &(CR0_PG | CR0_PE)) == CR0_PG;
}

static bool nw_without_cd(const struct attempt *a)
{
    return (a->new &(CR0_NW | CR0_CD)) == CR0_NW;
}

/* "IA-32e mode is enabled and an attempt is made to enable paging prior to enabling PAE", "if the
 * current CS has the L-bit set on an attempt to activate IA-32e mode", "if the TR contains a 16-bit
 * TSS". */
static bool enables_paging_with_lme(const struct attempt *a)
{
    return !(a->old & CR0_PG) && (a->new &CR0_PG) && (a->efer & EFER_LME);
}

static bool activation_without_pae(const struct attempt *a)
{
    return enables_paging_with_lme(a) && !(a->cr4 & CR4_PAE);
}

static bool activation_with_cs_l(const struct attempt *a)
{
    return enables_paging_with_lme(a) && a->cs_l;
}

static bool activation_with_tss16(const struct attempt *a)
{
    return enables_paging_with_lme(a) && a->situation->tss16;
}

/* 64-bit mode exceptions: "If an attempt is made to clear CR0.PG[bit 31]." */
static bool pg_cleared_in_64bit(const struct attempt *a)
{
    return a->situation->mode == MODE_64BIT && (a->old & CR0_PG) && !(a->new &CR0_PG);
}

/* "If an attempt is made to clear CR0.PG while CR4.PCIDE = 1." */
static bool pg_cleared_with_pcide(const struct attempt *a)
{
    return (a->cr4 & CR4_PCIDE) && (a->old & CR0_PG) && !(a->new &CR0_PG);
}

/* "MOV to CR0 causes a general-protection exception if it attempts to set any bit in CR0 to a value
 * not supported in VMX operation" - those of IA32_VMX_CR0_FIXED0 here: PE, NE, PG; "unrestricted
 * guest": "...any bit in CR0 other than bit 0 (PE) or bit 31 (PG)". */
static bool vmx_fixed_bits(const struct attempt *a)
{
    switch (a->situation->vmx) {
    case VMX_RESTRICTED:
        return (a->new &(CR0_PE | CR0_NE | CR0_PG)) != (CR0_PE | CR0_NE | CR0_PG);
    case VMX_UNRESTRICTED:
        return !(a->new &CR0_NE);
    default:
        return false;
    }
}

/* "If PAE paging would be in use following an execution of MOV to CR0 ... and the instruction is
 * modifying any of CR0.CD, CR0.NW, CR0.PG ...; then the PDPTEs are loaded", "#GP(0) if any of the
 * PDPTEs sets both the P flag and any reserved bit". */
static bool bad_pdpte_loaded(const struct attempt *a)
{
    bool pae_paging = (a->new &CR0_PG) && (a->cr4 & CR4_PAE) && !(a->efer & EFER_LME);

    return a->situation->bad_pdptes && pae_paging &&
           ((a->old ^ a->new) & (CR0_CD | CR0_NW | CR0_PG));
}

static bool (*const gp_sentences[])(const struct attempt *) = {
    upper_half,           pg_without_pe,         nw_without_cd,       activation_without_pae,
    activation_with_cs_l, activation_with_tss16, pg_cleared_in_64bit, pg_cleared_with_pcide,
    vmx_fixed_bits,       bad_pdpte_loaded,
};

static bool raises_gp(const struct attempt *a)
{
    for (unsigned i = 0; i < sizeof(gp_sentences) / sizeof(gp_sentences[0]); i++)
        if (gp_sentences[i](a))
            return true;
    return false;
}

/* What CR0 would become: "leaves unmodified any bit in CR0 corresponding to a bit set in the CR0
 * guest/host mask", "CR0.ET remains set", "reserved bits in CR0 remain clear after any load". */
static uint64_t loaded_value(const struct situation *s, uint64_t old, uint64_t requested)
{
    uint64_t reserved = 0x1ffaffc0; /* bits 6-15, 17, 19-28 */

    if (s->vmx != VMX_OFF)
        requested = (old & s->mask) | (requested & ~s->mask);
    return (requested & ~reserved) | CR0_ET;
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

TestSuite(cr0, .init = set_up, .fini = tear_down);

static void enter(const struct situation *s)
{
    struct cpu_state *state = &machine.cpu.state;
    uint64_t reserved_pdpte = s->bad_pdptes ? 0x2 : 0;

    machine_set_mode(&machine, s->mode, 0);
    if (s->lme)
        state->efer |= EFER_LME;
    if (s->pae)
        state->cr4 |= CR4_PAE;
    if (s->pcide)
        state->cr4 |= CR4_PCIDE;
    if (s->cs_l)
        state->seg[SEG_CS].access_rights |= AR_L;
    if (s->tss16)
        state->seg[SEG_TR].access_rights = AR_P | 3;
    if (s->mode == MODE_PROTECTED_16 || s->mode == MODE_REAL)
        state->cr3 = s->lme ? PML4_ADDRESS : PDPT_ADDRESS;
    machine_store64(&machine, PDPT_ADDRESS + 8, reserved_pdpte ? reserved_pdpte | 1 : 0);
    if (s->vmx != VMX_OFF) {
        machine_enter_vmx(&machine, 0,
                          s->vmx == VMX_UNRESTRICTED ? SECONDARY_UNRESTRICTED_GUEST : 0);
        vmcs_set(&machine.vmcs, VMCS_CR0_MASK, s->mask);
        vmcs_set(&machine.vmcs, VMCS_CR0_READ_SHADOW, s->shadow);
        state->cr0 |= CR0_NE;
        state->cr4 |= CR4_VMXE;
    }
    machine_sync_mmu(&machine);
}

static bool same_state(const struct cpu_state *a, const struct cpu_state *b)
{
    return !memcmp(a, b, sizeof(*a));
}

#define CHECK(condition, ...)            \
    do {                                 \
        if (!(condition))                \
            cr_assert_fail(__VA_ARGS__); \
    } while (0)

/* Holds the outcome against the expectation; `before` is the state before the instruction. */
static void check_outcome(const struct attempt *a, const struct cpu_state *before,
                          enum outcome outcome, const char *instruction, uint64_t operand)
{
    const struct cpu *cpu = &machine.cpu;
    struct cpu_state expected = *before;

    if (raises_gp(a)) {
        CHECK(outcome == OUTCOME_EXCEPTION, "%s: %s 0x%lx must raise #GP", a->situation->name,
              instruction, operand);
        CHECK(cpu->fault.vector == VECTOR_GP && cpu->fault.error_code == 0, "#GP(0)");
        CHECK(same_state(&cpu->state, before), "%s: %s 0x%lx: changed by a fault",
              a->situation->name, instruction, operand);
        return;
    }
    CHECK(outcome == OUTCOME_DONE, "%s: %s 0x%lx must succeed, not %d", a->situation->name,
          instruction, operand, outcome);
    expected.cr0 = a->new;
    if ((a->new &CR0_PG) && (before->efer & EFER_LME))
        expected.efer |= EFER_LMA;
    else
        expected.efer &= ~EFER_LMA;
    memcpy(expected.pdpte, cpu->state.pdpte, sizeof(expected.pdpte));
    CHECK(same_state(&cpu->state, &expected), "%s: %s 0x%lx gives CR0 0x%lx EFER 0x%lx",
          a->situation->name, instruction, operand, cpu->state.cr0, cpu->state.efer);
    CHECK(cpu->mmu.regs.cr0 == expected.cr0 && cpu->mmu.regs.efer == expected.efer,
          "%s: the MMU does not follow", a->situation->name);
    CHECK(!((before->cr0 ^ expected.cr0) & ~0ull) == !(cpu->changed & CPU_CHANGED_CR0),
          "%s: CPU_CHANGED_CR0", a->situation->name);
    CHECK(!(before->efer ^ expected.efer) == !(cpu->changed & CPU_CHANGED_EFER),
          "%s: CPU_CHANGED_EFER", a->situation->name);
    CHECK(!((before->cr0 ^ expected.cr0) & (CR0_PG | CR0_WP)) || (cpu->changed & CPU_CHANGED_TLB),
          "%s: the engine must flush", a->situation->name);
}

static struct attempt make_attempt(const struct situation *s, const struct cpu_state *before,
                                   uint64_t requested)
{
    return (struct attempt){.situation = s,
                            .old = before->cr0,
                            .new = loaded_value(s, before->cr0, requested),
                            .cr4 = before->cr4,
                            .efer = before->efer,
                            .cs_l = before->seg[SEG_CS].access_rights &AR_L};
}

/* "MOV to CR0 ... causes VM exits unless the value of its source operand matches, for the position
 * of each bit set in the CR0 guest/host mask, the corresponding bit in the CR0 read shadow." */
static bool must_exit(const struct situation *s, uint64_t requested)
{
    return s->vmx != VMX_OFF && ((requested ^ s->shadow) & s->mask);
}

static void restore(const struct cpu_state *before)
{
    machine.cpu.state = *before;
    machine_sync_mmu(&machine);
    machine.cpu.changed = 0;
}

Test(cr0, mov_to_cr0_all_patterns)
{
    unsigned cases = 0;

    for (unsigned i = 0; i < sizeof(situations) / sizeof(situations[0]); i++) {
        const struct situation *s = &situations[i];
        struct cpu_state start;

        enter(s);
        start = machine.cpu.state;
        for (unsigned pattern = 0; pattern < PATTERNS; pattern++, cases++) {
            uint64_t operand = pattern_to_cr0(pattern);
            uint64_t requested = s->mode == MODE_64BIT ? operand : (uint32_t)operand;
            struct cpu_state before = start;
            struct attempt a = make_attempt(s, &before, requested);
            enum outcome outcome;

            before.gpr[GPR_R9] = operand;
            restore(&before);
            machine.cpu.exit.reason = EXIT_REASON_COUNT;
            outcome = insn_mov_to_cr(&machine.cpu, 0, GPR_R9);
            if (must_exit(s, requested)) {
                CHECK(outcome == OUTCOME_EXIT && machine.cpu.exit.reason == EXIT_CR_ACCESS &&
                          machine.cpu.exit.qualification == GPR_R9 << 8,
                      "%s: MOV to CR0 0x%lx must exit", s->name, operand);
                CHECK(same_state(&machine.cpu.state, &before), "%s: changed by exit", s->name);
                continue;
            }
            check_outcome(&a, &before, outcome, "MOV to CR0", operand);
        }
    }
    cr_log_info("%u cases", cases);
    cr_assert_gt(cases, 300000);
}

/* "LMSW can set the PE flag but cannot clear it"; for VM exits see "Instructions That Cause VM
 * Exits Conditionally": bits 3:1 of mask, shadow and operand, bit 0 only where the operand's bit is
 * 1 and the shadow's 0. */
Test(cr0, lmsw)
{
    for (unsigned i = 0; i < sizeof(situations) / sizeof(situations[0]); i++) {
        const struct situation *s = &situations[i];
        struct cpu_state before;

        enter(s);
        before = machine.cpu.state;
        for (unsigned source = 0; source < 0x40; source++) {
            uint64_t requested = (before.cr0 & ~0xeull) | (source & 0xf);
            struct attempt a = make_attempt(s, &before, requested);
            bool exits = s->vmx != VMX_OFF && ((((source ^ s->shadow) & s->mask & 0xe) != 0) ||
                                               (s->mask & source & ~s->shadow & 1));
            enum outcome outcome;

            restore(&before);
            outcome = insn_lmsw(&machine.cpu, (uint16_t)source, false, 0);
            if (exits)
                CHECK(outcome == OUTCOME_EXIT, "%s: LMSW 0x%x must exit", s->name, source);
            else
                check_outcome(&a, &before, outcome, "LMSW", source);
        }
    }
}

/* "CLTS: mask bit 0: clears CR0.TS; mask 1, shadow 0: completes without changing TS; mask 1, shadow
 * 1: VM exit" ("Changes to Instruction Behavior in VMX Non-Root Operation"). */
Test(cr0, clts)
{
    for (unsigned i = 0; i < 16; i++) {
        bool ts = i & 1, mask = i & 2, shadow = i & 4, vmx = i & 8;
        enum outcome outcome;
        uint64_t cr0;

        machine_set_mode(&machine, MODE_64BIT, 0);
        if (vmx)
            machine_enter_vmx(&machine, 0, 0);
        vmcs_set(&machine.vmcs, VMCS_CR0_MASK, mask ? CR0_TS : 0);
        vmcs_set(&machine.vmcs, VMCS_CR0_READ_SHADOW, shadow ? CR0_TS : 0);
        cr0 = machine.cpu.state.cr0 |= ts ? CR0_TS : 0;
        machine.cpu.changed = 0;
        outcome = insn_clts(&machine.cpu);
        cr_assert_eq(outcome, vmx && mask && shadow ? OUTCOME_EXIT : OUTCOME_DONE);
        cr_assert_eq(machine.cpu.state.cr0, vmx && mask ? cr0 : cr0 & ~CR0_TS);
        cr_assert_eq(machine.cpu.changed != 0, machine.cpu.state.cr0 != cr0);
    }
}

/* "#GP(0) If the current privilege level is not 0": before anything else, VM exits included. */
Test(cr0, privilege)
{
    static const enum cpu_mode modes[] = {MODE_PROTECTED_32, MODE_PAE, MODE_COMPATIBILITY,
                                          MODE_64BIT, MODE_VIRTUAL_8086};

    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct cpu *cpu = &machine.cpu;
        uint64_t value;

        for (unsigned cpl = modes[i] == MODE_VIRTUAL_8086 ? 3 : 1; cpl <= 3; cpl++) {
            machine_set_mode(&machine, modes[i], cpl);
            machine_enter_vmx(&machine, PRIMARY_CR3_LOAD_EXITING | PRIMARY_CR3_STORE_EXITING, 0);
            vmcs_set(&machine.vmcs, VMCS_CR0_MASK, ~0ull);
            cr_assert_eq(insn_mov_to_cr(cpu, 0, GPR_RAX), OUTCOME_EXCEPTION);
            cr_assert_eq(insn_mov_to_cr(cpu, 3, GPR_RAX), OUTCOME_EXCEPTION);
            cr_assert_eq(insn_mov_from_cr(cpu, 3, GPR_RAX), OUTCOME_EXCEPTION);
            cr_assert_eq(insn_lmsw(cpu, 0xf, false, 0), OUTCOME_EXCEPTION);
            cr_assert_eq(insn_clts(cpu), OUTCOME_EXCEPTION);
            cr_assert_eq(cpu->fault.vector, VECTOR_GP);
            /* SMSW is free, unless CR4.UMIP = 1. */
            cr_assert_eq(insn_smsw(cpu, &value), OUTCOME_DONE);
            cr_assert_eq(value, 0, "read shadow");
            cpu->state.cr4 |= CR4_UMIP;
            cr_assert_eq(insn_smsw(cpu, &value), OUTCOME_EXCEPTION);
        }
    }
}

/* --- The state machine as a whole ------------------------------------------------------------- */

static void write_cr(unsigned reg, uint64_t value, enum cpu_mode expected)
{
    machine.cpu.state.gpr[GPR_RAX] = value;
    cr_assert_eq(insn_mov_to_cr(&machine.cpu, reg, GPR_RAX), OUTCOME_DONE, "CR%u 0x%lx", reg,
                 value);
    cr_assert_eq(cpu_mode(&machine.cpu), expected, "CR%u 0x%lx: %s", reg, value,
                 cpu_mode_name(cpu_mode(&machine.cpu)));
}

/* From RESET to 64-bit mode and back, as boot loaders and kexec go. What far jumps and IRET would
 * load is put into place by hand. */
Test(cr0, a_tour_of_the_modes)
{
    struct cpu_state *state = &machine.cpu.state;
    const uint64_t pe = CR0_PE | CR0_ET, pg = CR0_PG | pe;
    uint32_t *cs = &state->seg[SEG_CS].access_rights;

    cpu_reset(&machine.cpu);
    cr_assert_eq(cpu_mode(&machine.cpu), MODE_REAL);
    write_cr(0, pe, MODE_PROTECTED_16);
    state->seg[SEG_DS].limit = 0xffffffff;
    write_cr(0, CR0_ET, MODE_UNREAL);
    write_cr(0, pe, MODE_PROTECTED_16);
    *cs |= AR_DB;
    write_cr(3, PD32_ADDRESS, MODE_PROTECTED_32);
    write_cr(0, pg, MODE_PROTECTED_32);
    state->rflags |= RFLAGS_VM;
    cr_assert_eq(cpu_mode(&machine.cpu), MODE_VIRTUAL_8086);
    state->rflags &= ~RFLAGS_VM;
    write_cr(0, pe, MODE_PROTECTED_32);
    write_cr(3, PDPT_ADDRESS, MODE_PROTECTED_32);
    write_cr(4, CR4_PAE, MODE_PROTECTED_32);
    write_cr(0, pg, MODE_PAE);
    write_cr(4, 0, MODE_PROTECTED_32);
    write_cr(4, CR4_PAE, MODE_PAE);
    write_cr(0, pe, MODE_PROTECTED_32);
    write_cr(3, PML4_ADDRESS, MODE_PROTECTED_32);
    cr_assert(cpu_msr_write(&machine.cpu, MSR_EFER, EFER_LME));
    write_cr(0, pg, MODE_COMPATIBILITY);
    *cs = (*cs & ~AR_DB) | AR_L;
    cr_assert_eq(cpu_mode(&machine.cpu), MODE_64BIT);
    write_cr(0, pg | CR0_WP, MODE_64BIT);
    *cs = (*cs & ~AR_L) | AR_DB;
    write_cr(0, pe, MODE_PROTECTED_32);
    cr_assert(cpu_msr_write(&machine.cpu, MSR_EFER, 0));
    write_cr(4, 0, MODE_PROTECTED_32);
    *cs &= ~AR_DB;
    state->seg[SEG_DS].limit = 0xffff;
    write_cr(0, CR0_ET, MODE_REAL);
}
