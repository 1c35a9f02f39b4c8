/*
 * What comes through the funnel (translate.c): the instruction at RIP is decoded again from guest
 * memory, executed by the processor model, and its effects are taken over. A VM exit is settled on
 * the spot where the handler can do that.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/instructions.h"
#include "cpu/modes.h"
#include "sim/io_emulation.h"
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"
#include "sim/vm_internal.h"

/* --- Fetching ------------------------------------------------------------------------------------
 */

struct fetcher {
    struct unicorn_engine *engine;
    uint64_t linear; /* of the instruction */
    const uint8_t *bytes;
    unsigned available; /* bytes up to the end of the page */
    uint8_t joined[INSN_LENGTH_MAX];
};

static const uint8_t *fetch_page(struct unicorn_engine *engine, uint64_t linear)
{
    struct translation translation;
    struct mmu_fault fault;
    unsigned access = ACCESS_FETCH | (cpu_cpl(engine->cpu) == 3 ? ACCESS_USER : 0);
    if (!mmu_translate(&engine->cpu->mmu, linear, access, &translation, &fault)) {
        if (physmem_contains(engine->cpu->mmu.physmem, translation.hpa, 1))
            return physmem_at(engine->cpu->mmu.physmem, translation.hpa);
        static const uint8_t all_ones[INSN_LENGTH_MAX] = {0xff, 0xff, 0xff, 0xff, 0xff,
                                                          0xff, 0xff, 0xff, 0xff, 0xff,
                                                          0xff, 0xff, 0xff, 0xff, 0xff};
        return all_ones;
    }
    /* The page was there when the block was translated and is gone now: the fetch faults, and the
     * instruction starts over. */
    engine->env->bnd_regs[0] += 1;
    unicorn_tracing_not_retired(engine);
    unicorn_memory_fault(engine, &fault);
}

static uint8_t fetch_byte(void *context, unsigned index)
{
    struct fetcher *fetcher = context;
    if (index < fetcher->available)
        return fetcher->bytes[index];
    /* The instruction reaches into the next page. */
    const uint8_t *rest = fetch_page(fetcher->engine, fetcher->linear + fetcher->available);
    memmove(fetcher->joined, fetcher->bytes, fetcher->available);
    memcpy(fetcher->joined + fetcher->available, rest, INSN_LENGTH_MAX - fetcher->available);
    fetcher->bytes = fetcher->joined;
    fetcher->available = INSN_LENGTH_MAX;
    return fetcher->bytes[index];
}

static void fetch_and_decode(struct unicorn_engine *engine, struct insn *insn)
{
    const struct env *env = engine->env;
    struct fetcher fetcher = {.engine = engine};
    enum code_size code = env->hflags & HF_CS64 ? CODE64 : env->hflags & HF_CS32 ? CODE32 : CODE16;
    fetcher.linear = env->eip;
    if (code != CODE64)
        fetcher.linear = (uint32_t)(env->eip + env->segs[SEG_CS].base);
    fetcher.bytes = fetch_page(engine, fetcher.linear);
    uint64_t rest = 4096 - (fetcher.linear & 4095);
    fetcher.available = rest < INSN_LENGTH_MAX ? (unsigned)rest : INSN_LENGTH_MAX;
    bool ours = insn_decode(insn, code, fetch_byte, &fetcher);
    assert(ours);
    (void)ours;
}

/* The entry of a caller, or the empty one where it belongs. */
static struct decoded *decoded_find(const struct decoded_table *table, uintptr_t caller)
{
    size_t at = (caller * 0x9e3779b97f4a7c15ull) >> 32;
    for (;; at++) {
        struct decoded *decoded = &table->entries[at & (table->size - 1)];
        if (decoded->caller == caller || !decoded->caller)
            return decoded;
    }
}

static void decoded_grow(struct decoded_table *table)
{
    struct decoded_table grown = {.size = table->size ? 2 * table->size : 1024};
    grown.entries = calloc(grown.size, sizeof *grown.entries);
    if (!grown.entries)
        abort(); /* there is no way to tell the library */
    for (size_t i = 0; i < table->size; i++)
        if (table->entries[i].caller)
            *decoded_find(&grown, table->entries[i].caller) = table->entries[i];
    grown.count = table->count;
    free(table->entries);
    *table = grown;
}

static const struct insn *decoded_insn(struct unicorn_engine *engine, uintptr_t caller)
{
    struct decoded_table *table = &engine->decoded;
    if (table->size < 2 * (table->count + 1))
        decoded_grow(table);
    struct decoded *decoded = decoded_find(table, caller);
    if (!decoded->caller) {
        fetch_and_decode(engine, &decoded->insn); /* may not return */
        decoded->caller = caller;
        table->count++;
    }
    return &decoded->insn;
}

void unicorn_forget_decoded(struct unicorn_engine *engine)
{
    struct decoded_table *table = &engine->decoded;
    if (table->count)
        memset(table->entries, 0, table->size * sizeof *table->entries);
    table->count = 0;
}

/* --- Instructions that the model leaves to the engine once nothing intercepts them
 * ---------------- */

static unsigned data_access(const struct cpu *cpu, enum access_type type)
{
    unsigned access = type;
    if (cpu_cpl(cpu) == 3)
        access |= ACCESS_USER;
    if (cpu->state.rflags & RFLAGS_AC)
        access |= ACCESS_AC;
    return access;
}

/* An operand in a device's registers: the EPT violation exits, and then the bus is asked, two bytes
 * at a time (operands have 2, 6 or 10). */
static void device_operand(struct unicorn_engine *engine, const struct mmu_fault *fault,
                           uint8_t *data, size_t size, enum access_type type)
{
    struct vcpu *vcpu = engine->vcpu;
    struct bus *bus = vm_bus(vcpu->vm);
    engine->env->bnd_regs[0] += 1; /* the exit comes before the instruction has retired */
    if (vcpu->mmio_granted_at != unicorn_instructions(engine)) {
        vmx_exit_ept(engine->cpu, fault);
        if (vcpu_exit(vcpu) == VCPU_LEAVE) {
            unicorn_pull(engine, STATE_ALL);
            unicorn_leave(engine);
        }
    }
    engine->env->bnd_regs[0] -= 1;
    for (size_t i = 0; i < size; i += 2) {
        if (type == ACCESS_WRITE) {
            bus_mmio_write(bus, fault->gpa + i, 2, data[i] | (uint64_t)data[i + 1] << 8);
            continue;
        }
        uint64_t value = bus_mmio_read(bus, fault->gpa + i, 2);
        data[i] = (uint8_t)value;
        data[i + 1] = (uint8_t)(value >> 8);
    }
}

static enum outcome access_operand(struct unicorn_engine *engine, uint64_t linear, void *data,
                                   size_t size, enum access_type type)
{
    struct cpu *cpu = engine->cpu;
    struct mmu_fault fault;
    unsigned access = data_access(cpu, type);
    enum mmu_status status = type == ACCESS_WRITE
                                 ? mmu_write(&cpu->mmu, linear, data, size, access, &fault)
                                 : mmu_read(&cpu->mmu, linear, data, size, access, &fault);
    if (status == MMU_OK)
        return OUTCOME_DONE;
    bool in_page = (linear & 4095) + size <= 4096;
    if (status != MMU_EPT_VIOLATION || !vm_is_device(engine->vcpu->vm, fault.gpa) || !in_page)
        return cpu_memory_outcome(cpu, &fault);
    device_operand(engine, &fault, data, size, type);
    return OUTCOME_DONE;
}

/* SGDT, SIDT, LGDT, LIDT: a pseudo-descriptor of 6 or, in 64-bit mode, 10 bytes. */
static enum outcome pseudo_descriptor(struct unicorn_engine *engine, const struct insn *insn)
{
    struct cpu *cpu = engine->cpu;
    struct cpu_state *state = &cpu->state;
    bool idt = insn->table == INSN_SIDT || insn->table == INSN_LIDT;
    bool store = insn->table == INSN_SGDT || insn->table == INSN_SIDT;
    bool long64 = cpu_64bit(cpu);
    struct descriptor_table *table = idt ? &state->idtr : &state->gdtr;
    uint64_t linear = insn_linear(insn, state);
    uint8_t image[10] = {0};
    size_t size = long64 ? 10 : 6;

    if (store) {
        memcpy(image, &table->limit, 2);
        memcpy(image + 2, &table->base, 8);
        return access_operand(engine, linear, image, size, ACCESS_WRITE);
    }
    enum outcome outcome = access_operand(engine, linear, image, size, ACCESS_READ);
    if (outcome != OUTCOME_DONE)
        return outcome;
    uint64_t base = 0;
    memcpy(&base, image + 2, long64 ? 8 : 4);
    if (!long64 && insn->operand_size == 2)
        base &= 0xffffff;
    if (!cpu_canonical(cpu, base))
        return cpu_fault_gp(cpu);
    memcpy(&table->limit, image, 2);
    table->base = base;
    cpu->changed |= CPU_CHANGED_SEGMENTS;
    return OUTCOME_DONE;
}

/* Stores a 16-bit (memory) or operand-sized (register) value. */
static enum outcome store_operand(struct unicorn_engine *engine, const struct insn *insn,
                                  uint64_t value)
{
    struct cpu *cpu = engine->cpu;
    if (insn->memory) {
        uint16_t word = (uint16_t)value;
        return access_operand(engine, insn_linear(insn, &cpu->state), &word, 2, ACCESS_WRITE);
    }
    uint64_t *gpr = &cpu->state.gpr[insn->rm];
    if (insn->operand_size == 2)
        *gpr = (*gpr & ~0xffffull) | (value & 0xffff);
    else
        *gpr = insn->operand_size == 4 ? (uint32_t)value : value;
    return OUTCOME_DONE;
}

static enum outcome load_operand(struct unicorn_engine *engine, const struct insn *insn,
                                 uint16_t *value)
{
    struct cpu *cpu = engine->cpu;
    if (!insn->memory) {
        *value = (uint16_t)cpu->state.gpr[insn->rm];
        return OUTCOME_DONE;
    }
    return access_operand(engine, insn_linear(insn, &cpu->state), value, 2, ACCESS_READ);
}

static enum outcome load_system_segment(struct unicorn_engine *engine, const struct insn *insn)
{
    uint16_t selector;
    enum outcome outcome = load_operand(engine, insn, &selector);
    return outcome == OUTCOME_DONE
               ? insn_load_system_segment(engine->cpu, insn->table == INSN_LTR, selector)
               : outcome;
}

static enum outcome descriptor_table(struct unicorn_engine *engine, const struct insn *insn)
{
    struct cpu *cpu = engine->cpu;
    if (insn->table >= INSN_SLDT && (!cpu_protected(cpu) || cpu_virtual_8086(cpu)))
        return cpu_fault_ud(cpu);
    enum outcome outcome = insn_descriptor_table(cpu, insn->table, insn_exit_information(insn),
                                                 insn->memory ? (uint64_t)insn->displacement : 0);
    if (outcome != OUTCOME_DONE)
        return outcome;
    switch (insn->table) {
    case INSN_SLDT:
        return store_operand(engine, insn, cpu->state.seg[SEG_LDTR].selector);
    case INSN_STR:
        return store_operand(engine, insn, cpu->state.seg[SEG_TR].selector);
    case INSN_LLDT:
    case INSN_LTR:
        return load_system_segment(engine, insn);
    default:
        return pseudo_descriptor(engine, insn);
    }
}

static enum outcome smsw(struct unicorn_engine *engine, const struct insn *insn)
{
    uint64_t value;
    enum outcome outcome = insn_smsw(engine->cpu, &value);
    return outcome == OUTCOME_DONE ? store_operand(engine, insn, value) : outcome;
}

static enum outcome lmsw(struct unicorn_engine *engine, const struct insn *insn)
{
    struct cpu *cpu = engine->cpu;
    uint16_t source;
    enum outcome outcome = load_operand(engine, insn, &source);
    if (outcome != OUTCOME_DONE)
        return outcome;
    return insn_lmsw(cpu, source, insn->memory, insn->memory ? insn_linear(insn, &cpu->state) : 0);
}

/* IN, OUT, INS, OUTS: permission and exit by the model; what nothing intercepts goes to the bus. */
static enum outcome port_io(struct unicorn_engine *engine, const struct insn *insn)
{
    struct cpu *cpu = engine->cpu;
    struct io_access access = io_access_of(insn, &cpu->state);
    enum outcome outcome = insn_io(cpu, &access);
    if (outcome != OUTCOME_DONE)
        return outcome;
    struct mmu_fault fault;
    bool again;
    if (io_emulate(cpu, vm_bus(engine->vcpu->vm), &access, &again, &fault))
        return cpu_memory_outcome(cpu, &fault);
    unicorn_io_breakpoints(engine, access.port, access.size);
    if (again)
        cpu->state.rip -= insn->length; /* completion moves it forward again */
    return OUTCOME_DONE;
}

/* IRET by the library; it ends blocking by NMI even if it faults (SDM "Handling Multiple NMIs"). */
static enum outcome iret(struct unicorn_engine *engine, const struct insn *insn)
{
    struct cpu *cpu = engine->cpu;
    int shift = insn->operand_size == 2 ? 0 : insn->operand_size == 4 ? 1 : 2;
    if (cpu_virtual_8086(cpu) && (cpu->state.rflags & RFLAGS_IOPL) != RFLAGS_IOPL)
        return cpu_fault_gp(cpu);
    cpu->vmx.nmi_unblocked_by_iret = cpu->state.interruptibility & BLOCKING_BY_NMI;
    cpu->state.interruptibility &= ~BLOCKING_BY_NMI;
    engine->env->bnd_regs[0] += 1; /* a fault does not come back here */
    unicorn_tracing_not_retired(engine);
    if (!cpu_protected(cpu) || cpu_virtual_8086(cpu))
        helper_iret_real_x86_64(engine->env, shift);
    else
        helper_iret_protected_x86_64(engine->env, shift, (int)(engine->env->eip + insn->length));
    engine->env->bnd_regs[0] -= 1;
    cpu->vmx.nmi_unblocked_by_iret = false;
    engine->env->cc_op = CC_OP_EFLAGS;
    unicorn_account_ring(engine);
    unicorn_look_for_window(engine);
    return OUTCOME_DONE;
}

/* --- The model's instructions --------------------------------------------------------------------
 */

static enum outcome execute(struct unicorn_engine *engine, const struct insn *insn)
{
    struct cpu *cpu = engine->cpu;
    if (insn->lock)
        return cpu_fault_ud(cpu);
    switch (insn->kind) {
    case INSN_CPUID:
        return insn_cpuid(cpu);
    case INSN_RDMSR:
        return insn_rdmsr(cpu);
    case INSN_WRMSR:
        return insn_wrmsr(cpu);
    case INSN_RDTSC:
        return insn_rdtsc(cpu);
    case INSN_RDTSCP:
        return insn_rdtscp(cpu);
    case INSN_RDPMC:
        return insn_rdpmc(cpu);
    case INSN_RDPID:
        return insn_rdpid(cpu, insn->rm);
    case INSN_RDRAND:
        return insn_rdrand(cpu, false, insn->rm, insn->operand_size);
    case INSN_RDSEED:
        return insn_rdrand(cpu, true, insn->rm, insn->operand_size);
    case INSN_INT1:
        return insn_int1(cpu);
    case INSN_HLT:
        return insn_hlt(cpu);
    case INSN_PAUSE:
        return insn_pause(cpu);
    case INSN_INVD:
        return insn_invd(cpu);
    case INSN_WBINVD:
        return insn_wbinvd(cpu);
    case INSN_XSETBV:
        return insn_xsetbv(cpu);
    case INSN_MONITOR:
        return insn_monitor(cpu);
    case INSN_MWAIT:
        return insn_mwait(cpu);
    case INSN_INVLPG:
        return insn_invlpg(cpu, insn_linear(insn, &cpu->state));
    case INSN_INVPCID:
        return insn_invpcid(cpu, cpu->state.gpr[insn->reg], insn_linear(insn, &cpu->state),
                            insn_exit_information(insn), (uint64_t)insn->displacement);
    case INSN_MOV_TO_CR:
        return insn_mov_to_cr(cpu, insn->reg, insn->rm);
    case INSN_MOV_FROM_CR:
        return insn_mov_from_cr(cpu, insn->reg, insn->rm);
    case INSN_MOV_TO_DR:
        return insn_mov_to_dr(cpu, insn->reg, insn->rm);
    case INSN_MOV_FROM_DR:
        return insn_mov_from_dr(cpu, insn->reg, insn->rm);
    case INSN_CLTS:
        return insn_clts(cpu);
    case INSN_LMSW:
        return lmsw(engine, insn);
    case INSN_SMSW:
        return smsw(engine, insn);
    case INSN_DESCRIPTOR_TABLE:
        return descriptor_table(engine, insn);
    case INSN_IN:
    case INSN_OUT:
    case INSN_INS:
    case INSN_OUTS:
        return port_io(engine, insn);
    case INSN_SYSCALL:
        return insn_syscall(cpu);
    case INSN_SYSRET:
        return insn_sysret(cpu, insn->operand_size);
    case INSN_SYSENTER:
        return insn_sysenter(cpu);
    case INSN_SYSEXIT:
        return insn_sysexit(cpu, insn->operand_size);
    case INSN_VMX:
        return insn_vmx(cpu, insn->vmx_reason, insn->memory ? insn_exit_information(insn) : 0,
                        (uint64_t)insn->displacement);
    }
    return cpu_fault_ud(cpu);
}

/* These look at no segment but CS and SS, and at no operand in memory. */
static bool needs_basic_state(const struct unicorn_engine *engine, const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_CPUID:
    case INSN_RDTSC:
    case INSN_RDTSCP:
    case INSN_PAUSE:
    case INSN_HLT:
    case INSN_MOV_FROM_CR:
    case INSN_CLTS:
        return true;
    case INSN_IN:
    case INSN_OUT:
        return (engine->env->hflags & 3) == 0;
    }
    return false;
}

static bool is_branch(const struct insn *insn)
{
    return insn->kind >= INSN_SYSCALL && insn->kind <= INSN_SYSEXIT;
}

static void advance_rip(struct cpu *cpu, uint8_t length)
{
    uint64_t rip = cpu->state.rip + length;
    uint32_t cs = cpu->state.seg[SEG_CS].access_rights;
    if (!cpu_64bit(cpu))
        rip = cs & AR_DB ? (uint32_t)rip : rip & 0xffff;
    cpu->state.rip = rip;
}

/* Takes over what the model changed. */
static void take_over(struct unicorn_engine *engine, int depth)
{
    struct cpu *cpu = engine->cpu;
    if (!cpu->changed) {
        unicorn_push(engine, STATE_BASIC);
        return;
    }
    if (depth == STATE_BASIC) {
        /* Segments were not pulled: keep the library's while everything is pushed. */
        struct cpu_state state = cpu->state;
        unicorn_pull(engine, STATE_ALL);
        memcpy(cpu->state.gpr, state.gpr, sizeof state.gpr);
        cpu->state.rip = state.rip;
        cpu->state.rflags = state.rflags;
        cpu->state.interruptibility = state.interruptibility;
    }
    unicorn_push(engine, STATE_ALL);
}

static void complete(struct unicorn_engine *engine, const struct insn *insn, int depth)
{
    struct cpu *cpu = engine->cpu;
    if (insn->kind == INSN_IRET) /* the library has done it all in its own copy */
        return;
    if (insn->kind == INSN_INVLPG)
        unicorn_flush_page(engine, insn_linear(insn, &cpu->state));
    if (!is_branch(insn))
        advance_rip(cpu, insn->length);
    cpu->state.interruptibility &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    take_over(engine, depth);
    unicorn_look_for_window(engine);
    if (insn->kind == INSN_PAUSE)
        vcpu_charge(engine->vcpu, cpu->profile->pause_cycles);
    else if (insn->kind == INSN_RDTSC || insn->kind == INSN_RDTSCP)
        vcpu_charge(engine->vcpu, cpu->profile->rdtsc_cycles);
    if (is_branch(insn)) /* the flag that counts is the new one */
        engine->step_after = cpu->state.rflags & RFLAGS_TF;
}

EXPORT void helper_syscall_x86_64(struct env *env, int next_eip_addend)
{
    struct unicorn_engine *engine = unicorn_current;
    struct cpu *cpu = engine->cpu;

    engine->tracing.executing = true;
    unicorn_pull(engine, STATE_BASIC);
    const struct insn *insn = decoded_insn(engine, CALLER);
    int depth = needs_basic_state(engine, insn) ? STATE_BASIC : STATE_ALL;
    if (depth == STATE_ALL)
        unicorn_pull(engine, STATE_ALL);
    cpu->instruction_length = insn->length;
    engine->step_after = env->eflags & RFLAGS_TF;

    enum outcome outcome = insn->kind == INSN_IRET ? iret(engine, insn) : execute(engine, insn);
    engine->tracing.executing = false;
    if (outcome == OUTCOME_DONE) {
        complete(engine, insn, depth);
        return;
    }
    /* It did not retire: the block's count includes it. */
    env->bnd_regs[0] += 1;
    unicorn_tracing_not_retired(engine);
    if (outcome == OUTCOME_EXCEPTION) {
        unicorn_pull(engine, STATE_ALL);
        unicorn_deliver(engine, &cpu->fault);
    }
    if (!unicorn_settle_exit(engine)) {
        if (engine->vcpu->exit_settled && cpu->state.rip != env->eip) {
            env->bnd_regs[0] -= 1; /* completed, though the guest does not go on at once */
            env->hflags &= ~HF_INHIBIT_IRQ;
        }
        /* What the handler did to registers meanwhile must survive the pull of the rest. */
        unicorn_push(engine, STATE_BASIC);
        unicorn_pull(engine, STATE_ALL);
        unicorn_leave(engine);
    }
    if (cpu->state.rip == env->eip) /* to be executed again */
        unicorn_resume(engine);
    env->bnd_regs[0] -= 1; /* the handler has completed it */
    cpu->state.interruptibility &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    take_over(engine, STATE_BASIC);
}
