/*
 * Simulated host-physical memory.
 *
 *   hpa 0          the first frame, never handed out: 0 stays recognizable as "no frame"
 *   hpa 0x1000 ..  frames and ranges in the order of allocation
 *   next_frame ..  never allocated; reads as zero
 *
 * The host commits a page when it is touched, and a fresh page is zero, so allocation needs to
 * clear only what was used before.
 */
#define _GNU_SOURCE
#include "memory/physmem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_SIZE (2ull << 20)

int physmem_init(struct physmem *physmem, uint64_t size)
{
    if (size == 0 || size % FRAME_SIZE != 0)
        return -EINVAL;
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    *physmem = (struct physmem){
        .base = base, .size = size, .next_frame = FRAME_SIZE, .free_list = FRAME_NONE};
    return 0;
}

void physmem_destroy(struct physmem *physmem)
{
    physmem_untrack_writes(physmem);
    if (physmem->base)
        munmap(physmem->base, physmem->size);
    *physmem = (struct physmem){.free_list = FRAME_NONE};
}

uint64_t physmem_alloc_frame(struct physmem *physmem)
{
    uint64_t hpa = physmem->free_list;

    if (hpa != FRAME_NONE) {
        uint8_t *frame = physmem_at(physmem, hpa);
        memcpy(&physmem->free_list, frame, sizeof(physmem->free_list));
        memset(frame, 0, FRAME_SIZE);
        return hpa;
    }
    if (physmem->gap_next < physmem->gap_end) {
        hpa = physmem->gap_next;
        physmem->gap_next += FRAME_SIZE;
        return hpa;
    }
    return physmem_alloc_range(physmem, FRAME_SIZE, FRAME_SIZE);
}

void physmem_free_frame(struct physmem *physmem, uint64_t hpa)
{
    assert(hpa != 0 && hpa % FRAME_SIZE == 0 && hpa < physmem->next_frame);
    memcpy(physmem_at(physmem, hpa), &physmem->free_list, sizeof(physmem->free_list));
    physmem->free_list = hpa;
}

uint64_t physmem_alloc_range(struct physmem *physmem, uint64_t size, uint64_t alignment)
{
    assert(alignment >= FRAME_SIZE && (alignment & (alignment - 1)) == 0);
    if (size == 0 || size > physmem->size)
        return FRAME_NONE;
    size = (size + FRAME_SIZE - 1) & ~(FRAME_SIZE - 1);
    uint64_t hpa = (physmem->next_frame + alignment - 1) & ~(alignment - 1);
    if (!physmem_contains(physmem, hpa, size))
        return FRAME_NONE;
    if (hpa - physmem->next_frame > physmem->gap_end - physmem->gap_next) {
        physmem->gap_next = physmem->next_frame;
        physmem->gap_end = hpa;
    }
    physmem->next_frame = hpa + size;
    /* Guest RAM is accessed all over: host huge pages save host TLB misses. Best effort. */
    if (size >= HUGE_PAGE_SIZE)
        madvise(physmem->base + hpa, size, MADV_HUGEPAGE);
    return hpa;
}

int physmem_track_writes(struct physmem *physmem)
{
    uint64_t words = (physmem->size / FRAME_SIZE + 63) / 64;

    physmem_untrack_writes(physmem);
    physmem->written = calloc(words, sizeof(*physmem->written));
    return physmem->written ? 0 : -ENOMEM;
}

void physmem_untrack_writes(struct physmem *physmem)
{
    free(physmem->written);
    physmem->written = NULL;
}
