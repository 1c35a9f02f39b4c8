/*
 * MSRs: KVM asks the processor model for every MSR for which the VMCS's MSR bitmaps say "exit". The
 * filter that makes it do so is these bitmaps, with each bit turned round: in KVM's, 1 means that
 * the guest may.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "sim/kvm/kvm.h"
#include "sim/vm_internal.h"

/* SDM "MSR-Bitmap Address": four bitmaps of 1024 bytes. */
#define BITMAP_SIZE 1024u

static const struct {
    uint32_t base, flags;
} bitmaps[] = {
    {0, KVM_MSR_FILTER_READ},
    {0xc0000000, KVM_MSR_FILTER_READ},
    {0, KVM_MSR_FILTER_WRITE},
    {0xc0000000, KVM_MSR_FILTER_WRITE},
};
#define BITMAPS (sizeof bitmaps / sizeof *bitmaps)

int kvm_filter_msrs(struct kvm_engine *engine, char *message, size_t size)
{
    const struct vcpu *vcpu = engine->vcpu;
    const uint8_t *vmx = physmem_at(&vcpu->vm->physmem, vmcs_get(&vcpu->vmcs, VMCS_MSR_BITMAP));
    uint8_t allowed[BITMAPS][BITMAP_SIZE];
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};
    for (unsigned i = 0; i < BITMAPS; i++) {
        for (unsigned byte = 0; byte < BITMAP_SIZE; byte++)
            allowed[i][byte] = (uint8_t)~vmx[i * BITMAP_SIZE + byte];
        filter.ranges[i] = (struct kvm_msr_filter_range){
            .flags = bitmaps[i].flags,
            .base = bitmaps[i].base,
            .nmsrs = BITMAP_SIZE * 8,
            .bitmap = allowed[i],
        };
    }
    struct kvm_enable_cap exits = {
        .cap = KVM_CAP_X86_USER_SPACE_MSR,
        .args = {KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
                 KVM_MSR_EXIT_REASON_FILTER},
    };
    if (ioctl(engine->vm, KVM_ENABLE_CAP, &exits) == 0 &&
        ioctl(engine->vm, KVM_X86_SET_MSR_FILTER, &filter) == 0)
        return 0;
    int error = errno;
    snprintf(message, size, "backend kvm: MSRs cannot be filtered: %s", strerror(error));
    return -error;
}
