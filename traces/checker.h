/*
 * Checking a replay: every event that it makes is held against the next one of the trace. The first
 * difference ends the check; so does the end of a trace that was cut off.
 */
#ifndef VTXSIM_TRACES_CHECKER_H
#define VTXSIM_TRACES_CHECKER_H

#include "traces/reader.h"
#include "traces/sink.h"

struct trace_checker;

enum trace_check_state {
    TRACE_CHECK_RUNNING,   /* no difference so far */
    TRACE_CHECK_EQUAL,     /* to the end of the trace and of the run */
    TRACE_CHECK_DIFFERENT, /* see the two events */
    TRACE_CHECK_CUT,       /* equal to the end of the trace, which was cut off */
    TRACE_CHECK_DAMAGED,   /* equal to a place where the trace cannot be read */
};

#define TRACE_CHECK_HISTORY 8

struct trace_check {
    enum trace_check_state state;
    uint64_t position;                  /* number, in the trace, of the event that is next */
    uint64_t events;                    /* that were equal */
    int error;                          /* TRACE_CHECK_DAMAGED: -errno */
    const struct trace_event *expected; /* the trace's next event, NULL: none */
    /* TRACE_CHECK_DIFFERENT: what the replay did in its place, NULL: it ended. */
    const struct trace_event *happened;
    /* The last equal events, the latest first. */
    const struct trace_event *before[TRACE_CHECK_HISTORY];
    uint64_t before_position[TRACE_CHECK_HISTORY]; /* their numbers */
    unsigned before_count;
};

/*
 * Reads on from the reader's place; the reader becomes the checker's. Compares events of the types
 * that the trace's level has, but for those in `ignored` (bits 1 << type). `ended` (may be NULL) is
 * called on the vCPU's thread as soon as the state is final while the run goes on: the run should
 * be ended. Returns 0 or -ENOMEM; the reader is closed then.
 */
int trace_checker_open(struct trace_checker **checker, struct trace_reader *reader,
                       uint32_t ignored, void (*ended)(void *context), void *context);
/* Its sink, which wants what is compared; valid until trace_checker_close. Its finish
 * tells that the run is over. */
struct trace_sink *trace_checker_sink(struct trace_checker *checker);
/* How it stands. What the pointers point to is valid until the next event. */
void trace_checker_get(const struct trace_checker *checker, struct trace_check *check);
/* Leaves it at that: what follows is not compared. Async-signal-safe. */
void trace_checker_end(struct trace_checker *checker);
void trace_checker_close(struct trace_checker *checker);

/* The first field in which two events differ, or NULL. Where the types differ it is "type". */
const struct trace_field *trace_event_compare(const struct trace_event *a,
                                              const struct trace_event *b);

#endif
