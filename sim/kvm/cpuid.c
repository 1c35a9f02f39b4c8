/* CPUID of the profile on KVM: what both have. KVM executes CPUID itself, from this table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpu/cpuid.h"
#include "sim/kvm/kvm.h"
#include "sim/log.h"
#include "sim/vm_internal.h"

#define SUPPORTED_MAX 256

/*
 * Registers of CPUID that list features: a bit that KVM does not support is cleared, except for
 * those in `ours`, which the platform and the processor model provide: x2APIC, TSC-deadline and
 * "hypervisor" in 1.ECX, MCE, APIC, MTRR and MCA in 1.EDX.
 */
static const struct feature_register {
    uint32_t leaf, subleaf;
    const char *name;
    uint16_t offset; /* in struct kvm_cpuid_entry2 */
    uint32_t ours;
} feature_registers[] = {
    {1, 0, "1.ECX", offsetof(struct kvm_cpuid_entry2, ecx), 1u << 21 | 1u << 24 | 1u << 31},
    {1, 0, "1.EDX", offsetof(struct kvm_cpuid_entry2, edx),
     1u << 7 | 1u << 9 | 1u << 12 | 1u << 14},
    {7, 0, "7.EBX", offsetof(struct kvm_cpuid_entry2, ebx), 0},
    {7, 0, "7.ECX", offsetof(struct kvm_cpuid_entry2, ecx), 0},
    {7, 0, "7.EDX", offsetof(struct kvm_cpuid_entry2, edx), 0},
    {0xd, 1, "D.1.EAX", offsetof(struct kvm_cpuid_entry2, eax), 0},
    {0x80000001, 0, "80000001.ECX", offsetof(struct kvm_cpuid_entry2, ecx), 0},
    {0x80000001, 0, "80000001.EDX", offsetof(struct kvm_cpuid_entry2, edx), 1u << 11},
};

static struct kvm_cpuid2 *new_table(unsigned entries)
{
    struct kvm_cpuid2 *table = calloc(1, sizeof *table + entries * sizeof *table->entries);
    if (table)
        table->nent = entries;
    return table;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *table, uint32_t leaf,
                                           uint32_t subleaf)
{
    for (unsigned i = 0; i < table->nent; i++)
        if (table->entries[i].function == leaf && table->entries[i].index == subleaf)
            return &table->entries[i];
    return NULL;
}

static void restrict_features(struct kvm_cpuid_entry2 *entry, const struct kvm_cpuid2 *supported)
{
    for (unsigned i = 0; i < sizeof feature_registers / sizeof *feature_registers; i++) {
        const struct feature_register *feature = &feature_registers[i];
        if (feature->leaf != entry->function || feature->subleaf != entry->index)
            continue;
        const struct kvm_cpuid_entry2 *kvm = find(supported, feature->leaf, feature->subleaf);
        uint32_t *wanted = (uint32_t *)((char *)entry + feature->offset);
        uint32_t has = kvm ? *(const uint32_t *)((const char *)kvm + feature->offset) : 0;
        uint32_t missing = *wanted & ~(has | feature->ours);
        *wanted &= ~missing;
        if (missing)
            LOG_INFO(LOG_ENGINE, "this KVM lacks features of the CPU profile: CPUID.%s bits 0x%x",
                     feature->name, missing);
    }
    const struct kvm_cpuid_entry2 *sizes = find(supported, 0x80000008, 0);
    if (entry->function == 0x80000008 && sizes && (sizes->eax & 0xff) < (entry->eax & 0xff)) {
        LOG_INFO(LOG_ENGINE, "physical addresses have %u bits on this KVM, not the profile's %u",
                 sizes->eax & 0xff, entry->eax & 0xff);
        entry->eax = (entry->eax & ~0xffu) | (sizes->eax & 0xff);
    }
}

static void add(struct kvm_cpuid2 *table, const struct cpu *cpu, uint32_t leaf, uint32_t subleaf,
                bool indexed, const struct kvm_cpuid2 *supported)
{
    uint32_t registers[4];
    cpuid_query(cpu, leaf, subleaf, registers);
    struct kvm_cpuid_entry2 *entry = &table->entries[table->nent++];
    *entry = (struct kvm_cpuid_entry2){
        .function = leaf,
        .index = subleaf,
        .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
        .eax = registers[0],
        .ebx = registers[1],
        .ecx = registers[2],
        .edx = registers[3],
    };
    restrict_features(entry, supported);
}

/* Leaves with subleaves: those that occur more than once, and those that KVM indexes by itself. */
static bool is_indexed(const struct cpu_profile *profile, unsigned i)
{
    uint32_t leaf = profile->cpuid[i].leaf;
    return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd ||
           (i > 0 && profile->cpuid[i - 1].leaf == leaf) ||
           (i + 1 < profile->cpuid_count && profile->cpuid[i + 1].leaf == leaf);
}

/* The processor as a guest in 64-bit mode sees it: KVM keeps OSXSAVE and the APIC flag itself, but
 * "SYSCALL in 64-bit mode" is always there. */
static void fill(struct kvm_cpuid2 *table, struct cpu *cpu, const struct kvm_cpuid2 *supported)
{
    const struct cpu_profile *profile = cpu->profile;
    uint64_t efer = cpu->state.efer;
    uint32_t rights = cpu->state.seg[SEG_CS].access_rights;
    cpu->state.efer |= EFER_LMA;
    cpu->state.seg[SEG_CS].access_rights |= AR_L;
    table->nent = 0;
    for (unsigned i = 0; i < profile->cpuid_count; i++)
        add(table, cpu, profile->cpuid[i].leaf, profile->cpuid[i].subleaf, is_indexed(profile, i),
            supported);
    for (uint32_t leaf = CPUID_HYPERVISOR_FIRST; leaf <= CPUID_HYPERVISOR_LAST; leaf++)
        add(table, cpu, leaf, 0, false, supported);
    table->entries[table->nent - 1].eax = 0; /* no hypercalls: KVM answers VMCALL itself */
    cpu->state.efer = efer;
    cpu->state.seg[SEG_CS].access_rights = rights;
}

int kvm_set_cpuid(struct kvm_engine *engine, char *message, size_t size)
{
    struct kvm_cpuid2 *supported = new_table(SUPPORTED_MAX);
    struct kvm_cpuid2 *table = new_table(PROFILE_CPUID_MAX + 2);
    int error = supported && table ? 0 : -ENOMEM;
    if (!error && ioctl(engine->device, KVM_GET_SUPPORTED_CPUID, supported) < 0)
        error = -errno;
    if (!error) {
        fill(table, &engine->vcpu->cpu, supported);
        if (ioctl(engine->cpu, KVM_SET_CPUID2, table) < 0)
            error = -errno;
    }
    if (error)
        snprintf(message, size, "backend kvm: CPU profile \"%s\" cannot be had: %s",
                 engine->vcpu->cpu.profile->name, strerror(-error));
    free(supported);
    free(table);
    return error;
}
