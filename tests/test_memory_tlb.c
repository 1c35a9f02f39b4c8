/*
 * What each operation invalidates (SDM "Operations that Invalidate TLBs and Paging-Structure
 * Caches" and "Operations that Invalidate Cached Mappings"), seen from outside: a translation that
 * hits, a walk that starts lower down. And a property: with proper invalidations a processor that
 * caches translates like one that does not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/ept.h"
#include "memory/mmu.h"
#include "memory/mmu_check.h"

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

static uint64_t *entry_at(uint64_t table, uint64_t linear, unsigned level)
{
    uint64_t *entries = physmem_at(&machine.physmem, table & PTE_ADDRESS);
    return &entries[linear >> (12 + 9 * (level - 1)) & 511];
}

/* The entry of a level (1: PTE) for a linear address; tables are added as needed. */
static uint64_t *guest_entry(uint64_t root, uint64_t linear, unsigned level)
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

static void enter(const struct context *context)
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

static void machine_open(void)
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

static void machine_close(void)
{
    mmu_destroy(&machine.mmu);
    physmem_destroy(&machine.physmem);
}

static enum mmu_status access_page(uint64_t linear, unsigned access, struct translation *out)
{
    struct mmu_fault fault;
    return mmu_translate(&machine.mmu, linear, access, out, &fault);
}

/* ---- Operations x kinds of entries --------------------------------------------------------------
 */

/* The kinds of cached translations; `linear` is what address-specific operations are aimed at. */
enum kind_type { PAGE, STRUCTURE, GUEST_PHYSICAL };
static const struct kind {
    const char *name;
    enum kind_type type;
    struct context context;
    uint64_t cached; /* linear, or guest-physical, address of the entry */
    uint64_t aim;
} kinds[] = {
    {"page", PAGE, {true, 'a', 1, 1}, PAGE_X, PAGE_X},
    {"another page", PAGE, {true, 'a', 1, 1}, PAGE_Y, PAGE_X},
    {"global page", PAGE, {true, 'a', 1, 1}, PAGE_GLOBAL, PAGE_GLOBAL},
    {"page, other PCID", PAGE, {true, 'a', 1, 2}, PAGE_X, PAGE_X},
    {"page, other VPID", PAGE, {true, 'a', 2, 1}, PAGE_X, PAGE_X},
    {"page, other EP4TA", PAGE, {true, 'b', 1, 1}, PAGE_X, PAGE_X},
    {"page, no EPT", PAGE, {false, 'a', 1, 1}, PAGE_X, PAGE_X},
    {"page, no EPT, VPID 0", PAGE, {false, 'a', 0, 1}, PAGE_X, PAGE_X},
    {"structures", STRUCTURE, {true, 'a', 1, 1}, PAGE_X, PAGE_X},
    {"structures of another page", STRUCTURE, {true, 'a', 1, 1}, PAGE_Y, PAGE_X},
    {"structures, other PCID", STRUCTURE, {true, 'a', 1, 2}, PAGE_X, PAGE_X},
    {"guest-physical", GUEST_PHYSICAL, {true, 'a', 1, 1}, DATA_GPA, PAGE_X},
    {"guest-physical, other EP4TA", GUEST_PHYSICAL, {true, 'b', 1, 1}, DATA_GPA, PAGE_X},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct context current = {true, 'a', 1, 1};

static void op_mov_cr3(uint64_t aim)
{
    mmu_mov_cr3(&machine.mmu, machine.cr3 | 1);
}
static void op_mov_cr3_other(uint64_t aim)
{
    mmu_mov_cr3(&machine.mmu, machine.cr3 | 2);
}
static void op_mov_cr3_keep(uint64_t aim)
{
    mmu_mov_cr3(&machine.mmu, machine.cr3 | 1 | 1ull << 63);
}
static void op_cr0_wp(uint64_t aim)
{
    mmu_set_cr0(&machine.mmu, machine.mmu.regs.cr0 ^ PAGING_CR0_WP);
}
static void op_cr0_pg(uint64_t aim)
{
    mmu_set_cr0(&machine.mmu, machine.mmu.regs.cr0 & ~PAGING_CR0_PG);
}
static void op_cr4_pge(uint64_t aim)
{
    mmu_set_cr4(&machine.mmu, machine.mmu.regs.cr4 ^ PAGING_CR4_PGE);
}
static void op_cr4_pcide(uint64_t aim)
{
    mmu_set_cr4(&machine.mmu, machine.mmu.regs.cr4 & ~PAGING_CR4_PCIDE);
}
static void op_cr4_pae(uint64_t aim)
{
    mmu_set_cr4(&machine.mmu, machine.mmu.regs.cr4 ^ PAGING_CR4_PAE);
}
static void op_cr4_smep_on(uint64_t aim)
{
    mmu_set_cr4(&machine.mmu, machine.mmu.regs.cr4 | PAGING_CR4_SMEP);
}
static void op_cr4_smap(uint64_t aim)
{
    mmu_set_cr4(&machine.mmu, machine.mmu.regs.cr4 ^ PAGING_CR4_SMAP);
}
static void op_efer_nxe(uint64_t aim)
{
    mmu_set_efer(&machine.mmu, machine.mmu.regs.efer ^ PAGING_EFER_NXE);
}
static void op_invlpg(uint64_t aim)
{
    mmu_invlpg(&machine.mmu, aim | 0x123);
}
static void op_invpcid_0(uint64_t aim)
{
    mmu_invpcid(&machine.mmu, 0, 1, aim);
}
static void op_invpcid_1(uint64_t aim)
{
    mmu_invpcid(&machine.mmu, 1, 1, 0);
}
static void op_invpcid_2(uint64_t aim)
{
    mmu_invpcid(&machine.mmu, 2, 0, 0);
}
static void op_invpcid_3(uint64_t aim)
{
    mmu_invpcid(&machine.mmu, 3, 0, 0);
}
static void op_invvpid_0(uint64_t aim)
{
    mmu_invvpid(&machine.mmu, 0, 1, aim);
}
static void op_invvpid_1(uint64_t aim)
{
    mmu_invvpid(&machine.mmu, 1, 1, 0);
}
static void op_invvpid_1_other(uint64_t aim)
{
    mmu_invvpid(&machine.mmu, 1, 2, 0);
}
static void op_invvpid_2(uint64_t aim)
{
    mmu_invvpid(&machine.mmu, 2, 0, 0);
}
static void op_invvpid_3(uint64_t aim)
{
    mmu_invvpid(&machine.mmu, 3, 1, 0);
}
static void op_invept_1(uint64_t aim)
{
    mmu_invept(&machine.mmu, 1, machine.ept_a.eptp);
}
static void op_invept_2(uint64_t aim)
{
    mmu_invept(&machine.mmu, 2, 0);
}
static void op_transition_without_vpid(uint64_t aim)
{
    mmu_flush_vpid0(&machine.mmu);
}
static void op_page_fault(uint64_t aim)
{
    struct translation translation;
    cr_assert_eq(access_page(aim, ACCESS_READ | ACCESS_USER, &translation), MMU_PAGE_FAULT);
}
static void op_ept_violation(uint64_t aim)
{
    struct translation translation;
    cr_assert_eq(ept_protect(&machine.ept_a, DATA_GPA, FRAME_SIZE, EPT_READ), 0);
    *guest_entry(machine.cr3, aim, 1) &= ~PTE_DIRTY;
    cr_assert_eq(access_page(aim, ACCESS_WRITE, &translation), MMU_EPT_VIOLATION);
}

/*
 * S: survives. -: is invalidated. ?: the SDM permits both. In the order of `kinds`:
 * page, another page, global, other PCID, other VPID, other EP4TA, no EPT, no EPT and VPID 0;
 * structures, of another page, of the other PCID; guest-physical of this and of the other EP4TA.
 */
// clang-format off
static const struct rule {
    const char *name;
    void (*operation)(uint64_t aim);
    char expected[KINDS + 3];
} rules[] = {
    {"MOV CR3, this PCID",           op_mov_cr3,         "--SSS--S --S SS"},
    {"MOV CR3, other PCID",          op_mov_cr3_other,   "SSS-SSSS SS- SS"},
    {"MOV CR3, bit 63",              op_mov_cr3_keep,    "SSSSSSSS SSS SS"},
    {"MOV CR0, WP",                  op_cr0_wp,          "SSSSSSSS SSS SS"},
    {"MOV CR0, PG to 0",             op_cr0_pg,          "----S--S --- SS"},
    {"MOV CR4, PGE",                 op_cr4_pge,         "----S--S --- SS"},
    {"MOV CR4, PCIDE to 0",          op_cr4_pcide,       "----S--S --- SS"},
    {"MOV CR4, PAE",                 op_cr4_pae,         "--?SS--S --S SS"},
    {"MOV CR4, SMEP to 1",           op_cr4_smep_on,     "--?SS--S --S SS"},
    {"MOV CR4, SMAP",                op_cr4_smap,        "SSSSSSSS SSS SS"},
    {"WRMSR EFER, NXE",              op_efer_nxe,        "SSSSSSSS SSS SS"},
    {"INVLPG",                       op_invlpg,          "-S-SS--S --S SS"},
    {"INVPCID individual-address",   op_invpcid_0,       "-SSSS--S -SS SS"},
    {"INVPCID single-context",       op_invpcid_1,       "--SSS--S --S SS"},
    {"INVPCID all-context, globals", op_invpcid_2,       "----S--S --- SS"},
    {"INVPCID all-context",          op_invpcid_3,       "--S-S--S --- SS"},
    {"INVVPID individual-address",   op_invvpid_0,       "-S--S--S -S- SS"},
    {"INVVPID single-context",       op_invvpid_1,       "----S--S --- SS"},
    {"INVVPID single, other VPID",   op_invvpid_1_other, "SSSS-SSS SSS SS"},
    {"INVVPID all-context",          op_invvpid_2,       "-------S --- SS"},
    {"INVVPID retaining globals",    op_invvpid_3,       "--S-S--S --- SS"},
    {"INVEPT single-context",        op_invept_1,        "-----SSS --- -S"},
    {"INVEPT global",                op_invept_2,        "------SS --- --"},
    {"VM entry or exit, no VPID",    op_transition_without_vpid, "SSSSSSS- SSS SS"},
    {"page fault",                   op_page_fault,      "-S-SS??S -SS SS"},
    {"EPT violation",                op_ept_violation,   "-S-SSSSS -SS -S"},
};
// clang-format on

static void cache(const struct kind *kind)
{
    struct translation translation;
    struct mmu_fault fault;

    enter(&kind->context);
    if (kind->type == GUEST_PHYSICAL)
        cr_assert_eq(
            mmu_translate_physical(&machine.mmu, kind->cached, ACCESS_READ, &translation, &fault),
            MMU_OK);
    else
        cr_assert_eq(access_page(kind->cached, ACCESS_READ, &translation), MMU_OK);
}

/* Structures are all dropped or all kept by these operations: the next walk has 4 or 1 guest
 * entries to read. The page beside shares them. */
static bool survives(const struct kind *kind)
{
    struct translation translation;
    struct mmu_fault fault;

    enter(&kind->context);
    if (kind->type == GUEST_PHYSICAL) {
        cr_assert_eq(
            mmu_translate_physical(&machine.mmu, kind->cached, ACCESS_READ, &translation, &fault),
            MMU_OK);
        return translation.tlb_hit;
    }
    if (kind->type == PAGE) {
        cr_assert_eq(access_page(kind->cached, ACCESS_READ, &translation), MMU_OK);
        return translation.tlb_hit;
    }
    uint64_t before = machine.mmu.stats.guest_references;
    cr_assert_eq(access_page(kind->cached + FRAME_SIZE, ACCESS_READ, &translation), MMU_OK);
    cr_assert(!translation.tlb_hit);
    uint64_t references = machine.mmu.stats.guest_references - before;
    cr_assert(references == 1 || references == 4, "%lu guest references",
              (unsigned long)references);
    return references == 1;
}

Test(memory_tlb, operations_invalidate_what_the_sdm_says)
{
    for (unsigned r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
        const char *expected = rules[r].expected;
        for (unsigned k = 0; k < KINDS; k++, expected++) {
            while (*expected == ' ')
                expected++;
            machine_open();
            cache(&kinds[k]);
            cr_assert(survives(&kinds[k]) || kinds[k].type == STRUCTURE);
            machine_close();

            machine_open();
            cache(&kinds[k]);
            enter(&current);
            uint64_t flushes = machine.mmu.stats.flushes;
            rules[r].operation(kinds[k].aim);
            flushes = machine.mmu.stats.flushes - flushes;
            bool alive = survives(&kinds[k]);
            cr_expect(*expected == '?' || alive == (*expected == 'S'), "%s: %s %s", rules[r].name,
                      kinds[k].name, alive ? "survives" : "is lost");
            cr_expect(flushes <= 1 && (flushes == 1 || alive || *expected == '?' ||
                                       rules[r].operation == op_page_fault ||
                                       rules[r].operation == op_ept_violation),
                      "%s: %s: %lu flushes counted", rules[r].name, kinds[k].name,
                      (unsigned long)flushes);
            machine_close();
        }
    }
}

/* A page of the guest that EPT maps in smaller pages is cached in parts: INVLPG with any address in
 * the page drops them all (SDM "Details of TLB Use"). */
Test(memory_tlb, invlpg_drops_all_parts_of_a_page)
{
    struct translation translation;
    const uint64_t large = 0x40000000, other = 0x40200000;

    machine_open();
    *guest_entry(machine.cr3, large, 2) = 0x800000 | NX_WRITE_USER | PTE_LARGE;
    *guest_entry(machine.cr3, other, 2) = 0x800000 | NX_WRITE_USER | PTE_LARGE;
    enter(&current);
    for (uint64_t i = 0; i < 512; i += 37) {
        cr_assert_eq(access_page(large + i * FRAME_SIZE, ACCESS_READ, &translation), MMU_OK);
        cr_assert_eq(translation.page_shift, 12);
    }
    cr_assert_eq(access_page(other, ACCESS_READ, &translation), MMU_OK);
    mmu_invlpg(&machine.mmu, large + 0x155000);
    for (uint64_t i = 0; i < 512; i += 37) {
        cr_assert_eq(access_page(large + i * FRAME_SIZE, ACCESS_READ, &translation), MMU_OK);
        cr_assert(!translation.tlb_hit);
    }
    cr_assert_eq(access_page(other, ACCESS_READ, &translation), MMU_OK);
    cr_assert(translation.tlb_hit);
    machine_close();
}

/* Extended rights and new mappings need no invalidation; rights taken away do. */
Test(memory_tlb, relaxed_rights_are_noticed_without_invalidation)
{
    struct translation translation;

    machine_open();
    uint64_t *entry = guest_entry(machine.cr3, PAGE_X, 1);
    uint64_t *upper = guest_entry(machine.cr3, PAGE_X, 2);
    *upper &= ~(PTE_WRITE | PTE_USER);
    *entry |= PTE_USER;
    cr_assert_eq(ept_protect(&machine.ept_a, DATA_GPA, FRAME_SIZE, EPT_READ), 0);
    enter(&current);
    cr_assert_eq(access_page(PAGE_X, ACCESS_READ, &translation), MMU_OK);
    cr_assert_eq(access_page(PAGE_X + FRAME_SIZE, ACCESS_READ, &translation), MMU_OK);

    *upper |= PTE_WRITE | PTE_USER; /* R/W and U/S are also in the paging-structure caches */
    cr_assert_eq(access_page(PAGE_X, ACCESS_READ | ACCESS_USER, &translation), MMU_OK);
    cr_assert_eq(ept_protect(&machine.ept_a, DATA_GPA, FRAME_SIZE, EPT_ALL), 0);
    cr_assert_eq(access_page(PAGE_X, ACCESS_WRITE | ACCESS_USER, &translation), MMU_OK);
    cr_assert(translation.writable);

    *upper &= ~PTE_WRITE;
    cr_assert_eq(access_page(PAGE_X, ACCESS_WRITE | ACCESS_USER, &translation), MMU_OK);
    mmu_invlpg(&machine.mmu, PAGE_X);
    cr_assert_eq(access_page(PAGE_X, ACCESS_WRITE | ACCESS_USER, &translation), MMU_PAGE_FAULT);
    machine_close();
}

/* A small TLB: as many pages as a set has ways stay, one more displaces; no sets, no hits. */
Test(memory_tlb, sets_and_ways)
{
    struct tlb_config config = tlb_config_default;
    struct translation translation;

    machine_open();
    for (uint64_t i = 0; i < 64; i++)
        *guest_entry(machine.cr3, PAGE_Y + i * FRAME_SIZE, 1) = DATA_GPA | NX_WRITE_USER;
    for (uint64_t ways = 1; ways <= 16; ways += 5) {
        config.array[TLB_PAGES] = (struct tlb_geometry){1, (uint8_t)ways};
        cr_assert_eq(mmu_configure_tlb(&machine.mmu, &config), 0);
        enter(&current);
        for (unsigned pages = 1; pages <= ways + 1; pages++) {
            mmu_invvpid(&machine.mmu, 1, 1, 0);
            unsigned hits = 0;
            for (uint64_t i = 0; i < 2 * pages; i++) {
                cr_assert_eq(
                    access_page(PAGE_Y + i % pages * FRAME_SIZE, ACCESS_READ, &translation),
                    MMU_OK);
                hits += translation.tlb_hit;
            }
            if (pages <= ways)
                cr_expect_eq(hits, pages, "%lu ways, %u pages", (unsigned long)ways, pages);
            else
                cr_expect_lt(hits, pages, "%lu ways, %u pages", (unsigned long)ways, pages);
        }
    }
    for (unsigned id = 0; id < TLB_ARRAYS; id++)
        config.array[id].sets = 0;
    cr_assert_eq(mmu_configure_tlb(&machine.mmu, &config), 0);
    enter(&current);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t before = machine.mmu.stats.guest_references + machine.mmu.stats.ept_references;
        cr_assert_eq(access_page(PAGE_X, ACCESS_READ, &translation), MMU_OK);
        cr_expect(!translation.tlb_hit);
        cr_expect_eq(machine.mmu.stats.guest_references + machine.mmu.stats.ept_references - before,
                     24);
    }
    config.array[TLB_PAGES] = (struct tlb_geometry){3, 4};
    cr_expect_eq(mmu_configure_tlb(&machine.mmu, &config), -EINVAL);
    config.array[TLB_PAGES] = (struct tlb_geometry){4, TLB_WAYS_MAX + 1};
    cr_expect_eq(mmu_configure_tlb(&machine.mmu, &config), -EINVAL);
    machine_close();
}

/* ---- Coherence ----------------------------------------------------------------------------------
 */

#define STEPS  300000
#define SPACES 2
#define PAGES  6

static uint64_t random_state;

static uint64_t random64(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

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
    const char *given = getenv("TEST_SEED");

    random_state = given ? strtoull(given, NULL, 0) : 0x5eed0003;
    printf("seed %#lx (TEST_SEED)\n", (unsigned long)random_state);
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
    enter(&current);
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
