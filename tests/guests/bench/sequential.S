/* A load and a store of each quadword of 32 KiB in turn: 4096 x 5 instructions a round. */
#include "bench.inc"
        bench_start 25000
1:      movl $BENCH_BUFFER, %edi
        movl $4096, %ecx
        .balign 16
2:      movq (%rdi), %rax
        movq %rax, 8(%rdi)
        addq $8, %rdi
        decl %ecx
        jnz 2b
        decq %rbp
        jnz 1b
        bench_end
