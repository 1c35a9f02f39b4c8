/* SGDT, SIDT, LGDT, LIDT, SLDT, STR, LLDT and LTR: everything but the operand's access. */
#include "cpu/modes.h"
#include "cpu/segments.h"
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

static enum outcome fault(struct cpu *cpu, enum vector vector, uint16_t selector)
{
    cpu_fault(cpu, vector, SELECTOR_ERROR(selector));
    return OUTCOME_EXCEPTION;
}

static bool type_fits(const struct cpu *cpu, bool task, uint32_t rights)
{
    unsigned type = rights & AR_TYPE_MASK;

    if (rights & AR_S)
        return false;
    if (!task)
        return type == SYSTEM_LDT;
    return type == SYSTEM_TSS32_AVAILABLE ||
           (type == SYSTEM_TSS16_AVAILABLE && !cpu_long_mode(cpu));
}

/* Bits 63:32 of the base address in the second half of a system descriptor of IA-32e mode, whose
 * bits 12:8 of the upper dword are zero (SDM "Segment Descriptor Tables in IA-32e Mode"). */
static bool upper_half_fits(const struct cpu *cpu, uint64_t upper, uint64_t *base)
{
    *base |= upper << 32;
    return !(upper >> 40 & 0x1f) && cpu_canonical(cpu, *base);
}

enum outcome insn_load_system_segment(struct cpu *cpu, bool task, uint16_t selector)
{
    struct segment *segment = &cpu->state.seg[task ? SEG_TR : SEG_LDTR];
    const struct descriptor_table *gdtr = &cpu->state.gdtr;
    uint64_t linear = cpu_linear(cpu, gdtr->base + (selector & SELECTOR_INDEX));
    size_t size = cpu_long_mode(cpu) ? 16 : 8;
    struct segment loaded;
    struct mmu_fault memory_fault;
    uint64_t descriptor[2];
    uint8_t busy;

    if (selector_null(selector)) {
        if (task)
            return cpu_fault_gp(cpu);
        segment_load_null(segment, selector, 0);
        cpu->changed |= CPU_CHANGED_SEGMENTS;
        return OUTCOME_DONE;
    }
    if ((selector & SELECTOR_TI) || (selector & SELECTOR_INDEX) + size - 1 > gdtr->limit)
        return fault(cpu, VECTOR_GP, selector);
    if (mmu_read(&cpu->mmu, linear, descriptor, size, ACCESS_READ | ACCESS_IMPLICIT,
                 &memory_fault) != MMU_OK)
        return cpu_memory_outcome(cpu, &memory_fault);
    segment_load(&loaded, selector, descriptor[0]);
    if (!type_fits(cpu, task, loaded.access_rights))
        return fault(cpu, VECTOR_GP, selector);
    if (!(loaded.access_rights & AR_P))
        return fault(cpu, VECTOR_NP, selector);
    if (size == 16 && !upper_half_fits(cpu, descriptor[1], &loaded.base))
        return fault(cpu, VECTOR_GP, selector);
    if (task) {
        loaded.access_rights |= AR_WRITABLE; /* busy */
        busy = (uint8_t)loaded.access_rights;
        if (mmu_write(&cpu->mmu, linear + 5, &busy, 1, ACCESS_WRITE | ACCESS_IMPLICIT,
                      &memory_fault) != MMU_OK)
            return cpu_memory_outcome(cpu, &memory_fault);
    }
    *segment = loaded;
    cpu->changed |= CPU_CHANGED_SEGMENTS;
    return OUTCOME_DONE;
}
