/*
 * For the suites about the processor: one logical processor, a few megabytes of memory, and a way
 * to put it into any mode at once, without the instructions under test.
 *
 * Memory map (guest-physical = host-physical)
 *   0x001000  PDPT of PAE paging      0x002000  PML4     0x003000  page directory of 32-bit paging
 *   0x004000  page directory (PAE, IA-32e)               0x005000  two page tables of 64-bit
 * entries 0x007000  page table of 32-bit entries               0x008000  PDPT of IA-32e paging
 *   0x010000  GDT     0x011000  IDT, IVT     0x014000  TSS     0x020000 and on: the suites'
 *   0x400000  EPT tables, if the suite wants EPT
 *
 * Linear = physical below 4 MiB.
 */
#ifndef VTXSIM_TESTS_CPU_MACHINE_H
#define VTXSIM_TESTS_CPU_MACHINE_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/modes.h"
#include "cpu/msr.h"
#include "cpu/vmx.h"
#include "memory/ept.h"
#include "memory/physmem.h"

#define PDPT_ADDRESS   0x1000u
#define PML4_ADDRESS   0x2000u
#define PD32_ADDRESS   0x3000u
#define PD_ADDRESS     0x4000u
#define PT_ADDRESS     0x5000u /* two tables for PAE and IA-32e paging */
#define PT32_ADDRESS   0x7000u
#define PDPT64_ADDRESS 0x8000u
#define GDT_ADDRESS    0x10000u
#define IDT_ADDRESS    0x11000u
#define TSS_ADDRESS    0x14000u
#define GUEST_MEMORY   (4u << 20)
#define MACHINE_MEMORY (8u << 20)

struct machine {
    struct cpu cpu;
    struct vmcs vmcs;
    struct cpu_profile profile;
    struct physmem physmem;
    struct ept ept;
    uint64_t tsc, random, tsc_offset;
    uint64_t apic_msr[0x100]; /* x2APIC registers, as plain memory */
    uint64_t apic_base, tsc_deadline, cr8;
};

static inline uint64_t machine_tsc(void *machine)
{
    return ((struct machine *)machine)->tsc;
}

static inline uint64_t machine_random(void *machine)
{
    return ((struct machine *)machine)->random;
}

static inline uint64_t *machine_apic_register(struct machine *machine, uint32_t msr)
{
    return msr == MSR_APIC_BASE      ? &machine->apic_base
           : msr == MSR_TSC_DEADLINE ? &machine->tsc_deadline
                                     : &machine->apic_msr[msr & 0xff];
}

static inline bool machine_apic_read(void *machine, uint32_t msr, uint64_t *value)
{
    *value = *machine_apic_register(machine, msr);
    return true;
}

static inline bool machine_apic_write(void *machine, uint32_t msr, uint64_t value)
{
    *machine_apic_register(machine, msr) = value;
    return true;
}

static inline uint64_t machine_read_cr8(void *machine)
{
    return ((struct machine *)machine)->cr8;
}

static inline void machine_write_cr8(void *machine, uint64_t value)
{
    ((struct machine *)machine)->cr8 = value;
}

static inline void machine_tsc_offset_changed(void *machine, uint64_t offset)
{
    ((struct machine *)machine)->tsc_offset = offset;
}

static const struct cpu_callbacks machine_callbacks = {
    .tsc = machine_tsc,
    .tsc_offset_changed = machine_tsc_offset_changed,
    .random = machine_random,
    .apic_read_msr = machine_apic_read,
    .apic_write_msr = machine_apic_write,
    .read_cr8 = machine_read_cr8,
    .write_cr8 = machine_write_cr8,
};

static inline void machine_store(struct machine *machine, uint64_t address, const void *data,
                                 size_t size)
{
    memcpy(physmem_at(&machine->physmem, address), data, size);
}

static inline void machine_store64(struct machine *machine, uint64_t address, uint64_t value)
{
    machine_store(machine, address, &value, 8);
}

static inline void machine_store32(struct machine *machine, uint64_t address, uint32_t value)
{
    machine_store(machine, address, &value, 4);
}

static inline uint64_t machine_load(struct machine *machine, uint64_t address, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, physmem_at(&machine->physmem, address), size);
    return value;
}

/* Present, writable, user. */
#define PAGE_FLAGS 7u

/* Where the entry of a linear address below 4 MiB is. */
static inline uint64_t machine_pte64(uint64_t linear)
{
    return PT_ADDRESS + (linear >> 12) * 8;
}

static inline uint64_t machine_pte32(uint64_t linear)
{
    return PT32_ADDRESS + (linear >> 12) * 4;
}

/* 4 MiB of identity mapping in the formats of all paging modes. */
static inline void machine_build_tables(struct machine *machine)
{
    machine_store64(machine, PML4_ADDRESS, PDPT64_ADDRESS | PAGE_FLAGS);
    machine_store64(machine, PDPT64_ADDRESS, PD_ADDRESS | PAGE_FLAGS);
    machine_store64(machine, PDPT_ADDRESS, PD_ADDRESS | 1);
    machine_store64(machine, PD_ADDRESS, PT_ADDRESS | PAGE_FLAGS);
    machine_store64(machine, PD_ADDRESS + 8, (PT_ADDRESS + 0x1000) | PAGE_FLAGS);
    machine_store32(machine, PD32_ADDRESS, PT32_ADDRESS | PAGE_FLAGS);
    for (uint64_t linear = 0; linear < GUEST_MEMORY; linear += 0x1000) {
        machine_store64(machine, machine_pte64(linear), linear | PAGE_FLAGS);
        machine_store32(machine, machine_pte32(linear), (uint32_t)linear | PAGE_FLAGS);
    }
}

static inline void machine_init(struct machine *machine)
{
    struct cpu *cpu = &machine->cpu;
    char path[4096], message[4096];

    memset(machine, 0, sizeof(*machine));
    cr_assert_eq(cpu_profile_find("skylake-client", path, sizeof(path)), 0, "%s", path);
    cr_assert_eq(cpu_profile_load(&machine->profile, path, message, sizeof(message)), 0, "%s",
                 message);
    cr_assert_eq(physmem_init(&machine->physmem, MACHINE_MEMORY), 0);
    mmu_init(&cpu->mmu, &machine->physmem);
    cpu->profile = &machine->profile;
    cpu->callbacks = &machine_callbacks;
    cpu->machine = machine;
    cpu->vmcs = &machine->vmcs;
    /* What the suites place by address is not handed out; EPT tables come after it. */
    physmem_alloc_range(&machine->physmem, GUEST_MEMORY - FRAME_SIZE, FRAME_SIZE);
    machine_build_tables(machine);
    cpu_reset(cpu);
    machine->apic_base = cpu->state.apic_base;
}

static inline void machine_destroy(struct machine *machine)
{
    mmu_destroy(&machine->cpu.mmu);
    physmem_destroy(&machine->physmem);
}

/* The MMU's copy of the paging registers follows cpu->state; everything cached is dropped. */
static inline void machine_sync_mmu(struct machine *machine)
{
    struct cpu *cpu = &machine->cpu;
    struct paging_registers registers = {.cr0 = cpu->state.cr0,
                                         .cr3 = cpu->state.cr3,
                                         .cr4 = cpu->state.cr4,
                                         .efer = cpu->state.efer};

    memcpy(registers.pdpte, cpu->state.pdpte, sizeof(registers.pdpte));
    mmu_load(&cpu->mmu, &registers, true);
}

/* Flat segments for a CPL; code access rights as given. */
static inline void machine_set_segments(struct machine *machine, unsigned cpl, uint32_t code)
{
    struct segment *seg = machine->cpu.state.seg;
    const uint32_t dpl = cpl << AR_DPL_SHIFT;

    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        seg[i] = (struct segment){.limit = 0xffffffff, .access_rights = 0xc093 | dpl};
    seg[SEG_CS].access_rights = code | dpl;
}

/* Puts the processor into a mode, with identity mapping where there is paging. */
static inline void machine_set_mode(struct machine *machine, enum cpu_mode mode, unsigned cpl)
{
    struct cpu_state *state = &machine->cpu.state;

    machine->cpu.non_root = false;
    cpu_reset(&machine->cpu);
    state->cr0 = CR0_ET | CR0_PE | CR0_NE;
    machine_set_segments(machine, cpl, 0xc09b);
    switch (mode) {
    case MODE_REAL:
    case MODE_UNREAL:
        state->cr0 = CR0_ET;
        for (unsigned i = SEG_ES; i <= SEG_GS; i++)
            state->seg[i] = (struct segment){.limit = 0xffff, .access_rights = 0x93};
        state->seg[SEG_CS].access_rights = 0x9b;
        if (mode == MODE_UNREAL)
            state->seg[SEG_DS].limit = 0xffffffff;
        break;
    case MODE_PROTECTED_16:
        state->seg[SEG_CS].access_rights &= ~AR_DB;
        break;
    case MODE_PROTECTED_32:
        state->cr0 |= CR0_PG;
        state->cr3 = PD32_ADDRESS;
        break;
    case MODE_VIRTUAL_8086:
        state->cr0 |= CR0_PG;
        state->cr3 = PD32_ADDRESS;
        state->rflags |= RFLAGS_VM;
        for (unsigned i = SEG_ES; i <= SEG_GS; i++)
            state->seg[i] = (struct segment){.limit = 0xffff, .access_rights = 0xf3};
        break;
    case MODE_PAE:
        state->cr0 |= CR0_PG;
        state->cr3 = PDPT_ADDRESS;
        state->cr4 = CR4_PAE;
        memcpy(state->pdpte, physmem_at(&machine->physmem, PDPT_ADDRESS), sizeof(state->pdpte));
        break;
    default:
        state->cr0 |= CR0_PG;
        state->cr3 = PML4_ADDRESS;
        state->cr4 = CR4_PAE;
        state->efer = EFER_LME | EFER_LMA;
        if (mode == MODE_64BIT)
            state->seg[SEG_CS].access_rights = 0xa09b | cpl << AR_DPL_SHIFT;
        break;
    }
    machine_sync_mmu(machine);
    cr_assert_eq(cpu_mode(&machine->cpu), mode, "fixture: %s", cpu_mode_name(mode));
    machine->cpu.changed = 0;
}

/* VMX non-root operation with these controls and nothing else intercepted. */
static inline void machine_enter_vmx(struct machine *machine, uint32_t primary, uint32_t secondary)
{
    memset(&machine->vmcs, 0, sizeof(machine->vmcs));
    vmcs_set(&machine->vmcs, VMCS_PRIMARY_CONTROLS, primary | PRIMARY_SECONDARY_CONTROLS);
    vmcs_set(&machine->vmcs, VMCS_SECONDARY_CONTROLS, secondary);
    machine->cpu.non_root = true;
}

/* EPT with one 4-KByte page for each of the guest, which the suite then changes in machine->ept. */
static inline void machine_enable_ept(struct machine *machine)
{
    cr_assert_eq(ept_create(&machine->ept, &machine->physmem, false), 0);
    cr_assert_eq(ept_map_range(&machine->ept, 0, 0, GUEST_MEMORY, 12, EPT_ALL, EPT_TYPE_WB), 0);
    mmu_set_ept(&machine->cpu.mmu, true, machine->ept.eptp, 1);
}

/* Pseudo-random numbers (xorshift64*): the same on every machine for one seed. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

#endif
