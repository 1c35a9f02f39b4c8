/*
 * Operating modes as a state machine: what CR0, CR4, IA32_EFER and CS make of the processor, and
 * which transitions between those states the SDM allows.
 *
 *   real <-> protected (16/32) <-> PAE          PE; PG with PAE
 *                 |
 *                 +-> virtual-8086              RFLAGS.VM
 *                 +-> compatibility <-> 64-bit  PG with EFER.LME and PAE; CS.L
 *
 * Every instruction that moves the machine (MOV to CR0, CR3 and CR4, LMSW, CLTS, WRMSR of
 * IA32_EFER) computes the registers that it asks for and calls one of the functions below. These
 * hold the transition against the rules in cpu/modes.c and either perform all of it or raise the
 * fault.
 */
#ifndef VTXSIM_CPU_MODES_H
#define VTXSIM_CPU_MODES_H

#include "cpu/instructions.h"

enum cpu_mode {
    MODE_REAL,
    MODE_UNREAL,       /* real-address mode with a segment limit other than 64 KiB */
    MODE_PROTECTED_16, /* no paging or 32-bit paging, CS.D = 0 */
    MODE_PROTECTED_32, /* no paging or 32-bit paging, CS.D = 1 */
    MODE_PAE,          /* protected mode with PAE paging */
    MODE_VIRTUAL_8086,
    MODE_COMPATIBILITY,
    MODE_64BIT,
    MODE_COUNT
};

enum cpu_mode cpu_mode(const struct cpu *cpu);
const char *cpu_mode_name(enum cpu_mode mode); /* "real", "64-bit", ... */

static inline bool cpu_protected(const struct cpu *cpu)
{
    return cpu->state.cr0 & CR0_PE;
}
static inline bool cpu_virtual_8086(const struct cpu *cpu)
{
    return (cpu->state.rflags & RFLAGS_VM) && cpu_protected(cpu);
}
/* IA-32e mode: compatibility or 64-bit. */
static inline bool cpu_long_mode(const struct cpu *cpu)
{
    return cpu->state.efer & EFER_LMA;
}
static inline bool cpu_64bit(const struct cpu *cpu)
{
    return cpu_long_mode(cpu) && (cpu->state.seg[SEG_CS].access_rights & AR_L);
}
/* PAE paging proper: the one paging mode that has PDPTE registers. */
static inline bool cpu_pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* The registers that select a mode, and what else the rules look at. */
struct mode_registers {
    uint64_t cr0, cr3, cr4, efer;
    bool cs_long;   /* CS.L */
    bool tss_16bit; /* TR holds a 16-bit TSS */
};

/* A demand on a transition. `violated` sees the registers before and after. */
struct mode_rule {
    const char *section; /* of the SDM */
    const char *text;
    bool (*violated)(const struct mode_registers *from, const struct mode_registers *to);
};

/* The first rule that the transition breaks, NULL if it is legal. `to->efer` holds LMA as it would
 * become. Reserved bits, which depend on the CPU profile, are not a matter of these rules. */
const struct mode_rule *mode_transition_check(const struct mode_registers *from,
                                              const struct mode_registers *to);

/*
 * Architectural register loads without privilege check and VM exit; in VMX non-root operation the
 * fixed bits are honoured. Guest/host masks are not: the value is what the register shall hold.
 * OUTCOME_EXCEPTION: #GP(0) (or #PF by the load of PDPTEs); OUTCOME_EXIT: an EPT violation or
 * misconfiguration met by the load of the PDPTEs. Nothing has changed in both cases.
 */
enum outcome cpu_write_cr0(struct cpu *cpu, uint64_t value);
enum outcome cpu_write_cr3(struct cpu *cpu, uint64_t value); /* bit 63: as MOV to CR3 takes it */
enum outcome cpu_write_cr4(struct cpu *cpu, uint64_t value);
enum outcome cpu_write_efer(struct cpu *cpu, uint64_t value); /* the LMA bit is ignored */

/* Moves from the present CR0, CR4 and EFER to these (LMA is computed), all rules applied. */
enum outcome cpu_change_mode(struct cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer);

/* OUTCOME_EXCEPTION with #GP(0). */
enum outcome cpu_fault_gp(struct cpu *cpu);
enum outcome cpu_fault_ud(struct cpu *cpu);
/* The outcome of a memory access of an instruction that failed: #PF, or an EPT exit. */
enum outcome cpu_memory_outcome(struct cpu *cpu, const struct mmu_fault *fault);

/* Linear addresses are 32 bits wide and wrap around outside IA-32e mode. */
static inline uint64_t cpu_linear(const struct cpu *cpu, uint64_t linear)
{
    return cpu_long_mode(cpu) ? linear : (uint32_t)linear;
}

/* 48 bits, or 57 with CR4.LA57. */
static inline bool cpu_canonical(const struct cpu *cpu, uint64_t linear)
{
    unsigned shift = cpu->state.cr4 & CR4_LA57 ? 7 : 16;

    return (uint64_t)((int64_t)(linear << shift) >> shift) == linear;
}

#endif
