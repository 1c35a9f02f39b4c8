/*
 * Each exit of KVM as the VM exit that it stands for.
 *
 * KVM exits in the middle of an instruction: it has decoded it and wants data, or a device to take
 * data, and finishes the instruction when it is entered again. So an exit is settled in three
 * steps: the device or the processor model is asked; KVM finishes the instruction (an entry that
 * exits at once); and the VM exit is recorded as VMX would have reported it, at the instruction.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpu/msr.h"
#include "sim/io_emulation.h"
#include "sim/kvm/kvm.h"
#include "sim/kvm/probe.h"
#include "sim/vm_internal.h"

/* Repetitions of a string instruction that one exit stands for, as in the simulation. */
#define REPETITIONS_MAX 4096

/* Exit qualification of MOV to CR8: the register's number; the general register is at 11:8. */
#define MOV_TO_CR8 8u

/* --- Recording ----------------------------------------------------------------------------------
 */

/* The exit in cpu.exit, at RIP of cpu.state. */
static void record_exit(struct vcpu *vcpu, uint64_t operand, uint64_t value)
{
    const struct cpu *cpu = &vcpu->cpu;
    struct trace_sink *sink = vcpu->vm->sink;
    struct kvm_engine *engine = vcpu->engine;
    engine->instruction = cpu->state.rip;
    exit_statistics_add(&vcpu->exits, cpu->exit.reason, 0);
    vcpu->exits_in_place++;
    if (!trace_wants(sink, TRACE_EXIT))
        return;
    const struct trace_event event = {
        .type = TRACE_EXIT,
        .cpu = (uint16_t)vcpu->index,
        .time = vcpu_cycles(vcpu),
        .rip = cpu->state.rip,
        .exit =
            {
                .qualification = cpu->exit.qualification,
                .guest_linear_address = cpu->exit.guest_linear_address,
                .guest_physical_address = cpu->exit.guest_physical_address,
                .operand = operand,
                .value = value,
                .reason = cpu->exit.reason,
            },
    };
    sink->event(sink, &event);
}

static void record_event(struct vcpu *vcpu, enum exit_reason reason)
{
    vmx_exit_event(&vcpu->cpu, reason);
    record_exit(vcpu, 0, 0);
}

/* KVM finishes the instruction. It may want more of it: the next part of a wide access, the write
 * of a read-modify-write, the next repetition. */
static void complete(struct kvm_engine *engine)
{
    engine->run->immediate_exit = 1;
    engine->exit_again = ioctl(engine->cpu, KVM_RUN, 0) == 0;
}

static uint64_t rip_after(const struct kvm_engine *engine)
{
    return engine->run->s.regs.regs.rip;
}

/* --- Port I/O -----------------------------------------------------------------------------------
 */

static bool is_access(const struct insn *insn, const struct cpu_state *state, const void *context)
{
    const struct kvm_run *run = context;
    if (insn->kind != INSN_IN && insn->kind != INSN_OUT && insn->kind != INSN_INS &&
        insn->kind != INSN_OUTS)
        return false;
    struct io_access access = io_access_of(insn, state);
    return access.port == run->io.port && access.size == run->io.size &&
           access.in == (run->io.direction == KVM_EXIT_IO_IN);
}

/* What KVM may have gone on behind: a write without repetition. */
static bool is_finished_access(const struct insn *insn, const struct cpu_state *state,
                               const void *context)
{
    return (insn->kind == INSN_OUT || (insn->kind == INSN_OUTS && !insn->rep)) &&
           is_access(insn, state, context);
}

/* OUTS has moved RSI on; INS moves RDI when KVM has been given the data. */
static struct io_access access_of(const struct insn *insn, struct cpu_state *state)
{
    uint64_t rsi = state->gpr[GPR_RSI];
    if (insn->kind == INSN_OUTS)
        state->gpr[GPR_RSI] += state->rflags & RFLAGS_DF ? insn->port_size : -insn->port_size;
    struct io_access access = io_access_of(insn, state);
    state->gpr[GPR_RSI] = rsi;
    return access;
}

/* cpu.state is as at the exit. Finds the instruction, moves RIP to it if KVM has gone on, and says
 * what it accesses. */
static struct io_access find_access(struct kvm_engine *engine)
{
    const struct kvm_run *run = engine->run;
    struct cpu_state *state = &engine->vcpu->cpu.state;
    struct insn insn, before;
    bool here = kvm_decode(engine, &insn) && is_access(&insn, state, run);
    bool moved = rip_after(engine) != state->rip;
    bool repeating = here && insn.rep && (state->rflags & RFLAGS_RF);
    if (!moved && !repeating && kvm_decode_before(engine, &before, is_finished_access, run)) {
        insn = before;
        here = true;
    }
    if (here)
        return access_of(&insn, state);
    return (struct io_access){
        .port = run->io.port, .size = run->io.size, .in = run->io.direction == KVM_EXIT_IO_IN};
}

static void access_port(struct kvm_engine *engine)
{
    struct kvm_run *run = engine->run;
    struct bus *bus = vm_bus(engine->vcpu->vm);
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (unsigned i = 0; i < run->io.count; i++, data += run->io.size) {
        uint32_t value = 0;
        if (run->io.direction == KVM_EXIT_IO_IN) {
            value = bus_port_read(bus, run->io.port, run->io.size);
            memcpy(data, &value, run->io.size);
        } else {
            memcpy(&value, data, run->io.size);
            bus_port_write(bus, run->io.port, run->io.size, value);
        }
    }
}

/* True if this is a further repetition of an instruction whose exit is recorded already. */
static bool continues(struct kvm_engine *engine, const struct io_access *access)
{
    uint64_t rip = engine->vcpu->cpu.state.rip;
    unsigned count = engine->run->io.count;
    bool known = access->rep && engine->repetition.rest && engine->repetition.rip == rip;
    uint64_t mask = access->address_size == 8 ? UINT64_MAX : (1ull << 8 * access->address_size) - 1;
    if (!known)
        engine->repetition.rest = REPETITIONS_MAX;
    engine->repetition.rip = rip;
    engine->repetition.rest =
        access->rep && (engine->run->s.regs.regs.rcx & mask) && engine->repetition.rest > count
            ? engine->repetition.rest - count
            : 0;
    return known;
}

static int handle_io(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    access_port(engine);
    complete(engine);
    struct io_access access = find_access(engine);
    vmx_intercepts_io(&vcpu->cpu, &access);
    if (!continues(engine, &access))
        record_exit(vcpu, 0, engine->run->s.regs.regs.rax);
    return 0;
}

/* --- Devices in memory --------------------------------------------------------------------------
 */

static uint64_t access_device(struct kvm_engine *engine)
{
    struct kvm_run *run = engine->run;
    struct bus *bus = vm_bus(engine->vcpu->vm);
    uint64_t value = 0;
    if (run->mmio.is_write) {
        memcpy(&value, run->mmio.data, run->mmio.len);
        bus_mmio_write(bus, run->mmio.phys_addr, run->mmio.len, value);
    } else {
        value = bus_mmio_read(bus, run->mmio.phys_addr, run->mmio.len);
        memcpy(run->mmio.data, &value, run->mmio.len);
    }
    return value;
}

/* The write of a read-modify-write, or the next part of what is too wide for one access: cpu.exit
 * is still the one before. */
static void continue_access(struct vcpu *vcpu, struct mmu_fault *fault)
{
    const struct kvm_engine *engine = vcpu->engine;
    const struct vm_exit *before = &vcpu->cpu.exit;
    vcpu->cpu.state.rip = engine->instruction;
    if (before->reason == EXIT_EPT_VIOLATION && before->guest_linear_address)
        fault->linear =
            before->guest_linear_address + (fault->gpa - before->guest_physical_address);
}

/* A load is in the middle of its instruction, at RIP; a store has been made. */
static int handle_mmio(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    const struct kvm_run *run = engine->run;
    struct mmu_fault fault = {
        .status = MMU_EPT_VIOLATION,
        .gpa = run->mmio.phys_addr,
        .qualification =
            (run->mmio.is_write ? 2 : 1) | VIOLATION_LINEAR_VALID | VIOLATION_FINAL_ACCESS,
    };
    const struct kvm_access access = {
        .gpa = run->mmio.phys_addr,
        .size = run->mmio.len,
        .write = run->mmio.is_write,
        .value = access_device(engine),
    };
    if (engine->continued) /* the instruction of the exit before has more to access */
        continue_access(vcpu, &fault);
    else if (trace_wants(vcpu->vm->sink, TRACE_EXIT))
        kvm_find_access(engine, &access, &fault.linear);
    complete(engine);
    vmx_exit_ept(&vcpu->cpu, &fault);
    record_exit(vcpu, 0, 0);
    return 0;
}

/* --- Model-specific registers -------------------------------------------------------------------
 */

/* An MSR that the bitmaps leave to the guest comes here when KVM would raise #GP. */
static int handle_msr(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    struct kvm_run *run = engine->run;
    bool write = run->exit_reason == KVM_EXIT_X86_WRMSR;
    bool exits = vmx_intercepts_msr(&vcpu->cpu, write, run->msr.index);
    uint64_t value = write ? run->msr.data : 0;
    bool valid = exits && (write ? cpu_msr_write(&vcpu->cpu, run->msr.index, value)
                                 : cpu_msr_read(&vcpu->cpu, run->msr.index, &value));
    run->msr.error = !valid;
    if (!write)
        run->msr.data = value;
    uint32_t index = run->msr.index;
    complete(engine);
    if (exits)
        record_exit(vcpu, index, value);
    return 0;
}

/* --- The others ---------------------------------------------------------------------------------
 */

/* KVM has gone on; prefixes of HLT are not looked for. */
static void step_back_over(struct kvm_engine *engine, const uint8_t *bytes, unsigned length)
{
    struct cpu_state *state = &engine->vcpu->cpu.state;
    uint64_t linear = state->seg[SEG_CS].base + state->rip - length;
    uint8_t found[4];
    if (kvm_read_code(engine, linear, found, length) == length && !memcmp(found, bytes, length))
        state->rip -= length;
}

static int handle_hlt(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    uint64_t after = vcpu->cpu.state.rip;
    step_back_over(engine, (const uint8_t[]){0xf4}, 1);
    vmx_intercepts(&vcpu->cpu, EXIT_HLT);
    record_exit(vcpu, 0, 0);
    if (!engine->run->if_flag && !vcpu->nmi_pending)
        vm_set_stop(vcpu->vm, VM_STOP_HALTED, 0,
                    "the guest halted with interrupts disabled at RIP 0x%llx",
                    (unsigned long long)after);
    else
        kvm_wait(engine);
    return 0;
}

/* KVM keeps CR8 in the page that it shares: the platform hears of every change at the next exit,
 * and of one that may let an interrupt through by this exit. */
static int handle_set_tpr(struct kvm_engine *engine)
{
    vmx_exit_event(&engine->vcpu->cpu, EXIT_CR_ACCESS);
    engine->vcpu->cpu.exit.qualification = MOV_TO_CR8;
    record_exit(engine->vcpu, 0, engine->run->cr8);
    return 0;
}

static int handle_window(struct kvm_engine *engine)
{
    record_event(engine->vcpu, EXIT_INTERRUPT_WINDOW);
    return 0;
}

void kvm_handle_interruption(struct kvm_engine *engine)
{
    record_event(engine->vcpu, EXIT_EXTERNAL_INTERRUPT);
}

static int handle_interruption(struct kvm_engine *engine)
{
    kvm_handle_interruption(engine);
    return 0;
}

static int handle_debug(struct kvm_engine *engine)
{
    kvm_stepped(engine);
    return 0;
}

static int handle_shutdown(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    const struct cpu_state *state = &vcpu->cpu.state;
    char lacks[256];
    kvm_explain(lacks, sizeof lacks);
    vmx_exit_triple_fault(&vcpu->cpu);
    record_exit(vcpu, 0, 0);
    vm_set_stop(vcpu->vm, VM_STOP_TRIPLE_FAULT, 0,
                "triple fault at RIP 0x%llx, RSP 0x%llx, CR2 0x%llx, CR3 0x%llx%s",
                (unsigned long long)state->rip, (unsigned long long)state->gpr[GPR_RSP],
                (unsigned long long)state->cr2, (unsigned long long)state->cr3, lacks);
    return 0;
}

static int handle_failed_entry(struct kvm_engine *engine)
{
    vm_set_stop(engine->vcpu->vm, VM_STOP_ENTRY_FAILURE, 0,
                "KVM's VM entry failed: hardware reason 0x%llx",
                (unsigned long long)engine->run->fail_entry.hardware_entry_failure_reason);
    return 0;
}

/* Code where no memory is: KVM fails to emulate what it cannot fetch. */
static bool executes_nowhere(struct kvm_engine *engine, struct mmu_fault *fault)
{
    struct cpu *cpu = &engine->vcpu->cpu;
    struct translation translation;
    unsigned access = ACCESS_FETCH | ACCESS_PROBE | (cpu_cpl(cpu) == 3 ? ACCESS_USER : 0);
    return mmu_translate(&cpu->mmu, cpu->state.seg[SEG_CS].base + cpu->state.rip, access,
                         &translation, fault) == MMU_EPT_VIOLATION;
}

static void explain_internal_error(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    const struct cpu_state *state = &vcpu->cpu.state;
    bool emulation = engine->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION;
    uint8_t bytes[INSN_LENGTH_MAX];
    char code[3 * INSN_LENGTH_MAX + 1] = "", lacks[256];
    unsigned count =
        kvm_read_code(engine, state->seg[SEG_CS].base + state->rip, bytes, sizeof bytes);
    for (unsigned i = 0; i < count; i++)
        sprintf(code + 3 * i, " %02x", bytes[i]);
    kvm_explain(lacks, sizeof lacks);
    vm_set_stop(vcpu->vm, VM_STOP_ENGINE_ERROR, 0,
                "KVM gave up (%s, suberror %u) at RIP 0x%llx, CPL %u, code%s%s: use --backend "
                "unicorn for this guest",
                emulation ? "an instruction that it cannot emulate" : "internal error",
                engine->run->internal.suberror, (unsigned long long)state->rip, cpu_cpl(&vcpu->cpu),
                count ? code : " not mapped", lacks);
}

static int handle_internal_error(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    struct mmu_fault fault;
    if (!executes_nowhere(engine, &fault)) {
        explain_internal_error(engine);
        return -EIO;
    }
    vmx_exit_ept(&vcpu->cpu, &fault);
    record_exit(vcpu, 0, 0);
    vm_set_stop(vcpu->vm, VM_STOP_UNHANDLED_EXIT, 0,
                "the guest executes at guest-physical 0x%llx (RIP 0x%llx), where there is no "
                "memory",
                (unsigned long long)fault.gpa, (unsigned long long)vcpu->cpu.state.rip);
    return 0;
}

/* --- The table ----------------------------------------------------------------------------------
 */

static int (*const handlers[])(struct kvm_engine *) = {
    [KVM_EXIT_IO] = handle_io,
    [KVM_EXIT_MMIO] = handle_mmio,
    [KVM_EXIT_X86_RDMSR] = handle_msr,
    [KVM_EXIT_X86_WRMSR] = handle_msr,
    [KVM_EXIT_HLT] = handle_hlt,
    [KVM_EXIT_SET_TPR] = handle_set_tpr,
    [KVM_EXIT_IRQ_WINDOW_OPEN] = handle_window,
    [KVM_EXIT_INTR] = handle_interruption,
    [KVM_EXIT_DEBUG] = handle_debug,
    [KVM_EXIT_SHUTDOWN] = handle_shutdown,
    [KVM_EXIT_FAIL_ENTRY] = handle_failed_entry,
    [KVM_EXIT_INTERNAL_ERROR] = handle_internal_error,
};

int kvm_handle_exit(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    uint32_t reason = engine->run->exit_reason;
    engine->continued = engine->exit_again;
    engine->exit_again = false;
    if (reason < sizeof handlers / sizeof *handlers && handlers[reason])
        return handlers[reason](engine);
    snprintf(vcpu->engine_message, sizeof vcpu->engine_message,
             "KVM's exit %u at RIP 0x%llx stands for no VM exit that is known", reason,
             (unsigned long long)vcpu->cpu.state.rip);
    return -EIO;
}
