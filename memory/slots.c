/* Guest-physical slots, see slots.h. */
#include "memory/slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GPA_LIMIT (1ull << 52)

void guest_memory_init(struct guest_memory *memory, struct physmem *physmem)
{
    *memory = (struct guest_memory){.physmem = physmem};
}

void guest_memory_destroy(struct guest_memory *memory)
{
    free(memory->slots);
    *memory = (struct guest_memory){0};
}

/* Index of the first slot that ends above gpa. */
static unsigned slot_index(const struct guest_memory *memory, uint64_t gpa)
{
    unsigned low = 0, high = memory->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct memory_slot *slot = &memory->slots[middle];
        if (slot->gpa + slot->size <= gpa)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int slot_check(const struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
    if (size == 0 || (gpa | size) & (FRAME_SIZE - 1) || size > GPA_LIMIT || gpa > GPA_LIMIT - size)
        return -EINVAL;
    unsigned i = slot_index(memory, gpa);
    return i < memory->count && memory->slots[i].gpa < gpa + size ? -EEXIST : 0;
}

int guest_memory_add_at(struct guest_memory *memory, enum slot_kind kind, uint64_t gpa,
                        uint64_t size, uint64_t hpa)
{
    int error = slot_check(memory, gpa, size);
    if (error)
        return error;
    if (kind != SLOT_MMIO &&
        (hpa & (FRAME_SIZE - 1) || !physmem_contains(memory->physmem, hpa, size)))
        return -EINVAL;

    struct memory_slot *slots =
        realloc(memory->slots, (memory->count + 1) * sizeof(*memory->slots));
    if (!slots)
        return -ENOMEM;
    memory->slots = slots;
    unsigned i = slot_index(memory, gpa);
    memmove(&slots[i + 1], &slots[i], (memory->count - i) * sizeof(*slots));
    slots[i] = (struct memory_slot){
        .kind = kind, .gpa = gpa, .size = size, .hpa = kind == SLOT_MMIO ? FRAME_NONE : hpa};
    memory->count++;
    return 0;
}

/*
 * EPT can use a large page where gpa and hpa agree in the bits below it. So the host-physical range
 * starts as far into a large page as the guest-physical one, if there is room for that.
 */
static uint64_t range_alloc(struct physmem *physmem, uint64_t gpa, uint64_t size)
{
    for (unsigned shift = 30; shift >= FRAME_SHIFT; shift -= 9) {
        uint64_t lead = gpa & ((1ull << shift) - 1);
        if (size < 1ull << shift && shift > FRAME_SHIFT)
            continue;
        uint64_t hpa = physmem_alloc_range(physmem, lead + size, 1ull << shift);
        if (hpa != FRAME_NONE)
            return hpa + lead;
    }
    return FRAME_NONE;
}

int guest_memory_add(struct guest_memory *memory, enum slot_kind kind, uint64_t gpa, uint64_t size)
{
    int error = slot_check(memory, gpa, size);
    if (error)
        return error;
    if (kind == SLOT_MMIO)
        return guest_memory_add_at(memory, kind, gpa, size, FRAME_NONE);
    uint64_t hpa = range_alloc(memory->physmem, gpa, size);
    return hpa == FRAME_NONE ? -ENOMEM : guest_memory_add_at(memory, kind, gpa, size, hpa);
}

const struct memory_slot *guest_memory_find(const struct guest_memory *memory, uint64_t gpa)
{
    unsigned i = slot_index(memory, gpa);
    return i < memory->count && memory->slots[i].gpa <= gpa ? &memory->slots[i] : NULL;
}

uint64_t guest_memory_hpa(const struct guest_memory *memory, uint64_t gpa)
{
    const struct memory_slot *slot = guest_memory_find(memory, gpa);
    return slot && slot->kind != SLOT_MMIO ? slot->hpa + (gpa - slot->gpa) : FRAME_NONE;
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
    const struct memory_slot *slot = guest_memory_find(memory, gpa);
    if (!slot || slot->kind == SLOT_MMIO || size > slot->size - (gpa - slot->gpa))
        return NULL;
    return physmem_at(memory->physmem, slot->hpa + (gpa - slot->gpa));
}

/* The part of a range that lies in the slot of its first byte; NULL if that is no memory. */
static uint8_t *range_part(const struct guest_memory *memory, uint64_t gpa, size_t size,
                           size_t *part)
{
    const struct memory_slot *slot = guest_memory_find(memory, gpa);
    if (!slot || slot->kind == SLOT_MMIO)
        return NULL;
    uint64_t rest = slot->size - (gpa - slot->gpa);
    *part = rest < size ? (size_t)rest : size;
    return physmem_at(memory->physmem, slot->hpa + (gpa - slot->gpa));
}

static bool range_is_memory(const struct guest_memory *memory, uint64_t gpa, size_t size)
{
    size_t part;

    for (; size > 0; gpa += part, size -= part) {
        if (!range_part(memory, gpa, size, &part))
            return false;
    }
    return true;
}

int guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *data, size_t size)
{
    uint8_t *bytes = data;
    size_t part;

    if (!range_is_memory(memory, gpa, size))
        return -EFAULT;
    for (; size > 0; gpa += part, bytes += part, size -= part) {
        const uint8_t *from = range_part(memory, gpa, size, &part);
        memcpy(bytes, from, part);
    }
    return 0;
}

int guest_memory_write(const struct guest_memory *memory, uint64_t gpa, const void *data,
                       size_t size)
{
    const uint8_t *bytes = data;
    size_t part;

    if (!range_is_memory(memory, gpa, size))
        return -EFAULT;
    for (; size > 0; gpa += part, bytes += part, size -= part) {
        uint8_t *to = range_part(memory, gpa, size, &part);
        physmem_note_write(memory->physmem, (uint64_t)(to - memory->physmem->base), part);
        memcpy(to, bytes, part);
    }
    return 0;
}

int guest_memory_fill(const struct guest_memory *memory, uint64_t gpa, uint8_t byte, size_t size)
{
    size_t part;

    if (!range_is_memory(memory, gpa, size))
        return -EFAULT;
    for (; size > 0; gpa += part, size -= part) {
        uint8_t *to = range_part(memory, gpa, size, &part);
        physmem_note_write(memory->physmem, (uint64_t)(to - memory->physmem->base), part);
        memset(to, byte, part);
    }
    return 0;
}

static uint64_t slot_rights(const struct memory_slot *slot)
{
    return slot->kind == SLOT_ROM ? EPT_READ | EPT_EXECUTE : EPT_ALL;
}

int guest_memory_map_page(const struct guest_memory *memory, struct ept *ept, uint64_t gpa,
                          unsigned max_page_shift)
{
    const struct memory_slot *slot = guest_memory_find(memory, gpa);
    if (!slot || slot->kind == SLOT_MMIO)
        return -EFAULT;
    unsigned shift = max_page_shift;
    for (; shift > 12; shift = shift == 30 ? 21 : 12) {
        uint64_t size = 1ull << shift, start = gpa & ~(size - 1);
        bool inside = start >= slot->gpa && start + size <= slot->gpa + slot->size;
        if (inside && !((slot->hpa + (start - slot->gpa)) & (size - 1)))
            break;
    }
    uint64_t start = gpa & ~((1ull << shift) - 1);
    return ept_map(ept, start, slot->hpa + (start - slot->gpa), shift, slot_rights(slot),
                   EPT_TYPE_WB);
}

int guest_memory_map_ept(const struct guest_memory *memory, struct ept *ept,
                         unsigned max_page_shift)
{
    for (unsigned i = 0; i < memory->count; i++) {
        const struct memory_slot *slot = &memory->slots[i];
        if (slot->kind == SLOT_MMIO)
            continue;
        int error = ept_map_range(ept, slot->gpa, slot->hpa, slot->size, max_page_shift,
                                  slot_rights(slot), EPT_TYPE_WB);
        if (error)
            return error;
    }
    return 0;
}
