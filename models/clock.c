/* Simulated time: the table of timers, its cached minimum, and conversions between frequencies. */
#include "models/clock.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

static struct timer *earliest(const struct clock *clock)
{
    struct timer *first = NULL;

    for (unsigned i = 0; i < clock->count; i++) {
        if (!first || clock->timer[i]->deadline < first->deadline)
            first = clock->timer[i];
    }
    return first;
}

static void set_next(struct clock *clock, uint64_t next)
{
    if (next == clock->next)
        return;
    clock->next = next;
    if (clock->rearmed && !clock->running)
        clock->rearmed(clock->machine);
}

static void recompute_next(struct clock *clock)
{
    const struct timer *first = earliest(clock);

    set_next(clock, first ? first->deadline : CLOCK_NEVER);
}

void clock_init(struct clock *clock, uint64_t hz, uint64_t (*now)(void *), void (*rearmed)(void *),
                void *machine)
{
    assert(hz);
    *clock = (struct clock){
        .hz = hz, .now = now, .rearmed = rearmed, .machine = machine, .next = CLOCK_NEVER};
}

int clock_add_timer(struct clock *clock, struct timer *timer, void (*expire)(void *), void *device)
{
    if (clock->count == CLOCK_TIMERS_MAX)
        return -ENOSPC;
    *timer = (struct timer){.deadline = CLOCK_NEVER, .expire = expire, .device = device};
    clock->timer[clock->count++] = timer;
    return 0;
}

void clock_remove_timer(struct clock *clock, struct timer *timer)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < clock->count; i++) {
        if (clock->timer[i] != timer)
            clock->timer[kept++] = clock->timer[i];
    }
    clock->count = kept;
    recompute_next(clock);
}

void timer_arm(struct clock *clock, struct timer *timer, uint64_t deadline)
{
    bool was_first = timer->deadline == clock->next;

    timer->deadline = deadline;
    if (deadline <= clock->next)
        set_next(clock, deadline);
    else if (was_first)
        recompute_next(clock);
}

void timer_disarm(struct clock *clock, struct timer *timer)
{
    timer_arm(clock, timer, CLOCK_NEVER);
}

void clock_run(struct clock *clock)
{
    uint64_t now = clock_now(clock), before = clock->next;

    if (now < before)
        return;
    clock->running = true;
    for (;;) {
        struct timer *timer = earliest(clock);
        if (!timer || timer->deadline > now || timer->deadline == CLOCK_NEVER)
            break;
        timer->deadline = CLOCK_NEVER;
        timer->expire(timer->device);
    }
    clock->running = false;
    clock->next = before;
    recompute_next(clock);
}

uint64_t clock_to_ticks(const struct clock *clock, uint64_t cycles, uint64_t device_hz)
{
    unsigned __int128 ticks = (unsigned __int128)cycles * device_hz / clock->hz;

    return ticks > UINT64_MAX ? CLOCK_NEVER : (uint64_t)ticks;
}

uint64_t clock_from_ticks(const struct clock *clock, uint64_t ticks, uint64_t device_hz)
{
    unsigned __int128 cycles = ((unsigned __int128)ticks * clock->hz + device_hz - 1) / device_hz;

    return cycles > UINT64_MAX ? CLOCK_NEVER : (uint64_t)cycles;
}
