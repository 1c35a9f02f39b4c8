/*
 * A CPU profile: the identity and the costs of one processor, from a data file in models/cpus/.
 *
 * Only what vtxsim implements is advertised to the guest: the profile's CPUID and VMX capability
 * values are cut down to it when they are loaded (cpu/cpuid.c, cpu/vmx_capabilities.c).
 */
#ifndef VTXSIM_CPU_PROFILE_H
#define VTXSIM_CPU_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpuid_leaf {
    uint32_t leaf, subleaf;
    uint32_t eax, ebx, ecx, edx;
};
#define PROFILE_CPUID_MAX 64

/* Leaves below these bounds are found through an index (cpu/cpuid.c). */
#define CPUID_BASIC_LEAVES    0x20
#define CPUID_EXTENDED_LEAVES 0x9

struct cpu_profile {
    char name[64];         /* as given to --cpu: "skylake-client" */
    char brand[49];        /* CPUID 0x80000002..4 */
    uint64_t tsc_hz;       /* simulated cycles a second */
    uint32_t crystal_hz;   /* local APIC timer and CPUID.15H */
    uint8_t maxphyaddr, maxlinaddr;
    unsigned cpuid_count;
    struct cpuid_leaf cpuid[PROFILE_CPUID_MAX];
    uint64_t vmx_msr[0x12]; /* IA32_VMX_BASIC (0x480) ... IA32_VMX_VMFUNC (0x491) */

    /* Costs in cycles. */
    uint32_t exit_cycles;  /* VM exit and VM entry, round trip, without the handler */
    uint32_t entry_checks_cycles; /* more when the entry cannot skip its checks */
    uint32_t pause_cycles, rdtsc_cycles;

    uint32_t microcode;          /* revision, IA32_BIOS_SIGN_ID[63:32] */
    uint64_t arch_capabilities;  /* IA32_ARCH_CAPABILITIES */

    /* Derived when the profile is loaded (cpuid_prepare). */
    uint64_t features;                               /* bits by enum cpu_feature */
    uint64_t cr4_allowed, efer_allowed, xcr0_allowed; /* bits that software may set */
    uint32_t max_basic_leaf;
    uint8_t cpuid_basic[CPUID_BASIC_LEAVES];       /* position in cpuid[] + 1, 0: no such leaf */
    uint8_t cpuid_extended[CPUID_EXTENDED_LEAVES]; /* from 0x80000000 */
};

/*
 * Reads a profile file (libconfig). On error returns -errno and writes a message with file, line
 * and remedy into message.
 */
int cpu_profile_load(struct cpu_profile *profile, const char *path, char *message, size_t size);

/*
 * Where the profile of that name is: a name with '/' is a path and taken as it is; others are
 * sought as NAME.cfg in the folder $VTXSIM_CPUS, else in the installed or source folder. Returns 0,
 * -ENOENT if there is no such file (path then holds the last place tried), or -ENAMETOOLONG.
 */
int cpu_profile_find(const char *name, char *path, size_t size);

#endif
