/* The loop of VM entries and VM exits of one virtual processor. */
#include "sim/vcpu.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim/log.h"
#include "sim/vm_internal.h"

/* Vector of the simulated host's timer and inter-processor interrupts. */
#define HOST_TIMER_VECTOR 0xec

uint64_t vcpu_cycles(const struct vcpu *vcpu)
{
    return vcpu->engine_operations->instructions(vcpu) + vcpu->extra_cycles;
}

void vcpu_charge(struct vcpu *vcpu, uint64_t cycles)
{
    vcpu->extra_cycles += cycles;
    vcpu->engine_operations->advance(vcpu, cycles);
}

uint64_t vcpu_gpr(const struct vcpu *vcpu, unsigned gpr)
{
    return gpr == GPR_RSP ? vmcs_get(&vcpu->vmcs, VMCS_GUEST_RSP) : vcpu->cpu.state.gpr[gpr];
}

void vcpu_set_gpr(struct vcpu *vcpu, unsigned gpr, uint64_t value)
{
    if (gpr == GPR_RSP)
        vmcs_set(&vcpu->vmcs, VMCS_GUEST_RSP, value);
    else
        vcpu->cpu.state.gpr[gpr] = value;
}

/* --- Simulated time and boundaries
 * ---------------------------------------------------------------- */

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Instructions until a time in cycles, at one cycle each. */
static uint64_t instructions_at(const struct vcpu *vcpu, uint64_t cycles)
{
    return cycles == CLOCK_NEVER         ? UINT64_MAX
           : cycles > vcpu->extra_cycles ? cycles - vcpu->extra_cycles
                                         : 0;
}

static bool is_begun(const struct vcpu *vcpu)
{
    return vcpu_cycles(vcpu) == vcpu->begun_at && !vcpu->vm->feed.next;
}

static void set_deadline(struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;
    uint64_t limit = vm->config.max_instructions ? vm->config.max_instructions : UINT64_MAX;
    uint64_t deadline = instructions_at(vcpu, platform_next_deadline(vm->platform));
    deadline = earliest(deadline, instructions_at(vcpu, vcpu->cpu.vmx.preemption_deadline));
    deadline = earliest(deadline, limit);
    deadline = earliest(deadline, vm->withdraw_at);
    deadline = earliest(deadline, vm->progress_at);
    deadline = earliest(deadline, vm->debug.stop_at);
    deadline = earliest(deadline, instructions_at(vcpu, vm->debug.stop_at_time));
    deadline = earliest(deadline, vm_next_input(vm));
    deadline = earliest(deadline, vm->flip.at);
    deadline = earliest(deadline, vm->hash_at);
    uint64_t now = vcpu->engine_operations->instructions(vcpu);
    if (vmcs_get(&vcpu->vmcs, VMCS_PRIMARY_CONTROLS) & PRIMARY_MONITOR_TRAP_FLAG)
        deadline = earliest(deadline, now + 1);
    if (atomic_load(&vcpu->kicked))
        deadline = earliest(deadline, now + is_begun(vcpu));
    if (vcpu->event_raised || vm->stop.reason != VM_STOP_NONE)
        deadline = now;
    /* The engine's counter is signed. */
    vcpu->engine_operations->set_deadline(vcpu, earliest(deadline, now + (1ull << 62)));
}

static bool host_interrupt_is_due(const struct vcpu *vcpu, uint64_t instructions)
{
    const struct vm *vm = vcpu->vm;
    return vm->stop.reason != VM_STOP_NONE || vcpu->event_raised ||
           vcpu_cycles(vcpu) >= platform_next_deadline(vm->platform) ||
           (vm->config.max_instructions && instructions >= vm->config.max_instructions);
}

/* What the simulator's user asks for is none of the guest's business: no VM exit. It waits for the
 * next instruction if this one has been begun (fetched) already: a replay is to serve it at the same
 * place among the events. */
static void serve_user(struct vcpu *vcpu, uint64_t instructions)
{
    struct vm *vm = vcpu->vm;
    bool kicked = !is_begun(vcpu) && atomic_exchange(&vcpu->kicked, false);
    if (kicked || instructions >= vm->progress_at || instructions >= vm_next_input(vm))
        vm_serve_requests(vm);
}

bool vcpu_boundary(struct vcpu *vcpu)
{
    struct cpu *cpu = &vcpu->cpu;
    uint64_t instructions = vcpu->engine_operations->instructions(vcpu);
    serve_user(vcpu, instructions);
    if (instructions >= vcpu->vm->withdraw_at)
        vm_withdraw_ept(vcpu->vm, instructions);
    if (vmcs_get(cpu->vmcs, VMCS_PRIMARY_CONTROLS) & PRIMARY_MONITOR_TRAP_FLAG) {
        if (instructions > vcpu->entered_at) {
            vmx_exit_event(cpu, EXIT_MONITOR_TRAP_FLAG);
            return true;
        }
    } else if (vcpu_cycles(vcpu) >= cpu->vmx.preemption_deadline) {
        vmx_exit_event(cpu, EXIT_PREEMPTION_TIMER);
        return true;
    }
    if (host_interrupt_is_due(vcpu, instructions)) {
        bool exits = vmx_intercepts_external_interrupt(cpu, HOST_TIMER_VECTOR);
        assert(exits); /* the handler sets "external-interrupt exiting" */
        return exits;
    }
    set_deadline(vcpu);
    return false;
}

/* --- VM exits
 * ------------------------------------------------------------------------------------- */

static void count_exit(struct vcpu *vcpu, uint32_t cycles)
{
    const struct cpu *cpu = &vcpu->cpu;
    exit_statistics_add(&vcpu->exits, cpu->exit.reason, cycles);
    if (!trace_wants(vcpu->vm->sink, TRACE_EXIT))
        return;
    struct trace_event *record = &vcpu->record;
    *record = (struct trace_event){
        .type = TRACE_EXIT,
        .cpu = (uint16_t)vcpu->index,
        .instructions = vcpu->engine_operations->instructions(vcpu),
        .rip = cpu->state.rip,
        .exit =
            {
                .qualification = cpu->exit.qualification,
                .guest_linear_address = cpu->exit.guest_linear_address,
                .guest_physical_address = cpu->exit.guest_physical_address,
                .reason = cpu->exit.reason,
                .interruption_info = cpu->exit.interruption_info,
                .cycles = cycles,
            },
    };
    record->time = record->instructions + vcpu->extra_cycles;
}

static void write_record(struct vcpu *vcpu)
{
    if (trace_wants(vcpu->vm->sink, TRACE_EXIT))
        vcpu->vm->sink->event(vcpu->vm->sink, &vcpu->record);
}

/* What handlers may look at without a save of the whole guest state. */
static void store_light_state(struct vcpu *vcpu)
{
    const struct cpu_state *state = &vcpu->cpu.state;
    struct vmcs *vmcs = &vcpu->vmcs;
    vmcs_store(vmcs, VMCS_GUEST_RIP, state->rip);
    vmcs_store(vmcs, VMCS_GUEST_RSP, state->gpr[GPR_RSP]);
    vmcs_store(vmcs, VMCS_GUEST_RFLAGS, state->rflags);
    vmcs_store(vmcs, VMCS_GUEST_INTERRUPTIBILITY, state->interruptibility);
    vmcs_store(vmcs, VMCS_GUEST_PENDING_DEBUG, state->pending_debug);
}

static void load_light_state(struct vcpu *vcpu)
{
    struct cpu_state *state = &vcpu->cpu.state;
    const struct vmcs *vmcs = &vcpu->vmcs;
    state->rip = vmcs_get(vmcs, VMCS_GUEST_RIP);
    state->gpr[GPR_RSP] = vmcs_get(vmcs, VMCS_GUEST_RSP);
    state->rflags = vmcs_get(vmcs, VMCS_GUEST_RFLAGS);
    state->interruptibility = (uint32_t)vmcs_get(vmcs, VMCS_GUEST_INTERRUPTIBILITY);
    state->pending_debug = vmcs_get(vmcs, VMCS_GUEST_PENDING_DEBUG);
}

/* The handler has settled the exit, but is the guest to go on just so? */
static bool entry_is_needed(const struct vcpu *vcpu)
{
    return vcpu->vm->config.full_exits || (vcpu->vmcs.dirty & ~VMCS_DIRTY_RIP) ||
           vcpu->event_raised || vcpu->vm->stop.reason != VM_STOP_NONE;
}

enum vcpu_action vcpu_exit(struct vcpu *vcpu)
{
    struct cpu *cpu = &vcpu->cpu;
    uint32_t cycles = vcpu->exit_cycles;
    count_exit(vcpu, cycles);
    vcpu_charge(vcpu, cycles);
    bool delivering = cpu->delivery_in_progress;
    vmexit_record_information(cpu);
    vcpu->exit_settled = false;
    if (delivering || !exit_is_handled_in_place(cpu->exit.reason))
        return VCPU_LEAVE;

    store_light_state(vcpu);
    vcpu->vmcs.dirty = 0;
    vcpu->in_place = true;
    enum vcpu_action action = exit_handle(vcpu);
    vcpu->in_place = false;
    if (action == VCPU_LEAVE) /* not here: the handler wants the whole state */
        return VCPU_LEAVE;
    write_record(vcpu);
    load_light_state(vcpu);
    vcpu->exits_in_place++;
    if (!entry_is_needed(vcpu))
        return action;
    if (action == VCPU_ACCESS) {
        if (vcpu->vm->stop.reason == VM_STOP_NONE && !vcpu->vm->config.full_exits)
            return action; /* what else there is waits for the end of the instruction */
        vcpu->mmio_granted_at = vcpu->engine_operations->instructions(vcpu);
    }
    if (cpu->exit.reason == EXIT_EPT_VIOLATION && (cpu->exit.qualification & EPT_NMI_UNBLOCKED))
        cpu->state.interruptibility |= BLOCKING_BY_NMI; /* the IRET starts over */
    vcpu->exit_settled = true;
    return VCPU_LEAVE;
}

/* --- VM entries
 * ----------------------------------------------------------------------------------- */

static void set_primary_control(struct vmcs *vmcs, uint32_t control, bool on)
{
    uint64_t old = vmcs_get(vmcs, VMCS_PRIMARY_CONTROLS);
    uint64_t value = on ? old | control : old & ~(uint64_t)control;
    if (value != old)
        vmcs_set(vmcs, VMCS_PRIMARY_CONTROLS, value);
}

static void inject(struct vcpu *vcpu, enum event_type type, uint8_t vector)
{
    vmcs_set(&vcpu->vmcs, VMCS_ENTRY_INTERRUPTION_INFO,
             vector | (uint32_t)type << INTR_INFO_TYPE_SHIFT | INTR_INFO_VALID);
    vmcs_set(&vcpu->vmcs, VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    vcpu->vm->interrupts_injected++;
}

/* An event whose delivery the exit has interrupted is delivered again. */
static bool reinject(struct vcpu *vcpu)
{
    struct vmcs *vmcs = &vcpu->vmcs;
    uint32_t info = (uint32_t)vmcs_get(vmcs, VMCS_IDT_VECTORING_INFO);
    if (!(info & INTR_INFO_VALID) || vcpu->exit_settled)
        return false;
    vmcs_set(vmcs, VMCS_ENTRY_INTERRUPTION_INFO, info & ~INTR_INFO_NMI_UNBLOCK);
    if (info & INTR_INFO_ERROR_CODE)
        vmcs_set(vmcs, VMCS_ENTRY_EXCEPTION_ERROR_CODE,
                 vmcs_get(vmcs, VMCS_IDT_VECTORING_ERROR_CODE));
    vmcs_set(vmcs, VMCS_ENTRY_INSTRUCTION_LENGTH, vmcs_get(vmcs, VMCS_EXIT_INSTRUCTION_LENGTH));
    unsigned type = info >> INTR_INFO_TYPE_SHIFT & 7;
    if (type == EVENT_NMI) /* the injection blocks NMIs again */
        vmcs_set(vmcs, VMCS_GUEST_INTERRUPTIBILITY,
                 vmcs_get(vmcs, VMCS_GUEST_INTERRUPTIBILITY) & ~(uint64_t)BLOCKING_BY_NMI);
    return true;
}

/* Chooses the event to inject, or opens a window to be told when one can be injected. */
static void prepare_events(struct vcpu *vcpu)
{
    struct vmcs *vmcs = &vcpu->vmcs;
    uint32_t blocking = (uint32_t)vmcs_get(vmcs, VMCS_GUEST_INTERRUPTIBILITY);
    bool occupied =
        (vmcs_get(vmcs, VMCS_ENTRY_INTERRUPTION_INFO) & INTR_INFO_VALID) || reinject(vcpu);
    bool shadow = blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);

    if (vcpu->nmi_pending && !occupied && !shadow && !(blocking & BLOCKING_BY_NMI)) {
        inject(vcpu, EVENT_NMI, VECTOR_NMI);
        vcpu->nmi_pending = false;
        occupied = true;
    }
    set_primary_control(vmcs, PRIMARY_NMI_WINDOW_EXITING, vcpu->nmi_pending);

    bool wanted = platform_interrupt_pending(vcpu->vm->platform, vcpu->index);
    bool open = !occupied && !shadow && (vmcs_get(vmcs, VMCS_GUEST_RFLAGS) & RFLAGS_IF);
    if (wanted && open) {
        inject(vcpu, EVENT_EXTERNAL_INTERRUPT,
               platform_interrupt_acknowledge(vcpu->vm->platform, vcpu->index));
        wanted = platform_interrupt_pending(vcpu->vm->platform, vcpu->index);
    }
    /* A further interrupt waits for the window. */
    set_primary_control(vmcs, PRIMARY_INTERRUPT_WINDOW_EXITING, wanted);
    vcpu->event_raised = false;
}

static void explain_entry_failure(struct vcpu *vcpu, enum vmentry_status status)
{
    static struct vmentry_report report;
    vmentry_check(&vcpu->cpu, &report);
    for (unsigned i = 0; i < report.count; i++) {
        const struct vmentry_failure *failure = &report.failure[i];
        LOG_ERROR(LOG_VMX, "VM entry check failed: %s (%s = 0x%llx; SDM \"%s\")", failure->text,
                  vmcs_field_name(failure->field), (unsigned long long)failure->value,
                  failure->section);
    }
    vm_set_stop(
        vcpu->vm, VM_STOP_ENTRY_FAILURE, 0,
        "VM entry failed (status %d, VM-instruction error %llu): %u checks did not hold%s%s",
        (int)status, (unsigned long long)vmcs_get(&vcpu->vmcs, VMCS_VM_INSTRUCTION_ERROR),
        report.count, report.count ? "; the first: " : "",
        report.count ? report.failure[0].text : "");
}

/* Back in VMX root operation, with the guest's state in the VMCS. */
static void complete_exit(struct vcpu *vcpu)
{
    uint64_t pending_debug = vcpu->cpu.state.pending_debug;
    bool saved = vmexit_save_guest_state(&vcpu->cpu) && vmexit_load_host_state(&vcpu->cpu);
    if (!saved)
        vm_set_stop(vcpu->vm, VM_STOP_ENTRY_FAILURE, 0, "VMX abort %u", vcpu->vmcs.abort_indicator);
    vcpu->exits_full++;
    if (vcpu->exit_settled) {
        /* It was settled before: what the handler left pending is the guest's by now. */
        if (pending_debug)
            vmcs_set(&vcpu->vmcs, VMCS_GUEST_PENDING_DEBUG, pending_debug);
        return;
    }
    exit_handle(vcpu);
    write_record(vcpu);
}

static void record_injection(const struct vcpu *vcpu)
{
    const struct vmcs *vmcs = &vcpu->vmcs;
    uint32_t info = (uint32_t)vmcs_get(vmcs, VMCS_ENTRY_INTERRUPTION_INFO);
    if (!(info & INTR_INFO_VALID) || !trace_wants(vcpu->vm->sink, TRACE_INJECTION))
        return;
    const struct trace_event event = {
        .type = TRACE_INJECTION,
        .cpu = (uint16_t)vcpu->index,
        .instructions = vcpu->engine_operations->instructions(vcpu),
        .time = vcpu_cycles(vcpu),
        .rip = vmcs_get(vmcs, VMCS_GUEST_RIP),
        .injection = {info, info & INTR_INFO_ERROR_CODE
                                ? (uint32_t)vmcs_get(vmcs, VMCS_ENTRY_EXCEPTION_ERROR_CODE)
                                : 0},
    };
    vcpu->vm->sink->event(vcpu->vm->sink, &event);
}

static int enter_and_run(struct vcpu *vcpu)
{
    prepare_events(vcpu);
    record_injection(vcpu);
    enum vmentry_status status = vmentry(&vcpu->cpu, !vcpu->vmcs.launched);
    vcpu->exit_settled = false;
    if (status == VMENTRY_EXIT) { /* the injected event's delivery exits */
        vcpu_exit(vcpu);
        return 0;
    }
    if (status != VMENTRY_OK) {
        explain_entry_failure(vcpu, status);
        return 0;
    }
    vcpu->entered_at = vcpu->engine_operations->instructions(vcpu);
    set_deadline(vcpu);
    return vcpu->engine_operations->run(vcpu);
}

int vcpu_run(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    while (vm->stop.reason == VM_STOP_NONE) {
        int error = enter_and_run(vcpu);
        if (error) {
            vm_set_stop(vm, VM_STOP_ENGINE_ERROR, 0, "%s", vcpu->engine_message);
            return error;
        }
        if (vcpu->cpu.non_root)
            complete_exit(vcpu);
    }
    return 0;
}
