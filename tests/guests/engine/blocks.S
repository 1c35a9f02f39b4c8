/*
 * More code than an engine keeps: tens of thousands of functions of one instruction that exits, in
 * three passes, each with other instructions at the same places.
 */
#include "cases.inc"

#define FUNCTIONS 40000
#define REGION    0x1000000
#define SMSW_AX   0xe0010f66
#define STR_AX    0xc8000f66

        begin_cases

        case "code that is flushed and translated anew", flags=CASE_RESULT, result=0
        xorl %ebx, %ebx                 /* the sum */
        xorl %ebp, %ebp                 /* the pass */
1:      movl $REGION, %edi              /* write SMSW AX and STR AX in turn, each with RET */
        xorl %ecx, %ecx
2:      movl $SMSW_AX, %eax
        movl $STR_AX, %edx
        leal (%rcx,%rbp), %esi
        testl $1, %esi
        cmovnz %edx, %eax
        movl %eax, (%rdi)
        movb $0xc3, 4(%rdi)
        addq $8, %rdi
        incl %ecx
        cmpl $FUNCTIONS, %ecx
        jb 2b
        movl $REGION, %edi
        movl $FUNCTIONS, %ecx
3:      call *%rdi
        movzwl %ax, %eax
        addl %eax, %ebx
        addq $8, %rdi
        decl %ecx
        jnz 3b
        incl %ebp
        cmpl $3, %ebp
        jb 1b
        smsw %eax
        movzwl %ax, %eax
        str %ecx
        addl %ecx, %eax
        imull $FUNCTIONS / 2 * 3, %eax
        subl %ebx, %eax
        end_case

        end_cases
