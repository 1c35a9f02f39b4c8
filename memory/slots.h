/*
 * The guest-physical address space as the VM handler lays it out: RAM, ROM and MMIO holes.
 *
 *   gpa   0            640K    768K   1M                      3G            4G
 *         | RAM        | MMIO  | ROM  | RAM ...               | MMIO        | RAM ...
 *
 * A slot of RAM or ROM is a contiguous range of host-physical memory. EPT is built from the slots:
 * RAM readable, writable and executable, ROM without write, MMIO and what no slot covers not
 * mapped at all, so that an access is an EPT violation.
 */
#ifndef VTXSIM_MEMORY_SLOTS_H
#define VTXSIM_MEMORY_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/ept.h"
#include "memory/physmem.h"

enum slot_kind { SLOT_RAM, SLOT_ROM, SLOT_MMIO };

struct memory_slot {
    enum slot_kind kind;
    uint64_t gpa, size; /* multiples of FRAME_SIZE */
    uint64_t hpa;       /* of the first byte; FRAME_NONE for MMIO */
};

struct guest_memory {
    struct physmem *physmem;
    struct memory_slot *slots; /* by ascending gpa */
    unsigned count;
};

void guest_memory_init(struct guest_memory *memory, struct physmem *physmem);
/* Frees the list of slots; host-physical ranges live as long as the physmem. */
void guest_memory_destroy(struct guest_memory *memory);

/*
 * Adds a slot; RAM and ROM get zeroed host-physical memory, aligned so that EPT can use large
 * pages. Returns 0, -EINVAL (unaligned, empty, beyond 2^52), -EEXIST (overlaps a slot) or -ENOMEM.
 */
int guest_memory_add(struct guest_memory *memory, enum slot_kind kind, uint64_t gpa, uint64_t size);
/* The same with host-physical memory that the caller has (aliases of a ROM, shared memory). */
int guest_memory_add_at(struct guest_memory *memory, enum slot_kind kind, uint64_t gpa,
                        uint64_t size, uint64_t hpa);

/* The slot that holds gpa, or NULL. Valid until the next guest_memory_add. */
const struct memory_slot *guest_memory_find(const struct guest_memory *memory, uint64_t gpa);

/* Host-physical address of a byte of RAM or ROM, else FRAME_NONE. */
uint64_t guest_memory_hpa(const struct guest_memory *memory, uint64_t gpa);
/* Host-virtual address of a range that lies in one slot of RAM or ROM, else NULL. */
void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t size);

/*
 * Copies, for loaders and devices: may cross adjacent slots, ignores that ROM is read-only.
 * Returns 0, or -EFAULT where a byte is neither RAM nor ROM (then nothing has been copied).
 */
int guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *data, size_t size);
int guest_memory_write(const struct guest_memory *memory, uint64_t gpa, const void *data,
                       size_t size);
int guest_memory_fill(const struct guest_memory *memory, uint64_t gpa, uint8_t byte, size_t size);

/* Maps every slot of RAM and ROM (memory type WB). max_page_shift: 12, 21 or 30. 0 or -errno. */
int guest_memory_map_ept(const struct guest_memory *memory, struct ept *ept,
                         unsigned max_page_shift);
/* Maps the largest page around gpa that lies in its slot. Returns 0, -EFAULT where neither RAM nor
 * ROM is, or -ENOMEM. */
int guest_memory_map_page(const struct guest_memory *memory, struct ept *ept, uint64_t gpa,
                          unsigned max_page_shift);

#endif
