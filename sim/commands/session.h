/*
 * A session: the VM on a thread of its own, and on the calling one everything that reaches it from
 * outside - keys, signals - and the console's way out.
 */
#ifndef VTXSIM_SIM_COMMANDS_SESSION_H
#define VTXSIM_SIM_COMMANDS_SESSION_H

#include "sim/vm.h"

struct session;

struct session_result {
    int run_error;    /* of vm_run: 0 or -errno */
    int output_error; /* of writing the guest's console: 0 or -errno */
    int signal;       /* the signal that ended the run, or 0 */
};

/* What a VM calls, with the session as context. */
extern const struct vm_callbacks session_callbacks;

/*
 * Call before anything starts a thread: the signals that the session serves are blocked in all of
 * them. json: the console goes to standard error. Returns 0 or -errno.
 */
int session_create(struct session **session, bool json);
/* Runs the VM until it stops. Returns 0 (and the result) or -errno. */
int session_run(struct session *session, struct vm *vm, struct session_result *result);
/* Restores signals and frees. */
void session_destroy(struct session *session);

#endif
