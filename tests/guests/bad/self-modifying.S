/*
 * A loop that rewrites an instruction of its own, directly before it executes it, 200,000 times.
 * What must happen: each new immediate is seen. The run ends through port 0xf4: 0 if the sum is
 * right (status 1), 1 if an old instruction was executed (status 3).
 */
#include "boot_sector.inc"
#define ROUNDS 200000
        enter_protected_mode
        xorl %ebx, %ebx
        movl $ROUNDS, %ecx
1:      movl %ecx, patched + 1
patched:
        movl $0, %eax
        addl %eax, %ebx
        loop 1b
        cmpl $(ROUNDS * (ROUNDS + 1) / 2) & 0xffffffff, %ebx
        jne 2f
        end_run 0
2:      end_run 1
        end_boot_sector
