/* VMX capability MSRs: what the profile's processor has and vtxsim implements. */
#include "cpu/vmx_capabilities.h"

#include <assert.h>
#include <stddef.h>

#include "cpu/state.h"

/* Controls that processors without the TRUE capability MSRs fix to 1 (SDM appendix "VMX Capability
 * Reporting Facility", the "default1" class). Software must be able to set them. */
#define PIN_DEFAULT1     0x00000016u
#define PRIMARY_DEFAULT1 0x0401e172u
#define EXIT_DEFAULT1    0x00036dffu
#define ENTRY_DEFAULT1   0x000011ffu

static const struct control_group {
    enum vmcs_field field;
    uint32_t msr, true_msr; /* true_msr 0: the group has none */
    uint32_t implemented;   /* controls that may be 1 */
} groups[] = {
    {VMCS_PIN_BASED_CONTROLS, MSR_VMX_PINBASED_CTLS, MSR_VMX_TRUE_PINBASED,
     PIN_DEFAULT1 | PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS |
         PIN_PREEMPTION_TIMER},
    {VMCS_PRIMARY_CONTROLS, MSR_VMX_PROCBASED_CTLS, MSR_VMX_TRUE_PROCBASED,
     PRIMARY_DEFAULT1 | PRIMARY_INTERRUPT_WINDOW_EXITING | PRIMARY_TSC_OFFSETTING |
         PRIMARY_HLT_EXITING | PRIMARY_INVLPG_EXITING | PRIMARY_MWAIT_EXITING |
         PRIMARY_RDPMC_EXITING | PRIMARY_RDTSC_EXITING | PRIMARY_CR8_LOAD_EXITING |
         PRIMARY_CR8_STORE_EXITING | PRIMARY_NMI_WINDOW_EXITING | PRIMARY_MOV_DR_EXITING |
         PRIMARY_UNCONDITIONAL_IO_EXITING | PRIMARY_IO_BITMAPS | PRIMARY_MONITOR_TRAP_FLAG |
         PRIMARY_MSR_BITMAPS | PRIMARY_MONITOR_EXITING | PRIMARY_PAUSE_EXITING |
         PRIMARY_SECONDARY_CONTROLS},
    {VMCS_SECONDARY_CONTROLS, MSR_VMX_PROCBASED_CTLS2, 0,
     SECONDARY_EPT | SECONDARY_DESCRIPTOR_TABLE_EXITING | SECONDARY_RDTSCP | SECONDARY_VPID |
         SECONDARY_WBINVD_EXITING | SECONDARY_UNRESTRICTED_GUEST | SECONDARY_PAUSE_LOOP_EXITING |
         SECONDARY_RDRAND_EXITING | SECONDARY_INVPCID | SECONDARY_RDSEED_EXITING},
    {VMCS_EXIT_CONTROLS, MSR_VMX_EXIT_CTLS, MSR_VMX_TRUE_EXIT,
     EXIT_DEFAULT1 | EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SAVE_PAT |
         EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_SAVE_PREEMPTION_TIMER},
    {VMCS_ENTRY_CONTROLS, MSR_VMX_ENTRY_CTLS, MSR_VMX_TRUE_ENTRY,
     ENTRY_DEFAULT1 | ENTRY_IA32E_MODE_GUEST | ENTRY_TO_SMM | ENTRY_DEACTIVATE_DUAL_MONITOR |
         ENTRY_LOAD_PAT | ENTRY_LOAD_EFER},
};
#define GROUP_COUNT (sizeof(groups) / sizeof(groups[0]))

#define CR4_IMPLEMENTED                                                                           \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |     \
     CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_VMXE | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | \
     CR4_SMEP | CR4_SMAP)

/* Timer rate, LMA on exit, activity states, CR3 targets, MSR-list size, VMWRITE to any field,
 * zero-length injection. Not: Intel PT, SMBASE and SMI facilities, MSEG. */
#define MISC_IMPLEMENTED 0x6fff01ffull

/* INVEPT and INVVPID with all their types; 4-level EPT, write-back and uncacheable. */
#define EPT_VPID_IMPLEMENTED                                                                       \
    (VMX_EPT_EXECUTE_ONLY | VMX_EPT_4_LEVELS | VMX_EPT_UNCACHEABLE | VMX_EPT_WRITE_BACK |          \
     VMX_EPT_2M | VMX_EPT_1G | VMX_EPT_INVEPT | VMX_EPT_ACCESSED_DIRTY | 3ull << 25 | 1ull << 32 | \
     0xfull << 40)

static uint64_t *capability(struct cpu_profile *profile, uint32_t msr)
{
    return &profile->vmx_msr[msr - MSR_VMX_FIRST];
}

/* Bits 31:0: allowed 0-settings, bits 63:32: allowed 1-settings. */
static uint64_t restrict_controls(uint64_t value, uint32_t implemented)
{
    return value & ((uint64_t)implemented << 32 | UINT32_MAX);
}

/* IA32_VMX_VMCS_ENUM: the highest index of any field, in bits 9:1. */
static uint64_t highest_field_index(void)
{
    uint32_t highest = 0;
    for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++) {
        uint32_t index = VMCS_ENCODING_INDEX(vmcs_field_encoding(field));
        highest = index > highest ? index : highest;
    }
    return highest << 1;
}

void vmx_capabilities_restrict(struct cpu_profile *profile)
{
    for (unsigned i = 0; i < GROUP_COUNT; i++) {
        uint64_t *value = capability(profile, groups[i].msr);
        *value = restrict_controls(*value, groups[i].implemented);
        if (groups[i].true_msr) {
            value = capability(profile, groups[i].true_msr);
            *value = restrict_controls(*value, groups[i].implemented);
        }
    }
    *capability(profile, MSR_VMX_MISC) &= MISC_IMPLEMENTED;
    *capability(profile, MSR_VMX_CR4_FIXED1) &= CR4_IMPLEMENTED;
    *capability(profile, MSR_VMX_VMCS_ENUM) = highest_field_index();
    *capability(profile, MSR_VMX_EPT_VPID_CAP) &= EPT_VPID_IMPLEMENTED;
    *capability(profile, MSR_VMX_VMFUNC) = 0;
}

struct vmx_allowed vmx_control_allowed(const struct cpu_profile *profile, enum vmcs_field field)
{
    const struct control_group *group = groups;
    while (group->field != field) {
        group++;
        assert(group < groups + GROUP_COUNT);
    }
    return vmx_allowed_by(profile, group->msr, group->true_msr ? group->true_msr : group->msr);
}

uint32_t vmx_control_adjust(const struct cpu_profile *profile, enum vmcs_field field,
                            uint32_t wanted)
{
    struct vmx_allowed allowed = vmx_control_allowed(profile, field);
    return (wanted | allowed.ones) & allowed.may;
}
