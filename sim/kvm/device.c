/* /dev/kvm: opening it, and what is said when it cannot be had. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim/kvm/kvm.h"

#define KVM_DEVICE             "/dev/kvm"
#define KVM_DEVICE_ENVIRONMENT "VTXSIM_KVM_DEVICE" /* another path, for tests */

/* Where Intel processors without "unrestricted guest" keep what they need for real mode: between
 * the devices and the end of the first 4 GiB. */
#define TSS_ADDRESS          0xfffbd000ul
#define IDENTITY_MAP_ADDRESS 0xfffbc000ull

/* What the engine cannot do without, with the first kernel that has it. */
static const struct {
    int capability;
    const char *name, *kernel;
} required[] = {
    {KVM_CAP_USER_MEMORY, "memory slots", "2.6.25"},
    {KVM_CAP_READONLY_MEM, "read-only memory slots", "3.8"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit", "4.13"},
    {KVM_CAP_SYNC_REGS, "synchronised registers", "4.17"},
    {KVM_CAP_X86_USER_SPACE_MSR, "MSR exits to user space", "5.10"},
    {KVM_CAP_X86_MSR_FILTER, "MSR filters", "5.10"},
};

static const char *remedy(int error)
{
    switch (error) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return "there is no KVM on this machine: load the module kvm_intel or kvm_amd, switch "
               "virtualization on in the firmware, or use --backend unicorn";
    case EACCES:
    case EPERM:
        return "it may not be used: join the group that owns it (kvm), or use --backend unicorn";
    case EBUSY:
        return "another hypervisor has the processor: end it, or use --backend unicorn";
    default:
        return "use --backend unicorn";
    }
}

static int check_device(int device, const char *path, char *message, size_t size)
{
    int version = ioctl(device, KVM_GET_API_VERSION, 0);
    if (version < 0) {
        snprintf(message, size, "%s is no KVM device: use --backend unicorn", path);
        return -ENODEV;
    }
    if (version != KVM_API_VERSION) {
        snprintf(message, size,
                 "%s speaks version %d of KVM's interface, not %d: use --backend unicorn", path,
                 version, KVM_API_VERSION);
        return -ENOTSUP;
    }
    for (unsigned i = 0; i < sizeof required / sizeof *required; i++) {
        if (ioctl(device, KVM_CHECK_EXTENSION, required[i].capability) > 0)
            continue;
        snprintf(message, size,
                 "KVM of this machine has no %s: Linux %s or later has, or use --backend unicorn",
                 required[i].name, required[i].kernel);
        return -ENOTSUP;
    }
    return 0;
}

int kvm_open(int *device, int *vm, char *message, size_t size)
{
    const char *path = getenv(KVM_DEVICE_ENVIRONMENT);
    if (!path)
        path = KVM_DEVICE;
    *vm = -1;
    *device = open(path, O_RDWR | O_CLOEXEC);
    if (*device < 0) {
        int error = errno;
        snprintf(message, size, "backend kvm: %s: %s: %s", path, strerror(error), remedy(error));
        return -error;
    }
    int error = check_device(*device, path, message, size);
    if (error)
        return error;
    do
        *vm = ioctl(*device, KVM_CREATE_VM, 0);
    while (*vm < 0 && errno == EINTR);
    if (*vm < 0) {
        error = errno;
        snprintf(message, size, "backend kvm: no virtual machine can be created: %s: %s",
                 strerror(error), remedy(error));
        return -error;
    }
    /* OUT to port 7EH is as any other. */
    struct kvm_enable_cap quirks = {.cap = KVM_CAP_DISABLE_QUIRKS,
                                    .args = {KVM_X86_QUIRK_OUT_7E_INC_RIP}};
    ioctl(*vm, KVM_ENABLE_CAP, &quirks);
    /* Only some processors need these, and only some kernels know them. */
    uint64_t identity = IDENTITY_MAP_ADDRESS;
    ioctl(*vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    ioctl(*vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
    return 0;
}

int kvm_create_processor(int device, int vm, unsigned number, int *cpu, struct kvm_run **run,
                         size_t *run_size, char *message, size_t size)
{
    int length = ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);
    *cpu = ioctl(vm, KVM_CREATE_VCPU, number);
    void *shared = MAP_FAILED;
    if (*cpu >= 0 && length > 0)
        shared = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, *cpu, 0);
    if (shared == MAP_FAILED) {
        int error = errno;
        snprintf(message, size, "backend kvm: no processor can be created: %s", strerror(error));
        return -error;
    }
    *run = shared;
    *run_size = (size_t)length;
    return 0;
}
