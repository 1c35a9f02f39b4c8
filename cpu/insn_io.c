/* I/O instructions: permission by IOPL and by the I/O permission bit map, then I/O exiting. SDM
 * volume 1, "Protected-Mode I/O". */
#include "cpu/modes.h"
#include "cpu/vmx.h"

#define TSS_IO_MAP_BASE 102 /* 16-bit offset of the map in a 32-bit or 64-bit TSS */
#define TSS_32BIT       8u

/* Two bytes of the map are always read, so a port at its very end needs a byte beyond it. */
static enum outcome check_bitmap(struct cpu *cpu, const struct io_access *access)
{
    const unsigned read = ACCESS_READ | ACCESS_IMPLICIT;
    const struct segment *tr = &cpu->state.seg[SEG_TR];
    struct mmu_fault fault;
    uint16_t base, bits, wanted = (uint16_t)(((1u << access->size) - 1) << (access->port & 7));
    uint32_t offset;

    if (!(tr->access_rights & TSS_32BIT) || TSS_IO_MAP_BASE + 1 > tr->limit)
        return cpu_fault_gp(cpu);
    if (mmu_read(&cpu->mmu, cpu_linear(cpu, tr->base + TSS_IO_MAP_BASE), &base, 2, read, &fault) !=
        MMU_OK)
        return cpu_memory_outcome(cpu, &fault);
    offset = base + access->port / 8u;
    if (offset + 1 > tr->limit)
        return cpu_fault_gp(cpu);
    if (mmu_read(&cpu->mmu, cpu_linear(cpu, tr->base + offset), &bits, 2, read, &fault) != MMU_OK)
        return cpu_memory_outcome(cpu, &fault);
    return bits & wanted ? cpu_fault_gp(cpu) : OUTCOME_DONE;
}

static bool needs_bitmap(const struct cpu *cpu)
{
    unsigned iopl = (unsigned)(cpu->state.rflags & RFLAGS_IOPL) >> 12;

    return cpu_protected(cpu) && (cpu_cpl(cpu) > iopl || (cpu->state.rflags & RFLAGS_VM));
}

enum outcome insn_io(struct cpu *cpu, const struct io_access *access)
{
    if (needs_bitmap(cpu)) {
        enum outcome outcome = check_bitmap(cpu, access);

        if (outcome != OUTCOME_DONE)
            return outcome;
    }
    return vmx_intercepts_io(cpu, access) ? OUTCOME_EXIT : OUTCOME_DONE;
}
