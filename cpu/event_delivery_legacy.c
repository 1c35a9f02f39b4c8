/* Protected mode outside IA-32e mode, and virtual-8086 mode: interrupt, trap and task gates, 16 and
 * 32 bits wide. SDM "INT n/INTO/INT3/INT1", part PROTECTED-MODE and its labels. */
#include "cpu/event_delivery.h"

#include <string.h>

#include "cpu/vmx.h"

/* Fields of the TSS. 16-bit: SP0 at 2, SS0 at 4, then those of CPL 1 and 2. 32-bit: ESP0 at 4, SS0
 * at 8, and so on. */
#define TSS16_STACK 2
#define TSS32_STACK 4

#define TASK_SWITCH_BY_IDT 3 /* source in the exit qualification of task switches */

struct gate {
    uint32_t offset;
    uint16_t selector;
    uint8_t type; /* enum system_type, S bit included */
    uint8_t dpl;
    bool present;
};

/* The handler's stack, and how the frame goes onto it. */
struct stack {
    struct segment ss; /* of the handler */
    uint32_t esp;
    uint32_t esp_mask; /* 0xffff with a 16-bit stack segment */
};

#define FRAME_MAX 10 /* error code, EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS */
struct frame {
    unsigned count;
    unsigned width; /* bytes of an entry: 2 or 4 */
    uint32_t entry[FRAME_MAX];
};

static bool gate_is_32bit(const struct gate *gate)
{
    return gate->type & 8;
}

static bool gate_type_valid(unsigned type)
{
    return type == SYSTEM_TASK_GATE || type == SYSTEM_INTERRUPT_GATE16 ||
           type == SYSTEM_TRAP_GATE16 || type == SYSTEM_INTERRUPT_GATE32 ||
           type == SYSTEM_TRAP_GATE32;
}

static struct gate decode_gate(uint64_t descriptor)
{
    struct gate gate = {.offset = (descriptor & 0xffff) | (descriptor >> 32 & 0xffff0000),
                        .selector = (uint16_t)(descriptor >> 16),
                        .type = descriptor >> 40 & 0x1f,
                        .dpl = descriptor >> 45 & 3,
                        .present = descriptor >> 47 & 1};

    if (!gate_is_32bit(&gate))
        gate.offset &= 0xffff;
    return gate;
}

static enum attempt read_gate(struct delivery *delivery, struct gate *gate)
{
    const struct event *event = delivery->event;
    const struct descriptor_table *idtr = &delivery->cpu->state.idtr;
    uint32_t offset = event->vector * 8u;
    struct mmu_fault fault;
    uint64_t descriptor;

    if (offset + 7 > idtr->limit)
        return delivery_gate_fault(delivery, VECTOR_GP);
    if (!delivery_read(delivery, idtr->base + offset, &descriptor, sizeof(descriptor), &fault))
        return delivery_memory_fault(delivery, &fault);
    *gate = decode_gate(descriptor);
    if (!gate_type_valid(gate->type))
        return delivery_gate_fault(delivery, VECTOR_GP);
    if (delivery_checks_gate_dpl(event) && gate->dpl < cpu_cpl(delivery->cpu))
        return delivery_gate_fault(delivery, VECTOR_GP);
    if (!gate->present)
        return delivery_gate_fault(delivery, VECTOR_NP);
    return ATTEMPT_DELIVERED;
}

/*
 * TASK-GATE: the TSS descriptor is checked, then the task switch causes a VM exit in VMX non-root
 * operation. Outside of it vtxsim, whose guests all run in non-root operation, has no task
 * switches: the gate faults as one that does not name a TSS.
 */
static enum attempt deliver_task_gate(struct delivery *delivery, const struct gate *gate)
{
    struct cpu *cpu = delivery->cpu;
    uint16_t selector = gate->selector;
    uint64_t descriptor;
    enum attempt attempt;
    unsigned type;

    if (selector_null(selector) || (selector & SELECTOR_TI) || !cpu->non_root)
        return delivery_fault(delivery, VECTOR_GP, selector);
    attempt = delivery_read_descriptor(delivery, selector, VECTOR_GP, &descriptor);
    if (attempt != ATTEMPT_DELIVERED)
        return attempt;
    type = descriptor_access_rights(descriptor) & (AR_S | AR_TYPE_MASK);
    if (type != SYSTEM_TSS16_AVAILABLE && type != SYSTEM_TSS32_AVAILABLE)
        return delivery_fault(delivery, VECTOR_GP, selector);
    if (!(descriptor_access_rights(descriptor) & AR_P))
        return delivery_fault(delivery, VECTOR_NP, selector);
    vmx_exit_task_switch(cpu, selector, TASK_SWITCH_BY_IDT, delivery->event->instruction_length);
    return ATTEMPT_EXIT;
}

/* SS:ESP for the new CPL from the current TSS. */
static enum attempt read_tss_stack(struct delivery *delivery, unsigned cpl, uint16_t *selector,
                                   uint32_t *esp)
{
    const struct segment *tr = &delivery->cpu->state.seg[SEG_TR];
    bool tss32 = tr->access_rights & 8;
    unsigned width = tss32 ? 4 : 2;
    uint32_t offset = tss32 ? TSS32_STACK + 8 * cpl : TSS16_STACK + 4 * cpl;
    struct mmu_fault fault;
    uint8_t bytes[8];

    if (offset + width + 1 > tr->limit)
        return delivery_fault(delivery, VECTOR_TS, tr->selector);
    if (!delivery_read(delivery, tr->base + offset, bytes, width + 2, &fault))
        return delivery_memory_fault(delivery, &fault);
    *esp = bytes[0] | bytes[1] << 8;
    if (tss32)
        *esp |= bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    *selector = bytes[width] | bytes[width + 1] << 8;
    return ATTEMPT_DELIVERED;
}

static uint32_t stack_mask(const struct segment *ss)
{
    return ss->access_rights & AR_DB ? 0xffffffff : 0xffff;
}

/* INTER-PRIVILEGE-LEVEL-INTERRUPT and INTERRUPT-FROM-VIRTUAL-8086-MODE: the stack segment. */
static enum attempt find_inner_stack(struct delivery *delivery, unsigned cpl, struct stack *stack)
{
    uint64_t descriptor;
    enum attempt attempt;
    struct mmu_fault fault;
    uint16_t selector = 0;
    uint32_t rights;

    attempt = read_tss_stack(delivery, cpl, &selector, &stack->esp);
    if (attempt != ATTEMPT_DELIVERED)
        return attempt;
    if (selector_null(selector))
        return delivery_fault(delivery, VECTOR_TS, 0);
    attempt = delivery_read_descriptor(delivery, selector, VECTOR_TS, &descriptor);
    if (attempt != ATTEMPT_DELIVERED)
        return attempt;
    rights = descriptor_access_rights(descriptor);
    if ((selector & SELECTOR_RPL) != cpl || AR_DPL(rights) != cpl ||
        (rights & (AR_S | AR_CODE | AR_WRITABLE)) != (AR_S | AR_WRITABLE))
        return delivery_fault(delivery, VECTOR_TS, selector);
    if (!(rights & AR_P))
        return delivery_fault(delivery, VECTOR_SS, selector);
    if (segment_mark_accessed(delivery->cpu, selector, &descriptor, &fault) != MMU_OK)
        return delivery_memory_fault(delivery, &fault);
    segment_load(&stack->ss, selector, descriptor);
    stack->esp_mask = stack_mask(&stack->ss);
    return ATTEMPT_DELIVERED;
}

static enum attempt find_stack(struct delivery *delivery, const struct delivery_target *target,
                               struct stack *stack)
{
    const struct cpu_state *state = &delivery->cpu->state;

    if (target->inner)
        return find_inner_stack(delivery, target->cpl, stack);
    stack->ss = state->seg[SEG_SS];
    stack->esp = (uint32_t)state->gpr[GPR_RSP];
    stack->esp_mask = stack_mask(&stack->ss);
    return ATTEMPT_DELIVERED;
}

static void add(struct frame *frame, uint64_t value)
{
    frame->entry[frame->count++] = (uint32_t)value;
}

/* In ascending order of addresses, that is last push first. */
static void build_frame(const struct delivery *delivery, const struct gate *gate, bool inner,
                        struct frame *frame)
{
    const struct cpu_state *state = &delivery->cpu->state;
    static const enum segment_register from_v86[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    frame->count = 0;
    frame->width = gate_is_32bit(gate) ? 4 : 2;
    if (delivery->event->has_error_code)
        add(frame, delivery->event->error_code);
    add(frame, delivery->return_rip);
    add(frame, state->seg[SEG_CS].selector);
    add(frame, delivery->flags_image);
    if (!inner)
        return;
    add(frame, state->gpr[GPR_RSP]);
    add(frame, state->seg[SEG_SS].selector);
    if (cpu_virtual_8086(delivery->cpu))
        for (unsigned i = 0; i < 4; i++)
            add(frame, state->seg[from_v86[i]].selector);
}

/* The highest offset that the segment allows is its limit, or for expand-down segments the lowest
 * is limit + 1 (SDM "Limit Checking"). */
static bool inside_limit(const struct segment *ss, uint32_t offset, unsigned size)
{
    uint32_t last = offset + size - 1;

    if (last < offset)
        return false;
    if ((ss->access_rights & (AR_CODE | AR_EXPAND)) == AR_EXPAND)
        return offset > ss->limit && last <= stack_mask(ss);
    return last <= ss->limit;
}

static uint32_t entry_offset(const struct stack *stack, const struct frame *frame, unsigned index)
{
    return (stack->esp - (frame->count - index) * frame->width) & stack->esp_mask;
}

static bool stack_has_room(const struct stack *stack, const struct frame *frame)
{
    for (unsigned i = 0; i < frame->count; i++)
        if (!inside_limit(&stack->ss, entry_offset(stack, frame, i), frame->width))
            return false;
    return true;
}

/* In one piece where ESP does not wrap around. If that faults, or else, entry by entry from the top
 * downwards, as the SDM's operation pushes them: the first push that faults is the one reported. */
static enum mmu_status push_frame(struct delivery *delivery, const struct stack *stack,
                                  const struct frame *frame, unsigned cpl, struct mmu_fault *fault)
{
    struct cpu *cpu = delivery->cpu;
    unsigned access = delivery_push_access(cpu, cpl);
    uint32_t lowest = entry_offset(stack, frame, 0);
    unsigned size = frame->count * frame->width;
    enum mmu_status status = MMU_OK;
    uint8_t bytes[FRAME_MAX * 4];
    /* Linear addresses wrap around at 4 GiB outside 64-bit mode. */
    uint32_t linear = (uint32_t)stack->ss.base + lowest;

    for (unsigned i = 0; i < frame->count; i++)
        memcpy(bytes + i * frame->width, &frame->entry[i], frame->width);
    if (lowest + (uint64_t)size <= (uint64_t)stack->esp_mask + 1 &&
        linear + (uint64_t)size <= 1ull << 32 &&
        mmu_write(&cpu->mmu, linear, bytes, size, access, fault) == MMU_OK)
        return MMU_OK;
    for (unsigned i = frame->count; i-- > 0 && status == MMU_OK;) {
        linear = (uint32_t)stack->ss.base + entry_offset(stack, frame, i);
        status =
            mmu_write(&cpu->mmu, linear, bytes + i * frame->width, frame->width, access, fault);
    }
    return status;
}

/* What is left of virtual-8086 mode: the handler finds null selectors in the data segments. */
static void leave_virtual_8086(struct cpu_state *state)
{
    static const enum segment_register cleared[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    for (unsigned i = 0; i < 4; i++)
        segment_load_null(&state->seg[cleared[i]], 0, 0);
}

static enum attempt deliver_gate(struct delivery *delivery, const struct gate *gate)
{
    struct cpu *cpu = delivery->cpu;
    struct cpu_state *state = &cpu->state;
    struct delivery_target target;
    struct mmu_fault fault;
    struct frame frame;
    struct stack stack;
    enum attempt attempt;
    uint32_t esp;

    attempt = delivery_check_code(delivery, gate->selector, &target);
    if (attempt == ATTEMPT_DELIVERED)
        attempt = find_stack(delivery, &target, &stack);
    if (attempt != ATTEMPT_DELIVERED)
        return attempt;
    build_frame(delivery, gate, target.inner, &frame);
    if (!stack_has_room(&stack, &frame))
        return delivery_fault(delivery, VECTOR_SS, target.inner ? stack.ss.selector : 0);
    if (gate->offset > descriptor_limit(target.descriptor))
        return delivery_fault(delivery, VECTOR_GP, 0);
    if (segment_mark_accessed(cpu, gate->selector, &target.descriptor, &fault) != MMU_OK ||
        push_frame(delivery, &stack, &frame, target.cpl, &fault) != MMU_OK)
        return delivery_memory_fault(delivery, &fault);

    esp = entry_offset(&stack, &frame, 0);
    if (cpu_virtual_8086(cpu))
        leave_virtual_8086(state);
    state->seg[SEG_SS] = stack.ss;
    state->gpr[GPR_RSP] = (stack.esp & ~stack.esp_mask) | esp;
    delivery_enter(delivery, &target, gate->offset,
                   gate->type == SYSTEM_INTERRUPT_GATE16 || gate->type == SYSTEM_INTERRUPT_GATE32);
    return ATTEMPT_DELIVERED;
}

enum attempt deliver_legacy(struct delivery *delivery)
{
    struct cpu *cpu = delivery->cpu;
    enum attempt attempt;
    struct gate gate = {0};

    /* INT n in virtual-8086 mode is sensitive to IOPL; INT3, INTO and INT1 are not. */
    if (cpu_virtual_8086(cpu) && delivery->event->type == EVENT_SOFTWARE_INTERRUPT &&
        (cpu->state.rflags & RFLAGS_IOPL) != RFLAGS_IOPL)
        return delivery_fault(delivery, VECTOR_GP, 0);
    attempt = read_gate(delivery, &gate);
    if (attempt != ATTEMPT_DELIVERED)
        return attempt;
    if (gate.type == SYSTEM_TASK_GATE)
        return deliver_task_gate(delivery, &gate);
    return deliver_gate(delivery, &gate);
}
