/*
 * Ports for test programs and firmware: 0xf4 ends the run with a status, 0xe9 prints a byte, 0x80
 * shows a progress code (POST).
 */
#ifndef VTXSIM_MODELS_DEBUG_PORTS_H
#define VTXSIM_MODELS_DEBUG_PORTS_H

#include <stdint.h>

#include "models/bus.h"

struct debug_ports_state {
    uint8_t post_code;
};

struct debug_ports {
    void (*print)(void *owner, uint8_t byte);
    void (*exit)(void *owner, int status); /* status = value written << 1 | 1 */
    void *owner;
    struct debug_ports_state state;
};

int debug_ports_init(struct debug_ports *ports, struct bus *bus,
                     void (*print)(void *owner, uint8_t byte),
                     void (*exit)(void *owner, int status), void *owner);

#endif
