/* The MC146818: calendar, formats, update cycle, the three interrupts, and the PC's CMOS bytes. */
#include "models/cmos.h"

#include <string.h>

#include "models/platform.h"

enum cmos_register {
    CMOS_SECOND = 0x00,
    CMOS_SECOND_ALARM = 0x01,
    CMOS_MINUTE = 0x02,
    CMOS_MINUTE_ALARM = 0x03,
    CMOS_HOUR = 0x04,
    CMOS_HOUR_ALARM = 0x05,
    CMOS_WEEKDAY = 0x06,
    CMOS_DAY = 0x07,
    CMOS_MONTH = 0x08,
    CMOS_YEAR = 0x09,
    CMOS_A = 0x0a,
    CMOS_B = 0x0b,
    CMOS_C = 0x0c,
    CMOS_D = 0x0d,
};

#define A_UPDATE_IN_PROGRESS 0x80
#define A_DIVIDER_RESET      0x60 /* both bits set: the divider chain is held */
#define A_RATE               0x0f
#define B_SET                0x80
#define B_24_HOURS           0x02
#define B_BINARY             0x04
#define C_REQUEST            0x80
#define FLAG_PERIODIC        0x40 /* the same bits enable the interrupts in register B */
#define FLAG_ALARM           0x20
#define FLAG_UPDATE          0x10
#define D_VALID              0x80
#define HOUR_PM              0x80
#define ALARM_ANY            0xc0

#define UPDATE_TICKS       8             /* UIP rises 244 us before the update */
#define FIRST_UPDATE_TICKS (CMOS_HZ / 2) /* from the release of the divider */
#define DAY_SECONDS        86400
#define NEVER              INT64_MAX

#define INDEX_MASK 0x7f /* bit 7 masks NMI; there is no source of it */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970-01-01 of a date; years are counted from March, so that the leap day is last. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year, m = (month + 9) % 12;

    return 365 * y + floor_div(y, 4) - floor_div(y, 100) + floor_div(y, 400) + (153 * m + 2) / 5 +
           day - 1 - 719468;
}

int64_t cmos_time_to_seconds(const struct cmos_time *time)
{
    return days_from_date(time->year, time->month, time->day) * DAY_SECONDS + time->hour * 3600 +
           time->minute * 60 + time->second;
}

struct cmos_time cmos_time_from_seconds(int64_t seconds)
{
    int64_t days = floor_div(seconds, DAY_SECONDS);
    unsigned rest = (unsigned)(seconds - days * DAY_SECONDS);
    struct cmos_time time = {.second = rest % 60, .minute = rest / 60 % 60, .hour = rest / 3600};
    int64_t year = 1970 + floor_div(days, 366);

    while (days_from_date(year + 1, 1, 1) <= days)
        year++;
    time.year = (unsigned)year;
    for (time.month = 1; time.month < 12; time.month++) {
        if (days_from_date(year, time.month + 1, 1) > days)
            break;
    }
    time.day = (unsigned)(days - days_from_date(year, time.month, 1)) + 1;
    time.weekday = (unsigned)(days + 4 - 7 * floor_div(days + 4, 7)) + 1;
    return time;
}

static int64_t current_tick(const struct cmos *cmos)
{
    return (int64_t)clock_to_ticks(cmos->clock, clock_now(cmos->clock), CMOS_HZ);
}

/* The second that began at or before `tick`. */
static int64_t seconds_at(const struct cmos_state *state, int64_t tick)
{
    return state->base_seconds + floor_div(tick - state->base_tick, CMOS_HZ);
}

static struct cmos_time time_at(const struct cmos_state *state, int64_t tick)
{
    struct cmos_time time;

    if (state->held)
        return state->fields;
    time = cmos_time_from_seconds(seconds_at(state, tick));
    time.weekday = (time.weekday - 1 + (unsigned)state->weekday_shift) % 7 + 1;
    return time;
}

static uint8_t encode(const struct cmos_state *state, unsigned value)
{
    if (state->memory[CMOS_B] & B_BINARY)
        return (uint8_t)value;
    return (uint8_t)(value / 10 << 4 | value % 10);
}

static unsigned decode(const struct cmos_state *state, uint8_t byte)
{
    return state->memory[CMOS_B] & B_BINARY ? byte : (byte >> 4) * 10u + (byte & 15);
}

static uint8_t encode_hour(const struct cmos_state *state, unsigned hour)
{
    if (state->memory[CMOS_B] & B_24_HOURS)
        return encode(state, hour);
    return encode(state, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct cmos_state *state, uint8_t byte)
{
    if (state->memory[CMOS_B] & B_24_HOURS)
        return decode(state, byte);
    return decode(state, byte & ~HOUR_PM) % 12 + (byte & HOUR_PM ? 12 : 0);
}

static bool alarm_matches(uint8_t alarm, uint8_t value)
{
    return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

/* The first second after `second` at which the alarm matches, within a day; NEVER. */
static int64_t next_alarm(const struct cmos_state *state, int64_t second)
{
    int64_t end = second + DAY_SECONDS;

    for (second++; second <= end;) {
        struct cmos_time time = cmos_time_from_seconds(second);
        if (!alarm_matches(state->memory[CMOS_HOUR_ALARM], encode_hour(state, time.hour)))
            second += 3600 - time.minute * 60 - time.second;
        else if (!alarm_matches(state->memory[CMOS_MINUTE_ALARM], encode(state, time.minute)))
            second += 60 - time.second;
        else if (!alarm_matches(state->memory[CMOS_SECOND_ALARM], encode(state, time.second)))
            second++;
        else
            return second;
    }
    return NEVER;
}

static void find_alarm(struct cmos_state *state)
{
    int64_t second = state->held ? NEVER : next_alarm(state, seconds_at(state, state->synced_tick));

    state->alarm_tick =
        second == NEVER ? NEVER : state->base_tick + (second - state->base_seconds) * CMOS_HZ;
}

/* Ticks between periodic interrupts, 0 for none. Rates 1 and 2 are those of 8 and 9. */
static int64_t periodic_ticks(const struct cmos_state *state)
{
    unsigned rate = state->memory[CMOS_A] & A_RATE;

    if (!rate || (state->memory[CMOS_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET)
        return 0;
    return 1ll << (rate <= 2 ? rate + 6 : rate - 1);
}

/* The first multiple of `period` (from the beginning of a second) after `tick`. */
static int64_t next_multiple(const struct cmos_state *state, int64_t tick, int64_t period)
{
    return state->base_tick + (floor_div(tick - state->base_tick, period) + 1) * period;
}

/* Sets the flags of everything that happened up to `tick`. */
static void sync_flags(struct cmos_state *state, int64_t tick)
{
    int64_t period = periodic_ticks(state);

    if (period && next_multiple(state, state->synced_tick, period) <= tick)
        state->flags |= FLAG_PERIODIC;
    if (!state->held && next_multiple(state, state->synced_tick, CMOS_HZ) <= tick)
        state->flags |= FLAG_UPDATE;
    if (state->alarm_tick <= tick)
        state->flags |= FLAG_ALARM;
    state->synced_tick = tick;
    if (state->alarm_tick <= tick)
        find_alarm(state);
}

static int64_t next_event(const struct cmos_state *state)
{
    uint8_t enabled = state->memory[CMOS_B];
    int64_t period = periodic_ticks(state), next = NEVER, update;

    if ((enabled & FLAG_PERIODIC) && period)
        next = next_multiple(state, state->synced_tick, period);
    update = next_multiple(state, state->synced_tick, CMOS_HZ);
    if ((enabled & FLAG_UPDATE) && !state->held && update < next)
        next = update;
    if ((enabled & FLAG_ALARM) && state->alarm_tick < next)
        next = state->alarm_tick;
    return next;
}

/* The interrupt line, and the timer for what may raise it. */
static void update_irq(struct cmos *cmos)
{
    struct cmos_state *state = &cmos->state;
    bool request = state->flags & state->memory[CMOS_B];
    int64_t next = request ? NEVER : next_event(state);

    irq_set(&cmos->irq, request);
    timer_arm(cmos->clock, &cmos->timer,
              next == NEVER ? CLOCK_NEVER : clock_from_ticks(cmos->clock, (uint64_t)next, CMOS_HZ));
}

static void expire(void *device)
{
    struct cmos *cmos = device;

    sync_flags(&cmos->state, current_tick(cmos));
    update_irq(cmos);
}

static void set_time(struct cmos_state *state, int64_t tick, const struct cmos_time *time)
{
    int64_t offset = tick - state->base_tick;

    state->base_tick += floor_div(offset, CMOS_HZ) * CMOS_HZ;
    state->base_seconds = cmos_time_to_seconds(time);
    state->weekday_shift =
        (int)(time->weekday + 7 - cmos_time_from_seconds(state->base_seconds).weekday) % 7;
}

/* SET and a reset divider stop the updates; when both are gone, time goes on from what the
 * registers say. */
static void write_control(struct cmos_state *state, int64_t tick, uint8_t a, uint8_t b)
{
    bool was_reset = (state->memory[CMOS_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
    bool reset = (a & A_DIVIDER_RESET) == A_DIVIDER_RESET;
    bool hold = reset || (b & B_SET);

    if (hold && !state->held)
        state->fields = time_at(state, tick);
    if (was_reset && !reset)
        state->base_tick = tick - FIRST_UPDATE_TICKS;
    if (!hold && state->held)
        set_time(state, tick, &state->fields);
    state->held = hold;
    state->memory[CMOS_A] = a & ~A_UPDATE_IN_PROGRESS;
    state->memory[CMOS_B] = b & B_SET ? b & ~FLAG_UPDATE : b; /* SET clears UIE */
}

static void write_field(const struct cmos_state *state, struct cmos_time *time, unsigned index,
                        uint8_t value)
{
    unsigned number = decode(state, value);

    switch (index) {
    case CMOS_SECOND:
        time->second = number % 60;
        break;
    case CMOS_MINUTE:
        time->minute = number % 60;
        break;
    case CMOS_HOUR:
        time->hour = decode_hour(state, value) % 24;
        break;
    case CMOS_WEEKDAY:
        time->weekday = (number + 6) % 7 + 1;
        break;
    case CMOS_DAY:
        time->day = number;
        break;
    case CMOS_MONTH:
        time->month = (number + 11) % 12 + 1;
        break;
    case CMOS_YEAR:
        time->year = time->year / 100 * 100 + number % 100;
        break;
    case CMOS_CENTURY:
        time->year = number * 100 + time->year % 100;
        break;
    }
}

static uint8_t read_field(const struct cmos_state *state, const struct cmos_time *time,
                          unsigned index)
{
    switch (index) {
    case CMOS_SECOND:
        return encode(state, time->second);
    case CMOS_MINUTE:
        return encode(state, time->minute);
    case CMOS_HOUR:
        return encode_hour(state, time->hour);
    case CMOS_WEEKDAY:
        return encode(state, time->weekday);
    case CMOS_DAY:
        return encode(state, time->day);
    case CMOS_MONTH:
        return encode(state, time->month);
    case CMOS_YEAR:
        return encode(state, time->year % 100);
    default:
        return encode(state, time->year / 100 % 100);
    }
}

static bool is_time_register(unsigned index)
{
    return index == CMOS_SECOND || index == CMOS_MINUTE || index == CMOS_HOUR ||
           (index >= CMOS_WEEKDAY && index <= CMOS_YEAR) || index == CMOS_CENTURY;
}

static bool update_in_progress(const struct cmos_state *state, int64_t tick)
{
    return !state->held && next_multiple(state, tick, CMOS_HZ) - tick <= UPDATE_TICKS;
}

static uint8_t read_register(struct cmos *cmos, int64_t tick)
{
    struct cmos_state *state = &cmos->state;
    struct cmos_time time;
    uint8_t value;

    if (is_time_register(state->index)) {
        time = time_at(state, tick);
        return read_field(state, &time, state->index);
    }
    switch (state->index) {
    case CMOS_A:
        return state->memory[CMOS_A] | (update_in_progress(state, tick) ? A_UPDATE_IN_PROGRESS : 0);
    case CMOS_C:
        value = state->flags | (state->flags & state->memory[CMOS_B] ? C_REQUEST : 0);
        state->flags = 0;
        return value;
    case CMOS_D:
        return D_VALID;
    }
    return state->memory[state->index];
}

static void write_register(struct cmos *cmos, int64_t tick, uint8_t value)
{
    struct cmos_state *state = &cmos->state;
    struct cmos_time time;

    if (is_time_register(state->index)) {
        time = time_at(state, tick);
        write_field(state, &time, state->index, value);
        if (state->held)
            state->fields = time;
        else
            set_time(state, tick, &time);
    } else if (state->index == CMOS_A) {
        write_control(state, tick, value, state->memory[CMOS_B]);
    } else if (state->index == CMOS_B) {
        write_control(state, tick, state->memory[CMOS_A], value);
    } else if (state->index != CMOS_C && state->index != CMOS_D) {
        state->memory[state->index] = value;
    }
    if (state->index <= CMOS_B || state->index == CMOS_CENTURY)
        find_alarm(state);
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    struct cmos *cmos = device;
    int64_t tick = current_tick(cmos);
    uint8_t value;

    if (offset == 0)
        return 0xff; /* the index is write-only */
    sync_flags(&cmos->state, tick);
    value = read_register(cmos, tick);
    update_irq(cmos);
    return value;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct cmos *cmos = device;
    int64_t tick = current_tick(cmos);

    if (offset == 0) {
        cmos->state.index = value & INDEX_MASK;
        return;
    }
    sync_flags(&cmos->state, tick);
    write_register(cmos, tick, (uint8_t)value);
    update_irq(cmos);
}

static const struct io_operations operations = {port_read, port_write, 1};

static uint64_t clamp(uint64_t value, uint64_t maximum)
{
    return value < maximum ? value : maximum;
}

static void store(struct cmos_state *state, unsigned index, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        state->memory[index + i] = (uint8_t)(value >> i * 8);
}

/* What PC firmware leaves for operating systems: equipment and memory sizes. */
static void fill_memory(struct cmos *cmos)
{
    struct cmos_state *state = &cmos->state;
    uint64_t low = clamp(cmos->ram_size, PLATFORM_LOW_RAM_END), high = cmos->ram_size - low;
    uint64_t above_1m = low > 0x100000 ? low - 0x100000 : 0;
    uint64_t above_16m = low > 0x1000000 ? low - 0x1000000 : 0;

    state->memory[CMOS_A] = 0x26; /* 32,768 Hz, periodic rate 1,024 Hz */
    state->memory[CMOS_B] = B_24_HOURS;
    state->memory[0x14] = 0x02; /* equipment: coprocessor */
    store(state, 0x15, 2, 640); /* KiB */
    store(state, 0x17, 2, clamp(above_1m >> 10, 0xffff));
    store(state, 0x30, 2, clamp(above_1m >> 10, 0xffff));
    store(state, 0x34, 2, clamp(above_16m >> 16, 0xffff)); /* 64 KiB units */
    store(state, 0x5b, 3, clamp(high >> 16, 0xffffff));
    store(state, 0x5f, 1, cmos->cpus - 1);
}

void cmos_reset(struct cmos *cmos)
{
    memset(&cmos->state, 0, sizeof(cmos->state));
    fill_memory(cmos);
    cmos->state.base_seconds = cmos->epoch;
    cmos->state.synced_tick = current_tick(cmos);
    find_alarm(&cmos->state);
    update_irq(cmos);
}

int cmos_init(struct cmos *cmos, struct bus *bus, struct irq_lines *lines)
{
    int error;

    irq_connect(&cmos->irq, lines, ISA_IRQ_RTC);
    error = clock_add_timer(cmos->clock, &cmos->timer, expire, cmos);
    if (error)
        return error;
    cmos_reset(cmos);
    return bus_claim_ports(bus, "MC146818", 0x70, 2, &operations, cmos);
}
