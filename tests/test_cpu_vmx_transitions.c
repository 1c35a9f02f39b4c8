/*
 * VM entries and VM exits as a whole: state that goes through them unchanged, state that they
 * change (SDM "Loading Guest State", "Saving Guest State", "Loading Host State").
 */
#include "tests/vmx_machine.h"

#include <stdio.h>
#include <time.h>

/* --- Round trips ------------------------------------------------------------------------------ */

static uint64_t random_canonical(uint64_t *seed)
{
    return (uint64_t)((int64_t)(random_next(seed) << 16) >> 16);
}

static void randomize(struct machine *machine, enum vmcs_field field, uint64_t value)
{
    vmcs_set(&machine->vmcs, field, value);
}

/* Guest fields that may hold anything, in a guest that is otherwise valid. */
static void randomize_guest(struct machine *machine, enum guest guest, uint64_t *seed)
{
    uint64_t rflags = machine_field(machine, VMCS_GUEST_RFLAGS);
    static const enum vmcs_field addresses[] = {VMCS_GUEST_SYSENTER_ESP, VMCS_GUEST_SYSENTER_EIP,
                                                VMCS_GUEST_GDTR_BASE,    VMCS_GUEST_IDTR_BASE,
                                                VMCS_GUEST_TR_BASE,      VMCS_GUEST_LDTR_BASE};
    for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
        randomize(machine, addresses[i], random_canonical(seed));
    randomize(machine, VMCS_GUEST_GDTR_LIMIT, random_next(seed) & 0xffff);
    randomize(machine, VMCS_GUEST_IDTR_LIMIT, random_next(seed) & 0xffff);
    randomize(machine, VMCS_GUEST_SYSENTER_CS, random_next(seed));
    randomize(machine, VMCS_GUEST_RSP, random_next(seed));
    randomize(machine, VMCS_GUEST_RIP,
              guest == GUEST_64BIT ? random_canonical(seed) : random_next(seed) & UINT32_MAX);
    /* CF, PF, AF, ZF, SF, DF, OF, IOPL, NT, RF, AC, VIF, VIP, ID */
    randomize(machine, VMCS_GUEST_RFLAGS, rflags | (random_next(seed) & 0x3d7cd5));
    randomize(machine, VMCS_GUEST_CR0,
              machine_field(machine, VMCS_GUEST_CR0) |
                  (random_next(seed) & (CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM)));
    randomize(machine, VMCS_GUEST_CR3, random_next(seed) & ((1ull << 46) - 1));
    randomize(machine, VMCS_GUEST_CR4,
              machine_field(machine, VMCS_GUEST_CR4) |
                  (random_next(seed) & (CR4_TSD | CR4_DE | CR4_PGE | CR4_OSFXSR | CR4_SMEP)));
    randomize(machine, VMCS_GUEST_DR7, DR7_FIXED | (random_next(seed) & 0xffff23ff));
    randomize(machine, VMCS_GUEST_DEBUGCTL, random_next(seed) & DEBUGCTL_BTF);
    randomize(machine, VMCS_GUEST_EFER,
              machine_field(machine, VMCS_GUEST_EFER) |
                  (random_next(seed) & (EFER_SCE | EFER_NXE)));
    randomize(machine, VMCS_GUEST_PAT, random_next(seed) & 1 ? 0x0706050401000607 : PAT_AT_RESET);
    for (unsigned i = 0; guest == GUEST_PAE && i < 4; i++)
        randomize(machine, VMCS_GUEST_PDPTE0 + i, random_next(seed) & 0x00003ffffffff019);
    randomize(machine, VMCS_GUEST_INTERRUPTIBILITY, random_next(seed) & BLOCKING_BY_NMI);
    for (unsigned i = SEG_ES; i <= SEG_LDTR; i++) {
        bool unusable = random_next(seed) % 4 == 0 && i != SEG_CS && guest != GUEST_VIRTUAL_8086;
        if (unusable)
            randomize(machine, VMCS_GUEST_ES_ACCESS_RIGHTS + i,
                      AR_UNUSABLE | (i == SEG_SS ? 0 : random_next(seed) & 0xf0ff));
    }
}

/* Guest-state fields that VM exits do not save: other features' and those without a register. */
static bool exit_saves(enum vmcs_field field, enum guest guest)
{
    static const enum vmcs_field unsaved[] = {VMCS_GUEST_INTERRUPT_STATUS,
                                              VMCS_PML_INDEX,
                                              VMCS_GUEST_UINV,
                                              VMCS_VMCS_LINK_POINTER,
                                              VMCS_GUEST_BNDCFGS,
                                              VMCS_GUEST_PERF_GLOBAL_CTRL,
                                              VMCS_GUEST_RTIT_CTL,
                                              VMCS_GUEST_LBR_CTL,
                                              VMCS_GUEST_PKRS,
                                              VMCS_GUEST_SMBASE,
                                              VMCS_GUEST_S_CET,
                                              VMCS_GUEST_SSP,
                                              VMCS_GUEST_INTERRUPT_SSP_TABLE};
    if ((vmcs_field_encoding(field) >> 10 & 3) != 2)
        return false;
    if (field >= VMCS_GUEST_PDPTE0 && field <= VMCS_GUEST_PDPTE3)
        return guest == GUEST_PAE;
    for (unsigned i = 0; i < sizeof(unsaved) / sizeof(unsaved[0]); i++)
        if (unsaved[i] == field)
            return false;
    return true;
}

/* While the guest runs, software may find anything in fields that the exit will save. */
static void poison_saved_fields(struct machine *machine, enum guest guest)
{
    for (enum vmcs_field i = 0; i < VMCS_FIELD_COUNT; i++)
        if (exit_saves(i, guest))
            vmcs_store(&machine->vmcs, i, 0x5a5a5a5a5a5a5a5a & vmcs_field_mask(i));
}

/* Entry and exit again bring every guest-state field back as it was; so does a second entry. */
Test(vmx_transitions, entry_and_exit_preserve_every_guest_field)
{
    struct machine *machine = machine_create();
    uint64_t seed = (uint64_t)time(NULL) * 2 + 1, start = seed;
    printf("seed %#lx\n", (unsigned long)start);
    for (unsigned round = 0; round < 4000; round++) {
        struct vmcs before;
        enum guest guest = round % GUEST_COUNT;
        machine_prepare(machine, guest);
        randomize_guest(machine, guest, &seed);
        before = machine->vmcs;
        for (unsigned trip = 0; trip < 2; trip++) {
            cr_assert_eq(vmentry(&machine->cpu, trip == 0), VMENTRY_OK, "seed %#lx, round %u",
                         (unsigned long)start, round);
            cr_assert_eq(machine->cpu.state.rip, vmcs_get(&before, VMCS_GUEST_RIP));
            poison_saved_fields(machine, guest);
            machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
            for (enum vmcs_field i = 0; i < VMCS_FIELD_COUNT; i++)
                cr_assert(vmcs_field_read_only(i) ||
                              machine_field(machine, i) == vmcs_get(&before, i),
                          "seed %#lx, round %u: %s was %#lx, is %#lx", (unsigned long)start, round,
                          vmcs_field_name(i), (unsigned long)vmcs_get(&before, i),
                          (unsigned long)machine_field(machine, i));
        }
        cr_assert_eq(machine->vmcs.dirty, 0);
    }
    machine_destroy(machine);
}

/* What the guest does to its registers arrives in the VMCS. */
Test(vmx_transitions, exit_saves_what_the_guest_changed)
{
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    struct cpu_state *state = &machine->cpu.state;
    machine->tsc += 3 << 7;
    state->rip = 0xffffffff80001000;
    state->gpr[GPR_RSP] = 0x7000;
    state->cr3 = 0x42000;
    state->seg[SEG_FS].base = 0x7f0000001000;
    state->seg[SEG_SS].access_rights |= AR_DPL_MASK;
    state->efer |= EFER_SCE;
    state->dr7 = 0x401;
    state->pat = 0;
    state->sysenter_eip = 0x12345;
    state->interruptibility = BLOCKING_BY_NMI;
    state->pending_debug = 1 << 12 | 1;
    machine_leave_guest_by(machine, EXIT_MONITOR_TRAP_FLAG);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_RIP), 0xffffffff80001000);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_RSP), 0x7000);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_CR3), 0x42000);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_FS_BASE), 0x7f0000001000);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_SS_ACCESS_RIGHTS) & AR_DPL_MASK, AR_DPL_MASK);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_EFER), EFER_LMA | EFER_LME | EFER_SCE);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_DR7), 0x401);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_PAT), 0);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_SYSENTER_EIP), 0x12345);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_BY_NMI);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_PENDING_DEBUG), 1 << 12 | 1);
    cr_assert_eq(machine_field(machine, VMCS_PREEMPTION_TIMER_VALUE), 0x10000 - 3);
    machine_destroy(machine);
}

/* "save debug controls", "save IA32_PAT", ...: without the control the field stays. */
Test(vmx_transitions, exit_saves_by_control)
{
    struct machine *machine = machine_create();
    struct cpu_state *state = &machine->cpu.state;
    machine_prepare(machine, GUEST_64BIT);
    vmcs_set(
        &machine->vmcs, VMCS_EXIT_CONTROLS,
        vmx_control_adjust(&machine->profile, VMCS_EXIT_CONTROLS, EXIT_HOST_ADDRESS_SPACE_SIZE) &
            ~EXIT_SAVE_DEBUG_CONTROLS);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    machine->tsc += 1000;
    state->dr7 = 0x4ff;
    state->debugctl = DEBUGCTL_BTF;
    state->pat = 0;
    state->efer |= EFER_SCE;
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_DR7), 0x400);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_DEBUGCTL), 0);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_PAT), PAT_AT_RESET);
    cr_assert_eq(machine_field(machine, VMCS_GUEST_EFER), EFER_LMA | EFER_LME);
    cr_assert_eq(machine_field(machine, VMCS_PREEMPTION_TIMER_VALUE), 0x10000);
    /* Not loaded either: the guest's values stay in the processor, LMA and LME excepted. */
    cr_assert_eq(state->pat, 0);
    cr_assert_eq(state->efer, EFER_LMA | EFER_LME | EFER_SCE);
    machine_destroy(machine);
}

/* Without "load IA32_EFER" the host gets LMA and LME by "host address-space size"; "load IA32_PAT"
 * brings the host's. CR4.PAE and PCIDE follow the address-space size whatever the field holds. */
Test(vmx_transitions, exit_loads_by_control)
{
    struct machine *machine = machine_create();
    machine_prepare(machine, GUEST_PROTECTED);
    vmcs_set(&machine->vmcs, VMCS_EXIT_CONTROLS,
             machine_field(machine, VMCS_EXIT_CONTROLS) & ~EXIT_LOAD_EFER);
    vmcs_set(&machine->vmcs, VMCS_HOST_PAT, 0x0707070707070707);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    cr_assert_eq(machine->cpu.state.pat, PAT_AT_RESET);
    cr_assert_eq(machine->cpu.state.efer, 0);
    machine->cpu.state.efer = EFER_NXE;
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cr_assert_eq(machine->cpu.state.efer, EFER_LMA | EFER_LME | EFER_NXE);
    cr_assert_eq(machine->cpu.state.pat, 0x0707070707070707);
    vmcs_store(&machine->vmcs, VMCS_HOST_CR4, CR4_VMXE);
    cr_assert(vmexit_load_host_state(&machine->cpu));
    cr_assert_eq(machine->cpu.state.cr4, CR4_VMXE | CR4_PAE);
    machine_prepare(machine, GUEST_32BIT_HOST);
    vmcs_store(&machine->vmcs, VMCS_HOST_CR4, CR4_VMXE | CR4_PCIDE);
    cr_assert(vmexit_load_host_state(&machine->cpu));
    cr_assert_eq(machine->cpu.state.cr4, CR4_VMXE);
    machine_destroy(machine);
}

/* IA32_EFER.LMA goes into "IA-32e mode guest" where the processor says so. */
Test(vmx_transitions, exit_stores_lma_as_entry_control)
{
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    machine->cpu.state.efer &= ~EFER_LMA;
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cr_assert_not(machine_field(machine, VMCS_ENTRY_CONTROLS) & ENTRY_IA32E_MODE_GUEST);
    machine_prepare(machine, GUEST_PROTECTED);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    machine->cpu.state.efer |= EFER_LMA;
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cr_assert(machine_field(machine, VMCS_ENTRY_CONTROLS) & ENTRY_IA32E_MODE_GUEST);
    machine_destroy(machine);
}

/* "Loading Host Segment and Descriptor-Table Registers" and neighbours. */
Test(vmx_transitions, exit_loads_host_state)
{
    struct machine *machine = machine_create();
    const struct cpu_state *state = &machine->cpu.state;
    machine_prepare(machine, GUEST_PROTECTED);
    vmcs_set(&machine->vmcs, VMCS_HOST_DS_SELECTOR, 0);
    vmcs_set(&machine->vmcs, VMCS_HOST_FS_BASE, 0x1111);
    vmcs_set(&machine->vmcs, VMCS_HOST_GS_BASE, 0xffff888000002222);
    vmcs_set(&machine->vmcs, VMCS_HOST_TR_BASE, 0x3333);
    vmcs_set(&machine->vmcs, VMCS_HOST_GDTR_BASE, 0x4444);
    vmcs_set(&machine->vmcs, VMCS_HOST_IDTR_BASE, 0x5555);
    vmcs_set(&machine->vmcs, VMCS_HOST_SYSENTER_CS, 0x10);
    vmcs_set(&machine->vmcs, VMCS_HOST_SYSENTER_ESP, 0x6666);
    vmcs_set(&machine->vmcs, VMCS_HOST_SYSENTER_EIP, 0x7777);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    machine->cpu.state.dr7 = 0x4ff;
    machine->cpu.state.debugctl = 1;
    machine->cpu.state.cr0 |= CR0_CD;
    machine->cpu.state.cr2 = 0x2222;
    machine->cpu.state.pending_debug = 1 << 14;
    machine->cpu.state.interruptibility = BLOCKING_BY_STI;
    machine->cpu.state.activity = ACTIVITY_HLT;
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);

    cr_assert_eq(state->rip, HOST_ENTRY_POINT);
    cr_assert_eq(state->gpr[GPR_RSP], HOST_ENTRY_POINT + 0x10000);
    cr_assert_eq(state->rflags, 2);
    cr_assert_eq(state->cr0, machine_field(machine, VMCS_HOST_CR0) | CR0_CD);
    cr_assert_eq(state->cr2, 0x2222);
    cr_assert_eq(state->cr3, 0x1000);
    cr_assert_eq(state->cr4, machine_field(machine, VMCS_HOST_CR4));
    cr_assert_eq(state->efer, machine_field(machine, VMCS_HOST_EFER));
    cr_assert_eq(state->dr7, 0x400);
    cr_assert_eq(state->debugctl, 0);
    cr_assert_eq(state->sysenter_cs, 0x10);
    cr_assert_eq(state->sysenter_esp, 0x6666);
    cr_assert_eq(state->sysenter_eip, 0x7777);
    static const struct segment expected[SEG_COUNT] = {
        [SEG_ES] = {0, UINT32_MAX, 0xc093, HOST_DATA},
        [SEG_CS] = {0, UINT32_MAX, 0xa09b, HOST_CODE},
        [SEG_SS] = {0, UINT32_MAX, 0xc093, HOST_DATA},
        [SEG_DS] = {0, UINT32_MAX, 0x1c093, 0},
        [SEG_FS] = {0x1111, UINT32_MAX, 0xc093, HOST_DATA},
        [SEG_GS] = {0xffff888000002222, UINT32_MAX, 0xc093, HOST_DATA},
        [SEG_LDTR] = {0, 0, AR_UNUSABLE, 0},
        [SEG_TR] = {0x3333, 0x67, 0x8b, HOST_TSS},
    };
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        cr_assert_eq(state->seg[i].selector, expected[i].selector, "%u", i);
        cr_assert_eq(state->seg[i].base, expected[i].base, "%u", i);
        cr_assert_eq(state->seg[i].limit, expected[i].limit, "%u", i);
        cr_assert_eq(state->seg[i].access_rights, expected[i].access_rights, "%u", i);
    }
    cr_assert_eq(state->gdtr.base, 0x4444);
    cr_assert_eq(state->gdtr.limit, 0xffff);
    cr_assert_eq(state->idtr.base, 0x5555);
    cr_assert_eq(state->idtr.limit, 0xffff);
    cr_assert_eq(state->interruptibility, 0);
    cr_assert_eq(state->activity, ACTIVITY_ACTIVE);
    cr_assert_eq(state->pending_debug, 0);
    cr_assert_not(machine->cpu.mmu.ept_enabled);
    cr_assert_eq(machine->cpu.mmu.vpid, 0);
    cr_assert_eq(machine->cpu.mmu.regs.cr3, 0x1000);
    machine_destroy(machine);
}

Test(vmx_transitions, a_32_bit_host_has_32_bit_code)
{
    struct machine *machine = machine_in_guest(GUEST_32BIT_HOST);
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cr_assert_eq(machine->cpu.state.seg[SEG_CS].access_rights, 0xc09b);
    cr_assert_eq(machine->cpu.state.efer & (EFER_LMA | EFER_LME), 0);
    cr_assert_eq(machine->cpu.state.rip, 0x100000);
    machine_destroy(machine);
}

/* Translation follows the transitions. */
Test(vmx_transitions, entry_loads_translation_controls)
{
    struct machine *machine = machine_in_guest(GUEST_PAE);
    const struct mmu *mmu = &machine->cpu.mmu;
    cr_assert(mmu->ept_enabled);
    cr_assert_eq(mmu->eptp, machine->ept.eptp);
    cr_assert_eq(mmu->vpid, 1);
    cr_assert_eq(mmu->regs.cr3, 0x10000);
    cr_assert_eq(mmu->regs.cr0, machine->cpu.state.cr0);
    machine_prepare(machine, GUEST_PAE);
    for (unsigned i = 0; i < 4; i++)
        vmcs_set(&machine->vmcs, VMCS_GUEST_PDPTE0 + i, 0x1001 + 0x1000 * i);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(machine->cpu.state.pdpte[i], 0x1001 + 0x1000 * i);
        cr_assert_eq(mmu->regs.pdpte[i], 0x1001 + 0x1000 * i);
    }
    machine_destroy(machine);
}

/* Without EPT the PDPTEs come from memory; reserved bits there fail the entry. */
Test(vmx_transitions, entry_loads_pdptes_from_memory)
{
    struct machine *machine = machine_create();
    machine_prepare(machine, GUEST_RESTRICTED);
    uint64_t frame = physmem_alloc_frame(&machine->physmem);
    uint64_t *pdptes = physmem_at(&machine->physmem, frame);
    vmcs_set(&machine->vmcs, VMCS_GUEST_CR4, CR4_VMXE | CR4_PAE);
    vmcs_set(&machine->vmcs, VMCS_GUEST_CR3, frame);
    pdptes[2] = 0x5001;
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    cr_assert_eq(machine->cpu.state.pdpte[2], 0x5001);
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    pdptes[1] = 0x5003;
    cr_assert_eq(vmentry(&machine->cpu, false), VMENTRY_FAILED_GUEST);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_REASON), 0x80000021);
    cr_assert_eq(machine_field(machine, VMCS_EXIT_QUALIFICATION), 2);
    cr_assert_eq(machine->cpu.state.rip, HOST_ENTRY_POINT);
    cr_assert_not(machine->cpu.mmu.ept_enabled);
    machine_destroy(machine);
}

/* "Loading Guest Control Registers, Debug Registers, and MSRs", without "load IA32_EFER". */
Test(vmx_transitions, entry_without_load_efer)
{
    struct machine *machine = machine_create();
    static const struct {
        enum guest guest;
        uint64_t host_lme, expected;
    } rows[] = {
        {GUEST_64BIT, EFER_LME, EFER_LMA | EFER_LME},
        {GUEST_PROTECTED, EFER_LME, 0},
        {GUEST_UNPAGED, EFER_LME, EFER_LME}, /* without paging LME stays */
        {GUEST_UNPAGED, 0, 0},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        machine_prepare(machine, rows[i].guest);
        vmcs_set(&machine->vmcs, VMCS_ENTRY_CONTROLS,
                 machine_field(machine, VMCS_ENTRY_CONTROLS) & ~ENTRY_LOAD_EFER);
        machine->cpu.state.efer = EFER_LMA | EFER_NXE | rows[i].host_lme;
        cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
        cr_assert_eq(machine->cpu.state.efer, EFER_NXE | rows[i].expected, "row %u", i);
    }
    machine_destroy(machine);
}

/* CR0.CD, NW and ET are the processor's, not the VMCS's. DR7 has fixed bits. */
Test(vmx_transitions, entry_keeps_cache_bits)
{
    struct machine *machine = machine_create();
    machine_prepare(machine, GUEST_64BIT);
    vmcs_set(&machine->vmcs, VMCS_GUEST_CR0,
             machine_field(machine, VMCS_GUEST_CR0) | CR0_CD | CR0_NW);
    vmcs_set(&machine->vmcs, VMCS_GUEST_DR7, 0xffffffff);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    cr_assert_eq(machine->cpu.state.cr0, CR0_PG | CR0_NE | CR0_PE | CR0_ET);
    cr_assert_eq(machine->cpu.state.dr7, 0xffff2fff);
    machine_destroy(machine);
}

/* The engine learns that all registers are new, and that its translations are stale only where the
 * SDM flushes: on transitions without VPID. */
Test(vmx_transitions, engine_is_told_what_changed)
{
    struct machine *machine = machine_create();
    const uint32_t state = CPU_CHANGED_CR0 | CPU_CHANGED_CR3 | CPU_CHANGED_CR4 | CPU_CHANGED_EFER |
                           CPU_CHANGED_DEBUG | CPU_CHANGED_SEGMENTS | CPU_CHANGED_MSR;
    for (unsigned vpid = 0; vpid < 2; vpid++) {
        uint32_t *changed = &machine->cpu.changed;
        uint32_t flush = vpid ? 0 : CPU_CHANGED_TLB;
        machine_prepare(machine, GUEST_64BIT);
        if (!vpid)
            vmcs_set(&machine->vmcs, VMCS_SECONDARY_CONTROLS,
                     machine_field(machine, VMCS_SECONDARY_CONTROLS) & ~SECONDARY_VPID);
        *changed = 0;
        cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
        cr_assert_eq(*changed & (state | CPU_CHANGED_TLB), state | flush, "VPID %u", vpid);
        *changed = 0;
        machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
        cr_assert_eq(*changed & (state | CPU_CHANGED_TLB), state | flush, "VPID %u", vpid);
    }
    machine_destroy(machine);
}

/* What PAUSE-loop exiting and IRET left behind does not reach over a VM entry. */
Test(vmx_transitions, entry_starts_afresh)
{
    struct machine *machine = machine_in_guest(GUEST_64BIT);
    struct cpu *cpu = &machine->cpu;
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cpu->vmx.last_pause = cpu->vmx.first_pause = 1;
    cpu->vmx.nmi_unblocked_by_iret = true;
    cr_assert_eq(vmentry(cpu, false), VMENTRY_OK);
    cr_assert_not(cpu->vmx.nmi_unblocked_by_iret);
    vmcs_store(&machine->vmcs, VMCS_SECONDARY_CONTROLS, SECONDARY_PAUSE_LOOP_EXITING);
    vmcs_store(&machine->vmcs, VMCS_PLE_GAP, UINT32_MAX);
    cr_assert_not(vmx_intercepts_pause(cpu, 2));
    cr_assert(vmx_intercepts_pause(cpu, 3));
    machine_destroy(machine);
}

/* --- VMLAUNCH and VMRESUME -------------------------------------------------------------------- */

Test(vmx_transitions, launch_state)
{
    struct machine *machine = machine_create();
    machine_prepare(machine, GUEST_64BIT);
    cr_assert_eq(vmentry(&machine->cpu, false), VMENTRY_FAILED_CONTROLS);
    cr_assert_eq(machine_field(machine, VMCS_VM_INSTRUCTION_ERROR), 5);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_FAILED_CONTROLS);
    cr_assert_eq(machine_field(machine, VMCS_VM_INSTRUCTION_ERROR), 4);
    machine->cpu.state.interruptibility = BLOCKING_BY_MOV_SS;
    cr_assert_eq(vmentry(&machine->cpu, false), VMENTRY_FAILED_CONTROLS);
    cr_assert_eq(machine_field(machine, VMCS_VM_INSTRUCTION_ERROR), 26);
    machine->cpu.state.interruptibility = 0;
    cr_assert_eq(vmentry(&machine->cpu, false), VMENTRY_OK);
    machine_leave_guest_by(machine, EXIT_INTERRUPT_WINDOW);
    vmcs_clear(&machine->vmcs, 4);
    cr_assert_eq(vmentry(&machine->cpu, false), VMENTRY_FAILED_CONTROLS);
    cr_assert_eq(vmentry(&machine->cpu, true), VMENTRY_OK);
    machine_destroy(machine);
}
