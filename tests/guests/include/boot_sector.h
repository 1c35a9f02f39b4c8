/* A boot sector that goes to 32-bit protected mode, and its end. */
#define DEBUG_EXIT 0xf4
#define STACK      0x7c00

/* At 0000:7c00 in real mode; ends in flat 32-bit code with interrupts off. */
.macro enter_protected_mode
        .code16
        ljmp $0, $1f
1:      cli
        cld
        xorw %ax, %ax
        movw %ax, %ds
        lgdtl boot_gdt_pointer
        movl %cr0, %eax
        orl $1, %eax
        movl %eax, %cr0
        ljmpl $0x08, $1f
        .balign 8
boot_gdt:
        .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
        .word . - boot_gdt - 1
        .long boot_gdt
        .code32
1:      movw $0x10, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $STACK, %esp
.endm

/* Ends the run through the debug-exit port: the simulator's status is value << 1 | 1. */
.macro end_run value
        movl $\value, %eax
        movw $DEBUG_EXIT, %dx
        outl %eax, %dx
999:    cli
        hlt
        jmp 999b
.endm

.macro end_boot_sector
        .org 510
        .word 0xaa55
.endm
