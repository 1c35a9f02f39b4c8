/* A VM exit as the hardware reports it: the VM-exit information fields, before and in the VMCS. */
#ifndef VTXSIM_CPU_EXIT_H
#define VTXSIM_CPU_EXIT_H

#include <stdint.h>

/* Basic exit reasons (SDM appendix "VMX Basic Exit Reasons"). */
enum exit_reason {
    EXIT_EXCEPTION_OR_NMI = 0,
    EXIT_EXTERNAL_INTERRUPT = 1,
    EXIT_TRIPLE_FAULT = 2,
    EXIT_INIT = 3,
    EXIT_SIPI = 4,
    EXIT_IO_SMI = 5,
    EXIT_OTHER_SMI = 6,
    EXIT_INTERRUPT_WINDOW = 7,
    EXIT_NMI_WINDOW = 8,
    EXIT_TASK_SWITCH = 9,
    EXIT_CPUID = 10,
    EXIT_GETSEC = 11,
    EXIT_HLT = 12,
    EXIT_INVD = 13,
    EXIT_INVLPG = 14,
    EXIT_RDPMC = 15,
    EXIT_RDTSC = 16,
    EXIT_RSM = 17,
    EXIT_VMCALL = 18,
    EXIT_VMCLEAR = 19,
    EXIT_VMLAUNCH = 20,
    EXIT_VMPTRLD = 21,
    EXIT_VMPTRST = 22,
    EXIT_VMREAD = 23,
    EXIT_VMRESUME = 24,
    EXIT_VMWRITE = 25,
    EXIT_VMXOFF = 26,
    EXIT_VMXON = 27,
    EXIT_CR_ACCESS = 28,
    EXIT_MOV_DR = 29,
    EXIT_IO = 30,
    EXIT_RDMSR = 31,
    EXIT_WRMSR = 32,
    EXIT_ENTRY_GUEST_STATE = 33,
    EXIT_ENTRY_MSR_LOADING = 34,
    EXIT_MWAIT = 36,
    EXIT_MONITOR_TRAP_FLAG = 37,
    EXIT_MONITOR = 39,
    EXIT_PAUSE = 40,
    EXIT_ENTRY_MACHINE_CHECK = 41,
    EXIT_TPR_BELOW_THRESHOLD = 43,
    EXIT_APIC_ACCESS = 44,
    EXIT_VIRTUALIZED_EOI = 45,
    EXIT_GDTR_IDTR = 46,
    EXIT_LDTR_TR = 47,
    EXIT_EPT_VIOLATION = 48,
    EXIT_EPT_MISCONFIG = 49,
    EXIT_INVEPT = 50,
    EXIT_RDTSCP = 51,
    EXIT_PREEMPTION_TIMER = 52,
    EXIT_INVVPID = 53,
    EXIT_WBINVD = 54,
    EXIT_XSETBV = 55,
    EXIT_APIC_WRITE = 56,
    EXIT_RDRAND = 57,
    EXIT_INVPCID = 58,
    EXIT_VMFUNC = 59,
    EXIT_ENCLS = 60,
    EXIT_RDSEED = 61,
    EXIT_PML_FULL = 62,
    EXIT_XSAVES = 63,
    EXIT_XRSTORS = 64,
    EXIT_UMWAIT = 67,
    EXIT_TPAUSE = 68,
    EXIT_REASON_COUNT = 70
};
#define EXIT_REASON_ENTRY_FAILURE (1u << 31)

/* Bits of the interruption-information formats. */
#define INTR_INFO_VECTOR      0xffu
#define INTR_INFO_TYPE_SHIFT  8
#define INTR_INFO_ERROR_CODE  (1u << 11)
#define INTR_INFO_NMI_UNBLOCK (1u << 12)
#define INTR_INFO_VALID       (1u << 31)

struct vm_exit {
    uint32_t reason; /* enum exit_reason, with EXIT_REASON_ENTRY_FAILURE for failed entries */
    uint32_t instruction_length;
    uint64_t qualification;
    uint64_t guest_linear_address;
    uint64_t guest_physical_address;
    uint32_t interruption_info, interruption_error_code;
    uint32_t idt_vectoring_info, idt_vectoring_error_code;
    uint32_t instruction_info;
};

/* The SDM's name of a basic exit reason in upper case with underscores ("EPT_VIOLATION"), as perf
 * and KVM's trace events print it; "UNKNOWN" where there is none. */
const char *exit_reason_name(uint32_t reason);

#endif
