/*
 * Coding of frames. Encoder and decoder walk the same path: for each event, the fields in the order
 * cpu, reason (of exits), rip, instructions, time, then the type's own; each field's difference
 * from what the predictor says goes to, or comes from, the column of its type and field.
 */
#include "traces/columns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Fields of the common part, by their column number; the type's own follow. */
enum { FIELD_CPU, FIELD_INSTRUCTIONS, FIELD_TIME, FIELD_RIP, FIELD_OWN };

/* A column's identification in a frame's directory: type and field; 0 is the order of types. */
#define COLUMN_SHIFT 6
#define COLUMN_ORDER 0

static unsigned kind_of(unsigned type, uint64_t reason)
{
    return (type * 64 + (type == TRACE_EXIT ? reason % 64 : 0)) % TRACE_KIND_SLOTS;
}

static unsigned site_of(unsigned kind, uint64_t rip)
{
    return (unsigned)((rip ^ (uint64_t)kind << 32) * 0x9e3779b97f4a7c15u >> 54);
}

/* --- encoding ------------------------------------------------------------------------------- */

static bool column_reserve(struct trace_encoder *encoder, struct trace_column *column, size_t size)
{
    size_t allocated = 2 * column->allocated + size;
    uint8_t *grown;

    if (column->allocated - column->size >= size)
        return true;
    grown = realloc(column->data, allocated);
    if (!grown) {
        encoder->failed = true;
        return false;
    }
    column->data = grown;
    column->allocated = allocated;
    return true;
}

static void column_put(struct trace_encoder *encoder, struct trace_column *column, uint64_t value)
{
    if (!column_reserve(encoder, column, TRACE_VARINT_MAX))
        return;
    column->used |= value != 0;
    column->size = (size_t)(trace_put_varint(column->data + column->size, value) - column->data);
}

static void column_put_bytes(struct trace_encoder *encoder, struct trace_column *column,
                             const uint8_t *data, uint8_t size)
{
    if (!column_reserve(encoder, column, 1 + (size_t)size))
        return;
    column->used |= size != 0;
    column->data[column->size++] = size;
    memcpy(column->data + column->size, data, size);
    column->size += size;
}

static void column_empty(struct trace_column *column)
{
    column->size = 0;
    column->used = false;
}

static void least_begin(struct trace_least *least)
{
    least->least = least->last;
    least->found = false;
}

static void least_add(struct trace_least *least, uint64_t value)
{
    if (!least->found || value < least->least)
        least->least = value;
    least->found = true;
    least->last = value;
}

void trace_encoder_begin(struct trace_encoder *encoder, uint64_t first)
{
    memset(&encoder->predictor, 0, sizeof(encoder->predictor));
    column_empty(&encoder->order);
    for (unsigned type = 0; type < TRACE_EVENT_TYPES; type++)
        for (unsigned field = 0; field < TRACE_COLUMN_FIELDS; field++)
            column_empty(&encoder->column[type][field]);
    encoder->first = first;
    encoder->count = 0;
    least_begin(&encoder->instructions);
    least_begin(&encoder->time);
    encoder->run = 0;
}

static void end_run(struct trace_encoder *encoder)
{
    if (encoder->run == 0)
        return;
    column_put(encoder, &encoder->order, encoder->type);
    column_put(encoder, &encoder->order, encoder->run);
    encoder->run = 0;
}

static void count_event(struct trace_encoder *encoder, const struct trace_event *event)
{
    if (event->type != encoder->type)
        end_run(encoder);
    encoder->type = event->type;
    encoder->run++;
    encoder->count++;
    if (event->cpu == 0)
        least_add(&encoder->instructions, event->instructions);
    if (trace_is_timed(event->type))
        least_add(&encoder->time, event->time);
}

static void encode_counters(struct trace_encoder *encoder, const struct trace_event *event)
{
    struct trace_column *column = encoder->column[event->type];
    struct trace_counters *counters = &encoder->predictor.counters[event->cpu % TRACE_CPU_SLOTS];

    column_put(encoder, &column[FIELD_INSTRUCTIONS],
               trace_difference(event->instructions, counters->instructions));
    counters->instructions = event->instructions;
    if (trace_is_timed(event->type)) {
        uint64_t surplus = event->time - event->instructions;

        column_put(encoder, &column[FIELD_TIME], trace_difference(surplus, counters->surplus));
        counters->surplus = surplus;
    } else {
        column_put(encoder, &column[FIELD_TIME], event->time);
    }
}

void trace_encoder_add(struct trace_encoder *encoder, const struct trace_event *event)
{
    struct trace_predictor *predictor = &encoder->predictor;
    struct trace_column *column = encoder->column[event->type];
    const struct trace_field *fields = trace_fields(event->type);
    unsigned kind = kind_of(event->type, event->exit.reason);
    uint64_t *own = predictor->own[site_of(kind, event->rip)];

    assert(trace_event_name(event->type));
    count_event(encoder, event);
    column_put(encoder, &column[FIELD_CPU], trace_difference(event->cpu, predictor->cpu));
    predictor->cpu = event->cpu;
    column_put(encoder, &column[FIELD_RIP], trace_difference(event->rip, predictor->rip[kind]));
    predictor->rip[kind] = event->rip;
    encode_counters(encoder, event);
    column += FIELD_OWN;
    if (event->type == TRACE_EXIT) /* the first of an exit's own fields */
        own[0] = 0;
    for (unsigned i = 0; fields[i].name; i++) {
        if (fields[i].kind == TRACE_FIELD_BYTES) {
            const uint8_t *data = (const uint8_t *)event + fields[i].offset;

            column_put_bytes(encoder, &column[i], data, data[-1]);
        } else {
            uint64_t value = trace_field_get(event, &fields[i]);

            column_put(encoder, &column[i], trace_difference(value, own[i]));
            own[i] = value;
        }
    }
}

static unsigned count_columns(const struct trace_encoder *encoder)
{
    unsigned count = 1;

    for (unsigned type = 0; type < TRACE_EVENT_TYPES; type++)
        for (unsigned field = 0; field < TRACE_COLUMN_FIELDS; field++)
            count += encoder->column[type][field].used;
    return count;
}

/* The frame's directory, then its columns, both in the order of their identifications. */
static uint8_t *put_columns(const struct trace_encoder *encoder, uint8_t *out, bool data)
{
    const struct trace_column *first = &encoder->column[0][0];

    for (unsigned i = 0; i <= TRACE_EVENT_TYPES * TRACE_COLUMN_FIELDS; i++) {
        const struct trace_column *column = i == 0 ? &encoder->order : &first[i - 1];
        unsigned type = (i - 1) / TRACE_COLUMN_FIELDS, field = (i - 1) % TRACE_COLUMN_FIELDS;

        if (!column->used)
            continue;
        if (data) {
            memcpy(out, column->data, column->size);
            out += column->size;
        } else {
            out = trace_put_varint(out, i == 0 ? COLUMN_ORDER : type << COLUMN_SHIFT | field);
            out = trace_put_varint(out, column->size);
        }
    }
    return out;
}

uint8_t *trace_encoder_end(struct trace_encoder *encoder, size_t *size)
{
    size_t needed = 5 * TRACE_VARINT_MAX;
    uint8_t *content, *out;
    unsigned columns;

    end_run(encoder);
    columns = count_columns(encoder);
    needed += columns * 2 * TRACE_VARINT_MAX + encoder->order.size;
    for (unsigned type = 0; type < TRACE_EVENT_TYPES; type++)
        for (unsigned field = 0; field < TRACE_COLUMN_FIELDS; field++)
            needed += encoder->column[type][field].size;
    content = encoder->failed ? NULL : malloc(needed);
    if (!content)
        return NULL;
    out = trace_put_varint(content, encoder->first);
    out = trace_put_varint(out, encoder->count);
    out = trace_put_varint(out, encoder->instructions.least);
    out = trace_put_varint(out, encoder->time.least);
    out = trace_put_varint(out, columns);
    out = put_columns(encoder, out, false);
    out = put_columns(encoder, out, true);
    *size = (size_t)(out - content);
    assert(*size <= needed);
    return content;
}

void trace_encoder_release(struct trace_encoder *encoder)
{
    free(encoder->order.data);
    for (unsigned type = 0; type < TRACE_EVENT_TYPES; type++)
        for (unsigned field = 0; field < TRACE_COLUMN_FIELDS; field++)
            free(encoder->column[type][field].data);
}

/* --- decoding ------------------------------------------------------------------------------- */

/* Where the column with this identification is read from; NULL: by nobody. */
static struct trace_cursor *find_cursor(struct trace_decoder *decoder, uint64_t id)
{
    uint64_t type = id >> COLUMN_SHIFT, field = id & ((1u << COLUMN_SHIFT) - 1);

    if (id == COLUMN_ORDER)
        return &decoder->order;
    if (!trace_event_name(type < TRACE_EVENT_TYPES ? (unsigned)type : 0) ||
        field >= TRACE_COLUMN_FIELDS)
        return NULL;
    return &decoder->column[type][field];
}

int trace_decoder_begin(struct trace_decoder *decoder, const uint8_t *content, size_t size)
{
    const uint8_t *in = content, *end = content + size, *data;
    uint64_t columns, id, length;

    memset(decoder, 0, sizeof(*decoder));
    if (!trace_get_varint(&in, end, &decoder->first) ||
        !trace_get_varint(&in, end, &decoder->count) ||
        !trace_get_varint(&in, end, &decoder->instructions) ||
        !trace_get_varint(&in, end, &decoder->time) || !trace_get_varint(&in, end, &columns) ||
        decoder->count == 0 || decoder->count > TRACE_FRAME_EVENTS_MAX ||
        columns > (uint64_t)(end - in) / 2)
        return -EBADMSG;
    /* The data begin where the directory ends. */
    data = in;
    for (uint64_t i = 0; i < columns; i++)
        if (!trace_get_varint(&data, end, &id) || !trace_get_varint(&data, end, &length))
            return -EBADMSG;
    for (uint64_t i = 0; i < columns; i++) {
        struct trace_cursor *cursor;

        if (!trace_get_varint(&in, end, &id) || !trace_get_varint(&in, end, &length) ||
            length > (uint64_t)(end - data))
            return -EBADMSG;
        cursor = find_cursor(decoder, id);
        if (cursor && cursor->end)
            return -EBADMSG; /* twice */
        if (cursor)
            *cursor = (struct trace_cursor){data, data + length};
        data += length;
    }
    return data == end ? 0 : -EBADMSG;
}

/* A column that is not there is zeros. */
static bool take(struct trace_cursor *cursor, uint64_t *value)
{
    *value = 0;
    return !cursor->end || trace_get_varint(&cursor->next, cursor->end, value);
}

static bool take_bytes(struct trace_cursor *cursor, uint8_t *data, unsigned limit)
{
    uint8_t size;

    data[-1] = 0;
    if (!cursor->end)
        return true;
    if (cursor->next == cursor->end)
        return false;
    size = *cursor->next++;
    if (size > limit || cursor->end - cursor->next < size)
        return false;
    data[-1] = size;
    memcpy(data, cursor->next, size);
    cursor->next += size;
    return true;
}

/* Ends at an event of a known type, or behind the last event. Returns 1, 0 or -EBADMSG. */
static int next_type(struct trace_decoder *decoder)
{
    while (decoder->run == 0) {
        uint64_t type, run;

        if (decoder->given == decoder->count)
            return 0;
        if (!trace_get_varint(&decoder->order.next, decoder->order.end, &type) ||
            !trace_get_varint(&decoder->order.next, decoder->order.end, &run) || run == 0 ||
            run > decoder->count - decoder->given)
            return -EBADMSG;
        decoder->type = type < TRACE_EVENT_TYPES ? (unsigned)type : 0;
        if (trace_event_name(decoder->type))
            decoder->run = run;
        else
            decoder->given += run;
    }
    return 1;
}

/* All columns end with the frame. */
static int check_end(const struct trace_decoder *decoder)
{
    const struct trace_cursor *cursor = &decoder->column[0][0];

    if (decoder->order.next != decoder->order.end)
        return -EBADMSG;
    for (unsigned i = 0; i < TRACE_EVENT_TYPES * TRACE_COLUMN_FIELDS; i++)
        if (cursor[i].next != cursor[i].end)
            return -EBADMSG;
    return 0;
}

static bool decode_counters(struct trace_decoder *decoder, struct trace_event *event)
{
    struct trace_cursor *column = decoder->column[event->type];
    struct trace_counters *counters = &decoder->predictor.counters[event->cpu % TRACE_CPU_SLOTS];
    uint64_t instructions, time;

    if (!take(&column[FIELD_INSTRUCTIONS], &instructions) || !take(&column[FIELD_TIME], &time))
        return false;
    event->instructions = counters->instructions =
        trace_apply(counters->instructions, instructions);
    if (trace_is_timed(event->type)) {
        counters->surplus = trace_apply(counters->surplus, time);
        event->time = event->instructions + counters->surplus;
    } else {
        event->time = time;
    }
    return true;
}

/* cpu, rip, and the kind, for which an exit's reason is needed. */
static bool decode_place(struct trace_decoder *decoder, struct trace_event *event, unsigned *kind)
{
    struct trace_predictor *predictor = &decoder->predictor;
    struct trace_cursor *column = decoder->column[event->type];
    uint64_t cpu, rip, reason = 0;

    if (!take(&column[FIELD_CPU], &cpu) || !take(&column[FIELD_RIP], &rip))
        return false;
    if (event->type == TRACE_EXIT) {
        struct trace_cursor ahead = column[FIELD_OWN];

        if (!take(&ahead, &reason))
            return false;
        reason = (uint32_t)trace_apply(0, reason);
    }
    *kind = kind_of(event->type, reason);
    event->cpu = (uint16_t)trace_apply(predictor->cpu, cpu);
    predictor->cpu = event->cpu;
    event->rip = predictor->rip[*kind] = trace_apply(predictor->rip[*kind], rip);
    return true;
}

int trace_decoder_next(struct trace_decoder *decoder, struct trace_event *event)
{
    struct trace_cursor *column;
    const struct trace_field *fields;
    uint64_t *own, value;
    unsigned kind;
    int found = next_type(decoder);

    if (found != 1)
        return found ? found : check_end(decoder);
    *event = (struct trace_event){.type = (uint8_t)decoder->type};
    if (!decode_place(decoder, event, &kind) || !decode_counters(decoder, event))
        return -EBADMSG;
    own = decoder->predictor.own[site_of(kind, event->rip)];
    fields = trace_fields(event->type);
    column = decoder->column[event->type] + FIELD_OWN;
    if (event->type == TRACE_EXIT)
        own[0] = 0;
    for (unsigned i = 0; fields[i].name; i++) {
        if (fields[i].kind == TRACE_FIELD_BYTES) {
            if (!take_bytes(&column[i], (uint8_t *)event + fields[i].offset, fields[i].size))
                return -EBADMSG;
        } else {
            if (!take(&column[i], &value))
                return -EBADMSG;
            trace_field_set(event, &fields[i], trace_apply(own[i], value));
            own[i] = trace_field_get(event, &fields[i]);
        }
    }
    decoder->run--;
    decoder->given++;
    return 1;
}
