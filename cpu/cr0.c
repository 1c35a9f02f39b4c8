/* CR0 and the instructions that change a part of it: CLTS and LMSW. */
#include "cpu/modes.h"
#include "cpu/vmx.h"

#define CR0_DEFINED                                                                            \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
     CR0_PG)
/* What LMSW loads. */
#define CR0_STATUS_WORD (CR0_PE | CR0_MP | CR0_EM | CR0_TS)

/* SDM "Control Registers": setting a reserved bit below bit 32 has no effect, CR0.ET is
 * hard-wired to 1, and bits 63:32 must be written with zeros. */
enum outcome cpu_write_cr0(struct cpu *cpu, uint64_t value)
{
    value = (value & (CR0_DEFINED | ~0xffffffffull)) | CR0_ET;
    return cpu_change_mode(cpu, value, cpu->state.cr4, cpu->state.efer);
}

/* CR0.TS alone moves neither mode nor paging, so nothing but the register changes. */
enum outcome insn_clts(struct cpu *cpu)
{
    uint64_t cr0 = cpu->state.cr0;

    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts_clts(cpu))
        return OUTCOME_EXIT;
    cr0 = vmx_apply_cr0_mask(cpu, cr0, cr0 & ~CR0_TS);
    if (cr0 != cpu->state.cr0) {
        cpu->state.cr0 = cr0;
        mmu_set_cr0(&cpu->mmu, cr0);
        cpu->changed |= CPU_CHANGED_CR0;
    }
    return OUTCOME_DONE;
}

enum outcome insn_lmsw(struct cpu *cpu, uint16_t source, bool memory, uint64_t linear)
{
    uint64_t cr0 = cpu->state.cr0;
    uint64_t value;

    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts_lmsw(cpu, source, memory, linear))
        return OUTCOME_EXIT;
    /* LMSW can set CR0.PE but not clear it. */
    value = (cr0 & ~(CR0_STATUS_WORD & ~CR0_PE)) | (source & CR0_STATUS_WORD);
    return cpu_write_cr0(cpu, vmx_apply_cr0_mask(cpu, cr0, value));
}

enum outcome insn_smsw(struct cpu *cpu, uint64_t *value)
{
    if ((cpu->state.cr4 & CR4_UMIP) && cpu_protected(cpu) && cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    *value = vmx_guest_visible_cr0(cpu);
    return OUTCOME_DONE;
}
