/*
 * Model-specific registers: which exist, what they hold, which bits software may set.
 */
#ifndef VTXSIM_CPU_MSR_H
#define VTXSIM_CPU_MSR_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;

#define MSR_TSC               0x10
#define MSR_PLATFORM_ID       0x17
#define MSR_APIC_BASE         0x1b
#define MSR_FEATURE_CONTROL   0x3a
#define MSR_TSC_ADJUST        0x3b
#define MSR_SPEC_CTRL         0x48
#define MSR_PRED_CMD          0x49
#define MSR_BIOS_UPDT_TRIG    0x79
#define MSR_BIOS_SIGN_ID      0x8b
#define MSR_PLATFORM_INFO     0xce
#define MSR_MTRRCAP           0xfe
#define MSR_ARCH_CAPABILITIES 0x10a
#define MSR_SYSENTER_CS       0x174
#define MSR_SYSENTER_ESP      0x175
#define MSR_SYSENTER_EIP      0x176
#define MSR_MCG_CAP           0x179
#define MSR_MCG_STATUS        0x17a
#define MSR_MISC_ENABLE       0x1a0
#define MSR_DEBUGCTL          0x1d9
#define MSR_MTRR_PHYSBASE0    0x200
#define MSR_MTRR_FIX64K_00000 0x250
#define MSR_MTRR_FIX16K_80000 0x258
#define MSR_MTRR_FIX16K_A0000 0x259
#define MSR_MTRR_FIX4K_C0000  0x268
#define MSR_PAT               0x277
#define MSR_MTRR_DEF_TYPE     0x2ff
#define MSR_MC0_CTL           0x400
#define MSR_TSC_DEADLINE      0x6e0
#define MSR_X2APIC_FIRST      0x800
#define MSR_X2APIC_LAST       0x8ff
#define MSR_EFER              0xc0000080
#define MSR_STAR              0xc0000081
#define MSR_LSTAR             0xc0000082
#define MSR_CSTAR             0xc0000083
#define MSR_FMASK             0xc0000084
#define MSR_FS_BASE           0xc0000100
#define MSR_GS_BASE           0xc0000101
#define MSR_KERNEL_GS_BASE    0xc0000102
#define MSR_TSC_AUX           0xc0000103

#define APIC_BASE_BSP    (1ull << 8)
#define APIC_BASE_X2APIC (1ull << 10)
#define APIC_BASE_ENABLE (1ull << 11)

#define MISC_ENABLE_LIMIT_CPUID (1ull << 22)
#define MISC_ENABLE_XD_DISABLE  (1ull << 34)

/* Power-on value of IA32_PAT: WB, WT, UC-, UC, twice. */
#define PAT_AT_RESET 0x0007040600070406ull

/*
 * RDMSR and WRMSR without privilege check and VM exit, also for the MSR areas of VM entry and VM
 * exit and for the VM handler. Return false where the instruction raises #GP(0): the MSR does not
 * exist, is read-only, or a reserved bit is set; nothing has changed then. IA32_TIME_STAMP_COUNTER
 * reads with the TSC offset of VMX non-root operation, and IA32_EFER is a mode transition
 * (cpu/modes.h). Changed registers show in cpu->changed.
 */
bool cpu_msr_read(struct cpu *cpu, uint32_t msr, uint64_t *value);
bool cpu_msr_write(struct cpu *cpu, uint32_t msr, uint64_t value);

/* The value is of a memory type that exists, in each byte (SDM "IA32_PAT MSR"). */
bool msr_pat_valid(uint64_t pat);

/* The time-stamp counter as RDTSC shows it: IA32_TSC_ADJUST and, in VMX non-root operation with
 * "use TSC offsetting", the TSC offset are added to the host's TSC. */
uint64_t cpu_tsc(const struct cpu *cpu);
/* What cpu_tsc adds to the host's TSC. */
uint64_t cpu_tsc_offset(const struct cpu *cpu);

#endif
