/* Constants that assembly and C share. */
#ifndef DEMO_LAYOUT_H
#define DEMO_LAYOUT_H

#define UART        0x3f8
#define BOOT_STACK  0x7c00
#define IMAGE_MAGIC 0x21646e45 /* at the end of the image: all of it is loaded */

/* The boot GDT; the kernel's own continues it (SYSRET wants user data before user code). */
#define SELECTOR_CODE32    0x08
#define SELECTOR_CODE64    0x10
#define SELECTOR_DATA      0x18
#define SELECTOR_USER_BASE 0x20
#define SELECTOR_USER_DATA 0x2b
#define SELECTOR_USER_CODE 0x33
#define SELECTOR_TSS       0x38

/* Where the user program runs. */
#define USER_CODE      0x8000000000
#define USER_STACK_TOP 0x8000800000

/* System calls: number in RAX, arguments in RDI and RSI, result in RAX. */
#define SYSCALL_WRITE  1 /* (text, size): to the serial port */
#define SYSCALL_TICKS  2 /* timer interrupts so far */
#define SYSCALL_EXPECT 3 /* (address): continue there after the next fault */
#define SYSCALL_FAULT  4 /* vector << 32 | error code of the last fault */
#define SYSCALL_EXIT   5 /* (status) */

/* Interrupt vectors. */
#define VECTOR_TIMER    0x20 /* IRQ 0 through the 8259 */
#define VECTOR_APIC     0x40
#define VECTOR_SOFTWARE 0x41
#define VECTOR_SPURIOUS 0x4f
#define VECTOR_COUNT    0x50

#endif
