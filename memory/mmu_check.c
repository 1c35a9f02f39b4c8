/* Comparing cached translations with the tables in memory, see mmu_check.h. */
#include "memory/mmu_check.h"

#include <string.h>

#include "memory/mmu_internal.h"

struct check {
    struct mmu *mmu;
    struct mmu view; /* a processor in the context of the entry in question, without a TLB */
    void (*visit)(void *opaque, const struct stale_entry *stale);
    void *opaque;
    unsigned count;
};

/* The paging mode that the entry was made in; other bits as they are now. */
static void view_set_mode(struct paging_registers *regs, enum paging_mode mode)
{
    regs->cr0 |= PAGING_CR0_PG;
    regs->cr4 &= ~(PAGING_CR4_PAE | PAGING_CR4_LA57);
    regs->efer &= ~PAGING_EFER_LMA;
    if (mode != PAGING_32BIT)
        regs->cr4 |= PAGING_CR4_PAE;
    if (mode == PAGING_4LEVEL || mode == PAGING_5LEVEL)
        regs->efer |= PAGING_EFER_LMA;
    if (mode == PAGING_5LEVEL)
        regs->cr4 |= PAGING_CR4_LA57;
}

static void view_set_ept(struct check *check, const struct tlb_entry *entry)
{
    struct mmu *view = &check->view;
    uint64_t ep4ta = entry->context & TLB_CONTEXT_EP4TA;

    view->ept_enabled = entry->context & TLB_CONTEXT_EPT;
    view->eptp = ep4ta | (check->mmu->eptp & ~TLB_CONTEXT_EP4TA);
    if ((check->mmu->eptp & TLB_CONTEXT_EP4TA) != ep4ta) /* bits 11:0 of that EPTP are not known */
        view->eptp = ep4ta | EPT_TYPE_WB | 3 << EPTP_WALK_LENGTH_SHIFT;
}

static void view_enter(struct check *check, enum tlb_array_id id, const struct tlb_entry *entry)
{
    struct paging_registers *regs = &check->view.regs;

    *regs = check->mmu->regs;
    view_set_ept(check, entry);
    if (id == TLB_GUEST_PHYSICAL) {
        regs->cr0 &= ~PAGING_CR0_PG;
    } else {
        view_set_mode(regs, entry->mode);
        regs->cr3 = entry->root;
        for (unsigned i = 0; i < 4; i++)
            regs->pdpte[i] = entry->root;
    }
    mmu_derive(&check->view);
}

static uint64_t entry_address(const struct tlb_entry *entry)
{
    return entry->page & ~0xfffull;
}

/* Accessed flags of guest entries from a level up, and of the EPT walks for them and below. */
static unsigned check_flags(const struct check *check, const struct walk_log *log,
                            unsigned lowest_level)
{
    unsigned reasons = 0;

    for (unsigned i = 0; i < log->count; i++) {
        const struct walk_reference *reference = &log->reference[i];
        if (!reference->ept && reference->level >= lowest_level &&
            !(reference->entry & PTE_ACCESSED))
            reasons |= STALE_ACCESSED;
        if (reference->ept && reference->guest_level + 1u >= lowest_level &&
            check->view.derived.ept.accessed_dirty && !(reference->entry & EPT_ACCESSED))
            reasons |= STALE_ACCESSED;
    }
    return reasons;
}

/* Rights that need a dirty flag are missing now: is it the flag, or the right itself? */
static unsigned check_rights(const struct check *check, const struct walk_log *log, unsigned cached,
                             unsigned now)
{
    unsigned lost = cached & ~now & ~RIGHT_NO_EXECUTE;
    unsigned reasons = 0;

    if (now & ~cached & RIGHT_NO_EXECUTE)
        reasons |= STALE_RIGHTS;
    if (lost & RIGHT_DIRTY)
        reasons |= STALE_DIRTY;
    if (lost & RIGHT_EPT_WRITE && check->view.derived.ept.accessed_dirty) {
        const struct walk_reference *leaf = &log->reference[log->count - 1];
        if (leaf->entry & EPT_WRITE && !(leaf->entry & EPT_DIRTY)) {
            reasons |= STALE_DIRTY;
            lost &= ~RIGHT_EPT_WRITE;
        }
    }
    return lost & ~RIGHT_DIRTY ? reasons | STALE_RIGHTS : reasons;
}

static unsigned check_page(struct check *check, const struct tlb_entry *entry,
                           const struct walk_result *now, const struct walk_log *log)
{
    unsigned reasons =
        check_flags(check, log, 0) | check_rights(check, log, entry->rights, now->rights);

    if (now->hpa != entry->hpa || now->gpa != entry->gpa)
        reasons |= STALE_ADDRESS;
    if (now->shift != entry->shift || now->guest_shift != entry->guest_shift)
        reasons |= STALE_SIZE;
    if (tlb_entry_global(entry) && !now->global)
        reasons |= STALE_GLOBAL;
    return reasons;
}

/*
 * An entry of a paging-structure cache stands for the guest entries down to its level. They are in
 * the log, and so is the first reference to the table that they lead to.
 */
static unsigned check_structure(struct check *check, enum tlb_array_id id,
                                const struct tlb_entry *entry, const struct walk_log *log,
                                struct stale_entry *stale)
{
    unsigned above = 2 + (id - TLB_PDE), rights = RIGHT_WRITE | RIGHT_USER;
    const struct walk_reference *next = NULL;

    for (unsigned i = 0; i < log->count; i++) {
        const struct walk_reference *reference = &log->reference[i];
        if (reference->ept)
            continue;
        if (reference->level >= above) {
            rights &=
                ~(RIGHT_WRITE | RIGHT_USER) | (reference->entry >> 1 & (RIGHT_WRITE | RIGHT_USER));
            if (entry->mode != PAGING_32BIT && reference->entry & PTE_NX)
                rights |= RIGHT_NO_EXECUTE;
        } else if (reference->level == above - 1) {
            next = reference;
        }
    }
    if (!next)
        return STALE_UNMAPPED;
    stale->hpa = next->hpa & ~0xfffull;
    stale->rights = (uint8_t)rights;
    stale->page_shift = entry->shift;
    unsigned cached = entry->rights & (RIGHT_WRITE | RIGHT_USER | RIGHT_NO_EXECUTE);
    return check_flags(check, log, above) | check_rights(check, log, cached, rights) |
           (stale->hpa != entry->hpa ? STALE_ADDRESS : 0);
}

static void check_entry(void *opaque, enum tlb_array_id id, const struct tlb_entry *entry)
{
    struct check *check = opaque;
    struct walk_log log;
    struct walk_result now = {0};
    struct stale_entry stale = {.array = id, .entry = entry, .log = &log};
    uint64_t address = entry_address(entry);

    view_enter(check, id, entry);
    if (id == TLB_GUEST_PHYSICAL)
        stale.status = mmu_walk_physical(&check->view, address, ACCESS_READ, WALK_RAW, NULL, &log,
                                         &now, &stale.fault);
    else
        stale.status =
            mmu_walk(&check->view, address, ACCESS_READ, WALK_RAW, &log, &now, &stale.fault);

    if (1u << id & TLB_STRUCTURE_ARRAYS) {
        stale.reasons = check_structure(check, id, entry, &log, &stale);
    } else if (stale.status != MMU_OK) {
        stale.reasons = STALE_UNMAPPED;
    } else {
        stale.hpa = now.hpa;
        stale.page_shift = now.shift;
        stale.rights = now.rights;
        now.global |= id == TLB_GUEST_PHYSICAL;
        if (id == TLB_GUEST_PHYSICAL)
            now.rights &= RIGHT_EPT_ALL;
        stale.reasons = check_page(check, entry, &now, &log);
    }
    if (stale.reasons == 0)
        return;
    check->count++;
    if (check->visit)
        check->visit(check->opaque, &stale);
}

unsigned mmu_tlb_check(struct mmu *mmu,
                       void (*visit)(void *opaque, const struct stale_entry *stale), void *opaque)
{
    struct check check = {.mmu = mmu, .visit = visit, .opaque = opaque};

    mmu_init_view(&check.view, mmu);
    tlb_for_each(&mmu->tlb, TLB_LINEAR_ARRAYS | 1u << TLB_GUEST_PHYSICAL, check_entry, &check);
    return check.count;
}
