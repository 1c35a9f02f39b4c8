/* ACPI tables; the structures are those of the specification, field for field. */
#include "models/acpi_tables.h"

#include <assert.h>
#include <string.h>

#include "models/acpi_pm.h"
#include "models/aml.h"
#include "models/cmos.h"
#include "models/irq.h"
#include "models/pci_host.h"
#include "models/platform.h"

#define OEM_ID       "VTXSIM"
#define OEM_TABLE_ID "VTXSIMPC"
#define CREATOR_ID   "VTXS"
#define ALIGNMENT    64 /* the FACS asks for it */

#define PACKED __attribute__((packed))

struct PACKED rsdp {
    char signature[8];
    uint8_t checksum; /* of the first 20 bytes */
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
};

#define RSDP_FIRST_PART 20

struct PACKED table_header {
    char signature[4];
    uint32_t length;
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
};

struct PACKED generic_address {
    uint8_t space, bit_width, bit_offset, access_size;
    uint64_t address;
};

#define ADDRESS_SPACE_IO 1

/* Revision 5 (ACPI 5.0): it has the register blocks of old and both kinds of addresses. */
struct PACKED fadt {
    struct table_header header;
    uint32_t facs, dsdt;
    uint8_t reserved_model, profile;
    uint16_t sci_interrupt;
    uint32_t smi_command;
    uint8_t acpi_enable, acpi_disable, s4bios_request, pstate_control;
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer;
    uint32_t gpe0, gpe1;
    uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
    uint8_t gpe0_length, gpe1_length, gpe1_base, cst_control;
    uint16_t c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_architecture;
    uint8_t reserved;
    uint32_t flags;
    struct generic_address reset_register;
    uint8_t reset_value;
    uint16_t arm_boot_architecture;
    uint8_t minor_revision;
    uint64_t x_facs, x_dsdt;
    struct generic_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
    struct generic_address x_pm2_control, x_pm_timer, x_gpe0, x_gpe1;
    struct generic_address sleep_control, sleep_status;
};

#define PROFILE_UNSPECIFIED    0
#define LATENCY_UNSUPPORTED    0xfff
#define BOOT_LEGACY_DEVICES    0x0001
#define BOOT_NO_VGA            0x0004
#define BOOT_NO_MSI            0x0008
#define FADT_WBINVD            0x00000001
#define FADT_C1_SUPPORTED      0x00000004
#define FADT_NO_POWER_BUTTON   0x00000010
#define FADT_NO_SLEEP_BUTTON   0x00000020
#define FADT_NO_FIXED_RTC_WAKE 0x00000040
#define FADT_RESET_SUPPORTED   0x00000400

struct PACKED facs {
    char signature[4];
    uint32_t length, hardware_signature, waking_vector, global_lock, flags;
    uint64_t x_waking_vector;
    uint8_t version;
    uint8_t reserved[31];
};

struct PACKED madt {
    struct table_header header;
    uint32_t local_apic, flags;
};

#define MADT_HAS_8259 1

enum madt_type {
    MADT_LOCAL_APIC = 0,
    MADT_IOAPIC = 1,
    MADT_INTERRUPT_OVERRIDE = 2,
    MADT_LOCAL_APIC_NMI = 4,
};

struct PACKED madt_local_apic {
    uint8_t type, length, processor, apic_id;
    uint32_t flags;
};

struct PACKED madt_ioapic {
    uint8_t type, length, id, reserved;
    uint32_t address, interrupt_base;
};

struct PACKED madt_override {
    uint8_t type, length, bus, source;
    uint32_t interrupt;
    uint16_t flags;
};

struct PACKED madt_nmi {
    uint8_t type, length, processor;
    uint16_t flags;
    uint8_t lint;
};

#define MADT_PROCESSOR_ENABLED 1
#define MADT_BUS_ISA           0
#define MADT_ALL_PROCESSORS    0xff
#define MADT_CONFORMING        0x0
#define MADT_LEVEL_HIGH        0xd

_Static_assert(sizeof(struct rsdp) == 36, "RSDP");
_Static_assert(sizeof(struct table_header) == 36, "table header");
_Static_assert(sizeof(struct fadt) == 268, "FADT revision 5");
_Static_assert(sizeof(struct facs) == 64, "FACS");

/* Where the next table goes; the tables are built in place, in order of dependency. */
static void *reserve(struct acpi_tables *tables, size_t size)
{
    size_t start = (tables->size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);

    assert(start + size <= ACPI_TABLES_SIZE);
    tables->size = start + size;
    return tables->data + start;
}

static uint32_t address_of(const struct acpi_tables *tables, const void *table)
{
    return ACPI_TABLES_BASE + (uint32_t)((const uint8_t *)table - tables->data);
}

/* The byte that makes the sum of all of them zero. */
static uint8_t checksum(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    return (uint8_t)-sum;
}

static void fill_header(struct table_header *header, const char *signature, uint8_t revision,
                        size_t length)
{
    memcpy(header->signature, signature, sizeof(header->signature));
    memcpy(header->oem_id, OEM_ID, sizeof(header->oem_id));
    memcpy(header->oem_table_id, OEM_TABLE_ID, sizeof(header->oem_table_id));
    memcpy(header->creator_id, CREATOR_ID, sizeof(header->creator_id));
    header->revision = revision;
    header->length = (uint32_t)length;
    header->oem_revision = 1;
    header->creator_revision = 1;
    header->checksum = 0;
    header->checksum = checksum(header, length);
}

static void describe_pci_host(struct aml *aml)
{
    aml_open_device(aml, "PCI0");
    aml_name_eisa_id(aml, "_HID", "PNP0A03");
    aml_name_integer(aml, "_UID", 0);
    aml_open_resources(aml, "_CRS");
    aml_resource_window(aml, AML_SPACE_BUS, 0, 0);
    aml_resource_window(aml, AML_SPACE_IO, 0, PCI_HOST_PORT - 1);
    aml_resource_port(aml, PCI_HOST_PORT, PCI_HOST_PORT_COUNT);
    aml_resource_window(aml, AML_SPACE_IO, PCI_HOST_PORT + PCI_HOST_PORT_COUNT, 0xffff);
    aml_resource_window(aml, AML_SPACE_MEMORY, 0xa0000, 0xbffff);
    aml_resource_window(aml, AML_SPACE_MEMORY, PLATFORM_LOW_RAM_END, PLATFORM_IOAPIC_BASE - 1);
    aml_close_resources(aml);
    aml_close(aml);
}

static void describe_serial_port(struct aml *aml)
{
    aml_open_device(aml, "COM1");
    aml_name_eisa_id(aml, "_HID", "PNP0501");
    aml_name_integer(aml, "_UID", 1);
    aml_open_resources(aml, "_CRS");
    aml_resource_port(aml, PLATFORM_COM1_PORT, 8);
    aml_resource_irq(aml, ISA_IRQ_COM1);
    aml_close_resources(aml);
    aml_close(aml);
}

static const void *build_dsdt(struct acpi_tables *tables)
{
    /* SLP_TYPa and SLP_TYPb, and two reserved elements */
    static const uint8_t soft_off[4] = {ACPI_SLEEP_TYPE_S5, ACPI_SLEEP_TYPE_S5, 0, 0};
    struct aml aml = {.size = 0};
    struct table_header *dsdt;

    aml_name_package(&aml, "_S5_", soft_off, sizeof(soft_off));
    aml_open_scope(&aml, "\\_SB_");
    describe_pci_host(&aml);
    describe_serial_port(&aml);
    aml_close(&aml);

    dsdt = reserve(tables, sizeof(*dsdt) + aml.size);
    memcpy(dsdt + 1, aml.data, aml.size);
    fill_header(dsdt, "DSDT", 2, sizeof(*dsdt) + aml.size);
    return dsdt;
}

static const void *build_facs(struct acpi_tables *tables)
{
    struct facs *facs = reserve(tables, sizeof(*facs));

    memcpy(facs->signature, "FACS", sizeof(facs->signature));
    facs->length = sizeof(*facs);
    facs->version = 2;
    return facs;
}

static struct generic_address port_address(uint32_t port, uint8_t bytes, uint8_t access_size)
{
    return (struct generic_address){ADDRESS_SPACE_IO, (uint8_t)(bytes * 8), 0, access_size, port};
}

static const void *build_fadt(struct acpi_tables *tables, const void *facs, const void *dsdt)
{
    struct fadt *fadt = reserve(tables, sizeof(*fadt));

    fadt->facs = address_of(tables, facs);
    fadt->dsdt = address_of(tables, dsdt);
    fadt->x_dsdt = fadt->dsdt;
    fadt->profile = PROFILE_UNSPECIFIED;
    fadt->sci_interrupt = ISA_IRQ_SCI;
    fadt->pm1a_event = ACPI_PM_EVENT_PORT;
    fadt->pm1_event_length = ACPI_PM_EVENT_SIZE;
    fadt->pm1a_control = ACPI_PM_CONTROL_PORT;
    fadt->pm1_control_length = ACPI_PM_CONTROL_SIZE;
    fadt->pm_timer = ACPI_PM_TIMER_PORT;
    fadt->pm_timer_length = ACPI_PM_TIMER_SIZE;
    fadt->x_pm1a_event = port_address(ACPI_PM_EVENT_PORT, ACPI_PM_EVENT_SIZE, 2);
    fadt->x_pm1a_control = port_address(ACPI_PM_CONTROL_PORT, ACPI_PM_CONTROL_SIZE, 2);
    fadt->x_pm_timer = port_address(ACPI_PM_TIMER_PORT, ACPI_PM_TIMER_SIZE, 3);
    fadt->c2_latency = LATENCY_UNSUPPORTED;
    fadt->c3_latency = LATENCY_UNSUPPORTED;
    fadt->century = CMOS_CENTURY;
    /* No 8042 flag: operating systems need not probe for a keyboard that nobody has. */
    fadt->boot_architecture = BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_MSI;
    fadt->flags = FADT_WBINVD | FADT_C1_SUPPORTED | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON |
                  FADT_NO_FIXED_RTC_WAKE | FADT_RESET_SUPPORTED;
    fadt->reset_register = port_address(PCI_RESET_CONTROL_PORT, 1, 1);
    fadt->reset_value = PCI_RESET_CPU | PCI_RESET_SYSTEM;
    fill_header(&fadt->header, "FACP", 5, sizeof(*fadt));
    return fadt;
}

static void *append(uint8_t **end, const void *entry, size_t size)
{
    memcpy(*end, entry, size);
    *end += size;
    return *end;
}

static const void *build_madt(struct acpi_tables *tables, unsigned cpus, uint8_t ioapic_id)
{
    size_t size = sizeof(struct madt) + cpus * sizeof(struct madt_local_apic) +
                  sizeof(struct madt_ioapic) + 2 * sizeof(struct madt_override) +
                  sizeof(struct madt_nmi);
    struct madt *madt = reserve(tables, size);
    uint8_t *end = (uint8_t *)(madt + 1);
    struct madt_ioapic ioapic = {MADT_IOAPIC, sizeof(ioapic),       ioapic_id,
                                 0,           PLATFORM_IOAPIC_BASE, 0};
    struct madt_override timer = {
        MADT_INTERRUPT_OVERRIDE, sizeof(timer), MADT_BUS_ISA, ISA_IRQ_TIMER, 2, MADT_CONFORMING};
    struct madt_override sci = {
        MADT_INTERRUPT_OVERRIDE, sizeof(sci), MADT_BUS_ISA, ISA_IRQ_SCI, ISA_IRQ_SCI,
        MADT_LEVEL_HIGH};
    struct madt_nmi nmi = {MADT_LOCAL_APIC_NMI, sizeof(nmi), MADT_ALL_PROCESSORS, MADT_CONFORMING,
                           1};

    madt->local_apic = PLATFORM_LAPIC_BASE;
    madt->flags = MADT_HAS_8259;
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        struct madt_local_apic lapic = {MADT_LOCAL_APIC, sizeof(lapic), (uint8_t)cpu, (uint8_t)cpu,
                                        MADT_PROCESSOR_ENABLED};
        append(&end, &lapic, sizeof(lapic));
    }
    append(&end, &ioapic, sizeof(ioapic));
    append(&end, &timer, sizeof(timer));
    append(&end, &sci, sizeof(sci));
    append(&end, &nmi, sizeof(nmi));
    assert(end == (uint8_t *)madt + size);
    fill_header(&madt->header, "APIC", 3, size);
    return madt;
}

/* RSDT (4-byte entries) or XSDT (8). */
static const void *build_root(struct acpi_tables *tables, const char *signature, size_t width,
                              const void *const *table, unsigned count)
{
    size_t size = sizeof(struct table_header) + count * width;
    struct table_header *root = reserve(tables, size);
    uint8_t *end = (uint8_t *)(root + 1);

    for (unsigned i = 0; i < count; i++) {
        uint64_t address = address_of(tables, table[i]);
        append(&end, &address, width);
    }
    fill_header(root, signature, 1, size);
    return root;
}

void acpi_tables_build(struct acpi_tables *tables, unsigned cpus, uint8_t ioapic_id)
{
    struct rsdp *rsdp;
    const void *table[2];

    memset(tables, 0, sizeof(*tables));
    rsdp = reserve(tables, sizeof(*rsdp));
    table[0] = build_fadt(tables, build_facs(tables), build_dsdt(tables));
    table[1] = build_madt(tables, cpus, ioapic_id);

    memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
    memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
    rsdp->revision = 2;
    rsdp->length = sizeof(*rsdp);
    rsdp->rsdt = address_of(tables, build_root(tables, "RSDT", 4, table, 2));
    rsdp->xsdt = address_of(tables, build_root(tables, "XSDT", 8, table, 2));
    rsdp->checksum = checksum(rsdp, RSDP_FIRST_PART);
    rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
}
