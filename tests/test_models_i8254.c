/*
 * The 8254, whose model computes counts from elapsed time, against one that does what the data
 * sheet says at every clock pulse.
 */
#include "models/i8254.h"
#include "test_models_rig.h"

struct naive {
    unsigned mode;
    bool bcd, gate, out;
    unsigned access;
    uint32_t count_register, half_count; /* half_count: what mode 3 counts in this half */
    int32_t counter;
    bool has_register, loaded, load_next, trigger, fresh, strobe_armed, running;
    bool null_count;
};

static uint32_t naive_modulus(const struct naive *naive)
{
    return naive->bcd ? 10000 : 65536;
}

static void naive_control(struct naive *naive, unsigned access, unsigned mode, bool bcd)
{
    *naive = (struct naive){
        .mode = mode,
        .bcd = bcd,
        .gate = naive->gate,
        .access = access,
        .out = mode != 0,
        .null_count = true,
    };
}

static void naive_write(struct naive *naive, uint32_t count)
{
    naive->count_register = count ? count : naive_modulus(naive);
    naive->has_register = true;
    naive->null_count = true;
    if (naive->mode == 0 || naive->mode == 4)
        naive->load_next = true;
    if ((naive->mode == 2 || naive->mode == 3) && (!naive->loaded || !naive->running))
        naive->load_next = true;
}

static void naive_gate(struct naive *naive, bool gate)
{
    bool rises = gate && !naive->gate;

    naive->gate = gate;
    if (rises && naive->has_register && naive->mode != 0 && naive->mode != 4)
        naive->trigger = true;
    if (!gate && (naive->mode == 2 || naive->mode == 3)) {
        naive->running = false;
        if (naive->loaded || !naive->load_next)
            naive->out = true;
    }
}

static void naive_load(struct naive *naive)
{
    naive->counter = (int32_t)naive->count_register;
    naive->half_count = naive->count_register;
    if (naive->mode == 3)
        naive->counter &= ~1;
    naive->loaded = true;
    naive->null_count = false;
    naive->load_next = naive->trigger = false;
    naive->strobe_armed = true;
}

static void naive_decrement(struct naive *naive)
{
    naive->counter = naive->counter ? naive->counter - 1 : (int32_t)naive_modulus(naive) - 1;
    /* the full count reads as zero and is one above the largest */
}

static void naive_square_wave(struct naive *naive)
{
    bool extra = naive->out && (naive->half_count & 1);

    if (naive->counter > (extra ? 0 : 2)) {
        naive->counter -= 2;
        return;
    }
    naive->out = !naive->out;
    naive_load(naive);
}

/* One CLK pulse. */
static void naive_clock(struct naive *naive)
{
    switch (naive->mode) {
    case 0:
        if (naive->load_next) {
            naive_load(naive);
            naive->out = false;
        } else if (naive->loaded && naive->gate) {
            naive_decrement(naive);
            naive->out |= naive->counter == 0;
        }
        break;
    case 1:
        if (naive->trigger) {
            naive_load(naive);
            naive->out = false;
        } else if (naive->loaded) {
            naive_decrement(naive);
            naive->out |= naive->counter == 0;
        }
        break;
    case 2:
        if (naive->load_next || naive->trigger) {
            naive_load(naive);
            naive->out = true;
            naive->running = naive->gate;
        } else if (naive->loaded && naive->gate) {
            if (naive->counter == 1) {
                naive_load(naive);
                naive->out = true;
            } else {
                naive->counter--;
                naive->out = naive->counter != 1;
            }
        }
        break;
    case 3:
        if (naive->load_next || naive->trigger) {
            naive_load(naive);
            naive->out = true;
            naive->running = naive->gate;
        } else if (naive->loaded && naive->gate) {
            naive_square_wave(naive);
        }
        break;
    default:
        naive->out = true;
        if (naive->mode == 4 ? naive->load_next : naive->trigger) {
            naive_load(naive);
        } else if (naive->loaded && (naive->gate || naive->mode == 5)) {
            naive_decrement(naive);
            if (naive->counter == 0 && naive->strobe_armed) {
                naive->out = false;
                naive->strobe_armed = false;
            }
        } else if (naive->loaded && naive->counter == 0 && !naive->strobe_armed) {
            naive->out = naive->fresh;
        }
        naive->fresh = naive->out;
    }
}

/* The platform's 8254 beside three naive channels. */
struct bench {
    struct rig rig;
    struct naive naive[I8254_CHANNELS];
    int64_t tick;
    unsigned edges, naive_edges; /* rising edges of channel 0 */
};

static uint64_t tick_to_cycles(const struct bench *bench, int64_t tick)
{
    return clock_from_ticks(platform_clock(bench->rig.platform), (uint64_t)tick, I8254_HZ);
}

/* Interrupts taken through the 8259 count the edges of line 0. */
static void take_interrupts(struct bench *bench)
{
    while (platform_interrupt_pending(bench->rig.platform, 0)) {
        cr_assert_eq(platform_interrupt_acknowledge(bench->rig.platform, 0), 0x08);
        out8(&bench->rig, 0x20, 0x20);
        bench->edges++;
    }
}

static void bench_open(struct bench *bench)
{
    memset(bench, 0, sizeof(*bench));
    rig_open(&bench->rig, 1);
    out8(&bench->rig, 0x21, 0xfe);
    for (unsigned i = 0; i < I8254_CHANNELS; i++)
        bench->naive[i].gate = i != 2;
}

static void program(struct bench *bench, unsigned channel, unsigned mode, bool bcd, unsigned access)
{
    bool was = bench->naive[channel].out;

    out8(&bench->rig, 0x43, (uint8_t)(channel << 6 | access << 4 | mode << 1 | bcd));
    naive_control(&bench->naive[channel], access, mode, bcd);
    if (channel == 0 && bench->naive[0].out && !was)
        bench->naive_edges++;
    take_interrupts(bench);
}

static uint16_t bcd_digits(uint32_t value)
{
    return (uint16_t)(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
                      value % 10);
}

static uint32_t count_for_access(const struct naive *naive, uint32_t count)
{
    unsigned low = naive->bcd ? 100 : 256;

    return naive->access == 1 ? count % low : naive->access == 2 ? count / low * low : count;
}

static void write_count(struct bench *bench, unsigned channel, uint32_t count)
{
    struct naive *naive = &bench->naive[channel];
    uint16_t bits = naive->bcd ? bcd_digits(count) : (uint16_t)count;

    if (naive->access & 1)
        out8(&bench->rig, 0x40 + channel, (uint8_t)bits);
    if (naive->access & 2)
        out8(&bench->rig, 0x40 + channel, bits >> 8);
    if (naive->mode == 0 && naive->access == 3) {
        naive->out = false;
        naive->loaded = false;
    }
    naive_write(naive, count);
}

static void clock_pulse(struct bench *bench)
{
    bool was = bench->naive[0].out;

    bench->tick++;
    rig_advance_to(&bench->rig, tick_to_cycles(bench, bench->tick));
    for (unsigned i = 0; i < I8254_CHANNELS; i++)
        naive_clock(&bench->naive[i]);
    bench->naive_edges += bench->naive[0].out && !was;
    take_interrupts(bench);
}

/* Latches status and count of a channel and compares them. */
static void compare(struct bench *bench, unsigned channel, uint64_t seed)
{
    const struct naive *naive = &bench->naive[channel];
    uint32_t expected = (uint32_t)naive->counter % naive_modulus(naive);
    uint16_t bits = naive->bcd ? bcd_digits(expected) : (uint16_t)expected;
    unsigned status, low, high;

    out8(&bench->rig, 0x43, (uint8_t)(0xc0 | 2 << channel));
    status = in8(&bench->rig, 0x40 + channel);
    cr_assert_eq(status & 0x3f, naive->access << 4 | naive->mode << 1 | naive->bcd);
    cr_assert_eq(status >> 7, naive->out, "seed %lu tick %ld mode %u: output", seed, bench->tick,
                 naive->mode);
    cr_assert_eq(status >> 6 & 1, naive->null_count, "seed %lu tick %ld mode %u: null count", seed,
                 bench->tick, naive->mode);
    low = naive->access & 1 ? in8(&bench->rig, 0x40 + channel) : bits & 0xff;
    high = naive->access & 2 ? in8(&bench->rig, 0x40 + channel) : bits >> 8;
    if (naive->loaded)
        cr_assert_eq(low | high << 8, bits, "seed %lu tick %ld mode %u: count %x, not %x", seed,
                     bench->tick, naive->mode, low | high << 8, bits);
    if (channel == 2)
        cr_assert_eq(in8(&bench->rig, 0x61) >> 5 & 1, naive->out);
    if (channel == 0)
        cr_assert_eq(bench->edges, bench->naive_edges,
                     "seed %lu tick %ld mode %u: edges %u, not %u", seed, bench->tick, naive->mode,
                     bench->edges, bench->naive_edges);
}

static uint32_t random_count(const struct naive *naive, uint64_t *seed)
{
    uint32_t count = rig_random(seed) % (rig_random(seed) % 4 ? 12 : naive_modulus(naive));

    count = count_for_access(naive, count);
    /* 1 is illegal in the periodic modes */
    return count == 1 && (naive->mode == 2 || naive->mode == 3) ? 2 : count;
}

Test(i8254, every_mode_matches_the_naive_model)
{
    for (uint64_t run = 1; run <= 600; run++) {
        uint64_t seed = run * 0x9e3779b97f4a7c15ull;
        unsigned channel = run % 2 ? 2 : 0, mode = run / 2 % 6;
        static struct bench bench;

        bench_open(&bench);
        clock_pulse(&bench);
        program(&bench, channel, mode, rig_random(&seed) % 4 == 0, 1 + rig_random(&seed) % 3);
        bench.edges = bench.naive_edges = 0;
        for (unsigned step = 0; step < 150; step++) {
            unsigned pulses = 1;
            switch (rig_random(&seed) % 6) {
            case 0:
                write_count(&bench, channel, random_count(&bench.naive[channel], &seed));
                break;
            case 1:
                if (channel == 2) {
                    bool gate = rig_random(&seed) % 2;
                    out8(&bench.rig, 0x61, gate);
                    naive_gate(&bench.naive[2], gate);
                }
                break;
            case 2:
                pulses = rig_random(&seed) % 30;
                break;
            case 3:
                pulses = rig_random(&seed) % 16 ? 1 : rig_random(&seed) % 3000;
                break;
            }
            take_interrupts(&bench);
            compare(&bench, channel, run);
            while (pulses--)
                clock_pulse(&bench);
            compare(&bench, channel, run);
        }
        rig_close(&bench.rig);
    }
}

/* Data sheet figures: when OUT changes, in CLK pulses from the write of the count. */
Test(i8254, output_times)
{
    static const struct {
        unsigned mode, count;
        int first_low, first_high; /* ticks after the write; -1: from the start */
    } figures[] = {
        {0, 4, -1, 5}, {0, 1, -1, 2}, {2, 3, 3, 4}, {2, 2, 2, 3},
        {3, 4, 3, 5},  {3, 5, 4, 6},  {4, 3, 4, 5}, {4, 1, 2, 3},
    };

    for (unsigned i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        static struct bench bench;
        int low = -1, high = -1;

        bench_open(&bench);
        program(&bench, 0, figures[i].mode, false, 3);
        write_count(&bench, 0, figures[i].count);
        for (int tick = 0; tick < 20 && high < 0; tick++) {
            bool out;
            out8(&bench.rig, 0x43, 0xe2);
            out = in8(&bench.rig, 0x40) >> 7;
            if (!out && low < 0 && tick)
                low = tick;
            if (out && (low >= 0 || figures[i].first_low < 0) && tick)
                high = tick;
            clock_pulse(&bench);
        }
        if (figures[i].first_low >= 0)
            cr_assert_eq(low, figures[i].first_low, "mode %u count %u: low at %d", figures[i].mode,
                         figures[i].count, low);
        cr_assert_eq(high, figures[i].first_high, "mode %u count %u: high at %d", figures[i].mode,
                     figures[i].count, high);
        rig_close(&bench.rig);
    }
}

/* Latches hold until they are read; a second latch command is ignored. */
Test(i8254, latches_hold)
{
    static struct bench bench;

    bench_open(&bench);
    program(&bench, 0, 2, false, 3);
    write_count(&bench, 0, 1000);
    for (unsigned i = 0; i < 11; i++)
        clock_pulse(&bench);
    out8(&bench.rig, 0x43, 0x00);
    clock_pulse(&bench);
    out8(&bench.rig, 0x43, 0x00);
    clock_pulse(&bench);
    cr_assert_eq(in8(&bench.rig, 0x40), 990 & 0xff);
    cr_assert_eq(in8(&bench.rig, 0x40), 990 >> 8);
    cr_assert_eq(in8(&bench.rig, 0x40), 988 & 0xff, "and then it counts again");
    cr_assert_eq(in8(&bench.rig, 0x40), 988 >> 8);
    /* status comes before count when both are latched */
    out8(&bench.rig, 0x43, 0xc2);
    cr_assert_eq(in8(&bench.rig, 0x40), 0xb4);
    cr_assert_eq(in8(&bench.rig, 0x40), 988 & 0xff);
    rig_close(&bench.rig);
}

/* The firmware's tick: 65,536 clocks of 1.193182 MHz, without drift over an hour. */
Test(i8254, firmware_tick_does_not_drift)
{
    static struct bench bench;

    bench_open(&bench);
    for (unsigned second = 0; second < 3600; second++) {
        rig_advance_to(&bench.rig, bench.rig.now); /* deadlines first */
        while (platform_next_deadline(bench.rig.platform) <= (second + 1ull) * RIG_HZ) {
            bench.rig.now = platform_next_deadline(bench.rig.platform);
            platform_run_timers(bench.rig.platform);
            take_interrupts(&bench);
        }
        bench.rig.now = (second + 1ull) * RIG_HZ;
    }
    /* the first edge is the power-up one */
    cr_assert_eq(bench.edges, 1 + 3600ull * I8254_HZ / 65536);
    rig_close(&bench.rig);
}

Test(i8254, refresh_bit_toggles_every_15_microseconds)
{
    static struct bench bench;
    unsigned changes = 0, last;

    bench_open(&bench);
    last = in8(&bench.rig, 0x61) & 0x10;
    for (unsigned us = 0; us < 15085; us++) {
        unsigned bit;
        rig_advance(&bench.rig, 1000);
        bit = in8(&bench.rig, 0x61) & 0x10;
        changes += bit != last;
        last = bit;
    }
    cr_assert(changes >= 999 && changes <= 1001, "%u changes", changes);
    rig_close(&bench.rig);
}

/* A machine that was not run for a year catches up at once, to the same count. */
Test(i8254, long_absence)
{
    const uint64_t year = 365ull * 86400 * RIG_HZ;
    static struct bench bench;
    uint64_t ticks;
    unsigned low, high;

    bench_open(&bench);
    program(&bench, 0, 2, false, 3);
    write_count(&bench, 0, 3);
    bench.rig.now = year;
    platform_run_timers(bench.rig.platform);
    take_interrupts(&bench);
    ticks = clock_to_ticks(platform_clock(bench.rig.platform), year, I8254_HZ);
    low = in8(&bench.rig, 0x40);
    high = in8(&bench.rig, 0x40);
    cr_assert_eq(low | high << 8, 3 - (ticks - 1) % 3, "loaded at tick 1");
    cr_assert_gt(platform_next_deadline(bench.rig.platform), year);
    rig_close(&bench.rig);
}

/* A count of 1 in a periodic mode must not stop time. */
Test(i8254, illegal_count_is_harmless)
{
    static struct bench bench;

    bench_open(&bench);
    for (unsigned mode = 2; mode <= 3; mode++) {
        program(&bench, 0, mode, false, 1);
        write_count(&bench, 0, 1);
        rig_advance(&bench.rig, RIG_HZ);
    }
    rig_close(&bench.rig);
}
