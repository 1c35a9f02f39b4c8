/* RDMSR and WRMSR: what stays, what faults. */
#include "cases.inc"

        begin_cases

/* Writes and reads back. */
.macro keeps name:req, msr:req, high:req, low:req
        case "\name"
        movl $\msr, %ecx
        movl $\low, %eax
        movl $\high, %edx
        wrmsr
        movl %eax, %r8d
        movl %edx, %r9d
        xorl %eax, %eax
        xorl %edx, %edx
        rdmsr
        movl $0x55, %ebx                /* equal flags everywhere */
        testl %ebx, %ebx
        end_case
.endm
        keeps "STAR", 0xc0000081, 0x00230008, 0x12345678
        keeps "LSTAR", 0xc0000082, 0xffff8000, 0x12345678
        keeps "LSTAR, not canonical", 0xc0000082, 0x00008000, 0
        keeps "CSTAR", 0xc0000083, 0x00000012, 0x12345678
        keeps "FMASK", 0xc0000084, 0, 0x00047700
        keeps "FS base", 0xc0000100, 0x00000012, 0x12345678
        keeps "FS base, not canonical", 0xc0000100, 0x80000000, 0
        keeps "GS base", 0xc0000101, 0xffffffff, 0x80000000
        keeps "kernel GS base", 0xc0000102, 0x00007fff, 0xfffff000
        keeps "kernel GS base, not canonical", 0xc0000102, 0x00010000, 0
        keeps "SYSENTER CS", 0x174, 0, 8
        keeps "SYSENTER ESP", 0x175, 0, 0x12345678
        keeps "SYSENTER EIP", 0x176, 0xffff8000, 0x1000
        keeps "PAT", 0x277, 0x00070106, 0x00070406
        keeps "PAT, a type that does not exist", 0x277, 0, 2
        keeps "PAT, reserved bits", 0x277, 0, 0x80
        keeps "EFER, reserved bits", 0xc0000080, 1, 0x501
        keeps "EFER, LME off under paging", 0xc0000080, 0, 0x800
        keeps "EFER, SCE and NXE", 0xc0000080, 0, 0xd01
        keeps "an MSR that does not exist", 0x12345678, 0, 0

        case "RDMSR of an MSR that does not exist"
        movl $0x4fffffff, %ecx
        rdmsr
        end_case

        case "RDMSR in ring 3", RUN_USER
        movl $0xc0000080, %ecx
        rdmsr
        end_case

        case "WRMSR in ring 3", RUN_USER
        movl $0xc0000080, %ecx
        wrmsr
        end_case

        case "the upper half of RCX does not matter"
        movq $-1, %rcx
        shlq $32, %rcx
        addq $0x174, %rcx
        movq %rcx, %rax
        movq %rcx, %rdx
        rdmsr
        movl $1, %ebx
        testl %ebx, %ebx
        end_case

        end_cases
