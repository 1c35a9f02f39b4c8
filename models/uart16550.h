/*
 * The 16550A serial port. Bytes sent leave at once (the transmitter is always empty); bytes
 * received wait in `input` and move into the receiver as the guest makes room, so that none is
 * lost. Interrupts follow the data sheet: their priorities, what clears each, the receiver's
 * trigger level and character timeout. MCR.OUT2 gates the interrupt line, as on every PC.
 */
#ifndef VTXSIM_MODELS_UART16550_H
#define VTXSIM_MODELS_UART16550_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "models/bus.h"
#include "models/clock.h"
#include "models/irq.h"

#define UART_FIFO_SIZE  16
#define UART_INPUT_SIZE 4096

struct uart16550_state {
    uint8_t interrupt_enable, fifo_control, line_control, modem_control, scratch;
    uint8_t line_errors;  /* LSR bits 1-4, until it is read */
    uint8_t modem_inputs; /* MSR bits 4-7 */
    uint8_t modem_deltas; /* MSR bits 0-3, until it is read */
    uint16_t divisor;
    bool transmit_pending;  /* THR-empty interrupt */
    bool receive_timeout;   /* character timeout interrupt */
    uint8_t receive_buffer; /* what RBR reads when nothing is in the FIFO */
    uint8_t fifo[UART_FIFO_SIZE];
    unsigned fifo_head, fifo_count;
    uint8_t input[UART_INPUT_SIZE];
    unsigned input_head, input_count;
};

struct uart16550 {
    struct clock *clock;
    void (*transmit)(void *owner, uint8_t byte);
    void *owner;
    struct irq irq;
    struct timer timer; /* the character timeout */
    struct uart16550_state state;
};

/* Claims 8 ports from `port`. transmit is called with each byte that leaves. */
int uart16550_init(struct uart16550 *uart, struct bus *bus, struct clock *clock,
                   struct irq_lines *lines, uint16_t port, unsigned line,
                   void (*transmit)(void *owner, uint8_t byte), void *owner);
void uart16550_reset(struct uart16550 *uart);
/* Bytes that arrive on the wire; returns how many there was room for. */
size_t uart16550_receive(struct uart16550 *uart, const uint8_t *data, size_t size);

#endif
