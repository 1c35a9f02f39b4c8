/*
 * Prints random numbers of RDRAND and RDSEED, in all widths; the same one twice in a row, or 0 all
 * the time, is an error.
 */
        .globl _start
        .text
        .code64
_start: movl $stack_top, %esp
        xorl %ebp, %ebp
        movl $20, %ebx
1:      rdrand %rax
        jnc failed
        cmpq %rax, %rbp
        je failed
        movq %rax, %rbp
        call print_number
        rdseed %rax
        jnc failed
        cmpq %rax, %rbp
        je failed
        movq %rax, %rbp
        call print_number
        movq $-1, %rax
        rdrand %eax                     /* clears the upper half */
        jnc failed
        movq %rax, %rcx
        shrq $32, %rcx
        jnz failed
        call print_number
        movq $-1, %rax
        rdrand %ax                      /* leaves it */
        jnc failed
        movq %rax, %rcx
        shrq $16, %rcx
        incl %ecx
        jnz failed
        call print_number
        decl %ebx
        jnz 1b
        xorl %eax, %eax
        outl %eax, $0xf4
failed: movl $1, %eax
        outl %eax, $0xf4

/* RAX in hexadecimal, on a line of its own, to the debug console. */
print_number:
        movl $16, %ecx
1:      rolq $4, %rax
        movq %rax, %rsi
        andl $15, %eax
        cmpl $10, %eax
        jb 2f
        addl $'a' - '0' - 10, %eax
2:      addl $'0', %eax
        outb %al, $0xe9
        movq %rsi, %rax
        decl %ecx
        jnz 1b
        movl $'\n', %eax
        outb %al, $0xe9
        ret

        .bss
        .skip 256
stack_top:
