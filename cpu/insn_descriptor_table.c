/* SGDT, SIDT, LGDT, LIDT, SLDT, STR, LLDT and LTR: everything but the access itself. */
#include "cpu/modes.h"
#include "cpu/vmx.h"

// clang-format off
static const struct {
    bool protected_only; /* #UD in real-address and virtual-8086 mode */
    bool privileged;     /* #GP(0) above CPL 0 */
    bool umip;           /* #GP(0) above CPL 0 with CR4.UMIP = 1 */
} rules[] = {
    [INSN_SGDT] = { .umip = true },
    [INSN_SIDT] = { .umip = true },
    [INSN_LGDT] = { .privileged = true },
    [INSN_LIDT] = { .privileged = true },
    [INSN_SLDT] = { .protected_only = true, .umip = true },
    [INSN_STR]  = { .protected_only = true, .umip = true },
    [INSN_LLDT] = { .protected_only = true, .privileged = true },
    [INSN_LTR]  = { .protected_only = true, .privileged = true },
};
// clang-format on

enum outcome insn_descriptor_table(struct cpu *cpu, enum descriptor_instruction instruction,
                                   uint32_t instruction_info, uint64_t displacement)
{
    bool real = !cpu_protected(cpu) || cpu_virtual_8086(cpu);

    if (real && rules[instruction].protected_only)
        return cpu_fault_ud(cpu);
    if (cpu_cpl(cpu) != 0 &&
        (rules[instruction].privileged || (rules[instruction].umip && (cpu->state.cr4 & CR4_UMIP))))
        return cpu_fault_gp(cpu);
    return vmx_intercepts_descriptor_table(cpu, instruction, instruction_info, displacement)
               ? OUTCOME_EXIT
               : OUTCOME_DONE;
}
