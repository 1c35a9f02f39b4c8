/*
 * Simulated time: one cycle an instruction (exits cost none here: exit-cycles=0, and what RDTSC
 * costs is the same each time). An interrupt comes at the instruction that its time is up at,
 * except in a shadow. For the simulator only.
 */
#include "cases.inc"

#define TSC_DEADLINE 0x6e0
#define SWEEP        80
#define SWEEP_LAST   79
#define VECTOR_SWEEP 0x60

        begin_cases

/* Cycles from one RDTSC to another with instructions between them, less those with none: in EAX. */
.macro elapsed text:vararg
        rdtsc
        movl %eax, %esi
        rdtsc
        subl %eax, %esi
        rdtsc
        movl %eax, %edi
        \text
        rdtsc
        subl %edi, %eax
        addl %esi, %eax
.endm

        case "a NOP is a cycle", flags=CASE_RESULT, result=1
        elapsed nop
        end_case

        case "a hundred NOPs are a hundred", flags=CASE_RESULT, result=100
        elapsed .fill 100, 1, 0x90
        end_case

        case "branches and memory", flags=CASE_RESULT, result=7
        rdtsc
        movl %eax, %esi
        rdtsc
        subl %eax, %esi
        rdtsc
        movl %eax, %edi
        call 1f                         /* 1, and 2 in there */
        jmp 2f
        nop
1:      pushq %rax
        popq %rax
        ret
2:      movl frames, %ecx
        incl frames
        rdtsc
        subl %edi, %eax
        addl %esi, %eax
        end_case

        case "a loop is its instructions", flags=CASE_RESULT, result=1+1000*3
        rdtsc
        movl %eax, %esi
        rdtsc
        subl %eax, %esi
        rdtsc
        movl %eax, %edi
        movl $1000, %ecx
1:      nop
        decl %ecx
        jnz 1b
        rdtsc
        subl %edi, %eax
        addl %esi, %eax
        end_case

        case "an exit that is settled in place is one", flags=CASE_RESULT, result=1
        elapsed outb %al, $PORT_ALLOWED
        end_case

        case "a page fault costs the same each time", flags=CASE_RESULT, result=0
        unmap 0
        movabsq $PAGE(0), %rbx
        xorl %ebp, %ebp
        movl $3, %r12d
1:      rdtsc
        movl %eax, %edi
2:      movq (%rbx), %rcx
3:      rdtsc
        subl %edi, %eax
        movl %ebp, %ecx
        movl %eax, %ebp
        decl %r12d
        jnz 1b
        movl %ebp, %eax
        subl %ecx, %eax
        event 14, 2b, error=0, extra=PAGE(0), next=3b
        event 14, 2b, error=0, extra=PAGE(0), next=3b
        event 14, 2b, error=0, extra=PAGE(0), next=3b
        end_case

/*
 * Sweeps: the TSC deadline goes from cycle to cycle, with the same instructions each time. The
 * interrupt's handler keeps RIP and RCX of each in sweep_rip[] and sweep_rcx[]; RBP is the number
 * of the sweep's step.
 */
.macro sweep_begin
        call sweep_start
9990:
.endm

/* Interrupts are on behind it; the interrupt comes some 30 to 130 instructions later. */
.macro sweep_end_step
        .fill SWEEP + 120, 1, 0x90
        cli
        incl %ebp
        cmpl $SWEEP, %ebp
        jb 9990b
.endm

        case "one cycle later, one instruction later", flags=CASE_RESULT, result=SWEEP_LAST
        sweep_begin
        call sweep_arm
        sweep_end_step
        xorl %eax, %eax
        movl $1, %ecx
1:      movl sweep_rip(,%rcx,8), %edx
        subl sweep_rip - 8(,%rcx,8), %edx
        cmpl $1, %edx
        jne 2f
        incl %eax
2:      incl %ecx
        cmpl $SWEEP, %ecx
        jb 1b
        end_case

        case "none between MOV SS and the next", flags=CASE_RESULT, result=2
        movl %ss, %r14d
        sweep_begin
        call sweep_arm
        .fill 60, 1, 0x90
        movl %r14d, %ss
1:      nop
        sweep_end_step
        movl $1b, %edx
        call sweep_judge_shadow
        end_case

        case "none between STI and the next", flags=CASE_RESULT, result=2
        sweep_begin
        call sweep_arm
        .fill 60, 1, 0x90
        cli
        nop
        sti
1:      nop
        sweep_end_step
        movl $1b, %edx
        call sweep_judge_shadow
        subl $2, %eax                   /* the CLI and the NOP before it put off theirs as well */
        end_case

        case "REP MOVSB is interrupted at each iteration", flags=CASE_RESULT, result=SWEEP_LAST
        sweep_begin
        call sweep_arm
        movl $frames, %esi
        movl $frames + 4096, %edi
        movl $SWEEP + 120, %ecx
1:      rep movsb
        sweep_end_step
        xorl %eax, %eax
        movl $1, %ecx
2:      cmpq $1b, sweep_rip(,%rcx,8)
        jne 3f
        movl sweep_rcx - 8(,%rcx,8), %edx
        subl sweep_rcx(,%rcx,8), %edx
        cmpl $1, %edx
        jne 3f
        incl %eax
3:      incl %ecx
        cmpl $SWEEP, %ecx
        jb 2b
        end_case

        case "HLT until the deadline", flags=CASE_RESULT, result=10
        call sweep_start
        xorl %eax, %eax
1:      movl $100000, %esi
        call sweep_arm_at
        hlt
2:      cli
        cmpq $2b, sweep_rip(,%rbp,8)
        jne 3f
        incl %ebp
        cmpl $10, %ebp
        jb 1b
3:      movl %ebp, %eax
        end_case

        end_cases

/* The gate, the timer in TSC-deadline mode. */
sweep_start:
        movabsq $PAGE(IDT_PAGE)+0x800+VECTOR_SWEEP*16, %rax
        movl $sweep_handler, %ecx
        movw %cx, (%rax)
        shrl $16, %ecx
        movw %cx, 6(%rax)
        movl $LAPIC, %eax
        movl $0x40000+VECTOR_SWEEP, 0x320(%rax)
        mfence
        xorl %ebp, %ebp
        ret

/* RBP: the step. */
sweep_arm:
        leal 70(%rbp), %esi
/* ESI: cycles until the interrupt. */
sweep_arm_at:
        cli
        rdtsc
        shlq $32, %rdx
        orq %rdx, %rax
        addq %rsi, %rax
        movq %rax, %rdx
        shrq $32, %rdx
        movl $TSC_DEADLINE, %ecx
        wrmsr
        sti
        ret

sweep_handler:
        pushq %rax
        movq 8(%rsp), %rax
        movq %rax, sweep_rip(,%rbp,8)
        movq %rcx, sweep_rcx(,%rbp,8)
        movl $LAPIC, %eax
        movl $0, 0xb0(%rax)
        popq %rax
        iretq

/* EDX: one-byte code in a shadow. EAX: 0 if interrupted there, else how many at the next. */
sweep_judge_shadow:
        xorl %eax, %eax
        xorl %ecx, %ecx
1:      movq sweep_rip(,%rcx,8), %rsi
        cmpq %rdx, %rsi
        je 3f
        decq %rsi
        cmpq %rdx, %rsi
        jne 2f
        incl %eax
2:      incl %ecx
        cmpl $SWEEP, %ecx
        jb 1b
        ret
3:      xorl %eax, %eax
        ret

        .bss
        .balign 8
sweep_rip:
        .skip SWEEP * 8
sweep_rcx:
        .skip SWEEP * 8
