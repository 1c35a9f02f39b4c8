/*
 * ACPI's fixed hardware: PM1a event and control blocks and the power-management timer (ACPI
 * specification, "Fixed Hardware"). The machine is always in ACPI mode; there is no SMI.
 */
#ifndef VTXSIM_MODELS_ACPI_PM_H
#define VTXSIM_MODELS_ACPI_PM_H

#include <stdbool.h>
#include <stdint.h>

#include "models/bus.h"
#include "models/clock.h"
#include "models/irq.h"

#define ACPI_PM_EVENT_PORT   0x600
#define ACPI_PM_EVENT_SIZE   4
#define ACPI_PM_CONTROL_PORT 0x604
#define ACPI_PM_CONTROL_SIZE 2
#define ACPI_PM_TIMER_PORT   0x608
#define ACPI_PM_TIMER_SIZE   4
#define ACPI_PM_TIMER_HZ     3579545u
#define ACPI_PM_TIMER_BITS   24

#define ACPI_SLEEP_TYPE_S5 0 /* as on QEMU: small kernels write 0x2000 to port 0x604 */

struct acpi_pm_state {
    uint16_t status, enable, control;
    uint64_t synced_carry; /* half periods of the timer for which status has been set */
};

struct acpi_pm {
    struct clock *clock;
    struct irq irq;
    struct timer timer;
    void (*power_off)(void *owner);
    void *owner;
    struct acpi_pm_state state;
};

int acpi_pm_init(struct acpi_pm *pm, struct bus *bus, struct clock *clock, struct irq_lines *lines,
                 void (*power_off)(void *owner), void *owner);
void acpi_pm_reset(struct acpi_pm *pm);

#endif
