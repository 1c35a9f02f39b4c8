/*
 * What VMX transitions cost the simulator: nanoseconds for the decision on a CPUID exit with its
 * information recorded (an exit that is settled in place), for all VM-entry checks, for an entry
 * with and without them, and for an exit (guest state saved, host state loaded).
 *
 * Prints one line for each: name, nanoseconds (median of rounds), the goal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/cpuid.h"
#include "cpu/vmentry_checks.h"
#include "cpu/vmx.h"

#define ROUNDS     15
#define ITERATIONS 20000

/* Processor time: what else the machine does is not counted. */
static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint64_t tsc(void *machine)
{
    return ++*(uint64_t *)machine;
}

/* The VMX capability MSRs of a Xeon Gold 6142M (public measurements). */
static const uint64_t vmx_msrs[] = {0x00da040000000004, 0x000000ff00000016, 0xfff9fffe0401e172,
                                    0x01ffffff00036dff, 0x0003ffff000011ff, 0x000000007004c1e7,
                                    0x0000000080000021, 0x00000000ffffffff, 0x0000000000002000,
                                    0x00000000007767ff, 0x000000000000002e, 0x025f7fff00000000,
                                    0x00000f0106734141, 0x000000ff00000016, 0xfff9fffe04006172,
                                    0x01ffffff00036dfb, 0x0003ffff000011fb, 0x0000000000000001};

static void set_controls(struct vmcs *vmcs, const struct cpu_profile *profile)
{
    const struct {
        enum vmcs_field field;
        uint32_t value;
    } controls[] = {
        {VMCS_PIN_BASED_CONTROLS, PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING},
        {VMCS_PRIMARY_CONTROLS, PRIMARY_HLT_EXITING | PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAPS |
                                    PRIMARY_SECONDARY_CONTROLS},
        {VMCS_SECONDARY_CONTROLS, SECONDARY_EPT | SECONDARY_VPID | SECONDARY_UNRESTRICTED_GUEST},
        {VMCS_EXIT_CONTROLS, EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_SAVE_PAT | EXIT_LOAD_PAT |
                                 EXIT_SAVE_EFER | EXIT_LOAD_EFER},
        {VMCS_ENTRY_CONTROLS, ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER},
    };
    for (unsigned i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
        vmcs_set(vmcs, controls[i].field,
                 vmx_control_adjust(profile, controls[i].field, controls[i].value));
    vmcs_set(vmcs, VMCS_VPID, 1);
    vmcs_set(vmcs, VMCS_EPTP, 6 | 3 << 3);
    vmcs_set(vmcs, VMCS_VMCS_LINK_POINTER, UINT64_MAX);
}

static void set_state(struct vmcs *vmcs)
{
    const uint64_t cr0 = CR0_PG | CR0_NE | CR0_PE | CR0_ET, cr4 = CR4_VMXE | CR4_PAE;
    for (unsigned i = 0; i <= SEG_GS; i++) {
        vmcs_set(vmcs, VMCS_GUEST_ES_ACCESS_RIGHTS + i, i == SEG_CS ? 0xa09b : 0xc093);
        vmcs_set(vmcs, VMCS_GUEST_ES_LIMIT + i, UINT32_MAX);
        vmcs_set(vmcs, VMCS_HOST_ES_SELECTOR + i, 0x10);
    }
    vmcs_set(vmcs, VMCS_GUEST_TR_ACCESS_RIGHTS, 0x8b);
    vmcs_set(vmcs, VMCS_GUEST_TR_LIMIT, 0x67);
    vmcs_set(vmcs, VMCS_GUEST_LDTR_ACCESS_RIGHTS, AR_UNUSABLE);
    vmcs_set(vmcs, VMCS_GUEST_CR0, cr0);
    vmcs_set(vmcs, VMCS_GUEST_CR4, cr4);
    vmcs_set(vmcs, VMCS_GUEST_EFER, EFER_LMA | EFER_LME);
    vmcs_set(vmcs, VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    vmcs_set(vmcs, VMCS_HOST_CR0, cr0);
    vmcs_set(vmcs, VMCS_HOST_CR4, cr4);
    vmcs_set(vmcs, VMCS_HOST_EFER, EFER_LMA | EFER_LME);
}

static void prepare(struct cpu *cpu, struct vmcs *vmcs, struct cpu_profile *profile,
                    struct physmem *physmem, uint64_t *time)
{
    static const struct cpu_callbacks callbacks = {.tsc = tsc};
    profile->maxphyaddr = 46;
    profile->maxlinaddr = 48;
    memcpy(profile->vmx_msr, vmx_msrs, sizeof(vmx_msrs));
    profile->cpuid[0] = (struct cpuid_leaf){0x80000001, 0, 0, 0, 0x121, 0x2c100800};
    profile->cpuid_count = 1;
    cpuid_prepare(profile);
    vmx_capabilities_restrict(profile);
    if (physmem_init(physmem, 16u << 20))
        abort();
    mmu_init(&cpu->mmu, physmem);
    cpu->profile = profile;
    cpu->callbacks = &callbacks;
    cpu->machine = time;
    cpu->vmcs = vmcs;
    cpu_reset(cpu);
    vmcs_clear(vmcs, 4);
    set_controls(vmcs, profile);
    set_state(vmcs);
    for (enum vmcs_field field = VMCS_HOST_CS_SELECTOR; field <= VMCS_HOST_TR_SELECTOR; field++)
        vmcs_set(vmcs, field, 0x10);
    if (!vmexit_load_host_state(cpu) || vmentry(cpu, true) != VMENTRY_OK)
        abort();
}

static void leave(struct cpu *cpu)
{
    vmx_intercepts(cpu, EXIT_CPUID);
    vmexit_record_information(cpu);
    if (!vmexit_save_guest_state(cpu) || !vmexit_load_host_state(cpu))
        abort();
}

static void enter(struct cpu *cpu)
{
    if (vmentry(cpu, false) != VMENTRY_OK)
        abort();
}

static void work_in_place(struct cpu *cpu)
{
    if (!vmx_intercepts(cpu, EXIT_CPUID))
        abort();
    vmexit_record_information(cpu);
}

static void work_checks(struct cpu *cpu)
{
    uint32_t qualification;
    if (vmentry_checks_run(cpu, VMCS_DIRTY_ALL, NULL, &qualification) != VMENTRY_OK)
        abort();
}

static void work_round_trip_clean(struct cpu *cpu)
{
    leave(cpu);
    vmcs_set(cpu->vmcs, VMCS_GUEST_RIP, vmcs_get(cpu->vmcs, VMCS_GUEST_RIP) + 2);
    enter(cpu);
}

static void work_round_trip_checked(struct cpu *cpu)
{
    leave(cpu);
    vmcs_set(cpu->vmcs, VMCS_HOST_RSP, 0x1000);
    enter(cpu);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure(const char *name, void (*work)(struct cpu *), struct cpu *cpu, unsigned goal)
{
    double rounds[ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (unsigned i = 0; i < ITERATIONS; i++)
            work(cpu);
        rounds[round] = (now_ns() - start) / ITERATIONS;
    }
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
    printf("%-44s %7.1f ns   goal %u\n", name, rounds[ROUNDS / 2], goal);
}

int main(void)
{
    static struct cpu cpu;
    static struct vmcs vmcs;
    static struct cpu_profile profile;
    struct physmem physmem;
    uint64_t time = 0;

    prepare(&cpu, &vmcs, &profile, &physmem, &time);
    cpu.skip_clean_checks = true;
    measure("CPUID exit decided and recorded in place", work_in_place, &cpu, 50);
    measure("exit and entry, VMCS unchanged but for RIP", work_round_trip_clean, &cpu, 600);
    measure("exit and entry, every check repeated", work_round_trip_checked, &cpu, 1000);
    leave(&cpu);
    measure("all VM-entry checks", work_checks, &cpu, 400);
    mmu_destroy(&cpu.mmu);
    physmem_destroy(&physmem);
    return 0;
}
