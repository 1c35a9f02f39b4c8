/* IA-32e mode: 64-bit gates, IST, aligned stack. SDM "Interrupt and Exception Handling in 64-bit
 * Mode", and "INT n/INTO/INT3/INT1", part IA-32e-MODE. */
#include "cpu/event_delivery.h"

#define TSS_RSP0 4
#define TSS_IST0 28 /* IST1 is at 36 */

struct gate64 {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type; /* P, DPL, 0, type */
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

#define GATE_TYPE(gate) ((gate)->type & 0x1fu)
#define GATE_DPL(gate)  ((gate)->type >> 5 & 3u)
#define GATE_P          0x80u

static uint64_t gate_offset(const struct gate64 *gate)
{
    return gate->offset_low | (uint64_t)gate->offset_middle << 16 |
           (uint64_t)gate->offset_high << 32;
}

static enum attempt read_gate(struct delivery *delivery, struct gate64 *gate)
{
    const struct event *event = delivery->event;
    const struct descriptor_table *idtr = &delivery->cpu->state.idtr;
    uint32_t offset = event->vector * 16u;
    struct mmu_fault fault;

    if (offset + 15 > idtr->limit)
        return delivery_gate_fault(delivery, VECTOR_GP);
    if (!delivery_read(delivery, idtr->base + offset, gate, sizeof(*gate), &fault))
        return delivery_memory_fault(delivery, &fault);
    if (GATE_TYPE(gate) != SYSTEM_INTERRUPT_GATE32 && GATE_TYPE(gate) != SYSTEM_TRAP_GATE32)
        return delivery_gate_fault(delivery, VECTOR_GP);
    if (delivery_checks_gate_dpl(event) && GATE_DPL(gate) < cpu_cpl(delivery->cpu))
        return delivery_gate_fault(delivery, VECTOR_GP);
    if (!(gate->type & GATE_P))
        return delivery_gate_fault(delivery, VECTOR_NP);
    return ATTEMPT_DELIVERED;
}

/*
 * The frame is written in one piece. Where that faults, the fault is the one of the first push that
 * does: SS, RSP, RFLAGS, CS, RIP, error code (SDM "INT n/INTO/INT3/INT1", operation), from the top
 * downwards.
 */
static enum mmu_status push_frame(struct cpu *cpu, uint64_t rsp, const void *frame, size_t size,
                                  unsigned access, struct mmu_fault *fault)
{
    enum mmu_status status = mmu_write(&cpu->mmu, rsp, frame, size, access, fault);
    if (status == MMU_OK)
        return MMU_OK;
    for (size_t offset = size; offset; offset -= sizeof(uint64_t)) {
        struct translation translation;
        enum mmu_status push = mmu_translate(&cpu->mmu, rsp + offset - sizeof(uint64_t),
                                             access | ACCESS_WRITE, &translation, fault);
        if (push != MMU_OK)
            return push;
    }
    return status;
}

/* RSP for the handler: the interrupted program's, or one from the TSS. */
static enum attempt find_stack(struct delivery *delivery, const struct delivery_target *target,
                               unsigned ist, uint64_t *rsp)
{
    struct cpu *cpu = delivery->cpu;
    const struct segment *tr = &cpu->state.seg[SEG_TR];
    uint32_t offset = ist ? TSS_IST0 + 8 * ist : TSS_RSP0 + 8 * target->cpl;
    struct mmu_fault fault;

    if (!ist && !target->inner) {
        *rsp = cpu->state.gpr[GPR_RSP];
        return ATTEMPT_DELIVERED;
    }
    if (offset + 7 > tr->limit)
        return delivery_fault(delivery, VECTOR_TS, tr->selector);
    if (!delivery_read(delivery, tr->base + offset, rsp, sizeof(*rsp), &fault))
        return delivery_memory_fault(delivery, &fault);
    return ATTEMPT_DELIVERED;
}

/* Error code (or nothing), RIP, CS, RFLAGS, RSP, SS in ascending order; returns what to write. */
static const uint64_t *build_frame(const struct delivery *delivery, uint64_t frame[6],
                                   unsigned *size)
{
    const struct cpu_state *state = &delivery->cpu->state;
    unsigned first = delivery->event->has_error_code ? 0 : 1;

    frame[0] = delivery->event->error_code;
    frame[1] = delivery->return_rip;
    frame[2] = state->seg[SEG_CS].selector;
    frame[3] = delivery->flags_image;
    frame[4] = state->gpr[GPR_RSP];
    frame[5] = state->seg[SEG_SS].selector;
    *size = (6 - first) * 8;
    return &frame[first];
}

enum attempt deliver_64bit(struct delivery *delivery)
{
    struct cpu *cpu = delivery->cpu;
    struct delivery_target target;
    struct mmu_fault fault;
    struct gate64 gate;
    uint64_t frame[6], rsp;
    const uint64_t *pushed;
    enum attempt attempt;
    unsigned size;

    attempt = read_gate(delivery, &gate);
    if (attempt == ATTEMPT_DELIVERED)
        attempt = delivery_check_code(delivery, gate.selector, &target);
    if (attempt == ATTEMPT_DELIVERED)
        attempt = find_stack(delivery, &target, gate.ist & 7, &rsp);
    if (attempt != ATTEMPT_DELIVERED)
        return attempt;
    if (!cpu_canonical(cpu, gate_offset(&gate)))
        return delivery_fault(delivery, VECTOR_GP, 0);

    pushed = build_frame(delivery, frame, &size);
    rsp = (rsp & ~15ull) - size;
    if (!cpu_canonical(cpu, rsp) || !cpu_canonical(cpu, rsp + size - 1))
        return delivery_fault(delivery, VECTOR_SS, 0);
    if (segment_mark_accessed(cpu, gate.selector, &target.descriptor, &fault) != MMU_OK ||
        push_frame(cpu, rsp, pushed, size, delivery_push_access(cpu, target.cpl), &fault) != MMU_OK)
        return delivery_memory_fault(delivery, &fault);

    cpu->state.gpr[GPR_RSP] = rsp;
    if (target.inner)
        segment_load_null(&cpu->state.seg[SEG_SS], (uint16_t)target.cpl, target.cpl);
    delivery_enter(delivery, &target, gate_offset(&gate),
                   GATE_TYPE(&gate) == SYSTEM_INTERRUPT_GATE32);
    return ATTEMPT_DELIVERED;
}
