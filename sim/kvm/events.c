/*
 * What happens between instructions: the clock, timers, requests of other threads, interrupts.
 *
 * Interrupt controllers and timers are the platform's, as in the simulation; KVM only delivers. The
 * clock is the host's, counted in the guest's TSC cycles: the guest runs at the host's speed and
 * reads the host's TSC, so no other clock would agree with what it sees.
 */
#define _GNU_SOURCE /* gettid, SIGEV_THREAD_ID */

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sim/kvm/kvm.h"
#include "sim/vm_internal.h"

#define KICK_SIGNAL (SIGRTMIN + 2)

/* How long a processor that waits sleeps before it looks for requests again. */
#define WAIT_NANOSECONDS 10000000ull
#define SECOND           1000000000ull

/* The run page of this thread's engine: a signal that arrives before KVM_RUN must end it, too. */
static _Thread_local struct kvm_run *volatile current_run;

static void interrupt_run(int signal)
{
    struct kvm_run *run = current_run;
    if (run)
        __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

/* --- The clock ----------------------------------------------------------------------------------
 */

static uint64_t nanoseconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(now.tv_sec - start->tv_sec) * SECOND + (uint64_t)now.tv_nsec -
           (uint64_t)start->tv_nsec;
}

void kvm_update_clock(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    uint64_t nanoseconds = nanoseconds_since(&engine->started);
    vcpu->extra_cycles =
        (uint64_t)((unsigned __int128)nanoseconds * vcpu->vm->profile.tsc_hz / SECOND);
}

static struct timespec host_time_of(const struct kvm_engine *engine, uint64_t cycles)
{
    uint64_t nanoseconds = vm_cycles_to_nanoseconds(engine->vcpu->vm, cycles) + 1;
    uint64_t sum = (uint64_t)engine->started.tv_nsec + nanoseconds;
    return (struct timespec){engine->started.tv_sec + (time_t)(sum / SECOND), (long)(sum % SECOND)};
}

/* The signal that ends KVM_RUN when the next device is due. */
static void set_timer(struct kvm_engine *engine)
{
    uint64_t deadline = platform_next_deadline(engine->vcpu->vm->platform);
    if (deadline == engine->timer_cycles)
        return;
    struct itimerspec when = {0}; /* stopped */
    if (deadline != CLOCK_NEVER)
        when.it_value = host_time_of(engine, deadline);
    timer_settime(engine->timer, TIMER_ABSTIME, &when, NULL);
    engine->timer_cycles = deadline;
}

static void run_timers(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    if (vcpu_cycles(vcpu) >= platform_next_deadline(vcpu->vm->platform))
        platform_run_timers(vcpu->vm->platform);
}

/* --- Kicks --------------------------------------------------------------------------------------
 */

void kvm_kick(struct vcpu *vcpu)
{
    struct kvm_engine *engine = vcpu->engine;
    __atomic_store_n(&engine->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&engine->running))
        pthread_kill(engine->thread, KICK_SIGNAL);
}

int kvm_events_start(struct kvm_engine *engine)
{
    struct sigaction action = {.sa_handler = interrupt_run};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KICK_SIGNAL};
    event._sigev_un._tid = gettid();
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    if (timer_create(CLOCK_MONOTONIC, &event, &engine->timer))
        return -errno;
    sigaction(KICK_SIGNAL, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    engine->timer_cycles = CLOCK_NEVER;
    engine->thread = pthread_self();
    current_run = engine->run;
    clock_gettime(CLOCK_MONOTONIC, &engine->started);
    atomic_store(&engine->running, true);
    return 0;
}

void kvm_events_stop(struct kvm_engine *engine)
{
    atomic_store(&engine->running, false);
    timer_delete(engine->timer);
    current_run = NULL;
}

/* The clock stands still while the guest is paused; its TSC goes on. */
static void serve_requests(struct kvm_engine *engine)
{
    struct timespec before;
    if (!atomic_exchange(&engine->vcpu->kicked, false))
        return;
    clock_gettime(CLOCK_MONOTONIC, &before);
    vm_serve_requests(engine->vcpu->vm);
    uint64_t start = (uint64_t)engine->started.tv_nsec + nanoseconds_since(&before);
    engine->started.tv_sec += (time_t)(start / SECOND);
    engine->started.tv_nsec = (long)(start % SECOND);
    engine->timer_cycles = UINT64_MAX - 1; /* set for a time that has moved */
}

/* --- Injection ----------------------------------------------------------------------------------
 */

static void record_injection(struct vcpu *vcpu, enum event_type type, uint8_t vector)
{
    struct vm *vm = vcpu->vm;
    vm->interrupts_injected++;
    if (!trace_wants(vm->sink, TRACE_INJECTION))
        return;
    const struct trace_event event = {
        .type = TRACE_INJECTION,
        .cpu = (uint16_t)vcpu->index,
        .time = vcpu_cycles(vcpu),
        .rip = vcpu->cpu.state.rip,
        .injection.info = vector | (uint32_t)type << INTR_INFO_TYPE_SHIFT | INTR_INFO_VALID,
    };
    vm->sink->event(vm->sink, &event);
}

static void inject(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    struct platform *platform = vcpu->vm->platform;
    struct kvm_run *run = engine->run;
    if (vcpu->nmi_pending && ioctl(engine->cpu, KVM_NMI) == 0) {
        record_injection(vcpu, EVENT_NMI, VECTOR_NMI);
        vcpu->nmi_pending = false;
    }
    bool open = run->ready_for_interrupt_injection && run->if_flag && !engine->injected;
    if (open && platform_interrupt_pending(platform, vcpu->index)) {
        struct kvm_interrupt interrupt = {platform_interrupt_acknowledge(platform, vcpu->index)};
        record_injection(vcpu, EVENT_EXTERNAL_INTERRUPT, (uint8_t)interrupt.irq);
        ioctl(engine->cpu, KVM_INTERRUPT, &interrupt);
        engine->injected = true;
    }
    run->request_interrupt_window = platform_interrupt_pending(platform, vcpu->index);
}

void kvm_prepare_events(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    kvm_update_clock(engine);
    run_timers(engine);
    __atomic_store_n(&engine->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    serve_requests(engine);
    vcpu->event_raised = false;
    kvm_debug_boundary(engine);
    inject(engine);
    set_timer(engine);
    engine->run->cr8 = platform_read_cr8(vcpu->vm->platform, vcpu->index);
}

/* --- HLT ----------------------------------------------------------------------------------------
 */

static bool is_woken(const struct vcpu *vcpu)
{
    return platform_interrupt_pending(vcpu->vm->platform, vcpu->index) || vcpu->nmi_pending;
}

static void sleep_until(struct kvm_engine *engine, uint64_t deadline)
{
    uint64_t now = vcpu_cycles(engine->vcpu);
    uint64_t nanoseconds = WAIT_NANOSECONDS;
    if (deadline <= now)
        return;
    if (deadline != CLOCK_NEVER)
        nanoseconds = vm_cycles_to_nanoseconds(engine->vcpu->vm, deadline - now) + 1;
    if (nanoseconds > WAIT_NANOSECONDS)
        nanoseconds = WAIT_NANOSECONDS;
    nanosleep(&(struct timespec){0, (long)nanoseconds}, NULL); /* a kick ends it early */
}

void kvm_wait(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    struct vm *vm = vcpu->vm;
    while (!is_woken(vcpu) && vm->stop.reason == VM_STOP_NONE) {
        uint64_t deadline = platform_next_deadline(vm->platform);
        if (deadline == CLOCK_NEVER && !vm_has_input(vm)) {
            vm_set_stop(vm, VM_STOP_HALTED, 0, "the guest halted and no device will ever wake it");
            return;
        }
        sleep_until(engine, deadline);
        kvm_update_clock(engine);
        run_timers(engine);
        serve_requests(engine);
    }
}
