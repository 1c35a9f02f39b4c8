/* Start, interrupt stubs, ring 3 and back. */
#include "layout.h"

        .text
        .code64
        .globl _start
_start: movl $SELECTOR_DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        leaq stack_top(%rip), %rsp
        movl %ebx, %edi
        call torture_main
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
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
        pushq $0
        .endif
        pushq $vector
        jmp interrupt_common
        .set vector, vector + 1
        .endr

interrupt_common:
        cld
        .irp r, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
        pushq %\r
        .endr
        movq %rsp, %rdi
        movq %rsp, %rbp
        andq $-16, %rsp
        call interrupt
        movq %rbp, %rsp
        .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
        popq %\r
        .endr
        addq $16, %rsp
        iretq

/* void run_user(code, stack, rflags) */
        .globl run_user
run_user:
        .irp r, rbx, rbp, r12, r13, r14, r15
        pushq %\r
        .endr
        pushfq
        cli
        movq %rsp, kernel_rsp
        pushq $SELECTOR_USER_DATA
        pushq %rsi
        pushq %rdx
        pushq $SELECTOR_USER_CODE
        pushq %rdi
        iretq

/* From a handler: run_user returns. */
        .globl leave_user
leave_user:
        cli
        movl $SELECTOR_DATA, %eax
        movl %eax, %ss
        movq kernel_rsp, %rsp
        popfq
        .irp r, r15, r14, r13, r12, rbp, rbx
        popq %\r
        .endr
        ret

        .bss
        .balign 16
kernel_rsp:
        .skip 16
        .skip 32768
stack_top:
