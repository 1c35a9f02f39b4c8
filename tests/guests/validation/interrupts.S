/* External interrupts and NMI: the local APIC's to itself, HLT and shadows. */
#include "cases.inc"

#define LAPIC_SPURIOUS 0xfee000f0
#define LAPIC_ICR      0xfee00300
#define SELF           0x40000
#define NMI            0x400

.macro raise what:req
        movl $LAPIC_SPURIOUS, %ebx
        movl $0x1ff, (%rbx)
        movl $LAPIC_ICR, %ebx
        movl $(\what), (%rbx)
.endm

        begin_cases

        case "an interrupt that is not masked", RUN_INTERRUPTS
        raise SELF|0x55
        nop
        nop
        end_case
        case "a masked interrupt comes behind STI and one more"
        raise SELF|0x55
        nop
        sti
        nop
        nop
        cli
        end_case
        case "STI, CLI lets none come"
        raise SELF|0x55
        sti
        cli
        nop
        end_case
        case "the one that was left over", RUN_INTERRUPTS
        nop
        nop
        cli
        end_case
        case "HLT wakes for one that waits"
        raise SELF|0x56
        sti
        hlt
        nop
        cli
        end_case
        case "the higher one first"
        raise SELF|0x51
        movl $SELF|0x5f, (%rbx)
        sti
        nop
        nop
        cli
        end_case
        case "CR8 holds it back"
        movl $6, %eax
        movq %rax, %cr8
        raise SELF|0x55
        sti
        nop
        nop
        xorl %eax, %eax
        movq %rax, %cr8
        nop
        nop
        cli
        end_case
        case "MOV SS holds it back for one instruction"
        raise SELF|0x55
        pushfq
        orl $0x200, (%rsp)
        movl %ss, %eax
        popfq
        cli
        nop
        end_case
        case "an NMI comes while interrupts are off"
        raise SELF|NMI
        nop
        nop
        end_case
        case "the PIC, by a software request of its timer line"
        movb $0x11, %al                 /* ICW1 to ICW4: vectors from VECTOR_PIC on */
        outb %al, $0x20
        movb $VECTOR_PIC, %al
        outb %al, $0x21
        movb $4, %al
        outb %al, $0x21
        movb $1, %al
        outb %al, $0x21
        movb $0xff, %al
        outb %al, $0x21
        inb $0x21, %al
        end_case

        end_cases
