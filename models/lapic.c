/* Local APIC: registers, priorities, acceptance, acknowledgement and end of interrupt, errors. */
#include "models/lapic.h"

#include <string.h>

#define LAPIC_VERSION_VALUE (0x14u | (LAPIC_LVT_COUNT - 1) << 16 | 1u << 24)

#define SVR_RESET       0xffu
#define DFR_FLAT        0xffffffffu
#define DFR_MODEL_SHIFT 28
#define DFR_MODEL_FLAT  0xf
#define FIRST_VECTOR    16 /* vectors 0-15 are illegal */
#define NO_VECTOR       (-1)

#define ICR_LEVEL_ASSERT   (1u << 14)
#define ICR_LEVEL          (1u << 15)
#define ICR_LOGICAL        (1u << 11)
#define ICR_SHORTHAND(icr) ((icr) >> 18 & 3)
#define ICR_VALID          0xffffffff000ccfffull
#define VIRTUAL_WIRE_LINT0 (APIC_EXTINT << 8)
#define VIRTUAL_WIRE_LINT1 (APIC_NMI << 8)

/* Bits that software can write; delivery status and remote IRR are read-only. */
static const uint32_t lvt_writable[LAPIC_LVT_COUNT] = {
    [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERFORMANCE] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,   [LVT_ERROR] = 0x100ff,
};

static bool bit_is_set(const uint32_t *map, unsigned vector)
{
    return map[vector / 32] >> vector % 32 & 1;
}

static void bit_assign(uint32_t *map, unsigned vector, bool value)
{
    uint32_t bit = 1u << vector % 32;

    map[vector / 32] = value ? map[vector / 32] | bit : map[vector / 32] & ~bit;
}

static int highest_vector(const uint32_t *map)
{
    for (int i = LAPIC_VECTORS / 32 - 1; i >= 0; i--) {
        if (map[i])
            return i * 32 + 31 - __builtin_clz(map[i]);
    }
    return NO_VECTOR;
}

/* SDM, "Task and Processor Priorities". */
uint8_t lapic_processor_priority(const struct lapic *lapic)
{
    int serving = highest_vector(lapic->state.isr);
    uint8_t serving_class = serving == NO_VECTOR ? 0 : serving & 0xf0;

    return (lapic->state.tpr & 0xf0) >= serving_class ? lapic->state.tpr : serving_class;
}

/* SDM, "Lowest Priority Delivery": the arbitration priority register. */
uint8_t lapic_arbitration_priority(const struct lapic *lapic)
{
    int serving = highest_vector(lapic->state.isr), waiting = highest_vector(lapic->state.irr);
    uint8_t serving_class = serving == NO_VECTOR ? 0 : serving & 0xf0;
    uint8_t waiting_class = waiting == NO_VECTOR ? 0 : waiting & 0xf0;
    uint8_t task_class = lapic->state.tpr & 0xf0;

    if (task_class >= waiting_class && task_class > serving_class)
        return lapic->state.tpr;
    return waiting_class > serving_class ? waiting_class : serving_class;
}

static void update(struct lapic *lapic)
{
    int waiting = highest_vector(lapic->state.irr);
    bool pending = lapic_is_enabled(lapic) && waiting != NO_VECTOR &&
                   waiting >> 4 > lapic_processor_priority(lapic) >> 4;

    if (pending == lapic->state.pending)
        return;
    lapic->state.pending = pending;
    lapic->changed(lapic->owner, lapic->cpu);
}

bool lapic_accept(struct lapic *lapic, uint8_t vector, bool level)
{
    if (!lapic_is_software_enabled(lapic))
        return false;
    if (vector < FIRST_VECTOR) {
        lapic_raise_error(lapic, LAPIC_ERROR_RECEIVE_VECTOR);
        return true;
    }
    bit_assign(lapic->state.irr, vector, true);
    bit_assign(lapic->state.tmr, vector, level);
    update(lapic);
    return true;
}

uint8_t lapic_acknowledge(struct lapic *lapic)
{
    int vector = highest_vector(lapic->state.irr);

    if (!lapic->state.pending)
        return (uint8_t)lapic->state.svr;
    bit_assign(lapic->state.irr, (unsigned)vector, false);
    bit_assign(lapic->state.isr, (unsigned)vector, true);
    update(lapic);
    return (uint8_t)vector;
}

/* Level-triggered LINT pins wait for the end of interrupt just like the I/O APIC's. */
static void lint_end_of_interrupt(struct lapic *lapic, uint8_t vector)
{
    for (unsigned pin = 0; pin < 2; pin++) {
        uint32_t *entry = &lapic->state.lvt[LVT_LINT0 + pin];
        if (!(*entry & LVT_REMOTE_IRR) || (uint8_t)*entry != vector)
            continue;
        *entry &= ~LVT_REMOTE_IRR;
        if (lapic->state.lint[pin])
            lapic_raise_lvt(lapic, LVT_LINT0 + pin);
    }
}

void lapic_end_of_interrupt(struct lapic *lapic)
{
    int vector = highest_vector(lapic->state.isr);

    if (vector == NO_VECTOR)
        return;
    bit_assign(lapic->state.isr, (unsigned)vector, false);
    update(lapic);
    lint_end_of_interrupt(lapic, (uint8_t)vector);
    if (bit_is_set(lapic->state.tmr, (unsigned)vector) &&
        !(lapic->state.svr & SVR_SUPPRESS_EOI_BROADCAST))
        apic_bus_end_of_interrupt(lapic->apic_bus, (uint8_t)vector);
}

void lapic_set_tpr(struct lapic *lapic, uint8_t tpr)
{
    lapic->state.tpr = tpr;
    update(lapic);
}

/* SDM, "Error Handling". */
void lapic_raise_error(struct lapic *lapic, enum lapic_error error)
{
    const struct lapic_state *state = &lapic->state;
    bool again = state->errors & error;

    lapic->state.errors |= error;
    /* An error entry with an illegal vector would raise itself for ever. */
    if (!again && (uint8_t)state->lvt[LVT_ERROR] >= FIRST_VECTOR)
        lapic_raise_lvt(lapic, LVT_ERROR);
}

/* A level-triggered entry sends once, then waits for the end of interrupt. */
static void raise_fixed(struct lapic *lapic, enum lapic_lvt which)
{
    uint32_t *entry = &lapic->state.lvt[which];
    bool is_lint = which == LVT_LINT0 || which == LVT_LINT1;

    if (!is_lint || !(*entry & LVT_LEVEL)) {
        lapic_accept(lapic, (uint8_t)*entry, false);
    } else if (!(*entry & LVT_REMOTE_IRR)) {
        *entry |= LVT_REMOTE_IRR;
        lapic_accept(lapic, (uint8_t)*entry, false);
    }
}

/* SDM, "Local Vector Table". */
void lapic_raise_lvt(struct lapic *lapic, enum lapic_lvt which)
{
    uint32_t entry = lapic->state.lvt[which];
    bool always_fixed = which == LVT_TIMER || which == LVT_ERROR;
    struct apic_message message = {.mode = (enum apic_delivery_mode)(entry >> 8 & 7)};

    if ((entry & LVT_MASKED) || !lapic_is_enabled(lapic))
        return;
    if (which == LVT_PERFORMANCE)
        lapic->state.lvt[which] |= LVT_MASKED;
    if (always_fixed || message.mode == APIC_FIXED)
        raise_fixed(lapic, which);
    else if (message.mode == APIC_NMI || message.mode == APIC_INIT)
        apic_bus_send_to(lapic->apic_bus, lapic->cpu, &message);
}

void lapic_set_lint(struct lapic *lapic, unsigned pin, bool level)
{
    bool rises = level && !lapic->state.lint[pin];

    lapic->state.lint[pin] = level;
    if (rises)
        lapic_raise_lvt(lapic, LVT_LINT0 + pin);
}

bool lapic_passes_extint(const struct lapic *lapic)
{
    uint32_t entry = lapic->state.lvt[LVT_LINT0];

    if (!lapic_is_enabled(lapic))
        return true;
    return lapic_is_software_enabled(lapic) && !(entry & LVT_MASKED) &&
           (entry >> 8 & 7) == APIC_EXTINT;
}

bool lapic_has_physical_id(const struct lapic *lapic, uint32_t destination)
{
    return destination == (lapic_is_x2apic(lapic) ? lapic->state.id : lapic->state.id >> 24);
}

/* SDM, "Logical Destination Mode" and "Logical Destination Mode in x2APIC Mode". */
bool lapic_has_logical_id(const struct lapic *lapic, uint32_t destination)
{
    uint32_t logical = lapic->state.ldr;

    if (lapic_is_x2apic(lapic))
        return logical >> 16 == destination >> 16 && (logical & destination & 0xffff);
    logical >>= 24;
    if (destination > 0xff)
        return false;
    if (lapic->state.dfr >> DFR_MODEL_SHIFT == DFR_MODEL_FLAT)
        return logical & destination;
    return logical >> 4 == destination >> 4 && (logical & destination & 0xf);
}

static void send_ipi(struct lapic *lapic, uint64_t icr)
{
    struct apic_bus *bus = lapic->apic_bus;
    uint32_t destination = (uint32_t)(icr >> 32);
    uint32_t all_ones = lapic_is_x2apic(lapic) ? UINT32_MAX : 0xff;
    unsigned shorthand = ICR_SHORTHAND(icr);
    struct apic_message message = {
        .mode = (enum apic_delivery_mode)(icr >> 8 & 7),
        .vector = (uint8_t)icr,
        .logical = icr & ICR_LOGICAL,
    };
    bool has_vector = message.mode == APIC_FIXED || message.mode == APIC_LOWEST_PRIORITY;

    /* INIT level de-assert is not sent by processors with an xAPIC. */
    if (message.mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_LEVEL_ASSERT))
        return;
    if (has_vector && message.vector < FIRST_VECTOR) {
        lapic_raise_error(lapic, LAPIC_ERROR_SEND_VECTOR);
        return;
    }
    if (!shorthand) {
        message.destination = lapic_is_x2apic(lapic) ? destination : destination >> 24;
        message.broadcast = message.destination == all_ones;
        apic_bus_send(bus, &message);
        return;
    }
    for (unsigned cpu = 0; cpu < bus->cpus; cpu++) {
        bool self = cpu == lapic->cpu;
        if ((self ? shorthand != 3 : shorthand != 1) && lapic_is_enabled(bus->lapic[cpu]))
            apic_bus_send_to(bus, cpu, &message);
    }
}

void lapic_write_icr(struct lapic *lapic, uint64_t value)
{
    lapic->state.icr = value & ICR_VALID;
    send_ipi(lapic, value);
}

static void write_svr(struct lapic *lapic, uint32_t value)
{
    struct lapic_state *state = &lapic->state;

    state->svr = value & (0xff | SVR_ENABLED | 1u << 9 | SVR_SUPPRESS_EOI_BROADCAST);
    if (!(state->svr & SVR_ENABLED)) {
        for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
            state->lvt[i] |= LVT_MASKED;
    }
    lapic->changed(lapic->owner, lapic->cpu);
}

static void write_lvt(struct lapic *lapic, enum lapic_lvt which, uint32_t value)
{
    struct lapic_state *state = &lapic->state;
    uint32_t *entry = &state->lvt[which];

    value &= lvt_writable[which];
    if (!(state->svr & SVR_ENABLED))
        value |= LVT_MASKED;
    if (which == LVT_TIMER) {
        lapic_timer_write_lvt(lapic, value);
        return;
    }
    *entry = value | (value & LVT_LEVEL ? *entry & LVT_REMOTE_IRR : 0);
    if (which != LVT_LINT0 && which != LVT_LINT1)
        return;
    if ((value & LVT_LEVEL) && state->lint[which - LVT_LINT0])
        lapic_raise_lvt(lapic, which);
    lapic->changed(lapic->owner, lapic->cpu);
}

uint32_t lapic_read_register(struct lapic *lapic, enum lapic_register which)
{
    const struct lapic_state *state = &lapic->state;

    if (which >= LAPIC_ISR && which < LAPIC_TMR)
        return state->isr[which - LAPIC_ISR];
    if (which >= LAPIC_TMR && which < LAPIC_IRR)
        return state->tmr[which - LAPIC_TMR];
    if (which >= LAPIC_IRR && which < LAPIC_ESR)
        return state->irr[which - LAPIC_IRR];
    if (which >= LAPIC_LVT && which < LAPIC_LVT + LAPIC_LVT_COUNT)
        return state->lvt[which - LAPIC_LVT];
    switch (which) {
    case LAPIC_ID:
        return state->id;
    case LAPIC_VERSION:
        return LAPIC_VERSION_VALUE;
    case LAPIC_TPR:
        return state->tpr;
    case LAPIC_APR:
        return lapic_arbitration_priority(lapic);
    case LAPIC_PPR:
        return lapic_processor_priority(lapic);
    case LAPIC_LDR:
        return state->ldr;
    case LAPIC_DFR:
        return state->dfr;
    case LAPIC_SVR:
        return state->svr;
    case LAPIC_ESR:
        return state->error_status;
    case LAPIC_ICR_LOW:
        return (uint32_t)state->icr;
    case LAPIC_ICR_HIGH:
        return (uint32_t)(state->icr >> 32);
    case LAPIC_INITIAL_COUNT:
        return state->initial_count;
    case LAPIC_CURRENT_COUNT:
        return lapic_timer_current_count(lapic);
    case LAPIC_DIVIDE:
        return state->divide;
    default:
        return 0;
    }
}

void lapic_write_register(struct lapic *lapic, enum lapic_register which, uint32_t value)
{
    struct lapic_state *state = &lapic->state;

    if (which >= LAPIC_LVT && which < LAPIC_LVT + LAPIC_LVT_COUNT) {
        write_lvt(lapic, which - LAPIC_LVT, value);
        return;
    }
    switch (which) {
    case LAPIC_ID:
        state->id = value & 0xff000000;
        break;
    case LAPIC_TPR:
        lapic_set_tpr(lapic, (uint8_t)value);
        break;
    case LAPIC_EOI:
        lapic_end_of_interrupt(lapic);
        break;
    case LAPIC_LDR:
        state->ldr = value & 0xff000000;
        break;
    case LAPIC_DFR:
        state->dfr = value | (DFR_FLAT >> (32 - DFR_MODEL_SHIFT));
        break;
    case LAPIC_SVR:
        write_svr(lapic, value);
        break;
    case LAPIC_ESR: /* a write shows what was collected and starts afresh */
        state->error_status = state->errors;
        state->errors = 0;
        break;
    case LAPIC_ICR_LOW:
        lapic_write_icr(lapic, (state->icr & ~(uint64_t)UINT32_MAX) | value);
        break;
    case LAPIC_ICR_HIGH:
        state->icr = (uint64_t)(value & 0xff000000) << 32 | (uint32_t)state->icr;
        break;
    case LAPIC_INITIAL_COUNT:
        lapic_timer_write_initial_count(lapic, value);
        break;
    case LAPIC_DIVIDE:
        lapic_timer_write_divide(lapic, value & 0x0b);
        break;
    case LAPIC_SELF_IPI:
        if ((uint8_t)value < FIRST_VECTOR)
            lapic_raise_error(lapic, LAPIC_ERROR_SEND_VECTOR);
        else
            lapic_accept(lapic, (uint8_t)value, false);
        break;
    default:
        break;
    }
}

void lapic_init_reset(struct lapic *lapic)
{
    struct lapic_state before = lapic->state;

    lapic_timer_reset(lapic);
    memset(&lapic->state, 0, sizeof(lapic->state));
    lapic->state.base = before.base;
    lapic->state.id = before.id;
    lapic->state.ldr = lapic_is_x2apic(lapic) ? before.ldr : 0;
    lapic->state.tsc_offset = before.tsc_offset;
    memcpy(lapic->state.lint, before.lint, sizeof(before.lint));
    lapic->state.dfr = DFR_FLAT;
    lapic->state.svr = SVR_RESET;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        lapic->state.lvt[i] = LVT_MASKED;
    lapic->changed(lapic->owner, lapic->cpu);
}

void lapic_power_up(struct lapic *lapic)
{
    lapic->state.base = 0xfee00000 | APIC_BASE_ENABLE | (lapic->cpu ? 0 : APIC_BASE_BSP);
    lapic->state.id = lapic->cpu << 24;
    lapic_init_reset(lapic);
}

void lapic_enter_virtual_wire(struct lapic *lapic)
{
    write_svr(lapic, SVR_RESET | SVR_ENABLED);
    write_lvt(lapic, LVT_LINT0, VIRTUAL_WIRE_LINT0);
    write_lvt(lapic, LVT_LINT1, VIRTUAL_WIRE_LINT1);
}

int lapic_init(struct lapic *lapic)
{
    int error = lapic_timer_init(lapic);

    if (!error)
        lapic_power_up(lapic);
    return error;
}
