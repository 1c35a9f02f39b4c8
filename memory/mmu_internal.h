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

/* Walks for a linear address; paging is on. Changes no statistics. */
enum mmu_status mmu_walk(struct mmu *mmu, uint64_t linear, unsigned access, unsigned how,
                         struct walk_log *log, struct walk_result *result, struct mmu_fault *fault);
/* Walks EPT, if it is on, for a guest-physical address. linear: the linear address that it is the
 * translation of (paging is off), or NULL if the access has none. */
enum mmu_status mmu_walk_physical(struct mmu *mmu, uint64_t gpa, unsigned access, unsigned how,
                                  const uint64_t *linear, struct walk_log *log,
                                  struct walk_result *result, struct mmu_fault *fault);

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
