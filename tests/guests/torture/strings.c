/*
 * String instructions over pages that appear only when they are touched: of all widths, in both
 * directions, overlapping, with page faults in the middle. The result must be that of a plain loop.
 */
#include "torture.h"

#define REGION     0x48000000000ull
#define PAGES      6
#define FRAME      48
#define SIZE       (PAGES * 4096)
#define OPERATIONS 16

static uint8_t model[SIZE] __attribute__((aligned(4096)));
static uint64_t faults;

static bool map_page(uint64_t address, uint64_t error)
{
    if (address < REGION || address >= REGION + SIZE || error & 1)
        return false;
    uint64_t page = (address - REGION) >> 12;
    page_map(REGION + page * 4096, FRAME + page, PAGE_P | PAGE_W | PAGE_NX);
    faults++;
    seen(address);
    return true;
}

static void unmap_all(void)
{
    for (unsigned page = 0; page < PAGES; page++) {
        *page_entry(REGION + page * 4096) = 0;
        page_flush(REGION + page * 4096);
    }
}

struct operation {
    uint64_t from, to, count, width;
    bool down;
};

/* Ranges inside the region; for DF the start is the last element. */
static struct operation choose(void)
{
    uint64_t r = random(), s = random();
    struct operation o = {.width = 1ull << (r & 3), .down = r >> 2 & 1};

    o.count = (r >> 8) % (3 * 4096 / o.width) + 1;
    uint64_t span = o.count * o.width, room = SIZE - span;
    o.from = s % (room + 1);
    o.to = (s >> 32) % (room + 1);
    if (o.down) {
        o.from += span - o.width;
        o.to += span - o.width;
    }
    return o;
}

static void model_move(const struct operation *o)
{
    int64_t step = o->down ? -(int64_t)o->width : (int64_t)o->width;
    uint8_t *from = model + o->from, *to = model + o->to;

    for (uint64_t i = 0; i < o->count; i++, from += step, to += step) {
        uint64_t value = 0;
        for (unsigned b = 0; b < o->width; b++)
            value |= (uint64_t)from[b] << b * 8;
        for (unsigned b = 0; b < o->width; b++)
            to[b] = value >> b * 8;
    }
}

static void move(const struct operation *o)
{
    uint64_t si = REGION + o->from, di = REGION + o->to, cx = o->count;

    if (o->down)
        __asm__ volatile("std");
    if (o->width == 1)
        __asm__ volatile("rep movsb" : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    else if (o->width == 2)
        __asm__ volatile("rep movsw" : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    else if (o->width == 4)
        __asm__ volatile("rep movsl" : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    else
        __asm__ volatile("rep movsq" : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    __asm__ volatile("cld");
    uint64_t moved = o->count * o->width;
    expect(cx == 0 && (o->down ? REGION + o->from - si : si - REGION - o->from) == moved,
           "registers after REP MOVS");
    seen(si);
    seen(di);
}

/* STOS, then SCAS to the byte that differs, and CMPS of two equal ranges. */
static void store_and_scan(void)
{
    uint64_t r = random(), at = r % (SIZE - 5000), length = (r >> 20) % 4000 + 2;
    uint64_t odd = (r >> 40) % length, di = REGION + at, cx = length, si;
    uint8_t fill = r >> 56;

    __asm__ volatile("rep stosb" : "+D"(di), "+c"(cx) : "a"(fill) : "memory");
    for (uint64_t i = 0; i < length; i++)
        model[at + i] = fill;
    model[at + odd] = ~fill;
    *(volatile uint8_t *)(REGION + at + odd) = ~fill;
    unmap_all();
    di = REGION + at;
    cx = length;
    __asm__ volatile("repe scasb" : "+D"(di), "+c"(cx) : "a"(fill) : "cc", "memory");
    expect(di == REGION + at + odd + 1 && cx == length - odd - 1, "REPE SCASB");
    unmap_all();
    si = (uint64_t)model + at;
    di = REGION + at;
    cx = length;
    __asm__ volatile("repe cmpsb" : "+S"(si), "+D"(di), "+c"(cx) : : "cc", "memory");
    expect(cx == 0 && di == REGION + at + length, "REPE CMPSB");
    seen(di);
}

void torture_strings(void)
{
    page_fault_hook = map_page;
    unmap_all();
    for (uint64_t i = 0; i < SIZE; i += 8) {
        uint64_t value = random();
        memcpy(model + i, &value, 8);
    }
    memcpy((void *)REGION, model, SIZE);
    for (unsigned i = 0; i < OPERATIONS; i++) {
        struct operation o = choose();
        unmap_all();
        move(&o);
        model_move(&o);
        if (i % 4 == 0)
            store_and_scan();
    }
    unmap_all();
    expect(memcmp((void *)REGION, model, SIZE) == 0, "memory after string instructions");
    for (unsigned i = 0; i < SIZE; i += 509)
        seen(model[i]);
    seen(faults);
    page_fault_hook = 0;
}
