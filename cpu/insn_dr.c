/* MOV to and from debug registers; INT1. SDM "Debug Registers". */
#include "cpu/modes.h"
#include "cpu/vmx.h"

/*
 * Checks that both directions share. MOV-DR exiting comes before all of them (SDM "Relative
 * Priority of Faults and VM Exits"). DR4 and DR5 are DR6 and DR7 unless CR4.DE reserves them.
 */
static enum outcome check(struct cpu *cpu, unsigned *reg, bool write, enum gpr gpr)
{
    if (vmx_intercepts_mov_dr(cpu, *reg, write, gpr))
        return OUTCOME_EXIT;
    if (*reg == 4 || *reg == 5) {
        if (cpu->state.cr4 & CR4_DE)
            return cpu_fault_ud(cpu);
        *reg += 2;
    }
    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (cpu->state.dr7 & DR7_GD) {
        cpu_fault(cpu, VECTOR_DB, 0)->debug = DR6_BD;
        return OUTCOME_EXCEPTION;
    }
    return OUTCOME_DONE;
}

enum outcome insn_mov_to_dr(struct cpu *cpu, unsigned reg, enum gpr source)
{
    uint64_t value = cpu->state.gpr[source];
    enum outcome outcome = check(cpu, &reg, true, source);

    if (outcome != OUTCOME_DONE)
        return outcome;
    if (!cpu_64bit(cpu))
        value = (uint32_t)value;
    if (reg >= 6 && value >> 32)
        return cpu_fault_gp(cpu);
    if (reg == 6)
        cpu->state.dr6 = (value & DR6_WRITABLE) | DR6_FIXED;
    else if (reg == 7)
        cpu->state.dr7 = (value & DR7_WRITABLE) | DR7_FIXED;
    else
        cpu->state.dr[reg] = value;
    cpu->changed |= CPU_CHANGED_DEBUG;
    return OUTCOME_DONE;
}

enum outcome insn_mov_from_dr(struct cpu *cpu, unsigned reg, enum gpr destination)
{
    const struct cpu_state *state = &cpu->state;
    enum outcome outcome = check(cpu, &reg, false, destination);
    uint64_t value;

    if (outcome != OUTCOME_DONE)
        return outcome;
    value = reg == 6 ? state->dr6 : reg == 7 ? state->dr7 : state->dr[reg];
    cpu->state.gpr[destination] = cpu_64bit(cpu) ? value : (uint32_t)value;
    return OUTCOME_DONE;
}

/* Neither the gate's DPL nor IOPL is checked, and DR6 tells nothing (SDM "INT n/INTO/INT3/INT1").
 */
enum outcome insn_int1(struct cpu *cpu)
{
    cpu->fault = (struct event){.type = EVENT_PRIVILEGED_SOFTWARE_EXCEPTION,
                                .vector = VECTOR_DB,
                                .instruction_length = cpu->instruction_length};
    return OUTCOME_EXCEPTION;
}
