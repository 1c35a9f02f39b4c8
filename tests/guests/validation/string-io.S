/* INS and OUTS: sizes, directions, repetition, pages and faults. */
#include "cases.inc"

#define POST      0x80
#define UNCLAIMED 0x5f00

        begin_cases

        case "OUTSB"
        movw $POST, %dx
        outsb
        xorl %eax, %eax
        inb $POST, %al
        end_case

        case "INSB"
        movb $0xc3, %al
        outb %al, $POST
        movw $POST, %dx
        insb
        end_case

        .irp size, b, w, l
        case "OUTS\size backwards"
        movw $UNCLAIMED, %dx
        std
        outs\size
        end_case

        case "INS\size backwards"
        movw $UNCLAIMED, %dx
        std
        ins\size
        end_case

        case "REP OUTS\size"
        movw $UNCLAIMED, %dx
        movl $5, %ecx
        rep outs\size
        end_case

        case "REP INS\size"
        movw $UNCLAIMED, %dx
        movl $5, %ecx
        rep ins\size
        end_case

        case "REP INS\size backwards over a page's end"
        movw $UNCLAIMED, %dx
        movl $9, %ecx
        movl $DATA_MIDDLE + 8, %edi
        std
        rep ins\size
        end_case

        case "REP OUTS\size over a page's end"
        movw $UNCLAIMED, %dx
        movl $9, %ecx
        movl $DATA_MIDDLE - 9, %esi
        rep outs\size
        end_case

        case "REP INS\size over a page's end, an element on both"
        movw $UNCLAIMED, %dx
        movl $9, %ecx
        movl $DATA_MIDDLE - 9, %edi
        rep ins\size
        end_case

        case "REP OUTS\size up to an absent page"
        movw $UNCLAIMED, %dx
        movl $9, %ecx
        movl $PAGE_ABSENT - 16, %esi
        rep outs\size
        end_case

        case "REP INS\size to a page that is read-only"
        movw $UNCLAIMED, %dx
        movl $3, %ecx
        movl $PAGE_READ_ONLY, %edi
        rep ins\size
        end_case
        .endr

        case "REP OUTSB, RCX 0"
        movw $UNCLAIMED, %dx
        rep outsb
        end_case

        case "REP INSB, ECX with a 32-bit address size", RUN_NO_FLAGS
        movw $UNCLAIMED, %dx
        movq $-1, %rcx
        shlq $32, %rcx
        orq $3, %rcx
        movq $-1, %rdi
        shlq $32, %rdi
        orq $PAGE_DATA2, %rdi
        rep insb (%dx), (%edi)
        end_case

        case "REP INSB until the page ends"
        movb $0x11, %al
        outb %al, $POST
        movw $POST, %dx
        movl $PAGE_STACK + 0x1000 - 7, %edi
        movl $20, %ecx
        rep insb
        end_case

        case "ring 3, REP OUTSB is not allowed, and does not read", RUN_USER
        movw $POST, %dx
        movl $3, %ecx
        movl $PAGE_ABSENT, %esi
        rep outsb
        end_case

        end_cases
