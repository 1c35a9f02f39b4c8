/*
 * A boot sector and what follows it: real, unreal, protected 16 and 32 bits, paging of 32 bits, PAE,
 * and 8086 mode; in each some registers are told on port 0xe9, and an exception.
 */
#define STACK     0x7000
#define DIRECTORY 0x10000 /* 32-bit paging */
#define POINTERS  0x14000 /* PAE */
#define TSS       0x1f000
#define IDT       0x18000
#define CODE32    0x08
#define DATA32    0x10
#define CODE16    0x18
#define DATA16    0x20
#define TASK      0x28
#define CONSOLE   0xe9

        .code16
        .globl _start
_start: ljmp $0, $1f
1:      cli
        cld
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $STACK, %esp
        jmp real

        .org 510
        .word 0xaa55

/* EAX in hexadecimal and a blank; BX or EBX: text. Both sizes from one source. */
.macro make_printers suffix
tell_\suffix:                           /* text at (E)BX up to 0 */
        movb (%ebx), %al
        incl %ebx
        testb %al, %al
        jz 1f
        outb %al, $CONSOLE
        jmp tell_\suffix
1:      ret
hex_\suffix:                            /* EAX */
        pushl %ecx
        pushl %edx
        movl $8, %ecx
        movl %eax, %edx
2:      roll $4, %edx
        movl %edx, %eax
        andl $15, %eax
        addl $'0', %eax
        cmpl $'9', %eax
        jbe 3f
        addl $'a' - '0' - 10, %eax
3:      outb %al, $CONSOLE
        decl %ecx
        jnz 2b
        movb $' ', %al
        outb %al, $CONSOLE
        popl %edx
        popl %ecx
        ret
.endm
.macro tell suffix, text:vararg
        .section .text.strings, "ax"
9:      .asciz \text
        .text
        movl $9b, %ebx
        call tell_\suffix
.endm
.macro hex suffix, value
        movl \value, %eax
        call hex_\suffix
.endm
.macro line suffix
        movb $'\n', %al
        outb %al, $CONSOLE
.endm

        .code16
        make_printers 16
        .code32
        make_printers 32

/* ---- real mode ---- */
        .code16
real:   tell 16, "real: "
        movl %cr0, %eax
        andl $0x80000001, %eax
        call hex_16
        movw $0x1234, %ax
        movw %ax, %es
        movl $0x89abcdef, %es:0x10
        hex 16, 0x12350
        xorw %ax, %ax
        movw %ax, %es
        movw $0x1111, %ax
        pushw %ax
        pushl $0x22223333
        popl %eax
        popw %cx
        movw %sp, %ax
        andl $0xffff, %eax
        call hex_16
        line 16
        movw $1f, 6 * 4                 /* #UD through the vector table */
        movw $0, 6 * 4 + 2
        tell 16, "real, #UD: "
2:      ud2
1:      popl %eax                       /* IP, CS */
        subl $2b, %eax
        call hex_16
        popw %ax
        movzwl %ax, %eax
        call hex_16
        line 16
        movw $1f, 0x60 * 4
        movw $0, 0x60 * 4 + 2
        tell 16, "real, INT: "
        stc
        int $0x60
        pushfl
        popl %eax
        andl $0x8d5, %eax
        call hex_16
        line 16
        jmp unreal
1:      iretw

/* ---- unreal mode: limits of 4 GiB stay in DS ---- */
unreal: lgdtl gdt_pointer
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        jmp 1f
1:      movw $DATA32, %bx
        movw %bx, %ds
        andb $~1, %al
        movl %eax, %cr0
        ljmp $0, $1f
1:      xorw %ax, %ax
        movw %ax, %ds
        tell 16, "unreal: "
        movl $0x100000, %esi
        movl $0x5a5aa5a5, (%esi)
        movl (%esi), %eax
        call hex_16
        line 16

/* ---- protected mode, 16-bit code ---- */
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmp $CODE16, $1f
1:      movw $DATA16, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $STACK, %sp
        tell 16, "protected 16: "
        movl %cs, %eax
        call hex_16
        movw $0x7fff, %ax
        addw $1, %ax
        pushfw
        popw %ax
        andl $0x8d5, %eax
        call hex_16
        line 16
        ljmpl $CODE32, $protected

/* ---- 32-bit code ---- */
        .code32
gate:                                   /* vector in EAX */
        movl $trap, %ecx
        movw %cx, IDT(,%eax,8)
        movw $CODE32, IDT + 2(,%eax,8)
        movw $0x8e00, IDT + 4(,%eax,8)
        shrl $16, %ecx
        movw %cx, IDT + 6(,%eax,8)
        ret

/* Tells what is on the stack and goes on at the address in EDI: for exceptions with error codes. */
trap:   popl %eax
        call hex_32
        popl %eax                       /* EIP */
        subl %esi, %eax
        call hex_32
        popl %eax
        andl $0xffff, %eax
        call hex_32
        line 32
        popl %eax                       /* EFLAGS */
        jmp *%edi

protected:
        movw $DATA32, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $STACK, %esp
        movl $IDT, %edi
        xorl %eax, %eax
        movl $512, %ecx
        rep stosl
        movl $13, %eax
        call gate
        movl $14, %eax
        call gate
        lidt idt_pointer
        tell 32, "protected 32: "
        hex 32, $0x12345678
        line 32
        tell 32, "protected 32, #GP: "
        movl $1f, %edi
        movl $2f, %esi
        movl $0xfff8, %eax
2:      movw %ax, %es
1:
        tell 32, "protected 32, limit of the GDT: "
        sgdt 0x500
        movzwl 0x500, %eax
        call hex_32
        line 32

/* ---- paging of 32 bits ---- */
        movl $DIRECTORY, %edi
        xorl %eax, %eax
        movl $0x1000, %ecx
        rep stosl
        movl $DIRECTORY + 0x1003, DIRECTORY
        movl $DIRECTORY + 0x1000, %edi
        movl $3, %eax
        movl $256, %ecx
1:      stosl
        addl $0x1000, %eax
        loop 1b
        movl $0x83, DIRECTORY + 4       /* 4 MiB at 4 MiB: physical 0 */
        movl $0x30003, DIRECTORY + 0x1000 + 0x300 * 4
        movl %cr4, %eax
        orl $0x10, %eax
        movl %eax, %cr4
        movl $DIRECTORY, %eax
        movl %eax, %cr3
        movl %cr0, %eax
        orl $0x80010000, %eax
        movl %eax, %cr0
        tell 32, "paging 32: "
        movl $0xcafe1234, 0x300010
        hex 32, 0x30010
        hex 32, 0x430010
        hex 32, DIRECTORY+0x1000+0x300*4
        hex 32, DIRECTORY+4
        line 32
        tell 32, "paging 32, #PF of a read: "
        movl $1f, %edi
        movl $2f, %esi
2:      movl 0x310000, %eax
1:      hex 32, %cr2
        tell 32, "is CR2\n"
        tell 32, "paging 32, #PF of a modification: "
        movl $1f, %edi
        movl $2f, %esi
2:      incl 0x310008
1:      movl %cr0, %eax
        andl $0x7fffffff, %eax
        movl %eax, %cr0

/* ---- PAE ---- */
        movl $POINTERS, %edi
        xorl %eax, %eax
        movl $0xc00, %ecx
        rep stosl
        movl $POINTERS + 0x1001, POINTERS
        movl $POINTERS + 0x2003, POINTERS + 0x1000
        movl $0x83, POINTERS + 0x1008   /* 2 MiB at 2 MiB: physical 0 */
        movl $POINTERS + 0x2000, %edi
        movl $3, %eax
        movl $256, %ecx
1:      movl %eax, (%edi)
        movl $0, 4(%edi)
        addl $8, %edi
        addl $0x1000, %eax
        loop 1b
        movl $0x30003, POINTERS + 0x2000 + 0x180 * 8
        movl %cr4, %eax
        orl $0x20, %eax
        movl %eax, %cr4
        movl $POINTERS, %eax
        movl %eax, %cr3
        movl %cr0, %eax
        orl $0x80000000, %eax
        movl %eax, %cr0
        tell 32, "PAE: "
        movl $0xbeef5678, 0x180020
        hex 32, 0x30020
        hex 32, 0x230020
        hex 32, POINTERS
        hex 32, POINTERS+0x2000+0x180*8
        line 32
        tell 32, "PAE, #PF of a write: "
        movl $1f, %edi
        movl $2f, %esi
2:      movl %eax, 0x190000
1:      movl %cr0, %eax
        andl $0x7fffffff, %eax
        movl %eax, %cr0

/* ---- 8086 mode ---- */
        movl $TSS, %edi
        xorl %eax, %eax
        movl $0x400, %ecx
        rep stosl
        movl $STACK, TSS + 4
        movl $DATA32, TSS + 8
        movw $104, TSS + 102            /* I/O map: nothing allowed beyond the map's bytes of 0 */
        movb $0xff, TSS + 104 + 0x2000
        movl $TASK, %eax
        ltr %ax
        tell 32, "8086: "
        movl $v86_trap, %ecx
        movw %cx, IDT + 13 * 8
        pushl $0x3000                   /* GS, FS, DS, ES */
        pushl $0x3000
        pushl $0x3000
        pushl $0x3000
        pushl $0                        /* SS, ESP */
        pushl $0x6000
        pushl $0x20002                  /* VM */
        pushl $0
        pushl $v86
        iretl

        .code16
v86:    movw %ds, %ax
        movw %ax, %dx
        movl $0x13572468, 0x44
        movl 0x44, %ecx
v86_hlt:
        hlt
        .code32
v86_trap:
        movw $DATA32, %bp
        movw %bp, %ds
        hex 32, %edx
        hex 32, %ecx
        hex 32, 0x30044
        popl %eax                       /* error code */
        call hex_32
        popl %eax
        subl $v86_hlt, %eax
        call hex_32
        popl %eax
        popl %eax                       /* EFLAGS */
        andl $0x20200, %eax
        call hex_32
        line 32
        tell 32, "end\n"
        xorl %eax, %eax
        movw $0xf4, %dx
        outl %eax, %dx
1:      hlt
        jmp 1b

        .balign 8
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00009b000000ffff, 0x000093000000ffff
        .quad 0x00008901f0002080        /* TSS of 2080h bytes at 1f000h */
gdt_pointer:
        .word . - gdt - 1
        .long gdt
idt_pointer:
        .word 256 * 8 - 1
        .long IDT
