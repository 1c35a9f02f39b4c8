/*
 * Conditions on events, as people write them:
 *
 *   reason == io and port == 0x3f8
 *   type == walk && status != ok
 *   rip in start_kernel or rip in 0xffffffff81000000..0xffffffff81ffffff
 *   not (instructions < 1000000) and vector in {14, 0x30..0x3f}
 *
 * Fields are those of the table in event.h, "event" (the number), "type", and some parts of
 * fields: port, msr, leaf, subleaf, vector, page. Any comparison with a field that an event does
 * not have is false.
 */
#ifndef VTXSIM_TRACES_QUERY_H
#define VTXSIM_TRACES_QUERY_H

#include "traces/event.h"

struct trace_query;

/* Names that the format does not know. Either function may be NULL. */
struct trace_names {
    int (*reason)(const char *name); /* the exit reason, or -1 */
    bool (*symbol)(void *context, const char *name, uint64_t *start, uint64_t *end);
    void *context; /* of symbol */
};

/* Returns 0; -EINVAL with a message that says what is wrong and where; -ENOMEM. */
int trace_query_parse(struct trace_query **query, const char *text, const struct trace_names *names,
                      char *message, size_t size);
bool trace_query_matches(const struct trace_query *query, uint64_t number,
                         const struct trace_event *event);
void trace_query_free(struct trace_query *query); /* NULL is fine */

#endif
