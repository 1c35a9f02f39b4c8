/* The I/O APIC: registers, and the protocol of edges, levels, masks and remote IRR. */
#include "models/ioapic.h"
#include "test_models_lapic.h"

#define PIN 14

static struct rig rig;

static void set_up(void)
{
    rig_open_lapics(&rig, 2);
}

static void tear_down(void)
{
    rig_close(&rig);
}

TestSuite(ioapic, .init = set_up, .fini = tear_down);

static uint32_t ioapic_get(unsigned number)
{
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE, 4, number);
    return (uint32_t)bus_mmio_read(rig.bus, PLATFORM_IOAPIC_BASE + 0x10, 4);
}

static void ioapic_set(unsigned number, uint32_t value)
{
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE, 4, number);
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE + 0x10, 4, value);
}

static void write_entry(unsigned pin, uint64_t entry)
{
    ioapic_set(0x11 + 2 * pin, (uint32_t)(entry >> 32));
    ioapic_set(0x10 + 2 * pin, (uint32_t)entry);
}

static bool remote_irr(unsigned pin)
{
    return ioapic_get(0x10 + 2 * pin) >> 14 & 1;
}

static void line(unsigned number, bool level)
{
    out8(&rig, (uint16_t)(0x2000 + number), level);
}

static unsigned take(unsigned cpu)
{
    return platform_interrupt_pending(rig.platform, cpu)
               ? platform_interrupt_acknowledge(rig.platform, cpu)
               : 0;
}

static void end(unsigned cpu)
{
    lapic_set(&rig, cpu, LAPIC_EOI, 0);
}

Test(ioapic, registers)
{
    cr_assert_eq(ioapic_get(0), 2 << 24, "the ID that the MADT states");
    ioapic_set(0, UINT32_MAX);
    cr_assert_eq(ioapic_get(0), 0x0f000000);
    cr_assert_eq(ioapic_get(1), 0x00170020);
    ioapic_set(1, 0);
    cr_assert_eq(ioapic_get(1), 0x00170020);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        cr_assert_eq(ioapic_get(0x10 + 2 * pin), 0x10000, "masked at reset");
        ioapic_set(0x10 + 2 * pin, UINT32_MAX);
        ioapic_set(0x11 + 2 * pin, UINT32_MAX);
        cr_assert_eq(ioapic_get(0x10 + 2 * pin), 0x1afff, "remote IRR and status are read-only");
        cr_assert_eq(ioapic_get(0x11 + 2 * pin), 0xff000000);
    }
    cr_assert_eq(ioapic_get(0x40), 0);
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE, 4, 0x10);
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE + 0x10, 1, 0);
    cr_assert_eq(ioapic_get(0x10), 0x1afff, "a byte is no register");
}

Test(ioapic, edges)
{
    write_entry(PIN, 0x76);
    line(PIN, true);
    line(PIN, false);
    cr_assert_eq(take(0), 0x76);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_TMR + 3) >> 22 & 1, 0);
    end(0);
    line(PIN, true);
    line(PIN, true);
    cr_assert_eq(take(0), 0x76);
    end(0);
    cr_assert_eq(take(0), 0);
    line(PIN, false);
    write_entry(PIN, IOAPIC_ENTRY_MASKED | 0x76);
    line(PIN, true);
    write_entry(PIN, 0x76);
    cr_assert_eq(take(0), 0, "an edge at a masked pin is lost");
}

Test(ioapic, levels)
{
    write_entry(PIN, IOAPIC_ENTRY_LEVEL | 0x77);
    line(PIN, true);
    cr_assert(remote_irr(PIN));
    cr_assert_eq(take(0), 0x77);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_TMR + 3) >> 23 & 1, 1);
    line(PIN, false);
    line(PIN, true);
    cr_assert_eq(take(0), 0, "nothing until the end of interrupt");
    end(0);
    cr_assert(remote_irr(PIN), "it is high again: sent again");
    cr_assert_eq(take(0), 0x77);
    line(PIN, false);
    end(0);
    cr_assert_not(remote_irr(PIN));
    cr_assert_eq(take(0), 0);

    write_entry(PIN, IOAPIC_ENTRY_MASKED | IOAPIC_ENTRY_LEVEL | 0x77);
    line(PIN, true);
    cr_assert_eq(take(0), 0);
    write_entry(PIN, IOAPIC_ENTRY_LEVEL | 0x77);
    cr_assert_eq(take(0), 0x77, "a level waits for the mask to go");
}

/* A message that nobody takes is tried again, not waited for. */
Test(ioapic, level_without_taker)
{
    write_entry(PIN, 9ull << 56 | IOAPIC_ENTRY_LEVEL | 0x77);
    line(PIN, true);
    cr_assert_not(remote_irr(PIN));
    write_entry(PIN, 1ull << 56 | IOAPIC_ENTRY_LEVEL | 0x77);
    cr_assert(remote_irr(PIN));
    cr_assert_eq(take(1), 0x77);
}

/* Remote IRR is dropped when the pin becomes edge-triggered, and by the EOI register. */
Test(ioapic, remote_irr_can_be_reset)
{
    write_entry(PIN, IOAPIC_ENTRY_LEVEL | 0x77);
    line(PIN, true);
    cr_assert_eq(take(0), 0x77);
    write_entry(PIN, IOAPIC_ENTRY_MASKED | 0x77);
    cr_assert_not(remote_irr(PIN));
    write_entry(PIN, IOAPIC_ENTRY_LEVEL | 0x77);
    cr_assert(remote_irr(PIN));
    line(PIN, false);
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE + 0x40, 4, 0x76);
    cr_assert(remote_irr(PIN), "another vector");
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE + 0x40, 4, 0x77);
    cr_assert_not(remote_irr(PIN));
}

/* SDM, "EOI-Broadcast Suppression": SVR bit 12 leaves it to the EOI register. */
Test(ioapic, suppressed_broadcast)
{
    lapic_set(&rig, 0, LAPIC_SVR, 0x11ff);
    write_entry(PIN, IOAPIC_ENTRY_LEVEL | 0x77);
    line(PIN, true);
    cr_assert_eq(take(0), 0x77);
    line(PIN, false);
    end(0);
    cr_assert(remote_irr(PIN));
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE + 0x40, 4, 0x77);
    cr_assert_not(remote_irr(PIN));
}

Test(ioapic, destinations)
{
    write_entry(PIN, 1ull << 56 | 0x80);
    line(PIN, true);
    line(PIN, false);
    cr_assert_eq(take(0), 0);
    cr_assert_eq(take(1), 0x80);
    end(1);
    lapic_set(&rig, 0, LAPIC_LDR, 0x01000000);
    lapic_set(&rig, 1, LAPIC_LDR, 0x02000000);
    write_entry(PIN, 3ull << 56 | IOAPIC_ENTRY_LOGICAL | 0x81);
    line(PIN, true);
    line(PIN, false);
    cr_assert_eq(take(0), 0x81);
    cr_assert_eq(take(1), 0x81);
    end(0);
    end(1);
    lapic_set(&rig, 0, LAPIC_TPR, 0x10);
    write_entry(PIN, 3ull << 56 | IOAPIC_ENTRY_LOGICAL | APIC_LOWEST_PRIORITY << 8 | 0x82);
    line(PIN, true);
    line(PIN, false);
    cr_assert_eq(take(0), 0);
    cr_assert_eq(take(1), 0x82);
    write_entry(PIN, 0xffull << 56 | APIC_NMI << 8);
    line(PIN, true);
    cr_assert_eq(rig.nmis[0], 1);
    cr_assert_eq(rig.nmis[1], 1);
    line(PIN, false);
    write_entry(PIN, 1ull << 56 | APIC_INIT << 8);
    line(PIN, true);
    cr_assert_eq(rig.inits[1], 1);
}

/* The 8254's line 0 is pin 2; the 8259's INT is pin 0. */
Test(ioapic, isa_wiring)
{
    write_entry(2, 0x30);
    line(0, true);
    line(0, false);
    rig_advance(&rig, RIG_HZ / 10);
    cr_assert_eq(take(0), 0x30);
    end(0);
    write_entry(2, IOAPIC_ENTRY_MASKED);

    lapic_set(&rig, 0, LAPIC_LVT + LVT_LINT0, LVT_MASKED);
    out8(&rig, 0x21, 0xf7);
    line(3, true);
    cr_assert_eq(take(0), 0);
    write_entry(0, APIC_EXTINT << 8);
    cr_assert_eq(take(0), 0x0b, "ExtINT: the vector is the 8259's");
    cr_assert_eq(take(1), 0);
}

/* Random lines, entries and ends of interrupt on one pin, against a model of its state. */
Test(ioapic, random_protocol)
{
    for (uint64_t run = 1; run <= 100; run++) {
        uint64_t seed = run * 0x9e3779b97f4a7c15ull;
        bool high = false, level = false, masked = true, remote = false;
        bool requested = false, serving = false, trigger = false;

        write_entry(PIN, IOAPIC_ENTRY_MASKED | 0x90);
        line(PIN, false);
        while (take(0) || lapic_get(&rig, 0, LAPIC_ISR + 4))
            end(0);
        for (unsigned step = 0; step < 300; step++) {
            bool sends = false;
            switch (rig_random(&seed) % 4) {
            case 0: {
                bool value = rig_random(&seed) % 2;
                sends = !level && value && !high && !masked;
                high = value;
                line(PIN, value);
                break;
            }
            case 1:
                level = rig_random(&seed) % 4;
                masked = rig_random(&seed) % 3 == 0;
                remote &= level;
                write_entry(PIN, (level ? IOAPIC_ENTRY_LEVEL : 0) |
                                     (masked ? IOAPIC_ENTRY_MASKED : 0) | 0x90);
                break;
            case 2:
                if (serving) {
                    serving = false;
                    if (trigger && level)
                        remote = false;
                    end(0);
                }
                break;
            default:
                cr_assert_eq(take(0), requested && !serving ? 0x90 : 0, "run %lu step %u", run,
                             step);
                if (requested && !serving) {
                    requested = false;
                    serving = true;
                }
            }
            if (level && high && !masked && !remote)
                sends = remote = true;
            if (sends) {
                requested = true;
                trigger = level;
            }
            cr_assert_eq(remote_irr(PIN), remote, "run %lu step %u", run, step);
            cr_assert_eq(platform_interrupt_pending(rig.platform, 0), requested && !serving,
                         "run %lu step %u", run, step);
        }
    }
}
