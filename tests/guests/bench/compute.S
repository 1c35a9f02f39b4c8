/* Arithmetic in registers: 10 instructions a round. */
#include "bench.inc"
        bench_start 100000000
        movl $1, %eax
        movl $3, %ebx
        xorl %esi, %esi
        .balign 16
1:      addq %rbx, %rax
        xorq %rax, %rsi
        leaq 5(%rsi,%rax,2), %rbx
        shrq $3, %rax
        subq %rsi, %rbx
        orq $1, %rbx
        andq $-2, %rsi
        incq %rsi
        decq %rbp
        jnz 1b
        bench_end
