/* Checkpoints as processes. */
#define _GNU_SOURCE
#include "sim/timeline.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLL_MICROSECONDS 100

enum command { SLEEP, WAKE, END };

struct slot {
    uint64_t instructions;
    _Atomic pid_t pid; /* of the process that sleeps here; 0: nobody */
    _Atomic int command;
};

/* Seen by all processes. Only the current one changes it, but for pids of processes that died. */
struct shared {
    pid_t parent;
    _Atomic pid_t current;
    struct slot slot[TIMELINE_CHECKPOINTS];
    size_t message_size;
    uint8_t message[TIMELINE_MESSAGE_MAX];
    _Alignas(16) uint8_t callers[TIMELINE_SHARED_SIZE];
};

struct timeline {
    struct shared *shared;
    int wake[TIMELINE_CHECKPOINTS]; /* eventfd: the slot has a command */
    int lifeline;                   /* a pipe that only the parent could write to */
};

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1};
#define PASSED_ON (sizeof(passed_on) / sizeof(*passed_on))

/* --- The parent
 * ----------------------------------------------------------------------------------- */

static struct shared *parents;

/* What the terminal sends has reached the current process already: it is in the same group. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    int saved = errno;

    (void)context;
    if (info->si_code <= 0)
        kill(atomic_load(&parents->current), number);
    errno = saved;
}

static void pass_signals_on(void)
{
    struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t set;

    sigemptyset(&action.sa_mask);
    sigemptyset(&set);
    for (unsigned i = 0; i < PASSED_ON; i++) {
        sigaction(passed_on[i], &action, NULL);
        sigaddset(&set, passed_on[i]);
    }
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Returns how the current process ended. Others that end: travellers, dropped checkpoints. */
static int wait_for_current(struct shared *shared)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);

        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0 || pid == atomic_load(&shared->current))
            return pid < 0 ? 1 << 8 : status;
        for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++) {
            pid_t expected = pid;
            atomic_compare_exchange_strong(&shared->slot[i].pid, &expected, 0);
        }
    }
}

static _Noreturn void end_as(int status)
{
    if (WIFSIGNALED(status)) {
        prctl(PR_SET_DUMPABLE, 0); /* the other has left the core */
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static _Noreturn void be_parent(struct shared *shared, int lifeline)
{
    int status;

    parents = shared;
    pass_signals_on();
    status = wait_for_current(shared);
    /* All that are left are children of this process now, since their own parents have ended. */
    for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++) {
        pid_t pid = atomic_load(&shared->slot[i].pid);
        if (pid)
            kill(pid, SIGKILL);
    }
    close(lifeline);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    end_as(status);
}

/* The calling process becomes current: it dies with the parent, of which it is a child as soon as
 * the one that made or woke it is gone. */
static void become_current(const struct timeline *timeline)
{
    struct pollfd parent = {.fd = timeline->lifeline};
    pid_t expected = timeline->shared->parent;

    while (getppid() != expected) {
        if (poll(&parent, 1, 0) > 0)
            _exit(1);
        usleep(POLL_MICROSECONDS);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != expected)
        _exit(1);
}

/* --- Start and end
 * -------------------------------------------------------------------------------- */

static void free_timeline(struct timeline *timeline)
{
    for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++)
        if (timeline->wake[i] >= 0)
            close(timeline->wake[i]);
    if (timeline->shared)
        munmap(timeline->shared, sizeof(*timeline->shared));
    free(timeline);
}

static struct timeline *new_timeline(void)
{
    struct timeline *timeline = calloc(1, sizeof(*timeline));
    bool complete = true;
    void *memory;

    if (!timeline)
        return NULL;
    memory = mmap(NULL, sizeof(*timeline->shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED)
        timeline->shared = memory;
    for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++) {
        timeline->wake[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        complete = complete && timeline->wake[i] >= 0;
    }
    if (timeline->shared && complete)
        return timeline;
    free_timeline(timeline);
    return NULL;
}

int timeline_start(struct timeline **result)
{
    struct timeline *timeline = new_timeline();
    int lifeline[2];
    pid_t pid;

    if (!timeline)
        return -ENOMEM;
    if (pipe2(lifeline, O_CLOEXEC) < 0) {
        int error = -errno;
        free_timeline(timeline);
        return error;
    }
    fflush(NULL); /* or both processes write it */
    timeline->shared->parent = getpid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid = fork();
    if (pid < 0) {
        int error = -errno;
        prctl(PR_SET_CHILD_SUBREAPER, 0);
        close(lifeline[0]);
        close(lifeline[1]);
        free_timeline(timeline);
        return error;
    }
    if (pid > 0) {
        pid_t nobody = 0; /* the child may be quicker, and even have travelled */

        atomic_compare_exchange_strong(&timeline->shared->current, &nobody, pid);
        close(lifeline[0]);
        be_parent(timeline->shared, lifeline[1]);
    }
    close(lifeline[1]);
    timeline->lifeline = lifeline[0];
    atomic_store(&timeline->shared->current, getpid());
    become_current(timeline);
    *result = timeline;
    return 0;
}

void *timeline_shared(struct timeline *timeline)
{
    return timeline->shared->callers;
}

/* --- Which checkpoints there are
 * ------------------------------------------------------------------ */

/* Takes note of checkpoints that have died by themselves (the host ran out of memory). The parent
 * sees to those whose makers are gone. */
static void note_deaths(const struct timeline *timeline)
{
    for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++) {
        struct slot *slot = &timeline->shared->slot[i];
        pid_t pid = atomic_load(&slot->pid);

        if (pid && waitpid(pid, NULL, WNOHANG) == pid)
            atomic_store(&slot->pid, 0);
    }
}

/* The used slots in the order of their places. Returns their number. */
static unsigned list_slots(const struct timeline *timeline, unsigned list[TIMELINE_CHECKPOINTS])
{
    const struct slot *slot = timeline->shared->slot;
    unsigned count = 0;

    for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++) {
        unsigned at = count;

        if (!atomic_load(&slot[i].pid))
            continue;
        for (; at > 0 && slot[list[at - 1]].instructions > slot[i].instructions; at--)
            list[at] = list[at - 1];
        list[at] = i;
        count++;
    }
    return count;
}

/* The slot of the nearest at or before a place, or -1. */
static int find_nearest(const struct timeline *timeline, uint64_t instructions)
{
    unsigned list[TIMELINE_CHECKPOINTS], count = list_slots(timeline, list);

    while (count > 0 && timeline->shared->slot[list[count - 1]].instructions > instructions)
        count--;
    return count ? (int)list[count - 1] : -1;
}

uint64_t timeline_nearest(const struct timeline *timeline, uint64_t instructions)
{
    int slot;

    note_deaths(timeline);
    slot = find_nearest(timeline, instructions);
    return slot < 0 ? UINT64_MAX : timeline->shared->slot[slot].instructions;
}

static void command(const struct timeline *timeline, unsigned number, enum command what)
{
    const uint64_t one = 1;

    atomic_store(&timeline->shared->slot[number].command, what);
    (void)!write(timeline->wake[number], &one, sizeof(one));
}

/* Ends a checkpoint and waits until it has: its memory and its slot are free then. */
static void drop(const struct timeline *timeline, unsigned number)
{
    struct slot *slot = &timeline->shared->slot[number];
    pid_t pid = atomic_load(&slot->pid);

    command(timeline, number, END);
    if (waitpid(pid, NULL, 0) == pid)
        atomic_store(&slot->pid, 0);
    while (atomic_load(&slot->pid)) /* not a child of this process: the parent will note it */
        usleep(POLL_MICROSECONDS);
}

void timeline_drop_after(struct timeline *timeline, uint64_t instructions)
{
    note_deaths(timeline);
    for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++) {
        const struct slot *slot = &timeline->shared->slot[i];
        if (atomic_load(&slot->pid) && slot->instructions > instructions)
            drop(timeline, i);
    }
}

void timeline_end(struct timeline *timeline)
{
    note_deaths(timeline);
    for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++)
        if (atomic_load(&timeline->shared->slot[i].pid))
            drop(timeline, i);
    close(timeline->lifeline);
    free_timeline(timeline);
}

/* --- Thinning out
 * --------------------------------------------------------------------------------- */

/* A figure of /proc/meminfo in bytes; UINT64_MAX if it is not told. */
static uint64_t host_memory(const char *name)
{
    FILE *file = fopen("/proc/meminfo", "re");
    unsigned long long value = UINT64_MAX;
    size_t length = strlen(name);
    char line[128];

    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, name, length) == 0 && sscanf(line + length, ": %llu", &value) == 1) {
            value <<= 10;
            break;
        }
    if (file)
        fclose(file);
    return value;
}

static uint64_t own_memory(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;

    if (file && fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A checkpoint may come to cost as much as the process has. */
static bool memory_is_short(void)
{
    uint64_t available = host_memory("MemAvailable");

    return available < own_memory() || available < host_memory("MemTotal") / 8;
}

/*
 * Drops the one that is missed least, when the place of interest is `now`: the distance that a
 * journey to the places behind it would have to run, beside how far away those are. The first
 * stays, as the only way to the beginning.
 */
static void thin(struct timeline *timeline, uint64_t now)
{
    const struct slot *slot = timeline->shared->slot;
    unsigned list[TIMELINE_CHECKPOINTS], count = list_slots(timeline, list), chosen = 0;
    double least = 0;

    for (unsigned i = 1; i < count; i++) {
        uint64_t at = slot[list[i]].instructions, before = slot[list[i - 1]].instructions;
        uint64_t after = i + 1 < count ? slot[list[i + 1]].instructions : at;
        uint64_t away = at < now ? now - at : at - now;
        double loss;

        if (at < now && now < after)
            after = now;
        loss = (double)(after - before) / ((double)away + 1);
        if (!chosen || loss < least) {
            chosen = i;
            least = loss;
        }
    }
    if (chosen)
        drop(timeline, list[chosen]);
}

/* A free slot, or -1. */
static int take_slot(struct timeline *timeline, uint64_t now)
{
    unsigned list[TIMELINE_CHECKPOINTS], count = list_slots(timeline, list);
    uint64_t pending;

    while (count > 1 && (count == TIMELINE_CHECKPOINTS || memory_is_short())) {
        thin(timeline, now);
        count = list_slots(timeline, list);
    }
    if (count && memory_is_short())
        return -1;
    for (unsigned i = 0; i < TIMELINE_CHECKPOINTS; i++) {
        if (atomic_load(&timeline->shared->slot[i].pid))
            continue;
        /* Nobody has read it if the one who should was killed. */
        (void)!read(timeline->wake[i], &pending, sizeof(pending));
        return (int)i;
    }
    return -1;
}

/* --- Sleeping and waking
 * -------------------------------------------------------------------------- */

/* Holds back what a terminal sends: a new copy must not take it before it ignores it. */
static void hold_signals(sigset_t *before)
{
    sigset_t set;

    sigemptyset(&set);
    for (unsigned i = 0; i < PASSED_ON; i++)
        sigaddset(&set, passed_on[i]);
    sigprocmask(SIG_BLOCK, &set, before);
}

/* Until there is a command. What is sent to the whole group is not for a sleeper: ignoring a signal
 * drops one that was held back, too. */
static void hibernate(const struct timeline *timeline, unsigned number)
{
    struct pollfd fds[] = {{.fd = timeline->wake[number], .events = POLLIN},
                           {.fd = timeline->lifeline}};
    const struct slot *slot = &timeline->shared->slot[number];
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before[PASSED_ON];
    sigset_t set, set_before;
    uint64_t count;

    sigemptyset(&set);
    for (unsigned i = 0; i < PASSED_ON; i++) {
        sigaction(passed_on[i], &ignore, &before[i]);
        sigaddset(&set, passed_on[i]);
    }
    sigprocmask(SIG_UNBLOCK, &set, &set_before);
    do {
        poll(fds, 2, -1);
        if (fds[1].revents)
            _exit(1);
    } while (read(fds[0].fd, &count, sizeof(count)) != sizeof(count));
    if (atomic_load(&slot->command) == END)
        _exit(0);
    sigprocmask(SIG_SETMASK, &set_before, NULL);
    for (unsigned i = 0; i < PASSED_ON; i++)
        sigaction(passed_on[i], &before[i], NULL);
}

int timeline_checkpoint(struct timeline *timeline, uint64_t instructions, void *message,
                        size_t *size)
{
    struct shared *shared = timeline->shared;
    struct slot *slot;
    int number, woken = 0;

    if (timeline_nearest(timeline, instructions) == instructions)
        return 0;
    number = take_slot(timeline, instructions);
    if (number < 0)
        return -ENOMEM;
    slot = &shared->slot[number];
    slot->instructions = instructions;
    fflush(stdout);
    fflush(stderr);
    /* Once for the caller, and once more for each copy that is woken. */
    for (;;) {
        sigset_t before;
        pid_t pid;
        int error;

        atomic_store(&slot->command, SLEEP);
        hold_signals(&before);
        pid = fork();
        error = -errno;
        if (pid != 0) {
            atomic_store(&slot->pid, pid > 0 ? pid : 0);
            sigprocmask(SIG_SETMASK, &before, NULL);
            return pid > 0 || woken ? woken : error;
        }
        hibernate(timeline, (unsigned)number);
        sigprocmask(SIG_SETMASK, &before, NULL);
        become_current(timeline);
        memcpy(message, shared->message, shared->message_size);
        *size = shared->message_size;
        woken = 1;
    }
}

int timeline_travel(struct timeline *timeline, uint64_t instructions, const void *message,
                    size_t size)
{
    struct shared *shared = timeline->shared;
    int number;

    if (size > TIMELINE_MESSAGE_MAX)
        return -E2BIG;
    note_deaths(timeline);
    number = find_nearest(timeline, instructions);
    if (number < 0)
        return -ENOENT;
    fflush(stdout);
    fflush(stderr);
    memcpy(shared->message, message, size);
    shared->message_size = size;
    /* From here on the parent looks at the other one: should it have died, so ends the replay. */
    atomic_store(&shared->current, atomic_load(&shared->slot[number].pid));
    command(timeline, (unsigned)number, WAKE);
    _exit(0);
}
