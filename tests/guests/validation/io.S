/* Ports: all sizes and directions, immediate and DX, ring 3, string instructions. */
#include "cases.inc"

#define POST      0x80 /* gives back what it was given */
#define CMOS      0x70
#define PCI       0xcf8
#define UNCLAIMED 0x5f00

        begin_cases

        case "OUT imm8, AL; IN AL, imm8"
        movb $0xa5, %al
        outb %al, $POST
        xorl %eax, %eax
        inb $POST, %al
        end_case

        case "IN AL leaves the rest of RAX"
        movb $0x3c, %al
        outb %al, $POST
        movq $-1, %rax
        inb $POST, %al
        end_case

        case "OUT DX, AL; IN AL, DX"
        movw $POST, %dx
        movb $0x5a, %al
        outb %al, (%dx)
        xorl %eax, %eax
        inb (%dx), %al
        end_case

        case "IN AX from where nothing is"
        movw $UNCLAIMED, %dx
        inw (%dx), %ax
        end_case

        case "IN EAX from where nothing is clears the upper half", RUN_NO_FLAGS
        movw $UNCLAIMED, %dx
        movq $-1, %rax
        shlq $32, %rax
        inl (%dx), %eax
        end_case

        case "OUT of 2 and 4 bytes to where nothing is"
        movw $UNCLAIMED, %dx
        movl $0x12345678, %eax
        outw %ax, (%dx)
        outl %eax, (%dx)
        end_case

        case "IN AX and EAX of an immediate port"
        inw $0xe0, %ax
        movl %eax, %ebx
        inl $0xe0, %eax
        end_case

        case "a register pair, the CMOS clock's status D"
        movb $0x8d, %al
        outb %al, $CMOS
        inb $CMOS + 1, %al
        end_case

        case "32 bits, the PCI configuration address"
        movw $PCI, %dx
        movl $0x80001234, %eax
        outl %eax, (%dx)
        xorl %eax, %eax
        inl (%dx), %eax
        end_case

        case "ring 3 without IOPL, OUT", RUN_USER
        movw $POST, %dx
        outb %al, (%dx)
        end_case

        case "ring 3 without IOPL, IN", RUN_USER
        movl $77, %eax
        inb $POST, %al
        end_case

        case "ring 3 with IOPL 3", RUN_USER|RUN_IOPL3
        movb $0x77, %al
        outb %al, $POST
        xorl %eax, %eax
        inb $POST, %al
        end_case

        end_cases
