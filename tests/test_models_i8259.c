/*
 * The 8259 pair against a second model, written from the data sheet as a list of priorities that
 * is rotated, instead of ranks that are computed.
 */
#include "models/i8259.h"
#include "test_models_rig.h"

/* One chip: order[0] is the input of highest priority. */
struct naive_chip {
    int order[8];
    bool line[8], edge_seen[8], masked[8], serving[8], level[8];
    bool smm, sfnm, aeoi, rotate_aeoi, read_isr, poll;
    unsigned base;
};

struct naive {
    struct naive_chip chip[2];
};

static void naive_reset_order(struct naive_chip *chip)
{
    for (int i = 0; i < 8; i++)
        chip->order[i] = i;
}

static void naive_make_lowest(struct naive_chip *chip, int input)
{
    while (chip->order[7] != input) {
        int first = chip->order[0];
        memmove(chip->order, chip->order + 1, 7 * sizeof(int));
        chip->order[7] = first;
    }
}

static bool naive_requests(const struct naive_chip *chip, int input)
{
    return chip->level[input] ? chip->line[input] : chip->edge_seen[input];
}

static int naive_winner(const struct naive *naive, int which)
{
    const struct naive_chip *chip = &naive->chip[which];

    for (int i = 0; i < 8; i++) {
        int input = chip->order[i];
        bool request = naive_requests(chip, input) && !chip->masked[input];
        bool slave_again = which == 0 && chip->sfnm && input == 2;
        if (request && (!chip->serving[input] || slave_again || (chip->smm && chip->masked[input])))
            return input;
        /* what is in service stops everything below it, unless special mask mode lifts that */
        if (chip->serving[input] && !(chip->smm && chip->masked[input]))
            return -1;
    }
    return -1;
}

static void naive_line(struct naive_chip *chip, int input, bool level)
{
    if (level && !chip->line[input])
        chip->edge_seen[input] = true;
    if (!level)
        chip->edge_seen[input] = false;
    chip->line[input] = level;
}

static bool naive_output(struct naive *naive)
{
    naive_line(&naive->chip[0], 2, naive_winner(naive, 1) >= 0);
    return naive_winner(naive, 0) >= 0;
}

static int naive_take(struct naive *naive, int which)
{
    struct naive_chip *chip = &naive->chip[which];
    int input = naive_winner(naive, which);

    if (input < 0)
        return -1;
    chip->edge_seen[input] = false;
    if (!chip->aeoi)
        chip->serving[input] = true;
    else if (chip->rotate_aeoi)
        naive_make_lowest(chip, input);
    return input;
}

static unsigned naive_acknowledge(struct naive *naive)
{
    int input = naive_take(naive, 0);

    if (input != 2)
        return naive->chip[0].base + (input < 0 ? 7 : (unsigned)input);
    input = naive_take(naive, 1);
    naive_line(&naive->chip[0], 2, false);
    return naive->chip[1].base + (input < 0 ? 7 : (unsigned)input);
}

static void naive_ocw2(struct naive_chip *chip, unsigned command, int input)
{
    bool rotate = command & 4, specific = command & 2, eoi = command & 1;
    int target = specific ? input : -1;

    if (!specific && !eoi) {
        chip->rotate_aeoi = rotate;
        return;
    }
    if (command == 2)
        return;
    for (int i = 0; i < 8 && eoi && !specific && target < 0; i++) {
        int candidate = chip->order[i];
        if (chip->serving[candidate] && !(chip->smm && chip->masked[candidate]))
            target = candidate;
    }
    if (target < 0)
        return;
    if (eoi)
        chip->serving[target] = false;
    if (rotate)
        naive_make_lowest(chip, target);
}

static uint8_t naive_bits(const bool *set)
{
    uint8_t bits = 0;

    for (int i = 0; i < 8; i++)
        bits |= (uint8_t)(set[i] << i);
    return bits;
}

static uint8_t naive_read(struct naive *naive, int which, int port)
{
    struct naive_chip *chip = &naive->chip[which];
    uint8_t bits = 0;
    int input;

    if (chip->poll) {
        chip->poll = false;
        input = naive_take(naive, which);
        return input < 0 ? 0 : (uint8_t)(0x80 | input);
    }
    if (port == 1)
        return naive_bits(chip->masked);
    if (chip->read_isr)
        return naive_bits(chip->serving);
    for (int i = 0; i < 8; i++)
        bits |= (uint8_t)(naive_requests(chip, i) << i);
    return bits;
}

/* The pair under test, its bus and its INT pin. */
static struct bus bus;
static struct i8259 pic;
static bool int_pin;

static void output_changed(void *owner, bool level)
{
    int_pin = level;
}

static const uint16_t base_port[2] = {0x20, 0xa0};

static void initialize(struct naive *naive, int which, unsigned base, unsigned icw4)
{
    struct naive_chip *chip = &naive->chip[which];
    bool line[8], level[8];

    bus_port_write(&bus, base_port[which], 1, 0x11);
    bus_port_write(&bus, base_port[which] + 1, 1, base);
    bus_port_write(&bus, base_port[which] + 1, 1, which ? 2 : 4);
    bus_port_write(&bus, base_port[which] + 1, 1, icw4);

    memcpy(line, chip->line, sizeof(line));
    memcpy(level, chip->level, sizeof(level));
    *chip = (struct naive_chip){.base = base, .aeoi = icw4 & 2, .sfnm = icw4 & 0x10};
    memcpy(chip->line, line, sizeof(line));
    memcpy(chip->level, level, sizeof(level));
    naive_reset_order(chip);
    if (which == 1) /* its INT is low while it is being initialized */
        naive_line(&naive->chip[0], 2, false);
    naive_output(naive);
}

static void set_up(struct naive *naive)
{
    memset(naive, 0, sizeof(*naive));
    bus_init(&bus);
    int_pin = false;
    cr_assert_eq(i8259_init(&pic, &bus, output_changed, NULL), 0);
    bus_port_write(&bus, 0x4d0, 1, 0);
    bus_port_write(&bus, 0x4d1, 1, 0);
    initialize(naive, 0, 0x20, 1);
    initialize(naive, 1, 0x28, 1);
}

static void random_command(struct naive *naive, uint64_t *seed)
{
    int which = (int)(rig_random(seed) % 2), other = (int)(rig_random(seed) % 8);
    struct naive_chip *chip = &naive->chip[which];
    uint8_t value = (uint8_t)rig_random(seed);

    switch (rig_random(seed) % 6) {
    case 0:
        value &= (uint8_t)rig_random(seed);
        bus_port_write(&bus, base_port[which] + 1, 1, value);
        for (int i = 0; i < 8; i++)
            chip->masked[i] = value >> i & 1;
        break;
    case 1:
    case 2:
        bus_port_write(&bus, base_port[which], 1, (value & 0xe0) | (uint8_t)other);
        naive_ocw2(chip, value >> 5, other);
        break;
    case 3:
        value = 0x08 | (value & 0x67);
        bus_port_write(&bus, base_port[which], 1, value);
        if (value & 0x40)
            chip->smm = value & 0x20;
        if ((value & 3) >= 2)
            chip->read_isr = value & 1;
        chip->poll = value & 4;
        break;
    case 4:
        value &= which ? 0xde : 0xf8;
        bus_port_write(&bus, 0x4d0 + which, 1, value);
        for (int i = 0; i < 8; i++)
            chip->level[i] = value >> i & 1;
        break;
    default:
        if (rig_random(seed) % 10 == 0)
            initialize(naive, which, which ? 0x70 : 0x08, (value & 0x12) | 1);
        break;
    }
}

Test(i8259, random_operations_match_the_naive_model)
{
    for (uint64_t run = 1; run <= 200; run++) {
        uint64_t seed = run * 0x9e3779b97f4a7c15ull;
        struct naive naive;

        set_up(&naive);
        for (unsigned step = 0; step < 1000; step++) {
            unsigned input = rig_random(&seed) % 16;
            bool output;

            switch (rig_random(&seed) % 4) {
            case 0:
                if (input != 2) {
                    bool level = rig_random(&seed) % 2;
                    i8259_set_input(&pic, input, level);
                    naive_line(&naive.chip[input / 8], (int)input % 8, level);
                }
                break;
            case 1: /* with nothing pending: the spurious vectors */
                cr_assert_eq(i8259_acknowledge(&pic), naive_acknowledge(&naive), "run %lu step %u",
                             run, step);
                break;
            case 2:
                random_command(&naive, &seed);
                break;
            default:
                cr_assert_eq(bus_port_read(&bus, base_port[input / 8] + input % 2, 1),
                             naive_read(&naive, (int)input / 8, (int)input % 2), "run %lu step %u",
                             run, step);
            }
            output = naive_output(&naive);
            cr_assert_eq(i8259_output(&pic), output, "run %lu step %u", run, step);
            cr_assert_eq(int_pin, output, "the pin is reported");
        }
    }
}

Test(i8259, fully_nested_priorities)
{
    struct naive naive;

    set_up(&naive);
    i8259_set_input(&pic, 5, true);
    i8259_set_input(&pic, 3, true);
    i8259_set_input(&pic, 8, true);
    cr_assert_eq(i8259_acknowledge(&pic), 0x28, "slave input 0, through master input 2");
    cr_assert_not(i8259_output(&pic), "3 and 5 are below 2");
    i8259_set_input(&pic, 1, true);
    cr_assert_eq(i8259_acknowledge(&pic), 0x21, "1 interrupts 2");
    bus_port_write(&bus, 0x20, 1, 0x20);
    cr_assert_not(i8259_output(&pic));
    bus_port_write(&bus, 0xa0, 1, 0x20);
    bus_port_write(&bus, 0x20, 1, 0x20);
    cr_assert_eq(i8259_acknowledge(&pic), 0x23);
    bus_port_write(&bus, 0x20, 1, 0x20);
    cr_assert_eq(i8259_acknowledge(&pic), 0x25);
}

/* Data sheet: a request that is gone by the time of INTA gives input 7. */
Test(i8259, spurious_interrupts)
{
    struct naive naive;

    set_up(&naive);
    i8259_set_input(&pic, 3, true);
    i8259_set_input(&pic, 3, false);
    cr_assert_not(i8259_output(&pic));
    cr_assert_eq(i8259_acknowledge(&pic), 0x27);
    bus_port_write(&bus, 0x20, 1, 0x0b);
    cr_assert_eq(bus_port_read(&bus, 0x20, 1), 0, "input 7 is not in service");
}

Test(i8259, edges_and_levels)
{
    struct naive naive;

    set_up(&naive);
    i8259_set_input(&pic, 5, true);
    cr_assert_eq(i8259_acknowledge(&pic), 0x25);
    bus_port_write(&bus, 0x20, 1, 0x20);
    cr_assert_not(i8259_output(&pic), "an edge counts once");
    bus_port_write(&bus, 0x4d0, 1, 0xff);
    cr_assert_eq(bus_port_read(&bus, 0x4d0, 1), 0xf8, "0, 1 and 2 stay edge-triggered");
    cr_assert(i8259_output(&pic), "a level asks again");
    i8259_set_input(&pic, 5, false);
    cr_assert_not(i8259_output(&pic));
    bus_port_write(&bus, 0x4d1, 1, 0xff);
    cr_assert_eq(bus_port_read(&bus, 0x4d1, 1), 0xde);
}

Test(i8259, firmware_leaves_the_timer_unmasked)
{
    bus_init(&bus);
    i8259_init(&pic, &bus, output_changed, NULL);
    i8259_set_input(&pic, 1, true);
    cr_assert_not(i8259_output(&pic));
    i8259_set_input(&pic, 0, true);
    cr_assert_eq(i8259_acknowledge(&pic), 0x08);
}
