/* What the files of the MMU share: mmu.c, mmu_walk.c, mmu_invalidate.c, mmu_check.c. */
#ifndef VTXSIM_MEMORY_MMU_INTERNAL_H
#define VTXSIM_MEMORY_MMU_INTERNAL_H

#include "memory/mmu.h"

/* A tag that no entry has: paging and EPT are both off. */
#define TLB_CONTEXT_NONE (1ull << 55)

/* How a walk goes about it. */
#define WALK_USE_CACHES (1u << 0) /* paging-structure caches and guest-physical mappings */
#define WALK_SET_FLAGS  (1u << 1) /* accessed and dirty flags */
#define WALK_FILL       (1u << 2) /* remember the translation */
#define WALK_RAW        (1u << 3) /* report the rights instead of judging them */

/* What a completed walk found. */
struct walk_result {
    uint64_t hpa, gpa; /* of the byte at the linear address */
    uint64_t root;
    uint8_t rights; /* RIGHT_* */
    uint8_t shift, guest_shift;
    bool global;
    bool used_cache;                           /* also valid after a fault */
    unsigned guest_references, ept_references; /* likewise */
};

/* The guest tables that a walk has come through, to be remembered if it succeeds. */
struct walk_memo {
    unsigned count;
    struct walk_memo_table {
        uint64_t gpa, hpa; /* of the table */
        uint8_t rights; /* RIGHT_*: of the guest's entries above it, of EPT to the table itself */
        uint8_t ept_shift; /* of the EPT page that holds it; 0: no EPT walk has been made for it */
        uint8_t above;     /* level of the entry that references it; 0: it is the root */
    } table[PAGING_LEVELS];
};

static inline void memo_add(struct walk_memo *memo, uint64_t gpa, uint64_t hpa, unsigned rights,
                            unsigned ept_shift, unsigned above)
{
    struct walk_memo_table *table = &memo->table[memo->count++];

    table->gpa = gpa;
    table->hpa = hpa;
    table->rights = (uint8_t)rights;
    table->ept_shift = (uint8_t)ept_shift;
    table->above = (uint8_t)above;
}

/* The paging-structure cache of the entries of a level (2 to 5). */
static inline enum tlb_array_id structure_array(unsigned level)
{
    return TLB_PDE + (level - 2);
}

static inline __attribute__((always_inline)) void
fill_guest_physical(struct mmu *mmu, uint64_t gpa, uint64_t hpa, unsigned shift, unsigned rights)
{
    struct tlb_entry *entry = tlb_claim(&mmu->tlb, TLB_GUEST_PHYSICAL, gpa, shift);

    if (!entry)
        return;
    entry->page = gpa;
    entry->mask = UINT64_MAX << shift;
    entry->offset = ~(UINT64_MAX << shift);
    entry->context = tlb_context_guest_physical(mmu->eptp);
    entry->hpa = hpa;
    entry->gpa = gpa;
    entry->rights = (uint8_t)rights;
    entry->shift = (uint8_t)shift;
    entry->guest_shift = (uint8_t)shift;
}

static inline __attribute__((always_inline)) void
fill_structure(struct mmu *mmu, uint64_t linear, uint64_t root, const struct walk_memo_table *table)
{
    const struct mmu_derived *derived = &mmu->derived;
    unsigned shift = derived->paging.shift[table->above];
    struct tlb_entry *entry = tlb_claim(&mmu->tlb, structure_array(table->above), linear, shift);

    if (!entry)
        return;
    entry->page = (linear & (UINT64_MAX << shift)) | derived->pcid;
    entry->mask = tlb_page_mask(shift, false);
    entry->offset = ~(UINT64_MAX << shift);
    entry->context = derived->tlb_context;
    entry->hpa = table->hpa;
    entry->gpa = table->gpa;
    entry->root = root;
    entry->rights = table->rights;
    entry->shift = (uint8_t)shift;
    entry->guest_shift = (uint8_t)shift;
    entry->mode = (uint8_t)derived->paging.mode;
}

/* Several guest tables may lie in one large EPT page. */
static inline bool memo_is_duplicate(const struct walk_memo *memo, unsigned n)
{
    const struct walk_memo_table *table = &memo->table[n];

    for (unsigned i = 0; table->ept_shift > FRAME_SHIFT && i < n; i++) {
        if (memo->table[i].ept_shift != 0 &&
            (memo->table[i].gpa ^ table->gpa) >> table->ept_shift == 0)
            return true;
    }
    return false;
}

static inline __attribute__((always_inline)) void
memo_commit(struct mmu *mmu, uint64_t linear, uint64_t root, const struct walk_memo *memo)
{
    for (unsigned i = 0; i < memo->count; i++) {
        const struct walk_memo_table *table = &memo->table[i];
        if (table->ept_shift != 0 && !memo_is_duplicate(memo, i)) {
            uint64_t page_mask = UINT64_MAX << table->ept_shift;
            fill_guest_physical(mmu, table->gpa & page_mask, table->hpa & page_mask,
                                table->ept_shift, table->rights & RIGHT_EPT_ALL);
        }
        if (table->above != 0)
            fill_structure(mmu, linear, root, table);
    }
}

/* A walk from the caches' best entry may begin at a lower level: NULL if it has to begin at the
 * root. *level: of the table that the entry leads to. */
static inline __attribute__((always_inline)) const struct tlb_entry *
structure_lookup(struct mmu *mmu, uint64_t linear, unsigned *level)
{
    for (unsigned above = 2; above <= mmu->derived.paging.top_level; above++) {
        enum tlb_array_id id = structure_array(above);
        if (mmu->tlb.array[id].sizes == 0)
            continue;
        const struct tlb_entry *entry = tlb_lookup(
            &mmu->tlb, id, (linear & ~0xfffull) | mmu->derived.pcid, mmu->derived.tlb_context);
        if (entry) {
            *level = above - 1;
            return entry;
        }
    }
    return NULL;
}

/*
 * The walk where every entry is as walks mostly find it: present, well-formed, readable, accessed,
 * nothing to set, nothing denied, nobody looking. Returns false, having changed nothing, where
 * something is different: mmu_walk then starts afresh. Uses and fills the caches.
 */
bool mmu_walk_plain(struct mmu *mmu, uint64_t linear, unsigned access, struct walk_result *result);

/* Walks for a linear address; paging is on. Changes no statistics. */
enum mmu_status mmu_walk(struct mmu *mmu, uint64_t linear, unsigned access, unsigned how,
                         struct walk_log *log, struct walk_result *result, struct mmu_fault *fault);
/* Walks EPT, if it is on, for a guest-physical address. linear: the linear address that it is the
 * translation of (paging is off), or NULL if the access has none. */
enum mmu_status mmu_walk_physical(struct mmu *mmu, uint64_t gpa, unsigned access, unsigned how,
                                  const uint64_t *linear, struct walk_log *log,
                                  struct walk_result *result, struct mmu_fault *fault);

/* A copy of a processor that has no TLB, for walks in another context; needs no mmu_destroy. */
void mmu_init_view(struct mmu *view, const struct mmu *mmu);

/* Brings `derived` up to date after registers or capabilities have changed. */
void mmu_derive(struct mmu *mmu);

/* Takes over registers without invalidating anything. Returns true if translations may differ. */
bool mmu_registers_replace(struct mmu *mmu, const struct paging_registers *regs);

/* SDM: what a page fault and an EPT violation drop. linear_valid: the violation has a guest-linear
 * address. */
void mmu_forget_page_fault(struct mmu *mmu, uint64_t linear);
void mmu_forget_ept_violation(struct mmu *mmu, const struct mmu_fault *fault, bool linear_valid);

static inline uint64_t tlb_key(const struct mmu *mmu, uint64_t address)
{
    return (address & ~0xfffull) | mmu->derived.pcid;
}

#endif
