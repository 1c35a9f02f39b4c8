/* The guest's memory as the handler maps it in EPT: whole, page by page, or withdrawn at random;
 * and the machine's random numbers. */
#include "sim/vm_internal.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t vm_random(struct vm *vm)
{
    return next_random(&vm->random_state);
}

static unsigned page_shift_of(uint64_t page_size)
{
    return page_size >= 1ull << 30 ? 30 : page_size >= 1ull << 21 ? 21 : 12;
}

int vm_map_page(struct vm *vm, uint64_t gpa)
{
    return guest_memory_map_page(&vm->memory, &vm->ept, gpa,
                                 page_shift_of(vm->config.ept_page_size));
}

int vm_map_all(struct vm *vm)
{
    return guest_memory_map_ept(&vm->memory, &vm->ept, page_shift_of(vm->config.ept_page_size));
}

void vm_withdraw_ept(struct vm *vm, uint64_t instructions)
{
    /* Mostly all of memory, so that what is used most goes too; else one of its slots' halves. */
    uint64_t random = next_random(&vm->withdraw_state);
    const struct memory_slot *slot = &vm->memory.slots[random % vm->memory.count];
    if (slot->kind != SLOT_MMIO && random >> 62 == 0) {
        uint64_t half = slot->size / 2 & ~(FRAME_SIZE - 1);
        ept_unmap(&vm->ept, slot->gpa + (random >> 61 & 1 ? half : 0), half);
    } else {
        ept_unmap(&vm->ept, 0,
                  vm->memory.slots[vm->memory.count - 1].gpa +
                      vm->memory.slots[vm->memory.count - 1].size);
    }
    mmu_invept(&vm->vcpu.cpu.mmu, 1, vm->ept.eptp);
    vm->vcpu.engine_operations->flush_tlb(&vm->vcpu);
    vm->withdrawn++;
    uint64_t mean = vm->config.ept_withdraw;
    vm->withdraw_at = instructions + 1 + (random >> 16) % (2 * mean);
}
