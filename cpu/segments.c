#include "cpu/segments.h"

#include "cpu/modes.h"

/* Linear address of the descriptor, false if the table does not hold all of it. */
static bool descriptor_address(const struct cpu *cpu, uint16_t selector, uint64_t *linear)
{
    const struct segment *ldtr = &cpu->state.seg[SEG_LDTR];
    uint64_t base = cpu->state.gdtr.base;
    uint32_t limit = cpu->state.gdtr.limit;
    uint32_t offset = selector & SELECTOR_INDEX;

    if (selector & SELECTOR_TI) {
        if (ldtr->access_rights & AR_UNUSABLE)
            return false;
        base = ldtr->base;
        limit = ldtr->limit;
    }
    *linear = cpu_linear(cpu, base + offset);
    return (uint64_t)offset + 7 <= limit;
}

enum descriptor_status segment_read_descriptor(struct cpu *cpu, uint16_t selector,
                                               uint64_t *descriptor, struct mmu_fault *fault)
{
    uint64_t linear;

    if (!descriptor_address(cpu, selector, &linear))
        return DESCRIPTOR_BEYOND_LIMIT;
    if (mmu_read(&cpu->mmu, linear, descriptor, 8, ACCESS_READ | ACCESS_IMPLICIT, fault) != MMU_OK)
        return DESCRIPTOR_MEMORY_FAULT;
    return DESCRIPTOR_OK;
}

enum mmu_status segment_mark_accessed(struct cpu *cpu, uint16_t selector, uint64_t *descriptor,
                                      struct mmu_fault *fault)
{
    const uint64_t accessed = (uint64_t)AR_ACCESSED << 40;
    uint64_t linear;
    uint8_t byte;

    if ((*descriptor & accessed) || !descriptor_address(cpu, selector, &linear))
        return MMU_OK;
    *descriptor |= accessed;
    byte = (uint8_t)(*descriptor >> 40);
    return mmu_write(&cpu->mmu, linear + 5, &byte, 1, ACCESS_WRITE | ACCESS_IMPLICIT, fault);
}

void segment_load(struct segment *segment, uint16_t selector, uint64_t descriptor)
{
    segment->selector = selector;
    segment->base = descriptor_base(descriptor);
    segment->limit = descriptor_limit(descriptor);
    segment->access_rights = descriptor_access_rights(descriptor);
}

void segment_load_null(struct segment *segment, uint16_t selector, unsigned dpl)
{
    *segment =
        (struct segment){.selector = selector, .access_rights = AR_UNUSABLE | dpl << AR_DPL_SHIFT};
}

void segment_load_real(struct segment *segment, uint16_t selector)
{
    segment->selector = selector;
    segment->base = (uint32_t)selector << 4;
}

static void load_flat(struct segment *segment, uint16_t selector, unsigned dpl, uint32_t rights)
{
    segment->selector = selector;
    segment->base = 0;
    segment->limit = 0xffffffff;
    segment->access_rights =
        AR_P | AR_S | AR_G | AR_WRITABLE | AR_ACCESSED | dpl << AR_DPL_SHIFT | rights;
}

void segment_load_flat_code(struct segment *segment, uint16_t selector, unsigned dpl,
                            bool long_mode)
{
    load_flat(segment, selector, dpl, AR_CODE | (long_mode ? AR_L : AR_DB));
}

void segment_load_flat_stack(struct segment *segment, uint16_t selector, unsigned dpl)
{
    load_flat(segment, selector, dpl, AR_DB);
}
