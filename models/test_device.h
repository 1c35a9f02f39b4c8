/*
 * The device that kvm-unit-tests drives on its virtual PC: a data latch, a port that asks for a
 * page flush, the interrupt lines, and 64 KiB of memory behind MMIO.
 */
#ifndef VTXSIM_MODELS_TEST_DEVICE_H
#define VTXSIM_MODELS_TEST_DEVICE_H

#include <stdint.h>

#include "models/bus.h"
#include "models/irq.h"

#define TEST_DEVICE_MEMORY_BASE 0xff000000u
#define TEST_DEVICE_MEMORY_SIZE 0x10000u

struct test_device_state {
    uint8_t latch[4];
    uint8_t memory[TEST_DEVICE_MEMORY_SIZE];
};

struct test_device {
    struct irq irq[IRQ_LINES];
    struct test_device_state state;
};

int test_device_init(struct test_device *device, struct bus *bus, struct irq_lines *lines);
void test_device_reset(struct test_device *device);

#endif
