/* Exceptions by vector, each with its error code; INT n and its kin. */
#include "cases.inc"

        begin_cases

        case "#DE, divided by 0", RUN_NO_FLAGS
        xorl %ecx, %ecx
        divl %ecx
        end_case
        case "#DE, the quotient is too large", RUN_NO_FLAGS
        movl $1, %edx
        movl $1, %ecx
        divl %ecx
        end_case
        case "#DE in ring 3, IDIV of the least number", RUN_USER|RUN_NO_FLAGS
        movl $0x80000000, %eax
        cltd
        movl $-1, %ecx
        idivl %ecx
        end_case
        case "#UD, UD2", RUN_USER
        ud2
        end_case
        case "#UD, a 32-bit instruction", RUN_USER
        .byte 0x06                      /* PUSH ES */
        end_case
        case "#UD, LOCK", RUN_USER
        .byte 0xf0
        movl %eax, %ebx
        end_case
        case "#NP, a segment that is not present"
        movl $SELECTOR_ABSENT, %eax
        movl %eax, %ds
        end_case
        case "#SS, a stack segment that is not present"
        movl $SELECTOR_ABSENT, %eax
        movl %eax, %ss
        end_case
        case "#GP, a selector beyond the GDT"
        movl $0x1000, %eax
        movl %eax, %es
        end_case
        case "#GP, a selector in the LDT, which is not there"
        movl $0x14, %eax
        movl %eax, %fs
        end_case
        case "#GP, code as a stack"
        movl $SELECTOR_CODE64, %eax
        movl %eax, %ss
        end_case
        case "#GP, a null stack segment in ring 3", RUN_USER
        xorl %eax, %eax
        movl %eax, %ss
        end_case
        case "a null data segment", RUN_USER
        xorl %eax, %eax
        movl %eax, %ds
        movl $PAGE_DATA, %ebx
        movl (%rbx), %eax
        end_case
        case "#GP, the kernel's data in ring 3", RUN_USER
        movl $SELECTOR_DATA, %eax
        movl %eax, %ds
        end_case
        case "#GP, not canonical"
        movabsq $0x800000000000, %rax
        movl (%rax), %eax
        end_case
        case "#SS, not canonical by RBP"
        movabsq $0x800000000000, %rbp
        movl (%rbp), %eax
        end_case
        case "#SS, not canonical by PUSH"
        movabsq $0x8000000000000000, %rsp
        pushq %rax
        end_case
        case "#GP, MOVAPS that is not aligned", RUN_USER
        movl $PAGE_DATA + 8, %eax
        movaps (%rax), %xmm0
        end_case

.macro access name:req, flags:req, page:req, code:vararg
        case "\name", \flags
        movl $\page + 0x18, %ebx
        \code
        end_case
.endm
        access "#PF, read of absent memory", 0, PAGE_ABSENT, movl (%rbx), %eax
        access "#PF, write of absent memory", 0, PAGE_ABSENT, movl %eax, (%rbx)
        access "#PF, modification of absent memory", 0, PAGE_ABSENT, incl (%rbx)
        access "#PF, execution of absent memory", 0, PAGE_ABSENT, jmp *%rbx
        access "#PF, write of read-only memory", 0, PAGE_READ_ONLY, movl %eax, (%rbx)
        access "#PF, execution of NX memory", 0, PAGE_NX, jmp *%rbx
        access "#PF, a reserved bit", 0, PAGE_RESERVED, movl (%rbx), %eax
        access "#PF in ring 3, read of absent memory", RUN_USER, PAGE_ABSENT, movl (%rbx), %eax
        access "#PF in ring 3, write of absent memory", RUN_USER, PAGE_ABSENT, movl %eax, (%rbx)
        access "#PF in ring 3, modification of absent memory", RUN_USER, PAGE_ABSENT, incl (%rbx)
        access "#PF in ring 3, execution of absent memory", RUN_USER, PAGE_ABSENT, jmp *%rbx
        access "#PF in ring 3, read of the supervisor's", RUN_USER, PAGE_SUPERVISOR, movl (%rbx), %eax
        access "#PF in ring 3, write of the supervisor's", RUN_USER, PAGE_SUPERVISOR, movl %eax, (%rbx)
        access "#PF in ring 3, modification of the supervisor's", RUN_USER, PAGE_SUPERVISOR, lock xaddl %eax, (%rbx)
        access "#PF in ring 3, write of read-only memory", RUN_USER, PAGE_READ_ONLY, movl %eax, (%rbx)
        access "#PF in ring 3, execution of NX memory", RUN_USER, PAGE_NX, jmp *%rbx
        access "#PF in ring 3, the supervisor's read-only memory", RUN_USER, PAGE_SUPERVISOR_READ_ONLY, movl %eax, (%rbx)
        access "#PF in ring 3, a reserved bit", RUN_USER, PAGE_RESERVED, movl (%rbx), %eax

        case "#PF over a page's end, at the second page", RUN_USER
        movq PAGE_ABSENT - 4, %rax
        end_case
        case "#PF of a store over a page's end", RUN_USER
        movl $PAGE_ABSENT - 4, %ebx
        movq %rbx, (%rbx)
        end_case
        case "INT n in ring 3 through a gate of ring 3", RUN_USER
        int $VECTOR_USER
        end_case
        case "INT n in ring 3 through a gate of ring 0", RUN_USER
        int $0x70
        end_case
        case "INT3 in ring 3", RUN_USER
        int3
        end_case
        case "INTO in 32-bit code", RUN_USER|RUN_COMPAT
        movb $0x7f, %al
        incb %al
        into
        end_case
        case "INTO without overflow in 32-bit code", RUN_USER|RUN_COMPAT
        xorl %eax, %eax
        into
        end_case
        case "#BR, BOUND in 32-bit code", RUN_USER|RUN_COMPAT
        movl $PAGE_READ_ONLY, %ebx
        bound %eax, (%ebx)
        end_case
        case "32-bit code, the stack by PUSHA", RUN_USER|RUN_COMPAT
        pusha
        end_case
        case "16-bit code, PUSHA and far segments", RUN_COMPAT16
        pusha
        movw %ds, %ax
        end_case

        end_cases
