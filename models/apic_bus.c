/* Delivery of interrupt messages: destinations, lowest-priority arbitration, processor signals. */
#include "models/apic_bus.h"

#include "models/ioapic.h"
#include "models/lapic.h"

bool apic_bus_addresses(const struct apic_bus *bus, unsigned cpu,
                        const struct apic_message *message)
{
    const struct lapic *lapic = bus->lapic[cpu];

    if (!lapic_is_enabled(lapic))
        return false;
    if (message->broadcast)
        return true;
    return message->logical ? lapic_has_logical_id(lapic, message->destination)
                            : lapic_has_physical_id(lapic, message->destination);
}

bool apic_bus_send_to(struct apic_bus *bus, unsigned cpu, const struct apic_message *message)
{
    switch (message->mode) {
    case APIC_FIXED:
    case APIC_LOWEST_PRIORITY:
        return lapic_accept(bus->lapic[cpu], message->vector, message->level);
    case APIC_NMI:
        bus->nmi(bus->owner, cpu);
        return true;
    case APIC_INIT:
        bus->init(bus->owner, cpu);
        return true;
    case APIC_STARTUP:
        bus->startup(bus->owner, cpu, message->vector);
        return true;
    case APIC_SMI: /* there is no system-management mode */
    case APIC_EXTINT:
        break;
    }
    return false;
}

/* The addressed local APIC with the lowest arbitration priority; the first of equals. */
static unsigned send_lowest_priority(struct apic_bus *bus, const struct apic_message *message)
{
    unsigned chosen = bus->cpus;

    for (unsigned cpu = 0; cpu < bus->cpus; cpu++) {
        if (!apic_bus_addresses(bus, cpu, message) || !lapic_is_software_enabled(bus->lapic[cpu]))
            continue;
        if (chosen == bus->cpus || lapic_arbitration_priority(bus->lapic[cpu]) <
                                       lapic_arbitration_priority(bus->lapic[chosen]))
            chosen = cpu;
    }
    return chosen < bus->cpus && apic_bus_send_to(bus, chosen, message);
}

unsigned apic_bus_send(struct apic_bus *bus, const struct apic_message *message)
{
    unsigned taken = 0;

    if (message->mode == APIC_LOWEST_PRIORITY)
        return send_lowest_priority(bus, message);
    for (unsigned cpu = 0; cpu < bus->cpus; cpu++) {
        if (apic_bus_addresses(bus, cpu, message))
            taken += apic_bus_send_to(bus, cpu, message);
    }
    return taken;
}

void apic_bus_end_of_interrupt(struct apic_bus *bus, uint8_t vector)
{
    ioapic_end_of_interrupt(bus->ioapic, vector);
}
