/*
 * Event delivery in IA-32e mode: frame, stack, registers, error codes of every fault on the way,
 * and restarting after EPT violations. Expectations are from the SDM's "Interrupt and Exception
 * Handling in 64-bit Mode" and from the operation of "INT n/INTO/INT3/INT1".
 */
#include "cpu_tables.h"

static struct machine machine;

static void set_up(void)
{
    machine_init(&machine);
}

static void tear_down(void)
{
    machine_destroy(&machine);
}

TestSuite(delivery_64, .init = set_up, .fini = tear_down);

static void prepare(unsigned cpl)
{
    machine_set_mode(&machine, MODE_64BIT, 0);
    tables_build_64bit(&machine);
    tables_start_program(&machine, true, cpl);
}

static const struct {
    const char *name;
    struct event event;
    bool fault; /* RFLAGS.RF = 1 in the image */
} events[] = {
    {"external interrupt", {.type = EVENT_EXTERNAL_INTERRUPT, .vector = 0x80}, false},
    {"NMI", {.type = EVENT_NMI, .vector = VECTOR_NMI}, false},
    {"#UD", {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_UD}, true},
    {"#GP",
     {.type = EVENT_HARDWARE_EXCEPTION,
      .vector = VECTOR_GP,
      .has_error_code = true,
      .error_code = 0x1234},
     true},
    {"#PF",
     {.type = EVENT_HARDWARE_EXCEPTION,
      .vector = VECTOR_PF,
      .has_error_code = true,
      .error_code = 6,
      .cr2 = 0xffff800012345678},
     true},
    {"#DB trap", {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB, .debug = DR6_BS}, false},
    {"#DB general detect",
     {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB, .debug = DR6_BD},
     true},
    {"#MC", {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_MC}, false},
    {"INT 0x40",
     {.type = EVENT_SOFTWARE_INTERRUPT, .vector = 0x40, .instruction_length = 2},
     false},
    /* Not exceptions, whatever the vector. */
    {"INT 13",
     {.type = EVENT_SOFTWARE_INTERRUPT, .vector = VECTOR_GP, .instruction_length = 2},
     false},
    {"interrupt 0", {.type = EVENT_EXTERNAL_INTERRUPT, .vector = VECTOR_DE}, false},
    {"INT3",
     {.type = EVENT_SOFTWARE_EXCEPTION, .vector = VECTOR_BP, .instruction_length = 1},
     false},
    {"INT1",
     {.type = EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, .vector = VECTOR_DB, .instruction_length = 1},
     false},
};
#define EVENTS (sizeof(events) / sizeof(events[0]))

static bool is_software(const struct event *event)
{
    return event->type >= EVENT_SOFTWARE_INTERRUPT;
}

/* One combination of everything that decides about the frame. */
struct combination {
    unsigned cpl, ist, event;
    bool trap_gate, conforming, inner_cpl1;
};

static void check_delivery(const struct combination *c)
{
    const struct event *event = &events[c->event].event;
    struct cpu *cpu = &machine.cpu;
    struct cpu_state before;
    uint16_t code = c->conforming ? LONG_CONFORMING0 : c->inner_cpl1 ? LONG1 : LONG0;
    unsigned handler_cpl = c->conforming ? c->cpl : c->inner_cpl1 ? 1 : 0;
    bool inner = handler_cpl < c->cpl;
    uint64_t stack, frame[6];
    unsigned slots = event->has_error_code ? 6 : 5;

    prepare(c->cpl);
    tables_set_gate64(&machine, event->vector, code, handler_of(event->vector),
                      (c->trap_gate ? 0x8f : 0x8e) | c->cpl << 5, c->ist);
    cpu->state.interruptibility = BLOCKING_BY_STI;
    cpu->state.dr7 |= DR7_GD;
    cpu->state.activity = ACTIVITY_HLT;
    before = cpu->state;
    cr_assert_eq(cpu_deliver(cpu, event, false), DELIVERED, "%s", events[c->event].name);

    stack = c->ist                 ? IST_STACK(c->ist)
            : inner && handler_cpl ? STACK1
            : inner                ? STACK0
                                   : USER_STACK;
    stack = (stack & ~15ull) - 8 * slots;
    cr_assert_eq(cpu->state.gpr[GPR_RSP], stack);
    memcpy(frame, physmem_at(&machine.physmem, stack), 8 * slots);
    if (event->has_error_code)
        cr_assert_eq(frame[0], event->error_code);
    else
        memmove(frame + 1, frame, 40);
    cr_assert_eq(frame[1], before.rip + (is_software(event) ? event->instruction_length : 0));
    cr_assert_eq(frame[2], before.seg[SEG_CS].selector);
    cr_assert_eq(frame[3], before.rflags | (events[c->event].fault ? RFLAGS_RF : 0), "%s",
                 events[c->event].name);
    cr_assert_eq(frame[4], before.gpr[GPR_RSP]);
    cr_assert_eq(frame[5], before.seg[SEG_SS].selector);

    cr_assert_eq(cpu->state.rip, handler_of(event->vector));
    cr_assert_eq(cpu->state.seg[SEG_CS].selector, code | handler_cpl);
    cr_assert_eq(cpu->state.seg[SEG_CS].access_rights,
                 0x2000u | (c->conforming ? 0x9fu : 0x9bu) | (c->inner_cpl1 ? 0x20u : 0));
    cr_assert_eq(cpu_cpl(cpu), handler_cpl);
    if (inner) {
        cr_assert_eq(cpu->state.seg[SEG_SS].selector, handler_cpl, "null selector, RPL = CPL");
        cr_assert(cpu->state.seg[SEG_SS].access_rights & AR_UNUSABLE);
    } else {
        cr_assert_eq(cpu->state.seg[SEG_SS].selector, before.seg[SEG_SS].selector);
    }
    cr_assert_eq(cpu->state.rflags, before.rflags & ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF |
                                                      (c->trap_gate ? 0 : RFLAGS_IF)));
    cr_assert_eq(cpu->state.interruptibility, event->type == EVENT_NMI ? BLOCKING_BY_NMI : 0);
    cr_assert_eq(cpu->state.activity, ACTIVITY_ACTIVE);
    cr_assert_eq(cpu->state.cr2, event->vector == VECTOR_PF ? event->cr2 : 0);
    if (event->type == EVENT_HARDWARE_EXCEPTION && event->vector == VECTOR_DB) {
        cr_assert_eq(cpu->state.dr6, DR6_FIXED | event->debug);
        cr_assert_eq(cpu->state.dr7 & DR7_GD, 0);
    } else {
        cr_assert_eq(cpu->state.dr6, DR6_FIXED);
    }
    cr_assert(cpu->changed & CPU_CHANGED_SEGMENTS);
    cr_assert_not(cpu->delivery_in_progress);
}

Test(delivery_64, frames)
{
    for (unsigned event = 0; event < EVENTS; event++)
        for (unsigned i = 0; i < 2 * 2 * 8 * 3; i++) {
            struct combination c = {.event = event,
                                    .trap_gate = i & 1,
                                    .cpl = i & 2 ? 3 : 0,
                                    .ist = i >> 2 & 7,
                                    .conforming = i >> 5 == 1,
                                    .inner_cpl1 = i >> 5 == 2};

            if (c.inner_cpl1 && c.cpl == 0)
                continue; /* a handler that is less privileged: #GP, see below */
            check_delivery(&c);
        }
}

/* From compatibility mode too, delivery enters 64-bit mode. */
Test(delivery_64, from_compatibility_mode)
{
    struct event event = {.type = EVENT_EXTERNAL_INTERRUPT, .vector = 0x30};
    struct cpu *cpu = &machine.cpu;

    prepare(3);
    cpu->state.seg[SEG_CS].access_rights = 0xc0fb;
    cpu->state.seg[SEG_CS].selector = CODE3 | 3;
    cr_assert_eq(cpu_mode(cpu), MODE_COMPATIBILITY);
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERED);
    cr_assert_eq(cpu_mode(cpu), MODE_64BIT);
    cr_assert_eq(cpu->state.gpr[GPR_RSP], STACK0 - 40);
    cr_assert_eq(machine_load(&machine, STACK0 - 32, 8), CODE3 | 3);
}

/* "VM entry ... injection of a page fault or a debug exception modifies neither CR2 nor DR6, DR7."
 */
Test(delivery_64, injected_events_leave_cr2_and_dr6)
{
    struct event fault = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_PF, .cr2 = 0x123};
    struct event debug = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB, .debug = DR6_BS};

    prepare(0);
    machine_enter_vmx(&machine, 0, 0);
    vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, ~0u); /* not consulted */
    machine.cpu.state.dr7 |= DR7_GD;
    cr_assert_eq(cpu_deliver(&machine.cpu, &fault, true), DELIVERED);
    cr_assert_eq(cpu_deliver(&machine.cpu, &debug, true), DELIVERED);
    cr_assert_eq(machine.cpu.state.cr2, 0);
    cr_assert_eq(machine.cpu.state.dr6, DR6_FIXED);
    cr_assert(machine.cpu.state.dr7 & DR7_GD);
}

/* --- Faults on the way ----------------------------------------------------------------------- */

#define NON_CANONICAL 0x800000000000ull

static void gate(uint16_t selector, uint64_t offset, unsigned type, unsigned ist)
{
    tables_set_gate64(&machine, 0x40, selector, offset, type, ist);
}

static void idt_too_small(void)
{
    machine.cpu.state.idtr.limit = 0x40 * 16 + 14;
}
static void gate_of_16_bits(void)
{
    gate(LONG0, HANDLER, 0xe6, 0);
}
static void gate_is_task_gate(void)
{
    gate(LONG0, HANDLER, 0xe5, 0);
}
static void gate_is_call_gate(void)
{
    gate(LONG0, HANDLER, 0xec, 0);
}
static void gate_dpl_0(void)
{
    gate(LONG0, HANDLER, 0x8e, 0);
}
static void gate_not_present(void)
{
    gate(LONG0, HANDLER, 0x6e, 0);
}
/* Entry 0 of the GDT looks like a good code segment, but must not be read. */
static void null_selector(void)
{
    machine_store64(&machine, GDT_ADDRESS, descriptor(0, 0, 0x9a, 0x2));
    gate(3, HANDLER, 0xee, 0);
}

static void beyond_gdt(void)
{
    gate(0x1000, HANDLER, 0xee, 0);
}
/* The LDTR is unusable, whatever its base and limit still say. */
static void in_missing_ldt(void)
{
    gate(LONG0 | 4, HANDLER, 0xee, 0);
    machine.cpu.state.seg[SEG_LDTR] =
        (struct segment){GDT_ADDRESS, GDT_SIZE - 1, AR_UNUSABLE | 0x82, 0x58};
}
static void not_code(void)
{
    gate(DATA0, HANDLER, 0xee, 0);
}
static void system_segment(void)
{
    gate(TSS32_AVAILABLE, HANDLER, 0xee, 0);
}
static void code_not_long(void)
{
    gate(CODE0, HANDLER, 0xee, 0);
}
static void code_long_and_big(void)
{
    gate(LONG_AND_BIG, HANDLER, 0xee, 0);
}
static void code_not_present(void)
{
    gate(LONG_NOT_PRESENT, HANDLER, 0xee, 0);
}
static void rip_non_canonical(void)
{
    gate(LONG0, NON_CANONICAL, 0xee, 0);
}
static void tss_too_small(void)
{
    machine.cpu.state.seg[SEG_TR].limit = 10;
}
static void tss_too_small_for_ist(void)
{
    gate(LONG0, HANDLER, 0xee, 7);
    machine.cpu.state.seg[SEG_TR].limit = 90;
}
static void stack_non_canonical(void)
{
    machine_store64(&machine, TSS_ADDRESS + 4, NON_CANONICAL + 0x100);
}
static void idt_not_mapped(void)
{
    machine_store64(&machine, machine_pte64(IDT_ADDRESS), 0);
}
static void gdt_not_mapped(void)
{
    machine_store64(&machine, machine_pte64(GDT_ADDRESS), 0);
}
static void tss_not_mapped(void)
{
    machine_store64(&machine, machine_pte64(TSS_ADDRESS), 0);
}
static void stack_not_mapped(void)
{
    machine_store64(&machine, machine_pte64(STACK0), 0);
}
static void stack_read_only(void)
{
    machine_store64(&machine, machine_pte64(STACK0), (STACK0 & ~0xfffu) | 5);
    machine.cpu.state.cr0 |= CR0_WP;
}
static void nothing(void)
{
}

/* Error codes: selector | TI | IDT << 1 | EXT; EXT is 0 for INT n and 1 for interrupts. */
#define IDT_CODE (0x40 * 8 + 2)
static const struct {
    const char *name;
    void (*breaks)(void);
    int vector; /* -1: none */
    uint32_t error_code;
    bool int_n_only;
} faults[] = {
    {"nothing", nothing, -1, 0, false},
    {"IDT limit", idt_too_small, VECTOR_GP, IDT_CODE, false},
    {"16-bit gate", gate_of_16_bits, VECTOR_GP, IDT_CODE, false},
    {"task gate", gate_is_task_gate, VECTOR_GP, IDT_CODE, false},
    {"call gate", gate_is_call_gate, VECTOR_GP, IDT_CODE, false},
    {"gate DPL", gate_dpl_0, VECTOR_GP, IDT_CODE, true},
    {"gate not present", gate_not_present, VECTOR_NP, IDT_CODE, false},
    {"null code selector", null_selector, VECTOR_GP, 0, false},
    {"code selector beyond GDT", beyond_gdt, VECTOR_GP, 0x1000, false},
    {"code selector in LDT", in_missing_ldt, VECTOR_GP, LONG0 | 4, false},
    {"not a code segment", not_code, VECTOR_GP, DATA0, false},
    {"system segment", system_segment, VECTOR_GP, TSS32_AVAILABLE, false},
    {"L = 0", code_not_long, VECTOR_GP, CODE0, false},
    {"L = 1 and D = 1", code_long_and_big, VECTOR_GP, LONG_AND_BIG, false},
    {"code not present", code_not_present, VECTOR_NP, LONG_NOT_PRESENT, false},
    {"RIP not canonical", rip_non_canonical, VECTOR_GP, 0, false},
    {"RSP0 beyond TSS", tss_too_small, VECTOR_TS, TSS32_AVAILABLE, false},
    {"IST7 beyond TSS", tss_too_small_for_ist, VECTOR_TS, TSS32_AVAILABLE, false},
    {"RSP0 not canonical", stack_non_canonical, VECTOR_SS, 0, false},
};

static struct event make_event(bool software)
{
    return (struct event){.type = software ? EVENT_SOFTWARE_INTERRUPT : EVENT_EXTERNAL_INTERRUPT,
                          .vector = 0x40,
                          .instruction_length = 2};
}

/* In VMX non-root operation with every exception intercepted, the fault shows in the VM exit. */
static void start_intercepted(void (*breaks)(void))
{
    prepare(3);
    gate(LONG0, handler_of(0x40), 0xee, 0);
    breaks();
    machine_sync_mmu(&machine);
    machine_enter_vmx(&machine, 0, 0);
    vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, ~0u);
}

Test(delivery_64, faults_and_error_codes)
{
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        for (unsigned software = 0; software <= 1; software++) {
            struct event event = make_event(software);
            bool faulty = faults[i].vector >= 0 && (software || !faults[i].int_n_only);
            struct cpu *cpu = &machine.cpu;
            struct cpu_state before;

            start_intercepted(faults[i].breaks);
            before = cpu->state;
            if (!faulty) {
                cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERED, "%s", faults[i].name);
                continue;
            }
            cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERY_EXIT, "%s", faults[i].name);
            cr_assert_eq(cpu->exit.interruption_info,
                         INTR_INFO_VALID | INTR_INFO_ERROR_CODE |
                             EVENT_HARDWARE_EXCEPTION << INTR_INFO_TYPE_SHIFT |
                             (unsigned)faults[i].vector,
                         "%s: 0x%x", faults[i].name, cpu->exit.interruption_info);
            cr_assert_eq(cpu->exit.interruption_error_code,
                         faults[i].error_code | (software ? 0 : 1), "%s: 0x%x", faults[i].name,
                         cpu->exit.interruption_error_code);
            cr_assert(cpu->delivery_in_progress);
            cr_assert_eq(cpu->delivering.vector, 0x40);
            cr_assert_eq(memcmp(&before, &cpu->state, sizeof(before)), 0, "%s", faults[i].name);
        }
}

static const struct {
    const char *name;
    void (*breaks)(void);
    uint64_t cr2;
    uint32_t error_code;
} page_faults[] = {
    {"IDT", idt_not_mapped, IDT_ADDRESS + 0x400, 0},
    {"GDT", gdt_not_mapped, GDT_ADDRESS + LONG0, 0},
    {"TSS", tss_not_mapped, TSS_ADDRESS + 4, 0},
    {"stack", stack_not_mapped, STACK0 - 8, 2},
    {"stack, read-only", stack_read_only, STACK0 - 8, 3},
};

/* Pushes go downwards: the address is that of the first one that faults. */
Test(delivery_64, page_faults)
{
    for (unsigned i = 0; i < sizeof(page_faults) / sizeof(page_faults[0]); i++) {
        struct event event = make_event(true);

        start_intercepted(page_faults[i].breaks);
        cr_assert_eq(cpu_deliver(&machine.cpu, &event, false), DELIVERY_EXIT);
        cr_assert_eq(machine.cpu.exit.interruption_info & 0xff, VECTOR_PF);
        cr_assert_eq(machine.cpu.exit.interruption_error_code, page_faults[i].error_code, "%s",
                     page_faults[i].name);
        cr_assert_eq(machine.cpu.exit.qualification, page_faults[i].cr2, "%s: 0x%lx",
                     page_faults[i].name, machine.cpu.exit.qualification);
        cr_assert_eq(machine.cpu.state.cr2, 0, "an intercepted #PF leaves CR2 alone");
        machine_build_tables(&machine);
    }
}

/* A fault that is not intercepted is delivered in place of the event; INT n then starts again. */
Test(delivery_64, faults_are_delivered_serially)
{
    struct event event = make_event(true);
    struct cpu *cpu = &machine.cpu;

    prepare(3);
    gate(LONG0, HANDLER, 0x6e, 0);
    gate_not_present();
    tables_set_gate64(&machine, VECTOR_NP, LONG0, handler_of(VECTOR_NP), 0x8e, 2);
    tables_set_gate64(&machine, 0x40, LONG0, HANDLER, 0x6e, 0);
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERED);
    cr_assert_eq(cpu->state.rip, handler_of(VECTOR_NP));
    cr_assert_eq(machine_load(&machine, cpu->state.gpr[GPR_RSP], 8), IDT_CODE);
    cr_assert_eq(machine_load(&machine, cpu->state.gpr[GPR_RSP] + 8, 8), USER_CODE);
    cr_assert_eq(cpu->state.gpr[GPR_RSP], (IST_STACK(2) & ~15u) - 48);
}

/* --- Restarting ------------------------------------------------------------------------------ */

/* The frame crosses pages, the gate too, and the handler's descriptor is not marked accessed yet.
 */
static void prepare_for_restart(void)
{
    prepare(3);
    machine.cpu.state.idtr.base = IDT_ADDRESS + 0xff8 - 0x40 * 16;
    machine_store(&machine, IDT_ADDRESS + 0xff8,
                  (uint64_t[]){(HANDLER & 0xffff) | LONG0 << 16 | 0xeeull << 40 |
                                   (uint64_t)(HANDLER >> 16) << 48,
                               0},
                  16);
    machine_store64(&machine, TSS_ADDRESS + 4, 0x31010);
    machine_sync_mmu(&machine);
    mmu_invept(&machine.cpu.mmu, 2, 0);
    machine_enter_vmx(&machine, 0, SECONDARY_EPT);
}

static void check_ept_exit(const struct event *event, const struct cpu_state *before, uint64_t page)
{
    struct cpu *cpu = &machine.cpu;

    cr_assert_eq(cpu->exit.reason, EXIT_EPT_VIOLATION);
    cr_assert_eq(cpu->exit.guest_physical_address & ~0xfffull, page);
    cr_assert(cpu->delivery_in_progress);
    cr_assert_eq(memcmp(&cpu->state, before, sizeof(*before)), 0, "state changed, page 0x%lx",
                 page);
    vmexit_record_information(cpu);
    cr_assert_eq(vmcs_get(&machine.vmcs, VMCS_IDT_VECTORING_INFO),
                 INTR_INFO_VALID | (uint32_t)event->type << INTR_INFO_TYPE_SHIFT | event->vector);
    cr_assert_not(cpu->delivery_in_progress);
}

/* Each page of the guest is withdrawn from EPT in turn, then made read-only: either delivery does
 * not need it, or it exits, changes nothing, and succeeds when it is tried again. */
Test(delivery_64, ept_violations_can_be_restarted)
{
    struct event event = make_event(true);
    struct cpu_state expected;
    unsigned exits = 0;

    machine_enable_ept(&machine);
    prepare_for_restart();
    cr_assert_eq(cpu_deliver(&machine.cpu, &event, false), DELIVERED);
    expected = machine.cpu.state;
    for (unsigned i = 0; i < 2 * (GUEST_MEMORY >> 12); i++) {
        uint64_t page = (uint64_t)(i / 2) << 12;
        struct cpu_state before;
        enum delivery_result result;

        machine_build_tables(&machine); /* clears the accessed and dirty flags */
        prepare_for_restart();
        if (i & 1)
            ept_protect(&machine.ept, page, FRAME_SIZE, EPT_READ | EPT_EXECUTE);
        else
            ept_unmap(&machine.ept, page, FRAME_SIZE);
        before = machine.cpu.state;
        result = cpu_deliver(&machine.cpu, &event, false);
        if (result == DELIVERY_EXIT) {
            check_ept_exit(&event, &before, page);
            exits++;
        }
        ept_map(&machine.ept, page, page, 12, EPT_ALL, EPT_TYPE_WB);
        if (result == DELIVERY_EXIT)
            cr_assert_eq(cpu_deliver(&machine.cpu, &event, false), DELIVERED, "page 0x%lx", page);
        else
            cr_assert_eq(result, DELIVERED);
        cr_assert_eq(memcmp(&machine.cpu.state, &expected, sizeof(expected)), 0, "page 0x%lx",
                     page);
    }
    /* Unmapped: PML4, PDPT, PD, PT, 2 of the IDT, GDT, TSS, 2 of the stack. Read-only: 4 levels of
     * tables (accessed flags), the GDT (accessed bit), 2 of the stack. */
    cr_assert_eq(exits, 10 + 7, "%u pages are needed", exits);
}

/* What an event changes even if its delivery exits: SDM "Architectural State Before a VM Exit". */
Test(delivery_64, indirect_exits_update_what_the_event_updates)
{
    struct event fault = {.type = EVENT_HARDWARE_EXCEPTION,
                          .vector = VECTOR_PF,
                          .has_error_code = true,
                          .cr2 = 0xabc};
    struct event nmi = {.type = EVENT_NMI, .vector = VECTOR_NMI};
    struct event debug = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB, .debug = 1};
    struct cpu *cpu = &machine.cpu;

    machine_enable_ept(&machine);
    prepare(0);
    machine_enter_vmx(&machine, 0, SECONDARY_EPT);
    ept_unmap(&machine.ept, IDT_ADDRESS, FRAME_SIZE);
    mmu_invept(&cpu->mmu, 2, 0);
    cpu->state.activity = ACTIVITY_HLT;
    cr_assert_eq(cpu_deliver(cpu, &fault, false), DELIVERY_EXIT);
    cr_assert_eq(cpu->state.cr2, 0xabc);
    cr_assert_eq(cpu->state.activity, ACTIVITY_ACTIVE);
    cr_assert_eq(cpu_deliver(cpu, &nmi, false), DELIVERY_EXIT);
    cr_assert_eq(cpu->state.interruptibility, BLOCKING_BY_NMI);
    cr_assert_eq(cpu_deliver(cpu, &debug, false), DELIVERY_EXIT);
    cr_assert_eq(cpu->state.dr6, DR6_FIXED | 1);
    /* Directly caused exits change nothing. */
    vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, 1u << VECTOR_PF | 1u << VECTOR_DB);
    fault.cr2 = 0xdef;
    debug.debug = 2;
    cr_assert_eq(cpu_deliver(cpu, &fault, false), DELIVERY_EXIT);
    cr_assert_not(cpu->delivery_in_progress);
    cr_assert_eq(cpu->state.cr2, 0xabc);
    cr_assert_eq(cpu_deliver(cpu, &debug, false), DELIVERY_EXIT);
    cr_assert_eq(cpu->exit.qualification, 2);
    cr_assert_eq(cpu->state.dr6, DR6_FIXED | 1);
}
