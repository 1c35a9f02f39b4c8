/*
 * Unicorn's soft TLB, filled from the processor model's MMU.
 *
 * A miss in the soft TLB asks mmu_translate: the modelled TLB, then the walk of the guest's tables
 * and EPT. A fault becomes #PF or a VM exit; an EPT violation that the handler settles (a page that
 * appears) is translated again where it stands; one on a device gives access to the bus for this
 * one access, so that the next one exits again.
 */
#include <assert.h>
#include <string.h>

#include "models/platform.h"
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"
#include "sim/vm_internal.h"

/* Guest-physical addresses of devices appear to Unicorn above all host-physical memory. */
#define MMIO_WINDOW      (1ull << 47)
#define MMIO_WINDOW_SIZE (1ull << 46)

#define PAGE_MASK 0xfffull

enum { LIB_ACCESS_LOAD, LIB_ACCESS_STORE, LIB_ACCESS_FETCH };
enum { LIB_READ = 1, LIB_WRITE = 2, LIB_EXECUTE = 4 };
/* The library's MMU modes: supervisor with SMAP, user, supervisor with SMAP off or AC set. */
enum { MMU_INDEX_KERNEL, MMU_INDEX_USER, MMU_INDEX_KERNEL_AC };

void unicorn_flush_tlb(struct unicorn_engine *engine)
{
    engine->fills_since_flush = 0;
    engine->statistics.tlb_flushes++;
    memset(engine->large_regions, 0, sizeof engine->large_regions);
    tlb_flush_x86_64(engine->cs);
}

/* Bit of large_regions for the large page of this size at a linear address. */
static unsigned region_bit(uint64_t linear, unsigned shift)
{
    return (unsigned)(((linear >> shift) + shift) * 0x9e3779b97f4a7c15ull >> 54);
}

static bool region_has_large_page(const struct unicorn_engine *engine, uint64_t linear)
{
    static const unsigned shifts[] = {21, 22, 30};
    for (unsigned i = 0; i < sizeof shifts / sizeof *shifts; i++) {
        unsigned bit = region_bit(linear, shifts[i]);
        if (engine->large_regions[bit / 64] >> bit % 64 & 1)
            return true;
    }
    return false;
}

void unicorn_flush_page(struct unicorn_engine *engine, uint64_t linear)
{
    if (region_has_large_page(engine, linear))
        unicorn_flush_tlb(engine);
    else
        tlb_flush_page_x86_64(engine->cs, linear & ~PAGE_MASK);
}

/*
 * The soft TLB starts small and is only resized when it is flushed. A guest that flushes rarely
 * would keep missing, so it is flushed early a few times while it fills up quickly.
 */
static void grow_tlb(struct unicorn_engine *engine)
{
    if (engine->growth_steps >= 10 || ++engine->fills_since_flush < (512u << engine->growth_steps))
        return;
    engine->growth_steps++;
    unicorn_flush_tlb(engine);
}

static unsigned access_of(int access, int mmu_idx, bool probe)
{
    unsigned flags = (unsigned)access;
    if (mmu_idx == MMU_INDEX_USER)
        flags |= ACCESS_USER;
    if (mmu_idx == MMU_INDEX_KERNEL_AC)
        flags |= ACCESS_AC;
    return probe ? flags | ACCESS_PROBE : flags;
}

void unicorn_position_at(struct unicorn_engine *engine, uintptr_t return_address,
                         struct block_position *saved)
{
    struct env *env = engine->env;
    uint64_t budget = env->bnd_regs[0];
    *saved = (struct block_position){.eip = env->eip, .cc_op = env->cc_op};
    if (return_address)
        cpu_restore_state_x86_64(engine->cs, return_address, true);
    saved->rest = env->bnd_regs[0] - budget;
}

void unicorn_position_back(struct unicorn_engine *engine, const struct block_position *saved)
{
    engine->env->eip = saved->eip;
    engine->env->bnd_regs[0] -= saved->rest;
    engine->env->cc_op = saved->cc_op;
}

/*
 * An EPT violation or misconfiguration. Returns VCPU_RESUME to translate again or VCPU_ACCESS for a
 * device; otherwise leaves the engine. A device is accessed by the last instruction of a block
 * only, so that simulated time is exact and an interrupt that the access raises is taken right
 * behind it.
 */
static enum vcpu_action ept_exit(struct unicorn_engine *engine, const struct mmu_fault *fault,
                                 uintptr_t return_address)
{
    struct vcpu *vcpu = engine->vcpu;
    struct block_position position;
    unicorn_position_at(engine, return_address, &position);
    unicorn_pull(engine, STATE_BASIC);
    bool device = vm_is_device(vcpu->vm, fault->gpa);
    if (device && position.rest > 1) {
        CS_FIELD(engine->cs, CS_CFLAGS_NEXT_TB, uint32_t) = 1;
        unicorn_resume(engine);
    }
    if (device && vcpu->mmio_granted_at == unicorn_instructions(engine)) {
        unicorn_position_back(engine, &position);
        return VCPU_ACCESS;
    }
    bool nmi_unblocked = engine->cpu->vmx.nmi_unblocked_by_iret;
    vmx_exit_ept(engine->cpu, fault);
    enum vcpu_action action = vcpu_exit(vcpu);
    if (action == VCPU_LEAVE) {
        unicorn_pull(engine, STATE_ALL);
        unicorn_leave(engine);
    }
    engine->cpu->vmx.nmi_unblocked_by_iret = nmi_unblocked; /* the IRET goes on */
    unicorn_position_back(engine, &position);
    return action;
}

static enum mmu_status translate(struct unicorn_engine *engine, uint64_t linear, unsigned flags,
                                 uintptr_t return_address, struct translation *translation,
                                 struct mmu_fault *fault)
{
    engine->tracing.fill_return_address = return_address;
    engine->tracing.filling = true;
    enum mmu_status status = mmu_translate(&engine->cpu->mmu, linear, flags, translation, fault);
    engine->tracing.filling = false;
    return status;
}

/* An access that begins at the end of the lower half of the canonical addresses. */
static bool reaches_hole(const struct unicorn_engine *engine, uint64_t linear, int size, int access)
{
    return access != LIB_ACCESS_FETCH && (engine->env->hflags & HF_CS64) && size > 1 &&
           !unicorn_is_canonical(linear + (uint64_t)size - 1);
}

EXPORT bool x86_cpu_tlb_fill_x86_64(void *cs, uint64_t linear, int size, int access, int mmu_idx,
                                    bool probe, uintptr_t return_address)
{
    struct unicorn_engine *engine = unicorn_current;
    assert(engine);
    engine->statistics.tlb_fills++;

    if (!unicorn_is_canonical(linear) || reaches_hole(engine, linear, size, access)) {
        if (probe)
            return false;
        unicorn_noncanonical_data(engine, linear, return_address);
    }
    unsigned flags = access_of(access, mmu_idx, probe);
    struct translation translation;
    struct mmu_fault fault;
    bool device = false;
    enum mmu_status status;
    while ((status = translate(engine, linear, flags, return_address, &translation, &fault))) {
        if (probe)
            return false;
        if (status == MMU_PAGE_FAULT) {
            if (return_address)
                cpu_restore_state_x86_64(cs, return_address, true);
            if (access == LIB_ACCESS_LOAD && return_address && unicorn_reads_to_write(engine))
                fault.error_code |= PF_WRITE;
            unicorn_memory_fault(engine, &fault);
        }
        if (ept_exit(engine, &fault, return_address) == VCPU_ACCESS) {
            device = true;
            break;
        }
    }

    uint64_t page = linear & ~PAGE_MASK;
    if (device) {
        uint64_t gpa = fault.gpa & ~PAGE_MASK & (MMIO_WINDOW_SIZE - 1);
        tlb_set_page_x86_64(cs, page, MMIO_WINDOW + gpa, LIB_READ | LIB_WRITE, mmu_idx, 1);
        return true;
    }
    if (!physmem_contains(engine->cpu->mmu.physmem, translation.hpa & ~PAGE_MASK, PAGE_MASK + 1)) {
        /* EPT points outside of memory: nobody answers on the bus. */
        uint64_t gpa = translation.gpa & ~PAGE_MASK & (MMIO_WINDOW_SIZE - 1);
        tlb_set_page_x86_64(cs, page, MMIO_WINDOW + gpa, LIB_READ | LIB_WRITE, mmu_idx, 1);
        return true;
    }
    int protection = (translation.readable ? LIB_READ : 0) |
                     (translation.writable ? LIB_WRITE : 0) |
                     (translation.executable ? LIB_EXECUTE : 0);
    grow_tlb(engine);
    if (translation.guest_shift > 12 && translation.guest_shift < 48) {
        unsigned bit = region_bit(linear, translation.guest_shift);
        engine->large_regions[bit / 64] |= 1ull << bit % 64;
    }
    tlb_set_page_x86_64(cs, page, translation.hpa & ~PAGE_MASK, protection, mmu_idx, 4096);
    return true;
}

/* The library looks up the region of each access that its helpers make or that missed its soft TLB.
 * All memory is one. */
EXPORT void *find_memory_mapping_x86_64(void *uc, uint64_t address)
{
    struct unicorn_engine *engine = unicorn_current;
    if (!engine || address >= engine->cpu->mmu.physmem->size)
        return ORIGINAL(find_memory_mapping_x86_64)(uc, address);
    if (!engine->memory_region)
        engine->memory_region = ORIGINAL(find_memory_mapping_x86_64)(uc, address);
    return engine->memory_region;
}

static uint64_t mmio_read(uc_engine *uc, uint64_t offset, unsigned size, void *context)
{
    struct unicorn_engine *engine = context;
    return bus_mmio_read(vm_bus(engine->vcpu->vm), offset, size);
}

static void mmio_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *context)
{
    struct unicorn_engine *engine = context;
    bus_mmio_write(vm_bus(engine->vcpu->vm), offset, size, value);
}

int unicorn_mmu_create(struct unicorn_engine *engine)
{
    struct physmem *physmem = engine->cpu->mmu.physmem;
    uc_err error = uc_mem_map_ptr(engine->uc, 0, physmem->size, UC_PROT_ALL, physmem->base);
    if (error == UC_ERR_OK)
        error = uc_mmio_map(engine->uc, MMIO_WINDOW, MMIO_WINDOW_SIZE, mmio_read, engine,
                            mmio_write, engine);
    return (int)error;
}
