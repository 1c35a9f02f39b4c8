/*
 * A Multiboot 1 header with addresses, and the way from there to 64-bit mode: 4 GiB of 2 MiB pages
 * mapped at their own addresses, interrupts off. Linked before a 64-bit guest's code, which it
 * enters at guest_start with EBX as it was.
 */
#define MAGIC  0x1badb002
#define FLAGS  0x10003
#define TABLES 0x70000 /* six pages */

        .section .multiboot, "ax"
        .balign 4
header: .long MAGIC, FLAGS, -(MAGIC + FLAGS)
        .long header, image_start, image_end, bss_end, start32

        .code32
        .globl start32
start32:
        cli
        cld
        movl $TABLES, %edi
        movl $6 * 1024, %ecx
        xorl %eax, %eax
        rep stosl
        movl $TABLES + 0x1003, TABLES
        movl $TABLES + 0x2003, %eax
        movl $TABLES + 0x1000, %edi
        movl $4, %ecx
1:      movl %eax, (%edi)
        addl $0x1000, %eax
        addl $8, %edi
        loop 1b
        movl $TABLES + 0x2000, %edi
        movl $0x83, %eax
        movl $2048, %ecx
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 1b
        movl %cr4, %eax
        orl $0x20, %eax
        movl %eax, %cr4
        movl $TABLES, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x900, %eax                /* LME, NXE */
        wrmsr
        movl %cr0, %eax
        orl $0x80000000, %eax
        movl %eax, %cr0
        lgdt gdt64_pointer
        ljmp $0x08, $guest_start

        .balign 8
gdt64:  .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt64_pointer:
        .word . - gdt64 - 1
        .long gdt64
