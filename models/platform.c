/* The PC, put together: who is wired to whom, and what reaches the machine. */
#include "models/platform.h"

#include <stdlib.h>
#include <string.h>

#include "models/acpi_pm.h"
#include "models/acpi_tables.h"
#include "models/apic_bus.h"
#include "models/cmos.h"
#include "models/debug_ports.h"
#include "models/fw_cfg.h"
#include "models/i8042.h"
#include "models/i8254.h"
#include "models/i8259.h"
#include "models/ioapic.h"
#include "models/irq.h"
#include "models/lapic.h"
#include "models/pci_host.h"
#include "models/test_device.h"
#include "models/uart16550.h"

#define DEFAULT_PHYSICAL_BITS 46
#define APIC_BASE_ADDRESS     (~(uint64_t)(LAPIC_WINDOW_SIZE - 1))

/* A page at which at least one CPU has its local APIC. */
struct lapic_window {
    struct platform *platform;
    uint64_t base;
};

struct platform {
    struct platform_config config;
    struct platform_callbacks callbacks;
    void *machine;
    bool ready; /* the machine knows the platform and can be called */
    unsigned current_cpu;
    bool pending[PLATFORM_CPUS_MAX];        /* the answer to platform_interrupt_pending */
    uint64_t lapic_base[PLATFORM_CPUS_MAX]; /* IA32_APIC_BASE when the windows were claimed */
    struct lapic_window window[PLATFORM_CPUS_MAX];

    struct bus bus;
    struct clock clock;
    struct irq_lines lines;
    struct apic_bus apic_bus;
    struct lapic lapic[PLATFORM_CPUS_MAX];
    struct ioapic ioapic;
    struct i8259 pic;
    struct i8254 pit;
    struct cmos cmos;
    struct uart16550 uart;
    struct i8042 i8042;
    struct pci_host pci_host;
    struct acpi_pm acpi_pm;
    struct debug_ports debug_ports;
    struct test_device test_device;
    struct fw_cfg fw_cfg;
};

/* The MADT gives the I/O APIC the first ID after the local APICs'. */
static uint8_t ioapic_id(const struct platform *platform)
{
    return (uint8_t)platform->config.cpus;
}

/* Interrupts */

static bool pic_reaches(const struct platform *platform, unsigned cpu)
{
    return i8259_output(&platform->pic) && (lapic_passes_extint(&platform->lapic[cpu]) ||
                                            ioapic_passes_extint(&platform->ioapic, cpu));
}

static void update_pending(struct platform *platform, unsigned cpu)
{
    bool pending = platform->lapic[cpu].state.pending || pic_reaches(platform, cpu);

    if (pending == platform->pending[cpu])
        return;
    platform->pending[cpu] = pending;
    if (platform->ready)
        platform->callbacks.interrupt_changed(platform->machine);
}

static void update_all_pending(struct platform *platform)
{
    for (unsigned cpu = 0; cpu < platform->config.cpus; cpu++)
        update_pending(platform, cpu);
}

static void pic_output_changed(void *owner, bool level)
{
    struct platform *platform = owner;

    for (unsigned cpu = 0; cpu < platform->config.cpus; cpu++)
        lapic_set_lint(&platform->lapic[cpu], 0, level);
    ioapic_set_pin(&platform->ioapic, IOAPIC_PIN_EXTINT, level);
    update_all_pending(platform);
}

static void extint_changed(void *owner)
{
    update_all_pending(owner);
}

/* Local APIC windows */

static bool lapic_is_at(const struct lapic *lapic, uint64_t base)
{
    return lapic_is_enabled(lapic) && !lapic_is_x2apic(lapic) &&
           (lapic->state.base & APIC_BASE_ADDRESS) == base;
}

static struct lapic *window_lapic(const struct lapic_window *window)
{
    struct lapic *lapic = &window->platform->lapic[window->platform->current_cpu];

    return lapic_is_at(lapic, window->base) ? lapic : NULL;
}

static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
    struct lapic *lapic = window_lapic(device);

    return lapic ? lapic_window_read(lapic, offset, size) : UINT64_MAX;
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct lapic *lapic = window_lapic(device);

    if (lapic)
        lapic_window_write(lapic, offset, size, value);
}

static const struct io_operations window_operations = {window_read, window_write, 8};

/* A base on top of another device finds the place taken: its window is not there. */
static void claim_windows(struct platform *platform)
{
    for (unsigned cpu = 0; cpu < platform->config.cpus; cpu++)
        bus_release(&platform->bus, &platform->window[cpu]);
    for (unsigned cpu = 0; cpu < platform->config.cpus; cpu++) {
        const struct lapic *lapic = &platform->lapic[cpu];
        uint64_t base = lapic->state.base & APIC_BASE_ADDRESS;

        platform->window[cpu] = (struct lapic_window){platform, base};
        platform->lapic_base[cpu] = lapic->state.base;
        if (lapic_is_at(lapic, base))
            bus_claim_mmio(&platform->bus, "local APIC", base, LAPIC_WINDOW_SIZE,
                           &window_operations, &platform->window[cpu]);
    }
}

static void lapic_changed(void *owner, unsigned cpu)
{
    struct platform *platform = owner;

    if (platform->lapic_base[cpu] != platform->lapic[cpu].state.base)
        claim_windows(platform);
    update_pending(platform, cpu);
}

/* Signals to the machine */

static void signal_nmi(void *owner, unsigned cpu)
{
    struct platform *platform = owner;

    platform->callbacks.nmi(platform->machine, cpu);
}

static void signal_init(void *owner, unsigned cpu)
{
    struct platform *platform = owner;

    platform->callbacks.init(platform->machine, cpu);
}

static void signal_startup(void *owner, unsigned cpu, uint8_t vector)
{
    struct platform *platform = owner;

    platform->callbacks.sipi(platform->machine, cpu, vector);
}

static void print(void *owner, uint8_t byte)
{
    struct platform *platform = owner;

    platform->callbacks.console_write(platform->machine, &byte, 1);
}

static void stop(struct platform *platform, enum platform_stop why, int status)
{
    platform->callbacks.stop(platform->machine, why, status);
}

static void request_reset(void *owner)
{
    stop(owner, PLATFORM_STOP_RESET, 0);
}

static void power_off(void *owner)
{
    stop(owner, PLATFORM_STOP_POWER_OFF, 0);
}

static void debug_exit(void *owner, int status)
{
    stop(owner, PLATFORM_STOP_DEBUG_EXIT, status);
}

/* Construction */

static int init_apics(struct platform *platform)
{
    const struct platform_config *config = &platform->config;
    int error = 0;

    platform->apic_bus = (struct apic_bus){
        .cpus = config->cpus,
        .ioapic = &platform->ioapic,
        .nmi = signal_nmi,
        .init = signal_init,
        .startup = signal_startup,
        .owner = platform,
    };
    for (unsigned cpu = 0; cpu < config->cpus; cpu++) {
        platform->apic_bus.lapic[cpu] = &platform->lapic[cpu];
        platform->lapic[cpu] = (struct lapic){
            .cpu = cpu,
            .has_x2apic = config->x2apic,
            .physical_bits = config->physical_bits ? config->physical_bits : DEFAULT_PHYSICAL_BITS,
            .timer_hz = config->apic_timer_hz,
            .apic_bus = &platform->apic_bus,
            .clock = &platform->clock,
            .changed = lapic_changed,
            .owner = platform,
        };
    }
    for (unsigned cpu = 0; cpu < config->cpus && !error; cpu++)
        error = lapic_init(&platform->lapic[cpu]);
    lapic_enter_virtual_wire(&platform->lapic[0]);
    return error;
}

static int init_devices(struct platform *platform)
{
    const struct platform_config *config = &platform->config;
    struct bus *bus = &platform->bus;
    struct clock *clock = &platform->clock;
    struct irq_lines *lines = &platform->lines;
    int error = ioapic_init(&platform->ioapic, bus, PLATFORM_IOAPIC_BASE, ioapic_id(platform),
                            &platform->apic_bus, extint_changed, platform);

    platform->cmos = (struct cmos){.clock = clock,
                                   .epoch = config->rtc_epoch,
                                   .ram_size = config->ram_size,
                                   .cpus = config->cpus};
    if (!error)
        error = i8259_init(&platform->pic, bus, pic_output_changed, platform);
    if (!error)
        error = init_apics(platform);
    if (!error)
        error = i8254_init(&platform->pit, bus, clock, lines);
    if (!error)
        error = cmos_init(&platform->cmos, bus, lines);
    if (!error)
        error = uart16550_init(&platform->uart, bus, clock, lines, PLATFORM_COM1_PORT, ISA_IRQ_COM1,
                               print, platform);
    if (!error)
        error = i8042_init(&platform->i8042, bus, lines, request_reset, platform);
    if (!error)
        error = pci_host_init(&platform->pci_host, bus, request_reset, platform);
    if (!error)
        error = acpi_pm_init(&platform->acpi_pm, bus, clock, lines, power_off, platform);
    if (!error)
        error = debug_ports_init(&platform->debug_ports, bus, print, debug_exit, platform);
    return error;
}

static int init_test_devices(struct platform *platform)
{
    const struct platform_config *config = &platform->config;
    int error;

    if (!config->test_device)
        return 0;
    error = test_device_init(&platform->test_device, &platform->bus, &platform->lines);
    return error ? error
                 : fw_cfg_init(&platform->fw_cfg, &platform->bus, config->ram_size, config->cpus);
}

struct platform *platform_create(const struct platform_config *config,
                                 const struct platform_callbacks *callbacks, void *machine)
{
    struct platform *platform;

    if (!config->cpus || config->cpus > PLATFORM_CPUS_MAX)
        return NULL;
    platform = calloc(1, sizeof(*platform));
    if (!platform)
        return NULL;
    platform->config = *config;
    platform->callbacks = *callbacks;
    platform->machine = machine;
    bus_init(&platform->bus);
    clock_init(&platform->clock, config->clock_hz, callbacks->now, NULL, machine);
    irq_lines_init(&platform->lines, &platform->pic, &platform->ioapic);
    if (init_devices(platform) || init_test_devices(platform)) {
        platform_destroy(platform);
        return NULL;
    }
    platform->clock.rearmed = callbacks->deadline_changed;
    platform->ready = true;
    return platform;
}

void platform_destroy(struct platform *platform)
{
    free(platform);
}

void platform_reset(struct platform *platform)
{
    if (platform->config.test_device)
        test_device_reset(&platform->test_device);
    i8259_reset(&platform->pic);
    ioapic_reset(&platform->ioapic, ioapic_id(platform));
    for (unsigned cpu = 0; cpu < platform->config.cpus; cpu++)
        lapic_power_up(&platform->lapic[cpu]);
    lapic_enter_virtual_wire(&platform->lapic[0]);
    i8254_reset(&platform->pit);
    cmos_reset(&platform->cmos);
    uart16550_reset(&platform->uart);
    i8042_reset(&platform->i8042);
    pci_host_reset(&platform->pci_host);
    acpi_pm_reset(&platform->acpi_pm);
    update_all_pending(platform);
}

struct bus *platform_bus(struct platform *platform)
{
    return &platform->bus;
}

struct clock *platform_clock(struct platform *platform)
{
    return &platform->clock;
}

void platform_set_cpu(struct platform *platform, unsigned cpu)
{
    platform->current_cpu = cpu;
}

void platform_run_timers(struct platform *platform)
{
    clock_run(&platform->clock);
}

uint64_t platform_next_deadline(const struct platform *platform)
{
    return clock_next_deadline(&platform->clock);
}

bool platform_interrupt_pending(const struct platform *platform, unsigned cpu)
{
    return platform->pending[cpu];
}

uint8_t platform_interrupt_acknowledge(struct platform *platform, unsigned cpu)
{
    struct lapic *lapic = &platform->lapic[cpu];

    if (!lapic->state.pending && (pic_reaches(platform, cpu) || !lapic_is_enabled(lapic)))
        return i8259_acknowledge(&platform->pic);
    return lapic_acknowledge(lapic);
}

void platform_apic_init_reset(struct platform *platform, unsigned cpu)
{
    lapic_init_reset(&platform->lapic[cpu]);
}

bool platform_apic_read_msr(struct platform *platform, unsigned cpu, uint32_t msr, uint64_t *value)
{
    return lapic_read_msr(&platform->lapic[cpu], msr, value);
}

bool platform_apic_write_msr(struct platform *platform, unsigned cpu, uint32_t msr, uint64_t value)
{
    return lapic_write_msr(&platform->lapic[cpu], msr, value);
}

void platform_set_tsc_offset(struct platform *platform, unsigned cpu, uint64_t tsc_offset)
{
    lapic_timer_set_tsc_offset(&platform->lapic[cpu], tsc_offset);
}

/* SDM, "Interrupt Prioritization and CR8": the priority class alone. */
uint64_t platform_read_cr8(struct platform *platform, unsigned cpu)
{
    return platform->lapic[cpu].state.tpr >> 4;
}

void platform_write_cr8(struct platform *platform, unsigned cpu, uint64_t value)
{
    lapic_set_tpr(&platform->lapic[cpu], (uint8_t)(value << 4));
}

size_t platform_console_input(struct platform *platform, const void *data, size_t size)
{
    return uart16550_receive(&platform->uart, data, size);
}

uint64_t platform_write_acpi_tables(const struct platform *platform,
                                    void (*write)(void *context, uint64_t gpa, const void *data,
                                                  size_t size),
                                    void *context)
{
    struct acpi_tables tables;

    acpi_tables_build(&tables, platform->config.cpus, ioapic_id(platform));
    write(context, ACPI_TABLES_BASE, tables.data, tables.size);
    return ACPI_TABLES_BASE;
}
