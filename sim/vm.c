/* The VM handler: life cycle, requests of other threads, results. Creation is in vm_create.c. */
#include "sim/vm.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/log.h"
#include "sim/state_hash.h"
#include "sim/vm_internal.h"

const char *vm_state_name(enum vm_state state)
{
    static const char *const names[] = {"created", "running", "paused", "stopped"};
    return names[state];
}

/* --- Services for the other files of sim/
 * --------------------------------------------------------------- */

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
    vm_reconsider(vm);
}

void vm_reconsider(struct vm *vm)
{
    const struct engine_operations *engine = vm->vcpu.engine_operations;
    if (vm->vcpu.engine)
        engine->set_deadline(&vm->vcpu, engine->instructions(&vm->vcpu));
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

/* --- The end ---------------------------------------------------------------------------------- */

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

/* --- Running
 * --------------------------------------------------------------------------------------------------
 */

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

static void record_end(struct vm *vm)
{
    const struct vcpu *vcpu = &vm->vcpu;
    const struct trace_event event = {
        .type = TRACE_END,
        .instructions = vcpu->engine_operations->instructions(vcpu),
        .time = vcpu_cycles(vcpu),
        .rip = vmcs_get(&vcpu->vmcs, VMCS_GUEST_RIP),
        .end = {.reason = vm->stop.reason, .status = (uint32_t)vm->stop.guest_status},
    };

    if (trace_wants(vm->sink, TRACE_END))
        vm->sink->event(vm->sink, &event);
    if (vm->sink && vm->sink->finish)
        vm->sink->finish(vm->sink);
}

int vm_attach_sink(struct vm *vm, struct trace_sink *sink)
{
    if (vm->sink)
        return -EBUSY;
    vm->sink = sink;
    return 0;
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
    state_hash_begin(vm);
    int error = vcpu_run(&vm->vcpu);
    state_hash_end(vm);
    record_end(vm);
    vm_debug_end(vm);
    vm->host_seconds = seconds_since(&vm->started);

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
        set_state(vm, VM_RUNNING);
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

/* --- Inputs: from outside, recorded; or from a recording -------------------------------------- */

static void record_input(struct vm *vm, enum trace_input_kind kind, const void *data, size_t size)
{
    const struct vcpu *vcpu = &vm->vcpu;
    struct trace_event event = {
        .type = TRACE_INPUT,
        .instructions = vcpu->engine_operations->instructions(vcpu),
        .time = vcpu_cycles(vcpu),
        .rip = 0,
        .input = {.kind = kind},
    };

    if (!trace_wants(vm->sink, TRACE_INPUT))
        return;
    do {
        event.input.size = (uint8_t)(size < TRACE_INPUT_MAX ? size : TRACE_INPUT_MAX);
        if (event.input.size)
            memcpy(event.input.data, data, event.input.size);
        vm->sink->event(vm->sink, &event);
        data = (const uint8_t *)data + event.input.size;
        size -= event.input.size;
    } while (size);
}

static void type_on_console(struct vm *vm)
{
    size_t taken = platform_console_input(vm->platform, vm->input, vm->input_count);

    if (!taken)
        return;
    record_input(vm, TRACE_INPUT_CONSOLE, vm->input, taken);
    vm->input_count -= (unsigned)taken;
    memmove(vm->input, vm->input + taken, vm->input_count);
}

static void stop_on_request(struct vm *vm)
{
    if (vm->stop.reason == VM_STOP_NONE)
        record_input(vm, TRACE_INPUT_STOP, NULL, 0);
    vm_set_stop(vm, VM_STOP_REQUESTED, 0, "stopped on request");
}

static void fetch_input(struct vm *vm)
{
    vm->feed.pending = vm->feed.next(vm->feed.context, &vm->feed.input);
}

void vm_feed_inputs(struct vm *vm, bool (*next)(void *context, struct trace_event *input),
                    void *context)
{
    vm->feed.next = next;
    vm->feed.context = context;
    fetch_input(vm);
}

uint64_t vm_next_input(const struct vm *vm)
{
    return vm->feed.pending ? vm->feed.input.instructions : UINT64_MAX;
}

/* Several processors do not share a count: a recorded input is due when both have come. */
static bool input_is_due(const struct vm *vm)
{
    const struct vcpu *vcpu = &vm->vcpu;

    return vm->feed.pending &&
           vcpu->engine_operations->instructions(vcpu) >= vm->feed.input.instructions &&
           vcpu_cycles(vcpu) >= vm->feed.input.time;
}

static void serve_recorded(struct vm *vm)
{
    while (input_is_due(vm)) {
        const struct trace_input *input = &vm->feed.input.input;

        if (input->kind == TRACE_INPUT_STOP) {
            stop_on_request(vm);
        } else {
            size_t taken = platform_console_input(vm->platform, input->data, input->size);

            record_input(vm, TRACE_INPUT_CONSOLE, input->data, taken);
        }
        fetch_input(vm);
    }
}

static void serve_pause(struct vm *vm)
{
    while (vm->pause_requested && !atomic_load(&vm->stop_requested)) {
        if (vm->state != VM_PAUSED) /* perhaps again: resumed and paused before we woke up */
            set_state(vm, VM_PAUSED);
        wait_changed(vm, STOP_POLL_NANOSECONDS);
    }
    if (vm->state == VM_PAUSED) /* stopped while paused */
        set_state(vm, VM_RUNNING);
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
    serve_pause(vm);
    if (vm->feed.next)
        serve_recorded(vm);
    else if (vm->input_count)
        type_on_console(vm);
    pthread_mutex_unlock(&vm->lock);
    if (atomic_load(&vm->stop_requested)) /* of a replay too: it ends there */
        stop_on_request(vm);
}

void vm_set_interactive(struct vm *vm, bool interactive)
{
    atomic_store(&vm->interactive, interactive);
}

/* A waiting guest of a replay is woken by the input that is due at this very instruction. */
bool vm_has_input(struct vm *vm)
{
    const struct vcpu *vcpu = &vm->vcpu;

    if (vm->feed.next)
        return vm_next_input(vm) <= vcpu->engine_operations->instructions(vcpu);
    return atomic_load(&vm->interactive);
}

/*
 * While the guest waits, its time may pass at once; but a person at the console lives in real time,
 * and a waiting guest should not keep the host busy.
 */
void vm_wait_idle(struct vm *vm, uint64_t nanoseconds)
{
    if (vm->feed.next || !vm_has_input(vm))
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
    if (size) /* also when nothing fits: what is there must move on */
        kick(vm);
    return taken;
}

/* --- Results
 * ---------------------------------------------------------------------------------------------------
 */

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
