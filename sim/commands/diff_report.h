/* What vtxsim diff has found, as text and as JSON. */
#ifndef VTXSIM_SIM_COMMANDS_DIFF_REPORT_H
#define VTXSIM_SIM_COMMANDS_DIFF_REPORT_H

#include "sim/divergence.h"
#include "sim/replay.h"
#include "sim/symbols/symbols.h"
#include "traces/diff.h"

struct json_t;

/* All zero at the start. */
struct diff_report {
    const char *const *path; /* of the two traces; not owned */
    uint64_t context;        /* events shown before the first difference */
    bool all, json;

    bool files_equal; /* byte for byte: nothing else was looked at */
    struct trace_reader *reader[2];
    struct json_t *options[2];
    char backend[2][64]; /* "kvm/pvm" */
    struct trace_comparison comparison;
    struct trace_diff_result result;
    uint64_t differences;
    struct trace_difference first;

    bool replayed; /* divergence is valid */
    struct divergence divergence;
    char replay_message[REPLAY_MESSAGE_SIZE]; /* why it is not; "": nobody asked */
    const struct symbols *symbols;            /* NULL: there are none; not owned */
};

/* Reads the options of both runs out of the readers. Returns 0 or -errno with a message. */
int diff_read_options(struct diff_report *report, char *message, size_t size);
bool diff_options_differ(const struct diff_report *report);
bool diff_option_differs(const struct diff_report *report, const char *name);

/* Prints on standard output. status: the exit status that the command is going to have. */
void diff_report_print(struct diff_report *report, int status);
void diff_report_destroy(struct diff_report *report);

#endif
