/*
 * Coding of events. Most repeat what the last one of their kind said, so an event is its type and
 * kind, bits that tell which fields differ from that one, and the differences.
 */
#include "traces/format.h"

#include <string.h>

uint8_t *trace_put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)value | 0x80;
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

const uint8_t *trace_get_varint(const uint8_t *in, const uint8_t *end, uint64_t *value)
{
    uint64_t result = 0;

    for (unsigned shift = 0; in < end; shift += 7) {
        uint8_t byte = *in++;

        if (shift == 63 && byte > 1)
            return NULL;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = result;
            return in;
        }
    }
    return NULL;
}

/* Signed differences with the sign in bit 0, so that small ones of either sign stay short. */
static uint64_t difference(uint64_t value, uint64_t from)
{
    uint64_t delta = value - from;

    return delta << 1 ^ (delta >> 63 ? UINT64_MAX : 0);
}

static uint64_t apply(uint64_t from, uint64_t coded)
{
    return from + (coded >> 1 ^ (coded & 1 ? UINT64_MAX : 0));
}


/* The event that one of this type and exit reason is coded against. */
static struct trace_event *last_of(struct trace_predictor *predictor, unsigned type, uint64_t reason)
{
    return &predictor->kind[type == TRACE_EXIT ? 128 + reason % 128 : type % 128];
}

static bool is_counter(const struct trace_field *field)
{
    return field->offset == offsetof(struct trace_event, instructions) ||
           field->offset == offsetof(struct trace_event, time);
}

/* The fields that are coded one way for all types: the common ones but the counters, then the
 * type's own. Returns their number. */
#define FIELDS_MAX 16
static unsigned list_fields(unsigned type, const struct trace_field *list[FIELDS_MAX])
{
    unsigned count = 0;

    for (const struct trace_field *field = trace_common_fields; field->name; field++)
        if (!is_counter(field))
            list[count++] = field;
    for (const struct trace_field *field = trace_fields(type); field->name; field++)
        list[count++] = field;
    return count;
}

uint8_t *trace_encode(struct trace_predictor *predictor, const struct trace_event *event,
                      uint8_t *out)
{
    uint64_t reason = event->type == TRACE_EXIT ? event->exit.reason : 0;
    struct trace_event *last = last_of(predictor, event->type, reason);
    struct trace_counters *counters = &predictor->cpu[event->cpu % TRACE_CPU_SLOTS];
    const struct trace_field *list[FIELDS_MAX];
    unsigned count = list_fields(event->type, list);
    uint64_t present = 0;

    for (unsigned i = 0; i < count; i++)
        if (list[i]->kind != TRACE_FIELD_BYTES &&
            trace_field_get(event, list[i]) != trace_field_get(last, list[i]))
            present |= 1u << i;
    *out++ = event->type;
    if (event->type == TRACE_EXIT)
        out = trace_put_varint(out, reason);
    out = trace_put_varint(out, present);
    out = trace_put_varint(out, difference(event->instructions, counters->instructions));
    out = trace_put_varint(out, difference(event->time, counters->time));
    for (unsigned i = 0; i < count; i++) {
        if (list[i]->kind == TRACE_FIELD_BYTES) {
            *out++ = event->input.size;
            memcpy(out, event->input.data, event->input.size);
            out += event->input.size;
        } else if (present >> i & 1) {
            out = trace_put_varint(out, difference(trace_field_get(event, list[i]),
                                                   trace_field_get(last, list[i])));
        }
    }
    *last = *event;
    counters->instructions = event->instructions;
    counters->time = event->time;
    return out;
}

const uint8_t *trace_decode(struct trace_predictor *predictor, const uint8_t *in,
                            const uint8_t *end, struct trace_event *event)
{
    uint64_t reason = 0, present, coded[2];
    const struct trace_field *list[FIELDS_MAX];
    struct trace_counters *counters;
    struct trace_event *last;
    unsigned count;
    uint8_t type;

    if (in >= end)
        return NULL;
    type = *in++;
    if (!trace_event_name(type))
        return NULL;
    if (type == TRACE_EXIT && !(in = trace_get_varint(in, end, &reason)))
        return NULL;
    last = last_of(predictor, type, reason);
    *event = *last;
    event->type = type;
    count = list_fields(type, list);
    if (!(in = trace_get_varint(in, end, &present)) ||
        !(in = trace_get_varint(in, end, &coded[0])) ||
        !(in = trace_get_varint(in, end, &coded[1])))
        return NULL;
    for (unsigned i = 0; i < count; i++) {
        uint64_t change;

        if (list[i]->kind == TRACE_FIELD_BYTES) {
            if (in >= end || *in > TRACE_INPUT_MAX || end - in - 1 < *in)
                return NULL;
            event->input.size = *in++;
            memcpy(event->input.data, in, event->input.size);
            in += event->input.size;
        } else if (present >> i & 1) {
            if (!(in = trace_get_varint(in, end, &change)))
                return NULL;
            trace_field_set(event, list[i], apply(trace_field_get(event, list[i]), change));
        }
    }
    counters = &predictor->cpu[event->cpu % TRACE_CPU_SLOTS];
    event->instructions = counters->instructions = apply(counters->instructions, coded[0]);
    event->time = counters->time = apply(counters->time, coded[1]);
    *last = *event;
    return in;
}
