/* INT n and single steps in ring 0. */
#include "cases.inc"

        begin_cases

        case "INT n"
        int $0x70
        end_case
        case "INT3"
        int3
        end_case
        case "INT1"
        .byte 0xf1
        end_case
        case "TF"
        pushfq
        orl $0x100, (%rsp)
        popfq
        nop
        nop
        end_case
        case "a code breakpoint"
        movl $PAGE_CODE + 0x12, %eax
        movq %rax, %dr0
        movl $0x402, %eax
        movq %rax, %dr7
        nop
        nop
        nop
        nop
        nop
        end_case
        case "a data breakpoint"
        movl $PAGE_DATA + 8, %eax
        movq %rax, %dr0
        movl $0xd0402, %eax
        movq %rax, %dr7
        movl $1, PAGE_DATA + 4
        movl $1, PAGE_DATA + 8
        nop
        end_case

        case "#NM"
        movq %cr0, %rax
        orl $8, %eax
        movq %rax, %cr0
        xorl %eax, %eax
        fnop
        end_case

        end_cases
