/* Constants that assembly and C share. */
#ifndef TORTURE_LAYOUT_H
#define TORTURE_LAYOUT_H

#define SELECTOR_CODE64    0x08
#define SELECTOR_DATA      0x10
#define SELECTOR_CODE32    0x18
#define SELECTOR_CODE16    0x20
#define SELECTOR_USER_DATA 0x2b
#define SELECTOR_USER_CODE 0x33
#define SELECTOR_ABSENT    0x38
#define SELECTOR_TSS       0x40

#define VECTOR_TIMER       0x20
#define VECTOR_EXIT        0x80 /* ring 3 back to the kernel */
#define VECTOR_NEST        0x81 /* interrupts itself a few levels deep; open to ring 3 */
#define VECTOR_IN_TIMER    0x82 /* from the timer's handler */
#define VECTOR_KERNEL_ONLY 0x83

/* Below 1 MiB, for modes without paging: code, stacks, tables, and a log of what was seen. */
#define LOW_CODE   0x8000
#define LOW_STACK  0x7000
#define LOW_STACK0 0x7800 /* of interrupts from virtual-8086 mode */
#define LOW_TABLES 0x10000
#define LOW_LOG    0x20000  /* count, then entries of four words */
#define LOW_HOLE   0xb00000 /* not mapped by the 32-bit page tables */
#define LOW_RO     0x900000 /* mapped for reading only */

#endif
