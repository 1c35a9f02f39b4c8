/* A call, a return and what a small function does between: 7 instructions a round. */
#include "bench.inc"
        bench_start 30000000
        .balign 16
1:      call function
        addq %rax, %rbx
        decq %rbp
        jnz 1b
        bench_end
        .balign 16
function:
        leaq 1(%rbx), %rax
        xorq %rbp, %rax
        ret
