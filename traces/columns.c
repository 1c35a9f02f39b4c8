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

static void put(struct trace_encoder *encoder, struct trace_column *column, uint64_t value)
{
    if (!trace_column_put(column, value))
        encoder->failed = true;
}

static void put_bytes(struct trace_encoder *encoder, struct trace_column *column,
                      const uint8_t *data, uint8_t size)
{
    put(encoder, column, size); /* one byte, for it is below 128 */
    if (size == 0)
        return;
    if (!trace_column_use(column, size)) {
        encoder->failed = true;
        return;
    }
    memcpy(column->data + column->size, data, size);
    column->size += size;
}

static void first_begin(struct trace_first *first)
{
    first->first = first->last;
    first->found = false;
}

static void first_note(struct trace_first *first, uint64_t value, uint64_t last)
{
    if (!first->found)
        first->first = value;
    first->found = true;
    first->last = last;
}

void trace_encoder_begin(struct trace_encoder *encoder, uint64_t first)
{
    memset(&encoder->predictor, 0, sizeof(encoder->predictor));
    trace_column_empty(&encoder->order);
    for (unsigned type = 0; type < TRACE_EVENT_TYPES; type++)
        for (unsigned field = 0; field < TRACE_COLUMNS; field++)
            trace_column_empty(&encoder->column[type][field]);
    encoder->first = first;
    encoder->count = 0;
    first_begin(&encoder->instructions);
    first_begin(&encoder->time);
    encoder->run = 0;
}

static void end_run(struct trace_encoder *encoder)
{
    if (encoder->run == 0)
        return;
    put(encoder, &encoder->order, encoder->type);
    put(encoder, &encoder->order, encoder->run);
    encoder->run = 0;
}

static void count_events(struct trace_encoder *encoder, unsigned type, uint64_t count)
{
    if (type != encoder->type)
        end_run(encoder);
    encoder->type = type;
    encoder->run += count;
    encoder->count += count;
}

void trace_encoder_add_blocks(struct trace_encoder *encoder, uint64_t count, uint16_t cpu,
                              uint64_t first, uint64_t last)
{
    if (count == 0)
        return;
    count_events(encoder, TRACE_BLOCK, count);
    encoder->predictor.counters[cpu % TRACE_CPU_SLOTS].instructions = last;
    if (cpu == 0)
        first_note(&encoder->instructions, first, last);
}

static void note_place(struct trace_encoder *encoder, const struct trace_event *event)
{
    if (event->cpu == 0)
        first_note(&encoder->instructions, event->instructions, event->instructions);
    if (trace_is_timed(event->type))
        first_note(&encoder->time, event->time, event->time);
}

static void encode_counters(struct trace_encoder *encoder, const struct trace_event *event)
{
    struct trace_column *column = encoder->column[event->type];
    struct trace_counters *counters = &encoder->predictor.counters[event->cpu % TRACE_CPU_SLOTS];

    put(encoder, &column[TRACE_COLUMN_INSTRUCTIONS],
        trace_difference(event->instructions, counters->instructions));
    counters->instructions = event->instructions;
    if (trace_is_timed(event->type)) {
        uint64_t surplus = event->time - event->instructions;

        put(encoder, &column[TRACE_COLUMN_TIME], trace_difference(surplus, counters->surplus));
        counters->surplus = surplus;
    } else {
        put(encoder, &column[TRACE_COLUMN_TIME], event->time);
    }
}

void trace_encoder_add(struct trace_encoder *encoder, const struct trace_event *event)
{
    struct trace_predictor *predictor = &encoder->predictor;
    struct trace_column *column = encoder->column[event->type];
    const struct trace_field *fields = trace_fields(event->type);
    unsigned kind = kind_of(event->type, event->exit.reason);
    uint64_t *own = predictor->own[site_of(kind, event->rip)];

    assert(trace_event_name(event->type) && event->type != TRACE_BLOCK);
    count_events(encoder, event->type, 1);
    note_place(encoder, event);
    put(encoder, &column[TRACE_COLUMN_CPU], trace_difference(event->cpu, predictor->cpu));
    predictor->cpu = event->cpu;
    put(encoder, &column[TRACE_COLUMN_RIP], trace_difference(event->rip, predictor->rip[kind]));
    predictor->rip[kind] = event->rip;
    encode_counters(encoder, event);
    column += TRACE_COLUMN_OWN;
    if (event->type == TRACE_EXIT) /* the first of an exit's own fields */
        own[0] = 0;
    for (unsigned i = 0; fields[i].name; i++) {
        if (fields[i].kind == TRACE_FIELD_BYTES) {
            const uint8_t *data = (const uint8_t *)event + fields[i].offset;

            put_bytes(encoder, &column[i], data, data[-1]);
        } else {
            uint64_t value = trace_field_get(event, &fields[i]);

            put(encoder, &column[i], trace_difference(value, own[i]));
            own[i] = value;
        }
    }
}

/* The columns in the order in which they are written: that of the types, then by type and field. */
#define COLUMN_SLOTS (1 + TRACE_EVENT_TYPES * TRACE_COLUMNS)
static const struct trace_column *column_at(const struct trace_encoder *encoder,
                                            const struct trace_column *blocks, unsigned slot,
                                            unsigned *id)
{
    unsigned type = (slot - 1) / TRACE_COLUMNS, field = (slot - 1) % TRACE_COLUMNS;

    *id = slot == 0 ? COLUMN_ORDER : type << COLUMN_SHIFT | field;
    return slot == 0             ? &encoder->order
           : type == TRACE_BLOCK ? &blocks[field]
                                 : &encoder->column[type][field];
}

const uint8_t *trace_encoder_end(struct trace_encoder *encoder,
                                 const struct trace_column blocks[TRACE_COLUMNS], size_t *size)
{
    size_t needed = (5 + 2 * COLUMN_SLOTS) * TRACE_VARINT_MAX;
    unsigned columns = 0, id;
    uint8_t *content, *out;

    end_run(encoder);
    trace_column_empty(&encoder->content);
    for (unsigned slot = 0; slot < COLUMN_SLOTS; slot++) {
        const struct trace_column *column = column_at(encoder, blocks, slot, &id);

        columns += column->used;
        needed += column->size;
    }
    if (encoder->failed || !trace_column_reserve(&encoder->content, needed))
        return NULL;
    content = encoder->content.data;
    out = trace_put_varint(content, encoder->first);
    out = trace_put_varint(out, encoder->count);
    out = trace_put_varint(out, encoder->instructions.first);
    out = trace_put_varint(out, encoder->time.first);
    out = trace_put_varint(out, columns);
    for (unsigned slot = 0; slot < COLUMN_SLOTS; slot++) {
        const struct trace_column *column = column_at(encoder, blocks, slot, &id);

        if (column->used)
            out = trace_put_varint(trace_put_varint(out, id), column->size);
    }
    for (unsigned slot = 0; slot < COLUMN_SLOTS; slot++) {
        const struct trace_column *column = column_at(encoder, blocks, slot, &id);

        if (column->used) {
            memcpy(out, column->data, column->size);
            out += column->size;
        }
    }
    *size = (size_t)(out - content);
    assert(*size <= needed);
    return content;
}

void trace_encoder_release(struct trace_encoder *encoder)
{
    free(encoder->order.data);
    free(encoder->content.data);
    for (unsigned type = 0; type < TRACE_EVENT_TYPES; type++)
        for (unsigned field = 0; field < TRACE_COLUMNS; field++)
            free(encoder->column[type][field].data);
}

/* --- decoding ------------------------------------------------------------------------------- */

/* Where the column with this identification is read from; NULL: by nobody. */
static struct trace_cursor *find_cursor(struct trace_decoder *decoder, uint64_t id)
{
    uint64_t type = id >> COLUMN_SHIFT, field = id & ((1u << COLUMN_SHIFT) - 1);

    if (id == COLUMN_ORDER)
        return &decoder->order;
    if (!trace_event_name(type < TRACE_EVENT_TYPES ? (unsigned)type : 0) || field >= TRACE_COLUMNS)
        return NULL;
    return &decoder->column[type][field];
}

static bool take_head(struct trace_frame_head *head, const uint8_t **in, const uint8_t *end)
{
    return trace_get_varint(in, end, &head->first) && trace_get_varint(in, end, &head->count) &&
           trace_get_varint(in, end, &head->instructions) &&
           trace_get_varint(in, end, &head->time) && trace_get_varint(in, end, &head->columns) &&
           head->count > 0 && head->count <= TRACE_FRAME_EVENTS_MAX &&
           head->columns <= (uint64_t)(end - *in) / 2;
}

int trace_frame_head_read(struct trace_frame_head *head, const uint8_t *content, size_t size)
{
    return take_head(head, &content, content + size) ? 0 : -EBADMSG;
}

int trace_decoder_begin(struct trace_decoder *decoder, const uint8_t *content, size_t size)
{
    const uint8_t *in = content, *end = content + size, *data;
    uint64_t id, length;

    memset(decoder, 0, offsetof(struct trace_decoder, blocks));
    decoder->blocks.begun = decoder->after_block = false;
    decoder->run = 0;
    if (!take_head(&decoder->head, &in, end))
        return -EBADMSG;
    /* The data begin where the directory ends. */
    data = in;
    for (uint64_t i = 0; i < decoder->head.columns; i++)
        if (!trace_get_varint(&data, end, &id) || !trace_get_varint(&data, end, &length))
            return -EBADMSG;
    for (uint64_t i = 0; i < decoder->head.columns; i++) {
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

        if (decoder->given == decoder->head.count)
            return 0;
        if (!trace_get_varint(&decoder->order.next, decoder->order.end, &type) ||
            !trace_get_varint(&decoder->order.next, decoder->order.end, &run) || run == 0 ||
            run > decoder->head.count - decoder->given)
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
    if (decoder->blocks.begun && !decoder->blocks.endless)
        return -EBADMSG;
    for (unsigned i = 0; i < TRACE_EVENT_TYPES * TRACE_COLUMNS; i++)
        if (cursor[i].next != cursor[i].end)
            return -EBADMSG;
    return 0;
}

static bool decode_counters(struct trace_decoder *decoder, struct trace_event *event)
{
    struct trace_cursor *column = decoder->column[event->type];
    struct trace_counters *counters = &decoder->predictor.counters[event->cpu % TRACE_CPU_SLOTS];
    uint64_t instructions, time;

    if (!trace_cursor_take(&column[TRACE_COLUMN_INSTRUCTIONS], &instructions) ||
        !trace_cursor_take(&column[TRACE_COLUMN_TIME], &time))
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

    if (!trace_cursor_take(&column[TRACE_COLUMN_CPU], &cpu) ||
        !trace_cursor_take(&column[TRACE_COLUMN_RIP], &rip))
        return false;
    if (event->type == TRACE_EXIT) {
        struct trace_cursor ahead = column[TRACE_COLUMN_OWN];

        if (!trace_cursor_take(&ahead, &reason))
            return false;
        reason = (uint32_t)trace_apply(0, reason);
    }
    *kind = kind_of(event->type, reason);
    event->cpu = (uint16_t)trace_apply(predictor->cpu, cpu);
    predictor->cpu = event->cpu;
    event->rip = predictor->rip[*kind] = trace_apply(predictor->rip[*kind], rip);
    return true;
}

static int decode_fields(struct trace_decoder *decoder, struct trace_event *event, uint64_t *own)
{
    struct trace_cursor *column = decoder->column[event->type] + TRACE_COLUMN_OWN;
    const struct trace_field *fields = trace_fields(event->type);
    uint64_t value;

    if (event->type == TRACE_EXIT)
        own[0] = 0;
    for (unsigned i = 0; fields[i].name; i++) {
        if (fields[i].kind == TRACE_FIELD_BYTES) {
            if (!take_bytes(&column[i], (uint8_t *)event + fields[i].offset, fields[i].size))
                return -EBADMSG;
        } else {
            if (!trace_cursor_take(&column[i], &value))
                return -EBADMSG;
            trace_field_set(event, &fields[i], trace_apply(own[i], value));
            own[i] = trace_field_get(event, &fields[i]);
        }
    }
    return 0;
}

static int decode_event(struct trace_decoder *decoder, struct trace_event *event)
{
    struct trace_predictor *predictor = &decoder->predictor;
    unsigned kind;

    if (decoder->after_block) {
        const struct trace_block_predictor *block = &decoder->blocks.predictor;

        predictor->counters[block->cpu % TRACE_CPU_SLOTS].instructions = block->last;
        decoder->after_block = false;
    }
    if (!decode_place(decoder, event, &kind) || !decode_counters(decoder, event))
        return -EBADMSG;
    return decode_fields(decoder, event, predictor->own[site_of(kind, event->rip)]);
}

static int decode_block(struct trace_decoder *decoder, struct trace_event *event)
{
    decoder->after_block = true;
    return trace_blocks_take(&decoder->blocks, decoder->column[TRACE_BLOCK], event);
}

/* In two parts, for compilers make a slow string instruction of a larger one. */
static void clear_event(struct trace_event *event)
{
    const size_t common = offsetof(struct trace_event, exit);

    memset(event, 0, common);
    memset((uint8_t *)event + common, 0, sizeof(*event) - common);
}

int trace_decoder_next(struct trace_decoder *decoder, struct trace_event *event)
{
    int found = next_type(decoder), error;

    if (found != 1)
        return found ? found : check_end(decoder);
    clear_event(event);
    event->type = (uint8_t)decoder->type;
    error =
        event->type == TRACE_BLOCK ? decode_block(decoder, event) : decode_event(decoder, event);
    if (error)
        return error;
    decoder->run--;
    decoder->given++;
    return 1;
}
