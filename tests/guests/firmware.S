/*
 * What a boot sector finds of the firmware: services, the timer's ticks, interrupts that are
 * acknowledged. Ends by INT 19h, which resets the machine; with port 0xf4 if something was wrong:
 * the simulator's status is the number of the check << 1 | 1.
 */
#define DEBUG_EXIT 0xf4
#define TICKS      0x46c
#define MIDNIGHT   0x470
#define DAY        0x1800b0

        .macro require condition, number
        movb $\number, %cl
        j\condition 999f
        jmp failed
999:
        .endm

        .code16
        ljmp $0, $1f
1:      cli
        cld
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0x7c00, %sp

        int $0x11
        cmpw 0x410, %ax
        require e, 1
        testb $2, %al                   /* a floating-point unit */
        require nz, 2
        int $0x12
        cmpw 0x413, %ax
        require e, 3
        shlw $6, %ax                    /* the extended data area begins there */
        cmpw 0x40e, %ax
        require e, 4
        cmpw $0x3f8, 0x400
        require e, 5
        clc
        movw $0xe801, %ax
        int $0x15                       /* not supported */
        require c, 6
        cmpb $0x86, %ah
        require e, 7
        cmpw $0x7c00, %sp
        require e, 8
        movw $0xf000, %ax
        movw %ax, %fs
        cmpb $0xea, %fs:0xfff0          /* the reset vector: a far jump */
        require e, 9
        cmpb $0xfc, %fs:0xfffe
        require e, 10

        /* Three ticks, each of which calls INT 1Ch. */
        movw $tick, 0x1c * 4
        movw $0, 0x1c * 4 + 2
        movl TICKS, %ebx
        addl $3, %ebx
        xorw %bp, %bp
1:      sti
        hlt
        cli
        cmpl %ebx, TICKS
        jb 1b
        cmpw $3, %bp
        require e, 11

        /* The last tick of the day. */
        movl $DAY - 1, TICKS
        movb $0, MIDNIGHT
        sti
        hlt
        cli
        cmpl $0, TICKS
        require e, 12
        cmpb $1, MIDNIGHT
        require e, 13

        /* An interrupt of the slave: the clock's periodic one. Both controllers get their EOI. */
        movb $0xfe, %al
        outb %al, $0xa1
        movb $0xfb, %al
        outb %al, $0x21
        movw $0x260a, %ax               /* register A: 1,024 a second */
        call write_cmos
        movw $0x420b, %ax               /* register B: periodic, 24 hours */
        call write_cmos
        sti
        hlt
        cli
        movb $0x0c, %al
        outb %al, $0x70
        inb $0x71, %al
        testb $0x40, %al
        require nz, 14
        movb $0x0b, %al                 /* read the in-service registers */
        outb %al, $0x20
        outb %al, $0xa0
        inb $0x20, %al
        movb %al, %ah
        inb $0xa0, %al
        testw %ax, %ax
        require z, 15
        int $0x19
        movb $16, %cl

failed: movzbl %cl, %eax
        movw $DEBUG_EXIT, %dx
        outl %eax, %dx
1:      cli
        hlt
        jmp 1b

tick:   incw %bp
        iret

/* Register AL = AH. */
write_cmos:
        outb %al, $0x70
        movb %ah, %al
        outb %al, $0x71
        ret

        .org 510
        .word 0xaa55
