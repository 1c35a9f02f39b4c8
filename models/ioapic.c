/* The I/O APIC: redirection table entries and the remote-IRR protocol of level-triggered pins. */
#include "models/ioapic.h"

#include <string.h>

#define IOAPIC_WINDOW_SIZE 0x1000
#define IOAPIC_VERSION     0x20u

/* Offsets in the window. */
#define IOREGSEL 0x00
#define IOWIN    0x10
#define IOEOI    0x40

/* Registers behind IOWIN. */
#define REGISTER_ID          0x00
#define REGISTER_VERSION     0x01
#define REGISTER_ARBITRATION 0x02
#define REGISTER_TABLE       0x10

#define ID_WRITABLE     0x0f000000u
#define ENTRY_READ_ONLY (IOAPIC_ENTRY_REMOTE_IRR | 1ull << 12) /* remote IRR, delivery status */
#define ENTRY_WRITABLE  (0xff0000000001afffull)
#define BROADCAST       0xff

static struct apic_message entry_message(uint64_t entry)
{
    uint8_t destination = (uint8_t)(entry >> 56);

    return (struct apic_message){
        .mode = (enum apic_delivery_mode)(entry >> 8 & 7),
        .vector = (uint8_t)entry,
        .level = entry & IOAPIC_ENTRY_LEVEL,
        .logical = entry & IOAPIC_ENTRY_LOGICAL,
        .broadcast = destination == BROADCAST,
        .destination = destination,
    };
}

static bool is_extint(uint64_t entry)
{
    return (entry >> 8 & 7) == APIC_EXTINT;
}

static bool send(struct ioapic *ioapic, unsigned pin)
{
    struct apic_message message = entry_message(ioapic->state.entry[pin]);

    return apic_bus_send(ioapic->apic_bus, &message) > 0;
}

/* A level-triggered pin that is high sends once, then waits for the end of interrupt. */
static void service_level(struct ioapic *ioapic, unsigned pin)
{
    uint64_t *entry = &ioapic->state.entry[pin];
    bool waiting = *entry & (IOAPIC_ENTRY_MASKED | IOAPIC_ENTRY_REMOTE_IRR);

    if (!(*entry & IOAPIC_ENTRY_LEVEL) || waiting || !(ioapic->state.input >> pin & 1))
        return;
    if (send(ioapic, pin))
        *entry |= IOAPIC_ENTRY_REMOTE_IRR;
}

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level)
{
    uint64_t entry = ioapic->state.entry[pin];
    uint32_t bit = 1u << pin;
    bool rises = level && !(ioapic->state.input & bit);

    ioapic->state.input = level ? ioapic->state.input | bit : ioapic->state.input & ~bit;
    if (entry & IOAPIC_ENTRY_LEVEL)
        service_level(ioapic, pin);
    else if (rises && !(entry & IOAPIC_ENTRY_MASKED)) /* edges of a masked pin are lost */
        send(ioapic, pin);
}

void ioapic_end_of_interrupt(struct ioapic *ioapic, uint8_t vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *entry = &ioapic->state.entry[pin];
        if ((uint8_t)*entry != vector || !(*entry & IOAPIC_ENTRY_LEVEL))
            continue;
        *entry &= ~IOAPIC_ENTRY_REMOTE_IRR;
        service_level(ioapic, pin);
    }
}

bool ioapic_passes_extint(const struct ioapic *ioapic, unsigned cpu)
{
    uint64_t entry = ioapic->state.entry[IOAPIC_PIN_EXTINT];
    struct apic_message message = entry_message(entry);

    return !(entry & IOAPIC_ENTRY_MASKED) && is_extint(entry) &&
           apic_bus_addresses(ioapic->apic_bus, cpu, &message);
}

static void write_entry(struct ioapic *ioapic, unsigned pin, uint64_t value)
{
    uint64_t *entry = &ioapic->state.entry[pin];

    *entry = (value & ENTRY_WRITABLE) | (*entry & ENTRY_READ_ONLY);
    /* Software resets a stuck remote IRR by making the pin edge-triggered for a moment. */
    if (!(*entry & IOAPIC_ENTRY_LEVEL))
        *entry &= ~IOAPIC_ENTRY_REMOTE_IRR;
    service_level(ioapic, pin);
    if (pin == IOAPIC_PIN_EXTINT)
        ioapic->extint_changed(ioapic->owner);
}

static uint32_t read_register(const struct ioapic *ioapic)
{
    const struct ioapic_state *state = &ioapic->state;
    unsigned half = state->select - REGISTER_TABLE;

    switch (state->select) {
    case REGISTER_ID:
    case REGISTER_ARBITRATION:
        return state->id;
    case REGISTER_VERSION:
        return IOAPIC_VERSION | (IOAPIC_PINS - 1) << 16;
    }
    if (state->select < REGISTER_TABLE || half >= 2 * IOAPIC_PINS)
        return 0;
    return (uint32_t)(half & 1 ? state->entry[half / 2] >> 32 : state->entry[half / 2]);
}

static void write_register(struct ioapic *ioapic, uint32_t value)
{
    struct ioapic_state *state = &ioapic->state;
    unsigned half = state->select - REGISTER_TABLE;
    uint64_t entry;

    if (state->select == REGISTER_ID) {
        state->id = value & ID_WRITABLE;
    } else if (state->select >= REGISTER_TABLE && half < 2 * IOAPIC_PINS) {
        entry = state->entry[half / 2];
        entry = half & 1 ? (uint64_t)value << 32 | (uint32_t)entry
                         : (entry & ~(uint64_t)UINT32_MAX) | value;
        write_entry(ioapic, half / 2, entry);
    }
}

static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
    struct ioapic *ioapic = device;
    uint32_t value = 0;

    if ((offset & ~3ull) == IOREGSEL)
        value = ioapic->state.select;
    else if ((offset & ~3ull) == IOWIN)
        value = read_register(ioapic);
    return value >> (offset & 3) * 8;
}

/* Registers are written as a whole: anything but an aligned doubleword is dropped. */
static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *ioapic = device;

    if (offset == IOREGSEL)
        ioapic->state.select = (uint8_t)value;
    else if (offset == IOWIN && size == 4)
        write_register(ioapic, (uint32_t)value);
    else if (offset == IOEOI && size == 4)
        ioapic_end_of_interrupt(ioapic, (uint8_t)value);
}

static const struct io_operations operations = {window_read, window_write, 4};

void ioapic_reset(struct ioapic *ioapic, uint8_t id)
{
    ioapic->state = (struct ioapic_state){.id = (uint32_t)id << 24, .input = ioapic->state.input};
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->state.entry[pin] = IOAPIC_ENTRY_MASKED;
}

int ioapic_init(struct ioapic *ioapic, struct bus *bus, uint64_t base, uint8_t id,
                struct apic_bus *apic_bus, void (*extint_changed)(void *), void *owner)
{
    *ioapic =
        (struct ioapic){.apic_bus = apic_bus, .extint_changed = extint_changed, .owner = owner};
    ioapic_reset(ioapic, id);
    return bus_claim_mmio(bus, "I/O APIC", base, IOAPIC_WINDOW_SIZE, &operations, ioapic);
}
