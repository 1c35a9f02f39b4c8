/* Puts what comes in on the serial port onto the debug console, 20,000 bytes behind a '>'. */
#define COUNT 20000
#define UART  0x3f8
        .globl _start
        .text
        .code64
_start: movl $COUNT, %ecx
        movl $UART+2, %edx
        movl $1, %eax                   /* FIFOs on */
        outb %al, %dx                   /* drops what has come before */
        movl $'>', %eax
        outb %al, $0xe9
1:      movl $UART+5, %edx
2:      pause
        inb %dx, %al
        testb $1, %al
        jz 2b
        movl $UART, %edx
        inb %dx, %al
        outb %al, $0xe9
        decl %ecx
        jnz 1b
        xorl %eax, %eax
        outl %eax, $0xf4
