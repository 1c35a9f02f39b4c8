/*
 * Explains stale translations: entries of the TLB and of its companions that no longer agree with
 * the tables in memory. Each is a missing invalidation, or one that software has put off.
 */
#ifndef VTXSIM_MEMORY_MMU_CHECK_H
#define VTXSIM_MEMORY_MMU_CHECK_H

#include "memory/mmu.h"

/* What is wrong with an entry; several may apply. */
#define STALE_UNMAPPED (1u << 0) /* the tables map nothing there: see status and fault */
#define STALE_ADDRESS  (1u << 1) /* they map another address, or lead to another table */
#define STALE_SIZE     (1u << 2) /* they map a page of another size */
#define STALE_RIGHTS   (1u << 3) /* the entry allows what they do not */
#define STALE_ACCESSED (1u << 4) /* an accessed flag has been cleared since */
#define STALE_DIRTY    (1u << 5) /* a dirty flag has been cleared since: a write would not set it */
#define STALE_GLOBAL   (1u << 6) /* the entry is global, the page no longer is */

struct stale_entry {
    enum tlb_array_id array;
    const struct tlb_entry *entry;
    unsigned reasons;
    /* What a walk from memory finds now. */
    enum mmu_status status;
    struct mmu_fault fault; /* unless status is MMU_OK */
    uint64_t hpa;           /* if MMU_OK: what the entry's first byte, or table, is now */
    uint8_t page_shift;
    uint8_t rights;             /* RIGHT_* */
    const struct walk_log *log; /* every reference of that walk */
};

/*
 * Calls visit (which may be NULL) for each stale entry and returns their number. Entries of all
 * VPIDs, PCIDs and EPTPs are checked, from the root that they were walked from. Changes nothing:
 * no flag, no statistics.
 */
unsigned mmu_tlb_check(struct mmu *mmu,
                       void (*visit)(void *opaque, const struct stale_entry *stale), void *opaque);

#endif
