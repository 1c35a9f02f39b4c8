/* Formats of guest paging structures and access rights, see guest_paging.h. */
#include "memory/guest_paging.h"

#include <string.h>

#include "memory/mmu.h"

static uint64_t bits(unsigned high, unsigned low)
{
    return high < low ? 0 : (UINT64_MAX >> (63 - high)) & (UINT64_MAX << low);
}

static enum paging_mode registers_mode(const struct paging_registers *regs)
{
    if (!(regs->cr0 & PAGING_CR0_PG))
        return PAGING_NONE;
    if (!(regs->cr4 & PAGING_CR4_PAE))
        return PAGING_32BIT;
    if (!(regs->efer & PAGING_EFER_LMA))
        return PAGING_PAE;
    return regs->cr4 & PAGING_CR4_LA57 ? PAGING_5LEVEL : PAGING_4LEVEL;
}

/*
 * SDM "32-Bit Paging": only a 4-MByte page has reserved bits, those between the physical-address
 * width (at most 40) and the page's own address bits. PDE[20:13] holds address bits 39:32.
 */
static void format_32bit(struct paging_format *format, const struct paging_registers *regs,
                         unsigned maxphyaddr)
{
    unsigned width = maxphyaddr < 40 ? maxphyaddr : 40;

    format->top_level = 2;
    format->entry_size = 4;
    format->index_mask = 0x3ff;
    format->shift[1] = 12;
    format->shift[2] = 22;
    format->large_allowed[2] = regs->cr4 & PAGING_CR4_PSE;
    format->reserved_large[2] = bits(21, width - 19);
}

/* See struct paging_format. No entry matches where the mask stays 0. */
static void format_plain(struct paging_format *format)
{
    const uint64_t plain = PTE_PRESENT | PTE_ACCESSED;

    for (unsigned level = 1; level <= PAGING_LEVELS; level++) {
        uint64_t mask = plain | format->reserved[level];
        uint64_t large = level > 1 ? PTE_LARGE : 0;

        format->table_plain[level] = plain;
        format->page_plain[level] = plain | large;
        if (level > 1)
            format->table_mask[level] = mask | PTE_LARGE;
        if (level == 1 || format->large_allowed[level])
            format->page_mask[level] = mask | large | format->reserved_large[level];
    }
}

/* SDM "PAE Paging" and "4-Level Paging and 5-Level Paging": entries of 8 bytes. */
static void format_64bit(struct paging_format *format, const struct paging_registers *regs,
                         unsigned maxphyaddr, bool page_1g_supported)
{
    uint64_t reserved = bits(51, maxphyaddr);
    if (!(regs->efer & PAGING_EFER_NXE))
        reserved |= PTE_NX;
    if (format->mode == PAGING_PAE) /* bits 62:52 are ignored in the other modes only */
        reserved |= bits(62, 52);

    format->top_level = format->mode == PAGING_PAE ? 2 : format->mode == PAGING_4LEVEL ? 4 : 5;
    format->entry_size = 8;
    format->index_mask = 0x1ff;
    for (unsigned level = 1; level <= PAGING_LEVELS; level++) {
        format->shift[level] = (uint8_t)(12 + 9 * (level - 1));
        format->reserved[level] = reserved;
    }
    format->large_allowed[2] = true;
    format->large_allowed[3] = page_1g_supported;
    format->reserved_large[2] = bits(20, 13);
    format->reserved_large[3] = bits(29, 13);
    if (!page_1g_supported)
        format->reserved[3] |= PTE_LARGE;
    format->reserved[4] |= PTE_LARGE;
    format->reserved[5] |= PTE_LARGE;
    format_plain(format);
}

void paging_format_init(struct paging_format *format, const struct paging_registers *regs,
                        unsigned maxphyaddr, bool page_1g_supported)
{
    memset(format, 0, sizeof(*format));
    format->mode = registers_mode(regs);
    format->wp = regs->cr0 & PAGING_CR0_WP;
    format->smep = regs->cr4 & PAGING_CR4_SMEP;
    format->smap = regs->cr4 & PAGING_CR4_SMAP;
    format->pge = regs->cr4 & PAGING_CR4_PGE;
    format->pcid = regs->cr4 & PAGING_CR4_PCIDE ? regs->cr3 & 0xfff : 0;
    format->fetch_reported =
        format->smep || (regs->cr4 & PAGING_CR4_PAE && regs->efer & PAGING_EFER_NXE);
    if (format->mode == PAGING_32BIT)
        format_32bit(format, regs, maxphyaddr);
    else if (format->mode != PAGING_NONE)
        format_64bit(format, regs, maxphyaddr, page_1g_supported);
}

static bool access_is_user(unsigned access)
{
    return (access & ACCESS_USER) && !(access & ACCESS_IMPLICIT);
}

/* SDM "Determination of Access Rights", user-mode accesses. */
static unsigned user_allows(unsigned rights)
{
    if (!(rights & RIGHT_USER))
        return 0;
    return PAGING_ALLOWS_READ | (rights & RIGHT_WRITE ? PAGING_ALLOWS_WRITE : 0) |
           (rights & RIGHT_NO_EXECUTE ? 0 : PAGING_ALLOWS_FETCH);
}

/* The same section, supervisor-mode accesses. */
static unsigned supervisor_allows(const struct paging_format *format, unsigned rights,
                                  unsigned access)
{
    bool user_page = rights & RIGHT_USER;
    bool smap_suspended = (access & ACCESS_AC) && !(access & ACCESS_IMPLICIT);
    unsigned allowed = 0;

    if (!user_page || !format->smap || smap_suspended) {
        allowed |= PAGING_ALLOWS_READ;
        if (rights & RIGHT_WRITE || !format->wp)
            allowed |= PAGING_ALLOWS_WRITE;
    }
    if (!(rights & RIGHT_NO_EXECUTE) && !(user_page && format->smep))
        allowed |= PAGING_ALLOWS_FETCH;
    return allowed;
}

unsigned paging_allows(const struct paging_format *format, unsigned rights, unsigned access)
{
    unsigned allowed = rights >> RIGHT_EPT_SHIFT;

    if (format->mode == PAGING_NONE)
        return allowed;
    if (!(rights & RIGHT_DIRTY))
        allowed &= ~PAGING_ALLOWS_WRITE;
    return allowed & (access_is_user(access) ? user_allows(rights)
                                             : supervisor_allows(format, rights, access));
}

uint32_t paging_error_code(const struct paging_format *format, unsigned cause, unsigned access)
{
    unsigned type = access & ACCESS_TYPE_MASK;

    return (cause & PF_RESERVED ? PF_PRESENT | PF_RESERVED : cause & PF_PRESENT) |
           (type == ACCESS_WRITE ? PF_WRITE : 0) | (access_is_user(access) ? PF_USER : 0) |
           (type == ACCESS_FETCH && format->fetch_reported ? PF_FETCH : 0);
}

bool paging_pdpte_reserved(uint64_t pdpte, unsigned maxphyaddr)
{
    return pdpte & PTE_PRESENT &&
           pdpte & (bits(2, 1) | bits(8, 5) | bits(63, maxphyaddr < 64 ? maxphyaddr : 63));
}
