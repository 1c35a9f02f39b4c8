/*
 * The two-dimensional walk (SDM "VMX Support for Address Translation").
 *
 *   CR3 ------> PML4E ------> PDPTE ------> PDE ------> PTE ------> page      guest paging
 *    |  EPT x4 /  |   EPT x4 /  |  EPT x4 /  |  EPT x4 / |   EPT x4 /
 *    +--------+   +---------+   +--------+   +-------+   +--------+           EPT
 *
 * Every arrow is a guest-physical address that EPT translates before the guest entry, or at last
 * the page, can be accessed. With n guest levels and m EPT levels that is n*m + n + m references:
 * 24 for 4-KByte pages in both.
 *
 * A walk uses what was cached before it began and adds to the caches once it has succeeded. It sets
 * accessed flags as it goes, in each entry that it uses, and dirty flags last.
 */
#include "memory/mmu_internal.h"

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#define always_inline       inline __attribute__((always_inline))
#define cold                __attribute__((cold, noinline))

/* Exit qualification for EPT violations, the rest is in mmu.h. Bits 5:3 are the rights of the walk, shifted. */
#define VIOLATION_READ         (1u << 0)
#define VIOLATION_WRITE        (1u << 1)
#define VIOLATION_RIGHTS_SHIFT 3

/* A table that the guest's walk has reached. */
struct guest_table {
    uint64_t gpa;       /* of its first byte */
    uint64_t hpa;       /* likewise, if known */
    uint64_t rights;    /* EPT_* */
    unsigned ept_shift; /* of the EPT page that holds it; 0 if that was not looked for in memory */
    bool hpa_known;
};

struct walk {
    struct mmu *mmu;
    uint64_t linear;
    unsigned access;
    unsigned how;
    struct walk_log *log;
    struct walk_result *result;
    struct mmu_fault *fault;
    struct walk_memo memo;
};

static void log_append(struct walk_log *log, const struct walk_reference *reference)
{
    if (log->count < WALK_REFERENCES_MAX)
        log->reference[log->count++] = *reference;
}

void walk_log_ept(struct walk_log *log, unsigned level, unsigned guest_level, uint64_t gpa,
                  uint64_t hpa, uint64_t entry)
{
    log_append(log, &(struct walk_reference){.ept = true,
                                             .level = (uint8_t)level,
                                             .guest_level = (uint8_t)guest_level,
                                             .gpa = gpa,
                                             .hpa = hpa,
                                             .entry = entry});
}

static cold void log_guest(struct walk_log *log, unsigned level, uint64_t gpa, uint64_t hpa,
                           uint64_t entry)
{
    log_append(log, &(struct walk_reference){.level = (uint8_t)level,
                                             .guest_level = (uint8_t)level,
                                             .gpa = gpa,
                                             .hpa = hpa,
                                             .entry = entry});
}

static cold enum mmu_status raise_page_fault(struct walk *walk, unsigned cause)
{
    *walk->fault = (struct mmu_fault){
        .status = MMU_PAGE_FAULT,
        .linear = walk->linear,
        .error_code = paging_error_code(&walk->mmu->derived.paging, cause, walk->access)};
    return MMU_PAGE_FAULT;
}

/* linear_bits: VIOLATION_LINEAR_VALID, VIOLATION_FINAL_ACCESS. */
static cold enum mmu_status raise_ept(struct mmu_fault *fault, enum ept_walk_status status,
                                      uint64_t linear, uint64_t gpa, unsigned access_bits,
                                      uint64_t rights, unsigned linear_bits)
{
    if (status == EPT_WALK_MISCONFIGURED) {
        *fault = (struct mmu_fault){.status = MMU_EPT_MISCONFIG, .linear = linear, .gpa = gpa};
        return MMU_EPT_MISCONFIG;
    }
    *fault = (struct mmu_fault){
        .status = MMU_EPT_VIOLATION,
        .linear = linear,
        .gpa = gpa,
        .qualification = access_bits | (rights & EPT_ALL) << VIOLATION_RIGHTS_SHIFT | linear_bits};
    return MMU_EPT_VIOLATION;
}

/* ---- Access to guest paging structures ------------------------------------------------------ */

/*
 * Finds the host-physical address of the table that holds the entry at entry_gpa. SDM "Accessed
 * and Dirty Flags for EPT": while these are enabled, accesses to guest paging-structure entries
 * are treated as writes.
 */
static always_inline enum mmu_status table_translate(struct walk *walk, struct guest_table *table,
                                                     uint64_t entry_gpa, unsigned level,
                                                     const bool ept_enabled)
{
    struct mmu *mmu = walk->mmu;
    const struct ept_format *format = &mmu->derived.ept;
    struct ept_walk ept;

    table->ept_shift = 0;
    if (!ept_enabled) {
        table->hpa = table->gpa;
        table->rights = EPT_ALL;
        return MMU_OK;
    }
    bool as_write = format->accessed_dirty && !(walk->how & WALK_RAW);
    uint64_t needed = as_write ? EPT_READ | EPT_WRITE : EPT_READ;

    if (walk->how & WALK_USE_CACHES && mmu->tlb.array[TLB_GUEST_PHYSICAL].sizes != 0) {
        const struct tlb_entry *entry =
            tlb_lookup(&mmu->tlb, TLB_GUEST_PHYSICAL, entry_gpa & ~0xfffull,
                       tlb_context_guest_physical(mmu->eptp));
        uint64_t rights = entry ? entry->rights >> RIGHT_EPT_SHIFT : 0;
        if ((rights & needed) == needed) {
            walk->result->used_cache = true;
            table->hpa = entry->hpa | (table->gpa & entry->offset);
            table->rights = rights;
            return MMU_OK;
        }
    }

    enum ept_walk_status status = ept_walk(mmu->physmem, format, entry_gpa,
                                           walk->how & WALK_SET_FLAGS, walk->log, level, &ept);
    walk->result->ept_references += ept.references;
    if (unlikely(status != EPT_WALK_OK || (ept.rights & needed) != needed))
        return raise_ept(walk->fault, status, walk->linear, entry_gpa,
                         as_write ? VIOLATION_READ | VIOLATION_WRITE : VIOLATION_READ, ept.rights,
                         VIOLATION_LINEAR_VALID);
    if (as_write && !(ept.leaf & EPT_DIRTY) && walk->how & WALK_SET_FLAGS)
        physmem_entry_set(mmu->physmem, ept.leaf_hpa, EPT_DIRTY);
    table->hpa = ept.page | (table->gpa & ((1ull << ept.page_shift) - 1));
    table->rights = ept.rights;
    table->ept_shift = ept.page_shift;
    return MMU_OK;
}

static always_inline uint64_t guest_entry_read(const struct physmem *physmem, uint64_t hpa,
                                               const bool wide)
{
    if (wide)
        return physmem_entry(physmem, hpa);
    if (unlikely(hpa >= physmem->size))
        return UINT32_MAX;
    return *(const uint32_t *)(physmem->base + hpa);
}

/*
 * Sets accessed and dirty flags of a guest entry. The update is a write to the entry's
 * guest-physical address, or rather a read and a write: both are reported where EPT forbids it.
 */
static cold enum mmu_status guest_entry_set(struct walk *walk, const struct guest_table *table,
                                            uint64_t offset, uint64_t flags)
{
    const struct physmem *physmem = walk->mmu->physmem;

    if (walk->how & WALK_RAW)
        return MMU_OK;
    if (!(table->rights & EPT_WRITE))
        return raise_ept(walk->fault, EPT_WALK_OK, walk->linear, table->gpa | offset,
                         VIOLATION_READ | VIOLATION_WRITE, table->rights, VIOLATION_LINEAR_VALID);
    /* All flags are in the low byte: the same for entries of 4 and 8 bytes. */
    if (walk->how & WALK_SET_FLAGS && table->hpa + offset < physmem->size) {
        physmem_note_write(physmem, table->hpa + offset, 1);
        __atomic_fetch_or(physmem->base + table->hpa + offset, (uint8_t)flags, __ATOMIC_RELAXED);
    }
    return MMU_OK;
}

/* A walk that did not believe the caches replaces what they hold. */
static void drop_guest_physical(struct mmu *mmu, const struct walk_memo *memo)
{
    uint64_t context = tlb_context_guest_physical(mmu->eptp);

    for (unsigned i = 0; i < memo->count; i++) {
        struct tlb_entry *entry =
            tlb_lookup(&mmu->tlb, TLB_GUEST_PHYSICAL, memo->table[i].gpa, context);
        if (entry)
            tlb_drop(&mmu->tlb, entry);
    }
}

/* ---- The walk ------------------------------------------------------------------------------- */

/* Rights of the entries used so far: AND of R/W and U/S, OR of XD. */
struct guest_rights {
    uint64_t all, any;
};

static always_inline unsigned guest_rights_bits(const struct guest_rights *rights)
{
    return (unsigned)(rights->all >> 1 & (RIGHT_WRITE | RIGHT_USER)) |
           (rights->any & PTE_NX ? RIGHT_NO_EXECUTE : 0);
}

/* CR3, or the PDPTE register of PAE paging. Returns false if that PDPTE is not present. */
static always_inline bool walk_root(struct walk *walk, uint64_t *root)
{
    const struct paging_registers *regs = &walk->mmu->regs;

    if (walk->mmu->derived.paging.mode == PAGING_PAE) {
        *root = regs->pdpte[walk->linear >> 30 & 3];
        return *root & PTE_PRESENT;
    }
    *root = walk->mmu->derived.paging.mode == PAGING_32BIT ? regs->cr3 & UINT32_MAX : regs->cr3;
    return true;
}

/* The final access: translates the guest-physical address in the result. */
static always_inline enum mmu_status walk_finish(struct walk *walk, unsigned guest_bits,
                                                 const bool ept_enabled)
{
    struct mmu *mmu = walk->mmu;
    const struct ept_format *format = &mmu->derived.ept;
    struct walk_result *result = walk->result;
    unsigned type = walk->access & ACCESS_TYPE_MASK;
    struct ept_walk ept;

    result->shift = result->guest_shift;
    if (!ept_enabled) {
        result->hpa = result->gpa;
        result->rights = (uint8_t)(guest_bits | RIGHT_EPT_ALL);
        return MMU_OK;
    }
    enum ept_walk_status status =
        ept_walk(mmu->physmem, format, result->gpa, walk->how & WALK_SET_FLAGS, walk->log, 0, &ept);
    result->ept_references += ept.references;
    uint64_t needed = walk->how & WALK_RAW ? 0 : 1u << type;
    if (unlikely(status != EPT_WALK_OK || (ept.rights & needed) != needed))
        return raise_ept(walk->fault, status, walk->linear, result->gpa, 1u << type, ept.rights,
                         VIOLATION_LINEAR_VALID | VIOLATION_FINAL_ACCESS);
    uint64_t rights = ept.rights;
    if (format->accessed_dirty && !(ept.leaf & EPT_DIRTY)) {
        if (type == ACCESS_WRITE && walk->how & WALK_SET_FLAGS)
            physmem_entry_set(mmu->physmem, ept.leaf_hpa, EPT_DIRTY);
        else
            rights &= ~EPT_WRITE; /* the next write has to come by and set the flag */
    }
    result->hpa = ept.page | (result->gpa & ((1ull << ept.page_shift) - 1));
    result->rights = (uint8_t)(guest_bits | rights << RIGHT_EPT_SHIFT);
    if (ept.page_shift < result->shift)
        result->shift = (uint8_t)ept.page_shift;
    return MMU_OK;
}

/* Judges the access by the guest's entries and sets the flags of the entry that maps the page. */
static always_inline enum mmu_status walk_leaf(struct walk *walk, const struct guest_table *table,
                                               uint64_t offset, uint64_t entry,
                                               unsigned *guest_bits)
{
    const struct mmu_derived *derived = &walk->mmu->derived;
    unsigned type = walk->access & ACCESS_TYPE_MASK;
    uint64_t flags = type == ACCESS_WRITE ? PTE_ACCESSED | PTE_DIRTY : PTE_ACCESSED;

    if (!(walk->how & WALK_RAW)) {
        unsigned mode = (walk->access & ~ACCESS_PROBE) >> ACCESS_MODE_SHIFT;
        unsigned allowed = derived->rules->allowed[mode][*guest_bits | RIGHT_DIRTY | RIGHT_EPT_ALL];
        if (unlikely(!(allowed >> type & 1)))
            return raise_page_fault(walk, PF_PRESENT);
        if (unlikely((entry & flags) != flags)) {
            enum mmu_status status = guest_entry_set(walk, table, offset, flags);
            if (status != MMU_OK)
                return status;
            if (walk->how & WALK_SET_FLAGS)
                entry |= flags;
        }
    }
    if (entry & PTE_DIRTY)
        *guest_bits |= RIGHT_DIRTY;
    return MMU_OK;
}

/* One copy for each combination of the constants. */
static always_inline enum mmu_status walk_linear(struct walk *walk, const bool ept_enabled,
                                                 const bool wide)
{
    struct mmu *mmu = walk->mmu;
    const struct paging_format *paging = &mmu->derived.paging;
    struct guest_rights rights = {.all = PTE_WRITE | PTE_USER};
    struct guest_table table = {.gpa = 0};
    unsigned level = paging->top_level;
    enum mmu_status status;
    uint64_t root, entry, offset;

    if (unlikely(!walk_root(walk, &root)))
        return raise_page_fault(walk, 0);
    table.gpa = root & PTE_ADDRESS;
    walk->result->root = root;
    if (walk->how & WALK_USE_CACHES) {
        const struct tlb_entry *cached = structure_lookup(mmu, walk->linear, &level);
        if (cached) {
            walk->result->used_cache = true;
            table = (struct guest_table){.gpa = cached->gpa,
                                         .hpa = cached->hpa,
                                         .rights = cached->rights >> RIGHT_EPT_SHIFT,
                                         .hpa_known = true};
            rights.all = (uint64_t)cached->rights << 1;
            rights.any = cached->rights & RIGHT_NO_EXECUTE ? PTE_NX : 0;
        }
    }

    for (bool first = true;; first = false, level--) {
        offset = (walk->linear >> paging->shift[level] & paging->index_mask) * (wide ? 8 : 4);
        if (!table.hpa_known) {
            status = table_translate(walk, &table, table.gpa | offset, level, ept_enabled);
            if (unlikely(status != MMU_OK))
                return status;
            if (walk->how & WALK_FILL)
                memo_add(&walk->memo, table.gpa, table.hpa,
                         guest_rights_bits(&rights) | (unsigned)table.rights << RIGHT_EPT_SHIFT,
                         table.ept_shift, first ? 0 : level + 1);
        }
        entry = guest_entry_read(mmu->physmem, table.hpa + offset, wide);
        walk->result->guest_references++;
        if (unlikely(walk->log != NULL))
            log_guest(walk->log, level, table.gpa | offset, table.hpa + offset, entry);
        if (unlikely(!(entry & PTE_PRESENT)))
            return raise_page_fault(walk, 0);
        if (unlikely(entry & paging->reserved[level]))
            return raise_page_fault(walk, PF_RESERVED);
        rights.all &= entry;
        rights.any |= entry;
        if (level == 1)
            break;
        if (entry & PTE_LARGE && paging->large_allowed[level]) {
            if (unlikely(entry & paging->reserved_large[level]))
                return raise_page_fault(walk, PF_RESERVED);
            break;
        }
        if (unlikely(!(entry & PTE_ACCESSED))) {
            status = guest_entry_set(walk, &table, offset, PTE_ACCESSED);
            if (status != MMU_OK)
                return status;
        }
        table.gpa = entry & PTE_ADDRESS;
        table.hpa_known = false;
    }

    unsigned guest_bits = guest_rights_bits(&rights);
    status = walk_leaf(walk, &table, offset, entry, &guest_bits);
    if (unlikely(status != MMU_OK))
        return status;
    walk->result->guest_shift = paging->shift[level];
    walk->result->global = paging->pge && entry & PTE_GLOBAL;
    walk->result->gpa = paging_page_address(paging, entry, level) |
                        (walk->linear & ((1ull << paging->shift[level]) - 1));
    status = walk_finish(walk, guest_bits, ept_enabled);
    if (likely(status == MMU_OK) && walk->how & WALK_FILL) {
        drop_guest_physical(mmu, &walk->memo);
        memo_commit(mmu, walk->linear, root, &walk->memo);
    }
    return status;
}

enum mmu_status mmu_walk(struct mmu *mmu, uint64_t linear, unsigned access, unsigned how,
                         struct walk_log *log, struct walk_result *result, struct mmu_fault *fault)
{
    bool wide = mmu->derived.paging.entry_size == 8;
    struct walk walk;

    walk.mmu = mmu;
    walk.linear = linear;
    walk.access = access;
    walk.how = how;
    walk.log = log;
    walk.result = result;
    walk.fault = fault;
    walk.memo.count = 0;
    if (log)
        log->count = 0;
    result->used_cache = false;
    result->guest_references = 0;
    result->ept_references = 0;
    if (mmu->ept_enabled)
        return wide ? walk_linear(&walk, true, true) : walk_linear(&walk, true, false);
    return wide ? walk_linear(&walk, false, true) : walk_linear(&walk, false, false);
}

enum mmu_status mmu_walk_physical(struct mmu *mmu, uint64_t gpa, unsigned access, unsigned how,
                                  const uint64_t *linear, struct walk_log *log,
                                  struct walk_result *result, struct mmu_fault *fault)
{
    struct walk walk; /* its memo stays untouched */

    walk.mmu = mmu;
    walk.linear = linear ? *linear : 0;
    walk.access = access;
    walk.how = how;
    walk.log = log;
    walk.result = result;
    walk.fault = fault;
    *result = (struct walk_result){
        .gpa = gpa, .root = mmu->eptp, .guest_shift = mmu->ept_enabled ? 48 : 12};
    if (log)
        log->count = 0;
    enum mmu_status status =
        walk_finish(&walk, RIGHT_WRITE | RIGHT_USER | RIGHT_DIRTY, mmu->ept_enabled);
    if (status != MMU_OK && !linear)
        fault->qualification &= ~(uint64_t)(VIOLATION_LINEAR_VALID | VIOLATION_FINAL_ACCESS);
    result->guest_shift = result->shift;
    return status;
}

enum mmu_status mmu_walk_explain(struct mmu *mmu, uint64_t linear, unsigned access,
                                 struct walk_log *log, struct translation *out,
                                 struct mmu_fault *fault)
{
    struct walk_log *previous = mmu->log;

    mmu->log = log;
    enum mmu_status status = mmu_translate(mmu, linear, access | ACCESS_PROBE, out, fault);
    mmu->log = previous;
    return status;
}
