/*
 * Validation: one configuration is run twice - simulated and on KVM, or on two processors - and the
 * traces of both are compared. Each run is a process of its own, so that none can disturb the
 * other.
 */
#ifndef VTXSIM_SIM_VALIDATE_H
#define VTXSIM_SIM_VALIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/state.h"
#include "sim/vm.h"

#define VALIDATE_CODE_BYTES 15

/* How a run ended. */
struct validate_end {
    int error;  /* 0, or -errno: it could not start, or was broken off; see message */
    int signal; /* that killed its process, or 0 */
    bool timed_out;
    enum vm_stop_reason reason;
    int guest_status;
    double seconds;
    char message[512]; /* one sentence; empty when nothing is to say */
};

/*
 * Runs a configuration to its end, or for `seconds` at most (0: no limit). What the guest writes on
 * its console goes to the file `console`, events of level exits to the file `trace`. The caller
 * waits, and does not hear SIGINT meanwhile: the run does.
 */
void validate_run(const struct vm_config *config, const char *trace, const char *console,
                  unsigned seconds, struct validate_end *end);

/* The processor when an event happened. */
struct validate_state {
    bool valid;
    uint64_t gpr[GPR_COUNT], rip, rflags, cr0, cr3, cr4, efer;
    uint8_t code[VALIDATE_CODE_BYTES]; /* at RIP */
    uint32_t code_size, code_bits;     /* 0: unreadable; 16, 32 or 64 */
};

/* Runs a configuration again, up to the event with this number in its trace. valid is false if it
 * did not get there. */
void validate_find_state(const struct vm_config *config, uint64_t event, unsigned seconds,
                         struct validate_state *state);

#endif
