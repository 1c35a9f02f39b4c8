/* Local APIC access for the tests: registers by number in either mode. */
#ifndef VTXSIM_TESTS_MODELS_LAPIC_H
#define VTXSIM_TESTS_MODELS_LAPIC_H

#include "models/lapic.h"
#include "test_models_rig.h"

#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC       0x800

static inline uint64_t msr_read(struct rig *rig, unsigned cpu, uint32_t msr)
{
    uint64_t value = 0;

    cr_assert(platform_apic_read_msr(rig->platform, cpu, msr, &value), "RDMSR %x: #GP", msr);
    return value;
}

static inline void msr_write(struct rig *rig, unsigned cpu, uint32_t msr, uint64_t value)
{
    cr_assert(platform_apic_write_msr(rig->platform, cpu, msr, value), "WRMSR %x: #GP", msr);
}

static inline uint32_t lapic_get(struct rig *rig, unsigned cpu, unsigned number)
{
    platform_set_cpu(rig->platform, cpu);
    return (uint32_t)bus_mmio_read(rig->bus, PLATFORM_LAPIC_BASE + number * 16, 4);
}

static inline void lapic_set(struct rig *rig, unsigned cpu, unsigned number, uint32_t value)
{
    platform_set_cpu(rig->platform, cpu);
    bus_mmio_write(rig->bus, PLATFORM_LAPIC_BASE + number * 16, 4, value);
}

static inline void enable_x2apic(struct rig *rig, unsigned cpu)
{
    msr_write(rig, cpu, MSR_APIC_BASE, msr_read(rig, cpu, MSR_APIC_BASE) | APIC_BASE_X2APIC);
}

/* A platform whose local APICs alone deliver: software-enabled, 8259 masked. */
static inline void rig_open_lapics(struct rig *rig, unsigned cpus)
{
    rig_open(rig, cpus);
    rig_mask_pic(rig);
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        lapic_set(rig, cpu, LAPIC_SVR, 0x1ff);
}

#endif
