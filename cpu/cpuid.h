/*
 * CPUID: the profile's leaves cut down to what vtxsim implements, looked up by index.
 */
#ifndef VTXSIM_CPU_CPUID_H
#define VTXSIM_CPU_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/profile.h"

struct cpu;

/* Features that decide about registers, MSRs and instructions of the processor model. */
enum cpu_feature {
    FEATURE_VME,
    FEATURE_DE,
    FEATURE_PSE,
    FEATURE_TSC,
    FEATURE_MSR,
    FEATURE_PAE,
    FEATURE_MCE,
    FEATURE_APIC,
    FEATURE_SEP,
    FEATURE_MTRR,
    FEATURE_PGE,
    FEATURE_MCA,
    FEATURE_PAT,
    FEATURE_FXSR,
    FEATURE_SSE,
    FEATURE_MONITOR,
    FEATURE_VMX,
    FEATURE_SMX,
    FEATURE_PCID,
    FEATURE_X2APIC,
    FEATURE_TSC_DEADLINE,
    FEATURE_XSAVE,
    FEATURE_RDRAND,
    FEATURE_FSGSBASE,
    FEATURE_TSC_ADJUST,
    FEATURE_SMEP,
    FEATURE_INVPCID,
    FEATURE_RDSEED,
    FEATURE_SMAP,
    FEATURE_UMIP,
    FEATURE_PKU,
    FEATURE_LA57,
    FEATURE_RDPID,
    FEATURE_CET_SS,
    FEATURE_CET_IBT,
    FEATURE_SPEC_CTRL,
    FEATURE_STIBP,
    FEATURE_ARCH_CAPABILITIES,
    FEATURE_SSBD,
    FEATURE_SYSCALL,
    FEATURE_NX,
    FEATURE_PAGE_1G,
    FEATURE_RDTSCP,
    FEATURE_LM,
    FEATURE_COUNT,
    FEATURE_ALWAYS = FEATURE_COUNT /* for tables: no flag needed */
};

static inline bool profile_has(const struct cpu_profile *profile, enum cpu_feature feature)
{
    return feature == FEATURE_ALWAYS || (profile->features >> feature & 1);
}

/* CPUID.40000000H: "vtxsimvtxsim" in EBX, ECX, EDX; EAX = 40000001H, whose EAX is the version of
 * the interface between vtxsim and its guests (docs/hypercalls.md). */
#define CPUID_HYPERVISOR_SIGNATURE "vtxsimvtxsim"
#define CPUID_HYPERVISOR_FIRST     0x40000000u
#define CPUID_HYPERVISOR_LAST      0x40000001u
#define CPUID_INTERFACE_VERSION    1u

/*
 * Prepares a profile whose cpuid[] was read from a file: masks what vtxsim does not implement, adds
 * the hypervisor leaves, builds the index, and derives features and the writable bits of CR4,
 * IA32_EFER and XCR0.
 */
void cpuid_prepare(struct cpu_profile *profile);

/* What CPUID returns on this processor now: OSXSAVE, the APIC flag, IDs and the sizes that follow
 * XCR0 are computed, the rest comes from the profile. Order: EAX, EBX, ECX, EDX. */
void cpuid_query(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t registers[4]);

/* CPUID with EAX and ECX from cpu->state, results into it; no VM exit. */
void cpuid_execute(struct cpu *cpu);

/* Bits that may be set in CR4, by the profile's features (cpu/cr4.c). */
uint64_t cr4_allowed_bits(const struct cpu_profile *profile);

#endif
