/* Translation with a TLB in front, see mmu.h. */
#include "memory/mmu_internal.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#define cold                __attribute__((cold, noinline))

#define CR0_TRANSLATION (PAGING_CR0_PG | PAGING_CR0_WP)
#define CR4_TRANSLATION                                                                      \
    (PAGING_CR4_PSE | PAGING_CR4_PAE | PAGING_CR4_PGE | PAGING_CR4_LA57 | PAGING_CR4_PCIDE | \
     PAGING_CR4_SMEP | PAGING_CR4_SMAP)
#define EFER_TRANSLATION (PAGING_EFER_LMA | PAGING_EFER_NXE)

/* ---- Derived state -------------------------------------------------------------------------- */

static void rules_fill(struct access_rules *rules, const struct paging_format *format)
{
    for (unsigned mode = 0; mode < ACCESS_MODES; mode++) {
        unsigned access = mode << ACCESS_MODE_SHIFT;
        for (unsigned rights = 0; rights < RIGHTS_COUNT; rights++)
            rules->allowed[mode][rights] =
                access & ACCESS_PROBE ? 0 : (uint8_t)paging_allows(format, rights, access);
    }
    rules->ready = true;
}

/* Guests toggle CR0.WP often: every set of rules is worked out once. */
static const struct access_rules *rules_of(struct mmu *mmu, const struct paging_format *format)
{
    unsigned i = format->mode == PAGING_NONE
                     ? 0
                     : 1 + (format->wp | (unsigned)format->smep << 1 | (unsigned)format->smap << 2);
    if (!mmu->rules[i].ready)
        rules_fill(&mmu->rules[i], format);
    return &mmu->rules[i];
}

/* Which mappings accesses use: SDM "Creating and Using Cached Translation Information". */
static void derive_tags(struct mmu *mmu)
{
    struct mmu_derived *derived = &mmu->derived;

    derived->pcid = derived->paging.mode == PAGING_NONE ? 0 : derived->paging.pcid;
    if (derived->paging.mode != PAGING_NONE)
        derived->tlb_context = tlb_context(mmu->ept_enabled, mmu->eptp, mmu->vpid);
    else if (mmu->ept_enabled)
        derived->tlb_context = tlb_context_guest_physical(mmu->eptp);
    else
        derived->tlb_context = TLB_CONTEXT_NONE;
}

static void derive_paging(struct mmu *mmu)
{
    struct paging_format *format = &mmu->derived.paging;

    paging_format_init(format, &mmu->regs, mmu->maxphyaddr, mmu->page_1g_supported);
    mmu->derived.rules = rules_of(mmu, format);
    derive_tags(mmu);
}

static void derive_ept(struct mmu *mmu)
{
    ept_format_init(&mmu->derived.ept, mmu->eptp, mmu->maxphyaddr, mmu->execute_only_supported,
                    mmu->ept_1g_supported);
    derive_tags(mmu);
}

void mmu_derive(struct mmu *mmu)
{
    struct mmu_derived *derived = &mmu->derived;

    derived->maxphyaddr = mmu->maxphyaddr;
    derived->execute_only_supported = mmu->execute_only_supported;
    derived->ept_1g_supported = mmu->ept_1g_supported;
    derived->page_1g_supported = mmu->page_1g_supported;
    derive_paging(mmu);
    derive_ept(mmu);
}

/* The capabilities are plain fields: whoever changes them need not say so. */
static inline void notice_capabilities(struct mmu *mmu)
{
    const struct mmu_derived *derived = &mmu->derived;

    if (unlikely((derived->maxphyaddr ^ mmu->maxphyaddr) |
                 (derived->execute_only_supported ^ mmu->execute_only_supported) |
                 (derived->ept_1g_supported ^ mmu->ept_1g_supported) |
                 (derived->page_1g_supported ^ mmu->page_1g_supported)))
        mmu_derive(mmu);
}

void mmu_init(struct mmu *mmu, struct physmem *physmem)
{
    memset(mmu, 0, sizeof(*mmu));
    mmu->physmem = physmem;
    mmu->maxphyaddr = 46;
    mmu->execute_only_supported = true;
    mmu->ept_1g_supported = true;
    mmu->page_1g_supported = true;
    tlb_init(&mmu->tlb, NULL); /* without memory for it: a processor that caches nothing */
    mmu_derive(mmu);
}

void mmu_init_view(struct mmu *view, const struct mmu *mmu)
{
    static const struct tlb_config nothing_cached;

    *view = *mmu;
    tlb_init(&view->tlb, &nothing_cached);
    view->log = NULL;
    view->observer = NULL;
}

void mmu_destroy(struct mmu *mmu)
{
    tlb_destroy(&mmu->tlb);
}

int mmu_configure_tlb(struct mmu *mmu, const struct tlb_config *config)
{
    tlb_destroy(&mmu->tlb);
    return tlb_init(&mmu->tlb, config);
}

/* ---- Registers. What they invalidate is in mmu_invalidate.c. --------------------------------- */

static bool registers_differ(const struct paging_registers *a, const struct paging_registers *b)
{
    return ((a->cr0 ^ b->cr0) & CR0_TRANSLATION) != 0 ||
           ((a->cr4 ^ b->cr4) & CR4_TRANSLATION) != 0 ||
           ((a->efer ^ b->efer) & EFER_TRANSLATION) != 0;
}

bool mmu_registers_replace(struct mmu *mmu, const struct paging_registers *regs)
{
    bool rules_changed = registers_differ(&mmu->regs, regs);
    bool root_changed = mmu->regs.cr3 != regs->cr3 ||
                        memcmp(mmu->regs.pdpte, regs->pdpte, sizeof(regs->pdpte)) != 0;

    if (regs != &mmu->regs)
        mmu->regs = *regs;
    if (rules_changed) {
        derive_paging(mmu);
    } else if (root_changed) {
        mmu->derived.paging.pcid = regs->cr4 & PAGING_CR4_PCIDE ? regs->cr3 & 0xfff : 0;
        derive_tags(mmu);
    }
    return rules_changed || root_changed;
}

void mmu_set_ept(struct mmu *mmu, bool enabled, uint64_t eptp, uint16_t vpid)
{
    bool eptp_changed = mmu->eptp != eptp;

    mmu->ept_enabled = enabled;
    mmu->eptp = eptp;
    mmu->vpid = vpid;
    if (eptp_changed)
        derive_ept(mmu);
    else
        derive_tags(mmu);
}

/* ---- Linear addresses ----------------------------------------------------------------------- */

/* guest_shift where the guest does not page: one page as large as the address space. */
#define NO_GUEST_PAGE 48

/* readable, writable, executable and tlb_hit are written as one word on the way of a hit. */
static_assert(
    offsetof(struct translation, writable) == offsetof(struct translation, readable) + 1 &&
        offsetof(struct translation, executable) == offsetof(struct translation, readable) + 2 &&
        offsetof(struct translation, tlb_hit) == offsetof(struct translation, readable) + 3,
    "four bools in a row");

static inline void translation_fill(struct translation *out, uint64_t hpa, uint64_t gpa,
                                    unsigned shift, unsigned guest_shift, unsigned allowed,
                                    bool hit)
{
    /* Spreads bits 0, 1 and 2 to bytes 0, 1 and 2. */
    uint32_t flags = (allowed * 0x4081u & 0x010101u) | (uint32_t)hit << 24;

    out->hpa = hpa;
    out->gpa = gpa;
    out->page_shift = (uint8_t)shift;
    out->guest_shift = (uint8_t)guest_shift;
    memcpy(&out->readable, &flags, sizeof(flags));
}

static inline void translation_from_entry(struct translation *out, const struct tlb_entry *entry,
                                          uint64_t address, unsigned allowed)
{
    uint64_t offset = address & entry->offset;

    translation_fill(out, entry->hpa | offset, entry->gpa | offset, entry->shift,
                     entry->guest_shift, allowed, true);
}

static void translation_from_walk(const struct mmu *mmu, struct translation *out,
                                  const struct walk_result *result, unsigned access)
{
    unsigned mode = (access & ~ACCESS_PROBE) >> ACCESS_MODE_SHIFT;

    translation_fill(out, result->hpa, result->gpa, result->shift, result->guest_shift,
                     mmu->derived.rules->allowed[mode][result->rights], false);
}

static void count_references(struct mmu *mmu, const struct walk_result *result)
{
    mmu->stats.guest_references += result->guest_references;
    mmu->stats.ept_references += result->ept_references;
}

static void count_fault(struct mmu *mmu, enum mmu_status status)
{
    if (status == MMU_PAGE_FAULT)
        mmu->stats.page_faults++;
    else if (status == MMU_EPT_VIOLATION)
        mmu->stats.ept_violations++;
    else
        mmu->stats.ept_misconfigs++;
}

/* out: NULL after a fault. */
static cold void tell_walk(const struct mmu *mmu, uint64_t linear, unsigned access,
                           const struct walk_result *result, const struct translation *out,
                           const struct mmu_fault *fault)
{
    struct mmu_walk_report report = {
        .linear = linear,
        .access = access,
        .guest_references = result->guest_references,
        .ept_references = result->ept_references,
    };

    if (out) {
        report.gpa = out->gpa;
        report.hpa = out->hpa;
        report.page_shift = out->page_shift;
    } else {
        bool page_fault = fault->status == MMU_PAGE_FAULT;
        report.status = fault->status;
        report.gpa = page_fault ? 0 : fault->gpa;
        report.error_code = page_fault ? fault->error_code : (uint32_t)fault->qualification;
    }
    mmu->observer->walk(mmu->observer->context, &report);
}

static void remember(struct mmu *mmu, uint64_t linear, const struct walk_result *result)
{
    uint64_t page_mask = UINT64_MAX << result->shift;
    struct tlb_entry *entry =
        tlb_claim(&mmu->tlb, result->shift == 30 ? TLB_1G : TLB_PAGES, linear, result->shift);

    if (!entry)
        return;
    entry->page = (linear & page_mask) | mmu->derived.pcid;
    entry->mask = tlb_page_mask(result->shift, result->global);
    entry->offset = ~page_mask;
    entry->context = mmu->derived.tlb_context;
    entry->hpa = result->hpa & page_mask;
    entry->gpa = result->gpa & page_mask;
    entry->root = result->root;
    entry->rights = result->rights;
    entry->shift = result->shift;
    entry->guest_shift = result->guest_shift;
    entry->mode = (uint8_t)mmu->derived.paging.mode;
    mmu->tlb.fractured |= result->guest_shift > result->shift;
    tlb_remember_hint(&mmu->tlb, linear, entry);
}

/*
 * A walk after a TLB miss. What the caches say may be out of date: rights that software has
 * extended since need no invalidation, so a walk that fails with the help of a cache is
 * repeated from memory.
 */
static enum mmu_status walk_and_remember(struct mmu *mmu, uint64_t linear, unsigned access,
                                         struct translation *out, struct mmu_fault *fault)
{
    struct walk_result result;
    enum mmu_status status;

    mmu->stats.walks++;
    if (likely(mmu_walk_plain(mmu, linear, access, &result))) {
        count_references(mmu, &result);
        remember(mmu, linear, &result);
        translation_from_walk(mmu, out, &result, access);
        if (unlikely(mmu->observer))
            tell_walk(mmu, linear, access, &result, out, fault);
        return MMU_OK;
    }
    status = mmu_walk(mmu, linear, access, WALK_USE_CACHES | WALK_SET_FLAGS | WALK_FILL, mmu->log,
                      &result, fault);
    count_references(mmu, &result);
    if (status != MMU_OK && result.used_cache) {
        const struct walk_result first = result;

        mmu_forget_page_fault(mmu, linear);
        status =
            mmu_walk(mmu, linear, access, WALK_SET_FLAGS | WALK_FILL, mmu->log, &result, fault);
        count_references(mmu, &result);
        result.guest_references += first.guest_references;
        result.ept_references += first.ept_references;
    }
    if (status == MMU_OK) {
        remember(mmu, linear, &result);
        translation_from_walk(mmu, out, &result, access);
    }
    if (unlikely(mmu->observer))
        tell_walk(mmu, linear, access, &result, status == MMU_OK ? out : NULL, fault);
    if (status == MMU_OK)
        return MMU_OK;
    count_fault(mmu, status);
    if (status == MMU_PAGE_FAULT)
        mmu_forget_page_fault(mmu, linear);
    else if (status == MMU_EPT_VIOLATION)
        mmu_forget_ept_violation(mmu, fault, true);
    return status;
}

static enum mmu_status probe(struct mmu *mmu, uint64_t linear, unsigned access,
                             struct translation *out, struct mmu_fault *fault)
{
    struct walk_result result;
    enum mmu_status status =
        mmu->derived.paging.mode == PAGING_NONE
            ? mmu_walk_physical(mmu, linear, access, 0, &linear, mmu->log, &result, fault)
            : mmu_walk(mmu, linear, access, 0, mmu->log, &result, fault);

    if (status == MMU_OK)
        translation_from_walk(mmu, out, &result, access);
    return status;
}

static cold void tell_physical_walk(const struct mmu *mmu, const uint64_t *linear, unsigned access,
                                    const struct walk_result *result, const struct translation *out,
                                    const struct mmu_fault *fault)
{
    tell_walk(mmu, linear ? *linear : 0, linear ? access : access | ACCESS_PHYSICAL, result, out,
              fault);
}

/* Guest-physical mappings serve accesses without guest paging. linear: NULL if there is none. */
static enum mmu_status translate_guest_physical(struct mmu *mmu, uint64_t gpa, unsigned access,
                                                const uint64_t *linear, struct translation *out,
                                                struct mmu_fault *fault)
{
    unsigned type = access & ACCESS_TYPE_MASK;
    uint64_t context = tlb_context_guest_physical(mmu->eptp);
    struct walk_result result;

    struct tlb_entry *entry = tlb_lookup(&mmu->tlb, TLB_GUEST_PHYSICAL, gpa & ~0xfffull, context);
    if (entry && entry->rights >> RIGHT_EPT_SHIFT >> type & 1) {
        mmu->stats.tlb_hits++;
        tlb_remember_hint(&mmu->tlb, gpa, entry);
        translation_from_entry(out, entry, gpa, entry->rights >> RIGHT_EPT_SHIFT);
        return MMU_OK;
    }
    if (entry)
        tlb_drop(&mmu->tlb, entry);
    mmu->stats.tlb_misses++;
    mmu->stats.walks++;
    enum mmu_status status =
        mmu_walk_physical(mmu, gpa, access, WALK_SET_FLAGS, linear, mmu->log, &result, fault);
    count_references(mmu, &result);
    if (status != MMU_OK) {
        count_fault(mmu, status);
        if (unlikely(mmu->observer))
            tell_physical_walk(mmu, linear, access, &result, NULL, fault);
        if (status == MMU_EPT_VIOLATION)
            mmu_forget_ept_violation(mmu, fault, linear != NULL);
        return status;
    }

    uint64_t page_mask = UINT64_MAX << result.shift;
    fill_guest_physical(mmu, gpa & page_mask, result.hpa & page_mask, result.shift,
                        result.rights & RIGHT_EPT_ALL);
    translation_fill(out, result.hpa, result.gpa, result.shift, NO_GUEST_PAGE,
                     result.rights >> RIGHT_EPT_SHIFT, false);
    if (unlikely(mmu->observer))
        tell_physical_walk(mmu, linear, access, &result, out, fault);
    return MMU_OK;
}

/* Neither guest paging nor EPT: nothing to look up, nothing to cache. */
static enum mmu_status translate_identity(uint64_t address, struct translation *out)
{
    translation_fill(out, address, address, 12, NO_GUEST_PAGE,
                     PAGING_ALLOWS_READ | PAGING_ALLOWS_WRITE | PAGING_ALLOWS_FETCH, false);
    return MMU_OK;
}

/* Everything but a hit where the hint points to. */
static __attribute__((noinline)) enum mmu_status translate_slowly(struct mmu *mmu, uint64_t linear,
                                                                  unsigned access,
                                                                  struct translation *out,
                                                                  struct mmu_fault *fault)
{
    notice_capabilities(mmu);
    if (access & ACCESS_PROBE)
        return probe(mmu, linear, access, out, fault);
    if (mmu->derived.paging.mode == PAGING_NONE)
        return mmu->ept_enabled ? translate_guest_physical(mmu, linear, access, &linear, out, fault)
                                : translate_identity(linear, out);

    struct tlb_entry *entry =
        tlb_lookup_page(&mmu->tlb, tlb_key(mmu, linear), mmu->derived.tlb_context);
    if (entry) {
        unsigned allowed = mmu->derived.rules->allowed[access >> ACCESS_MODE_SHIFT][entry->rights];
        if (allowed >> (access & ACCESS_TYPE_MASK) & 1) {
            mmu->stats.tlb_hits++;
            translation_from_entry(out, entry, linear, allowed);
            return MMU_OK;
        }
        tlb_drop(&mmu->tlb, entry);
    }
    mmu->stats.tlb_misses++;
    return walk_and_remember(mmu, linear, access, out, fault);
}

enum mmu_status mmu_translate(struct mmu *mmu, uint64_t linear, unsigned access,
                              struct translation *out, struct mmu_fault *fault)
{
    unsigned index = tlb_predict(&mmu->tlb, linear);
    const struct tlb_entry *entry = &mmu->tlb.entries[index];

    if (likely(tlb_entry_matches(entry, tlb_key(mmu, linear), mmu->derived.tlb_context))) {
        unsigned allowed = mmu->derived.rules->allowed[access >> ACCESS_MODE_SHIFT][entry->rights];
        if (likely(allowed >> (access & ACCESS_TYPE_MASK) & 1)) {
            mmu->stats.tlb_hits++;
            mmu->tlb.recent[index] = 1;
            translation_from_entry(out, entry, linear, allowed);
            return MMU_OK;
        }
    }
    return translate_slowly(mmu, linear, access, out, fault);
}

enum mmu_status mmu_translate_physical(struct mmu *mmu, uint64_t gpa, unsigned access,
                                       struct translation *out, struct mmu_fault *fault)
{
    notice_capabilities(mmu);
    if (!mmu->ept_enabled)
        return translate_identity(gpa, out);
    if (!(access & ACCESS_PROBE))
        return translate_guest_physical(mmu, gpa, access, NULL, out, fault);

    struct walk_result result;
    enum mmu_status status = mmu_walk_physical(mmu, gpa, access, 0, NULL, mmu->log, &result, fault);
    if (status == MMU_OK)
        translation_fill(out, result.hpa, result.gpa, result.shift, NO_GUEST_PAGE,
                         result.rights >> RIGHT_EPT_SHIFT, false);
    return status;
}
