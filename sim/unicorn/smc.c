/*
 * Self-modifying code.
 *
 * The library marks pages that hold translated code; a write to one finds the blocks that it hits
 * and drops them. Unicorn 2.1.1 then forgets the mark although other blocks remain on the page, and
 * sets it for one linear address only, so that a write through an alias goes unnoticed. Here the
 * mark stays as long as the page has blocks, and covers every alias.
 *
 * The first write through an entry of the soft TLB comes by here whether or not the page holds
 * code. That is also how pages that are written become known to those who hash memory.
 */
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

#define PAGE_SHIFT 12
#define PAGE_BYTES (1ull << PAGE_SHIFT)

static bool is_guest_page(const struct unicorn_engine *engine, uint64_t address)
{
    return engine && (address >> PAGE_SHIFT) < engine->code_page_count;
}

EXPORT void tlb_protect_code_x86_64(void *uc, uint64_t address)
{
    struct unicorn_engine *engine = unicorn_current;
    /* A page that is marked already has no writable entry without the mark. */
    if (is_guest_page(engine, address) && !engine->code_pages[address >> PAGE_SHIFT]) {
        engine->code_pages[address >> PAGE_SHIFT] = 1;
        tlb_reset_dirty_x86_64(
            engine->cs, (uint64_t)(engine->cpu->mmu.physmem->base + (address & ~(PAGE_BYTES - 1))),
            PAGE_BYTES);
    }
    ORIGINAL(tlb_protect_code_x86_64)(uc, address);
}

EXPORT void tlb_unprotect_code_x86_64(void *uc, uint64_t address)
{
    struct unicorn_engine *engine = unicorn_current;
    if (is_guest_page(engine, address))
        engine->code_pages[address >> PAGE_SHIFT] = 0;
    ORIGINAL(tlb_unprotect_code_x86_64)(uc, address);
}

/* tlb_protect_code has done it, for all aliases. */
EXPORT void tlb_reset_dirty_by_vaddr_x86_64(void *cs, uint64_t start, uint64_t length)
{
    if (!unicorn_current)
        ORIGINAL(tlb_reset_dirty_by_vaddr_x86_64)(cs, start, length);
}

EXPORT void tb_invalidate_phys_page_fast_x86_64(void *uc, void *pages, uint64_t start, int length,
                                                uintptr_t return_address)
{
    struct unicorn_engine *engine = unicorn_current;
    if (engine) {
        engine->last_code_write = start;
        if (is_guest_page(engine, start))
            physmem_note_write(engine->cpu->mmu.physmem, start, (uint64_t)length);
    }
    ORIGINAL(tb_invalidate_phys_page_fast_x86_64)(uc, pages, start, length, return_address);
}

EXPORT void tlb_set_dirty_x86_64(void *cs, uint64_t linear)
{
    struct unicorn_engine *engine = unicorn_current;
    if (engine && is_guest_page(engine, engine->last_code_write) &&
        engine->code_pages[engine->last_code_write >> PAGE_SHIFT])
        return;
    ORIGINAL(tlb_set_dirty_x86_64)(cs, linear);
}

void unicorn_watch_writes(struct unicorn_engine *engine)
{
    const struct physmem *physmem = engine->cpu->mmu.physmem;
    tlb_reset_dirty_x86_64(engine->cs, (uint64_t)physmem->base, physmem->size);
}
