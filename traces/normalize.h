/*
 * What of two traces is compared: which events, and which bits of their fields. It begins as
 * everything; the user takes out what is of no interest, and a table takes out what two execution
 * backends cannot agree on.
 */
#ifndef VTXSIM_TRACES_NORMALIZE_H
#define VTXSIM_TRACES_NORMALIZE_H

#include "traces/event.h"

/* Events fall into classes: one for each type, and of exits one for each basic exit reason. */
#define TRACE_CLASS_REASONS 80 /* the last stands for all reasons from there on */
#define TRACE_CLASSES       (TRACE_EVENT_TYPES + TRACE_CLASS_REASONS)
#define TRACE_CLASS_FIELDS  16 /* the common fields, then those of the type */

unsigned trace_class(const struct trace_event *event);
/* The class of exits with this basic reason. */
unsigned trace_class_of_reason(unsigned reason);
/* The type of a class's events, and for exits their basic reason. */
unsigned trace_class_type(unsigned trace_class, unsigned *reason);
/* Field `index` of a type, common ones first; NULL behind the last. */
const struct trace_field *trace_class_field(unsigned type, unsigned index);

/* Something that a normalization takes out. */
struct trace_exception {
    unsigned type;     /* of the events; 0: every type */
    int reason;        /* of exits; -1: every reason */
    const char *field; /* NULL: the events are left out altogether */
    uint64_t bits;     /* of the field; 0: all of it */
};

/*
 * A row of the table of normalizations. Backends are named as traces name them: "unicorn", "kvm",
 * or with the environment behind a slash, "kvm/pvm"; a name without environment means all of them.
 */
struct trace_normalization {
    const char *name;
    const char *one, *other; /* applies to a trace of each, either way round; "*": any */
    const struct trace_exception *exceptions;
    unsigned count;
    const char *what, *why, *source; /* for people: a sentence each */
};
extern const struct trace_normalization trace_normalizations[];
extern const unsigned trace_normalization_count;

#define TRACE_NORMALIZATIONS_MAX 32
struct trace_comparison {
    bool left_out[TRACE_CLASSES];
    uint64_t bits[TRACE_CLASSES][TRACE_CLASS_FIELDS]; /* those that are compared */
    const struct trace_normalization *applied[TRACE_NORMALIZATIONS_MAX];
    unsigned applied_count;
};

/* Compares everything. */
void trace_comparison_init(struct trace_comparison *comparison);
/* Leaves out what an exception says. Returns 0, or -ENOENT if no type has such a field. */
int trace_comparison_except(struct trace_comparison *comparison,
                            const struct trace_exception *exception);
/* Applies the normalizations for two backends; those that apply are listed in `applied`. */
void trace_comparison_normalize(struct trace_comparison *comparison, const char *one,
                                const char *other);

static inline bool trace_is_compared(const struct trace_comparison *comparison,
                                     const struct trace_event *event)
{
    return !comparison->left_out[trace_class(event)];
}

/* 0 if the events are equal as far as they are compared; else bit i for field i that differs, or
 * TRACE_TYPE_DIFFERS alone. */
#define TRACE_TYPE_DIFFERS (1u << 31)
uint32_t trace_compare(const struct trace_comparison *comparison, const struct trace_event *a,
                       const struct trace_event *b);
/* A hash of what is compared: equal for events that trace_compare finds equal. */
uint64_t trace_compared_hash(const struct trace_comparison *comparison,
                             const struct trace_event *event);

#endif
