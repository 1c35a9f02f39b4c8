/*
 * The timer's interrupts in real mode, as firmware leaves it (vector 8): taken out of HLT, out of a
 * loop, and when a window for them opens. Each prints a letter on the debug console.
 * What must happen: "hhh bbb w", and the run ends through port 0xf4 with 0 (status 1).
 */
#include "boot_sector.inc"
#define TIMER_VECTOR  8
#define PIC           0x20
#define PIC_READ_IRR  0x0a
#define PIC_EOI       0x20
#define DEBUG_CONSOLE 0xe9
#define PATIENCE      2000 /* instructions, for the interrupt to come in */
        .code16
        ljmp $0, $1f
1:      cli
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %ss
        movw $STACK, %sp
        movw $tick, TIMER_VECTOR * 4
        movw $0, TIMER_VECTOR * 4 + 2
        xorw %bx, %bx

        movb $'h', letter
1:      sti
        hlt
        cli
        cmpw $3, %bx
        jb 1b
        call space

        movb $'b', letter
        sti
2:      cmpw $6, %bx
        jb 2b
        cli
        call space

        movb $'w', letter
        movb $PIC_READ_IRR, %al
        outb %al, $PIC
3:      inb $PIC, %al
        testb $1, %al
        jz 3b
        movl $PATIENCE, %ecx
        sti
5:      cmpw $7, %bx
        je 6f
        decl %ecx
        jnz 5b
6:      cli
        cmpw $7, %bx
        jne 4f
        end_run 0
4:      end_run 1

space:  movb $' ', %al
        outb %al, $DEBUG_CONSOLE
        ret

tick:   pushw %ax
        incw %bx
        movb letter, %al
        outb %al, $DEBUG_CONSOLE
        movb $PIC_EOI, %al
        outb %al, $PIC
        popw %ax
        iretw
letter: .byte 0
        end_boot_sector
