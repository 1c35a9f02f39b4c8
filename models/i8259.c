/* The 8259A pair; words and behaviour are those of the data sheet (ICWs, OCWs, priority). */
#include "models/i8259.h"

#include "models/irq.h"

#define CASCADE_INPUT  2
#define SPURIOUS_INPUT 7
#define NO_REQUEST     (-1)

#define ICW1_SELECT               0x10
#define ICW1_WANTS_ICW4           0x01
#define ICW1_SINGLE               0x02
#define ICW4_AUTO_EOI             0x02
#define ICW4_SPECIAL_FULLY_NESTED 0x10
#define OCW3_SELECT               0x08
#define OCW3_READ_MASK            0x03
#define OCW3_READ_IRR             0x02
#define OCW3_READ_ISR             0x03
#define OCW3_POLL                 0x04
#define OCW3_SPECIAL_MASK_ENABLE  0x40
#define OCW3_SPECIAL_MASK         0x20
#define POLL_REQUEST              0x80

/* Inputs that stay edge-triggered: timer, keyboard, cascade; CMOS clock, coprocessor error. */
static const uint8_t level_mode_writable[2] = {0xf8, 0xde};
static const uint8_t firmware_vector_base[2] = {0x08, 0x70};
static const uint8_t firmware_mask[2] = {0xfa, 0xff};
static const uint8_t firmware_level_mode[2] = {0, 1 << (ISA_IRQ_SCI - 8)};

/* 0 is the highest priority. */
static unsigned rank(const struct i8259_chip *chip, unsigned input)
{
    return (input - chip->lowest - 1) & 7;
}

/* The input of highest priority among the bits of `set`, or NO_REQUEST. */
static int highest(const struct i8259_chip *chip, uint8_t set)
{
    for (unsigned i = 1; i <= 8; i++) {
        unsigned input = (chip->lowest + i) & 7;
        if (set >> input & 1)
            return (int)input;
    }
    return NO_REQUEST;
}

static uint8_t requests(const struct i8259_chip *chip)
{
    return (chip->input & chip->level_mode) | (chip->edge_latch & ~chip->level_mode);
}

/* The request that the chip raises INT for: unmasked, and above everything in service. */
static int winner(const struct i8259_chip *chip)
{
    int request = highest(chip, requests(chip) & (uint8_t)~chip->mask);
    uint8_t blocking = chip->in_service;
    int serving;

    if (request == NO_REQUEST || chip->next_icw)
        return NO_REQUEST;
    if (chip->special_mask)
        blocking &= ~chip->mask;
    /* A slave in service is not locked out: it has a request above the one it serves. */
    if (chip->special_fully_nested && chip->master && request == CASCADE_INPUT)
        blocking &= ~(1 << CASCADE_INPUT);
    serving = highest(chip, blocking);
    if (serving != NO_REQUEST && rank(chip, (unsigned)request) >= rank(chip, (unsigned)serving))
        return NO_REQUEST;
    return request;
}

static void chip_set_input(struct i8259_chip *chip, unsigned input, bool level)
{
    uint8_t bit = (uint8_t)(1 << input);

    if (level && !(chip->input & bit))
        chip->edge_latch |= bit;
    if (!level)
        chip->edge_latch &= ~bit;
    chip->input = level ? chip->input | bit : chip->input & ~bit;
}

/* Recomputes both INT pins after any change. */
static void update(struct i8259 *pic)
{
    struct i8259_state *state = &pic->state;
    bool output;

    chip_set_input(&state->chip[0], CASCADE_INPUT, winner(&state->chip[1]) != NO_REQUEST);
    output = winner(&state->chip[0]) != NO_REQUEST;
    if (output == state->output)
        return;
    state->output = output;
    pic->output_changed(pic->owner, output);
}

/* One chip's part of INTA: the input, or NO_REQUEST when the request has vanished. */
static int chip_acknowledge(struct i8259_chip *chip)
{
    int input = winner(chip);

    if (input == NO_REQUEST)
        return NO_REQUEST;
    chip->edge_latch &= ~(1 << input);
    if (!chip->auto_eoi)
        chip->in_service |= 1 << input;
    else if (chip->rotate_on_auto_eoi)
        chip->lowest = (uint8_t)input;
    return input;
}

static uint8_t chip_vector(const struct i8259_chip *chip, int input)
{
    return chip->vector_base | (uint8_t)(input == NO_REQUEST ? SPURIOUS_INPUT : input);
}

uint8_t i8259_acknowledge(struct i8259 *pic)
{
    struct i8259_chip *master = &pic->state.chip[0], *slave = &pic->state.chip[1];
    int input = chip_acknowledge(master);
    uint8_t vector = chip_vector(master, input);

    if (input == CASCADE_INPUT && !master->single) {
        vector = chip_vector(slave, chip_acknowledge(slave));
        /* The slave's INT falls with INTA even if it has another request. */
        chip_set_input(master, CASCADE_INPUT, false);
    }
    update(pic);
    return vector;
}

static void write_icw1(struct i8259_chip *chip, uint8_t value)
{
    chip->edge_latch = 0;
    chip->mask = 0;
    chip->in_service = 0;
    chip->lowest = 7;
    chip->special_mask = false;
    chip->special_fully_nested = false;
    chip->auto_eoi = false;
    chip->rotate_on_auto_eoi = false;
    chip->read_in_service = false;
    chip->poll = false;
    chip->wants_icw4 = value & ICW1_WANTS_ICW4;
    chip->single = value & ICW1_SINGLE;
    chip->next_icw = 2;
}

static void write_next_icw(struct i8259_chip *chip, uint8_t value)
{
    uint8_t after = 0;

    switch (chip->next_icw) {
    case 2:
        chip->vector_base = value & 0xf8;
        after = !chip->single ? 3 : chip->wants_icw4 ? 4 : 0;
        break;
    case 3: /* the cascade's wiring is fixed on a PC */
        after = chip->wants_icw4 ? 4 : 0;
        break;
    case 4:
        chip->auto_eoi = value & ICW4_AUTO_EOI;
        chip->special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED;
        break;
    }
    chip->next_icw = after;
}

static void end_of_interrupt(struct i8259_chip *chip, int input, bool rotate)
{
    if (input == NO_REQUEST)
        return;
    chip->in_service &= ~(1 << input);
    if (rotate)
        chip->lowest = (uint8_t)input;
}

static void write_ocw2(struct i8259_chip *chip, uint8_t value)
{
    uint8_t unspecific = chip->special_mask ? chip->in_service & ~chip->mask : chip->in_service;
    int input = value & 7;

    switch (value >> 5) {
    case 0:
        chip->rotate_on_auto_eoi = false;
        break;
    case 1:
        end_of_interrupt(chip, highest(chip, unspecific), false);
        break;
    case 3:
        end_of_interrupt(chip, input, false);
        break;
    case 4:
        chip->rotate_on_auto_eoi = true;
        break;
    case 5:
        end_of_interrupt(chip, highest(chip, unspecific), true);
        break;
    case 6:
        chip->lowest = (uint8_t)input;
        break;
    case 7:
        end_of_interrupt(chip, input, true);
        break;
    }
}

static void write_ocw3(struct i8259_chip *chip, uint8_t value)
{
    if ((value & OCW3_READ_MASK) == OCW3_READ_IRR)
        chip->read_in_service = false;
    else if ((value & OCW3_READ_MASK) == OCW3_READ_ISR)
        chip->read_in_service = true;
    if (value & OCW3_SPECIAL_MASK_ENABLE)
        chip->special_mask = value & OCW3_SPECIAL_MASK;
    chip->poll = value & OCW3_POLL;
}

static void chip_write(struct i8259_chip *chip, uint64_t offset, uint8_t value)
{
    if (offset == 1 && chip->next_icw)
        write_next_icw(chip, value);
    else if (offset == 1)
        chip->mask = value;
    else if (value & ICW1_SELECT)
        write_icw1(chip, value);
    else if (value & OCW3_SELECT)
        write_ocw3(chip, value);
    else
        write_ocw2(chip, value);
}

static uint8_t chip_poll(struct i8259_chip *chip)
{
    int input = chip_acknowledge(chip);

    chip->poll = false;
    return input == NO_REQUEST ? 0 : (uint8_t)(POLL_REQUEST | input);
}

static uint8_t chip_read(struct i8259_chip *chip, uint64_t offset)
{
    if (chip->poll)
        return chip_poll(chip);
    if (offset == 1)
        return chip->mask;
    return chip->read_in_service ? chip->in_service : requests(chip);
}

static uint64_t read_port(struct i8259 *pic, unsigned chip, uint64_t offset)
{
    uint8_t value = chip_read(&pic->state.chip[chip], offset);

    update(pic);
    return value;
}

static void write_port(struct i8259 *pic, unsigned chip, uint64_t offset, uint64_t value)
{
    chip_write(&pic->state.chip[chip], offset, (uint8_t)value);
    update(pic);
}

static uint64_t master_read(void *device, uint64_t offset, unsigned size)
{
    return read_port(device, 0, offset);
}

static void master_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_port(device, 0, offset, value);
}

static uint64_t slave_read(void *device, uint64_t offset, unsigned size)
{
    return read_port(device, 1, offset);
}

static void slave_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_port(device, 1, offset, value);
}

static uint64_t elcr_read(void *device, uint64_t offset, unsigned size)
{
    struct i8259 *pic = device;

    return pic->state.chip[offset].level_mode;
}

static void elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8259 *pic = device;

    pic->state.chip[offset].level_mode = (uint8_t)value & level_mode_writable[offset];
    update(pic);
}

static const struct io_operations master_operations = {master_read, master_write, 1};
static const struct io_operations slave_operations = {slave_read, slave_write, 1};
static const struct io_operations elcr_operations = {elcr_read, elcr_write, 1};

void i8259_reset(struct i8259 *pic)
{
    for (unsigned i = 0; i < 2; i++) {
        struct i8259_chip *chip = &pic->state.chip[i];
        *chip = (struct i8259_chip){
            .input = chip->input,
            .master = i == 0,
            .lowest = 7,
            .vector_base = firmware_vector_base[i],
            .mask = firmware_mask[i],
            .level_mode = firmware_level_mode[i],
        };
    }
    update(pic);
}

void i8259_set_input(struct i8259 *pic, unsigned input, bool level)
{
    chip_set_input(&pic->state.chip[input / 8], input % 8, level);
    update(pic);
}

int i8259_init(struct i8259 *pic, struct bus *bus, void (*output_changed)(void *, bool),
               void *owner)
{
    int error;

    *pic = (struct i8259){.output_changed = output_changed, .owner = owner};
    i8259_reset(pic);
    error = bus_claim_ports(bus, "8259A master", 0x20, 2, &master_operations, pic);
    if (!error)
        error = bus_claim_ports(bus, "8259A slave", 0xa0, 2, &slave_operations, pic);
    if (!error)
        error = bus_claim_ports(bus, "8259A ELCR", 0x4d0, 2, &elcr_operations, pic);
    return error;
}
