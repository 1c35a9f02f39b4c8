/* A platform on a bench: time that the test moves, and a record of what the platform reports. */
#ifndef VTXSIM_TESTS_MODELS_RIG_H
#define VTXSIM_TESTS_MODELS_RIG_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "models/platform.h"

#define RIG_HZ    1000000000ull
#define RIG_EPOCH 1700000000

struct rig {
    struct platform *platform;
    struct bus *bus;
    uint64_t now;
    unsigned interrupt_changes, deadline_changes;
    unsigned nmis[PLATFORM_CPUS_MAX], inits[PLATFORM_CPUS_MAX], startups[PLATFORM_CPUS_MAX];
    uint8_t startup_vector;
    unsigned stops;
    enum platform_stop stop;
    int status;
    char console[4096];
    size_t console_size;
};

static inline uint64_t rig_now(void *machine)
{
    return ((struct rig *)machine)->now;
}

static inline void rig_deadline_changed(void *machine)
{
    ((struct rig *)machine)->deadline_changes++;
}

static inline void rig_interrupt_changed(void *machine)
{
    ((struct rig *)machine)->interrupt_changes++;
}

static inline void rig_nmi(void *machine, unsigned cpu)
{
    ((struct rig *)machine)->nmis[cpu]++;
}

static inline void rig_init_signal(void *machine, unsigned cpu)
{
    ((struct rig *)machine)->inits[cpu]++;
}

static inline void rig_sipi(void *machine, unsigned cpu, uint8_t vector)
{
    struct rig *rig = machine;

    rig->startups[cpu]++;
    rig->startup_vector = vector;
}

static inline void rig_console(void *machine, const void *data, size_t size)
{
    struct rig *rig = machine;

    cr_assert_leq(rig->console_size + size, sizeof(rig->console));
    memcpy(rig->console + rig->console_size, data, size);
    rig->console_size += size;
}

static inline void rig_stop(void *machine, enum platform_stop why, int status)
{
    struct rig *rig = machine;

    rig->stops++;
    rig->stop = why;
    rig->status = status;
}

static inline struct platform_config rig_config(unsigned cpus)
{
    return (struct platform_config){
        .cpus = cpus,
        .ram_size = 512 << 20,
        .clock_hz = RIG_HZ,
        .apic_timer_hz = 25000000,
        .rtc_epoch = RIG_EPOCH,
        .physical_bits = 40,
        .x2apic = true,
        .test_device = true,
    };
}

static inline void rig_open_with(struct rig *rig, const struct platform_config *config)
{
    static const struct platform_callbacks callbacks = {
        rig_now,
        rig_deadline_changed,
        rig_interrupt_changed,
        rig_nmi,
        rig_init_signal,
        rig_sipi,
        rig_console,
        rig_stop,
    };

    memset(rig, 0, sizeof(*rig));
    rig->platform = platform_create(config, &callbacks, rig);
    cr_assert_not_null(rig->platform);
    rig->bus = platform_bus(rig->platform);
}

static inline void rig_open(struct rig *rig, unsigned cpus)
{
    struct platform_config config = rig_config(cpus);

    rig_open_with(rig, &config);
}

static inline void rig_close(struct rig *rig)
{
    platform_destroy(rig->platform);
}

/* Moves time to `until`, stopping at every deadline on the way. */
static inline void rig_advance_to(struct rig *rig, uint64_t until)
{
    while (platform_next_deadline(rig->platform) <= until) {
        uint64_t next = platform_next_deadline(rig->platform);
        rig->now = next > rig->now ? next : rig->now;
        platform_run_timers(rig->platform);
    }
    rig->now = until;
}

static inline void rig_advance(struct rig *rig, uint64_t cycles)
{
    rig_advance_to(rig, rig->now + cycles);
}

static inline uint8_t in8(struct rig *rig, uint16_t port)
{
    return (uint8_t)bus_port_read(rig->bus, port, 1);
}

static inline void out8(struct rig *rig, uint16_t port, uint8_t value)
{
    bus_port_write(rig->bus, port, 1, value);
}

/* Both 8259s off, so that only the local APICs deliver. */
static inline void rig_mask_pic(struct rig *rig)
{
    out8(rig, 0x21, 0xff);
    out8(rig, 0xa1, 0xff);
}

/* xorshift64*: the tests print the seed of a failing run. */
static inline uint64_t rig_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 0x2545f4914f6cdd1dull;
}

#endif
