/*
 * What an observer of the MMU is told: every walk that the statistics count, with all of its
 * references, and every operation that invalidates. (Single reports are held against the naive
 * walker in test_memory_walk.c.)
 */
#include <criterion/criterion.h>

#include "tests/memory_guest.h"
#include "tests/memory_random.h"

static struct {
    uint64_t walks, guest_references, ept_references, faults[4];
    struct mmu_walk_report walk; /* the last one */
    unsigned flushes;
    struct flush {
        enum mmu_flush kind;
        unsigned type;
        uint64_t address;
    } flush; /* the last one */
    unsigned accesses;
    struct access {
        uint64_t linear;
        size_t size;
        unsigned access;
        uint64_t value;
    } access; /* the last one */
} told;

static void note_walk(void *context, const struct mmu_walk_report *report)
{
    cr_assert_eq(context, &told);
    told.walks++;
    told.guest_references += report->guest_references;
    told.ept_references += report->ept_references;
    told.faults[report->status]++;
    told.walk = *report;
}

static void note_flush(void *context, enum mmu_flush kind, unsigned type, uint64_t address)
{
    cr_assert_eq(context, &told);
    told.flushes++;
    told.flush = (struct flush){kind, type, address};
}

static void note_access(void *context, uint64_t linear, const void *data, size_t size,
                        unsigned access)
{
    cr_assert_eq(context, &told);
    told.accesses++;
    told.access = (struct access){linear, size, access, 0};
    memcpy(&told.access.value, data, size < 8 ? size : 8);
}

static const struct mmu_observer observer = {note_walk, note_flush, note_access, &told};

/* With warm caches, entries that lie and walks that start over: the sums are the statistics. */
Test(memory_observer, hears_of_every_walk)
{
    struct translation translation;
    struct mmu_fault fault;

    random_seed(0x5eed0011);
    machine_open();
    enter(&(struct context){true, 'a', 1, 1});
    machine.mmu.observer = &observer;
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t page = (random64() % 2 ? PAGE_X : PAGE_Y) + (random64() % 6) * FRAME_SIZE;
        unsigned access = random64() % 3 | (chance(20) ? ACCESS_USER : 0);
        switch (random64() % 16) {
        case 0: /* no invalidation: what the caches say of it may be out of date */
            *guest_entry(machine.cr3, page, 1) ^= random64() & (PTE_WRITE | PTE_PRESENT | PTE_USER);
            break;
        case 1:
            mmu_invlpg(&machine.mmu, page);
            break;
        case 2:
            mmu_invept(&machine.mmu, 2, 0);
            break;
        case 3:
            mmu_translate_physical(&machine.mmu, random64() % (2 * MEMORY_SIZE), access % 4,
                                   &translation, &fault);
            break;
        default:
            mmu_translate(&machine.mmu, page, access, &translation, &fault);
        }
    }
    const struct mmu_stats *stats = &machine.mmu.stats;
    cr_assert_eq(told.walks, stats->walks);
    cr_assert_eq(told.guest_references, stats->guest_references);
    cr_assert_eq(told.ept_references, stats->ept_references);
    cr_assert_eq(told.faults[MMU_PAGE_FAULT], stats->page_faults);
    cr_assert_eq(told.faults[MMU_EPT_VIOLATION], stats->ept_violations);
    cr_assert(stats->tlb_hits > 1000 && stats->page_faults > 1000 && stats->ept_violations > 100);
    machine_close();
}

Test(memory_observer, hears_of_no_probe_and_no_hit)
{
    struct translation translation;
    struct walk_log log;
    struct mmu_fault fault;

    machine_open();
    enter(&(struct context){true, 'a', 1, 1});
    machine.mmu.observer = &observer;
    mmu_walk_explain(&machine.mmu, PAGE_X, ACCESS_READ, &log, &translation, &fault);
    cr_assert_eq(told.walks, 0);
    access_page(PAGE_X + 0x123, ACCESS_READ, &translation);
    cr_assert_eq(told.walks, 1);
    access_page(PAGE_X, ACCESS_READ, &translation);
    cr_assert_eq(told.walks, 1);

    /* Guest-physical: there is no linear address. */
    mmu_translate_physical(&machine.mmu, 0x3456, ACCESS_WRITE, &translation, &fault);
    cr_assert_eq(told.walks, 2);
    cr_assert_eq(told.walk.access, ACCESS_WRITE | ACCESS_PHYSICAL);
    cr_assert(told.walk.linear == 0 && told.walk.gpa == 0x3456 && told.walk.hpa == 0x3456);
    machine_close();
}

static void mov_cr3(void)
{
    mmu_mov_cr3(&machine.mmu, machine.cr3 | 7);
}
static void mov_cr3_keeping(void)
{
    mmu_mov_cr3(&machine.mmu, machine.cr3 | 7 | 1ull << 63);
}
static void paging_off(void)
{
    mmu_set_cr0(&machine.mmu, 1);
}
static void toggle_wp(void)
{
    mmu_set_cr0(&machine.mmu, machine.mmu.regs.cr0 ^ PAGING_CR0_WP);
}
static void toggle_pge(void)
{
    mmu_set_cr4(&machine.mmu, machine.mmu.regs.cr4 ^ PAGING_CR4_PGE);
}
static void smep_on(void)
{
    mmu_set_cr4(&machine.mmu, machine.mmu.regs.cr4 | PAGING_CR4_SMEP);
}
static void smap_on(void)
{
    mmu_set_cr4(&machine.mmu, machine.mmu.regs.cr4 | PAGING_CR4_SMAP);
}
static void invlpg(void)
{
    mmu_invlpg(&machine.mmu, 0x12345);
}
static void invpcid_address(void)
{
    mmu_invpcid(&machine.mmu, 0, 3, 0x12345);
}
static void invpcid_all(void)
{
    mmu_invpcid(&machine.mmu, 2, 3, 0x12345);
}
static void invvpid_address(void)
{
    mmu_invvpid(&machine.mmu, 0, 1, 0x12345);
}
static void invvpid_context(void)
{
    mmu_invvpid(&machine.mmu, 1, 1, 0x12345);
}
static void invept_single(void)
{
    mmu_invept(&machine.mmu, 1, machine.ept_b.eptp);
}
static void invept_all(void)
{
    mmu_invept(&machine.mmu, 2, machine.ept_b.eptp);
}
static void transition(void)
{
    mmu_load(&machine.mmu, &machine.mmu.regs, true);
}

Test(memory_observer, hears_of_every_invalidation)
{
    machine_open();
    const struct {
        const char *what;
        void (*operation)(void);
        struct flush expected; /* kind 0: none */
    } cases[] = {
        {"MOV CR3", mov_cr3, {MMU_FLUSH_CR3, 0, machine.cr3 | 7}},
        {"MOV CR3, bit 63", mov_cr3_keeping, {0}},
        {"CR0.PG off", paging_off, {MMU_FLUSH_CONTROL, 0, 0}},
        {"CR0.WP", toggle_wp, {0}},
        {"CR4.PGE", toggle_pge, {MMU_FLUSH_CONTROL, 0, 0}},
        {"CR4.SMEP on", smep_on, {MMU_FLUSH_CONTROL, 0, 0}},
        {"CR4.SMAP on", smap_on, {0}},
        {"INVLPG", invlpg, {MMU_FLUSH_INVLPG, 0, 0x12345}},
        {"INVPCID 0", invpcid_address, {MMU_FLUSH_INVPCID, 0, 0x12345}},
        {"INVPCID 2", invpcid_all, {MMU_FLUSH_INVPCID, 2, 0}},
        {"INVVPID 0", invvpid_address, {MMU_FLUSH_INVVPID, 0, 0x12345}},
        {"INVVPID 1", invvpid_context, {MMU_FLUSH_INVVPID, 1, 0}},
        {"INVEPT 1", invept_single, {MMU_FLUSH_INVEPT, 1, machine.ept_b.eptp}},
        {"INVEPT 2", invept_all, {MMU_FLUSH_INVEPT, 2, 0}},
        {"transition", transition, {MMU_FLUSH_TRANSITION, 0, 0}},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        enter(&(struct context){true, 'a', 1, 1});
        machine.mmu.observer = &observer;
        told.flushes = 0;
        cases[i].operation();
        cr_assert_eq(told.flushes, cases[i].expected.kind != 0, "%s: told %u times", cases[i].what,
                     told.flushes);
        if (cases[i].expected.kind)
            cr_assert(told.flush.kind == cases[i].expected.kind &&
                          told.flush.type == cases[i].expected.type &&
                          told.flush.address == cases[i].expected.address,
                      "%s: kind %d type %u address %#lx", cases[i].what, told.flush.kind,
                      told.flush.type, (unsigned long)told.flush.address);
        machine.mmu.observer = NULL;
    }
    machine_close();
}

Test(memory_observer, hears_of_data_accesses_that_succeed)
{
    const uint64_t value = 0x1122334455667788;
    struct mmu_fault fault;
    uint8_t bytes[16] = {0};

    machine_open();
    enter(&(struct context){true, 'a', 1, 1});
    machine.mmu.observer = &observer;
    /* Across two pages; the type of a write is given. */
    cr_assert_eq(mmu_write(&machine.mmu, PAGE_X + 0xffc, &value, 8, 0, &fault), MMU_OK);
    cr_assert(told.accesses == 1 && told.access.linear == PAGE_X + 0xffc && told.access.size == 8 &&
              told.access.access == ACCESS_WRITE && told.access.value == value);
    cr_assert_eq(mmu_read(&machine.mmu, PAGE_Y + 0xffe, bytes, 2, ACCESS_READ, &fault), MMU_OK);
    cr_assert(told.accesses == 2 && told.access.linear == PAGE_Y + 0xffe && told.access.size == 2 &&
              told.access.access == ACCESS_READ && told.access.value == 0x5566);
    cr_assert_eq(mmu_read(&machine.mmu, PAGE_X, bytes, 4, ACCESS_FETCH, &fault), MMU_OK);
    cr_assert_neq(mmu_read(&machine.mmu, PAGE_X + 0x4ffe, bytes, 4, ACCESS_READ, &fault), MMU_OK);
    cr_assert_eq(mmu_read_physical(&machine.mmu, 0x5000, bytes, 8, &fault), MMU_OK);
    cr_assert_eq(told.accesses, 2, "fetches, faults, guest-physical accesses");
    machine_close();
}
