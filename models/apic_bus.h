/*
 * What the local APICs and the I/O APIC say to each other: interrupt messages and end-of-interrupt
 * broadcasts (SDM, "Determining IPI Destination"; "Interrupt Distribution Mechanisms").
 */
#ifndef VTXSIM_MODELS_APIC_BUS_H
#define VTXSIM_MODELS_APIC_BUS_H

#include <stdbool.h>
#include <stdint.h>

#define APIC_BUS_CPUS_MAX 8

enum apic_delivery_mode {
    APIC_FIXED = 0,
    APIC_LOWEST_PRIORITY = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6, /* in the ICR only */
    APIC_EXTINT = 7,  /* in local vector table and I/O APIC entries only */
};

struct apic_message {
    enum apic_delivery_mode mode;
    uint8_t vector;
    bool level;     /* level-triggered: the end of interrupt is broadcast */
    bool logical;   /* destination mode */
    bool broadcast; /* the sender's all-ones destination */
    uint32_t destination;
};

struct lapic;
struct ioapic;

struct apic_bus {
    unsigned cpus;
    struct lapic *lapic[APIC_BUS_CPUS_MAX];
    struct ioapic *ioapic;
    /* Signals to the processors' pins. */
    void (*nmi)(void *owner, unsigned cpu);
    void (*init)(void *owner, unsigned cpu);
    void (*startup)(void *owner, unsigned cpu, uint8_t vector);
    void *owner;
};

/* Delivers to every local APIC that the destination names (to one of them in lowest-priority
 * mode). Returns how many took the message. */
unsigned apic_bus_send(struct apic_bus *bus, const struct apic_message *message);
/* To one local APIC, whatever the destination says. False if it takes no such message. */
bool apic_bus_send_to(struct apic_bus *bus, unsigned cpu, const struct apic_message *message);
/* Whether the message's destination names this CPU. */
bool apic_bus_addresses(const struct apic_bus *bus, unsigned cpu,
                        const struct apic_message *message);
void apic_bus_end_of_interrupt(struct apic_bus *bus, uint8_t vector);

#endif
