/* VMX instructions as a guest meets them. vtxsim does not offer VMX to its guests, so outside VMX
 * non-root operation they do not exist. */
#include "cpu/modes.h"
#include "cpu/vmx.h"

/* Where the SDM's pages of the instructions demand protected mode and no compatibility mode. */
static bool mode_allows(const struct cpu *cpu)
{
    return cpu_protected(cpu) && !cpu_virtual_8086(cpu) && (!cpu_long_mode(cpu) || cpu_64bit(cpu));
}

enum outcome insn_vmx(struct cpu *cpu, enum exit_reason reason, uint32_t instruction_info,
                      uint64_t displacement)
{
    bool exists = cpu->non_root;

    if (reason == EXIT_GETSEC)
        exists = exists && (cpu->state.cr4 & CR4_SMXE);
    else if (reason == EXIT_VMFUNC)
        exists = exists && (vmx_secondary_controls(cpu->vmcs) & SECONDARY_VM_FUNCTIONS);
    else if (reason != EXIT_VMCALL)
        exists = exists && mode_allows(cpu);
    if (!exists || !vmx_intercepts_operand(cpu, reason, instruction_info, displacement))
        return cpu_fault_ud(cpu);
    return OUTCOME_EXIT;
}
