/* Interrupt lines: wired-or of the devices on a line, and its two destinations. */
#include "models/irq.h"

#include <assert.h>
#include <string.h>

#include "models/i8259.h"
#include "models/ioapic.h"

#define IOAPIC_PIN_OF_TIMER 2

void irq_lines_init(struct irq_lines *lines, struct i8259 *pic, struct ioapic *ioapic)
{
    *lines = (struct irq_lines){.pic = pic, .ioapic = ioapic};
}

void irq_connect(struct irq *irq, struct irq_lines *lines, unsigned line)
{
    assert(line < IRQ_LINES);
    *irq = (struct irq){.lines = lines, .line = line};
}

static void line_changed(struct irq_lines *lines, unsigned line, bool level)
{
    if (line < I8259_INPUTS && line != ISA_IRQ_CASCADE)
        i8259_set_input(lines->pic, line, level);
    if (line == ISA_IRQ_TIMER)
        ioapic_set_pin(lines->ioapic, IOAPIC_PIN_OF_TIMER, level);
    else if (line != IOAPIC_PIN_OF_TIMER)
        ioapic_set_pin(lines->ioapic, line, level);
}

void irq_set(struct irq *irq, bool level)
{
    uint8_t *drivers = &irq->lines->drivers[irq->line];
    bool before = *drivers;

    if (irq->level == level)
        return;
    irq->level = level;
    if (level)
        ++*drivers;
    else
        --*drivers;
    if (before != (bool)*drivers)
        line_changed(irq->lines, irq->line, level);
}
