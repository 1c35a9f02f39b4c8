/*
 * Writing a trace: one record for each VM exit into a zstd-compressed file.
 *
 * The format is versioned and owned by traces/; docs/trace-format.md describes it.
 */
#ifndef VTXSIM_TRACES_WRITER_H
#define VTXSIM_TRACES_WRITER_H

#include <stddef.h>
#include <stdint.h>

/* One VM exit. Fields that an exit does not define are 0. */
struct trace_exit {
    uint64_t instructions; /* retired by this processor before the exit */
    uint64_t time;         /* simulated cycles */
    uint64_t rip;
    uint64_t qualification;
    uint64_t guest_linear_address;
    uint64_t guest_physical_address;
    uint64_t value;  /* what the handler gave or took: port data, MSR value, CPUID.EAX... */
    uint32_t reason; /* as in the VMCS field */
    uint32_t interruption_info;
    uint32_t cycles; /* charged for this exit */
    uint16_t cpu;
};

struct trace_writer;

/* Creates path. Returns 0 or -errno. `options` is a JSON object describing the run (copied). */
int trace_writer_open(struct trace_writer **writer, const char *path, const char *options);
/* Never fails visibly: an error (full disk) ends the trace; trace_writer_error tells. */
void trace_write_exit(struct trace_writer *writer, const struct trace_exit *exit);
/* 0, or -errno of the first failed write. */
int trace_writer_error(const struct trace_writer *writer);
uint64_t trace_writer_events(const struct trace_writer *writer);
uint64_t trace_writer_bytes(const struct trace_writer *writer); /* compressed, so far */
/* Flushes and closes the file; no record may follow. Counts and error can still be read, and are
 * final. Returns 0 or -errno. */
int trace_writer_finish(struct trace_writer *writer);
/* Finishes, unless that was done, and frees. Returns 0 or -errno. */
int trace_writer_close(struct trace_writer *writer);

#endif
