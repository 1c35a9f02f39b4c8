/* The local APIC: priorities, access rules of both modes, IA32_APIC_BASE, LVT and errors. */
#include "test_models_lapic.h"

static struct rig rig;

static void set_up(void)
{
    rig_open_lapics(&rig, 2);
}

static void tear_down(void)
{
    rig_close(&rig);
}

TestSuite(lapic, .init = set_up, .fini = tear_down);

static void self_ipi(unsigned vector)
{
    lapic_set(&rig, 0, LAPIC_ICR_LOW, 0x40000 | vector);
}

static bool pending(unsigned cpu)
{
    return platform_interrupt_pending(rig.platform, cpu);
}

/* SDM, "Local APIC State After Power-Up or Reset". */
Test(lapic, state_after_power_up)
{
    static const struct {
        unsigned number;
        uint32_t value;
    } reset[] = {
        {LAPIC_ID, 1 << 24},      {LAPIC_VERSION, 0x01050014},
        {LAPIC_TPR, 0},           {LAPIC_PPR, 0},
        {LAPIC_LDR, 0},           {LAPIC_DFR, 0xffffffff},
        {LAPIC_SVR, 0xff},        {LAPIC_ESR, 0},
        {LAPIC_ICR_LOW, 0},       {LAPIC_ICR_HIGH, 0},
        {LAPIC_LVT, 0x10000},     {LAPIC_LVT + 1, 0x10000},
        {LAPIC_LVT + 2, 0x10000}, {LAPIC_LVT + 3, 0x10000},
        {LAPIC_LVT + 4, 0x10000}, {LAPIC_LVT + 5, 0x10000},
        {LAPIC_INITIAL_COUNT, 0}, {LAPIC_CURRENT_COUNT, 0},
        {LAPIC_DIVIDE, 0},
    };
    struct rig fresh;

    rig_open(&fresh, 2);
    for (unsigned i = 0; i < sizeof(reset) / sizeof(reset[0]); i++)
        cr_assert_eq(lapic_get(&fresh, 1, reset[i].number), reset[i].value, "register %x",
                     reset[i].number);
    cr_assert_eq(msr_read(&fresh, 0, MSR_APIC_BASE), 0xfee00900);
    cr_assert_eq(msr_read(&fresh, 1, MSR_APIC_BASE), 0xfee00800, "only CPU 0 is the BSP");
    /* firmware has put the BSP into virtual-wire mode */
    cr_assert_eq(lapic_get(&fresh, 0, LAPIC_SVR), 0x1ff);
    cr_assert_eq(lapic_get(&fresh, 0, LAPIC_LVT + LVT_LINT0), 0x700);
    cr_assert_eq(lapic_get(&fresh, 0, LAPIC_LVT + LVT_LINT1), 0x400);
    rig_close(&fresh);
}

/* SDM, "Local APIC State After an INIT Reset": all but the ID; IA32_APIC_BASE is untouched. */
Test(lapic, state_after_init)
{
    lapic_set(&rig, 0, LAPIC_ID, 0x55000000);
    lapic_set(&rig, 0, LAPIC_TPR, 0x33);
    lapic_set(&rig, 0, LAPIC_LDR, 0x01000000);
    lapic_set(&rig, 0, LAPIC_INITIAL_COUNT, 1000);
    self_ipi(0x50);
    platform_apic_init_reset(rig.platform, 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_ID), 0x55000000);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_TPR), 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_LDR), 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_SVR), 0xff);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_IRR + 2), 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_CURRENT_COUNT), 0);
    cr_assert_not(pending(0));
    cr_assert_eq(msr_read(&rig, 0, MSR_APIC_BASE), 0xfee00900);

    enable_x2apic(&rig, 1);
    platform_apic_init_reset(rig.platform, 1);
    cr_assert_eq(msr_read(&rig, 1, MSR_X2APIC + LAPIC_ID), 1, "x2APIC mode survives INIT");
    cr_assert_eq(msr_read(&rig, 1, MSR_X2APIC + LAPIC_LDR), 2);
}

static int highest(const bool *set)
{
    for (int vector = 255; vector >= 0; vector--) {
        if (set[vector])
            return vector;
    }
    return -1;
}

/* Random acceptance, acknowledgement, EOI and TPR against sets of vectors kept as arrays. */
Test(lapic, priorities_match_the_naive_model)
{
    static bool requested[256], serving[256];
    uint64_t seed = 99;
    unsigned tpr = 0;

    for (unsigned step = 0; step < 50000; step++) {
        unsigned vector = 16 + rig_random(&seed) % 240;
        int request, service;
        unsigned ppr;

        switch (rig_random(&seed) % 5) {
        case 0:
        case 1:
            self_ipi(vector);
            requested[vector] = true;
            break;
        case 2:
            if (rig_random(&seed) % 2) {
                tpr = (unsigned)rig_random(&seed) & (rig_random(&seed) % 2 ? 0x3f : 0xff);
                lapic_set(&rig, 0, LAPIC_TPR, tpr);
                cr_assert_eq(platform_read_cr8(rig.platform, 0), tpr >> 4);
            } else {
                tpr = (unsigned)(rig_random(&seed) % 16) << 4;
                platform_write_cr8(rig.platform, 0, tpr >> 4);
                cr_assert_eq(lapic_get(&rig, 0, LAPIC_TPR), tpr);
            }
            break;
        case 3:
            lapic_set(&rig, 0, LAPIC_EOI, 0);
            if (highest(serving) >= 0)
                serving[highest(serving)] = false;
            break;
        default:
            if (!pending(0))
                break;
            vector = platform_interrupt_acknowledge(rig.platform, 0);
            cr_assert_eq(vector, highest(requested), "step %u", step);
            requested[vector] = false;
            serving[vector] = true;
        }
        request = highest(requested);
        service = highest(serving);
        /* PPR: TPR if its class is at least that of the vector in service, else that class */
        ppr = (int)(tpr >> 4) >= service >> 4 ? tpr : (unsigned)service & 0xf0;
        cr_assert_eq(lapic_get(&rig, 0, LAPIC_PPR), ppr, "step %u", step);
        cr_assert_eq(pending(0), request >= 0 && (unsigned)request >> 4 > ppr >> 4, "step %u",
                     step);
        for (unsigned i = 0; i < 8; i++) {
            uint32_t irr = 0, isr = 0;
            for (unsigned bit = 0; bit < 32; bit++) {
                irr |= (uint32_t)requested[i * 32 + bit] << bit;
                isr |= (uint32_t)serving[i * 32 + bit] << bit;
            }
            cr_assert_eq(lapic_get(&rig, 0, LAPIC_IRR + i), irr);
            cr_assert_eq(lapic_get(&rig, 0, LAPIC_ISR + i), isr);
        }
    }
}

/* Callers sleep until interrupt_changed: it comes with every change, and with no other. */
Test(lapic, changes_are_reported)
{
    unsigned before = rig.interrupt_changes;

    self_ipi(0x50);
    cr_assert_eq(rig.interrupt_changes, before + 1);
    self_ipi(0x60);
    cr_assert_eq(rig.interrupt_changes, before + 1, "it was pending already");
    platform_write_cr8(rig.platform, 0, 6);
    cr_assert_eq(rig.interrupt_changes, before + 2);
    platform_write_cr8(rig.platform, 0, 5);
    cr_assert_eq(rig.interrupt_changes, before + 3);
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x60);
    cr_assert_eq(rig.interrupt_changes, before + 4, "50h waits below 60h");
    lapic_set(&rig, 0, LAPIC_EOI, 0);
    cr_assert_eq(rig.interrupt_changes, before + 4, "and below the task priority");
    platform_write_cr8(rig.platform, 0, 4);
    cr_assert_eq(rig.interrupt_changes, before + 5);
}

/* SDM, "Spurious Interrupt": nothing deliverable at the time of INTA; no bit of ISR is set. */
Test(lapic, spurious_vector)
{
    lapic_set(&rig, 0, LAPIC_SVR, 0x1e7);
    self_ipi(0x50);
    lapic_set(&rig, 0, LAPIC_TPR, 0x50);
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0xe7);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(lapic_get(&rig, 0, LAPIC_ISR + i), 0);
    lapic_set(&rig, 0, LAPIC_TPR, 0);
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x50, "the request is kept");
}

/* SDM, "x2APIC Register Address Space": who may be read and written. */
static const char *x2apic_access(unsigned number)
{
    switch (number) {
    case 0x02:
    case 0x03:
    case 0x0a:
    case 0x0d:
    case 0x10 ... 0x27:
    case 0x39:
        return "r";
    case 0x0b:
    case 0x3f:
        return "w";
    case 0x08:
    case 0x0f:
    case 0x28:
    case 0x30:
    case 0x32 ... 0x38:
    case 0x3e:
        return "rw";
    default:
        return "";
    }
}

Test(lapic, msr_access_rules)
{
    uint64_t value;

    for (unsigned number = 0; number < 0x100; number++) {
        cr_assert_not(platform_apic_read_msr(rig.platform, 0, MSR_X2APIC + number, &value),
                      "xAPIC mode has no x2APIC registers: %x", number);
        cr_assert_not(platform_apic_write_msr(rig.platform, 0, MSR_X2APIC + number, 0));
    }
    enable_x2apic(&rig, 0);
    for (unsigned number = 0; number < 0x100; number++) {
        const char *access = x2apic_access(number);
        cr_assert_eq(platform_apic_read_msr(rig.platform, 0, MSR_X2APIC + number, &value),
                     strchr(access, 'r') != NULL, "RDMSR %x", number);
        cr_assert_eq(platform_apic_write_msr(rig.platform, 0, MSR_X2APIC + number, 0),
                     strchr(access, 'w') != NULL, "WRMSR %x", number);
    }
}

/* Reserved bits of each writable register, from the figures of the SDM; #GP for each alone. */
Test(lapic, msr_reserved_bits)
{
    static const struct {
        unsigned number;
        uint64_t allowed;
    } registers[] = {
        {LAPIC_TPR, 0xff},
        {LAPIC_EOI, 0},
        {LAPIC_SVR, 0x13ff},
        {LAPIC_ESR, 0},
        {LAPIC_ICR_LOW, 0xffffffff000cdfff},
        {LAPIC_LVT + LVT_TIMER, 0x710ff},
        {LAPIC_LVT + LVT_THERMAL, 0x117ff},
        {LAPIC_LVT + LVT_PERFORMANCE, 0x117ff},
        {LAPIC_LVT + LVT_LINT0, 0x1f7ff},
        {LAPIC_LVT + LVT_LINT1, 0x1f7ff},
        {LAPIC_LVT + LVT_ERROR, 0x110ff},
        {LAPIC_INITIAL_COUNT, 0xffffffff},
        {LAPIC_DIVIDE, 0x0b},
        {LAPIC_SELF_IPI, 0xff},
    };

    enable_x2apic(&rig, 0);
    for (unsigned i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        for (unsigned bit = 0; bit < 64; bit++)
            cr_assert_eq(platform_apic_write_msr(rig.platform, 0, MSR_X2APIC + registers[i].number,
                                                 1ull << bit),
                         registers[i].allowed >> bit & 1, "register %x bit %u", registers[i].number,
                         bit);
    }
}

/* SDM, "x2APIC State Transitions", all pairs; bits are EXTD, EN. */
Test(lapic, base_transitions)
{
    enum { DISABLED, INVALID_MODE, XAPIC, X2APIC, MODES };
    static const uint64_t bits[MODES] = {0, APIC_BASE_X2APIC, APIC_BASE_ENABLE,
                                         APIC_BASE_ENABLE | APIC_BASE_X2APIC};
    static const bool legal[MODES][MODES] = {
        [DISABLED] = {true, false, true, false},
        [XAPIC] = {true, false, true, true},
        [X2APIC] = {true, false, false, true},
    };
    static const unsigned path[MODES][3] = {
        [DISABLED] = {DISABLED, DISABLED, DISABLED},
        [XAPIC] = {DISABLED, XAPIC, XAPIC},
        [X2APIC] = {DISABLED, XAPIC, X2APIC},
    };

    for (unsigned from = 0; from < MODES; from++) {
        for (unsigned to = 0; from != INVALID_MODE && to < MODES; to++) {
            for (unsigned i = 0; i < 3; i++)
                msr_write(&rig, 0, MSR_APIC_BASE, 0xfee00100 | bits[path[from][i]]);
            cr_assert_eq(
                platform_apic_write_msr(rig.platform, 0, MSR_APIC_BASE, 0xfee00100 | bits[to]),
                legal[from][to], "%u -> %u", from, to);
            cr_assert_eq(msr_read(&rig, 0, MSR_APIC_BASE),
                         0xfee00100 | bits[legal[from][to] ? to : from]);
        }
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        bool writable = (bit >= 12 && bit < 40) || bit == 8 || bit == 11;
        msr_write(&rig, 1, MSR_APIC_BASE, 0);
        cr_assert_eq(platform_apic_write_msr(rig.platform, 1, MSR_APIC_BASE, 1ull << bit), writable,
                     "bit %u", bit);
    }
}

Test(lapic, without_x2apic_its_bit_is_reserved)
{
    struct platform_config config = rig_config(1);
    struct rig old;

    config.x2apic = false;
    rig_open_with(&old, &config);
    cr_assert_not(platform_apic_write_msr(old.platform, 0, MSR_APIC_BASE, 0xfee00d00));
    rig_close(&old);
}

/* SDM, "x2APIC Register Availability" and the notes on the transitions. */
Test(lapic, state_across_modes)
{
    lapic_set(&rig, 1, LAPIC_ID, 0x77000000);
    lapic_set(&rig, 1, LAPIC_TPR, 0x20);
    lapic_set(&rig, 1, LAPIC_ICR_HIGH, 0x05000000);
    enable_x2apic(&rig, 1);
    cr_assert_eq(msr_read(&rig, 1, MSR_X2APIC + LAPIC_ID), 1, "the initial ID again");
    cr_assert_eq(msr_read(&rig, 1, MSR_X2APIC + LAPIC_LDR), 1 << 1);
    cr_assert_eq(msr_read(&rig, 1, MSR_X2APIC + LAPIC_TPR), 0x20);
    cr_assert_eq(msr_read(&rig, 1, MSR_X2APIC + LAPIC_ICR_LOW) >> 32, 0);
    cr_assert_eq(msr_read(&rig, 1, MSR_X2APIC + LAPIC_SVR), 0x1ff);
    cr_assert_eq(lapic_get(&rig, 1, LAPIC_VERSION), UINT32_MAX, "no window in x2APIC mode");
    msr_write(&rig, 1, MSR_APIC_BASE, 0xfee00000);
    cr_assert_eq(lapic_get(&rig, 1, LAPIC_VERSION), UINT32_MAX, "nor when disabled");
    lapic_set(&rig, 1, LAPIC_TPR, 0xff);
    cr_assert_eq(platform_read_cr8(rig.platform, 1), 0, "and writes are dropped");
    platform_write_cr8(rig.platform, 1, 9);
    cr_assert_eq(platform_read_cr8(rig.platform, 1), 9, "CR8 works all the same");
    msr_write(&rig, 1, MSR_APIC_BASE, 0xfee00800);
    cr_assert_eq(lapic_get(&rig, 1, LAPIC_ID), 1 << 24);
    cr_assert_eq(lapic_get(&rig, 1, LAPIC_SVR), 0xff);
    cr_assert_eq(lapic_get(&rig, 1, LAPIC_TPR), 0x90);
}

Test(lapic, window_moves_with_its_base)
{
    msr_write(&rig, 0, MSR_APIC_BASE, 0xfed40900);
    platform_set_cpu(rig.platform, 0);
    cr_assert_eq(bus_mmio_read(rig.bus, 0xfed40030, 4), 0x01050014);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_VERSION), UINT32_MAX, "CPU 0 has left");
    cr_assert_eq(lapic_get(&rig, 1, LAPIC_VERSION), 0x01050014, "CPU 1 has not");
    cr_assert_eq(bus_mmio_read(rig.bus, 0xfed40030, 4), UINT32_MAX, "and does not see CPU 0's");
    msr_write(&rig, 0, MSR_APIC_BASE, 0xfee00900);
    cr_assert_null(bus_find_mmio(rig.bus, 0xfed40030));
    /* on top of the I/O APIC, which keeps its place */
    msr_write(&rig, 0, MSR_APIC_BASE, 0xfec00900);
    platform_set_cpu(rig.platform, 0);
    bus_mmio_write(rig.bus, PLATFORM_IOAPIC_BASE, 4, 1);
    cr_assert_eq(bus_mmio_read(rig.bus, PLATFORM_IOAPIC_BASE + 0x10, 4), 0x00170020);
}

/* Registers are 32 bits wide at multiples of 16; anything else is no access to a register. */
Test(lapic, window_access_widths)
{
    const uint64_t tpr = PLATFORM_LAPIC_BASE + LAPIC_TPR * 16;

    platform_set_cpu(rig.platform, 0);
    bus_mmio_write(rig.bus, tpr, 4, 0x45);
    bus_mmio_write(rig.bus, tpr, 1, 0x11);
    bus_mmio_write(rig.bus, tpr, 2, 0x22);
    bus_mmio_write(rig.bus, tpr, 8, 0x33);
    bus_mmio_write(rig.bus, tpr + 4, 4, 0x44);
    bus_mmio_write(rig.bus, tpr + 1, 4, 0x55);
    cr_assert_eq(bus_mmio_read(rig.bus, tpr, 4), 0x45);
    cr_assert_eq(bus_mmio_read(rig.bus, tpr, 1), 0x45);
    cr_assert_eq(bus_mmio_read(rig.bus, PLATFORM_LAPIC_BASE + 0x32, 2), 0x0105);
    cr_assert_eq(bus_mmio_read(rig.bus, tpr + 8, 4), 0);
}

/* SDM, "Error Handling": collected bits show at the next write of the ESR. */
Test(lapic, errors)
{
    lapic_set(&rig, 0, LAPIC_LVT + LVT_ERROR, 0xe5);
    self_ipi(15);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_ESR), 0, "not before a write");
    lapic_set(&rig, 0, LAPIC_ESR, 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_ESR), 0x20, "send illegal vector");
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0xe5);
    lapic_set(&rig, 0, LAPIC_EOI, 0);
    lapic_get(&rig, 0, 0x2f);
    lapic_set(&rig, 0, LAPIC_ESR, 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_ESR), 0x80, "illegal register address");
    lapic_set(&rig, 0, LAPIC_ESR, 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_ESR), 0);
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0xe5);
    lapic_set(&rig, 0, LAPIC_EOI, 0);

    lapic_set(&rig, 0, LAPIC_LVT + LVT_ERROR, 0x05);
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, 0x0f);
    lapic_set(&rig, 0, LAPIC_INITIAL_COUNT, 1);
    rig_advance(&rig, 1000);
    lapic_set(&rig, 0, LAPIC_ESR, 0);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_ESR), 0x40, "receive illegal vector");
    cr_assert_not(pending(0));
}

/* SDM, "Local APIC Software Disable": LVT entries are masked and stay so; what was accepted is
 * kept; NMI, INIT and start-up IPIs still come. */
Test(lapic, software_disable)
{
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, 0x200ee);
    self_ipi(0x50);
    lapic_set(&rig, 0, LAPIC_SVR, 0xff);
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        cr_assert(lapic_get(&rig, 0, LAPIC_LVT + i) & LVT_MASKED, "entry %u", i);
    lapic_set(&rig, 0, LAPIC_LVT + LVT_TIMER, 0xee);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_LVT + LVT_TIMER), 0x100ee);
    cr_assert(pending(0), "50h is held");
    self_ipi(0x60);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_IRR + 3), 0, "60h is not accepted");
    lapic_set(&rig, 1, LAPIC_ICR_HIGH, 0);
    lapic_set(&rig, 1, LAPIC_ICR_LOW, 0x4400);
    cr_assert_eq(rig.nmis[0], 1);
}

/* SDM, "Local Interrupt Acceptance": the 8259's INT at LINT0 in its delivery modes. */
Test(lapic, lint0_delivery_modes)
{
    out8(&rig, 0x21, 0xdf); /* line 5 through the 8259 */
    lapic_set(&rig, 0, LAPIC_LVT + LVT_LINT0, 0x10700);
    out8(&rig, 0x2005, 1);
    cr_assert_not(pending(0), "masked");
    lapic_set(&rig, 0, LAPIC_LVT + LVT_LINT0, 0x700);
    cr_assert(pending(0), "ExtINT follows the pin");
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x0d);
    out8(&rig, 0x20, 0x20);
    out8(&rig, 0x2005, 0);

    lapic_set(&rig, 0, LAPIC_LVT + LVT_LINT0, 0x400);
    out8(&rig, 0x2005, 1);
    cr_assert_eq(rig.nmis[0], 1);
    out8(&rig, 0x2005, 0);

    lapic_set(&rig, 0, LAPIC_LVT + LVT_LINT0, 0x81);
    out8(&rig, 0x2005, 1);
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x81);
    lapic_set(&rig, 0, LAPIC_EOI, 0);
    cr_assert_not(pending(0), "one edge, one interrupt");
    out8(&rig, 0x2005, 0);

    lapic_set(&rig, 0, LAPIC_LVT + LVT_LINT0, 0x8082);
    out8(&rig, 0x2005, 1);
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_LVT + LVT_LINT0), 0xc082, "remote IRR");
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x82);
    cr_assert_not(pending(0));
    lapic_set(&rig, 0, LAPIC_EOI, 0);
    cr_assert(pending(0), "the level is still high");
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x82);
    out8(&rig, 0x2005, 0);
    lapic_set(&rig, 0, LAPIC_EOI, 0);
    cr_assert_not(pending(0));
    cr_assert_eq(lapic_get(&rig, 0, LAPIC_LVT + LVT_LINT0), 0x8082);

    /* a disabled local APIC is none: LINT0 is INTR */
    msr_write(&rig, 0, MSR_APIC_BASE, 0xfee00100);
    out8(&rig, 0x2005, 1);
    cr_assert_eq(platform_interrupt_acknowledge(rig.platform, 0), 0x0d);
}
