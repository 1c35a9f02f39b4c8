/*
 * Event delivery: effects that come first, the attempt in the current mode, and what becomes of
 * exceptions that arise in it.
 *
 * An attempt reads and checks everything, then writes the stack, then changes registers. So an
 * attempt that ends in a fault or a VM exit leaves registers as they were and can be repeated, as
 * the SDM has it in "Architectural State Before a VM Exit".
 */
#include "cpu/event_delivery.h"

#include "cpu/vmx.h"

#define VECTORS_WITH_ERROR_CODE                                                                \
    (1u << VECTOR_DF | 1u << VECTOR_TS | 1u << VECTOR_NP | 1u << VECTOR_SS | 1u << VECTOR_GP | \
     1u << VECTOR_PF | 1u << VECTOR_AC | 1u << VECTOR_CP)

bool vector_has_error_code(uint8_t vector)
{
    return vector < 32 && (VECTORS_WITH_ERROR_CODE >> vector & 1);
}

/* Faults push RFLAGS.RF = 1 (SDM "Instruction-Breakpoint Exception Condition"); #DB is a fault
 * only for general detection, where restarting must not meet a breakpoint again either. */
#define FAULT_VECTORS                                                                          \
    (1u << VECTOR_DE | 1u << VECTOR_BR | 1u << VECTOR_UD | 1u << VECTOR_NM | 1u << VECTOR_TS | \
     1u << VECTOR_NP | 1u << VECTOR_SS | 1u << VECTOR_GP | 1u << VECTOR_PF | 1u << VECTOR_MF | \
     1u << VECTOR_AC | 1u << VECTOR_XM | 1u << VECTOR_CP)

static bool is_exception(const struct event *event)
{
    return event->type == EVENT_HARDWARE_EXCEPTION;
}

static bool is_software(const struct event *event)
{
    return event->type >= EVENT_SOFTWARE_INTERRUPT;
}

static bool sets_rf(const struct event *event)
{
    if (!is_exception(event))
        return false;
    if (event->vector == VECTOR_DB)
        return event->debug & DR6_BD;
    return event->vector < 32 && (FAULT_VECTORS >> event->vector & 1);
}

/* --- Combinations of exceptions -------------------------------------------------------------- */

/* SDM "Interrupt 8-Double Fault Exception (#DF)", table "Interrupt and Exception Classes". */
enum event_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT, CLASS_DOUBLE_FAULT };

#define CONTRIBUTORY_VECTORS                                                                   \
    (1u << VECTOR_DE | 1u << VECTOR_TS | 1u << VECTOR_NP | 1u << VECTOR_SS | 1u << VECTOR_GP | \
     1u << VECTOR_CP)

static enum event_class event_class(const struct event *event)
{
    if (!is_exception(event))
        return CLASS_BENIGN;
    if (event->vector == VECTOR_DF)
        return CLASS_DOUBLE_FAULT;
    if (event->vector == VECTOR_PF)
        return CLASS_PAGE_FAULT;
    return event->vector < 32 && (CONTRIBUTORY_VECTORS >> event->vector & 1) ? CLASS_CONTRIBUTORY
                                                                             : CLASS_BENIGN;
}

enum combination { HANDLE_SERIALLY, DOUBLE_FAULT, SHUTDOWN };

/* The same section, table "Conditions for Generating a Double Fault"; the row is the event in
 * delivery, the column the exception that it met. */
// clang-format off
static const uint8_t combinations[4][3] = {
    /*                        BENIGN           CONTRIBUTORY     PAGE_FAULT */
    [CLASS_BENIGN]       = { HANDLE_SERIALLY, HANDLE_SERIALLY, HANDLE_SERIALLY },
    [CLASS_CONTRIBUTORY] = { HANDLE_SERIALLY, DOUBLE_FAULT,    HANDLE_SERIALLY },
    [CLASS_PAGE_FAULT]   = { HANDLE_SERIALLY, DOUBLE_FAULT,    DOUBLE_FAULT },
    [CLASS_DOUBLE_FAULT] = { HANDLE_SERIALLY, SHUTDOWN,        SHUTDOWN },
};
// clang-format on

/* --- Faults of an attempt -------------------------------------------------------------------- */

static void set_fault(struct delivery *delivery, enum vector vector, uint32_t error_code)
{
    delivery->fault = (struct event){.type = EVENT_HARDWARE_EXCEPTION,
                                     .vector = vector,
                                     .has_error_code = cpu_protected(delivery->cpu) &&
                                                       vector_has_error_code(vector),
                                     .error_code = error_code,
                                     .raised_by_delivery = true};
}

enum attempt delivery_fault(struct delivery *delivery, enum vector vector, uint32_t selector)
{
    set_fault(delivery, vector, SELECTOR_ERROR(selector) | delivery->ext);
    return ATTEMPT_FAULT;
}

enum attempt delivery_gate_fault(struct delivery *delivery, enum vector vector)
{
    const uint32_t idt = 2;

    set_fault(delivery, vector, delivery->event->vector * 8u | idt | delivery->ext);
    return ATTEMPT_FAULT;
}

enum attempt delivery_memory_fault(struct delivery *delivery, const struct mmu_fault *fault)
{
    if (fault->status != MMU_PAGE_FAULT) {
        vmx_exit_ept(delivery->cpu, fault);
        return ATTEMPT_EXIT;
    }
    set_fault(delivery, VECTOR_PF, fault->error_code);
    delivery->fault.cr2 = fault->linear;
    return ATTEMPT_FAULT;
}

enum attempt delivery_read_descriptor(struct delivery *delivery, uint16_t selector,
                                      enum vector vector, uint64_t *descriptor)
{
    struct mmu_fault fault;

    switch (segment_read_descriptor(delivery->cpu, selector, descriptor, &fault)) {
    case DESCRIPTOR_OK:
        return ATTEMPT_DELIVERED;
    case DESCRIPTOR_BEYOND_LIMIT:
        return delivery_fault(delivery, vector, selector);
    default:
        return delivery_memory_fault(delivery, &fault);
    }
}

/* --- The handler's code segment -------------------------------------------------------------- */

enum attempt delivery_check_code(struct delivery *delivery, uint16_t selector,
                                 struct delivery_target *target)
{
    struct cpu *cpu = delivery->cpu;
    unsigned cpl = cpu_cpl(cpu);
    enum attempt attempt;
    uint32_t rights;

    if (selector_null(selector))
        return delivery_fault(delivery, VECTOR_GP, 0);
    attempt = delivery_read_descriptor(delivery, selector, VECTOR_GP, &target->descriptor);
    if (attempt != ATTEMPT_DELIVERED)
        return attempt;
    rights = descriptor_access_rights(target->descriptor);
    if (!(rights & AR_S) || !(rights & AR_CODE) || AR_DPL(rights) > cpl)
        return delivery_fault(delivery, VECTOR_GP, selector);
    if (cpu_long_mode(cpu) && (rights & (AR_L | AR_DB)) != AR_L)
        return delivery_fault(delivery, VECTOR_GP, selector);
    if (!(rights & AR_P))
        return delivery_fault(delivery, VECTOR_NP, selector);
    target->inner = !(rights & AR_EXPAND) && AR_DPL(rights) < cpl; /* AR_EXPAND: conforming */
    target->cpl = target->inner ? AR_DPL(rights) : cpl;
    /* From virtual-8086 mode only a nonconforming handler at CPL 0 can be reached. */
    if (cpu_virtual_8086(cpu) && target->cpl != 0)
        return delivery_fault(delivery, VECTOR_GP, selector);
    target->selector = (selector & ~SELECTOR_RPL) | target->cpl;
    return ATTEMPT_DELIVERED;
}

void delivery_enter(struct delivery *delivery, const struct delivery_target *target, uint64_t rip,
                    bool interrupt_gate)
{
    struct cpu_state *state = &delivery->cpu->state;

    segment_load(&state->seg[SEG_CS], target->selector, target->descriptor);
    state->rip = rip;
    state->rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
    if (interrupt_gate)
        state->rflags &= ~RFLAGS_IF;
    delivery->cpu->changed |= CPU_CHANGED_SEGMENTS;
}

/* --- The whole ------------------------------------------------------------------------------- */

/*
 * What an event changes even if its delivery then ends in a VM exit (SDM "Architectural State
 * Before a VM Exit"). Injected events leave DR6, DR7 and CR2 alone ("Vectored-Event Injection").
 */
static void begin(struct cpu *cpu, const struct event *event, bool injected)
{
    struct cpu_state *state = &cpu->state;

    if (is_exception(event) && event->vector == VECTOR_PF && !injected) {
        state->cr2 = event->cr2;
        cpu->changed |= CPU_CHANGED_CR2;
    }
    if (is_exception(event) && event->vector == VECTOR_DB && !injected) {
        state->dr6 = (state->dr6 & ~DR6_B_MASK) | (event->debug & (DR6_WRITABLE));
        state->dr7 &= ~DR7_GD;
        state->debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
        cpu->changed |= CPU_CHANGED_DEBUG | CPU_CHANGED_MSR;
    }
    if (event->type == EVENT_NMI)
        state->interruptibility |= BLOCKING_BY_NMI;
    /* What MOV SS holds back survives a VM exit that interrupts INT n (SDM "Delivery of Pending Debug
     * Exceptions after VM Entry"): there the blocking ends with the delivery. */
    if (!is_software(event))
        state->interruptibility &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    state->activity = ACTIVITY_ACTIVE;
}

static enum attempt attempt_delivery(struct delivery *delivery, const struct event *event)
{
    struct cpu *cpu = delivery->cpu;
    bool software = is_software(event);

    delivery->event = event;
    delivery->ext = delivery_checks_gate_dpl(event) ? 0 : 1;
    delivery->return_rip = cpu->state.rip + (software ? event->instruction_length : 0);
    delivery->flags_image = cpu->state.rflags | (sets_rf(event) ? RFLAGS_RF : 0);
    if (cpu_long_mode(cpu))
        return deliver_64bit(delivery);
    if (cpu_protected(cpu))
        return deliver_legacy(delivery);
    return deliver_real(delivery);
}

static enum delivery_result shut_down(struct cpu *cpu)
{
    cpu->delivery_in_progress = false;
    if (!cpu->non_root) {
        cpu->state.activity = ACTIVITY_SHUTDOWN;
        return DELIVERY_SHUTDOWN;
    }
    vmx_exit_triple_fault(cpu);
    return DELIVERY_EXIT;
}

/* The exception that replaces the event in delivery. Returns false when cpu->exit is filled;
 * whether that exit counts as one during event delivery is seen when it is recorded (cpu/vmexit.c).
 */
static bool replace(struct cpu *cpu, struct event *fault, bool double_fault)
{
    if (double_fault)
        *fault = (struct event){.type = EVENT_HARDWARE_EXCEPTION,
                                .vector = VECTOR_DF,
                                .has_error_code = cpu_protected(cpu),
                                .raised_by_delivery = true};
    return !vmx_intercepts_exception(cpu, fault);
}

/* Real-address mode has no error codes, in VM-exit information neither. */
static struct event normalized(const struct cpu *cpu, const struct event *event)
{
    struct event copy = *event;

    copy.has_error_code = event->has_error_code && cpu_protected(cpu);
    return copy;
}

enum delivery_result cpu_deliver(struct cpu *cpu, const struct event *event, bool injected)
{
    struct delivery delivery = {.cpu = cpu};

    cpu->delivery_in_progress = false;
    cpu->delivering = normalized(cpu, event);
    if (!injected && vmx_intercepts_exception(cpu, &cpu->delivering))
        return DELIVERY_EXIT;
    cpu->delivery_in_progress = true;
    for (;;) {
        enum combination combination;

        begin(cpu, &cpu->delivering, injected);
        injected = false;
        switch (attempt_delivery(&delivery, &cpu->delivering)) {
        case ATTEMPT_DELIVERED:
            cpu->state.interruptibility &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
            cpu->delivery_in_progress = false;
            return DELIVERED;
        case ATTEMPT_EXIT:
            return DELIVERY_EXIT;
        case ATTEMPT_FAULT:
            break;
        }
        combination = combinations[event_class(&cpu->delivering)][event_class(&delivery.fault)];
        if (combination == SHUTDOWN)
            return shut_down(cpu);
        if (!replace(cpu, &delivery.fault, combination == DOUBLE_FAULT))
            return DELIVERY_EXIT;
        cpu->delivering = delivery.fault;
    }
}
