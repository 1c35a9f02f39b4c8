/*
 * The local APIC's timer: SDM, "APIC Timer" and "TSC-Deadline Mode".
 *
 * The count is not stepped: it follows from the crystal ticks since timer_start, at which it was
 * timer_count. Ticks are absolute, so that periods do not drift by rounding to cycles.
 */
#include "models/lapic.h"

#define TIMER_MODE_SHIFT 17

enum timer_mode {
    TIMER_ONE_SHOT = 0,
    TIMER_PERIODIC = 1,
    TIMER_TSC_DEADLINE = 2,
};

static enum timer_mode timer_mode(const struct lapic *lapic)
{
    return (enum timer_mode)(lapic->state.lvt[LVT_TIMER] >> TIMER_MODE_SHIFT & 3);
}

/* Bits 3, 1 and 0 of the divide configuration register: 2, 4, ... 128, 1. */
static unsigned divisor(const struct lapic *lapic)
{
    unsigned code = (lapic->state.divide & 3) | (lapic->state.divide >> 1 & 4);

    return code == 7 ? 1 : 2u << code;
}

static uint64_t current_tick(const struct lapic *lapic)
{
    return clock_to_ticks(lapic->clock, clock_now(lapic->clock), lapic->timer_hz);
}

static uint64_t expiry_tick(const struct lapic *lapic)
{
    return lapic->state.timer_start + (uint64_t)lapic->state.timer_count * divisor(lapic);
}

static uint64_t guest_tsc(const struct lapic *lapic)
{
    return clock_now(lapic->clock) + lapic->state.tsc_offset;
}

static void arm_count(struct lapic *lapic)
{
    if (lapic->state.timer_running)
        timer_arm(lapic->clock, &lapic->timer,
                  clock_from_ticks(lapic->clock, expiry_tick(lapic), lapic->timer_hz));
    else
        timer_disarm(lapic->clock, &lapic->timer);
}

/* Everything up to `tick`: a periodic count may have run out many times. */
static void run_count(struct lapic *lapic, uint64_t tick)
{
    struct lapic_state *state = &lapic->state;
    uint64_t period = (uint64_t)state->initial_count * divisor(lapic);

    if (!state->timer_running || expiry_tick(lapic) > tick)
        return;
    state->timer_start = expiry_tick(lapic);
    state->timer_count = state->initial_count;
    state->timer_running = timer_mode(lapic) == TIMER_PERIODIC;
    if (state->timer_running)
        state->timer_start += (tick - state->timer_start) / period * period;
    arm_count(lapic);
    lapic_raise_lvt(lapic, LVT_TIMER);
}

static void arm_deadline(struct lapic *lapic)
{
    uint64_t tsc = guest_tsc(lapic), now = clock_now(lapic->clock);
    uint64_t left = lapic->state.tsc_deadline - tsc;

    if (!lapic->state.tsc_deadline) {
        timer_disarm(lapic->clock, &lapic->timer);
    } else if (lapic->state.tsc_deadline <= tsc) {
        lapic->state.tsc_deadline = 0;
        timer_disarm(lapic->clock, &lapic->timer);
        lapic_raise_lvt(lapic, LVT_TIMER);
    } else {
        timer_arm(lapic->clock, &lapic->timer, left < CLOCK_NEVER - now ? now + left : CLOCK_NEVER);
    }
}

static void expire(void *device)
{
    struct lapic *lapic = device;

    if (timer_mode(lapic) == TIMER_TSC_DEADLINE)
        arm_deadline(lapic);
    else
        run_count(lapic, current_tick(lapic));
}

/* The current count begins at `count` now. */
static void restart_count(struct lapic *lapic, uint64_t tick, uint32_t count)
{
    lapic->state.timer_start = tick;
    lapic->state.timer_count = count;
    lapic->state.timer_running = count != 0;
    arm_count(lapic);
}

static void stop(struct lapic *lapic)
{
    lapic->state.timer_running = false;
    lapic->state.tsc_deadline = 0;
    timer_disarm(lapic->clock, &lapic->timer);
}

int lapic_timer_init(struct lapic *lapic)
{
    return clock_add_timer(lapic->clock, &lapic->timer, expire, lapic);
}

void lapic_timer_reset(struct lapic *lapic)
{
    stop(lapic);
}

/* Between one-shot and periodic the count goes on; to and from TSC-deadline the timer is
 * disarmed. */
void lapic_timer_write_lvt(struct lapic *lapic, uint32_t value)
{
    bool was_deadline = timer_mode(lapic) == TIMER_TSC_DEADLINE;

    run_count(lapic, current_tick(lapic));
    lapic->state.lvt[LVT_TIMER] = value;
    if (was_deadline != (timer_mode(lapic) == TIMER_TSC_DEADLINE))
        stop(lapic);
}

void lapic_timer_write_initial_count(struct lapic *lapic, uint32_t count)
{
    if (timer_mode(lapic) == TIMER_TSC_DEADLINE)
        return;
    run_count(lapic, current_tick(lapic));
    lapic->state.initial_count = count;
    restart_count(lapic, current_tick(lapic), count);
}

void lapic_timer_write_divide(struct lapic *lapic, uint8_t divide)
{
    uint64_t tick = current_tick(lapic);
    uint32_t count = lapic_timer_current_count(lapic);

    lapic->state.divide = divide;
    if (lapic->state.timer_running)
        restart_count(lapic, tick, count);
}

uint32_t lapic_timer_current_count(struct lapic *lapic)
{
    uint64_t tick = current_tick(lapic);

    run_count(lapic, tick);
    if (!lapic->state.timer_running)
        return 0;
    return lapic->state.timer_count -
           (uint32_t)((tick - lapic->state.timer_start) / divisor(lapic));
}

uint64_t lapic_timer_deadline(struct lapic *lapic)
{
    return lapic->state.tsc_deadline;
}

void lapic_timer_write_deadline(struct lapic *lapic, uint64_t tsc)
{
    if (timer_mode(lapic) != TIMER_TSC_DEADLINE)
        return;
    lapic->state.tsc_deadline = tsc;
    arm_deadline(lapic);
}

void lapic_timer_set_tsc_offset(struct lapic *lapic, uint64_t offset)
{
    lapic->state.tsc_offset = offset;
    if (timer_mode(lapic) == TIMER_TSC_DEADLINE)
        arm_deadline(lapic);
}
