/* The VM handler: creation, life cycle, requests of other threads, destruction. */
#include "sim/vm.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
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

#define LEGACY_HOLE_START 0xa0000ull
#define LEGACY_HOLE_END   0xc0000ull
#define PROGRESS_INSTRUCTIONS 20000000ull

const char *vm_state_name(enum vm_state state)
{
    static const char *const names[] = {"created", "running", "paused", "stopped"};
    return names[state];
}

/* --- What the platform and the processor ask of the machine ------------------------------------------- */

static uint64_t machine_now(void *machine)
{
    struct vm *vm = machine;
    return vm->vcpu.engine ? vcpu_cycles(&vm->vcpu) : 0; /* power-on: devices come first */
}

/* The engine must look at its deadline again: at the next boundary. */
static void machine_deadline_changed(void *machine)
{
    struct vm *vm = machine;
    if (vm->vcpu.engine)
        vm->vcpu.engine_operations->set_deadline(
            &vm->vcpu, vm->vcpu.engine_operations->instructions(&vm->vcpu));
}

static void machine_interrupt_changed(void *machine)
{
    struct vm *vm = machine;
    if (platform_interrupt_pending(vm->platform, 0)) {
        vm->vcpu.event_raised = true;
        machine_deadline_changed(vm);
    }
}

static void machine_nmi(void *machine, unsigned cpu)
{
    struct vm *vm = machine;
    vm->vcpu.nmi_pending = true;
    vm->vcpu.event_raised = true;
    machine_deadline_changed(vm);
}

/* INIT and start-up IPIs to the only processor, which runs: a start-up IPI is ignored then, and INIT
 * resets the machine. */
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
    .read_cr8 = cpu_read_cr8,
    .write_cr8 = cpu_write_cr8,
};

/* --- Services for the other files of sim/ --------------------------------------------------------------- */

void vm_set_stop(struct vm *vm, enum vm_stop_reason reason, int guest_status, const char *format,
                 ...)
{
    if (vm->stop.reason != VM_STOP_NONE)
        return;
    vm->stop.reason = reason;
    vm->stop.guest_status = guest_status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(vm->stop.message, sizeof vm->stop.message, format, arguments);
    va_end(arguments);
    atomic_store(&vm->vcpu.kicked, true);
    machine_deadline_changed(vm);
}

struct bus *vm_bus(struct vm *vm)
{
    return platform_bus(vm->platform);
}

bool vm_is_device(struct vm *vm, uint64_t gpa)
{
    const struct memory_slot *slot = guest_memory_find(&vm->memory, gpa);
    return !slot || slot->kind != SLOT_RAM;
}

uint64_t vm_cycles_to_nanoseconds(struct vm *vm, uint64_t cycles)
{
    return (uint64_t)((unsigned __int128)cycles * 1000000000 / vm->profile.tsc_hz);
}

uint64_t vm_nanoseconds(struct vm *vm)
{
    return vm_cycles_to_nanoseconds(vm, vcpu_cycles(&vm->vcpu));
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t vm_random(struct vm *vm)
{
    return next_random(&vm->random_state);
}

/* --- EPT ------------------------------------------------------------------------------------------------- */

static unsigned page_shift_of(uint64_t page_size)
{
    return page_size >= 1ull << 30 ? 30 : page_size >= 1ull << 21 ? 21 : 12;
}

static uint64_t slot_rights(const struct memory_slot *slot)
{
    return slot->kind == SLOT_ROM ? EPT_READ | EPT_EXECUTE : EPT_ALL;
}

int vm_map_page(struct vm *vm, uint64_t gpa)
{
    const struct memory_slot *slot = guest_memory_find(&vm->memory, gpa);
    if (!slot || slot->kind == SLOT_MMIO)
        return -EFAULT;
    /* The largest page that lies within the slot. */
    unsigned shift = page_shift_of(vm->config.ept_page_size);
    for (; shift > 12; shift = shift == 30 ? 21 : 12) {
        uint64_t size = 1ull << shift, start = gpa & ~(size - 1);
        bool inside = start >= slot->gpa && start + size <= slot->gpa + slot->size;
        if (inside && !((slot->hpa + (start - slot->gpa)) & (size - 1)))
            break;
    }
    uint64_t start = gpa & ~((1ull << shift) - 1);
    return ept_map(&vm->ept, start, slot->hpa + (start - slot->gpa), shift, slot_rights(slot),
                   EPT_TYPE_WB);
}

static int map_all(struct vm *vm)
{
    for (unsigned i = 0; i < vm->memory.count; i++) {
        const struct memory_slot *slot = &vm->memory.slots[i];
        if (slot->kind == SLOT_MMIO)
            continue;
        int error = ept_map_range(&vm->ept, slot->gpa, slot->hpa, slot->size,
                                  page_shift_of(vm->config.ept_page_size), slot_rights(slot),
                                  EPT_TYPE_WB);
        if (error)
            return error;
    }
    return 0;
}

void vm_withdraw_ept(struct vm *vm, uint64_t instructions)
{
    /* Mostly all of memory, so that what is used most goes too; else one of its slots' halves. */
    uint64_t random = next_random(&vm->withdraw_state);
    const struct memory_slot *slot = &vm->memory.slots[random % vm->memory.count];
    if (slot->kind != SLOT_MMIO && random >> 62 == 0) {
        uint64_t half = slot->size / 2 & ~(FRAME_SIZE - 1);
        ept_unmap(&vm->ept, slot->gpa + (random >> 61 & 1 ? half : 0), half);
    } else {
        ept_unmap(&vm->ept, 0, vm->memory.slots[vm->memory.count - 1].gpa +
                                   vm->memory.slots[vm->memory.count - 1].size);
    }
    mmu_invept(&vm->vcpu.cpu.mmu, 1, vm->ept.eptp);
    vm->vcpu.engine_operations->flush_tlb(&vm->vcpu);
    vm->withdrawn++;
    uint64_t mean = vm->config.ept_withdraw;
    vm->withdraw_at = instructions + 1 + (random >> 16) % (2 * mean);
}

/* --- Creation --------------------------------------------------------------------------------------------- */

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
    uint64_t low = ram < PLATFORM_LOW_RAM_END ? ram : PLATFORM_LOW_RAM_END;
    error = guest_memory_add(&vm->memory, SLOT_RAM, 0, low);
    if (!error && ram > low)
        error = guest_memory_add(&vm->memory, SLOT_RAM, PLATFORM_HIGH_RAM_BASE, ram - low);
    if (!error)
        error = ept_create(&vm->ept, &vm->physmem, false);
    LOG_INFO(LOG_MEMORY, "guest memory: %llu MiB below 3 GiB, %llu MiB from 4 GiB",
             (unsigned long long)(low >> 20), (unsigned long long)((ram - low) >> 20));
    if (!error && !vm->config.ept_lazy)
        error = map_all(vm);
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
        .x2apic = profile_has(&vm->profile, FEATURE_X2APIC),
        .test_device = vm->config.test_device,
    };
    vm->platform = platform_create(&config, &platform_callbacks, vm);
    if (vm->platform)
        return 0;
    snprintf(message, size, "no memory is left for the devices");
    return -ENOMEM;
}

static void write_firmware_table(void *context, uint64_t gpa, const void *data, size_t size)
{
    struct vm *vm = context;
    guest_memory_write(&vm->memory, gpa, data, size);
}

static int create_cpu(struct vm *vm, char *message, size_t size)
{
    struct vcpu *vcpu = &vm->vcpu;
    struct cpu *cpu = &vcpu->cpu;
    vcpu->vm = vm;
    vcpu->engine_operations = &unicorn_engine;
    vcpu->mmio_granted_at = UINT64_MAX;
    vcpu->exit_cycles = vm->config.exit_cycles >= 0 ? (uint32_t)vm->config.exit_cycles
                                                    : vm->profile.exit_cycles;
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
        snprintf(message, size, "no CPU profile \"%s\" (tried %s): `vtxsim cpus` lists those there are",
                 vm->config.cpu, path);
        return error;
    }
    return cpu_profile_load(&vm->profile, path, message, size);
}

static int open_trace(struct vm *vm, char *message, size_t size)
{
    if (!vm->config.trace)
        return 0;
    char *description = vm_config_describe(&vm->config);
    int error = description ? trace_writer_open(&vm->trace, vm->config.trace, description) : -ENOMEM;
    free(description);
    if (error)
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
    if (config->backend != BACKEND_UNICORN) {
        snprintf(message, size, "backend kvm is not in this version: use --backend unicorn");
        return -ENOTSUP;
    }
    if (config->cpus != 1) {
        snprintf(message, size, "this version runs one processor: use --cpus 1");
        return -ENOTSUP;
    }
    if (!config->ept || !config->unrestricted_guest) {
        snprintf(message, size, "the handler of this version needs EPT and unrestricted guest: "
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

void vm_destroy(struct vm *vm)
{
    if (!vm)
        return;
    assert(vm->state != VM_RUNNING);
    if (vm->trace)
        trace_writer_close(vm->trace);
    if (vm->vcpu.engine)
        vm->vcpu.engine_operations->destroy(&vm->vcpu);
    if (vm->vcpu.cpu.profile)
        mmu_destroy(&vm->vcpu.cpu.mmu);
    platform_destroy(vm->platform);
    guest_memory_destroy(&vm->memory);
    physmem_destroy(&vm->physmem);
    pthread_cond_destroy(&vm->changed);
    pthread_mutex_destroy(&vm->lock);
    LOG_INFO(LOG_VM, "VM \"%s\" destroyed", vm->config.name);
    vm_config_destroy(&vm->config);
    free(vm);
}

/* --- Loading ------------------------------------------------------------------------------------------------ */

static int write_image(void *context, uint64_t gpa, const void *data, size_t size)
{
    struct vm *vm = context;
    return guest_memory_write(&vm->memory, gpa, data, size);
}

static struct loader_module *make_modules(const struct string_list *list)
{
    struct loader_module *modules = calloc(list->count ? list->count : 1, sizeof *modules);
    for (unsigned i = 0; modules && i < list->count; i++)
        modules[i].file.name = list->item[i];
    return modules;
}

/* The image's arguments, or --append, as one string to be freed. */
static char *join_arguments(const struct vm_config *config)
{
    if (config->kernel)
        return config->append ? strdup(config->append) : NULL;
    size_t length = 1;
    for (unsigned i = 0; i < config->image_arguments.count; i++)
        length += strlen(config->image_arguments.item[i]) + 1;
    char *text = calloc(1, length);
    for (unsigned i = 0; text && i < config->image_arguments.count; i++) {
        strcat(text, i ? " " : "");
        strcat(text, config->image_arguments.item[i]);
    }
    return text;
}

/* The loader's registers become the guest state of the first VM entry. */
static void set_guest_state(struct vm *vm, const struct loader_entry *entry)
{
    struct cpu *cpu = &vm->vcpu.cpu;
    loader_entry_to_state(entry, &cpu->state);
    struct vmcs *vmcs = &vm->vcpu.vmcs;
    vmcs_set(vmcs, VMCS_CR0_READ_SHADOW, cpu->state.cr0);
    vmcs_set(vmcs, VMCS_CR4_READ_SHADOW, cpu->state.cr4);
    cpu->state.cr0 = (cpu->state.cr0 & ~(CR0_CD | CR0_NW)) | CR0_NE;
    cpu->state.cr4 |= CR4_VMXE;
    if (cpu->state.efer & EFER_LMA)
        vmcs_set(vmcs, VMCS_ENTRY_CONTROLS,
                 vmcs_get(vmcs, VMCS_ENTRY_CONTROLS) | ENTRY_IA32E_MODE_GUEST);
    vmexit_save_guest_state(cpu);
    vmexit_load_host_state(cpu); /* VMX root operation, as after any exit */
    vmcs->dirty = VMCS_DIRTY_RIP | VMCS_DIRTY_CONTROLS | VMCS_DIRTY_GUEST | VMCS_DIRTY_HOST;
    LOG_INFO(LOG_CPU, "initial state: RIP 0x%llx, CR0 0x%llx, CR3 0x%llx, CR4 0x%llx, EFER 0x%llx",
             (unsigned long long)cpu->state.rip, (unsigned long long)cpu->state.cr0,
             (unsigned long long)cpu->state.cr3, (unsigned long long)cpu->state.cr4,
             (unsigned long long)cpu->state.efer);
}

int vm_load(struct vm *vm, char *message, size_t size)
{
    const struct vm_config *config = &vm->config;
    char *arguments = join_arguments(config);
    struct loader_module *modules = make_modules(&config->modules);
    struct loader_options options = {
        .image = {.name = config->kernel ? config->kernel : config->image},
        .arguments = arguments,
        .initrd = {.name = config->initrd},
        .modules = modules,
        .module_count = config->modules.count,
        .flat_mode = config->flat_mode,
        .seed = vm_random(vm),
        .acpi_rsdp = platform_write_acpi_tables(vm->platform, write_firmware_table, vm),
    };
    const struct loader_target target = {.context = vm, .ram_size = config->memory,
                                         .write = write_image};
    struct loader_entry entry;
    int error = loader_load(&options, &target, &entry, message, size);
    free(modules);
    free(arguments);
    if (error)
        return error;
    LOG_INFO(LOG_LOADER, "%s", entry.description);
    set_guest_state(vm, &entry);
    return 0;
}

/* --- Running -------------------------------------------------------------------------------------------------- */

static void set_state(struct vm *vm, enum vm_state state)
{
    LOG_INFO(LOG_VM, "VM \"%s\": %s -> %s", vm->config.name, vm_state_name(vm->state),
             vm_state_name(state));
    vm->state = state;
    pthread_cond_broadcast(&vm->changed);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

int vm_run(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    bool startable = vm->state == VM_CREATED;
    if (startable)
        set_state(vm, VM_RUNNING);
    pthread_mutex_unlock(&vm->lock);
    if (!startable)
        return -EINVAL;

    clock_gettime(CLOCK_MONOTONIC, &vm->started);
    int error = vcpu_run(&vm->vcpu);
    vm->host_seconds = seconds_since(&vm->started);
    if (vm->trace)
        trace_writer_finish(vm->trace);

    pthread_mutex_lock(&vm->lock);
    set_state(vm, VM_STOPPED);
    pthread_mutex_unlock(&vm->lock);
    return error;
}

static void kick(struct vm *vm)
{
    atomic_store(&vm->vcpu.kicked, true);
    if (vm->vcpu.engine)
        vm->vcpu.engine_operations->kick(&vm->vcpu);
}

int vm_pause(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    int result = vm->state == VM_RUNNING && !vm->pause_requested ? 0 : -EINVAL;
    if (!result) {
        vm->pause_requested = true;
        kick(vm);
        pthread_cond_broadcast(&vm->changed);
        while (vm->state == VM_RUNNING)
            pthread_cond_wait(&vm->changed, &vm->lock);
        result = vm->state == VM_PAUSED ? 0 : -EINVAL;
    }
    pthread_mutex_unlock(&vm->lock);
    return result;
}

int vm_resume(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    int result = vm->state == VM_PAUSED ? 0 : -EINVAL;
    if (!result) {
        vm->pause_requested = false;
        pthread_cond_broadcast(&vm->changed);
    }
    pthread_mutex_unlock(&vm->lock);
    return result;
}

void vm_stop(struct vm *vm)
{
    atomic_store(&vm->stop_requested, true);
    kick(vm);
}

/* How often a waiting VM looks whether vm_stop, which cannot signal a condition, was called. */
#define STOP_POLL_NANOSECONDS 20000000ull

static void wait_changed(struct vm *vm, uint64_t nanoseconds)
{
    struct timespec until;
    if (nanoseconds > STOP_POLL_NANOSECONDS)
        nanoseconds = STOP_POLL_NANOSECONDS;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t sum = (uint64_t)until.tv_nsec + nanoseconds;
    until.tv_sec += (time_t)(sum / 1000000000);
    until.tv_nsec = (long)(sum % 1000000000);
    pthread_cond_timedwait(&vm->changed, &vm->lock, &until);
}

void vm_serve_requests(struct vm *vm)
{
    uint64_t instructions = vm->vcpu.engine_operations->instructions(&vm->vcpu);
    if (instructions >= vm->progress_at) {
        vm->progress_at = instructions + PROGRESS_INSTRUCTIONS;
        if (vm->callbacks.progress)
            vm->callbacks.progress(vm->context, instructions, vcpu_cycles(&vm->vcpu));
    }
    pthread_mutex_lock(&vm->lock);
    if (vm->pause_requested && !atomic_load(&vm->stop_requested)) {
        set_state(vm, VM_PAUSED);
        while (vm->pause_requested && !atomic_load(&vm->stop_requested))
            wait_changed(vm, STOP_POLL_NANOSECONDS);
        set_state(vm, VM_RUNNING);
    }
    if (vm->input_count) {
        size_t taken = platform_console_input(vm->platform, vm->input, vm->input_count);
        vm->input_count -= (unsigned)taken;
        memmove(vm->input, vm->input + taken, vm->input_count);
    }
    pthread_mutex_unlock(&vm->lock);
    if (atomic_load(&vm->stop_requested))
        vm_set_stop(vm, VM_STOP_REQUESTED, 0, "stopped on request");
}

void vm_set_interactive(struct vm *vm, bool interactive)
{
    atomic_store(&vm->interactive, interactive);
}

bool vm_has_input(struct vm *vm)
{
    return atomic_load(&vm->interactive);
}

/*
 * While the guest waits, its time may pass at once; but a person at the console lives in real time,
 * and a waiting guest should not keep the host busy.
 */
void vm_wait_idle(struct vm *vm, uint64_t nanoseconds)
{
    if (!vm_has_input(vm))
        return;
    pthread_mutex_lock(&vm->lock);
    if (!vm->input_count && !vm->pause_requested && !atomic_load(&vm->stop_requested))
        wait_changed(vm, nanoseconds);
    pthread_mutex_unlock(&vm->lock);
}

size_t vm_console_input(struct vm *vm, const void *data, size_t size)
{
    pthread_mutex_lock(&vm->lock);
    size_t room = sizeof vm->input - vm->input_count;
    size_t taken = size < room ? size : room;
    memcpy(vm->input + vm->input_count, data, taken);
    vm->input_count += (unsigned)taken;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
    if (taken)
        kick(vm);
    return taken;
}

/* --- Results --------------------------------------------------------------------------------------------------- */

enum vm_state vm_get_state(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    enum vm_state state = vm->state;
    pthread_mutex_unlock(&vm->lock);
    return state;
}

const struct vm_stop *vm_get_stop(const struct vm *vm)
{
    return &vm->stop;
}

void vm_get_statistics(struct vm *vm, struct run_statistics *run, struct exit_statistics *exits)
{
    struct vcpu *vcpu = &vm->vcpu;
    const struct mmu_stats *mmu = &vcpu->cpu.mmu.stats;
    struct engine_statistics engine = {0};
    vcpu->engine_operations->get_statistics(vcpu, &engine);
    *exits = vcpu->exits;
    *run = (struct run_statistics){
        .instructions = vcpu->engine_operations->instructions(vcpu),
        .user_instructions = vcpu->engine_operations->user_instructions(vcpu),
        .tlb_hits = mmu->tlb_hits,
        .tlb_misses = mmu->tlb_misses,
        .walks = mmu->walks,
        .guest_references = mmu->guest_references,
        .ept_references = mmu->ept_references,
        .page_faults = mmu->page_faults,
        .ept_violations = mmu->ept_violations,
        .ept_misconfigs = mmu->ept_misconfigs,
        .tlb_flushes = mmu->flushes,
        .ept_withdrawn = vm->withdrawn,
        .blocks_translated = engine.blocks_translated,
        .instructions_translated = engine.instructions_translated,
        .translation_cache_bytes = engine.code_cache_bytes,
        .translation_cache_flushes = engine.code_cache_flushes,
        .engine_entries = engine.entries,
        .exits_in_place = vcpu->exits_in_place,
        .exits_full = vcpu->exits_full,
        .interrupts_injected = vm->interrupts_injected,
        .exceptions_injected = vm->exceptions_injected,
        .simulated_cycles = vcpu_cycles(vcpu),
        .tsc_hz = vm->profile.tsc_hz,
        .host_seconds = vm->state == VM_STOPPED ? vm->host_seconds : seconds_since(&vm->started),
        .timing = vm->config.timing == TIMING_FAST ? "fast" : "detailed",
    };
    if (vm->trace) {
        run->trace_events = trace_writer_events(vm->trace);
        run->trace_bytes = trace_writer_bytes(vm->trace);
        run->trace_error = trace_writer_error(vm->trace);
    }
}
