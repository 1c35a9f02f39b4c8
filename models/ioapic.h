/*
 * The I/O APIC: 24 pins, each with a redirection table entry (82093AA data sheet; version 20h adds
 * the EOI register). Pin 0 is wired to the 8259 pair's INT, for delivery mode ExtINT.
 */
#ifndef VTXSIM_MODELS_IOAPIC_H
#define VTXSIM_MODELS_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "models/apic_bus.h"
#include "models/bus.h"

#define IOAPIC_PINS       24
#define IOAPIC_PIN_EXTINT 0

#define IOAPIC_ENTRY_LOGICAL    (1ull << 11)
#define IOAPIC_ENTRY_REMOTE_IRR (1ull << 14)
#define IOAPIC_ENTRY_LEVEL      (1ull << 15)
#define IOAPIC_ENTRY_MASKED     (1ull << 16)

struct ioapic_state {
    uint8_t select; /* IOREGSEL */
    uint32_t id;
    uint32_t input; /* levels of the pins */
    uint64_t entry[IOAPIC_PINS];
};

struct ioapic {
    struct apic_bus *apic_bus;
    void (*extint_changed)(void *owner); /* entry 0 was written */
    void *owner;
    struct ioapic_state state;
};

/* Claims 4 KiB at `base`. `id` is the one that the MADT states. 0 or a negative errno. */
int ioapic_init(struct ioapic *ioapic, struct bus *bus, uint64_t base, uint8_t id,
                struct apic_bus *apic_bus, void (*extint_changed)(void *), void *owner);
void ioapic_reset(struct ioapic *ioapic, uint8_t id);
void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level);
void ioapic_end_of_interrupt(struct ioapic *ioapic, uint8_t vector);
/* Whether entry 0 passes the 8259 pair's interrupts on to this CPU. */
bool ioapic_passes_extint(const struct ioapic *ioapic, unsigned cpu);

#endif
