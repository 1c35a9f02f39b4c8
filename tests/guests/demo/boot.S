/*
 * From real mode to 64-bit mode.
 *
 * The image is entered at 0000:7c00, as a BIOS enters a boot sector. vtxsim loads the whole image at
 * once; a BIOS loads 512 bytes, and the rest is fetched here by INT 13h. Then:
 *
 *   real mode -> protected mode (GDT, CR0.PE) -> long mode (CR4.PAE, CR3, EFER.LME, CR0.PG)
 *
 * Memory: 0x7000 downwards the boot stack, 0x7c00 the image, then .bss (page tables, stacks).
 */
#include "layout.h"

        .section .boot, "ax"
        .code16
        .globl boot
boot:   ljmp $0, $1f
1:      cli
        cld
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $BOOT_STACK, %sp
        cmpl $IMAGE_MAGIC, image_magic
        je second_stage
        movb $0x42, %ah                 /* extended read; DL is the drive that we came from */
        movw $disk_packet, %si
        int $0x13
        jnc second_stage
        hlt

        .balign 4
disk_packet:
        .byte 16, 0
        .word image_sectors_after_first
        .word 0x7e00, 0
        .quad 1

        .org 510
        .word 0xaa55

/* ---- 512 bytes on: everything is loaded ---- */
second_stage:
        call serial_init16
        movw $text_title, %si
        call puts16

        /* An interrupt through the real-mode vector table. */
        movw $interrupt_60, (0x60 * 4)
        movw $0, (0x60 * 4 + 2)
        movw $0x1234, %ax
        int $0x60
        movw $text_real, %si
        call puts16
        cmpw $0xedcb, %ax
        movw $text_ok, %si
        je 1f
        movw $text_failed, %si
        incl boot_failures
1:      call puts16

        inb $0x92, %al                  /* A20 gate; never bit 0, which resets */
        orb $2, %al
        andb $0xfe, %al
        outb %al, $0x92

        lgdtl gdt_pointer
        movl %cr0, %eax
        orl $1, %eax
        movl %eax, %cr0
        ljmpl $SELECTOR_CODE32, $protected_mode

interrupt_60:
        notw %ax                        /* 0x1234 -> 0xedcb */
        iretw

serial_init16:
        movw $UART + 1, %dx             /* no interrupts */
        xorb %al, %al
        outb %al, %dx
        movw $UART + 3, %dx             /* divisor 1: 115200 baud */
        movb $0x80, %al
        outb %al, %dx
        movw $UART, %dx
        movb $1, %al
        outb %al, %dx
        incw %dx
        xorb %al, %al
        outb %al, %dx
        movw $UART + 3, %dx             /* 8n1 */
        movb $3, %al
        outb %al, %dx
        movw $UART + 2, %dx             /* FIFOs on and empty */
        movb $7, %al
        outb %al, %dx
        ret

/* SI: text. Keeps AX. */
puts16: pushw %ax
1:      lodsb
        testb %al, %al
        jz 3f
        movb %al, %ah
        movw $UART + 5, %dx
2:      inb %dx, %al
        testb $0x20, %al
        jz 2b
        movb %ah, %al
        movw $UART, %dx
        outb %al, %dx
        jmp 1b
3:      popw %ax
        ret

        .code32
protected_mode:
        movw $SELECTOR_DATA, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %fs
        movw %ax, %gs
        movw %ax, %ss
        movl $boot_stack_top, %esp
        movl $text_protected, %esi
        call puts32
        movl $0x12345678, 0x100000      /* above what real mode reaches */
        cmpl $0x12345678, 0x100000
        movl $text_ok, %esi
        je 1f
        movl $text_failed, %esi
        incl boot_failures
1:      call puts32

        /* .bss is not in the image: clear it, then identity-map 4 GiB with 2 MiB pages, for the
         * supervisor only. */
        movl $bss_start, %edi
        movl $bss_dwords, %ecx
        xorl %eax, %eax
        rep stosl
        movl $boot_pdpt + 3, boot_pml4
        movl $boot_pdpt, %edi
        movl $boot_directories + 3, %eax
        movl $4, %ecx
1:      movl %eax, (%edi)
        addl $0x1000, %eax
        addl $8, %edi
        loop 1b
        movl $boot_directories, %edi
        movl $0x83, %eax
        movl $2048, %ecx
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 1b

        movl %cr4, %eax
        orl $0x20, %eax                 /* PAE */
        movl %eax, %cr4
        movl $boot_pml4, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx          /* EFER: SCE, LME, NXE */
        rdmsr
        orl $0x901, %eax
        wrmsr
        movl %cr0, %eax
        orl $0x80010000, %eax           /* PG, WP */
        movl %eax, %cr0
        ljmp $SELECTOR_CODE64, $long_mode

puts32: lodsb
        testb %al, %al
        jz 2f
        movb %al, %ah
        movw $UART + 5, %dx
1:      inb %dx, %al
        testb $0x20, %al
        jz 1b
        movb %ah, %al
        movw $UART, %dx
        outb %al, %dx
        jmp puts32
2:      ret

        .code64
long_mode:
        movw $SELECTOR_DATA, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        xorl %eax, %eax
        movw %ax, %fs
        movw %ax, %gs
        movq $kernel_stack_top, %rsp
        movl boot_failures, %edi
        call kernel_main
1:      cli
        hlt
        jmp 1b

text_title:
        .ascii "\r\n  vtxsim demo: from real mode to a 64-bit user program\r\n"
        .asciz "  ----------------------------------------------------\r\n"
text_real:
        .asciz "real mode       entered at 0000:7c00, INT 60h through the vector table          "
text_protected:
        .asciz "protected mode  CR0.PE set, flat segments, a word stored at 1 MiB               "
text_ok:
        .asciz "ok\r\n"
text_failed:
        .asciz "FAILED\r\n"

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff        /* 0x08: 32-bit code */
        .quad 0x00af9b000000ffff        /* 0x10: 64-bit code */
        .quad 0x00cf93000000ffff        /* 0x18: data */
gdt_pointer:
        .word . - gdt - 1
        .long gdt
        .balign 4
boot_failures:
        .long 0

        .section .magic, "a"
image_magic:
        .long IMAGE_MAGIC

        .bss
        .balign 4096
        .globl boot_pml4
boot_pml4:      .skip 4096
boot_pdpt:      .skip 4096
boot_directories: .skip 4 * 4096
boot_stack:     .skip 1024
boot_stack_top:
        .balign 16
                .skip 16384
        .globl kernel_stack_top
kernel_stack_top:
