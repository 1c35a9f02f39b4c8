/* The 16550A; register and bit names are those of the data sheet. */
#include "models/uart16550.h"

#include <string.h>

#define UART_CLOCK_HZ 1843200u

enum uart_register {
    UART_DATA = 0,             /* RBR, THR; DLL with DLAB */
    UART_INTERRUPT_ENABLE = 1, /* IER; DLM with DLAB */
    UART_INTERRUPT_ID = 2,     /* IIR; FCR when written */
    UART_LINE_CONTROL = 3,
    UART_MODEM_CONTROL = 4,
    UART_LINE_STATUS = 5,
    UART_MODEM_STATUS = 6,
    UART_SCRATCH = 7,
};

#define IER_RECEIVE     0x01
#define IER_TRANSMIT    0x02
#define IER_LINE_STATUS 0x04
#define IER_MODEM       0x08
#define IER_WRITABLE    0x0f

#define IIR_NONE        0x01
#define IIR_MODEM       0x00
#define IIR_TRANSMIT    0x02
#define IIR_RECEIVE     0x04
#define IIR_LINE_STATUS 0x06
#define IIR_TIMEOUT     0x0c
#define IIR_FIFO        0xc0

#define FCR_ENABLE        0x01
#define FCR_CLEAR_RECEIVE 0x02
#define FCR_KEPT          0xc9

#define LCR_WORD_LENGTH 0x03
#define LCR_STOP        0x04
#define LCR_PARITY      0x08
#define LCR_BREAK       0x40
#define LCR_DLAB        0x80

#define MCR_DTR      0x01
#define MCR_RTS      0x02
#define MCR_OUT1     0x04
#define MCR_OUT2     0x08
#define MCR_LOOP     0x10
#define MCR_WRITABLE 0x1f

#define LSR_DATA_READY        0x01
#define LSR_OVERRUN           0x02
#define LSR_BREAK             0x10
#define LSR_TRANSMITTER_EMPTY 0x60 /* THRE and TEMT */

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI  0x40
#define MSR_DCD 0x80

static const uint8_t trigger_levels[4] = {1, 4, 8, 14};

static bool fifo_enabled(const struct uart16550_state *state)
{
    return state->fifo_control & FCR_ENABLE;
}

static unsigned receiver_capacity(const struct uart16550_state *state)
{
    return fifo_enabled(state) ? UART_FIFO_SIZE : 1;
}

static bool receive_ready(const struct uart16550_state *state)
{
    unsigned level = fifo_enabled(state) ? trigger_levels[state->fifo_control >> 6] : 1;

    return state->fifo_count >= level;
}

/* The interrupt of highest priority: line status, received data or timeout, transmitter, modem. */
static uint8_t interrupt_id(const struct uart16550_state *state)
{
    if ((state->interrupt_enable & IER_LINE_STATUS) && state->line_errors)
        return IIR_LINE_STATUS;
    if ((state->interrupt_enable & IER_RECEIVE) && receive_ready(state))
        return IIR_RECEIVE;
    if ((state->interrupt_enable & IER_RECEIVE) && state->receive_timeout)
        return IIR_TIMEOUT;
    if ((state->interrupt_enable & IER_TRANSMIT) && state->transmit_pending)
        return IIR_TRANSMIT;
    if ((state->interrupt_enable & IER_MODEM) && state->modem_deltas)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct uart16550 *uart)
{
    bool gated = (uart->state.modem_control & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

    irq_set(&uart->irq, gated && interrupt_id(&uart->state) != IIR_NONE);
}

/* Four characters without a byte coming or going, in cycles. */
static uint64_t timeout_cycles(const struct uart16550 *uart)
{
    const struct uart16550_state *state = &uart->state;
    unsigned bits = 1 + 5 + (state->line_control & LCR_WORD_LENGTH) + 1 +
                    (state->line_control & LCR_STOP ? 1 : 0) +
                    (state->line_control & LCR_PARITY ? 1 : 0);
    uint64_t divisor = state->divisor ? state->divisor : 1;

    return clock_from_ticks(uart->clock, 4 * bits * divisor * 16, UART_CLOCK_HZ);
}

static void restart_timeout(struct uart16550 *uart)
{
    uart->state.receive_timeout = false;
    if (fifo_enabled(&uart->state) && uart->state.fifo_count)
        timer_arm(uart->clock, &uart->timer, clock_now(uart->clock) + timeout_cycles(uart));
    else
        timer_disarm(uart->clock, &uart->timer);
}

static void expire(void *device)
{
    struct uart16550 *uart = device;

    uart->state.receive_timeout = true;
    update_irq(uart);
}

static void fifo_push(struct uart16550_state *state, uint8_t byte)
{
    if (state->fifo_count == receiver_capacity(state)) {
        state->line_errors |= LSR_OVERRUN;
        if (fifo_enabled(state))
            return; /* the shift register is overwritten, the FIFO is not */
        state->fifo_count = 0;
    }
    state->fifo[(state->fifo_head + state->fifo_count++) % UART_FIFO_SIZE] = byte;
}

/* The wire delivers what there is room for; in loopback it is cut off. */
static void fill_receiver(struct uart16550 *uart)
{
    struct uart16550_state *state = &uart->state;
    bool moved = false;

    if (state->modem_control & MCR_LOOP)
        return;
    while (state->input_count && state->fifo_count < receiver_capacity(state)) {
        fifo_push(state, state->input[state->input_head]);
        state->input_head = (state->input_head + 1) % UART_INPUT_SIZE;
        state->input_count--;
        moved = true;
    }
    if (moved)
        restart_timeout(uart);
}

static uint8_t read_receiver(struct uart16550 *uart)
{
    struct uart16550_state *state = &uart->state;

    if (!state->fifo_count)
        return state->receive_buffer;
    state->receive_buffer = state->fifo[state->fifo_head];
    state->fifo_head = (state->fifo_head + 1) % UART_FIFO_SIZE;
    state->fifo_count--;
    restart_timeout(uart);
    fill_receiver(uart);
    return state->receive_buffer;
}

static void transmit(struct uart16550 *uart, uint8_t byte)
{
    struct uart16550_state *state = &uart->state;

    /* Loading THR takes the interrupt away; the byte is gone at once, and it rises again. */
    state->transmit_pending = false;
    update_irq(uart);
    if (state->modem_control & MCR_LOOP) {
        fifo_push(state, byte);
        restart_timeout(uart);
    } else {
        uart->transmit(uart->owner, byte);
    }
    state->transmit_pending = true;
}

static void write_interrupt_enable(struct uart16550_state *state, uint8_t value)
{
    bool enabled = value & ~state->interrupt_enable & IER_TRANSMIT;

    state->interrupt_enable = value & IER_WRITABLE;
    /* The transmitter is empty: enabling its interrupt raises it. */
    if (enabled)
        state->transmit_pending = true;
}

static void clear_receiver(struct uart16550 *uart)
{
    uart->state.fifo_head = uart->state.fifo_count = 0;
    restart_timeout(uart);
}

static void write_fifo_control(struct uart16550 *uart, uint8_t value)
{
    struct uart16550_state *state = &uart->state;
    bool switched = (value ^ state->fifo_control) & FCR_ENABLE;

    if (switched || ((value & FCR_ENABLE) && (value & FCR_CLEAR_RECEIVE)))
        clear_receiver(uart);
    state->fifo_control = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    fill_receiver(uart);
}

/* Outputs as the modem inputs see them in loopback: DTR-DSR, RTS-CTS, OUT1-RI, OUT2-DCD. */
static uint8_t modem_inputs(uint8_t modem_control)
{
    if (!(modem_control & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (modem_control & MCR_DTR ? MSR_DSR : 0) | (modem_control & MCR_RTS ? MSR_CTS : 0) |
           (modem_control & MCR_OUT1 ? MSR_RI : 0) | (modem_control & MCR_OUT2 ? MSR_DCD : 0);
}

static void write_modem_control(struct uart16550 *uart, uint8_t value)
{
    struct uart16550_state *state = &uart->state;
    uint8_t inputs = modem_inputs(value);
    uint8_t changed = inputs ^ state->modem_inputs;

    /* RI sets its delta on the trailing edge only. */
    changed &= ~(inputs & MSR_RI);
    state->modem_deltas |= changed >> 4;
    state->modem_inputs = inputs;
    state->modem_control = value & MCR_WRITABLE;
    fill_receiver(uart);
}

static void write_line_control(struct uart16550 *uart, uint8_t value)
{
    struct uart16550_state *state = &uart->state;
    bool break_begins = value & ~state->line_control & LCR_BREAK;

    state->line_control = value;
    if (break_begins && (state->modem_control & MCR_LOOP)) {
        fifo_push(state, 0);
        state->line_errors |= LSR_BREAK;
        restart_timeout(uart);
    }
}

static uint8_t read_interrupt_id(struct uart16550_state *state)
{
    uint8_t id = interrupt_id(state);

    if (id == IIR_TRANSMIT)
        state->transmit_pending = false;
    return id | (fifo_enabled(state) ? IIR_FIFO : 0);
}

static uint8_t read_line_status(struct uart16550_state *state)
{
    uint8_t status =
        LSR_TRANSMITTER_EMPTY | state->line_errors | (state->fifo_count ? LSR_DATA_READY : 0);

    state->line_errors = 0;
    return status;
}

static uint8_t read_modem_status(struct uart16550_state *state)
{
    uint8_t status = state->modem_inputs | state->modem_deltas;

    state->modem_deltas = 0;
    return status;
}

static uint8_t read_register(struct uart16550 *uart, enum uart_register which)
{
    struct uart16550_state *state = &uart->state;
    bool divisor = state->line_control & LCR_DLAB;

    switch (which) {
    case UART_DATA:
        return divisor ? (uint8_t)state->divisor : read_receiver(uart);
    case UART_INTERRUPT_ENABLE:
        return divisor ? (uint8_t)(state->divisor >> 8) : state->interrupt_enable;
    case UART_INTERRUPT_ID:
        return read_interrupt_id(state);
    case UART_LINE_CONTROL:
        return state->line_control;
    case UART_MODEM_CONTROL:
        return state->modem_control;
    case UART_LINE_STATUS:
        return read_line_status(state);
    case UART_MODEM_STATUS:
        return read_modem_status(state);
    case UART_SCRATCH:
        return state->scratch;
    }
    return 0xff;
}

static void write_register(struct uart16550 *uart, enum uart_register which, uint8_t value)
{
    struct uart16550_state *state = &uart->state;
    bool divisor = state->line_control & LCR_DLAB;

    switch (which) {
    case UART_DATA:
        if (divisor)
            state->divisor = (state->divisor & 0xff00) | value;
        else
            transmit(uart, value);
        break;
    case UART_INTERRUPT_ENABLE:
        if (divisor)
            state->divisor = (uint16_t)(value << 8) | (state->divisor & 0xff);
        else
            write_interrupt_enable(state, value);
        break;
    case UART_INTERRUPT_ID:
        write_fifo_control(uart, value);
        break;
    case UART_LINE_CONTROL:
        write_line_control(uart, value);
        break;
    case UART_MODEM_CONTROL:
        write_modem_control(uart, value);
        break;
    case UART_SCRATCH:
        state->scratch = value;
        break;
    case UART_LINE_STATUS: /* for factory tests only */
    case UART_MODEM_STATUS:
        break;
    }
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    struct uart16550 *uart = device;
    uint8_t value = read_register(uart, (enum uart_register)offset);

    update_irq(uart);
    return value;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct uart16550 *uart = device;

    write_register(uart, (enum uart_register)offset, (uint8_t)value);
    update_irq(uart);
}

static const struct io_operations operations = {port_read, port_write, 1};

size_t uart16550_receive(struct uart16550 *uart, const uint8_t *data, size_t size)
{
    struct uart16550_state *state = &uart->state;
    size_t taken = 0;

    for (; taken < size && state->input_count < UART_INPUT_SIZE; taken++) {
        state->input[(state->input_head + state->input_count) % UART_INPUT_SIZE] = data[taken];
        state->input_count++;
    }
    fill_receiver(uart);
    update_irq(uart);
    return taken;
}

void uart16550_reset(struct uart16550 *uart)
{
    memset(&uart->state, 0, sizeof(uart->state));
    uart->state.modem_inputs = modem_inputs(0);
    timer_disarm(uart->clock, &uart->timer);
    update_irq(uart);
}

int uart16550_init(struct uart16550 *uart, struct bus *bus, struct clock *clock,
                   struct irq_lines *lines, uint16_t port, unsigned line,
                   void (*transmit_byte)(void *owner, uint8_t byte), void *owner)
{
    int error;

    *uart = (struct uart16550){.clock = clock, .transmit = transmit_byte, .owner = owner};
    irq_connect(&uart->irq, lines, line);
    error = clock_add_timer(clock, &uart->timer, expire, uart);
    if (error)
        return error;
    uart16550_reset(uart);
    return bus_claim_ports(bus, "16550A", port, 8, &operations, uart);
}
