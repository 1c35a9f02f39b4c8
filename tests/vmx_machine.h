/*
 * For the suites about VMX: one processor with the capabilities of a Xeon Gold 6142M (values from
 * public measurements), a little memory behind EPT, and a VMCS with a valid guest for each mode.
 */
#ifndef VTXSIM_TESTS_VMX_MACHINE_H
#define VTXSIM_TESTS_VMX_MACHINE_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include "cpu/vmx.h"
#include "cpu/vmx_capabilities.h"
#include "memory/ept.h"

#define MACHINE_MEMORY   (16ull << 20)
#define GUEST_MEMORY     (4ull << 20)
#define HOST_CODE        0x10
#define HOST_DATA        0x18
#define HOST_TSS         0x40
#define HOST_ENTRY_POINT 0xffffffff81000000ull

struct machine {
    struct cpu cpu;
    struct vmcs vmcs;
    struct cpu_profile profile;
    struct physmem physmem;
    struct ept ept;
    uint64_t guest_memory; /* host-physical address of guest-physical 0 */
    uint64_t io_bitmaps, msr_bitmap, msr_lists;
    uint64_t tsc;
};

enum guest {
    GUEST_REAL,      /* needs "unrestricted guest" */
    GUEST_PROTECTED, /* 32-bit paging */
    GUEST_UNPAGED,   /* protected mode without paging: "unrestricted guest" */
    GUEST_PAE,
    GUEST_64BIT,
    GUEST_VIRTUAL_8086,
    GUEST_RESTRICTED, /* GUEST_PROTECTED without EPT and "unrestricted guest" */
    GUEST_32BIT_HOST, /* GUEST_RESTRICTED under a 32-bit host */
    GUEST_COUNT
};

static inline uint64_t machine_tsc(void *machine)
{
    return ((struct machine *)machine)->tsc;
}

static const struct cpu_callbacks machine_callbacks = {.tsc = machine_tsc};

static inline void machine_profile(struct cpu_profile *profile)
{
    static const uint64_t vmx_msrs[] = {0x00da040000000004, 0x000000ff00000016, 0xfff9fffe0401e172,
                                        0x01ffffff00036dff, 0x0003ffff000011ff, 0x000000007004c1e7,
                                        0x0000000080000021, 0x00000000ffffffff, 0x0000000000002000,
                                        0x00000000007767ff, 0x000000000000002e, 0x025f7fff00000000,
                                        0x00000f0106734141, 0x000000ff00000016, 0xfff9fffe04006172,
                                        0x01ffffff00036dfb, 0x0003ffff000011fb, 0x0000000000000001};
    static const struct cpuid_leaf leaves[] = {
        {0, 0, 0x16, 0x756e6547, 0x6c65746e, 0x49656e69},
        {1, 0, 0x00050654, 0x00010800, 0xfffaf38b, 0xbfebfbff},
        {7, 0, 0, 0x009c6fbb, 0, 0},
        {0x80000000, 0, 0x80000008, 0, 0, 0},
        {0x80000001, 0, 0, 0, 0x121, 0x2c100800},
        {0x80000008, 0, 0x302e, 0, 0, 0},
    };
    memset(profile, 0, sizeof(*profile));
    strcpy(profile->name, "test");
    profile->tsc_hz = 2600000000;
    profile->maxphyaddr = 46;
    profile->maxlinaddr = 48;
    memcpy(profile->vmx_msr, vmx_msrs, sizeof(vmx_msrs));
    memcpy(profile->cpuid, leaves, sizeof(leaves));
    profile->cpuid_count = sizeof(leaves) / sizeof(leaves[0]);
    cpuid_prepare(profile);
    vmx_capabilities_restrict(profile);
}

static inline struct machine *machine_create(void)
{
    struct machine *machine = calloc(1, sizeof(*machine));
    struct cpu *cpu = &machine->cpu;
    cr_assert_eq(physmem_init(&machine->physmem, MACHINE_MEMORY), 0);
    machine_profile(&machine->profile);
    mmu_init(&cpu->mmu, &machine->physmem);
    cpu->profile = &machine->profile;
    cpu->callbacks = &machine_callbacks;
    cpu->machine = machine;
    cpu_reset(cpu);
    cpu->state.cr0 &= ~(CR0_CD | CR0_NW);
    cpu->vmcs = &machine->vmcs;
    cpu->skip_clean_checks = true;
    cr_assert_eq(ept_create(&machine->ept, &machine->physmem, false), 0);
    machine->guest_memory = physmem_alloc_range(&machine->physmem, GUEST_MEMORY, 2u << 20);
    cr_assert_eq(ept_map_range(&machine->ept, 0, machine->guest_memory, GUEST_MEMORY, 21, EPT_ALL,
                               EPT_TYPE_WB),
                 0);
    machine->io_bitmaps = physmem_alloc_range(&machine->physmem, 2 * FRAME_SIZE, FRAME_SIZE);
    machine->msr_bitmap = physmem_alloc_frame(&machine->physmem);
    machine->msr_lists = physmem_alloc_frame(&machine->physmem);
    return machine;
}

static inline void machine_destroy(struct machine *machine)
{
    ept_destroy(&machine->ept);
    mmu_destroy(&machine->cpu.mmu);
    physmem_destroy(&machine->physmem);
    free(machine);
}

static inline void machine_controls(struct machine *machine, enum guest guest)
{
    struct vmcs *vmcs = &machine->vmcs;
    bool restricted = guest == GUEST_RESTRICTED || guest == GUEST_32BIT_HOST;
    const struct {
        enum vmcs_field field;
        uint32_t value;
    } controls[] = {
        {VMCS_PIN_BASED_CONTROLS, PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING |
                                      PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER},
        {VMCS_PRIMARY_CONTROLS, PRIMARY_HLT_EXITING | PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAPS |
                                    PRIMARY_SECONDARY_CONTROLS},
        {VMCS_SECONDARY_CONTROLS,
         SECONDARY_VPID | (restricted ? 0 : SECONDARY_EPT | SECONDARY_UNRESTRICTED_GUEST)},
        {VMCS_EXIT_CONTROLS, EXIT_SAVE_DEBUG_CONTROLS | EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SAVE_PAT |
                                 EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER |
                                 EXIT_SAVE_PREEMPTION_TIMER |
                                 (guest == GUEST_32BIT_HOST ? 0 : EXIT_HOST_ADDRESS_SPACE_SIZE)},
        {VMCS_ENTRY_CONTROLS, ENTRY_LOAD_DEBUG_CONTROLS | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER |
                                  (guest == GUEST_64BIT ? ENTRY_IA32E_MODE_GUEST : 0)},
    };
    for (unsigned i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
        vmcs_set(vmcs, controls[i].field,
                 vmx_control_adjust(&machine->profile, controls[i].field, controls[i].value));
    vmcs_set(vmcs, VMCS_VPID, 1);
    vmcs_set(vmcs, VMCS_EPTP, machine->ept.eptp);
    vmcs_set(vmcs, VMCS_IO_BITMAP_A, machine->io_bitmaps);
    vmcs_set(vmcs, VMCS_IO_BITMAP_B, machine->io_bitmaps + FRAME_SIZE);
    vmcs_set(vmcs, VMCS_MSR_BITMAP, machine->msr_bitmap);
    vmcs_set(vmcs, VMCS_VMCS_LINK_POINTER, UINT64_MAX);
    vmcs_set(vmcs, VMCS_PREEMPTION_TIMER_VALUE, 0x10000);
}

static inline void machine_host(struct machine *machine, enum guest guest)
{
    struct vmcs *vmcs = &machine->vmcs;
    bool host64 = guest != GUEST_32BIT_HOST;
    for (enum vmcs_field field = VMCS_HOST_ES_SELECTOR; field <= VMCS_HOST_GS_SELECTOR; field++)
        vmcs_set(vmcs, field, HOST_DATA);
    vmcs_set(vmcs, VMCS_HOST_CS_SELECTOR, HOST_CODE);
    vmcs_set(vmcs, VMCS_HOST_TR_SELECTOR, HOST_TSS);
    vmcs_set(vmcs, VMCS_HOST_CR0, CR0_PG | CR0_NE | CR0_PE | CR0_ET | CR0_WP);
    vmcs_set(vmcs, VMCS_HOST_CR3, 0x1000);
    vmcs_set(vmcs, VMCS_HOST_CR4, CR4_VMXE | (host64 ? CR4_PAE : 0));
    vmcs_set(vmcs, VMCS_HOST_EFER, EFER_NXE | (host64 ? EFER_LMA | EFER_LME : 0));
    vmcs_set(vmcs, VMCS_HOST_PAT, PAT_AT_RESET);
    vmcs_set(vmcs, VMCS_HOST_RIP, host64 ? HOST_ENTRY_POINT : 0x100000);
    vmcs_set(vmcs, VMCS_HOST_RSP, host64 ? HOST_ENTRY_POINT + 0x10000 : 0x110000);
}

static inline void guest_segment(struct vmcs *vmcs, enum segment_register segment,
                                 uint16_t selector, uint64_t base, uint32_t limit, uint32_t rights)
{
    vmcs_set(vmcs, VMCS_GUEST_ES_SELECTOR + segment, selector);
    vmcs_set(vmcs, VMCS_GUEST_ES_BASE + segment, base);
    vmcs_set(vmcs, VMCS_GUEST_ES_LIMIT + segment, limit);
    vmcs_set(vmcs, VMCS_GUEST_ES_ACCESS_RIGHTS + segment, rights);
}

static inline void guest_segments(struct vmcs *vmcs, enum guest guest)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        if (guest == GUEST_REAL)
            guest_segment(vmcs, i, 0x100, 0x1000, 0xffff, 0x93);
        else if (guest == GUEST_VIRTUAL_8086)
            guest_segment(vmcs, i, 0x200, 0x2000, 0xffff, 0xf3);
        else
            guest_segment(vmcs, i, 0x10, 0, 0xffffffff, 0xc093);
    }
    if (guest == GUEST_REAL)
        vmcs_set(vmcs, VMCS_GUEST_CS_ACCESS_RIGHTS, 0x9b);
    else if (guest != GUEST_VIRTUAL_8086)
        guest_segment(vmcs, SEG_CS, 0x8, 0, 0xffffffff, guest == GUEST_64BIT ? 0xa09b : 0xc09b);
    guest_segment(vmcs, SEG_LDTR, 0x20, 0x3000, 0xffff, 0x82);
    guest_segment(vmcs, SEG_TR, 0x28, 0x4000, 0x67, 0x8b);
}

static inline void guest_registers(struct vmcs *vmcs, enum guest guest)
{
    static const uint64_t cr0[GUEST_COUNT] = {
        [GUEST_REAL] = CR0_NE,
        [GUEST_UNPAGED] = CR0_NE | CR0_PE,
    };
    bool pae = guest == GUEST_PAE || guest == GUEST_64BIT;
    vmcs_set(vmcs, VMCS_GUEST_CR0, CR0_ET | (cr0[guest] ? cr0[guest] : CR0_PG | CR0_NE | CR0_PE));
    vmcs_set(vmcs, VMCS_GUEST_CR3, 0x10000);
    vmcs_set(vmcs, VMCS_GUEST_CR4, CR4_VMXE | (pae ? CR4_PAE : 0));
    vmcs_set(vmcs, VMCS_GUEST_EFER, guest == GUEST_64BIT ? EFER_LMA | EFER_LME : 0);
    vmcs_set(vmcs, VMCS_GUEST_PAT, PAT_AT_RESET);
    vmcs_set(vmcs, VMCS_GUEST_DR7, DR7_FIXED);
    vmcs_set(vmcs, VMCS_GUEST_GDTR_BASE, 0x5000);
    vmcs_set(vmcs, VMCS_GUEST_GDTR_LIMIT, 0x7f);
    vmcs_set(vmcs, VMCS_GUEST_IDTR_BASE, 0x6000);
    vmcs_set(vmcs, VMCS_GUEST_IDTR_LIMIT, 0xfff);
    vmcs_set(vmcs, VMCS_GUEST_RIP, 0x1234);
    vmcs_set(vmcs, VMCS_GUEST_RSP, 0x8000);
    vmcs_set(vmcs, VMCS_GUEST_RFLAGS,
             RFLAGS_FIXED | RFLAGS_IF | (guest == GUEST_VIRTUAL_8086 ? RFLAGS_VM : 0));
    vmcs_set(vmcs, VMCS_GUEST_SYSENTER_CS, 0x8);
    vmcs_set(vmcs, VMCS_GUEST_SYSENTER_ESP, 0x9000);
    vmcs_set(vmcs, VMCS_GUEST_SYSENTER_EIP, 0xa000);
}

/* A clear VMCS with a valid guest, and a processor that is its host. */
static inline void machine_prepare(struct machine *machine, enum guest guest)
{
    memset(&machine->vmcs, 0, sizeof(machine->vmcs));
    vmcs_clear(&machine->vmcs, 4);
    machine_controls(machine, guest);
    machine_host(machine, guest);
    guest_segments(&machine->vmcs, guest);
    guest_registers(&machine->vmcs, guest);
    machine->cpu.non_root = false;
    machine->cpu.state.interruptibility = 0;
    cr_assert(vmexit_load_host_state(&machine->cpu));
}

/* The machine, inside a guest that has just been entered. */
static inline struct machine *machine_in_guest(enum guest guest)
{
    struct machine *machine = machine_create();
    machine_prepare(machine, guest);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    return machine;
}

/* The exit that cpu->exit describes, as a VM handler performs it. */
static inline void machine_leave_guest(struct machine *machine)
{
    vmexit_record_information(&machine->cpu);
    cr_assert(vmexit_save_guest_state(&machine->cpu));
    cr_assert(vmexit_load_host_state(&machine->cpu));
    cr_assert_not(machine->cpu.non_root);
}

static inline void machine_leave_guest_by(struct machine *machine, enum exit_reason reason)
{
    vmx_exit_event(&machine->cpu, reason);
    machine_leave_guest(machine);
}

static inline uint64_t machine_field(const struct machine *machine, enum vmcs_field field)
{
    return vmcs_get(&machine->vmcs, field);
}

/* Pseudo-random numbers (xorshift64*): the same on every machine for one seed. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

#endif
