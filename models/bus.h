/*
 * The buses of the platform: devices claim ranges of I/O ports and of guest-physical addresses.
 *
 * A device is one file. It registers its ranges here, its deadlines with the clock
 * (models/clock.h), and its interrupt with a line (models/irq.h). Unclaimed ports and addresses
 * read as all-ones; writes to them are dropped.
 */
#ifndef VTXSIM_MODELS_BUS_H
#define VTXSIM_MODELS_BUS_H

#include <stdbool.h>
#include <stdint.h>

/* size is 1, 2, 4 or (MMIO only) 8; offset counts from the start of the claimed range. An access
 * wider than the device's `max_size` arrives split into accesses of max_size, low first. One that
 * leaves the range is split into bytes, each of which goes to whoever claims it. */
struct io_operations {
    uint64_t (*read)(void *device, uint64_t offset, unsigned size);
    void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
    unsigned max_size;
};

struct bus_range {
    const char *name; /* of the device, for logs: "16550A" */
    uint64_t start, size;
    const struct io_operations *operations;
    void *device;
};

#define BUS_RANGES_MAX 64
struct bus {
    unsigned port_count, mmio_count;
    struct bus_range port[BUS_RANGES_MAX], mmio[BUS_RANGES_MAX];
    uint8_t port_index[0x10000]; /* 0: unclaimed, else index + 1 into port[] */
};

void bus_init(struct bus *bus);
/* Return 0, -EBUSY if the range overlaps another, -ENOSPC if the table is full. */
int bus_claim_ports(struct bus *bus, const char *name, uint16_t first, unsigned count,
                    const struct io_operations *operations, void *device);
int bus_claim_mmio(struct bus *bus, const char *name, uint64_t start, uint64_t size,
                   const struct io_operations *operations, void *device);
void bus_release(struct bus *bus, void *device); /* all ranges of a device */

uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned size);
void bus_port_write(struct bus *bus, uint16_t port, unsigned size, uint32_t value);
/* The range that claims gpa, or NULL. */
const struct bus_range *bus_find_mmio(const struct bus *bus, uint64_t gpa);
uint64_t bus_mmio_read(struct bus *bus, uint64_t gpa, unsigned size);
void bus_mmio_write(struct bus *bus, uint64_t gpa, unsigned size, uint64_t value);

#endif
