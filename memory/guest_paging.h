/*
 * The formats of guest paging structures in every paging mode, and what the rights in them allow
 * (SDM "Paging"). Data only: the walk itself is in mmu_walk.c.
 *
 *   mode       CR0.PG CR4.PAE EFER.LMA CR4.LA57   levels                      entry
 *   none          0                               linear = physical
 *   32-bit        1      0                        PDE (4M), PTE               4 bytes
 *   PAE           1      1       0                PDPTE registers, PDE (2M), PTE      8
 *   4-level       1      1       1        0       PML4E, PDPTE (1G), PDE (2M), PTE    8
 *   5-level       1      1       1        1       PML5E and as 4-level                8
 */
#ifndef VTXSIM_MEMORY_GUEST_PAGING_H
#define VTXSIM_MEMORY_GUEST_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#define PAGING_CR0_WP    (1ull << 16)
#define PAGING_CR0_PG    (1ull << 31)
#define PAGING_CR4_PSE   (1ull << 4)
#define PAGING_CR4_PAE   (1ull << 5)
#define PAGING_CR4_PGE   (1ull << 7)
#define PAGING_CR4_LA57  (1ull << 12)
#define PAGING_CR4_PCIDE (1ull << 17)
#define PAGING_CR4_SMEP  (1ull << 20)
#define PAGING_CR4_SMAP  (1ull << 21)
#define PAGING_EFER_LMA  (1ull << 10)
#define PAGING_EFER_NXE  (1ull << 11)

#define PTE_PRESENT  (1ull << 0)
#define PTE_WRITE    (1ull << 1)
#define PTE_USER     (1ull << 2)
#define PTE_ACCESSED (1ull << 5)
#define PTE_DIRTY    (1ull << 6)
#define PTE_LARGE    (1ull << 7) /* PS in PDE and PDPTE; PAT in a PTE */
#define PTE_GLOBAL   (1ull << 8)
#define PTE_NX       (1ull << 63)
#define PTE_ADDRESS  0x000ffffffffff000ull

/* Error code of a page fault. */
#define PF_PRESENT  (1u << 0)
#define PF_WRITE    (1u << 1)
#define PF_USER     (1u << 2)
#define PF_RESERVED (1u << 3)
#define PF_FETCH    (1u << 4)

enum paging_mode { PAGING_NONE, PAGING_32BIT, PAGING_PAE, PAGING_4LEVEL, PAGING_5LEVEL };

#define PAGING_LEVELS 5 /* 1 = PTE .. 5 = PML5E; index 0 of the tables below is unused */

struct paging_format {
    enum paging_mode mode;
    uint8_t top_level; /* of the walk in memory; 2 for PAE, whose PDPTEs are registers */
    uint8_t entry_size;
    uint16_t index_mask;
    bool wp, smep, smap, pge;
    bool fetch_reported; /* a page fault's error code tells instruction fetches */
    uint16_t pcid;
    uint8_t shift[PAGING_LEVELS + 1];
    bool large_allowed[PAGING_LEVELS + 1];      /* bit 7 makes an entry of this level map a page */
    uint64_t reserved[PAGING_LEVELS + 1];       /* in every entry of the level */
    uint64_t reserved_large[PAGING_LEVELS + 1]; /* in an entry that maps a large page, besides */
    /* Entries of 8 bytes: one with (entry & mask) == plain is well-formed, accessed, and references
     * a table or maps a page. */
    uint64_t table_mask[PAGING_LEVELS + 1], table_plain[PAGING_LEVELS + 1];
    uint64_t page_mask[PAGING_LEVELS + 1], page_plain[PAGING_LEVELS + 1];
};

struct paging_registers;

/* Derives the format from the registers. maxphyaddr: 32..52. */
void paging_format_init(struct paging_format *format, const struct paging_registers *regs,
                        unsigned maxphyaddr, bool page_1g_supported);

/* Address of the page that a leaf entry of a level maps. */
static inline uint64_t paging_page_address(const struct paging_format *format, uint64_t entry,
                                           unsigned level)
{
    uint64_t address = entry & PTE_ADDRESS & (UINT64_MAX << format->shift[level]);
    if (format->shift[level] == 22) /* PSE-36: bits 39:32 of the address in bits 20:13 */
        address |= (entry >> 13 & 0xff) << 32;
    return address;
}

/* What a translation allows, as bits 1 << ACCESS_READ, 1 << ACCESS_WRITE, 1 << ACCESS_FETCH. */
#define PAGING_ALLOWS_READ  (1u << 0)
#define PAGING_ALLOWS_WRITE (1u << 1)
#define PAGING_ALLOWS_FETCH (1u << 2)

/*
 * rights: RIGHT_* of tlb.h. access: ACCESS_USER, ACCESS_IMPLICIT and ACCESS_AC of mmu.h. SDM
 * "Determination of Access Rights", and the rights of EPT. A write needs the dirty flags set.
 */
unsigned paging_allows(const struct paging_format *format, unsigned rights, unsigned access);

/* The error code of a page fault; cause: PF_PRESENT, PF_RESERVED or neither. */
uint32_t paging_error_code(const struct paging_format *format, unsigned cause, unsigned access);

/* SDM "PDPTE Registers": does this PDPTE, if present, set reserved bits? */
bool paging_pdpte_reserved(uint64_t pdpte, unsigned maxphyaddr);

#endif
