/* Control and debug registers: values, reserved bits, privilege. */
#include "cases.inc"

        begin_cases

.macro faulty name:req, register:req, set:req, clear=0
        case "\name", RUN_NO_FLAGS
        movq %\register, %rax
        movabsq $\set, %rbx
        orq %rbx, %rax
        movabsq $~(\clear), %rbx
        andq %rbx, %rax
        movq %rax, %rbx
        movq %rbx, %\register
        movq %\register, %rax
        xorq %rbx, %rax
        xorl %ebx, %ebx
        end_case
.endm
        case "CR0"
        movq %cr0, %rax
        andl $~0x20, %eax               /* NE */
        testl %eax, %eax
        end_case
        case "CR4"
        movq %cr4, %rax
        end_case
        case "CR2 keeps what is written"
        movq $0x123456789, %rax
        movq %rax, %cr2
        xorl %eax, %eax
        movq %cr2, %rax
        end_case
        case "CR8 keeps 4 bits"
        movl $9, %eax
        movq %rax, %cr8
        movq %cr8, %rbx
        xorl %eax, %eax
        movq %rax, %cr8
        end_case
        case "CR8, reserved bits"
        movl $0x10, %eax
        movq %rax, %cr8
        end_case
        case "CR1 does not exist"
        .byte 0x0f, 0x20, 0xc8
        end_case
        case "CR5 does not exist"
        .byte 0x0f, 0x22, 0xe8
        end_case
        faulty "CR0, PE off under paging", cr0, 0, 1
        faulty "CR0, NW without CD", cr0, 0x20000000
        faulty "CR0, bit 32", cr0, 0x100000000
        faulty "CR0, MP off and on", cr0, 0, 2
        faulty "CR0, paging off in 64-bit code", cr0, 0, 0x80000000
        faulty "CR4, a bit that does not exist", cr4, 0x80000000
        faulty "CR4, PAE off in 64-bit mode", cr4, 0, 0x20
        faulty "CR4, TSD", cr4, 4
        faulty "CR4, PGE", cr4, 0x80

        case "SMSW and LMSW"
        smsww %ax
        andl $0xf, %eax
        movl %eax, %ebx
        orl $8, %ebx
        lmsw %bx
        smsww %cx
        andl $0xf, %ecx
        clts
        smsww %dx
        andl $0xf, %edx
        end_case
        case "LMSW cannot leave protected mode"
        xorl %eax, %eax
        lmsw %ax
        smsww %bx
        andl $0xf, %ebx
        end_case
        case "INVLPG, WBINVD"
        invlpg PAGE_DATA
        wbinvd
        end_case
        case "CLTS in ring 3", RUN_USER
        clts
        end_case
        case "MOV from CR0 in ring 3", RUN_USER
        movq %cr0, %rax
        end_case
        case "MOV to CR3 in ring 3", RUN_USER
        movq %rax, %cr3
        end_case
        case "LMSW in ring 3", RUN_USER
        lmsw %ax
        end_case
        case "INVLPG in ring 3", RUN_USER
        invlpg (%rax)
        end_case
        case "LGDT in ring 3", RUN_USER
        lgdt PAGE_DATA
        end_case
        case "HLT in ring 3", RUN_USER
        hlt
        end_case
        case "CLI in ring 3", RUN_USER
        cli
        end_case
        case "DR0 to DR3 keep what is written"
        .irp n, 0, 1, 2, 3
        movl $0x1000 + \n, %eax
        movq %rax, %dr\n
        .endr
        movq %dr0, %rax
        movq %dr1, %rbx
        movq %dr2, %rcx
        movq %dr3, %rdx
        end_case
        case "DR6 and DR7 after reset"
        movq %dr6, %rax
        movq %dr7, %rbx
        end_case
        case "DR7, bit 32"
        movq $0x100000400, %rax
        movq %rax, %dr7
        end_case
        case "MOV from DR7 in ring 3", RUN_USER
        movq %dr7, %rax
        end_case

        end_cases
