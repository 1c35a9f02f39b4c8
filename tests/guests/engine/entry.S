/* Start, interrupt stubs, the way into a case and out of it. */
#include "engine.h"

        .text
        .code64
        .globl _start
_start: movl $SELECTOR_DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $stack_top, %esp
        call engine_main
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
        .globl interrupt_return
interrupt_return:
        iretq

.macro save_registers
        .irp r, rbx, rbp, r12, r13, r14, r15
        pushq %\r
        .endr
        pushfq
        movq %rsp, saved_rsp
.endm

/* uint64_t run_kernel(code): RAX at the end of the case. */
        .globl run_kernel
run_kernel:
        save_registers
        call *%rdi
        cmpq saved_rsp, %rsp
        je leave_case
        ud2

/* uint64_t run_user(code, rflags) */
        .globl run_user
run_user:
        save_registers
        pushq $SELECTOR_USER_DATA
        pushq $user_stack_top
        pushq %rsi
        pushq $SELECTOR_USER_CODE
        pushq %rdi
        iretq

/* Ends a case from wherever it is: run_kernel or run_user returns with RAX. */
        .globl leave_case
leave_case:
        movl $SELECTOR_DATA, %ecx
        movl %ecx, %ss
        movq saved_rsp, %rsp
        popfq
        .irp r, r15, r14, r13, r12, rbp, rbx
        popq %\r
        .endr
        cld
        ret

        .bss
        .balign 4096
        .globl page_tables
page_tables:
        .skip 4 * 4096
        .globl page_entries
        .set page_entries, page_tables + 2 * 4096
        .skip 16384
stack_top:
        .skip 16384
user_stack_top:
        .balign 4096
        .globl frames
frames: .skip 16 * 4096
saved_rsp:
        .skip 8
