/* The PC as a whole: resets and exits, ports of the small devices, determinism, and a flood of
 * random accesses that nothing may crash under. */
#include "models/lapic.h"
#include "test_models_rig.h"

static struct rig rig;

static void set_up(void)
{
    rig_open(&rig, 1);
}

static void tear_down(void)
{
    rig_close(&rig);
}

TestSuite(platform, .init = set_up, .fini = tear_down);

Test(platform, number_of_cpus_is_checked)
{
    static const struct platform_callbacks callbacks = {.now = rig_now};
    struct platform_config config = rig_config(0);

    cr_assert_null(platform_create(&config, &callbacks, &rig));
    config.cpus = PLATFORM_CPUS_MAX + 1;
    cr_assert_null(platform_create(&config, &callbacks, &rig));
}

Test(platform, ways_to_reset)
{
    static const struct {
        uint16_t port;
        uint8_t value, more;
    } resets[] = {
        {0x64, 0xfe, 0},  {0x64, 0xf0, 0},  {0x92, 0x03, 0},
        {0xcf9, 0x06, 0}, {0xcf9, 0x04, 0}, {0x64, 0xd1, 0x02},
    };
    static const struct {
        uint16_t port;
        uint8_t value;
    } harmless[] = {{0x64, 0xff}, {0x92, 0x02}, {0xcf9, 0x02}, {0xcf9, 0x00}, {0x64, 0x20}};

    for (unsigned i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
        out8(&rig, harmless[i].port, harmless[i].value);
    cr_assert_eq(rig.stops, 0);
    for (unsigned i = 0; i < sizeof(resets) / sizeof(resets[0]); i++) {
        out8(&rig, resets[i].port, resets[i].value);
        if (resets[i].more)
            out8(&rig, 0x60, resets[i].more);
        cr_assert_eq(rig.stops, i + 1, "reset %u", i);
        cr_assert_eq(rig.stop, PLATFORM_STOP_RESET);
        platform_reset(rig.platform);
        cr_assert_eq(in8(&rig, 0xcf9), 0);
    }
}

Test(platform, debug_exit_status)
{
    bus_port_write(rig.bus, 0xf4, 4, 0);
    cr_assert_eq(rig.stop, PLATFORM_STOP_DEBUG_EXIT);
    cr_assert_eq(rig.status, 1);
    out8(&rig, 0xf4, 0x21);
    cr_assert_eq(rig.status, 0x43);
}

Test(platform, debug_console)
{
    cr_assert_eq(in8(&rig, 0xe9), 0xe9);
    for (const char *c = "e9"; *c; c++)
        out8(&rig, 0xe9, (uint8_t)*c);
    cr_assert_arr_eq(rig.console, "e9", 2);
    out8(&rig, 0x80, 0x42);
    cr_assert_eq(in8(&rig, 0x80), 0x42);
}

Test(platform, address_20_gate)
{
    cr_assert_eq(in8(&rig, 0x92), 0x02, "on, as firmware leaves it");
    out8(&rig, 0x92, 0);
    out8(&rig, 0x64, 0xd0);
    cr_assert_eq(in8(&rig, 0x64) & 1, 1);
    cr_assert_eq(in8(&rig, 0x60) & 2, 0, "the 8042's pin is the same");
    out8(&rig, 0x64, 0xd1);
    out8(&rig, 0x60, 0xdf);
    cr_assert_eq(in8(&rig, 0x92), 0x02);
}

/* What operating systems ask an 8042 and its keyboard at start-up. */
Test(platform, keyboard_controller_answers)
{
    static const struct {
        uint16_t port;
        uint8_t command, answer[3];
        unsigned answers;
    } dialogue[] = {
        {0x64, 0xaa, {0x55}, 1}, {0x64, 0xab, {0x00}, 1},       {0x64, 0xa9, {0x01}, 1},
        {0x64, 0x20, {0x65}, 1}, {0x60, 0xff, {0xfa, 0xaa}, 2}, {0x60, 0xf2, {0xfa, 0xab, 0x83}, 3},
        {0x60, 0xed, {0xfa}, 1}, {0x60, 0x00, {0xfa}, 1},       {0x60, 0xf4, {0xfa}, 1},
        {0x60, 0xee, {0xee}, 1}, {0x60, 0xf0, {0xfa}, 1},       {0x60, 0x00, {0xfa, 0x02}, 2},
        {0x64, 0xd2, {0}, 0},    {0x60, 0x5a, {0x5a}, 1},       {0x64, 0xd3, {0}, 0},
        {0x60, 0xa5, {0xa5}, 1},
    };

    out8(&rig, 0x21, 0xfd);
    for (unsigned i = 0; i < sizeof(dialogue) / sizeof(dialogue[0]); i++) {
        cr_assert_eq(in8(&rig, 0x64) & 1, 0);
        out8(&rig, dialogue[i].port, dialogue[i].command);
        for (unsigned j = 0; j < dialogue[i].answers; j++) {
            cr_assert_eq(in8(&rig, 0x64) & 1, 1, "step %u", i);
            cr_assert(platform_interrupt_pending(rig.platform, 0));
            cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x09);
            out8(&rig, 0x20, 0x20);
            cr_assert_eq(in8(&rig, 0x60), dialogue[i].answer[j], "step %u", i);
        }
    }
    out8(&rig, 0x64, 0x60);
    out8(&rig, 0x60, 0x64);
    out8(&rig, 0x60, 0xee);
    cr_assert_not(platform_interrupt_pending(rig.platform, 0), "the command byte says no");
}

static uint32_t pci_read(uint32_t address)
{
    bus_port_write(rig.bus, 0xcf8, 4, address);
    return bus_port_read(rig.bus, 0xcfc, 4);
}

Test(platform, pci_holds_a_host_bridge_alone)
{
    cr_assert_eq(pci_read(0x80000000), 0x12378086);
    cr_assert_eq(pci_read(0x80000008) >> 16, 0x0600, "host bridge");
    cr_assert_eq(pci_read(0x00000000), UINT32_MAX, "configuration cycles are off");
    for (uint32_t function = 1; function < 0x10000; function++)
        cr_assert_eq(pci_read(0x80000000 | function << 8), UINT32_MAX, "%x", function);
    bus_port_write(rig.bus, 0xcf8, 4, 0x80000000);
    cr_assert_eq(bus_port_read(rig.bus, 0xcf8, 4), 0x80000000);
    cr_assert_eq(bus_port_read(rig.bus, 0xcfe, 2), 0x1237);
    cr_assert_eq(bus_port_read(rig.bus, 0xcfd, 1), 0x80);
    bus_port_write(rig.bus, 0xcfc, 4, 0);
    cr_assert_eq(pci_read(0x80000000), 0x12378086, "read-only");
    pci_read(0x8000003c);
    bus_port_write(rig.bus, 0xcfc, 4, 0x1234567b);
    cr_assert_eq(bus_port_read(rig.bus, 0xcfc, 4), 0x7b, "but for the interrupt line");
    pci_read(0x80000000);
    out8(&rig, 0xcf8, 0x55);
    cr_assert_eq(bus_port_read(rig.bus, 0xcf8, 4), 0x80000000, "a byte is no address");
}

Test(platform, test_device)
{
    bus_port_write(rig.bus, 0xe0, 4, 0x87654321);
    cr_assert_eq(bus_port_read(rig.bus, 0xe0, 4), 0x87654321);
    cr_assert_eq(bus_port_read(rig.bus, 0xe0, 2), 0x4321);
    out8(&rig, 0xe0, 0xaa);
    cr_assert_eq(bus_port_read(rig.bus, 0xe0, 4), 0x876543aa);
    bus_mmio_write(rig.bus, 0xff00fff8, 8, 0x1122334455667788);
    cr_assert_eq(bus_mmio_read(rig.bus, 0xff00fffc, 4), 0x11223344);
    cr_assert_eq(bus_mmio_read(rig.bus, 0xff010000, 4), UINT32_MAX);
    out8(&rig, 0x21, 0xfb);
    out8(&rig, 0xa1, 0xf7);
    bus_port_write(rig.bus, 0x200b, 4, 1);
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x73);
}

static uint64_t fw_cfg_item(uint16_t item)
{
    uint64_t value = 0;

    bus_port_write(rig.bus, 0x510, 2, item);
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)in8(&rig, 0x511) << i * 8;
    cr_assert_eq(in8(&rig, 0x511), 0, "zeros behind the end");
    return value;
}

Test(platform, fw_cfg)
{
    cr_assert_eq(fw_cfg_item(0), 0x554d4551, "QEMU");
    cr_assert_eq(fw_cfg_item(1), 1);
    cr_assert_eq(fw_cfg_item(5), 1);
    cr_assert_eq(fw_cfg_item(3), 512 << 20);
    cr_assert_eq(fw_cfg_item(0x11), 512 << 20);
    cr_assert_eq(fw_cfg_item(0x19), 0);
}

Test(platform, test_devices_can_be_left_out)
{
    struct platform_config config = rig_config(1);
    struct rig plain;

    config.test_device = false;
    rig_open_with(&plain, &config);
    cr_assert_eq(bus_port_read(plain.bus, 0xe0, 4), UINT32_MAX);
    cr_assert_eq(in8(&plain, 0x511), 0xff);
    cr_assert_eq(bus_mmio_read(plain.bus, 0xff000000, 4), UINT32_MAX);
    rig_close(&plain);
}

/* Writes values of any kind to any device for a while; a sum of all that can be seen of it. */
static uint64_t random_life(uint64_t seed, unsigned steps, unsigned cpus)
{
    static const uint16_t ports[] = {0x20,  0x40,  0x60,  0x61,   0x64,  0x70,  0x92,  0xa0,
                                     0xe0,  0xe9,  0xf4,  0x80,   0x3f8, 0x4d0, 0x510, 0x600,
                                     0x604, 0x608, 0xcf8, 0x2000, 0x3fc, 0x41};
    static const uint64_t pages[] = {0xfee00000, 0xfec00000, 0xff000000, 0xfed40000};
    static const uint32_t msrs[] = {0x1b,  0x6e0, 0x808, 0x80b, 0x80f, 0x828,
                                    0x830, 0x832, 0x835, 0x838, 0x83e, 0x83f};
    struct rig life;
    uint64_t digest = 0;

    rig_open(&life, cpus);
    for (unsigned step = 0; step < steps; step++) {
        uint16_t port = ports[rig_random(&seed) % 22] + rig_random(&seed) % 8;
        uint64_t gpa = pages[rig_random(&seed) % 4] + rig_random(&seed) % 0x400;
        uint32_t msr = msrs[rig_random(&seed) % 12] + rig_random(&seed) % 2;
        unsigned size = 1u << rig_random(&seed) % 3, cpu = rig_random(&seed) % cpus;
        uint64_t value = rig_random(&seed) >> rig_random(&seed) % 64, got = 0;

        if (rig_random(&seed) % 2)
            gpa &= ~15ull;
        platform_set_cpu(life.platform, cpu);
        switch (rig_random(&seed) % 10) {
        case 0:
        case 1:
            bus_port_write(life.bus, port, size, (uint32_t)value);
            break;
        case 2:
            got = bus_port_read(life.bus, port, size);
            break;
        case 3:
            bus_mmio_write(life.bus, gpa, size, value);
            break;
        case 4:
            got = bus_mmio_read(life.bus, gpa, 8);
            break;
        case 5:
            if (msr == 0x1b) /* mostly at home, in any mode */
                value = 0xfee00000 | (value & 0xf00);
            got = platform_apic_write_msr(life.platform, cpu, msr, value);
            break;
        case 6:
            platform_apic_read_msr(life.platform, cpu, msr, &got);
            break;
        case 7:
            if (platform_interrupt_pending(life.platform, cpu))
                got = platform_interrupt_acknowledge(life.platform, cpu);
            break;
        case 8:
            got = platform_console_input(life.platform, &value, 3);
            break;
        default:
            life.now += value % 1000000;
            platform_run_timers(life.platform);
            cr_assert_gt(platform_next_deadline(life.platform), life.now, "seed %lu", seed);
        }
        if (life.stops) {
            life.stops = 0;
            platform_reset(life.platform);
        }
        life.console_size = 0;
        digest = (digest ^ got) * 0x100000001b3ull + life.interrupt_changes +
                 platform_next_deadline(life.platform);
    }
    rig_close(&life);
    return digest;
}

/* Same accesses, same answers, interrupts and deadlines. */
Test(platform, random_lives_repeat)
{
    for (uint64_t run = 1; run <= 20; run++) {
        uint64_t seed = run * 0x9e3779b97f4a7c15ull;
        cr_assert_eq(random_life(seed, 5000, 1 + run % 4), random_life(seed, 5000, 1 + run % 4),
                     "run %lu", run);
    }
}

/* After a reset nothing is left of a life: the same from there as from power-up. */
Test(platform, reset_is_complete)
{
    static const uint16_t ports[] = {0x20,  0x21,  0xa1,  0x60,  0x64,  0x92,  0x61, 0x3f9,
                                     0x3fa, 0x3fc, 0x3fd, 0x4d0, 0x4d1, 0xcf9, 0xe0};

    out8(&rig, 0x21, 0x55);
    out8(&rig, 0x92, 0);
    out8(&rig, 0x3f9, 0x0f);
    out8(&rig, 0x3fc, 0x1f);
    out8(&rig, 0x2009, 1);
    bus_port_write(rig.bus, 0xe0, 4, 0x12345678);
    bus_mmio_write(rig.bus, 0xfee00080, 4, 0x70);
    bus_mmio_write(rig.bus, 0xfec00000, 4, 0x14);
    bus_mmio_write(rig.bus, 0xfec00010, 4, 0x44);
    platform_reset(rig.platform);
    for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        struct rig fresh;
        rig_open(&fresh, 1);
        cr_assert_eq(in8(&rig, ports[i]), in8(&fresh, ports[i]), "port %x", ports[i]);
        rig_close(&fresh);
    }
    for (unsigned number = 0; number < 0x40; number++) {
        struct rig fresh;
        rig_open(&fresh, 1);
        cr_assert_eq(bus_mmio_read(rig.bus, 0xfee00000 + number * 16, 4),
                     bus_mmio_read(fresh.bus, 0xfee00000 + number * 16, 4), "APIC %x", number);
        rig_close(&fresh);
    }
    bus_mmio_write(rig.bus, 0xfec00000, 4, 0x14);
    cr_assert_eq(bus_mmio_read(rig.bus, 0xfec00010, 4), 0x10000);
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x08, "the tick goes on");
}
