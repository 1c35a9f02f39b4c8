/*
 * A second two-dimensional walker, written from the SDM's text and as naively as possible: one bit
 * at a time, no caches, no tables of masks. It walks 4-level EPT only.
 */
#ifndef VTXSIM_TESTS_MEMORY_NAIVE_WALKER_H
#define VTXSIM_TESTS_MEMORY_NAIVE_WALKER_H

#include <string.h>

#include "memory/mmu.h"

/* Host memory: 16 frames, of which the first 8 hold EPT tables if EPT is on. */
#define FRAMES      16
#define MEMORY_SIZE (FRAMES * FRAME_SIZE)

struct machine {
    uint8_t *memory; /* MEMORY_SIZE bytes */
    struct paging_registers regs;
    uint64_t eptp;
    bool ept, execute_only, ept_1g, page_1g;
    unsigned maxphyaddr;
};

struct outcome {
    enum mmu_status status;
    uint32_t error_code;
    uint64_t gpa, qualification, hpa;
    unsigned page_shift;
    bool readable, writable, executable;
    unsigned guest_references, ept_references;
    bool aliased; /* a flag was set in an entry of the other kind */
};

struct naive {
    struct machine *machine;
    uint64_t linear;
    unsigned type;
    bool user, ac, implicit, has_linear, update;
    struct outcome outcome;
};

static inline bool bit(uint64_t value, unsigned n)
{
    return value >> n & 1;
}

static inline bool any_bit(uint64_t value, unsigned high, unsigned low)
{
    for (unsigned n = low; n <= high; n++) {
        if (bit(value, n))
            return true;
    }
    return false;
}

static inline uint64_t load(const struct machine *machine, uint64_t hpa, unsigned size)
{
    uint64_t value = 0;
    if (hpa >= MEMORY_SIZE)
        return size == 8 ? UINT64_MAX : UINT32_MAX;
    memcpy(&value, machine->memory + hpa, size);
    return value;
}

static inline void or_into(struct naive *naive, uint64_t hpa, uint64_t flags)
{
    if (hpa >= MEMORY_SIZE || !naive->update)
        return;
    bool guest_flags = flags & (1 << 5 | 1 << 6), ept_frame = hpa < 8 * FRAME_SIZE;
    naive->outcome.aliased |= naive->machine->ept && guest_flags == ept_frame;
    uint64_t value;
    memcpy(&value, naive->machine->memory + hpa, 2);
    value |= flags;
    memcpy(naive->machine->memory + hpa, &value, 2);
}

struct ept_outcome {
    uint64_t hpa;
    bool r, w, x, dirty_clear;
    unsigned shift;
};

/* "EPT Misconfigurations" and the tables of the formats of EPT entries. */
static inline bool ept_entry_bad(const struct machine *machine, uint64_t entry, unsigned level)
{
    unsigned type = entry >> 3 & 7;

    if (bit(entry, 1) && !bit(entry, 0))
        return true;
    if (bit(entry, 2) && !bit(entry, 0) && !machine->execute_only)
        return true;
    if (machine->maxphyaddr < 52 && any_bit(entry, 51, machine->maxphyaddr))
        return true;
    if (level == 4)
        return any_bit(entry, 7, 3);
    if (level == 3 && bit(entry, 7) && (!machine->ept_1g || any_bit(entry, 29, 12)))
        return true;
    if (level == 2 && bit(entry, 7) && any_bit(entry, 20, 12))
        return true;
    if (level == 1 || bit(entry, 7))
        return type == 2 || type == 3 || type == 7;
    return any_bit(entry, 6, 3);
}

static inline enum mmu_status naive_ept_fail(struct naive *naive, uint64_t gpa,
                                             enum mmu_status status, bool reads, bool writes,
                                             bool fetches, const struct ept_outcome *rights,
                                             bool final)
{
    naive->outcome.status = status;
    naive->outcome.gpa = gpa;
    if (status == MMU_EPT_VIOLATION) {
        uint64_t q = reads | writes << 1 | fetches << 2;
        q |= rights->r << 3 | rights->w << 4 | rights->x << 5;
        if (naive->has_linear)
            q |= 1 << 7 | final << 8;
        naive->outcome.qualification = q;
    }
    return status;
}

/* reads/writes/fetches: as reported; needs_*: what must be permitted. */
static inline enum mmu_status naive_ept(struct naive *naive, uint64_t gpa, bool reads, bool writes,
                                        bool fetches, bool final, struct ept_outcome *out)
{
    struct machine *machine = naive->machine;
    static const struct ept_outcome nothing;
    bool flags = bit(machine->eptp, 6);
    uint64_t table = machine->eptp & 0x000ffffffffff000, entry = 0, entry_hpa = 0;
    unsigned level;

    if (!machine->ept) {
        *out = (struct ept_outcome){gpa, true, true, true, false, 48};
        return MMU_OK;
    }
    *out = (struct ept_outcome){.r = true, .w = true, .x = true};
    if (gpa >> 48)
        return naive_ept_fail(naive, gpa, MMU_EPT_VIOLATION, reads, writes, fetches, &nothing,
                              final);
    for (level = 4;; level--) {
        out->shift = level == 4 ? 39 : level == 3 ? 30 : level == 2 ? 21 : 12;
        entry_hpa = table + (gpa >> out->shift) % 512 * 8;
        entry = load(machine, entry_hpa, 8);
        naive->outcome.ept_references++;
        if (!any_bit(entry, 2, 0))
            return naive_ept_fail(naive, gpa, MMU_EPT_VIOLATION, reads, writes, fetches, &nothing,
                                  final);
        if (ept_entry_bad(machine, entry, level))
            return naive_ept_fail(naive, gpa, MMU_EPT_MISCONFIG, 0, 0, 0, &nothing, final);
        if (flags)
            or_into(naive, entry_hpa, 1 << 8);
        out->r &= bit(entry, 0);
        out->w &= bit(entry, 1);
        out->x &= bit(entry, 2);
        if (level == 1 || (level <= 3 && bit(entry, 7)))
            break;
        table = entry & 0x000ffffffffff000;
    }
    if ((reads && !out->r) || (writes && !out->w) || (fetches && !out->x))
        return naive_ept_fail(naive, gpa, MMU_EPT_VIOLATION, reads, writes, fetches, out, final);
    if (flags && writes)
        or_into(naive, entry_hpa, 1 << 9);
    out->dirty_clear = flags && !bit(entry, 9) && !(writes && naive->update);
    uint64_t size = 1ull << out->shift;
    out->hpa = (entry & 0x000ffffffffff000) / size * size + gpa % size;
    return MMU_OK;
}

static inline enum mmu_status naive_page_fault(struct naive *naive, bool present, bool reserved)
{
    const struct paging_registers *regs = &naive->machine->regs;
    bool fetch_told = bit(regs->cr4, 20) || (bit(regs->cr4, 5) && bit(regs->efer, 11));

    naive->outcome.status = MMU_PAGE_FAULT;
    naive->outcome.error_code = present | (naive->type == ACCESS_WRITE) << 1 |
                                (naive->user && !naive->implicit) << 2 | reserved << 3 |
                                (naive->type == ACCESS_FETCH && fetch_told) << 4;
    return MMU_PAGE_FAULT;
}

/* "32-Bit Paging": only PDEs that map a 4-MByte page have reserved bits. */
static inline bool reserved_32bit(const struct machine *machine, uint64_t entry, bool large)
{
    unsigned m = machine->maxphyaddr < 40 ? machine->maxphyaddr : 40;
    return large && any_bit(entry, 21, m - 19);
}

static inline bool reserved_64bit(const struct machine *machine, uint64_t entry, unsigned level,
                                  bool large, bool pae)
{
    if (machine->maxphyaddr < 52 && any_bit(entry, 51, machine->maxphyaddr))
        return true;
    if (pae && any_bit(entry, 62, 52))
        return true;
    if (bit(entry, 63) && !bit(machine->regs.efer, 11))
        return true;
    if (level >= 4)
        return bit(entry, 7);
    if (level == 3 && bit(entry, 7))
        return !machine->page_1g || any_bit(entry, 29, 13);
    return level == 2 && large && any_bit(entry, 20, 13);
}

/* "Determination of Access Rights". */
static inline bool naive_allowed(const struct naive *naive, unsigned type, bool w, bool u, bool nx)
{
    const struct paging_registers *regs = &naive->machine->regs;
    bool wp = bit(regs->cr0, 16), smep = bit(regs->cr4, 20), smap = bit(regs->cr4, 21);

    if (naive->user && !naive->implicit) {
        if (!u)
            return false;
        if (type == ACCESS_WRITE)
            return w;
        return type == ACCESS_READ || !nx;
    }
    if (type == ACCESS_FETCH)
        return !nx && !(u && smep);
    if (u && smap && (naive->implicit || !naive->ac))
        return false;
    return type == ACCESS_READ || w || !wp;
}

/* A guest entry's flags: a read and write of its guest-physical address. */
static inline enum mmu_status naive_set_flags(struct naive *naive, uint64_t gpa, uint64_t hpa,
                                              uint64_t entry, uint64_t flags,
                                              const struct ept_outcome *rights)
{
    if ((entry & flags) == flags)
        return MMU_OK;
    if (!rights->w)
        return naive_ept_fail(naive, gpa, MMU_EPT_VIOLATION, true, true, false, rights, false);
    or_into(naive, hpa, flags);
    return MMU_OK;
}

static inline enum mmu_status naive_walk(struct naive *naive)
{
    struct machine *machine = naive->machine;
    const struct paging_registers *regs = &machine->regs;
    bool on = bit(regs->cr0, 31), pae = bit(regs->cr4, 5), lma = bit(regs->efer, 10);
    bool long_mode = on && pae && lma;
    unsigned size = pae ? 8 : 4, level, guest_shift = 48;
    bool w = true, u = true, nx = false, dirty = true;
    uint64_t gpa = naive->linear, table = regs->cr3;
    bool ept_flags = machine->ept && bit(machine->eptp, 6);
    struct ept_outcome ept;
    enum mmu_status status;

    if (on) {
        level = !long_mode ? 2 : bit(regs->cr4, 12) ? 5 : 4;
        if (!pae)
            table = (uint32_t)table;
        if (pae && !lma) {
            table = regs->pdpte[naive->linear >> 30 & 3];
            if (!bit(table, 0))
                return naive_page_fault(naive, false, false);
        }
        for (;; level--) {
            unsigned shift = pae ? 12 + 9 * (level - 1) : level == 2 ? 22 : 12;
            uint64_t index = (naive->linear >> shift) % (pae ? 512 : 1024);
            uint64_t entry_gpa = (table & 0x000ffffffffff000) + index * size;
            status = naive_ept(naive, entry_gpa, true, ept_flags, false, false, &ept);
            if (status != MMU_OK)
                return status;
            uint64_t entry = load(machine, ept.hpa, size);
            naive->outcome.guest_references++;
            if (!bit(entry, 0))
                return naive_page_fault(naive, false, false);
            bool large = (level == 2 && bit(entry, 7) && (pae || bit(regs->cr4, 4))) ||
                         (level == 3 && bit(entry, 7) && machine->page_1g);
            if (pae ? reserved_64bit(machine, entry, level, large, !lma)
                    : reserved_32bit(machine, entry, large))
                return naive_page_fault(naive, true, true);
            w &= bit(entry, 1);
            u &= bit(entry, 2);
            nx |= pae && bit(entry, 63);
            if (level > 1 && !large) {
                status = naive_set_flags(naive, entry_gpa, ept.hpa, entry, 1 << 5, &ept);
                if (status != MMU_OK)
                    return status;
                table = entry;
                continue;
            }
            if (!naive_allowed(naive, naive->type, w, u, nx))
                return naive_page_fault(naive, true, false);
            uint64_t flags = naive->type == ACCESS_WRITE ? 1 << 5 | 1 << 6 : 1 << 5;
            status = naive_set_flags(naive, entry_gpa, ept.hpa, entry, flags, &ept);
            if (status != MMU_OK)
                return status;
            dirty = bit(naive->update ? entry | flags : entry, 6);
            guest_shift = shift;
            gpa = (entry & 0x000ffffffffff000) >> shift << shift;
            if (shift == 22)
                gpa |= (entry >> 13 & 0xff) << 32;
            gpa |= naive->linear % (1ull << shift);
            break;
        }
    }
    status = naive_ept(naive, gpa, naive->type == ACCESS_READ, naive->type == ACCESS_WRITE,
                       naive->type == ACCESS_FETCH, true, &ept);
    if (status != MMU_OK)
        return status;
    struct outcome *outcome = &naive->outcome;
    outcome->status = MMU_OK;
    outcome->gpa = gpa;
    outcome->hpa = ept.hpa;
    outcome->page_shift = guest_shift < ept.shift ? guest_shift : ept.shift;
    if (outcome->page_shift == 48)
        outcome->page_shift = 12; /* neither paging nor EPT */
    outcome->readable = ept.r && (!on || naive_allowed(naive, ACCESS_READ, w, u, nx));
    outcome->writable =
        ept.w && !ept.dirty_clear && dirty && (!on || naive_allowed(naive, ACCESS_WRITE, w, u, nx));
    outcome->executable = ept.x && (!on || naive_allowed(naive, ACCESS_FETCH, w, u, nx));
    return MMU_OK;
}

static inline struct outcome naive_translate(struct machine *machine, uint64_t linear,
                                             unsigned access)
{
    struct naive naive = {.machine = machine,
                          .linear = linear,
                          .type = access & ACCESS_TYPE_MASK,
                          .user = access & ACCESS_USER,
                          .ac = access & ACCESS_AC,
                          .implicit = access & ACCESS_IMPLICIT,
                          .update = !(access & ACCESS_PROBE),
                          .has_linear = true};
    naive_walk(&naive);
    return naive.outcome;
}

#endif
