/* Host-physical memory, guest-physical slots, and reading and writing through both. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "memory/mmu.h"
#include "memory/slots.h"

static struct physmem physmem;
static struct guest_memory memory;

static void open_memory(uint64_t size)
{
    cr_assert_eq(physmem_init(&physmem, size), 0);
    guest_memory_init(&memory, &physmem);
}

static void close_memory(void)
{
    guest_memory_destroy(&memory);
    physmem_destroy(&physmem);
}

Test(memory_slots, frames_are_zeroed_distinct_and_reused)
{
    cr_assert_eq(physmem_init(&physmem, 0), -EINVAL);
    cr_assert_eq(physmem_init(&physmem, FRAME_SIZE + 1), -EINVAL);
    cr_assert_eq(physmem_init(&physmem, 16 * FRAME_SIZE), 0);
    uint64_t frames[16], count = 0, hpa;
    while ((hpa = physmem_alloc_frame(&physmem)) != FRAME_NONE) {
        cr_assert(hpa != 0 && hpa % FRAME_SIZE == 0 && physmem_contains(&physmem, hpa, FRAME_SIZE));
        memset(physmem_at(&physmem, hpa), 0xa5, FRAME_SIZE);
        frames[count++] = hpa;
    }
    cr_assert_eq(count, 15);
    physmem_free_frame(&physmem, frames[3]);
    physmem_free_frame(&physmem, frames[7]);
    for (unsigned i = 0; i < 2; i++) {
        static const uint8_t zeroes[FRAME_SIZE];
        hpa = physmem_alloc_frame(&physmem);
        cr_assert(hpa == frames[3] || hpa == frames[7]);
        cr_assert_eq(memcmp(physmem_at(&physmem, hpa), zeroes, FRAME_SIZE), 0);
    }
    cr_assert_eq(physmem_alloc_frame(&physmem), FRAME_NONE);
    cr_assert_eq(physmem_alloc_range(&physmem, 1, FRAME_SIZE), FRAME_NONE);
    physmem_destroy(&physmem);
}

Test(memory_slots, overlaps_and_lookup)
{
    open_memory(64ull << 20);
    cr_expect_eq(guest_memory_add(&memory, SLOT_RAM, 0x100000, 0x200000), 0);
    cr_expect_eq(guest_memory_add(&memory, SLOT_RAM, 0, 0xa0000), 0);
    cr_expect_eq(guest_memory_add(&memory, SLOT_ROM, 0xf0000, 0x10000), 0);
    cr_expect_eq(guest_memory_add(&memory, SLOT_MMIO, 0xa0000, 0x20000), 0);
    cr_expect_eq(guest_memory_add(&memory, SLOT_RAM, 0x2ff000, 0x1000), -EEXIST);
    cr_expect_eq(guest_memory_add(&memory, SLOT_RAM, 0xff000, 0x300000), -EEXIST);
    cr_expect_eq(guest_memory_add(&memory, SLOT_MMIO, 0, 1ull << 40), -EEXIST);
    cr_expect_eq(guest_memory_add(&memory, SLOT_RAM, 0x300000, 0), -EINVAL);
    cr_expect_eq(guest_memory_add(&memory, SLOT_RAM, 0x300800, 0x1000), -EINVAL);
    cr_expect_eq(guest_memory_add(&memory, SLOT_RAM, 1ull << 52, 0x1000), -EINVAL);
    cr_expect_eq(guest_memory_add(&memory, SLOT_RAM, 0x300000, 1ull << 40), -ENOMEM);

    static const struct {
        uint64_t gpa;
        int kind; /* -1: no slot */
    } lookups[] = {{0, SLOT_RAM},       {0x9ffff, SLOT_RAM},  {0xa0000, SLOT_MMIO},
                   {0xc0000, -1},       {0xeffff, -1},        {0xf0000, SLOT_ROM},
                   {0xfffff, SLOT_ROM}, {0x100000, SLOT_RAM}, {0x2fffff, SLOT_RAM},
                   {0x300000, -1},      {UINT64_MAX, -1}};
    for (unsigned i = 0; i < sizeof(lookups) / sizeof(lookups[0]); i++) {
        const struct memory_slot *slot = guest_memory_find(&memory, lookups[i].gpa);
        cr_expect_eq(slot ? (int)slot->kind : -1, lookups[i].kind, "gpa %#lx",
                     (unsigned long)lookups[i].gpa);
        bool backed = lookups[i].kind == SLOT_RAM || lookups[i].kind == SLOT_ROM;
        cr_expect_eq(guest_memory_hpa(&memory, lookups[i].gpa) != FRAME_NONE, backed);
    }
    close_memory();
}

Test(memory_slots, copies_cross_slots_and_are_all_or_nothing)
{
    uint8_t data[0x3000], back[0x3000];

    open_memory(64ull << 20);
    cr_assert_eq(guest_memory_add(&memory, SLOT_RAM, 0x1000, 0x2000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_ROM, 0x3000, 0x1000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_MMIO, 0x4000, 0x1000), 0);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    cr_expect_eq(guest_memory_write(&memory, 0x1000, data, sizeof(data)), 0);
    cr_expect_eq(guest_memory_read(&memory, 0x1000, back, sizeof(back)), 0);
    cr_expect_eq(memcmp(data, back, sizeof(data)), 0);
    cr_expect_eq(guest_memory_write(&memory, 0x1800, data, sizeof(data)), -EFAULT);
    cr_expect_eq(guest_memory_fill(&memory, 0x3ff0, 0, 0x20), -EFAULT);
    cr_expect_eq(guest_memory_read(&memory, 0xff0, back, 0x20), -EFAULT);
    cr_expect_eq(guest_memory_read(&memory, 0x1000, back, sizeof(back)), 0);
    cr_expect_eq(memcmp(data, back, sizeof(data)), 0, "a failed copy has written");
    cr_expect_null(guest_memory_at(&memory, 0x2000, 0x1001), "not in one slot");
    cr_expect_eq(memcmp(guest_memory_at(&memory, 0x3000, 0x1000), data + 0x2000, 0x1000), 0);
    close_memory();
}

/* RAM allows everything, ROM no writes, holes nothing; large pages where both addresses permit. */
Test(memory_slots, ept_follows_the_slots)
{
    struct ept ept;
    struct mmu mmu;
    struct translation translation;
    struct mmu_fault fault;

    open_memory(3ull << 30);
    cr_assert_eq(guest_memory_add(&memory, SLOT_RAM, 0, 0xa0000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_ROM, 0xf0000, 0x10000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_RAM, 0x100000, 0x7ff00000), 0);
    cr_assert_eq(ept_create(&ept, &physmem, false), 0);
    cr_assert_eq(guest_memory_map_ept(&memory, &ept, 30), 0);
    mmu_init(&mmu, &physmem);
    mmu_set_ept(&mmu, true, ept.eptp, 0);
    static const struct {
        uint64_t gpa;
        unsigned allowed, shift;
    } pages[] = {{0x5000, 7, 12},   {0xa0000, 0, 0},     {0xf0000, 5, 12},  {0x100000, 7, 12},
                 {0x200000, 7, 21}, {0x40000000, 7, 30}, {0x80000000, 0, 0}};
    for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        for (unsigned access = ACCESS_READ; access <= ACCESS_FETCH; access++) {
            enum mmu_status status =
                mmu_translate_physical(&mmu, pages[i].gpa, access, &translation, &fault);
            bool allowed = pages[i].allowed >> access & 1;
            cr_expect_eq(status, allowed ? MMU_OK : MMU_EPT_VIOLATION, "gpa %#lx access %u",
                         (unsigned long)pages[i].gpa, access);
            if (allowed)
                cr_expect(translation.hpa == guest_memory_hpa(&memory, pages[i].gpa) &&
                              translation.page_shift == pages[i].shift,
                          "gpa %#lx shift %u", (unsigned long)pages[i].gpa, translation.page_shift);
        }
    }
    mmu_destroy(&mmu);
    close_memory();
}

/* A write that faults in its second page changes nothing in the first. */
Test(memory_slots, accesses_cross_pages)
{
    struct ept ept;
    struct mmu mmu;
    struct mmu_fault fault;
    const char text[] = "across the boundary";
    char back[sizeof(text)] = {0};

    open_memory(16ull << 20);
    cr_assert_eq(ept_create(&ept, &physmem, false), 0);
    cr_assert_eq(ept_map(&ept, 0x1000, 0x8000, 12, EPT_ALL, EPT_TYPE_WB), 0);
    cr_assert_eq(ept_map(&ept, 0x2000, 0x5000, 12, EPT_READ, EPT_TYPE_WB), 0);
    mmu_init(&mmu, &physmem);
    mmu_set_ept(&mmu, true, ept.eptp, 0);
    cr_expect_eq(mmu_write(&mmu, 0x1ff8, text, sizeof(text), 0, &fault), MMU_EPT_VIOLATION);
    cr_expect_eq(fault.linear, 0x2000);
    cr_expect_eq(*(uint64_t *)physmem_at(&physmem, 0x8ff8), 0);
    cr_assert_eq(ept_protect(&ept, 0x2000, 0x1000, EPT_ALL), 0);
    cr_expect_eq(mmu_write(&mmu, 0x1ff8, text, sizeof(text), 0, &fault), MMU_OK);
    cr_expect_eq(memcmp(physmem_at(&physmem, 0x8ff8), text, 8), 0);
    cr_expect_eq(memcmp(physmem_at(&physmem, 0x5000), text + 8, sizeof(text) - 8), 0);
    cr_expect_eq(mmu_read(&mmu, 0x1ff8, back, sizeof(back), ACCESS_READ, &fault), MMU_OK);
    cr_expect_str_eq(back, text);
    cr_expect_eq(mmu_read_physical(&mmu, 0x2ff8, back, 16, &fault), MMU_EPT_VIOLATION);

    /* Outside memory: all-ones, writes vanish. */
    uint64_t value = 0;
    cr_assert_eq(ept_map(&ept, 0x3000, 1ull << 40, 12, EPT_ALL, EPT_TYPE_UC), 0);
    cr_expect_eq(mmu_write_physical(&mmu, 0x3000, &value, sizeof(value), &fault), MMU_OK);
    cr_expect_eq(mmu_read_physical(&mmu, 0x3000, &value, sizeof(value), &fault), MMU_OK);
    cr_expect_eq(value, UINT64_MAX);
    mmu_destroy(&mmu);
    close_memory();
}
