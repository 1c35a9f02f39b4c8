/*
 * What each operation invalidates (SDM "Operations that Invalidate TLBs and Paging-Structure
 * Caches" and "Operations that Invalidate Cached Mappings"), seen from outside: a translation that
 * hits, a walk that starts lower down.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/memory_guest.h"

/* ---- Operations x kinds of entries ------------------------------------------------------- */

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

/* A small TLB: as many pages as a set has ways stay, one more displaces the least recent; no sets,
 * no hits. */
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
    /* Four ways, five pages: the first is displaced. Then 1 is used, and 5 displaces 2. */
    static const struct {
        uint8_t page;
        bool hit;
    } accesses[] = {{0, false}, {1, false}, {2, false}, {3, false}, {4, false}, {1, true},
                    {5, false}, {4, true},  {1, true},  {3, true},  {5, true},  {2, false}};
    config.array[TLB_PAGES] = (struct tlb_geometry){1, 4};
    cr_assert_eq(mmu_configure_tlb(&machine.mmu, &config), 0);
    enter(&current);
    for (unsigned i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
        cr_assert_eq(access_page(PAGE_Y + accesses[i].page * FRAME_SIZE, ACCESS_READ, &translation),
                     MMU_OK);
        cr_expect_eq(translation.tlb_hit, accesses[i].hit, "access %u", i);
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
