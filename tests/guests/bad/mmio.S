/*
 * String moves of 1 MiB to and from addresses without RAM: the PCI hole, the I/O APIC's page and
 * what follows it.
 * What must happen: the writes vanish, the reads give all-ones, device registers take what they can
 * (no interrupt comes: they are off). The run ends through port 0xf4 with 0 (status 1).
 */
#include "boot_sector.inc"
#define SIZE 0x100000
        enter_protected_mode
        movl $0xd0000000, %edi
        movl $0x100000, %esi
        movl $SIZE / 4, %ecx
        rep movsl
        movl $0xd0000001, %esi          /* unaligned, to RAM */
        movl $0x200000, %edi
        movl $SIZE / 4, %ecx
        rep movsl
        movl $0xfec00000, %edi
        movl $0x100000, %esi
        movl $SIZE / 4, %ecx
        rep movsl
        movl $0xffff0000, %edi          /* over the end of 4 GiB, back to address 0 */
        movl $0x100000, %esi
        movl $0x10000 + 16, %ecx
        rep movsb
        end_run 0
        end_boot_sector
