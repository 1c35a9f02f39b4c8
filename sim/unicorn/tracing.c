/*
 * Events of the deeper trace levels, for the sink that the VM has.
 *
 * Walks and flushes are told by the model's MMU. Most walks serve a miss of the soft TLB in the
 * middle of a block: RIP and count are then looked up in the block's restore table, only when there
 * has been a walk and somebody wants it.
 */
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"
#include "sim/vm_internal.h"

/* --- Where the processor is ---------------------------------------------------------------------
 */

static void locate(struct unicorn_engine *engine, struct trace_event *event)
{
    const struct tracing *tracing = &engine->tracing;
    event->cpu = (uint16_t)engine->vcpu->index;
    if (unicorn_current == engine && tracing->filling) {
        struct block_position position;
        unicorn_position_at(engine, tracing->fill_return_address, &position);
        event->instructions = unicorn_instructions(engine);
        event->rip = engine->env->eip;
        unicorn_position_back(engine, &position);
    } else {
        event->instructions = unicorn_instructions(engine) - tracing->executing;
        event->rip = engine->cpu->state.rip;
    }
    event->time = event->instructions + engine->vcpu->extra_cycles;
}

/* --- Walks and flushes ------------------------------------------------------------------------ */

static void observe_walk(void *context, const struct mmu_walk_report *report)
{
    struct unicorn_engine *engine = context;
    struct trace_sink *sink = engine->tracing.sink;
    struct trace_event event = {
        .type = TRACE_WALK,
        .walk =
            {
                .linear = report->linear,
                .guest_physical_address = report->gpa,
                .host_physical_address = report->hpa,
                .access = report->access,
                .status = report->status,
                .error_code = report->error_code,
                .guest_references = (uint8_t)report->guest_references,
                .ept_references = (uint8_t)report->ept_references,
                .page_shift = report->page_shift,
            },
    };
    if (!trace_wants(sink, TRACE_WALK))
        return;
    locate(engine, &event);
    sink->event(sink, &event);
}

_Static_assert(TRACE_FLUSH_CR3 == (int)MMU_FLUSH_CR3 &&
                   TRACE_FLUSH_TRANSITION == (int)MMU_FLUSH_TRANSITION,
               "enum trace_flush_kind is enum mmu_flush");

static void observe_flush(void *context, enum mmu_flush kind, unsigned type, uint64_t address)
{
    struct unicorn_engine *engine = context;
    struct trace_sink *sink = engine->tracing.sink;
    struct trace_event event = {
        .type = TRACE_FLUSH,
        .flush = {.kind = (uint8_t)kind, .type = (uint8_t)type, .address = address},
    };
    if (!trace_wants(sink, TRACE_FLUSH))
        return;
    locate(engine, &event);
    sink->event(sink, &event);
}

void unicorn_tracing_begin(struct unicorn_engine *engine)
{
    struct tracing *tracing = &engine->tracing;
    struct trace_sink *sink = engine->vcpu->vm->sink;
    bool walks = trace_wants(sink, TRACE_WALK) || trace_wants(sink, TRACE_FLUSH);
    tracing->sink = sink;
    tracing->observer = (struct mmu_observer){observe_walk, observe_flush, engine};
    engine->cpu->mmu.observer = walks ? &tracing->observer : NULL;
}
