/*
 * A jump to where neither RAM nor a device is: the PCI hole.
 * What must happen: the fetch is an EPT violation that nothing can resolve, or reads all-ones (an
 * undefined instruction, and a triple fault without an IDT); the run ends and names the address.
 */
#include "boot_sector.inc"
        enter_protected_mode
        movl $0xd0000000, %eax
        jmp *%eax
        end_boot_sector
