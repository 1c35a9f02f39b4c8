/* Reading and writing memory through the MMU: accesses of any size, page by page. */
#include <string.h>

#include "memory/mmu.h"

typedef enum mmu_status translate_function(struct mmu *mmu, uint64_t address, unsigned access,
                                           struct translation *out, struct mmu_fault *fault);

static size_t bytes_to_page_end(uint64_t address, size_t size)
{
    uint64_t rest = FRAME_SIZE - (address & (FRAME_SIZE - 1));
    return rest < size ? (size_t)rest : size;
}

static void copy_in(const struct physmem *physmem, uint64_t hpa, void *data, size_t size)
{
    if (physmem_contains(physmem, hpa, size))
        memcpy(data, physmem_at(physmem, hpa), size);
    else
        memset(data, 0xff, size);
}

static void copy_out(const struct physmem *physmem, uint64_t hpa, const void *data, size_t size)
{
    if (!physmem_contains(physmem, hpa, size))
        return;
    physmem_note_write(physmem, hpa, size);
    memcpy(physmem_at(physmem, hpa), data, size);
}

static enum mmu_status read_bytes(struct mmu *mmu, translate_function *translate, uint64_t address,
                                  void *data, size_t size, unsigned access, struct mmu_fault *fault)
{
    uint8_t *bytes = data;

    while (size > 0) {
        struct translation translation;
        size_t part = bytes_to_page_end(address, size);
        enum mmu_status status = translate(mmu, address, access, &translation, fault);
        if (status != MMU_OK)
            return status;
        copy_in(mmu->physmem, translation.hpa, bytes, part);
        address += part;
        bytes += part;
        size -= part;
    }
    return MMU_OK;
}

/* First every page is translated, so that a fault leaves nothing half written. */
static enum mmu_status write_bytes(struct mmu *mmu, translate_function *translate, uint64_t address,
                                   const void *data, size_t size, unsigned access,
                                   struct mmu_fault *fault)
{
    const uint8_t *bytes = data;
    struct translation translation;

    access = (access & ~ACCESS_TYPE_MASK) | ACCESS_WRITE;
    for (size_t done = 0; done < size;) {
        enum mmu_status status = translate(mmu, address + done, access, &translation, fault);
        if (status != MMU_OK)
            return status;
        size_t part = bytes_to_page_end(address + done, size - done);
        if (part == size) { /* one page: the usual case */
            copy_out(mmu->physmem, translation.hpa, bytes, size);
            return MMU_OK;
        }
        done += part;
    }
    for (size_t done = 0; done < size;) {
        size_t part = bytes_to_page_end(address + done, size - done);
        enum mmu_status status = translate(mmu, address + done, access, &translation, fault);
        if (status != MMU_OK)
            return status;
        copy_out(mmu->physmem, translation.hpa, bytes + done, part);
        done += part;
    }
    return MMU_OK;
}

static void tell(const struct mmu *mmu, uint64_t linear, const void *data, size_t size,
                 unsigned access)
{
    const struct mmu_observer *observer = mmu->observer;

    if (__builtin_expect(observer != NULL, 0) && observer->access)
        observer->access(observer->context, linear, data, size, access);
}

enum mmu_status mmu_read(struct mmu *mmu, uint64_t linear, void *data, size_t size, unsigned access,
                         struct mmu_fault *fault)
{
    enum mmu_status status = read_bytes(mmu, mmu_translate, linear, data, size, access, fault);

    if (status == MMU_OK && (access & ACCESS_TYPE_MASK) == ACCESS_READ)
        tell(mmu, linear, data, size, access);
    return status;
}

enum mmu_status mmu_write(struct mmu *mmu, uint64_t linear, const void *data, size_t size,
                          unsigned access, struct mmu_fault *fault)
{
    enum mmu_status status = write_bytes(mmu, mmu_translate, linear, data, size, access, fault);

    if (status == MMU_OK)
        tell(mmu, linear, data, size, (access & ~ACCESS_TYPE_MASK) | ACCESS_WRITE);
    return status;
}

enum mmu_status mmu_read_physical(struct mmu *mmu, uint64_t gpa, void *data, size_t size,
                                  struct mmu_fault *fault)
{
    return read_bytes(mmu, mmu_translate_physical, gpa, data, size, ACCESS_READ, fault);
}

enum mmu_status mmu_write_physical(struct mmu *mmu, uint64_t gpa, const void *data, size_t size,
                                   struct mmu_fault *fault)
{
    return write_bytes(mmu, mmu_translate_physical, gpa, data, size, ACCESS_WRITE, fault);
}

/* The loads are reads of guest-physical memory without a linear address, even where EPT's accessed
 * and dirty flags make other accesses to guest paging structures count as writes. */
enum mmu_status mmu_load_pdptes(struct mmu *mmu, uint64_t cr3, uint64_t pdpte[4], bool *reserved,
                                struct mmu_fault *fault)
{
    uint64_t loaded[4];

    *reserved = false;
    enum mmu_status status =
        mmu_read_physical(mmu, cr3 & 0xffffffe0, loaded, sizeof(loaded), fault);
    if (status != MMU_OK)
        return status;
    for (unsigned i = 0; i < 4; i++)
        *reserved |= paging_pdpte_reserved(loaded[i], mmu->maxphyaddr);
    if (*reserved) {
        *fault = (struct mmu_fault){.status = MMU_PAGE_FAULT};
        return MMU_PAGE_FAULT;
    }
    memcpy(pdpte, loaded, sizeof(loaded));
    return MMU_OK;
}
