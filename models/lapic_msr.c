/*
 * The rules of access to the local APIC: IA32_APIC_BASE and the modes that it selects, x2APIC
 * registers by RDMSR and WRMSR, xAPIC registers in the memory window.
 */
#include "models/lapic.h"

#define MSR_IA32_APIC_BASE    0x1b
#define MSR_IA32_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST      0x800
#define MSR_X2APIC_ICR        (MSR_X2APIC_FIRST + LAPIC_ICR_LOW)

#define ICR_WRITABLE 0xffffffff000cdfffull /* bit 12, delivery status, may be written back */

enum access {
    R = 1,
    W = 2,
    RW = R | W,
};

/* SDM, "Local APIC Register Address Map" and "x2APIC Register Address Space". `allowed` are the
 * bits that WRMSR may set (read-only ones included: software writes back what it read). */
struct access_rule {
    uint8_t xapic, x2apic;
    uint32_t allowed;
};

// clang-format off
static const struct access_rule access_rules[LAPIC_REGISTERS] = {
    [LAPIC_ID]            = {RW, R, 0},
    [LAPIC_VERSION]       = {R, R, 0},
    [LAPIC_TPR]           = {RW, RW, 0xff},
    [LAPIC_APR]           = {R, 0, 0},
    [LAPIC_PPR]           = {R, R, 0},
    [LAPIC_EOI]           = {W, W, 0},
    [LAPIC_REMOTE_READ]   = {R, 0, 0},
    [LAPIC_LDR]           = {RW, R, 0},
    [LAPIC_DFR]           = {RW, 0, 0},
    [LAPIC_SVR]           = {RW, RW, 0x13ff},
    [LAPIC_ISR ... LAPIC_ISR + 7] = {R, R, 0},
    [LAPIC_TMR ... LAPIC_TMR + 7] = {R, R, 0},
    [LAPIC_IRR ... LAPIC_IRR + 7] = {R, R, 0},
    [LAPIC_ESR]           = {RW, RW, 0},
    [LAPIC_ICR_LOW]       = {RW, RW, 0},
    [LAPIC_ICR_HIGH]      = {RW, 0, 0},
    [LAPIC_LVT + LVT_TIMER]       = {RW, RW, 0x710ff},
    [LAPIC_LVT + LVT_THERMAL]     = {RW, RW, 0x117ff},
    [LAPIC_LVT + LVT_PERFORMANCE] = {RW, RW, 0x117ff},
    [LAPIC_LVT + LVT_LINT0]       = {RW, RW, 0x1f7ff},
    [LAPIC_LVT + LVT_LINT1]       = {RW, RW, 0x1f7ff},
    [LAPIC_LVT + LVT_ERROR]       = {RW, RW, 0x110ff},
    [LAPIC_INITIAL_COUNT] = {RW, RW, 0xffffffff},
    [LAPIC_CURRENT_COUNT] = {R, R, 0},
    [LAPIC_DIVIDE]        = {RW, RW, 0x0b},
    [LAPIC_SELF_IPI]      = {0, W, 0xff},
};
// clang-format on

static const struct access_rule *find_rule(uint64_t number)
{
    static const struct access_rule none;

    return number < LAPIC_REGISTERS ? &access_rules[number] : &none;
}

/* SDM, "x2APIC State Transitions". */
static bool transition_is_legal(const struct lapic *lapic, uint64_t value)
{
    bool enable = value & APIC_BASE_ENABLE, x2apic = value & APIC_BASE_X2APIC;

    if (x2apic && !enable)
        return false;
    if (lapic_is_x2apic(lapic))
        return x2apic || !enable;
    return !x2apic || lapic_is_enabled(lapic);
}

static void enter_x2apic(struct lapic *lapic)
{
    struct lapic_state *state = &lapic->state;

    state->id = lapic->cpu;
    /* SDM, "Deriving Logical x2APIC ID from the Local x2APIC ID" */
    state->ldr = state->id >> 4 << 16 | 1u << (state->id & 15);
    state->icr &= UINT32_MAX;
}

/* The disabled state loses everything, the ID that software has given included. */
static void enter_disabled(struct lapic *lapic)
{
    lapic->state.id = lapic->cpu << 24;
    lapic_init_reset(lapic);
}

static bool write_base(struct lapic *lapic, uint64_t value)
{
    uint64_t flags = APIC_BASE_BSP | APIC_BASE_ENABLE | (lapic->has_x2apic ? APIC_BASE_X2APIC : 0);
    uint64_t address = (1ull << lapic->physical_bits) - LAPIC_WINDOW_SIZE;
    bool was_enabled = lapic_is_enabled(lapic), was_x2apic = lapic_is_x2apic(lapic);

    if ((value & ~(flags | address)) || !transition_is_legal(lapic, value))
        return false;
    lapic->state.base = value;
    if (was_enabled && !lapic_is_enabled(lapic))
        enter_disabled(lapic);
    if (!was_x2apic && lapic_is_x2apic(lapic))
        enter_x2apic(lapic);
    lapic->changed(lapic->owner, lapic->cpu);
    return true;
}

bool lapic_read_msr(struct lapic *lapic, uint32_t msr, uint64_t *value)
{
    uint32_t number = msr - MSR_X2APIC_FIRST;

    if (msr == MSR_IA32_APIC_BASE) {
        *value = lapic->state.base;
        return true;
    }
    if (msr == MSR_IA32_TSC_DEADLINE) {
        *value = lapic_timer_deadline(lapic);
        return true;
    }
    if (!lapic_is_x2apic(lapic) || !(find_rule(number)->x2apic & R))
        return false;
    *value = number == LAPIC_ICR_LOW ? lapic->state.icr : lapic_read_register(lapic, number);
    return true;
}

bool lapic_write_msr(struct lapic *lapic, uint32_t msr, uint64_t value)
{
    uint32_t number = msr - MSR_X2APIC_FIRST;
    const struct access_rule *rule = find_rule(number);

    if (msr == MSR_IA32_APIC_BASE)
        return write_base(lapic, value);
    if (msr == MSR_IA32_TSC_DEADLINE) {
        lapic_timer_write_deadline(lapic, value);
        return true;
    }
    if (!lapic_is_x2apic(lapic) || !(rule->x2apic & W))
        return false;
    if (value & ~(msr == MSR_X2APIC_ICR ? ICR_WRITABLE : rule->allowed))
        return false;
    if (msr == MSR_X2APIC_ICR)
        lapic_write_icr(lapic, value);
    else
        lapic_write_register(lapic, number, (uint32_t)value);
    return true;
}

/* Registers are the first doubleword of each 16 bytes; what reads of the rest return is
 * undefined, and they read zero here. */
uint64_t lapic_window_read(struct lapic *lapic, uint64_t offset, unsigned size)
{
    if (!(find_rule(offset / 16)->xapic & RW)) {
        lapic_raise_error(lapic, LAPIC_ERROR_REGISTER);
        return 0;
    }
    if (offset % 16 >= 4 || !(find_rule(offset / 16)->xapic & R))
        return 0;
    return lapic_read_register(lapic, (enum lapic_register)(offset / 16)) >> offset % 16 * 8;
}

void lapic_window_write(struct lapic *lapic, uint64_t offset, unsigned size, uint64_t value)
{
    uint8_t access = find_rule(offset / 16)->xapic;

    if (!access)
        lapic_raise_error(lapic, LAPIC_ERROR_REGISTER);
    else if ((access & W) && offset % 16 == 0 && size == 4)
        lapic_write_register(lapic, (enum lapic_register)(offset / 16), (uint32_t)value);
}
