/* Where things go in guest memory: no two in one place, and none outside RAM. */
#include <errno.h>
#include <string.h>

#include "models/platform.h"
#include "sim/loaders/internal.h"

uint64_t ram_low_end(const struct load *load)
{
    uint64_t size = load->target->ram_size;

    return size < PLATFORM_LOW_RAM_END ? size : PLATFORM_LOW_RAM_END;
}

uint64_t ram_high_end(const struct load *load)
{
    return PLATFORM_HIGH_RAM_BASE + (load->target->ram_size - ram_low_end(load));
}

static bool in_ram(const struct load *load, uint64_t start, uint64_t end)
{
    return end <= ram_low_end(load) ||
           (start >= PLATFORM_HIGH_RAM_BASE && end <= ram_high_end(load));
}

/* The claim that [start, end) runs into, or NULL. */
static const struct claim *find_conflict(const struct load *load, uint64_t start, uint64_t end)
{
    static const struct claim firmware = {FIRMWARE_START, FIRMWARE_END,
                                          "the area of video memory, option ROMs and ACPI tables"};

    if (start < firmware.end && end > firmware.start)
        return &firmware;
    for (unsigned i = 0; i < load->claims; i++)
        if (start < load->claim[i].end && end > load->claim[i].start)
            return &load->claim[i];
    return NULL;
}

int layout_claim(struct load *load, uint64_t start, uint64_t size, const char *what)
{
    uint64_t end = start + size;

    if (end < start || !in_ram(load, start, end))
        return load_fail(load, ENOSPC,
                         "%s needs 0x%llx bytes at 0x%llx, which is not in the guest's %llu MiB of "
                         "memory: give it more with --memory, if the image is not damaged",
                         what, (unsigned long long)size, (unsigned long long)start,
                         (unsigned long long)load->target->ram_size >> 20);

    const struct claim *other = find_conflict(load, start, end);
    if (other)
        return load_fail(load, ENOSPC,
                         "%s (0x%llx-0x%llx) overlaps %s (0x%llx-0x%llx): link or load the image "
                         "at another address",
                         what, (unsigned long long)start, (unsigned long long)end - 1, other->what,
                         (unsigned long long)other->start, (unsigned long long)other->end - 1);
    if (load->claims == sizeof(load->claim) / sizeof(load->claim[0]))
        return load_fail(load, ENOEXEC,
                         "has more segments or modules than the %zu pieces that can be loaded: "
                         "merge some of them",
                         sizeof(load->claim) / sizeof(load->claim[0]));
    load->claim[load->claims++] = (struct claim){start, end, what};
    return 0;
}

uint64_t layout_find(struct load *load, uint64_t size, uint64_t alignment, uint64_t min,
                     uint64_t max, const char *what)
{
    const struct claim *other;
    uint64_t start;

    if (max > ram_low_end(load))
        max = ram_low_end(load);
    for (;; max = other->start) {
        if (size > max || (start = (max - size) & ~(alignment - 1)) < min)
            return UINT64_MAX;
        other = find_conflict(load, start, start + size);
        if (!other)
            break;
    }
    return layout_claim(load, start, size, what) ? UINT64_MAX : start;
}

int layout_place_low(struct load *load, const void *data, size_t size, const char *what,
                     uint64_t *address)
{
    *address = layout_find(load, size, 4096, LOW_MEMORY_START, LOW_MEMORY_END, what);
    if (*address == UINT64_MAX)
        return load_fail(load, ENOSPC,
                         "no room for %s (%zu bytes) below 640 KiB: the image occupies too much "
                         "of it; link it at 1 MiB or above",
                         what, size);
    return guest_write(load, *address, data, size);
}

int guest_write(struct load *load, uint64_t gpa, const void *data, size_t size)
{
    int error = load->target->write(load->target->context, gpa, data, size);

    if (error)
        return load_fail(load, -error, "writing guest memory at 0x%llx failed: %s",
                         (unsigned long long)gpa, strerror(-error));
    return 0;
}
