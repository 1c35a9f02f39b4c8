/*
 * The local APIC of one processor: SDM, "Advanced Programmable Interrupt Controller (APIC)".
 *
 * lapic.c       registers, priorities, acceptance and acknowledgement of interrupts, errors
 * lapic_timer.c one-shot, periodic and TSC-deadline timer
 * lapic_msr.c   IA32_APIC_BASE and its modes, the x2APIC registers, xAPIC's memory window
 */
#ifndef VTXSIM_MODELS_LAPIC_H
#define VTXSIM_MODELS_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "models/apic_bus.h"
#include "models/clock.h"

#define LAPIC_WINDOW_SIZE 0x1000u
#define LAPIC_VECTORS     256

#define APIC_BASE_BSP    (1ull << 8)
#define APIC_BASE_X2APIC (1ull << 10)
#define APIC_BASE_ENABLE (1ull << 11)

/* Register numbers: offset in the xAPIC window / 16 = x2APIC MSR - 0x800. */
enum lapic_register {
    LAPIC_ID = 0x02,
    LAPIC_VERSION = 0x03,
    LAPIC_TPR = 0x08,
    LAPIC_APR = 0x09,
    LAPIC_PPR = 0x0a,
    LAPIC_EOI = 0x0b,
    LAPIC_REMOTE_READ = 0x0c,
    LAPIC_LDR = 0x0d,
    LAPIC_DFR = 0x0e,
    LAPIC_SVR = 0x0f,
    LAPIC_ISR = 0x10,
    LAPIC_TMR = 0x18,
    LAPIC_IRR = 0x20,
    LAPIC_ESR = 0x28,
    LAPIC_ICR_LOW = 0x30,
    LAPIC_ICR_HIGH = 0x31,
    LAPIC_LVT = 0x32, /* first of LAPIC_LVT_COUNT */
    LAPIC_INITIAL_COUNT = 0x38,
    LAPIC_CURRENT_COUNT = 0x39,
    LAPIC_DIVIDE = 0x3e,
    LAPIC_SELF_IPI = 0x3f,
    LAPIC_REGISTERS = 0x40,
};

/* The local vector table in the order of its registers. */
enum lapic_lvt {
    LVT_TIMER,
    LVT_THERMAL,
    LVT_PERFORMANCE,
    LVT_LINT0,
    LVT_LINT1,
    LVT_ERROR,
    LAPIC_LVT_COUNT,
};

#define LVT_REMOTE_IRR (1u << 14)
#define LVT_LEVEL      (1u << 15)
#define LVT_MASKED     (1u << 16)

#define SVR_ENABLED                (1u << 8)
#define SVR_SUPPRESS_EOI_BROADCAST (1u << 12)

/* Bits of the error status register. */
enum lapic_error {
    LAPIC_ERROR_SEND_VECTOR = 1 << 5,
    LAPIC_ERROR_RECEIVE_VECTOR = 1 << 6,
    LAPIC_ERROR_REGISTER = 1 << 7,
};

struct lapic_state {
    uint64_t base; /* IA32_APIC_BASE */
    uint32_t id;   /* the ID register as read: bits 31-24 in xAPIC mode, 31-0 in x2APIC mode */
    uint8_t tpr;
    uint32_t ldr, dfr, svr;
    uint32_t isr[LAPIC_VECTORS / 32], tmr[LAPIC_VECTORS / 32], irr[LAPIC_VECTORS / 32];
    uint32_t errors;       /* collected since the ESR was last written */
    uint32_t error_status; /* what the ESR reads as */
    uint64_t icr;
    uint32_t lvt[LAPIC_LVT_COUNT];
    bool lint[2]; /* levels of LINT0 and LINT1 */

    uint32_t initial_count;
    uint8_t divide;
    bool timer_running;
    uint64_t timer_start; /* crystal tick at which the current count was timer_count */
    uint32_t timer_count;
    uint64_t tsc_deadline; /* 0: disarmed */
    uint64_t tsc_offset;   /* guest TSC - simulated cycles */

    bool pending; /* a vector above the processor priority waits */
};

struct lapic {
    unsigned cpu; /* initial APIC ID */
    bool has_x2apic;
    unsigned physical_bits; /* MAXPHYADDR */
    uint32_t timer_hz;
    struct apic_bus *apic_bus;
    struct clock *clock;
    struct timer timer;
    void (*changed)(void *owner, unsigned cpu); /* pending, LVT LINT0 or base: see platform.c */
    void *owner;
    struct lapic_state state;
};

/* A local APIC as power-up leaves it. 0 or -ENOSPC (no timer left). */
int lapic_init(struct lapic *lapic);
/* SDM, "Local APIC State After Power-Up or Reset" and "... After an INIT Reset". */
void lapic_power_up(struct lapic *lapic);
void lapic_init_reset(struct lapic *lapic);
/* Virtual-wire mode, in which firmware leaves the bootstrap processor's local APIC. */
void lapic_enter_virtual_wire(struct lapic *lapic);

static inline bool lapic_is_enabled(const struct lapic *lapic)
{
    return lapic->state.base & APIC_BASE_ENABLE;
}

static inline bool lapic_is_x2apic(const struct lapic *lapic)
{
    return lapic->state.base & APIC_BASE_X2APIC;
}

static inline bool lapic_is_software_enabled(const struct lapic *lapic)
{
    return lapic_is_enabled(lapic) && (lapic->state.svr & SVR_ENABLED);
}

/* Whether an 8259's INT at LINT0 is passed to the processor. */
bool lapic_passes_extint(const struct lapic *lapic);
bool lapic_has_physical_id(const struct lapic *lapic, uint32_t destination);
bool lapic_has_logical_id(const struct lapic *lapic, uint32_t destination);
uint8_t lapic_processor_priority(const struct lapic *lapic);
uint8_t lapic_arbitration_priority(const struct lapic *lapic);

/* An interrupt message arrives. False if the local APIC takes none. */
bool lapic_accept(struct lapic *lapic, uint8_t vector, bool level);
/* Moves the pending vector into service; the spurious vector if none is deliverable. */
uint8_t lapic_acknowledge(struct lapic *lapic);
void lapic_end_of_interrupt(struct lapic *lapic);
void lapic_set_tpr(struct lapic *lapic, uint8_t tpr);
/* A local interrupt source fires. */
void lapic_raise_lvt(struct lapic *lapic, enum lapic_lvt which);
void lapic_set_lint(struct lapic *lapic, unsigned pin, bool level);
void lapic_raise_error(struct lapic *lapic, enum lapic_error error);

/* The meaning of registers, without the rules of access of either mode. */
uint32_t lapic_read_register(struct lapic *lapic, enum lapic_register which);
void lapic_write_register(struct lapic *lapic, enum lapic_register which, uint32_t value);
void lapic_write_icr(struct lapic *lapic, uint64_t value);

/* lapic_timer.c */
int lapic_timer_init(struct lapic *lapic);
void lapic_timer_reset(struct lapic *lapic);
void lapic_timer_write_lvt(struct lapic *lapic, uint32_t value);
void lapic_timer_write_initial_count(struct lapic *lapic, uint32_t count);
void lapic_timer_write_divide(struct lapic *lapic, uint8_t divide);
uint32_t lapic_timer_current_count(struct lapic *lapic);
uint64_t lapic_timer_deadline(struct lapic *lapic);
void lapic_timer_write_deadline(struct lapic *lapic, uint64_t tsc);
void lapic_timer_set_tsc_offset(struct lapic *lapic, uint64_t offset);

/* lapic_msr.c; false: #GP */
bool lapic_read_msr(struct lapic *lapic, uint32_t msr, uint64_t *value);
bool lapic_write_msr(struct lapic *lapic, uint32_t msr, uint64_t value);
uint64_t lapic_window_read(struct lapic *lapic, uint64_t offset, unsigned size);
void lapic_window_write(struct lapic *lapic, uint64_t offset, unsigned size, uint64_t value);

#endif
