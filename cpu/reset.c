/* SDM volume 3, "Processor State After Reset", table "IA-32 and Intel 64 Processor States Following
 * Power-up, Reset, or INIT". */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpuid.h"
#include "cpu/msr.h"

#define TYPE_LDT             2u
#define TYPE_TSS_BUSY        11u
#define APIC_BASE_ADDRESS    0xfee00000ull
/* Fast strings on; BTS and PEBS are unavailable. */
#define MISC_ENABLE_AT_RESET 0x1801ull

static void reset_segments(struct cpu_state *state)
{
    const uint32_t code = AR_P | AR_S | AR_CODE | AR_WRITABLE | AR_ACCESSED;
    const uint32_t data = AR_P | AR_S | AR_WRITABLE | AR_ACCESSED;

    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        state->seg[i] = (struct segment){.limit = 0xffff, .access_rights = data};
    state->seg[SEG_CS] = (struct segment){
        .selector = 0xf000, .base = 0xffff0000, .limit = 0xffff, .access_rights = code};
    state->seg[SEG_LDTR] = (struct segment){.limit = 0xffff, .access_rights = AR_P | TYPE_LDT};
    state->seg[SEG_TR] = (struct segment){.limit = 0xffff, .access_rights = AR_P | TYPE_TSS_BUSY};
    state->gdtr = state->idtr = (struct descriptor_table){.limit = 0xffff};
}

static uint32_t signature(const struct cpu *cpu)
{
    uint32_t registers[4];

    cpuid_query(cpu, 1, 0, registers);
    return registers[0];
}

static void reset_registers(struct cpu *cpu, uint64_t cache_bits)
{
    struct cpu_state *state = &cpu->state;

    memset(state->gpr, 0, sizeof(state->gpr));
    state->gpr[GPR_RDX] = signature(cpu);
    state->rip = 0xfff0;
    state->rflags = RFLAGS_FIXED;
    reset_segments(state);
    state->cr0 = CR0_ET | cache_bits;
    state->cr2 = state->cr3 = state->cr4 = state->cr8 = 0;
    state->efer = 0;
    memset(state->pdpte, 0, sizeof(state->pdpte));
    memset(state->dr, 0, sizeof(state->dr));
    state->dr6 = DR6_FIXED;
    state->dr7 = DR7_FIXED;
    state->interruptibility = 0;
    state->activity = ACTIVITY_ACTIVE;
    state->pending_debug = 0;
}

static void reset_msrs(struct cpu *cpu)
{
    struct cpu_state *state = &cpu->state;

    state->xcr0 = XCR0_X87;
    state->pat = PAT_AT_RESET;
    state->apic_base =
        APIC_BASE_ADDRESS | APIC_BASE_ENABLE | (cpu->apic_id == 0 ? APIC_BASE_BSP : 0);
    state->misc_enable = MISC_ENABLE_AT_RESET;
    state->feature_control = 1; /* firmware locks it, with VMX off */
}

static void load_mmu(struct cpu *cpu)
{
    const struct cpu_state *state = &cpu->state;
    struct paging_registers registers = {.cr0 = state->cr0};

    cpu->mmu.maxphyaddr = cpu->profile->maxphyaddr;
    cpu->mmu.page_1g_supported = profile_has(cpu->profile, FEATURE_PAGE_1G);
    mmu_load(&cpu->mmu, &registers, true);
    cpu->delivery_in_progress = false;
    cpu->changed = ~0u;
}

void cpu_reset(struct cpu *cpu)
{
    memset(&cpu->state, 0, sizeof(cpu->state));
    reset_msrs(cpu);
    reset_registers(cpu, CR0_CD | CR0_NW);
    load_mmu(cpu);
}

void cpu_init(struct cpu *cpu)
{
    reset_registers(cpu, cpu->state.cr0 & (CR0_CD | CR0_NW));
    load_mmu(cpu);
}
