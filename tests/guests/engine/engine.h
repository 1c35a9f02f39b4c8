/*
 * Guests that show one thing at a time: each case is a few instructions together with the
 * exceptions and interrupts that must come of them, in order, each at its instruction (cases.inc).
 * engine.c runs the cases of a guest and tells the wrong ones on the serial port; the run ends
 * through port 0xf4 with their number. Nothing here depends on the simulator: other machines can be
 * held against it.
 */
#ifndef ENGINE_H
#define ENGINE_H

#define SELECTOR_CODE64    0x08
#define SELECTOR_DATA      0x10
#define SELECTOR_USER_DATA 0x1b /* user code must follow: SYSRET */
#define SELECTOR_USER_CODE 0x23
#define SELECTOR_ABSENT    0x28
#define SELECTOR_TSS       0x30

#define VECTOR_LEAVE_USER 0xf0
#define VECTOR_USER       0xf1 /* ring 3 may call it */
#define VECTOR_ABSENT     0x91 /* its gate is not present */
#define VECTOR_LOST_STACK 0x92 /* its stack is not mapped (IST 2) */
#define VECTOR_IPI        0x50 /* interrupts that need an EOI: 0x50-0x5f */

/* Pages that cases may map: PAGES of them from PAGE(0); their entries are in page_entries[]. */
#define PAGE(n)   (0x10000000000 + (n)*4096)
#define PAGES     16
#define PAGE_LAST 15
#define PAGE_P    1
#define PAGE_W    2
#define PAGE_U    4

/* The IDT lies across a page boundary: vectors from 0x80 on are on the second page. */
#define IDT_PAGE   510
#define IDT_PAGE_2 511

#define PORT_ALLOWED 0x80 /* by the TSS for ring 3; the next one is not */

#define CASE_USER   1 /* runs in ring 3 */
#define CASE_IOPL3  2 /* with IOPL 3 */
#define CASE_RESULT 4 /* RAX is to be compared at the end */

#define LAPIC     0xfee00000
#define LAPIC_ICR 0xfee00300
#define ICR_SELF  0x40000
#define ICR_NMI   0x400

#define DR6_BS 0x4000

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stdint.h>

struct event {
    uint64_t at, next, error, extra;
    uint32_t vector;
    int32_t rf;
};

struct guest_case {
    const char *name; /* NULL: the end */
    void (*run)(void);
    const struct event *events; /* up to the next case's */
    uint64_t flags, result;
};

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* The guest's file. */
extern const struct guest_case cases[];

/* entry.S */
extern char interrupt_stubs[];
extern uint64_t page_tables[4][512];
extern void (*nmi_hook)(void);
uint64_t run_kernel(void (*code)(void));
uint64_t run_user(void (*code)(void), uint64_t rflags);
void leave_case(void) __attribute__((noreturn));

#endif
#endif
