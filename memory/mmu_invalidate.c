/*
 * What each operation drops: SDM "Operations that Invalidate TLBs and Paging-Structure Caches" and,
 * for VMX, "Operations that Invalidate Cached Mappings".
 *
 *   operation              VPID     PCID     global  address  EP4TA    guest-physical
 *   MOV CR3                current  loaded   kept    all      all      kept
 *   CR0.PG 1->0            current  all      dropped all      all      kept
 *   CR4.PGE, PCIDE 1->0    current  all      dropped all      all      kept
 *   CR4.PAE, SMEP 0->1     current  current  dropped all      all      kept
 *   INVLPG                 current  current  dropped one      all      kept   (1)
 *   INVPCID 0              current  given    kept    one      all      kept
 *   INVPCID 1              current  given    kept    all      all      kept
 *   INVPCID 2              current  all      dropped all      all      kept
 *   INVPCID 3              current  all      kept    all      all      kept
 *   INVVPID 0              given    all      dropped one      all      kept
 *   INVVPID 1              given    all      dropped all      all      kept
 *   INVVPID 2              all but 0 all     dropped all      all      kept
 *   INVVPID 3              given    all      kept    all      all      kept
 *   INVEPT 1               all      all      dropped all      given    dropped
 *   INVEPT 2               all      all      dropped all      all (2)  dropped
 *   VM entry, exit, no VPID 0       all      dropped all      all      kept
 *   page fault             current  current  dropped one      all      kept
 *   EPT violation          current  current  dropped one      current  its address
 *
 * (1) and all paging-structure-cache entries of the PCID. (2) combined mappings; linear mappings,
 * which have no EP4TA, are kept by INVEPT.
 */
#include "memory/mmu_internal.h"

#include <assert.h>

/* Linear and combined mappings of a VPID, whatever the EP4TA. */
#define CONTEXT_OF_VPID (TLB_CONTEXT_VPID | TLB_CONTEXT_GUEST_PHYSICAL)

static inline void tell(const struct mmu *mmu, enum mmu_flush kind, unsigned type, uint64_t address)
{
    if (__builtin_expect(mmu->observer != NULL, 0))
        mmu->observer->flush(mmu->observer->context, kind, type, address);
}

static unsigned invalidate(struct mmu *mmu, unsigned arrays, const struct tlb_scope *scope)
{
    unsigned dropped = tlb_invalidate(&mmu->tlb, arrays, scope);
    mmu->stats.flushes += dropped != 0;
    return dropped;
}

static struct tlb_scope scope_of_vpid(uint16_t vpid)
{
    return (struct tlb_scope){.context = tlb_context_vpid(vpid),
                              .context_mask = CONTEXT_OF_VPID,
                              .any_pcid = true,
                              .any_address = true};
}

/* ---- Register loads ------------------------------------------------------------------------- */

bool mmu_mov_cr3(struct mmu *mmu, uint64_t cr3)
{
    bool pcids = mmu->regs.cr4 & PAGING_CR4_PCIDE;
    bool keep = pcids && cr3 >> 63;
    struct paging_registers regs = mmu->regs;

    regs.cr3 = pcids ? cr3 & ~(1ull << 63) : cr3;
    bool changed = mmu_registers_replace(mmu, &regs);
    if (keep)
        return changed;

    struct tlb_scope scope = scope_of_vpid(mmu->vpid);
    scope.any_pcid = false;
    scope.pcid = pcids ? cr3 & 0xfff : 0;
    scope.spare_global = true;
    invalidate(mmu, TLB_LINEAR_ARRAYS, &scope);
    tell(mmu, MMU_FLUSH_CR3, 0, regs.cr3);
    return true;
}

bool mmu_set_cr0(struct mmu *mmu, uint64_t cr0)
{
    struct paging_registers regs = mmu->regs;
    bool paging_ends = regs.cr0 & ~cr0 & PAGING_CR0_PG;

    regs.cr0 = cr0;
    bool changed = mmu_registers_replace(mmu, &regs);
    if (paging_ends) {
        struct tlb_scope scope = scope_of_vpid(mmu->vpid);
        invalidate(mmu, TLB_LINEAR_ARRAYS, &scope);
        tell(mmu, MMU_FLUSH_CONTROL, 0, 0);
    }
    return changed;
}

bool mmu_set_cr4(struct mmu *mmu, uint64_t cr4)
{
    struct paging_registers regs = mmu->regs;
    uint64_t toggled = regs.cr4 ^ cr4;
    struct tlb_scope scope = scope_of_vpid(mmu->vpid);

    if (toggled & PAGING_CR4_PGE || regs.cr4 & ~cr4 & PAGING_CR4_PCIDE) {
        invalidate(mmu, TLB_LINEAR_ARRAYS, &scope);
        tell(mmu, MMU_FLUSH_CONTROL, 0, 0);
    } else if (toggled & PAGING_CR4_PAE || cr4 & ~regs.cr4 & PAGING_CR4_SMEP) {
        scope.any_pcid = false;
        scope.pcid = mmu->derived.paging.pcid;
        invalidate(mmu, TLB_LINEAR_ARRAYS, &scope);
        tell(mmu, MMU_FLUSH_CONTROL, 0, 0);
    }
    regs.cr4 = cr4;
    return mmu_registers_replace(mmu, &regs);
}

bool mmu_set_efer(struct mmu *mmu, uint64_t efer)
{
    struct paging_registers regs = mmu->regs;

    regs.efer = efer;
    return mmu_registers_replace(mmu, &regs);
}

void mmu_load(struct mmu *mmu, const struct paging_registers *regs, bool flush)
{
    mmu_registers_replace(mmu, regs);
    if (flush)
        mmu_flush_vpid0(mmu);
}

/* ---- Instructions --------------------------------------------------------------------------- */

void mmu_invlpg(struct mmu *mmu, uint64_t linear)
{
    struct tlb_scope scope = scope_of_vpid(mmu->vpid);

    scope.any_pcid = false;
    scope.pcid = mmu->derived.paging.pcid;
    unsigned dropped = tlb_invalidate(&mmu->tlb, TLB_STRUCTURE_ARRAYS, &scope);
    scope.any_address = false;
    scope.address = linear;
    dropped += tlb_invalidate(&mmu->tlb, TLB_PAGE_ARRAYS, &scope);
    mmu->stats.flushes += dropped != 0;
    tell(mmu, MMU_FLUSH_INVLPG, 0, linear);
}

void mmu_invpcid(struct mmu *mmu, unsigned type, uint16_t pcid, uint64_t linear)
{
    struct tlb_scope scope = scope_of_vpid(mmu->vpid);

    assert(type <= 3);
    scope.any_address = type != 0;
    scope.address = linear;
    scope.any_pcid = type >= 2;
    scope.pcid = pcid & 0xfff;
    scope.spare_global = type != 2;
    invalidate(mmu, TLB_LINEAR_ARRAYS, &scope);
    tell(mmu, MMU_FLUSH_INVPCID, type, type == 0 ? linear : 0);
}

void mmu_invvpid(struct mmu *mmu, unsigned type, uint16_t vpid, uint64_t linear)
{
    struct tlb_scope scope = scope_of_vpid(vpid);

    assert(type <= 3);
    scope.any_address = type != 0;
    scope.address = linear;
    scope.spare_global = type == 3;
    if (type == 2) {
        scope.context_mask = TLB_CONTEXT_GUEST_PHYSICAL;
        scope.spare_vpid0 = true;
    }
    invalidate(mmu, TLB_LINEAR_ARRAYS, &scope);
    tell(mmu, MMU_FLUSH_INVVPID, type, type == 0 ? linear : 0);
}

void mmu_invept(struct mmu *mmu, unsigned type, uint64_t eptp)
{
    struct tlb_scope scope = {.context = TLB_CONTEXT_EPT | (eptp & TLB_CONTEXT_EP4TA),
                              .context_mask = TLB_CONTEXT_EPT,
                              .any_pcid = true,
                              .any_address = true};

    assert(type == 1 || type == 2);
    if (type == 1)
        scope.context_mask |= TLB_CONTEXT_EP4TA;
    invalidate(mmu, TLB_LINEAR_ARRAYS | 1u << TLB_GUEST_PHYSICAL, &scope);
    tell(mmu, MMU_FLUSH_INVEPT, type, type == 1 ? eptp : 0);
}

void mmu_flush_vpid0(struct mmu *mmu)
{
    struct tlb_scope scope = scope_of_vpid(0);
    invalidate(mmu, TLB_LINEAR_ARRAYS, &scope);
    tell(mmu, MMU_FLUSH_TRANSITION, 0, 0);
}

/* ---- Faults --------------------------------------------------------------------------------- */

void mmu_forget_page_fault(struct mmu *mmu, uint64_t linear)
{
    struct tlb_scope scope = scope_of_vpid(mmu->vpid);

    scope.any_pcid = false;
    scope.pcid = mmu->derived.paging.pcid;
    scope.any_address = false;
    scope.address = linear;
    tlb_invalidate(&mmu->tlb, TLB_LINEAR_ARRAYS, &scope);
}

void mmu_forget_ept_violation(struct mmu *mmu, const struct mmu_fault *fault, bool linear_valid)
{
    struct tlb_scope scope = {.context = tlb_context_guest_physical(mmu->eptp),
                              .context_mask = UINT64_MAX,
                              .any_pcid = true,
                              .address = fault->gpa};

    tlb_invalidate(&mmu->tlb, 1u << TLB_GUEST_PHYSICAL, &scope);
    if (!linear_valid)
        return;
    scope.context = tlb_context(true, mmu->eptp, mmu->vpid);
    scope.any_pcid = false;
    scope.pcid = mmu->derived.paging.pcid;
    scope.address = fault->linear;
    tlb_invalidate(&mmu->tlb, TLB_LINEAR_ARRAYS, &scope);
}
