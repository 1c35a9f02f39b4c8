/*
 * PCI configuration mechanism #1 (ports 0xcf8-0xcff) with one device, the host bridge at 0:0.0,
 * and the reset control register, a byte at 0xcf9 in the midst of the address register.
 */
#ifndef VTXSIM_MODELS_PCI_HOST_H
#define VTXSIM_MODELS_PCI_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "models/bus.h"

#define PCI_HOST_PORT          0xcf8
#define PCI_HOST_PORT_COUNT    8
#define PCI_RESET_CONTROL_PORT 0xcf9
#define PCI_RESET_CPU          0x04 /* the rising edge resets */
#define PCI_RESET_SYSTEM       0x02 /* everything, not the processor alone */
#define PCI_FUNCTION_SIZE      256

struct pci_host_state {
    uint32_t address;
    uint8_t reset_control;
    uint8_t bridge[PCI_FUNCTION_SIZE];
};

struct pci_host {
    void (*reset)(void *owner);
    void *owner;
    struct pci_host_state state;
};

int pci_host_init(struct pci_host *host, struct bus *bus, void (*reset)(void *owner), void *owner);
void pci_host_reset(struct pci_host *host);

#endif
