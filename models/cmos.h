/*
 * The MC146818 clock with its 128 bytes of memory (ports 0x70-0x71, interrupt line 8).
 *
 * The time is the configured epoch plus simulated time. Flags and registers are brought up to
 * date when they are read; a timer is armed only for an interrupt that is enabled.
 */
#ifndef VTXSIM_MODELS_CMOS_H
#define VTXSIM_MODELS_CMOS_H

#include <stdbool.h>
#include <stdint.h>

#include "models/bus.h"
#include "models/clock.h"
#include "models/irq.h"

#define CMOS_SIZE    128
#define CMOS_HZ      32768
#define CMOS_CENTURY 0x32 /* the register that the FADT names */

/* Binary, whatever format register B chooses. */
struct cmos_time {
    unsigned second, minute, hour, weekday /* 1 = Sunday */, day, month,
        year; /* year: all digits */
};

struct cmos_state {
    uint8_t index;
    uint8_t memory[CMOS_SIZE]; /* without the time and registers C and D */
    uint8_t flags;             /* register C bits 4-6 */
    int64_t base_seconds;      /* since 1970, at base_tick */
    int64_t base_tick;         /* where a second began, in 1/32768 s of simulated time */
    bool held;                 /* updates stopped by SET or by the divider: time is `fields` */
    struct cmos_time fields;
    int weekday_shift;   /* the weekday is a counter of its own */
    int64_t synced_tick; /* flags are complete up to here */
    int64_t alarm_tick;  /* next match of the alarm; INT64_MAX */
};

struct cmos {
    struct clock *clock;
    struct irq irq;
    struct timer timer;
    int64_t epoch;     /* seconds since 1970 at power-on */
    uint64_t ram_size; /* bytes */
    unsigned cpus;
    struct cmos_state state;
};

/* clock, epoch, ram_size and cpus are set by the caller. 0 or a negative errno. */
int cmos_init(struct cmos *cmos, struct bus *bus, struct irq_lines *lines);
void cmos_reset(struct cmos *cmos);

/* The proleptic Gregorian calendar. cmos_time_to_seconds accepts any day and month 1-12. */
struct cmos_time cmos_time_from_seconds(int64_t seconds);
int64_t cmos_time_to_seconds(const struct cmos_time *time);

#endif
