/*
 * The ACPI tables of the platform (ACPI specification, "ACPI Software Programming Model"): RSDP,
 * RSDT, XSDT, FADT, FACS, MADT and DSDT, built for where they will lie.
 */
#ifndef VTXSIM_MODELS_ACPI_TABLES_H
#define VTXSIM_MODELS_ACPI_TABLES_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES_BASE 0xe0000u /* guest-physical; the RSDP is searched from here to 1 MiB */
#define ACPI_TABLES_SIZE 0x1000u

struct acpi_tables {
    uint8_t data[ACPI_TABLES_SIZE]; /* to be placed at ACPI_TABLES_BASE; begins with the RSDP */
    size_t size;
};

void acpi_tables_build(struct acpi_tables *tables, unsigned cpus, uint8_t ioapic_id);

#endif
