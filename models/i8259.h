/*
 * The pair of 8259A interrupt controllers of a PC, with the edge/level control registers.
 *
 * Ports 0x20-0x21 (master), 0xa0-0xa1 (slave on input 2), 0x4d0-0x4d1 (ELCR). Inputs are
 * numbered 0-15. As the data sheet has it, an edge-triggered request that goes low before it
 * was acknowledged is gone.
 */
#ifndef VTXSIM_MODELS_I8259_H
#define VTXSIM_MODELS_I8259_H

#include <stdbool.h>
#include <stdint.h>

#include "models/bus.h"

#define I8259_INPUTS 16

struct i8259_chip {
    uint8_t input;       /* levels of IR0-IR7 now */
    uint8_t edge_latch;  /* rising edges not yet acknowledged */
    uint8_t mask;        /* IMR */
    uint8_t in_service;  /* ISR */
    uint8_t level_mode;  /* ELCR: 1 = level-triggered */
    uint8_t vector_base; /* ICW2 bits 7-3 */
    uint8_t lowest;      /* the input of lowest priority */
    uint8_t next_icw;    /* 2, 3 or 4 while the chip is being initialized, else 0 */
    bool master;
    bool wants_icw4, single;
    bool auto_eoi, rotate_on_auto_eoi;
    bool special_mask, special_fully_nested;
    bool read_in_service; /* OCW3: port 0 reads ISR, not IRR */
    bool poll;            /* OCW3: the next read is an acknowledge */
};

struct i8259_state {
    struct i8259_chip chip[2]; /* master, slave */
    bool output;               /* the master's INT pin */
};

struct i8259 {
    void (*output_changed)(void *owner, bool level);
    void *owner;
    struct i8259_state state;
};

/* Puts the pair into the state in which PC firmware leaves it: vectors 08h and 70h, only the timer
 * and the cascade unmasked, ACPI's line 9 level-triggered. Claims the ports; 0 or what
 * bus_claim_ports says. */
int i8259_init(struct i8259 *pic, struct bus *bus, void (*output_changed)(void *, bool),
               void *owner);
/* Back to that state; the inputs keep their levels. */
void i8259_reset(struct i8259 *pic);
void i8259_set_input(struct i8259 *pic, unsigned input, bool level);
static inline bool i8259_output(const struct i8259 *pic)
{
    return pic->state.output;
}
/* The processor's INTA cycle: the vector; input 7 of the chip when no request is left. */
uint8_t i8259_acknowledge(struct i8259 *pic);

#endif
