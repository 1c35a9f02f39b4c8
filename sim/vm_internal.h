/* The virtual machine's inside, for the files of sim/ and the engines. */
#ifndef VTXSIM_SIM_VM_INTERNAL_H
#define VTXSIM_SIM_VM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "cpu/profile.h"
#include "memory/ept.h"
#include "memory/slots.h"
#include "models/platform.h"
#include "sim/debug_points.h"
#include "sim/hypercalls.h"
#include "sim/inject_flip.h"
#include "sim/loaders/loader.h"
#include "sim/vcpu.h"
#include "sim/vm.h"
#include "traces/writer.h"

/* sim/debug.h */
struct vm_debug {
    vm_debug_hook *hook; /* NULL: nobody looks */
    void *context;
    uint64_t stop_at;      /* UINT64_MAX: never */
    uint64_t stop_at_time; /* cycles; the same */
    _Atomic bool interrupted;
    bool changed;  /* by the hook */
    bool standing; /* in the hook */
    struct debug_points points;
};

/* Inputs from a recording in place of those from outside (vm_feed_inputs). */
struct vm_feed {
    bool (*next)(void *context, struct trace_event *input); /* NULL: inputs come from outside */
    void *context;
    struct trace_event input; /* the next one */
    bool pending;             /* there is one */
};

struct vm {
    struct vm_config config;
    struct vm_callbacks callbacks;
    void *context; /* of the callbacks */

    struct cpu_profile profile;
    struct physmem physmem;     /* host-physical: hypervisor's structures, then guest RAM */
    struct guest_memory memory; /* guest-physical slots */
    struct ept ept;
    struct platform *platform;
    struct vcpu vcpu;
    struct share_table shares; /* by hypercall */
    struct trace_writer *trace; /* the file that the configuration names; NULL: none */
    struct trace_sink *sink;    /* where events go; NULL: nowhere */
    uint64_t random_state; /* RDRAND, seeds of the loader */

    /* --ept-withdraw */
    uint64_t withdraw_at, withdraw_state, withdrawn;

    struct vm_debug debug;
    struct vm_feed feed;
    struct inject_flip flip;

    uint64_t interrupts_injected, exceptions_injected;
    uint64_t progress_at;
    uint64_t hash_at, memory_hash; /* next state hash (UINT64_MAX: none), and the last one */

    /* Life cycle. lock protects state, paused and input; the rest belongs to vm_run's thread. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum vm_state state;
    bool pause_requested;
    _Atomic bool stop_requested, interactive;
    uint8_t input[256];
    unsigned input_count;
    struct vm_stop stop;
    struct timespec started;
    double host_seconds;
};

/* Instructions between two calls of the progress callback. */
#define PROGRESS_INSTRUCTIONS 20000000ull

/* Stops the guest at the end of the exit being handled. The first reason stays. */
void vm_set_stop(struct vm *vm, enum vm_stop_reason reason, int guest_status, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

struct bus *vm_bus(struct vm *vm);
/* True if a device (or nothing) answers at gpa: no RAM or ROM is there. */
bool vm_is_device(struct vm *vm, uint64_t gpa);
/* Simulated time since power-on in nanoseconds. */
uint64_t vm_nanoseconds(struct vm *vm);
uint64_t vm_random(struct vm *vm);

/* A deadline or an event is new: the engine asks vcpu_boundary at the next boundary. */
void vm_reconsider(struct vm *vm);

/* Maps all RAM and ROM in EPT. Returns 0, -EINVAL or -ENOMEM. */
int vm_map_all(struct vm *vm);
/* Maps the page of RAM or ROM at gpa in EPT. Returns 0, -EFAULT if there is none, -ENOMEM. */
int vm_map_page(struct vm *vm, uint64_t gpa);
/* --ept-withdraw: takes EPT entries away at random when the time has come. */
void vm_withdraw_ept(struct vm *vm, uint64_t instructions);

/* Serves what other threads ask for: pause, input, stop; or what a recording says that they asked
 * for. Returns when the guest may go on. */
void vm_serve_requests(struct vm *vm);
/* True if somebody may still type on the console. */
bool vm_has_input(struct vm *vm);
/* The instruction count at which a recorded input is due, or UINT64_MAX. */
uint64_t vm_next_input(const struct vm *vm);

/* sim/debug.c: called by the engine just before the next instruction, once there is no more event
 * to come before it: calls the hook if it is due. And for the engine's own reasons. */
void vm_debug_boundary(struct vcpu *vcpu, uint64_t instructions);
void vm_debug_stopped(struct vcpu *vcpu, enum vm_debug_reason reason, uint64_t address);
/* The guest has stopped: calls the hook a last time. */
void vm_debug_end(struct vm *vm);
uint64_t vm_cycles_to_nanoseconds(struct vm *vm, uint64_t cycles);
/* Waits until a request or input arrives or, with a deadline, the time has passed. */
void vm_wait_idle(struct vm *vm, uint64_t nanoseconds);

/* Fills the VMCS of the VM handler for its guest (sim/vmcs_setup.c). */
int vmcs_setup(struct vcpu *vcpu, char *message, size_t size);

/* Exit qualification of EPT violations: NMI unblocking due to IRET. */
#define EPT_NMI_UNBLOCKED (1ull << 12)

/* The handler of the exit in vcpu's VMCS (sim/exits.c). in_place: the processor still holds the
 * guest's state. */
bool exit_is_handled_in_place(uint32_t reason);
enum vcpu_action exit_handle(struct vcpu *vcpu);
/* Injects an exception at the next VM entry. */
void vcpu_inject_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error_code);
/* Moves GUEST_RIP behind the instruction that exited. */
void vcpu_skip_instruction(struct vcpu *vcpu);

#endif
