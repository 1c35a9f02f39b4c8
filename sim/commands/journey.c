/* Going to places in a replay. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/commands/journey.h"
#include "sim/debug.h"
#include "sim/timeline.h"

/* Distances between checkpoints, in instructions: no shorter than this, and else in proportion to
 * what has been run; but halving it before a goal, which is where people go back a little. */
#define SHORTEST_DISTANCE 1000000
#define DISTANCE_PART     16

#define PLACES 200 /* whose time is remembered */

/* All copies of the process see it. */
struct shared {
    uint64_t shown;
    unsigned places; /* noted so far; the oldest make room */
    struct {
        uint64_t instructions, time;
    } place[PLACES];
};
_Static_assert(sizeof(struct shared) <= TIMELINE_SHARED_SIZE, "must fit");

struct journey {
    const struct goal *goals;
    unsigned count, reached;
    struct timeline *timeline; /* NULL: the way leads forwards only */
    struct shared *shared, own;
    struct replay *replay;
    uint64_t checkpoint_at;
    uint64_t awaited_time;             /* the hook will be called as soon as it has come */
    uint64_t arrived_at, arrived_time; /* ... as it was, at this instruction count */
    bool ended;
    int error;
    void (*arrived)(void *context, unsigned goal);
    void (*before_copy)(void *context);
    void *context;
};

/* --- Goals
 * ---------------------------------------------------------------------------------------- */

static bool parse_count(const char *text, uint64_t *count)
{
    char *end;

    errno = 0;
    *count = strtoull(text, &end, 0);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

static bool parse_seconds(const char *text, double *seconds)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}};
    char *end;
    double number = strtod(text, &end);

    if (end == text || !(number >= 0) || *text == '-' || number > 1e18)
        return false;
    for (unsigned i = 0; i < sizeof(units) / sizeof(*units); i++) {
        if (strcmp(end, units[i].name) == 0) {
            *seconds = number * units[i].seconds;
            return true;
        }
    }
    return false;
}

int goal_parse(struct goal *goal, enum goal_kind kind, const char *text, char *message, size_t size)
{
    static const struct {
        const char *option, *example;
    } kinds[] = {
        [GOAL_INSTRUCTIONS] = {"--to", "a number of instructions, as in 1000000"},
        [GOAL_EVENT] = {"--to-exit", "the number of an event, as vtxsim trace dump shows it"},
        [GOAL_TIME] = {"--to-time", "simulated time: cycles, or with a unit as in 1.5ms or 2s"},
    };
    uint64_t count;

    *goal = (struct goal){.kind = kind, .text = text};
    if (kind == GOAL_TIME && parse_seconds(text, &goal->seconds))
        return 0;
    if (!parse_count(text, &count)) {
        snprintf(message, size, "%s: \"%s\" is no place: write %s", kinds[kind].option, text,
                 kinds[kind].example);
        return -EINVAL;
    }
    if (kind == GOAL_TIME)
        goal->cycles = count;
    else if (kind == GOAL_EVENT)
        goal->event = count;
    else
        goal->instructions = count;
    return 0;
}

static int find_event(struct goal *goal, struct trace_reader *reader, const char *trace,
                      char *message, size_t size)
{
    struct trace_event event;
    int result = trace_reader_seek(reader, TRACE_INDEX_EVENT, goal->event);

    if (result == 0)
        result = trace_reader_next(reader, &event);
    if (result == 1) {
        goal->instructions = event.instructions;
        return 0;
    }
    snprintf(message, size, "--to-exit %s: %s has %" PRIu64 " events, counted from 0", goal->text,
             trace, trace_reader_position(reader));
    return -ERANGE;
}

int goals_find_events(struct goal *goals, unsigned count, const char *trace, char *message,
                      size_t size)
{
    struct trace_reader *reader = NULL;
    int error = 0;

    for (unsigned i = 0; i < count && !error; i++) {
        if (goals[i].kind != GOAL_EVENT)
            continue;
        if (!reader)
            error = trace_reader_open(&reader, trace, message, size);
        if (!error)
            error = find_event(&goals[i], reader, trace, message, size);
    }
    if (reader)
        trace_reader_close(reader);
    return error;
}

/* False if it is plain that no goal lies before an earlier one. */
static bool may_lead_back(const struct goal *goals, unsigned count)
{
    for (unsigned i = 1; i < count; i++)
        if (goals[i].kind == GOAL_TIME || goals[i - 1].kind == GOAL_TIME ||
            goals[i].instructions < goals[i - 1].instructions)
            return true;
    return false;
}

/* --- The way
 * -------------------------------------------------------------------------------------- */

int journey_create(struct journey **result, const struct goal *goals, unsigned count, bool others)
{
    struct journey *journey = calloc(1, sizeof(*journey));

    if (!journey)
        return -ENOMEM;
    journey->goals = goals;
    journey->count = count;
    journey->shared = &journey->own;
    journey->checkpoint_at = UINT64_MAX;
    if (others || may_lead_back(goals, count)) {
        int error = timeline_start(&journey->timeline);
        if (error) {
            free(journey);
            return error;
        }
        journey->shared = timeline_shared(journey->timeline);
        journey->checkpoint_at = 0;
    }
    *result = journey;
    return 0;
}

unsigned journey_reached(const struct journey *journey)
{
    return journey->reached;
}

struct timeline *journey_timeline(const struct journey *journey)
{
    return journey->timeline;
}

uint64_t *journey_shown(struct journey *journey)
{
    return &journey->shared->shown;
}

int journey_error(const struct journey *journey)
{
    return journey->error;
}

void journey_destroy(struct journey *journey)
{
    if (journey->timeline)
        timeline_end(journey->timeline);
    free(journey);
}

static struct run_statistics run_of(const struct journey *journey)
{
    struct exit_statistics exits;
    struct run_statistics run;

    vm_get_statistics(replay_vm(journey->replay), &run, &exits);
    return run;
}

static uint64_t goal_cycles(const struct goal *goal, uint64_t hz)
{
    double exact = goal->seconds * (double)hz;
    uint64_t cycles = exact < 0x1p63 ? (uint64_t)exact : 1ull << 63;

    if (!(goal->seconds > 0))
        return goal->cycles;
    return (double)cycles < exact ? cycles + 1 : cycles;
}

static void note_place(struct shared *shared, const struct run_statistics *run)
{
    unsigned at = shared->places++ % PLACES;

    shared->place[at].instructions = run->instructions;
    shared->place[at].time = run->simulated_cycles;
}

/* The latest place known to be at or before a time. */
static uint64_t find_place(const struct shared *shared, uint64_t time)
{
    uint64_t found = 0;

    for (unsigned i = 0; i < shared->places && i < PLACES; i++)
        if (shared->place[i].time <= time && shared->place[i].instructions > found)
            found = shared->place[i].instructions;
    return found;
}

static uint64_t next_distance(const struct goal *goal, uint64_t now)
{
    uint64_t distance = now / DISTANCE_PART;

    if (goal->kind != GOAL_TIME && goal->instructions > now &&
        (goal->instructions - now) / 2 < distance)
        distance = (goal->instructions - now) / 2;
    return distance > SHORTEST_DISTANCE ? distance : SHORTEST_DISTANCE;
}

/* Ends the journey: the VM stops at this boundary. */
static void end(struct journey *journey, int error)
{
    journey->error = error;
    journey->ended = true;
    replay_stop(journey->replay);
}

/* Makes a checkpoint if one is due here. In a woken copy the goals reached are the traveller's. */
static void leave_checkpoint(struct journey *journey, const struct run_statistics *run)
{
    unsigned message[TIMELINE_MESSAGE_MAX / sizeof(unsigned)];
    size_t size;

    if (run->instructions < journey->checkpoint_at)
        return;
    journey->before_copy(journey->context);
    note_place(journey->shared, run);
    if (timeline_checkpoint(journey->timeline, run->instructions, message, &size) == 1)
        journey->reached = message[0];
    journey->checkpoint_at =
        run->instructions + next_distance(&journey->goals[journey->reached], run->instructions);
}

static void travel(struct journey *journey, uint64_t to)
{
    journey->before_copy(journey->context);
    end(journey,
        timeline_travel(journey->timeline, to, &journey->reached, sizeof(journey->reached)));
}

enum direction { HERE, AHEAD, BEHIND };

/*
 * A time is reached at the first boundary at which it has come: at this one if it is the very time,
 * or if the boundary before it was earlier.
 */
static enum direction find_time(const struct journey *journey, uint64_t cycles,
                                const struct run_statistics *run)
{
    if (run->simulated_cycles < cycles)
        return AHEAD;
    if (run->simulated_cycles == cycles || run->instructions == 0)
        return HERE;
    return journey->arrived_at == run->instructions && cycles >= journey->arrived_time ? HERE
                                                                                       : BEHIND;
}

static enum direction find_goal(const struct journey *journey, const struct run_statistics *run)
{
    const struct goal *goal = &journey->goals[journey->reached];

    if (goal->kind == GOAL_TIME)
        return find_time(journey, goal_cycles(goal, run->tsc_hz), run);
    return goal->instructions == run->instructions  ? HERE
           : goal->instructions > run->instructions ? AHEAD
                                                    : BEHIND;
}

/* The latest place before the goal that is known. */
static uint64_t place_before(const struct journey *journey, const struct run_statistics *run)
{
    const struct goal *goal = &journey->goals[journey->reached];

    return goal->kind == GOAL_TIME ? find_place(journey->shared, goal_cycles(goal, run->tsc_hz))
                                   : goal->instructions;
}

/* True if somebody sleeps ahead on the way to the goal: he has come further already. */
static bool can_skip(const struct journey *journey, const struct run_statistics *run)
{
    uint64_t nearest;

    if (!journey->timeline)
        return false;
    nearest = timeline_nearest(journey->timeline, place_before(journey, run));
    return nearest != UINT64_MAX && nearest > run->instructions;
}

static void go_on(struct journey *journey, const struct run_statistics *run)
{
    const struct goal *goal = &journey->goals[journey->reached];
    struct vm *vm = replay_vm(journey->replay);
    uint64_t place = journey->checkpoint_at;

    if (goal->kind == GOAL_TIME) {
        journey->awaited_time = goal_cycles(goal, run->tsc_hz);
        vm_debug_stop_at_time(vm, journey->awaited_time);
    } else if (goal->instructions < place) {
        place = goal->instructions;
    }
    vm_debug_stop_at(vm, place);
}

/* What comes behind a difference is another run. */
static bool has_failed(const struct journey *journey)
{
    struct trace_check check;

    replay_get_check(journey->replay, &check);
    return check.state == TRACE_CHECK_DIFFERENT || check.state == TRACE_CHECK_DAMAGED;
}

static void on_stop(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    struct journey *journey = context;
    struct run_statistics run = run_of(journey);
    enum direction direction = HERE;

    if (journey->ended || has_failed(journey))
        return;
    if (run.simulated_cycles >= journey->awaited_time) {
        journey->arrived_at = run.instructions;
        journey->arrived_time = journey->awaited_time;
    }
    journey->awaited_time = UINT64_MAX;
    vm_debug_stop_at_time(vm, UINT64_MAX);
    if (stop->reason != VM_DEBUG_END)
        leave_checkpoint(journey, &run);
    while (journey->reached < journey->count) {
        direction = find_goal(journey, &run);
        if (direction != HERE)
            break;
        journey->arrived(journey->context, journey->reached++);
    }
    if (direction == HERE)
        end(journey, 0);
    else if (direction == BEHIND || can_skip(journey, &run))
        travel(journey, place_before(journey, &run));
    else if (stop->reason != VM_DEBUG_END)
        go_on(journey, &run);
}

void journey_attach(struct journey *journey, struct replay *replay,
                    void (*arrived)(void *context, unsigned goal), void (*before_copy)(void *),
                    void *context)
{
    journey->replay = replay;
    journey->arrived = arrived;
    journey->before_copy = before_copy;
    journey->context = context;
    journey->awaited_time = UINT64_MAX;
    journey->arrived_at = UINT64_MAX;
    vm_debug_attach(replay_vm(replay), on_stop, journey);
    vm_debug_stop_at(replay_vm(replay), 0);
}
