/* INT n and IRETQ through the IDT, ring 0 to ring 0: 4 instructions a round. */
#include "bench.inc"
#define IDT    BENCH_TABLES
#define VECTOR 0x80
        bench_start 1000000
        lgdt gdt_pointer(%rip)
        pushq $0x08
        leaq 1f(%rip), %rax
        pushq %rax
        lretq
1:      movl $0x10, %eax
        movl %eax, %ss
        leaq handler(%rip), %rax
        movw %ax, IDT + VECTOR * 16
        movw $0x08, IDT + VECTOR * 16 + 2
        movw $0x8e00, IDT + VECTOR * 16 + 4
        shrq $16, %rax
        movw %ax, IDT + VECTOR * 16 + 6
        movq $0, IDT + VECTOR * 16 + 8
        lidt idt_pointer(%rip)
        .balign 16
1:      int $VECTOR
        decq %rbp
        jnz 1b
        bench_end
        .balign 16
handler:
        iretq
        .balign 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word . - gdt - 1
        .quad gdt
idt_pointer:
        .word (VECTOR + 1) * 16 - 1
        .quad IDT
