/* MOV to CR3 with reserved bits. */
#include "cases.inc"

        begin_cases

        case "CR3, reserved bits"
        movq %cr3, %rax
        btsq $60, %rax
        movq %rax, %cr3
        end_case
        case "CR3, bit 63 without PCIDs"
        movq %cr3, %rax
        btsq $63, %rax
        movq %rax, %cr3
        end_case

        end_cases
