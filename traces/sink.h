/*
 * Where a run's events go: a file (writer.h), the check of a replay (checker.h), or another run.
 */
#ifndef VTXSIM_TRACES_SINK_H
#define VTXSIM_TRACES_SINK_H

#include "traces/event.h"

struct trace_sink {
    uint32_t types; /* bits 1 << type of the events that it wants; constant while in use */
    /* Takes one event; called on the vCPU's thread. */
    void (*event)(struct trace_sink *sink, const struct trace_event *event);
    /* The same as an event of type TRACE_BLOCK, only faster; NULL: none are wanted. */
    void (*block)(struct trace_sink *sink, uint64_t rip, uint64_t instructions, uint32_t size);
    /* The run is over: no event will follow. May be NULL. */
    void (*finish)(struct trace_sink *sink);
};

static inline bool trace_wants(const struct trace_sink *sink, enum trace_event_type type)
{
    return sink && (sink->types >> type & 1);
}

#endif
