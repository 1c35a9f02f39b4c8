/*
 * Time travel without a VM: a computation that fills memory is taken to places in any order, and
 * must be there what a straight run is. And the processes: status, signals, what is left of them.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/timeline.h"

#define WORDS       (1u << 17) /* of memory */
#define END_PLACE   250000
#define EVERY       3000 /* steps between checkpoints: many more than are kept */
#define GOALS       60
#define SECONDS_MAX 100

struct walker {
    uint64_t place, state;
    uint64_t *memory;
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void step(struct walker *walker)
{
    uint64_t at = next_random(&walker->state) % WORDS;

    walker->memory[at] += walker->state;
    walker->place++;
}

static uint64_t digest(const struct walker *walker)
{
    uint64_t sum = walker->state;

    for (unsigned i = 0; i < WORDS; i++)
        sum = (sum ^ walker->memory[i]) * 0x9e3779b97f4a7c15u;
    return sum;
}

/* What the process tells of itself, in memory that the test shares with it. */
struct told {
    uint64_t digest[GOALS];
    unsigned reached, journeys, most_processes;
    volatile sig_atomic_t ready;
};

static struct told *told;
static uint64_t goal[GOALS];

static void begin(void)
{
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(told, MAP_FAILED);
}

static void end(void)
{
    munmap(told, sizeof(*told));
}

TestSuite(sim_timeline, .init = begin, .fini = end);

#define PROCESSES_MAX 256

/* The living processes of a group but one, youngest last. Returns how many. */
static unsigned list_processes(pid_t group, pid_t but, pid_t list[PROCESSES_MAX])
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    unsigned count = 0;

    cr_assert_not_null(proc);
    while ((entry = readdir(proc))) {
        char path[280], state = 'Z';
        int pid = 0, its_group = 0;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        file = entry->d_name[0] >= '0' && entry->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        if (!file)
            continue;
        if (fscanf(file, "%d (%*[^)]) %c %*d %d", &pid, &state, &its_group) == 3 &&
            its_group == group && state != 'Z' && pid != but && count < PROCESSES_MAX)
            list[count++] = pid;
        fclose(file);
    }
    closedir(proc);
    return count;
}

static unsigned count_processes(pid_t group)
{
    pid_t list[PROCESSES_MAX];

    return list_processes(group, 0, list);
}

/* A process in a group of its own, which the body turns into a timeline. */
static pid_t start(void (*body)(void))
{
    pid_t pid = fork();

    cr_assert_geq(pid, 0);
    if (pid == 0) {
        setpgid(0, 0);
        alarm(SECONDS_MAX);
        body();
        _exit(0);
    }
    setpgid(pid, pid);
    return pid;
}

static void expect_nobody(pid_t group)
{
    unsigned left = 0;

    for (unsigned tries = 0; tries < 100; tries++) {
        left = count_processes(group);
        if (!left)
            return;
        usleep(50000);
    }
    cr_assert_fail("%u processes are left", left);
}

static int status_of(pid_t pid)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    expect_nobody(pid);
    return status;
}

static struct walker new_walker(void)
{
    return (struct walker){.memory = calloc(WORDS, sizeof(uint64_t)), .state = 1};
}

static void visit_goals(void)
{
    struct walker walker = new_walker();
    struct timeline *timeline;
    unsigned next = 0;

    if (timeline_start(&timeline))
        _exit(90);
    while (next < GOALS) {
        if (walker.place > goal[next]) {
            told->journeys++;
            timeline_travel(timeline, goal[next], &next, sizeof(next));
            _exit(91);
        }
        if (walker.place % EVERY == 0) {
            unsigned message[TIMELINE_MESSAGE_MAX / sizeof(unsigned)], processes;
            size_t size;

            if (timeline_checkpoint(timeline, walker.place, message, &size) == 1)
                next = size == sizeof(next) ? message[0] : GOALS;
            if (walker.place % (10 * EVERY) == 0 &&
                (processes = count_processes(getpgrp())) > told->most_processes)
                told->most_processes = processes;
        }
        if (walker.place == goal[next]) {
            told->digest[next++] = digest(&walker);
            told->reached++;
        } else {
            step(&walker);
        }
    }
    timeline_end(timeline);
    _exit(42);
}

static int compare_places(const void *a, const void *b)
{
    uint64_t x = goal[*(const unsigned *)a], y = goal[*(const unsigned *)b];
    return (x > y) - (x < y);
}

Test(sim_timeline, any_order)
{
    struct walker walker = new_walker();
    unsigned order[GOALS];
    uint64_t random = 2026;

    /* The end soon, so that most ways lead back; places near each other, equal ones, the start. */
    for (unsigned i = 0; i < GOALS; i++) {
        goal[i] = i == 5                      ? END_PLACE
                  : i % 10 == 9               ? goal[i - 1]
                  : i % 4 == 3 && goal[i - 1] ? goal[i - 1] - 1
                                              : next_random(&random) % END_PLACE;
        order[i] = i;
    }
    goal[7] = 0;
    int status = status_of(start(visit_goals));
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %#x", status);
    cr_assert_eq(told->reached, GOALS);
    cr_assert_gt(told->journeys, GOALS / 4);
    /* With the parent, the current one and one that is just ending. Between 4 and the limit: they
     * are used, and bounded. */
    cr_assert(told->most_processes > 4 && told->most_processes <= TIMELINE_CHECKPOINTS + 3,
              "%u processes", told->most_processes);

    qsort(order, GOALS, sizeof(*order), compare_places);
    for (unsigned i = 0; i < GOALS; i++) {
        while (walker.place < goal[order[i]])
            step(&walker);
        cr_assert_eq(digest(&walker), told->digest[order[i]], "goal %u, place %lu", order[i],
                     walker.place);
    }
    free(walker.memory);
}

/* --- Checkpoints at 0 to 9, then something happens
 * -------------------------------------------------- */

static struct timeline *ten_checkpoints(char *message)
{
    struct timeline *timeline;
    size_t size;

    if (timeline_start(&timeline))
        _exit(90);
    for (unsigned i = 0; i < 10; i++)
        if (timeline_checkpoint(timeline, i, message, &size) == 1)
            return timeline; /* woken */
    *message = '\0';
    return timeline;
}

static void die(void)
{
    char message[TIMELINE_MESSAGE_MAX];

    ten_checkpoints(message);
    raise(SIGUSR2);
}

static void travel_and_die(void)
{
    char message[TIMELINE_MESSAGE_MAX];
    struct timeline *timeline = ten_checkpoints(message);

    if (!*message)
        timeline_travel(timeline, 4, "back", 5);
    if (strcmp(message, "back") == 0)
        raise(SIGUSR2);
}

Test(sim_timeline, ends_as_the_current_process)
{
    int status = status_of(start(die));
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR2, "status %#x", status);
    status = status_of(start(travel_and_die));
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR2, "status %#x", status);
}

static void answer_nearest(void)
{
    char message[TIMELINE_MESSAGE_MAX];
    struct timeline *timeline = ten_checkpoints(message);
    unsigned *seen = timeline_shared(timeline);

    if (*message == '\0') {
        *seen = 77; /* does not go back in time */
        if (timeline_nearest(timeline, 100) != 9 || timeline_nearest(timeline, 3) != 3)
            _exit(80);
        timeline_drop_after(timeline, 5);
        if (timeline_nearest(timeline, 100) != 5 || timeline_nearest(timeline, 2) != 2)
            _exit(81);
        if (timeline_travel(timeline, 3, message, TIMELINE_MESSAGE_MAX + 1) != -E2BIG)
            _exit(82);
        timeline_travel(timeline, 100, "five", 5);
    }
    if (strcmp(message, "five") == 0 && *seen == 77)
        timeline_travel(timeline, 5, "once more", 10); /* it has left a copy of itself */
    if (strcmp(message, "once more") == 0) {
        timeline_end(timeline);
        _exit(count_processes(getpgrp()) == 2 ? 7 : 83);
    }
    _exit(84);
}

Test(sim_timeline, nearest_drop_and_end)
{
    int status = status_of(start(answer_nearest));
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %#x", status);
}

/* --- Signals -------------------------------------------------------------------------------------
 */

static volatile sig_atomic_t interrupts;

static void count_interrupt(int number)
{
    (void)number;
    interrupts++;
}

/* After the first interrupt it goes back to where there was none: the sleepers have heard nothing.
 * After the second it ends. */
static void wait_for_signals(void)
{
    char message[TIMELINE_MESSAGE_MAX];
    struct timeline *timeline;

    signal(SIGINT, count_interrupt);
    timeline = ten_checkpoints(message);
    if (interrupts)
        _exit(85);
    told->ready++;
    while (!interrupts)
        usleep(1000);
    if (!*message)
        timeline_travel(timeline, 2, "back", 5);
    _exit(9);
}

static void await_ready(int count)
{
    for (unsigned tries = 0; tries < 5000 && told->ready < count; tries++)
        usleep(10000);
    cr_assert_geq(told->ready, count);
}

Test(sim_timeline, signals)
{
    pid_t pid = start(wait_for_signals), list[PROCESSES_MAX];
    int status;

    await_ready(1);
    /* As if from a terminal, to the whole group, of which the parent passes nothing on: the
     * sleepers first, as the current process wakes one of them. */
    for (unsigned i = list_processes(pid, pid, list); i-- > 0;)
        kill(list[i], SIGINT);
    await_ready(2);
    kill(pid, SIGINT); /* the parent alone */
    status = status_of(pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 9, "status %#x", status);
}

static void work_for_ever(void)
{
    struct walker walker = new_walker();
    char message[TIMELINE_MESSAGE_MAX];
    struct timeline *timeline;
    size_t size;

    if (timeline_start(&timeline))
        _exit(90);
    for (;;) {
        if (walker.place % 1000 == 0)
            timeline_checkpoint(timeline, walker.place, message, &size);
        if (walker.place == 50000 || walker.place % 7777 == 0)
            told->ready++;
        if (walker.place > 50000 && walker.place % 20000 == 0)
            timeline_travel(timeline, 30000, "", 1);
        step(&walker);
    }
}

/* While it makes checkpoints, drops them and travels: nothing survives the parent. */
Test(sim_timeline, killed)
{
    for (unsigned i = 0; i < 10; i++) {
        pid_t pid = start(work_for_ever);

        told->ready = 0;
        await_ready(8);
        usleep(i * 3000);
        kill(pid, SIGKILL);
        cr_assert(WIFSIGNALED(status_of(pid)));
    }
}
