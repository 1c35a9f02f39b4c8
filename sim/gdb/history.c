/*
 * Backwards. A count of instructions names one state of the guest, and a run is deterministic:
 * going back is waking the nearest checkpoint before the place (sim/timeline.h) and running to it.
 *
 * For reverse-continue the stretch between the last checkpoint and here is run through once to find
 * the last point that is met in it, and then again up to there; if none is met, the stretch before.
 * A breakpoint stands in front of its instruction. So does, going backwards, a watchpoint: GDB
 * compares values, and in front of the write there is the old one.
 */
#include <string.h>

#include "sim/gdb/server.h"

/* Instructions between checkpoints on the way forwards. */
#define CHECKPOINT_INTERVAL 50000000ull
/* On the way to a place in the past, checkpoints get denser: the next steps back start there. */
#define APPROACH_DIVISOR    8
#define APPROACH_END        20000ull

static void plan_checkpoint(struct gdb_server *server)
{
    const struct wishes *wishes = &server->wishes;
    uint64_t left = wishes->count - server->now;

    server->next_checkpoint = server->now + CHECKPOINT_INTERVAL;
    if (wishes->goal != GOAL_PLACE || wishes->count <= server->now)
        return;
    uint64_t next = wishes->count - left / APPROACH_DIVISOR;
    if (next < server->next_checkpoint)
        server->next_checkpoint = left > APPROACH_END ? next : UINT64_MAX;
}

/* A copy that was asleep: what happened meanwhile is in the message. */
static void wake_up(struct gdb_server *server)
{
    server->link.no_ack = server->wishes.no_ack;
    server->link.place = LINK_OUTSIDE;
    server->link.input_first = server->link.input_count = 0;
    server->link.sent_size = 0;
    server->modified = server->destination_set = server->found = false;
    server->scan_start = server->now;
}

static void checkpoint(struct gdb_server *server)
{
    uint8_t message[TIMELINE_MESSAGE_MAX];
    size_t size;

    if (server->before_copy)
        server->before_copy(server->copies_context);
    if (timeline_checkpoint(server->timeline, server->now, message, &size) == 1) {
        memcpy(&server->wishes, message, sizeof(server->wishes));
        wake_up(server);
    }
    plan_checkpoint(server);
}

void history_begin(struct gdb_server *server)
{
    server->history_begin = server->now;
    server->has_history = false;
}

void history_leave(struct gdb_server *server)
{
    if (!server->timeline)
        return;
    if (server->modified && server->now > 0)
        timeline_drop_after(server->timeline, server->now - 1);
    if (server->modified || !server->has_history) {
        server->has_history = true;
        server->modified = false;
        checkpoint(server);
    }
    plan_checkpoint(server);
}

void history_pass(struct gdb_server *server)
{
    if (server->timeline && server->has_history && server->now >= server->next_checkpoint)
        checkpoint(server);
}

uint64_t history_next(const struct gdb_server *server)
{
    bool goes = server->timeline && server->has_history && server->wishes.goal != GOAL_NOBODY;

    if (!goes)
        return UINT64_MAX;
    return server->next_checkpoint > server->now ? server->next_checkpoint : server->now + 1;
}

bool history_goes_back(const struct gdb_server *server)
{
    const struct wishes *wishes = &server->wishes;

    return wishes->goal == GOAL_SCAN || (wishes->goal == GOAL_PLACE && wishes->count < server->now);
}

/* Wakes the nearest checkpoint before a count. */
static void travel(struct gdb_server *server, uint64_t count)
{
    uint64_t nearest = server->timeline && server->has_history
                           ? timeline_nearest(server->timeline, count)
                           : UINT64_MAX;

    if (nearest != UINT64_MAX && nearest >= server->history_begin) {
        server->wishes.no_ack = server->link.no_ack;
        if (server->before_copy)
            server->before_copy(server->copies_context);
        timeline_travel(server->timeline, count, &server->wishes, sizeof(server->wishes));
    }
    server->report = (struct report){.reason = VM_DEBUG_COUNT, .begin = true};
}

void history_go_back(struct gdb_server *server)
{
    bool scan = server->wishes.goal == GOAL_SCAN;

    if (server->now > server->history_begin) {
        travel(server, scan ? server->now - 1 : server->wishes.count);
        return;
    }
    server->report = (struct report){.reason = VM_DEBUG_COUNT, .begin = true};
}

static void note(struct gdb_server *server, const struct vm_debug_stop *stop)
{
    bool watch = stop->reason == VM_DEBUG_WATCHPOINT;
    uint64_t count = stop->instructions - watch;

    if (count >= server->wishes.count)
        return;
    server->found = true;
    server->found_count = count;
    server->found_report = (struct report){.reason = stop->reason, .address = stop->address};
}

/* The stretch has been run through. */
static void finish_scan(struct gdb_server *server)
{
    struct wishes *wishes = &server->wishes;

    wishes->goal = GOAL_PLACE;
    if (server->found) {
        wishes->count = server->found_count;
        wishes->report = server->found_report;
    } else if (server->scan_start <= server->history_begin) {
        wishes->count = server->history_begin;
        wishes->report = (struct report){.reason = VM_DEBUG_COUNT, .begin = true};
    } else {
        wishes->goal = GOAL_SCAN;
        wishes->count = server->scan_start;
        travel(server, server->scan_start - 1);
        return;
    }
    travel(server, wishes->count);
}

bool history_scan(struct gdb_server *server, const struct vm_debug_stop *stop)
{
    if (stop->reason == VM_DEBUG_BREAKPOINT || stop->reason == VM_DEBUG_WATCHPOINT)
        note(server, stop);
    if (stop->reason != VM_DEBUG_END && server->now < server->wishes.count)
        return false;
    finish_scan(server);
    return true; /* it could not go there, and has told so */
}
