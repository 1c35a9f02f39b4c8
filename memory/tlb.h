/*
 * What a logical processor remembers of translations (SDM "Caching Translation Information" and
 * "Caching Translation Information" of VMX): TLB entries, paging-structure caches and
 * guest-physical mappings. All are set-associative arrays of the same kind of entry:
 *
 *   array                   key                  maps to                          tagged by
 *   TLB_PAGES, TLB_1G       linear page          host-physical page               VPID PCID EP4TA
 *   TLB_PDE .. TLB_PML5E    linear prefix        table that the entry references  VPID PCID EP4TA
 *   TLB_GUEST_PHYSICAL      guest-physical page  host-physical page               EP4TA
 *
 * "EP4TA" is EPTP[51:12]. Without EPT an entry is a linear mapping and has no EP4TA; with EPT it
 * is a combined mapping. Global pages ignore the PCID.
 *
 * This file stores, finds and drops entries. What is cached when is decided in mmu_walk.c, which
 * operation drops what in mmu_invalidate.c.
 */
#ifndef VTXSIM_MEMORY_TLB_H
#define VTXSIM_MEMORY_TLB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tlb_array_id {
    TLB_PAGES, /* 4-KByte, 2-MByte and 4-MByte pages */
    TLB_1G,
    TLB_GUEST_PHYSICAL,
    TLB_PDE, /* the paging-structure caches */
    TLB_PDPTE,
    TLB_PML4E,
    TLB_PML5E,
    TLB_ARRAYS
};
#define TLB_PAGE_ARRAYS      (1u << TLB_PAGES | 1u << TLB_1G)
#define TLB_STRUCTURE_ARRAYS (1u << TLB_PDE | 1u << TLB_PDPTE | 1u << TLB_PML4E | 1u << TLB_PML5E)
#define TLB_LINEAR_ARRAYS    (TLB_PAGE_ARRAYS | TLB_STRUCTURE_ARRAYS)

/*
 * What the entries that were walked allow together. The first four come from guest paging, the
 * others from EPT (all set without EPT). A set RIGHT_DIRTY or RIGHT_EPT_WRITE also says that no
 * dirty flag is left to be set by a write.
 */
#define RIGHT_WRITE       (1u << 0) /* R/W is 1 in all entries */
#define RIGHT_USER        (1u << 1) /* U/S is 1 in all entries */
#define RIGHT_NO_EXECUTE  (1u << 2) /* XD is 1 in some entry */
#define RIGHT_DIRTY       (1u << 3) /* the dirty flag of the entry that maps the page is 1 */
#define RIGHT_EPT_READ    (1u << 4)
#define RIGHT_EPT_WRITE   (1u << 5)
#define RIGHT_EPT_EXECUTE (1u << 6)
#define RIGHT_EPT_SHIFT   4
#define RIGHT_EPT_ALL     (7u << RIGHT_EPT_SHIFT)
#define RIGHTS_COUNT      128

/* 64 bytes. */
struct tlb_entry {
    uint64_t page;       /* address of the page's first byte; bits 11:0: PCID */
    uint64_t mask;       /* the bits of `page` that must match: all of PCID or, if global, none */
    uint64_t context;    /* see tlb_context; 0: the entry is empty */
    uint64_t offset;     /* the bits of an address that lie within the page */
    uint64_t hpa;        /* of the page's first byte, or of the next table */
    uint64_t gpa;        /* likewise */
    uint64_t root;       /* unless guest-physical: CR3, or the PDPTE of PAE paging */
    uint8_t rights;      /* RIGHT_* */
    uint8_t shift;       /* log2 of what the entry covers */
    uint8_t guest_shift; /* log2 of the guest's page, of which this may be a part ("fractured") */
    uint8_t mode;        /* likewise: enum paging_mode */
    uint16_t set;        /* where the entry is, for ever: index into struct tlb.sets, and way */
    uint16_t way;
};

struct tlb_set {
    uint32_t valid; /* bit i: way i holds an entry */
    uint32_t first; /* index of the entry in way 0 */
};

#define TLB_WAYS_MAX 16
#define TLB_SETS_MAX 512
struct tlb_geometry {
    uint16_t sets; /* a power of two up to TLB_SETS_MAX, or 0: this array caches nothing */
    uint8_t ways;  /* 1 to TLB_WAYS_MAX */
};
struct tlb_config {
    struct tlb_geometry array[TLB_ARRAYS];
};
extern const struct tlb_config tlb_config_default;

struct tlb_array {
    struct tlb_set *sets; /* into struct tlb.sets */
    uint32_t set_mask;
    uint32_t all_ways; /* a bit for each way; 0: the array has no sets */
    uint32_t set_bits;
    uint32_t way_count;
    uint64_t sizes;                       /* bit i: an entry whose shift is i may be present */
    uint64_t occupied[TLB_SETS_MAX / 64]; /* a bit for each set that may have a valid entry */
};

#define TLB_HINT_BITS 13
struct tlb {
    struct tlb_array array[TLB_ARRAYS];
    struct tlb_entry *entries;
    struct tlb_set *sets;
    /* A byte for each entry: not 0 if it was used since the last time that all of its set were.
     * Such an entry is not chosen for eviction. */
    uint8_t *recent;
    unsigned entry_count;
    bool fractured; /* parts of a larger guest page may be cached; set by whoever fills them in */
    struct tlb_entry nothing; /* always empty; what a hint points to before it knows better */
    /* Where the entry of a 4-KByte linear page was found last. Never believed without comparing
     * the entry's tag, so that nothing has to keep it up to date. */
    uint16_t hint[1 << TLB_HINT_BITS];
};

/* config NULL: the default. Returns 0, -EINVAL or -ENOMEM; then the TLB works and caches nothing.
 */
int tlb_init(struct tlb *tlb, const struct tlb_config *config);
void tlb_destroy(struct tlb *tlb);

/*
 * The tag of a mapping: VPID in bits 11:0 and 63:60, EP4TA in bits 51:12, and its kind.
 * A combined mapping is one with TLB_CONTEXT_EPT, a linear mapping one without.
 */
#define TLB_CONTEXT_VPID           0xf000000000000fffull
#define TLB_CONTEXT_EP4TA          0x000ffffffffff000ull
#define TLB_CONTEXT_VALID          (1ull << 52)
#define TLB_CONTEXT_EPT            (1ull << 53)
#define TLB_CONTEXT_GUEST_PHYSICAL (1ull << 54)

static inline uint64_t tlb_context_vpid(uint16_t vpid)
{
    return (vpid & 0xfffull) | (uint64_t)(vpid >> 12) << 60;
}

static inline uint64_t tlb_context(bool ept, uint64_t eptp, uint16_t vpid)
{
    uint64_t context = TLB_CONTEXT_VALID | tlb_context_vpid(vpid);
    return ept ? context | TLB_CONTEXT_EPT | (eptp & TLB_CONTEXT_EP4TA) : context;
}

static inline uint64_t tlb_context_guest_physical(uint64_t eptp)
{
    return TLB_CONTEXT_VALID | TLB_CONTEXT_EPT | TLB_CONTEXT_GUEST_PHYSICAL |
           (eptp & TLB_CONTEXT_EP4TA);
}

static inline uint64_t tlb_page_mask(unsigned shift, bool global)
{
    return (UINT64_MAX << shift) | (global ? 0 : 0xfff);
}

static inline bool tlb_entry_global(const struct tlb_entry *entry)
{
    return (entry->mask & 0xfff) == 0;
}

/* key: linear or guest-physical address with bits 11:0 replaced by the PCID. */
static inline bool tlb_entry_matches(const struct tlb_entry *entry, uint64_t key, uint64_t context)
{
    return (((key ^ entry->page) & entry->mask) | (context ^ entry->context)) == 0;
}

static inline unsigned tlb_hint_index(uint64_t address)
{
    return (address >> 12) & ((1u << TLB_HINT_BITS) - 1);
}

/* Index of the entry that may hold the translation; compare it before use. */
static inline unsigned tlb_predict(const struct tlb *tlb, uint64_t address)
{
    return tlb->hint[tlb_hint_index(address)];
}

static inline void tlb_remember_hint(struct tlb *tlb, uint64_t address,
                                     const struct tlb_entry *entry)
{
    tlb->hint[tlb_hint_index(address)] = (uint16_t)(entry - tlb->entries);
}

static inline void tlb_touch(struct tlb *tlb, const struct tlb_entry *entry)
{
    tlb->recent[entry - tlb->entries] = 1;
}

/* The matching entry of an array, or NULL. Marks it as recently used. */
struct tlb_entry *tlb_lookup(struct tlb *tlb, enum tlb_array_id id, uint64_t key, uint64_t context);
/* The matching entry for a linear page, from either array of pages; remembered as a hint. */
struct tlb_entry *tlb_lookup_page(struct tlb *tlb, uint64_t key, uint64_t context);

/* Low bits of the page number XORed with the next ones, as in Intel's second-level TLBs. */
static inline unsigned tlb_array_set(const struct tlb_array *array, uint64_t address,
                                     unsigned shift)
{
    uint64_t number = address >> shift;
    return (unsigned)(number ^ number >> array->set_bits) & array->set_mask;
}

/* In a full set: the first way that was not used recently. */
unsigned tlb_set_victim(struct tlb *tlb, const struct tlb_set *set, unsigned all_ways);

/*
 * Makes room for an entry, in place of the least recent one of its set, and marks the place as
 * taken. The caller fills in all fields but set and way. NULL if the array has no sets. Inline, and
 * filled in place: a walk ends with eight of these.
 */
static inline struct tlb_entry *tlb_claim(struct tlb *tlb, enum tlb_array_id id, uint64_t address,
                                          unsigned shift)
{
    struct tlb_array *array = &tlb->array[id];
    unsigned all_ways = array->all_ways;

    if (__builtin_expect(all_ways == 0, 0))
        return NULL;
    unsigned index = tlb_array_set(array, address, shift);
    struct tlb_set *set = &array->sets[index];
    unsigned way = set->valid == all_ways ? tlb_set_victim(tlb, set, all_ways)
                                          : (unsigned)__builtin_ctz(~set->valid);

    set->valid |= 1u << way;
    array->sizes |= 1ull << shift;
    array->occupied[index / 64] |= 1ull << index % 64;
    tlb->recent[set->first + way] = 1;
    return &tlb->entries[set->first + way];
}
void tlb_drop(struct tlb *tlb, struct tlb_entry *entry);

/* Which entries an operation invalidates. */
struct tlb_scope {
    uint64_t context, context_mask; /* entries with these bits in their tag */
    bool spare_vpid0;
    bool spare_global;
    bool any_pcid;
    uint16_t pcid; /* unless any_pcid; global entries match whatever the PCID */
    bool any_address;
    uint64_t address; /* unless any_address: entries that belong to the page around it */
};

/* arrays: a bit for each array_id. Returns how many entries were dropped. */
unsigned tlb_invalidate(struct tlb *tlb, unsigned arrays, const struct tlb_scope *scope);

/* Calls visit for each valid entry; visit must not insert or drop. */
void tlb_for_each(const struct tlb *tlb, unsigned arrays,
                  void (*visit)(void *opaque, enum tlb_array_id id, const struct tlb_entry *entry),
                  void *opaque);

#endif
