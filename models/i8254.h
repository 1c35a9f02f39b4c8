/*
 * The 8254 interval timer (ports 0x40-0x43) and the part of port 0x61 that gates its channel 2.
 *
 * Counters are not stepped: a channel remembers the tick at which its count was loaded, and
 * everything that can be read follows from the time since then. Only channel 0, which drives
 * interrupt line 0, has a timer, armed at the next rising edge of its output (and, in the square
 * wave mode, the falling one). Pulses that are low for one tick reach the line as a low-high
 * sequence at the rising edge.
 */
#ifndef VTXSIM_MODELS_I8254_H
#define VTXSIM_MODELS_I8254_H

#include <stdbool.h>
#include <stdint.h>

#include "models/bus.h"
#include "models/clock.h"
#include "models/irq.h"

#define I8254_HZ       1193182u
#define I8254_CHANNELS 3
#define I8254_NEVER    INT64_MAX

enum i8254_access {
    I8254_ACCESS_LATCH = 0,
    I8254_ACCESS_LOW = 1,
    I8254_ACCESS_HIGH = 2,
    I8254_ACCESS_BOTH = 3,
};

struct i8254_channel {
    uint8_t mode;   /* 0-5 */
    uint8_t access; /* enum i8254_access */
    bool bcd;
    bool gate;

    bool loaded;    /* the counting element has a count: `start` and `count` are valid */
    int64_t start;  /* tick at which the counting element held `count` */
    uint32_t count; /* 1-65536 (10000 in BCD) */
    bool frozen;    /* the gate stops counting: `frozen_at` ticks have been counted */
    int64_t frozen_at;

    bool null_count;    /* the count register has a count that was not loaded yet */
    uint32_t reload;    /* the count register, 0 before it was written */
    bool pending;       /* `reload` enters the counting element at tick pending_at */
    bool pending_low;   /* ... where the low half of a square wave begins */
    int64_t pending_at; /* I8254_NEVER: at the gate's next rising edge */

    uint16_t write_low; /* first half of a two-byte count */
    bool write_high_next, read_high_next;
    bool count_latched, status_latched;
    uint16_t latched_count;
    uint8_t latched_status;
};

struct i8254_state {
    struct i8254_channel channel[I8254_CHANNELS];
    uint8_t port_b;     /* 0x61: bits 0-3 as written */
    int64_t next_event; /* tick of channel 0's next edge or load; I8254_NEVER */
};

struct i8254 {
    struct clock *clock;
    struct irq irq;
    struct timer timer;
    struct i8254_state state;
};

/* Claims ports 0x40-0x43 and 0x61; line 0 for channel 0. Channel 0 runs as PC firmware leaves it
 * (mode 3, 65536). 0 or a negative errno. */
int i8254_init(struct i8254 *pit, struct bus *bus, struct clock *clock, struct irq_lines *lines);
void i8254_reset(struct i8254 *pit);

#endif
