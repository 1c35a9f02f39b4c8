/*
 * Replaying a trace: the run that it was made of is executed again, fed with the inputs that the
 * trace holds, and checked against its events.
 */
#ifndef VTXSIM_SIM_REPLAY_H
#define VTXSIM_SIM_REPLAY_H

#include <stdbool.h>
#include <stddef.h>

#include "sim/vm.h"
#include "traces/checker.h"

struct replay;

struct replay_options {
    /* Folders, and files under any name, in which input files are looked for that are neither at
     * the path that the trace names nor beside the trace. */
    const char *const *find;
    unsigned find_count;
    /* Hold the events against the trace's, and stop the VM at the first difference or where the
     * trace was cut off. Without it the VM has no sink yet: the caller may attach one. */
    bool check;
    uint32_t ignored; /* bits 1 << type of events that are not compared */
    struct vm_callbacks callbacks;
    void *context; /* of the callbacks */
};

/* Longest message that replay_open writes. */
#define REPLAY_MESSAGE_SIZE 1024

/*
 * Opens a trace, creates the VM of its run and loads it. Returns 0, or -errno with a message that
 * names the file, the cause and the remedy.
 */
int replay_open(struct replay **replay, const char *path, const struct replay_options *options,
                char *message, size_t size);
/* The VM: for vm_debug_attach, vm_stop, statistics. It stays the replay's. */
struct vm *replay_vm(struct replay *replay);
/* Runs the VM until the guest stops or the check ends. Returns 0 or -errno as vm_run does. */
int replay_run(struct replay *replay);
/* Ends the run at the next boundary, and the check here. Async-signal-safe. */
void replay_stop(struct replay *replay);
/* How the check stands; also while the VM runs, on its thread. With options.check only. */
void replay_get_check(const struct replay *replay, struct trace_check *check);
void replay_close(struct replay *replay);

#endif
