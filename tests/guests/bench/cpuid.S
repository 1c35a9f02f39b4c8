/* CPUID, which always exits: 5 instructions and one VM exit a round. */
#include "bench.inc"
        bench_start 1000000
        .balign 16
1:      xorl %eax, %eax
        xorl %ecx, %ecx
        cpuid
        decq %rbp
        jnz 1b
        bench_end
