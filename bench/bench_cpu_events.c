/*
 * What the processor model costs where a running guest meets it most: nanoseconds for the delivery
 * of an interrupt and of an intercepted page fault in an EPT guest, for CPUID, MSRs and control
 * registers.
 *
 * Prints one line for each: name, nanoseconds (median of rounds), the goal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/cpuid.h"
#include "cpu/modes.h"
#include "cpu/msr.h"
#include "cpu/vmx.h"
#include "memory/ept.h"

#define ROUNDS     15
#define ITERATIONS 50000

/* Guest-physical addresses; linear = physical in the first 2 MBytes. */
#define PML4  0x1000u
#define PDPT  0x2000u
#define PD    0x3000u
#define PT    0x4000u
#define GDT   0x5000u
#define IDT   0x6000u
#define TSS   0x8000u
#define STACK 0x9800u

static struct cpu cpu;
static struct cpu_profile profile;
static struct vmcs vmcs;
static struct physmem physmem;
static struct ept ept;

static double now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time); /* others may use the machine too */
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint64_t tsc(void *machine)
{
    return ++*(uint64_t *)machine;
}

static const struct cpu_callbacks callbacks = {.tsc = tsc};

static void store(uint64_t address, uint64_t value)
{
    memcpy(physmem_at(&physmem, address), &value, sizeof(value));
}

static void build_guest(void)
{
    store(PML4, PDPT | 7);
    store(PDPT, PD | 7);
    store(PD, PT | 7);
    for (uint64_t page = 0; page < 512; page++)
        store(PT + 8 * page, page << 12 | 7);
    store(GDT + 8, 0x00209b0000000000); /* 64-bit code, CPL 0 */
    for (uint64_t vector = 0; vector < 256; vector++)
        store(IDT + 16 * vector, 0x00008e0000080000 | 0x1000); /* handler at 0x1000 */
    store(TSS + 4, STACK);
}

static void set_state(void)
{
    struct cpu_state *state = &cpu.state;

    state->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET;
    state->cr3 = PML4;
    state->cr4 = CR4_PAE | CR4_VMXE;
    state->efer = EFER_LME | EFER_LMA;
    state->seg[SEG_CS] = (struct segment){0, 0xffffffff, 0xa0fb, 0x1b};
    state->seg[SEG_SS] = (struct segment){0, 0xffffffff, 0xc0f3, 0x23};
    state->seg[SEG_TR] = (struct segment){TSS, 0x67, 0x8b, 0x28};
    state->gdtr = (struct descriptor_table){GDT, 0x3f};
    state->idtr = (struct descriptor_table){IDT, 0xfff};
    state->rip = 0x100000;
    state->gpr[GPR_RSP] = 0x180000;
    state->rflags = RFLAGS_FIXED | RFLAGS_IF;
    mmu_load(&cpu.mmu,
             &(struct paging_registers){
                 .cr0 = state->cr0, .cr3 = state->cr3, .cr4 = state->cr4, .efer = state->efer},
             true);
}

static int set_up(void)
{
    static uint64_t time;
    char path[4096], message[512];

    if (cpu_profile_find("skylake-client", path, sizeof(path)) ||
        cpu_profile_load(&profile, path, message, sizeof(message)) ||
        physmem_init(&physmem, 4u << 20))
        return -1;
    physmem_alloc_range(&physmem, (2u << 20) - FRAME_SIZE, FRAME_SIZE);
    mmu_init(&cpu.mmu, &physmem);
    cpu.profile = &profile;
    cpu.callbacks = &callbacks;
    cpu.machine = &time;
    cpu.vmcs = &vmcs;
    cpu_reset(&cpu);
    build_guest();
    if (ept_create(&ept, &physmem, false) ||
        ept_map_range(&ept, 0, 0, 2u << 20, 12, EPT_ALL, EPT_TYPE_WB))
        return -1;
    mmu_set_ept(&cpu.mmu, true, ept.eptp, 1);
    set_state();
    vmcs_set(&vmcs, VMCS_EXCEPTION_BITMAP, 1u << VECTOR_AC);
    vmcs_set(&vmcs, VMCS_CR4_MASK, CR4_VMXE);
    cpu.non_root = true;
    return 0;
}

/* --- What is measured ------------------------------------------------------------------------ */

static void interrupt_from_user(void)
{
    static const struct event event = {.type = EVENT_EXTERNAL_INTERRUPT, .vector = 0x80};
    struct segment cs = cpu.state.seg[SEG_CS], ss = cpu.state.seg[SEG_SS];
    uint64_t rsp = cpu.state.gpr[GPR_RSP];

    if (cpu_deliver(&cpu, &event, false) != DELIVERED)
        abort();
    cpu.state.seg[SEG_CS] = cs;
    cpu.state.seg[SEG_SS] = ss;
    cpu.state.gpr[GPR_RSP] = rsp;
}

static void page_fault_in_kernel(void)
{
    static const struct event event = {.type = EVENT_HARDWARE_EXCEPTION,
                                       .vector = VECTOR_PF,
                                       .has_error_code = true,
                                       .cr2 = 0x1234};
    uint32_t ss = cpu.state.seg[SEG_SS].access_rights;
    struct segment cs = cpu.state.seg[SEG_CS];
    uint64_t rsp = cpu.state.gpr[GPR_RSP];

    cpu.state.seg[SEG_SS].access_rights = 0xc093;
    if (cpu_deliver(&cpu, &event, false) != DELIVERED)
        abort();
    cpu.state.seg[SEG_CS] = cs;
    cpu.state.seg[SEG_SS].access_rights = ss;
    cpu.state.gpr[GPR_RSP] = rsp;
}

static void cpuid_leaf_7(void)
{
    cpu.state.gpr[GPR_RAX] = 7;
    cpu.state.gpr[GPR_RCX] = 0;
    cpuid_execute(&cpu);
}

static void wrmsr_gs_base(void)
{
    if (!cpu_msr_write(&cpu, MSR_KERNEL_GS_BASE, 0xffff888000000000))
        abort();
}

static void mov_from_cr4(void)
{
    uint32_t ss = cpu.state.seg[SEG_SS].access_rights;

    cpu.state.seg[SEG_SS].access_rights = 0xc093;
    if (insn_mov_from_cr(&cpu, 4, GPR_RAX) != OUTCOME_DONE)
        abort();
    cpu.state.seg[SEG_SS].access_rights = ss;
}

static void toggle_cr4_tsd(void)
{
    if (cpu_write_cr4(&cpu, cpu.state.cr4 ^ CR4_TSD) != OUTCOME_DONE)
        abort();
}

static void syscall_and_sysret(void)
{
    cpu.instruction_length = 2;
    if (insn_syscall(&cpu) != OUTCOME_DONE || insn_sysret(&cpu, 8) != OUTCOME_DONE)
        abort();
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void measure(const char *name, void (*work)(void), double goal)
{
    double rounds[ROUNDS];

    for (unsigned round = 0; round < ROUNDS; round++) {
        double start = now_ns();

        for (unsigned i = 0; i < ITERATIONS; i++)
            work();
        rounds[round] = (now_ns() - start) / ITERATIONS;
    }
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
    printf("%-36s %8.1f ns   goal %.0f\n", name, rounds[ROUNDS / 2], goal);
}

int main(void)
{
    if (set_up()) {
        fputs("cannot set up the guest\n", stderr);
        return 1;
    }
    measure("interrupt, CPL 3 to 0", interrupt_from_user, 125);
    measure("page fault, CPL 0", page_fault_in_kernel, 125);
    measure("CPUID leaf 7", cpuid_leaf_7, 10);
    measure("WRMSR kernel GS base", wrmsr_gs_base, 10);
    measure("MOV from CR4", mov_from_cr4, 10);
    measure("MOV to CR4, all rules", toggle_cr4_tsd, 50);
    cpu.state.efer |= EFER_SCE;
    cpu.state.star = 0x0023001000000000;
    measure("SYSCALL and SYSRET", syscall_and_sysret, 20);
    return 0;
}
