/* Building and changing EPT paging structures, see ept.h. */
#include "memory/ept.h"

#include <assert.h>
#include <errno.h>

#define EPT_LEVELS  4
#define EPT_ENTRIES 512
#define GPA_LIMIT   (1ull << 48)

static unsigned level_shift(unsigned level)
{
    return 12 + 9 * (level - 1);
}

static uint64_t *table_entries(const struct ept *ept, uint64_t table)
{
    return physmem_at(ept->physmem, table & EPT_ADDRESS);
}

static uint64_t *table_entry(const struct ept *ept, uint64_t table, uint64_t gpa, unsigned level)
{
    return &table_entries(ept, table)[gpa >> level_shift(level) & (EPT_ENTRIES - 1)];
}

/* Entries without any right are not present, whatever else they hold; ept_protect(.., 0) leaves
 * the address in them so that rights can be given back. */
static bool entry_is_empty(uint64_t entry)
{
    return entry == 0;
}

static bool entry_is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || entry & EPT_LARGE;
}

int ept_create(struct ept *ept, struct physmem *physmem, bool accessed_dirty)
{
    uint64_t root = physmem_alloc_frame(physmem);
    if (root == FRAME_NONE)
        return -ENOMEM;
    ept->physmem = physmem;
    ept->eptp = root | EPT_TYPE_WB | (EPT_LEVELS - 1) << EPTP_WALK_LENGTH_SHIFT |
                (accessed_dirty ? EPTP_ACCESSED_DIRTY : 0);
    return 0;
}

static void table_free(struct ept *ept, uint64_t table, unsigned level)
{
    if (level > 1) {
        const uint64_t *entries = table_entries(ept, table);
        for (unsigned i = 0; i < EPT_ENTRIES; i++) {
            if (!entry_is_empty(entries[i]) && !entry_is_leaf(entries[i], level))
                table_free(ept, entries[i], level - 1);
        }
    }
    physmem_free_frame(ept->physmem, table & EPT_ADDRESS);
}

void ept_destroy(struct ept *ept)
{
    table_free(ept, ept->eptp, EPT_LEVELS);
    ept->eptp = 0;
}

/* Replaces a large page by a table of 512 smaller ones that map the same. */
static int entry_split(struct ept *ept, uint64_t *entry, unsigned level)
{
    uint64_t table = physmem_alloc_frame(ept->physmem);
    if (table == FRAME_NONE)
        return -ENOMEM;

    uint64_t *smaller = table_entries(ept, table);
    uint64_t page = level - 1 == 1 ? *entry & ~EPT_LARGE : *entry;
    for (uint64_t i = 0; i < EPT_ENTRIES; i++)
        smaller[i] = page + (i << level_shift(level - 1));
    *entry = table | EPT_ALL | (*entry & EPT_ACCESSED);
    return 0;
}

/* Makes the entry reference a table, splitting a page or adding an empty one. */
static int entry_make_table(struct ept *ept, uint64_t *entry, unsigned level)
{
    if (entry_is_empty(*entry)) {
        uint64_t table = physmem_alloc_frame(ept->physmem);
        if (table == FRAME_NONE)
            return -ENOMEM;
        *entry = table | EPT_ALL;
        return 0;
    }
    return entry_is_leaf(*entry, level) ? entry_split(ept, entry, level) : 0;
}

int ept_map(struct ept *ept, uint64_t gpa, uint64_t hpa, unsigned page_shift, uint64_t rights,
            enum ept_memory_type type)
{
    if (page_shift != 12 && page_shift != 21 && page_shift != 30)
        return -EINVAL;
    uint64_t offset_mask = (1ull << page_shift) - 1;
    if ((gpa | hpa) & offset_mask || gpa >= GPA_LIMIT || hpa & ~EPT_ADDRESS || rights & ~EPT_ALL)
        return -EINVAL;

    uint64_t table = ept->eptp;
    unsigned leaf_level = (page_shift - 12) / 9 + 1;
    for (unsigned level = EPT_LEVELS; level > leaf_level; level--) {
        uint64_t *entry = table_entry(ept, table, gpa, level);
        int error = entry_make_table(ept, entry, level);
        if (error)
            return error;
        table = *entry;
    }

    uint64_t *leaf = table_entry(ept, table, gpa, leaf_level);
    if (!entry_is_empty(*leaf) && !entry_is_leaf(*leaf, leaf_level))
        table_free(ept, *leaf, leaf_level - 1);
    *leaf = hpa | rights | (uint64_t)type << EPT_TYPE_SHIFT | (leaf_level > 1 ? EPT_LARGE : 0);
    return 0;
}

int ept_map_range(struct ept *ept, uint64_t gpa, uint64_t hpa, uint64_t size,
                  unsigned max_page_shift, uint64_t rights, enum ept_memory_type type)
{
    if ((gpa | hpa | size) & (FRAME_SIZE - 1) || size > GPA_LIMIT || gpa > GPA_LIMIT - size)
        return -EINVAL;
    while (size > 0) {
        unsigned shift = max_page_shift;
        while (shift > 12 && ((gpa | hpa) & ((1ull << shift) - 1) || size < 1ull << shift))
            shift -= 9;
        int error = ept_map(ept, gpa, hpa, shift, rights, type);
        if (error)
            return error;
        gpa += 1ull << shift;
        hpa += 1ull << shift;
        size -= 1ull << shift;
    }
    return 0;
}

/*
 * Changes every leaf entry of a range: keeps the bits in `keep` and sets those in `set`. A table
 * of which the range unmaps everything (keep and set are 0) is freed.
 */
static int table_change(struct ept *ept, uint64_t table, unsigned level, uint64_t gpa, uint64_t end,
                        uint64_t keep, uint64_t set)
{
    uint64_t span = 1ull << level_shift(level);

    while (gpa < end) {
        uint64_t *entry = table_entry(ept, table, gpa, level);
        uint64_t next = (gpa & ~(span - 1)) + span;
        uint64_t part_end = next < end ? next : end;
        bool whole = part_end - gpa == span;
        bool unmap = keep == 0 && set == 0;

        if (entry_is_empty(*entry)) {
            gpa = part_end;
            continue;
        }
        if (entry_is_leaf(*entry, level) && whole) {
            *entry = (*entry & keep) | set;
        } else if (whole && unmap) {
            table_free(ept, *entry, level - 1);
            *entry = 0;
        } else {
            int error = entry_make_table(ept, entry, level);
            if (!error)
                error = table_change(ept, *entry, level - 1, gpa, part_end, keep, set);
            if (error)
                return error;
        }
        gpa = part_end;
    }
    return 0;
}

static int range_change(struct ept *ept, uint64_t gpa, uint64_t size, uint64_t keep, uint64_t set)
{
    if ((gpa | size) & (FRAME_SIZE - 1) || size > GPA_LIMIT || gpa > GPA_LIMIT - size)
        return -EINVAL;
    return table_change(ept, ept->eptp, EPT_LEVELS, gpa, gpa + size, keep, set);
}

int ept_unmap(struct ept *ept, uint64_t gpa, uint64_t size)
{
    return range_change(ept, gpa, size, 0, 0);
}

int ept_protect(struct ept *ept, uint64_t gpa, uint64_t size, uint64_t rights)
{
    if (rights & ~EPT_ALL)
        return -EINVAL;
    return range_change(ept, gpa, size, ~EPT_ALL, rights);
}

bool ept_lookup(const struct ept *ept, uint64_t gpa, struct ept_mapping *mapping)
{
    uint64_t table = ept->eptp;
    uint64_t rights = EPT_ALL;

    if (gpa >= GPA_LIMIT)
        return false;
    for (unsigned level = EPT_LEVELS; level >= 1; level--) {
        uint64_t *entry = table_entry(ept, table, gpa, level);
        if (entry_is_empty(*entry))
            return false;
        rights &= *entry;
        if (entry_is_leaf(*entry, level)) {
            uint64_t offset_mask = (1ull << level_shift(level)) - 1;
            *mapping = (struct ept_mapping){
                .hpa = (*entry & EPT_ADDRESS & ~offset_mask) | (gpa & offset_mask),
                .entry = *entry,
                .entry_hpa = (uint64_t)((uint8_t *)entry - ept->physmem->base),
                .rights = rights & EPT_ALL,
                .page_shift = (uint8_t)level_shift(level),
            };
            return true;
        }
        table = *entry;
    }
    assert(!"the last level has only leaf entries");
    return false;
}
