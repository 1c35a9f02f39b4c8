/*
 * Event delivery in real-address, protected and virtual-8086 mode, from the SDM's operation of
 * "INT n/INTO/INT3/INT1", "Interrupt and Exception Handling" and "8086 Emulation".
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

TestSuite(delivery_legacy, .init = set_up, .fini = tear_down);

static struct event interrupt(uint8_t vector)
{
    return (struct event){.type = EVENT_EXTERNAL_INTERRUPT, .vector = vector};
}

static struct event int_n(uint8_t vector)
{
    return (struct event){
        .type = EVENT_SOFTWARE_INTERRUPT, .vector = vector, .instruction_length = 2};
}

static struct event gp(uint32_t error_code)
{
    return (struct event){.type = EVENT_HARDWARE_EXCEPTION,
                          .vector = VECTOR_GP,
                          .has_error_code = true,
                          .error_code = error_code};
}

/* --- Real-address mode ----------------------------------------------------------------------- */

static void prepare_real(enum cpu_mode mode, uint16_t sp)
{
    struct cpu_state *state = &machine.cpu.state;

    machine_set_mode(&machine, mode, 0);
    for (unsigned vector = 0; vector < 256; vector++)
        machine_store32(&machine, IDT_ADDRESS + 4 * vector, 0x2000 << 16 | (0x100 + vector));
    state->idtr = (struct descriptor_table){IDT_ADDRESS, 0x3ff};
    state->seg[SEG_CS].selector = 0x1234;
    state->seg[SEG_CS].base = 0x12340;
    state->seg[SEG_SS].selector = 0x3000;
    state->seg[SEG_SS].base = 0x30000;
    state->gpr[GPR_RSP] = 0xabcd0000 | sp;
    state->rip = 0x5678;
    state->rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_NT | RFLAGS_CF;
}

static uint16_t word_on_stack(uint16_t offset)
{
    return (uint16_t)machine_load(&machine, 0x30000 + offset, 2);
}

/* "Push FLAGS[15:0], CS, IP; IF, TF, AC := 0"; error codes are not pushed. SP wraps around. */
Test(delivery_legacy, real_mode_frames)
{
    static const uint16_t stacks[] = {0x1000, 0x0000, 0x0002, 0x0004, 0x0006, 0xfffe, 0x1001};
    const struct event events[] = {interrupt(0x21), int_n(0x80), gp(0x1234)};

    for (unsigned i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++)
        for (unsigned j = 0; j < 3; j++)
            for (enum cpu_mode mode = MODE_REAL; mode <= MODE_UNREAL; mode++) {
                const struct cpu_state *state = &machine.cpu.state;
                uint16_t sp = stacks[i];

                prepare_real(mode, sp);
                cr_assert_eq(cpu_deliver(&machine.cpu, &events[j], false), DELIVERED);
                cr_assert_eq(word_on_stack(sp - 2),
                             RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_CF);
                cr_assert_eq(word_on_stack(sp - 4), 0x1234);
                cr_assert_eq(word_on_stack(sp - 6), j == 1 ? 0x567a : 0x5678);
                cr_assert_eq(state->gpr[GPR_RSP], 0xabcd0000 | (uint16_t)(sp - 6));
                cr_assert_eq(state->rip, 0x100 + events[j].vector);
                cr_assert_eq(state->seg[SEG_CS].selector, 0x2000);
                cr_assert_eq(state->seg[SEG_CS].base, 0x20000);
                cr_assert_eq(state->seg[SEG_CS].limit, 0xffff);
                cr_assert_eq(state->rflags, RFLAGS_FIXED | RFLAGS_NT | RFLAGS_CF);
                cr_assert_eq(cpu_mode(&machine.cpu), mode);
            }
}

/* IVT too small: #GP, #DF and the end where those do not fit either; no room on the stack (a word
 * would cross the segment's end): #SS. No error codes exist in real-address mode. */
Test(delivery_legacy, real_mode_faults)
{
    struct cpu *cpu = &machine.cpu;
    struct event event = interrupt(0x21);

    prepare_real(MODE_REAL, 0x1000);
    cpu->state.idtr.limit = 0x21 * 4 + 2;
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERED);
    cr_assert_eq(cpu->state.rip, 0x100 + VECTOR_GP);
    cr_assert_eq(cpu->state.gpr[GPR_RSP] & 0xffff, 0x1000 - 6, "no error code");

    prepare_real(MODE_REAL, 0x1000);
    cpu->state.idtr.limit = VECTOR_DF * 4 + 3;
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERED);
    cr_assert_eq(cpu->state.rip, 0x100 + VECTOR_DF, "#GP on the way to #GP");

    prepare_real(MODE_REAL, 0x1000);
    cpu->state.idtr.limit = 0;
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERY_SHUTDOWN);
    cr_assert_eq(cpu->state.activity, ACTIVITY_SHUTDOWN);

    for (uint16_t sp = 1; sp <= 5; sp += 2) {
        prepare_real(MODE_REAL, sp);
        machine_enter_vmx(&machine, 0, SECONDARY_UNRESTRICTED_GUEST);
        vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, 1u << VECTOR_SS);
        cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERY_EXIT);
        cr_assert_eq(cpu->exit.interruption_info,
                     INTR_INFO_VALID | EVENT_HARDWARE_EXCEPTION << INTR_INFO_TYPE_SHIFT | VECTOR_SS,
                     "no error code in real-address mode");
    }
}

/* --- Protected mode -------------------------------------------------------------------------- */

static void prepare_protected(bool tss32, unsigned cpl)
{
    machine_set_mode(&machine, MODE_PROTECTED_32, 0);
    tables_build_legacy(&machine, tss32);
    tables_start_program(&machine, false, cpl);
    machine.cpu.state.rflags &= ~RFLAGS_AC;
}

struct combination {
    unsigned cpl;
    bool gate32, trap_gate, tss32, conforming, error_code, software;
};

static void check_frame(const struct combination *c)
{
    const struct cpu_state *state = &machine.cpu.state;
    struct cpu_state before;
    struct event event = c->software ? int_n(0x40) : interrupt(0x40);
    unsigned width = c->gate32 ? 4 : 2, slots = 3;
    uint32_t mask = c->gate32 ? 0xffffffff : 0xffff;
    bool inner = c->cpl != 0 && !c->conforming;
    uint16_t code = c->conforming ? CONFORMING0 : CODE0;
    unsigned handler_cpl = inner ? 0 : c->cpl;
    uint64_t stack;

    if (c->error_code)
        event = gp(0xfedc);
    prepare_protected(c->tss32, c->cpl);
    tables_set_gate(&machine, event.vector, code, handler_of(event.vector),
                    (c->gate32 ? 0x8e : 0x86) | c->trap_gate | c->cpl << 5);
    before = *state;
    cr_assert_eq(cpu_deliver(&machine.cpu, &event, false), DELIVERED);

    slots += (inner ? 2 : 0) + c->error_code;
    stack = (inner ? (c->tss32 ? STACK0 : STACK0 & 0xffff) : USER_STACK) - slots * width;
    cr_assert_eq(state->gpr[GPR_RSP], stack);
    if (c->error_code) {
        cr_assert_eq(machine_load(&machine, stack, width), event.error_code & mask);
        stack += width;
    }
    cr_assert_eq(machine_load(&machine, stack, width),
                 (before.rip + event.instruction_length) & mask);
    cr_assert_eq(machine_load(&machine, stack + width, width), before.seg[SEG_CS].selector);
    cr_assert_eq(machine_load(&machine, stack + 2 * width, width),
                 (before.rflags | (c->error_code ? RFLAGS_RF : 0)) & mask);
    if (inner) {
        cr_assert_eq(machine_load(&machine, stack + 3 * width, width), USER_STACK & mask);
        cr_assert_eq(machine_load(&machine, stack + 4 * width, width), before.seg[SEG_SS].selector);
        cr_assert_eq(state->seg[SEG_SS].selector, DATA0);
        cr_assert_eq(state->seg[SEG_SS].access_rights, 0xc093);
    }
    cr_assert_eq(state->seg[SEG_CS].selector, code | handler_cpl);
    cr_assert_eq(cpu_cpl(&machine.cpu), handler_cpl);
    cr_assert_eq(state->rip, handler_of(event.vector) & mask);
    cr_assert_eq(state->rflags,
                 before.rflags & ~(RFLAGS_TF | RFLAGS_NT | (c->trap_gate ? 0 : RFLAGS_IF)));
    cr_assert_eq(machine_load(&machine, GDT_ADDRESS + code + 5, 1) & 1, 1, "accessed bit");
    for (unsigned i = SEG_DS; i <= SEG_TR; i++)
        cr_assert_eq(memcmp(&state->seg[i], &before.seg[i], sizeof(before.seg[i])), 0);
}

Test(delivery_legacy, protected_mode_frames)
{
    for (unsigned i = 0; i < 1 << 7; i++) {
        struct combination c = {.cpl = i & 1 ? 3 : 0,
                                .gate32 = i & 2,
                                .trap_gate = i & 4,
                                .tss32 = i & 8,
                                .conforming = i & 16,
                                .error_code = i & 32,
                                .software = i & 64};

        check_frame(&c);
    }
}

/* A 16-bit stack segment: SP wraps around within 64 KiB, and ESP[31:16] stays. */
Test(delivery_legacy, stack_of_16_bits)
{
    struct event event = interrupt(0x40);
    struct cpu_state *state = &machine.cpu.state;

    prepare_protected(true, 0);
    state->seg[SEG_SS] = (struct segment){0x30000, 0xffff, 0x93, STACK0_16BIT};
    state->gpr[GPR_RSP] = 0x12340004;
    cr_assert_eq(cpu_deliver(&machine.cpu, &event, false), DELIVERED);
    cr_assert_eq(state->gpr[GPR_RSP], 0x1234fff8);
    cr_assert_eq(machine_load(&machine, 0x3fff8, 4), USER_CODE);
    cr_assert_eq(machine_load(&machine, 0x3fffc, 4), CODE0);
    cr_assert_eq(machine_load(&machine, 0x30000, 4) & 0xffff, state->rflags | 0x4300u);
}

/* --- Virtual-8086 mode ----------------------------------------------------------------------- */

static void prepare_v86(unsigned iopl)
{
    struct cpu_state *state = &machine.cpu.state;

    machine_set_mode(&machine, MODE_VIRTUAL_8086, 3);
    tables_build_legacy(&machine, true);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        state->seg[i].selector = 0x3000 + i;
        state->seg[i].base = (0x3000 + i) << 4;
    }
    state->rip = 0x100;
    state->gpr[GPR_RSP] = 0x2000;
    state->rflags |= RFLAGS_IF | (uint64_t)iopl << 12;
    for (unsigned vector = 0; vector < 256; vector++)
        tables_set_gate(&machine, vector, CODE0, handler_of(vector), 0xee);
}

/* INTERRUPT-FROM-VIRTUAL-8086-MODE: GS, FS, DS, ES, SS, ESP, EFLAGS, CS, EIP; null data segments.
 */
Test(delivery_legacy, virtual_8086_frame)
{
    const uint32_t image = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_VM | RFLAGS_IOPL;
    const uint32_t frame[] = {0x102,           0x3000 + SEG_CS, image,
                              0x2000,          0x3000 + SEG_SS, 0x3000,
                              0x3000 + SEG_DS, 0x3000 + SEG_FS, 0x3000 + SEG_GS};
    const struct cpu_state *state = &machine.cpu.state;
    struct event event = int_n(0x40);

    prepare_v86(3);
    cr_assert_eq(cpu_deliver(&machine.cpu, &event, false), DELIVERED);
    cr_assert_eq(state->gpr[GPR_RSP], STACK0 - sizeof(frame));
    cr_assert_eq(memcmp(physmem_at(&machine.physmem, STACK0 - sizeof(frame)), frame, sizeof(frame)),
                 0);
    for (unsigned i = 0; i < 4; i++) {
        static const enum segment_register data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

        cr_assert_eq(state->seg[data[i]].selector, 0);
        cr_assert(state->seg[data[i]].access_rights & AR_UNUSABLE);
    }
    cr_assert_eq(state->rflags, RFLAGS_FIXED | RFLAGS_IOPL);
    cr_assert_eq(cpu_mode(&machine.cpu), MODE_PROTECTED_32);
    cr_assert_eq(cpu_cpl(&machine.cpu), 0);
}

/* --- Faults on the way ----------------------------------------------------------------------- */

static void gate(uint16_t selector, unsigned type)
{
    tables_set_gate(&machine, 0x40, selector, HANDLER, type);
}

static void tss_stack(uint32_t esp, uint16_t selector)
{
    machine_store32(&machine, TSS_ADDRESS + 4, esp);
    machine_store32(&machine, TSS_ADDRESS + 8, selector);
}

// clang-format off
static void nothing(void) {}
static void v86(void) { prepare_v86(3); gate(CODE0, 0xee); }
static void v86_iopl_2(void) { prepare_v86(2); gate(CODE0, 0xee); }
static void v86_conforming(void) { prepare_v86(3); gate(CONFORMING0, 0xee); }
static void v86_handler_at_cpl1(void) { prepare_v86(3); gate(CODE1, 0xee); }
static void idt_limit(void) { machine.cpu.state.idtr.limit = 0x40 * 8 + 6; }
static void gate_type_0(void) { gate(CODE0, 0xe0); }
static void gate_call(void) { gate(CODE0, 0xec); }
static void gate_s_bit(void) { gate(CODE0, 0xfe); }
static void gate_dpl(void) { gate(CODE0, 0xae); }
static void gate_absent(void) { gate(CODE0, 0x6e); }
static void task_gate_absent(void) { gate(TSS32_AVAILABLE, 0x65); }
static void task_gate_in_ldt(void) /* even if it names a TSS there */
{
    machine.cpu.state.seg[SEG_LDTR] = (struct segment){GDT_ADDRESS, GDT_SIZE - 1, 0x82, 0x58};
    gate(TSS32_AVAILABLE | 4, 0xe5);
}
static void task_gate_beyond(void) { gate(GDT_SIZE, 0xe5); }
static void task_gate_null(void)
{
    machine_store64(&machine, GDT_ADDRESS, descriptor(TSS_ADDRESS, 0x67, 0x89, 0));
    gate(0, 0xe5);
}
static void task_gate_not_tss(void) { gate(CODE0, 0xe5); }
static void task_gate_tss_absent(void) { gate(NOT_PRESENT_TSS, 0xe5); }
static void code_null(void)
{
    machine_store64(&machine, GDT_ADDRESS, descriptor(0, 0xfffff, 0x9a, 0xc)); /* not to be read */
    gate(1, 0xee);
}
static void code_beyond(void) { gate(GDT_SIZE, 0xee); }
static void code_is_data(void) { gate(DATA0, 0xee); }
static void code_is_outer(void) { machine.cpu.state.seg[SEG_SS].access_rights = 0xc093;
                                  gate(CODE3, 0xee); }
static void code_absent(void) { gate(NOT_PRESENT_CODE0, 0xee); }
static void eip_beyond_limit(void)
{
    tables_set_gate(&machine, 0x40, SMALL_CODE0, 0x20000, 0xee);
}
static void tss_limit(void) { machine.cpu.state.seg[SEG_TR].limit = 8; }
static void ss_null(void)
{
    machine_store64(&machine, GDT_ADDRESS, descriptor(0, 0xfffff, 0x92, 0xc)); /* not to be read */
    tss_stack(STACK0, 0);
}
static void ss_beyond(void) { tss_stack(STACK0, GDT_SIZE); }
static void ss_rpl(void) { tss_stack(STACK0, DATA0 | 1); }
static void ss_dpl(void) { tss_stack(STACK0, DATA3); }
static void ss_read_only(void) { tss_stack(STACK0, READ_ONLY_DATA0); }
static void ss_is_code(void) { tss_stack(STACK0, CODE0); }
static void ss_absent(void) { tss_stack(STACK0, NOT_PRESENT_DATA0); }
static void ss_without_room(void) { tss_stack(STACK0, SMALL_STACK0); }
static void stack_entry_wraps_around(void)
{
    prepare_protected(true, 0);
    gate(CODE0, 0xee);
    machine.cpu.state.gpr[GPR_RSP] = 2; /* 0xfffffffe to 1 */
}
/* Expand-down: offsets up to the limit are outside ("Limit Checking"). */
static void expand_down(uint32_t limit)
{
    prepare_protected(true, 0);
    gate(CODE0, 0xee);
    machine.cpu.state.seg[SEG_SS].access_rights = 0x4097;
    machine.cpu.state.seg[SEG_SS].limit = limit;
}
static void expand_down_with_room(void) { expand_down(USER_STACK - 13); }
static void expand_down_without_room(void) { expand_down(USER_STACK - 12); }
static void same_stack_without_room(void)
{
    prepare_protected(true, 0);
    gate(CODE0, 0xee);
    machine.cpu.state.seg[SEG_SS].limit = USER_STACK - 2;
}

#define IDT_CODE (0x40 * 8 + 2)
static const struct {
    const char *name;
    void (*breaks)(void);
    int vector; /* -1: delivered */
    uint32_t error_code;
    bool int_n_only;
} faults[] = {
    { "nothing", nothing, -1, 0, false },
    { "virtual-8086", v86, -1, 0, false },
    { "virtual-8086, IOPL 2", v86_iopl_2, VECTOR_GP, 0, true },
    { "virtual-8086, conforming handler", v86_conforming, VECTOR_GP, CONFORMING0, false },
    { "virtual-8086, handler at CPL 1", v86_handler_at_cpl1, VECTOR_GP, CODE1, false },
    { "IDT limit", idt_limit, VECTOR_GP, IDT_CODE, false },
    { "type 0", gate_type_0, VECTOR_GP, IDT_CODE, false },
    { "call gate", gate_call, VECTOR_GP, IDT_CODE, false },
    { "S = 1", gate_s_bit, VECTOR_GP, IDT_CODE, false },
    { "gate DPL", gate_dpl, VECTOR_GP, IDT_CODE, true },
    { "gate not present", gate_absent, VECTOR_NP, IDT_CODE, false },
    { "task gate not present", task_gate_absent, VECTOR_NP, IDT_CODE, false },
    { "task gate: TSS in LDT", task_gate_in_ldt, VECTOR_GP, TSS32_AVAILABLE | 4, false },
    { "task gate: TSS beyond GDT", task_gate_beyond, VECTOR_GP, GDT_SIZE, false },
    { "task gate: null", task_gate_null, VECTOR_GP, 0, false },
    { "task gate: not a TSS", task_gate_not_tss, VECTOR_GP, CODE0, false },
    { "task gate: TSS not present", task_gate_tss_absent, VECTOR_NP, NOT_PRESENT_TSS, false },
    { "null code selector", code_null, VECTOR_GP, 0, false },
    { "code selector beyond GDT", code_beyond, VECTOR_GP, GDT_SIZE, false },
    { "not a code segment", code_is_data, VECTOR_GP, DATA0, false },
    { "less privileged handler", code_is_outer, VECTOR_GP, CODE3, false },
    { "code not present", code_absent, VECTOR_NP, NOT_PRESENT_CODE0, false },
    { "EIP beyond limit", eip_beyond_limit, VECTOR_GP, 0, false },
    { "TSS limit", tss_limit, VECTOR_TS, TSS32_AVAILABLE, false },
    { "SS null", ss_null, VECTOR_TS, 0, false },
    { "SS beyond GDT", ss_beyond, VECTOR_TS, GDT_SIZE, false },
    { "SS RPL", ss_rpl, VECTOR_TS, DATA0, false },
    { "SS DPL", ss_dpl, VECTOR_TS, DATA3, false },
    { "SS read-only", ss_read_only, VECTOR_TS, READ_ONLY_DATA0, false },
    { "SS is code", ss_is_code, VECTOR_TS, CODE0, false },
    { "SS not present", ss_absent, VECTOR_SS, NOT_PRESENT_DATA0, false },
    { "no room on the new stack", ss_without_room, VECTOR_SS, SMALL_STACK0, false },
    { "no room on the same stack", same_stack_without_room, VECTOR_SS, 0, false },
    { "entry across 4 GiB", stack_entry_wraps_around, VECTOR_SS, 0, false },
    { "expand-down stack", expand_down_with_room, -1, 0, false },
    { "expand-down stack, no room", expand_down_without_room, VECTOR_SS, 0, false },
};
// clang-format on

Test(delivery_legacy, faults_and_error_codes)
{
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        for (unsigned software = 0; software <= 1; software++) {
            struct event event = software ? int_n(0x40) : interrupt(0x40);
            struct cpu *cpu = &machine.cpu;
            struct cpu_state before;

            prepare_protected(true, 3);
            gate(CODE0, 0xee);
            faults[i].breaks();
            machine_enter_vmx(&machine, 0, 0);
            vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, ~0u);
            before = cpu->state;
            if (faults[i].vector < 0 || (!software && faults[i].int_n_only)) {
                cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERED, "%s", faults[i].name);
                continue;
            }
            cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERY_EXIT, "%s", faults[i].name);
            cr_assert_eq(cpu->exit.interruption_info & 0xff, (unsigned)faults[i].vector, "%s: %u",
                         faults[i].name, cpu->exit.interruption_info & 0xff);
            cr_assert_eq(cpu->exit.interruption_error_code,
                         faults[i].error_code | (software ? 0 : 1), "%s: 0x%x", faults[i].name,
                         cpu->exit.interruption_error_code);
            cr_assert_eq(memcmp(&before, &cpu->state, sizeof(before)), 0, "%s", faults[i].name);
        }
}

/* Each table and the stack on a page that is not there. The LDT holds the handler's segments. */
Test(delivery_legacy, page_faults)
{
    const uint32_t ldt = 0x60000;
    const struct {
        const char *name;
        uint32_t page, cr2, error_code;
    } cases[] = {
        {"IDT", IDT_ADDRESS, IDT_ADDRESS + 0x40 * 8, 0},
        {"LDT, code segment", ldt, ldt + 8, 0},
        {"GDT, stack segment", GDT_ADDRESS, GDT_ADDRESS + DATA0, 0},
        {"TSS", TSS_ADDRESS, TSS_ADDRESS + 4, 0},
        {"stack", STACK0 & ~0xfffu, STACK0 - 4, 2}, /* pushes go downwards */
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct event event = interrupt(0x40);
        struct cpu *cpu = &machine.cpu;

        machine_build_tables(&machine);
        prepare_protected(true, 3);
        cpu->state.seg[SEG_LDTR] = (struct segment){ldt, 0xff, 0x82, 0x58};
        machine_store64(&machine, ldt + 8, descriptor(0, 0xfffff, 0x9b, 0xc));
        gate(0xc, 0xee);
        machine_store32(&machine, machine_pte32(cases[i].page), 0);
        machine_sync_mmu(&machine);
        machine_enter_vmx(&machine, 0, 0);
        vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, ~0u);
        cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERY_EXIT, "%s", cases[i].name);
        cr_assert_eq(cpu->exit.interruption_info & 0xff, VECTOR_PF, "%s", cases[i].name);
        cr_assert_eq(cpu->exit.qualification, cases[i].cr2, "%s: 0x%lx", cases[i].name,
                     cpu->exit.qualification);
        cr_assert_eq(cpu->exit.interruption_error_code, cases[i].error_code);
    }
}

/* Of a frame that crosses pages, the first push into the page that is not there. */
Test(delivery_legacy, frame_across_pages)
{
    struct event event = interrupt(0x40);
    struct cpu *cpu = &machine.cpu;

    machine_store32(&machine, machine_pte32(0x30000), 0);
    prepare_protected(true, 3);
    machine_store32(&machine, TSS_ADDRESS + 4, 0x31008); /* SS, ESP, then EFLAGS at 0x30ffc */
    machine_enter_vmx(&machine, 0, 0);
    vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, ~0u);
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERY_EXIT);
    cr_assert_eq(cpu->exit.qualification, 0x30ffc, "0x%lx", cpu->exit.qualification);

    machine_set_mode(&machine, MODE_64BIT, 0);
    machine_store64(&machine, machine_pte64(0x30000), 0);
    tables_build_64bit(&machine);
    tables_start_program(&machine, true, 3);
    machine_store64(&machine, TSS_ADDRESS + 4, 0x31010); /* SS, RSP, then RFLAGS at 0x30ff8 */
    machine_enter_vmx(&machine, 0, 0);
    vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, ~0u);
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERY_EXIT);
    cr_assert_eq(cpu->exit.qualification, 0x30ff8, "0x%lx", cpu->exit.qualification);
}

/* SDM "Exit Qualification for Task Switches": selector, source 3 = task gate in the IDT. */
Test(delivery_legacy, task_gate_exits)
{
    struct event event = interrupt(0x40);
    struct cpu *cpu = &machine.cpu;

    prepare_protected(true, 3);
    gate(TSS32_AVAILABLE, 0xe5);
    machine_enter_vmx(&machine, 0, 0);
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERY_EXIT);
    cr_assert_eq(cpu->exit.reason, EXIT_TASK_SWITCH);
    cr_assert_eq(cpu->exit.qualification, 3ull << 30 | TSS32_AVAILABLE);
    cr_assert(cpu->delivery_in_progress);

    /* vtxsim has no task switches of its own: outside VMX the gate does not name a TSS. */
    prepare_protected(true, 3);
    gate(TSS32_AVAILABLE, 0xe5);
    cr_assert_eq(cpu_deliver(cpu, &event, false), DELIVERED);
    cr_assert_eq(cpu->state.rip, handler_of(VECTOR_GP));
    cr_assert_eq(machine_load(&machine, cpu->state.gpr[GPR_RSP], 4), TSS32_AVAILABLE | 1);
}

/* Linear addresses of tables wrap around at 4 GiB outside IA-32e mode. */
Test(delivery_legacy, table_addresses_wrap_around)
{
    struct event event = interrupt(0x40);
    struct cpu_state *state = &machine.cpu.state;

    prepare_protected(true, 3);
    state->idtr.base = 0xffffff00; /* so the gate is at 0xffffff00 + 0x200 = 0x100 */
    machine_store64(&machine, 0x100, machine_load(&machine, IDT_ADDRESS + 0x200, 8));
    cr_assert_eq(cpu_deliver(&machine.cpu, &event, false), DELIVERED);
    cr_assert_eq(state->rip, handler_of(0x40));
}
