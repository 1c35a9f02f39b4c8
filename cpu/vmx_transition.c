/* Parts of VM entries and VM exits that both need: MSR lists, and the registers of paging. */
#include "cpu/vmx_transition.h"

#include <string.h>

#include "cpu/msr.h"

/* One entry of an MSR list (SDM "VM-Exit Controls for MSRs", "Format of an MSR Entry"). */
struct msr_entry {
    uint32_t index, reserved;
    uint64_t data;
};

#define MSR_SMM_MONITOR_CTL 0x9b
#define MSR_SMBASE          0x9e

/* Entries without memory behind them read as all-ones, which no list may hold. */
static struct msr_entry read_entry(const struct cpu *cpu, uint64_t hpa)
{
    struct msr_entry entry;
    if (physmem_contains(cpu->mmu.physmem, hpa, sizeof(entry)))
        memcpy(&entry, physmem_at(cpu->mmu.physmem, hpa), sizeof(entry));
    else
        memset(&entry, 0xff, sizeof(entry));
    return entry;
}

static bool is_x2apic(uint32_t msr)
{
    return msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST;
}

/* "Loading MSRs": FS.base and GS.base have fields of their own; the local APIC's registers and
 * what only SMM or microcode updates use are never loaded. */
static bool loadable(const struct msr_entry *entry)
{
    return entry->reserved == 0 && entry->index != MSR_FS_BASE && entry->index != MSR_GS_BASE &&
           entry->index != MSR_SMM_MONITOR_CTL && entry->index != MSR_BIOS_UPDT_TRIG &&
           !is_x2apic(entry->index);
}

/* "Saving MSRs". */
static bool storable(const struct msr_entry *entry)
{
    return entry->reserved == 0 && entry->index != MSR_SMBASE && !is_x2apic(entry->index);
}

uint32_t vmx_load_msr_list(struct cpu *cpu, uint64_t address, uint32_t count)
{
    for (uint32_t number = 1; number <= count; number++, address += sizeof(struct msr_entry)) {
        struct msr_entry entry = read_entry(cpu, address);
        if (!loadable(&entry) || !cpu_msr_write(cpu, entry.index, entry.data))
            return number;
    }
    return 0;
}

uint32_t vmx_store_msr_list(struct cpu *cpu, uint64_t address, uint32_t count)
{
    for (uint32_t number = 1; number <= count; number++, address += sizeof(struct msr_entry)) {
        struct msr_entry entry = read_entry(cpu, address);
        if (!storable(&entry) || !cpu_msr_read(cpu, entry.index, &entry.data))
            return number;
        memcpy(physmem_at(cpu->mmu.physmem, address), &entry, sizeof(entry));
    }
    return 0;
}

void vmx_load_paging(struct cpu *cpu, bool flush)
{
    const struct cpu_state *state = &cpu->state;
    struct paging_registers regs = {
        .cr0 = state->cr0, .cr3 = state->cr3, .cr4 = state->cr4, .efer = state->efer};
    memcpy(regs.pdpte, state->pdpte, sizeof(regs.pdpte));
    mmu_load(&cpu->mmu, &regs, flush);
    if (flush)
        cpu->changed |= CPU_CHANGED_TLB;
}
