/*
 * Comparing two traces, each step cheap where nothing differs: whole files, then frames by their
 * bytes, then events. Where events differ, the two are aligned: an event that one side lacks
 * does not make everything after it different.
 */
#ifndef VTXSIM_TRACES_DIFF_H
#define VTXSIM_TRACES_DIFF_H

#include "traces/normalize.h"
#include "traces/reader.h"

/* Compares two files by their bytes. Returns 1 if they are equal, 0 if not, or -errno with the
 * number of the file that could not be read in *failed. */
int trace_files_equal(const char *const path[2], unsigned *failed);

/* How an event differs. */
enum trace_change {
    TRACE_CHANGED,  /* both sides have it, with different fields */
    TRACE_ONLY_ONE, /* the other side lacks it */
};
struct trace_difference {
    enum trace_change change;
    unsigned side;      /* TRACE_ONLY_ONE: which has it */
    uint32_t fields;    /* TRACE_CHANGED: as trace_compare tells */
    uint64_t number[2]; /* of the event; on a side that lacks it, of the next that is compared */
    struct trace_event event[2]; /* TRACE_ONLY_ONE: of `side` only */
};

struct trace_diff_request {
    const struct trace_comparison *comparison;
    /* The most events that are looked ahead on each side for a place where both agree again; 0:
     * TRACE_DIFF_WINDOW. */
    unsigned window;
    /* Leading frames with equal checksums are decoded all the same: counts by class are exact. */
    bool every_frame;
    /* Called with every difference in order; false ends the comparison. */
    bool (*found)(void *context, const struct trace_difference *difference);
    /* Called now and then with the number of events compared; may be NULL; false ends it. */
    bool (*progress)(void *context, uint64_t events);
    void *context;
};
#define TRACE_DIFF_WINDOW 1024

struct trace_class_agreement {
    uint64_t equal, changed, only[2];
    uint64_t field[TRACE_CLASS_FIELDS]; /* of the changed: how often this field differs */
};

struct trace_diff_result {
    uint64_t frames_skipped, events_skipped; /* equal byte for byte, not decoded */
    uint64_t equal, changed, only[2];        /* events; equal includes those skipped */
    uint64_t left_out[2];                    /* events that are not compared */
    uint64_t last_equal[2];                  /* one more than the number of the last equal event
                                              * before the first difference; 0: there is none */
    int end[2]; /* how each side ended: 1 not reached, 0 whole, -ENODATA cut off, -errno damaged */
    struct trace_class_agreement class[TRACE_CLASSES];
};

/*
 * Compares from where the readers stand (their beginning). Returns 0 when the comparison has come
 * to its end or was ended by `found` or `progress`, or -ENOMEM, -EINVAL (the readers do not stand
 * at the beginning). What reading said is in result->end.
 */
int trace_diff(struct trace_reader *const reader[2], const struct trace_diff_request *request,
               struct trace_diff_result *result);

#endif
