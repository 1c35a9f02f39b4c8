/*
 * The guests of kvm-probe (probe.c): each does one thing and writes what it got from it to port
 * 10h, from EAX. An exception writes its vector to port 11h, unless it is what is looked for.
 *
 * probe.c puts the code at 10000h and the handlers at 20000h; flat segments, identity paging.
 */
#define CODE 0x10000
#define DATA 0x30000
#define UNMAPPED 0x7ff000000000
#define RESERVED_BIT 0x40000000 /* mapped at 1 GiB by an entry with a reserved bit set */

        .macro probe name
        .globl kvm_probe_\name
        .hidden kvm_probe_\name
        .balign 16
kvm_probe_\name:
        .endm
        .macro answer
        out %eax, $0x10
        hlt
        .endm

        .section .rodata
        .globl kvm_probe_code, kvm_probe_code_end
        .hidden kvm_probe_code, kvm_probe_code_end
kvm_probe_code:

        .code16
        probe real_mode
        movw $0x1234, %ax
        movw %ax, %ds
        movw %ds, %cx
        movzwl %cx, %eax
        answer

        .code32
        probe protected
        pushl $0x5678
        popl %eax
        answer

        .code64
        probe long_mode
        movabsq $0x123456789abc, %rax
        shrq $16, %rax
        answer

        probe sse
        movl $77, %eax
        movd %eax, %xmm0
        movd %xmm0, %eax
        answer

        probe x87
        fninit
        pushq $0
        fld1
        fistpl (%rsp)
        popq %rax
        answer

        probe popcnt
        movl $0xff, %eax
        popcntl %eax, %eax
        answer

        probe cmpxchg16b
        lock cmpxchg16b DATA
        movl $1, %eax
        answer

        probe lar
        movl $8, %ecx
        larl %ecx, %eax
        shrl $8, %eax
        andl $0xff, %eax
        answer

        probe verw
        movl $0x10, %ecx
        verw %cx
        sete %al
        movzbl %al, %eax
        answer

        probe interrupt
        int $0x80
        answer

        probe int3
        int3
        answer

        probe vmcall
        movl $0x7fff, %eax
        vmcall
        movl $1, %eax
        answer

        /* The trap behind a NOP. */
        probe single_step
        pushq $0x102
        popfq
        nop
        answer

        /* A breakpoint register on the label. */
        probe breakpoint
        leaq 1f(%rip), %rax
        movq %rax, %dr0
        movl $0x401, %eax
        movq %rax, %dr7
        movl $0, %eax
1:      nop
        answer

        /* RFLAGS.RF in the frame of a fault: the handler of #UD gives it. */
        probe resume_flag
        ud2

        /* The error code of a reserved-bit page fault: the handler gives it. */
        probe reserved_bit
        movl RESERVED_BIT, %eax
        answer

        probe self_modifying
        xorl %eax, %eax
        movb $42, 1f + 1(%rip)
1:      movb $1, %al
        answer

        /* --- At CPL 3: SYSCALL gives EAX. */
#define GIVE_CS 0xdead /* SYSCALL gives CS instead */

        probe user_code_selector
        movl %cs, %eax
        syscall

        probe user_sse
        movl $77, %eax
        movd %eax, %xmm0
        movd %xmm0, %eax
        syscall

        probe user_interrupt
        movl $0x99, %eax
        int $0x80

        probe user_syscall
        movl $GIVE_CS, %eax
        syscall

kvm_probe_code_end:

        /* --- Handlers: one each 16 bytes, by number */
        .globl kvm_probe_handlers, kvm_probe_handlers_end
        .hidden kvm_probe_handlers, kvm_probe_handlers_end
        .balign 16
kvm_probe_handlers:
        .macro handler
        .balign 16
        .endm
        handler /* 0: any other exception; EAX is not known to anybody */
        out %eax, $0x11
        hlt
        handler /* 1: #DB */
        movl $1, %eax
        answer
        handler /* 2: #BP */
        movl $3, %eax
        answer
        handler /* 3: #UD */
        movl 16(%rsp), %eax
        shrl $16, %eax
        andl $1, %eax
        answer
        handler /* 4: #PF */
        movl (%rsp), %eax
        answer
        handler /* 5: INT 80h */
        answer
        handler /* 6: SYSCALL */
        cmpl $GIVE_CS, %eax
        jne 1f
        movl %cs, %eax
1:      answer
        .balign 16
kvm_probe_handlers_end:
        .section .note.GNU-stack, "", @progbits
