/*
 * The architectural state of one logical processor, as the SDM's volume 3 names it.
 *
 * x87, SSE and AVX registers are not here: no part of the VMX machinery reads them, so they stay in
 * the execution engine that computes with them.
 */
#ifndef VTXSIM_CPU_STATE_H
#define VTXSIM_CPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

/* General-purpose registers in the order of their encoding in ModRM and REX. */
enum gpr {
    GPR_RAX,
    GPR_RCX,
    GPR_RDX,
    GPR_RBX,
    GPR_RSP,
    GPR_RBP,
    GPR_RSI,
    GPR_RDI,
    GPR_R8,
    GPR_R9,
    GPR_R10,
    GPR_R11,
    GPR_R12,
    GPR_R13,
    GPR_R14,
    GPR_R15,
    GPR_COUNT
};

/* Segment registers in the order of their encoding in ModRM.reg; LDTR and TR follow. */
enum segment_register {
    SEG_ES,
    SEG_CS,
    SEG_SS,
    SEG_DS,
    SEG_FS,
    SEG_GS,
    SEG_LDTR,
    SEG_TR,
    SEG_COUNT
};

/*
 * Access rights in the VMCS format (SDM "Guest Register State", table "Format of Access Rights"):
 * the second dword of the descriptor shifted right by 8, without limit[19:16], plus "unusable".
 */
#define AR_TYPE_MASK  0x000fu
#define AR_ACCESSED   0x0001u
#define AR_WRITABLE   0x0002u /* data segments; "readable" for code segments */
#define AR_EXPAND     0x0004u /* expand-down for data; "conforming" for code */
#define AR_CODE       0x0008u
#define AR_S          0x0010u /* 1: code or data, 0: system */
#define AR_DPL_SHIFT  5
#define AR_DPL_MASK   0x0060u
#define AR_P          0x0080u
#define AR_AVL        0x1000u
#define AR_L          0x2000u
#define AR_DB         0x4000u
#define AR_G          0x8000u
#define AR_UNUSABLE   0x10000u
#define AR_DPL(ar)    (((ar) & AR_DPL_MASK) >> AR_DPL_SHIFT)

/* A segment register with its hidden part (the "descriptor cache"). limit is in bytes, expanded. */
struct segment {
    uint64_t base;
    uint32_t limit;
    uint32_t access_rights;
    uint16_t selector;
};

/* GDTR or IDTR. */
struct descriptor_table {
    uint64_t base;
    uint16_t limit;
};

#define RFLAGS_CF    (1ull << 0)
#define RFLAGS_FIXED (1ull << 1)
#define RFLAGS_PF    (1ull << 2)
#define RFLAGS_AF    (1ull << 4)
#define RFLAGS_ZF    (1ull << 6)
#define RFLAGS_SF    (1ull << 7)
#define RFLAGS_TF    (1ull << 8)
#define RFLAGS_IF    (1ull << 9)
#define RFLAGS_DF    (1ull << 10)
#define RFLAGS_OF    (1ull << 11)
#define RFLAGS_IOPL  (3ull << 12)
#define RFLAGS_NT    (1ull << 14)
#define RFLAGS_RF    (1ull << 16)
#define RFLAGS_VM    (1ull << 17)
#define RFLAGS_AC    (1ull << 18)
#define RFLAGS_VIF   (1ull << 19)
#define RFLAGS_VIP   (1ull << 20)
#define RFLAGS_ID    (1ull << 21)

#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_AM (1ull << 18)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)

#define CR3_PCID    0xfffull
#define CR3_NOFLUSH (1ull << 63)

#define CR4_VME        (1ull << 0)
#define CR4_PVI        (1ull << 1)
#define CR4_TSD        (1ull << 2)
#define CR4_DE         (1ull << 3)
#define CR4_PSE        (1ull << 4)
#define CR4_PAE        (1ull << 5)
#define CR4_MCE        (1ull << 6)
#define CR4_PGE        (1ull << 7)
#define CR4_PCE        (1ull << 8)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP       (1ull << 11)
#define CR4_LA57       (1ull << 12)
#define CR4_VMXE       (1ull << 13)
#define CR4_SMXE       (1ull << 14)
#define CR4_FSGSBASE   (1ull << 16)
#define CR4_PCIDE      (1ull << 17)
#define CR4_OSXSAVE    (1ull << 18)
#define CR4_SMEP       (1ull << 20)
#define CR4_SMAP       (1ull << 21)
#define CR4_PKE        (1ull << 22)
#define CR4_CET        (1ull << 23)

#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define XCR0_X87 (1ull << 0)
#define XCR0_SSE (1ull << 1)

/* DR6 and DR7 (SDM "Debug Registers"); pending debug exceptions use DR6's numbers for B0-B3, BD
 * and BS. */
#define DR6_B_MASK   0xfull
#define DR6_BD       (1ull << 13)
#define DR6_BS       (1ull << 14)
#define DR6_BT       (1ull << 15)
#define DR6_FIXED    0xffff0ff0ull /* bits that read as 1 */
#define DR6_WRITABLE 0x0000e00full
#define DR7_GD       (1ull << 13)
#define DR7_FIXED    0x00000400ull
#define DR7_WRITABLE 0xffff23ffull

#define DEBUGCTL_LBR (1ull << 0)
#define DEBUGCTL_BTF (1ull << 1)

/* Exception vectors (SDM "Exception and Interrupt Vectors"). */
enum vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_BR = 5,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
    VECTOR_XM = 19,
    VECTOR_CP = 21
};

/* Interruptibility state, in the VMCS format (SDM "Guest Non-Register State"). */
#define BLOCKING_BY_STI    (1u << 0)
#define BLOCKING_BY_MOV_SS (1u << 1)
#define BLOCKING_BY_SMI    (1u << 2)
#define BLOCKING_BY_NMI    (1u << 3)

/* Activity state, in the VMCS format. */
enum activity_state { ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_FOR_SIPI };

/*
 * MSRs that hold plain state. FS.base and GS.base are seg[].base; IA32_EFER, IA32_APIC_BASE and
 * the SYSENTER and SYSCALL MSRs have fields here; cpu/msr.c maps MSR indexes to them.
 */
struct cpu_state {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip;
    uint64_t rflags;
    struct segment seg[SEG_COUNT];
    struct descriptor_table gdtr, idtr;

    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t xcr0;
    uint64_t pdpte[4]; /* loaded by MOV CR3 in PAE paging, or from the VMCS */
    uint64_t dr[4], dr6, dr7;

    uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, debugctl, apic_base, misc_enable, feature_control;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[10], mtrr_mask[10];
    uint64_t tsc_adjust, tsc_deadline, spec_ctrl, xss, mcg_status, mc_bank[32 * 4];

    uint32_t interruptibility;       /* BLOCKING_BY_* */
    enum activity_state activity;
    uint64_t pending_debug;          /* pending debug exceptions, VMCS format */
};

#endif
