/*
 * Segment descriptors: reading them from GDT and LDT, their formats, and the hidden part of a
 * segment register that they make. SDM volume 3, "Segment Descriptors" and "System Descriptor
 * Types".
 */
#ifndef VTXSIM_CPU_SEGMENTS_H
#define VTXSIM_CPU_SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/cpu.h"

#define SELECTOR_RPL   3u
#define SELECTOR_TI    4u
#define SELECTOR_INDEX 0xfff8u

/* The selector as an error code has it: without RPL. */
#define SELECTOR_ERROR(selector) ((selector)&0xfffcu)

/* Types of system segments and gates in legacy mode; those marked 64 exist in IA-32e mode too. */
enum system_type {
    SYSTEM_TSS16_AVAILABLE = 1,
    SYSTEM_LDT = 2, /* 64 */
    SYSTEM_TSS16_BUSY = 3,
    SYSTEM_CALL_GATE16 = 4,
    SYSTEM_TASK_GATE = 5,
    SYSTEM_INTERRUPT_GATE16 = 6,
    SYSTEM_TRAP_GATE16 = 7,
    SYSTEM_TSS32_AVAILABLE = 9,   /* 64 */
    SYSTEM_TSS32_BUSY = 11,       /* 64 */
    SYSTEM_CALL_GATE32 = 12,      /* 64 */
    SYSTEM_INTERRUPT_GATE32 = 14, /* 64 */
    SYSTEM_TRAP_GATE32 = 15,      /* 64 */
};

/* Access rights of a descriptor in the VMCS format. */
static inline uint32_t descriptor_access_rights(uint64_t descriptor)
{
    return (uint32_t)(descriptor >> 40) & 0xf0ff;
}

static inline uint32_t descriptor_limit(uint64_t descriptor)
{
    uint32_t limit = (descriptor & 0xffff) | (descriptor >> 32 & 0xf0000);

    return descriptor_access_rights(descriptor) & AR_G ? limit << 12 | 0xfff : limit;
}

static inline uint32_t descriptor_base(uint64_t descriptor)
{
    return (descriptor >> 16 & 0xffffff) | (descriptor >> 32 & 0xff000000);
}

static inline bool selector_null(uint16_t selector)
{
    return !(selector & ~SELECTOR_RPL);
}

enum descriptor_status {
    DESCRIPTOR_OK,
    DESCRIPTOR_BEYOND_LIMIT, /* of the table, or the LDTR is unusable */
    DESCRIPTOR_MEMORY_FAULT, /* *fault tells */
};

/* Reads the descriptor of a selector that is not null (implicit supervisor access). */
enum descriptor_status segment_read_descriptor(struct cpu *cpu, uint16_t selector,
                                               uint64_t *descriptor, struct mmu_fault *fault);

/* Sets the accessed bit in memory unless it is set; *descriptor is updated. */
enum mmu_status segment_mark_accessed(struct cpu *cpu, uint16_t selector, uint64_t *descriptor,
                                      struct mmu_fault *fault);

/* The segment register that loading selector and descriptor makes. */
void segment_load(struct segment *segment, uint16_t selector, uint64_t descriptor);

/* Null selector in a data segment register, or in SS in 64-bit mode (DPL = new CPL). */
void segment_load_null(struct segment *segment, uint16_t selector, unsigned dpl);

/* Real-address and virtual-8086 mode: base from the selector, the rest stays. */
void segment_load_real(struct segment *segment, uint16_t selector);

/* The flat segments of the fast system calls (SDM "SYSCALL-Fast System Call" and its kin). */
void segment_load_flat_code(struct segment *segment, uint16_t selector, unsigned dpl,
                            bool long_mode);
void segment_load_flat_stack(struct segment *segment, uint16_t selector, unsigned dpl);

#endif
