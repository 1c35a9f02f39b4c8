/* ACPI fixed hardware: status, enable, sleep control, and the timer with its carry interrupt. */
#include "models/acpi_pm.h"

#define STATUS_TIMER 0x0001 /* the timer's top bit has changed */
#define STATUS_BITS  0x8731 /* timer, bus master, global lock, buttons, RTC, wake */
#define ENABLE_BITS  0x0721

#define CONTROL_SCI_ENABLE        0x0001 /* stays set: there is no legacy mode */
#define CONTROL_BITS              0x1c03 /* SCI_EN, BM_RLD, SLP_TYP; the rest reads zero */
#define CONTROL_SLEEP_TYPE(value) ((value) >> 10 & 7)
#define CONTROL_SLEEP             0x2000

#define HALF_PERIOD_BITS (ACPI_PM_TIMER_BITS - 1)
#define TIMER_MASK       ((1u << ACPI_PM_TIMER_BITS) - 1)

static uint64_t current_tick(const struct acpi_pm *pm)
{
    return clock_to_ticks(pm->clock, clock_now(pm->clock), ACPI_PM_TIMER_HZ);
}

/* Sets the status bit for carries until now; drives the line; arms the timer for the next one. */
static void update(struct acpi_pm *pm)
{
    struct acpi_pm_state *state = &pm->state;
    uint64_t carry = current_tick(pm) >> HALF_PERIOD_BITS;
    bool waits;

    if (carry != state->synced_carry)
        state->status |= STATUS_TIMER;
    state->synced_carry = carry;
    irq_set(&pm->irq, state->status & state->enable);

    waits = (state->enable & STATUS_TIMER) && !(state->status & STATUS_TIMER);
    timer_arm(pm->clock, &pm->timer,
              waits ? clock_from_ticks(pm->clock, (carry + 1) << HALF_PERIOD_BITS, ACPI_PM_TIMER_HZ)
                    : CLOCK_NEVER);
}

static void expire(void *device)
{
    update(device);
}

/* The event block is two words of which drivers access single bytes. */
static uint64_t event_read(void *device, uint64_t offset, unsigned size)
{
    struct acpi_pm *pm = device;

    update(pm);
    return ((uint32_t)pm->state.enable << 16 | pm->state.status) >> offset * 8;
}

static void event_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct acpi_pm *pm = device;

    update(pm);
    if (offset < 2) {
        pm->state.status &= ~(value << offset * 8 & STATUS_BITS);
    } else {
        uint32_t mask = 0xff << (offset - 2) * 8;
        pm->state.enable =
            (uint16_t)((pm->state.enable & ~mask) | (value << (offset - 2) * 8 & ENABLE_BITS));
    }
    update(pm);
}

static uint64_t control_read(void *device, uint64_t offset, unsigned size)
{
    struct acpi_pm *pm = device;

    return pm->state.control >> offset * 8;
}

static void control_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct acpi_pm *pm = device;
    uint32_t mask = (size == 2 ? 0xffff : 0xff) << offset * 8;
    uint32_t control = (pm->state.control & ~mask) | (uint32_t)value << offset * 8;

    pm->state.control = (control & CONTROL_BITS) | CONTROL_SCI_ENABLE;
    if ((control & CONTROL_SLEEP) && CONTROL_SLEEP_TYPE(control) == ACPI_SLEEP_TYPE_S5)
        pm->power_off(pm->owner);
}

static uint64_t timer_read(void *device, uint64_t offset, unsigned size)
{
    return (current_tick(device) & TIMER_MASK) >> offset * 8;
}

static void timer_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
}

static const struct io_operations event_operations = {event_read, event_write, 1};
static const struct io_operations control_operations = {control_read, control_write, 2};
static const struct io_operations timer_operations = {timer_read, timer_write, 4};

void acpi_pm_reset(struct acpi_pm *pm)
{
    pm->state = (struct acpi_pm_state){
        .control = CONTROL_SCI_ENABLE,
        .synced_carry = current_tick(pm) >> HALF_PERIOD_BITS,
    };
    update(pm);
}

int acpi_pm_init(struct acpi_pm *pm, struct bus *bus, struct clock *clock, struct irq_lines *lines,
                 void (*power_off)(void *owner), void *owner)
{
    int error;

    *pm = (struct acpi_pm){.clock = clock, .power_off = power_off, .owner = owner};
    irq_connect(&pm->irq, lines, ISA_IRQ_SCI);
    error = clock_add_timer(clock, &pm->timer, expire, pm);
    if (error)
        return error;
    acpi_pm_reset(pm);
    error = bus_claim_ports(bus, "ACPI PM1a event", ACPI_PM_EVENT_PORT, ACPI_PM_EVENT_SIZE,
                            &event_operations, pm);
    if (!error)
        error = bus_claim_ports(bus, "ACPI PM1a control", ACPI_PM_CONTROL_PORT,
                                ACPI_PM_CONTROL_SIZE, &control_operations, pm);
    if (!error)
        error = bus_claim_ports(bus, "ACPI PM timer", ACPI_PM_TIMER_PORT, ACPI_PM_TIMER_SIZE,
                                &timer_operations, pm);
    return error;
}
