/* Start, interrupt stubs, the way into a case and out of it. */
#include "harness.h"

        .text
        .code64
        .globl _start
_start: movl $SELECTOR_DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $stack_top, %esp
        movl %ebx, %edi
        call harness_main
1:      cli
        hlt
        jmp 1b

/* 16 bytes a vector: after it the stack looks alike, with or without an error code. */
        .globl interrupt_stubs
        .balign 16
interrupt_stubs:
        .set vector, 0
        .rept 256
        .balign 16
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
        pushq $0
        .endif
        pushq $vector
        jmp interrupt_common
        .set vector, vector + 1
        .endr

interrupt_common:
        cld
        .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rsp, rbx, rdx, rcx, rax
        pushq %\r
        .endr
        movq %rsp, %rdi
        call interrupt
        testl %eax, %eax
        jnz run_leave
        .irp r, rax, rcx, rdx, rbx
        popq %\r
        .endr
        addq $8, %rsp
        .irp r, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
        popq %\r
        .endr
        addq $16, %rsp
        iretq

/* void run_enter(in, out): interrupt() fills out. */
        .globl run_enter
run_enter:
        .irp r, rbx, rbp, r12, r13, r14, r15
        pushq %\r
        .endr
        movq %rsp, saved_rsp
        movq %rsi, run_result
        movl $SELECTOR_USER_DATA, %eax  /* the kernel's would be null in ring 3 */
        movl %eax, %ds
        movl %eax, %es
        pushq 19*8(%rdi)                /* SS */
        pushq 4*8(%rdi)
        pushq 17*8(%rdi)
        pushq 18*8(%rdi)
        pushq 16*8(%rdi)
        movq 0*8(%rdi), %rax
        movq 1*8(%rdi), %rcx
        movq 2*8(%rdi), %rdx
        movq 3*8(%rdi), %rbx
        movq 5*8(%rdi), %rbp
        movq 6*8(%rdi), %rsi
        movq 8*8(%rdi), %r8
        movq 9*8(%rdi), %r9
        movq 10*8(%rdi), %r10
        movq 11*8(%rdi), %r11
        movq 12*8(%rdi), %r12
        movq 13*8(%rdi), %r13
        movq 14*8(%rdi), %r14
        movq 15*8(%rdi), %r15
        movq 7*8(%rdi), %rdi
        iretq

run_leave:
        movl $SELECTOR_DATA, %ecx
        movl %ecx, %ss
        movl %ecx, %ds
        movl %ecx, %es
        movq saved_rsp, %rsp
        .irp r, r15, r14, r13, r12, rbp, rbx
        popq %\r
        .endr
        ret

        .bss
        .balign 4096
        .globl frames, area_table, run_result
frames: .skip PAGES * 4096
area_table:
        .skip 4096
        .skip 16384
stack_top:
saved_rsp:
        .skip 8
run_result:
        .skip 8
