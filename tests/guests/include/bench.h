/*
 * What the bench guests have in common: 64-bit code loaded and entered at 1 MiB with that memory
 * mapped at its own address, supervisor, interrupts off. The number of rounds is at offset 8 of the
 * image, where a benchmark may change it. The run ends through port 0xf4 with 0.
 */
#define BENCH_BUFFER 0x4000000 /* 64 MiB of data, from 64 MiB on */
#define BENCH_STACK  0x3f0000
#define BENCH_TABLES 0x200000

.macro bench_start rounds
        .code64
        .text
        .globl _start
_start: jmp 1f
        .balign 8
rounds: .quad \rounds
1:      cld
        movl $BENCH_STACK, %esp
        movq rounds(%rip), %rbp
.endm

.macro bench_end
        xorl %eax, %eax
        movw $0xf4, %dx
        outl %eax, %dx
999:    cli
        hlt
        jmp 999b
.endm
