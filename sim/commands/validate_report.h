/* What vtxsim validate has found, as text and as JSON. */
#ifndef VTXSIM_SIM_COMMANDS_VALIDATE_REPORT_H
#define VTXSIM_SIM_COMMANDS_VALIDATE_REPORT_H

#include "sim/validate.h"
#include "traces/diff.h"

/* All zero at the start. */
struct validate_report {
    char name[2][80];    /* of the sides: "simulation", "kvm/pvm"; or the profiles */
    char backend[2][64]; /* as traces/normalize.h has them */
    bool profiles;       /* two CPU profiles are compared */
    struct validate_end end[2];
    struct trace_comparison comparison;
    struct trace_diff_result result;
    uint64_t comparable[2]; /* of a run that met its time limit: one more than the number of its
                             * last event that is compared */
    uint64_t differences;
    struct trace_difference first;
    struct validate_state state[2]; /* at the first difference */

    uint64_t console_size[2], console_equal; /* bytes; equal ones at the start */
    char console_line[2][160];               /* where they differ, the lines */
    bool ends_differ, console_differs;
};

bool validate_agrees(const struct validate_report *report);
void validate_report_print(const struct validate_report *report);
/* Returns 0 or -errno of writing. */
int validate_report_print_json(const struct validate_report *report, int status);

#endif
