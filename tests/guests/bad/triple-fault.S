/*
 * An exception without a usable vector table, in real mode.
 * What must happen: #BP -> #GP -> #DF -> triple fault; the run ends and says so.
 */
#include "boot_sector.inc"
        .code16
        lidtl empty
        int3
empty:  .word 0
        .long 0
        end_boot_sector
