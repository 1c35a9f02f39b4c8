/*
 * The walk that finds nothing special, see mmu_internal.h: the fast path beside the complete one in
 * mmu_walk.c, which explains the walk.
 *
 * A chain of dependent loads cannot be shortened, so all else is kept out of its way: one masked
 * comparison judges an entry, addresses are formed so that a table's address joins them last, and
 * what the walk remembers is written at its end.
 */
#include "memory/mmu_internal.h"

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#define always_inline       inline __attribute__((always_inline))

struct plain_page {
    uint64_t page;   /* host-physical address of its first byte */
    uint64_t rights; /* EPT_* of all levels, EPT_DIRTY of the leaf */
    unsigned shift, references;
};

/* The entry for `address` of a table, which is inside memory. */
static always_inline uint64_t entry_read(const uint8_t *memory, uint64_t table, uint64_t address,
                                         unsigned shift)
{
    const uint8_t *column = memory + ((address >> shift & 0x1ff) << 3);
    return *(const uint64_t *)(column + table);
}

static always_inline bool plain_ept(const uint8_t *memory, uint64_t size,
                                    const struct ept_format *format, uint64_t gpa,
                                    struct plain_page *out)
{
    uint64_t table = format->root, rights = EPT_ALL, entry = 0;
    unsigned shift = 39;

    if (unlikely(gpa & format->gpa_limit_mask))
        return false;
#pragma GCC unroll 4
    for (unsigned level = 4; level >= 1; level--, shift -= 9) {
        if (unlikely(table >= size))
            return false;
        entry = entry_read(memory, table, gpa, shift);
        if (level == 1 || (entry & format->plain_mask[level]) != format->plain) {
            if (unlikely((entry & format->page_mask[level]) != format->page_plain[level]))
                return false;
            out->references = 5 - level;
            break;
        }
        rights &= entry;
        table = entry & EPT_ADDRESS;
    }
    out->page = entry & EPT_ADDRESS;
    out->rights = (rights | EPT_DIRTY) & entry;
    out->shift = shift;
    return true;
}

/* A guest table: where it is, what EPT allows there, and for the memo the size of its EPT page. */
struct plain_table {
    uint64_t hpa;
    unsigned rights; /* RIGHT_EPT_* */
    unsigned ept_shift, references;
};

static always_inline bool plain_table(struct mmu *mmu, const uint8_t *memory, uint64_t size,
                                      uint64_t gpa, struct plain_table *table)
{
    const struct ept_format *format = &mmu->derived.ept;
    struct plain_page ept;

    table->ept_shift = 0;
    table->references = 0;
    if (mmu->tlb.array[TLB_GUEST_PHYSICAL].sizes != 0) {
        const struct tlb_entry *entry =
            tlb_lookup(&mmu->tlb, TLB_GUEST_PHYSICAL, gpa, tlb_context_guest_physical(mmu->eptp));
        if (entry) {
            unsigned needed =
                format->accessed_dirty ? RIGHT_EPT_READ | RIGHT_EPT_WRITE : RIGHT_EPT_READ;
            table->hpa = entry->hpa | (gpa & entry->offset);
            table->rights = entry->rights;
            return (entry->rights & needed) == needed;
        }
    }
    if (unlikely(!plain_ept(memory, size, format, gpa, &ept)))
        return false;
    if (format->accessed_dirty && (ept.rights & (EPT_WRITE | EPT_DIRTY)) != (EPT_WRITE | EPT_DIRTY))
        return false;
    table->hpa = ept.page | (gpa & ((1ull << ept.shift) - 1));
    table->rights = (unsigned)(ept.rights & EPT_ALL) << RIGHT_EPT_SHIFT;
    table->ept_shift = ept.shift;
    table->references = ept.references;
    return true;
}

static always_inline unsigned guest_rights(uint64_t all, uint64_t any)
{
    return (unsigned)(all >> 1 & (RIGHT_WRITE | RIGHT_USER)) |
           (unsigned)(any >> 63) * RIGHT_NO_EXECUTE;
}

static always_inline bool walk_plain(struct mmu *mmu, uint64_t linear, unsigned access,
                                     struct walk_result *result, const bool ept_enabled)
{
    const struct paging_format *paging = &mmu->derived.paging;
    const struct ept_format *format = &mmu->derived.ept;
    const uint8_t *memory = mmu->physmem->base;
    uint64_t size = mmu->physmem->size;
    uint64_t root = paging->mode == PAGING_PAE ? mmu->regs.pdpte[linear >> 30 & 3] : mmu->regs.cr3;
    uint64_t table_gpa = root & PTE_ADDRESS, all = UINT64_MAX, any = 0, entry;
    struct plain_table table = {.hpa = table_gpa, .rights = RIGHT_EPT_ALL};
    unsigned level = paging->top_level, guest_references = 0, ept_references = 0, shift;
    struct walk_memo memo;

    if (unlikely(paging->mode == PAGING_PAE && !(root & PTE_PRESENT)))
        return false;
    memo.count = 0;
    const struct tlb_entry *cached = structure_lookup(mmu, linear, &level);
    if (cached) {
        table.hpa = cached->hpa;
        all = (uint64_t)cached->rights << 1;
        any = cached->rights & RIGHT_NO_EXECUTE ? PTE_NX : 0;
    } else if (ept_enabled) {
        if (unlikely(!plain_table(mmu, memory, size, table_gpa, &table)))
            return false;
        ept_references = table.references;
        memo_add(&memo, table_gpa, table.hpa, table.rights, table.ept_shift, 0);
    }

    for (shift = 12 + 9 * (level - 1);; shift -= 9) {
        if (unlikely(table.hpa >= size))
            return false;
        entry = entry_read(memory, table.hpa, linear, shift);
        guest_references++;
        all &= entry;
        any |= entry;
        if ((entry & paging->table_mask[level]) != paging->table_plain[level])
            break;
        table_gpa = table.hpa = entry & PTE_ADDRESS;
        if (ept_enabled) {
            if (unlikely(!plain_table(mmu, memory, size, table_gpa, &table)))
                return false;
            ept_references += table.references;
        }
        memo_add(&memo, table_gpa, table.hpa, guest_rights(all, any) | table.rights,
                 table.ept_shift, level);
        level--;
    }
    if (unlikely((entry & paging->page_mask[level]) != paging->page_plain[level]))
        return false;

    uint64_t offset_mask = (1ull << shift) - 1;
    unsigned rights = guest_rights(all, any) | (entry & PTE_DIRTY ? RIGHT_DIRTY : 0);
    result->gpa = (entry & PTE_ADDRESS & ~offset_mask) | (linear & offset_mask);
    result->hpa = result->gpa;
    result->guest_shift = (uint8_t)shift;
    result->shift = (uint8_t)shift;
    if (ept_enabled) {
        struct plain_page ept;
        if (unlikely(!plain_ept(memory, size, format, result->gpa, &ept)))
            return false;
        ept_references += ept.references;
        result->hpa = ept.page | (result->gpa & ((1ull << ept.shift) - 1));
        if (ept.shift < shift)
            result->shift = (uint8_t)ept.shift;
        if (format->accessed_dirty && !(ept.rights & EPT_DIRTY))
            ept.rights &= ~EPT_WRITE;
        rights |= (unsigned)(ept.rights & EPT_ALL) << RIGHT_EPT_SHIFT;
    } else {
        rights |= RIGHT_EPT_ALL;
    }
    unsigned allowed = mmu->derived.rules->allowed[access >> ACCESS_MODE_SHIFT][rights];
    if (unlikely(!(allowed >> (access & ACCESS_TYPE_MASK) & 1)))
        return false;

    result->root = root;
    result->rights = (uint8_t)rights;
    result->global = paging->pge && entry & PTE_GLOBAL;
    result->guest_references = guest_references;
    result->ept_references = ept_references;
    memo_commit(mmu, linear, root, &memo);
    return true;
}

bool mmu_walk_plain(struct mmu *mmu, uint64_t linear, unsigned access, struct walk_result *result)
{
    if (unlikely(mmu->log || mmu->derived.paging.entry_size != 8))
        return false;
    if (!mmu->ept_enabled)
        return walk_plain(mmu, linear, access, result, false);
    return likely(mmu->derived.ept.levels == 4) && walk_plain(mmu, linear, access, result, true);
}
