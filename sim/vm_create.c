/* Creation of a VM: its parts in order, and how processor and platform reach it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/vmx_capabilities.h"
#include "sim/log.h"
#include "sim/vm_internal.h"

/* Host-physical memory for the handler's structures: EPT tables (8 bytes for each 4 KiB of guest
 * memory, and their parents), MSR bitmaps; and room to align guest RAM for 1-GiB pages. */
#define HANDLER_MEMORY(ram) ((64ull << 20) + (ram) / 256 + (2ull << 30))

/* --- What the platform and the processor ask of the machine
 * ------------------------------------------- */

static uint64_t machine_now(void *machine)
{
    struct vm *vm = machine;
    return vm->vcpu.engine ? vcpu_cycles(&vm->vcpu) : 0; /* power-on: devices come first */
}

static void machine_deadline_changed(void *machine)
{
    vm_reconsider(machine);
}

static void machine_interrupt_changed(void *machine)
{
    struct vm *vm = machine;
    if (platform_interrupt_pending(vm->platform, 0)) {
        vm->vcpu.event_raised = true;
        vm_reconsider(vm);
    }
}

static void machine_nmi(void *machine, unsigned cpu)
{
    struct vm *vm = machine;
    vm->vcpu.nmi_pending = true;
    vm->vcpu.event_raised = true;
    vm_reconsider(vm);
}

/* INIT and start-up IPIs to the only processor, which runs: a start-up IPI is ignored then, and
 * INIT resets the machine. */
static void machine_init(void *machine, unsigned cpu)
{
    vm_set_stop(machine, VM_STOP_RESET, 0, "the guest sent INIT to its processor");
}

static void machine_sipi(void *machine, unsigned cpu, uint8_t vector)
{
    LOG_DEBUG(LOG_VM, "start-up IPI to running CPU %u ignored", cpu);
}

static void machine_console_write(void *machine, const void *data, size_t size)
{
    struct vm *vm = machine;
    if (vm->callbacks.console_write)
        vm->callbacks.console_write(vm->context, data, size);
}

static void machine_stop(void *machine, enum platform_stop why, int status)
{
    static const enum vm_stop_reason reasons[] = {
        [PLATFORM_STOP_POWER_OFF] = VM_STOP_POWER_OFF,
        [PLATFORM_STOP_RESET] = VM_STOP_RESET,
        [PLATFORM_STOP_DEBUG_EXIT] = VM_STOP_DEBUG_EXIT,
    };
    vm_set_stop(machine, reasons[why], status, "%s", "");
}

static const struct platform_callbacks platform_callbacks = {
    .now = machine_now,
    .deadline_changed = machine_deadline_changed,
    .interrupt_changed = machine_interrupt_changed,
    .nmi = machine_nmi,
    .init = machine_init,
    .sipi = machine_sipi,
    .console_write = machine_console_write,
    .stop = machine_stop,
};

static uint64_t cpu_random(void *machine)
{
    return vm_random(machine);
}

static bool cpu_apic_read_msr(void *machine, uint32_t msr, uint64_t *value)
{
    struct vm *vm = machine;
    return platform_apic_read_msr(vm->platform, 0, msr, value);
}

static bool cpu_apic_write_msr(void *machine, uint32_t msr, uint64_t value)
{
    struct vm *vm = machine;
    return platform_apic_write_msr(vm->platform, 0, msr, value);
}

static void cpu_tsc_offset_changed(void *machine, uint64_t offset)
{
    struct vm *vm = machine;
    platform_set_tsc_offset(vm->platform, 0, offset);
}

static uint64_t cpu_read_cr8(void *machine)
{
    struct vm *vm = machine;
    return platform_read_cr8(vm->platform, 0);
}

static void cpu_write_cr8(void *machine, uint64_t value)
{
    struct vm *vm = machine;
    platform_write_cr8(vm->platform, 0, value);
}

static const struct cpu_callbacks cpu_callbacks = {
    .tsc = machine_now,
    .random = cpu_random,
    .apic_read_msr = cpu_apic_read_msr,
    .apic_write_msr = cpu_apic_write_msr,
    .tsc_offset_changed = cpu_tsc_offset_changed,
    .read_cr8 = cpu_read_cr8,
    .write_cr8 = cpu_write_cr8,
};

/* --- Creation
 * --------------------------------------------------------------------------------------------- */

static int create_memory(struct vm *vm, char *message, size_t size)
{
    uint64_t ram = vm->config.memory;
    int error = physmem_init(&vm->physmem, (ram + HANDLER_MEMORY(ram)) & ~(FRAME_SIZE - 1));
    if (error) {
        snprintf(message, size, "%llu MiB of guest memory cannot be had: %s; use less --memory",
                 (unsigned long long)(ram >> 20), strerror(-error));
        return error;
    }
    guest_memory_init(&vm->memory, &vm->physmem);
    error = vm->config.hash_every ? physmem_track_writes(&vm->physmem) : 0;
    uint64_t low = ram < PLATFORM_LOW_RAM_END ? ram : PLATFORM_LOW_RAM_END;
    if (!error)
        error = guest_memory_add(&vm->memory, SLOT_RAM, 0, low);
    if (!error && ram > low)
        error = guest_memory_add(&vm->memory, SLOT_RAM, PLATFORM_HIGH_RAM_BASE, ram - low);
    if (!error)
        error = ept_create(&vm->ept, &vm->physmem, false);
    LOG_INFO(LOG_MEMORY, "guest memory: %llu MiB below 3 GiB, %llu MiB from 4 GiB",
             (unsigned long long)(low >> 20), (unsigned long long)((ram - low) >> 20));
    if (!error && !vm->config.ept_lazy)
        error = vm_map_all(vm);
    if (error) {
        snprintf(message, size, "guest memory cannot be laid out: %s", strerror(-error));
        return error;
    }
    LOG_INFO(LOG_MEMORY, "EPT: EPTP 0x%llx, pages up to %llu KiB, %s",
             (unsigned long long)vm->ept.eptp, (unsigned long long)vm->config.ept_page_size >> 10,
             vm->config.ept_lazy ? "filled at EPT violations" : "filled");
    return 0;
}

static int create_platform(struct vm *vm, char *message, size_t size)
{
    const struct platform_config config = {
        .cpus = vm->config.cpus,
        .ram_size = vm->config.memory,
        .clock_hz = vm->profile.tsc_hz,
        .apic_timer_hz = vm->profile.crystal_hz,
        .rtc_epoch = vm->config.rtc_epoch,
        .physical_bits = vm->profile.maxphyaddr,
        .x2apic = profile_has(&vm->profile, FEATURE_X2APIC),
        .test_device = vm->config.test_device,
    };
    vm->platform = platform_create(&config, &platform_callbacks, vm);
    if (vm->platform)
        return 0;
    snprintf(message, size, "no memory is left for the devices");
    return -ENOMEM;
}

static int create_cpu(struct vm *vm, char *message, size_t size)
{
    struct vcpu *vcpu = &vm->vcpu;
    struct cpu *cpu = &vcpu->cpu;
    vcpu->vm = vm;
    vcpu->engine_operations = engine_find(vm->config.backend);
    vcpu->mmio_granted_at = UINT64_MAX;
    vcpu->begun_at = UINT64_MAX;
    vcpu->exit_cycles =
        vm->config.exit_cycles >= 0 ? (uint32_t)vm->config.exit_cycles : vm->profile.exit_cycles;
    mmu_init(&cpu->mmu, &vm->physmem);
    cpu->mmu.maxphyaddr = vm->profile.maxphyaddr;
    uint64_t ept_capabilities = vmx_capability(&vm->profile, MSR_VMX_EPT_VPID_CAP);
    cpu->mmu.execute_only_supported = ept_capabilities & VMX_EPT_EXECUTE_ONLY;
    cpu->mmu.ept_1g_supported = ept_capabilities & VMX_EPT_1G;
    cpu->profile = &vm->profile;
    cpu->cpu_count = vm->config.cpus;
    cpu->callbacks = &cpu_callbacks;
    cpu->machine = vm;
    cpu->skip_clean_checks = !vm->config.full_exits;
    cpu->vmcs = &vcpu->vmcs;
    cpu->vmx.preemption_deadline = PREEMPTION_TIMER_OFF;
    int error = vcpu->engine_operations->create(vcpu, message, size);
    if (error)
        return error;
    cpu_reset(cpu);
    LOG_INFO(LOG_CPU, "CPU 0: %s, %llu MHz, engine %s", vm->profile.name,
             (unsigned long long)(vm->profile.tsc_hz / 1000000), vcpu->engine_operations->name);
    return vmcs_setup(vcpu, message, size);
}

static int load_profile(struct vm *vm, char *message, size_t size)
{
    char path[4096];
    int error = cpu_profile_find(vm->config.cpu, path, sizeof path);
    if (error) {
        snprintf(message, size,
                 "no CPU profile \"%s\" (tried %s): `vtxsim cpus` lists those there are",
                 vm->config.cpu, path);
        return error;
    }
    error = cpu_profile_load(&vm->profile, path, message, size);
    const struct engine_operations *engine = engine_find(vm->config.backend);
    if (!error && engine->adjust_profile)
        engine->adjust_profile(&vm->profile);
    return error;
}

static int open_trace(struct vm *vm, char *message, size_t size)
{
    if (!vm->config.trace)
        return 0;
    char *description = vm_config_describe(&vm->config);
    int error =
        description ? trace_writer_open(&vm->trace, vm->config.trace, description,
                                        (enum trace_level)vm->config.trace_level)
                    : -ENOMEM;
    free(description);
    if (!error)
        vm->sink = trace_writer_sink(vm->trace);
    else
        snprintf(message, size, "trace %s cannot be written: %s; name a writable place",
                 vm->config.trace, strerror(-error));
    return error;
}

static int create_parts(struct vm *vm, char *message, size_t size)
{
    int (*const steps[])(struct vm *, char *, size_t) = {
        load_profile, create_memory, create_platform, create_cpu, open_trace,
    };
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        int error = steps[i](vm, message, size);
        if (error)
            return error;
    }
    return 0;
}

int vm_create(struct vm **result, const struct vm_config *config,
              const struct vm_callbacks *callbacks, void *context, char *message, size_t size)
{
    *result = NULL;
    if (!engine_find(config->backend)) {
        snprintf(message, size, "this program was built without backend %s: use --backend %s",
                 config->backend == BACKEND_KVM ? "kvm" : "unicorn",
                 config->backend == BACKEND_KVM ? "unicorn" : "kvm");
        return -ENOTSUP;
    }
    if (config->cpus != 1) {
        snprintf(message, size, "this version runs one processor: use --cpus 1");
        return -ENOTSUP;
    }
    if (!config->ept || !config->unrestricted_guest) {
        snprintf(message, size,
                 "the handler of this version needs EPT and unrestricted guest: "
                 "leave both on");
        return -ENOTSUP;
    }
    struct vm *vm = calloc(1, sizeof *vm);
    if (!vm) {
        snprintf(message, size, "no memory is left");
        return -ENOMEM;
    }
    pthread_mutex_init(&vm->lock, NULL);
    pthread_cond_init(&vm->changed, NULL);
    vm->context = context;
    if (callbacks)
        vm->callbacks = *callbacks;
    int error = vm_config_copy(&vm->config, config);
    vm->random_state = config->seed;
    vm->withdraw_state = config->ept_withdraw_seed;
    vm->withdraw_at = config->ept_withdraw ? config->ept_withdraw : UINT64_MAX;
    vm->progress_at = PROGRESS_INSTRUCTIONS;
    vm->debug.stop_at = UINT64_MAX;
    vm->hash_at = UINT64_MAX;
    vm->debug.stop_at_time = UINT64_MAX;
    inject_flip_parse(&vm->flip, config->inject_flip); /* checked when it was set */
    if (!error)
        error = create_parts(vm, message, size);
    if (error) {
        vm_destroy(vm);
        return error;
    }
    LOG_INFO(LOG_VM, "VM \"%s\" created", vm->config.name);
    *result = vm;
    return 0;
}
