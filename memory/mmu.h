/*
 * Address translation as one logical processor performs it: TLB, paging-structure caches, the walk
 * of the guest's paging structures, and for each guest-physical address on the way the EPT walk.
 *
 *   linear address -> TLB -> guest walk x EPT walk -> host-physical address
 *                                |            |
 *                                #PF          EPT violation, EPT misconfiguration
 *
 * SDM volume 3: "Paging" and "VMX Support for Address Translation".
 */
#ifndef VTXSIM_MEMORY_MMU_H
#define VTXSIM_MEMORY_MMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/ept_walk.h"
#include "memory/guest_paging.h"
#include "memory/physmem.h"
#include "memory/tlb.h"

/* An access as the walk must judge it. */
enum access_type { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };
#define ACCESS_TYPE_MASK 3u
#define ACCESS_USER      (1u << 2) /* CPL 3; otherwise a supervisor-mode access */
#define ACCESS_IMPLICIT  (1u << 3) /* implicit supervisor-mode access (descriptor tables, TSS) */
#define ACCESS_AC        (1u << 4) /* RFLAGS.AC = 1: explicit supervisor accesses ignore SMAP */
#define ACCESS_PROBE     (1u << 5) /* ask only: sets no A/D flag, caches nothing */
#define ACCESS_PHYSICAL  (1u << 6) /* in struct mmu_walk_report: of a guest-physical address */

enum mmu_status { MMU_OK, MMU_PAGE_FAULT, MMU_EPT_VIOLATION, MMU_EPT_MISCONFIG };

/* Exit qualification of EPT violations (SDM "Exit Qualification for EPT Violations"): there is a
 * linear address, and it is its own access that failed, not one to a paging structure. */
#define VIOLATION_LINEAR_VALID (1u << 7)
#define VIOLATION_FINAL_ACCESS (1u << 8)

/* Why a translation failed. Valid fields depend on status. */
struct mmu_fault {
    enum mmu_status status;
    uint32_t error_code;    /* MMU_PAGE_FAULT: as pushed on the stack */
    uint64_t linear;        /* the linear address of the access (CR2, guest-linear address) */
    uint64_t gpa;           /* EPT violation, misconfiguration: guest-physical address */
    uint64_t qualification; /* EPT violation: exit qualification (SDM "Exit Qualification for EPT
                               Violations"), bit 12 (NMI unblocking) left 0 */
};

/*
 * A translation that an execution engine may cache for accesses of the same kind (same user or
 * supervisor mode, same AC) until the next flush.
 */
struct translation {
    uint64_t hpa;        /* host-physical address of the byte at the linear address */
    uint64_t gpa;        /* its guest-physical address */
    uint8_t page_shift;  /* 12, 21, 22 or 30: smaller of the guest's and EPT's page sizes */
    uint8_t guest_shift; /* the guest's page size alone: what INVLPG of an address drops */
    bool readable, writable, executable; /* for this mode; writable only once D flags are set */
    bool tlb_hit;
};

/* The registers that select and govern paging. cpu/ sets them through mmu_set_*. */
struct paging_registers {
    uint64_t cr0, cr3, cr4, efer;
    uint64_t pdpte[4];
};

struct mmu_stats {
    uint64_t tlb_hits, tlb_misses;
    uint64_t walks;            /* started because of a miss */
    uint64_t guest_references; /* reads of guest paging-structure entries */
    uint64_t ept_references;   /* reads of EPT paging-structure entries */
    uint64_t page_faults, ept_violations, ept_misconfigs;
    uint64_t flushes; /* operations that invalidated anything */
};

/* One reference of a walk, for those who want to see it (see mmu_walk_explain). */
struct walk_reference {
    bool ept;            /* an EPT entry; otherwise a guest paging-structure entry */
    uint8_t level;       /* 5..1: PML5E, PML4E, PDPTE, PDE, PTE */
    uint8_t guest_level; /* ept: the guest level whose address is being translated, 0 = final */
    uint64_t gpa;        /* guest entry: its guest-physical address. EPT: the address translated */
    uint64_t hpa;        /* host-physical address of the entry */
    uint64_t entry;      /* its value */
};

/* A walk after a TLB miss, as an observer is told of it. */
struct mmu_walk_report {
    uint64_t linear; /* 0 if ACCESS_PHYSICAL */
    uint64_t gpa;    /* of the byte; after a page fault 0 */
    uint64_t hpa;    /* of the byte; after a fault 0 */
    unsigned access; /* ACCESS_* */
    enum mmu_status status;
    uint32_t error_code; /* of a page fault; low half of an EPT violation's qualification */
    unsigned guest_references, ept_references;
    uint8_t page_shift; /* as in struct translation; after a fault 0 */
};

/* What invalidates, whether or not anything was there to be dropped. */
enum mmu_flush {
    MMU_FLUSH_CR3 = 1, /* MOV to CR3 */
    MMU_FLUSH_CONTROL, /* CR0.PG, CR4 */
    MMU_FLUSH_INVLPG,
    MMU_FLUSH_INVPCID,
    MMU_FLUSH_INVVPID,
    MMU_FLUSH_INVEPT,
    MMU_FLUSH_TRANSITION, /* VM entry, VM exit without VPID */
};

/* Who wants to know. The functions must not call the MMU. */
struct mmu_observer {
    void (*walk)(void *context, const struct mmu_walk_report *report);
    /* type: of INVPCID, INVVPID, INVEPT. address: linear address; CR3's new value; EPTP. */
    void (*flush)(void *context, enum mmu_flush kind, unsigned type, uint64_t address);
    /* mmu_read or mmu_write has done a data access. NULL: of no interest. */
    void (*access)(void *context, uint64_t linear, const void *data, size_t size, unsigned access);
    void *context;
};

/* Accesses that translate differently: user or supervisor, implicit, AC; and ACCESS_PROBE. */
#define ACCESS_MODE_SHIFT 2
#define ACCESS_MODES      16
/* Sets of rules for access rights: paging off, and CR0.WP x CR4.SMEP x CR4.SMAP. */
#define ACCESS_RULES      9

/* For each mode and rights of a TLB entry: which types of access it serves (paging_allows). None
 * for ACCESS_PROBE, which the TLB does not serve. */
struct access_rules {
    bool ready;
    uint8_t allowed[ACCESS_MODES][RIGHTS_COUNT];
};

/* What translation needs to know at once, derived from the fields of struct mmu above it. */
struct mmu_derived {
    uint64_t tlb_context; /* tag of the mappings in use; matches no entry if there are none */
    uint16_t pcid;
    const struct access_rules *rules;
    struct paging_format paging;
    struct ept_format ept;
    uint8_t maxphyaddr; /* the capabilities that the formats were derived from */
    bool execute_only_supported, ept_1g_supported, page_1g_supported;
};

struct mmu {
    struct physmem *physmem;
    struct paging_registers regs;
    uint8_t maxphyaddr; /* physical-address width, 32..52; mmu_init: 46 */
    bool ept_enabled;
    uint64_t eptp; /* EPT pointer of the current VMCS */
    uint16_t vpid; /* 0 when VPIDs are off or in VMX root operation */
    bool execute_only_supported, ept_1g_supported; /* IA32_VMX_EPT_VPID_CAP; mmu_init: true */
    bool page_1g_supported;                        /* CPUID.80000001H:EDX.Page1GB; mmu_init: true */
    struct mmu_derived derived;
    struct access_rules rules[ACCESS_RULES];
    struct tlb tlb;
    struct mmu_stats stats;
    const struct mmu_observer *observer; /* NULL: nobody; the caller's */
    struct walk_log
        *log; /* NULL unless someone looks; then holds the references of the last walk */
};

/* The SDM's bounds on what one walk can reference: 5-level guest by 5-level EPT, with slack. */
#define WALK_REFERENCES_MAX 40
struct walk_log {
    unsigned count;
    struct walk_reference reference[WALK_REFERENCES_MAX];
};

/* Paging and EPT off. The physmem stays the caller's and must outlive the mmu. */
void mmu_init(struct mmu *mmu, struct physmem *physmem);
void mmu_destroy(struct mmu *mmu);
/* Replaces the TLB by an empty one of other sizes. Returns 0, -EINVAL or -ENOMEM (see tlb_init). */
int mmu_configure_tlb(struct mmu *mmu, const struct tlb_config *config);

/* Translates one byte's linear address (canonical: the caller has checked). Sets A/D flags. */
enum mmu_status mmu_translate(struct mmu *mmu, uint64_t linear, unsigned access,
                              struct translation *out, struct mmu_fault *fault);

/* Translates a guest-physical address (no guest paging): EPT, or identity when EPT is off. */
enum mmu_status mmu_translate_physical(struct mmu *mmu, uint64_t gpa, unsigned access,
                                       struct translation *out, struct mmu_fault *fault);

/*
 * Reads or writes size bytes at a linear address; may cross pages. Nothing is written unless every
 * page translates. Host-physical addresses outside memory read as all-ones and ignore writes.
 */
enum mmu_status mmu_read(struct mmu *mmu, uint64_t linear, void *data, size_t size, unsigned access,
                         struct mmu_fault *fault);
enum mmu_status mmu_write(struct mmu *mmu, uint64_t linear, const void *data, size_t size,
                          unsigned access, struct mmu_fault *fault);

/* The same for guest-physical addresses. */
enum mmu_status mmu_read_physical(struct mmu *mmu, uint64_t gpa, void *data, size_t size,
                                  struct mmu_fault *fault);
enum mmu_status mmu_write_physical(struct mmu *mmu, uint64_t gpa, const void *data, size_t size,
                                   struct mmu_fault *fault);

/*
 * Register loads, with the invalidations that the SDM's "Operations that Invalidate TLBs and
 * Paging-Structure Caches" asks for. Each returns true if it invalidated anything that an engine
 * may hold (the engine then drops its own copies).
 */
bool mmu_mov_cr3(struct mmu *mmu, uint64_t cr3); /* bit 63 as written: 1 = keep this PCID */
bool mmu_set_cr0(struct mmu *mmu, uint64_t cr0);
bool mmu_set_cr4(struct mmu *mmu, uint64_t cr4);
bool mmu_set_efer(struct mmu *mmu, uint64_t efer);
/* All at once, by VM entry, VM exit or a debugger; flush as for VM entry without VPID if asked. */
void mmu_load(struct mmu *mmu, const struct paging_registers *regs, bool flush);
/* Current VMCS's translation controls. Does not flush: VM entry and INVEPT rules decide. */
void mmu_set_ept(struct mmu *mmu, bool enabled, uint64_t eptp, uint16_t vpid);

/* INVLPG; INVPCID types 0-3; INVVPID types 0-3; INVEPT types 1 and 2 (SDM's numbering). */
void mmu_invlpg(struct mmu *mmu, uint64_t linear);
void mmu_invpcid(struct mmu *mmu, unsigned type, uint16_t pcid, uint64_t linear);
void mmu_invvpid(struct mmu *mmu, unsigned type, uint16_t vpid, uint64_t linear);
void mmu_invept(struct mmu *mmu, unsigned type, uint64_t eptp);
/* VM entry and VM exit with "enable VPID" = 0: linear and combined mappings of VPID 0. */
void mmu_flush_vpid0(struct mmu *mmu);

/*
 * Loads the four PDPTEs of PAE paging from CR3 (SDM "PDPTE Registers"). Returns MMU_OK, or
 * MMU_PAGE_FAULT with *reserved = true where a present entry sets reserved bits (the caller raises
 * #GP), or an EPT status.
 */
enum mmu_status mmu_load_pdptes(struct mmu *mmu, uint64_t cr3, uint64_t pdpte[4], bool *reserved,
                                struct mmu_fault *fault);

/* Walks without TLB, caches or side effects and records every reference (order of the SDM). */
enum mmu_status mmu_walk_explain(struct mmu *mmu, uint64_t linear, unsigned access,
                                 struct walk_log *log, struct translation *out,
                                 struct mmu_fault *fault);

#endif
