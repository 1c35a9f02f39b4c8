#include "sim/validate.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpu/modes.h"
#include "sim/vm_internal.h"

/* --- A run in a process of its own --- */

static struct vm *running; /* for the alarm */
static volatile sig_atomic_t alarmed;

static void on_alarm(int signal)
{
    alarmed = 1;
    vm_stop(running);
}

static void set_alarm(struct vm *vm, unsigned seconds)
{
    const struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};

    running = vm;
    alarmed = 0;
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}

/* What the child does, with `result` (of this size) for the parent. */
typedef void child_task(void *context, void *result);

/* Returns 0, -errno, or the signal that killed the child. */
static int run_child(child_task *task, void *context, void *result, size_t size)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    ssize_t got;
    int ends[2], status;
    pid_t pid;

    if (pipe(ends))
        return -errno;
    fflush(NULL);
    sigaction(SIGINT, &ignore, &before);
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        signal(SIGINT, SIG_DFL);
        task(context, result);
        _exit(write(ends[1], result, size) == (ssize_t)size ? 0 : 1);
    }
    close(ends[1]);
    if (pid < 0) {
        status = -errno;
        close(ends[0]);
        sigaction(SIGINT, &before, NULL);
        return status;
    }
    do
        got = read(ends[0], result, size);
    while (got < 0 && errno == EINTR);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(ends[0]);
    sigaction(SIGINT, &before, NULL);
    if (WIFSIGNALED(status))
        return WTERMSIG(status);
    return got == (ssize_t)size ? 0 : -EIO;
}

/* --- The run that is compared --- */

struct run_request {
    const struct vm_config *config;
    const char *trace, *console;
    unsigned seconds;
};

static void write_console(void *context, const void *data, size_t size)
{
    fwrite(data, 1, size, context);
}

/* A copy that traces exits into a file, or (NULL) nothing. */
static int copy_config(struct vm_config *copy, const struct vm_config *config, const char *trace,
                       char *message, size_t size)
{
    int error = vm_config_copy(copy, config);

    if (error)
        return error;
    free(copy->trace);
    copy->trace = trace ? strdup(trace) : NULL;
    copy->trace_level = TRACE_LEVEL_EXITS;
    return trace && !copy->trace ? -ENOMEM : vm_config_check(copy, message, size);
}

static void run_task(void *context, void *result)
{
    const struct vm_callbacks callbacks = {.console_write = write_console};
    const struct run_request *request = context;
    struct validate_end *end = result;
    FILE *console = fopen(request->console, "we");
    struct timespec from, to;
    struct vm_config config;
    struct vm *vm;

    end->error = console ? 0 : -errno;
    if (!end->error)
        end->error = copy_config(&config, request->config, request->trace, end->message,
                                 sizeof(end->message));
    if (!end->error)
        end->error =
            vm_create(&vm, &config, &callbacks, console, end->message, sizeof(end->message));
    if (end->error)
        return;
    end->error = vm_load(vm, end->message, sizeof(end->message));
    if (!end->error) {
        clock_gettime(CLOCK_MONOTONIC, &from);
        set_alarm(vm, request->seconds);
        end->error = vm_run(vm);
        alarm(0);
        clock_gettime(CLOCK_MONOTONIC, &to);
        end->seconds =
            (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        end->reason = vm_get_stop(vm)->reason;
        end->guest_status = vm_get_stop(vm)->guest_status;
        end->timed_out = alarmed;
        snprintf(end->message, sizeof(end->message), "%s", vm_get_stop(vm)->message);
    }
    vm_destroy(vm);
    if (fclose(console) && !end->error)
        end->error = -errno;
}

void validate_run(const struct vm_config *config, const char *trace, const char *console,
                  unsigned seconds, struct validate_end *end)
{
    struct run_request request = {config, trace, console, seconds};
    int outcome;

    memset(end, 0, sizeof(*end));
    outcome = run_child(run_task, &request, end, sizeof(*end));
    if (outcome > 0) {
        *end = (struct validate_end){.error = -ECHILD, .signal = outcome};
        snprintf(end->message, sizeof(end->message), "its process was ended by signal %d (%s)",
                 outcome, strsignal(outcome));
    } else if (outcome < 0) {
        *end = (struct validate_end){.error = outcome};
    }
    if (end->error && !*end->message)
        snprintf(end->message, sizeof(end->message), "%s", strerror(-end->error));
}

/* --- The same run again, for the state at one event --- */

struct state_request {
    const struct vm_config *config;
    uint64_t event;
    unsigned seconds;
};

struct state_sink {
    struct trace_sink sink; /* first: the sink's functions get this */
    struct vm *vm;
    uint64_t left; /* events before the one that is wanted */
    struct validate_state *state;
};

static unsigned code_bits(const struct cpu_state *state)
{
    uint32_t rights = state->seg[SEG_CS].access_rights;

    if ((state->efer & EFER_LMA) && (rights & AR_L))
        return 64;
    return rights & AR_DB ? 32 : 16;
}

/* A control register as the guest reads it (SDM "Guest/Host Masks and Read Shadows"). */
static uint64_t visible(const struct vm *vm, uint64_t value, enum vmcs_field mask,
                        enum vmcs_field shadow)
{
    uint64_t owned = vmcs_get(&vm->vcpu.vmcs, mask);

    if (vm->config.backend == BACKEND_KVM)
        return value;
    return (value & ~owned) | (vmcs_get(&vm->vcpu.vmcs, shadow) & owned);
}

static void take_state(struct trace_sink *sink, const struct trace_event *event)
{
    struct state_sink *wanted = (struct state_sink *)sink;
    const struct cpu_state *cpu = &wanted->vm->vcpu.cpu.state;
    struct validate_state *state = wanted->state;

    if (state->valid || wanted->left-- > 0)
        return;
    state->valid = true;
    memcpy(state->gpr, cpu->gpr, sizeof(state->gpr));
    state->rip = event->rip;
    state->rflags = cpu->rflags;
    state->cr0 = visible(wanted->vm, cpu->cr0, VMCS_CR0_MASK, VMCS_CR0_READ_SHADOW);
    state->cr3 = cpu->cr3;
    state->cr4 = visible(wanted->vm, cpu->cr4, VMCS_CR4_MASK, VMCS_CR4_READ_SHADOW);
    state->efer = cpu->efer;
    state->code_bits = code_bits(cpu);
    state->code_size = (uint32_t)vm_debug_read(
        wanted->vm, (state->code_bits == 64 ? 0 : cpu->seg[SEG_CS].base) + event->rip, state->code,
        sizeof(state->code));
    vm_stop(wanted->vm);
}

static void state_task(void *context, void *result)
{
    const struct vm_callbacks callbacks = {0};
    const struct state_request *request = context;
    struct state_sink sink = {
        .sink = {.types = trace_level_types(TRACE_LEVEL_EXITS), .event = take_state},
        .left = request->event,
        .state = result,
    };
    char message[CONFIG_MESSAGE_SIZE];
    struct vm_config config;

    if (copy_config(&config, request->config, NULL, message, sizeof(message)) ||
        vm_create(&sink.vm, &config, &callbacks, NULL, message, sizeof(message)))
        return;
    if (vm_load(sink.vm, message, sizeof(message)) == 0 &&
        vm_attach_sink(sink.vm, &sink.sink) == 0) {
        set_alarm(sink.vm, request->seconds);
        vm_run(sink.vm);
    }
}

void validate_find_state(const struct vm_config *config, uint64_t event, unsigned seconds,
                         struct validate_state *state)
{
    struct state_request request = {config, event, seconds};

    memset(state, 0, sizeof(*state));
    if (run_child(state_task, &request, state, sizeof(*state)) != 0)
        state->valid = false;
}
