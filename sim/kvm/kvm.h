/*
 * The KVM engine's own state, and what its files offer each other.
 *
 *   device.c         /dev/kvm: opening, what it must offer, a message for each thing that can lack
 *   engine.c         creation, running, leaving
 *   state.c          processor state: KVM's copy <-> cpu_state
 *   cpuid.c          CPUID of the profile, cut down to what this KVM can do
 *   msr.c            which MSRs KVM leaves to the processor model
 *   exits.c          each KVM exit as the VM exit that it stands for
 *   instruction.c    the instruction that an exit belongs to
 *   device_access.c  the same for accesses to devices in memory
 *   events.c         interrupts, NMIs, the clock, kicks
 *   step.c           single steps for debuggers
 *   probe.c          what this machine's KVM can do; guests in probe_guests.S, for which
 *   probe_machine.c  makes memory and registers
 *
 * With KVM the hypervisor is the kernel: the VMCS that the processor runs with is the kernel's, and
 * most VM exits never leave it. Those that do arrive in the middle of an instruction that KVM
 * finishes itself when the processor is entered again. So this engine settles every exit where it
 * stands, and its run() returns only when the guest has stopped.
 */
#ifndef VTXSIM_SIM_KVM_KVM_H
#define VTXSIM_SIM_KVM_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "cpu/decode.h"
#include "sim/vcpu.h"

struct kvm_engine {
    struct vcpu *vcpu;
    int device, vm, cpu; /* file descriptors; -1: not open */
    struct kvm_run *run; /* shared with the kernel */
    size_t run_size;

    /* events.c */
    _Atomic bool running;
    pthread_t thread;
    timer_t timer;
    uint64_t timer_cycles;   /* for when the timer is set; CLOCK_NEVER: it is not */
    struct timespec started; /* host time at simulated time 0 */
    bool injected;           /* an interrupt waits in KVM for the next entry */

    /* exits.c: KVM has finished an instruction, and it exits once more. */
    bool exit_again;
    bool continued;       /* the exit being handled is such a one */
    uint64_t instruction; /* RIP of the instruction of the last exit */
    /* The string instruction whose repetitions are one exit. */
    struct {
        uint64_t rip;
        unsigned rest;
    } repetition;

    bool stepping;         /* KVM exits after every instruction */
    uint64_t instructions; /* retired while stepping */

    uint64_t entries;
};

/* device.c: a virtual machine without processors. Returns 0 or -errno with a message. */
int kvm_open(int *device, int *vm, char *message, size_t size);
/* Its processor, with the page that it shares with the kernel. */
int kvm_create_processor(int device, int vm, unsigned number, int *cpu, struct kvm_run **run,
                         size_t *run_size, char *message, size_t size);

/* state.c */
/* All registers that vtxsim models -> KVM. Returns 0 or -errno. */
int kvm_push_state(struct kvm_engine *engine);
/* What KVM gives with every exit -> cpu.state: general registers, segments, control registers. */
void kvm_pull_registers(struct kvm_engine *engine);
/* And the rest: MSRs and debug registers. */
void kvm_pull_state(struct kvm_engine *engine);
/* The registers of the shared page that kvm_push_state keeps up to date at every exit. */
#define KVM_SYNCED (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

/* cpuid.c: returns 0 or -errno with a message. */
int kvm_set_cpuid(struct kvm_engine *engine, char *message, size_t size);

/* msr.c: returns 0 or -errno with a message. */
int kvm_filter_msrs(struct kvm_engine *engine, char *message, size_t size);

/* instruction.c */
/* Up to size bytes of code at a linear address, as far as it is mapped; nothing changes. */
unsigned kvm_read_code(struct kvm_engine *engine, uint64_t linear, uint8_t *bytes, unsigned size);
/* The instruction at RIP of cpu.state. False if it is none that the processor model knows. */
bool kvm_decode(struct kvm_engine *engine, struct insn *insn);
/* The instruction before RIP: the shortest that ends there and is the one meant. If there is one,
 * moves RIP of cpu.state to it and returns true. */
typedef bool kvm_insn_matches(const struct insn *insn, const struct cpu_state *state,
                              const void *context);
bool kvm_decode_before(struct kvm_engine *engine, struct insn *insn, kvm_insn_matches *matches,
                       const void *context);

/* device_access.c: an access to a device that KVM emulates. If the instruction is found, moves RIP
 * of cpu.state to it, gives the linear address and returns true. */
struct kvm_access {
    uint64_t gpa, value;
    unsigned size;
    bool write;
};
bool kvm_find_access(struct kvm_engine *engine, const struct kvm_access *access, uint64_t *linear);

/* exits.c: settles the exit that KVM_RUN has returned with. Returns 0, or -errno with
 * vcpu->engine_message. */
int kvm_handle_exit(struct kvm_engine *engine);
/* A signal or a request ended KVM_RUN. */
void kvm_handle_interruption(struct kvm_engine *engine);

/* step.c */
/* Between instructions: calls the debugger's hook if it is due, and has KVM step if a count of
 * instructions is waited for. */
void kvm_debug_boundary(struct kvm_engine *engine);
/* KVM has exited after an instruction, or has finished one of an exit. */
void kvm_stepped(struct kvm_engine *engine);

/* events.c */
int kvm_events_start(struct kvm_engine *engine);
void kvm_events_stop(struct kvm_engine *engine);
/* Before an entry: timers, requests of other threads, then what is to be injected. */
void kvm_prepare_events(struct kvm_engine *engine);
/* Brings the VM's clock up to date: host time since the start. */
void kvm_update_clock(struct kvm_engine *engine);
/* HLT: waits until something wakes the processor. */
void kvm_wait(struct kvm_engine *engine);
void kvm_kick(struct vcpu *vcpu);

#endif
