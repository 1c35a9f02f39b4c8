/* Hashes of registers and of written memory, see state_hash.h. */
#include "sim/state_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sim/vm_internal.h"

/* --- Registers ---------------------------------------------------------------------------------
 */

static void add(XXH64_state_t *hash, const uint64_t *words, size_t count)
{
    XXH64_update(hash, words, count * sizeof(*words));
}

#define ADD(hash, ...)                         \
    add(hash, (const uint64_t[]){__VA_ARGS__}, \
        sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void add_segments(XXH64_state_t *hash, const struct cpu_state *state)
{
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const struct segment *segment = &state->seg[i];
        ADD(hash, segment->selector, segment->base, segment->limit, segment->access_rights);
    }
    ADD(hash, state->gdtr.base, state->gdtr.limit, state->idtr.base, state->idtr.limit);
}

static void add_msrs(XXH64_state_t *hash, const struct cpu_state *state)
{
    ADD(hash, state->efer, state->star, state->lstar, state->cstar, state->fmask,
        state->kernel_gs_base, state->tsc_aux, state->sysenter_cs, state->sysenter_esp,
        state->sysenter_eip, state->pat, state->debugctl, state->apic_base, state->misc_enable,
        state->feature_control, state->mtrr_def_type, state->tsc_adjust, state->spec_ctrl,
        state->xss, state->mcg_status);
    add(hash, state->mtrr_fixed, sizeof(state->mtrr_fixed) / sizeof(uint64_t));
    add(hash, state->mtrr_base, sizeof(state->mtrr_base) / sizeof(uint64_t));
    add(hash, state->mtrr_mask, sizeof(state->mtrr_mask) / sizeof(uint64_t));
    add(hash, state->mc_bank, sizeof(state->mc_bank) / sizeof(uint64_t));
}

uint64_t state_hash_registers(struct vcpu *vcpu)
{
    const struct cpu_state *state = &vcpu->cpu.state;
    XXH64_state_t hash;

    XXH64_reset(&hash, 0);
    add(&hash, state->gpr, GPR_COUNT);
    ADD(&hash, state->rip, state->rflags);
    add_segments(&hash, state);
    ADD(&hash, state->cr0, state->cr2, state->cr3, state->cr4,
        platform_read_cr8(vcpu->vm->platform, vcpu->index), state->xcr0);
    add(&hash, state->dr, 4);
    ADD(&hash, state->dr6, state->dr7);
    add_msrs(&hash, state);
    ADD(&hash, state->interruptibility, state->activity);
    if (vcpu->engine_operations->read_fpu) {
        uint8_t image[FXSAVE_BYTES];

        vcpu->engine_operations->read_fpu(vcpu, image);
        XXH64_update(&hash, image, sizeof(image));
    }
    return XXH64_digest(&hash);
}

/* --- Memory ------------------------------------------------------------------------------------
 */

static void add_page(XXH64_state_t *hash, uint64_t gpa, const void *page)
{
    ADD(hash, gpa, XXH3_64bits(page, FRAME_SIZE));
}

/* Adds the pages of a slot that were written, and takes their marks away (so that a second slot of
 * the same memory does not show them again). Returns how many. */
static uint32_t add_slot(XXH64_state_t *hash, const struct physmem *physmem,
                         const struct memory_slot *slot)
{
    uint64_t first = slot->hpa >> FRAME_SHIFT, end = first + (slot->size >> FRAME_SHIFT);
    uint32_t pages = 0;

    for (uint64_t frame = first; frame < end;) {
        uint64_t *word = &physmem->written[frame / 64], rest = *word >> frame % 64;

        if (!rest) {
            frame = (frame / 64 + 1) * 64;
            continue;
        }
        frame += (unsigned)__builtin_ctzll(rest);
        if (frame >= end)
            break;
        *word &= ~(1ull << frame % 64);
        add_page(hash, slot->gpa + ((frame - first) << FRAME_SHIFT),
                 physmem_at(physmem, frame << FRAME_SHIFT));
        pages++;
        frame++;
    }
    return pages;
}

/* Slots are in the order of their addresses. */
static uint64_t hash_written(struct vm *vm, uint32_t *pages)
{
    XXH64_state_t hash;

    XXH64_reset(&hash, vm->memory_hash);
    *pages = 0;
    for (unsigned i = 0; i < vm->memory.count; i++)
        if (vm->memory.slots[i].kind != SLOT_MMIO)
            *pages += add_slot(&hash, &vm->physmem, &vm->memory.slots[i]);
    return vm->memory_hash = XXH64_digest(&hash);
}

/* --- When --------------------------------------------------------------------------------------
 */

void state_hash_begin(struct vm *vm)
{
    bool wanted = trace_wants(vm->sink, TRACE_STATE_HASH) && vm->physmem.written &&
                  vm->vcpu.engine_operations->watch_writes;

    vm->hash_at = wanted ? vm->config.hash_every : UINT64_MAX;
    if (!wanted)
        physmem_untrack_writes(&vm->physmem);
}

/* cpu.state is up to date. */
static void record(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct trace_event event = {
        .type = TRACE_STATE_HASH,
        .cpu = (uint16_t)vcpu->index,
        .instructions = vcpu->engine_operations->instructions(vcpu),
        .time = vcpu_cycles(vcpu),
        .rip = vcpu->cpu.state.rip,
        .state_hash.registers = state_hash_registers(vcpu),
    };

    event.state_hash.memory = hash_written(vm, &event.state_hash.pages);
    vcpu->engine_operations->watch_writes(vcpu);
    vm->sink->event(vm->sink, &event);
}

void state_hash_boundary(struct vcpu *vcpu, uint64_t instructions)
{
    struct vm *vm = vcpu->vm;

    if (instructions < vm->hash_at)
        return;
    vcpu->engine_operations->pull(vcpu);
    record(vcpu);
    uint64_t every = vm->config.hash_every, last = instructions - instructions % every;
    vm->hash_at = last > UINT64_MAX - every ? UINT64_MAX : last + every;
    vm_reconsider(vm); /* the deadline stands here */
}

/*
 * The last exit has left the processor in VMX root operation. Entering once more, with nothing to
 * inject, brings the state of the guest back.
 */
void state_hash_end(struct vm *vm)
{
    struct vcpu *vcpu = &vm->vcpu;

    if (vm->hash_at == UINT64_MAX)
        return;
    vm->hash_at = UINT64_MAX;
    if (vcpu->vmcs.launched && !vcpu->cpu.non_root) {
        vmcs_set(&vcpu->vmcs, VMCS_ENTRY_INTERRUPTION_INFO, 0);
        vmentry(&vcpu->cpu, false);
    }
    record(vcpu);
}
