/*
 * What this processor's VMX can do: the capability MSRs of the CPU profile, cut down to what
 * vtxsim implements (SDM volume 3, appendix "VMX Capability Reporting Facility").
 */
#ifndef VTXSIM_CPU_VMX_CAPABILITIES_H
#define VTXSIM_CPU_VMX_CAPABILITIES_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/profile.h"
#include "cpu/vmcs.h"
#include "cpu/vmx_controls.h"

#define VMX_BASIC_REVISION(basic)  ((uint32_t)((basic)&0x7fffffffu))
#define VMX_BASIC_TRUE_CONTROLS    (1ull << 55)
#define VMX_BASIC_ANY_ERROR_CODE   (1ull << 56) /* injection: error code or none, any vector */
#define VMX_MISC_TIMER_RATE(misc)  ((unsigned)((misc)&0x1fu)) /* TSC bit that drives the timer */
#define VMX_MISC_STORES_LMA        (1ull << 5)
#define VMX_MISC_ACTIVITY_STATES   (7ull << 6) /* HLT, shutdown, wait-for-SIPI */
#define VMX_MISC_CR3_TARGETS(misc) ((unsigned)((misc) >> 16 & 0x1ffu))
#define VMX_MISC_VMWRITE_ANY       (1ull << 29)
#define VMX_MISC_ZERO_LENGTH       (1ull << 30) /* injection with instruction length 0 */
#define VMX_EPT_EXECUTE_ONLY       (1ull << 0)
#define VMX_EPT_4_LEVELS           (1ull << 6)
#define VMX_EPT_5_LEVELS           (1ull << 7)
#define VMX_EPT_UNCACHEABLE        (1ull << 8)
#define VMX_EPT_WRITE_BACK         (1ull << 14)
#define VMX_EPT_2M                 (1ull << 16)
#define VMX_EPT_1G                 (1ull << 17)
#define VMX_EPT_INVEPT             (1ull << 20)
#define VMX_EPT_ACCESSED_DIRTY     (1ull << 21)

/* One of the VMX capability MSRs, 0x480 to 0x491. */
static inline uint64_t vmx_capability(const struct cpu_profile *profile, uint32_t msr)
{
    return profile->vmx_msr[msr - MSR_VMX_FIRST];
}

/* Cuts profile->vmx_msr down to what vtxsim implements. cpu_profile_load calls it once. */
void vmx_capabilities_restrict(struct cpu_profile *profile);

/* Settings of a field of controls: bits set in `ones` must be 1, bits clear in `may` must be 0. */
struct vmx_allowed {
    uint32_t ones, may;
};

/* The allowed settings by two MSRs: true_msr counts where the processor has the TRUE MSRs. */
static inline struct vmx_allowed vmx_allowed_by(const struct cpu_profile *profile, uint32_t msr,
                                                uint32_t true_msr)
{
    bool use_true = vmx_capability(profile, MSR_VMX_BASIC) & VMX_BASIC_TRUE_CONTROLS;
    uint64_t value = vmx_capability(profile, use_true ? true_msr : msr);
    return (struct vmx_allowed){(uint32_t)value, (uint32_t)(value >> 32)};
}

/*
 * The allowed settings of VMCS_PIN_BASED_CONTROLS, _PRIMARY_CONTROLS, _SECONDARY_CONTROLS,
 * _EXIT_CONTROLS or _ENTRY_CONTROLS, from the TRUE capability MSRs where the processor has them.
 */
struct vmx_allowed vmx_control_allowed(const struct cpu_profile *profile, enum vmcs_field field);

/* `wanted` with the bits that must be 1 added and those that must be 0 removed. */
uint32_t vmx_control_adjust(const struct cpu_profile *profile, enum vmcs_field field,
                            uint32_t wanted);

/* Bits that must be 1 and that may be 1 in CR0 and CR4 in VMX operation. */
struct vmx_fixed {
    uint64_t ones, may;
};
static inline struct vmx_fixed vmx_fixed_cr0(const struct cpu_profile *profile)
{
    return (struct vmx_fixed){vmx_capability(profile, MSR_VMX_CR0_FIXED0),
                              vmx_capability(profile, MSR_VMX_CR0_FIXED1)};
}
static inline struct vmx_fixed vmx_fixed_cr4(const struct cpu_profile *profile)
{
    return (struct vmx_fixed){vmx_capability(profile, MSR_VMX_CR4_FIXED0),
                              vmx_capability(profile, MSR_VMX_CR4_FIXED1)};
}

#endif
