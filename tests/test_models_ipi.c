/* Interprocessor interrupts: SDM, "Determining IPI Destination", by enumeration. */
#include "test_models_lapic.h"

#define CPUS   8
#define VECTOR 0x77

static struct rig rig;

static void set_up(void)
{
    rig_open_lapics(&rig, CPUS);
}

static void tear_down(void)
{
    rig_close(&rig);
}

TestSuite(ipi, .init = set_up, .fini = tear_down);

/* Which CPUs have the vector requested; takes the requests back. */
static unsigned received(void)
{
    unsigned set = 0;

    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        if (!platform_interrupt_pending(rig.platform, cpu))
            continue;
        set |= 1u << cpu;
        cr_assert_eq(platform_interrupt_acknowledge(rig.platform, cpu), VECTOR);
        if (msr_read(&rig, cpu, MSR_APIC_BASE) & APIC_BASE_X2APIC)
            msr_write(&rig, cpu, MSR_X2APIC + LAPIC_EOI, 0);
        else
            lapic_set(&rig, cpu, LAPIC_EOI, 0);
    }
    return set;
}

static unsigned send(unsigned cpu, uint32_t low, uint32_t destination)
{
    lapic_set(&rig, cpu, LAPIC_ICR_HIGH, destination << 24);
    lapic_set(&rig, cpu, LAPIC_ICR_LOW, low | VECTOR);
    return received();
}

static unsigned send_x2apic(unsigned cpu, uint32_t low, uint32_t destination)
{
    msr_write(&rig, cpu, MSR_X2APIC + LAPIC_ICR_LOW, (uint64_t)destination << 32 | low | VECTOR);
    return received();
}

Test(ipi, shorthands)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        cr_assert_eq(send(cpu, 0x40000, 3), 1u << cpu, "self");
        cr_assert_eq(send(cpu, 0x80000, 3), 0xff, "all including self");
        cr_assert_eq(send(cpu, 0xc0000, 3), 0xffu & ~(1u << cpu), "all excluding self");
    }
}

Test(ipi, physical)
{
    for (unsigned id = 0; id < 0x100; id++)
        cr_assert_eq(send(0, 0, id), id == 0xff ? 0xff : id < CPUS ? 1u << id : 0, "ID %x", id);
    lapic_set(&rig, 5, LAPIC_ID, 0xa0000000);
    cr_assert_eq(send(0, 0, 5), 0);
    cr_assert_eq(send(0, 0, 0xa0), 1 << 5, "an xAPIC ID is what software wrote");
}

Test(ipi, logical_flat)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        lapic_set(&rig, cpu, LAPIC_LDR, 0x01000000u << cpu);
    for (unsigned set = 0; set < 0x100; set++)
        cr_assert_eq(send(3, 0x800, set), set);
    lapic_set(&rig, 2, LAPIC_LDR, 0x81000000);
    cr_assert_eq(send(3, 0x800, 0x80), 0x84, "logical IDs may be shared");
}

Test(ipi, logical_cluster)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        lapic_set(&rig, cpu, LAPIC_DFR, 0x0fffffff);
        lapic_set(&rig, cpu, LAPIC_LDR, (cpu / 4) << 28 | 0x01000000u << cpu % 4);
    }
    for (unsigned destination = 0; destination < 0x100; destination++) {
        unsigned cluster = destination >> 4, members = destination & 15;
        unsigned expected = cluster < 2 ? members << 4 * cluster : 0;
        cr_assert_eq(send(3, 0x800, destination), destination == 0xff ? 0xff : expected, "%x",
                     destination);
    }
}

Test(ipi, x2apic_destinations)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        enable_x2apic(&rig, cpu);
    for (unsigned id = 0; id < 0x200; id++)
        cr_assert_eq(send_x2apic(1, 0, id), id < CPUS ? 1u << id : 0, "FFH is an ID like others");
    cr_assert_eq(send_x2apic(1, 0, UINT32_MAX), 0xff);
    cr_assert_eq(send_x2apic(1, 0x800, UINT32_MAX), 0xff);
    for (unsigned set = 0; set < 0x10000; set += 0x11)
        cr_assert_eq(send_x2apic(1, 0x800, set), set & 0xff);
    cr_assert_eq(send_x2apic(1, 0x800, 0x100ff), 0, "another cluster");
    msr_write(&rig, 4, MSR_X2APIC + LAPIC_SELF_IPI, VECTOR);
    cr_assert_eq(received(), 1 << 4);
    cr_assert_eq(msr_read(&rig, 1, MSR_X2APIC + LAPIC_ICR_LOW),
                 (0x100ffull << 32) | 0x800 | VECTOR);
}

Test(ipi, disabled_local_apics_take_nothing)
{
    msr_write(&rig, 2, MSR_APIC_BASE, 0xfee00000);
    lapic_set(&rig, 3, LAPIC_SVR, 0xff);
    cr_assert_eq(send(0, 0x80000, 0), 0xff & ~0x0cu);
    cr_assert_eq(send(0, 0, 0xff), 0xff & ~0x0cu);
    cr_assert_eq(send(0, 0, 2), 0);
    cr_assert_eq(send(0, 0, 3), 0);
}

/* Lowest priority: the one with the lowest arbitration priority of those addressed. */
Test(ipi, lowest_priority)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        lapic_set(&rig, cpu, LAPIC_LDR, 0x01000000u << cpu);
        lapic_set(&rig, cpu, LAPIC_TPR, (CPUS - cpu) << 4);
    }
    cr_assert_eq(send(0, 0x900, 0x0f), 1 << 3);
    cr_assert_eq(send(0, 0x900, 0x3c), 1 << 5);
    cr_assert_eq(send(0, 0x900, 0xff), 1 << 7);
    lapic_set(&rig, 7, LAPIC_TPR, 0xf0);
    cr_assert_eq(send(0, 0x900, 0xff), 1 << 6);
    lapic_set(&rig, 6, LAPIC_SVR, 0xff);
    cr_assert_eq(send(0, 0x900, 0xff), 1 << 5, "a software-disabled one does not take part");
}

Test(ipi, signals)
{
    lapic_set(&rig, 0, LAPIC_ICR_HIGH, 2 << 24);
    lapic_set(&rig, 0, LAPIC_ICR_LOW, 0x400);
    cr_assert_eq(rig.nmis[2], 1);
    lapic_set(&rig, 0, LAPIC_ICR_LOW, 0x4500);
    cr_assert_eq(rig.inits[2], 1);
    lapic_set(&rig, 0, LAPIC_ICR_LOW, 0x8500);
    cr_assert_eq(rig.inits[2], 1, "the level de-assert is no INIT");
    lapic_set(&rig, 0, LAPIC_ICR_LOW, 0x4600 | 0x9a);
    cr_assert_eq(rig.startups[2], 1);
    cr_assert_eq(rig.startup_vector, 0x9a);
    lapic_set(&rig, 0, LAPIC_ICR_LOW, 0xc4500);
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        cr_assert_eq(rig.inits[cpu], cpu == 0 ? 0 : cpu == 2 ? 2 : 1);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_ICR_LOW) & 0x1000, 0, "never busy");
}
