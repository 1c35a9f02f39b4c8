/* What vtxsim replay tells: the guest where it stands, and the verdict over the events. */
#ifndef VTXSIM_SIM_COMMANDS_REPLAY_REPORT_H
#define VTXSIM_SIM_COMMANDS_REPLAY_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/replay.h"

/* A place at which a replay was stopped. */
struct replay_place {
    const char *option, *text; /* how the user asked for it: "--to", "1000" */
    const char *console;       /* the last bytes of the guest's console so far */
    size_t console_size;
    uint64_t console_total; /* bytes so far */
    bool hash_memory;
};

struct json_t;

/* In the hook: registers, the next instruction, the events around. */
void replay_print_place(FILE *file, struct replay *replay, const struct replay_place *place);
struct json_t *replay_place_json(struct replay *replay, const struct replay_place *place);

/* "equal", "different", ... */
const char *replay_state_name(enum trace_check_state state);
/* The two events that differ, field by field, and what led to them. */
void replay_print_difference(FILE *file, const char *trace, const struct trace_check *check);
struct json_t *replay_check_json(const struct trace_check *check);

#endif
