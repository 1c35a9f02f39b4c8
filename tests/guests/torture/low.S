/*
 * The way down from 64-bit mode and back, with faults in every mode on it:
 *
 *   64-bit -> compatibility -> protected 32-bit -> PAE paging -> 32-bit paging with 4 MiB pages
 *   -> virtual-8086 -> 16-bit protected -> unreal -> real -> protected 32-bit -> 64-bit
 *
 * All of it lies below 64 KiB (linked at LOW_CODE, copied there), so that an address is the same
 * number in every mode, with segments of base 0.
 */
#include "layout.h"

#define CODE32   0x08
#define DATA     0x10
#define CODE16   0x18
#define CODE64   0x20
#define TSS32    0x28
#define ABSENT   0x30

#define MODE_PROTECTED 0x32
#define MODE_PAE       0x36
#define MODE_PAGING    0x35
#define MODE_V86       0x86
#define MODE_16BIT     0x16
#define MODE_REAL      0x10

        .section .low, "awx"

/* An instruction that faults, and goes on after itself. */
.macro try text:vararg
        movl $9f, resume
        \text
9:
.endm

        .code64
        .globl low_run
low_run:
        .irp r, rbx, rbp, r12, r13, r14, r15
        pushq %\r
        .endr
        movq %rsp, saved_rsp
        movq %cr3, %rax
        movl %eax, saved_cr3
        movq %cr4, %rax
        movl %eax, saved_cr4
        movq %cr0, %rax
        movl %eax, saved_cr0
        lgdt gdt_pointer64
        ljmp *far_to_32

        .code32
in_compatibility_mode:
        call load_flat
        movl $LOW_STACK, %esp
        movl %cr0, %eax
        andl $0x7fffffff, %eax          /* PG off: out of long mode */
        movl %eax, %cr0
        movl $0xc0000080, %ecx
        rdmsr
        andl $~0x100, %eax              /* LME off */
        wrmsr
        xorl %eax, %eax
        movl %eax, %cr4
        lidt idt_pointer
        movw $TSS32, %ax
        andb $~2, gdt + TSS32 + 5       /* not busy */
        ltr %ax

        movl $MODE_PROTECTED, mode
        call faults32

        /* PAE: page-directory-pointer table, one directory of 2 MiB pages, one table. */
        movl $MODE_PAE, mode
        movl $LOW_TABLES, %eax
        movl $LOW_TABLES + 0x1001, (%eax)
        movl $0, 4(%eax)
        movl $0, 8(%eax)
        movl $0, 12(%eax)
        movl $0, 16(%eax)
        movl $0, 20(%eax)
        movl $0, 24(%eax)
        movl $0, 28(%eax)
        xorl %ecx, %ecx
1:      movl %ecx, %eax
        shll $21, %eax
        orl $0x83, %eax
        movl %eax, LOW_TABLES + 0x1000(,%ecx,8)
        movl $0, LOW_TABLES + 0x1004(,%ecx,8)
        incl %ecx
        cmpl $512, %ecx
        jb 1b
        movl $0, LOW_TABLES + 0x1000 + (LOW_HOLE >> 21) * 8
        andl $~2, LOW_TABLES + 0x1000 + (LOW_RO >> 21) * 8
        movl $0x20, %eax                /* PAE */
        movl %eax, %cr4
        movl $LOW_TABLES, %eax
        call paging_faults

        /* 32-bit paging: one directory of 4 MiB pages, one of 4 KiB pages. */
        movl $MODE_PAGING, mode
        xorl %ecx, %ecx
1:      movl %ecx, %eax
        shll $22, %eax
        orl $0x83, %eax
        movl %eax, LOW_TABLES(,%ecx,4)
        incl %ecx
        cmpl $1024, %ecx
        jb 1b
        movl $LOW_TABLES + 0x1003, LOW_TABLES + (LOW_HOLE >> 22) * 4
        xorl %ecx, %ecx
1:      movl %ecx, %eax
        shll $12, %eax
        orl $(LOW_HOLE & 0xffc00000) | 3, %eax
        movl %eax, LOW_TABLES + 0x1000(,%ecx,4)
        incl %ecx
        cmpl $1024, %ecx
        jb 1b
        movl $0, LOW_TABLES + 0x1000 + ((LOW_HOLE >> 12) & 1023) * 4
        andl $~2, LOW_TABLES + 0x1000 + ((LOW_RO >> 12) & 1023) * 4
        movl $0x10, %eax                /* PSE */
        movl %eax, %cr4
        movl $LOW_TABLES, %eax
        call paging_faults
        xorl %eax, %eax
        movl %eax, %cr4

        call v86
        ljmp $CODE16, $in_16bit_mode

/* ---- 32-bit code for several modes ---- */

load_flat:
        movl $DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %fs
        movl %eax, %gs
        movl %eax, %ss
        ret

faults32:
        xorl %edx, %edx
        xorl %ecx, %ecx
        movl $1, %eax
        try divl %ecx
        try ud2
        try int3
        movb $0x7f, %al
        addb $1, %al
        try into
        movl $100, %eax
        try boundl %eax, bounds
        movl $0xfff8, %eax
        try movl %eax, %fs
        movl $ABSENT, %eax
        try movl %eax, %fs
        movl $ABSENT, %eax
        try movl %eax, %ss
        try int $0x30
        try .byte 0x8e, 0xc8            /* MOV CS, AX */
        try lcall $ABSENT, $0
        movl $0xffffffff, %eax
        try aam $0
        ret

/* EAX: CR3. Paging on with write protection, faults, paging off. */
paging_faults:
        movl %eax, %cr3
        movl %cr0, %eax
        orl $0x80010000, %eax
        movl %eax, %cr0
        jmp 1f
1:      call faults32
        try movl LOW_HOLE + 0x10, %eax
        try movl %eax, LOW_HOLE + 0x20
        try movl %eax, LOW_RO + 0x30
        movl LOW_RO + 0x30, %eax
        movl $LOW_HOLE + 0x40, %eax
        try jmp *%eax
        try movl %eax, LOW_HOLE - 2     /* the second half is missing, or all of it */
        movl %cr0, %eax
        andl $~0x80010000, %eax
        movl %eax, %cr0
        xorl %eax, %eax
        movl %eax, %cr3
        ret

/* ---- virtual-8086 mode ---- */

v86:    pushal
        movl %esp, v86_kernel_esp
        movl $LOW_STACK0, tss32 + 4
        movl $DATA, tss32 + 8
        movl $MODE_V86, mode
        xorl %eax, %eax
        pushl %eax                      /* GS, FS, DS, ES */
        pushl %eax
        pushl %eax
        pushl %eax
        pushl %eax                      /* SS:ESP */
        pushl $LOW_STACK - 0x400
        pushl $0x20002                  /* VM, IOPL 0 */
        pushl %eax                      /* CS:EIP */
        pushl $in_v86_mode
        iretl
v86_done:
        movl v86_kernel_esp, %esp
        call load_flat
        popal
        ret

        .code16
in_v86_mode:
        try cli
        try sti
        try pushfw
        try hlt
        try int $0x30
        xorw %dx, %dx
        xorw %cx, %cx
        try divw %cx
        try ud2
        try movl %cr0, %eax
        movw $0x1234, %ax               /* segments are paragraphs here */
        movw %ax, %fs
        movl $0, resume                 /* the next fault leaves */
        hlt

/* ---- 16-bit protected mode, unreal mode, real mode ---- */

in_16bit_mode:
        movl $MODE_16BIT, mode
        xorw %dx, %dx
        xorw %cx, %cx
        try divw %cx
        try ud2
        movw $0xfff8, %ax
        try movw %ax, %fs
        try int $0x30

        /* To real mode, DS with a limit of 4 GiB. */
        movl $MODE_REAL, mode
        movl %cr0, %eax
        andl $~1, %eax
        movl %eax, %cr0
        ljmp $0, $1f
1:      lidtl ivt_pointer
        xorw %ax, %ax
        movw %ax, %ss
        movw $LOW_STACK, %sp
        movw $real_vectors, %si
        xorw %di, %di
        movw $64, %cx
2:      movw $real_handler_unknown, (%di)
        movw $0, 2(%di)
        addw $4, %di
        loop 2b
3:      lodsw                           /* DS still has its large limit */
        testw %ax, %ax
        js 4f
        movw %ax, %di
        shlw $2, %di
        lodsw
        movw %ax, (%di)
        jmp 3b
4:      movl $0x300000, %ebx
        movl $0x5a5a5a5a, (%ebx)        /* unreal: 3 MiB from 16-bit code */
        movl (%ebx), %eax
        call log_value
        xorw %ax, %ax
        movw %ax, %ds                   /* keeps the limit, as on processors from the 386 on */
        movl (%ebx), %eax
        call log_value
        xorw %dx, %dx
        xorw %cx, %cx
        try divw %cx
        try int3
        movb $0x7f, %al
        addb $1, %al
        try into
        movw $100, %ax
        try boundw %ax, bounds16
        try ud2
        try int $0x21
        lgdtl gdt_pointer
        movl %cr0, %eax
        orl $1, %eax
        movl %eax, %cr0
        ljmpl $CODE32, $back_in_protected_mode

/* EAX: into the log, as an address. */
log_value:
        pushw %di
        movw $LOW_LOG >> 4, %di
        movw %di, %es
        movw %es:0, %di
        incw %es:0
        shlw $4, %di
        pushl %eax
        movl mode, %eax
        movl %eax, %es:16(%di)
        movl $0xff, %es:20(%di)
        movl $0, %es:24(%di)
        popl %eax
        movl %eax, %es:28(%di)
        popw %di
        ret

/* A vector's number into the log; on at `resume`. */
.macro real_handler vector
real_handler_\vector:
        pushl %eax
        movb $\vector, %al
        jmp real_common
.endm
        real_handler 0
        real_handler 3
        real_handler 4
        real_handler 5
        real_handler 6
        real_handler 12
        real_handler 13
        real_handler 33
real_handler_unknown:
        pushl %eax
        movb $0xfe, %al
real_common:
        pushw %di
        pushw %bp
        pushw %es
        movw $LOW_LOG >> 4, %di
        movw %di, %es
        movw %es:0, %di
        incw %es:0
        shlw $4, %di
        movzbl %al, %eax
        movl %eax, %es:20(%di)
        movl mode, %eax
        movl %eax, %es:16(%di)
        movl $0, %es:24(%di)
        movw %sp, %bp
        movzwl 10(%bp), %eax            /* IP behind ES, BP, DI, EAX */
        movl %eax, %es:28(%di)
        movl resume, %eax
        movw %ax, 10(%bp)
        popw %es
        popw %bp
        popw %di
        popl %eax
        iretw

real_vectors:
        .word 0, real_handler_0, 3, real_handler_3, 4, real_handler_4, 5, real_handler_5
        .word 6, real_handler_6, 12, real_handler_12, 13, real_handler_13, 33, real_handler_33
        .word -1

/* ---- back up ---- */

        .code32
back_in_protected_mode:
        call load_flat
        movl $LOW_STACK, %esp
        lidt idt_pointer
        movl $MODE_PROTECTED, mode
        try ud2
        movl saved_cr4, %eax
        movl %eax, %cr4
        movl saved_cr3, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl saved_cr0, %eax
        movl %eax, %cr0
        ljmp $CODE64, $in_64bit_mode

        .code64
in_64bit_mode:
        movq saved_rsp, %rsp
        .irp r, r15, r14, r13, r12, rbp, rbx
        popq %\r
        .endr
        ret

/* ---- 32-bit exceptions: mode, vector, error code and EIP (or CR2) into the log ---- */

        .code32
        .balign 16
stubs32:
        .set vector, 0
        .rept 64
        .balign 16
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
        pushl $0
        .endif
        pushl $vector
        jmp common32
        .set vector, vector + 1
        .endr

common32:
        pushal
        movl $DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl LOW_LOG, %ebx
        incl LOW_LOG
        shll $4, %ebx
        movl mode, %eax
        movl %eax, LOW_LOG + 16(%ebx)
        movl 32(%esp), %eax             /* vector, error code, EIP, ... */
        movl %eax, LOW_LOG + 20(%ebx)
        movl 36(%esp), %ecx
        movl %ecx, LOW_LOG + 24(%ebx)
        movl 40(%esp), %ecx
        cmpl $14, %eax
        jne 1f
        movl %cr2, %ecx
1:      movl %ecx, LOW_LOG + 28(%ebx)
        movl resume, %ecx
        testl %ecx, %ecx
        jz v86_done
        movl %ecx, 40(%esp)
        popal
        addl $8, %esp
        iretl

/* ---- data ---- */

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff        /* 32-bit code */
        .quad 0x00cf93000000ffff        /* data */
        .quad 0x000f9b000000ffff        /* 16-bit code */
        .quad 0x00af9b000000ffff        /* 64-bit code */
        .word 103, tss32                /* TSS */
        .byte 0, 0x89, 0, 0
        .quad 0x00cf13000000ffff        /* data, not present */
gdt_pointer:
        .word . - gdt - 1
        .long gdt
gdt_pointer64:
        .word gdt_pointer - gdt - 1
        .quad gdt
idt_pointer:
        .word 64 * 8 - 1
        .long idt
ivt_pointer:
        .word 0x3ff
        .long 0
far_to_32:
        .long in_compatibility_mode
        .word CODE32
        .balign 8
idt:    .set vector, 0
        .rept 64
        .word stubs32 + vector * 16
        .word CODE32
        .byte 0, 0x8e
        .word 0
        .set vector, vector + 1
        .endr
        .balign 8
bounds: .long 0, 99
bounds16:
        .word 0, 99
        .balign 8
saved_rsp: .quad 0
saved_cr3: .long 0
saved_cr4: .long 0
saved_cr0: .long 0
mode:   .long 0
resume: .long 0
v86_kernel_esp: .long 0
tss32:  .skip 104
