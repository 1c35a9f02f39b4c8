/*
 * Writes 0, 1, 2, ... to the debug console, 200,000 bytes, with loads and stores before and after
 * each in the same block: a block that is begun anew in its middle would count wrong.
 */
#define COUNT 200000
        .globl _start
        .text
        .code64
_start: xorl %ebx, %ebx
        movl $COUNT, %ecx
1:      incl before
        movl before, %eax
        decl %eax
        outb %al, $0xe9
        incl after
        movl before, %edx
        subl after, %edx
        orl %edx, %ebx
        decl %ecx
        jnz 1b
        cmpl $COUNT, after
        jne 2f
        movl %ebx, %eax
        outl %eax, $0xf4
2:      movl $1, %eax
        outl %eax, $0xf4

        .bss
        .balign 8
before: .skip 4
after:  .skip 4
