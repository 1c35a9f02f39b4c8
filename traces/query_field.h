/* What a name in a query stands for in each type of event. */
#ifndef VTXSIM_TRACES_QUERY_FIELD_H
#define VTXSIM_TRACES_QUERY_FIELD_H

#include "traces/event.h"

enum query_field_kind {
    QUERY_TABLE,  /* a field of the tables in event.h */
    QUERY_NUMBER, /* of the event in its trace */
    QUERY_TYPE,
    QUERY_PART, /* a part of a field */
};

struct query_field {
    enum query_field_kind kind;
    const struct trace_field *field[TRACE_EVENT_TYPES]; /* QUERY_TABLE; NULL: the type lacks it */
    bool (*part)(const struct trace_event *event, uint64_t *value); /* QUERY_PART */
};

/* False if there is no such name. */
bool query_field_find(const char *name, struct query_field *field);
/* False if the event does not have it. Not for TRACE_FIELD_BYTES. */
bool query_field_value(const struct query_field *field, uint64_t number,
                       const struct trace_event *event, uint64_t *value);
/* All names, separated by blanks. */
void query_field_list(char *text, size_t size);

#endif
