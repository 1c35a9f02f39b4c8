/* Random streams of events, and files to put them into. For suites about traces. */
#ifndef VTXSIM_TESTS_TRACES_RANDOM_H
#define VTXSIM_TESTS_TRACES_RANDOM_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "traces/reader.h"
#include "traces/writer.h"

#define OPTIONS "{\"memory\": 536870912}"

static uint64_t random_state;

static inline uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static inline void random_begin(void)
{
    const char *given = getenv("VTXSIM_TEST_SEED");

    random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2 + 1;
    fprintf(stderr, "VTXSIM_TEST_SEED=%llu\n", (unsigned long long)random_state);
}

/* Values of every length, often the same as before, sometimes the extremes. */
static inline uint64_t random_value(void)
{
    switch (random_next() % 5) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return random_next() % 4;
    default:
        return random_next() >> random_next() % 64;
    }
}

static inline void random_fields(struct trace_event *event)
{
    for (const struct trace_field *field = trace_fields(event->type); field->name; field++) {
        if (field->kind == TRACE_FIELD_BYTES) {
            event->input.size = (uint8_t)(random_next() % (TRACE_INPUT_MAX + 1));
            for (unsigned i = 0; i < event->input.size; i++)
                event->input.data[i] = (uint8_t)random_next();
        } else {
            trace_field_set(event, field, random_value());
        }
    }
    if (event->type == TRACE_EXIT && random_next() % 16)
        event->exit.reason = random_next() % 65;
    if (event->type == TRACE_BLOCK && random_next() % 16)
        event->block.instructions = (uint32_t)(event->rip % 13 + 1);
    if (event->type == TRACE_ACCESS)
        event->access.write &= 1;
}

/*
 * Events of all types: mostly a plausible run of one processor, with loops of blocks, so many that
 * they meet in the tables of those who predict; where `wild`,
 * one in a thousand is anything at all. Owned by the caller.
 */
static inline struct trace_event *random_events(unsigned count, bool wild)
{
    struct trace_event *events = calloc(count ? count : 1, sizeof(*events));
    uint64_t instructions = 0, now = 0, loop = 0;
    unsigned type = TRACE_EXIT;

    for (unsigned i = 0; i < count; i++) {
        struct trace_event *event = &events[i];
        bool anything = wild && random_next() % 1024 == 0;

        if (random_next() % (type == TRACE_BLOCK ? 64 : 8) == 0)
            type = 1 + (unsigned)(random_next() % (TRACE_EVENT_TYPES - 1));
        if (random_next() % 64 == 0)
            loop = random_next() % 500;
        event->type = (uint8_t)type;
        event->rip = anything ? random_value() : 0xffffffff81000000u + loop * 4096 + i % 7 * 96;
        random_fields(event);
        now += random_next() % 9000;
        event->instructions = anything ? random_value() : instructions;
        event->cpu = (uint16_t)(anything ? random_value() : 0);
        event->time = anything ? random_value() : now;
        if (!anything && (type == TRACE_BLOCK || type == TRACE_ACCESS))
            event->time = 0;
        instructions += type == TRACE_BLOCK ? event->block.instructions % 64
                                            : random_next() % 5000 * (random_next() % 2);
    }
    return events;
}

static inline void expect_equal(const struct trace_event *a, const struct trace_event *b,
                                uint64_t number)
{
    const struct trace_field *lists[] = {trace_common_fields, trace_fields(b->type)};

    cr_assert_eq(a->type, b->type, "event %lu: type %u, not %u", number, a->type, b->type);
    for (unsigned i = 0; i < 2; i++)
        for (const struct trace_field *field = lists[i]; field->name; field++)
            if (field->kind == TRACE_FIELD_BYTES)
                cr_assert(a->input.size == b->input.size &&
                              memcmp(a->input.data, b->input.data, b->input.size) == 0,
                          "event %lu: other data", number);
            else
                cr_assert_eq(trace_field_get(a, field), trace_field_get(b, field),
                             "event %lu: %s %s is %#lx, not %#lx", number,
                             trace_event_name(b->type), field->name, trace_field_get(a, field),
                             trace_field_get(b, field));
}

static char folder[] = "/tmp/vtxsim-trace-XXXXXX";
static char path[64], other[64];

static inline void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/a.vtx", folder);
    snprintf(other, sizeof(other), "%s/b.vtx", folder);
    random_begin();
}

static inline void remove_folder(void)
{
    unlink(path);
    unlink(other);
    rmdir(folder);
}

/* Every other plain block by the sink's fast path: it must not matter. */
static inline void write_events(struct trace_sink *sink, const struct trace_event *events,
                                unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct trace_event *event = &events[i];

        if (event->type == TRACE_BLOCK && event->cpu == 0 && event->time == 0 && i % 2)
            sink->block(sink, event->rip, event->instructions, event->block.instructions);
        else
            sink->event(sink, event);
    }
}

static inline void write_trace(const char *to, const struct trace_event *events, unsigned count)
{
    struct trace_writer *writer;
    struct stat status;

    cr_assert_eq(trace_writer_open(&writer, to, OPTIONS, TRACE_LEVEL_MEMORY), 0);
    write_events(trace_writer_sink(writer), events, count);
    cr_assert_eq(trace_writer_events(writer), count);
    cr_assert_eq(trace_writer_error(writer), 0);
    cr_assert_eq(trace_writer_finish(writer), 0);
    cr_assert(stat(to, &status) == 0 && trace_writer_bytes(writer) == (uint64_t)status.st_size);
    cr_assert_eq(trace_writer_close(writer), 0);
}

static inline uint8_t *slurp(const char *from, size_t *size)
{
    FILE *file = fopen(from, "rb");
    struct stat status;
    uint8_t *data;

    cr_assert(file && fstat(fileno(file), &status) == 0);
    *size = (size_t)status.st_size;
    data = malloc(*size + 1);
    cr_assert_eq(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

static inline void spill(const char *to, const void *data, size_t size)
{
    FILE *file = fopen(to, "wb");

    cr_assert(file && fwrite(data, 1, size, file) == size);
    fclose(file);
}

/* Reads all; each event must be the one written. Returns how many, and the final answer. */
static inline unsigned read_trace(const char *from, const struct trace_event *events, int *result)
{
    struct trace_reader *reader;
    struct trace_event event;
    char message[256] = "";
    unsigned count = 0;

    *result = trace_reader_open(&reader, from, message, sizeof(message));
    if (*result) {
        cr_assert_not_null(strstr(message, from), "a message that names the file: %s", message);
        return 0;
    }
    while ((*result = trace_reader_next(reader, &event)) == 1)
        expect_equal(&event, &events[count], count), count++;
    cr_assert_eq(trace_reader_next(reader, &event), *result, "the last answer must stay");
    trace_reader_close(reader);
    return count;
}

#endif
