/* The 8042 and port 0x92. */
#include "models/i8042.h"

#include <string.h>

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM      0x04 /* the self-test has passed */
#define STATUS_COMMAND     0x08 /* the last byte went to port 0x64 */
#define STATUS_UNLOCKED    0x10

#define COMMAND_BYTE_INTERRUPT   0x01
#define COMMAND_BYTE_NO_KEYBOARD 0x10
#define COMMAND_BYTE_FIRMWARE    0x65 /* translate, system flag, interrupt enabled, no mouse */

#define OUTPUT_PORT_NOT_RESET 0x01
#define OUTPUT_PORT_A20       0x02
#define OUTPUT_PORT_REST      0xcc

#define PORT_92_RESET 0x01
#define PORT_92_A20   0x02

enum controller_command {
    READ_COMMAND_BYTE = 0x20,
    WRITE_COMMAND_BYTE = 0x60,
    TEST_AUXILIARY = 0xa9,
    SELF_TEST = 0xaa,
    TEST_KEYBOARD = 0xab,
    DISABLE_KEYBOARD = 0xad,
    ENABLE_KEYBOARD = 0xae,
    READ_OUTPUT_PORT = 0xd0,
    WRITE_OUTPUT_PORT = 0xd1,
    WRITE_KEYBOARD_BUFFER = 0xd2,
    WRITE_AUXILIARY_BUFFER = 0xd3,
    WRITE_AUXILIARY = 0xd4,
    PULSE_FIRST = 0xf0, /* bits 0-3: output-port pins that are not pulled low */
};

enum keyboard_command {
    KEYBOARD_LEDS = 0xed,
    KEYBOARD_ECHO = 0xee,
    KEYBOARD_SCAN_CODE_SET = 0xf0,
    KEYBOARD_IDENTIFY = 0xf2,
    KEYBOARD_RATE = 0xf3,
    KEYBOARD_RESET = 0xff,
};

#define KEYBOARD_ACKNOWLEDGE 0xfa
#define KEYBOARD_TEST_PASSED 0xaa
#define SELF_TEST_PASSED     0x55
#define INTERFACE_OK         0x00
#define INTERFACE_CLOCK_LOW  0x01 /* the answer for a port without a device */

static void update_irq(struct i8042 *controller)
{
    const struct i8042_state *state = &controller->state;

    irq_set(&controller->irq, state->queue_count && (state->command_byte & COMMAND_BYTE_INTERRUPT));
}

static void answer(struct i8042_state *state, uint8_t byte)
{
    if (state->queue_count < I8042_QUEUE_SIZE)
        state->queue[state->queue_count++] = byte;
}

static void keyboard_write(struct i8042_state *state, uint8_t byte)
{
    uint8_t waiting = state->keyboard_command;

    state->keyboard_command = 0;
    if (byte == KEYBOARD_ECHO) {
        answer(state, KEYBOARD_ECHO);
        return;
    }
    answer(state, KEYBOARD_ACKNOWLEDGE);
    if (waiting == KEYBOARD_SCAN_CODE_SET && byte == 0)
        answer(state, 2); /* which set is chosen */
    if (waiting)
        return;
    switch (byte) {
    case KEYBOARD_LEDS:
    case KEYBOARD_RATE:
    case KEYBOARD_SCAN_CODE_SET:
        state->keyboard_command = byte;
        break;
    case KEYBOARD_IDENTIFY:
        answer(state, 0xab);
        answer(state, 0x83);
        break;
    case KEYBOARD_RESET:
        answer(state, KEYBOARD_TEST_PASSED);
        break;
    }
}

static void write_output_port(struct i8042 *controller, uint8_t value)
{
    controller->state.a20 = value & OUTPUT_PORT_A20;
    if (!(value & OUTPUT_PORT_NOT_RESET))
        controller->reset(controller->owner);
}

static uint8_t read_output_port(const struct i8042_state *state)
{
    return OUTPUT_PORT_REST | OUTPUT_PORT_NOT_RESET | (state->a20 ? OUTPUT_PORT_A20 : 0);
}

static void write_command(struct i8042 *controller, uint8_t command)
{
    struct i8042_state *state = &controller->state;

    state->pending_command = 0;
    if (command >= PULSE_FIRST) {
        if (!(command & OUTPUT_PORT_NOT_RESET))
            controller->reset(controller->owner);
        return;
    }
    switch (command) {
    case READ_COMMAND_BYTE:
        answer(state, state->command_byte);
        break;
    case TEST_AUXILIARY:
        answer(state, INTERFACE_CLOCK_LOW);
        break;
    case SELF_TEST:
        state->queue_count = 0;
        answer(state, SELF_TEST_PASSED);
        break;
    case TEST_KEYBOARD:
        answer(state, INTERFACE_OK);
        break;
    case DISABLE_KEYBOARD:
        state->command_byte |= COMMAND_BYTE_NO_KEYBOARD;
        break;
    case ENABLE_KEYBOARD:
        state->command_byte &= ~COMMAND_BYTE_NO_KEYBOARD;
        break;
    case READ_OUTPUT_PORT:
        answer(state, read_output_port(state));
        break;
    case WRITE_COMMAND_BYTE:
    case WRITE_OUTPUT_PORT:
    case WRITE_KEYBOARD_BUFFER:
    case WRITE_AUXILIARY_BUFFER:
    case WRITE_AUXILIARY:
        state->pending_command = command;
        break;
    }
}

static void write_data(struct i8042 *controller, uint8_t value)
{
    struct i8042_state *state = &controller->state;
    uint8_t command = state->pending_command;

    state->pending_command = 0;
    switch (command) {
    case 0:
        state->command_byte &= ~COMMAND_BYTE_NO_KEYBOARD; /* talking to it enables it */
        keyboard_write(state, value);
        break;
    case WRITE_COMMAND_BYTE:
        state->command_byte = value;
        break;
    case WRITE_OUTPUT_PORT:
        write_output_port(controller, value);
        break;
    /* Without an auxiliary port the byte comes back as the keyboard's, which tells a driver at once
     * that there is none. */
    case WRITE_KEYBOARD_BUFFER:
    case WRITE_AUXILIARY_BUFFER:
        answer(state, value);
        break;
    }
}

static uint8_t read_data(struct i8042_state *state)
{
    if (state->queue_count) {
        state->last_data = state->queue[0];
        memmove(state->queue, state->queue + 1, --state->queue_count);
    }
    return state->last_data;
}

static uint8_t read_status(const struct i8042_state *state)
{
    return STATUS_SYSTEM | STATUS_UNLOCKED | (state->last_write_was_command ? STATUS_COMMAND : 0) |
           (state->queue_count ? STATUS_OUTPUT_FULL : 0);
}

static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
    struct i8042 *controller = device;
    uint8_t value = read_data(&controller->state);

    /* The line falls between two bytes: it is edge-triggered. */
    irq_set(&controller->irq, false);
    update_irq(controller);
    return value;
}

static void data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *controller = device;

    controller->state.last_write_was_command = false;
    write_data(controller, (uint8_t)value);
    update_irq(controller);
}

static uint64_t status_read(void *device, uint64_t offset, unsigned size)
{
    struct i8042 *controller = device;

    return read_status(&controller->state);
}

static void command_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *controller = device;

    controller->state.last_write_was_command = true;
    write_command(controller, (uint8_t)value);
    update_irq(controller);
}

static uint64_t port_92_read(void *device, uint64_t offset, unsigned size)
{
    struct i8042 *controller = device;

    return controller->state.a20 ? PORT_92_A20 : 0;
}

static void port_92_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *controller = device;

    controller->state.a20 = value & PORT_92_A20;
    if (value & PORT_92_RESET)
        controller->reset(controller->owner);
}

static const struct io_operations data_operations = {data_read, data_write, 1};
static const struct io_operations command_operations = {status_read, command_write, 1};
static const struct io_operations port_92_operations = {port_92_read, port_92_write, 1};

void i8042_reset(struct i8042 *controller)
{
    controller->state = (struct i8042_state){.command_byte = COMMAND_BYTE_FIRMWARE, .a20 = true};
    update_irq(controller);
}

int i8042_init(struct i8042 *controller, struct bus *bus, struct irq_lines *lines,
               void (*reset)(void *owner), void *owner)
{
    int error;

    *controller = (struct i8042){.reset = reset, .owner = owner};
    irq_connect(&controller->irq, lines, ISA_IRQ_KEYBOARD);
    i8042_reset(controller);
    error = bus_claim_ports(bus, "8042 data", 0x60, 1, &data_operations, controller);
    if (!error)
        error = bus_claim_ports(bus, "8042 command", 0x64, 1, &command_operations, controller);
    if (!error)
        error = bus_claim_ports(bus, "port 92h", 0x92, 1, &port_92_operations, controller);
    return error;
}
