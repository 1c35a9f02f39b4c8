/* The I/O-port and MMIO buses: who claims what, and how an access is cut to a device's width. */
#include "models/bus.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define PORT_COUNT 0x10000u

static uint64_t all_ones(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << size * 8) - 1;
}

static bool range_contains(const struct bus_range *range, uint64_t address, unsigned size)
{
    uint64_t offset = address - range->start;

    return address >= range->start && offset < range->size && size <= range->size - offset;
}

static uint64_t range_read(const struct bus_range *range, uint64_t offset, unsigned size)
{
    const struct io_operations *operations = range->operations;
    unsigned part = size < operations->max_size ? size : operations->max_size;
    uint64_t value = 0;

    for (unsigned done = 0; done < size; done += part) {
        uint64_t bits = operations->read(range->device, offset + done, part) & all_ones(part);
        value |= bits << done * 8;
    }
    return value;
}

static void range_write(const struct bus_range *range, uint64_t offset, unsigned size,
                        uint64_t value)
{
    const struct io_operations *operations = range->operations;
    unsigned part = size < operations->max_size ? size : operations->max_size;

    for (unsigned done = 0; done < size; done += part)
        operations->write(range->device, offset + done, part, value >> done * 8 & all_ones(part));
}

void bus_init(struct bus *bus)
{
    memset(bus, 0, sizeof(*bus));
}

static struct bus_range range_make(const char *name, uint64_t start, uint64_t size,
                                   const struct io_operations *operations, void *device)
{
    assert(operations->max_size && !(operations->max_size & (operations->max_size - 1)));
    return (struct bus_range){name, start, size, operations, device};
}

int bus_claim_ports(struct bus *bus, const char *name, uint16_t first, unsigned count,
                    const struct io_operations *operations, void *device)
{
    assert(count && count <= PORT_COUNT - first);
    for (unsigned port = first; port < first + count; port++) {
        if (bus->port_index[port])
            return -EBUSY;
    }
    if (bus->port_count == BUS_RANGES_MAX)
        return -ENOSPC;
    bus->port[bus->port_count++] = range_make(name, first, count, operations, device);
    memset(bus->port_index + first, (int)bus->port_count, count);
    return 0;
}

int bus_claim_mmio(struct bus *bus, const char *name, uint64_t start, uint64_t size,
                   const struct io_operations *operations, void *device)
{
    assert(size && size - 1 <= UINT64_MAX - start);
    for (unsigned i = 0; i < bus->mmio_count; i++) {
        const struct bus_range *other = &bus->mmio[i];
        if (start - 1 + size >= other->start && start <= other->start - 1 + other->size)
            return -EBUSY;
    }
    if (bus->mmio_count == BUS_RANGES_MAX)
        return -ENOSPC;
    bus->mmio[bus->mmio_count++] = range_make(name, start, size, operations, device);
    return 0;
}

static unsigned ranges_drop(struct bus_range *range, unsigned count, const void *device)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < count; i++) {
        if (range[i].device != device)
            range[kept++] = range[i];
    }
    return kept;
}

void bus_release(struct bus *bus, void *device)
{
    bus->mmio_count = ranges_drop(bus->mmio, bus->mmio_count, device);
    bus->port_count = ranges_drop(bus->port, bus->port_count, device);

    memset(bus->port_index, 0, sizeof(bus->port_index));
    for (unsigned i = 0; i < bus->port_count; i++)
        memset(bus->port_index + bus->port[i].start, (int)i + 1, bus->port[i].size);
}

static const struct bus_range *find_port(const struct bus *bus, uint16_t port)
{
    unsigned index = bus->port_index[port];

    return index ? &bus->port[index - 1] : NULL;
}

uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned size)
{
    const struct bus_range *range = find_port(bus, port);
    uint32_t value = 0;

    if (range && range_contains(range, port, size))
        return (uint32_t)range_read(range, port - range->start, size);
    if (size == 1)
        return 0xff;
    for (unsigned i = 0; i < size; i++)
        value |= bus_port_read(bus, (uint16_t)(port + i), 1) << i * 8;
    return value;
}

void bus_port_write(struct bus *bus, uint16_t port, unsigned size, uint32_t value)
{
    const struct bus_range *range = find_port(bus, port);

    if (range && range_contains(range, port, size)) {
        range_write(range, port - range->start, size, value);
        return;
    }
    for (unsigned i = 0; size > 1 && i < size; i++)
        bus_port_write(bus, (uint16_t)(port + i), 1, value >> i * 8 & 0xff);
}

const struct bus_range *bus_find_mmio(const struct bus *bus, uint64_t gpa)
{
    for (unsigned i = 0; i < bus->mmio_count; i++) {
        if (range_contains(&bus->mmio[i], gpa, 1))
            return &bus->mmio[i];
    }
    return NULL;
}

uint64_t bus_mmio_read(struct bus *bus, uint64_t gpa, unsigned size)
{
    const struct bus_range *range = bus_find_mmio(bus, gpa);
    uint64_t value = 0;

    if (range && range_contains(range, gpa, size))
        return range_read(range, gpa - range->start, size);
    if (size == 1)
        return 0xff;
    for (unsigned i = 0; i < size; i++)
        value |= bus_mmio_read(bus, gpa + i, 1) << i * 8;
    return value;
}

void bus_mmio_write(struct bus *bus, uint64_t gpa, unsigned size, uint64_t value)
{
    const struct bus_range *range = bus_find_mmio(bus, gpa);

    if (range && range_contains(range, gpa, size)) {
        range_write(range, gpa - range->start, size, value);
        return;
    }
    for (unsigned i = 0; size > 1 && i < size; i++)
        bus_mmio_write(bus, gpa + i, 1, value >> i * 8 & 0xff);
}
