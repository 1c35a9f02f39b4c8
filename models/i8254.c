/* The 8254: every mode's count and output as a function of the ticks since the count was loaded. */
#include "models/i8254.h"

#include <string.h>

#define CONTROL_PORT        3
#define SELECT_READ_BACK    3
#define READ_BACK_NO_COUNT  0x20
#define READ_BACK_NO_STATUS 0x10
#define STATUS_OUTPUT       0x80
#define STATUS_NULL_COUNT   0x40

#define PORT_B_GATE     0x01
#define PORT_B_WRITABLE 0x0f
#define PORT_B_REFRESH  0x10
#define PORT_B_OUTPUT   0x20
#define REFRESH_DIVISOR 18 /* what firmware loads into channel 1: 15.085 us */

static int64_t current_tick(const struct i8254 *pit)
{
    return (int64_t)clock_to_ticks(pit->clock, clock_now(pit->clock), I8254_HZ);
}

static uint32_t modulus(const struct i8254_channel *channel)
{
    return channel->bcd ? 10000 : 0x10000;
}

static bool is_periodic(const struct i8254_channel *channel)
{
    return channel->mode == 2 || channel->mode == 3;
}

/* Modes 1 and 5: the gate is a trigger, not an enable. */
static bool is_triggered(const struct i8254_channel *channel)
{
    return channel->mode == 1 || channel->mode == 5;
}

static int64_t elapsed(const struct i8254_channel *channel, int64_t tick)
{
    if (channel->frozen)
        return channel->frozen_at;
    return tick > channel->start ? tick - channel->start : 0;
}

/* Ticks that the output of a square wave stays high: odd counts give the high half one more. */
static int64_t high_half(uint32_t count)
{
    return (count + 1) / 2;
}

static bool output_at(const struct i8254_channel *channel, int64_t tick)
{
    int64_t past = elapsed(channel, tick), count = channel->count;

    if (!channel->loaded)
        return channel->mode != 0;
    switch (channel->mode) {
    case 0:
        return past >= count;
    case 1:
        return past >= count;
    case 2: /* a count of 1 is illegal; its output stays high */
        return channel->frozen || count == 1 || past % count != count - 1;
    case 3:
        return channel->frozen || past % count < high_half(channel->count);
    default:
        return past != count;
    }
}

static uint32_t count_at(const struct i8254_channel *channel, int64_t tick)
{
    int64_t past = elapsed(channel, tick), count = channel->count;
    int64_t phase;

    if (!channel->loaded)
        return 0;
    switch (channel->mode) {
    case 2:
        return (uint32_t)(count - past % count);
    case 3: /* counts down by two from the even part, once in each half */
        phase = past % count;
        if (phase >= high_half(channel->count))
            phase -= high_half(channel->count);
        return (uint32_t)((count & ~1) - 2 * phase);
    default:
        return (uint32_t)((count + modulus(channel) - past % modulus(channel)) % modulus(channel));
    }
}

static uint16_t to_bcd(uint32_t value)
{
    return (uint16_t)(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
                      value % 10);
}

static uint32_t from_bcd(uint16_t value)
{
    return (value >> 12) * 1000u + (value >> 8 & 15) * 100u + (value >> 4 & 15) * 10u +
           (value & 15);
}

/* Moves a due count from the count register into the counting element. */
static void channel_sync(struct i8254_channel *channel, int64_t tick)
{
    if (!channel->pending || tick < channel->pending_at)
        return;
    channel->count = channel->reload;
    channel->start = channel->pending_at - (channel->pending_low ? high_half(channel->count) : 0);
    channel->loaded = true;
    channel->pending = false;
    channel->null_count = false;
    channel->frozen = !channel->gate && !is_triggered(channel);
    channel->frozen_at = 0;
}

static void schedule_load(struct i8254_channel *channel, int64_t at, bool low)
{
    channel->pending = true;
    channel->pending_at = at;
    channel->pending_low = low;
}

/* The count register has a new count: when it is loaded depends on the mode. */
static void write_count(struct i8254_channel *channel, int64_t tick, uint16_t value)
{
    uint32_t count = channel->bcd ? from_bcd(value) : value;
    bool running = channel->loaded && !channel->frozen;
    int64_t past, phase;

    channel->reload = count ? count : modulus(channel);
    channel->null_count = true;
    if (is_triggered(channel)) {
        if (!channel->pending) /* a trigger that came before this count takes it along */
            schedule_load(channel, I8254_NEVER, false);
    } else if (!is_periodic(channel) || !running) {
        schedule_load(channel, tick + 1, false);
    } else {
        past = elapsed(channel, tick);
        phase = past % channel->count;
        if (channel->mode == 3 && phase < high_half(channel->count))
            schedule_load(channel, tick - phase + high_half(channel->count), true);
        else
            schedule_load(channel, tick - phase + channel->count, false);
    }
}

/* The gate falls in a mode in which it enables counting. */
static void freeze(struct i8254_channel *channel, int64_t tick)
{
    if (is_triggered(channel) || channel->frozen)
        return;
    /* The end of the period, at which a new count would be loaded, is not reached. */
    if (is_periodic(channel) && channel->loaded && channel->pending)
        channel->pending_at = I8254_NEVER;
    channel->frozen_at = elapsed(channel, tick);
    channel->frozen = true;
}

static void set_gate(struct i8254_channel *channel, int64_t tick, bool gate)
{
    if (gate == channel->gate)
        return;
    channel->gate = gate;
    if (!gate) {
        freeze(channel, tick);
    } else if (is_triggered(channel) || is_periodic(channel)) {
        if (channel->reload)
            schedule_load(channel, tick + 1, false);
    } else {
        channel->start = tick - channel->frozen_at;
        channel->frozen = false;
    }
}

/* The next tick after `tick` at which something happens to the output; I8254_NEVER. */
static int64_t next_edge(const struct i8254_channel *channel, int64_t tick)
{
    int64_t count = channel->count, past = elapsed(channel, tick), phase;

    if (!channel->loaded || channel->frozen)
        return I8254_NEVER;
    switch (channel->mode) {
    case 0:
    case 1:
        return past < count ? channel->start + count : I8254_NEVER;
    case 2:
        return count == 1 ? I8254_NEVER : tick - past % count + count;
    case 3:
        phase = past % count;
        if (count == 1)
            return I8254_NEVER;
        return tick - phase +
               (phase < high_half(channel->count) ? high_half(channel->count) : count);
    default:
        return past <= count ? channel->start + count + 1 : I8254_NEVER;
    }
}

static void schedule(struct i8254 *pit, int64_t tick)
{
    const struct i8254_channel *channel = &pit->state.channel[0];
    int64_t next = next_edge(channel, tick);

    if (channel->pending && channel->pending_at < next)
        next = channel->pending_at;
    pit->state.next_event = next;
    timer_arm(pit->clock, &pit->timer,
              next == I8254_NEVER ? CLOCK_NEVER
                                  : clock_from_ticks(pit->clock, (uint64_t)next, I8254_HZ));
}

/* Of many periods that nobody has looked at, the last says it all. */
static void skip_periods(struct i8254 *pit, int64_t tick)
{
    const struct i8254_channel *channel = &pit->state.channel[0];

    if (is_periodic(channel) && channel->loaded && !channel->frozen && !channel->pending &&
        tick - pit->state.next_event > 2 * (int64_t)channel->count)
        schedule(pit, tick - (int64_t)channel->count);
}

/* Channel 0's edges up to `tick`, each seen by the interrupt line. */
static void run_events(struct i8254 *pit, int64_t tick)
{
    struct i8254_channel *channel = &pit->state.channel[0];

    while (pit->state.next_event <= tick) {
        int64_t event;
        bool was_low;

        skip_periods(pit, tick);
        event = pit->state.next_event;
        was_low = !output_at(channel, event - 1);
        channel_sync(channel, event);
        if (was_low)
            irq_set(&pit->irq, false);
        irq_set(&pit->irq, output_at(channel, event));
        schedule(pit, event);
    }
}

/* The tick now, with every channel brought up to it. */
static int64_t catch_up(struct i8254 *pit)
{
    int64_t tick = current_tick(pit);

    run_events(pit, tick);
    for (unsigned i = 0; i < I8254_CHANNELS; i++)
        channel_sync(&pit->state.channel[i], tick);
    return tick;
}

static void expire(void *device)
{
    struct i8254 *pit = device;

    run_events(pit, current_tick(pit));
}

static void latch_count(struct i8254_channel *channel, int64_t tick)
{
    uint32_t count = count_at(channel, tick);

    if (channel->count_latched)
        return;
    channel->count_latched = true;
    channel->latched_count = channel->bcd ? to_bcd(count) : (uint16_t)count;
}

static void latch_status(struct i8254_channel *channel, int64_t tick)
{
    if (channel->status_latched)
        return;
    channel->status_latched = true;
    channel->latched_status = (output_at(channel, tick) ? STATUS_OUTPUT : 0) |
                              (channel->null_count ? STATUS_NULL_COUNT : 0) |
                              (uint8_t)(channel->access << 4) | (uint8_t)(channel->mode << 1) |
                              channel->bcd;
}

static void read_back(struct i8254 *pit, int64_t tick, uint8_t command)
{
    for (unsigned i = 0; i < I8254_CHANNELS; i++) {
        if (!(command >> (i + 1) & 1))
            continue;
        if (!(command & READ_BACK_NO_COUNT))
            latch_count(&pit->state.channel[i], tick);
        if (!(command & READ_BACK_NO_STATUS))
            latch_status(&pit->state.channel[i], tick);
    }
}

static void program(struct i8254_channel *channel, uint8_t control)
{
    uint8_t mode = control >> 1 & 7;

    *channel = (struct i8254_channel){
        .mode = mode > 5 ? mode - 4 : mode,
        .access = control >> 4 & 3,
        .bcd = control & 1,
        .gate = channel->gate,
        .null_count = true,
    };
}

static void write_control(struct i8254 *pit, int64_t tick, uint8_t control)
{
    struct i8254_channel *channel = &pit->state.channel[control >> 6 & 3];

    if (control >> 6 == SELECT_READ_BACK)
        read_back(pit, tick, control);
    else if ((control >> 4 & 3) == I8254_ACCESS_LATCH)
        latch_count(channel, tick);
    else
        program(channel, control);
}

static void write_data(struct i8254_channel *channel, int64_t tick, uint8_t value)
{
    switch (channel->access) {
    case I8254_ACCESS_LOW:
        write_count(channel, tick, value);
        break;
    case I8254_ACCESS_HIGH:
        write_count(channel, tick, (uint16_t)(value << 8));
        break;
    case I8254_ACCESS_BOTH:
        if (channel->write_high_next) {
            write_count(channel, tick, (uint16_t)(value << 8 | channel->write_low));
        } else {
            channel->write_low = value;
            /* Mode 0: the first byte stops the count and drives the output low. */
            if (channel->mode == 0)
                channel->loaded = channel->pending = false;
        }
        channel->write_high_next = !channel->write_high_next;
        break;
    }
}

static uint8_t read_data(struct i8254_channel *channel, int64_t tick)
{
    uint32_t count = count_at(channel, tick);
    uint16_t value = channel->bcd ? to_bcd(count) : (uint16_t)count;
    bool high = channel->access == I8254_ACCESS_HIGH;

    if (channel->status_latched) {
        channel->status_latched = false;
        return channel->latched_status;
    }
    if (channel->count_latched)
        value = channel->latched_count;
    if (channel->access == I8254_ACCESS_BOTH) {
        high = channel->read_high_next;
        channel->read_high_next = !high;
    }
    if (high || channel->access != I8254_ACCESS_BOTH)
        channel->count_latched = false;
    return (uint8_t)(high ? value >> 8 : value);
}

static uint64_t counter_read(void *device, uint64_t offset, unsigned size)
{
    struct i8254 *pit = device;
    int64_t tick = catch_up(pit);

    return offset == CONTROL_PORT ? 0xff : read_data(&pit->state.channel[offset], tick);
}

static void counter_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8254 *pit = device;
    int64_t tick = catch_up(pit);

    if (offset == CONTROL_PORT)
        write_control(pit, tick, (uint8_t)value);
    else
        write_data(&pit->state.channel[offset], tick, (uint8_t)value);
    irq_set(&pit->irq, output_at(&pit->state.channel[0], tick));
    schedule(pit, tick);
}

static uint64_t port_b_read(void *device, uint64_t offset, unsigned size)
{
    struct i8254 *pit = device;
    int64_t tick = catch_up(pit);

    return pit->state.port_b | (tick / REFRESH_DIVISOR & 1 ? PORT_B_REFRESH : 0) |
           (output_at(&pit->state.channel[2], tick) ? PORT_B_OUTPUT : 0);
}

static void port_b_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8254 *pit = device;

    pit->state.port_b = value & PORT_B_WRITABLE;
    set_gate(&pit->state.channel[2], catch_up(pit), value & PORT_B_GATE);
}

static const struct io_operations counter_operations = {counter_read, counter_write, 1};
static const struct io_operations port_b_operations = {port_b_read, port_b_write, 1};

/* Firmware's settings: the 18.2 Hz tick, memory refresh, and a silent speaker. */
static const uint8_t firmware_control[I8254_CHANNELS] = {0x36, 0x54, 0xb6};
static const uint16_t firmware_count[I8254_CHANNELS] = {0, REFRESH_DIVISOR, 0};

void i8254_reset(struct i8254 *pit)
{
    int64_t tick = current_tick(pit);

    memset(&pit->state, 0, sizeof(pit->state));
    for (unsigned i = 0; i < I8254_CHANNELS; i++) {
        pit->state.channel[i].gate = i != 2;
        program(&pit->state.channel[i], firmware_control[i]);
        write_count(&pit->state.channel[i], tick, firmware_count[i]);
    }
    irq_set(&pit->irq, false);
    irq_set(&pit->irq, output_at(&pit->state.channel[0], tick));
    schedule(pit, tick);
}

int i8254_init(struct i8254 *pit, struct bus *bus, struct clock *clock, struct irq_lines *lines)
{
    int error;

    *pit = (struct i8254){.clock = clock};
    irq_connect(&pit->irq, lines, ISA_IRQ_TIMER);
    error = clock_add_timer(clock, &pit->timer, expire, pit);
    if (error)
        return error;
    i8254_reset(pit);
    error = bus_claim_ports(bus, "8254", 0x40, 4, &counter_operations, pit);
    return error ? error : bus_claim_ports(bus, "port 61h", 0x61, 1, &port_b_operations, pit);
}
