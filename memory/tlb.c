/* Storage of cached translations: set-associative arrays, see tlb.h. */
#include "memory/tlb.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Skylake's second-level TLB; the sizes of the other arrays are of the same class. */
const struct tlb_config tlb_config_default = {{
    [TLB_PAGES] = {128, 12},
    [TLB_1G] = {4, 4},
    [TLB_GUEST_PHYSICAL] = {64, 8},
    [TLB_PDE] = {8, 4},
    [TLB_PDPTE] = {1, 4},
    [TLB_PML4E] = {1, 2},
    [TLB_PML5E] = {1, 2},
}};

static bool geometry_valid(const struct tlb_geometry *geometry)
{
    return geometry->sets == 0 ||
           (geometry->sets <= TLB_SETS_MAX && (geometry->sets & (geometry->sets - 1)) == 0 &&
            geometry->ways >= 1 && geometry->ways <= TLB_WAYS_MAX);
}

/* Lays the arrays out one after the other in the allocations. */
static void arrays_place(struct tlb *tlb, const struct tlb_config *config)
{
    unsigned first = 0;
    struct tlb_set *set = tlb->sets;

    for (unsigned id = 0; id < TLB_ARRAYS; id++) {
        const struct tlb_geometry *geometry = &config->array[id];
        struct tlb_array *array = &tlb->array[id];

        if (geometry->sets == 0)
            continue;
        array->sets = set;
        array->set_mask = geometry->sets - 1;
        array->set_bits = (uint32_t)__builtin_ctz(geometry->sets);
        array->way_count = geometry->ways;
        array->all_ways = (1u << geometry->ways) - 1;
        for (unsigned i = 0; i < geometry->sets; i++) {
            set[i].first = first + i * geometry->ways;
            for (unsigned way = 0; way < geometry->ways; way++) {
                struct tlb_entry *entry = &tlb->entries[set[i].first + way];
                entry->set = (uint16_t)(set + i - tlb->sets);
                entry->way = (uint16_t)way;
            }
        }
        first += geometry->sets * geometry->ways;
        set += geometry->sets;
    }
}

int tlb_init(struct tlb *tlb, const struct tlb_config *config)
{
    unsigned entries = 0, sets = 0;

    memset(tlb, 0, sizeof(*tlb));
    tlb->entries = &tlb->nothing;
    if (!config)
        config = &tlb_config_default;
    for (unsigned id = 0; id < TLB_ARRAYS; id++) {
        const struct tlb_geometry *geometry = &config->array[id];
        if (!geometry_valid(geometry))
            return -EINVAL;
        entries += geometry->sets * geometry->ways;
        sets += geometry->sets;
    }
    if (entries > UINT16_MAX) /* hints are 16 bits wide */
        return -EINVAL;
    if (entries == 0)
        return 0;

    struct tlb_entry *block = aligned_alloc(64, entries * sizeof(*block));
    tlb->sets = calloc(sets, sizeof(*tlb->sets));
    tlb->recent = calloc(entries, 1);
    if (!block || !tlb->sets || !tlb->recent) {
        free(block);
        free(tlb->sets);
        free(tlb->recent);
        tlb->sets = NULL;
        tlb->recent = NULL;
        return -ENOMEM;
    }
    memset(block, 0, entries * sizeof(*block));
    tlb->entries = block;
    tlb->entry_count = entries;
    arrays_place(tlb, config);
    return 0;
}

void tlb_destroy(struct tlb *tlb)
{
    if (tlb->entries != &tlb->nothing)
        free(tlb->entries);
    free(tlb->sets);
    free(tlb->recent);
    memset(tlb, 0, sizeof(*tlb));
    tlb->entries = &tlb->nothing;
}

struct tlb_entry *tlb_lookup(struct tlb *tlb, enum tlb_array_id id, uint64_t key, uint64_t context)
{
    const struct tlb_array *array = &tlb->array[id];

    for (uint64_t sizes = array->sizes; sizes != 0; sizes &= sizes - 1) {
        unsigned shift = (unsigned)__builtin_ctzll(sizes);
        const struct tlb_set *set = &array->sets[tlb_array_set(array, key, shift)];
        for (unsigned ways = set->valid; ways != 0; ways &= ways - 1) {
            struct tlb_entry *entry = &tlb->entries[set->first + (unsigned)__builtin_ctz(ways)];
            if (tlb_entry_matches(entry, key, context)) {
                tlb_touch(tlb, entry);
                return entry;
            }
        }
    }
    return NULL;
}

struct tlb_entry *tlb_lookup_page(struct tlb *tlb, uint64_t key, uint64_t context)
{
    struct tlb_entry *entry = tlb_lookup(tlb, TLB_PAGES, key, context);
    if (!entry)
        entry = tlb_lookup(tlb, TLB_1G, key, context);
    if (entry)
        tlb_remember_hint(tlb, key, entry);
    return entry;
}

unsigned tlb_set_victim(struct tlb *tlb, const struct tlb_set *set, unsigned all_ways)
{
    unsigned ways = (unsigned)__builtin_popcount(all_ways);

    for (unsigned way = 0; way < ways; way++) {
        if (!tlb->recent[set->first + way])
            return way;
    }
    memset(&tlb->recent[set->first], 0, ways);
    return 0;
}

/* The set stays marked as occupied until an invalidation finds it empty. */
void tlb_drop(struct tlb *tlb, struct tlb_entry *entry)
{
    tlb->sets[entry->set].valid &= ~(1u << entry->way);
    entry->context = 0;
}

static bool entry_in_scope(const struct tlb_entry *entry, const struct tlb_scope *scope)
{
    if (((entry->context ^ scope->context) & scope->context_mask) != 0)
        return false;
    if (scope->spare_vpid0 && (entry->context & TLB_CONTEXT_VPID) == 0)
        return false;
    if (tlb_entry_global(entry)) {
        if (scope->spare_global)
            return false;
    } else if (!scope->any_pcid && (entry->page & 0xfff) != scope->pcid) {
        return false;
    }
    return scope->any_address || (entry->page ^ scope->address) >> entry->guest_shift == 0;
}

static unsigned set_invalidate(struct tlb *tlb, struct tlb_array *array, unsigned index,
                               const struct tlb_scope *scope)
{
    struct tlb_set *set = &array->sets[index];
    unsigned dropped = 0;

    for (unsigned ways = set->valid; ways != 0; ways &= ways - 1) {
        struct tlb_entry *entry = &tlb->entries[set->first + (unsigned)__builtin_ctz(ways)];
        if (entry_in_scope(entry, scope)) {
            tlb_drop(tlb, entry);
            dropped++;
        }
    }
    if (set->valid == 0)
        array->occupied[index / 64] &= ~(1ull << index % 64);
    return dropped;
}

static unsigned array_invalidate_all_sets(struct tlb *tlb, struct tlb_array *array,
                                          const struct tlb_scope *scope)
{
    unsigned dropped = 0, left = 0;

    for (unsigned word = 0; word <= array->set_mask / 64; word++) {
        for (uint64_t sets = array->occupied[word]; sets != 0; sets &= sets - 1) {
            unsigned index = word * 64 + (unsigned)__builtin_ctzll(sets);
            dropped += set_invalidate(tlb, array, index, scope);
        }
        left |= array->occupied[word] != 0;
    }
    if (!left)
        array->sizes = 0;
    return dropped;
}

/* An address leads to one set for each size of page, unless pages were cached in parts. */
static unsigned array_invalidate(struct tlb *tlb, struct tlb_array *array,
                                 const struct tlb_scope *scope)
{
    unsigned dropped = 0;

    if (scope->any_address || tlb->fractured)
        return array_invalidate_all_sets(tlb, array, scope);
    for (uint64_t sizes = array->sizes; sizes != 0; sizes &= sizes - 1) {
        unsigned shift = (unsigned)__builtin_ctzll(sizes);
        dropped += set_invalidate(tlb, array, tlb_array_set(array, scope->address, shift), scope);
    }
    return dropped;
}

unsigned tlb_invalidate(struct tlb *tlb, unsigned arrays, const struct tlb_scope *scope)
{
    unsigned dropped = 0;

    for (unsigned id = 0; id < TLB_ARRAYS; id++) {
        if (1u << id & arrays && tlb->array[id].sizes != 0)
            dropped += array_invalidate(tlb, &tlb->array[id], scope);
    }
    if (tlb->array[TLB_PAGES].sizes == 0 && tlb->array[TLB_1G].sizes == 0)
        tlb->fractured = false;
    return dropped;
}

void tlb_for_each(const struct tlb *tlb, unsigned arrays,
                  void (*visit)(void *opaque, enum tlb_array_id id, const struct tlb_entry *entry),
                  void *opaque)
{
    for (unsigned id = 0; id < TLB_ARRAYS; id++) {
        const struct tlb_array *array = &tlb->array[id];
        if (!(1u << id & arrays) || array->all_ways == 0)
            continue;
        const struct tlb_entry *entries = &tlb->entries[array->sets[0].first];
        for (unsigned i = 0; i < (array->set_mask + 1) * array->way_count; i++) {
            if (entries[i].context != 0)
                visit(opaque, id, &entries[i]);
        }
    }
}
