/* Names of what events hold numbers of: exit reasons, MSRs, vectors. */
#include <ctype.h>
#include <string.h>

#include "cpu/event.h"
#include "cpu/exit.h"
#include "cpu/msr.h"
#include "sim/event_text.h"

/* What people say instead of the names in the tables. */
static const struct {
    const char *name;
    enum exit_reason reason;
} common_names[] = {
    {"exception", EXIT_EXCEPTION_OR_NMI},
    {"nmi", EXIT_EXCEPTION_OR_NMI},
    {"interrupt", EXIT_EXTERNAL_INTERRUPT},
    {"io", EXIT_IO},
    {"msr_read", EXIT_RDMSR},
    {"rdmsr", EXIT_RDMSR},
    {"wrmsr", EXIT_WRMSR},
    {"cr", EXIT_CR_ACCESS},
    {"dr", EXIT_MOV_DR},
    {"mov_dr", EXIT_MOV_DR},
    {"mwait", EXIT_MWAIT},
    {"monitor", EXIT_MONITOR},
    {"pause", EXIT_PAUSE},
    {"vmxoff", EXIT_VMXOFF},
    {"vmxon", EXIT_VMXON},
    {"ept_misconfiguration", EXIT_EPT_MISCONFIG},
    {"timer", EXIT_PREEMPTION_TIMER},
    {"mtf", EXIT_MONITOR_TRAP_FLAG},
};

const char *event_reason_name(uint32_t reason)
{
    return exit_reason_name(reason);
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        int left = *a == '-' ? '_' : tolower((unsigned char)*a);
        int right = *b == '-' ? '_' : tolower((unsigned char)*b);

        if (left != right)
            return false;
    }
    return *a == *b;
}

int event_reason_find(const char *name)
{
    for (unsigned i = 0; i < EXIT_REASON_COUNT; i++)
        if (same_name(exit_reason_name(i), name) && !same_name("unknown", name))
            return (int)i;
    for (unsigned i = 0; i < sizeof(common_names) / sizeof(*common_names); i++)
        if (same_name(common_names[i].name, name))
            return (int)common_names[i].reason;
    return -1;
}

static const struct {
    uint32_t msr;
    const char *name; /* as in the SDM */
} msr_names[] = {
    {MSR_TSC, "IA32_TIME_STAMP_COUNTER"},
    {MSR_PLATFORM_ID, "IA32_PLATFORM_ID"},
    {MSR_APIC_BASE, "IA32_APIC_BASE"},
    {MSR_FEATURE_CONTROL, "IA32_FEATURE_CONTROL"},
    {MSR_TSC_ADJUST, "IA32_TSC_ADJUST"},
    {MSR_SPEC_CTRL, "IA32_SPEC_CTRL"},
    {MSR_PRED_CMD, "IA32_PRED_CMD"},
    {MSR_BIOS_UPDT_TRIG, "IA32_BIOS_UPDT_TRIG"},
    {MSR_BIOS_SIGN_ID, "IA32_BIOS_SIGN_ID"},
    {MSR_PLATFORM_INFO, "MSR_PLATFORM_INFO"},
    {MSR_MTRRCAP, "IA32_MTRRCAP"},
    {MSR_ARCH_CAPABILITIES, "IA32_ARCH_CAPABILITIES"},
    {MSR_SYSENTER_CS, "IA32_SYSENTER_CS"},
    {MSR_SYSENTER_ESP, "IA32_SYSENTER_ESP"},
    {MSR_SYSENTER_EIP, "IA32_SYSENTER_EIP"},
    {MSR_MCG_CAP, "IA32_MCG_CAP"},
    {MSR_MCG_STATUS, "IA32_MCG_STATUS"},
    {MSR_MISC_ENABLE, "IA32_MISC_ENABLE"},
    {MSR_DEBUGCTL, "IA32_DEBUGCTL"},
    {MSR_MTRR_FIX64K_00000, "IA32_MTRR_FIX64K_00000"},
    {MSR_MTRR_FIX16K_80000, "IA32_MTRR_FIX16K_80000"},
    {MSR_MTRR_FIX16K_A0000, "IA32_MTRR_FIX16K_A0000"},
    {MSR_PAT, "IA32_PAT"},
    {MSR_MTRR_DEF_TYPE, "IA32_MTRR_DEF_TYPE"},
    {MSR_TSC_DEADLINE, "IA32_TSC_DEADLINE"},
    {0x802, "IA32_X2APIC_APICID"},
    {0x803, "IA32_X2APIC_VERSION"},
    {0x808, "IA32_X2APIC_TPR"},
    {0x80a, "IA32_X2APIC_PPR"},
    {0x80b, "IA32_X2APIC_EOI"},
    {0x80d, "IA32_X2APIC_LDR"},
    {0x80f, "IA32_X2APIC_SIVR"},
    {0x828, "IA32_X2APIC_ESR"},
    {0x830, "IA32_X2APIC_ICR"},
    {0x832, "IA32_X2APIC_LVT_TIMER"},
    {0x835, "IA32_X2APIC_LVT_LINT0"},
    {0x836, "IA32_X2APIC_LVT_LINT1"},
    {0x837, "IA32_X2APIC_LVT_ERROR"},
    {0x838, "IA32_X2APIC_INIT_COUNT"},
    {0x839, "IA32_X2APIC_CUR_COUNT"},
    {0x83e, "IA32_X2APIC_DIV_CONF"},
    {0x83f, "IA32_X2APIC_SELF_IPI"},
    {MSR_EFER, "IA32_EFER"},
    {MSR_STAR, "IA32_STAR"},
    {MSR_LSTAR, "IA32_LSTAR"},
    {MSR_CSTAR, "IA32_CSTAR"},
    {MSR_FMASK, "IA32_FMASK"},
    {MSR_FS_BASE, "IA32_FS_BASE"},
    {MSR_GS_BASE, "IA32_GS_BASE"},
    {MSR_KERNEL_GS_BASE, "IA32_KERNEL_GS_BASE"},
    {MSR_TSC_AUX, "IA32_TSC_AUX"},
};

const char *event_msr_name(uint64_t msr)
{
    for (unsigned i = 0; i < sizeof(msr_names) / sizeof(*msr_names); i++)
        if (msr_names[i].msr == msr)
            return msr_names[i].name;
    return NULL;
}

const char *event_vector_name(unsigned vector)
{
    static const char *const names[] = {
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL,  "#TS",
        "#NP", "#SS", "#GP", "#PF", NULL,  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
    };

    return vector < sizeof(names) / sizeof(*names) ? names[vector] : NULL;
}
