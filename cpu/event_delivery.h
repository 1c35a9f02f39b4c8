/*
 * Inside of event delivery: what cpu/event_delivery.c (classes, double faults, VM exits) and the
 * modes' files (event_delivery_real.c, _legacy.c, _64.c) share. Others use cpu/event.h.
 */
#ifndef VTXSIM_CPU_EVENT_DELIVERY_H
#define VTXSIM_CPU_EVENT_DELIVERY_H

#include "cpu/modes.h"
#include "cpu/segments.h"

/* How one attempt to deliver an event ended. */
enum attempt {
    ATTEMPT_DELIVERED,
    ATTEMPT_FAULT, /* delivery->fault is the exception met on the way */
    ATTEMPT_EXIT,  /* cpu->exit is filled */
};

struct delivery {
    struct cpu *cpu;
    const struct event *event;
    struct event fault;
    uint32_t ext;         /* EXT bit for error codes: 0 for INT n, INT3 and INTO */
    uint64_t return_rip;  /* as pushed */
    uint64_t flags_image; /* RFLAGS as pushed */
};

enum attempt deliver_real(struct delivery *delivery);
enum attempt deliver_legacy(struct delivery *delivery);
enum attempt deliver_64bit(struct delivery *delivery);

/* ATTEMPT_FAULT with an exception whose error code names a selector (0: none), EXT included. */
enum attempt delivery_fault(struct delivery *delivery, enum vector vector, uint32_t selector);
/* The same naming the event's gate: index, IDT flag, EXT. */
enum attempt delivery_gate_fault(struct delivery *delivery, enum vector vector);
/* What a failed access means: #PF, or the VM exit of EPT. */
enum attempt delivery_memory_fault(struct delivery *delivery, const struct mmu_fault *fault);
/* #NP, #GP, ... by a failed descriptor read. */
enum attempt delivery_read_descriptor(struct delivery *delivery, uint16_t selector,
                                      enum vector vector, uint64_t *descriptor);

/* INT n, INT3 and INTO need gates whose DPL is not below CPL. */
static inline bool delivery_checks_gate_dpl(const struct event *event)
{
    return event->type == EVENT_SOFTWARE_INTERRUPT || event->type == EVENT_SOFTWARE_EXCEPTION;
}

/* Reads `size` bytes of the IDT, of the TSS, ... */
static inline bool delivery_read(struct delivery *delivery, uint64_t linear, void *data,
                                 size_t size, struct mmu_fault *fault)
{
    return mmu_read(&delivery->cpu->mmu, cpu_linear(delivery->cpu, linear), data, size,
                    ACCESS_READ | ACCESS_IMPLICIT, fault) == MMU_OK;
}

/* How pushes on the handler's stack access memory. SMAP regards them as explicit accesses, which
 * RFLAGS.AC excuses only below CPL 3. */
static inline unsigned delivery_push_access(const struct cpu *cpu, unsigned cpl)
{
    bool ac = cpu_cpl(cpu) != 3 && (cpu->state.rflags & RFLAGS_AC);

    return ACCESS_WRITE | (cpl == 3 ? ACCESS_USER : 0) | (ac ? ACCESS_AC : 0);
}

/*
 * The target of an interrupt or trap gate: checks the code segment that the gate names for a
 * transfer from CPL (SDM "INT n/INTO/INT3/INT1", PROTECTED-MODE and IA-32e parts).
 */
struct delivery_target {
    uint64_t descriptor;
    uint16_t selector;
    unsigned cpl; /* at which the handler runs */
    bool inner;   /* more privileged than the interrupted program */
};
enum attempt delivery_check_code(struct delivery *delivery, uint16_t selector,
                                 struct delivery_target *target);

/* CS, RIP and RFLAGS as the handler starts. The last step: nothing fails after it. */
void delivery_enter(struct delivery *delivery, const struct delivery_target *target, uint64_t rip,
                    bool interrupt_gate);

#endif
