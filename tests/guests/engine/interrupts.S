/*
 * Interrupts and NMIs at their instruction: the shadow of STI in front of whatever may end a block,
 * what sets IF, HLT and PAUSE, priorities, NMI blocking and IRET.
 */
#include "cases.inc"

        begin_cases

/* An interrupt waits; STI; then one instruction is executed and the interrupt comes. */
.macro shadow name:req, text:vararg
        case "\name"
        xorl %eax, %eax
        cli
        raise ICR_SELF+VECTOR_IPI
        sti
        \text
9995:   event VECTOR_IPI, 9995b, rf=0
        nop
        cli
        end_case
.endm

        shadow "STI; NOP", nop
        shadow "STI; STI", sti
        shadow "STI; CPUID", cpuid
        shadow "STI; PAUSE", pause
        shadow "STI; HLT", hlt
        shadow "STI; IN", inb $PORT_ALLOWED, %al
        shadow "STI; OUT", outb %al, $PORT_ALLOWED
        shadow "STI; RDTSC", rdtsc
        shadow "STI; MOV from CR0", movq %cr0, %rax
        shadow "STI; MOV from CR8", movq %cr8, %rax
        shadow "STI; WBINVD", wbinvd
        shadow "STI; INVLPG", invlpg frames
        shadow "STI; SWAPGS", swapgs
        shadow "STI; a load", movq frames, %rax
        shadow "STI; XOR", xorl %eax, %eax

        case "STI; RET"
        cli
        raise ICR_SELF+VECTOR_IPI
        call 1f
2:      event VECTOR_IPI, 2b, rf=0
        nop
        cli
        end_case
1:      sti
        ret

        case "STI; RET to code that ran before"
        movl $3, %ecx
3:      cli
        raise ICR_SELF+VECTOR_IPI
        call 1f
2:      event VECTOR_IPI, 2b, rf=0
        event VECTOR_IPI, 2b, rf=0
        event VECTOR_IPI, 2b, rf=0
        decl %ecx
        jnz 3b
        cli
        end_case
1:      sti
        ret

        case "STI; JMP"
        cli
        raise ICR_SELF+VECTOR_IPI
        movl $1f, %eax
        sti
        jmp *%rax
        nop
1:      event VECTOR_IPI, 1b, rf=0
        cli
        end_case

        case "STI; CALL"
        cli
        raise ICR_SELF+VECTOR_IPI
        movl $1f, %eax
        sti
        call *%rax
        end_case
1:      event VECTOR_IPI, 1b, rf=0
        cli
        ret

        case "STI; JNZ"
        cli
        raise ICR_SELF+VECTOR_IPI
        xorl %eax, %eax
        incl %eax
        sti
        jnz 1f
        nop
1:      event VECTOR_IPI, 1b, rf=0
        cli
        end_case

        case "STI; IRETQ"
        cli
        movq %rsp, %rbx
        pushq $SELECTOR_DATA
        pushq %rbx
        pushq $0x202
        pushq $SELECTOR_CODE64
        pushq $1f
        raise ICR_SELF+VECTOR_IPI
        sti
        iretq
        nop
1:      event VECTOR_IPI, 1b, rf=0
        cli
        end_case

        case "STI; CLI lets nothing in"
        cli
        raise ICR_SELF+VECTOR_IPI
        sti
        cli
        nop
        sti
        nop
1:      event VECTOR_IPI, 1b, rf=0
        cli
        end_case

        case "STI; UD2: the exception first"
        cli
        raise ICR_SELF+VECTOR_IPI
        sti
1:      ud2
2:      nop
        event 6, 1b, next=2b, rf=1
        event VECTOR_IPI, 2b
        cli
        end_case

        case "STI; INT n: the software interrupt first"
        cli
        raise ICR_SELF+VECTOR_IPI
        sti
        int $VECTOR_USER
1:      nop
        event VECTOR_USER, 1b, rf=0
        event VECTOR_IPI, 1b
        cli
        end_case

        case "POPF has no shadow"
        cli
        raise ICR_SELF+VECTOR_IPI
        pushfq
        orq $0x200, (%rsp)
        popfq
1:      event VECTOR_IPI, 1b, rf=0
        nop
        cli
        end_case

        case "IRETQ has no shadow"
        cli
        raise ICR_SELF+VECTOR_IPI
        movq %rsp, %rbx
        pushq $SELECTOR_DATA
        pushq %rbx
        pushq $0x202
        pushq $SELECTOR_CODE64
        pushq $1f
        iretq
        nop
1:      event VECTOR_IPI, 1b, rf=0
        cli
        end_case

        case "MOV to CR8 lets in what waited"
        movl $15, %eax
        movq %rax, %cr8
        raise ICR_SELF+VECTOR_IPI
        sti
        nop
        nop
        xorl %eax, %eax
        movq %rax, %cr8
1:      event VECTOR_IPI, 1b, rf=0
        cli
        end_case

        case "an interrupt raised with IF set comes behind the instruction that raised it"
        sti
        nop
        raise ICR_SELF+VECTOR_IPI
1:      event VECTOR_IPI, 1b, rf=0
        nop
        raise ICR_SELF+VECTOR_IPI
2:      event VECTOR_IPI, 2b, rf=0
        cli
        end_case

        case "two that wait: the higher vector first"
        cli
        raise ICR_SELF+VECTOR_IPI
        raise ICR_SELF+VECTOR_IPI+1
        raise ICR_SELF+VECTOR_IPI+0xf
        sti
        nop
1:      event VECTOR_IPI+0xf, 1b, rf=0
        event VECTOR_IPI+1, 1b, rf=0
        event VECTOR_IPI, 1b, rf=0
        cli
        end_case

        case "HLT, then HLT again"
        cli
        raise ICR_SELF+VECTOR_IPI
        sti
        hlt
1:      event VECTOR_IPI, 1b, rf=0
        cli
        raise ICR_SELF+VECTOR_IPI
        sti
        hlt
2:      event VECTOR_IPI, 2b, rf=0
        cli
        end_case

/* ---- NMI ---- */

        case "NMI, with IF clear"
        cli
        nop
        raise ICR_NMI
1:      event 2, 1b, rf=0
        nop
        end_case

        case "NMI before an interrupt that waits"
        cli
        raise ICR_SELF+VECTOR_IPI
        raise ICR_NMI
1:      event 2, 1b, rf=0
        sti
        nop
2:      event VECTOR_IPI, 2b, rf=0
        cli
        end_case

/* nmi_hook is called in the handler of the NMI: NMIs are blocked until the next IRET. */
.macro return_to where:req
        movq %rsp, %rcx
        pushq $SELECTOR_DATA
        pushq %rcx
        pushq $2
        pushq $SELECTOR_CODE64
        pushq $\where
        iretq
.endm

        case "NMI is blocked until IRET, and one is remembered"
        cli
        movq $1f, nmi_hook
        raise ICR_NMI
3:      event 2, 3b, rf=0
        nop
        end_case
1:      raise ICR_NMI
        raise ICR_NMI
        nop
        cpuid
        return_to 2f
        nop
2:      event 2, 2b, rf=0
        nop
        ret

        case "an exception's IRET unblocks NMIs, too"
        cli
        movq $1f, nmi_hook
        raise ICR_NMI
4:      event 2, 4b, rf=0
        end_case
1:      raise ICR_NMI
        nop
2:      ud2
3:      event 6, 2b, next=3b, rf=1
        event 2, 3b
        ret

        case "an IRET that faults unblocks NMIs: the next comes in the fault's handler"
        cli
        movq $1f, nmi_hook
        raise ICR_NMI
4:      event 2, 4b, rf=0
        end_case
1:      raise ICR_NMI
        movq %rsp, %rbx
        pushq $SELECTOR_DATA
        pushq %rbx
        pushq $2
        pushq $SELECTOR_DATA            /* no code */
        pushq $3f
2:      iretq
        event 2, interrupt_stubs+13*16
        event 13, 2b, error=SELECTOR_DATA, next=3f, rf=1
3:      movq %rbx, %rsp
        ret

        end_cases
