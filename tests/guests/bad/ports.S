/*
 * Garbage to every I/O port in bytes, words and doublewords, reads between them.
 * What must happen: no crash. Whichever port ends the run first (reset, power-off) ends it clearly;
 * if none does, port 0xf4 with 0 (status 1). Port 0xf4 itself is left out until then.
 */
#include "boot_sector.inc"
        enter_protected_mode
        movl $0x12345, %ebx
        xorl %edx, %edx
1:      cmpw $DEBUG_EXIT - 3, %dx       /* a doubleword at 0xf1 reaches 0xf4 */
        jb 2f
        cmpw $DEBUG_EXIT + 3, %dx
        jbe 3f
2:      imull $1103515245, %ebx
        addl $12345, %ebx
        movl %ebx, %eax
        outb %al, %dx
        inb %dx, %al
        movl %ebx, %eax
        roll $8, %eax
        outw %ax, %dx
        inw %dx, %ax
        movl %ebx, %eax
        roll $16, %eax
        outl %eax, %dx
        inl %dx, %eax
3:      incw %dx
        jnz 1b
        end_run 0
        end_boot_sector
