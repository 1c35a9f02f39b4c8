/*
 * A page table that is its own next level, at all four levels; then one that lies in the PCI hole.
 * What must happen: with paging on, the first page shows the table itself, so that data is executed.
 * The walk ends after four levels, whatever they point to; the run ends in a triple fault.
 */
#include "boot_sector.inc"
#define TABLE 0x10000
        enter_protected_mode
        movl $TABLE, %edi
        movl $512, %ecx
1:      movl $TABLE + 7, (%edi)
        movl $0, 4(%edi)
        addl $8, %edi
        loop 1b
        movl $0xd0000007, TABLE + 511 * 8 /* reached by addresses at the top of each level */
        movl $0x20, %eax                  /* PAE */
        movl %eax, %cr4
        movl $TABLE, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax                  /* LME */
        wrmsr
        movl %cr0, %eax
        orl $0x80000000, %eax
        movl %eax, %cr0
        movl 0xfffffff0, %eax
        end_run 1
        end_boot_sector
