/*
 * Bits of the VMX control fields (SDM volume 3, "Virtual Machine Control Structures", tables
 * "Definitions of ... Controls") and the MSRs that say which may be set (appendix "VMX Capability
 * Reporting Facility").
 */
#ifndef VTXSIM_CPU_VMX_CONTROLS_H
#define VTXSIM_CPU_VMX_CONTROLS_H

#define PIN_EXTERNAL_INTERRUPT_EXITING (1u << 0)
#define PIN_NMI_EXITING                (1u << 3)
#define PIN_VIRTUAL_NMIS               (1u << 5)
#define PIN_PREEMPTION_TIMER           (1u << 6)
#define PIN_POSTED_INTERRUPTS          (1u << 7)

#define PRIMARY_INTERRUPT_WINDOW_EXITING (1u << 2)
#define PRIMARY_TSC_OFFSETTING           (1u << 3)
#define PRIMARY_HLT_EXITING              (1u << 7)
#define PRIMARY_INVLPG_EXITING           (1u << 9)
#define PRIMARY_MWAIT_EXITING            (1u << 10)
#define PRIMARY_RDPMC_EXITING            (1u << 11)
#define PRIMARY_RDTSC_EXITING            (1u << 12)
#define PRIMARY_CR3_LOAD_EXITING         (1u << 15)
#define PRIMARY_CR3_STORE_EXITING        (1u << 16)
#define PRIMARY_TERTIARY_CONTROLS        (1u << 17)
#define PRIMARY_CR8_LOAD_EXITING         (1u << 19)
#define PRIMARY_CR8_STORE_EXITING        (1u << 20)
#define PRIMARY_TPR_SHADOW               (1u << 21)
#define PRIMARY_NMI_WINDOW_EXITING       (1u << 22)
#define PRIMARY_MOV_DR_EXITING           (1u << 23)
#define PRIMARY_UNCONDITIONAL_IO_EXITING (1u << 24)
#define PRIMARY_IO_BITMAPS               (1u << 25)
#define PRIMARY_MONITOR_TRAP_FLAG        (1u << 27)
#define PRIMARY_MSR_BITMAPS              (1u << 28)
#define PRIMARY_MONITOR_EXITING          (1u << 29)
#define PRIMARY_PAUSE_EXITING            (1u << 30)
#define PRIMARY_SECONDARY_CONTROLS       (1u << 31)

#define SECONDARY_APIC_ACCESSES            (1u << 0)
#define SECONDARY_EPT                      (1u << 1)
#define SECONDARY_DESCRIPTOR_TABLE_EXITING (1u << 2)
#define SECONDARY_RDTSCP                   (1u << 3)
#define SECONDARY_X2APIC_MODE              (1u << 4)
#define SECONDARY_VPID                     (1u << 5)
#define SECONDARY_WBINVD_EXITING           (1u << 6)
#define SECONDARY_UNRESTRICTED_GUEST       (1u << 7)
#define SECONDARY_APIC_REGISTERS           (1u << 8)
#define SECONDARY_VIRTUAL_INTERRUPTS       (1u << 9)
#define SECONDARY_PAUSE_LOOP_EXITING       (1u << 10)
#define SECONDARY_RDRAND_EXITING           (1u << 11)
#define SECONDARY_INVPCID                  (1u << 12)
#define SECONDARY_VM_FUNCTIONS             (1u << 13)
#define SECONDARY_VMCS_SHADOWING           (1u << 14)
#define SECONDARY_ENCLS_EXITING            (1u << 15)
#define SECONDARY_RDSEED_EXITING           (1u << 16)
#define SECONDARY_PML                      (1u << 17)
#define SECONDARY_EPT_VIOLATION_VE         (1u << 18)
#define SECONDARY_CONCEAL_PT               (1u << 19)
#define SECONDARY_XSAVES                   (1u << 20)
#define SECONDARY_PASID_TRANSLATION        (1u << 21)
#define SECONDARY_MODE_BASED_EXECUTE       (1u << 22)
#define SECONDARY_SUB_PAGE_WRITE           (1u << 23)
#define SECONDARY_PT_GUEST_PHYSICAL        (1u << 24)
#define SECONDARY_TSC_SCALING              (1u << 25)
#define SECONDARY_USER_WAIT_PAUSE          (1u << 26)

#define EXIT_SAVE_DEBUG_CONTROLS     (1u << 2)
#define EXIT_HOST_ADDRESS_SPACE_SIZE (1u << 9)
#define EXIT_LOAD_PERF_GLOBAL_CTRL   (1u << 12)
#define EXIT_ACKNOWLEDGE_INTERRUPT   (1u << 15)
#define EXIT_SAVE_PAT                (1u << 18)
#define EXIT_LOAD_PAT                (1u << 19)
#define EXIT_SAVE_EFER               (1u << 20)
#define EXIT_LOAD_EFER               (1u << 21)
#define EXIT_SAVE_PREEMPTION_TIMER   (1u << 22)
#define EXIT_CLEAR_BNDCFGS           (1u << 23)
#define EXIT_LOAD_CET                (1u << 28)

#define ENTRY_LOAD_DEBUG_CONTROLS     (1u << 2)
#define ENTRY_IA32E_MODE_GUEST        (1u << 9)
#define ENTRY_TO_SMM                  (1u << 10)
#define ENTRY_DEACTIVATE_DUAL_MONITOR (1u << 11)
#define ENTRY_LOAD_PERF_GLOBAL_CTRL   (1u << 13)
#define ENTRY_LOAD_PAT                (1u << 14)
#define ENTRY_LOAD_EFER               (1u << 15)
#define ENTRY_LOAD_BNDCFGS            (1u << 16)
#define ENTRY_LOAD_CET                (1u << 20)

#define MSR_VMX_BASIC           0x480
#define MSR_VMX_PINBASED_CTLS   0x481
#define MSR_VMX_PROCBASED_CTLS  0x482
#define MSR_VMX_EXIT_CTLS       0x483
#define MSR_VMX_ENTRY_CTLS      0x484
#define MSR_VMX_MISC            0x485
#define MSR_VMX_CR0_FIXED0      0x486
#define MSR_VMX_CR0_FIXED1      0x487
#define MSR_VMX_CR4_FIXED0      0x488
#define MSR_VMX_CR4_FIXED1      0x489
#define MSR_VMX_VMCS_ENUM       0x48a
#define MSR_VMX_PROCBASED_CTLS2 0x48b
#define MSR_VMX_EPT_VPID_CAP    0x48c
#define MSR_VMX_TRUE_PINBASED   0x48d
#define MSR_VMX_TRUE_PROCBASED  0x48e
#define MSR_VMX_TRUE_EXIT       0x48f
#define MSR_VMX_TRUE_ENTRY      0x490
#define MSR_VMX_VMFUNC          0x491
#define MSR_VMX_FIRST           MSR_VMX_BASIC
#define MSR_VMX_LAST            MSR_VMX_VMFUNC

#endif
