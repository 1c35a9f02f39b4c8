/*
 * Simulated host-physical memory: one sparse mapping, of which pages cost memory only once they
 * are touched. EPT tables, VMX structures and guest RAM all live in it.
 */
#ifndef VTXSIM_MEMORY_PHYSMEM_H
#define VTXSIM_MEMORY_PHYSMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_SHIFT 12
#define FRAME_SIZE  (1ull << FRAME_SHIFT)
#define FRAME_NONE  UINT64_MAX

struct physmem {
    uint8_t *base;       /* host-virtual address of host-physical address 0 */
    uint64_t size;       /* bytes */
    uint64_t next_frame; /* first never-allocated byte */
    uint64_t free_list;  /* freed frames, linked through their first 8 bytes; then FRAME_NONE */
    uint64_t gap_next, gap_end; /* the largest range skipped for alignment, used up by frames */
    uint64_t *written; /* a bit for each frame, see physmem_track_writes; NULL: not tracked */
};

/* Returns 0 or -errno. size is a multiple of FRAME_SIZE. */
int physmem_init(struct physmem *physmem, uint64_t size);
void physmem_destroy(struct physmem *physmem);

/* A zeroed frame's host-physical address, or FRAME_NONE when memory is exhausted. */
uint64_t physmem_alloc_frame(struct physmem *physmem);
void physmem_free_frame(struct physmem *physmem, uint64_t hpa);
/* A zeroed contiguous range, aligned to `alignment` (a power of two), never freed singly. */
uint64_t physmem_alloc_range(struct physmem *physmem, uint64_t size, uint64_t alignment);

/*
 * From now on `written` has the bit set of each frame that physmem_note_write was told of: by the
 * MMU, by copies into guest memory, and by the engine. Who looks at the bits clears them. EPT
 * tables and flags in them are not told. Returns 0 or -ENOMEM.
 */
int physmem_track_writes(struct physmem *physmem);
void physmem_untrack_writes(struct physmem *physmem);

/* size: not 0. */
static inline void physmem_note_write(const struct physmem *physmem, uint64_t hpa, uint64_t size)
{
    if (__builtin_expect(!physmem->written, 1))
        return;
    for (uint64_t n = hpa >> FRAME_SHIFT; n <= (hpa + size - 1) >> FRAME_SHIFT; n++)
        physmem->written[n / 64] |= 1ull << n % 64;
}

static inline bool physmem_contains(const struct physmem *physmem, uint64_t hpa, uint64_t size)
{
    return hpa < physmem->size && size <= physmem->size - hpa;
}

/* hpa must be inside. */
static inline void *physmem_at(const struct physmem *physmem, uint64_t hpa)
{
    return physmem->base + hpa;
}

#endif
