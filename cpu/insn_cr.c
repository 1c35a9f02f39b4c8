/* MOV to and from control registers. */
#include "cpu/modes.h"
#include "cpu/vmx.h"

/* In 64-bit mode control registers move as 64 bits, elsewhere as 32. */
static uint64_t operand_mask(const struct cpu *cpu)
{
    return cpu_64bit(cpu) ? UINT64_MAX : UINT32_MAX;
}

static enum outcome write_cr8(struct cpu *cpu, uint64_t value)
{
    if (value > 15)
        return cpu_fault_gp(cpu);
    cpu->state.cr8 = value;
    cpu->changed |= CPU_CHANGED_CR8;
    if (cpu->callbacks->write_cr8)
        cpu->callbacks->write_cr8(cpu->machine, value);
    return OUTCOME_DONE;
}

static uint64_t read_cr8(struct cpu *cpu)
{
    if (cpu->callbacks->read_cr8)
        cpu->state.cr8 = cpu->callbacks->read_cr8(cpu->machine);
    return cpu->state.cr8;
}

static enum outcome write_cr2(struct cpu *cpu, uint64_t value)
{
    cpu->state.cr2 = value;
    cpu->changed |= CPU_CHANGED_CR2;
    return OUTCOME_DONE;
}

enum outcome insn_mov_to_cr(struct cpu *cpu, unsigned reg, enum gpr source)
{
    uint64_t value = cpu->state.gpr[source] & operand_mask(cpu);

    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts_mov_to_cr(cpu, reg, source, value))
        return OUTCOME_EXIT;
    switch (reg) {
    case 0: /* bits that the guest/host mask gives to the host keep their value */
        return cpu_write_cr0(cpu, vmx_apply_cr0_mask(cpu, cpu->state.cr0, value));
    case 2:
        return write_cr2(cpu, value);
    case 3:
        return cpu_write_cr3(cpu, value);
    case 4:
        return cpu_write_cr4(cpu, vmx_apply_cr4_mask(cpu, cpu->state.cr4, value));
    case 8:
        return write_cr8(cpu, value);
    default:
        return cpu_fault_ud(cpu);
    }
}

static uint64_t visible_cr(struct cpu *cpu, unsigned reg)
{
    switch (reg) {
    case 0:
        return vmx_guest_visible_cr0(cpu);
    case 2:
        return cpu->state.cr2;
    case 3:
        return cpu->state.cr3;
    case 4:
        return vmx_guest_visible_cr4(cpu);
    default:
        return read_cr8(cpu);
    }
}

enum outcome insn_mov_from_cr(struct cpu *cpu, unsigned reg, enum gpr destination)
{
    if (reg != 0 && reg != 2 && reg != 3 && reg != 4 && reg != 8)
        return cpu_fault_ud(cpu);
    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts_mov_from_cr(cpu, reg, destination))
        return OUTCOME_EXIT;
    cpu->state.gpr[destination] = visible_cr(cpu, reg) & operand_mask(cpu);
    return OUTCOME_DONE;
}
