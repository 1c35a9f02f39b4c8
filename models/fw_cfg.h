/*
 * The firmware configuration device of virtual PCs (ports 0x510-0x511): an item is selected by
 * number and its bytes are read one by one. It carries what test programs ask for: the signature,
 * the number of processors and the size of memory.
 */
#ifndef VTXSIM_MODELS_FW_CFG_H
#define VTXSIM_MODELS_FW_CFG_H

#include <stdint.h>

#include "models/bus.h"

enum fw_cfg_item {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_INTERFACE = 0x01,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_CPUS = 0x05,
    FW_CFG_MAXIMUM_CPUS = 0x0f,
    FW_CFG_MAXIMUM_RAM = 0x11,
};

struct fw_cfg_state {
    uint16_t item;
    uint32_t offset;
};

struct fw_cfg {
    uint64_t ram_size;
    unsigned cpus;
    struct fw_cfg_state state;
};

int fw_cfg_init(struct fw_cfg *fw_cfg, struct bus *bus, uint64_t ram_size, unsigned cpus);

#endif
