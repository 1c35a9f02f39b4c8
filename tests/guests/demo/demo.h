/* What the files of the demo kernel share. */
#ifndef DEMO_H
#define DEMO_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "print.h"
#include "x86.h"

/* ---- report.c ---- */

/* A line under a heading: the text, then ok or FAILED in the last column. Returns ok. */
bool check(bool ok, const char *heading, const char *format, ...);
/* The same without a verdict. */
void tell(const char *heading, const char *format, ...);
extern unsigned checks, failures;

/* ---- traps.c: exceptions and interrupts ---- */

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* The last fault that was expected. */
struct fault {
    uint64_t vector, error, address;
};
extern struct fault last_fault;
extern uint64_t resume_at; /* where the next fault continues; 0: it is not expected */
extern uint64_t interrupts[VECTOR_COUNT];
extern volatile uint64_t single_steps;

void traps_init(void);

/* Executes an instruction that may fault; last_fault.vector is NO_FAULT if it does not. */
#define NO_FAULT 0xff
#define TRY(instruction, ...)                                                                \
    do {                                                                                     \
        last_fault.vector = NO_FAULT;                                                        \
        __asm__ volatile("leaq 1f(%%rip), %%rax; movq %%rax, resume_at; " instruction "; 1:" \
                         :                                                                   \
                         : __VA_ARGS__                                                       \
                         : "rax", "rdx", "cc", "memory");                                    \
        resume_at = 0;                                                                       \
    } while (0)

/* ---- memory.c: page tables ---- */

#define PAGE_PRESENT 1ull
#define PAGE_WRITE   2ull
#define PAGE_USER    4ull
#define PAGE_NX      (1ull << 63)

#define DEMAND_START 0x4000000000 /* pages appear here at their first use */
#define DEMAND_END   0x4000100000

extern uint64_t pages_mapped;
/* A zeroed frame, mapped at the address; NULL when there are no more. */
void *map_new_page(uint64_t address, uint64_t flags);
/* Maps the page of a fault if the address is one of those that appear on demand. */
bool map_on_demand(uint64_t address, bool user);

/* ---- devices.c ---- */

void timer_start(unsigned hz);
void timer_stop(void);
void interrupt_end(unsigned vector);
bool apic_timer_wait(unsigned cycles);
void show_clock(void);
void show_pci(void);
void power_off(bool success);

/* ---- entry.S ---- */

extern char interrupt_stubs[], kernel_stack_top[];
extern const char user_program[], user_program_end[];
void syscall_entry(void);
int enter_user(uint64_t entry, uint64_t stack);
void leave_user(int status) __attribute__((noreturn));

#endif
