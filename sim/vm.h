/*
 * The VM handler: a virtual machine's life from creation to destruction.
 *
 *   vm_create -> CREATED -> vm_run -> RUNNING <-> PAUSED -> STOPPED -> vm_destroy
 *
 * vm_run occupies the calling thread until the guest stops; vm_pause, vm_resume, vm_stop,
 * vm_console_input and vm_get_state may be called from any thread meanwhile. Illegal transitions
 * return -EINVAL (vm_pause of a VM that does not run, vm_run of one that has stopped, ...).
 */
#ifndef VTXSIM_SIM_VM_H
#define VTXSIM_SIM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/config.h"
#include "sim/exit_statistics.h"

struct vm;

enum vm_state { VM_CREATED, VM_RUNNING, VM_PAUSED, VM_STOPPED };
const char *vm_state_name(enum vm_state state);

/* Why the guest stopped. */
enum vm_stop_reason {
    VM_STOP_NONE,       /* still running */
    VM_STOP_POWER_OFF,  /* ACPI S5; status 0 */
    VM_STOP_RESET,      /* reset by i8042, 0x92, 0xcf9; status 0 */
    VM_STOP_DEBUG_EXIT, /* port 0xf4; status: the guest's */
    VM_STOP_TRIPLE_FAULT,
    VM_STOP_HALTED,            /* HLT that no interrupt can end */
    VM_STOP_INSTRUCTION_LIMIT, /* --max-instructions */
    VM_STOP_REQUESTED,         /* vm_stop */
    VM_STOP_ENTRY_FAILURE,     /* a VM entry was rejected */
    VM_STOP_UNHANDLED_EXIT,    /* an exit that the handler cannot resolve */
    VM_STOP_ENGINE_ERROR,      /* the execution engine gave up */
};

struct vm_stop {
    enum vm_stop_reason reason;
    int guest_status;  /* power off 0, debug exit: value << 1 | 1 */
    char message[512]; /* one sentence or more for people; empty when nothing is to say */
};

struct vm_callbacks {
    /* Output of the guest's console, on the thread of vm_run. May be NULL. */
    void (*console_write)(void *context, const void *data, size_t size);
    /* Called on the thread of vm_run every few million instructions (progress). May be NULL. */
    void (*progress)(void *context, uint64_t instructions, uint64_t simulated_cycles);
};

/*
 * Creates a VM: memory, EPT, VMCS, devices, engine; nothing is loaded yet. Returns 0 or -errno with
 * a message (cause and remedy). The configuration is copied.
 */
int vm_create(struct vm **vm, const struct vm_config *config, const struct vm_callbacks *callbacks,
              void *context, char *message, size_t size);
/* Loads what the configuration names (kernel or image) and sets the initial processor state. */
int vm_load(struct vm *vm, char *message, size_t size);
/* Runs until the guest stops. Returns 0 (see vm_get_stop) or -errno. */
int vm_run(struct vm *vm);
/* Returns when the processor stands still, at an instruction boundary. */
int vm_pause(struct vm *vm);
int vm_resume(struct vm *vm);
/* Asks the guest to stop at the next instruction boundary; returns at once. Async-signal-safe. */
void vm_stop(struct vm *vm);
void vm_destroy(struct vm *vm);

enum vm_state vm_get_state(struct vm *vm);
const struct vm_stop *vm_get_stop(const struct vm *vm);
/* Exits and totals; while running only from callbacks, else from any thread. */
void vm_get_statistics(struct vm *vm, struct run_statistics *run, struct exit_statistics *exits);
/* Somebody sits at the console: while the guest waits for an interrupt, simulated time then passes
 * no faster than real time, and a guest that only input can wake is not stopped. */
void vm_set_interactive(struct vm *vm, bool interactive);
/* Where the run's events go besides the file that the configuration names. Before vm_run; stays the
 * caller's, until vm_destroy. Returns 0, or -EBUSY if events go somewhere already. */
struct trace_sink;
int vm_attach_sink(struct vm *vm, struct trace_sink *sink);
/*
 * Replay: inputs are those that `next` gives (events of type TRACE_INPUT in their order; false: no
 * more), each at the instruction count and time that it says. Those from outside are ignored.
 * Before vm_run.
 */
struct trace_event;
void vm_feed_inputs(struct vm *vm, bool (*next)(void *context, struct trace_event *input),
                    void *context);
/* Types on the guest's serial console. Returns the bytes taken (the rest later). */
size_t vm_console_input(struct vm *vm, const void *data, size_t size);

#endif
