/*
 * Breakpoint registers in detail, INT1, and other exceptions that kvm-unit-tests ask for: which
 * bytes meet a breakpoint, what MOV SS holds back, operands that are not canonical or not aligned.
 */
#include "cases.inc"

        begin_cases

#define BREAK_WRITE(n, length) ((1 | (length) << 2) << (16 + 4 * (n)) | 1 << (2 * (n)))
#define BREAK_ACCESS(n, length) ((3 | (length) << 2) << (16 + 4 * (n)) | 1 << (2 * (n)))
#define BREAK_IO(n, length) ((2 | (length) << 2) << (16 + 4 * (n)) | 1 << (2 * (n)))
#define BREAK_GLOBAL(n) (2 << (2 * (n)))
#define BYTES_1 0
#define BYTES_2 1
#define BYTES_8 2
#define BYTES_4 3

#define DR6_BD 0x2000
#define DR7_GD 0x2000
#define CR4_DE 8

#define NOT_CANONICAL 0x800000000000

.macro breakpoint register:req, address:req
        movabsq $(\address), %rax
        movq %rax, %\register
.endm

.macro enable bits:req
        movl $(\bits)|0x400, %eax
        movq %rax, %dr7
.endm

/* An instruction behind which breakpoints are reported. */
.macro hits bits:req, text:vararg
        \text
9996:   event 1, 9996b, extra=\bits, rf=0
.endm

/* ---- instructions ---- */

        case "breakpoint: two instructions, one after the other"
        breakpoint dr1, 1f
        breakpoint dr3, 2f
        enable BREAK_GLOBAL(1)|BREAK_GLOBAL(3)
1:      incl %ecx
2:      incl %ecx
        event 1, 1b, extra=2, rf=0
        event 1, 2b, extra=8, rf=0
        end_case

        case "breakpoint: two on one instruction"
        breakpoint dr0, 1f
        breakpoint dr2, 1f
        enable 0x11
1:      nop
        event 1, 1b, extra=5, rf=0
        end_case

        case "breakpoint: not on what is not the first byte"
        breakpoint dr0, 1f+1
        enable 1
1:      movl $5, %ecx
        end_case

        case "breakpoint: an instruction behind MOV SS has none"
        breakpoint dr0, 1f
        enable 1
        movl %ss, %eax
        movl %eax, %ss
1:      nop
        nop
        end_case

        case "breakpoint: each time around", flags=CASE_RESULT, result=10
        breakpoint dr0, 1f
        enable 1
        movl $5, %ecx
        xorl %eax, %eax
1:      addl $2, %eax
        loop 1b
        event 1, 1b, extra=1, rf=0
        event 1, 1b, extra=1, rf=0
        event 1, 1b, extra=1, rf=0
        event 1, 1b, extra=1, rf=0
        event 1, 1b, extra=1, rf=0
        end_case

        case "breakpoint: moved to another instruction"
        breakpoint dr0, 1f
        enable 1
1:      nop
        breakpoint dr0, 2f
        movl $2, %ecx
3:      nop
2:      nop
        loop 3b
        event 1, 1b, extra=1, rf=0
        event 1, 2b, extra=1, rf=0
        event 1, 2b, extra=1, rf=0
        end_case

        case "breakpoint: disabled and enabled again"
        breakpoint dr0, 1f
        movl $4, %ecx
2:      movl %ecx, %eax
        andl $1, %eax
        orl $0x400, %eax
        movq %rax, %dr7
1:      nop
        loop 2b
        event 1, 1b, extra=1, rf=0
        event 1, 1b, extra=1, rf=0
        end_case

        case "breakpoint: on REP STOSB before it starts", flags=CASE_RESULT, result=0
        breakpoint dr0, 1f
        enable 1
        movl $5, %ecx
        leaq place(%rip), %rdi
1:      rep stosb
        event 1, 1b, extra=1, rf=0
        movl %ecx, %eax
        end_case

/* ---- data ---- */

        case "breakpoint: lengths and neighbours"
        breakpoint dr0, place+9
        breakpoint dr1, place+20
        breakpoint dr2, place+32
        enable BREAK_WRITE(0,BYTES_1)|BREAK_WRITE(1,BYTES_2)|BREAK_WRITE(2,BYTES_8)
        movb %al, place + 8
        movb %al, place + 10
        hits 1, movb %al, place + 9
        movw %ax, place + 18
        movw %ax, place + 22
        hits 2, movb %al, place + 21
        hits 2, movq %rax, place + 16
        movq %rax, place + 24
        movq %rax, place + 40
        hits 4, movb %al, place + 39
        movq place + 32, %rax
        end_case

        case "breakpoint: one that is not aligned starts at the multiple before"
        breakpoint dr0, place+11
        enable BREAK_WRITE(0,BYTES_4)
        movb %al, place + 7
        hits 1, movb %al, place + 8
        hits 1, movb %al, place + 11
        movb %al, place + 12
        end_case

        case "breakpoint: misaligned stores"
        breakpoint dr0, place+8
        enable BREAK_WRITE(0,BYTES_1)
        movl %eax, place + 9
        movl %eax, place + 3
        hits 1, movl %eax, place + 5
        hits 1, movl %eax, place + 6
        hits 1, movq %rax, place + 1
        movq %rax, place + 9
        movw %ax, place + 9
        hits 1, movw %ax, place + 7
        end_case

        case "breakpoint: at the start of a page, misaligned stores on it"
        map 0, frames, PAGE_P|PAGE_W
        breakpoint dr0, PAGE(0)
        enable BREAK_WRITE(0,BYTES_8)
        movabsq $PAGE(0), %rbx
        movl %eax, 9(%rbx)
        movq %rax, 257(%rbx)
        hits 1, movl %eax, 7(%rbx)
        end_case

        case "breakpoint: a store over two pages"
        map 0, frames, PAGE_P|PAGE_W
        map 1, frames, PAGE_P|PAGE_W
        breakpoint dr0, PAGE(1)
        breakpoint dr1, PAGE(1)-1
        enable BREAK_WRITE(0,BYTES_1)|BREAK_WRITE(1,BYTES_1)
        movabsq $PAGE(1), %rbx
        hits 3, movl %eax, -2(%rbx)
        hits 2, movl %eax, -4(%rbx)
        hits 1, movl %eax, (%rbx)
        end_case

        case "breakpoint: read, changed and written once", flags=CASE_RESULT, result=0x100ffff
        movl $0xffff, place + 1
        breakpoint dr0, place+4
        enable BREAK_WRITE(0,BYTES_1)
        hits 1, addl $0x1000000, place + 1
        hits 1, xchgl %ecx, place + 1
        movl %ecx, %eax
        end_case

        case "breakpoint: PUSH and CALL"
        leaq -8(%rsp), %rax
        movq %rax, %dr0
        enable BREAK_ACCESS(0,BYTES_8)
        hits 1, pushq %rcx
        hits 1, popq %rcx
        call 1f
1:      event 1, 1b, extra=1, rf=0
        hits 1, popq %rax
        movl $0x400, %eax
        movq %rax, %dr7
        end_case

        case "breakpoint: REP MOVSB tells it after the iteration", flags=CASE_RESULT, result=0
        breakpoint dr0, place+34
        enable BREAK_WRITE(0,BYTES_2)
        movl $place, %esi
        movl $place+32, %edi
        movl $6, %ecx
1:      rep movsb
        event 1, 1b, extra=1
        event 1, 1b, extra=1
        movl %ecx, %eax
        end_case

        case "breakpoint: an access that faults does not meet it"
        map 0, frames, PAGE_P
        breakpoint dr0, PAGE(0)
        enable BREAK_WRITE(0,BYTES_1)
        movabsq $PAGE(0), %rbx
        movq %cr0, %rax
        orl $0x10000, %eax
        movq %rax, %cr0
1:      movb %al, (%rbx)
2:      event 14, 1b, error=3, extra=PAGE(0), next=2b
        end_case

        case "breakpoint: fetches are no reads"
        breakpoint dr0, 1f
        enable BREAK_ACCESS(0,BYTES_1)
1:      nop
        nop
        end_case

/* ---- MOV SS ---- */

        case "MOV SS holds a data breakpoint back"
        breakpoint dr0, place
        movw %ss, place
        enable BREAK_ACCESS(0,BYTES_2)
        movw place, %ss
        hits 1, nop
        end_case

        case "MOV SS holds it back until the handler of INT n"
        breakpoint dr0, place
        movw %ss, place
        enable BREAK_ACCESS(0,BYTES_2)
        movw place, %ss
        int $VECTOR_USER
1:      event 1, interrupt_stubs+VECTOR_USER*16, extra=1, rf=0
        event VECTOR_USER, 1b
        end_case

        case "MOV SS, then INT1: one exception"
        breakpoint dr0, place
        movw %ss, place
        enable BREAK_ACCESS(0,BYTES_2)
        movw place, %ss
        hits 1, .byte 0xf1
        end_case

        case "MOV SS, then an instruction that exits"
        breakpoint dr0, place
        movw %ss, place
        enable BREAK_ACCESS(0,BYTES_2)
        xorl %eax, %eax
        movw place, %ss
        hits 1, cpuid
        end_case

/* ---- ports, INT1, general detection ---- */

.macro set_de
        movq %cr4, %rax
        orl $CR4_DE, %eax
        movq %rax, %cr4
.endm

.macro clear_de
        movq %cr4, %rax
        andl $~CR4_DE, %eax
        movq %rax, %cr4
.endm

        case "breakpoint: ports"
        set_de
        breakpoint dr0, PORT_ALLOWED
        enable BREAK_IO(0,BYTES_2)
        movl $PORT_ALLOWED, %edx
        hits 1, outb %al, $PORT_ALLOWED
        hits 1, inb %dx, %al
        hits 1, outb %al, $PORT_ALLOWED + 1
        outb %al, $PORT_ALLOWED + 2
        outb %al, $PORT_ALLOWED - 1
        hits 1, outw %ax, $PORT_ALLOWED - 1
        clear_de
        end_case

        case "breakpoint: REP OUTSB, each time", flags=CASE_RESULT, result=0
        set_de
        breakpoint dr1, PORT_ALLOWED
        enable BREAK_IO(1,BYTES_1)
        movl $PORT_ALLOWED, %edx
        movl $place, %esi
        movl $3, %ecx
1:      rep outsb
2:      event 1, 1b, extra=2
        event 1, 1b, extra=2
        event 1, 2b, extra=2
        clear_de
        movl %ecx, %eax
        end_case

        case "breakpoint: ports need CR4.DE"
        breakpoint dr0, PORT_ALLOWED
        enable BREAK_IO(0,BYTES_1)
        outb %al, $PORT_ALLOWED
        end_case

        case "INT1"
        hits 0, .byte 0xf1
        hits 0, .byte 0x2e, 0x66, 0xf1
        end_case

        case "INT1 in ring 3, the gate's DPL notwithstanding", flags=CASE_USER
        hits 0, .byte 0xf1
        end_case

        case "general detection, which ends with the exception", flags=CASE_RESULT, result=0x400
        enable DR7_GD
1:      movq %dr6, %rax
        event 1, 1b, extra=DR6_BD, rf=1
        movq %dr7, %rax
        end_case

/* ---- operands ---- */

        case "not canonical: #GP, but #SS by RBP and RSP", flags=CASE_USER
        movabsq $NOT_CANONICAL, %rbx
        movq %rbp, %rcx
1:      movl (%rbx), %eax
2:      event 13, 1b, next=2b, rf=1
        movq %rbx, %rbp
1:      movl %eax, (%rbp)
2:      event 12, 1b, next=2b, rf=1
1:      movl %fs:(%rbp), %eax
2:      event 13, 1b, next=2b, rf=1
1:      movl (%rcx,%rbp), %eax
2:      event 13, 1b, next=2b, rf=1
        movq %rsp, %rdx
        leaq 64(%rbx), %rsp
1:      pushq %rax
2:      event 12, 1b, next=2b, rf=1
1:      popq %rax
2:      event 12, 1b, next=2b, rf=1
1:      ret
2:      event 12, 1b, next=2b, rf=1
1:      leave
2:      event 12, 1b, next=2b, rf=1
        movq %rdx, %rsp
1:      pushq (%rbx)
2:      event 13, 1b, next=2b, rf=1
        movq %rcx, %rbp
        end_case

        case "a null selector in SS: its RPL is the CPL"
        movl %ss, %ecx
        xorl %eax, %eax
        movl %eax, %ss
        nop
        movl $3, %eax
1:      movl %eax, %ss
2:      event 13, 1b, next=2b, rf=1
        movl %ecx, %ss
        end_case

        case "GS keeps its base when IRETQ takes its selector", flags=CASE_RESULT, result=0x1234567
        movl $0x1234567, place + 32
        movl $SELECTOR_DATA, %eax
        movl %eax, %gs
        movl $0xc0000101, %ecx
        movl $place, %eax
        xorl %edx, %edx
        wrmsr
        pushq $SELECTOR_USER_DATA
        pushq $stack_end
        pushq $2
        pushq $SELECTOR_USER_CODE
        pushq $1f
        iretq
1:      movl %gs:32, %eax
        int $VECTOR_LEAVE_USER

        case "SSE operands that must be aligned"
        leaq place + 8(%rip), %rbx
        movaps -8(%rbx), %xmm0
        movups (%rbx), %xmm1
        movdqu %xmm1, (%rbx)
        lddqu (%rbx), %xmm2
        movlps (%rbx), %xmm2
        cvtps2pd (%rbx), %xmm2
        cvtdq2pd (%rbx), %xmm2
        addss (%rbx), %xmm2
        pmovzxbw (%rbx), %xmm2
        pcmpistri $0, (%rbx), %xmm2
1:      movaps (%rbx), %xmm0
2:      event 13, 1b, next=2b, rf=1
1:      movapd %xmm0, (%rbx)
2:      event 13, 1b, next=2b, rf=1
1:      movdqa (%rbx), %xmm0
2:      event 13, 1b, next=2b, rf=1
1:      movntdq %xmm9, (%rbx)
2:      event 13, 1b, next=2b, rf=1
1:      addps (%rbx), %xmm0
2:      event 13, 1b, next=2b, rf=1
1:      pxor (%rbx), %xmm10
2:      event 13, 1b, next=2b, rf=1
1:      pshufhw $1, (%rbx), %xmm0
2:      event 13, 1b, next=2b, rf=1
1:      pshufb (%rbx), %xmm0
2:      event 13, 1b, next=2b, rf=1
1:      palignr $4, (%rbx), %xmm0
2:      event 13, 1b, next=2b, rf=1
        end_case

        end_cases

        .data
        .balign 64
place:  .skip 64
        .bss
        .balign 16
        .skip 1024
stack_end:
