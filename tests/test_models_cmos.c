/* The MC146818: calendar against the C library's, formats, update cycle, interrupts. */
#include <time.h>

#include "models/cmos.h"
#include "test_models_rig.h"

static uint8_t cmos_read(struct rig *rig, uint8_t index)
{
    out8(rig, 0x70, index);
    return in8(rig, 0x71);
}

static void cmos_write(struct rig *rig, uint8_t index, uint8_t value)
{
    out8(rig, 0x70, index);
    out8(rig, 0x71, value);
}

static void open_at(struct rig *rig, int64_t epoch)
{
    struct platform_config config = rig_config(1);

    config.rtc_epoch = epoch;
    rig_open_with(rig, &config);
}

Test(cmos, calendar_equals_the_c_library)
{
    static const int64_t edges[] = {
        0,          951782399,  951782400,  /* 2000-02-28/29: a leap year by 400 */
        951868800,  4107542399, 4107542400, /* 2100-02-28/03-01: none by 100 */
        1709164799, 1709251199, 1709251200, 1735689599, 1735689600, 253402300799,
    };
    uint64_t seed = 1;

    for (unsigned i = 0; i < 20000; i++) {
        int64_t seconds = i < sizeof(edges) / sizeof(edges[0])
                              ? edges[i]
                              : (int64_t)(rig_random(&seed) % 253402300800ull);
        struct cmos_time got = cmos_time_from_seconds(seconds);
        time_t libc_seconds = seconds;
        struct tm expected;

        gmtime_r(&libc_seconds, &expected);
        cr_assert(
            got.second == (unsigned)expected.tm_sec && got.minute == (unsigned)expected.tm_min &&
                got.hour == (unsigned)expected.tm_hour && got.day == (unsigned)expected.tm_mday &&
                got.month == (unsigned)expected.tm_mon + 1 &&
                got.year == (unsigned)expected.tm_year + 1900 &&
                got.weekday == (unsigned)expected.tm_wday + 1,
            "%ld", seconds);
        cr_assert_eq(cmos_time_to_seconds(&got), seconds);
    }
}

/* What the registers say a second before and at the turn of day, month, leap day and century. */
Test(cmos, bcd_time_runs_across_boundaries)
{
    static const struct {
        int64_t before;
        uint8_t after[8]; /* second, minute, hour, weekday, day, month, year, century */
    } turns[] = {
        {1700006399, {0x00, 0x00, 0x00, 0x04, 0x15, 0x11, 0x23, 0x20}},
        {1709164799, {0x00, 0x00, 0x00, 0x05, 0x29, 0x02, 0x24, 0x20}},
        {1709251199, {0x00, 0x00, 0x00, 0x06, 0x01, 0x03, 0x24, 0x20}},
        {1677628799, {0x00, 0x00, 0x00, 0x04, 0x01, 0x03, 0x23, 0x20}},
        {946684799, {0x00, 0x00, 0x00, 0x07, 0x01, 0x01, 0x00, 0x20}},
        {1703980799, {0x00, 0x00, 0x00, 0x01, 0x31, 0x12, 0x23, 0x20}},
    };
    static const uint8_t registers[8] = {0, 2, 4, 6, 7, 8, 9, 0x32};

    for (unsigned i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
        struct rig rig;

        open_at(&rig, turns[i].before);
        cr_assert_eq(cmos_read(&rig, 0), 0x59);
        rig_advance(&rig, RIG_HZ);
        for (unsigned j = 0; j < 8; j++)
            cr_assert_eq(cmos_read(&rig, registers[j]), turns[i].after[j],
                         "turn %u register %x: %x", i, registers[j], cmos_read(&rig, registers[j]));
        rig_close(&rig);
    }
}

/* Data sheet, "Time, Calendar and Alarm Data Modes": hour values in the four formats. */
Test(cmos, hour_formats)
{
    static const struct {
        unsigned hour;
        uint8_t bcd24, bcd12, bin24, bin12;
    } hours[] = {
        {0, 0x00, 0x12, 0, 12},    {1, 0x01, 0x01, 1, 1},     {11, 0x11, 0x11, 11, 11},
        {12, 0x12, 0x92, 12, 140}, {13, 0x13, 0x81, 13, 129}, {23, 0x23, 0x91, 23, 139},
    };

    for (unsigned i = 0; i < sizeof(hours) / sizeof(hours[0]); i++) {
        struct rig rig;
        const uint8_t expected[4] = {hours[i].bcd12, hours[i].bcd24, hours[i].bin12,
                                     hours[i].bin24};

        open_at(&rig, hours[i].hour * 3600);
        for (unsigned format = 0; format < 4; format++) {
            cmos_write(&rig, 0x0b, (uint8_t)(format << 1));
            cr_assert_eq(cmos_read(&rig, 4), expected[format], "hour %u format %u", hours[i].hour,
                         format);
            cmos_write(&rig, 4, 0x05);
            cmos_write(&rig, 4, expected[format]);
            cr_assert_eq(cmos_read(&rig, 4), expected[format], "and back");
        }
        rig_close(&rig);
    }
}

/* Setting the clock as an operating system does: SET, fields in any order, SET off. */
Test(cmos, setting_the_time)
{
    struct rig rig;

    open_at(&rig, 1677542399); /* 2023-02-27 23:59:59: day 31 must survive the old month */
    cmos_write(&rig, 0x0b, 0x82);
    rig_advance(&rig, 5 * RIG_HZ);
    cr_assert_eq(cmos_read(&rig, 0), 0x59, "updates are stopped");
    cmos_write(&rig, 7, 0x31);
    cmos_write(&rig, 8, 0x12);
    cmos_write(&rig, 9, 0x99);
    cmos_write(&rig, 0x32, 0x20);
    cmos_write(&rig, 4, 0x23);
    cmos_write(&rig, 2, 0x59);
    cmos_write(&rig, 0, 0x58);
    cmos_write(&rig, 6, 0x03);
    cr_assert_eq(cmos_read(&rig, 7), 0x31);
    cmos_write(&rig, 0x0b, 0x02);
    rig_advance(&rig, 2 * RIG_HZ);
    cr_assert_eq(cmos_read(&rig, 0x32), 0x21);
    cr_assert_eq(cmos_read(&rig, 9), 0x00);
    cr_assert_eq(cmos_read(&rig, 8), 0x01);
    cr_assert_eq(cmos_read(&rig, 7), 0x01);
    cr_assert_eq(cmos_read(&rig, 6), 0x04, "the weekday counts on from what it was set to");
    rig_close(&rig);
}

/* Data sheet, register A: the first update comes half a second after the divider is released. */
Test(cmos, divider_reset)
{
    struct rig rig;

    open_at(&rig, 30);
    rig_advance(&rig, RIG_HZ / 4);
    cmos_write(&rig, 0x0a, 0x76);
    rig_advance(&rig, 10 * RIG_HZ);
    cr_assert_eq(cmos_read(&rig, 0), 0x30);
    cmos_write(&rig, 0x0a, 0x26);
    rig_advance(&rig, RIG_HZ / 2 - 1000000);
    cr_assert_eq(cmos_read(&rig, 0), 0x30);
    rig_advance(&rig, 2000000);
    cr_assert_eq(cmos_read(&rig, 0), 0x31);
    rig_close(&rig);
}

/* UIP rises 244 us before the update; a program that sees it low has that long to read. */
Test(cmos, update_in_progress)
{
    struct rig rig;

    open_at(&rig, 0);
    rig_advance(&rig, RIG_HZ - 300000);
    cr_assert_eq(cmos_read(&rig, 0x0a), 0x26);
    rig_advance(&rig, 100000);
    cr_assert_eq(cmos_read(&rig, 0x0a), 0xa6);
    cr_assert_eq(cmos_read(&rig, 0), 0x00);
    rig_advance(&rig, 200000);
    cr_assert_eq(cmos_read(&rig, 0x0a), 0x26);
    cr_assert_eq(cmos_read(&rig, 0), 0x01);
    cmos_write(&rig, 0x0b, 0x82);
    rig_advance(&rig, RIG_HZ - 100000);
    cr_assert_eq(cmos_read(&rig, 0x0a), 0x26, "SET stops updates");
    rig_close(&rig);
}

/* Counts interrupts of IRQ 8 in a span; each is answered as a driver would. */
static unsigned count_interrupts(struct rig *rig, uint64_t cycles, uint8_t *flags)
{
    uint64_t end = rig->now + cycles;
    unsigned count = 0;

    while (rig->now < end) {
        uint64_t next = platform_next_deadline(rig->platform);
        rig_advance_to(rig, next < end ? next : end);
        while (platform_interrupt_pending(rig->platform, 0)) {
            cr_assert_eq(platform_interrupt_acknowledge(rig->platform, 0), 0x70);
            *flags = cmos_read(rig, 0x0c);
            out8(rig, 0xa0, 0x20);
            out8(rig, 0x20, 0x20);
            count++;
        }
    }
    return count;
}

static void open_interrupts(struct rig *rig, int64_t epoch)
{
    open_at(rig, epoch);
    out8(rig, 0x21, 0xfb);
    out8(rig, 0xa1, 0xfe);
}

/* Data sheet, "Periodic Interrupt Rate": hertz for register A's rate at 32.768 kHz. */
Test(cmos, periodic_interrupt_rates)
{
    static const unsigned hertz[16] = {0,   256, 128, 8192, 4096, 2048, 1024, 512,
                                       256, 128, 64,  32,   16,   8,    4,    2};

    for (unsigned rate = 0; rate < 16; rate++) {
        struct rig rig;
        uint8_t flags = 0;

        open_interrupts(&rig, 0);
        cmos_write(&rig, 0x0a, (uint8_t)(0x20 | rate));
        cmos_write(&rig, 0x0b, 0x42);
        cr_assert_eq(count_interrupts(&rig, RIG_HZ, &flags), hertz[rate], "rate %u", rate);
        if (rate)
            cr_assert_eq(flags & 0xc0, 0xc0);
        rig_close(&rig);
    }
}

Test(cmos, update_interrupt_every_second)
{
    struct rig rig;
    uint8_t flags;

    open_interrupts(&rig, 0);
    cmos_write(&rig, 0x0b, 0x12);
    cr_assert_eq(count_interrupts(&rig, 10 * RIG_HZ, &flags), 10);
    cr_assert_eq(flags & 0x90, 0x90);
    rig_close(&rig);
}

Test(cmos, alarm)
{
    static const struct {
        uint8_t hour, minute, second;
        unsigned in_two_days;
    } alarms[] = {
        {0x12, 0x30, 0x15, 2}, {0xff, 0x30, 0x15, 48},  {0xff, 0xc0, 0x15, 48 * 60},
        {0x99, 0x30, 0x15, 0}, {0x00, 0xff, 0x00, 120}, {0x23, 0x59, 0xc1, 120},
    };

    for (unsigned i = 0; i < sizeof(alarms) / sizeof(alarms[0]); i++) {
        struct rig rig;
        uint8_t flags = 0;

        open_interrupts(&rig, 12345);
        cmos_write(&rig, 5, alarms[i].hour);
        cmos_write(&rig, 3, alarms[i].minute);
        cmos_write(&rig, 1, alarms[i].second);
        cmos_write(&rig, 0x0b, 0x22);
        cr_assert_eq(count_interrupts(&rig, 2 * 86400 * RIG_HZ, &flags), alarms[i].in_two_days,
                     "alarm %u", i);
        if (alarms[i].in_two_days)
            cr_assert_eq(flags & 0xa0, 0xa0);
        rig_close(&rig);
    }
}

/* Flags rise without their interrupts being enabled, for programs that poll. */
Test(cmos, flags_without_interrupts)
{
    struct rig rig;

    open_interrupts(&rig, 0);
    cmos_write(&rig, 1, 0x01);
    cmos_write(&rig, 3, 0xff);
    cmos_write(&rig, 5, 0xff);
    cmos_read(&rig, 0x0c);
    rig_advance(&rig, RIG_HZ + 1000);
    cr_assert_eq(cmos_read(&rig, 0x0c), 0x70);
    cr_assert_eq(cmos_read(&rig, 0x0c), 0);
    cr_assert_not(platform_interrupt_pending(rig.platform, 0));
    rig_close(&rig);
}

Test(cmos, memory_sizes)
{
    static const struct {
        uint64_t ram;
        unsigned above_1m_kib, above_16m_64k, above_4g_64k;
    } sizes[] = {
        {1 << 20, 0, 0, 0},
        {32 << 20, 31 << 10, 256, 0},
        {512ull << 20, 0xffff, 7936, 0},
        {8ull << 30, 0xffff, 48896, 81920},
    };

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct platform_config config = rig_config(1);
        struct rig rig;

        config.ram_size = sizes[i].ram;
        rig_open_with(&rig, &config);
        cr_assert_eq(cmos_read(&rig, 0x15) | cmos_read(&rig, 0x16) << 8, 640);
        cr_assert_eq(cmos_read(&rig, 0x30) | cmos_read(&rig, 0x31) << 8, sizes[i].above_1m_kib);
        cr_assert_eq(cmos_read(&rig, 0x34) | cmos_read(&rig, 0x35) << 8, sizes[i].above_16m_64k);
        cr_assert_eq(cmos_read(&rig, 0x5b) | cmos_read(&rig, 0x5c) << 8 |
                         cmos_read(&rig, 0x5d) << 16,
                     sizes[i].above_4g_64k);
        cmos_write(&rig, 0x0f, 0x0a);
        cr_assert_eq(cmos_read(&rig, 0x0f), 0x0a, "the shutdown byte is plain memory");
        cr_assert_eq(cmos_read(&rig, 0x0d), 0x80);
        rig_close(&rig);
    }
}
