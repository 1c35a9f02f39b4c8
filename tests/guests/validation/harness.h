/*
 * Guests that show what a processor does, for comparison between machines: each case is a piece of
 * code that starts from known registers and memory and ends at its first exception (UD2 at the
 * latest). What it left is printed on port 0xe9, a line a case: the exception, the registers that
 * changed, a hash of the memory. Nothing is judged here. The run ends through port 0xf4 with 0.
 */
#ifndef HARNESS_H
#define HARNESS_H

/* Selectors. */
#define SELECTOR_CODE64      0x08
#define SELECTOR_DATA        0x10
#define SELECTOR_USER_DATA   0x1b /* user code must follow: SYSRET */
#define SELECTOR_USER_CODE64 0x23
#define SELECTOR_CODE32      0x28
#define SELECTOR_USER_CODE32 0x33
#define SELECTOR_USER_CODE16 0x3b
#define SELECTOR_ABSENT      0x40
#define SELECTOR_TSS         0x48

/*
 * Pages of 4 KiB from AREA on, each with rights of its own. What lies below AREA is mapped at its
 * own address for the supervisor only.
 */
#define AREA                      0x40000000
#define PAGE(n)                   (AREA + (n)*0x1000)
#define PAGE_DATA                 PAGE(0) /* for all */
#define PAGE_DATA2                PAGE(1) /* the same */
#define PAGE_READ_ONLY            PAGE(2)
#define PAGE_SUPERVISOR           PAGE(3)
#define PAGE_NX                   PAGE(4)
#define PAGE_ABSENT               PAGE(5)
#define PAGE_STACK                PAGE(7)  /* absent ones before and behind it */
#define PAGE_CODE                 PAGE(9)  /* where cases run; not writable */
#define PAGE_RESERVED             PAGE(11) /* a reserved bit is set in its entry */
#define PAGE_SUPERVISOR_READ_ONLY PAGE(12)
#define PAGES                     13

#define STACK_TOP   (PAGE_STACK + 0x1000 - 0x80)
#define DATA_MIDDLE PAGE_DATA2 /* data lies on both sides */
#define WINDOW      0x100      /* bytes that are filled and hashed; of the data on each side */

/* Memory that no device answers: reads are all-ones. */
#define HOLE 0xd0000000

/* How a case runs. */
#define RUN_USER       1
#define RUN_COMPAT     2 /* 32-bit code */
#define RUN_COMPAT16   4 /* 16-bit code, user */
#define RUN_INTERRUPTS 8 /* IF is set: interrupts are told and gone on from */
#define RUN_IOPL3      0x10
#define RUN_NO_FLAGS   0x20 /* arithmetic flags are left undefined: not shown */

#define VECTOR_USER 0xf0 /* INT n may call it in ring 3 */
#define VECTOR_IPI  0x50 /* interrupts that need an EOI: 0x50-0x5f */
#define VECTOR_PIC  0x20 /* to 0x2f */

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stdint.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R15 = 15, REGISTERS };

struct run {
    uint64_t gpr[REGISTERS];
    uint64_t rip, rflags;
    uint64_t cs, ss;
    /* Only afterwards: */
    uint64_t vector, error, cr2, dr6;
};

/* What the interrupt stubs push; the names in the order of the stack. */
struct frame {
    uint64_t gpr[REGISTERS]; /* RSP is not the interrupted program's */
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

struct test_case {
    const char *name; /* NULL: the end */
    const uint8_t *code, *end;
    uint64_t flags;
};

/* The guest's own. */
void guest_main(const char *arguments);

/* entry.S */
extern char interrupt_stubs[];
extern uint8_t frames[PAGES][4096];
/* Runs from `in` to the next exception, and returns with all that it left. */
void run_enter(const struct run *in, struct run *out);

/* harness.c: text goes out at the end of a line. */
void say(const char *text);
void say_hex(uint64_t value);
void say_unsigned(uint64_t value);
void say_end(void);

/* Copies code to PAGE_CODE, fills memory from `seed`, and sets standard registers. */
void run_prepare(struct run *run, const uint8_t *code, unsigned size, uint64_t flags,
                 uint64_t seed);
/* Of what memory cases can change. */
uint64_t run_hash_memory(void);
/* The exception that ended a run; registers that changed, but not flags outside the mask. */
void run_show_event(const struct run *in, const struct run *out);
void run_show_registers(const struct run *in, const struct run *out, uint64_t flags_mask);
void run_cases(const struct test_case *cases);
/* Interrupts of the last run, in order. */
void run_show_interrupts(void);

#endif
#endif
