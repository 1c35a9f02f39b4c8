/*
 * Single steps and breakpoints: RFLAGS.TF over instructions that the simulator takes out of the
 * translated code, RFLAGS.RF, the shadow of MOV SS, breakpoint registers.
 */
#include "cases.inc"

        begin_cases

/* An instruction after which the single-step trap comes. */
.macro step text:vararg
        \text
9994:   event 1, 9994b, extra=DR6_BS, rf=0
.endm

/* The steps while TF is cleared. */
.macro step_end
        step pushfq
        step andq $~0x100, (%rsp)
        step popfq
.endm

/* A case of one instruction between two others. */
.macro step_over name:req, text:vararg
        case "\name"
        xorl %eax, %eax
        set_tf
        step nop
        step \text
        step nop
        step_end
        end_case
.endm

/* One that needs RAX to be what another instruction made it. */
.macro step_back name:req, before:req, text:vararg
        case "\name"
        \before
        set_tf
        step \text
        step nop
        step_end
        end_case
.endm

        step_over "step: NOP", nop
        step_over "step: CPUID", cpuid
        step_over "step: RDTSC", rdtsc
        step_over "step: PAUSE", pause
        step_over "step: MOV from CR0", movq %cr0, %rax
        step_over "step: MOV from CR3", movq %cr3, %rax
        step_over "step: MOV from CR8", movq %cr8, %rax
        step_over "step: SMSW", smsw %eax
        step_over "step: CLTS", clts
        step_over "step: SGDT", sgdt place
        step_over "step: SIDT", sidt place
        step_over "step: SLDT", sldt %eax
        step_over "step: STR", str %eax
        step_over "step: WBINVD", wbinvd
        step_over "step: INVLPG", invlpg place
        step_over "step: IN", inb $PORT_ALLOWED, %al
        step_over "step: OUT", outb %al, $PORT_ALLOWED
        step_over "step: IN from DX", inb %dx, %al
        step_over "step: MOV from DR7", movq %dr7, %rax
        step_over "step: STI", sti
        step_over "step: CLI", cli
        step_over "step: SWAPGS", swapgs
        step_over "step: LAHF", lahf
        step_over "step: XOR", xorl %ecx, %ecx
        step_back "step: MOV to CR0", "movq %cr0, %rax", movq %rax, %cr0
        step_back "step: MOV to CR3", "movq %cr3, %rax", movq %rax, %cr3
        step_back "step: MOV to CR4", "movq %cr4, %rax", movq %rax, %cr4
        step_back "step: MOV to CR8", "movq %cr8, %rax", movq %rax, %cr8
        step_back "step: LMSW", "smsw %eax", lmsw %ax
        step_back "step: LGDT", "sgdt place", lgdt place
        step_back "step: LIDT", "sidt place", lidt place
        step_back "step: RDMSR", "movl $0xc0000080, %ecx", rdmsr
        step_back "step: LLDT", "xorl %eax, %eax", lldt %ax
                step_back "step: PUSH and POP", "pushq %rax", popq %rax
        step_back "step: a load that sets A", "movl $frames, %ebx", movq (%rbx), %rax

        case "step: WRMSR"
        movl $0xc0000080, %ecx
        rdmsr
        set_tf
        step wrmsr
        step_end
        end_case

        case "step: CALL and RET"
        set_tf
        call 1f
2:      event 1, 1f, extra=DR6_BS, rf=0
        jmp 3f
1:      ret
        event 1, 2b, extra=DR6_BS, rf=0
3:      event 1, 3b, extra=DR6_BS, rf=0
        step_end
        end_case

        case "step: conditional branches"
        movl $2, %ecx
        set_tf
1:      decl %ecx
2:      jnz 1b
3:      nop
4:      event 1, 2b, extra=DR6_BS, rf=0
        event 1, 1b, extra=DR6_BS, rf=0
        event 1, 2b, extra=DR6_BS, rf=0
        event 1, 3b, extra=DR6_BS, rf=0
        event 1, 4b, extra=DR6_BS, rf=0
        step_end
        end_case

        case "step: REP STOSB steps after each iteration", flags=CASE_RESULT, result=0
        movl $3, %ecx
        movl $frames, %edi
        set_tf
1:      rep stosb
2:      event 1, 1b, extra=DR6_BS
        event 1, 1b, extra=DR6_BS
        event 1, 2b, extra=DR6_BS
        step_end
        movl %ecx, %eax
        end_case

        case "step: REP OUTSB steps after each iteration", flags=CASE_RESULT, result=0
        movl $3, %ecx
        movl $frames, %esi
        movl $PORT_ALLOWED, %edx
        set_tf
1:      rep outsb
2:      event 1, 1b, extra=DR6_BS
        event 1, 1b, extra=DR6_BS
        event 1, 2b, extra=DR6_BS
        step_end
        movl %ecx, %eax
        end_case

        case "step: INT n clears TF; the step is that of the instruction after IRET"
        set_tf
        step nop
        int $VECTOR_USER
1:      event VECTOR_USER, 1b, rf=0
        step nop
        step_end
        end_case

        case "step: a fault comes instead of the step"
        set_tf
1:      ud2
2:      event 6, 1b, next=2b, rf=1
        step nop
        step_end
        end_case

        case "step: a fault of an instruction that exits"
        movl $0x3fffffff, %ecx          /* no such MSR */
        set_tf
1:      rdmsr
2:      event 13, 1b, error=0, next=2b, rf=1
        step nop
        step_end
        end_case

        case "step: a page fault, then the instruction"
        unmap 0
        movabsq $PAGE(0), %rbx
        set_tf
1:      movq (%rbx), %rcx
        nop
2:      nop
3:      event 14, 1b, error=0, extra=PAGE(0), next=2b, rf=1
        event 1, 3b, extra=DR6_BS, rf=0
        step_end
        end_case

        case "step: MOV SS holds back the trap until after the next instruction"
        movl %ss, %eax
        set_tf
        movl %eax, %ss
        step nop
        step_end
        end_case

        case "step: MOV SS, then MOV from CR0"
        movl %ss, %ebx
        xorl %eax, %eax
        set_tf
        movl %ebx, %ss
        step movq %cr0, %rax
        step_end
        end_case

        case "step: MOV SS, then CPUID"
        xorl %eax, %eax
        movl %ss, %esi
        set_tf
        movl %esi, %ss
        step cpuid
        step_end
        end_case

        case "step: SYSCALL keeps TF unless it is masked"
        pushfq
        movl $0xc0000080, %ecx
        rdmsr
        orl $1, %eax                    /* SCE */
        wrmsr
        movl $0xc0000081, %ecx          /* STAR: ring 0 from 8, ring 3 from 0x13 */
        movl $0x00130008, %edx
        xorl %eax, %eax
        wrmsr
        movl $0xc0000082, %ecx          /* LSTAR */
        movl $2f, %eax
        xorl %edx, %edx
        wrmsr
        movl $0xc0000084, %ecx          /* FMASK */
        xorl %eax, %eax
        wrmsr
        popfq
        set_tf
        syscall
1:      ud2
2:      event 1, 2b, extra=DR6_BS, rf=0
        step nop
        step_end
        end_case

        case "step: HLT ends with the trap"
        set_tf
        step hlt
        step_end
        end_case

/* ---- breakpoint registers ---- */

.macro breakpoint register:req, address:req
        movq $\address, %rax
        movq %rax, %\register
.endm

.macro enable bits:req
        movl $(\bits)+0x400, %eax
        movq %rax, %dr7
.endm

        case "breakpoint: before the instruction, once"
        breakpoint dr0, 1f
        enable 1
        nop
1:      incl %ecx
        event 1, 1b, extra=1, rf=0
        nop
        end_case

        case "breakpoint: in the middle of code that ran before", flags=CASE_RESULT, result=3
        xorl %ebx, %ebx
        movl $3, %ecx
1:      incl %ebx
2:      decl %ecx
        movq $2b, %rax
        movq %rax, %dr1
        movl $0x404, %eax
        movq %rax, %dr7
        testl %ecx, %ecx
        jnz 1b
        event 1, 2b, extra=2, rf=0
        event 1, 2b, extra=2, rf=0
        movl %ebx, %eax
        end_case

        case "breakpoint: RF in the image of IRETQ holds it back once"
        breakpoint dr0, 1f
        enable 1
        movq %rsp, %rbx
        pushq $SELECTOR_DATA
        pushq %rbx
        pushq $0x10002
        pushq $SELECTOR_CODE64
        pushq $1f
        iretq
        nop
1:      nop
        incl %ecx
        end_case

        case "breakpoint: on an instruction that exits"
        breakpoint dr2, 1f
        enable 0x10
        xorl %eax, %eax
        nop
1:      cpuid
        event 1, 1b, extra=4, rf=0
        end_case

        case "breakpoint: a fault's RF holds it back when the instruction is done again"
        breakpoint dr0, 1f
        enable 1
        unmap 0
        movabsq $PAGE(0), %rbx
1:      movq (%rbx), %rcx
2:      event 1, 1b, extra=1, rf=0
        event 14, 1b, error=0, extra=PAGE(0), next=2b, rf=1
        end_case

        case "breakpoint: data written", flags=CASE_RESULT, result=7
        breakpoint dr0, place
        enable 0xd0001                  /* 4 bytes, write */
        movl place, %ecx
        movl $7, place
1:      movl place, %eax
        event 1, 1b, extra=1, rf=0
        end_case

        case "breakpoint: data read or written"
        breakpoint dr3, place
        enable 0xf0000040
        movl place + 4, %ecx
        movl place, %ecx
1:      nop
        event 1, 1b, extra=8, rf=0
        incl place
2:      event 1, 2b, extra=8, rf=0
        end_case

        case "breakpoint: data, with a single step"
        breakpoint dr0, place
        enable 0xd0001
        set_tf
        movl $7, place
1:      event 1, 1b, extra=DR6_BS+1, rf=0
        step_end
        end_case

        end_cases

        .data
        .balign 16
place:  .skip 16
