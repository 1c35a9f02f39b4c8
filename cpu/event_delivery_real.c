/* Real-address mode: the interrupt vector table. SDM "Interrupt and Exception Handling" of the
 * chapter "8086 Emulation", and "INT n/INTO/INT3/INT1", part REAL-ADDRESS-MODE. */
#include "cpu/event_delivery.h"

#define FRAME_WORDS 3

/* A word may lie anywhere in the stack segment but across its end. */
static bool stack_has_room(const struct segment *ss, uint16_t sp)
{
    for (unsigned i = 1; i <= FRAME_WORDS; i++)
        if ((uint32_t)(uint16_t)(sp - 2 * i) + 1 > ss->limit)
            return false;
    return true;
}

/* In one piece where SP does not wrap around. If that faults, or else, word by word from the top
 * downwards: the first push that faults is the one reported. */
static enum mmu_status push_frame(struct delivery *delivery, uint64_t base, uint16_t sp,
                                  const uint16_t frame[FRAME_WORDS], struct mmu_fault *fault)
{
    struct mmu *mmu = &delivery->cpu->mmu;
    enum mmu_status status = MMU_OK;

    if (sp >= 2 * FRAME_WORDS && mmu_write(mmu, base + (uint16_t)(sp - 2 * FRAME_WORDS), frame,
                                           2 * FRAME_WORDS, ACCESS_WRITE, fault) == MMU_OK)
        return MMU_OK;
    for (unsigned i = FRAME_WORDS; i-- > 0 && status == MMU_OK;)
        status = mmu_write(mmu, base + (uint16_t)(sp - 2 * (FRAME_WORDS - i)), &frame[i], 2,
                           ACCESS_WRITE, fault);
    return status;
}

enum attempt deliver_real(struct delivery *delivery)
{
    struct cpu *cpu = delivery->cpu;
    struct cpu_state *state = &cpu->state;
    uint32_t offset = delivery->event->vector * 4u;
    uint16_t sp = (uint16_t)state->gpr[GPR_RSP];
    uint16_t frame[FRAME_WORDS] = {(uint16_t)delivery->return_rip, state->seg[SEG_CS].selector,
                                   (uint16_t)delivery->flags_image};
    uint16_t handler[2]; /* IP, CS */
    struct mmu_fault fault;

    if (offset + 3 > state->idtr.limit)
        return delivery_gate_fault(delivery, VECTOR_GP);
    if (!stack_has_room(&state->seg[SEG_SS], sp))
        return delivery_fault(delivery, VECTOR_SS, 0);
    if (!delivery_read(delivery, state->idtr.base + offset, handler, sizeof(handler), &fault))
        return delivery_memory_fault(delivery, &fault);
    if (handler[0] > state->seg[SEG_CS].limit)
        return delivery_fault(delivery, VECTOR_GP, 0);
    if (push_frame(delivery, state->seg[SEG_SS].base, sp, frame, &fault) != MMU_OK)
        return delivery_memory_fault(delivery, &fault);

    sp -= 2 * FRAME_WORDS;
    state->gpr[GPR_RSP] = (state->gpr[GPR_RSP] & ~0xffffull) | sp;
    segment_load_real(&state->seg[SEG_CS], handler[1]);
    state->rip = handler[0];
    state->rflags &= ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
    cpu->changed |= CPU_CHANGED_SEGMENTS;
    return ATTEMPT_DELIVERED;
}
