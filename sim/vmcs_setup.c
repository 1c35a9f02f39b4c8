/*
 * The VMCS that the VM handler runs its guest with: what exits, what does not, and the host state.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cpu/msr.h"
#include "cpu/vmx_capabilities.h"
#include "cpu/vmx_controls.h"
#include "sim/exits_cr.h"
#include "sim/log.h"
#include "sim/vm_internal.h"

/* Where the handler would run if it were machine code: the host state must pass the checks. */
#define HOST_CODE_SELECTOR 0x08
#define HOST_DATA_SELECTOR 0x10
#define HOST_TSS_SELECTOR  0x18
#define HOST_BASE          0xffff800000000000ull

#define VPID_OF_FIRST_CPU 1

/* Controls asked for in one field; what the processor cannot do is an error. */
struct wanted_controls {
    enum vmcs_field field;
    const char *name;
    uint32_t bits;
};

static int set_controls(struct vcpu *vcpu, const struct wanted_controls *wanted, char *message,
                        size_t size)
{
    uint32_t value = vmx_control_adjust(vcpu->cpu.profile, wanted->field, wanted->bits);
    if (wanted->bits & ~value) {
        snprintf(message, size,
                 "CPU profile \"%s\" lacks VMX %s controls 0x%x that this configuration needs: "
                 "choose another --cpu",
                 vcpu->cpu.profile->name, wanted->name, wanted->bits & ~value);
        return -ENOTSUP;
    }
    vmcs_set(&vcpu->vmcs, wanted->field, value);
    return 0;
}

/*
 * MSRs that the guest may touch without an exit: those that VM transitions switch, and those of
 * SYSCALL, which no one but the guest uses.
 */
static const uint32_t passed_msrs[] = {
    MSR_TSC,      MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,   MSR_PAT,
    MSR_DEBUGCTL, MSR_EFER,        MSR_STAR,         MSR_LSTAR,          MSR_CSTAR,
    MSR_FMASK,    MSR_FS_BASE,     MSR_GS_BASE,      MSR_KERNEL_GS_BASE, MSR_TSC_AUX,
};

/* SDM "MSR-Bitmap Address": reads of low and high MSRs, then writes; a set bit exits. */
static void set_msr_bitmap(uint8_t *bitmap)
{
    memset(bitmap, 0xff, FRAME_SIZE);
    for (unsigned i = 0; i < sizeof passed_msrs / sizeof *passed_msrs; i++) {
        uint32_t msr = passed_msrs[i];
        uint32_t byte = (msr >= 0xc0000000 ? 1024 : 0) + (msr & 0x1fff) / 8;
        bitmap[byte] &= (uint8_t) ~(1u << (msr & 7));
        bitmap[2048 + byte] &= (uint8_t) ~(1u << (msr & 7));
    }
}

static void set_host_state(struct vmcs *vmcs, uint64_t host_cr3, const struct cpu_profile *profile)
{
    vmcs_set(vmcs, VMCS_HOST_CR0,
             (CR0_PE | CR0_NE | CR0_WP | CR0_PG | CR0_ET) | vmx_fixed_cr0(profile).ones);
    vmcs_set(vmcs, VMCS_HOST_CR3, host_cr3);
    vmcs_set(vmcs, VMCS_HOST_CR4, CR4_PAE | CR4_PGE | vmx_fixed_cr4(profile).ones);
    vmcs_set(vmcs, VMCS_HOST_EFER, EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE);
    vmcs_set(vmcs, VMCS_HOST_PAT, PAT_AT_RESET);
    vmcs_set(vmcs, VMCS_HOST_CS_SELECTOR, HOST_CODE_SELECTOR);
    vmcs_set(vmcs, VMCS_HOST_SS_SELECTOR, HOST_DATA_SELECTOR);
    vmcs_set(vmcs, VMCS_HOST_DS_SELECTOR, HOST_DATA_SELECTOR);
    vmcs_set(vmcs, VMCS_HOST_ES_SELECTOR, HOST_DATA_SELECTOR);
    vmcs_set(vmcs, VMCS_HOST_TR_SELECTOR, HOST_TSS_SELECTOR);
    vmcs_set(vmcs, VMCS_HOST_GDTR_BASE, HOST_BASE);
    vmcs_set(vmcs, VMCS_HOST_IDTR_BASE, HOST_BASE + 0x1000);
    vmcs_set(vmcs, VMCS_HOST_TR_BASE, HOST_BASE + 0x2000);
    vmcs_set(vmcs, VMCS_HOST_RSP, HOST_BASE + 0x4000);
    vmcs_set(vmcs, VMCS_HOST_RIP, HOST_BASE + 0x5000);
}

int vmcs_setup(struct vcpu *vcpu, char *message, size_t size)
{
    struct vm *vm = vcpu->vm;
    const struct vm_config *config = &vm->config;
    struct vmcs *vmcs = &vcpu->vmcs;
    uint64_t msr_bitmap = physmem_alloc_frame(&vm->physmem);
    uint64_t host_cr3 = physmem_alloc_frame(&vm->physmem);
    if (msr_bitmap == FRAME_NONE || host_cr3 == FRAME_NONE) {
        snprintf(message, size, "no host-physical memory is left for VMX structures");
        return -ENOMEM;
    }
    set_msr_bitmap(physmem_at(&vm->physmem, msr_bitmap));
    vmcs_clear(vmcs, VMX_BASIC_REVISION(vmx_capability(vcpu->cpu.profile, MSR_VMX_BASIC)));

    const struct wanted_controls wanted[] = {
        {VMCS_PIN_BASED_CONTROLS, "pin-based",
         PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS},
        {VMCS_PRIMARY_CONTROLS, "primary processor-based",
         PRIMARY_TSC_OFFSETTING | PRIMARY_HLT_EXITING | PRIMARY_MWAIT_EXITING |
             PRIMARY_MONITOR_EXITING | PRIMARY_RDPMC_EXITING | PRIMARY_CR8_LOAD_EXITING |
             PRIMARY_CR8_STORE_EXITING | PRIMARY_UNCONDITIONAL_IO_EXITING | PRIMARY_MSR_BITMAPS |
             PRIMARY_SECONDARY_CONTROLS},
        {VMCS_SECONDARY_CONTROLS, "secondary processor-based",
         SECONDARY_EPT | SECONDARY_RDTSCP | (config->vpid ? SECONDARY_VPID : 0) |
             (config->unrestricted_guest ? SECONDARY_UNRESTRICTED_GUEST : 0)},
        {VMCS_EXIT_CONTROLS, "VM-exit",
         EXIT_SAVE_DEBUG_CONTROLS | EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_ACKNOWLEDGE_INTERRUPT |
             EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER},
        {VMCS_ENTRY_CONTROLS, "VM-entry",
         ENTRY_LOAD_DEBUG_CONTROLS | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER},
    };
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        int error = set_controls(vcpu, &wanted[i], message, size);
        if (error)
            return error;
    }
    /* INVPCID is the guest's where the processor has it; CPUID offers it only then. */
    uint64_t secondary = vmcs_get(vmcs, VMCS_SECONDARY_CONTROLS);
    vmcs_set(vmcs, VMCS_SECONDARY_CONTROLS,
             vmx_control_adjust(vcpu->cpu.profile, VMCS_SECONDARY_CONTROLS,
                                (uint32_t)secondary | SECONDARY_INVPCID));

    vmcs_set(vmcs, VMCS_MSR_BITMAP, msr_bitmap);
    vmcs_set(vmcs, VMCS_EPTP, vm->ept.eptp);
    vmcs_set(vmcs, VMCS_VPID, config->vpid ? VPID_OF_FIRST_CPU + vcpu->index : 0);
    vmcs_set(vmcs, VMCS_CR0_MASK, HANDLER_CR0_MASK);
    vmcs_set(vmcs, VMCS_CR4_MASK, HANDLER_CR4_MASK);
    vmcs_set(vmcs, VMCS_VMCS_LINK_POINTER, UINT64_MAX);
    set_host_state(vmcs, host_cr3, vcpu->cpu.profile);
    LOG_INFO(LOG_VMX,
             "VMCS of CPU %u: pin 0x%llx, primary 0x%llx, secondary 0x%llx, exit 0x%llx, "
             "entry 0x%llx",
             vcpu->index, (unsigned long long)vmcs_get(vmcs, VMCS_PIN_BASED_CONTROLS),
             (unsigned long long)vmcs_get(vmcs, VMCS_PRIMARY_CONTROLS),
             (unsigned long long)vmcs_get(vmcs, VMCS_SECONDARY_CONTROLS),
             (unsigned long long)vmcs_get(vmcs, VMCS_EXIT_CONTROLS),
             (unsigned long long)vmcs_get(vmcs, VMCS_ENTRY_CONTROLS));
    return 0;
}
