/* Simulated time: conversions without overflow, and timers against an unsorted list. */
#include <errno.h>

#include "models/clock.h"
#include "test_models_rig.h"

static const uint64_t frequencies[] = {1,          32768,      1193182,  3579545,
                                       1000000000, 2500000000, 24000000, 18446744073709551615ull};

/* Exact comparison of products, by cross-multiplication in 128 bits. */
static unsigned __int128 product(uint64_t a, uint64_t b)
{
    return (unsigned __int128)a * b;
}

Test(clock, conversions_are_exact)
{
    uint64_t seed = 42;

    for (unsigned i = 0; i < 200000; i++) {
        struct clock clock = {.hz = frequencies[rig_random(&seed) % 7]};
        uint64_t device_hz = frequencies[rig_random(&seed) % 7];
        uint64_t value = rig_random(&seed) >> (1 + rig_random(&seed) % 63);
        uint64_t ticks = clock_to_ticks(&clock, value, device_hz);
        uint64_t cycles = clock_from_ticks(&clock, value, device_hz);

        /* floor: ticks <= value * device_hz / hz < ticks + 1 */
        if (ticks != CLOCK_NEVER) {
            cr_assert(product(ticks, clock.hz) <= product(value, device_hz));
            cr_assert(product(ticks, clock.hz) + clock.hz > product(value, device_hz));
        } else {
            cr_assert(product(value, device_hz) / clock.hz > UINT64_MAX);
        }
        /* ceiling, so that the tick has happened at the returned time, and not a cycle before */
        if (cycles != CLOCK_NEVER) {
            cr_assert(product(cycles, device_hz) >= product(value, clock.hz));
            cr_assert(product(cycles, device_hz) < product(value, clock.hz) + device_hz);
            cr_assert_geq(clock_to_ticks(&clock, cycles, device_hz), value);
        }
    }
}

Test(clock, conversions_of_extremes)
{
    for (unsigned i = 0; i < sizeof(frequencies) / sizeof(frequencies[0]); i++) {
        for (unsigned j = 0; j < sizeof(frequencies) / sizeof(frequencies[0]); j++) {
            struct clock clock = {.hz = frequencies[i]};
            cr_assert_eq(clock_to_ticks(&clock, 0, frequencies[j]), 0);
            cr_assert_eq(clock_from_ticks(&clock, 0, frequencies[j]), 0);
            if (i == j) {
                cr_assert_eq(clock_to_ticks(&clock, INT64_MAX, frequencies[j]), INT64_MAX);
                cr_assert_eq(clock_from_ticks(&clock, INT64_MAX, frequencies[j]), INT64_MAX);
            }
        }
    }
    cr_assert_eq(clock_from_ticks(&(struct clock){.hz = 2500000000}, INT64_MAX, 1), CLOCK_NEVER);
    cr_assert_eq(clock_to_ticks(&(struct clock){.hz = 1}, INT64_MAX, 3579545), CLOCK_NEVER);
}

#define TIMERS 8

static struct clock test_clock;
static struct timer timers[TIMERS];
static uint64_t current;
static unsigned reports;
static int fired[1000];
static unsigned fired_count;
static uint64_t rearm_after[TIMERS];

static uint64_t read_current(void *machine)
{
    return current;
}

static void report(void *machine)
{
    reports++;
}

static void fire(void *device)
{
    unsigned i = (unsigned)((struct timer *)device - timers);

    fired[fired_count++] = (int)i;
    cr_assert_eq(timers[i].deadline, CLOCK_NEVER, "a timer is idle when it expires");
    if (rearm_after[i])
        timer_arm(&test_clock, &timers[i], current + rearm_after[i]);
}

static uint64_t minimum(void)
{
    uint64_t least = CLOCK_NEVER;

    for (unsigned i = 0; i < TIMERS; i++)
        least = timers[i].deadline < least ? timers[i].deadline : least;
    return least;
}

Test(clock, timers_expire_in_order)
{
    uint64_t seed = 7;

    clock_init(&test_clock, 1000, read_current, report, NULL);
    for (unsigned i = 0; i < TIMERS; i++)
        cr_assert_eq(clock_add_timer(&test_clock, &timers[i], fire, &timers[i]), 0);
    cr_assert_eq(clock_next_deadline(&test_clock), CLOCK_NEVER);

    for (unsigned step = 0; step < 20000; step++) {
        unsigned which = rig_random(&seed) % TIMERS, before = reports;
        uint64_t deadline = clock_next_deadline(&test_clock), last = 0;
        uint64_t due[TIMERS];

        switch (rig_random(&seed) % 3) {
        case 0:
            timer_arm(&test_clock, &timers[which], current + rig_random(&seed) % 50);
            break;
        case 1:
            timer_disarm(&test_clock, &timers[which]);
            break;
        default:
            current += rig_random(&seed) % 20;
            for (unsigned i = 0; i < TIMERS; i++) {
                due[i] = timers[i].deadline;
                rearm_after[i] = rig_random(&seed) % 3 ? 0 : 1 + rig_random(&seed) % 30;
            }
            fired_count = 0;
            clock_run(&test_clock);
            for (unsigned i = 0; i < fired_count; i++) {
                cr_assert_leq(due[fired[i]], current);
                cr_assert(due[fired[i]] > last || i == 0 ||
                          (due[fired[i]] == last && fired[i] > fired[i - 1]));
                last = due[fired[i]];
            }
            for (unsigned i = 0; i < TIMERS; i++)
                cr_assert_gt(timers[i].deadline, current, "nothing due is left");
        }
        cr_assert_eq(clock_next_deadline(&test_clock), minimum());
        cr_assert_eq(reports - before, clock_next_deadline(&test_clock) != deadline,
                     "one report a change");
    }
    clock_remove_timer(&test_clock, &timers[0]);
    cr_assert_eq(clock_next_deadline(&test_clock), minimum());
}

Test(clock, table_of_timers_has_an_end)
{
    struct clock clock;
    struct timer many[CLOCK_TIMERS_MAX + 1];

    clock_init(&clock, 1, read_current, NULL, NULL);
    for (unsigned i = 0; i < CLOCK_TIMERS_MAX; i++)
        cr_assert_eq(clock_add_timer(&clock, &many[i], fire, NULL), 0);
    cr_assert_eq(clock_add_timer(&clock, &many[CLOCK_TIMERS_MAX], fire, NULL), -ENOSPC);
}
