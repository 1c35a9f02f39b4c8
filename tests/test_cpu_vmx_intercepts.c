/*
 * What exits, and with which information: tables from the SDM's "Instructions That Cause VM Exits",
 * "Other Causes of VM Exits" and "Exit Qualification", and naive models of the bitmaps and masks.
 */
#include "tests/vmx_machine.h"

#include <stdio.h>
#include <time.h>

#define LENGTH 3 /* of the instruction that every test executes */

static struct machine *machine_at_instruction(void)
{
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    machine->cpu.instruction_length = LENGTH;
    return machine;
}

static void set_control(struct machine *machine, enum vmcs_field field, uint32_t bit, bool on)
{
    uint64_t value = vmcs_get(&machine->vmcs, field);
    vmcs_store(&machine->vmcs, field, on ? value | bit : value & ~(uint64_t)bit);
}

/* The exit as it is before a test, to see that a decision against an exit leaves it alone. */
static struct vm_exit poison(struct machine *machine)
{
    memset(&machine->cpu.exit, 0x5a, sizeof(machine->cpu.exit));
    return machine->cpu.exit;
}

static void assert_untouched(const struct machine *machine, const struct vm_exit *before)
{
    cr_assert_eq(memcmp(&machine->cpu.exit, before, sizeof(*before)), 0);
}

static void assert_exit(const struct machine *machine, enum exit_reason reason,
                        uint64_t qualification)
{
    const struct vm_exit *exit = &machine->cpu.exit;
    cr_assert_eq(exit->reason, reason, "%s instead of %s", exit_reason_name(exit->reason),
                 exit_reason_name(reason));
    cr_assert_eq(exit->qualification, qualification, "%s: %#lx instead of %#lx",
                 exit_reason_name(reason), (unsigned long)exit->qualification,
                 (unsigned long)qualification);
    cr_assert_eq(exit->idt_vectoring_info, 0);
}

/* --- Instructions without parameters ---------------------------------------------------------- */

// clang-format off
static const struct instruction_row {
    enum exit_reason reason;
    enum vmcs_field field;
    uint32_t control; /* 0: unconditional */
} instructions[] = {
    {EXIT_CPUID, 0, 0},    {EXIT_GETSEC, 0, 0},   {EXIT_INVD, 0, 0},    {EXIT_XSETBV, 0, 0},
    {EXIT_INVEPT, 0, 0},   {EXIT_INVVPID, 0, 0},  {EXIT_VMCALL, 0, 0},  {EXIT_VMCLEAR, 0, 0},
    {EXIT_VMLAUNCH, 0, 0}, {EXIT_VMPTRLD, 0, 0},  {EXIT_VMPTRST, 0, 0}, {EXIT_VMRESUME, 0, 0},
    {EXIT_VMXOFF, 0, 0},   {EXIT_VMXON, 0, 0},    {EXIT_VMREAD, 0, 0},  {EXIT_VMWRITE, 0, 0},
    {EXIT_HLT, VMCS_PRIMARY_CONTROLS, 1u << 7},
    {EXIT_INVPCID, VMCS_PRIMARY_CONTROLS, 1u << 9},
    {EXIT_MWAIT, VMCS_PRIMARY_CONTROLS, 1u << 10},
    {EXIT_RDPMC, VMCS_PRIMARY_CONTROLS, 1u << 11},
    {EXIT_RDTSC, VMCS_PRIMARY_CONTROLS, 1u << 12},
    {EXIT_RDTSCP, VMCS_PRIMARY_CONTROLS, 1u << 12},
    {EXIT_MONITOR, VMCS_PRIMARY_CONTROLS, 1u << 29},
    {EXIT_WBINVD, VMCS_SECONDARY_CONTROLS, 1u << 6},
    {EXIT_RDRAND, VMCS_SECONDARY_CONTROLS, 1u << 11},
    {EXIT_RDSEED, VMCS_SECONDARY_CONTROLS, 1u << 16},
};
// clang-format on
#define INSTRUCTION_COUNT (sizeof(instructions) / sizeof(instructions[0]))

Test(vmx_intercepts, instructions_exit_as_controls_say)
{
    for (unsigned i = 0; i < INSTRUCTION_COUNT; i++) {
        const struct instruction_row *row = &instructions[i];
        struct machine *machine = machine_at_instruction();
        if (row->control) {
            set_control(machine, row->field, row->control, false);
            struct vm_exit before = poison(machine);
            cr_assert_not(vmx_intercepts(&machine->cpu, row->reason), "%s",
                          exit_reason_name(row->reason));
            assert_untouched(machine, &before);
            set_control(machine, row->field, row->control, true);
        }
        poison(machine);
        cr_assert(vmx_intercepts(&machine->cpu, row->reason), "%s", exit_reason_name(row->reason));
        assert_exit(machine, row->reason, 0);
        cr_assert_eq(machine->cpu.exit.instruction_length, LENGTH);
        if (row->field == VMCS_SECONDARY_CONTROLS) {
            set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_SECONDARY_CONTROLS, false);
            cr_assert_not(vmx_intercepts(&machine->cpu, row->reason));
        }
        machine_destroy(machine);
    }
}

/* No other reason is an instruction's, whatever the controls. */
Test(vmx_intercepts, nothing_else_is_an_instruction)
{
    struct machine *machine = machine_at_instruction();
    vmcs_store(&machine->vmcs, VMCS_PRIMARY_CONTROLS, UINT32_MAX);
    vmcs_store(&machine->vmcs, VMCS_SECONDARY_CONTROLS, UINT32_MAX);
    for (unsigned reason = 0; reason < EXIT_REASON_COUNT; reason++) {
        bool listed = false;
        for (unsigned i = 0; i < INSTRUCTION_COUNT; i++)
            listed |= instructions[i].reason == reason;
        cr_assert_eq(vmx_intercepts(&machine->cpu, reason), listed, "reason %u", reason);
    }
    machine_destroy(machine);
}

/* In VMX root operation the controls of the current VMCS mean nothing. */
Test(vmx_intercepts, nothing_exits_in_root_operation)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    const struct event event = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_GP};
    const struct io_access access = {.port = 0x80, .size = 1};
    vmcs_store(&machine->vmcs, VMCS_PRIMARY_CONTROLS, UINT32_MAX);
    vmcs_store(&machine->vmcs, VMCS_SECONDARY_CONTROLS, UINT32_MAX);
    vmcs_store(&machine->vmcs, VMCS_PIN_BASED_CONTROLS, UINT32_MAX);
    vmcs_store(&machine->vmcs, VMCS_EXCEPTION_BITMAP, UINT32_MAX);
    vmcs_store(&machine->vmcs, VMCS_CR0_MASK, UINT64_MAX);
    vmcs_store(&machine->vmcs, VMCS_CR4_MASK, UINT64_MAX);
    vmcs_store(&machine->vmcs, VMCS_CR0_READ_SHADOW, CR0_TS);
    cpu->vmx.preemption_deadline = 0;
    cpu->non_root = false;
    struct vm_exit before = poison(machine);
    for (unsigned reason = 0; reason < EXIT_REASON_COUNT; reason++)
        cr_assert_not(vmx_intercepts(cpu, reason));
    cr_assert_not(vmx_intercepts_exception(cpu, &event));
    cr_assert_not(vmx_intercepts_io(cpu, &access));
    cr_assert_not(vmx_intercepts_msr(cpu, true, 0x9999));
    cr_assert_not(vmx_intercepts_invlpg(cpu, 0));
    cr_assert_not(vmx_intercepts_mov_to_cr(cpu, 0, GPR_RAX, 0));
    cr_assert_not(vmx_intercepts_mov_from_cr(cpu, 3, GPR_RAX));
    cr_assert_not(vmx_intercepts_clts(cpu));
    cr_assert_not(vmx_intercepts_lmsw(cpu, 0xf, false, 0));
    cr_assert_not(vmx_intercepts_mov_dr(cpu, 7, true, GPR_RAX));
    cr_assert_not(vmx_intercepts_descriptor_table(cpu, INSN_LGDT, 0, 0));
    cr_assert_not(vmx_intercepts_external_interrupt(cpu, 0x20));
    cr_assert_not(vmx_intercepts_nmi(cpu));
    cr_assert_not(vmx_intercepts_pause(cpu, 1));
    cr_assert_not(vmx_intercepts_window(cpu));
    cr_assert_not(vmx_intercepts_preemption_timer(cpu, 1));
    assert_untouched(machine, &before);
    cr_assert_eq(vmx_guest_visible_cr0(cpu), cpu->state.cr0);
    cr_assert_eq(vmx_guest_visible_cr4(cpu), cpu->state.cr4);
    cr_assert_eq(vmx_apply_cr0_mask(cpu, 0, 0x1234), 0x1234);
    machine_destroy(machine);
}

Test(vmx_intercepts, operands_are_reported)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    cr_assert(vmx_intercepts_operand(cpu, EXIT_VMPTRLD, 0x12345678, -8ull));
    assert_exit(machine, EXIT_VMPTRLD, -8ull);
    cr_assert_eq(cpu->exit.instruction_info, 0x12345678);

    set_control(machine, VMCS_SECONDARY_CONTROLS,
                SECONDARY_RDRAND_EXITING | SECONDARY_RDSEED_EXITING, true);
    /* Bits 6:3 destination, bits 12:11 operand size. */
    cr_assert(vmx_intercepts_rdrand(cpu, false, GPR_R10, 2));
    assert_exit(machine, EXIT_RDRAND, 0);
    cr_assert_eq(cpu->exit.instruction_info, 10 << 3);
    cr_assert(vmx_intercepts_rdrand(cpu, true, GPR_RDX, 4));
    assert_exit(machine, EXIT_RDSEED, 0);
    cr_assert_eq(cpu->exit.instruction_info, 2 << 3 | 1 << 11);
    cr_assert(vmx_intercepts_rdrand(cpu, true, GPR_RAX, 8));
    cr_assert_eq(cpu->exit.instruction_info, 2 << 11);

    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_INVLPG_EXITING, true);
    cr_assert(vmx_intercepts_invlpg(cpu, 0xffff800012345678));
    assert_exit(machine, EXIT_INVLPG, 0xffff800012345678);
    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_INVLPG_EXITING, false);
    cr_assert_not(vmx_intercepts_invlpg(cpu, 0));

    for (unsigned i = INSN_SGDT; i <= INSN_LTR; i++) {
        set_control(machine, VMCS_SECONDARY_CONTROLS, SECONDARY_DESCRIPTOR_TABLE_EXITING, false);
        cr_assert_not(vmx_intercepts_descriptor_table(cpu, i, 7, 0x40));
        set_control(machine, VMCS_SECONDARY_CONTROLS, SECONDARY_DESCRIPTOR_TABLE_EXITING, true);
        cr_assert(vmx_intercepts_descriptor_table(cpu, i, 7, 0x40));
        assert_exit(machine, i <= INSN_LIDT ? 46 : 47, 0x40);
        cr_assert_eq(cpu->exit.instruction_info, 7);
        cr_assert_eq(cpu->exit.instruction_length, LENGTH);
    }
    machine_destroy(machine);
}

/* --- Control registers ---------------------------------------------------------------------------
 */

/* LMSW against a model that says it bit by bit, for every source, mask and shadow. */
Test(vmx_intercepts, lmsw_for_all_sources_masks_and_shadows)
{
    struct machine *machine = machine_at_instruction();
    for (unsigned i = 0; i < 16 * 16 * 16; i++) {
        uint16_t source = i & 15;
        unsigned mask = i >> 4 & 15, shadow = i >> 8;
        bool expected = false;
        for (unsigned bit = 1; bit <= 3; bit++)
            expected |= (mask >> bit & 1) && (source >> bit & 1) != (shadow >> bit & 1);
        expected |= (mask & 1) && (source & 1) && !(shadow & 1);
        vmcs_store(&machine->vmcs, VMCS_CR0_MASK, mask | 0xfff0u);
        vmcs_store(&machine->vmcs, VMCS_CR0_READ_SHADOW, shadow);
        cr_assert_eq(vmx_intercepts_lmsw(&machine->cpu, source | 0xab40, i & 1, 0x7777), expected,
                     "source %x, mask %x, shadow %x", source, mask, shadow);
        if (!expected)
            continue;
        assert_exit(machine, 28, (source | 0xab40ull) << 16 | (i & 1) << 6 | 3 << 4);
        cr_assert_eq(machine->cpu.exit.guest_linear_address, i & 1 ? 0x7777 : 0);
    }
    machine_destroy(machine);
}

Test(vmx_intercepts, clts_needs_mask_and_shadow)
{
    struct machine *machine = machine_at_instruction();
    for (unsigned i = 0; i < 4; i++) {
        vmcs_store(&machine->vmcs, VMCS_CR0_MASK, i & 1 ? CR0_TS : ~CR0_TS);
        vmcs_store(&machine->vmcs, VMCS_CR0_READ_SHADOW, i & 2 ? CR0_TS : ~CR0_TS);
        cr_assert_eq(vmx_intercepts_clts(&machine->cpu), i == 3);
    }
    assert_exit(machine, 28, 2 << 4);
    machine_destroy(machine);
}

Test(vmx_intercepts, masked_control_registers)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    uint64_t seed = (uint64_t)time(NULL) * 2 + 1;
    printf("seed %#lx\n", (unsigned long)seed);
    for (unsigned round = 0; round < 1000; round++) {
        uint64_t mask = 1ull << random_next(&seed) % 32 | 1ull << random_next(&seed) % 32;
        uint64_t shadow = random_next(&seed) & UINT32_MAX, value = shadow;
        uint64_t flipped = random_next(&seed) & random_next(&seed) & UINT32_MAX;
        if (round & 1)
            flipped &= ~mask;
        value ^= flipped;
        vmcs_store(&machine->vmcs, VMCS_CR0_MASK, mask);
        vmcs_store(&machine->vmcs, VMCS_CR0_READ_SHADOW, shadow);
        vmcs_store(&machine->vmcs, VMCS_CR4_MASK, mask);
        vmcs_store(&machine->vmcs, VMCS_CR4_READ_SHADOW, shadow);
        cr_assert_eq(vmx_intercepts_mov_to_cr(cpu, 0, GPR_RBX, value), (flipped & mask) != 0);
        if (flipped & mask)
            assert_exit(machine, 28, 0 | 0 << 4 | 3 << 8);
        cr_assert_eq(vmx_intercepts_mov_to_cr(cpu, 4, GPR_R15, value), (flipped & mask) != 0);
        if (flipped & mask)
            assert_exit(machine, 28, 4 | 0 << 4 | 15 << 8);
        for (unsigned bit = 0; bit < 32; bit++) {
            bool owned = mask >> bit & 1;
            bool visible0 = vmx_guest_visible_cr0(cpu) >> bit & 1;
            bool visible4 = vmx_guest_visible_cr4(cpu) >> bit & 1;
            bool applied = vmx_apply_cr0_mask(cpu, 0x55555555, value) >> bit & 1;
            cr_assert_eq(visible0, (owned ? shadow : cpu->state.cr0) >> bit & 1);
            cr_assert_eq(visible4, (owned ? shadow : cpu->state.cr4) >> bit & 1);
            cr_assert_eq(applied, (owned ? 0x55555555 : value) >> bit & 1);
            cr_assert_eq(vmx_apply_cr4_mask(cpu, 0x55555555, value) >> bit & 1, applied);
        }
    }
    cr_assert_not(vmx_intercepts_mov_from_cr(cpu, 0, GPR_RAX));
    cr_assert_not(vmx_intercepts_mov_from_cr(cpu, 4, GPR_RAX));
    machine_destroy(machine);
}

Test(vmx_intercepts, cr3_and_cr8)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    const enum vmcs_field field = VMCS_PRIMARY_CONTROLS;
    set_control(machine, field,
                PRIMARY_CR3_LOAD_EXITING | PRIMARY_CR3_STORE_EXITING | PRIMARY_CR8_LOAD_EXITING |
                    PRIMARY_CR8_STORE_EXITING,
                false);
    cr_assert_not(vmx_intercepts_mov_to_cr(cpu, 3, GPR_RAX, 0x1000));
    cr_assert_not(vmx_intercepts_mov_from_cr(cpu, 3, GPR_RAX));
    cr_assert_not(vmx_intercepts_mov_to_cr(cpu, 8, GPR_RAX, 1));
    cr_assert_not(vmx_intercepts_mov_from_cr(cpu, 8, GPR_RAX));

    set_control(machine, field, PRIMARY_CR3_LOAD_EXITING, true);
    for (unsigned i = 0; i < 4; i++)
        vmcs_store(&machine->vmcs, VMCS_CR3_TARGET_0 + i, 0x1000 * (i + 1));
    for (unsigned count = 0; count <= 4; count++) {
        vmcs_store(&machine->vmcs, VMCS_CR3_TARGET_COUNT, count);
        for (unsigned i = 0; i < 5; i++)
            cr_assert_eq(vmx_intercepts_mov_to_cr(cpu, 3, GPR_RCX, 0x1000 * (i + 1)), i >= count);
    }
    assert_exit(machine, 28, 3 | 0 << 4 | 1 << 8);
    cr_assert_not(vmx_intercepts_mov_from_cr(cpu, 3, GPR_RAX));
    set_control(machine, field, PRIMARY_CR3_STORE_EXITING, true);
    cr_assert(vmx_intercepts_mov_from_cr(cpu, 3, GPR_RSP));
    assert_exit(machine, 28, 3 | 1 << 4 | 4 << 8);
    set_control(machine, field, PRIMARY_CR8_LOAD_EXITING, true);
    cr_assert(vmx_intercepts_mov_to_cr(cpu, 8, GPR_RDI, 0));
    assert_exit(machine, 28, 8 | 0 << 4 | 7 << 8);
    set_control(machine, field, PRIMARY_CR8_STORE_EXITING, true);
    cr_assert(vmx_intercepts_mov_from_cr(cpu, 8, GPR_R8));
    assert_exit(machine, 28, 8 | 1 << 4 | 8 << 8);

    set_control(machine, field, PRIMARY_MOV_DR_EXITING, false);
    cr_assert_not(vmx_intercepts_mov_dr(cpu, 7, true, GPR_RAX));
    set_control(machine, field, PRIMARY_MOV_DR_EXITING, true);
    cr_assert(vmx_intercepts_mov_dr(cpu, 7, true, GPR_RSI));
    assert_exit(machine, 29, 7 | 0 << 4 | 6 << 8);
    cr_assert(vmx_intercepts_mov_dr(cpu, 6, false, GPR_R9));
    assert_exit(machine, 29, 6 | 1 << 4 | 9 << 8);
    machine_destroy(machine);
}

/* --- Bitmaps ---------------------------------------------------------------------------------- */

static void fill_random(struct machine *machine, uint64_t hpa, size_t size, uint64_t *seed)
{
    uint8_t *bytes = physmem_at(&machine->physmem, hpa);
    for (size_t i = 0; i < size; i++)
        bytes[i] = random_next(seed) & random_next(seed) & random_next(seed);
}

static bool bit_at(struct machine *machine, uint64_t hpa, unsigned bit)
{
    const uint8_t *bytes = physmem_at(&machine->physmem, hpa);
    return bytes[bit / 8] & 1 << bit % 8;
}

Test(vmx_intercepts, io_bitmaps)
{
    struct machine *machine = machine_at_instruction();
    uint64_t seed = (uint64_t)time(NULL) * 2 + 1;
    unsigned exits = 0;
    printf("seed %#lx\n", (unsigned long)seed);
    fill_random(machine, machine->io_bitmaps, 2 * FRAME_SIZE, &seed);
    /* Both bitmaps lie side by side here: one map of 65536 bits. Every port, every size. */
    for (unsigned port = 0; port < 0x10000; port++) {
        for (unsigned size = 1; size <= 4; size *= 2) {
            struct io_access access = {.port = port, .size = size, .in = port & 1};
            bool expected = port + size > 0x10000;
            for (unsigned i = port; i < port + size && i < 0x10000; i++)
                expected |= bit_at(machine, machine->io_bitmaps, i);
            cr_assert_eq(vmx_intercepts_io(&machine->cpu, &access), expected, "port %#x size %u",
                         port, size);
            exits += expected;
        }
    }
    cr_assert(exits > 1000 && exits < 3 * 0x10000 - 1000);
    machine_destroy(machine);
}

Test(vmx_intercepts, io_controls_and_information)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    struct io_access access = {.port = 0x3f8, .size = 2, .in = true, .immediate = true};
    /* Without bitmaps "unconditional I/O exiting" decides; with them it is ignored. */
    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_IO_BITMAPS, false);
    cr_assert_not(vmx_intercepts_io(cpu, &access));
    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_UNCONDITIONAL_IO_EXITING, true);
    cr_assert(vmx_intercepts_io(cpu, &access));
    assert_exit(machine, 30, 1 | 1 << 3 | 1 << 6 | 0x3f8 << 16);
    cr_assert_eq(cpu->exit.instruction_info, 0);
    cr_assert_eq(cpu->exit.instruction_length, LENGTH);
    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_IO_BITMAPS, true);
    cr_assert_not(vmx_intercepts_io(cpu, &access));
    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_IO_BITMAPS, false);

    struct io_access string = {.port = 0xffff,
                               .size = 4,
                               .string = true,
                               .rep = true,
                               .segment = SEG_FS,
                               .address_size = 4,
                               .linear = 0xfffff000};
    cr_assert(vmx_intercepts_io(cpu, &string));
    assert_exit(machine, 30, 3 | 1 << 4 | 1 << 5 | 0xffffull << 16);
    cr_assert_eq(cpu->exit.instruction_info, 1 << 7 | 4 << 15);
    cr_assert_eq(cpu->exit.guest_linear_address, 0xfffff000);
    string.address_size = 8;
    cr_assert(vmx_intercepts_io(cpu, &string));
    cr_assert_eq(cpu->exit.instruction_info, 2 << 7 | 4 << 15);
    string.address_size = 2;
    cr_assert(vmx_intercepts_io(cpu, &string));
    cr_assert_eq(cpu->exit.instruction_info, 4 << 15);
    machine_destroy(machine);
}

/* A bitmap's address may lie where there is no memory: it reads as ones there. */
Test(vmx_intercepts, bitmaps_without_memory)
{
    struct machine *machine = machine_at_instruction();
    struct io_access access = {.port = 0, .size = 1};
    vmcs_store(&machine->vmcs, VMCS_IO_BITMAP_A, MACHINE_MEMORY);
    vmcs_store(&machine->vmcs, VMCS_MSR_BITMAP, MACHINE_MEMORY);
    cr_assert(vmx_intercepts_io(&machine->cpu, &access));
    cr_assert(vmx_intercepts_msr(&machine->cpu, false, 0x10));
    machine_destroy(machine);
}

Test(vmx_intercepts, msr_bitmap)
{
    struct machine *machine = machine_at_instruction();
    struct cpu *cpu = &machine->cpu;
    uint64_t seed = (uint64_t)time(NULL) * 2 + 1;
    printf("seed %#lx\n", (unsigned long)seed);
    fill_random(machine, machine->msr_bitmap, FRAME_SIZE, &seed);
    for (unsigned i = 0; i < 0x2000; i++) {
        uint64_t map = machine->msr_bitmap;
        cr_assert_eq(vmx_intercepts_msr(cpu, false, i), bit_at(machine, map, i));
        cr_assert_eq(vmx_intercepts_msr(cpu, false, 0xc0000000 + i),
                     bit_at(machine, map + 1024, i));
        cr_assert_eq(vmx_intercepts_msr(cpu, true, i), bit_at(machine, map + 2048, i));
        cr_assert_eq(vmx_intercepts_msr(cpu, true, 0xc0000000 + i), bit_at(machine, map + 3072, i));
    }
    memset(physmem_at(&machine->physmem, machine->msr_bitmap), 0, FRAME_SIZE);
    static const uint32_t outside[] = {0x2000, 0x40000000, 0xbfffffff, 0xc0002000, 0xffffffff};
    for (unsigned i = 0; i < 5; i++) {
        cr_assert(vmx_intercepts_msr(cpu, false, outside[i]));
        assert_exit(machine, 31, 0);
        cr_assert(vmx_intercepts_msr(cpu, true, outside[i]));
        assert_exit(machine, 32, 0);
    }
    cr_assert_not(vmx_intercepts_msr(cpu, true, 0x10));
    set_control(machine, VMCS_PRIMARY_CONTROLS, PRIMARY_MSR_BITMAPS, false);
    cr_assert(vmx_intercepts_msr(cpu, true, 0x10));
    cr_assert(vmx_intercepts_msr(cpu, false, 0x10));
    machine_destroy(machine);
}
