/*
 * EPT paging structures in simulated host-physical memory (SDM "The Extended Page Table Mechanism
 * (EPT)"): what a hypervisor does to build and change them. How the processor walks them is in
 * ept_walk.h.
 *
 *   EPTP -> PML4 table -> EPT PDPT -> EPT PD -> EPT PT     one frame each, 512 entries of 8 bytes
 *                             |          |        |
 *                          1-GByte    2-MByte  4-KByte page
 *
 *   entry   63:52 ignored   51:12 address   8 accessed   9 dirty (leaf)   7 maps a page
 *           6 ignore PAT (leaf)   5:3 memory type (leaf)   2 execute   1 write   0 read
 *
 * None of these functions invalidates what a TLB remembers: like a hypervisor, the caller does
 * (INVEPT), wherever rights were taken away or an address changed.
 */
#ifndef VTXSIM_MEMORY_EPT_H
#define VTXSIM_MEMORY_EPT_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/physmem.h"

#define EPT_READ       (1ull << 0)
#define EPT_WRITE      (1ull << 1)
#define EPT_EXECUTE    (1ull << 2)
#define EPT_ALL        (EPT_READ | EPT_WRITE | EPT_EXECUTE)
#define EPT_TYPE_SHIFT 3
#define EPT_TYPE_MASK  (7ull << EPT_TYPE_SHIFT)
#define EPT_IGNORE_PAT (1ull << 6)
#define EPT_LARGE      (1ull << 7)
#define EPT_ACCESSED   (1ull << 8)
#define EPT_DIRTY      (1ull << 9)
#define EPT_ADDRESS    0x000ffffffffff000ull

#define EPTP_WALK_LENGTH_SHIFT 3 /* bits 5:3: page-walk length minus 1 */
#define EPTP_ACCESSED_DIRTY    (1ull << 6)

enum ept_memory_type {
    EPT_TYPE_UC = 0,
    EPT_TYPE_WC = 1,
    EPT_TYPE_WT = 4,
    EPT_TYPE_WP = 5,
    EPT_TYPE_WB = 6
};

struct ept {
    struct physmem *physmem;
    uint64_t eptp; /* memory type WB, page-walk length 4, bit 6 if A/D flags are on */
};

/* Allocates an empty PML4 table. Returns 0 or -ENOMEM. */
int ept_create(struct ept *ept, struct physmem *physmem, bool accessed_dirty);
/* Frees every table. The pages that were mapped are the caller's. */
void ept_destroy(struct ept *ept);

/*
 * Maps one page. page_shift: 12, 21 or 30; gpa (below 2^48) and hpa aligned to the page. rights:
 * EPT_READ | EPT_WRITE | EPT_EXECUTE. What was mapped there is replaced; a larger page around it is
 * split, tables below it are freed. Returns 0, -EINVAL or -ENOMEM (then nothing has changed, but
 * tables that map the same as before may have been added).
 */
int ept_map(struct ept *ept, uint64_t gpa, uint64_t hpa, unsigned page_shift, uint64_t rights,
            enum ept_memory_type type);

/* Maps a range with the largest pages that alignment and max_page_shift permit. */
int ept_map_range(struct ept *ept, uint64_t gpa, uint64_t hpa, uint64_t size,
                  unsigned max_page_shift, uint64_t rights, enum ept_memory_type type);

/* A range, in units of 4 KBytes; larger pages that it cuts are split; what is not mapped is left
 * alone. Return 0, -EINVAL or -ENOMEM (a part of the range may be done then). */
int ept_unmap(struct ept *ept, uint64_t gpa, uint64_t size);
int ept_protect(struct ept *ept, uint64_t gpa, uint64_t size, uint64_t rights);

/* What maps a guest-physical address, whatever its rights: no access takes place. */
struct ept_mapping {
    uint64_t hpa;   /* of the byte at gpa */
    uint64_t entry; /* the leaf entry */
    uint64_t entry_hpa;
    uint64_t rights; /* logical AND of all levels */
    uint8_t page_shift;
};
bool ept_lookup(const struct ept *ept, uint64_t gpa, struct ept_mapping *mapping);

#endif
