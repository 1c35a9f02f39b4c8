/* The 16550A: data sheet tables on interrupts, FIFO and modem lines. */
#include "test_models_rig.h"

#define COM1 PLATFORM_COM1_PORT
enum { RBR = COM1, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static struct rig rig;

/* 8n1, divisor 1, OUT2 on, only IRQ 4 unmasked. */
static void set_up(void)
{
    rig_open(&rig, 1);
    out8(&rig, 0x21, 0xef);
    out8(&rig, LCR, 0x83);
    out8(&rig, RBR, 1);
    out8(&rig, IER, 0);
    out8(&rig, LCR, 0x03);
    out8(&rig, MCR, 0x08);
}

static void tear_down(void)
{
    rig_close(&rig);
}

static void type(const char *text)
{
    cr_assert_eq(platform_console_input(rig.platform, text, strlen(text)), strlen(text));
}

static bool interrupt(void)
{
    return platform_interrupt_pending(rig.platform, 0);
}

TestSuite(uart16550, .init = set_up, .fini = tear_down);

Test(uart16550, bytes_reach_the_console)
{
    for (const char *c = "hello\n"; *c; c++) {
        cr_assert_eq(in8(&rig, LSR), 0x60, "the transmitter is always empty");
        out8(&rig, RBR, (uint8_t)*c);
    }
    cr_assert_eq(rig.console_size, 6);
    cr_assert_arr_eq(rig.console, "hello\n", 6);
}

Test(uart16550, registers_hold)
{
    out8(&rig, SCR, 0x5a);
    cr_assert_eq(in8(&rig, SCR), 0x5a);
    out8(&rig, IER, 0xff);
    cr_assert_eq(in8(&rig, IER), 0x0f, "bits 4-7 are always 0");
    out8(&rig, MCR, 0xff);
    cr_assert_eq(in8(&rig, MCR), 0x1f, "bits 5-7 are always 0");
    out8(&rig, LCR, 0x83);
    out8(&rig, RBR, 0x34);
    out8(&rig, IER, 0x12);
    cr_assert_eq(in8(&rig, RBR), 0x34);
    cr_assert_eq(in8(&rig, IER), 0x12);
    out8(&rig, LCR, 0x03);
    cr_assert_eq(in8(&rig, IER), 0x0f, "the divisor is not IER");
    out8(&rig, IIR, 0x01);
    cr_assert_eq(in8(&rig, IIR) & 0xc0, 0xc0, "bits 6 and 7 tell that the FIFO is on");
    out8(&rig, IIR, 0x00);
    cr_assert_eq(in8(&rig, IIR) & 0xc0, 0);
}

/* Data sheet, "Interrupt Control Functions": each level masks the ones below it, and each has its
 * own way to be reset. */
Test(uart16550, interrupt_priorities)
{
    out8(&rig, IIR, 0x01);
    out8(&rig, MCR, 0x18); /* loopback: all sources can be made */
    out8(&rig, IER, 0x0f);
    in8(&rig, MSR);
    in8(&rig, IIR); /* takes the THR-empty interrupt away */
    cr_assert_eq(in8(&rig, IIR), 0xc1);

    out8(&rig, MCR, 0x19); /* DTR: delta DSR */
    cr_assert_eq(in8(&rig, IIR), 0xc0, "modem status");
    out8(&rig, RBR, 'x'); /* loops back: data and THR empty */
    for (unsigned i = 1; i < 17; i++)
        out8(&rig, RBR, 'y'); /* the seventeenth overruns */
    cr_assert_eq(in8(&rig, IIR), 0xc6, "line status first");
    cr_assert_eq(in8(&rig, LSR), 0x63, "overrun, and data ready");
    cr_assert_eq(in8(&rig, LSR), 0x61, "reading has cleared it");
    cr_assert_eq(in8(&rig, IIR), 0xc4, "then received data");
    cr_assert_eq(in8(&rig, IIR), 0xc4, "which reading IIR does not clear");
    cr_assert_eq(in8(&rig, RBR), 'x');
    for (unsigned i = 1; i < 16; i++)
        cr_assert_eq(in8(&rig, RBR), 'y', "the FIFO was not overwritten");
    cr_assert_eq(in8(&rig, IIR), 0xc2, "then the transmitter");
    cr_assert_eq(in8(&rig, IIR), 0xc0, "which reading IIR does clear; modem status is left");
    cr_assert_eq(in8(&rig, MSR), 0xa2, "DSR with its delta, and DCD from OUT2");
    cr_assert_eq(in8(&rig, IIR), 0xc1);
}

/* Data sheet: the THR-empty interrupt rises when it is enabled with THR empty, and after each
 * byte; writing THR or reading IIR as the source takes it away. */
Test(uart16550, transmitter_interrupt)
{
    cr_assert_not(interrupt());
    out8(&rig, IER, 0x02);
    cr_assert(interrupt(), "enabled with THR empty");
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x0c);
    out8(&rig, 0x20, 0x20);
    cr_assert_eq(in8(&rig, IIR), 0x02);
    cr_assert_eq(in8(&rig, IIR), 0x01);
    cr_assert_not(interrupt());
    out8(&rig, RBR, 'a');
    cr_assert(interrupt(), "the byte has left");
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x0c);
    out8(&rig, 0x20, 0x20);
    cr_assert_not(interrupt(), "the line is high and stays so: no new edge");
    out8(&rig, RBR, 'b');
    cr_assert(interrupt(), "but every byte makes one");
    out8(&rig, IER, 0x00);
    cr_assert_not(interrupt());
    in8(&rig, IIR);
    out8(&rig, IER, 0x02);
    cr_assert(interrupt());
}

Test(uart16550, out2_gates_the_line)
{
    out8(&rig, MCR, 0x00);
    out8(&rig, IER, 0x02);
    cr_assert_not(interrupt());
    cr_assert_eq(in8(&rig, IIR), 0x02, "the interrupt is there, though");
    out8(&rig, IER, 0x00);
    out8(&rig, IER, 0x02);
    out8(&rig, MCR, 0x08);
    cr_assert(interrupt());
    out8(&rig, MCR, 0x18);
    cr_assert_not(interrupt(), "loopback takes OUT2 from the pin");
}

Test(uart16550, receiver_trigger_levels)
{
    static const unsigned levels[4] = {1, 4, 8, 14};

    for (unsigned i = 0; i < 4; i++) {
        out8(&rig, IIR, (uint8_t)(i << 6 | 0x03));
        out8(&rig, IER, 0x01);
        for (unsigned n = 1; n <= 16; n++) {
            type("z");
            cr_assert_eq(in8(&rig, IIR), n >= levels[i] ? 0xc4 : 0xc1, "level %u, %u bytes",
                         levels[i], n);
        }
        for (unsigned n = 15; n < 16; n--) {
            in8(&rig, RBR);
            cr_assert_eq(in8(&rig, IIR), n >= levels[i] ? 0xc4 : 0xc1);
        }
        out8(&rig, IER, 0);
    }
}

/* "no characters ... during the last 4 character times": 4 * 10 bits * 16 / 1.8432 MHz. */
Test(uart16550, character_timeout)
{
    const uint64_t timeout = 4ull * 10 * 16 * RIG_HZ / 1843200;

    out8(&rig, IIR, 0xc1); /* level 14 */
    out8(&rig, IER, 0x01);
    type("ab");
    rig_advance(&rig, timeout - 1000);
    cr_assert_eq(in8(&rig, IIR), 0xc1);
    rig_advance(&rig, 2000);
    cr_assert_eq(in8(&rig, IIR), 0xcc);
    cr_assert(interrupt());
    cr_assert_eq(in8(&rig, RBR), 'a');
    cr_assert_eq(in8(&rig, IIR), 0xc1, "reading restarts the time");
    rig_advance(&rig, timeout + 1000);
    cr_assert_eq(in8(&rig, IIR), 0xcc, "for the byte that is left");
    in8(&rig, RBR);
    rig_advance(&rig, 10 * timeout);
    cr_assert_eq(in8(&rig, IIR), 0xc1, "an empty FIFO times nothing out");
}

/* Nothing typed is lost, however long the guest does not look; in order. */
Test(uart16550, input_waits_for_room)
{
    char text[1000];

    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    cr_assert_eq(platform_console_input(rig.platform, text, sizeof(text)), sizeof(text));
    cr_assert_eq(in8(&rig, LSR), 0x61);
    out8(&rig, IIR, 0x01);
    for (unsigned i = 1; i < sizeof(text); i++) { /* switching the FIFO on has lost one */
        cr_assert_eq(in8(&rig, LSR), 0x61);
        cr_assert_eq(in8(&rig, RBR), text[i]);
    }
    cr_assert_eq(in8(&rig, LSR), 0x60);
    for (unsigned i = 0, taken = 1; taken; i++) {
        taken = (unsigned)platform_console_input(rig.platform, text, sizeof(text));
        cr_assert_lt(i, 100, "the queue has an end");
    }
}

/* Data sheet, MCR bit 4: what is looped to what. RI's delta is its trailing edge. */
Test(uart16550, loopback)
{
    static const struct {
        uint8_t outputs, inputs;
    } wires[] = {{0x01, 0x20}, {0x02, 0x10}, {0x04, 0x40}, {0x08, 0x80}};

    cr_assert_eq(in8(&rig, MSR) & 0xf0, 0xb0, "somebody is at the other end");
    for (unsigned i = 0; i < 4; i++) {
        out8(&rig, MCR, 0x10);
        in8(&rig, MSR);
        out8(&rig, MCR, 0x10 | wires[i].outputs);
        cr_assert_eq(in8(&rig, MSR),
                     wires[i].inputs | (wires[i].inputs == 0x40 ? 0 : wires[i].inputs >> 4));
        cr_assert_eq(in8(&rig, MSR), wires[i].inputs, "deltas are cleared by reading");
        out8(&rig, MCR, 0x10);
        cr_assert_eq(in8(&rig, MSR), wires[i].inputs >> 4);
    }
    type("hidden");
    out8(&rig, RBR, 0xa5);
    cr_assert_eq(rig.console_size, 0, "loopback sends nothing out");
    cr_assert_eq(in8(&rig, RBR), 0xa5);
    cr_assert_eq(in8(&rig, LSR), 0x60, "and lets nothing in");
    out8(&rig, MCR, 0x08);
    cr_assert_eq(in8(&rig, RBR), 'h');
}
