/* CR4: which bits the processor has, and its load. */
#include "cpu/cpuid.h"
#include "cpu/modes.h"

/* SDM "Control Registers" names, for each bit of CR4, the CPUID flag that tells of it. */
// clang-format off
static const struct {
    uint64_t bit;
    enum cpu_feature feature;
} cr4_bits[] = {
    { CR4_VME | CR4_PVI,           FEATURE_VME },
    { CR4_TSD,                     FEATURE_TSC },
    { CR4_DE,                      FEATURE_DE },
    { CR4_PSE,                     FEATURE_PSE },
    { CR4_PAE,                     FEATURE_PAE },
    { CR4_MCE,                     FEATURE_MCE },
    { CR4_PGE,                     FEATURE_PGE },
    { CR4_PCE,                     FEATURE_MSR },
    { CR4_OSFXSR,                  FEATURE_FXSR },
    { CR4_OSXMMEXCPT,              FEATURE_SSE },
    { CR4_UMIP,                    FEATURE_UMIP },
    { CR4_LA57,                    FEATURE_LA57 },
    { CR4_VMXE,                    FEATURE_VMX },
    { CR4_SMXE,                    FEATURE_SMX },
    { CR4_FSGSBASE,                FEATURE_FSGSBASE },
    { CR4_PCIDE,                   FEATURE_PCID },
    { CR4_OSXSAVE,                 FEATURE_XSAVE },
    { CR4_SMEP,                    FEATURE_SMEP },
    { CR4_SMAP,                    FEATURE_SMAP },
    { CR4_PKE,                     FEATURE_PKU },
    { CR4_CET,                     FEATURE_CET_SS },
    { CR4_CET,                     FEATURE_CET_IBT },
};
// clang-format on

uint64_t cr4_allowed_bits(const struct cpu_profile *profile)
{
    uint64_t allowed = 0;

    for (unsigned i = 0; i < sizeof(cr4_bits) / sizeof(cr4_bits[0]); i++)
        if (profile_has(profile, cr4_bits[i].feature))
            allowed |= cr4_bits[i].bit;
    return allowed;
}

enum outcome cpu_write_cr4(struct cpu *cpu, uint64_t value)
{
    return cpu_change_mode(cpu, cpu->state.cr0, value, cpu->state.efer);
}
