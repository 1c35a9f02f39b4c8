/*
 * The VM handler's answer to each VM exit.
 *
 * Most handlers run in place: the processor still holds the guest's state, and they see RIP, RSP,
 * RFLAGS and interruptibility in the VMCS, and all other registers and guest memory in vcpu->cpu.
 * The others run after the guest's state has been saved and the host's loaded, and see all of the
 * VMCS.
 */
#include <stdio.h>

#include "cpu/breakpoints.h"
#include "cpu/cpuid.h"
#include "cpu/modes.h"
#include "cpu/msr.h"
#include "sim/exits_cr.h"
#include "sim/io_emulation.h"
#include "sim/log.h"
#include "sim/vm_internal.h"

#define PENDING_DEBUG_BREAKPOINT (1ull << 12)
#define PENDING_DEBUG_BS         (1ull << 14)

/* --- What handlers do
 * -------------------------------------------------------------------------------- */

/* The single-step trap behind what the handler has performed is the handler's to arrange. */
static void pend_single_step(struct vmcs *vmcs)
{
    if ((vmcs_get(vmcs, VMCS_GUEST_RFLAGS) & RFLAGS_TF) &&
        !(vmcs_get(vmcs, VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
        vmcs_set(vmcs, VMCS_GUEST_PENDING_DEBUG,
                 vmcs_get(vmcs, VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

void vcpu_skip_instruction(struct vcpu *vcpu)
{
    struct vmcs *vmcs = &vcpu->vmcs;
    uint64_t rip = vmcs_get(vmcs, VMCS_GUEST_RIP) + vmcs_get(vmcs, VMCS_EXIT_INSTRUCTION_LENGTH);
    if (!(vmcs_get(vmcs, VMCS_GUEST_RIP) >> 32) && rip >> 32)
        rip = (uint32_t)rip; /* outside 64-bit mode EIP wraps; in it, code does not end there */
    vmcs_set(vmcs, VMCS_GUEST_RIP, rip);
    pend_single_step(vmcs);
    if (!vcpu->in_place) /* there the engine counts */
        vcpu->engine_operations->retire(vcpu);
    uint64_t blocking = vmcs_get(vmcs, VMCS_GUEST_INTERRUPTIBILITY);
    if (blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS))
        vmcs_store(vmcs, VMCS_GUEST_INTERRUPTIBILITY,
                   blocking & ~(uint64_t)(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS));
}

void vcpu_inject_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error_code)
{
    struct vmcs *vmcs = &vcpu->vmcs;
    bool has_error = vector_has_error_code(vector) && (vmcs_get(vmcs, VMCS_GUEST_CR0) & CR0_PE);
    vmcs_set(vmcs, VMCS_ENTRY_INTERRUPTION_INFO,
             vector | EVENT_HARDWARE_EXCEPTION << INTR_INFO_TYPE_SHIFT | INTR_INFO_VALID |
                 (has_error ? INTR_INFO_ERROR_CODE : 0));
    vmcs_set(vmcs, VMCS_ENTRY_EXCEPTION_ERROR_CODE, has_error ? error_code : 0);
    vcpu->vm->exceptions_injected++;
}

static enum vcpu_action done(struct vcpu *vcpu)
{
    vcpu_skip_instruction(vcpu);
    return VCPU_RESUME;
}

static enum vcpu_action fault(struct vcpu *vcpu, uint8_t vector)
{
    vcpu_inject_exception(vcpu, vector, 0);
    return VCPU_RESUME;
}

static enum vcpu_action unhandled(struct vcpu *vcpu)
{
    const struct vmcs *vmcs = &vcpu->vmcs;
    vm_set_stop(vcpu->vm, VM_STOP_UNHANDLED_EXIT, 0,
                "VM exit %s at RIP 0x%llx cannot be handled (qualification 0x%llx)",
                exit_reason_name((uint32_t)vmcs_get(vmcs, VMCS_EXIT_REASON)),
                (unsigned long long)vmcs_get(vmcs, VMCS_GUEST_RIP),
                (unsigned long long)vmcs_get(vmcs, VMCS_EXIT_QUALIFICATION));
    return VCPU_RESUME;
}

/* --- In place
 * ---------------------------------------------------------------------------------------- */

static enum vcpu_action handle_cpuid(struct vcpu *vcpu)
{
    const uint64_t *gpr = vcpu->cpu.state.gpr;
    vcpu->record.exit.operand = (uint32_t)gpr[GPR_RAX] | gpr[GPR_RCX] << 32;
    cpuid_execute(&vcpu->cpu);
    vcpu->record.exit.value = gpr[GPR_RAX];
    return done(vcpu);
}

static enum vcpu_action handle_rdmsr(struct vcpu *vcpu)
{
    uint64_t *gpr = vcpu->cpu.state.gpr, value;
    vcpu->record.exit.operand = (uint32_t)gpr[GPR_RCX];
    if (!cpu_msr_read(&vcpu->cpu, (uint32_t)gpr[GPR_RCX], &value)) {
        LOG_DEBUG(LOG_CPU, "RDMSR 0x%x: #GP", (unsigned)gpr[GPR_RCX]);
        return fault(vcpu, VECTOR_GP);
    }
    gpr[GPR_RAX] = (uint32_t)value;
    gpr[GPR_RDX] = value >> 32;
    vcpu->record.exit.value = value;
    return done(vcpu);
}

static enum vcpu_action handle_wrmsr(struct vcpu *vcpu)
{
    const uint64_t *gpr = vcpu->cpu.state.gpr;
    uint64_t value = (uint32_t)gpr[GPR_RAX] | gpr[GPR_RDX] << 32;
    vcpu->record.exit.operand = (uint32_t)gpr[GPR_RCX];
    vcpu->record.exit.value = value;
    if (!cpu_msr_write(&vcpu->cpu, (uint32_t)gpr[GPR_RCX], value)) {
        LOG_DEBUG(LOG_CPU, "WRMSR 0x%x = 0x%llx: #GP", (unsigned)gpr[GPR_RCX],
                  (unsigned long long)value);
        return fault(vcpu, VECTOR_GP);
    }
    return done(vcpu);
}

/* The access that the exit qualification and, for strings, the instruction information describe. */
static struct io_access described_access(const struct vcpu *vcpu)
{
    const struct vmcs *vmcs = &vcpu->vmcs;
    uint64_t qualification = vmcs_get(vmcs, VMCS_EXIT_QUALIFICATION);
    uint32_t info = (uint32_t)vmcs_get(vmcs, VMCS_EXIT_INSTRUCTION_INFO);
    return (struct io_access){
        .port = (uint16_t)(qualification >> 16),
        .size = (uint8_t)((qualification & 7) + 1),
        .in = qualification >> 3 & 1,
        .string = qualification >> 4 & 1,
        .rep = qualification >> 5 & 1,
        .immediate = qualification >> 6 & 1,
        .address_size = (uint8_t)(2 << (info >> 7 & 7)),
        .segment = (uint8_t)(info >> 15 & 7),
        .linear = vmcs_get(vmcs, VMCS_GUEST_LINEAR_ADDRESS),
    };
}

/* Breakpoints on ports are met by what the handler performs. */
static void pend_io_breakpoints(struct vcpu *vcpu, const struct io_access *access)
{
    struct vmcs *vmcs = &vcpu->vmcs;
    unsigned met = breakpoints_met(&vcpu->cpu.state, BREAKPOINT_IO, access->port, access->size);
    if (met)
        vmcs_set(vmcs, VMCS_GUEST_PENDING_DEBUG,
                 vmcs_get(vmcs, VMCS_GUEST_PENDING_DEBUG) | met | PENDING_DEBUG_BREAKPOINT);
}

static enum vcpu_action handle_io(struct vcpu *vcpu)
{
    struct io_access access = described_access(vcpu);
    struct mmu_fault fault;
    bool again;
    vcpu->record.exit.value = vcpu->cpu.state.gpr[GPR_RAX];
    enum mmu_status status = io_emulate(&vcpu->cpu, vm_bus(vcpu->vm), &access, &again, &fault);
    if (status == MMU_PAGE_FAULT) {
        vcpu->cpu.state.cr2 = fault.linear;
        vcpu_inject_exception(vcpu, VECTOR_PF, fault.error_code);
        return VCPU_RESUME;
    }
    if (status) {
        if (vm_map_page(vcpu->vm, fault.gpa))
            return unhandled(vcpu);
        return VCPU_RESUME; /* once more, with the operand mapped */
    }
    if (access.in)
        vcpu->record.exit.value = vcpu->cpu.state.gpr[GPR_RAX];
    pend_io_breakpoints(vcpu, &access);
    if (!again)
        return done(vcpu);
    pend_single_step(&vcpu->vmcs); /* a repetition is a step */
    return VCPU_RESUME;
}

static enum vcpu_action handle_ept_violation(struct vcpu *vcpu)
{
    const struct vmcs *vmcs = &vcpu->vmcs;
    uint64_t gpa = vmcs_get(vmcs, VMCS_GUEST_PHYSICAL_ADDRESS);
    uint64_t qualification = vmcs_get(vmcs, VMCS_EXIT_QUALIFICATION);
    const struct memory_slot *slot = guest_memory_find(&vcpu->vm->memory, gpa);
    bool ram = slot && slot->kind != SLOT_MMIO;
    if ((qualification & EPT_NMI_UNBLOCKED) && !vcpu->in_place) /* the IRET starts over */
        vmcs_store(&vcpu->vmcs, VMCS_GUEST_INTERRUPTIBILITY,
                   vmcs_get(vmcs, VMCS_GUEST_INTERRUPTIBILITY) | BLOCKING_BY_NMI);
    if (ram && (slot->kind == SLOT_RAM || !(qualification & 2))) {
        int error = vm_map_page(vcpu->vm, gpa);
        if (error)
            vm_set_stop(vcpu->vm, VM_STOP_UNHANDLED_EXIT, 0,
                        "no memory is left for EPT tables (guest-physical 0x%llx)",
                        (unsigned long long)gpa);
        return VCPU_RESUME;
    }
    if (qualification & 4) {
        vm_set_stop(vcpu->vm, VM_STOP_UNHANDLED_EXIT, 0,
                    "the guest executes at guest-physical 0x%llx (RIP 0x%llx), where there is no "
                    "memory",
                    (unsigned long long)gpa, (unsigned long long)vmcs_get(vmcs, VMCS_GUEST_RIP));
        return VCPU_RESUME;
    }
    return VCPU_ACCESS;
}

static void write_console(void *context, const void *data, size_t size)
{
    struct vm *vm = context;
    if (vm->callbacks.console_write)
        vm->callbacks.console_write(vm->context, data, size);
}

static enum vcpu_action handle_vmcall(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    const struct cpu_state *state = &vcpu->cpu.state;
    struct hypercall_context context = {
        .gpr = vcpu->cpu.state.gpr,
        .cpl = cpu_cpl(&vcpu->cpu),
        .mode64 = cpu_64bit(&vcpu->cpu),
        .memory = &vm->memory,
        .bus = vm_bus(vm),
        .shared = &vm->shares,
        .console_write = write_console,
        .context = vm,
    };
    vcpu->record.exit.operand = state->gpr[GPR_RAX];
    vcpu->record.exit.value = (uint64_t)hypercall_perform(&context);
    return done(vcpu);
}

static enum vcpu_action handle_undefined(struct vcpu *vcpu)
{
    return fault(vcpu, VECTOR_UD);
}

static enum vcpu_action handle_protected(struct vcpu *vcpu)
{
    return fault(vcpu, VECTOR_GP);
}

/* Nothing is cached that could be lost or written back. */
static enum vcpu_action handle_nothing(struct vcpu *vcpu)
{
    return done(vcpu);
}

/* The processor has checked CPL and OSXSAVE; the value is the handler's to check. */
static enum vcpu_action handle_xsetbv(struct vcpu *vcpu)
{
    struct cpu *cpu = &vcpu->cpu;
    const uint64_t *gpr = cpu->state.gpr;
    uint64_t value = (uint32_t)gpr[GPR_RAX] | gpr[GPR_RDX] << 32;
    if ((uint32_t)gpr[GPR_RCX] != 0 || !(value & 1) || (value & ~cpu->profile->xcr0_allowed))
        return fault(vcpu, VECTOR_GP);
    cpu->state.xcr0 = value;
    cpu->changed |= CPU_CHANGED_XCR0;
    return done(vcpu);
}

/* --- With the guest's state saved
 * -------------------------------------------------------------------- */

static enum vcpu_action handle_external_interrupt(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint64_t instructions = vcpu->engine_operations->instructions(vcpu);
    platform_run_timers(vm->platform);
    if (vm->config.max_instructions && instructions >= vm->config.max_instructions)
        vm_set_stop(vm, VM_STOP_INSTRUCTION_LIMIT, 0, "the limit of %llu instructions is reached",
                    (unsigned long long)vm->config.max_instructions);
    return VCPU_RESUME;
}

/* Events are chosen before every VM entry: the exit itself is all that was wanted. */
static enum vcpu_action handle_window(struct vcpu *vcpu)
{
    return VCPU_RESUME;
}

static bool wakes(const struct vcpu *vcpu)
{
    return platform_interrupt_pending(vcpu->vm->platform, vcpu->index) || vcpu->nmi_pending;
}

/* The processor waits: simulated time goes on to the next event of a device. */
static enum vcpu_action handle_hlt(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct vmcs *vmcs = &vcpu->vmcs;
    vcpu_skip_instruction(vcpu);
    if (vmcs_get(vmcs, VMCS_GUEST_PENDING_DEBUG) & PENDING_DEBUG_BS)
        return VCPU_RESUME; /* the trap ends the halt at once */
    if (!(vmcs_get(vmcs, VMCS_GUEST_RFLAGS) & RFLAGS_IF) && !vcpu->nmi_pending) {
        vm_set_stop(vm, VM_STOP_HALTED, 0,
                    "the guest halted with interrupts disabled at RIP 0x%llx",
                    (unsigned long long)vmcs_get(vmcs, VMCS_GUEST_RIP));
        return VCPU_RESUME;
    }
    while (!wakes(vcpu) && vm->stop.reason == VM_STOP_NONE) {
        uint64_t now = vcpu_cycles(vcpu), next = platform_next_deadline(vm->platform);
        if (next == CLOCK_NEVER && !vm_has_input(vm)) {
            vm_set_stop(vm, VM_STOP_HALTED, 0, "the guest halted and no device will ever wake it");
            break;
        }
        vm_wait_idle(vm, next == CLOCK_NEVER ? UINT64_MAX
                         : next > now        ? vm_cycles_to_nanoseconds(vm, next - now)
                                             : 0);
        if (next != CLOCK_NEVER && next > now)
            vcpu_charge(vcpu, next - now);
        platform_run_timers(vm->platform);
        vm_serve_requests(vm);
    }
    return VCPU_RESUME;
}

static enum vcpu_action handle_triple_fault(struct vcpu *vcpu)
{
    const struct vmcs *vmcs = &vcpu->vmcs;
    vm_set_stop(vcpu->vm, VM_STOP_TRIPLE_FAULT, 0,
                "triple fault at RIP 0x%llx, RSP 0x%llx, CR2 0x%llx, CR3 0x%llx",
                (unsigned long long)vmcs_get(vmcs, VMCS_GUEST_RIP),
                (unsigned long long)vmcs_get(vmcs, VMCS_GUEST_RSP),
                (unsigned long long)vcpu->cpu.state.cr2,
                (unsigned long long)vmcs_get(vmcs, VMCS_GUEST_CR3));
    return VCPU_RESUME;
}

/* --- The table
 * --------------------------------------------------------------------------------------- */

struct exit_handler {
    enum vcpu_action (*handle)(struct vcpu *vcpu);
    bool in_place;
};

static const struct exit_handler handlers[EXIT_REASON_COUNT] = {
    [EXIT_EXTERNAL_INTERRUPT] = {handle_external_interrupt, false},
    [EXIT_TRIPLE_FAULT] = {handle_triple_fault, false},
    [EXIT_INTERRUPT_WINDOW] = {handle_window, false},
    [EXIT_NMI_WINDOW] = {handle_window, false},
    [EXIT_CPUID] = {handle_cpuid, true},
    [EXIT_GETSEC] = {handle_undefined, true},
    [EXIT_HLT] = {handle_hlt, false},
    [EXIT_INVD] = {handle_nothing, true},
    [EXIT_RDPMC] = {handle_protected, true},
    [EXIT_VMCALL] = {handle_vmcall, true},
    [EXIT_VMCLEAR] = {handle_undefined, true},
    [EXIT_VMLAUNCH] = {handle_undefined, true},
    [EXIT_VMPTRLD] = {handle_undefined, true},
    [EXIT_VMPTRST] = {handle_undefined, true},
    [EXIT_VMREAD] = {handle_undefined, true},
    [EXIT_VMRESUME] = {handle_undefined, true},
    [EXIT_VMWRITE] = {handle_undefined, true},
    [EXIT_VMXOFF] = {handle_undefined, true},
    [EXIT_VMXON] = {handle_undefined, true},
    [EXIT_CR_ACCESS] = {exit_cr_access, false},
    [EXIT_IO] = {handle_io, true},
    [EXIT_RDMSR] = {handle_rdmsr, true},
    [EXIT_WRMSR] = {handle_wrmsr, true},
    [EXIT_MWAIT] = {handle_nothing, true},
    [EXIT_MONITOR_TRAP_FLAG] = {handle_window, false},
    [EXIT_MONITOR] = {handle_nothing, true},
    [EXIT_PAUSE] = {handle_nothing, true},
    [EXIT_EPT_VIOLATION] = {handle_ept_violation, true},
    [EXIT_INVEPT] = {handle_undefined, true},
    [EXIT_PREEMPTION_TIMER] = {handle_window, false},
    [EXIT_INVVPID] = {handle_undefined, true},
    [EXIT_WBINVD] = {handle_nothing, true},
    [EXIT_XSETBV] = {handle_xsetbv, true},
};

bool exit_is_handled_in_place(uint32_t reason)
{
    return reason < EXIT_REASON_COUNT && handlers[reason].in_place;
}

enum vcpu_action exit_handle(struct vcpu *vcpu)
{
    uint32_t reason = (uint32_t)vmcs_get(&vcpu->vmcs, VMCS_EXIT_REASON);
    if (reason >= EXIT_REASON_COUNT || !handlers[reason].handle)
        return unhandled(vcpu);
    return handlers[reason].handle(vcpu);
}
