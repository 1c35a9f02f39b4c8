/* Memory that no device answers and a device's register, in many instruction forms. */
#include "cases.inc"

#define REGISTER 0xfee00310 /* local APIC, ICR high: bits 31:24 keep what is written */

        begin_cases

.macro form name:req, code:vararg
        case "\name", RUN_NO_FLAGS
        movl $HOLE + 0x123, %ebx
        movq $0x5a5a5a5a, %rax
        movq $0x33333333, %rcx
        \code
        end_case
.endm
        form "MOV r8 from the hole", movb (%rbx), %al
        form "MOV r16 from the hole", movw (%rbx), %ax
        form "MOV r32 from the hole", movl (%rbx), %eax
        form "MOV r64 from the hole", movq (%rbx), %rax
        form "MOV AH from the hole", movb 5(%rbx), %ah
        form "MOVZX 8 to 32 from the hole", movzbl (%rbx), %eax
        form "MOVZX 16 to 64 from the hole", movzwq (%rbx), %rax
        form "MOVSX 8 to 64 from the hole", movsbq (%rbx), %rax
        form "MOVSXD from the hole", movslq (%rbx), %rax
        form "MOV to the hole, 1 byte", movb %al, (%rbx)
        form "MOV to the hole, 2 bytes", movw %ax, (%rbx)
        form "MOV to the hole, 4 bytes", movl %eax, (%rbx)
        form "MOV to the hole, 8 bytes", movq %rax, (%rbx)
        form "MOV imm8 to the hole", movb $7, (%rbx)
        form "MOV imm32 to the hole", movl $0x12345678, (%rbx)
        form "MOV imm32 to 8 bytes of the hole", movq $-2, (%rbx)
        form "ADD from the hole", addl (%rbx), %eax
        form "CMP with the hole", cmpb $0xff, (%rbx)
        form "TEST with the hole", testl %eax, (%rbx)
        form "OR to the hole", orl %eax, (%rbx)
        form "AND imm8 to the hole", andl $0xf, (%rbx)
        form "XOR to 8 bytes of the hole", xorq %rax, (%rbx)
        form "INC in the hole", incw (%rbx)
        form "NOT in the hole", notl (%rbx)
        form "NEG in the hole", negb (%rbx)
        form "SHL in the hole", shll $4, (%rbx)
        form "XCHG with the hole", xchgl %eax, (%rbx)
        form "XADD with the hole", xaddl %eax, (%rbx)
        form "CMPXCHG with the hole", cmpxchgl %ecx, (%rbx)
        form "LOCK OR to the hole", lock orb $1, (%rbx)
        form "BT with the hole", btl $3, (%rbx)
        form "BTR in the hole", btrl $3, (%rbx)
        form "PUSH from the hole", pushq (%rbx)
        form "POP to the hole", popq (%rbx)
        form "SETC to the hole", setc (%rbx)
        form "CMOV from the hole", cmovcl (%rbx), %eax
        form "IMUL from the hole", imull (%rbx), %eax
        form "DIV by the hole", divb (%rbx)
        form "MOV over two pages of the hole", movl HOLE + 0xffe, %eax

        .irp size, b, w, l, q
        case "MOVS\size to the hole", RUN_NO_FLAGS
        movl $HOLE, %edi
        movs\size
        end_case
        case "MOVS\size from the hole", RUN_NO_FLAGS
        movl $HOLE, %esi
        movs\size
        end_case
        case "REP MOVS\size to the hole, backwards", RUN_NO_FLAGS
        movl $HOLE + 0x40, %edi
        movl $3, %ecx
        std
        rep movs\size
        end_case
        case "REP MOVS\size from the hole", RUN_NO_FLAGS
        movl $HOLE, %esi
        movl $3, %ecx
        rep movs\size
        end_case
        case "REP STOS\size to the hole", RUN_NO_FLAGS
        movl $HOLE, %edi
        movl $3, %ecx
        rep stos\size
        end_case
        case "LODS\size from the hole", RUN_NO_FLAGS
        movl $HOLE, %esi
        lods\size
        end_case
        case "CMPS\size with the hole"
        movl $HOLE, %esi
        cmps\size
        end_case
        case "SCAS\size in the hole"
        movl $HOLE, %edi
        scas\size
        end_case
        .endr

.macro at_device name:req, code:vararg
        case "\name"
        movl $REGISTER, %ebx
        movl $0x42000000, (%rbx)
        movl $0x21000000, %eax
        \code
        movl (%rbx), %r8d
        end_case
.endm
        at_device "a device's register, MOV", movl %eax, (%rbx)
        at_device "a device's register, OR", orl %eax, (%rbx)
        at_device "a device's register, ADD", addl %eax, (%rbx)
        at_device "a device's register, XCHG", xchgl %eax, (%rbx)
        at_device "a device's register, XADD", xaddl %eax, (%rbx)
        at_device "a device's register, NOT", notl (%rbx)
        at_device "a device's register, SUB from", subl (%rbx), %eax

        end_cases
