/* The list of points. */
#include "sim/debug_points.h"

#include <errno.h>

#include "sim/vm_internal.h"

bool debug_points_execute(const struct debug_points *points, uint64_t address)
{
    for (unsigned i = 0; i < points->count; i++)
        if (points->point[i].kind == VM_DEBUG_EXECUTE && points->point[i].address == address)
            return true;
    return false;
}

const struct debug_point *debug_points_met(const struct debug_points *points, bool write,
                                           uint64_t address, uint64_t size)
{
    const enum vm_debug_point kind = write ? VM_DEBUG_WRITE : VM_DEBUG_READ;

    for (unsigned i = 0; i < points->count; i++) {
        const struct debug_point *point = &points->point[i];

        if ((point->kind == kind || point->kind == VM_DEBUG_ACCESS) &&
            (point->address - address < size || address - point->address < point->size))
            return point;
    }
    return NULL;
}

static struct debug_point *find(struct debug_points *points, enum vm_debug_point kind,
                                uint64_t address, uint64_t size)
{
    for (unsigned i = 0; i < points->count; i++) {
        struct debug_point *point = &points->point[i];

        if (point->kind == kind && point->address == address && point->size == size)
            return point;
    }
    return NULL;
}

int vm_debug_set_point(struct vm *vm, enum vm_debug_point kind, uint64_t address, uint64_t size)
{
    struct debug_points *points = &vm->debug.points;

    if (!vm->vcpu.engine_operations->points_changed)
        return -ENOTSUP;
    if (points->count == VM_DEBUG_POINTS)
        return -ENOSPC;
    points->point[points->count++] = (struct debug_point){kind, address, size};
    points->changed = true;
    return 0;
}

int vm_debug_clear_point(struct vm *vm, enum vm_debug_point kind, uint64_t address, uint64_t size)
{
    struct debug_points *points = &vm->debug.points;
    struct debug_point *point = find(points, kind, address, size);

    if (!point)
        return -ENOENT;
    *point = points->point[--points->count];
    points->changed = true;
    return 0;
}

void vm_debug_clear_points(struct vm *vm)
{
    vm->debug.points.count = 0;
    vm->debug.points.changed = true;
}
