/*
 * The processor's walk of EPT paging structures (SDM "EPT Translation Mechanism", "EPT-Induced VM
 * Exits", "Accessed and Dirty Flags for EPT"). Inline: five of these make one two-dimensional walk.
 *
 * In the order of "Prioritization of EPT Misconfigurations and EPT Violations": at each level an
 * entry that is not present is a violation, then a malformed one a misconfiguration; rights are
 * judged by the caller once the address is known.
 */
#ifndef VTXSIM_MEMORY_EPT_WALK_H
#define VTXSIM_MEMORY_EPT_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/ept.h"
#include "memory/physmem.h"

#define EPT_LEVELS_MAX 5

/* What a walk has to know of EPTP and of the processor, derived once. */
struct ept_format {
    uint64_t root;
    uint8_t levels; /* 4 or 5 */
    bool accessed_dirty;
    bool execute_only;
    uint64_t gpa_limit_mask; /* guest-physical address bits that no level translates */
    /* An entry with (entry & plain_mask[level]) == plain references a table and asks for nothing:
     * readable, well-formed, accessed flag set or not in use. Never so at level 1. */
    uint64_t plain, plain_mask[EPT_LEVELS_MAX + 1];
    /* Likewise a page: memory type WB, well-formed, accessed. */
    uint64_t page_plain[EPT_LEVELS_MAX + 1], page_mask[EPT_LEVELS_MAX + 1];
    uint64_t reserved_table[EPT_LEVELS_MAX + 1]; /* in an entry that references a table */
    uint64_t reserved_page[EPT_LEVELS_MAX + 1];  /* in an entry that maps a page */
};

void ept_format_init(struct ept_format *format, uint64_t eptp, unsigned maxphyaddr,
                     bool execute_only, bool page_1g);

/* Is a present entry malformed? SDM "EPT Misconfigurations". */
static inline bool ept_entry_misconfigured(const struct ept_format *format, uint64_t entry,
                                           unsigned level)
{
    const unsigned reserved_types = 1u << 2 | 1u << 3 | 1u << 7;
    bool page = level == 1 || (entry & EPT_LARGE && level <= 3);

    if (!(entry & EPT_READ) && (entry & EPT_WRITE || !format->execute_only))
        return true;
    if (entry & (page ? format->reserved_page : format->reserved_table)[level])
        return true;
    return page && reserved_types >> ((entry & EPT_TYPE_MASK) >> EPT_TYPE_SHIFT) & 1;
}

enum ept_walk_status { EPT_WALK_OK, EPT_WALK_NOT_PRESENT, EPT_WALK_MISCONFIGURED };

struct ept_walk {
    uint64_t page;     /* host-physical address of the page's first byte */
    uint64_t leaf_hpa; /* of the entry that maps it */
    uint64_t leaf;
    uint64_t rights; /* EPT_READ | EPT_WRITE | EPT_EXECUTE in all entries; 0 if not present */
    unsigned page_shift;
    unsigned references;
};

/* Simulated memory reads all-ones where there is none. hpa: aligned to 8. */
static inline uint64_t physmem_entry(const struct physmem *physmem, uint64_t hpa)
{
    if (__builtin_expect(hpa >= physmem->size, 0))
        return UINT64_MAX;
    return *(const uint64_t *)(physmem->base + hpa);
}

/* Sets flags in an entry the way a processor does it: locked. */
static inline void physmem_entry_set(const struct physmem *physmem, uint64_t hpa, uint64_t flags)
{
    if (hpa < physmem->size)
        __atomic_fetch_or((uint64_t *)(physmem->base + hpa), flags, __ATOMIC_RELAXED);
}

struct walk_log;
/* Appends a reference to an EPT entry; guest_level as in struct walk_reference. Defined in
 * mmu_walk.c. */
void walk_log_ept(struct walk_log *log, unsigned level, unsigned guest_level, uint64_t gpa,
                  uint64_t hpa, uint64_t entry);

/*
 * Translates gpa. set_accessed: set accessed flags, if they are in use. log may be NULL. The
 * fields of *walk are valid as far as the walk came: rights and references always.
 */
static inline __attribute__((always_inline)) enum ept_walk_status
ept_walk(const struct physmem *physmem, const struct ept_format *format, uint64_t gpa,
         bool set_accessed, struct walk_log *log, unsigned guest_level, struct ept_walk *walk)
{
    uint64_t table = format->root;
    uint64_t rights = EPT_ALL;
    unsigned level = format->levels;

    walk->references = 0;
    walk->rights = 0;
    if (__builtin_expect((gpa & format->gpa_limit_mask) != 0, 0))
        return EPT_WALK_NOT_PRESENT;
    for (;; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t entry_hpa = table + ((gpa >> shift & 0x1ff) << 3);
        uint64_t entry = physmem_entry(physmem, entry_hpa);

        walk->references++;
        if (__builtin_expect(log != NULL, 0))
            walk_log_ept(log, level, guest_level, gpa, entry_hpa, entry);
        rights &= entry;
        if ((entry & format->plain_mask[level]) == format->plain) {
            table = entry & EPT_ADDRESS;
            continue;
        }

        /* A page, or a table that is in some way special. */
        if (__builtin_expect((entry & EPT_ALL) == 0, 0))
            return EPT_WALK_NOT_PRESENT;
        if (__builtin_expect(ept_entry_misconfigured(format, entry, level), 0))
            return EPT_WALK_MISCONFIGURED;
        if (format->accessed_dirty && !(entry & EPT_ACCESSED) && set_accessed) {
            entry |= EPT_ACCESSED;
            physmem_entry_set(physmem, entry_hpa, EPT_ACCESSED);
        }
        if (level == 1 || entry & EPT_LARGE) {
            walk->page = entry & EPT_ADDRESS & (UINT64_MAX << shift);
            walk->leaf_hpa = entry_hpa;
            walk->leaf = entry;
            walk->page_shift = shift;
            walk->rights = rights & EPT_ALL;
            return EPT_WALK_OK;
        }
        table = entry & EPT_ADDRESS;
    }
}

#endif
