/* No descriptor tables and an exception: the run ends by a triple fault. */
#include "harness.h"
        .text
        .code64
        .globl guest_main
guest_main:
        movl $text, %edi
        call say
        call say_end
        pushq $0
        pushq $0
        lidt (%rsp)
        ud2
        .section .rodata
text:   .asciz "before the triple fault: yes"
