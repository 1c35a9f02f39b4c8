/* Stops at instruction boundaries, and the view of a processor that stands still at one. */
#include "sim/debug.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sim/state_hash.h"
#include "sim/vm_internal.h"

void vm_debug_attach(struct vm *vm, vm_debug_hook *hook, void *context)
{
    vm->debug.hook = hook;
    vm->debug.context = context;
}

void vm_debug_stop_at(struct vm *vm, uint64_t instructions)
{
    vm->debug.stop_at = instructions;
    if (vm->debug.standing && instructions <= vm->vcpu.engine_operations->instructions(&vm->vcpu))
        vm->debug.stop_at = UINT64_MAX; /* that is here */
    if (vm->state == VM_RUNNING)
        vm_reconsider(vm);
}

void vm_debug_stop_at_time(struct vm *vm, uint64_t cycles)
{
    vm->debug.stop_at_time = cycles;
    if (vm->debug.standing && cycles <= vcpu_cycles(&vm->vcpu))
        vm->debug.stop_at_time = UINT64_MAX; /* that is now */
    if (vm->state == VM_RUNNING)
        vm_reconsider(vm);
}

void vm_debug_interrupt(struct vm *vm)
{
    atomic_store(&vm->debug.interrupted, true);
    atomic_store(&vm->vcpu.kicked, true);
    if (vm->vcpu.engine)
        vm->vcpu.engine_operations->kick(&vm->vcpu);
}

void vm_debug_stopped(struct vcpu *vcpu, enum vm_debug_reason reason, uint64_t address)
{
    struct vm_debug *debug = &vcpu->vm->debug;
    const struct vm_debug_stop stop = {
        .reason = reason,
        .instructions = vcpu->engine_operations->instructions(vcpu),
        .address = address,
    };

    vcpu->engine_operations->pull(vcpu);
    debug->changed = false;
    debug->standing = true;
    debug->hook(debug->context, vcpu->vm, &stop);
    debug->standing = false;
    if (debug->changed)
        vcpu->engine_operations->push(vcpu);
    if (debug->points.changed)
        vcpu->engine_operations->points_changed(vcpu);
}

/* True if the place asked for has been reached: it is met once. */
static bool take_place(uint64_t *place, uint64_t now)
{
    bool reached = now >= *place;

    if (reached)
        *place = UINT64_MAX;
    return reached;
}

void vm_debug_boundary(struct vcpu *vcpu, uint64_t instructions)
{
    struct vm_debug *debug = &vcpu->vm->debug;

    if (!debug->hook)
        return;
    if (atomic_exchange(&debug->interrupted, false)) {
        vm_debug_stopped(vcpu, VM_DEBUG_INTERRUPT, 0);
    } else if (take_place(&debug->stop_at, instructions) ||
               take_place(&debug->stop_at_time, vcpu_cycles(vcpu))) {
        vm_debug_stopped(vcpu, VM_DEBUG_COUNT, 0);
    } else {
        return;
    }
    vm_reconsider(vcpu->vm); /* the deadline stands where the hook was to be called */
}

/*
 * The last exit has left the processor in VMX root operation. Entering once more, with nothing to
 * inject, shows it as the guest left it.
 */
void vm_debug_end(struct vm *vm)
{
    struct vm_debug *debug = &vm->debug;
    struct vcpu *vcpu = &vm->vcpu;
    struct vm_debug_stop stop = {
        .reason = VM_DEBUG_END,
        .instructions = vcpu->engine_operations->instructions(vcpu),
    };

    if (!debug->hook)
        return;
    vmcs_set(&vcpu->vmcs, VMCS_ENTRY_INTERRUPTION_INFO, 0);
    if (vcpu->vmcs.launched && !vcpu->cpu.non_root)
        vmentry(&vcpu->cpu, false);
    debug->hook(debug->context, vm, &stop);
}

struct cpu *vm_debug_cpu(struct vm *vm)
{
    return &vm->vcpu.cpu;
}

void vm_debug_changed(struct vm *vm)
{
    vm->vcpu.cpu.changed |= CPU_CHANGED_TLB;
    vm->debug.changed = true;
}

void vm_debug_read_fpu(struct vm *vm, uint8_t image[FXSAVE_BYTES])
{
    memset(image, 0, FXSAVE_BYTES);
    if (vm->vcpu.engine_operations->read_fpu)
        vm->vcpu.engine_operations->read_fpu(&vm->vcpu, image);
}

void vm_debug_write_fpu(struct vm *vm, const uint8_t image[FXSAVE_BYTES])
{
    if (vm->vcpu.engine_operations->write_fpu)
        vm->vcpu.engine_operations->write_fpu(&vm->vcpu, image);
}

/* --- Memory ------------------------------------------------------------------------------------
 */

/* Host address of the byte at a linear address, NULL if it is not in RAM or ROM. A page that EPT
 * does not map yet is there all the same. */
static uint8_t *at_linear(struct vm *vm, uint64_t linear)
{
    struct mmu *mmu = &vm->vcpu.cpu.mmu;
    struct translation translation;
    struct mmu_fault fault;
    uint64_t gpa;

    if ((uint64_t)((int64_t)(linear << 7) >> 7) != linear) /* not even with LA57 canonical */
        return NULL;
    switch (
        mmu_translate(mmu, linear, ACCESS_READ | ACCESS_AC | ACCESS_PROBE, &translation, &fault)) {
    case MMU_OK:
        gpa = translation.gpa;
        break;
    case MMU_EPT_VIOLATION:
        gpa = fault.gpa;
        if (!(fault.qualification & VIOLATION_FINAL_ACCESS))
            return NULL;
        break;
    default:
        return NULL;
    }
    return guest_memory_at(&vm->memory, gpa, 1);
}

static size_t in_page(uint64_t address, size_t size)
{
    size_t rest = FRAME_SIZE - (address & (FRAME_SIZE - 1));

    return size < rest ? size : rest;
}

size_t vm_debug_read(struct vm *vm, uint64_t linear, void *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        const uint8_t *from = at_linear(vm, linear + done);
        size_t part = in_page(linear + done, size - done);

        if (!from)
            break;
        memcpy((uint8_t *)data + done, from, part);
        done += part;
    }
    return done;
}

size_t vm_debug_write(struct vm *vm, uint64_t linear, const void *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        uint8_t *to = at_linear(vm, linear + done);
        size_t part = in_page(linear + done, size - done);

        if (!to)
            break;
        physmem_note_write(&vm->physmem, (uint64_t)(to - vm->physmem.base), part);
        memcpy(to, (const uint8_t *)data + done, part);
        done += part;
    }
    if (done) {
        vm->vcpu.engine_operations->flush_code(&vm->vcpu);
        vm_debug_changed(vm);
    }
    return done;
}

size_t vm_debug_read_physical(struct vm *vm, uint64_t gpa, void *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        size_t part = in_page(gpa + done, size - done);
        const uint8_t *from = guest_memory_at(&vm->memory, gpa + done, part);

        if (!from)
            break;
        memcpy((uint8_t *)data + done, from, part);
        done += part;
    }
    return done;
}

/* --- Hashes ------------------------------------------------------------------------------------
 */

uint64_t vm_debug_hash_memory(struct vm *vm)
{
    XXH64_state_t state;

    XXH64_reset(&state, 0);
    for (unsigned i = 0; i < vm->memory.count; i++) {
        const struct memory_slot *slot = &vm->memory.slots[i];
        const uint64_t head[] = {slot->kind, slot->gpa, slot->size};

        XXH64_update(&state, head, sizeof(head));
        if (slot->kind != SLOT_MMIO)
            XXH64_update(&state, physmem_at(&vm->physmem, slot->hpa), slot->size);
    }
    return XXH64_digest(&state);
}

uint64_t vm_debug_hash_registers(struct vm *vm)
{
    return state_hash_registers(&vm->vcpu);
}
