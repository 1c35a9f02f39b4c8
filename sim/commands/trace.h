/* What the subcommands of vtxsim trace share: options, an open trace with symbols, its messages. */
#ifndef VTXSIM_SIM_COMMANDS_TRACE_H
#define VTXSIM_SIM_COMMANDS_TRACE_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/symbols/symbols.h"
#include "traces/reader.h"

/* Exit statuses: what is in commands.h, and this where a trace is cut off or damaged (what could be
 * read has been shown). */
#define STATUS_INCOMPLETE 1

/* A place in a trace: "1000", "instructions:1000", "time:1000". */
struct trace_place {
    bool given;
    enum trace_index index;
    uint64_t value;
};

/* The options that all have. Zero at the start. */
struct trace_request {
    const char *path;
    const char *symbols, *symbols_offset;
    struct trace_place from, to;
    uint32_t types; /* 0: all */
    bool json;
    unsigned operands, operands_wanted; /* the trace is the last operand; 0 means 1 */
    const char *first_operand;          /* where two are wanted */
};

/* Parses them into a struct trace_request: argp's input of the child. */
extern const struct argp trace_request_argp;

/* An open trace. */
struct trace_view {
    const struct trace_request *request;
    struct trace_reader *reader;
    struct symbols *symbols; /* NULL: none */
    uint64_t next;           /* number of the event that the reader gives next */
    uint64_t time;           /* of the last event that has one */
    int result;              /* the last of trace_reader_next */
    bool interrupted;        /* by SIGINT */
    bool shows_progress;
    uint64_t progress_at; /* number of the event */
};

/* Opens the trace and the symbols. Returns 0, or an exit status after a message. */
int trace_view_open(struct trace_view *view, const struct trace_request *request);
/* The part of trace_view_open that is about symbols. The same results. */
int trace_view_open_symbols(struct trace_view *view);
/*
 * The next event that the request wants, with its number. False at the end, where the trace is cut
 * off or damaged, and after SIGINT.
 */
bool trace_view_next(struct trace_view *view, struct trace_event *event, uint64_t *number);
/* Closes it; says what is wrong with the trace. Returns the exit status: `status` unless that is 0
 * and the trace is incomplete or the user interrupted. */
int trace_view_close(struct trace_view *view, int status);

/* "exits" */
const char *trace_level_name(enum trace_level level);
/* Simulated cycles a second in the run; 0 where the CPU profile is not there. */
uint64_t trace_view_tsc_hz(const struct trace_view *view);

/* Flushes a file that was written. Returns 0, or STATUS_ERROR after a message naming it; a closed
 * pipe is no error. */
int trace_flush_output(FILE *file, const char *name);

int trace_stat(int argc, char **argv);
int trace_dump(int argc, char **argv);
int trace_grep(int argc, char **argv);
int trace_export(int argc, char **argv);

#endif
