/* Page tables for addresses above the identity-mapped 4 GiB, over a fixed set of frames. */
#include "torture.h"

#define TABLES 32

uint8_t frames[FRAMES][4096] __attribute__((aligned(4096)));
static uint64_t tables[TABLES][512] __attribute__((aligned(4096)));
static unsigned tables_used;

volatile uint64_t *page_entry(uint64_t address)
{
    uint64_t *table;

    __asm__("movq %%cr3, %0" : "=r"(table));
    for (unsigned shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = &table[address >> shift & 511];
        if (!(*entry & PAGE_P))
            *entry = (uint64_t)tables[tables_used++ % TABLES] | PAGE_P | PAGE_W | PAGE_U;
        table = (uint64_t *)(*entry & 0x000ffffffffff000);
    }
    return &table[address >> 12 & 511];
}

void page_flush(uint64_t address)
{
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

void page_map(uint64_t address, unsigned frame, uint64_t flags)
{
    *page_entry(address) = (uint64_t)frames[frame] | flags;
    page_flush(address);
}
