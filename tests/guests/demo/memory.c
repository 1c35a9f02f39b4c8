/* Page tables above the 4 GiB that the boot code maps: frames come from a small pool. */
#include "demo.h"

#define FRAMES           64
#define ADDRESS          0x000ffffffffff000ull
#define USER_STACK_PAGES 16

uint64_t pages_mapped;
extern uint64_t boot_pml4[512];
static uint64_t frames[FRAMES][512] __attribute__((aligned(4096)));
static unsigned frames_used;

static uint64_t *new_frame(void)
{
    return frames_used < FRAMES ? frames[frames_used++] : 0;
}

/* The next table down, made if it is missing; 0 when there are no more frames. */
static uint64_t *table_below(uint64_t *entry)
{
    if (!(*entry & PAGE_PRESENT)) {
        uint64_t *table = new_frame();
        if (!table)
            return 0;
        *entry = (uint64_t)table | PAGE_PRESENT | PAGE_WRITE | PAGE_USER;
    }
    return (uint64_t *)(*entry & ADDRESS);
}

void *map_new_page(uint64_t address, uint64_t flags)
{
    uint64_t *table = boot_pml4, *frame;

    for (unsigned shift = 39; shift > 12 && table; shift -= 9)
        table = table_below(&table[address >> shift & 511]);
    frame = table ? new_frame() : 0;
    if (frame) {
        table[address >> 12 & 511] = (uint64_t)frame | flags | PAGE_PRESENT;
        pages_mapped++;
    }
    return frame;
}

bool map_on_demand(uint64_t address, bool user)
{
    uint64_t stack_bottom = USER_STACK_TOP - USER_STACK_PAGES * 4096;

    if (address >= DEMAND_START && address < DEMAND_END && !user)
        return map_new_page(address, PAGE_WRITE | PAGE_NX) != 0;
    if (address >= stack_bottom && address < USER_STACK_TOP && user)
        return map_new_page(address, PAGE_WRITE | PAGE_USER | PAGE_NX) != 0;
    return false;
}
