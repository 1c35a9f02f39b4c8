/*
 * Exceptions of the processor: their vectors and error codes, RIP at the instruction itself
 * whatever block it was translated in, and nothing of the instruction done.
 */
#include "cases.inc"

        begin_cases

/* Code that reaches over the end of PAGE(0) into PAGE(1), which is absent. */
.macro crossing name:req, bytes_here:req, code:vararg
        case "\name", flags=CASE_RESULT, result=5
        map 0, frames, PAGE_P|PAGE_W
        unmap 1
        copy 1f, 2f, PAGE(1)-(\bytes_here)-10
        movabsq $PAGE(1)-(\bytes_here)-10, %rcx
        xorl %eax, %eax
        movl $0x80, %edx
        call *%rcx
3:      addq $8, %rsp                   /* the return address stays */
        end_case
1:      incl %eax                       /* 2 bytes each: the block's instructions before */
        incl %eax
        incl %eax
        incl %eax
        incl %eax
        \code
2:      event 14, PAGE(1)-(\bytes_here), error=0x10, extra=PAGE(1), next=3b, rf=1
.endm

/* The instruction that lies on both pages is all on the first one: cut it there. */
.macro bytes text:vararg
        .byte \text
.endm

        crossing "fetch: MOV EAX cut after 1 byte", 1, bytes 0xb8
        crossing "fetch: MOV EAX cut after 4 bytes", 4, bytes 0xb8, 1, 2, 3
        crossing "fetch: CPUID cut", 1, bytes 0x0f
        crossing "fetch: OUT cut", 1, bytes 0xe6
        crossing "fetch: MOV from CR0 cut", 2, bytes 0x0f, 0x20
        crossing "fetch: INT n cut", 1, bytes 0xcd
        crossing "fetch: REP cut", 1, bytes 0xf3
        crossing "fetch: JMP cut", 3, bytes 0xe9, 0, 0
        crossing "fetch: load from memory cut", 6, bytes 0x8b, 0x1c, 0x25, 0, 0, 0x10
        crossing "fetch: IRETQ cut", 1, bytes 0x48
        crossing "fetch: nothing cut", 0

        case "fetch: the next page of a block that fits", flags=CASE_RESULT, result=5
        map 0, frames, PAGE_P|PAGE_W
        unmap 1
        copy 1f, 2f, PAGE(1)-5
        movabsq $PAGE(1) - 5, %rcx
        xorl %eax, %eax
        call *%rcx
3:      addq $8, %rsp
        end_case
1:      movl $5, %eax
2:      event 14, PAGE(1), error=0x10, extra=PAGE(1), next=3b, rf=1

/* ---- data: nothing of the instruction is done, what is before it is ---- */

        case "a load in the middle of a block", flags=CASE_RESULT, result=0x23
        unmap 0
        movabsq $PAGE(0) + 0x18, %rcx
        movl $0x20, %ebx
        incl %ebx
        incl %ebx
        incl %ebx
1:      movq (%rcx), %rbx
        incl %ebx
2:      movl %ebx, %eax
        end_case
        event 14, 1b, error=0, extra=PAGE(0)+0x18, next=2b, rf=1

        case "a read-modify-write in the middle of a block", flags=CASE_RESULT, result=0x21
        map 0, frames, PAGE_P
        movabsq $PAGE(0) + 0x20, %rcx
        movl $0x20, frames + 0x20
        incl frames + 0x20
1:      incl (%rcx)
        incl frames + 0x20
2:      movl frames + 0x20, %eax
        end_case
        event 14, 1b, error=3, extra=PAGE(0)+0x20, next=2b, rf=1

        case "PUSH leaves RSP alone", flags=CASE_RESULT, result=0
        unmap 1
        movq %rsp, %rbx
        movabsq $PAGE(2), %rcx
        movq %rcx, %rsp
1:      pushq %rax
2:      movq %rsp, %rax
        subq %rcx, %rax
        movq %rbx, %rsp
        end_case
        /* The frame goes to the stack that is absent, too: a double fault on a stack of its own. */
        event 8, 1b, next=2b

        case "POP to absent memory leaves RSP alone", flags=CASE_RESULT, result=0
        unmap 1
        movabsq $PAGE(1), %rcx
        movq %rsp, %rbx
        pushq $7
        movq %rsp, %rdx
1:      popq (%rcx)
2:      movq %rsp, %rax
        subq %rdx, %rax
        movq %rbx, %rsp
        end_case
        event 14, 1b, error=2, extra=PAGE(1), next=2b, rf=1

        case "REP MOVSB up to an absent page", flags=CASE_RESULT, result=0x44
        map 0, frames, PAGE_P|PAGE_W
        unmap 1
        movabsq $PAGE(1) - 0x10, %rdi
        movabsq $PAGE(0), %rsi
        movl $0x54, %ecx
1:      rep movsb
2:      movq %rcx, %rax
        end_case
        event 14, 1b, error=2, extra=PAGE(1), next=2b, rf=1

        case "an access over two pages: the second is absent"
        map 0, frames, PAGE_P|PAGE_W
        unmap 1
        movabsq $PAGE(1) - 3, %rcx
1:      movq (%rcx), %rax
2:      end_case
        event 14, 1b, error=0, extra=PAGE(1), next=2b, rf=1

        case "MOVAPS of 8 bytes' alignment"
1:      movaps stack_of_16 + 8, %xmm0
2:      end_case
        event 13, 1b, error=0, next=2b, rf=1

/* ---- branches to what is not canonical fault themselves (SDM "JMP", "CALL", "RET", "IRET") */

        case "JMP to a non-canonical address"
        movabsq $0x8000000000000000, %rcx
1:      jmp *%rcx
2:      end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "CALL to a non-canonical address", flags=CASE_RESULT, result=0
        movabsq $0x800000000000, %rcx
        movq %rsp, %rbx
1:      call *%rcx
2:      movq %rsp, %rax
        subq %rbx, %rax
        movq %rbx, %rsp
        end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "RET to a non-canonical address", flags=CASE_RESULT, result=0
        movq %rsp, %rbx
        movabsq $0xffff7fffffffffff, %rcx
        pushq %rcx
        movq %rsp, %rdx
1:      ret
2:      movq %rsp, %rax
        subq %rdx, %rax
        movq %rbx, %rsp
        end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "IRETQ to a non-canonical address", flags=CASE_RESULT, result=0
        movq %rsp, %rbx
        movabsq $0x8000000000000000, %rcx
        pushq $SELECTOR_DATA
        pushq %rbx
        pushq $2
        pushq $SELECTOR_CODE64
        pushq %rcx
        movq %rsp, %rdx
1:      iretq
2:      movq %rsp, %rax
        subq %rdx, %rax
        movq %rbx, %rsp
        end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "IRETQ to a selector that is no code", flags=CASE_RESULT, result=0
        movq %rsp, %rbx
        pushq $SELECTOR_DATA
        pushq %rbx
        pushq $2
        pushq $SELECTOR_DATA
        pushq $2f
        movq %rsp, %rdx
1:      iretq
2:      movq %rsp, %rax
        subq %rdx, %rax
        movq %rbx, %rsp
        end_case
        event 13, 1b, error=SELECTOR_DATA, next=2b, rf=1

        case "IRETQ from absent memory"
        map 2, frames, PAGE_P|PAGE_W    /* the fault's frame goes there */
        unmap 3
        movq %rsp, %rbx
        movabsq $PAGE(3), %rsp
1:      iretq
2:      movq %rbx, %rsp
        end_case
        event 14, 1b, error=0, extra=PAGE(3), next=2b, rf=1

/* ---- INT n that faults: RIP at it, error code vector * 8 + 2 (SDM "Error Code") ---- */

        case "INT n, its gate absent"
        nop
1:      int $VECTOR_ABSENT
2:      end_case
        event 11, 1b, error=VECTOR_ABSENT*8+2, next=2b, rf=1

        case "INT n beyond the IDT's limit"
        sidt idt_pointer
        subw $16, idt_pointer
        lidt idt_pointer
1:      int $0xff
2:      addw $16, idt_pointer
        lidt idt_pointer
        end_case
        event 13, 1b, error=0xff*8+2, next=2b, rf=1

        case "INT n, its gate on a page that is absent"
        movq page_entries + IDT_PAGE_2 * 8, %rbx
        unmap IDT_PAGE_2
1:      int $0x90
2:      movq %rbx, page_entries + IDT_PAGE_2 * 8
        end_case
        event 14, 1b, error=0, extra=PAGE(IDT_PAGE_2)+0x100, next=2b, rf=1

        case "INT n, the handler's stack absent"
        unmap PAGE_LAST
1:      int $VECTOR_LOST_STACK
2:      end_case
        event 14, 1b, error=2, extra=PAGE(PAGES)-8, next=2b, rf=1

        case "INT n of ring 3 through a gate of ring 0", flags=CASE_USER
        nop
1:      int $VECTOR_LOST_STACK
2:      end_case
        event 13, 1b, error=VECTOR_LOST_STACK*8+2, next=2b, rf=1

        case "INT n of ring 3", flags=CASE_USER
        nop
        int $VECTOR_USER
2:      end_case
        event VECTOR_USER, 2b, rf=0

        case "INT3", flags=CASE_USER
        nop
        int3
2:      end_case
        event 3, 2b, rf=0

        case "INT 3 in two bytes", flags=CASE_USER
        .byte 0xcd, 3
2:      end_case
        event 3, 2b, rf=0

        case "after a fault that was delivered the next is no double fault"
        unmap 0
        movabsq $PAGE(0), %rcx
1:      movq (%rcx), %rax
2:      movq (%rcx), %rax
3:      ud2
4:      movq (%rcx), %rax
5:      end_case
        event 14, 1b, error=0, extra=PAGE(0), next=2b
        event 14, 2b, error=0, extra=PAGE(0), next=3b
        event 6, 3b, next=4b
        event 14, 4b, error=0, extra=PAGE(0), next=5b

/* ---- ring 3: I/O by the TSS's bitmap, then by IOPL ---- */

        case "I/O bitmap: a port that is allowed", flags=CASE_USER|CASE_RESULT, result=0x5a
        movl $0x5a, %eax
        outb %al, $PORT_ALLOWED
        xorl %eax, %eax
        inb $PORT_ALLOWED, %al
        end_case

        case "I/O bitmap: OUT to a port that is not", flags=CASE_USER
        nop
1:      outb %al, $PORT_ALLOWED + 1
2:      end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "I/O bitmap: IN from a port that is not", flags=CASE_USER
        movl $PORT_ALLOWED + 1, %edx
1:      inb %dx, %al
2:      end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "I/O bitmap: a word of which one byte is not", flags=CASE_USER
1:      outw %ax, $PORT_ALLOWED
2:      end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "I/O bitmap: a doubleword that ends in an allowed byte", flags=CASE_USER
1:      inl $PORT_ALLOWED - 3, %eax
2:      end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "I/O bitmap: a port beyond the TSS's limit", flags=CASE_USER
        movl $0x1000, %edx
1:      outb %al, %dx
2:      end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "I/O bitmap: REP OUTSB to a port that is not", flags=CASE_USER|CASE_RESULT, result=3
        movl $PORT_ALLOWED + 1, %edx
        movl $frames, %esi
        movl $3, %ecx
1:      rep outsb
2:      movl %ecx, %eax
        end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "I/O bitmap: REP OUTSB, allowed", flags=CASE_USER|CASE_RESULT, result=0
        movl $PORT_ALLOWED, %edx
        movl $frames, %esi
        movl $3, %ecx
        rep outsb
        movl %ecx, %eax
        end_case

        case "CLI in ring 3", flags=CASE_USER
1:      cli
2:      end_case
        event 13, 1b, error=0, next=2b, rf=1

        case "IOPL 3 allows everything", flags=CASE_USER|CASE_IOPL3
        outb %al, $PORT_ALLOWED
        outw %ax, $PORT_ALLOWED
        inb $PORT_ALLOWED + 1, %al
        cli
        end_case

/* ---- found by random sequences against other processors (tests/validation) ---- */

/* Its read is one for ownership. */
.macro modifying name:req, code:vararg
        case "\name, absent memory: a write"
        unmap 0
        movabsq $PAGE(0) + 0x18, %rcx
1:      \code
2:      end_case
        event 14, 1b, error=2, extra=PAGE(0)+0x18, next=2b, rf=1
.endm
        modifying "ADD", addl %eax, (%rcx)
        modifying "LOCK XADD", lock xaddq %rax, (%rcx)
        modifying "BTS", btsl $3, (%rcx)
        modifying "SHRD", shrdl $3, %eax, (%rcx)
        modifying "ROL", rolw $3, (%rcx)
        modifying "CMPXCHG8B", cmpxchg8b (%rcx)
        modifying "NOT", notb (%rcx)

.macro reading name:req, code:vararg
        case "\name, absent memory: a read"
        unmap 0
        movabsq $PAGE(0) + 0x18, %rcx
1:      \code
2:      end_case
        event 14, 1b, error=0, extra=PAGE(0)+0x18, next=2b, rf=1
.endm
        reading "CMP", cmpl %eax, (%rcx)
        reading "CMP imm8", cmpb $3, (%rcx)
        reading "TEST", testb $3, (%rcx)
        reading "BT", btl $3, (%rcx)
        reading "DIV", divl (%rcx)
        reading "PUSH", pushq (%rcx)

/* LOCK stands before something that it may not. */
.macro unlockable name:req, code:vararg
        case "LOCK \name"
        movl $frames, %ecx
1:      .byte 0xf0
        \code
2:      end_case
        event 6, 1b, next=2b, rf=1
.endm
        unlockable "MOV", movl %eax, (%rcx)
        unlockable "ADD to a register", addl %eax, %ecx
        unlockable "CMP", cmpl %eax, (%rcx)
        unlockable "BT", btl $3, (%rcx)
        unlockable "SHL", shll $3, (%rcx)
        unlockable "NOP", nop

/* The flags of ADC, which the next instruction reads and then faults. */
.macro flags_after_fault name:req, flags:req, code:vararg
        case "flags at a fault of \name", flags=CASE_RESULT, result=\flags
        unmap 0
        movabsq $PAGE(0), %rcx
        movb $0xff, %al
        movb $0xf0, %dl
        stc
        adcb %dl, %al                   /* f0h: CF, SF, PF, AF */
1:      \code
2:      pushfq
        popq %rax
        andl $0x8d5, %eax
        end_case
        event 14, 1b, error=2, extra=PAGE(0), next=2b, rf=1
.endm
        flags_after_fault "SETG", 0x95, setg (%rcx)
        flags_after_fault "RCR", 0x95, rcrl $1, (%rcx)
        flags_after_fault "RCL by CL", 0x95, rclq %cl, (%rcx)

        end_cases

        .data
        .balign 16
stack_of_16:
        .skip 32
idt_pointer:
        .skip 16
