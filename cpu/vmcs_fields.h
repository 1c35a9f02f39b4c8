/*
 * The table of VMCS fields: X(name, encoding, access). The encoding tells width (bits 14:13: 16,
 * 64, 32 bits, natural) and type (bits 11:10: control, VM-exit information, guest state, host
 * state), SDM appendix "Field Encoding in VMCS". 64-bit fields stand once; their high halves are
 * encoding + 1. access: RO for VM-exit information, RW otherwise.
 */
#ifndef VTXSIM_CPU_VMCS_FIELDS_H
#define VTXSIM_CPU_VMCS_FIELDS_H

#define VMCS_FIELDS(X)                                                                             \
    /* 16-bit control fields */                                                                    \
    X(VPID, 0x0000, RW)                                                                            \
    X(POSTED_INTERRUPT_VECTOR, 0x0002, RW)                                                         \
    X(EPTP_INDEX, 0x0004, RW)                                                                      \
    X(HLAT_PREFIX_SIZE, 0x0006, RW)                                                                \
    X(LAST_PID_POINTER_INDEX, 0x0008, RW)                                                          \
    /* 16-bit guest-state fields */                                                                \
    X(GUEST_ES_SELECTOR, 0x0800, RW)                                                               \
    X(GUEST_CS_SELECTOR, 0x0802, RW)                                                               \
    X(GUEST_SS_SELECTOR, 0x0804, RW)                                                               \
    X(GUEST_DS_SELECTOR, 0x0806, RW)                                                               \
    X(GUEST_FS_SELECTOR, 0x0808, RW)                                                               \
    X(GUEST_GS_SELECTOR, 0x080a, RW)                                                               \
    X(GUEST_LDTR_SELECTOR, 0x080c, RW)                                                             \
    X(GUEST_TR_SELECTOR, 0x080e, RW)                                                               \
    X(GUEST_INTERRUPT_STATUS, 0x0810, RW)                                                          \
    X(PML_INDEX, 0x0812, RW)                                                                       \
    X(GUEST_UINV, 0x0814, RW)                                                                      \
    /* 16-bit host-state fields */                                                                 \
    X(HOST_ES_SELECTOR, 0x0c00, RW)                                                                \
    X(HOST_CS_SELECTOR, 0x0c02, RW)                                                                \
    X(HOST_SS_SELECTOR, 0x0c04, RW)                                                                \
    X(HOST_DS_SELECTOR, 0x0c06, RW)                                                                \
    X(HOST_FS_SELECTOR, 0x0c08, RW)                                                                \
    X(HOST_GS_SELECTOR, 0x0c0a, RW)                                                                \
    X(HOST_TR_SELECTOR, 0x0c0c, RW)                                                                \
    /* 64-bit control fields */                                                                    \
    X(IO_BITMAP_A, 0x2000, RW)                                                                     \
    X(IO_BITMAP_B, 0x2002, RW)                                                                     \
    X(MSR_BITMAP, 0x2004, RW)                                                                      \
    X(EXIT_MSR_STORE_ADDRESS, 0x2006, RW)                                                          \
    X(EXIT_MSR_LOAD_ADDRESS, 0x2008, RW)                                                           \
    X(ENTRY_MSR_LOAD_ADDRESS, 0x200a, RW)                                                          \
    X(EXECUTIVE_VMCS_POINTER, 0x200c, RW)                                                          \
    X(PML_ADDRESS, 0x200e, RW)                                                                     \
    X(TSC_OFFSET, 0x2010, RW)                                                                      \
    X(VIRTUAL_APIC_ADDRESS, 0x2012, RW)                                                            \
    X(APIC_ACCESS_ADDRESS, 0x2014, RW)                                                             \
    X(POSTED_INTERRUPT_DESCRIPTOR, 0x2016, RW)                                                     \
    X(VM_FUNCTION_CONTROLS, 0x2018, RW)                                                            \
    X(EPTP, 0x201a, RW)                                                                            \
    X(EOI_EXIT_BITMAP_0, 0x201c, RW)                                                               \
    X(EOI_EXIT_BITMAP_1, 0x201e, RW)                                                               \
    X(EOI_EXIT_BITMAP_2, 0x2020, RW)                                                               \
    X(EOI_EXIT_BITMAP_3, 0x2022, RW)                                                               \
    X(EPTP_LIST_ADDRESS, 0x2024, RW)                                                               \
    X(VMREAD_BITMAP, 0x2026, RW)                                                                   \
    X(VMWRITE_BITMAP, 0x2028, RW)                                                                  \
    X(VIRTUALIZATION_EXCEPTION_ADDRESS, 0x202a, RW)                                                \
    X(XSS_EXITING_BITMAP, 0x202c, RW)                                                              \
    X(ENCLS_EXITING_BITMAP, 0x202e, RW)                                                            \
    X(SPP_TABLE_POINTER, 0x2030, RW)                                                               \
    X(TSC_MULTIPLIER, 0x2032, RW)                                                                  \
    X(TERTIARY_CONTROLS, 0x2034, RW)                                                               \
    X(ENCLV_EXITING_BITMAP, 0x2036, RW)                                                            \
    X(LOW_PASID_DIRECTORY, 0x2038, RW)                                                             \
    X(HIGH_PASID_DIRECTORY, 0x203a, RW)                                                            \
    X(SHARED_EPTP, 0x203c, RW)                                                                     \
    X(PCONFIG_EXITING_BITMAP, 0x203e, RW)                                                          \
    X(HLATP, 0x2040, RW)                                                                           \
    X(PID_POINTER_TABLE, 0x2042, RW)                                                               \
    X(SECONDARY_EXIT_CONTROLS, 0x2044, RW)                                                         \
    X(SPEC_CTRL_MASK, 0x204a, RW)                                                                  \
    X(SPEC_CTRL_SHADOW, 0x204c, RW)                                                                \
    /* 64-bit read-only data field */                                                              \
    X(GUEST_PHYSICAL_ADDRESS, 0x2400, RO)                                                          \
    /* 64-bit guest-state fields */                                                                \
    X(VMCS_LINK_POINTER, 0x2800, RW)                                                               \
    X(GUEST_DEBUGCTL, 0x2802, RW)                                                                  \
    X(GUEST_PAT, 0x2804, RW)                                                                       \
    X(GUEST_EFER, 0x2806, RW)                                                                      \
    X(GUEST_PERF_GLOBAL_CTRL, 0x2808, RW)                                                          \
    X(GUEST_PDPTE0, 0x280a, RW)                                                                    \
    X(GUEST_PDPTE1, 0x280c, RW)                                                                    \
    X(GUEST_PDPTE2, 0x280e, RW)                                                                    \
    X(GUEST_PDPTE3, 0x2810, RW)                                                                    \
    X(GUEST_BNDCFGS, 0x2812, RW)                                                                   \
    X(GUEST_RTIT_CTL, 0x2814, RW)                                                                  \
    X(GUEST_LBR_CTL, 0x2816, RW)                                                                   \
    X(GUEST_PKRS, 0x2818, RW)                                                                      \
    /* 64-bit host-state fields */                                                                 \
    X(HOST_PAT, 0x2c00, RW)                                                                        \
    X(HOST_EFER, 0x2c02, RW)                                                                       \
    X(HOST_PERF_GLOBAL_CTRL, 0x2c04, RW)                                                           \
    X(HOST_PKRS, 0x2c06, RW)                                                                       \
    /* 32-bit control fields */                                                                    \
    X(PIN_BASED_CONTROLS, 0x4000, RW)                                                              \
    X(PRIMARY_CONTROLS, 0x4002, RW)                                                                \
    X(EXCEPTION_BITMAP, 0x4004, RW)                                                                \
    X(PAGE_FAULT_ERROR_CODE_MASK, 0x4006, RW)                                                      \
    X(PAGE_FAULT_ERROR_CODE_MATCH, 0x4008, RW)                                                     \
    X(CR3_TARGET_COUNT, 0x400a, RW)                                                                \
    X(EXIT_CONTROLS, 0x400c, RW)                                                                   \
    X(EXIT_MSR_STORE_COUNT, 0x400e, RW)                                                            \
    X(EXIT_MSR_LOAD_COUNT, 0x4010, RW)                                                             \
    X(ENTRY_CONTROLS, 0x4012, RW)                                                                  \
    X(ENTRY_MSR_LOAD_COUNT, 0x4014, RW)                                                            \
    X(ENTRY_INTERRUPTION_INFO, 0x4016, RW)                                                         \
    X(ENTRY_EXCEPTION_ERROR_CODE, 0x4018, RW)                                                      \
    X(ENTRY_INSTRUCTION_LENGTH, 0x401a, RW)                                                        \
    X(TPR_THRESHOLD, 0x401c, RW)                                                                   \
    X(SECONDARY_CONTROLS, 0x401e, RW)                                                              \
    X(PLE_GAP, 0x4020, RW)                                                                         \
    X(PLE_WINDOW, 0x4022, RW)                                                                      \
    X(INSTRUCTION_TIMEOUT, 0x4024, RW)                                                             \
    /* 32-bit read-only data fields */                                                             \
    X(VM_INSTRUCTION_ERROR, 0x4400, RO)                                                            \
    X(EXIT_REASON, 0x4402, RO)                                                                     \
    X(EXIT_INTERRUPTION_INFO, 0x4404, RO)                                                          \
    X(EXIT_INTERRUPTION_ERROR_CODE, 0x4406, RO)                                                    \
    X(IDT_VECTORING_INFO, 0x4408, RO)                                                              \
    X(IDT_VECTORING_ERROR_CODE, 0x440a, RO)                                                        \
    X(EXIT_INSTRUCTION_LENGTH, 0x440c, RO)                                                         \
    X(EXIT_INSTRUCTION_INFO, 0x440e, RO)                                                           \
    /* 32-bit guest-state fields */                                                                \
    X(GUEST_ES_LIMIT, 0x4800, RW)                                                                  \
    X(GUEST_CS_LIMIT, 0x4802, RW)                                                                  \
    X(GUEST_SS_LIMIT, 0x4804, RW)                                                                  \
    X(GUEST_DS_LIMIT, 0x4806, RW)                                                                  \
    X(GUEST_FS_LIMIT, 0x4808, RW)                                                                  \
    X(GUEST_GS_LIMIT, 0x480a, RW)                                                                  \
    X(GUEST_LDTR_LIMIT, 0x480c, RW)                                                                \
    X(GUEST_TR_LIMIT, 0x480e, RW)                                                                  \
    X(GUEST_GDTR_LIMIT, 0x4810, RW)                                                                \
    X(GUEST_IDTR_LIMIT, 0x4812, RW)                                                                \
    X(GUEST_ES_ACCESS_RIGHTS, 0x4814, RW)                                                          \
    X(GUEST_CS_ACCESS_RIGHTS, 0x4816, RW)                                                          \
    X(GUEST_SS_ACCESS_RIGHTS, 0x4818, RW)                                                          \
    X(GUEST_DS_ACCESS_RIGHTS, 0x481a, RW)                                                          \
    X(GUEST_FS_ACCESS_RIGHTS, 0x481c, RW)                                                          \
    X(GUEST_GS_ACCESS_RIGHTS, 0x481e, RW)                                                          \
    X(GUEST_LDTR_ACCESS_RIGHTS, 0x4820, RW)                                                        \
    X(GUEST_TR_ACCESS_RIGHTS, 0x4822, RW)                                                          \
    X(GUEST_INTERRUPTIBILITY, 0x4824, RW)                                                          \
    X(GUEST_ACTIVITY_STATE, 0x4826, RW)                                                            \
    X(GUEST_SMBASE, 0x4828, RW)                                                                    \
    X(GUEST_SYSENTER_CS, 0x482a, RW)                                                               \
    X(PREEMPTION_TIMER_VALUE, 0x482e, RW)                                                          \
    /* 32-bit host-state field */                                                                  \
    X(HOST_SYSENTER_CS, 0x4c00, RW)                                                                \
    /* natural-width control fields */                                                             \
    X(CR0_MASK, 0x6000, RW)                                                                        \
    X(CR4_MASK, 0x6002, RW)                                                                        \
    X(CR0_READ_SHADOW, 0x6004, RW)                                                                 \
    X(CR4_READ_SHADOW, 0x6006, RW)                                                                 \
    X(CR3_TARGET_0, 0x6008, RW)                                                                    \
    X(CR3_TARGET_1, 0x600a, RW)                                                                    \
    X(CR3_TARGET_2, 0x600c, RW)                                                                    \
    X(CR3_TARGET_3, 0x600e, RW)                                                                    \
    /* natural-width read-only data fields */                                                      \
    X(EXIT_QUALIFICATION, 0x6400, RO)                                                              \
    X(IO_RCX, 0x6402, RO)                                                                          \
    X(IO_RSI, 0x6404, RO)                                                                          \
    X(IO_RDI, 0x6406, RO)                                                                          \
    X(IO_RIP, 0x6408, RO)                                                                          \
    X(GUEST_LINEAR_ADDRESS, 0x640a, RO)                                                            \
    /* natural-width guest-state fields */                                                         \
    X(GUEST_CR0, 0x6800, RW)                                                                       \
    X(GUEST_CR3, 0x6802, RW)                                                                       \
    X(GUEST_CR4, 0x6804, RW)                                                                       \
    X(GUEST_ES_BASE, 0x6806, RW)                                                                   \
    X(GUEST_CS_BASE, 0x6808, RW)                                                                   \
    X(GUEST_SS_BASE, 0x680a, RW)                                                                   \
    X(GUEST_DS_BASE, 0x680c, RW)                                                                   \
    X(GUEST_FS_BASE, 0x680e, RW)                                                                   \
    X(GUEST_GS_BASE, 0x6810, RW)                                                                   \
    X(GUEST_LDTR_BASE, 0x6812, RW)                                                                 \
    X(GUEST_TR_BASE, 0x6814, RW)                                                                   \
    X(GUEST_GDTR_BASE, 0x6816, RW)                                                                 \
    X(GUEST_IDTR_BASE, 0x6818, RW)                                                                 \
    X(GUEST_DR7, 0x681a, RW)                                                                       \
    X(GUEST_RSP, 0x681c, RW)                                                                       \
    X(GUEST_RIP, 0x681e, RW)                                                                       \
    X(GUEST_RFLAGS, 0x6820, RW)                                                                    \
    X(GUEST_PENDING_DEBUG, 0x6822, RW)                                                             \
    X(GUEST_SYSENTER_ESP, 0x6824, RW)                                                              \
    X(GUEST_SYSENTER_EIP, 0x6826, RW)                                                              \
    X(GUEST_S_CET, 0x6828, RW)                                                                     \
    X(GUEST_SSP, 0x682a, RW)                                                                       \
    X(GUEST_INTERRUPT_SSP_TABLE, 0x682c, RW)                                                       \
    /* natural-width host-state fields */                                                          \
    X(HOST_CR0, 0x6c00, RW)                                                                        \
    X(HOST_CR3, 0x6c02, RW)                                                                        \
    X(HOST_CR4, 0x6c04, RW)                                                                        \
    X(HOST_FS_BASE, 0x6c06, RW)                                                                    \
    X(HOST_GS_BASE, 0x6c08, RW)                                                                    \
    X(HOST_TR_BASE, 0x6c0a, RW)                                                                    \
    X(HOST_GDTR_BASE, 0x6c0c, RW)                                                                  \
    X(HOST_IDTR_BASE, 0x6c0e, RW)                                                                  \
    X(HOST_SYSENTER_ESP, 0x6c10, RW)                                                               \
    X(HOST_SYSENTER_EIP, 0x6c12, RW)                                                               \
    X(HOST_RSP, 0x6c14, RW)                                                                        \
    X(HOST_RIP, 0x6c16, RW)                                                                        \
    X(HOST_S_CET, 0x6c18, RW)                                                                      \
    X(HOST_SSP, 0x6c1a, RW)                                                                        \
    X(HOST_INTERRUPT_SSP_TABLE, 0x6c1c, RW)

#endif
