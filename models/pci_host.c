/* PCI configuration space of a machine with nothing but a host bridge. */
#include "models/pci_host.h"

#include <string.h>

#define ADDRESS_ENABLE   0x80000000u
#define ADDRESS_WRITABLE 0x80fffffcu
#define ADDRESS_FUNCTION 0x00ffff00u /* bus, device and function */
#define DATA_OFFSET      4           /* of 0xcfc from 0xcf8 */
#define RESET_OFFSET     1

#define RESET_WRITABLE (PCI_RESET_CPU | PCI_RESET_SYSTEM)

/* Offsets in the configuration header. */
#define PCI_VENDOR         0x00
#define PCI_DEVICE         0x02
#define PCI_COMMAND        0x04
#define PCI_REVISION       0x08
#define PCI_CLASS          0x0b
#define PCI_INTERRUPT_LINE 0x3c

#define VENDOR_INTEL   0x8086
#define DEVICE_440FX   0x1237
#define REVISION_440FX 2
#define CLASS_BRIDGE   0x06 /* subclass 0: host */
#define COMMAND_FIXED  0x06 /* memory space, bus master */

static uint32_t ones(unsigned size)
{
    return size == 4 ? UINT32_MAX : (1u << size * 8) - 1;
}

static uint32_t read_data(const struct pci_host_state *state, unsigned byte, unsigned size)
{
    unsigned offset = (state->address & 0xfc) + byte;
    uint32_t value = 0;

    if (!(state->address & ADDRESS_ENABLE) || (state->address & ADDRESS_FUNCTION))
        return ones(size);
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)state->bridge[offset + i] << i * 8;
    return value;
}

/* Of the bridge's header only the interrupt line, a note of the firmware's, can be written. */
static void write_data(struct pci_host_state *state, unsigned byte, unsigned size, uint32_t value)
{
    unsigned offset = (state->address & 0xfc) + byte;

    if (!(state->address & ADDRESS_ENABLE) || (state->address & ADDRESS_FUNCTION))
        return;
    for (unsigned i = 0; i < size; i++) {
        if (offset + i == PCI_INTERRUPT_LINE)
            state->bridge[offset + i] = (uint8_t)(value >> i * 8);
    }
}

static void write_reset_control(struct pci_host *host, uint8_t value)
{
    bool rises = value & ~host->state.reset_control & PCI_RESET_CPU;

    host->state.reset_control = value & RESET_WRITABLE;
    if (rises)
        host->reset(host->owner);
}

/* An access that leaves its doubleword does not reach configuration space on a PC's bus; what
 * the processor splits arrives here as bytes. */
static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    struct pci_host *host = device;

    if (offset >= DATA_OFFSET)
        return read_data(&host->state, (unsigned)offset - DATA_OFFSET, size);
    if (offset == 0 && size == 4)
        return host->state.address;
    if (offset == RESET_OFFSET && size == 1)
        return host->state.reset_control;
    return ones(size);
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_host *host = device;

    if (offset >= DATA_OFFSET)
        write_data(&host->state, (unsigned)offset - DATA_OFFSET, size, (uint32_t)value);
    else if (offset == 0 && size == 4)
        host->state.address = (uint32_t)value & ADDRESS_WRITABLE;
    else if (offset == RESET_OFFSET && size == 1)
        write_reset_control(host, (uint8_t)value);
}

static const struct io_operations operations = {port_read, port_write, 4};

void pci_host_reset(struct pci_host *host)
{
    uint8_t *bridge = host->state.bridge;

    memset(&host->state, 0, sizeof(host->state));
    bridge[PCI_VENDOR] = VENDOR_INTEL & 0xff;
    bridge[PCI_VENDOR + 1] = VENDOR_INTEL >> 8;
    bridge[PCI_DEVICE] = DEVICE_440FX & 0xff;
    bridge[PCI_DEVICE + 1] = DEVICE_440FX >> 8;
    bridge[PCI_COMMAND] = COMMAND_FIXED;
    bridge[PCI_REVISION] = REVISION_440FX;
    bridge[PCI_CLASS] = CLASS_BRIDGE;
}

int pci_host_init(struct pci_host *host, struct bus *bus, void (*reset)(void *owner), void *owner)
{
    *host = (struct pci_host){.reset = reset, .owner = owner};
    pci_host_reset(host);
    return bus_claim_ports(bus, "PCI host", PCI_HOST_PORT, PCI_HOST_PORT_COUNT, &operations, host);
}
