/*
 * A debugger's breakpoints and watchpoints in translated code, by the means of breakpoints.c, with
 * nothing that the guest could notice: code and registers stay as they are, and the debugger's hook
 * is called where a debug exception would be raised. While there are none, nothing here is called.
 *
 * A debugger takes its points away at each stop and sets them again. What was prepared for a point
 * (blocks that end in front of it, pages that take the slow path) therefore stays prepared after it
 * is gone, and only a point that is new costs a flush.
 */
#include <string.h>

#include "cpu/breakpoints.h"
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"
#include "sim/vm_internal.h"

#define PAGE_SHIFT 12
#define PAGES_MAX  8 /* of one watchpoint; larger ones are watched on all pages */

static struct debug_points *points_of(const struct unicorn_engine *engine)
{
    return &engine->vcpu->vm->debug.points;
}

/* --- Preparation ---------------------------------------------------------------------------------
 */

static bool is_prepared_code(const struct debugger *debugger, uint64_t address)
{
    for (unsigned i = 0; i < debugger->code_count; i++)
        if (debugger->code[i] == address)
            return true;
    return false;
}

static void prepare_code(struct unicorn_engine *engine, uint64_t address)
{
    struct debugger *debugger = &engine->debugger;

    if (is_prepared_code(debugger, address))
        return;
    debugger->code[debugger->next_code++ % DEBUGGER_CODE] = address;
    if (debugger->code_count < DEBUGGER_CODE)
        debugger->code_count++;
    engine->breakpoints.code_changed = true;
}

static bool is_prepared_page(const struct debugger *debugger, uint64_t page)
{
    for (unsigned i = 0; i < debugger->page_count; i++)
        if (debugger->page[i] == page)
            return true;
    return debugger->all_pages;
}

static void prepare_page(struct unicorn_engine *engine, uint64_t page)
{
    struct debugger *debugger = &engine->debugger;

    if (is_prepared_page(debugger, page))
        return;
    debugger->page[debugger->next_page++ % DEBUGGER_PAGES] = page;
    if (debugger->page_count < DEBUGGER_PAGES)
        debugger->page_count++;
    tlb_flush_page_x86_64(engine->cs, page << PAGE_SHIFT);
}

static void prepare_data(struct unicorn_engine *engine, const struct debug_point *point)
{
    uint64_t first = point->address >> PAGE_SHIFT;
    uint64_t last = (point->address + point->size - 1) >> PAGE_SHIFT;

    if (last - first < PAGES_MAX) {
        for (uint64_t page = first; page <= last; page++)
            prepare_page(engine, page);
    } else if (!engine->debugger.all_pages) {
        engine->debugger.all_pages = true;
        unicorn_flush_tlb(engine);
    }
}

void unicorn_debug_points_changed(struct unicorn_engine *engine)
{
    struct debug_points *points = points_of(engine);
    bool code = false, data = false;

    for (unsigned i = 0; i < points->count; i++) {
        const struct debug_point *point = &points->point[i];

        if (point->kind == VM_DEBUG_EXECUTE) {
            prepare_code(engine, point->address);
            code = true;
        } else {
            prepare_data(engine, point);
            data = true;
        }
    }
    engine->debugger.code_active = code;
    engine->debugger.data_active = data;
    engine->env->hflags =
        (engine->env->hflags & ~HF_BREAKPOINTS) | unicorn_breakpoint_hflags(engine);
    unicorn_tracing_begin(engine); /* for what the processor model accesses */
    points->changed = false;
    engine->diverted = true;
}

/* --- What translated code asks -------------------------------------------------------------------
 */

bool unicorn_debug_has_code(const struct unicorn_engine *engine, uint64_t address)
{
    return engine->debugger.code_active && is_prepared_code(&engine->debugger, address);
}

bool unicorn_debug_is_stop(const struct unicorn_engine *engine, const struct translator *db)
{
    return (db->tb->flags & HF_BREAKPOINTS) && db->max_insns > 1 &&
           unicorn_debug_has_code(engine, db->pc_first) &&
           !breakpoints_met(&engine->cpu->state, BREAKPOINT_FETCH, db->pc_first, 1);
}

bool unicorn_debug_watches(const struct unicorn_engine *engine, uint64_t address, uint64_t length)
{
    const struct debugger *debugger = &engine->debugger;
    uint64_t last = (address + length - 1) >> PAGE_SHIFT;

    if (!debugger->page_count && !debugger->all_pages)
        return false;
    for (uint64_t page = address >> PAGE_SHIFT; page <= last; page++)
        if (is_prepared_page(debugger, page))
            return true;
    return false;
}

bool unicorn_debug_met(const struct unicorn_engine *engine, bool write, uint64_t address,
                       uint64_t size, uint64_t *point)
{
    const struct debug_point *met = engine->debugger.data_active
                                        ? debug_points_met(points_of(engine), write, address, size)
                                        : NULL;

    if (met)
        *point = met->address;
    return met;
}

void unicorn_debug_note(struct unicorn_engine *engine, uint64_t point, uint64_t count, uint64_t rip)
{
    struct debugger *debugger = &engine->debugger;

    if (debugger->hit && debugger->hit_count == count && debugger->hit_rip == rip)
        return; /* the first access that the instruction makes */
    debugger->hit = true;
    debugger->hit_point = point;
    debugger->hit_count = count;
    debugger->hit_rip = rip;
}

void unicorn_debug_model_access(struct unicorn_engine *engine, bool write, uint64_t address,
                                uint64_t size)
{
    uint64_t now = unicorn_instructions(engine), point;

    if (!unicorn_debug_met(engine, write, address, size, &point))
        return;
    unicorn_debug_note(engine, point, now - engine->tracing.executing, engine->env->eip);
    unicorn_set_budget(engine, now); /* back to the main loop behind the instruction */
}

void unicorn_debug_faulted(struct unicorn_engine *engine)
{
    struct debugger *debugger = &engine->debugger;

    if (debugger->hit && debugger->hit_count == unicorn_instructions(engine))
        debugger->hit = false; /* it starts over, and meets the watchpoint again */
}

/* --- At boundaries -------------------------------------------------------------------------------
 */

void unicorn_debug_watchpoints(struct unicorn_engine *engine)
{
    struct debugger *debugger = &engine->debugger;

    if (!debugger->hit)
        return;
    bool completed = unicorn_instructions(engine) != debugger->hit_count ||
                     engine->env->eip != debugger->hit_rip;
    debugger->hit = false;
    if (completed && engine->vcpu->vm->debug.hook)
        vm_debug_stopped(engine->vcpu, VM_DEBUG_WATCHPOINT, debugger->hit_point);
}

void unicorn_debug_breakpoints(struct unicorn_engine *engine)
{
    struct debugger *debugger = &engine->debugger;

    if (!debugger->code_active)
        return;
    uint64_t now = unicorn_instructions(engine), rip = unicorn_linear_rip(engine);
    if (!debug_points_execute(points_of(engine), rip))
        return;
    if (debugger->stopped && debugger->stopped_count == now && debugger->stopped_rip == rip)
        return;
    debugger->stopped = true;
    debugger->stopped_count = now;
    debugger->stopped_rip = rip;
    if (engine->vcpu->vm->debug.hook)
        vm_debug_stopped(engine->vcpu, VM_DEBUG_BREAKPOINT, rip);
}

/* --- x87 and SSE, as FXSAVE64 stores them --------------------------------------------------------
 */

/* Where a register of the library goes in the image. */
struct fpu_field {
    int reg;
    uint16_t offset, size;
};

// clang-format off
static const struct fpu_field fpu_fields[] = {
    {UC_X86_REG_FPCW, 0, 2}, {UC_X86_REG_FPSW, 2, 2}, {UC_X86_REG_FOP, 6, 2},
    {UC_X86_REG_FIP, 8, 8}, {UC_X86_REG_FDP, 16, 8}, {UC_X86_REG_MXCSR, 24, 4},
};
// clang-format on

#define MXCSR_MASK 0xffffu
#define XMM_COUNT  16

/* The library keeps x87 registers by physical number, the image by their place on the stack. */
static unsigned st_offset(const uint8_t *image, unsigned physical)
{
    unsigned top = image[3] >> 3 & 7;

    return 32 + 16 * ((physical - top) & 7);
}

void unicorn_read_fpu(struct unicorn_engine *engine, uint8_t image[FXSAVE_BYTES])
{
    const uint32_t mask = MXCSR_MASK;
    uint16_t tags;

    memset(image, 0, FXSAVE_BYTES);
    for (unsigned i = 0; i < sizeof fpu_fields / sizeof *fpu_fields; i++) {
        uint64_t value = 0;
        uc_reg_read(engine->uc, fpu_fields[i].reg, &value);
        memcpy(image + fpu_fields[i].offset, &value, fpu_fields[i].size);
    }
    memcpy(image + 28, &mask, sizeof mask);
    uc_reg_read(engine->uc, UC_X86_REG_FPTAG, &tags);
    for (unsigned i = 0; i < 8; i++) {
        image[4] |= (uint8_t)((tags >> 2 * i & 3) != 3) << i;
        uc_reg_read(engine->uc, UC_X86_REG_FP0 + (int)i, image + st_offset(image, i));
    }
    for (unsigned i = 0; i < XMM_COUNT; i++)
        uc_reg_read(engine->uc, UC_X86_REG_XMM0 + (int)i, image + 160 + 16 * i);
}

void unicorn_write_fpu(struct unicorn_engine *engine, const uint8_t image[FXSAVE_BYTES])
{
    uint16_t tags = 0;

    for (unsigned i = 0; i < sizeof fpu_fields / sizeof *fpu_fields; i++) {
        uint64_t value = 0;
        memcpy(&value, image + fpu_fields[i].offset, fpu_fields[i].size);
        uc_reg_write(engine->uc, fpu_fields[i].reg, &value);
    }
    for (unsigned i = 0; i < 8; i++) {
        tags |= (image[4] >> i & 1 ? 0u : 3u) << 2 * i;
        uc_reg_write(engine->uc, UC_X86_REG_FP0 + (int)i, image + st_offset(image, i));
    }
    uc_reg_write(engine->uc, UC_X86_REG_FPTAG, &tags);
    for (unsigned i = 0; i < XMM_COUNT; i++)
        uc_reg_write(engine->uc, UC_X86_REG_XMM0 + (int)i, image + 160 + 16 * i);
}
