/*
 * A session. The calling thread waits for signals (as a file), for keys and for the end of the VM,
 * and writes out what the guest has left in the console's buffer.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "sim/commands/commands.h"
#include "sim/commands/console.h"
#include "sim/commands/session.h"
#include "sim/log.h"
#include "sim/terminal.h"

#define START_POLL_MICROSECONDS 200
#define TICK_MILLISECONDS       20
#define PROGRESS_MILLISECONDS   500

struct session {
    struct vm *vm;
    struct console console;
    pthread_t thread;
    int run_error;
    int signal_fd, done_fd;
    sigset_t signals, signals_before;

    int input_fd; /* -1 once it has ended */
    bool raw;
    struct terminal_filter filter;
    char input[1024]; /* for the guest, which has not taken it yet */
    size_t input_count;

    bool paused;
    int signal; /* that ended the run */
    bool everything_logged;
    unsigned char log_before[LOG_PART_COUNT];

    bool progress; /* a line of progress is wanted */
    bool progress_shown;
    struct timespec progress_time;
    uint64_t progress_before;
    _Atomic uint64_t instructions;
};

static void on_console_write(void *context, const void *data, size_t size)
{
    struct session *session = context;

    if (console_write(&session->console, data, size))
        vm_stop(session->vm);
}

static void on_progress(void *context, uint64_t instructions, uint64_t simulated_cycles)
{
    struct session *session = context;

    (void)simulated_cycles;
    atomic_store_explicit(&session->instructions, instructions, memory_order_relaxed);
}

const struct vm_callbacks session_callbacks = {
    .console_write = on_console_write,
    .progress = on_progress,
};

int session_create(struct session **result, bool json)
{
    static const int served[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGTSTP};
    struct session *session = calloc(1, sizeof(*session));

    if (!session)
        return -ENOMEM;
    sigemptyset(&session->signals);
    for (unsigned i = 0; i < sizeof(served) / sizeof(*served); i++)
        sigaddset(&session->signals, served[i]);
    pthread_sigmask(SIG_BLOCK, &session->signals, &session->signals_before);
    console_init(&session->console, json ? STDERR_FILENO : STDOUT_FILENO);
    session->signal_fd = signalfd(-1, &session->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    session->done_fd = eventfd(0, EFD_CLOEXEC);
    if (session->signal_fd < 0 || session->done_fd < 0) {
        int error = -errno;

        session_destroy(session);
        return error;
    }
    session->progress = isatty(STDERR_FILENO) && !isatty(session->console.fd);
    *result = session;
    return 0;
}

void session_destroy(struct session *session)
{
    if (session->signal_fd >= 0)
        close(session->signal_fd);
    if (session->done_fd >= 0)
        close(session->done_fd);
    pthread_sigmask(SIG_SETMASK, &session->signals_before, NULL);
    console_destroy(&session->console);
    free(session);
}

static void *run_vm(void *context)
{
    struct session *session = context;
    uint64_t done = 1;

    session->run_error = vm_run(session->vm);
    (void)!write(session->done_fd, &done, sizeof(done));
    return NULL;
}

/* A message among the guest's output: on a line of its own. */
static void tell(struct session *session, const char *text)
{
    console_flush(&session->console);
    if (session->progress_shown || (isatty(session->console.fd) && session->console.last != '\n'))
        fputs(session->progress_shown ? "\r\033[K" : "\n", stderr);
    session->progress_shown = false;
    fprintf(stderr, "[vtxsim: %s]\n", text);
}

static void toggle_pause(struct session *session)
{
    int error = session->paused ? vm_resume(session->vm) : vm_pause(session->vm);

    if (error) /* it has just stopped */
        return;
    session->paused = !session->paused;
    tell(session, session->paused ? "paused" : "resumed");
}

static void show_statistics(struct session *session)
{
    struct exit_statistics exits;
    struct run_statistics run;

    if (!session->paused && vm_pause(session->vm))
        return;
    vm_get_statistics(session->vm, &run, &exits);
    tell(session, "statistics so far");
    exit_statistics_print(&exits, &run, stderr);
    if (!session->paused)
        vm_resume(session->vm);
}

static void toggle_debug(struct session *session)
{
    session->everything_logged = !session->everything_logged;
    for (unsigned part = 0; part < LOG_PART_COUNT; part++) {
        if (session->everything_logged)
            session->log_before[part] = atomic_load(&log_threshold[part]);
        atomic_store(&log_threshold[part],
                     session->everything_logged ? LOG_LEVEL_DEBUG : session->log_before[part]);
    }
    tell(session, session->everything_logged ? "logging everything" : "logging as before");
}

/* Asks the VM to stop. The second time it is not asked any more. */
static void end_run(struct session *session, int number)
{
    if (session->signal) {
        terminal_restore();
        _exit(STATUS_SIGNAL + number);
    }
    session->signal = number;
    vm_stop(session->vm);
}

static void serve_key(struct session *session, enum terminal_key key)
{
    switch (key) {
    case KEY_NONE:
        break;
    case KEY_END:
        end_run(session, SIGINT);
        break;
    case KEY_PAUSE:
        toggle_pause(session);
        break;
    case KEY_STATISTICS:
        show_statistics(session);
        break;
    case KEY_DEBUG:
        toggle_debug(session);
        break;
    case KEY_HELP:
        tell(session, "keys");
        fputs(terminal_help, stderr);
        break;
    }
}

/* The shell wants the terminal: gives it back as it was until the process is continued. */
static void suspend(struct session *session)
{
    bool was_paused = session->paused;

    if (!was_paused && vm_pause(session->vm))
        return;
    terminal_restore();
    raise(SIGSTOP);
    if (session->raw)
        terminal_set_raw(STDIN_FILENO);
    if (!was_paused)
        vm_resume(session->vm);
}

static void serve_signals(struct session *session)
{
    struct signalfd_siginfo info;

    while (read(session->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGUSR1)
            toggle_pause(session);
        else if (info.ssi_signo == SIGTSTP)
            suspend(session);
        else
            end_run(session, (int)info.ssi_signo);
    }
}

static void offer_input(struct session *session)
{
    size_t taken = vm_console_input(session->vm, session->input, session->input_count);

    session->input_count -= taken;
    memmove(session->input, session->input + taken, session->input_count);
}

/* Keys of a terminal are filtered; other input is the guest's as it is. */
static void read_input(struct session *session)
{
    char data[sizeof(session->input)];
    ssize_t length = read(session->input_fd, data, sizeof(data) - session->input_count);

    if (length <= 0) {
        if (length == 0 || (errno != EINTR && errno != EAGAIN))
            session->input_fd = -1;
        return;
    }
    for (ssize_t i = 0; i < length; i++) {
        bool for_guest = true;
        enum terminal_key key = KEY_NONE;

        if (session->raw)
            key = terminal_filter(&session->filter, &data[i], &for_guest);
        if (for_guest)
            session->input[session->input_count++] = data[i];
        serve_key(session, key);
    }
}

static void show_progress(struct session *session)
{
    uint64_t instructions = atomic_load_explicit(&session->instructions, memory_order_relaxed);
    struct timespec now;
    double passed;

    clock_gettime(CLOCK_MONOTONIC, &now);
    passed = (double)(now.tv_sec - session->progress_time.tv_sec) +
             (double)(now.tv_nsec - session->progress_time.tv_nsec) * 1e-9;
    if (passed < PROGRESS_MILLISECONDS / 1e3)
        return;
    fprintf(stderr, "\r%.0f million instructions, %.1f MIPS\033[K", (double)instructions / 1e6,
            (double)(instructions - session->progress_before) / passed / 1e6);
    session->progress_shown = true;
    session->progress_before = instructions;
    session->progress_time = now;
}

/* Until the VM's thread says that it is done. */
static void serve(struct session *session)
{
    for (;;) {
        /* No more input is read than the guest has room for. */
        bool wanted = session->input_fd >= 0 && session->input_count == 0;
        struct pollfd fds[] = {
            {.fd = session->done_fd, .events = POLLIN},
            {.fd = session->signal_fd, .events = POLLIN},
            {.fd = wanted ? session->input_fd : -1, .events = POLLIN},
        };

        poll(fds, sizeof(fds) / sizeof(*fds), TICK_MILLISECONDS);
        if (fds[0].revents)
            return;
        if (fds[1].revents)
            serve_signals(session);
        if (fds[2].revents)
            read_input(session);
        if (session->input_count)
            offer_input(session);
        if (console_flush(&session->console))
            vm_stop(session->vm);
        if (session->progress)
            show_progress(session);
    }
}

/* A terminal on which we are in the background is not ours to read. */
static void open_input(struct session *session)
{
    session->input_fd = STDIN_FILENO;
    if (terminal_is_ours(STDIN_FILENO)) {
        session->raw = terminal_set_raw(STDIN_FILENO) == 0;
        vm_set_interactive(session->vm, true);
    } else if (isatty(STDIN_FILENO)) {
        session->input_fd = -1;
    }
}

int session_run(struct session *session, struct vm *vm, struct session_result *result)
{
    int error;

    session->vm = vm;
    clock_gettime(CLOCK_MONOTONIC, &session->progress_time);
    error = pthread_create(&session->thread, NULL, run_vm, session);
    if (error)
        return -error;
    /* A VM that does not run yet could not be paused. */
    while (vm_get_state(vm) == VM_CREATED)
        usleep(START_POLL_MICROSECONDS);
    open_input(session);
    serve(session);
    pthread_join(session->thread, NULL);
    console_flush(&session->console);
    terminal_restore();
    if (session->progress_shown)
        fputs("\r\033[K", stderr);
    else if (isatty(session->console.fd) && session->console.last != '\n')
        fputc('\n', stderr);
    *result = (struct session_result){session->run_error, session->console.error, session->signal};
    return 0;
}
