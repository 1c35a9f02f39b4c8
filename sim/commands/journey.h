/*
 * A replay that goes to places, one after the other, in any order: forwards by running, backwards
 * by waking a checkpoint (sim/timeline.h).
 */
#ifndef VTXSIM_SIM_COMMANDS_JOURNEY_H
#define VTXSIM_SIM_COMMANDS_JOURNEY_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/replay.h"

enum goal_kind { GOAL_INSTRUCTIONS, GOAL_EVENT, GOAL_TIME };

struct goal {
    enum goal_kind kind;
    const char *text;      /* as the user wrote it */
    uint64_t instructions; /* GOAL_TIME: unused */
    uint64_t event;        /* GOAL_EVENT: its number */
    uint64_t cycles;       /* GOAL_TIME, without a unit */
    double seconds;        /* GOAL_TIME, with a unit; else 0 */
};

#define GOALS_MAX 1000

/*
 * Reads "12345", "1.5ms" (s, ms, us, ns; cycles without) by kind. Returns 0, or -EINVAL with a
 * message.
 */
int goal_parse(struct goal *goal, enum goal_kind kind, const char *text, char *message,
               size_t size);
/* Looks up where in the run the goals that are events lie. Returns 0 or -errno with a message. */
int goals_find_events(struct goal *goals, unsigned count, const char *trace, char *message,
                      size_t size);

struct journey;

/*
 * Call before the replay is opened: where goals lead back, or `others` may want to go back, the process is split (timeline_start). Returns 0 or -errno.
 */
int journey_create(struct journey **journey, const struct goal *goals, unsigned count, bool others);
/* For somebody else; NULL if the process was not split. */
struct timeline;
struct timeline *journey_timeline(const struct journey *journey);
/*
 * Takes the VM's hook. When the VM is run, `arrived` is called at each goal, in order; after the
 * last one the VM is stopped. `before_copy` is called before the process is copied or ends in
 * favour of a copy: what is buffered must be written out.
 */
void journey_attach(struct journey *journey, struct replay *replay,
                    void (*arrived)(void *context, unsigned goal), void (*before_copy)(void *),
                    void *context);
/* Goals reached so far. */
unsigned journey_reached(const struct journey *journey);
/* Bytes of the guest's console that have been shown to the user: does not go back with the guest.
 */
uint64_t *journey_shown(struct journey *journey);
/* 0, or -errno of what made going back impossible. */
int journey_error(const struct journey *journey);
void journey_destroy(struct journey *journey);

#endif
