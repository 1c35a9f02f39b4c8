/*
 * The 8042 keyboard controller (ports 0x60, 0x64; line 1) with a keyboard at which nobody types
 * and no auxiliary port, and port 0x92, which took over two of its pins: the address-20 gate and
 * the processor's reset. The gate can be switched and read back; processors with VMX ignore it.
 */
#ifndef VTXSIM_MODELS_I8042_H
#define VTXSIM_MODELS_I8042_H

#include <stdbool.h>
#include <stdint.h>

#include "models/bus.h"
#include "models/irq.h"

#define I8042_QUEUE_SIZE 16

struct i8042_state {
    uint8_t command_byte;
    uint8_t pending_command;  /* waits for its data byte at port 0x60; 0: none */
    uint8_t keyboard_command; /* the keyboard waits for a parameter; 0: none */
    bool last_write_was_command;
    bool a20;
    uint8_t queue[I8042_QUEUE_SIZE]; /* answers, oldest first */
    unsigned queue_count;
    uint8_t last_data;
};

struct i8042 {
    struct irq irq;
    void (*reset)(void *owner);
    void *owner;
    struct i8042_state state;
};

int i8042_init(struct i8042 *controller, struct bus *bus, struct irq_lines *lines,
               void (*reset)(void *owner), void *owner);
void i8042_reset(struct i8042 *controller);

#endif
