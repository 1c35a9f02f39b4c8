#include "cpu/modes.h"

#include <assert.h>

#include "cpu/msr.h"
#include "cpu/vmx.h"
#include "cpu/vmx_capabilities.h"

static const char *const mode_names[MODE_COUNT] = {
    [MODE_REAL] = "real",
    [MODE_UNREAL] = "unreal",
    [MODE_PROTECTED_16] = "protected 16-bit",
    [MODE_PROTECTED_32] = "protected 32-bit",
    [MODE_PAE] = "PAE",
    [MODE_VIRTUAL_8086] = "virtual-8086",
    [MODE_COMPATIBILITY] = "compatibility",
    [MODE_64BIT] = "64-bit",
};

const char *cpu_mode_name(enum cpu_mode mode)
{
    assert((unsigned)mode < MODE_COUNT);
    return mode_names[mode];
}

/* A data segment register that still has a limit from protected mode ("big real mode"). */
static bool has_unreal_segment(const struct cpu_state *state)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        if (state->seg[i].limit != 0xffff)
            return true;
    return false;
}

enum cpu_mode cpu_mode(const struct cpu *cpu)
{
    const struct cpu_state *state = &cpu->state;
    uint32_t cs = state->seg[SEG_CS].access_rights;

    if (!(state->cr0 & CR0_PE))
        return has_unreal_segment(state) ? MODE_UNREAL : MODE_REAL;
    if (state->efer & EFER_LMA)
        return cs & AR_L ? MODE_64BIT : MODE_COMPATIBILITY;
    if (state->rflags & RFLAGS_VM)
        return MODE_VIRTUAL_8086;
    if (cpu_pae_paging(state->cr0, state->cr4, state->efer))
        return MODE_PAE;
    return cs & AR_DB ? MODE_PROTECTED_32 : MODE_PROTECTED_16;
}

/* --- The rules ------------------------------------------------------------------------------- */

static bool activates_long_mode(const struct mode_registers *from, const struct mode_registers *to)
{
    return !(from->efer & EFER_LMA) && (to->efer & EFER_LMA);
}

static bool paging_without_protection(const struct mode_registers *from,
                                      const struct mode_registers *to)
{
    return (to->cr0 & CR0_PG) && !(to->cr0 & CR0_PE);
}

static bool write_through_without_cache_disable(const struct mode_registers *from,
                                                const struct mode_registers *to)
{
    return (to->cr0 & CR0_NW) && !(to->cr0 & CR0_CD);
}

static bool long_mode_without_pae(const struct mode_registers *from,
                                  const struct mode_registers *to)
{
    return activates_long_mode(from, to) && !(to->cr4 & CR4_PAE);
}

static bool long_mode_from_long_segment(const struct mode_registers *from,
                                        const struct mode_registers *to)
{
    return activates_long_mode(from, to) && to->cs_long;
}

static bool long_mode_with_16bit_tss(const struct mode_registers *from,
                                     const struct mode_registers *to)
{
    return activates_long_mode(from, to) && to->tss_16bit;
}

static bool lme_changes_while_paging(const struct mode_registers *from,
                                     const struct mode_registers *to)
{
    return (from->cr0 & CR0_PG) && ((from->efer ^ to->efer) & EFER_LME);
}

static bool paging_ends_in_64bit_mode(const struct mode_registers *from,
                                      const struct mode_registers *to)
{
    return (from->efer & EFER_LMA) && from->cs_long && !(to->cr0 & CR0_PG);
}

static bool paging_ends_with_pcide(const struct mode_registers *from,
                                   const struct mode_registers *to)
{
    return (from->cr0 & CR0_PG) && !(to->cr0 & CR0_PG) && (to->cr4 & CR4_PCIDE);
}

static bool pae_ends_in_long_mode(const struct mode_registers *from,
                                  const struct mode_registers *to)
{
    return (from->efer & to->efer & EFER_LMA) && !(to->cr4 & CR4_PAE);
}

static bool la57_changes_in_long_mode(const struct mode_registers *from,
                                      const struct mode_registers *to)
{
    return (from->efer & EFER_LMA) && ((from->cr4 ^ to->cr4) & CR4_LA57);
}

static bool sets_pcide(const struct mode_registers *from, const struct mode_registers *to)
{
    return !(from->cr4 & CR4_PCIDE) && (to->cr4 & CR4_PCIDE);
}

static bool pcide_outside_long_mode(const struct mode_registers *from,
                                    const struct mode_registers *to)
{
    return sets_pcide(from, to) && !(from->efer & EFER_LMA);
}

static bool pcide_with_pcid_in_cr3(const struct mode_registers *from,
                                   const struct mode_registers *to)
{
    return sets_pcide(from, to) && (from->cr3 & CR3_PCID);
}

static bool cet_without_write_protect(const struct mode_registers *from,
                                      const struct mode_registers *to)
{
    return (to->cr4 & CR4_CET) && !(to->cr0 & CR0_WP);
}

#define MOV_CR    "MOV-Move to/from Control Registers"
#define INIT_IA32 "Initializing IA-32e Mode"
#define PAGING_BY "Paging-Mode Enabling"

// clang-format off
static const struct mode_rule rules[] = {
    { MOV_CR,    "CR0.PG = 1 requires CR0.PE = 1",                     paging_without_protection },
    { MOV_CR,    "CR0.NW = 1 requires CR0.CD = 1",           write_through_without_cache_disable },
    { INIT_IA32, "activating IA-32e mode requires CR4.PAE = 1",            long_mode_without_pae },
    { INIT_IA32, "activating IA-32e mode requires CS.L = 0",         long_mode_from_long_segment },
    { INIT_IA32, "activating IA-32e mode requires a TSS that is not 16-bit",
                                                                        long_mode_with_16bit_tss },
    { INIT_IA32, "IA32_EFER.LME cannot change while CR0.PG = 1",        lme_changes_while_paging },
    { MOV_CR,    "CR0.PG cannot be cleared in 64-bit mode",            paging_ends_in_64bit_mode },
    { MOV_CR,    "CR0.PG cannot be cleared while CR4.PCIDE = 1",          paging_ends_with_pcide },
    { INIT_IA32, "CR4.PAE cannot be cleared in IA-32e mode",               pae_ends_in_long_mode },
    { PAGING_BY, "CR4.LA57 cannot change in IA-32e mode",              la57_changes_in_long_mode },
    { PAGING_BY, "CR4.PCIDE can be set in IA-32e mode only",             pcide_outside_long_mode },
    { MOV_CR,    "CR4.PCIDE can be set only while CR3[11:0] = 0",         pcide_with_pcid_in_cr3 },
    { MOV_CR,    "CR4.CET = 1 requires CR0.WP = 1",                    cet_without_write_protect },
};
// clang-format on

const struct mode_rule *mode_transition_check(const struct mode_registers *from,
                                              const struct mode_registers *to)
{
    for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (rules[i].violated(from, to))
            return &rules[i];
    return NULL;
}

/* --- The transition -------------------------------------------------------------------------- */

static bool allows(struct vmx_fixed fixed, uint64_t value)
{
    return (value & fixed.ones) == fixed.ones && !(value & ~fixed.may);
}

/* SDM "Restrictions on VMX Operation", and "Changes to Instruction Behavior in VMX Non-Root
 * Operation" for MOV to CR0 under "unrestricted guest". */
static bool fixed_bits_allow(const struct cpu *cpu, uint64_t cr0, uint64_t cr4)
{
    struct vmx_fixed fixed_cr0 = vmx_fixed_cr0(cpu->profile);

    if (!cpu->non_root)
        return true;
    if (vmx_secondary_controls(cpu->vmcs) & SECONDARY_UNRESTRICTED_GUEST)
        fixed_cr0.ones &= ~(CR0_PE | CR0_PG);
    return allows(fixed_cr0, cr0) && allows(vmx_fixed_cr4(cpu->profile), cr4);
}

static bool reserved_bits_clear(const struct cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    /* CR4.VMXE of a guest that knows nothing of VMX belongs to the VMX operation below it. */
    uint64_t cr4_allowed = cpu->profile->cr4_allowed | (cpu->non_root ? CR4_VMXE : 0);
    uint64_t efer_allowed = cpu->profile->efer_allowed;

    if (cpu->state.misc_enable & MISC_ENABLE_XD_DISABLE)
        efer_allowed &= ~EFER_NXE | cpu->state.efer;
    return !(cr0 >> 32) && !(cr4 & ~cr4_allowed) && !(efer & ~efer_allowed);
}

/* SDM "PDPTE Registers": which changes reload them while PAE paging is or comes into use. */
static bool must_load_pdptes(const struct cpu_state *state, uint64_t cr0, uint64_t cr4,
                             uint64_t efer)
{
    const uint64_t cr0_bits = CR0_CD | CR0_NW | CR0_PG;
    const uint64_t cr4_bits = CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP;

    return cpu_pae_paging(cr0, cr4, efer) &&
           (((state->cr0 ^ cr0) & cr0_bits) || ((state->cr4 ^ cr4) & cr4_bits));
}

static enum outcome load_pdptes(struct cpu *cpu, uint64_t cr3, uint64_t pdpte[4])
{
    struct mmu_fault fault;
    bool reserved = false;

    if (mmu_load_pdptes(&cpu->mmu, cr3, pdpte, &reserved, &fault) == MMU_OK)
        return OUTCOME_DONE;
    return reserved ? cpu_fault_gp(cpu) : cpu_memory_outcome(cpu, &fault);
}

static void store_pdptes(struct cpu *cpu, const uint64_t pdpte[4])
{
    for (unsigned i = 0; i < 4; i++)
        cpu->state.pdpte[i] = cpu->mmu.regs.pdpte[i] = pdpte[i];
}

static void note_change(struct cpu *cpu, uint32_t bit, bool invalidated)
{
    cpu->changed |= bit | (invalidated ? CPU_CHANGED_TLB : 0);
}

static void commit(struct cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    struct cpu_state *state = &cpu->state;

    if (state->efer != efer) {
        state->efer = efer;
        note_change(cpu, CPU_CHANGED_EFER, mmu_set_efer(&cpu->mmu, efer));
    }
    if (state->cr4 != cr4) {
        state->cr4 = cr4;
        note_change(cpu, CPU_CHANGED_CR4, mmu_set_cr4(&cpu->mmu, cr4));
    }
    if (state->cr0 != cr0) {
        state->cr0 = cr0;
        note_change(cpu, CPU_CHANGED_CR0, mmu_set_cr0(&cpu->mmu, cr0));
    }
}

enum outcome cpu_change_mode(struct cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    const struct cpu_state *state = &cpu->state;
    bool long_mode = (cr0 & CR0_PG) && (efer & EFER_LME);
    /* Types 1 and 3 are the available and the busy 16-bit TSS. */
    struct mode_registers from = {.cr0 = state->cr0,
                                  .cr3 = state->cr3,
                                  .cr4 = state->cr4,
                                  .efer = state->efer,
                                  .cs_long = state->seg[SEG_CS].access_rights & AR_L,
                                  .tss_16bit =
                                      (state->seg[SEG_TR].access_rights & AR_TYPE_MASK) <= 3};
    struct mode_registers to = from;
    uint64_t pdpte[4];

    efer = (efer & ~EFER_LMA) | (long_mode ? EFER_LMA : 0);
    to.cr0 = cr0;
    to.cr4 = cr4;
    to.efer = efer;
    if (!reserved_bits_clear(cpu, cr0, cr4, efer) || !fixed_bits_allow(cpu, cr0, cr4) ||
        mode_transition_check(&from, &to))
        return cpu_fault_gp(cpu);
    if (must_load_pdptes(state, cr0, cr4, efer)) {
        enum outcome outcome = load_pdptes(cpu, state->cr3, pdpte);

        if (outcome != OUTCOME_DONE)
            return outcome;
        store_pdptes(cpu, pdpte);
    }
    commit(cpu, cr0, cr4, efer);
    return OUTCOME_DONE;
}

enum outcome cpu_write_efer(struct cpu *cpu, uint64_t value)
{
    return cpu_change_mode(cpu, cpu->state.cr0, cpu->state.cr4, value & ~EFER_LMA);
}

/* SDM "MOV-Move to/from Control Registers": bits from MAXPHYADDR on are reserved (operands of 32
 * bits do not reach them); bit 63 is a command with CR4.PCIDE = 1. */
static bool cr3_reserved(const struct cpu *cpu, uint64_t value)
{
    if (cpu->state.cr4 & CR4_PCIDE)
        value &= ~CR3_NOFLUSH;
    return value >> cpu->profile->maxphyaddr;
}

enum outcome cpu_write_cr3(struct cpu *cpu, uint64_t value)
{
    struct cpu_state *state = &cpu->state;

    if (cr3_reserved(cpu, value))
        return cpu_fault_gp(cpu);
    if (cpu_pae_paging(state->cr0, state->cr4, state->efer)) {
        uint64_t pdpte[4];
        enum outcome outcome = load_pdptes(cpu, value, pdpte);

        if (outcome != OUTCOME_DONE)
            return outcome;
        store_pdptes(cpu, pdpte);
    }
    state->cr3 = value & ~CR3_NOFLUSH;
    note_change(cpu, CPU_CHANGED_CR3, mmu_mov_cr3(&cpu->mmu, value));
    return OUTCOME_DONE;
}
