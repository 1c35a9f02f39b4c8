/*
 * EPT tables, built and walked: violations and misconfigurations from the SDM's tables, the number
 * of references of two-dimensional walks, accessed and dirty flags.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/ept.h"
#include "memory/mmu.h"
#include "memory/mmu_check.h"

#define MEMORY_SIZE (64ull << 20)

static struct physmem physmem;
static struct ept ept;
static struct mmu mmu;

static void open_with(bool accessed_dirty)
{
    cr_assert_eq(physmem_init(&physmem, MEMORY_SIZE), 0);
    cr_assert_eq(ept_create(&ept, &physmem, accessed_dirty), 0);
    mmu_init(&mmu, &physmem);
    mmu_set_ept(&mmu, true, ept.eptp, 1);
}

static void close_all(void)
{
    mmu_destroy(&mmu);
    physmem_destroy(&physmem);
}

static void forget(void)
{
    mmu_invept(&mmu, 2, 0);
    mmu_invvpid(&mmu, 2, 0, 0);
}

static uint64_t *ept_entry(uint64_t gpa, unsigned level)
{
    uint64_t table = ept.eptp;
    for (unsigned above = 4;; above--) {
        uint64_t *entries = physmem_at(&physmem, table & EPT_ADDRESS);
        uint64_t *entry = &entries[gpa >> (12 + 9 * (above - 1)) & 511];
        if (above == level)
            return entry;
        table = *entry;
    }
}

/* ---- Building ------------------------------------------------------------------------------- */

static unsigned frames_free(void)
{
    unsigned count = 0;
    for (uint64_t hpa = physmem.free_list; hpa != FRAME_NONE; count++)
        memcpy(&hpa, physmem_at(&physmem, hpa), sizeof(hpa));
    return count;
}

/* A model of what ept_* should do: a page table as a plain array. */
#define MODEL_PAGES (4 * 512)         /* four 2-MByte regions from MODEL_GPA */
#define MODEL_GPA   0x7fffffc00000ull /* astride a boundary of all levels' tables */

struct model_page {
    uint64_t hpa;
    uint64_t rights;
    bool mapped;
};

static void model_compare(const struct model_page *model, unsigned step)
{
    for (unsigned i = 0; i < MODEL_PAGES; i++) {
        struct ept_mapping mapping = {0};
        bool mapped = ept_lookup(&ept, MODEL_GPA + i * FRAME_SIZE + 0x123, &mapping);
        cr_assert_eq(mapped, model[i].mapped, "step %u, page %u", step, i);
        if (!mapped)
            continue;
        cr_assert_eq(mapping.hpa, model[i].hpa + 0x123, "step %u, page %u", step, i);
        cr_assert_eq(mapping.rights, model[i].rights, "step %u, page %u", step, i);
    }
}

Test(memory_ept, changes_follow_a_model_and_leak_nothing)
{
    static struct model_page model[MODEL_PAGES];
    unsigned seed = getenv("TEST_SEED") ? (unsigned)atoi(getenv("TEST_SEED")) : 1;

    printf("seed %u (TEST_SEED)\n", seed);
    srand(seed);
    open_with(false);
    for (unsigned step = 0; step < 400; step++) {
        unsigned first = (unsigned)rand() % MODEL_PAGES;
        unsigned count = 1 + (unsigned)rand() % (rand() % 4 ? 16 : MODEL_PAGES - first);
        if (rand() % 4 == 0) {
            first &= ~511u;
            count = 512;
        }
        if (first + count > MODEL_PAGES)
            count = MODEL_PAGES - first;
        uint64_t gpa = MODEL_GPA + first * FRAME_SIZE;
        uint64_t hpa = ((uint64_t)rand() % 8 * 512 + first % 512) * FRAME_SIZE;
        uint64_t rights = EPT_READ | ((uint64_t)rand() & EPT_ALL);
        int operation = rand() % 4;
        for (unsigned i = first; i < first + count; i++) {
            if (operation < 2)
                model[i] = (struct model_page){hpa + (i - first) * FRAME_SIZE, rights, true};
            else if (operation == 2)
                model[i].mapped = false;
            else
                model[i].rights = rights;
        }
        if (operation < 2)
            cr_assert_eq(ept_map_range(&ept, gpa, hpa, count * FRAME_SIZE, operation ? 30 : 12,
                                       rights, EPT_TYPE_WB),
                         0);
        else if (operation == 2)
            cr_assert_eq(ept_unmap(&ept, gpa, count * FRAME_SIZE), 0);
        else
            cr_assert_eq(ept_protect(&ept, gpa, count * FRAME_SIZE, rights), 0);
        model_compare(model, step);
    }
    ept_destroy(&ept);
    cr_assert_eq(frames_free(), (physmem.next_frame - FRAME_SIZE) / FRAME_SIZE,
                 "a table has not been freed");
    close_all();
}

Test(memory_ept, bad_arguments_and_exhaustion)
{
    open_with(false);
    cr_expect_eq(ept_map(&ept, 0x1000, 0x1000, 21, EPT_ALL, EPT_TYPE_WB), -EINVAL);
    cr_expect_eq(ept_map(&ept, 0x200000, 0x1000, 21, EPT_ALL, EPT_TYPE_WB), -EINVAL);
    cr_expect_eq(ept_map(&ept, 0x1234, 0x1000, 12, EPT_ALL, EPT_TYPE_WB), -EINVAL);
    cr_expect_eq(ept_map(&ept, 0, 0, 22, EPT_ALL, EPT_TYPE_WB), -EINVAL);
    cr_expect_eq(ept_map(&ept, 1ull << 48, 0, 12, EPT_ALL, EPT_TYPE_WB), -EINVAL);
    cr_expect_eq(ept_map(&ept, 0, 0, 12, EPT_ALL | 8, EPT_TYPE_WB), -EINVAL);
    cr_expect_eq(ept_unmap(&ept, 0x800, 0x1000), -EINVAL);
    cr_expect_eq(ept_unmap(&ept, (1ull << 48) - 0x1000, 0x2000), -EINVAL);
    cr_assert_eq(ept_map(&ept, 0, 0, 30, EPT_ALL, EPT_TYPE_WB), 0);
    while (physmem_alloc_frame(&physmem) != FRAME_NONE)
        continue;
    cr_expect_eq(ept_map(&ept, 0x1000, 0, 12, EPT_READ, EPT_TYPE_WB), -ENOMEM);
    cr_expect_eq(ept_protect(&ept, 0x1000, 0x1000, EPT_READ), -ENOMEM);
    struct ept_mapping mapping;
    cr_expect(ept_lookup(&ept, 0x1000, &mapping) && mapping.rights == EPT_ALL &&
              mapping.page_shift == 30);
    close_all();
}

/* ---- Violations and misconfigurations ---------------------------------------------------- */

/* SDM "Exit Qualification for EPT Violations": access in bits 2:0, rights in bits 5:3. */
Test(memory_ept, violations_by_access_and_rights)
{
    open_with(false);
    for (uint64_t rights = 0; rights < 8; rights++) {
        if ((rights & 3) == 2) /* write without read: a misconfiguration */
            continue;
        cr_assert_eq(ept_map(&ept, 0x5000, 0x9000, 12, rights, EPT_TYPE_WB), 0);
        for (unsigned access = ACCESS_READ; access <= ACCESS_FETCH; access++) {
            struct translation translation;
            struct mmu_fault fault = {0};
            uint64_t qualification = 1u << access | rights << 3;
            bool allowed = rights >> access & 1;

            forget();
            enum mmu_status status =
                mmu_translate_physical(&mmu, 0x5123, access, &translation, &fault);
            cr_expect_eq(status, allowed ? MMU_OK : MMU_EPT_VIOLATION);
            if (!allowed)
                cr_expect(fault.qualification == qualification && fault.gpa == 0x5123,
                          "no linear address: %#lx", (unsigned long)fault.qualification);
            status = mmu_translate(&mmu, 0x5123, access, &translation, &fault);
            cr_expect_eq(status, allowed ? MMU_OK : MMU_EPT_VIOLATION);
            if (!allowed)
                cr_expect(fault.qualification == (qualification | 1 << 7 | 1 << 8) &&
                              fault.linear == 0x5123,
                          "paging off: %#lx", (unsigned long)fault.qualification);
        }
    }
    close_all();
}

/* SDM "EPT Misconfigurations" and the formats of EPT entries. What becomes of an entry of a level
 * when these bits are toggled in a well-formed one that allows everything. */
// clang-format off
static const struct {
    unsigned level;    /* of the entry */
    bool page;         /* the entry maps a page */
    unsigned high, low; /* bits, each toggled alone; maxphyaddr is 40 */
    enum mmu_status status;
} malformed[] = {
    {4, false,  0,  0, MMU_EPT_MISCONFIG}, /* writable, not readable */
    {4, false,  2,  1, MMU_OK},            /* (a read) */
    {4, false,  7,  3, MMU_EPT_MISCONFIG},
    {4, false, 11,  8, MMU_OK},
    {4, false, 51, 40, MMU_EPT_MISCONFIG},
    {4, false, 63, 52, MMU_OK},
    {3, false,  0,  0, MMU_EPT_MISCONFIG},
    {3, false,  6,  3, MMU_EPT_MISCONFIG},
    {3, false, 51, 40, MMU_EPT_MISCONFIG},
    {3, true,   6,  6, MMU_OK},            /* ignore PAT */
    {3, true,  29, 12, MMU_EPT_MISCONFIG},
    {3, true,  51, 40, MMU_EPT_MISCONFIG},
    {3, true,  63, 52, MMU_OK},
    {2, false,  6,  3, MMU_EPT_MISCONFIG},
    {2, false, 51, 40, MMU_EPT_MISCONFIG},
    {2, true,  20, 12, MMU_EPT_MISCONFIG},
    {2, true,   6,  6, MMU_OK},
    {2, true,  51, 40, MMU_EPT_MISCONFIG},
    {1, true,   0,  0, MMU_EPT_MISCONFIG},
    {1, true,   7,  6, MMU_OK},            /* bit 7 is ignored in a PTE */
    {1, true,  11,  8, MMU_OK},
    {1, true,  51, 40, MMU_EPT_MISCONFIG},
    {1, true,  63, 52, MMU_OK},
};
// clang-format on

static enum mmu_status read_gpa(uint64_t gpa)
{
    struct translation translation;
    struct mmu_fault fault;
    forget();
    enum mmu_status status = mmu_translate_physical(&mmu, gpa, ACCESS_READ, &translation, &fault);
    if (status == MMU_EPT_MISCONFIG)
        cr_expect_eq(fault.gpa, gpa);
    return status;
}

Test(memory_ept, malformed_entries)
{
    open_with(false);
    mmu.maxphyaddr = 40;
    for (unsigned i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        unsigned level = malformed[i].level;
        unsigned shift = malformed[i].page ? 12 + 9 * (level - 1) : 12;
        cr_assert_eq(ept_map(&ept, 0, 0, shift, EPT_ALL, EPT_TYPE_WB), 0);
        uint64_t *entry = ept_entry(0, level);
        for (unsigned bit = malformed[i].low; bit <= malformed[i].high; bit++) {
            *entry ^= 1ull << bit;
            cr_expect_eq(read_gpa(0x345), malformed[i].status, "level %u%s bit %u", level,
                         malformed[i].page ? " page" : "", bit);
            *entry ^= 1ull << bit;
        }
        cr_assert_eq(ept_unmap(&ept, 0, 1ull << 39), 0);
    }
    close_all();
}

Test(memory_ept, memory_types_and_capabilities)
{
    open_with(false);
    for (unsigned shift = 12; shift <= 30; shift += 9) {
        for (unsigned type = 0; type < 8; type++) {
            bool valid = type == 0 || type == 1 || type == 4 || type == 5 || type == 6;
            cr_assert_eq(ept_map(&ept, 0, 0, shift, EPT_ALL, type), 0);
            cr_expect_eq(read_gpa(0), valid ? MMU_OK : MMU_EPT_MISCONFIG, "type %u", type);
        }
    }
    cr_assert_eq(ept_map(&ept, 0, 0, 30, EPT_ALL, EPT_TYPE_WB), 0);
    mmu.ept_1g_supported = false;
    cr_expect_eq(read_gpa(0), MMU_EPT_MISCONFIG);
    mmu.ept_1g_supported = true;
    cr_assert_eq(ept_map(&ept, 0, 0, 12, EPT_EXECUTE, EPT_TYPE_WB), 0);
    cr_expect_eq(read_gpa(0), MMU_EPT_VIOLATION);
    mmu.execute_only_supported = false;
    cr_expect_eq(read_gpa(0), MMU_EPT_MISCONFIG);
    /* An entry that is not present may hold anything, and comes before what lies below it. */
    *ept_entry(0, 1) = ~7ull;
    cr_expect_eq(read_gpa(0), MMU_EPT_VIOLATION);
    /* Four levels translate 48 bits. */
    cr_expect_eq(read_gpa(1ull << 48), MMU_EPT_VIOLATION);
    /* Tables where there is no memory read as all-ones. */
    mmu.maxphyaddr = 52;
    *ept_entry(0, 3) = (EPT_ADDRESS & ~0xffffull) | EPT_ALL;
    cr_expect_eq(read_gpa(0), MMU_EPT_MISCONFIG);
    close_all();
}

/* ---- Two-dimensional walks --------------------------------------------------------------- */

#define LINEAR 0x00007f1241567abcull /* 21 MiB into a page of 1 GiB */

static uint64_t root;

/* Guest-physical addresses below 64 MiB are what they are in host-physical memory; EPT maps them in
 * pages of ept_shift. */
static void guest_open(unsigned guest_levels, unsigned guest_shift, unsigned ept_shift,
                       bool accessed_dirty)
{
    open_with(accessed_dirty);
    uint64_t size = ept_shift == 30 ? 1ull << 30 : MEMORY_SIZE;
    cr_assert_eq(ept_map_range(&ept, 0, 0, size, ept_shift, EPT_ALL, EPT_TYPE_WB), 0);
    root = physmem_alloc_frame(&physmem);
    uint64_t table = root;
    for (unsigned level = guest_levels; 12 + 9 * (level - 1) > guest_shift; level--) {
        uint64_t *entries = physmem_at(&physmem, table);
        uint64_t next = physmem_alloc_frame(&physmem);
        entries[LINEAR >> (12 + 9 * (level - 1)) & 511] = next | PTE_PRESENT | PTE_WRITE | PTE_USER;
        table = next;
    }
    uint64_t *entries = physmem_at(&physmem, table);
    entries[LINEAR >> guest_shift & 511] =
        PTE_PRESENT | PTE_WRITE | PTE_USER | (guest_shift > 12 ? PTE_LARGE : 0);
    struct paging_registers regs = {.cr0 = PAGING_CR0_PG | 1,
                                    .cr3 = root,
                                    .cr4 =
                                        PAGING_CR4_PAE | (guest_levels == 5 ? PAGING_CR4_LA57 : 0),
                                    .efer = PAGING_EFER_LMA};
    mmu_load(&mmu, &regs, false);
}

/* n*m + n + m for n guest levels and m EPT levels (Bhargava et al., ASPLOS 2008). */
// clang-format off
static const struct {
    unsigned guest_levels, guest_shift, ept_shift; /* ept_shift 0: no EPT */
    unsigned guest_references, ept_references;
} walks[] = {
    {4, 12, 12, 4, 20}, {4, 12, 21, 4, 15}, {4, 12, 30, 4, 10},
    {4, 21, 12, 3, 16}, {4, 21, 21, 3, 12}, {4, 21, 30, 3,  8},
    {4, 30, 12, 2, 12}, {4, 30, 21, 2,  9}, {4, 30, 30, 2,  6},
    {5, 12, 12, 5, 24}, {4, 12,  0, 4,  0}, {4, 21,  0, 3,  0}, {4, 30, 0, 2, 0},
};
// clang-format on

Test(memory_ept, cold_walks_make_the_references_of_theory)
{
    for (unsigned i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
        struct translation translation;
        struct mmu_fault fault;
        struct walk_log log, cold_log;
        unsigned total = walks[i].guest_references + walks[i].ept_references;

        guest_open(walks[i].guest_levels, walks[i].guest_shift,
                   walks[i].ept_shift ? walks[i].ept_shift : 12, false);
        if (walks[i].ept_shift == 0)
            mmu_set_ept(&mmu, false, 0, 0);
        for (unsigned pass = 0; pass < 3; pass++) { /* sets flags; plain; looked at */
            struct mmu_stats before = mmu.stats;
            mmu.log = pass == 2 ? &cold_log : NULL;
            forget();
            mmu_flush_vpid0(&mmu);
            cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_OK,
                         "walk %u: error code %#x, gpa %#lx", i, fault.error_code,
                         (unsigned long)fault.gpa);
            cr_expect_eq(mmu.stats.guest_references - before.guest_references,
                         walks[i].guest_references);
            cr_expect_eq(mmu.stats.ept_references - before.ept_references, walks[i].ept_references);
            cr_expect_eq(mmu.stats.walks - before.walks, 1);
            cr_expect_eq(mmu.stats.tlb_misses - before.tlb_misses, 1);
        }
        cr_expect_eq(cold_log.count, total);
        mmu.log = NULL;
        cr_assert_eq(mmu_walk_explain(&mmu, LINEAR, ACCESS_READ, &log, &translation, &fault),
                     MMU_OK);
        cr_expect_eq(log.count, total);
        for (unsigned r = 0; r < log.count; r++) {
            cr_expect(log.reference[r].hpa == cold_log.reference[r].hpa &&
                      log.reference[r].gpa == cold_log.reference[r].gpa &&
                      log.reference[r].level == cold_log.reference[r].level &&
                      log.reference[r].guest_level == cold_log.reference[r].guest_level);
            cr_expect_eq(*(uint64_t *)physmem_at(&physmem, log.reference[r].hpa),
                         log.reference[r].entry);
        }

        /* The page beside: one guest entry, and EPT for the page. Then a hit. */
        uint64_t beside = LINEAR ^ (1ull << walks[i].guest_shift);
        uint64_t *entries = physmem_at(&physmem, log.reference[log.count - 1].hpa & ~0xfffull);
        if (walks[i].ept_shift == 0) {
            entries[beside >> walks[i].guest_shift & 511] =
                entries[LINEAR >> walks[i].guest_shift & 511];
            struct mmu_stats before = mmu.stats;
            cr_assert_eq(mmu_translate(&mmu, beside, ACCESS_READ, &translation, &fault), MMU_OK);
            cr_expect_eq(mmu.stats.guest_references - before.guest_references, 1);
        }
        struct mmu_stats before = mmu.stats;
        cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_OK);
        cr_expect(translation.tlb_hit && mmu.stats.tlb_hits == before.tlb_hits + 1 &&
                  mmu.stats.guest_references == before.guest_references &&
                  mmu.stats.ept_references == before.ept_references);
        cr_expect_eq(translation.page_shift,
                     walks[i].ept_shift && walks[i].ept_shift < walks[i].guest_shift
                         ? walks[i].ept_shift
                         : walks[i].guest_shift);
        close_all();
    }
}

/* SDM "Accessed and Dirty Flags for EPT": dirty only where written, and guest paging-structure
 * entries count as written. */
Test(memory_ept, accessed_and_dirty_flags)
{
    struct translation translation;
    struct mmu_fault fault;

    guest_open(4, 12, 12, true);
    cr_assert_eq(ept_map(&ept, 0, 0, 12, EPT_ALL, EPT_TYPE_WB), 0);
    cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_OK);
    cr_expect(!translation.writable, "a write must come by to set the dirty flags");
    cr_expect_eq(*ept_entry(0, 1) & (EPT_ACCESSED | EPT_DIRTY), EPT_ACCESSED);
    cr_expect_eq(*ept_entry(root, 1) & (EPT_ACCESSED | EPT_DIRTY), EPT_ACCESSED | EPT_DIRTY);
    cr_expect_eq(*ept_entry(root, 2) & (EPT_ACCESSED | EPT_DIRTY), EPT_ACCESSED);
    cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_WRITE, &translation, &fault), MMU_OK);
    cr_expect(translation.writable && !translation.tlb_hit);
    cr_expect_eq(*ept_entry(0, 1) & (EPT_ACCESSED | EPT_DIRTY), EPT_ACCESSED | EPT_DIRTY);

    /* Guest tables that EPT does not let write: a violation that reads and writes. */
    cr_assert_eq(ept_protect(&ept, root, FRAME_SIZE, EPT_READ | EPT_EXECUTE), 0);
    forget();
    cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_EPT_VIOLATION);
    cr_expect_eq(fault.qualification, 3 | 5 << 3 | 1 << 7);
    cr_expect_eq(fault.gpa, root + (LINEAR >> 39 & 511) * 8);

    /* The PDPTEs of PAE paging are loaded with plain reads, without a linear address. */
    uint64_t pdpte[4];
    bool reserved;
    uint64_t *loaded = physmem_at(&physmem, root);
    memset(loaded, 0, 32);
    cr_expect_eq(mmu_load_pdptes(&mmu, root, pdpte, &reserved, &fault), MMU_OK);
    loaded[2] = 0x1000 | PTE_PRESENT | PTE_WRITE;
    cr_expect(mmu_load_pdptes(&mmu, root, pdpte, &reserved, &fault) == MMU_PAGE_FAULT && reserved);
    cr_assert_eq(ept_unmap(&ept, root, FRAME_SIZE), 0);
    forget();
    cr_expect_eq(mmu_load_pdptes(&mmu, root, pdpte, &reserved, &fault), MMU_EPT_VIOLATION);
    cr_expect_eq(fault.qualification, 1);
    close_all();
}

/* Without EPT's flags a guest table may be read-only as long as its own flags are set. */
Test(memory_ept, guest_flags_need_a_writable_table)
{
    struct translation translation;
    struct mmu_fault fault;

    guest_open(4, 12, 12, false);
    cr_assert_eq(ept_protect(&ept, root, FRAME_SIZE, EPT_READ), 0);
    cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_EPT_VIOLATION);
    cr_expect_eq(fault.qualification, 3 | 1 << 3 | 1 << 7);
    *(uint64_t *)physmem_at(&physmem, fault.gpa) |= PTE_ACCESSED;
    cr_expect_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_OK);
    close_all();
}

static void count_entry(void *opaque, enum tlb_array_id id, const struct tlb_entry *entry)
{
    ++*(unsigned *)opaque;
}

static unsigned guest_physical_mappings(void)
{
    unsigned count = 0;
    tlb_for_each(&mmu.tlb, 1u << TLB_GUEST_PHYSICAL, count_entry, &count);
    return count;
}

/* One guest-physical mapping a page, though four tables lie in it or rights have been extended. */
Test(memory_ept, guest_physical_mappings_are_not_doubled)
{
    struct translation translation;
    struct mmu_fault fault;

    guest_open(4, 12, 21, false);
    for (unsigned pass = 0; pass < 2; pass++) { /* the complete walk sets flags; the plain one */
        forget();
        cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_OK);
        cr_expect_eq(guest_physical_mappings(), 1);
    }
    close_all();

    guest_open(4, 12, 12, false);
    cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_OK);
    for (uint64_t gpa = root; gpa < physmem.next_frame; gpa += FRAME_SIZE)
        cr_assert_eq(ept_protect(&ept, gpa, FRAME_SIZE, EPT_READ), 0);
    forget();
    cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_READ, &translation, &fault), MMU_OK);
    cr_expect_eq(guest_physical_mappings(), 4);
    for (uint64_t gpa = root; gpa < physmem.next_frame; gpa += FRAME_SIZE)
        cr_assert_eq(ept_protect(&ept, gpa, FRAME_SIZE, EPT_ALL), 0);
    cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_WRITE, &translation, &fault), MMU_OK);
    cr_expect_eq(guest_physical_mappings(), 4);
    close_all();
}

/* ---- Stale translations ------------------------------------------------------------------ */

struct found {
    unsigned page, structure, guest_physical;
};

static void note(void *opaque, const struct stale_entry *stale)
{
    struct found *found = opaque;
    if (stale->array == TLB_PAGES)
        found->page |= stale->reasons;
    else if (stale->array == TLB_GUEST_PHYSICAL)
        found->guest_physical |= stale->reasons;
    else
        found->structure |= stale->reasons;
}

/* One change of a table, and what it makes stale. */
// clang-format off
static const struct {
    const char *name;
    bool ept;        /* the EPT entry for the page (level 1) or its table's; else a guest entry */
    unsigned level;  /* guest: of the entry; EPT: 0 for the page, else the guest table's level */
    uint64_t toggle;
    unsigned page, structure, guest_physical;
} changes[] = {
    {"PTE present",        false, 1, PTE_PRESENT,  STALE_UNMAPPED, 0, 0},
    {"PTE address",        false, 1, 0x1000,       STALE_ADDRESS | STALE_ACCESSED | STALE_DIRTY, 0, 0},
    {"PTE writable",       false, 1, PTE_WRITE,    STALE_RIGHTS, 0, 0},
    {"PTE user",           false, 1, PTE_USER,     STALE_RIGHTS, 0, 0},
    {"PTE NX",             false, 1, PTE_NX,       STALE_RIGHTS, 0, 0},
    {"PTE accessed",       false, 1, PTE_ACCESSED, STALE_ACCESSED, 0, 0},
    {"PTE dirty",          false, 1, PTE_DIRTY,    STALE_DIRTY, 0, 0},
    {"PTE global",         false, 1, PTE_GLOBAL,   STALE_GLOBAL, 0, 0},
    {"PDE present",        false, 2, PTE_PRESENT,  STALE_UNMAPPED, STALE_UNMAPPED, 0},
    {"PDE writable",       false, 2, PTE_WRITE,    STALE_RIGHTS, STALE_RIGHTS, 0},
    {"PML4E accessed",     false, 4, PTE_ACCESSED, STALE_ACCESSED, STALE_ACCESSED, 0},
    {"EPT of the page",    true,  0, EPT_ALL,      STALE_UNMAPPED, 0, 0},
    {"its write right",    true,  0, EPT_WRITE,    STALE_RIGHTS, 0, 0},
    {"its dirty flag",     true,  0, EPT_DIRTY,    STALE_DIRTY, 0, 0},
    {"its accessed flag",  true,  0, EPT_ACCESSED, STALE_ACCESSED, 0, 0},
    {"EPT of the PT",      true,  1, EPT_ALL,      STALE_UNMAPPED, STALE_UNMAPPED, STALE_UNMAPPED},
};
// clang-format on

Test(memory_ept, stale_translations_are_explained)
{
    struct translation translation;
    struct mmu_fault fault;
    struct walk_log log;

    for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        guest_open(4, 12, 12, true);
        mmu_set_efer(&mmu, PAGING_EFER_LMA | PAGING_EFER_NXE);
        mmu_set_cr4(&mmu, PAGING_CR4_PAE | PAGING_CR4_PGE);
        uint64_t *entry[5] = {ept_entry(0, 1)}, *tables[5] = {0};
        mmu_walk_explain(&mmu, LINEAR, ACCESS_READ, &log, &translation, &fault);
        for (unsigned r = 0; r < log.count; r++) {
            if (!log.reference[r].ept) {
                entry[log.reference[r].level] = physmem_at(&physmem, log.reference[r].hpa);
                tables[log.reference[r].level] = ept_entry(log.reference[r].gpa, 1);
            }
        }
        *entry[1] |= PTE_GLOBAL;
        cr_assert_eq(mmu_translate(&mmu, LINEAR, ACCESS_WRITE, &translation, &fault), MMU_OK);
        cr_assert_eq(mmu_tlb_check(&mmu, NULL, NULL), 0);

        struct mmu_stats before = mmu.stats;
        uint64_t *changed = !changes[i].ept         ? entry[changes[i].level]
                            : changes[i].level == 0 ? entry[0]
                                                    : tables[changes[i].level];
        struct found found = {0};
        *changed ^= changes[i].toggle;
        cr_expect_gt(mmu_tlb_check(&mmu, note, &found), 0);
        cr_expect(found.page == changes[i].page && found.structure == changes[i].structure &&
                      found.guest_physical == changes[i].guest_physical,
                  "%s: %#x %#x %#x", changes[i].name, found.page, found.structure,
                  found.guest_physical);
        cr_expect_eq(memcmp(&before, &mmu.stats, sizeof(before)), 0);
        *changed ^= changes[i].toggle;
        cr_expect_eq(mmu_tlb_check(&mmu, NULL, NULL), 0);
        close_all();
    }
}
