/* The local APIC's timer: SDM, "APIC Timer". The crystal of the rig is 25 MHz, 40 cycles a tick. */
#include "test_models_lapic.h"

#define TICK   40
#define VECTOR 0xee

static struct rig rig;

static void set_up(void)
{
    rig_open_lapics(&rig, 1);
    out8(&rig, 0x43, 0x30); /* the 8254 is silent */
    lapic_set(&rig, 0, LAPIC_DIVIDE, 0x0b);
}

static void tear_down(void)
{
    rig_close(&rig);
}

TestSuite(lapic_timer, .init = set_up, .fini = tear_down);

enum { ONE_SHOT = 0, PERIODIC = 1 << 17, DEADLINE = 2 << 17 };

static void start(unsigned mode, uint32_t count)
{
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, mode | VECTOR);
    lapic_set(&rig, 0, LAPIC_INITIAL_COUNT, count);
}

static uint32_t count(void)
{
    return lapic_get(&rig, 0, LAPIC_CURRENT_COUNT);
}

/* Takes what is pending; how many interrupts came. */
static unsigned take(void)
{
    unsigned taken = 0;

    while (platform_interrupt_pending(rig.platform, 0)) {
        cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), VECTOR);
        lapic_set(&rig, 0, LAPIC_EOI, 0);
        taken++;
    }
    return taken;
}

/* Figure "Divide Configuration Register". */
Test(lapic_timer, divide_table)
{
    static const struct {
        uint32_t code;
        unsigned divisor;
    } table[] = {{0x0, 2},  {0x1, 4},  {0x2, 8},   {0x3, 16},
                 {0x8, 32}, {0x9, 64}, {0xa, 128}, {0xb, 1}};

    for (unsigned i = 0; i < 8; i++) {
        uint64_t begin = rig.now, until = begin + 1000ull * table[i].divisor * TICK;
        lapic_set(&rig, 0, LAPIC_DIVIDE, table[i].code);
        cr_assert_eq(lapic_get(&rig, 0, LAPIC_DIVIDE), table[i].code);
        start(ONE_SHOT, 1000);
        cr_assert_eq(platform_next_deadline(rig.platform), until, "divide by %u", table[i].divisor);
        for (unsigned n = 0; n <= 1000; n += 100) {
            rig_advance_to(&rig, begin + (uint64_t)n * table[i].divisor * TICK);
            cr_assert_eq(count(), 1000 - n);
            if (n < 1000)
                cr_assert_not(platform_interrupt_pending(rig.platform, 0));
        }
        cr_assert_eq(take(), 1);
    }
}

Test(lapic_timer, one_shot_fires_once)
{
    start(ONE_SHOT, 100);
    rig_advance(&rig, 100 * TICK - 1);
    cr_assert_eq(count(), 1);
    cr_assert_eq(take(), 0);
    rig_advance(&rig, 1);
    cr_assert_eq(count(), 0);
    cr_assert_eq(take(), 1);
    rig_advance(&rig, 100000 * TICK);
    cr_assert_eq(take(), 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_INITIAL_COUNT), 100);
    lapic_set(&rig, 0, LAPIC_INITIAL_COUNT, 100);
    lapic_set(&rig, 0, LAPIC_INITIAL_COUNT, 0);
    rig_advance(&rig, 1000 * TICK);
    cr_assert_eq(take(), 0, "an initial count of 0 stops the timer");
}

Test(lapic_timer, periodic_does_not_drift)
{
    struct platform_config config = rig_config(1);
    unsigned fired = 0;

    rig_close(&rig);
    config.apic_timer_hz = 19200000; /* not a divisor of the clock */
    rig_open_with(&rig, &config);
    rig_mask_pic(&rig);
    out8(&rig, 0x43, 0x30);
    lapic_set(&rig, 0, LAPIC_DIVIDE, 0x0b);
    start(PERIODIC, 19200);
    while (rig.now < 10 * RIG_HZ) {
        rig_advance_to(&rig, platform_next_deadline(rig.platform));
        fired += take();
    }
    cr_assert_eq(fired, 10000);
    cr_assert_eq(rig.now, 10 * RIG_HZ);
}

/* A masked timer counts and expires all the same, without interrupts. */
Test(lapic_timer, masked)
{
    start(ONE_SHOT | LVT_MASKED, 100);
    rig_advance(&rig, 50 * TICK);
    cr_assert_eq(count(), 50);
    rig_advance(&rig, 100 * TICK);
    cr_assert_eq(count(), 0);
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, VECTOR);
    cr_assert_eq(take(), 0, "the interrupt is not made up for");
}

/* Changing between one-shot and periodic goes on with the count. */
Test(lapic_timer, change_of_mode)
{
    start(ONE_SHOT, 1000);
    rig_advance(&rig, 600 * TICK);
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, PERIODIC | VECTOR);
    cr_assert_eq(count(), 400);
    rig_advance(&rig, 500 * TICK);
    cr_assert_eq(take(), 1);
    cr_assert_eq(count(), 900, "and the period is the initial count");
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, ONE_SHOT | VECTOR);
    cr_assert_eq(count(), 900);
    rig_advance(&rig, 5000 * TICK);
    cr_assert_eq(take(), 1);
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, PERIODIC | VECTOR);
    rig_advance(&rig, 5000 * TICK);
    cr_assert_eq(count(), 0, "a count that has ended stays at 0");
    cr_assert_eq(take(), 0);
}

Test(lapic_timer, change_of_divisor)
{
    start(ONE_SHOT, 1000);
    rig_advance(&rig, 400 * TICK);
    lapic_set(&rig, 0, LAPIC_DIVIDE, 0x01);
    cr_assert_eq(count(), 600);
    rig_advance(&rig, 599 * 4 * TICK);
    cr_assert_eq(count(), 1);
    rig_advance(&rig, 4 * TICK);
    cr_assert_eq(take(), 1);
}

/* SDM, "TSC-Deadline Mode". */
Test(lapic_timer, tsc_deadline)
{
    msr_write(&rig, 0, MSR_TSC_DEADLINE, 12345);
    cr_assert_eq(msr_read(&rig, 0, MSR_TSC_DEADLINE), 0, "ignored in other modes");
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, DEADLINE | VECTOR);
    lapic_set(&rig, 0, LAPIC_INITIAL_COUNT, 100);
    cr_assert_eq(count(), 0, "no count in this mode");
    rig_advance(&rig, 1000 * TICK);
    cr_assert_eq(take(), 0);

    msr_write(&rig, 0, MSR_TSC_DEADLINE, rig.now + 5000);
    cr_assert_eq(msr_read(&rig, 0, MSR_TSC_DEADLINE), rig.now + 5000);
    cr_assert_eq(platform_next_deadline(rig.platform), rig.now + 5000);
    rig_advance(&rig, 4999);
    cr_assert_eq(take(), 0);
    rig_advance(&rig, 1);
    cr_assert_eq(take(), 1);
    cr_assert_eq(msr_read(&rig, 0, MSR_TSC_DEADLINE), 0, "disarmed by firing");

    msr_write(&rig, 0, MSR_TSC_DEADLINE, rig.now);
    cr_assert_eq(take(), 1, "a deadline of now or the past fires at once");
    msr_write(&rig, 0, MSR_TSC_DEADLINE, 1);
    cr_assert_eq(take(), 1);
    msr_write(&rig, 0, MSR_TSC_DEADLINE, rig.now + 10);
    msr_write(&rig, 0, MSR_TSC_DEADLINE, 0);
    rig_advance(&rig, 1000);
    cr_assert_eq(take(), 0, "0 disarms");

    msr_write(&rig, 0, MSR_TSC_DEADLINE, rig.now + 10);
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, ONE_SHOT | VECTOR);
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, DEADLINE | VECTOR);
    rig_advance(&rig, 1000);
    cr_assert_eq(take(), 0, "so does leaving the mode");
    msr_write(&rig, 0, MSR_TSC_DEADLINE, UINT64_MAX);
    rig_advance(&rig, 1000);
    cr_assert_eq(take(), 0);
}

/* The deadline is one of the guest's TSC, which is offset from simulated time. */
Test(lapic_timer, tsc_offset)
{
    const uint64_t offset = (uint64_t)-700000;

    rig_advance_to(&rig, 1000000);
    platform_set_tsc_offset(rig.platform, 0, offset);
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, DEADLINE | VECTOR);
    msr_write(&rig, 0, MSR_TSC_DEADLINE, 400000);
    cr_assert_eq(platform_next_deadline(rig.platform), 1100000);
    platform_set_tsc_offset(rig.platform, 0, offset + 50000);
    cr_assert_eq(platform_next_deadline(rig.platform), 1050000, "a moved TSC moves the time");
    rig_advance_to(&rig, 1049999);
    cr_assert_eq(take(), 0);
    platform_set_tsc_offset(rig.platform, 0, offset + 60000);
    cr_assert_eq(take(), 1, "the TSC has jumped past the deadline");
}

/* The fastest timer that a guest can make must not keep the platform in a loop. */
Test(lapic_timer, shortest_period)
{
    start(PERIODIC, 1);
    rig.now += 1000 * TICK;
    platform_run_timers(rig.platform);
    cr_assert_eq(take(), 1);
    cr_assert_eq(platform_next_deadline(rig.platform), rig.now + TICK);
    rig.now += 3600 * RIG_HZ;
    platform_run_timers(rig.platform);
    cr_assert_eq(take(), 1);
}
