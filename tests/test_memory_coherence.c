/*
 * With proper invalidations a processor that caches translates like one that does not: over random
 * changes of guest tables and EPT, each followed by any one of the operations that suffice for it,
 * in several VPIDs, PCIDs and EPTs, every translation equals that of a walk from memory, and
 * mmu_tlb_check finds nothing stale.
 */
#include <criterion/criterion.h>

#include "memory/mmu_check.h"
#include "tests/memory_guest.h"
#include "tests/memory_random.h"

#define STEPS  300000
#define SPACES 2
#define PAGES  6

static uint64_t roots[SPACES];

/* Addresses in three regions; those with bit 47 are shared by the spaces and global. */
static uint64_t random_page(void)
{
    static const uint64_t regions[] = {0x400000, 0x7f0000200000, 0xffff800000600000};
    return regions[random64() % 3] + (random64() % PAGES << 12) + (random64() % 2 << 21);
}

static bool is_shared(uint64_t linear)
{
    return linear >> 63;
}

static uint64_t random_flags(uint64_t linear)
{
    const uint64_t any = PTE_WRITE | PTE_USER | PTE_ACCESSED | PTE_DIRTY;
    uint64_t flags = random64() % 2 ? any : random64() & (any | PTE_NX);
    if (random64() % 8)
        flags |= PTE_PRESENT;
    return is_shared(linear) ? flags | PTE_GLOBAL : flags;
}

static uint64_t random_gpa(void)
{
    return 0x800000 + (random64() % 64 << 12);
}

/* After a change of a leaf entry of one space: any one of what suffices, in every VPID. */
static void invalidate_guest(unsigned space, uint64_t linear, bool whole_tables)
{
    struct mmu *mmu = &machine.mmu;
    uint16_t vpid = mmu->vpid;
    uint64_t choice = random64() % 4;

    for (uint16_t v = 1; v <= 2; v++) {
        if (choice == 0 && !whole_tables)
            mmu_invvpid(mmu, 0, v, linear);
        else if (choice == 1 && !is_shared(linear))
            mmu_invvpid(mmu, 3, v, 0);
        else if (choice == 2) {
            mmu_invvpid(mmu, 1, v, 0);
        } else {
            mmu_set_ept(mmu, true, mmu->eptp, v);
            uint16_t pcid = (uint16_t)(space + 1);
            bool same = mmu->derived.paging.pcid == pcid;
            if (is_shared(linear))
                mmu_invpcid(mmu, 2, 0, 0);
            else if (same && !whole_tables && random64() % 2)
                mmu_invlpg(mmu, linear);
            else if (!whole_tables && random64() % 2)
                mmu_invpcid(mmu, 0, pcid, linear);
            else if (same && random64() % 2)
                mmu_mov_cr3(mmu, mmu->regs.cr3);
            else
                mmu_invpcid(mmu, 1, pcid, 0);
        }
    }
    mmu_set_ept(mmu, true, mmu->eptp, vpid);
}

/* 4-KByte pages for one of the regions. */
static void fill_table(unsigned space, uint64_t linear)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        uint64_t page = (linear & ~0x1fffffull) + (i << 12);
        *guest_entry(roots[space], page, 1) = random_gpa() | random_flags(linear);
    }
}

static void change_guest(void)
{
    unsigned space = random64() % SPACES;
    uint64_t linear = random_page();
    uint64_t *directory = guest_entry(roots[space], linear, 2);
    bool whole_tables = false;

    if (random64() % 16 == 0 || *directory & PTE_LARGE) { /* to or from a 2-MByte page */
        if (*directory & PTE_LARGE)
            fill_table(space, linear);
        else
            *directory = 0x800000 | PTE_LARGE | random_flags(linear);
        whole_tables = true;
    } else if (random64() % 16 == 0) { /* rights of a whole table */
        *directory ^= random64() & (PTE_WRITE | PTE_USER | PTE_ACCESSED);
        whole_tables = true;
    } else {
        *guest_entry(roots[space], linear, 1) = random_gpa() | random_flags(linear);
    }
    invalidate_guest(space, linear, whole_tables);
}

static void change_ept(struct ept *ept)
{
    uint64_t gpa = random_gpa() + (random64() % 4 == 0 ? 0x200000 : 0);

    switch (random64() % 5) {
    case 0:
        cr_assert_eq(ept_unmap(ept, gpa, FRAME_SIZE), 0);
        break;
    case 1:
        cr_assert_eq(ept_protect(ept, gpa, FRAME_SIZE, (random64() & EPT_ALL) | EPT_READ), 0);
        break;
    case 2:
        cr_assert_eq(ept_map(ept, 0x800000, 0x800000, 21, EPT_ALL, EPT_TYPE_WB), 0);
        break;
    default:
        cr_assert_eq(ept_map(ept, gpa, random_gpa(), 12, EPT_ALL, EPT_TYPE_WB), 0);
        break;
    }
    if (random64() % 2)
        mmu_invept(&machine.mmu, 1, ept->eptp);
    else
        mmu_invept(&machine.mmu, 2, 0);
}

static void switch_context(void)
{
    struct mmu *mmu = &machine.mmu;
    struct ept *ept = random64() % 2 ? &machine.ept_a : &machine.ept_b;
    unsigned space = random64() % SPACES;

    mmu_set_ept(mmu, true, ept->eptp, 1 + random64() % 2);
    mmu_mov_cr3(mmu, roots[space] | (space + 1) | (random64() % 4 ? 1ull << 63 : 0));
    if (random64() % 4 == 0)
        mmu_set_cr0(mmu, mmu->regs.cr0 ^ PAGING_CR0_WP);
    if (random64() % 4 == 0)
        mmu_set_cr4(mmu, mmu->regs.cr4 ^ (random64() & (PAGING_CR4_SMEP | PAGING_CR4_SMAP)));
}

static void access_and_compare(unsigned step)
{
    struct mmu *mmu = &machine.mmu;
    struct walk_log log;
    struct translation expected = {0}, actual = {0};
    struct mmu_fault expected_fault = {0}, fault = {0};
    uint64_t linear = random_page() | (random64() & 0xfff);
    unsigned access = random64() % 3 | (random64() & (ACCESS_USER | ACCESS_AC));

    enum mmu_status status =
        mmu_walk_explain(mmu, linear, access, &log, &expected, &expected_fault);
    cr_assert_eq(mmu_translate(mmu, linear, access, &actual, &fault), status,
                 "step %u: linear %#lx access %x", step, (unsigned long)linear, access);
    if (status == MMU_OK) {
        cr_assert_eq(actual.hpa, expected.hpa, "step %u: linear %#lx", step, (unsigned long)linear);
        cr_assert_eq(actual.gpa, expected.gpa);
        cr_assert_eq(actual.page_shift, expected.page_shift);
        cr_assert(expected.writable || !actual.writable || access % 4 == ACCESS_WRITE);
    } else {
        cr_assert_eq(fault.error_code, expected_fault.error_code);
        cr_assert_eq(fault.qualification, expected_fault.qualification);
        cr_assert_eq(fault.gpa, expected_fault.gpa);
    }
}

static void print_stale(void *opaque, const struct stale_entry *stale)
{
    printf("array %d page %#lx mask %#lx context %#lx hpa %#lx: reasons %#x, status %d, hpa %#lx "
           "shift %u rights %#x for %#x\n",
           stale->array, (unsigned long)stale->entry->page, (unsigned long)stale->entry->mask,
           (unsigned long)stale->entry->context, (unsigned long)stale->entry->hpa, stale->reasons,
           stale->status, (unsigned long)stale->hpa, stale->page_shift, stale->rights,
           stale->entry->rights);
}

Test(memory_tlb, caching_is_invisible_with_proper_invalidation)
{
    random_seed(0x5eed0003);
    machine_open();
    for (unsigned i = 0; i < 2; i++) /* EPT B translates differently */
        for (uint64_t gpa = 0; i && gpa < 64; gpa++)
            cr_assert_eq(ept_map(&machine.ept_b, 0x800000 + (gpa << 12),
                                 0x800000 + ((gpa ^ 5) << 12), 12, EPT_ALL, EPT_TYPE_WB),
                         0);
    for (unsigned i = 0; i < SPACES; i++)
        roots[i] = physmem_alloc_frame(&machine.physmem);
    guest_entry(roots[0], 0xffff800000600000, 1);
    *entry_at(roots[1], 0xffff800000600000, 4) = *entry_at(roots[0], 0xffff800000600000, 4);
    enter(&(struct context){true, 'a', 1, 1});
    for (unsigned i = 0; i < 16; i++)
        fill_table(i % SPACES, random_page());
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t choice = random64() % 128;
        if (choice < 2)
            change_guest();
        else if (choice < 3)
            change_ept(random64() % 2 ? &machine.ept_a : &machine.ept_b);
        else if (choice < 6)
            switch_context();
        else
            access_and_compare(step);
        if (step % 16 == 0) {
            unsigned stale = mmu_tlb_check(&machine.mmu, print_stale, NULL);
            cr_assert_eq(stale, 0, "step %u: %u stale entries", step, stale);
        }
    }
    const struct mmu_stats *stats = &machine.mmu.stats;
    printf("%lu hits, %lu misses, %lu page faults, %lu EPT violations, %lu flushes\n",
           (unsigned long)stats->tlb_hits, (unsigned long)stats->tlb_misses,
           (unsigned long)stats->page_faults, (unsigned long)stats->ept_violations,
           (unsigned long)stats->flushes);
    cr_assert_gt(stats->tlb_hits, STEPS / 8);
    cr_assert_gt(stats->page_faults, STEPS / 100);
    cr_assert_gt(stats->ept_violations, STEPS / 1000);
    machine_close();
}
