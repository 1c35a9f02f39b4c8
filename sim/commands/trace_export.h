/* The formats of vtxsim trace export, a file each. */
#ifndef VTXSIM_SIM_COMMANDS_TRACE_EXPORT_H
#define VTXSIM_SIM_COMMANDS_TRACE_EXPORT_H

#include "sim/commands/trace.h"

enum trace_weight { WEIGHT_CYCLES, WEIGHT_INSTRUCTIONS, WEIGHT_COUNT };
enum trace_clock { CLOCK_OF_TIME, CLOCK_OF_INSTRUCTIONS };

struct trace_exporter {
    struct trace_view *view;
    FILE *out;
    enum trace_weight weight; /* folded */
    enum trace_clock clock;   /* perfetto */
    void *state;              /* the format's own */
};

struct trace_export_format {
    const char *name;
    /* Each returns 0 or -errno; what went wrong in writing `out` is looked for elsewhere. finish is
     * called whenever begin was. */
    int (*begin)(struct trace_exporter *exporter);
    int (*event)(struct trace_exporter *exporter, uint64_t number, const struct trace_event *event);
    int (*finish)(struct trace_exporter *exporter);
};

extern const struct trace_export_format trace_export_perfetto, trace_export_csv,
    trace_export_folded;

#endif
