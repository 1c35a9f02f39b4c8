/*
 * Writing a trace into a file: docs/trace-format.md. Coding happens on the caller's thread,
 * compression and writing on one of the writer's own.
 */
#ifndef VTXSIM_TRACES_WRITER_H
#define VTXSIM_TRACES_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "traces/sink.h"

struct trace_writer;

/*
 * Creates path. `options` is a JSON object describing the run (copied); the trace will hold the
 * events of `level`. Returns 0 or -errno.
 */
int trace_writer_open(struct trace_writer **writer, const char *path, const char *options,
                      enum trace_level level);
/* Its sink, valid until trace_writer_close. Never fails visibly: an error (full disk) ends the
 * trace, and trace_writer_error tells. */
struct trace_sink *trace_writer_sink(struct trace_writer *writer);
/* 0, or -errno of the first failed write. */
int trace_writer_error(const struct trace_writer *writer);
uint64_t trace_writer_events(const struct trace_writer *writer);
uint64_t trace_writer_bytes(const struct trace_writer *writer); /* compressed, so far */
/* Flushes and closes the file; no event may follow. Counts and error can still be read, and are
 * final. Returns 0 or -errno. */
int trace_writer_finish(struct trace_writer *writer);
/* Finishes, unless that was done, and frees. Returns 0 or -errno. */
int trace_writer_close(struct trace_writer *writer);

#endif
