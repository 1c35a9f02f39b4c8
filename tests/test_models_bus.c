/* The buses: claims, splitting, all-ones; against a table of single bytes. */
#include <errno.h>

#include "models/bus.h"
#include "test_models_rig.h"

#define DEVICES 6
#define SPACE   256

/* A device of bytes; it records the widths that arrive. */
struct bytes {
    uint8_t byte[SPACE];
    unsigned start, count;
    unsigned widest;
    unsigned accesses;
};

static uint64_t bytes_read(void *device, uint64_t offset, unsigned size)
{
    struct bytes *bytes = device;
    uint64_t value = 0;

    cr_assert_leq(offset + size, bytes->count);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)bytes->byte[offset + i] << i * 8;
    bytes->widest = size > bytes->widest ? size : bytes->widest;
    bytes->accesses++;
    return value | (size < 8 ? ~0ull << size * 8 : 0); /* rubbish above: the bus cuts it off */
}

static void bytes_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct bytes *bytes = device;

    cr_assert_leq(offset + size, bytes->count);
    cr_assert_eq(size < 8 ? value >> size * 8 : 0, 0);
    for (unsigned i = 0; i < size; i++)
        bytes->byte[offset + i] = (uint8_t)(value >> i * 8);
    bytes->widest = size > bytes->widest ? size : bytes->widest;
    bytes->accesses++;
}

static const struct io_operations operations[] = {
    {bytes_read, bytes_write, 1},
    {bytes_read, bytes_write, 2},
    {bytes_read, bytes_write, 4},
    {bytes_read, bytes_write, 8},
};

Test(bus, claims_do_not_overlap)
{
    static struct bus bus;
    struct bytes a = {.count = 16}, b = {.count = 16};

    bus_init(&bus);
    cr_assert_eq(bus_claim_ports(&bus, "a", 0x100, 8, &operations[0], &a), 0);
    cr_assert_eq(bus_claim_ports(&bus, "b", 0x107, 1, &operations[0], &b), -EBUSY);
    cr_assert_eq(bus_claim_ports(&bus, "b", 0xf9, 8, &operations[0], &b), -EBUSY);
    cr_assert_eq(bus_claim_ports(&bus, "b", 0xf8, 8, &operations[0], &b), 0);
    cr_assert_eq(bus_claim_ports(&bus, "b", 0x108, 8, &operations[0], &b), 0);
    cr_assert_eq(bus_claim_ports(&bus, "b", 0xfff8, 8, &operations[0], &b), 0, "the last ports");

    cr_assert_eq(bus_claim_mmio(&bus, "a", 0x1000, 0x1000, &operations[0], &a), 0);
    cr_assert_eq(bus_claim_mmio(&bus, "b", 0x1fff, 1, &operations[0], &b), -EBUSY);
    cr_assert_eq(bus_claim_mmio(&bus, "b", 0, 0x1001, &operations[0], &b), -EBUSY);
    cr_assert_eq(bus_claim_mmio(&bus, "b", 0, UINT64_MAX, &operations[0], &b), -EBUSY);
    cr_assert_eq(bus_claim_mmio(&bus, "b", UINT64_MAX - 0xfff, 0x1000, &operations[0], &b), 0);
    cr_assert_eq(bus_find_mmio(&bus, 0x1fff)->device, &a);
    cr_assert_null(bus_find_mmio(&bus, 0x2000));
    cr_assert_eq(bus_find_mmio(&bus, UINT64_MAX)->device, &b);

    bus_release(&bus, &b);
    cr_assert_eq(bus_port_read(&bus, 0x108, 1), 0xff);
    cr_assert_null(bus_find_mmio(&bus, UINT64_MAX));
    cr_assert_eq(bus_port_read(&bus, 0x100, 1), 0, "a is still there");
    cr_assert_eq(bus_claim_ports(&bus, "b", 0x108, 8, &operations[0], &b), 0);
}

Test(bus, table_has_an_end)
{
    static struct bus bus;
    struct bytes a = {.count = 1};

    bus_init(&bus);
    for (unsigned i = 0; i < BUS_RANGES_MAX; i++) {
        cr_assert_eq(bus_claim_ports(&bus, "a", (uint16_t)(2 * i), 1, &operations[0], &a), 0);
        cr_assert_eq(bus_claim_mmio(&bus, "a", 2 * i, 1, &operations[0], &a), 0);
    }
    cr_assert_eq(bus_claim_ports(&bus, "a", 0x1000, 1, &operations[0], &a), -ENOSPC);
    cr_assert_eq(bus_claim_mmio(&bus, "a", 0x1000, 1, &operations[0], &a), -ENOSPC);
}

Test(bus, accesses_are_split_low_first)
{
    static struct bus bus;
    struct bytes narrow = {.count = 4}, wide = {.count = 8};

    bus_init(&bus);
    bus_claim_ports(&bus, "narrow", 0x10, 4, &operations[0], &narrow);
    bus_claim_mmio(&bus, "wide", 0x20, 8, &operations[3], &wide);
    bus_port_write(&bus, 0x10, 4, 0x44332211);
    cr_assert_eq(narrow.widest, 1);
    cr_assert_eq(narrow.accesses, 4);
    cr_assert_arr_eq(narrow.byte, "\x11\x22\x33\x44", 4);
    cr_assert_eq(bus_port_read(&bus, 0x10, 2), 0x2211);
    bus_mmio_write(&bus, 0x20, 8, 0x8877665544332211);
    cr_assert_eq(wide.accesses, 1);
    cr_assert_eq(bus_mmio_read(&bus, 0x20, 8), 0x8877665544332211);
}

/* Any access equals its bytes, one by one, whoever claims them. */
Test(bus, random_accesses_equal_their_bytes)
{
    for (uint64_t run = 1; run <= 50; run++) {
        uint64_t seed = run * 0x9e3779b97f4a7c15ull;
        static struct bus bus;
        static struct bytes device[DEVICES];
        int owner[SPACE + 8];

        bus_init(&bus);
        memset(owner, -1, sizeof(owner));
        for (int i = 0; i < DEVICES; i++) {
            unsigned start = rig_random(&seed) % (SPACE - 40), count = 1 + rig_random(&seed) % 40;
            const struct io_operations *how = &operations[rig_random(&seed) % 4];
            bool is_free = true;
            device[i] = (struct bytes){.start = start, .count = count};
            for (unsigned j = start; j < start + count; j++)
                is_free &= owner[j] < 0;
            cr_assert_eq(bus_claim_ports(&bus, "d", (uint16_t)start, count, how, &device[i]),
                         is_free ? 0 : -EBUSY, "seed %lu", run);
            cr_assert_eq(bus_claim_mmio(&bus, "d", start, count, how, &device[i]),
                         is_free ? 0 : -EBUSY);
            for (unsigned j = start; is_free && j < start + count; j++)
                owner[j] = i;
        }
        for (unsigned step = 0; step < 2000; step++) {
            unsigned size = 1u << rig_random(&seed) % 4, at = rig_random(&seed) % SPACE;
            bool ports = size < 8 && rig_random(&seed) % 2;
            uint64_t value = rig_random(&seed), expected = 0, got;
            if (rig_random(&seed) % 2) {
                if (ports)
                    bus_port_write(&bus, (uint16_t)at, size, (uint32_t)value);
                else
                    bus_mmio_write(&bus, at, size, value);
                for (unsigned i = 0; i < size; i++) {
                    if (owner[at + i] >= 0)
                        cr_assert_eq(
                            device[owner[at + i]].byte[at + i - device[owner[at + i]].start],
                            (uint8_t)(value >> i * 8), "seed %lu", run);
                }
            }
            for (unsigned i = 0; i < size; i++) {
                const struct bytes *bytes = owner[at + i] < 0 ? NULL : &device[owner[at + i]];
                uint64_t byte = bytes ? bytes->byte[at + i - bytes->start] : 0xff;
                expected |= byte << i * 8;
            }
            got = ports ? bus_port_read(&bus, (uint16_t)at, size) : bus_mmio_read(&bus, at, size);
            cr_assert_eq(got, expected, "seed %lu: %lx, not %lx", run, got, expected);
        }
    }
}
