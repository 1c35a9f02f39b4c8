/* SYSCALL, SYSRET, SYSENTER and SYSEXIT. SDM volume 2, the instructions' pages. */
#include "cpu/modes.h"
#include "cpu/segments.h"

/* RFLAGS that SYSRET takes from R11. */
#define SYSRET_FLAGS 0x3c7fd7ull

#define STAR_SYSCALL_SHIFT 32
#define STAR_SYSRET_SHIFT  48

static void load_segments(struct cpu *cpu, uint16_t cs, uint16_t ss, unsigned cpl, bool long_mode)
{
    struct segment *seg = cpu->state.seg;

    segment_load_flat_code(&seg[SEG_CS], cs | cpl, cpl, long_mode);
    segment_load_flat_stack(&seg[SEG_SS], ss | cpl, cpl);
    cpu->changed |= CPU_CHANGED_SEGMENTS;
}

/* The instruction completes: what outlives only the next instruction ends. */
static enum outcome complete(struct cpu *cpu)
{
    cpu->state.rflags &= ~RFLAGS_RF;
    cpu->state.interruptibility &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    return OUTCOME_DONE;
}

static bool syscall_exists(const struct cpu *cpu)
{
    return cpu_64bit(cpu) && (cpu->state.efer & EFER_SCE);
}

enum outcome insn_syscall(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;
    uint16_t selector = (uint16_t)(state->star >> STAR_SYSCALL_SHIFT);

    if (!syscall_exists(cpu))
        return cpu_fault_ud(cpu);
    state->gpr[GPR_RCX] = state->rip + cpu->instruction_length;
    state->gpr[GPR_R11] = state->rflags & ~RFLAGS_RF;
    state->rip = state->lstar;
    state->rflags = (state->rflags & ~state->fmask) | RFLAGS_FIXED;
    load_segments(cpu, selector & ~SELECTOR_RPL, selector + 8, 0, true);
    return complete(cpu);
}

enum outcome insn_sysret(struct cpu *cpu, unsigned operand_size)
{
    struct cpu_state *state = &cpu->state;
    uint16_t selector = (uint16_t)(state->star >> STAR_SYSRET_SHIFT);
    bool to_64bit = operand_size == 8;

    if (!syscall_exists(cpu))
        return cpu_fault_ud(cpu);
    if (cpu_cpl(cpu) != 0 || (to_64bit && !cpu_canonical(cpu, state->gpr[GPR_RCX])))
        return cpu_fault_gp(cpu);
    state->rip = to_64bit ? state->gpr[GPR_RCX] : (uint32_t)state->gpr[GPR_RCX];
    state->rflags = (state->gpr[GPR_R11] & SYSRET_FLAGS) | RFLAGS_FIXED;
    load_segments(cpu, selector + (to_64bit ? 16 : 0), selector + 8, 3, to_64bit);
    state->interruptibility &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    return OUTCOME_DONE;
}

/* IA32_SYSENTER_CS holds a null selector: the feature is off. */
static bool sysenter_off(const struct cpu *cpu)
{
    return !cpu_protected(cpu) || selector_null((uint16_t)cpu->state.sysenter_cs);
}

enum outcome insn_sysenter(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;
    uint16_t cs = (uint16_t)state->sysenter_cs & ~SELECTOR_RPL;
    bool long_mode = cpu_long_mode(cpu);

    if (sysenter_off(cpu))
        return cpu_fault_gp(cpu);
    state->rflags &= ~(RFLAGS_VM | RFLAGS_IF);
    state->gpr[GPR_RSP] = long_mode ? state->sysenter_esp : (uint32_t)state->sysenter_esp;
    state->rip = long_mode ? state->sysenter_eip : (uint32_t)state->sysenter_eip;
    load_segments(cpu, cs, cs + 8, 0, long_mode);
    return complete(cpu);
}

enum outcome insn_sysexit(struct cpu *cpu, unsigned operand_size)
{
    struct cpu_state *state = &cpu->state;
    uint16_t base = (uint16_t)state->sysenter_cs & ~SELECTOR_RPL;
    uint64_t rip = state->gpr[GPR_RDX], rsp = state->gpr[GPR_RCX];
    bool to_64bit = operand_size == 8;

    if (sysenter_off(cpu) || cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (to_64bit && (!cpu_canonical(cpu, rip) || !cpu_canonical(cpu, rsp)))
        return cpu_fault_gp(cpu);
    state->rip = to_64bit ? rip : (uint32_t)rip;
    state->gpr[GPR_RSP] = to_64bit ? rsp : (uint32_t)rsp;
    load_segments(cpu, base + (to_64bit ? 32 : 16), base + (to_64bit ? 40 : 24), 3, to_64bit);
    return complete(cpu);
}
