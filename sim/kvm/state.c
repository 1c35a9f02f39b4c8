/*
 * The processor's state in KVM and in cpu_state. KVM shares general-purpose, segment and control
 * registers and the event state with every exit (KVM_CAP_SYNC_REGS); MSRs and debug registers are
 * fetched when somebody looks.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "cpu/modes.h"
#include "cpu/msr.h"
#include "cpu/vmx_transition.h"
#include "sim/kvm/kvm.h"

/* kvm_regs in the order of the registers' encoding. */
static const uint16_t gpr_offsets[GPR_COUNT] = {
    offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rcx), offsetof(struct kvm_regs, rdx),
    offsetof(struct kvm_regs, rbx), offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, rbp),
    offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi), offsetof(struct kvm_regs, r8),
    offsetof(struct kvm_regs, r9),  offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
    offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13), offsetof(struct kvm_regs, r14),
    offsetof(struct kvm_regs, r15),
};

static const uint16_t segment_offsets[SEG_COUNT] = {
    [SEG_ES] = offsetof(struct kvm_sregs, es),    [SEG_CS] = offsetof(struct kvm_sregs, cs),
    [SEG_SS] = offsetof(struct kvm_sregs, ss),    [SEG_DS] = offsetof(struct kvm_sregs, ds),
    [SEG_FS] = offsetof(struct kvm_sregs, fs),    [SEG_GS] = offsetof(struct kvm_sregs, gs),
    [SEG_LDTR] = offsetof(struct kvm_sregs, ldt), [SEG_TR] = offsetof(struct kvm_sregs, tr),
};

/* MSRs that the guest uses without the processor model, by their field in cpu_state. */
static const struct {
    uint32_t msr;
    uint16_t offset;
} kept_msrs[] = {
    {MSR_SYSENTER_CS, offsetof(struct cpu_state, sysenter_cs)},
    {MSR_SYSENTER_ESP, offsetof(struct cpu_state, sysenter_esp)},
    {MSR_SYSENTER_EIP, offsetof(struct cpu_state, sysenter_eip)},
    {MSR_PAT, offsetof(struct cpu_state, pat)},
    {MSR_STAR, offsetof(struct cpu_state, star)},
    {MSR_LSTAR, offsetof(struct cpu_state, lstar)},
    {MSR_CSTAR, offsetof(struct cpu_state, cstar)},
    {MSR_FMASK, offsetof(struct cpu_state, fmask)},
    {MSR_KERNEL_GS_BASE, offsetof(struct cpu_state, kernel_gs_base)},
    {MSR_TSC_AUX, offsetof(struct cpu_state, tsc_aux)},
};
#define KEPT_MSRS (sizeof kept_msrs / sizeof *kept_msrs)

static struct kvm_segment make_segment(const struct segment *from)
{
    uint32_t rights = from->access_rights;
    return (struct kvm_segment){
        .base = from->base,
        .limit = from->limit,
        .selector = from->selector,
        .type = rights & AR_TYPE_MASK,
        .s = !!(rights & AR_S),
        .dpl = (uint8_t)AR_DPL(rights),
        .present = !!(rights & AR_P) && !(rights & AR_UNUSABLE),
        .avl = !!(rights & AR_AVL),
        .l = !!(rights & AR_L),
        .db = !!(rights & AR_DB),
        .g = !!(rights & AR_G),
        .unusable = !!(rights & AR_UNUSABLE),
    };
}

static struct segment take_segment(const struct kvm_segment *from)
{
    return (struct segment){
        .base = from->base,
        .limit = from->limit,
        .selector = from->selector,
        .access_rights = from->type | (from->s ? AR_S : 0) | (uint32_t)from->dpl << AR_DPL_SHIFT |
                         (from->present ? AR_P : 0) | (from->avl ? AR_AVL : 0) |
                         (from->l ? AR_L : 0) | (from->db ? AR_DB : 0) | (from->g ? AR_G : 0) |
                         (from->unusable ? AR_UNUSABLE : 0),
    };
}

static void push_registers(const struct cpu_state *state, struct kvm_regs *regs)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        *(__u64 *)((char *)regs + gpr_offsets[i]) = state->gpr[i];
    regs->rip = state->rip;
    regs->rflags = state->rflags;
}

static void push_system_registers(const struct cpu_state *state, struct kvm_sregs *sregs)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        *(struct kvm_segment *)((char *)sregs + segment_offsets[i]) = make_segment(&state->seg[i]);
    sregs->gdt = (struct kvm_dtable){.base = state->gdtr.base, .limit = state->gdtr.limit};
    sregs->idt = (struct kvm_dtable){.base = state->idtr.base, .limit = state->idtr.limit};
    sregs->cr0 = state->cr0;
    sregs->cr2 = state->cr2;
    sregs->cr3 = state->cr3;
    sregs->cr4 = state->cr4;
    sregs->efer = state->efer;
    sregs->apic_base = state->apic_base;
}

static uint64_t *kept_field(struct cpu_state *state, unsigned i)
{
    return (uint64_t *)((char *)state + kept_msrs[i].offset);
}

/* One by one: KVM stops at the first that it does not have (TSC_AUX without RDTSCP). */
static void push_msrs(struct kvm_engine *engine)
{
    for (unsigned i = 0; i < KEPT_MSRS; i++) {
        struct {
            struct kvm_msrs head;
            struct kvm_msr_entry entry;
        } msrs = {{.nmsrs = 1},
                  {.index = kept_msrs[i].msr, .data = *kept_field(&engine->vcpu->cpu.state, i)}};
        ioctl(engine->cpu, KVM_SET_MSRS, &msrs);
    }
}

static void pull_msrs(struct kvm_engine *engine)
{
    for (unsigned i = 0; i < KEPT_MSRS; i++) {
        struct {
            struct kvm_msrs head;
            struct kvm_msr_entry entry;
        } msrs = {{.nmsrs = 1}, {.index = kept_msrs[i].msr}};
        if (ioctl(engine->cpu, KVM_GET_MSRS, &msrs) == 1)
            *kept_field(&engine->vcpu->cpu.state, i) = msrs.entry.data;
    }
}

int kvm_push_state(struct kvm_engine *engine)
{
    const struct cpu_state *state = &engine->vcpu->cpu.state;
    struct kvm_regs regs = {0};
    struct kvm_sregs sregs;
    struct kvm_debugregs debug = {.dr6 = state->dr6, .dr7 = state->dr7};
    for (unsigned i = 0; i < 4; i++)
        debug.db[i] = state->dr[i];
    push_registers(state, &regs);
    if (ioctl(engine->cpu, KVM_GET_SREGS, &sregs) < 0)
        return -errno;
    push_system_registers(state, &sregs);
    if (ioctl(engine->cpu, KVM_SET_SREGS, &sregs) < 0 ||
        ioctl(engine->cpu, KVM_SET_REGS, &regs) < 0)
        return -errno;
    ioctl(engine->cpu, KVM_SET_DEBUGREGS, &debug);
    push_msrs(engine);
    engine->run->kvm_valid_regs = KVM_SYNCED;
    return 0;
}

/* What translation depends on, for those who read guest memory at linear addresses. */
static void load_paging(struct cpu *cpu)
{
    const struct cpu_state *state = &cpu->state;
    const struct paging_registers *loaded = &cpu->mmu.regs;
    if (loaded->cr0 == state->cr0 && loaded->cr3 == state->cr3 && loaded->cr4 == state->cr4 &&
        loaded->efer == state->efer)
        return;
    if (cpu_pae_paging(state->cr0, state->cr4, state->efer)) {
        struct mmu_fault fault;
        bool reserved;
        mmu_load_pdptes(&cpu->mmu, state->cr3, cpu->state.pdpte, &reserved, &fault);
    }
    vmx_load_paging(cpu, true);
}

void kvm_pull_registers(struct kvm_engine *engine)
{
    struct cpu *cpu = &engine->vcpu->cpu;
    struct cpu_state *state = &cpu->state;
    const struct kvm_sync_regs *from = &engine->run->s.regs;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        state->gpr[i] = *(const __u64 *)((const char *)&from->regs + gpr_offsets[i]);
    state->rip = from->regs.rip;
    state->rflags = from->regs.rflags;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state->seg[i] = take_segment(
            (const struct kvm_segment *)((const char *)&from->sregs + segment_offsets[i]));
    state->gdtr = (struct descriptor_table){from->sregs.gdt.base, from->sregs.gdt.limit};
    state->idtr = (struct descriptor_table){from->sregs.idt.base, from->sregs.idt.limit};
    state->cr0 = from->sregs.cr0;
    state->cr2 = from->sregs.cr2;
    state->cr3 = from->sregs.cr3;
    state->cr4 = from->sregs.cr4;
    state->efer = from->sregs.efer;
    uint32_t shadow = from->events.interrupt.shadow;
    state->interruptibility = (shadow & KVM_X86_SHADOW_INT_STI ? BLOCKING_BY_STI : 0) |
                              (shadow & KVM_X86_SHADOW_INT_MOV_SS ? BLOCKING_BY_MOV_SS : 0) |
                              (from->events.nmi.masked ? BLOCKING_BY_NMI : 0);
    load_paging(cpu);
}

void kvm_pull_state(struct kvm_engine *engine)
{
    struct cpu_state *state = &engine->vcpu->cpu.state;
    struct kvm_debugregs debug;
    if (ioctl(engine->cpu, KVM_GET_DEBUGREGS, &debug) == 0) {
        for (unsigned i = 0; i < 4; i++)
            state->dr[i] = debug.db[i];
        state->dr6 = debug.dr6;
        state->dr7 = debug.dr7;
    }
    pull_msrs(engine);
}
