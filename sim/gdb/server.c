/* The hook: serves the debugger while the guest stands, and lets it run for what was asked. */
#include "sim/gdb/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "sim/vm_internal.h"

/* How often a server that waits looks whether the VM is to end. */
#define PATIENCE_MILLISECONDS 100

#define SIGNAL_INT  2
#define SIGNAL_TRAP 5

/* The VM that SIGIO interrupts. */
static struct vm *_Atomic signalled_vm;

static void on_input(int number)
{
    int saved = errno;
    struct vm *vm = atomic_load(&signalled_vm);

    (void)number;
    if (vm)
        vm_debug_interrupt(vm);
    errno = saved;
}

bool server_is_to_end(const struct gdb_server *server)
{
    return atomic_load(&server->vm->stop_requested);
}

/* --- What is told -------------------------------------------------------------------------------
 */

static const struct gdb_point *point_met(const struct gdb_server *server)
{
    const struct wishes *wishes = &server->wishes;
    bool watch = server->report.reason == VM_DEBUG_WATCHPOINT;

    for (unsigned i = 0; i < wishes->point_count; i++) {
        const struct gdb_point *point = &wishes->point[i];

        if (point->address == server->report.address && watch == (point->type >= POINT_WRITE))
            return point;
    }
    return NULL;
}

/* The part of a stop reply that tells why, if it is one of the reasons that have a word. */
static void describe_reason(const struct gdb_server *server, char *text, size_t size)
{
    static const char *const watches[POINT_TYPES] = {
        [POINT_WRITE] = "watch", [POINT_READ] = "rwatch", [POINT_ACCESS] = "awatch"};
    const struct gdb_point *point = NULL;

    *text = '\0';
    if (server->report.begin)
        snprintf(text, size, "replaylog:begin;");
    else if (server->ended)
        snprintf(text, size, "replaylog:end;");
    else if (server->report.reason == VM_DEBUG_BREAKPOINT ||
             server->report.reason == VM_DEBUG_WATCHPOINT)
        point = point_met(server);
    if (!point)
        return;
    if (point->type >= POINT_WRITE)
        snprintf(text, size, "%s:%llx;", watches[point->type], (unsigned long long)point->address);
    else if (point->type == POINT_SOFTWARE && server->wishes.swbreak)
        snprintf(text, size, "swbreak:;");
    else if (point->type == POINT_HARDWARE && server->wishes.hwbreak)
        snprintf(text, size, "hwbreak:;");
}

void server_tell_stop(struct gdb_server *server)
{
    bool interrupted = server->report.reason == VM_DEBUG_INTERRUPT;
    char reason[64], text[128];

    describe_reason(server, reason, sizeof(reason));
    snprintf(text, sizeof(text), "T%02xthread:1;%s", interrupted ? SIGNAL_INT : SIGNAL_TRAP,
             reason);
    server_reply(server, text);
}

/* --- While the guest stands ----------------------------------------------------------------------
 */

void server_resume(struct gdb_server *server, enum goal goal, uint64_t count)
{
    server->resumed = true;
    server->wishes.goal = goal;
    server->wishes.count = count;
}

static void lose_debugger(struct gdb_server *server)
{
    link_hang_up(&server->link);
    server->wishes.point_count = 0;
    server_resume(server, GOAL_NOBODY, 0);
}

static void say_goodbye(struct gdb_server *server)
{
    char text[8];

    snprintf(text, sizeof(text), "W%02x", vm_get_stop(server->vm)->guest_status & 0xff);
    server_reply(server, text);
    lose_debugger(server);
}

/* Where the guest is to go next may have been said by "monitor to". */
static void redirect(struct gdb_server *server)
{
    if (!server->destination_set)
        return;
    server->destination_set = false;
    server->wishes.report = (struct report){.reason = VM_DEBUG_COUNT};
    server_resume(server, GOAL_PLACE, server->destination);
}

/* Answers packets until one of them resumes the guest, or nobody is there any more. */
static void answer_packets(struct gdb_server *server)
{
    server->resumed = false;
    while (!server->resumed) {
        if (server_is_to_end(server)) {
            lose_debugger(server);
            return;
        }
        switch (link_receive(&server->link, PATIENCE_MILLISECONDS)) {
        case LINK_PACKET:
            server_answer(server);
            break;
        case LINK_INTERRUPT: /* it stands already */
            server->report = (struct report){.reason = VM_DEBUG_INTERRUPT};
            server_tell_stop(server);
            break;
        case LINK_CLOSED:
            lose_debugger(server);
            break;
        case LINK_NOTHING:
            break;
        }
    }
}

/* A place to which the guest was to go, and which is here. */
static bool is_there(const struct gdb_server *server)
{
    return server->wishes.goal == GOAL_PLACE && server->wishes.count <= server->now;
}

/* Stands until the user has the guest go on. */
static void stand(struct gdb_server *server)
{
    for (;;) {
        answer_packets(server);
        if (server->link.fd < 0)
            return;
        redirect(server);
        if (history_goes_back(server)) {
            history_go_back(server);
        } else if (server->ended) {
            say_goodbye(server);
            return;
        } else {
            history_leave(server);
            server->left = server->now;
            if (!is_there(server))
                return;
            server->report = server->wishes.report;
        }
        server_tell_stop(server);
    }
}

/* Lets a debugger in; the first time the guest waits for one. Returns true if one has come. */
static bool admit(struct gdb_server *server)
{
    int patience = server->wishes.goal == GOAL_NOBODY ? 0 : PATIENCE_MILLISECONDS;

    while (!link_accept(&server->link, patience))
        if (!patience || server_is_to_end(server))
            return false;
    server->wishes = (struct wishes){.goal = GOAL_RUN};
    history_begin(server);
    return true;
}

/* --- While it runs -------------------------------------------------------------------------------
 */

static enum vm_debug_point kind_of(enum point_type type)
{
    static const enum vm_debug_point kinds[POINT_TYPES] = {
        [POINT_SOFTWARE] = VM_DEBUG_EXECUTE, [POINT_HARDWARE] = VM_DEBUG_EXECUTE,
        [POINT_WRITE] = VM_DEBUG_WRITE,      [POINT_READ] = VM_DEBUG_READ,
        [POINT_ACCESS] = VM_DEBUG_ACCESS,
    };
    return kinds[type];
}

static void arm(struct gdb_server *server)
{
    const struct wishes *wishes = &server->wishes;
    bool none = wishes->goal == GOAL_PLACE || wishes->goal == GOAL_NOBODY;

    vm_debug_clear_points(server->vm);
    for (unsigned i = 0; i < wishes->point_count && !none; i++) {
        const struct gdb_point *point = &wishes->point[i];
        bool watch = point->type >= POINT_WRITE;

        vm_debug_set_point(server->vm, kind_of(point->type), point->address,
                           watch ? point->size : 1);
    }
}

static bool has_count(enum goal goal)
{
    return goal == GOAL_STEP || goal == GOAL_RANGE || goal == GOAL_PLACE || goal == GOAL_SCAN;
}

/* Lets the guest run for what the wishes say. */
static void set_off(struct gdb_server *server)
{
    uint64_t next = history_next(server);

    if (has_count(server->wishes.goal) && server->wishes.count < next)
        next = server->wishes.count;
    arm(server);
    vm_debug_stop_at(server->vm, next);
    link_signal(&server->link, true);
    if (link_pending(&server->link))
        vm_debug_interrupt(server->vm); /* it came before the signal was asked for */
}

/* Has the user pressed Ctrl-C? */
static bool is_interrupted(struct gdb_server *server)
{
    enum link_event event = link_receive(&server->link, 0);

    if (event == LINK_CLOSED)
        lose_debugger(server);
    return event == LINK_INTERRUPT;
}

static bool in_range(const struct gdb_server *server)
{
    uint64_t rip = vm_debug_cpu(server->vm)->state.rip;

    return rip >= server->wishes.range_first && rip < server->wishes.range_end;
}

/* Is this stop one that the user is told of? Sets server->report. */
static bool is_reason_to_stand(struct gdb_server *server, const struct vm_debug_stop *stop)
{
    struct wishes *wishes = &server->wishes;

    server->report = (struct report){.reason = stop->reason, .address = stop->address};
    if (stop->reason == VM_DEBUG_INTERRUPT) {
        if (is_interrupted(server))
            return true;
        server->report.reason = VM_DEBUG_COUNT; /* that may be reached at the same time */
    }
    if (wishes->goal == GOAL_NOBODY)
        return false;
    if (wishes->goal == GOAL_SCAN)
        return history_scan(server, stop);
    if (server->report.reason != VM_DEBUG_COUNT)
        return stop->reason != VM_DEBUG_BREAKPOINT || server->now != server->left;
    if (!has_count(wishes->goal) || server->now < wishes->count)
        return false;
    if (wishes->goal == GOAL_RANGE && in_range(server)) {
        wishes->count = server->now + 1;
        return false;
    }
    if (wishes->goal == GOAL_PLACE)
        server->report = wishes->report;
    return true;
}

static void hook(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    struct gdb_server *server = context;

    (void)vm;
    server->now = stop->instructions;
    server->ended = stop->reason == VM_DEBUG_END;
    link_signal(&server->link, false);
    if (server->link.fd < 0) {
        if (!server->ended && admit(server))
            stand(server);
    } else {
        if (stop->reason == VM_DEBUG_COUNT || stop->reason == VM_DEBUG_INTERRUPT)
            history_pass(server);
        if (is_reason_to_stand(server, stop)) {
            server_tell_stop(server);
            stand(server);
        }
    }
    if (!server->ended)
        set_off(server);
}

/* --- Life
 * -----------------------------------------------------------------------------------------
 */

int gdb_server_create(struct gdb_server **result, const char *where, char *message, size_t size)
{
    struct gdb_server *server = calloc(1, sizeof(*server));
    int error;

    if (!server) {
        snprintf(message, size, "no memory for the debugger's server");
        return -ENOMEM;
    }
    error = link_listen(&server->link, where, message, size);
    if (error) {
        free(server);
        return error;
    }
    *result = server;
    return 0;
}

void gdb_server_attach(struct gdb_server *server, struct vm *vm, struct timeline *timeline)
{
    struct sigaction action = {.sa_handler = on_input, .sa_flags = SA_RESTART};

    server->vm = vm;
    server->timeline = timeline;
    sigemptyset(&action.sa_mask);
    atomic_store(&signalled_vm, vm);
    sigaction(SIGIO, &action, NULL);
    vm_debug_attach(vm, hook, server);
    vm_debug_stop_at(vm, 0);
}

void gdb_server_on_copies(struct gdb_server *server, void (*before)(void *context), void *context)
{
    server->before_copy = before;
    server->copies_context = context;
}

void gdb_server_destroy(struct gdb_server *server)
{
    if (!server)
        return;
    signal(SIGIO, SIG_IGN);
    atomic_store(&signalled_vm, NULL);
    if (server->vm)
        vm_debug_attach(server->vm, NULL, NULL);
    link_close(&server->link);
    free(server->description);
    free(server);
}
