/* A guest in simulated memory for the TLB's tests: guest tables, two EPTs, contexts to enter. */
#ifndef VTXSIM_TESTS_MEMORY_GUEST_H
#define VTXSIM_TESTS_MEMORY_GUEST_H

#include <criterion/criterion.h>

#include "memory/ept.h"
#include "memory/mmu.h"

#define PAGE_X        0x0000000000401000ull
#define PAGE_Y        0x0000008000801000ull /* another PML4 entry */
#define PAGE_GLOBAL   0x0000010000c01000ull
#define DATA_GPA      0x100000ull
#define MEMORY_SIZE   (32ull << 20)
#define NX_WRITE_USER (PTE_PRESENT | PTE_WRITE | PTE_USER)

/* A guest whose guest-physical addresses are host-physical ones, with EPT and without. */
struct machine {
    struct physmem physmem;
    struct ept ept_a, ept_b;
    struct mmu mmu;
    uint64_t cr3;
};

static struct machine machine;

static inline uint64_t *entry_at(uint64_t table, uint64_t linear, unsigned level)
{
    uint64_t *entries = physmem_at(&machine.physmem, table & PTE_ADDRESS);
    return &entries[linear >> (12 + 9 * (level - 1)) & 511];
}

/* The entry of a level (1: PTE) for a linear address; tables are added as needed. */
static inline uint64_t *guest_entry(uint64_t root, uint64_t linear, unsigned level)
{
    uint64_t table = root;
    for (unsigned above = 4; above > level; above--) {
        uint64_t *entry = entry_at(table, linear, above);
        if (!(*entry & PTE_PRESENT) || *entry & PTE_LARGE)
            *entry = physmem_alloc_frame(&machine.physmem) | NX_WRITE_USER;
        table = *entry;
    }
    return entry_at(table, linear, level);
}

struct context {
    bool ept;
    char eptp; /* 'a' or 'b' */
    uint16_t vpid, pcid;
};

static inline void enter(const struct context *context)
{
    struct paging_registers regs = {
        .cr0 = PAGING_CR0_PG | PAGING_CR0_WP | 1,
        .cr3 = machine.cr3 | context->pcid,
        .cr4 = PAGING_CR4_PAE | PAGING_CR4_PGE | PAGING_CR4_PCIDE,
        .efer = PAGING_EFER_LMA | PAGING_EFER_NXE,
    };
    uint64_t eptp = context->eptp == 'b' ? machine.ept_b.eptp : machine.ept_a.eptp;
    mmu_set_ept(&machine.mmu, context->ept, eptp, context->vpid);
    mmu_load(&machine.mmu, &regs, false);
}

static inline void machine_open(void)
{
    cr_assert_eq(physmem_init(&machine.physmem, MEMORY_SIZE), 0);
    cr_assert_eq(ept_create(&machine.ept_a, &machine.physmem, false), 0);
    cr_assert_eq(ept_create(&machine.ept_b, &machine.physmem, false), 0);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(ept_map_range(i ? &machine.ept_b : &machine.ept_a, 0, 0, MEMORY_SIZE, 12,
                                   EPT_ALL, EPT_TYPE_WB),
                     0);
    mmu_init(&machine.mmu, &machine.physmem);
    machine.cr3 = physmem_alloc_frame(&machine.physmem);
    for (uint64_t i = 0; i < 4; i++) {
        *guest_entry(machine.cr3, PAGE_X + i * FRAME_SIZE, 1) = DATA_GPA | PTE_PRESENT | PTE_WRITE;
        *guest_entry(machine.cr3, PAGE_Y + i * FRAME_SIZE, 1) = DATA_GPA | PTE_PRESENT | PTE_WRITE;
    }
    *guest_entry(machine.cr3, PAGE_GLOBAL, 1) = DATA_GPA | PTE_PRESENT | PTE_WRITE | PTE_GLOBAL;
}

static inline void machine_close(void)
{
    mmu_destroy(&machine.mmu);
    physmem_destroy(&machine.physmem);
}

static inline enum mmu_status access_page(uint64_t linear, unsigned access, struct translation *out)
{
    struct mmu_fault fault;
    return mmu_translate(&machine.mmu, linear, access, out, &fault);
}

#endif
