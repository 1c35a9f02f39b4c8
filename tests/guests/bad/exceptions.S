/*
 * A million exceptions: #UD, with a handler that steps over the instruction.
 * What must happen: all are delivered; the run ends through port 0xf4 with 0 (status 1).
 */
#include "boot_sector.inc"
#define ROUNDS 1000000
#define IDT    0x1000
        enter_protected_mode
        movl $handler, %eax
        andl $0xffff, %eax
        orl $0x080000, %eax
        movl %eax, IDT + 6 * 8
        movl $0x8e00, IDT + 6 * 8 + 4
        lidt idt_pointer
        xorl %ebx, %ebx
        movl $ROUNDS, %ecx
1:      ud2
        loop 1b
        cmpl $ROUNDS, %ebx
        jne 2f
        end_run 0
2:      end_run 1
handler:
        incl %ebx
        addl $2, (%esp)
        iretl
idt_pointer:
        .word 7 * 8 - 1
        .long IDT
        end_boot_sector
