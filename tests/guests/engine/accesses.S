/*
 * Loads and stores of all kinds, each once, for the trace of memory accesses: test_sim_trace_levels.c
 * has the list of what they must be. Data is at 0x600000, the stack ends at 0x610000.
 */
        .globl _start
        .text
        .code64
_start: movl $0x610000, %esp
        movl $0x600000, %ebx
        movabsq $0x1122334455667788, %rax
        movq %cr4, %rcx
        orl $0x600, %ecx                /* OSFXSR, OSXMMEXCPT */
        movq %rcx, %cr4

        /* Sizes, extensions, misaligned, across pages. */
        movq %rax, (%rbx)
        movzbl (%rbx), %ecx
        movsbl 7(%rbx), %ecx
        movswq 6(%rbx), %rcx
        movl %eax, 9(%rbx)
        movq %rax, 0xffc(%rbx)
        movw 0xfff(%rbx), %cx
        movq (%rbx), %rbx               /* the load overwrites the address */
        movl $0x600000, %ebx

        /* Read and write. */
        addw $1, (%rbx)
        lock incl 4(%rbx)
        xchgb %cl, 2(%rbx)
        cmpxchgq %rdx, 16(%rbx)         /* differs: writes what it has read */

        /* The stack. */
        pushq $-2
        popq 32(%rbx)
        call 1f
        jmp 2f
1:      ret

        /* Strings, one repetition at a time. */
2:      leaq 0x100(%rbx), %rsi
        leaq 0x200(%rbx), %rdi
        movw $0x4241, (%rsi)
        movl $2, %ecx
        rep movsb

        /* SSE: in halves. */
        movaps %xmm0, 0x300(%rbx)
        movups 0x308(%rbx), %xmm1

        /* Helpers of the library: x87's 80 bits, CMPXCHG16B. */
        fld1
        fstpt 0x400(%rbx)
        fldt 0x400(%rbx)
        flds 0x100(%rbx)
        cmpxchg16b 0x500(%rbx)          /* equal: writes RCX:RBX */

        /* The processor model: SIDT; an OUTS. */
        sidt 0x600(%rbx)
        leaq 0x100(%rbx), %rsi
        movl $0xe9, %edx
        outsb

        /* A device behind memory in one instruction, which starts over before it gets there. */
        nop
        leaq 0x700(%rbx), %rsi
        movl $0x20, (%rsi)
        movl $0xfee00080, %edi
        movsl
        movl -4(%rdi), %ecx

        xorl %eax, %eax
        outl %eax, $0xf4
