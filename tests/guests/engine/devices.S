/*
 * Accesses to a device in memory in all their forms: where nothing answers, reads give all ones.
 * What must happen: each access is a VM exit of its own; the run ends through port 0xf4 with 0
 * (status 1).
 */
#define NOTHING    0xd0000000
#define LOCAL_APIC 0xfee00000
        .globl _start
        .text
        .code64
_start: leaq stack(%rip), %rsp
        movl $NOTHING, %ebx
        movl $0x11, %esi
        movabsq $0x1122334455667788, %rax
        movq %rax, %r9
        xorl %ecx, %ecx

        /* stores */
        movb %al, (%rbx)
        movb %ah, 1(%rbx)
        movw %ax, 2(%rbx)
        movl %eax, 4(%rbx)
        movq %rax, 8(%rbx)
        movb %r9b, 0x10(%rbx,%rsi)
        movw %r9w, 0x10(%rbx,%rsi,2)
        movl %r9d, 0x10(%rbx,%rsi,4)
        movq %r9, -0x10(%rbx,%rsi,8)
        movb $0x5a, 0x100(%rbx)
        movw $0x5a5a, 0x100(%rbx)
        movl $0x5a5a5a5a, 0x100(%rbx)
        movq $-1, 0x100(%rbx)
        movl %eax, NOTHING + 0x200
        movabsl %eax, NOTHING + 0x204
        movnti %rax, 0x208(%rbx)
        testl %esi, %esi
        sete 0x210(%rbx)
        pushq 0x218(%rbx)
        popq 0x220(%rbx)

        /* loads */
        movb (%rbx), %dl
        movw 2(%rbx), %dx
        movl 4(%rbx), %edx
        movq 8(%rbx), %r10
        movzbl 0x10(%rbx), %edx
        movzwl 0x12(%rbx,%rsi,2), %edx
        movsbq 0x10(%rbx), %rdx
        movslq 0x14(%rbx), %rdx
        cmpl $5, 0x18(%rbx)
        cmpq %rax, 0x18(%rbx)
        testb $1, 0x20(%rbx)
        btl $3, 0x24(%rbx)
        addl 0x28(%rbx), %edx
        cmovnel 0x30(%rbx), %edx
        imull $3, 0x34(%rbx), %edx

        /* read, modify, write */
        addl $1, 0x300(%rbx)
        orb %al, 0x304(%rbx)
        xorw %ax, 0x306(%rbx)
        incq 0x308(%rbx)
        notl 0x310(%rbx)
        shll $4, 0x314(%rbx)
        btsl $3, 0x318(%rbx)
        movl %eax, %edx
        xchgl %edx, 0x320(%rbx)
        lock xaddl %edx, 0x324(%rbx)
        movl $-1, %eax
        lock cmpxchgl %esi, 0x328(%rbx)

        /* strings, up and down */
        movl $NOTHING + 0x400, %edi
        stosq
        stosl
        stosw
        stosb
        incl %edi
        movl $3, %ecx
        rep stosl
        leaq buffer(%rip), %rsi
        movsl
        movl $3, %ecx
        rep movsl
        movsw
        movsb
        movl $NOTHING + 0x500, %esi
        leaq buffer(%rip), %rdi
        lodsl
        movsl
        movl $3, %ecx
        rep movsw
        scasb
        std
        movl $NOTHING + 0x600, %edi
        stosl
        movl $2, %ecx
        rep stosb
        cld

        /* registers that do answer */
        movl $LOCAL_APIC, %ebx
        movl 0x30(%rbx), %eax
        movl 0x20(%rbx), %eax
        movl $0x20, 0x80(%rbx)
        movl 0x80(%rbx), %eax
        movl $0, 0x80(%rbx)
        movl $0x1ff, 0xf0(%rbx)
        movl 0xf0(%rbx), %edx

        subl $0x20, %eax
        movw $0xf4, %dx
        outl %eax, %dx
1:      hlt
        jmp 1b

        .bss
        .balign 16
buffer: .skip 64
        .skip 1024
stack:
