/*
 * Page-table tricks against a model: a few frames mapped at many addresses with changing rights;
 * every access must do what the model says, set accessed and dirty bits as it must, or fault with
 * the right error code.
 */
#include "torture.h"

#define REGION     0x20000000000
#define PAGES      24
#define USED       16 /* frames */
#define LARGE_PAGE 0x28000000000
#define OPERATIONS 1500

struct page {
    bool present, writable, executable, accessed, dirty;
    unsigned frame;
};

static struct page pages[PAGES];
static uint32_t words[USED][8]; /* what the model says of the first words of each frame */

static uint64_t address_of(unsigned page)
{
    return REGION + (uint64_t)page * 4096;
}

static void map(unsigned page, uint64_t r)
{
    struct page *p = &pages[page];

    *p = (struct page){
        .present = r & 7, .writable = r & 8, .executable = r & 16, .frame = (r >> 8) % USED};
    page_map(address_of(page), p->frame,
             (p->present ? PAGE_P : 0) | (p->writable ? PAGE_W : 0) |
                 (p->executable ? 0 : PAGE_NX));
}

static void check_bits(unsigned page)
{
    uint64_t entry = *page_entry(address_of(page));
    struct page *p = &pages[page];

    if (!p->present)
        return;
    expect(!(entry & PAGE_A) == !p->accessed, "accessed bit");
    expect(!(entry & PAGE_D) == !p->dirty, "dirty bit");
    seen(entry & (PAGE_A | PAGE_D));
}

static void load(unsigned page, unsigned word)
{
    struct page *p = &pages[page];
    uint32_t value = 0;
    uint64_t address = address_of(page) + word * 4;

    fault.vector = NO_FAULT;
    __asm__ volatile("leaq 99f(%%rip), %%rax; movq %%rax, resume_at; movl (%%rcx), %0; 99:"
                     : "+b"(value)
                     : "c"(address)
                     : "rax", "memory");
    resume_at = 0;
    if (p->present) {
        p->accessed = true;
        expect(fault.vector == NO_FAULT && value == words[p->frame][word], "load");
    } else {
        expect(fault.vector == 14 && fault.error == 0 && fault.cr2 == address, "load, absent");
    }
    seen(value);
    seen(fault.vector);
}

static void store(unsigned page, unsigned word, uint32_t value)
{
    struct page *p = &pages[page];
    uint64_t address = address_of(page) + word * 4;

    TRY("movl %%ebx, (%%rcx)", "c"(address), "b"(value));
    if (p->present && p->writable) {
        p->accessed = p->dirty = true;
        words[p->frame][word] = value;
        expect(fault.vector == NO_FAULT, "store");
    } else {
        expect(fault.vector == 14 && fault.error == (p->present ? 3 : 2) && fault.cr2 == address,
               "store, not allowed");
    }
    seen(fault.vector);
}

/* A jump to the page: RET is at its end. */
static void execute(unsigned page)
{
    struct page *p = &pages[page];
    uint64_t address = address_of(page) + 4095;

    fault.vector = NO_FAULT;
    __asm__ volatile("leaq 99f(%%rip), %%rax; movq %%rax, resume_at; movq %%rsp, %%r8;"
                     "call *%%rcx; 99: movq %%r8, %%rsp"
                     :
                     : "c"(address)
                     : "rax", "r8", "memory");
    resume_at = 0;
    if (p->present && p->executable) {
        p->accessed = true;
        expect(fault.vector == NO_FAULT, "fetch");
    } else {
        expect(fault.vector == 14 && fault.error == (p->present ? 0x11 : 0x10) &&
                   fault.cr2 == address,
               "fetch, not allowed");
    }
    seen(fault.vector);
}

static void clear_bits(unsigned page)
{
    *page_entry(address_of(page)) &= ~(PAGE_A | PAGE_D);
    page_flush(address_of(page));
    pages[page].accessed = pages[page].dirty = false;
}

/* Rights away, then a reload of CR3 instead of INVLPG. */
static void write_protect_all(void)
{
    uint64_t cr3;

    for (unsigned page = 0; page < PAGES; page++) {
        *page_entry(address_of(page)) &= ~PAGE_W;
        pages[page].writable = false;
    }
    __asm__ volatile("movq %%cr3, %0; movq %0, %%cr3" : "=r"(cr3) : : "memory");
}

/* A 2 MiB page over the frames' own memory shows the same words. */
static void check_large_page(void)
{
    uint64_t *table;

    page_entry(LARGE_PAGE); /* makes the tables above */
    __asm__("movq %%cr3, %0" : "=r"(table));
    for (unsigned shift = 39; shift > 21; shift -= 9)
        table = (uint64_t *)(table[LARGE_PAGE >> shift & 511] & 0x000ffffffffff000);
    volatile uint64_t *directory = &table[LARGE_PAGE >> 21 & 511];
    for (unsigned frame = 0; frame < USED; frame++) {
        uint64_t at = (uint64_t)frames[frame], alias = LARGE_PAGE + (at & 0x1fffff);
        *directory = (at & ~0x1fffffull) | 0x80 | PAGE_P | PAGE_NX;
        page_flush(alias);
        uint32_t value = *(volatile uint32_t *)alias;
        expect(value == words[frame][0], "large page");
        seen(value);
    }
}

void torture_paging(void)
{
    for (unsigned frame = 0; frame < USED; frame++) {
        memset(frames[frame], 0, 4096);
        frames[frame][4095] = 0xc3;
        for (unsigned word = 0; word < 8; word++)
            words[frame][word] = 0;
    }
    for (unsigned page = 0; page < PAGES; page++)
        map(page, random());
    for (unsigned i = 0; i < OPERATIONS; i++) {
        uint64_t r = random();
        unsigned page = (r >> 32) % PAGES, word = r >> 40 & 7;
        switch (r % 16) {
        case 0 ... 1:
            map(page, r >> 8);
            break;
        case 2 ... 6:
            load(page, word);
            break;
        case 7 ... 11:
            store(page, word, r >> 8);
            break;
        case 12 ... 13:
            execute(page);
            break;
        case 14:
            clear_bits(page);
            break;
        default:
            if ((r >> 8) % 32 == 0)
                write_protect_all();
        }
        check_bits(page);
    }
    check_large_page();
}
