#include "cpu/msr.h"

#include <stddef.h>

#include "cpu/cpuid.h"
#include "cpu/modes.h"
#include "cpu/vmx.h"
#include "cpu/vmx_capabilities.h"

/*
 * The table: one entry for each MSR that exists, indexed by its number. An entry without `read`
 * and `write` is plain state at `offset` in struct cpu_state; `writable` are the bits that WRMSR
 * may set. FS.base and GS.base are in seg[], everything else has its own field.
 */
struct msr {
    uint8_t present;
    uint8_t feature;  /* enum cpu_feature that it depends on */
    uint16_t offset;  /* in struct cpu_state */
    uint32_t changed; /* cpu->changed bits of a write */
    uint64_t writable;
    bool (*read)(struct cpu *cpu, uint32_t msr, uint64_t *value);
    bool (*write)(struct cpu *cpu, uint32_t msr, uint64_t value);
};

static uint64_t *field(struct cpu *cpu, const struct msr *msr)
{
    return (uint64_t *)((char *)&cpu->state + msr->offset);
}

/* --- Reads and writes that are more than a field --------------------------------------------- */

static bool write_nothing(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    return true;
}

static bool read_only(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    return false;
}

static bool write_only(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    return false;
}

static bool read_zero(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = 0;
    return true;
}

uint64_t cpu_tsc_offset(const struct cpu *cpu)
{
    uint64_t offset = cpu->state.tsc_adjust;

    if (cpu->non_root && (vmcs_get(cpu->vmcs, VMCS_PRIMARY_CONTROLS) & PRIMARY_TSC_OFFSETTING))
        offset += vmcs_get(cpu->vmcs, VMCS_TSC_OFFSET);
    return offset;
}

static uint64_t host_tsc(const struct cpu *cpu)
{
    return cpu->callbacks->tsc(cpu->machine);
}

uint64_t cpu_tsc(const struct cpu *cpu)
{
    return host_tsc(cpu) + cpu_tsc_offset(cpu);
}

static bool read_tsc(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = cpu_tsc(cpu);
    return true;
}

static bool write_tsc_adjust(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    cpu->state.tsc_adjust = value;
    cpu->changed |= CPU_CHANGED_MSR;
    if (cpu->callbacks->tsc_offset_changed)
        cpu->callbacks->tsc_offset_changed(cpu->machine, cpu_tsc_offset(cpu));
    return true;
}

/* SDM "IA32_TSC_ADJUST MSR": a write to the TSC moves IA32_TSC_ADJUST by as much. */
static bool write_tsc(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    return write_tsc_adjust(cpu, MSR_TSC_ADJUST, value - host_tsc(cpu));
}

static bool read_apic(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    if (cpu->callbacks->apic_read_msr)
        return cpu->callbacks->apic_read_msr(cpu->machine, msr, value);
    if (msr != MSR_APIC_BASE)
        return false;
    *value = cpu->state.apic_base;
    return true;
}

static bool write_apic(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    if (!cpu->callbacks->apic_write_msr ||
        !cpu->callbacks->apic_write_msr(cpu->machine, msr, value))
        return false;
    if (msr == MSR_APIC_BASE) {
        cpu->state.apic_base = value;
        cpu->changed |= CPU_CHANGED_MSR;
    }
    return true;
}

/* SDM "IA32_APIC_BASE MSR": reserved bits, and the states of xAPIC and x2APIC ("x2APIC State
 * Transitions") before the local APIC sees the write. */
static bool write_apic_base(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    uint64_t old = cpu->state.apic_base;
    uint64_t flags = APIC_BASE_BSP | APIC_BASE_ENABLE;

    if (profile_has(cpu->profile, FEATURE_X2APIC))
        flags |= APIC_BASE_X2APIC;
    if ((value & 0xfff & ~flags) || value >> cpu->profile->maxphyaddr)
        return false;
    if ((value & APIC_BASE_X2APIC) && (!(value & APIC_BASE_ENABLE) || !(old & APIC_BASE_ENABLE)))
        return false;
    if ((old & APIC_BASE_X2APIC) && (value & APIC_BASE_ENABLE) && !(value & APIC_BASE_X2APIC))
        return false;
    return write_apic(cpu, msr, value);
}

/* SDM "IA32_FEATURE_CONTROL": the lock bit ends writes. */
static bool write_feature_control(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    if (cpu->state.feature_control & 1)
        return false;
    cpu->state.feature_control = value;
    cpu->changed |= CPU_CHANGED_MSR;
    return true;
}

static bool read_microcode(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = (uint64_t)cpu->profile->microcode << 32;
    return true;
}

/* Bits 15:8 maximum non-turbo ratio, in units of 100 MHz (133 MHz before Sandy Bridge, whose
 * profiles round); bits 47:40 the lowest ratio. */
static bool read_platform_info(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = (cpu->profile->tsc_hz / 100000000 & 0xff) << 8 | 8ull << 40;
    return true;
}

static bool read_arch_capabilities(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = cpu->profile->arch_capabilities;
    return true;
}

/* IBPB: bit 0 commands a barrier, and there is no branch predictor to guard. */
static bool write_pred_cmd(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    return !(value & ~1ull);
}

static bool write_spec_ctrl(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    uint64_t allowed = 1 | (profile_has(cpu->profile, FEATURE_STIBP) ? 2 : 0) |
                       (profile_has(cpu->profile, FEATURE_SSBD) ? 4 : 0);

    if (value & ~allowed)
        return false;
    cpu->state.spec_ctrl = value;
    cpu->changed |= CPU_CHANGED_MSR;
    return true;
}

#define MTRR_VARIABLE_COUNT 10
#define MTRR_CAP_FIXED      (1u << 8)
#define MTRR_CAP_WC         (1u << 10)

static bool read_mtrrcap(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = MTRR_VARIABLE_COUNT | MTRR_CAP_FIXED | MTRR_CAP_WC;
    return true;
}

/* SDM "Memory Types That Can Be Encoded in MTRRs": UC, WC, WT, WP, WB. */
static bool mtrr_type_valid(unsigned type)
{
    return type < 8 && (1u << type & 0x73);
}

/* SDM "IA32_PAT MSR": those and UC-. */
static bool pat_type_valid(unsigned type)
{
    return type == 7 || mtrr_type_valid(type);
}

static bool every_byte(uint64_t value, bool (*valid)(unsigned))
{
    for (unsigned i = 0; i < 8; i++)
        if (!valid(value >> 8 * i & 0xff))
            return false;
    return true;
}

bool msr_pat_valid(uint64_t pat)
{
    return every_byte(pat, pat_type_valid);
}

static bool write_pat(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    if (!msr_pat_valid(value))
        return false;
    cpu->state.pat = value;
    cpu->changed |= CPU_CHANGED_MSR;
    return true;
}

/* Even numbers are IA32_MTRR_PHYSBASEn, odd ones IA32_MTRR_PHYSMASKn. */
static uint64_t *mtrr_variable(struct cpu *cpu, uint32_t msr)
{
    unsigned index = (msr - MSR_MTRR_PHYSBASE0) / 2;

    return msr & 1 ? &cpu->state.mtrr_mask[index] : &cpu->state.mtrr_base[index];
}

static bool read_mtrr_variable(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = *mtrr_variable(cpu, msr);
    return true;
}

static bool write_mtrr_variable(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    bool mask = msr & 1;

    if (value >> cpu->profile->maxphyaddr || (value & (mask ? 0x7ff : 0xf00)) ||
        (!mask && !mtrr_type_valid(value & 0xff)))
        return false;
    *mtrr_variable(cpu, msr) = value;
    cpu->changed |= CPU_CHANGED_MSR;
    return true;
}

static bool write_mtrr_def_type(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    if ((value & ~0xcffull) || !mtrr_type_valid(value & 0xff))
        return false;
    cpu->state.mtrr_def_type = value;
    cpu->changed |= CPU_CHANGED_MSR;
    return true;
}

/* The eleven fixed-range MTRRs in the order of their addresses. */
static uint64_t *mtrr_fixed(struct cpu *cpu, uint32_t msr)
{
    unsigned index = msr >= MSR_MTRR_FIX4K_C0000    ? msr - MSR_MTRR_FIX4K_C0000 + 3
                     : msr >= MSR_MTRR_FIX16K_80000 ? msr - MSR_MTRR_FIX16K_80000 + 1
                                                    : 0;

    return &cpu->state.mtrr_fixed[index];
}

static bool read_mtrr_fixed(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = *mtrr_fixed(cpu, msr);
    return true;
}

static bool write_mtrr_fixed(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    if (!every_byte(value, mtrr_type_valid))
        return false;
    *mtrr_fixed(cpu, msr) = value;
    cpu->changed |= CPU_CHANGED_MSR;
    return true;
}

#define MC_BANKS 4

static bool read_mcg_cap(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = MC_BANKS;
    return true;
}

static bool read_mc_bank(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = cpu->state.mc_bank[msr - MSR_MC0_CTL];
    return true;
}

/* SDM "Error-Reporting Register Banks": each bank is CTL, STATUS, ADDR, MISC. CTL takes all zeros
 * or all ones, STATUS zeros only. */
static bool mc_bank_takes(uint32_t msr, uint64_t value)
{
    switch (msr % 4) {
    case 0:
        return value == 0 || value == UINT64_MAX;
    case 1:
        return value == 0;
    default:
        return true;
    }
}

static bool write_mc_bank(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    if (!mc_bank_takes(msr, value))
        return false;
    cpu->state.mc_bank[msr - MSR_MC0_CTL] = value;
    cpu->changed |= CPU_CHANGED_MSR;
    return true;
}

/* What is not writable reports what the processor has not (performance monitoring, BTS, PEBS). */
#define MISC_ENABLE_READ_ONLY (1ull << 7 | 1ull << 11 | 1ull << 12)
#define MISC_ENABLE_WRITABLE                                                             \
    (1ull | 1ull << 3 | 1ull << 16 | 1ull << 18 | MISC_ENABLE_LIMIT_CPUID | 1ull << 23 | \
     MISC_ENABLE_XD_DISABLE)

static bool write_misc_enable(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    if (value & ~(MISC_ENABLE_WRITABLE | MISC_ENABLE_READ_ONLY))
        return false;
    cpu->state.misc_enable =
        (cpu->state.misc_enable & ~MISC_ENABLE_WRITABLE) | (value & MISC_ENABLE_WRITABLE);
    cpu->changed |= CPU_CHANGED_MSR;
    return true;
}

static bool read_vmx_capability(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = vmx_capability(cpu->profile, msr);
    return true;
}

static bool write_efer(struct cpu *cpu, uint32_t msr, uint64_t value)
{
    return cpu_write_efer(cpu, value) == OUTCOME_DONE;
}

static bool write_canonical(struct cpu *cpu, uint32_t msr, uint64_t value);

/* --- The table ------------------------------------------------------------------------------- */

#define ALL UINT64_MAX
#define PLAIN(field_, feature_, writable_)                                                 \
    {                                                                                      \
        .present = 1, .feature = (feature_), .offset = offsetof(struct cpu_state, field_), \
        .changed = CPU_CHANGED_MSR, .writable = (writable_)                                \
    }
#define CANONICAL(field_, feature_, changed_)                                              \
    {                                                                                      \
        .present = 1, .feature = (feature_), .offset = offsetof(struct cpu_state, field_), \
        .changed = (changed_), .write = write_canonical                                    \
    }
#define FIELD_AND(field_, feature_, write_)                                                \
    {                                                                                      \
        .present = 1, .feature = (feature_), .offset = offsetof(struct cpu_state, field_), \
        .write = (write_)                                                                  \
    }
#define CALLS(feature_, read_, write_)                                          \
    {                                                                           \
        .present = 1, .feature = (feature_), .read = (read_), .write = (write_) \
    }

// clang-format off
static const struct msr low_msrs[] = {
    [MSR_TSC]               = CALLS(FEATURE_TSC, read_tsc, write_tsc),
    [MSR_PLATFORM_ID]       = CALLS(FEATURE_ALWAYS, read_zero, read_only),
    [MSR_APIC_BASE]         = CALLS(FEATURE_APIC, read_apic, write_apic_base),
    [MSR_FEATURE_CONTROL]   = FIELD_AND(feature_control, FEATURE_ALWAYS, write_feature_control),
    [MSR_TSC_ADJUST]        = FIELD_AND(tsc_adjust, FEATURE_TSC_ADJUST, write_tsc_adjust),
    [MSR_SPEC_CTRL]         = FIELD_AND(spec_ctrl, FEATURE_SPEC_CTRL, write_spec_ctrl),
    [MSR_PRED_CMD]          = CALLS(FEATURE_SPEC_CTRL, write_only, write_pred_cmd),
    [MSR_BIOS_UPDT_TRIG]    = CALLS(FEATURE_ALWAYS, write_only, write_nothing),
    [MSR_BIOS_SIGN_ID]      = CALLS(FEATURE_ALWAYS, read_microcode, write_nothing),
    [MSR_PLATFORM_INFO]     = CALLS(FEATURE_ALWAYS, read_platform_info, read_only),
    [MSR_MTRRCAP]           = CALLS(FEATURE_MTRR, read_mtrrcap, read_only),
    [MSR_ARCH_CAPABILITIES] = CALLS(FEATURE_ARCH_CAPABILITIES, read_arch_capabilities, read_only),
    [MSR_SYSENTER_CS]       = PLAIN(sysenter_cs, FEATURE_SEP, UINT32_MAX),
    [MSR_SYSENTER_ESP]      = CANONICAL(sysenter_esp, FEATURE_SEP, CPU_CHANGED_MSR),
    [MSR_SYSENTER_EIP]      = CANONICAL(sysenter_eip, FEATURE_SEP, CPU_CHANGED_MSR),
    [MSR_MCG_CAP]           = CALLS(FEATURE_MCA, read_mcg_cap, read_only),
    [MSR_MCG_STATUS]        = PLAIN(mcg_status, FEATURE_MCA, 7),
    [MSR_MISC_ENABLE]       = FIELD_AND(misc_enable, FEATURE_ALWAYS, write_misc_enable),
    [MSR_DEBUGCTL]          = PLAIN(debugctl, FEATURE_ALWAYS, DEBUGCTL_LBR | DEBUGCTL_BTF),
    [MSR_MTRR_PHYSBASE0 ... MSR_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE_COUNT - 1]
                            = CALLS(FEATURE_MTRR, read_mtrr_variable, write_mtrr_variable),
    [MSR_MTRR_FIX64K_00000] = CALLS(FEATURE_MTRR, read_mtrr_fixed, write_mtrr_fixed),
    [MSR_MTRR_FIX16K_80000 ... MSR_MTRR_FIX16K_A0000]
                            = CALLS(FEATURE_MTRR, read_mtrr_fixed, write_mtrr_fixed),
    [MSR_MTRR_FIX4K_C0000 ... MSR_MTRR_FIX4K_C0000 + 7]
                            = CALLS(FEATURE_MTRR, read_mtrr_fixed, write_mtrr_fixed),
    [MSR_PAT]               = FIELD_AND(pat, FEATURE_PAT, write_pat),
    [MSR_MTRR_DEF_TYPE]     = FIELD_AND(mtrr_def_type, FEATURE_MTRR, write_mtrr_def_type),
    [MSR_MC0_CTL ... MSR_MC0_CTL + 4 * MC_BANKS - 1]
                            = CALLS(FEATURE_MCA, read_mc_bank, write_mc_bank),
    [MSR_VMX_FIRST ... MSR_VMX_LAST]
                            = CALLS(FEATURE_VMX, read_vmx_capability, read_only),
    [MSR_TSC_DEADLINE]      = CALLS(FEATURE_TSC_DEADLINE, read_apic, write_apic),
    [MSR_X2APIC_FIRST ... MSR_X2APIC_LAST]
                            = CALLS(FEATURE_X2APIC, read_apic, write_apic),
};

#define HIGH_MSRS 0xc0000000u
static const struct msr high_msrs[] = {
    [MSR_EFER - HIGH_MSRS]  = FIELD_AND(efer, FEATURE_ALWAYS, write_efer),
    [MSR_STAR - HIGH_MSRS]  = PLAIN(star, FEATURE_LM, ALL),
    [MSR_LSTAR - HIGH_MSRS] = CANONICAL(lstar, FEATURE_LM, CPU_CHANGED_MSR),
    [MSR_CSTAR - HIGH_MSRS] = CANONICAL(cstar, FEATURE_LM, CPU_CHANGED_MSR),
    [MSR_FMASK - HIGH_MSRS] = PLAIN(fmask, FEATURE_LM, UINT32_MAX),
    [MSR_FS_BASE - HIGH_MSRS] = CANONICAL(seg[SEG_FS].base, FEATURE_LM, CPU_CHANGED_SEGMENTS),
    [MSR_GS_BASE - HIGH_MSRS] = CANONICAL(seg[SEG_GS].base, FEATURE_LM, CPU_CHANGED_SEGMENTS),
    [MSR_KERNEL_GS_BASE - HIGH_MSRS] = CANONICAL(kernel_gs_base, FEATURE_LM, CPU_CHANGED_MSR),
    [MSR_TSC_AUX - HIGH_MSRS] = PLAIN(tsc_aux, FEATURE_RDTSCP, UINT32_MAX),
};
// clang-format on

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct msr *find(const struct cpu *cpu, uint32_t number)
{
    const struct msr *msr;

    if (number < COUNT(low_msrs))
        msr = &low_msrs[number];
    else if (number - HIGH_MSRS < COUNT(high_msrs))
        msr = &high_msrs[number - HIGH_MSRS];
    else
        return NULL;
    return msr->present && profile_has(cpu->profile, msr->feature) ? msr : NULL;
}

static bool write_canonical(struct cpu *cpu, uint32_t number, uint64_t value)
{
    const struct msr *msr = find(cpu, number);

    if (!cpu_canonical(cpu, value))
        return false;
    *field(cpu, msr) = value;
    cpu->changed |= msr->changed;
    return true;
}

bool cpu_msr_read(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    const struct msr *msr = find(cpu, number);

    if (!msr)
        return false;
    if (msr->read)
        return msr->read(cpu, number, value);
    *value = *field(cpu, msr);
    return true;
}

bool cpu_msr_write(struct cpu *cpu, uint32_t number, uint64_t value)
{
    const struct msr *msr = find(cpu, number);

    if (!msr)
        return false;
    if (msr->write)
        return msr->write(cpu, number, value);
    if (value & ~msr->writable)
        return false;
    *field(cpu, msr) = value;
    cpu->changed |= msr->changed;
    return true;
}
