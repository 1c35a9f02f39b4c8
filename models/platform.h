/*
 * The PC around the processor: buses, clock, interrupt controllers and devices, put together.
 *
 * Memory map of guest-physical addresses
 *   0x00000000          RAM below 640 KiB; 0xa0000-0xfffff: option ROM area, ACPI tables,
 * RAM-backed 0x00100000          RAM 0xc0000000 (3 GiB)  end of low RAM; PCI hole 0xfec00000 I/O
 * APIC (4 KiB) 0xfee00000          local APIC (4 KiB, at IA32_APIC_BASE) 0x100000000         the
 * rest of RAM
 */
#ifndef VTXSIM_MODELS_PLATFORM_H
#define VTXSIM_MODELS_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "models/bus.h"
#include "models/clock.h"

#define PLATFORM_LOW_RAM_END   0xc0000000ull
#define PLATFORM_HIGH_RAM_BASE 0x100000000ull
#define PLATFORM_IOAPIC_BASE   0xfec00000ull
#define PLATFORM_LAPIC_BASE    0xfee00000ull
#define PLATFORM_COM1_PORT     0x3f8
#define PLATFORM_CPUS_MAX      8

enum platform_stop {
    PLATFORM_STOP_POWER_OFF,  /* ACPI S5 */
    PLATFORM_STOP_RESET,      /* i8042, port 0x92, 0xcf9 */
    PLATFORM_STOP_DEBUG_EXIT, /* port 0xf4: status = value << 1 | 1 */
};

/* What the platform tells the machine that it is in. All get `machine`. */
struct platform_callbacks {
    uint64_t (*now)(void *machine);           /* simulated cycles */
    void (*deadline_changed)(void *machine);  /* platform_next_deadline moved */
    void (*interrupt_changed)(void *machine); /* platform_interrupt_pending may have changed */
    void (*nmi)(void *machine, unsigned cpu);
    /* INIT and start-up IPI. The machine calls platform_apic_init_reset when the processor takes
     * the INIT (VMX operation may block it or turn it into a VM exit). */
    void (*init)(void *machine, unsigned cpu);
    void (*sipi)(void *machine, unsigned cpu, uint8_t vector);
    void (*console_write)(void *machine, const void *data, size_t size);
    void (*stop)(void *machine, enum platform_stop why, int status);
};

struct platform_config {
    unsigned cpus;          /* 1..8 */
    uint64_t ram_size;      /* bytes */
    uint64_t clock_hz;      /* cycles of simulated time a second */
    uint32_t apic_timer_hz; /* the crystal of CPUID.15H */
    int64_t rtc_epoch;      /* seconds since 1970 shown by the CMOS clock at power-on */
    unsigned physical_bits; /* MAXPHYADDR, for the reserved bits of IA32_APIC_BASE; 0 means 46 */
    bool x2apic;
    bool test_device; /* kvm-unit-tests' pc-testdev */
};

struct platform;

/* The platform as firmware hands it to an operating system: 8259 pair at vectors 08h and 70h with
 * the timer unmasked, 8254 ticking at 18.2 Hz, CPU 0's local APIC in virtual-wire mode, ACPI on.
 * config and callbacks are copied; of the callbacks, only now is called before this returns. NULL
 * without memory or with a number of CPUs out of range. */
struct platform *platform_create(const struct platform_config *config,
                                 const struct platform_callbacks *callbacks, void *machine);
void platform_destroy(struct platform *platform);
/* Back to that state (after PLATFORM_STOP_RESET). Simulated time goes on. */
void platform_reset(struct platform *platform);
struct bus *platform_bus(struct platform *platform);
struct clock *platform_clock(struct platform *platform);

/* The CPU whose accesses the next bus operations are: each sees its own local APIC at
 * IA32_APIC_BASE. 0 at first. */
void platform_set_cpu(struct platform *platform, unsigned cpu);

/* Runs all devices whose deadline has come; the next deadline in cycles (CLOCK_NEVER: none). */
void platform_run_timers(struct platform *platform);
uint64_t platform_next_deadline(const struct platform *platform);

/* Maskable interrupts for a CPU: local APIC first, then the 8259 pair if LINT0 or a disabled local
 * APIC lets it through. acknowledge returns the vector and moves it to in-service. */
bool platform_interrupt_pending(const struct platform *platform, unsigned cpu);
uint8_t platform_interrupt_acknowledge(struct platform *platform, unsigned cpu);

/* What an INIT does to a CPU's local APIC. */
void platform_apic_init_reset(struct platform *platform, unsigned cpu);
/* Local APIC registers reached by MSR: x2APIC 0x800-0x8ff, IA32_TSC_DEADLINE, IA32_APIC_BASE.
 * false means #GP. tsc_offset: guest TSC - host TSC (for the deadline). */
bool platform_apic_read_msr(struct platform *platform, unsigned cpu, uint32_t msr, uint64_t *value);
bool platform_apic_write_msr(struct platform *platform, unsigned cpu, uint32_t msr, uint64_t value);
void platform_set_tsc_offset(struct platform *platform, unsigned cpu, uint64_t tsc_offset);
uint64_t platform_read_cr8(struct platform *platform, unsigned cpu);
void platform_write_cr8(struct platform *platform, unsigned cpu, uint64_t value);

/* Bytes typed by the user, for the 16550A. Returns how many were taken. */
size_t platform_console_input(struct platform *platform, const void *data, size_t size);

/* Writes RSDP, XSDT, FADT, MADT, DSDT (with _S5) into guest RAM in 0xe0000-0xfffff through write.
 * Returns the RSDP's address. */
uint64_t platform_write_acpi_tables(const struct platform *platform,
                                    void (*write)(void *context, uint64_t gpa, const void *data,
                                                  size_t size),
                                    void *context);

#endif
