/*
 * The server's inside.
 *
 *   link.c       sockets and packets
 *   registers.c  the registers and their description
 *   server.c     the hook of the VM: when the guest stands, and for how long
 *   history.c    checkpoints, going backwards
 *   packets.c    what each packet asks for
 *   text.c       numbers and bytes in packets
 *   monitor.c    commands of the user that GDB hands through
 */
#ifndef VTXSIM_SIM_GDB_SERVER_H
#define VTXSIM_SIM_GDB_SERVER_H

#include <stdio.h>

#include "sim/debug.h"
#include "sim/gdb/gdb.h"
#include "sim/gdb/link.h"
#include "sim/timeline.h"

#define POINTS_MAX VM_DEBUG_POINTS

/* As the protocol numbers them: Z0 ... Z4. */
enum point_type {
    POINT_SOFTWARE,
    POINT_HARDWARE,
    POINT_WRITE,
    POINT_READ,
    POINT_ACCESS,
    POINT_TYPES
};

struct gdb_point {
    enum point_type type;
    uint64_t address, size;
};

/* What the guest runs for. Counts are of instructions retired. */
enum goal {
    GOAL_RUN,    /* until something happens */
    GOAL_STEP,   /* to `count` */
    GOAL_RANGE,  /* until RIP leaves [range_first, range_end) */
    GOAL_PLACE,  /* to `count`, whatever happens on the way, to tell `report` there */
    GOAL_SCAN,   /* to `count`, looking for the last stop before it */
    GOAL_NOBODY, /* no debugger is there */
};

/* Why the guest stands, as the debugger is told. */
struct report {
    enum vm_debug_reason reason;
    uint64_t address; /* of the point that was met */
    bool begin;       /* nothing is known of what was before */
};

/* What the user wants, as far as it is to survive going back in time. */
struct wishes {
    struct gdb_point point[POINTS_MAX];
    unsigned point_count;
    bool no_ack, swbreak, hwbreak; /* what debugger and server have agreed on */

    enum goal goal;
    uint64_t count;
    uint64_t range_first, range_end;
    struct report report;
};
_Static_assert(sizeof(struct wishes) <= TIMELINE_MESSAGE_MAX, "it travels as a message");

struct gdb_server {
    struct gdb_link link;
    struct vm *vm;
    struct timeline *timeline;                                   /* NULL: no way back */
    void (*before_copy)(void *context); /* may be NULL */
    void *copies_context;

    struct wishes wishes;
    uint64_t now;         /* instructions retired */
    struct report report; /* why the guest stands now */
    bool ended;           /* it cannot go on */
    uint64_t left;        /* count at which the user had it go on: a breakpoint there is passed */

    /* While the guest stands. */
    bool resumed;         /* a packet had it go on */
    bool modified;        /* registers or memory were written */
    bool destination_set; /* the next resumption, whichever, goes to `destination` */
    uint64_t destination;

    /* history.c */
    uint64_t history_begin; /* count of the first checkpoint that knows this connection */
    bool has_history;
    uint64_t next_checkpoint; /* count */
    uint64_t scan_start;      /* count at which the scan began */
    bool found;               /* the scan has met a point: the last one is this */
    uint64_t found_count;
    struct report found_report;

    char *description; /* of the registers */
};

/* server.c */
/* Sends the stop reply that tells server->report. */
void server_tell_stop(struct gdb_server *server);
/* The user wants the guest to go on. */
void server_resume(struct gdb_server *server, enum goal goal, uint64_t count);
/* True when somebody wants the VM to stop, not only to stand. */
bool server_is_to_end(const struct gdb_server *server);

/* packets.c: answers server->link.packet. */
void server_answer(struct gdb_server *server);
void server_reply(struct gdb_server *server, const char *text);

/* monitor.c: carries out one command; what it says goes to `file`. */
void monitor_execute(struct gdb_server *server, char *command, FILE *file);

/* history.c */
/* A debugger has come: what was before it connected cannot be gone back to. */
void history_begin(struct gdb_server *server);
/* Before the guest goes on from where it stood. May return in a process that somebody has woken:
 * the wishes are the traveller's then. */
void history_leave(struct gdb_server *server);
/* At a count at which a checkpoint may be due; returns as history_leave does. */
void history_pass(struct gdb_server *server);
/* The next count at which history_pass wants to be called. */
uint64_t history_next(const struct gdb_server *server);
/* True if the wishes lead to the past. */
bool history_goes_back(const struct gdb_server *server);
/* Pursues such wishes from the nearest checkpoint. Returns only if there is none: then
 * server->report says that this is the beginning. */
void history_go_back(struct gdb_server *server);
/* A stop on the way of GOAL_SCAN. Returns true if the guest is to stand, to tell server->report. */
bool history_scan(struct gdb_server *server, const struct vm_debug_stop *stop);

#endif
