/*
 * A loop without end and without interrupts.
 * What must happen: --max-instructions ends the run after exactly that many instructions; without
 * it, a signal does.
 */
#include "boot_sector.inc"
        .code16
        cli
1:      jmp 1b
        end_boot_sector
