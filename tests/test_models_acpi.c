/* ACPI: the tables, walked by a parser of their own as firmware's clients do, and the registers. */
#include "models/acpi_pm.h"
#include "test_models_rig.h"

static uint8_t memory[0x100000];

static void store(void *context, uint64_t gpa, const void *data, size_t size)
{
    cr_assert(gpa >= 0xe0000 && gpa + size <= 0x100000);
    memcpy(memory + gpa, data, size);
}

static uint64_t get(uint64_t address, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)memory[address + i] << i * 8;
    return value;
}

static unsigned sum(uint64_t address, size_t size)
{
    uint8_t total = 0;

    while (size--)
        total += memory[address++];
    return total;
}

static bool has_signature(uint64_t address, const char *signature)
{
    return !memcmp(memory + address, signature, 4);
}

/* Scans as an operating system does: every 16 bytes of E0000H-FFFFFH. */
static uint64_t find_rsdp(void)
{
    for (uint64_t address = 0xe0000; address < 0x100000; address += 16) {
        if (!memcmp(memory + address, "RSD PTR ", 8) && sum(address, 20) == 0)
            return address;
    }
    cr_assert_fail("no RSDP");
    return 0;
}

static uint64_t find_table(const char *signature)
{
    uint64_t root = get(find_rsdp() + 24, 8), length = get(root + 4, 4);

    for (uint64_t entry = root + 36; entry < root + length; entry += 8) {
        uint64_t table = get(entry, 8);
        if (has_signature(table, signature)) {
            cr_assert_eq(sum(table, get(table + 4, 4)), 0, "checksum of %s", signature);
            return table;
        }
    }
    cr_assert_fail("no %s", signature);
    return 0;
}

static void build(struct rig *rig, unsigned cpus)
{
    memset(memory, 0, sizeof(memory));
    rig_open(rig, cpus);
    cr_assert_eq(platform_write_acpi_tables(rig->platform, store, NULL), find_rsdp());
}

Test(acpi, root_tables_agree)
{
    struct rig rig;
    uint64_t rsdp, rsdt, xsdt;

    build(&rig, 1);
    rsdp = find_rsdp();
    cr_assert_eq(memory[rsdp + 15], 2);
    cr_assert_eq(get(rsdp + 20, 4), 36);
    cr_assert_eq(sum(rsdp, 36), 0, "extended checksum");
    rsdt = get(rsdp + 16, 4);
    xsdt = get(rsdp + 24, 8);
    cr_assert(has_signature(rsdt, "RSDT") && sum(rsdt, get(rsdt + 4, 4)) == 0);
    cr_assert(has_signature(xsdt, "XSDT") && sum(xsdt, get(xsdt + 4, 4)) == 0);
    cr_assert_eq((get(rsdt + 4, 4) - 36) / 4, (get(xsdt + 4, 4) - 36) / 8);
    for (unsigned i = 0; i < (get(rsdt + 4, 4) - 36) / 4; i++)
        cr_assert_eq(get(rsdt + 36 + 4 * i, 4), get(xsdt + 36 + 8 * i, 8));
    rig_close(&rig);
}

Test(acpi, fadt_names_the_hardware)
{
    static const struct {
        unsigned offset, size;
        uint64_t value;
    } fields[] = {
        {8, 1, 5},   {46, 2, 9},      {48, 4, 0},  {56, 4, 0x600},  {64, 4, 0x604}, {76, 4, 0x608},
        {88, 1, 4},  {89, 1, 2},      {91, 1, 4},  {92, 1, 0},      {108, 1, 0x32}, {116, 1, 1},
        {117, 1, 8}, {120, 8, 0xcf9}, {128, 1, 6}, {148, 1, 1},     {149, 1, 32},   {152, 8, 0x600},
        {172, 1, 1}, {176, 8, 0x604}, {208, 1, 1}, {212, 8, 0x608},
    };
    struct rig rig;
    uint64_t fadt, facs, dsdt;

    build(&rig, 1);
    fadt = find_table("FACP");
    cr_assert_eq(get(fadt + 4, 4), 268);
    for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        cr_assert_eq(get(fadt + fields[i].offset, fields[i].size), fields[i].value, "offset %u",
                     fields[i].offset);
    cr_assert_eq(get(fadt + 112, 4) >> 20 & 1, 0, "not hardware-reduced");
    cr_assert_eq(get(fadt + 112, 4) >> 10 & 1, 1, "the reset register is there");
    cr_assert_eq(get(fadt + 109, 2) & 2, 0, "no 8042 to be probed");
    facs = get(fadt + 36, 4);
    cr_assert(has_signature(facs, "FACS") && facs % 64 == 0 && get(facs + 4, 4) == 64);
    dsdt = get(fadt + 40, 4);
    cr_assert_eq(get(fadt + 140, 8), dsdt);
    cr_assert(has_signature(dsdt, "DSDT") && sum(dsdt, get(dsdt + 4, 4)) == 0);
    rig_close(&rig);
}

Test(acpi, madt_lists_the_apics)
{
    for (unsigned cpus = 1; cpus <= 8; cpus++) {
        struct rig rig;
        uint64_t madt, end;
        unsigned lapics = 0, ioapics = 0, timer_overrides = 0, sci_overrides = 0;

        build(&rig, cpus);
        madt = find_table("APIC");
        end = madt + get(madt + 4, 4);
        cr_assert_eq(get(madt + 36, 4), 0xfee00000);
        cr_assert_eq(get(madt + 40, 4) & 1, 1, "there is an 8259 pair");
        for (uint64_t entry = madt + 44; entry < end; entry += memory[entry + 1]) {
            cr_assert_geq(memory[entry + 1], 6);
            switch (memory[entry]) {
            case 0:
                cr_assert_eq(memory[entry + 3], lapics);
                cr_assert_eq(get(entry + 4, 4), 1);
                lapics++;
                break;
            case 1:
                ioapics++;
                cr_assert_eq(get(entry + 4, 4), 0xfec00000);
                cr_assert_eq(get(entry + 8, 4), 0);
                bus_mmio_write(rig.bus, 0xfec00000, 4, 0);
                cr_assert_eq(bus_mmio_read(rig.bus, 0xfec00010, 4) >> 24, memory[entry + 2]);
                break;
            case 2:
                timer_overrides +=
                    memory[entry + 3] == 0 && get(entry + 4, 4) == 2 && get(entry + 8, 2) == 0;
                sci_overrides +=
                    memory[entry + 3] == 9 && get(entry + 4, 4) == 9 && get(entry + 8, 2) == 0xd;
                break;
            }
        }
        cr_assert(lapics == cpus && ioapics == 1 && timer_overrides == 1 && sci_overrides == 1);
        rig_close(&rig);
    }
}

/* A reader of the AML that the DSDT may contain; it checks that lengths nest exactly. */
struct reader {
    unsigned s5_type, pci_hosts, serial_ports;
};

static uint64_t read_length(uint64_t *at)
{
    uint64_t start = *at, lead = memory[(*at)++], more = lead >> 6, length = lead & 0x3f;

    if (more)
        length &= 0xf;
    for (uint64_t i = 0; i < more; i++)
        length |= (uint64_t)memory[(*at)++] << (4 + 8 * i);
    return start + length;
}

static uint64_t read_integer(uint64_t *at)
{
    unsigned opcode = memory[(*at)++], size = opcode == 0x0a ? 1 : opcode == 0x0b ? 2 : 4;
    uint64_t value;

    if (opcode <= 1)
        return opcode;
    cr_assert(opcode >= 0x0a && opcode <= 0x0c, "opcode %x", opcode);
    value = get(*at, size);
    *at += size;
    return value;
}

/* Small items have their length in the low bits, large ones in a word; the end tag comes last. */
static void check_resources(uint64_t at, uint64_t end)
{
    while (memory[at] != 0x79) {
        if (memory[at] & 0x80) {
            unsigned width = memory[at] == 0x87 ? 4 : 2;
            uint64_t first = get(at + 6 + width, width), last = get(at + 6 + 2 * width, width);
            cr_assert_eq(get(at + 6 + 4 * width, width), last - first + 1);
            at += 3 + get(at + 1, 2);
        } else {
            at += 1 + (memory[at] & 7);
        }
        cr_assert_lt(at, end);
    }
    cr_assert_eq(at + 2, end, "the buffer ends with its end tag");
}

static void read_object(struct reader *reader, uint64_t *at, const char *name)
{
    uint64_t end, count;

    switch (memory[*at]) {
    case 0x11: /* buffer */
        ++*at;
        end = read_length(at);
        count = read_integer(at);
        cr_assert_eq(*at + count, end);
        if (!memcmp(name, "_CRS", 4))
            check_resources(*at, end);
        *at = end;
        break;
    case 0x12: /* package */
        ++*at;
        end = read_length(at);
        count = memory[(*at)++];
        for (uint64_t i = 0; i < count; i++) {
            uint64_t value = read_integer(at);
            if (!memcmp(name, "_S5_", 4) && i == 0)
                reader->s5_type = (unsigned)value;
        }
        cr_assert_eq(*at, end);
        break;
    default:
        count = read_integer(at);
        if (!memcmp(name, "_HID", 4)) {
            reader->pci_hosts += count == 0x030ad041;    /* PNP0A03 */
            reader->serial_ports += count == 0x0105d041; /* PNP0501 */
        }
    }
}

static void read_terms(struct reader *reader, uint64_t at, uint64_t end)
{
    while (at < end) {
        char name[4];
        uint64_t inner;
        if (memory[at] == 0x08) { /* Name */
            memcpy(name, memory + at + 1, 4);
            at += 5;
            read_object(reader, &at, name);
        } else { /* Scope, or Device behind its prefix */
            cr_assert(memory[at] == 0x10 || (memory[at] == 0x5b && memory[at + 1] == 0x82));
            at += memory[at] == 0x10 ? 1 : 2;
            inner = read_length(&at);
            at += memory[at] == '\\' ? 5 : 4;
            read_terms(reader, at, inner);
            at = inner;
        }
    }
    cr_assert_eq(at, end, "lengths nest");
}

Test(acpi, dsdt_parses)
{
    struct reader reader = {.s5_type = 99};
    struct rig rig;
    uint64_t dsdt;

    build(&rig, 1);
    dsdt = get(find_table("FACP") + 40, 4);
    read_terms(&reader, dsdt + 36, dsdt + get(dsdt + 4, 4));
    cr_assert_eq(reader.pci_hosts, 1);
    cr_assert_eq(reader.serial_ports, 1);
    /* power off as the tables say */
    bus_port_write(rig.bus, (uint16_t)get(find_table("FACP") + 64, 4), 2,
                   0x2000 | reader.s5_type << 10);
    cr_assert_eq(rig.stops, 1);
    cr_assert_eq(rig.stop, PLATFORM_STOP_POWER_OFF);
    rig_close(&rig);
}

Test(acpi, only_s5_powers_off)
{
    struct rig rig;

    rig_open(&rig, 1);
    cr_assert_eq(bus_port_read(rig.bus, 0x604, 2), 1, "always in ACPI mode");
    bus_port_write(rig.bus, 0x604, 2, 0); /* SLP_TYP without SLP_EN */
    for (unsigned type = 0; type < 8; type++) {
        if (type != 0)
            bus_port_write(rig.bus, 0x604, 2, 0x2000 | type << 10);
    }
    cr_assert_eq(rig.stops, 0);
    bus_port_write(rig.bus, 0x604, 1, 0);
    bus_port_write(rig.bus, 0x605, 1, 0x20);
    cr_assert_eq(rig.stops, 1, "bytes do as well");
    cr_assert_eq(bus_port_read(rig.bus, 0x604, 2), 0x0001, "SLP_EN reads zero, SCI_EN one");
    rig_close(&rig);
}

Test(acpi, timer_runs_at_its_frequency)
{
    struct rig rig;

    rig_open(&rig, 1);
    for (unsigned second = 1; second < 20; second++) {
        rig.now = second * RIG_HZ;
        cr_assert_eq(bus_port_read(rig.bus, 0x608, 4), second * ACPI_PM_TIMER_HZ & 0xffffff);
    }
    rig_close(&rig);
}

/* TMR_STS is set whenever bit 23 changes; the SCI is level-triggered until it is cleared. */
Test(acpi, timer_carry_raises_the_sci)
{
    const uint64_t half_period = (1ull << 23) * RIG_HZ / ACPI_PM_TIMER_HZ;
    struct rig rig;

    rig_open(&rig, 1);
    out8(&rig, 0x21, 0xfb);
    out8(&rig, 0xa1, 0xfd);
    rig_advance(&rig, half_period + 1000);
    cr_assert_eq(bus_port_read(rig.bus, 0x600, 2), 1, "status without enable");
    cr_assert_not(platform_interrupt_pending(rig.platform, 0));
    bus_port_write(rig.bus, 0x600, 2, 1);
    cr_assert_eq(bus_port_read(rig.bus, 0x600, 2), 0);
    bus_port_write(rig.bus, 0x602, 2, 1);
    cr_assert_eq(bus_port_read(rig.bus, 0x602, 2), 1);
    rig_advance(&rig, half_period - 10000);
    cr_assert_not(platform_interrupt_pending(rig.platform, 0));
    rig_advance(&rig, 20000);
    cr_assert(platform_interrupt_pending(rig.platform, 0));
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x71);
    out8(&rig, 0xa0, 0x20);
    out8(&rig, 0x20, 0x20);
    cr_assert(platform_interrupt_pending(rig.platform, 0), "a level asks again");
    bus_port_write(rig.bus, 0x600, 2, 1);
    cr_assert_not(platform_interrupt_pending(rig.platform, 0));
    rig_close(&rig);
}
