/* kvm-unit-tests' test device. */
#include "models/test_device.h"

#include <string.h>

#define LATCH_PORT 0xe0
#define LATCH_SIZE 4
#define FLUSH_PORT 0xe4
#define FLUSH_SIZE 4
#define IRQ_PORT   0x2000

/* Little-endian access of any width to an array of bytes. */
static uint64_t load(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << i * 8;
    return value;
}

static void store(uint8_t *bytes, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> i * 8);
}

static uint64_t latch_read(void *opaque, uint64_t offset, unsigned size)
{
    struct test_device *device = opaque;

    return load(device->state.latch + offset, size);
}

static void latch_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct test_device *device = opaque;

    store(device->state.latch + offset, size, value);
}

static uint64_t memory_read(void *opaque, uint64_t offset, unsigned size)
{
    struct test_device *device = opaque;

    return load(device->state.memory + offset, size);
}

static void memory_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct test_device *device = opaque;

    store(device->state.memory + offset, size, value);
}

static uint64_t irq_read(void *opaque, uint64_t offset, unsigned size)
{
    struct test_device *device = opaque;

    return device->irq[offset].level;
}

static void irq_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct test_device *device = opaque;

    /* Tests write bytes and doublewords; the line is that of the first port either way. */
    irq_set(&device->irq[offset], value != 0);
}

/* No translation of a page is kept here that a guest would have to have flushed. */
static uint64_t flush_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void flush_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
}

static const struct io_operations latch_operations = {latch_read, latch_write, 4};
static const struct io_operations flush_operations = {flush_read, flush_write, 4};
static const struct io_operations irq_operations = {irq_read, irq_write, 4};
static const struct io_operations memory_operations = {memory_read, memory_write, 8};

void test_device_reset(struct test_device *device)
{
    memset(&device->state, 0, sizeof(device->state));
    for (unsigned line = 0; line < IRQ_LINES; line++)
        irq_set(&device->irq[line], false);
}

int test_device_init(struct test_device *device, struct bus *bus, struct irq_lines *lines)
{
    int error;

    memset(device, 0, sizeof(*device));
    for (unsigned line = 0; line < IRQ_LINES; line++)
        irq_connect(&device->irq[line], lines, line);
    error = bus_claim_ports(bus, "test latch", LATCH_PORT, LATCH_SIZE, &latch_operations, device);
    if (!error)
        error =
            bus_claim_ports(bus, "test flush", FLUSH_PORT, FLUSH_SIZE, &flush_operations, device);
    if (!error)
        error =
            bus_claim_ports(bus, "test interrupts", IRQ_PORT, IRQ_LINES, &irq_operations, device);
    if (!error)
        error = bus_claim_mmio(bus, "test memory", TEST_DEVICE_MEMORY_BASE, TEST_DEVICE_MEMORY_SIZE,
                               &memory_operations, device);
    return error;
}
