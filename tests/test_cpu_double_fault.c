/*
 * What becomes of two exceptions, one in the delivery of the other: SDM "Interrupt 8-Double Fault
 * Exception (#DF)", tables "Interrupt and Exception Classes" and "Conditions for Generating a
 * Double Fault", and what VMX sees of it ("Information for VM Exits During Event Delivery").
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

TestSuite(double_fault, .init = set_up, .fini = tear_down);

enum class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE };

/* Table "Interrupt and Exception Classes". */
static const struct {
    struct event event;
    enum class class;
} first_events[] = {
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DE}, CONTRIBUTORY},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB}, BENIGN},
    {{.type = EVENT_NMI, .vector = VECTOR_NMI}, BENIGN},
    {{.type = EVENT_SOFTWARE_EXCEPTION, .vector = VECTOR_BP, .instruction_length = 1}, BENIGN},
    {{.type = EVENT_SOFTWARE_EXCEPTION, .vector = VECTOR_OF, .instruction_length = 1}, BENIGN},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_BR}, BENIGN},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_UD}, BENIGN},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_NM}, BENIGN},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DF, .has_error_code = true}, DOUBLE},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_TS, .has_error_code = true}, CONTRIBUTORY},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_NP, .has_error_code = true}, CONTRIBUTORY},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_SS, .has_error_code = true}, CONTRIBUTORY},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_GP, .has_error_code = true}, CONTRIBUTORY},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_PF, .has_error_code = true, .cr2 = 0x99},
     PAGE_FAULT},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_MF}, BENIGN},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_AC, .has_error_code = true}, BENIGN},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_MC}, BENIGN},
    {{.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_XM}, BENIGN},
    /* "INT n, INTR: benign", whatever the vector. */
    {{.type = EVENT_SOFTWARE_INTERRUPT, .vector = VECTOR_GP, .instruction_length = 2}, BENIGN},
    {{.type = EVENT_SOFTWARE_INTERRUPT, .vector = VECTOR_PF, .instruction_length = 2}, BENIGN},
    {{.type = EVENT_EXTERNAL_INTERRUPT, .vector = VECTOR_DF}, BENIGN},
    {{.type = EVENT_EXTERNAL_INTERRUPT, .vector = VECTOR_GP}, BENIGN},
    {{.type = EVENT_EXTERNAL_INTERRUPT, .vector = 0xff}, BENIGN},
};
#define FIRST_EVENTS (sizeof(first_events) / sizeof(first_events[0]))

#define UNMAPPED_STACK 0x50000u

/* Ways to make the delivery through one gate fail with a certain exception. */
static void break_gate(unsigned vector, enum vector second)
{
    switch (second) {
    case VECTOR_NP: /* gate not present */
        tables_set_gate64(&machine, vector, LONG0, handler_of(vector), 0x6e, 0);
        break;
    case VECTOR_GP: /* not a gate */
        tables_set_gate64(&machine, vector, LONG0, handler_of(vector), 0xe0, 0);
        break;
    case VECTOR_TS: /* IST7 is beyond the limit of the TSS */
        tables_set_gate64(&machine, vector, LONG0, handler_of(vector), 0xee, 7);
        break;
    case VECTOR_SS: /* IST6 is not canonical */
        tables_set_gate64(&machine, vector, LONG0, handler_of(vector), 0xee, 6);
        break;
    default: /* #PF: IST5 is not mapped */
        tables_set_gate64(&machine, vector, LONG0, handler_of(vector), 0xee, 5);
        break;
    }
}

static const enum vector second_vectors[] = {VECTOR_NP, VECTOR_GP, VECTOR_TS, VECTOR_SS, VECTOR_PF};
#define SECOND_VECTORS (sizeof(second_vectors) / sizeof(second_vectors[0]))

static void prepare(void)
{
    machine_set_mode(&machine, MODE_64BIT, 0);
    tables_build_64bit(&machine);
    tables_start_program(&machine, true, 3);
    /* INT n needs gates of DPL 3 to get any further. */
    for (unsigned vector = 0; vector < 256; vector++)
        tables_set_gate64(&machine, vector, LONG0, handler_of(vector), 0xee, 0);
    machine.cpu.state.seg[SEG_TR].limit = 90;
    machine_store64(&machine, TSS_ADDRESS + 28 + 8 * 6, 0x900000000000);
    machine_store64(&machine, TSS_ADDRESS + 28 + 8 * 5, UNMAPPED_STACK + 0x800);
    machine_store64(&machine, machine_pte64(UNMAPPED_STACK), 0);
    machine_sync_mmu(&machine);
}

/* Table "Conditions for Generating a Double Fault". */
static bool generates_double_fault(enum class first, enum vector second)
{
    if (second == VECTOR_PF)
        return first == PAGE_FAULT;
    return first == CONTRIBUTORY || first == PAGE_FAULT;
}

Test(double_fault, matrix)
{
    for (unsigned i = 0; i < FIRST_EVENTS; i++)
        for (unsigned j = 0; j < SECOND_VECTORS; j++) {
            const struct event *first = &first_events[i].event;
            enum class class = first_events[i].class;
            enum vector second = second_vectors[j];
            const struct cpu_state *state = &machine.cpu.state;
            enum delivery_result result;
            unsigned expected;

            prepare();
            break_gate(first->vector, second);
            if (first->vector == second)
                continue; /* the second one meets the same gate: see the next test */
            result = cpu_deliver(&machine.cpu, first, false);
            if (class == DOUBLE) {
                cr_assert_eq(result, DELIVERY_SHUTDOWN, "#DF + %u", second);
                continue;
            }
            expected = generates_double_fault(class, second) ? (unsigned)VECTOR_DF : second;
            cr_assert_eq(result, DELIVERED, "%u + %u", first->vector, second);
            cr_assert_eq(state->rip, handler_of(expected), "%u + %u gives 0x%lx", first->vector,
                         second, state->rip);
            if (expected == VECTOR_DF)
                cr_assert_eq(machine_load(&machine, state->gpr[GPR_RSP], 8), 0, "error code 0");
            if (second == VECTOR_PF)
                cr_assert_eq(state->cr2,
                             generates_double_fault(class, second)
                                 ? first->cr2
                                 : UNMAPPED_STACK + 0x7f8 /* the first push */,
                             "CR2 0x%lx", state->cr2);
            /* Faults push the RIP of the instruction, also in place of INT n. */
            cr_assert_eq(machine_load(&machine, state->gpr[GPR_RSP] + 8, 8), USER_CODE);
        }
}

/* A fault whose own gate is broken in the same way: #DF, and #DF's gate broken as well: the end. */
Test(double_fault, same_gate_and_triple_fault)
{
    for (unsigned j = 0; j < SECOND_VECTORS; j++)
        for (unsigned vmx = 0; vmx <= 1; vmx++) {
            struct event first = {.type = EVENT_HARDWARE_EXCEPTION,
                                  .vector = second_vectors[j],
                                  .has_error_code = true};
            struct cpu *cpu = &machine.cpu;
            struct cpu_state before;

            prepare();
            break_gate(second_vectors[j], second_vectors[j]);
            cr_assert_eq(cpu_deliver(cpu, &first, false), DELIVERED);
            cr_assert_eq(cpu->state.rip, handler_of(VECTOR_DF));

            prepare();
            break_gate(second_vectors[j], second_vectors[j]);
            break_gate(VECTOR_DF, second_vectors[j]);
            if (vmx)
                machine_enter_vmx(&machine, 0, 0);
            before = cpu->state;
            cr_assert_eq(cpu_deliver(cpu, &first, false), vmx ? DELIVERY_EXIT : DELIVERY_SHUTDOWN);
            cr_assert_eq(cpu->state.activity, vmx ? ACTIVITY_ACTIVE : ACTIVITY_SHUTDOWN);
            before.activity = cpu->state.activity;
            before.cr2 = cpu->state.cr2;
            cr_assert_eq(memcmp(&cpu->state, &before, sizeof(before)), 0);
            if (vmx) {
                cr_assert_eq(cpu->exit.reason, EXIT_TRIPLE_FAULT);
                cr_assert_not(cpu->delivery_in_progress, "not during event delivery");
            }
        }
}

/* The exception bitmap is consulted for each exception that comes to be, and only for those: a #NP
 * that turns into #DF is none. An intercepted #DF is not "during event delivery": the original
 * event "results in a double-fault exception that causes the VM exit directly". */
Test(double_fault, interception)
{
    static const struct {
        uint32_t bitmap;
        int exit_vector; /* -1: #DF is delivered */
    } cases[] = {
        {1u << VECTOR_GP, VECTOR_GP},
        {1u << VECTOR_DF, VECTOR_DF},
        {1u << VECTOR_NP, -1},
        {0, -1},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct event first = {.type = EVENT_HARDWARE_EXCEPTION,
                              .vector = VECTOR_GP,
                              .has_error_code = true,
                              .error_code = 0x10};
        struct cpu *cpu = &machine.cpu;

        prepare();
        break_gate(VECTOR_GP, VECTOR_NP);
        machine_enter_vmx(&machine, 0, 0);
        vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, cases[i].bitmap);
        if (cases[i].exit_vector < 0) {
            cr_assert_eq(cpu_deliver(cpu, &first, false), DELIVERED);
            cr_assert_eq(cpu->state.rip, handler_of(VECTOR_DF));
            continue;
        }
        cr_assert_eq(cpu_deliver(cpu, &first, false), DELIVERY_EXIT);
        cr_assert_eq(cpu->exit.interruption_info & 0xff, (unsigned)cases[i].exit_vector);
        vmexit_record_information(cpu);
        cr_assert_not(vmcs_get(&machine.vmcs, VMCS_IDT_VECTORING_INFO) & INTR_INFO_VALID);
    }
}

/* An interrupt whose delivery meets an intercepted fault: IDT-vectoring information names it. */
Test(double_fault, second_fault_intercepted)
{
    for (unsigned i = 0; i < FIRST_EVENTS; i++) {
        const struct event *first = &first_events[i].event;
        struct cpu *cpu = &machine.cpu;
        uint64_t info;

        if (first_events[i].class != BENIGN)
            continue;
        prepare();
        break_gate(first->vector, VECTOR_NP);
        machine_enter_vmx(&machine, 0, 0);
        vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP, 1u << VECTOR_NP);
        cr_assert_eq(cpu_deliver(cpu, first, false), DELIVERY_EXIT);
        cr_assert_eq(cpu->exit.interruption_info & 0xff, VECTOR_NP);
        vmexit_record_information(cpu);
        info = vmcs_get(&machine.vmcs, VMCS_IDT_VECTORING_INFO);
        cr_assert_eq(info, INTR_INFO_VALID | (uint32_t)first->type << INTR_INFO_TYPE_SHIFT |
                               first->vector | (first->has_error_code ? INTR_INFO_ERROR_CODE : 0));
        cr_assert_eq(vmcs_get(&machine.vmcs, VMCS_EXIT_INSTRUCTION_LENGTH),
                     first->instruction_length);
    }
}
