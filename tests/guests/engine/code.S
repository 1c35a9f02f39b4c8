/*
 * Code that changes: what runs is what was written last, whichever way it was written (SDM
 * "Self-Modifying Code"; through other linear addresses after a serializing instruction).
 */
#include "cases.inc"

#define RW PAGE_P|PAGE_W

        begin_cases

/* MOV EAX, value; RET at an address. Changes RAX. */
.macro write_function at:req, value:req
        movabsq $\at, %rax
        movb $0xb8, (%rax)
        movl $\value, 1(%rax)
        movb $0xc3, 5(%rax)
.endm

/* Calls it and adds what it returns to RBX. */
.macro add_result at:req
        movabsq $\at, %rax
        call *%rax
        addl %eax, %ebx
.endm

.macro serialize
        movl %ebx, %esi
        xorl %eax, %eax
        cpuid
        movl %esi, %ebx
.endm

        case "the next instruction of the same block", flags=CASE_RESULT, result=0x77
        map 0, frames, RW
        copy 1f, 2f, PAGE(0)
        movabsq $PAGE(0), %rcx
        call *%rcx
        end_case
1:      movb $0x77, 3f-1b+1(%rcx)
        nop
3:      movl $0x11, %eax
        ret
2:

        case "the same block, before what runs on", flags=CASE_RESULT, result=0x2a
        map 0, frames, RW
        copy 1f, 2f, PAGE(0)
        xorl %ebx, %ebx
        movabsq $PAGE(0), %rcx
        call *%rcx                      /* 0x15, then it is 0x15 in the place of 0x01 */
        call *%rcx
        movl %ebx, %eax
        end_case
1:      addl $0x15, %ebx
        movb $0x15, 2(%rcx)
        ret
2:

        case "two functions of a page, changed in turn", flags=CASE_RESULT, result=6*0x101
        map 0, frames, RW
        xorl %ebx, %ebx
        write_function PAGE(0), 1
        write_function PAGE(0)+0x100, 0x100
        add_result PAGE(0)
        add_result PAGE(0)+0x100
        write_function PAGE(0), 2       /* drops one block; the other must still be watched */
        add_result PAGE(0)
        add_result PAGE(0)+0x100
        write_function PAGE(0)+0x100, 0x200
        add_result PAGE(0)+0x100
        write_function PAGE(0)+0x100, 0x200
        write_function PAGE(0), 3
        add_result PAGE(0)
        add_result PAGE(0)+0x100
        movl %ebx, %eax
        end_case

        case "data on the page of code between the changes", flags=CASE_RESULT, result=15
        map 0, frames, RW
        xorl %ebx, %ebx
        movabsq $PAGE(0), %rbp
        write_function PAGE(0), 1
        .irp value, 2, 3, 4, 5
        add_result PAGE(0)
        movl $\value, 0x800(%rbp)       /* far from the code */
        movl 0x800(%rbp), %eax
        movl %eax, 1(%rbp)
        .endr
        add_result PAGE(0)
        movl %ebx, %eax
        end_case

        case "through an alias, both ways", flags=CASE_RESULT, result=0x1234
        map 0, frames, RW
        map 1, frames, RW
        xorl %ebx, %ebx
        write_function PAGE(0), 0x1000
        add_result PAGE(0)
        write_function PAGE(1), 0x200
        serialize
        add_result PAGE(0)
        write_function PAGE(0), 0x30
        serialize
        add_result PAGE(1)
        write_function frames, 4        /* at its own address, by a large page */
        serialize
        add_result PAGE(1)
        movl %ebx, %eax
        end_case

        case "through an alias: a block per alias, both dropped", flags=CASE_RESULT, result=22
        map 0, frames, RW
        map 1, frames, RW
        xorl %ebx, %ebx
        write_function PAGE(0), 1
        add_result PAGE(0)
        add_result PAGE(1)
        write_function PAGE(1), 10
        serialize
        add_result PAGE(0)
        add_result PAGE(1)
        movl %ebx, %eax
        end_case

        case "an instruction on two pages: the second", flags=CASE_RESULT, result=0x030001
        map 0, frames, RW
        map 1, frames+0x2000, RW
        xorl %ebx, %ebx
        write_function PAGE(1)-3, 1
        add_result PAGE(1)-3
        movabsq $PAGE(1), %rbp
        movb $3, (%rbp)                 /* bits 23:16 of the operand */
        add_result PAGE(1)-3
        subl $1, %ebx
        movl %ebx, %eax
        end_case

        case "a block on two pages: the second page's remapped", flags=CASE_RESULT, result=0x0f
        map 0, frames, RW
        map 1, frames+0x1000, RW
        copy 1f, 2f, PAGE(1)-2
        map 1, frames+0x2000, RW
        copy 3f, 4f, PAGE(1)
        map 1, frames+0x1000, RW
        xorl %ebx, %ebx
        movabsq $PAGE(1)-2, %rbp
        call *%rbp
        map 1, frames+0x2000, RW
        call *%rbp
        movl %ebx, %eax
        end_case
1:      nop
        nop
        addl $5, %ebx
        ret
2:
3:      addl $10, %ebx
        ret
4:

        case "a page of code remapped, INVLPG", flags=CASE_RESULT, result=0x21
        map 0, frames, RW
        write_function PAGE(0), 1
        map 0, frames+0x1000, RW
        write_function PAGE(0), 0x20
        xorl %ebx, %ebx
        add_result PAGE(0)
        map 0, frames, RW
        add_result PAGE(0)
        movl %ebx, %eax
        end_case

        case "an instruction that exits becomes another and back", flags=CASE_RESULT, result=3
        map 0, frames, RW
        copy 1f, 2f, PAGE(0)
        movabsq $PAGE(0), %rbp
        xorl %edi, %edi
        movl $3, %esi
3:      movw $0xa20f, (%rbp)            /* CPUID: leaf 0's EBX is not 0 */
        xorl %eax, %eax
        xorl %ebx, %ebx
        call *%rbp
        testl %ebx, %ebx
        jz 4f
        movl $0x90c0200f, (%rbp)        /* MOV RAX, CR0; NOP */
        xorl %eax, %eax
        xorl %ebx, %ebx
        call *%rbp
        testl %ebx, %ebx
        jnz 4f
        testl $1, %eax
        jz 4f
        movl $0x90d889ff, (%rbp)
        movl $0x90909090, (%rbp)
        xorl %eax, %eax
        call *%rbp
        testl %eax, %eax
        jnz 4f
        incl %edi
        decl %esi
        jnz 3b
4:      movl %edi, %eax
        end_case
1:      nop
        nop
        nop
        nop
        ret
2:

        case "one that exits, by its operand only", flags=CASE_RESULT, result=0xa5
        map 0, frames, RW
        copy 1f, 2f, PAGE(0)
        movabsq $PAGE(0), %rbp
        movl $0x5a, %eax
        call *%rbp
        movb $0xe4, (%rbp)              /* IN AL, PORT_ALLOWED in the place of OUT */
        xorl %eax, %eax
        call *%rbp
        cmpl $0x5a, %eax
        jne 3f
        movb $0xe6, (%rbp)
        movl $0xa5, %eax
        call *%rbp
        movb $0xe4, (%rbp)
        xorl %eax, %eax
        call *%rbp
3:      end_case
1:      outb %al, $PORT_ALLOWED
        ret
2:

        case "CALL pushes onto the page of its own code", flags=CASE_RESULT, result=0x33
        map 0, frames, RW
        copy 1f, 2f, PAGE(0)+0x800
        movq %rsp, %rbp
        movabsq $PAGE(0)+0x800, %rsp    /* just below the code */
        call 3f
3:      addq $8, %rsp
        movabsq $PAGE(0)+0x800, %rcx
        call *%rcx
        call *%rcx
        movq %rbp, %rsp
        end_case
1:      movl $0x33, %eax
        pushq %rax
        popq %rcx
        movabsq $PAGE(0)+0x800, %rcx
        ret
2:

        case "REP STOSB over what follows it", flags=CASE_RESULT, result=3
        map 0, frames, RW
        copy 1f, 2f, PAGE(0)
        movabsq $PAGE(0)+4f-1f, %rdi
        movl $6, %ecx
        movl $0x90, %eax
        xorl %ebx, %ebx
        movabsq $PAGE(0), %rbp
        call *%rbp
        movl %ebx, %eax
        end_case
1:      rep stosb
4:      incl %ebx
        incl %ebx
        incl %ebx
        incl %ebx
        incl %ebx
        incl %ebx
        ret
2:

        case "a loop that rewrites itself, with an exit in it", flags=CASE_RESULT, result=500*501/2
        map 0, frames, RW
        copy 1f, 2f, PAGE(0)
        movabsq $PAGE(0), %rbp
        xorl %ebx, %ebx
        movl $500, %ecx
        call *%rbp
        movl %ebx, %eax
        end_case
1:      movl %ecx, 3f-1b+2(%rbp)
        movq %cr0, %rax
        nop
3:      addl $0x55555555, %ebx
        decl %ecx
        jnz 1b
        ret
2:

        case "a locked write to code", flags=CASE_RESULT, result=0x111
        map 0, frames, RW
        movabsq $PAGE(0), %rbp
        write_function PAGE(0), 0x10
        xorl %ebx, %ebx
        add_result PAGE(0)
        movl $0x100, %eax
        xchgl %eax, 1(%rbp)
        add_result PAGE(0)
        lock subl $0xff, 1(%rbp)
        add_result PAGE(0)
        movl %ebx, %eax
        end_case

        case "written by SSE", flags=CASE_RESULT, result=0x30
        map 0, frames, RW
        movabsq $PAGE(0), %rbp
        write_function PAGE(0)+0x10, 0x10
        movups 0x10(%rbp), %xmm0
        write_function PAGE(0)+0x20, 0x20
        xorl %ebx, %ebx
        add_result PAGE(0)+0x20
        movaps %xmm0, 0x20(%rbp)
        add_result PAGE(0)+0x20
        movl %ebx, %eax
        end_case

        case "written by string input", flags=CASE_RESULT, result=0x22
        map 0, frames, RW
        movabsq $PAGE(0), %rbp
        write_function PAGE(0), 0x11
        xorl %ebx, %ebx
        add_result PAGE(0)
        outb %al, $PORT_ALLOWED         /* the POST port gives back 0x11 */
        leaq 1(%rbp), %rdi
        movl $PORT_ALLOWED, %edx
        movl $0, 1(%rbp)
        insb
        add_result PAGE(0)
        movl %ebx, %eax
        end_case

        case "a page that is no code any more runs again", flags=CASE_RESULT, result=300
        map 0, frames, RW
        movabsq $PAGE(0), %rbp
        xorl %ebx, %ebx
        movl $100, %r12d
1:      write_function PAGE(0), 3
        add_result PAGE(0)
        movq %rbp, %rdi
        movl $512, %ecx
        xorl %eax, %eax
        rep stosq
        decl %r12d
        jnz 1b
        movl %ebx, %eax
        end_case

        case "code made writable only afterwards faults, then changes", flags=CASE_RESULT, result=3
        map 0, frames, RW
        movabsq $PAGE(0), %rbp
        write_function PAGE(0), 1
        map 0, frames, PAGE_P
        xorl %ebx, %ebx
        add_result PAGE(0)
1:      movb $2, 1(%rbp)
2:      map 0, frames, RW
        movb $2, 1(%rbp)
        add_result PAGE(0)
        movl %ebx, %eax
        end_case
        event 14, 1b, error=3, extra=PAGE(0)+1, next=2b, rf=1

        end_cases
