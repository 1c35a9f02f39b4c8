/* One load from a random place in 64 MiB, 7 instructions a round (linear congruential generator). */
#include "bench.inc"
        bench_start 10000000
        movabsq $6364136223846793005, %rdi
        movl $1, %esi
        .balign 16
1:      imulq %rdi, %rsi
        incq %rsi
        movq %rsi, %rax
        shrq $41, %rax                  /* 23 bits: quadwords of 64 MiB */
        addq BENCH_BUFFER(,%rax,8), %rbx
        decq %rbp
        jnz 1b
        bench_end
