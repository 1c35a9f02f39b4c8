/* Instructions that report, wait or invalidate, and the reasons for faults that all share. */
#include "cpu/cpuid.h"
#include "cpu/modes.h"
#include "cpu/msr.h"
#include "cpu/vmx.h"

struct event *cpu_fault(struct cpu *cpu, enum vector vector, uint32_t error_code)
{
    cpu->fault =
        (struct event){.type = EVENT_HARDWARE_EXCEPTION,
                       .vector = vector,
                       .has_error_code = cpu_protected(cpu) && vector_has_error_code(vector),
                       .error_code = error_code};
    return &cpu->fault;
}

enum outcome cpu_fault_gp(struct cpu *cpu)
{
    cpu_fault(cpu, VECTOR_GP, 0);
    return OUTCOME_EXCEPTION;
}

enum outcome cpu_fault_ud(struct cpu *cpu)
{
    cpu_fault(cpu, VECTOR_UD, 0);
    return OUTCOME_EXCEPTION;
}

enum outcome cpu_memory_outcome(struct cpu *cpu, const struct mmu_fault *fault)
{
    if (fault->status != MMU_PAGE_FAULT) {
        vmx_exit_ept(cpu, fault);
        return OUTCOME_EXIT;
    }
    cpu_fault(cpu, VECTOR_PF, fault->error_code)->cr2 = fault->linear;
    return OUTCOME_EXCEPTION;
}

/* A secondary control that makes an instruction exist in VMX non-root operation. */
static bool enabled(const struct cpu *cpu, uint32_t secondary_control)
{
    return !cpu->non_root || (vmx_secondary_controls(cpu->vmcs) & secondary_control);
}

/* EDX:EAX <- value, with the upper halves cleared as all 32-bit results do. */
static void set_edx_eax(struct cpu *cpu, uint64_t value)
{
    cpu->state.gpr[GPR_RAX] = (uint32_t)value;
    cpu->state.gpr[GPR_RDX] = value >> 32;
}

static uint64_t edx_eax(const struct cpu *cpu)
{
    return cpu->state.gpr[GPR_RDX] << 32 | (uint32_t)cpu->state.gpr[GPR_RAX];
}

/* --- Identification and MSRs ----------------------------------------------------------------- */

enum outcome insn_cpuid(struct cpu *cpu)
{
    if (vmx_intercepts(cpu, EXIT_CPUID))
        return OUTCOME_EXIT;
    cpuid_execute(cpu);
    return OUTCOME_DONE;
}

enum outcome insn_rdmsr(struct cpu *cpu)
{
    uint32_t msr = (uint32_t)cpu->state.gpr[GPR_RCX];
    uint64_t value;

    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts_msr(cpu, false, msr))
        return OUTCOME_EXIT;
    if (!cpu_msr_read(cpu, msr, &value))
        return cpu_fault_gp(cpu);
    set_edx_eax(cpu, value);
    return OUTCOME_DONE;
}

enum outcome insn_wrmsr(struct cpu *cpu)
{
    uint32_t msr = (uint32_t)cpu->state.gpr[GPR_RCX];

    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts_msr(cpu, true, msr))
        return OUTCOME_EXIT;
    return cpu_msr_write(cpu, msr, edx_eax(cpu)) ? OUTCOME_DONE : cpu_fault_gp(cpu);
}

/* --- Counters and random numbers ------------------------------------------------------------- */

static bool tsc_forbidden(const struct cpu *cpu)
{
    return (cpu->state.cr4 & CR4_TSD) && cpu_cpl(cpu) != 0;
}

enum outcome insn_rdtsc(struct cpu *cpu)
{
    if (tsc_forbidden(cpu))
        return cpu_fault_gp(cpu);
    if (vmx_intercepts(cpu, EXIT_RDTSC))
        return OUTCOME_EXIT;
    set_edx_eax(cpu, cpu_tsc(cpu));
    return OUTCOME_DONE;
}

enum outcome insn_rdtscp(struct cpu *cpu)
{
    if (!profile_has(cpu->profile, FEATURE_RDTSCP) || !enabled(cpu, SECONDARY_RDTSCP))
        return cpu_fault_ud(cpu);
    if (tsc_forbidden(cpu))
        return cpu_fault_gp(cpu);
    if (vmx_intercepts(cpu, EXIT_RDTSCP))
        return OUTCOME_EXIT;
    set_edx_eax(cpu, cpu_tsc(cpu));
    cpu->state.gpr[GPR_RCX] = (uint32_t)cpu->state.tsc_aux;
    return OUTCOME_DONE;
}

enum outcome insn_rdpid(struct cpu *cpu, enum gpr destination)
{
    if (!profile_has(cpu->profile, FEATURE_RDPID) || !enabled(cpu, SECONDARY_RDTSCP))
        return cpu_fault_ud(cpu);
    cpu->state.gpr[destination] = cpu->state.tsc_aux;
    return OUTCOME_DONE;
}

/* There is no performance-monitoring unit: every counter number is invalid. */
enum outcome insn_rdpmc(struct cpu *cpu)
{
    if (cpu_cpl(cpu) != 0 && cpu_protected(cpu) && !(cpu->state.cr4 & CR4_PCE))
        return cpu_fault_gp(cpu);
    if (vmx_intercepts(cpu, EXIT_RDPMC))
        return OUTCOME_EXIT;
    return cpu_fault_gp(cpu);
}

enum outcome insn_rdrand(struct cpu *cpu, bool seed, enum gpr destination, unsigned operand_size)
{
    const uint64_t flags = RFLAGS_CF | RFLAGS_OF | RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;
    uint64_t *gpr = &cpu->state.gpr[destination];
    uint64_t value;

    if (!profile_has(cpu->profile, seed ? FEATURE_RDSEED : FEATURE_RDRAND))
        return cpu_fault_ud(cpu);
    if (vmx_intercepts_rdrand(cpu, seed, destination, operand_size))
        return OUTCOME_EXIT;
    value = cpu->callbacks->random(cpu->machine);
    if (operand_size == 2)
        *gpr = (*gpr & ~0xffffull) | (uint16_t)value;
    else
        *gpr = operand_size == 4 ? (uint32_t)value : value;
    cpu->state.rflags = (cpu->state.rflags & ~flags) | RFLAGS_CF; /* CF: the number is valid */
    return OUTCOME_DONE;
}

/* --- Waiting --------------------------------------------------------------------------------- */

enum outcome insn_hlt(struct cpu *cpu)
{
    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts(cpu, EXIT_HLT))
        return OUTCOME_EXIT;
    cpu->state.activity = ACTIVITY_HLT;
    return OUTCOME_DONE;
}

enum outcome insn_pause(struct cpu *cpu)
{
    uint64_t tsc = cpu->callbacks->tsc(cpu->machine);

    return vmx_intercepts_pause(cpu, tsc) ? OUTCOME_EXIT : OUTCOME_DONE;
}

/* MONITOR and MWAIT: #UD where the processor lacks them, and above CPL 0. */
static enum outcome monitor(struct cpu *cpu, enum exit_reason reason)
{
    if (!profile_has(cpu->profile, FEATURE_MONITOR) || cpu_cpl(cpu) != 0)
        return cpu_fault_ud(cpu);
    return vmx_intercepts(cpu, reason) ? OUTCOME_EXIT : OUTCOME_DONE;
}

enum outcome insn_monitor(struct cpu *cpu)
{
    return monitor(cpu, EXIT_MONITOR);
}

enum outcome insn_mwait(struct cpu *cpu)
{
    return monitor(cpu, EXIT_MWAIT);
}

/* --- Caches, TLB, XCR0 ----------------------------------------------------------------------- */

/* There are no caches to write back: privilege and exit are all of it. */
static enum outcome privileged(struct cpu *cpu, enum exit_reason reason)
{
    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    return vmx_intercepts(cpu, reason) ? OUTCOME_EXIT : OUTCOME_DONE;
}

enum outcome insn_invd(struct cpu *cpu)
{
    return privileged(cpu, EXIT_INVD);
}

enum outcome insn_wbinvd(struct cpu *cpu)
{
    return privileged(cpu, EXIT_WBINVD);
}

enum outcome insn_xsetbv(struct cpu *cpu)
{
    uint64_t value = edx_eax(cpu);

    if (!(cpu->state.cr4 & CR4_OSXSAVE))
        return cpu_fault_ud(cpu);
    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts(cpu, EXIT_XSETBV))
        return OUTCOME_EXIT;
    if ((uint32_t)cpu->state.gpr[GPR_RCX] != 0 || !(value & XCR0_X87) ||
        (value & ~cpu->profile->xcr0_allowed))
        return cpu_fault_gp(cpu);
    cpu->state.xcr0 = value;
    cpu->changed |= CPU_CHANGED_XCR0;
    return OUTCOME_DONE;
}

enum outcome insn_invlpg(struct cpu *cpu, uint64_t linear)
{
    if (cpu_cpl(cpu) != 0)
        return cpu_fault_gp(cpu);
    if (vmx_intercepts_invlpg(cpu, linear))
        return OUTCOME_EXIT;
    if (cpu_canonical(cpu, linear)) /* else it does nothing, and does not fault */
        mmu_invlpg(&cpu->mmu, linear);
    return OUTCOME_DONE;
}

/* SDM "INVPCID-Invalidate Process-Context Identifier": descriptor and type. */
enum invpcid_type { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_ALL_BUT_GLOBAL };

static bool invpcid_valid(const struct cpu *cpu, uint64_t type, const uint64_t descriptor[2])
{
    bool names_pcid = type == INVPCID_ADDRESS || type == INVPCID_CONTEXT;

    if (type > INVPCID_ALL_BUT_GLOBAL || (descriptor[0] & ~CR3_PCID))
        return false;
    if (names_pcid && !(cpu->state.cr4 & CR4_PCIDE) && descriptor[0])
        return false;
    return type != INVPCID_ADDRESS || cpu_canonical(cpu, descriptor[1]);
}

enum outcome insn_invpcid(struct cpu *cpu, uint64_t type, uint64_t linear_of_descriptor,
                          uint32_t instruction_info, uint64_t displacement)
{
    uint64_t descriptor[2];
    struct mmu_fault fault;
    unsigned access = ACCESS_READ | (cpu->state.rflags & RFLAGS_AC ? ACCESS_AC : 0);

    if (!profile_has(cpu->profile, FEATURE_INVPCID) || !enabled(cpu, SECONDARY_INVPCID))
        return cpu_fault_ud(cpu);
    if (cpu_cpl(cpu) != 0 || cpu_virtual_8086(cpu))
        return cpu_fault_gp(cpu);
    if (vmx_intercepts_operand(cpu, EXIT_INVPCID, instruction_info, displacement))
        return OUTCOME_EXIT;
    if (!cpu_canonical(cpu, linear_of_descriptor))
        return cpu_fault_gp(cpu);
    if (mmu_read(&cpu->mmu, linear_of_descriptor, descriptor, sizeof(descriptor), access, &fault) !=
        MMU_OK)
        return cpu_memory_outcome(cpu, &fault);
    if (!invpcid_valid(cpu, type, descriptor))
        return cpu_fault_gp(cpu);
    mmu_invpcid(&cpu->mmu, (unsigned)type, (uint16_t)descriptor[0], descriptor[1]);
    cpu->changed |= CPU_CHANGED_TLB;
    return OUTCOME_DONE;
}
