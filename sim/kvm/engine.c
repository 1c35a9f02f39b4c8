/* The KVM engine: creation, running, and leaving. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/msr.h"
#include "sim/kvm/kvm.h"
#include "sim/kvm/probe.h"
#include "sim/log.h"
#include "sim/vm_internal.h"

static void engine_destroy(struct vcpu *vcpu)
{
    struct kvm_engine *engine = vcpu->engine;
    if (!engine)
        return;
    if (engine->run)
        munmap(engine->run, engine->run_size);
    const int files[] = {engine->cpu, engine->vm, engine->device};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i] >= 0)
            close(files[i]);
    free(engine);
    vcpu->engine = NULL;
}

/* The guest-physical slots of the VM are KVM's, with the same memory behind them. */
static int add_memory(struct kvm_engine *engine, char *message, size_t size)
{
    const struct guest_memory *memory = &engine->vcpu->vm->memory;
    unsigned number = 0;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct memory_slot *slot = &memory->slots[i];
        if (slot->kind == SLOT_MMIO)
            continue;
        struct kvm_userspace_memory_region region = {
            .slot = number++,
            .flags = slot->kind == SLOT_ROM ? KVM_MEM_READONLY : 0,
            .guest_phys_addr = slot->gpa,
            .memory_size = slot->size,
            .userspace_addr = (uintptr_t)physmem_at(memory->physmem, slot->hpa),
        };
        if (ioctl(engine->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0)
            continue;
        int error = errno;
        snprintf(message, size, "backend kvm: %llu MiB of memory at 0x%llx cannot be had: %s",
                 (unsigned long long)slot->size >> 20, (unsigned long long)slot->gpa,
                 strerror(error));
        return -error;
    }
    return 0;
}

/* All probes only if somebody reads about them. */
static void describe_kvm(void)
{
    char lacks[256];
    if (LOG_LEVEL_INFO < log_threshold[LOG_ENGINE])
        return;
    kvm_explain(lacks, sizeof lacks);
    LOG_INFO(LOG_ENGINE, "KVM is of kind %s%s", kvm_identity() ? kvm_identity()->environment : "?",
             lacks);
}

static int engine_create(struct vcpu *vcpu, char *message, size_t size)
{
    struct kvm_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return -ENOMEM;
    vcpu->engine = engine;
    engine->vcpu = vcpu;
    engine->cpu = engine->vm = engine->device = -1;
    int error = kvm_open(&engine->device, &engine->vm, message, size);
    if (!error)
        error = add_memory(engine, message, size);
    if (!error)
        error = kvm_create_processor(engine->device, engine->vm, 0, &engine->cpu, &engine->run,
                                     &engine->run_size, message, size);
    if (error)
        engine_destroy(vcpu);
    else
        describe_kvm();
    return error;
}

/* Simulated time and the guest's TSC start together. */
static void start_tsc(struct kvm_engine *engine)
{
    const struct kvm_identity *kvm = kvm_identity();
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } tsc = {{.nmsrs = 1}, {.index = MSR_TSC}};
    if (kvm && kvm->tsc_scaling)
        ioctl(engine->cpu, KVM_SET_TSC_KHZ, engine->vcpu->vm->profile.tsc_hz / 1000);
    ioctl(engine->cpu, KVM_SET_MSRS, &tsc);
}

/* The first VM entry has been checked and performed by the processor model: KVM takes the state
 * over as the guest sees it. CPUID and MSRs depend on what is set up after create. */
static int start(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    struct cpu_state *state = &vcpu->cpu.state;
    state->cr0 = vmx_guest_visible_cr0(&vcpu->cpu);
    state->cr4 = vmx_guest_visible_cr4(&vcpu->cpu);
    int error = kvm_set_cpuid(engine, vcpu->engine_message, sizeof vcpu->engine_message);
    if (!error)
        error = kvm_filter_msrs(engine, vcpu->engine_message, sizeof vcpu->engine_message);
    if (error)
        return error;
    start_tsc(engine);
    error = kvm_push_state(engine);
    if (!error)
        error = kvm_events_start(engine);
    if (error)
        snprintf(vcpu->engine_message, sizeof vcpu->engine_message,
                 "KVM does not take the guest's initial state: %s", strerror(-error));
    return error;
}

/* One entry and the exit that ends it. */
static int enter(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    if (!engine->exit_again) {
        kvm_prepare_events(engine);
        if (vcpu->vm->stop.reason != VM_STOP_NONE)
            return 0;
        engine->entries++;
        uint64_t cr8 = engine->run->cr8;
        int result = ioctl(engine->cpu, KVM_RUN, 0);
        int error = errno;
        kvm_update_clock(engine);
        kvm_pull_registers(engine);
        engine->injected = false;
        if (engine->run->cr8 != cr8)
            platform_write_cr8(vcpu->vm->platform, vcpu->index, engine->run->cr8);
        if (result < 0 && (error == EINTR || error == EAGAIN)) {
            kvm_handle_interruption(engine);
            return 0;
        }
        if (result < 0) {
            snprintf(vcpu->engine_message, sizeof vcpu->engine_message,
                     "KVM cannot run the guest at RIP 0x%llx: %s",
                     (unsigned long long)vcpu->cpu.state.rip, strerror(error));
            return -error;
        }
    }
    int error = kvm_handle_exit(engine);
    kvm_pull_registers(engine);
    return error;
}

/* The guest has stopped: its state goes where the VM handler keeps that of a guest that does not
 * run, with what the guest must not change in CR0 and CR4 behind the read shadows. */
static void finish(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    struct cpu_state *state = &vcpu->cpu.state;
    kvm_events_stop(engine);
    kvm_pull_state(engine);
    vmcs_set(&vcpu->vmcs, VMCS_CR0_READ_SHADOW, state->cr0);
    vmcs_set(&vcpu->vmcs, VMCS_CR4_READ_SHADOW, state->cr4);
    state->cr0 = (state->cr0 & ~(CR0_CD | CR0_NW)) | CR0_NE;
    state->cr4 |= CR4_VMXE;
    vcpu->exit_settled = true;
}

/* Returns when the guest has stopped: every exit is settled here. */
static int engine_run(struct vcpu *vcpu)
{
    struct kvm_engine *engine = vcpu->engine;
    int error = start(engine);
    if (error)
        return error;
    while (!error && vcpu->vm->stop.reason == VM_STOP_NONE)
        error = enter(engine);
    finish(engine);
    return error;
}

/* KVM counts none: those of single steps. */
static uint64_t engine_instructions(const struct vcpu *vcpu)
{
    const struct kvm_engine *engine = vcpu->engine;
    return engine->instructions;
}

static uint64_t engine_user_instructions(const struct vcpu *vcpu)
{
    return 0;
}

/* The exit has brought what KVM shares with it. */
static void engine_pull(struct vcpu *vcpu)
{
    kvm_pull_state(vcpu->engine);
}

static void engine_push(struct vcpu *vcpu)
{
    int error = kvm_push_state(vcpu->engine);
    if (error)
        LOG_ERROR(LOG_ENGINE, "KVM does not take the registers: %s", strerror(-error));
}

/* Time is the host's: it passes by itself, and deadlines are looked at before every entry. */
static void engine_set_deadline(struct vcpu *vcpu, uint64_t instructions)
{
}

static void engine_advance(struct vcpu *vcpu, uint64_t instructions)
{
}

static void engine_retire(struct vcpu *vcpu)
{
}

/* EPT is the kernel's. */
static void engine_flush_tlb(struct vcpu *vcpu)
{
}

static void engine_flush_code(struct vcpu *vcpu)
{
}

static void engine_get_statistics(const struct vcpu *vcpu, struct engine_statistics *statistics)
{
    const struct kvm_engine *engine = vcpu->engine;
    *statistics = (struct engine_statistics){.entries = engine->entries};
}

/* --- What the guest can know of the machine -----------------------------------------------------
 */

#define LEAF_TSC       0x15u
#define LEAF_FREQUENCY 0x16u

/* Where the TSC cannot be scaled the guest's runs as fast as the host's: the profile says so. */
static void engine_adjust_profile(struct cpu_profile *profile)
{
    const struct kvm_identity *kvm = kvm_identity();
    if (!kvm || !kvm->tsc_khz || kvm->tsc_scaling)
        return;
    LOG_INFO(LOG_ENGINE, "the guest's TSC has %u kHz, as the host's, not the profile's %llu",
             kvm->tsc_khz, (unsigned long long)profile->tsc_hz / 1000);
    profile->tsc_hz = kvm->tsc_khz * 1000ull;
    for (unsigned i = 0; i < profile->cpuid_count; i++) {
        struct cpuid_leaf *leaf = &profile->cpuid[i];
        if (leaf->leaf == LEAF_TSC && leaf->ebx) { /* TSC = crystal * EBX / EAX */
            leaf->eax = profile->crystal_hz / 1000;
            leaf->ebx = kvm->tsc_khz;
        } else if (leaf->leaf == LEAF_FREQUENCY) {
            leaf->eax = kvm->tsc_khz / 1000;
        }
    }
}

static const char *engine_environment(void)
{
    const struct kvm_identity *kvm = kvm_identity();
    return kvm ? kvm->environment : NULL;
}

const struct engine_operations kvm_engine = {
    .name = "kvm",
    .create = engine_create,
    .destroy = engine_destroy,
    .run = engine_run,
    .kick = kvm_kick,
    .instructions = engine_instructions,
    .user_instructions = engine_user_instructions,
    .set_deadline = engine_set_deadline,
    .advance = engine_advance,
    .retire = engine_retire,
    .flush_tlb = engine_flush_tlb,
    .pull = engine_pull,
    .push = engine_push,
    .flush_code = engine_flush_code,
    .get_statistics = engine_get_statistics,
    .adjust_profile = engine_adjust_profile,
    .environment = engine_environment,
};
