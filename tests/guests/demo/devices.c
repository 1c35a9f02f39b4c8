/* Interrupt controllers, timers, CMOS clock, PCI, the ways out. */
#include "demo.h"

#define PIC_MASTER    0x20
#define PIC_SLAVE     0xa0
#define PIC_EOI       0x20
#define PIT_HZ        1193182
#define APIC_BASE_MSR 0x1b

/* Local APIC registers. */
#define APIC_EOI       0x0b0
#define APIC_SPURIOUS  0x0f0
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LINT0 0x350
#define APIC_INITIAL   0x380
#define APIC_DIVIDE    0x3e0

static volatile uint32_t *apic;

static void pic_init(void)
{
    static const uint8_t commands[][2] = {
        {PIC_MASTER, 0x11},     {PIC_SLAVE, 0x11},
        {PIC_MASTER + 1, 0x20}, {PIC_SLAVE + 1, 0x28}, /* vectors */
        {PIC_MASTER + 1, 0x04}, {PIC_SLAVE + 1, 0x02}, /* the slave is at IRQ 2 */
        {PIC_MASTER + 1, 0x01}, {PIC_SLAVE + 1, 0x01},
        {PIC_MASTER + 1, 0xfe}, {PIC_SLAVE + 1, 0xff}, /* only IRQ 0 */
    };

    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        out8(commands[i][0], commands[i][1]);
}

void timer_start(unsigned hz)
{
    unsigned divisor = PIT_HZ / hz;

    pic_init();
    out8(0x43, 0x34); /* channel 0, low and high byte, rate generator */
    out8(0x40, divisor);
    out8(0x40, divisor >> 8);
}

void timer_stop(void)
{
    out8(PIC_MASTER + 1, 0xff);
}

void interrupt_end(unsigned vector)
{
    if (vector == VECTOR_APIC)
        apic[APIC_EOI / 4] = 0;
    else if (vector >= 0x20 && vector < 0x30)
        out8(PIC_MASTER, PIC_EOI);
}

/* One shot of the local APIC's timer; false if it does not come. */
bool apic_timer_wait(unsigned cycles)
{
    uint64_t before = interrupts[VECTOR_APIC];

    apic = (volatile uint32_t *)(read_msr(APIC_BASE_MSR) & 0xfffff000);
    apic[APIC_SPURIOUS / 4] = 0x100 | VECTOR_SPURIOUS;
    apic[APIC_LVT_LINT0 / 4] = 0x700; /* the 8259 pair stays connected */
    apic[APIC_DIVIDE / 4] = 0xb;      /* by 1 */
    apic[APIC_LVT_TIMER / 4] = VECTOR_APIC;
    apic[APIC_INITIAL / 4] = cycles;
    for (unsigned i = 0; i < 100 && interrupts[VECTOR_APIC] == before; i++)
        __asm__ volatile("sti; hlt; cli");
    return interrupts[VECTOR_APIC] == before + 1;
}

static uint64_t cmos(uint8_t index)
{
    out8(0x70, index);
    return in8(0x71);
}

/* A clock register as a number: BCD, unless status B says binary. */
static uint64_t cmos_number(uint8_t index)
{
    uint64_t value = cmos(index);

    return cmos(0x0b) & 4 ? value : (value >> 4) * 10 + (value & 15);
}

void show_clock(void)
{
    uint64_t month = cmos_number(8), day = cmos_number(7);

    check(month >= 1 && month <= 12 && day >= 1 && day <= 31, "devices",
          "CMOS clock: 20%02u-%02u-%02u %02u:%02u:%02u", cmos_number(9), month, day, cmos_number(4),
          cmos_number(2), cmos_number(0));
}

void show_pci(void)
{
    uint64_t count = 0;

    for (uint32_t device = 0; device < 32; device++) {
        out32(0xcf8, 0x80000000 | device << 11);
        uint32_t id = in32(0xcfc);
        if (id == 0xffffffff)
            continue;
        out32(0xcf8, 0x80000000 | device << 11 | 8);
        uint32_t class = in32(0xcfc) >> 16;
        tell("", "PCI 00:%02x.0: vendor %04x, device %04x, class %04x", (uint64_t)device,
             (uint64_t)(id & 0xffff), (uint64_t)(id >> 16), (uint64_t) class);
        count++;
    }
    check(count, "", "PCI devices on bus 0: %u", count);
}

/* ACPI S5 for success (the simulator's status is then 0), else port 0xf4 with 1. Where nothing is
 * at the ACPI port, 0xf4 with 0. */
void power_off(bool success)
{
    if (success)
        out16(0x604, 0x2000);
    for (unsigned i = 0; success && i < 100000; i++) /* it need not be immediate */
        in8(UART + 7);
    out32(0xf4, success ? 0 : 1);
}
