/*
 * Simulated time and the deadlines of devices.
 *
 * Time is counted in cycles of the simulated TSC. The machine tells the clock what time it is
 * through `now`; devices never read any other clock.
 */
#ifndef VTXSIM_MODELS_CLOCK_H
#define VTXSIM_MODELS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_NEVER UINT64_MAX

struct clock;

/* Embedded in a device. expire is called once when now >= deadline; it may arm again. */
struct timer {
    uint64_t deadline; /* cycles; CLOCK_NEVER when idle */
    void (*expire)(void *device);
    void *device;
};

#define CLOCK_TIMERS_MAX 32
struct clock {
    uint64_t hz; /* cycles a second */
    uint64_t (*now)(void *machine);
    /* Called when the earliest deadline has changed (may be NULL). */
    void (*rearmed)(void *machine);
    void *machine;
    unsigned count;
    struct timer *timer[CLOCK_TIMERS_MAX];
    uint64_t next; /* cached: the earliest deadline */
    bool running;  /* inside clock_run: one report of a changed deadline at its end */
};

void clock_init(struct clock *clock, uint64_t hz, uint64_t (*now)(void *), void (*rearmed)(void *),
                void *machine);
static inline uint64_t clock_now(const struct clock *clock)
{
    return clock->now(clock->machine);
}
/* Registers a timer (idle). Returns 0 or -ENOSPC. */
int clock_add_timer(struct clock *clock, struct timer *timer, void (*expire)(void *), void *device);
void clock_remove_timer(struct clock *clock, struct timer *timer);
void timer_arm(struct clock *clock, struct timer *timer, uint64_t deadline);
void timer_disarm(struct clock *clock, struct timer *timer);
/* The earliest deadline, CLOCK_NEVER if none. */
static inline uint64_t clock_next_deadline(const struct clock *clock)
{
    return clock->next;
}
/* Expires everything due, in order of deadline (ties in order of registration). */
void clock_run(struct clock *clock);

/* Conversions without overflow for any 64-bit input below 2^63: ticks of a device that runs at
 * device_hz. clock_from_ticks rounds up: the tick has happened at the returned time. A time or a
 * count that 64 bits cannot hold is CLOCK_NEVER. */
uint64_t clock_to_ticks(const struct clock *clock, uint64_t cycles, uint64_t device_hz);
uint64_t clock_from_ticks(const struct clock *clock, uint64_t ticks, uint64_t device_hz);

#endif
