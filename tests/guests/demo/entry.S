/* Ways into the kernel: interrupts, exceptions, SYSCALL; and out to user mode. */
#include "layout.h"

        .text
        .code64

/* One stub a vector, 16 bytes each: after it the stack looks alike, with or without error code. */
        .globl interrupt_stubs
        .balign 16
interrupt_stubs:
        .set vector, 0
        .rept VECTOR_COUNT
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
        pushq %rax
        pushq %rbx
        pushq %rcx
        pushq %rdx
        pushq %rsi
        pushq %rdi
        pushq %rbp
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, %rdi
        call interrupt
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rbp
        popq %rdi
        popq %rsi
        popq %rdx
        popq %rcx
        popq %rbx
        popq %rax
        addq $16, %rsp
        iretq

/* SYSCALL left the user's RIP in RCX, RFLAGS in R11, and its RSP in place. Only RBX, RBP and R12 to
 * R15 keep their values. */
        .globl syscall_entry
syscall_entry:
        movq %rsp, user_rsp
        movq kernel_rsp, %rsp
        pushq %rcx
        pushq %r11
        movq %rsi, %rdx
        movq %rdi, %rsi
        movq %rax, %rdi
        call system_call
        popq %r11
        popq %rcx
        xorl %edx, %edx
        xorl %esi, %esi
        xorl %edi, %edi
        xorl %r8d, %r8d
        xorl %r9d, %r9d
        xorl %r10d, %r10d
        movq user_rsp, %rsp
        sysretq

/* int enter_user(entry, stack): returns what the program gives to its EXIT call. */
        .globl enter_user
enter_user:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, kernel_rsp
        movq %rdi, %rcx
        movl $0x202, %r11d
        movq %rsi, %rsp
        sysretq

/* void leave_user(status): does not return; enter_user does. */
        .globl leave_user
leave_user:
        movl %edi, %eax
        movq kernel_rsp, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret

        .section .rodata
        .globl user_program, user_program_end
        .balign 16
user_program:
        .incbin "demo-user.bin"
user_program_end:

        .bss
        .balign 8
        .globl kernel_rsp
kernel_rsp:     .skip 8
user_rsp:       .skip 8
