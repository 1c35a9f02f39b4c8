/*
 * The torture guest: everything that an execution engine may get wrong about faults, paging, code
 * that changes, single steps, string instructions and modes, in a random order, with a timer
 * interrupting at a high rate all the while. What it sees goes into a checksum, which depends on
 * nothing but the number of rounds: not on time, nor on where interrupts fall.
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "print.h"
#include "x86.h"

/* ---- main.c ---- */

uint64_t random(void);
/* Adds what was seen to the checksum of the chapter that runs. */
void seen(uint64_t value);
/* Counts what is not as it must be, and tells each kind once. */
void expect(bool ok, const char *what);

/* The chapters, each for one round. */
void torture_faults(void);
void torture_paging(void);
void torture_code(void);
void torture_steps(void);
void torture_strings(void);
void torture_interrupts(void);
void torture_modes(void);

/* The compiler calls these of its own accord too. */
void *memset(void *to, int value, unsigned long size);
void *memcpy(void *to, const void *from, unsigned long size);
int memcmp(const void *a, const void *b, unsigned long size);

/* ---- traps.c ---- */

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

#define NO_FAULT 0xff

/* The last exception, and where the next one continues. */
extern struct fault {
    uint64_t vector, error, cr2, rip;
} fault;
extern uint64_t resume_at;
extern volatile uint64_t ticks;
/* Called at each single step with the RIP after it; may be 0. */
extern void (*step_hook)(const struct frame *frame);
/* Called for page faults before anything else; true: mapped, try again. May be 0. */
extern bool (*page_fault_hook)(uint64_t address, uint64_t error);
extern uint64_t nested; /* depth reached by VECTOR_NEST */

void traps_init(void);
void traps_reload(void); /* GDT, IDT, TR after another mode changed them */
void set_gate_present(unsigned vector, bool present);
void timer_start(void);

/* Executes something that may fault; fault.vector is NO_FAULT if it did not. Registers that the
 * text uses are to be among: rax rcx rdx rbx rsi rdi. */
#define TRY(text, ...)                                                                  \
    do {                                                                                \
        fault.vector = NO_FAULT;                                                        \
        __asm__ volatile("leaq 99f(%%rip), %%rax; movq %%rax, resume_at; " text "; 99:" \
                         :                                                              \
                         : __VA_ARGS__                                                  \
                         : "rax", "rdx", "r8", "cc", "memory");                         \
        resume_at = 0;                                                                  \
    } while (0)

/* ---- memory.c: pages above the identity-mapped 4 GiB ---- */

#define PAGE_P  1ull
#define PAGE_W  2ull
#define PAGE_U  4ull
#define PAGE_A  0x20ull
#define PAGE_D  0x40ull
#define PAGE_NX (1ull << 63)

#define FRAMES 64
extern uint8_t frames[FRAMES][4096];

/* The last-level entry for an address, its tables made as needed. */
volatile uint64_t *page_entry(uint64_t address);
void page_flush(uint64_t address);
void page_map(uint64_t address, unsigned frame, uint64_t flags);

/* ---- entry.S ---- */

extern char interrupt_stubs[];
/* Runs code in ring 3 until it executes INT VECTOR_EXIT or faults. */
void run_user(const void *code, uint64_t stack, uint64_t rflags);
void leave_user(void) __attribute__((noreturn));

#endif
