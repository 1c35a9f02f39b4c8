/*
 * Interrupt lines of the board. A device owns a `struct irq` and drives it high or low; devices
 * that share a line are wired together (the line is high while one of them drives it high). Every
 * change of a line reaches both interrupt controllers.
 *
 * Lines 0-15 are the ISA interrupts: input n of the 8259 pair and pin n of the I/O APIC, but line
 * 0 (the 8254) is pin 2, as the MADT's interrupt source override says. Lines 16-23 reach the I/O
 * APIC only.
 */
#ifndef VTXSIM_MODELS_IRQ_H
#define VTXSIM_MODELS_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#define IRQ_LINES 24

enum isa_irq {
    ISA_IRQ_TIMER = 0,
    ISA_IRQ_KEYBOARD = 1,
    ISA_IRQ_CASCADE = 2,
    ISA_IRQ_COM1 = 4,
    ISA_IRQ_RTC = 8,
    ISA_IRQ_SCI = 9,
    ISA_IRQ_MOUSE = 12,
};

struct i8259;
struct ioapic;

struct irq_lines {
    struct i8259 *pic;
    struct ioapic *ioapic;
    uint8_t drivers[IRQ_LINES]; /* how many devices hold the line high */
};

/* One device's connection to a line. */
struct irq {
    struct irq_lines *lines;
    unsigned line;
    bool level;
};

void irq_lines_init(struct irq_lines *lines, struct i8259 *pic, struct ioapic *ioapic);
void irq_connect(struct irq *irq, struct irq_lines *lines, unsigned line);
void irq_set(struct irq *irq, bool level);

#endif
