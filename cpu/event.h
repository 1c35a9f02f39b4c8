/*
 * Exceptions and interrupts: their delivery through IVT and IDT (SDM volume 3, "Interrupt and
 * Exception Handling"), and the VM exits that this can cause.
 */
#ifndef VTXSIM_CPU_EVENT_H
#define VTXSIM_CPU_EVENT_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;

/* Interruption type, in the encoding of the VM-entry interruption-information field. */
enum event_type {
    EVENT_EXTERNAL_INTERRUPT = 0,
    EVENT_NMI = 2,
    EVENT_HARDWARE_EXCEPTION = 3,
    EVENT_SOFTWARE_INTERRUPT = 4,            /* INT n */
    EVENT_PRIVILEGED_SOFTWARE_EXCEPTION = 5, /* INT1 */
    EVENT_SOFTWARE_EXCEPTION = 6,            /* INT3, INTO */
};

struct event {
    enum event_type type;
    uint8_t vector;
    bool has_error_code;
    uint32_t error_code;
    uint8_t instruction_length; /* software interrupts and exceptions: RIP pushed = RIP + this */
    uint64_t cr2;               /* page faults: the faulting linear address */
    uint64_t debug;             /* #DB: bits for DR6 (B0-B3, BD, BS, RTM) in the format of the
                                   pending-debug-exceptions field's exit qualification */
    bool raised_by_delivery;    /* this exception arose while delivering another event */
};

enum delivery_result {
    DELIVERED,         /* state changed: CS:RIP at the handler */
    DELIVERY_EXIT,     /* cpu->exit describes a VM exit (with IDT-vectoring information) */
    DELIVERY_SHUTDOWN, /* triple fault outside VMX non-root operation */
};

/*
 * Delivers an event. In VMX non-root operation an exception is first held against the exception
 * bitmap (page faults also against the error-code mask and match); injected events are not
 * (`injected`: VM-entry event injection). Exceptions during delivery combine into a double fault
 * and triple fault as in the SDM's "Interrupt 8 - Double Fault Exception (#DF)"; each is held
 * against the bitmap too. Task gates cause a task-switch exit.
 *
 * Needs and changes the whole cpu->state; RIP is that of the instruction which caused the event
 * (faults, software interrupts) or would have been next (traps, interrupts).
 */
enum delivery_result cpu_deliver(struct cpu *cpu, const struct event *event, bool injected);

/* True if the vector's exception pushes an error code (outside real mode). */
bool vector_has_error_code(uint8_t vector);

#endif
