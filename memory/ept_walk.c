/* Which bits an EPT entry must not set, see ept_walk.h. */
#include "memory/ept_walk.h"

#include <string.h>

/*
 * SDM tables "Format of an EPT PML4 Entry" and following:
 *
 *   level                  references a table    maps a page
 *   5, 4  PML5E, PML4E     7:3                   (never: bit 7 is reserved)
 *   3     PDPTE            6:3                   29:12; bit 7 itself where 1-GByte pages are not
 *                                                supported
 *   2     PDE              6:3                   20:12
 *   1     PTE              (never)               none; bit 7 is ignored
 *
 * and at every level the address bits from the physical-address width to 51.
 */
void ept_format_init(struct ept_format *format, uint64_t eptp, unsigned maxphyaddr,
                     bool execute_only, bool page_1g)
{
    uint64_t beyond_width = EPT_ADDRESS & (UINT64_MAX << maxphyaddr);

    memset(format, 0, sizeof(*format));
    format->root = eptp & EPT_ADDRESS;
    format->levels = (eptp >> EPTP_WALK_LENGTH_SHIFT & 7) == 4 ? 5 : 4;
    format->accessed_dirty = eptp & EPTP_ACCESSED_DIRTY;
    format->execute_only = execute_only;
    /* SDM "EPT Overview": 4 levels translate 48 bits; an address beyond is a violation. */
    format->gpa_limit_mask = UINT64_MAX << (format->levels == 5 ? 57 : 48);

    for (unsigned level = 2; level <= EPT_LEVELS_MAX; level++)
        format->reserved_table[level] = beyond_width | EPT_TYPE_MASK | EPT_IGNORE_PAT;
    format->reserved_table[4] |= EPT_LARGE;
    format->reserved_table[5] |= EPT_LARGE;
    format->reserved_page[1] = beyond_width;
    format->reserved_page[2] = beyond_width | ((1ull << 21) - (1ull << 12));
    format->reserved_page[3] =
        beyond_width | ((1ull << 30) - (1ull << 12)) | (page_1g ? 0 : EPT_LARGE);

    format->plain = EPT_READ | (format->accessed_dirty ? EPT_ACCESSED : 0);
    for (unsigned level = 2; level <= EPT_LEVELS_MAX; level++)
        format->plain_mask[level] = format->plain | format->reserved_table[level] | EPT_LARGE;
    format->page_plain[4] = format->plain; /* the masks stay 0: no page at levels 4 and 5 */
    format->page_plain[5] = format->plain;
    for (unsigned level = 1; level <= 3; level++) {
        uint64_t large = level > 1 ? EPT_LARGE : 0;
        format->page_plain[level] = format->plain | large | EPT_TYPE_WB << EPT_TYPE_SHIFT;
        format->page_mask[level] =
            format->plain | large | EPT_TYPE_MASK | format->reserved_page[level];
    }
    if (!page_1g)
        format->page_mask[3] = 0;
}
