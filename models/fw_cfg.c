/* fw_cfg: selected items, read bytewise; past its end an item reads zero. */
#include "models/fw_cfg.h"

#define SELECTOR_PORT 0x510
#define PORT_COUNT    2
#define DATA_OFFSET   1

static const char signature[4] = "QEMU";

/* An item's value as a little-endian integer. */
static uint64_t item_value(const struct fw_cfg *fw_cfg, uint16_t item)
{
    uint64_t value = 0;

    switch (item) {
    case FW_CFG_SIGNATURE:
        for (unsigned i = 0; i < sizeof(signature); i++)
            value |= (uint64_t)(uint8_t)signature[i] << i * 8;
        return value;
    case FW_CFG_INTERFACE: /* the traditional one, without DMA */
        return 1;
    case FW_CFG_RAM_SIZE:
    case FW_CFG_MAXIMUM_RAM:
        return fw_cfg->ram_size;
    case FW_CFG_CPUS:
    case FW_CFG_MAXIMUM_CPUS:
        return fw_cfg->cpus;
    default:
        return 0;
    }
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    struct fw_cfg *fw_cfg = device;
    uint32_t index;

    if (offset != DATA_OFFSET)
        return UINT64_MAX;
    index = fw_cfg->state.offset++;
    return index < 8 ? item_value(fw_cfg, fw_cfg->state.item) >> index * 8 & 0xff : 0;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *fw_cfg = device;

    if (offset == 0 && size == 2)
        fw_cfg->state = (struct fw_cfg_state){.item = (uint16_t)value};
}

static const struct io_operations operations = {port_read, port_write, 2};

int fw_cfg_init(struct fw_cfg *fw_cfg, struct bus *bus, uint64_t ram_size, unsigned cpus)
{
    *fw_cfg = (struct fw_cfg){.ram_size = ram_size, .cpus = cpus};
    return bus_claim_ports(bus, "fw_cfg", SELECTOR_PORT, PORT_COUNT, &operations, fw_cfg);
}
