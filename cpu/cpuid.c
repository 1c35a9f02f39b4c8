#include "cpu/cpuid.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/msr.h"

enum { EAX, EBX, ECX, EDX };

#define LEAF1_EBX_APIC_ID_SHIFT 24
#define LEAF1_EBX_COUNT_SHIFT   16
#define LEAF1_ECX_OSXSAVE       (1u << 27)
#define LEAF1_ECX_HYPERVISOR    (1u << 31)
#define LEAF1_EDX_APIC          (1u << 9)
#define LEAF1_EDX_HTT           (1u << 28)
#define LEAF_EXT1_EDX_SYSCALL   (1u << 11)
#define LEAF_EXT1_EDX_NX        (1u << 20)

#define EXTENDED_FIRST 0x80000000u

/*
 * What vtxsim implements, by register of each leaf: the engine's instructions (QEMU 5.0's TCG: no
 * AVX, FMA, F16C, no XSAVEC and XSAVES, no RDPID), the processor model's registers, and no more. A
 * leaf that is not listed is removed from the profile.
 */
#define ANY 0xffffffffu
// clang-format off
static const struct leaf_mask {
    uint32_t leaf, subleaf_last;
    uint32_t mask[4];
} leaf_masks[] = {
    { 0x00, 0, { ANY, ANY, ANY, ANY } },
    /* ECX: SSE3 PCLMULQDQ SSSE3 CMPXCHG16B PCID SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline AES
     * XSAVE RDRAND. EDX: all but VME, DS, ACPI,
     * HTT (computed), TM and PBE. */
    { 0x01, 0, { ANY, 0x0000ff00, 0x47fa2203, 0x0f8bfbfd } },
    { 0x02, 0, { ANY, ANY, ANY, ANY } },
    { 0x04, 3, { ANY, ANY, ANY, ANY } },
    /* EAX: ARAT. */
    { 0x06, 0, { 0x00000004, 0, 0, 0 } },
    /* EBX: FSGSBASE TSC_ADJUST BMI1 SMEP BMI2 ERMS INVPCID RDSEED ADX SMAP CLFLUSHOPT CLWB.
     * ECX: UMIP. EDX: MD_CLEAR, IBRS and IBPB, STIBP, ARCH_CAPABILITIES, SSBD. */
    { 0x07, 0, { 0, 0x019c078b, 0x00000004, 0xac000400 } },
    { 0x0b, 1, { ANY, ANY, ANY, ANY } },
    { 0x0d, 1, { 0x00000007, ANY, ANY, 0 } },
    { 0x15, 0, { ANY, ANY, ANY, 0 } },
    { 0x16, 0, { ANY, ANY, ANY, 0 } },
    { 0x80000000, 0, { ANY, ANY, ANY, ANY } },
    /* ECX: LAHF LZCNT PREFETCHW. EDX: SYSCALL NX 1-GByte pages RDTSCP LM. */
    { 0x80000001, 0, { ANY, 0, 0x00000121, 0x2c100800 } },
    { 0x80000002, 0, { ANY, ANY, ANY, ANY } },
    { 0x80000003, 0, { ANY, ANY, ANY, ANY } },
    { 0x80000004, 0, { ANY, ANY, ANY, ANY } },
    { 0x80000006, 0, { 0, 0, ANY, 0 } },
    { 0x80000007, 0, { 0, 0, 0, 0x00000100 } },
    { 0x80000008, 0, { 0x0000ffff, 0, 0, 0 } },
};

static const struct feature_bit {
    enum cpu_feature feature;
    uint32_t leaf;
    uint8_t reg, bit;
} feature_bits[] = {
    { FEATURE_VME, 1, EDX, 1 },            { FEATURE_DE, 1, EDX, 2 },
    { FEATURE_PSE, 1, EDX, 3 },            { FEATURE_TSC, 1, EDX, 4 },
    { FEATURE_MSR, 1, EDX, 5 },            { FEATURE_PAE, 1, EDX, 6 },
    { FEATURE_MCE, 1, EDX, 7 },            { FEATURE_APIC, 1, EDX, 9 },
    { FEATURE_SEP, 1, EDX, 11 },           { FEATURE_MTRR, 1, EDX, 12 },
    { FEATURE_PGE, 1, EDX, 13 },           { FEATURE_MCA, 1, EDX, 14 },
    { FEATURE_PAT, 1, EDX, 16 },           { FEATURE_FXSR, 1, EDX, 24 },
    { FEATURE_SSE, 1, EDX, 25 },           { FEATURE_MONITOR, 1, ECX, 3 },
    { FEATURE_VMX, 1, ECX, 5 },            { FEATURE_SMX, 1, ECX, 6 },
    { FEATURE_PCID, 1, ECX, 17 },          { FEATURE_X2APIC, 1, ECX, 21 },
    { FEATURE_TSC_DEADLINE, 1, ECX, 24 },  { FEATURE_XSAVE, 1, ECX, 26 },
    { FEATURE_RDRAND, 1, ECX, 30 },        { FEATURE_FSGSBASE, 7, EBX, 0 },
    { FEATURE_TSC_ADJUST, 7, EBX, 1 },     { FEATURE_SMEP, 7, EBX, 7 },
    { FEATURE_INVPCID, 7, EBX, 10 },       { FEATURE_RDSEED, 7, EBX, 18 },
    { FEATURE_SMAP, 7, EBX, 20 },          { FEATURE_UMIP, 7, ECX, 2 },
    { FEATURE_PKU, 7, ECX, 3 },            { FEATURE_LA57, 7, ECX, 16 },
    { FEATURE_RDPID, 7, ECX, 22 },         { FEATURE_CET_SS, 7, ECX, 7 },
    { FEATURE_CET_IBT, 7, EDX, 20 },       { FEATURE_SPEC_CTRL, 7, EDX, 26 },
    { FEATURE_STIBP, 7, EDX, 27 },         { FEATURE_ARCH_CAPABILITIES, 7, EDX, 29 },
    { FEATURE_SSBD, 7, EDX, 31 },          { FEATURE_SYSCALL, 0x80000001, EDX, 11 },
    { FEATURE_NX, 0x80000001, EDX, 20 },   { FEATURE_PAGE_1G, 0x80000001, EDX, 26 },
    { FEATURE_RDTSCP, 0x80000001, EDX, 27 },
    { FEATURE_LM, 0x80000001, EDX, 29 },
};
// clang-format on

static const struct cpuid_leaf *find(const struct cpu_profile *profile, uint32_t leaf,
                                     uint32_t subleaf);

/* --- Preparation ----------------------------------------------------------------------------- */

static const struct leaf_mask *find_mask(const struct cpuid_leaf *leaf)
{
    for (unsigned i = 0; i < sizeof(leaf_masks) / sizeof(leaf_masks[0]); i++)
        if (leaf_masks[i].leaf == leaf->leaf && leaf->subleaf <= leaf_masks[i].subleaf_last)
            return &leaf_masks[i];
    return NULL;
}

static void mask_leaves(struct cpu_profile *profile)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < profile->cpuid_count; i++) {
        struct cpuid_leaf leaf = profile->cpuid[i];
        const struct leaf_mask *mask = find_mask(&leaf);

        if (!mask)
            continue;
        leaf.eax &= mask->mask[EAX];
        leaf.ebx &= mask->mask[EBX];
        leaf.ecx &= mask->mask[ECX];
        leaf.edx &= mask->mask[EDX];
        if (leaf.leaf == 1)
            leaf.ecx |= LEAF1_ECX_HYPERVISOR;
        profile->cpuid[kept++] = leaf;
    }
    profile->cpuid_count = kept;
}

static int compare_leaves(const void *a, const void *b)
{
    const struct cpuid_leaf *x = a, *y = b;

    if (x->leaf != y->leaf)
        return x->leaf < y->leaf ? -1 : 1;
    return x->subleaf < y->subleaf ? -1 : x->subleaf > y->subleaf;
}

static void build_index(struct cpu_profile *profile)
{
    memset(profile->cpuid_basic, 0, sizeof(profile->cpuid_basic));
    memset(profile->cpuid_extended, 0, sizeof(profile->cpuid_extended));
    profile->max_basic_leaf = 0;
    for (unsigned i = profile->cpuid_count; i-- > 0;) { /* downwards: subleaf 0 wins */
        uint32_t leaf = profile->cpuid[i].leaf;

        if (leaf < CPUID_BASIC_LEAVES) {
            profile->cpuid_basic[leaf] = i + 1;
            if (leaf > profile->max_basic_leaf)
                profile->max_basic_leaf = leaf;
        } else if (leaf - EXTENDED_FIRST < CPUID_EXTENDED_LEAVES) {
            profile->cpuid_extended[leaf - EXTENDED_FIRST] = i + 1;
        }
    }
}

static void derive_features(struct cpu_profile *profile)
{
    profile->features = 0;
    for (unsigned i = 0; i < sizeof(feature_bits) / sizeof(feature_bits[0]); i++) {
        const struct feature_bit *bit = &feature_bits[i];
        const struct cpuid_leaf *leaf = find(profile, bit->leaf, 0);
        uint32_t registers[4] = {0};

        if (leaf)
            memcpy(registers, &leaf->eax, sizeof(registers));
        if (registers[bit->reg] >> bit->bit & 1)
            profile->features |= 1ull << bit->feature;
    }
}

static void derive_register_bits(struct cpu_profile *profile)
{
    profile->cr4_allowed = cr4_allowed_bits(profile);
    profile->efer_allowed = (profile_has(profile, FEATURE_SYSCALL) ? EFER_SCE : 0) |
                            (profile_has(profile, FEATURE_LM) ? EFER_LME | EFER_LMA : 0) |
                            (profile_has(profile, FEATURE_NX) ? EFER_NXE : 0);
    profile->xcr0_allowed = profile_has(profile, FEATURE_XSAVE) ? XCR0_X87 | XCR0_SSE : 0;
}

void cpuid_prepare(struct cpu_profile *profile)
{
    _Static_assert(FEATURE_COUNT <= 64, "features are bits of a uint64_t");

    assert(profile->cpuid_count <= PROFILE_CPUID_MAX);
    mask_leaves(profile);
    qsort(profile->cpuid, profile->cpuid_count, sizeof(profile->cpuid[0]), compare_leaves);
    build_index(profile);
    derive_features(profile);
    derive_register_bits(profile);
}

/* --- Queries --------------------------------------------------------------------------------- */

static const struct cpuid_leaf *find(const struct cpu_profile *profile, uint32_t leaf,
                                     uint32_t subleaf)
{
    const struct cpuid_leaf *found;
    unsigned position = 0;

    if (leaf < CPUID_BASIC_LEAVES)
        position = profile->cpuid_basic[leaf];
    else if (leaf - EXTENDED_FIRST < CPUID_EXTENDED_LEAVES)
        position = profile->cpuid_extended[leaf - EXTENDED_FIRST];
    if (!position)
        return NULL;
    found = &profile->cpuid[position - 1];
    /* A leaf with one entry ignores ECX. */
    if (found + 1 == profile->cpuid + profile->cpuid_count || found[1].leaf != leaf)
        return found;
    for (; found < profile->cpuid + profile->cpuid_count && found->leaf == leaf; found++)
        if (found->subleaf == subleaf)
            return found;
    return NULL;
}

static uint32_t cpu_count(const struct cpu *cpu)
{
    return cpu->cpu_count ? cpu->cpu_count : 1;
}

/* Bits of an APIC ID that tell `count` processors apart. */
static uint32_t id_bits(uint32_t count)
{
    return count <= 1 ? 0 : 32 - __builtin_clz(count - 1);
}

static void compute_leaf1(const struct cpu *cpu, uint32_t registers[4])
{
    uint32_t count = cpu_count(cpu);

    registers[EBX] |= cpu->apic_id << LEAF1_EBX_APIC_ID_SHIFT;
    registers[EBX] |= (1u << id_bits(count)) << LEAF1_EBX_COUNT_SHIFT;
    if (count > 1)
        registers[EDX] |= LEAF1_EDX_HTT;
    if (cpu->state.cr4 & CR4_OSXSAVE)
        registers[ECX] |= LEAF1_ECX_OSXSAVE;
    if (!(cpu->state.apic_base & APIC_BASE_ENABLE))
        registers[EDX] &= ~LEAF1_EDX_APIC;
}

/* SDM "INPUT EAX = 04H": one thread a core; the last level is shared by all cores. */
static void compute_leaf4(const struct cpu *cpu, uint32_t registers[4])
{
    uint32_t mask = (1u << id_bits(cpu_count(cpu))) - 1;

    if (!(registers[EAX] & 0x1f))
        return;
    registers[EAX] = (registers[EAX] & 0x3fff) | mask << 26;
    if ((registers[EAX] >> 5 & 7) == 3)
        registers[EAX] |= mask << 14;
}

static void compute_leaf_b(const struct cpu *cpu, uint32_t subleaf, uint32_t registers[4])
{
    enum { LEVEL_SMT = 1, LEVEL_CORE = 2 };

    memset(registers, 0, 4 * sizeof(registers[0]));
    registers[ECX] = subleaf & 0xff;
    registers[EDX] = cpu->apic_id;
    if (subleaf == 0) {
        registers[EBX] = 1;
        registers[ECX] |= LEVEL_SMT << 8;
    } else if (subleaf == 1) {
        registers[EAX] = id_bits(cpu_count(cpu));
        registers[EBX] = cpu_count(cpu);
        registers[ECX] |= LEVEL_CORE << 8;
    }
}

/* SDM "XSAVE-Managed State": legacy region and header; nothing beyond x87 and SSE is enabled. */
static void compute_leaf_d(const struct cpu *cpu, uint32_t subleaf, uint32_t registers[4])
{
    const uint32_t size = 512 + 64;

    if (subleaf == 0) {
        registers[EAX] = (uint32_t)cpu->profile->xcr0_allowed;
        registers[EBX] = registers[ECX] = size;
        registers[EDX] = 0;
    } else {
        registers[EAX] &= 0x5; /* XSAVEOPT, XGETBV with ECX = 1 */
        registers[EBX] = registers[ECX] = registers[EDX] = 0;
    }
}

/* "SYSCALL/SYSRET available in 64-bit mode"; IA32_MISC_ENABLE can hide execute-disable. */
static void compute_leaf_ext1(const struct cpu *cpu, uint32_t registers[4])
{
    if (!(cpu->state.efer & EFER_LMA) || !(cpu->state.seg[SEG_CS].access_rights & AR_L))
        registers[EDX] &= ~LEAF_EXT1_EDX_SYSCALL;
    if (cpu->state.misc_enable & MISC_ENABLE_XD_DISABLE)
        registers[EDX] &= ~LEAF_EXT1_EDX_NX;
}

static void query_hypervisor(uint32_t leaf, uint32_t registers[4])
{
    memset(registers, 0, 4 * sizeof(registers[0]));
    if (leaf == CPUID_HYPERVISOR_FIRST) {
        registers[EAX] = CPUID_HYPERVISOR_LAST;
        memcpy(&registers[EBX], CPUID_HYPERVISOR_SIGNATURE, 12);
    } else {
        registers[EAX] = CPUID_INTERFACE_VERSION;
    }
}

/* IA32_MISC_ENABLE can limit the basic leaves for software that does not expect more. */
static uint32_t max_basic_leaf(const struct cpu *cpu)
{
    return cpu->state.misc_enable & MISC_ENABLE_LIMIT_CPUID ? 2 : cpu->profile->max_basic_leaf;
}

/* SDM "CPUID-CPU Identification": a leaf above the highest returns the highest basic leaf. */
static uint32_t clamp_leaf(const struct cpu *cpu, uint32_t leaf)
{
    const struct cpu_profile *profile = cpu->profile;
    unsigned position = profile->cpuid_extended[0];
    uint32_t last_extended = position ? profile->cpuid[position - 1].eax : 0;

    if (leaf <= max_basic_leaf(cpu) ||
        (leaf >= EXTENDED_FIRST && position && leaf <= last_extended))
        return leaf;
    return max_basic_leaf(cpu);
}

void cpuid_query(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t registers[4])
{
    const struct cpuid_leaf *found;

    if (leaf - CPUID_HYPERVISOR_FIRST <= CPUID_HYPERVISOR_LAST - CPUID_HYPERVISOR_FIRST) {
        query_hypervisor(leaf, registers);
        return;
    }
    leaf = clamp_leaf(cpu, leaf);
    found = find(cpu->profile, leaf, subleaf);
    if (found)
        memcpy(registers, &found->eax, 4 * sizeof(registers[0]));
    else
        memset(registers, 0, 4 * sizeof(registers[0]));

    if (leaf == 0)
        registers[EAX] = max_basic_leaf(cpu);
    else if (leaf == 1)
        compute_leaf1(cpu, registers);
    else if (leaf == 4)
        compute_leaf4(cpu, registers);
    else if (leaf == 0xb)
        compute_leaf_b(cpu, subleaf, registers);
    else if (leaf == 0xd && found)
        compute_leaf_d(cpu, subleaf, registers);
    else if (leaf == 0x80000001)
        compute_leaf_ext1(cpu, registers);
}

void cpuid_execute(struct cpu *cpu)
{
    uint64_t *gpr = cpu->state.gpr;
    uint32_t registers[4];

    cpuid_query(cpu, (uint32_t)gpr[GPR_RAX], (uint32_t)gpr[GPR_RCX], registers);
    gpr[GPR_RAX] = registers[EAX];
    gpr[GPR_RBX] = registers[EBX];
    gpr[GPR_RCX] = registers[ECX];
    gpr[GPR_RDX] = registers[EDX];
}
