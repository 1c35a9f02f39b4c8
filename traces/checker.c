/* The check of a replay. The reader writes into a ring, whose latest event is the next expected. */
#include "traces/checker.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define RING 16 /* more than TRACE_CHECK_HISTORY, and a power of two */

struct trace_checker {
    struct trace_sink sink; /* the first: a sink is its checker */
    struct trace_reader *reader;
    void (*ended)(void *context);
    void *context;

    enum trace_check_state state;
    _Atomic bool ignoring;         /* the rest */
    int result;                    /* of reading the next event */
    uint64_t events;               /* that were equal */
    struct trace_event ring[RING]; /* [events % RING] is the next */
    uint64_t number[RING];         /* of those events */
    struct trace_event happened;
    bool has_happened;
};

static const struct trace_field type_field = {"type", TRACE_FIELD_COUNT,
                                              offsetof(struct trace_event, type), 1, NULL};

static bool field_equal(const struct trace_event *a, const struct trace_event *b,
                        const struct trace_field *field)
{
    const uint8_t *x = (const uint8_t *)a + field->offset, *y = (const uint8_t *)b + field->offset;

    if (field->kind == TRACE_FIELD_BYTES) /* the size stands before them */
        return x[-1] == y[-1] && memcmp(x, y, x[-1]) == 0;
    return memcmp(x, y, field->size) == 0;
}

static const struct trace_field *compare_fields(const struct trace_event *a,
                                                const struct trace_event *b,
                                                const struct trace_field *field)
{
    for (; field->name; field++)
        if (!field_equal(a, b, field))
            return field;
    return NULL;
}

const struct trace_field *trace_event_compare(const struct trace_event *a,
                                              const struct trace_event *b)
{
    const struct trace_field *field;

    if (a->type != b->type)
        return &type_field;
    field = compare_fields(a, b, trace_common_fields);
    return field ? field : compare_fields(a, b, trace_fields(a->type));
}

static struct trace_event *next_of(struct trace_checker *checker)
{
    return &checker->ring[checker->events % RING];
}

static void end(struct trace_checker *checker, enum trace_check_state state)
{
    checker->state = state;
    if (checker->ended)
        checker->ended(checker->context);
}

/* Reads the next event that a replay can make. */
static void read_next(struct trace_checker *checker)
{
    struct trace_event *next = next_of(checker);

    do {
        checker->number[checker->events % RING] = trace_reader_position(checker->reader);
        checker->result = trace_reader_next(checker->reader, next);
    } while (checker->result == 1 && !(checker->sink.types >> next->type & 1));
}

/* What there is no next event after: is that the end of the run, too? */
static bool run_has_ended(struct trace_checker *checker)
{
    return checker->events > 0 && checker->ring[(checker->events - 1) % RING].type == TRACE_END;
}

static enum trace_check_state state_at_end(const struct trace_checker *checker)
{
    return checker->result == 0 || checker->result == -ENODATA ? TRACE_CHECK_CUT
                                                               : TRACE_CHECK_DAMAGED;
}

static void go_on(struct trace_checker *checker)
{
    checker->events++;
    read_next(checker);
    if (checker->result != 1 && !run_has_ended(checker))
        end(checker, state_at_end(checker));
}

static bool is_checking(const struct trace_checker *checker)
{
    return checker->state == TRACE_CHECK_RUNNING &&
           !atomic_load_explicit(&checker->ignoring, memory_order_relaxed);
}

static void check_event(struct trace_sink *sink, const struct trace_event *event)
{
    struct trace_checker *checker = (struct trace_checker *)sink;

    if (!is_checking(checker))
        return;
    if (checker->result == 1 && !trace_event_compare(next_of(checker), event)) {
        go_on(checker);
        return;
    }
    checker->happened = *event;
    checker->has_happened = true;
    end(checker, TRACE_CHECK_DIFFERENT);
}

static void check_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions, uint32_t size)
{
    struct trace_checker *checker = (struct trace_checker *)sink;
    const struct trace_event *next = next_of(checker);
    struct trace_event event;

    if (!is_checking(checker))
        return;
    if (checker->result == 1 && next->type == TRACE_BLOCK && next->rip == rip &&
        next->instructions == instructions && next->block.instructions == size && next->cpu == 0) {
        go_on(checker);
        return;
    }
    event = (struct trace_event){.type = TRACE_BLOCK,
                                 .instructions = instructions,
                                 .rip = rip,
                                 .block = {.instructions = size}};
    check_event(sink, &event);
}

static void finish_check(struct trace_sink *sink)
{
    struct trace_checker *checker = (struct trace_checker *)sink;

    if (!is_checking(checker))
        return;
    if (checker->result == 1)
        checker->state = TRACE_CHECK_DIFFERENT;
    else /* a whole run, though perhaps without its index */
        checker->state = checker->result == -EBADMSG ? TRACE_CHECK_DAMAGED : TRACE_CHECK_EQUAL;
}

int trace_checker_open(struct trace_checker **result, struct trace_reader *reader, uint32_t ignored,
                       void (*ended)(void *context), void *context)
{
    struct trace_checker *checker = calloc(1, sizeof(*checker));
    uint32_t types =
        trace_level_types(trace_reader_level(reader)) & ~(ignored | 1u << TRACE_CHECKPOINT);

    if (!checker) {
        trace_reader_close(reader);
        return -ENOMEM;
    }
    checker->sink = (struct trace_sink){
        .types = types,
        .event = check_event,
        .block = types >> TRACE_BLOCK & 1 ? check_block : NULL,
        .finish = finish_check,
    };
    checker->reader = reader;
    checker->ended = ended;
    checker->context = context;
    read_next(checker);
    if (checker->result != 1)
        checker->state = state_at_end(checker);
    *result = checker;
    return 0;
}

struct trace_sink *trace_checker_sink(struct trace_checker *checker)
{
    return &checker->sink;
}

void trace_checker_get(const struct trace_checker *checker, struct trace_check *check)
{
    *check = (struct trace_check){
        .state = checker->state,
        .position = checker->number[checker->events % RING],
        .events = checker->events,
        .error = checker->result < 0 ? checker->result : 0,
        .expected = checker->result == 1 ? &checker->ring[checker->events % RING] : NULL,
        .happened = checker->has_happened ? &checker->happened : NULL,
    };
    while (check->before_count < TRACE_CHECK_HISTORY && check->before_count < checker->events) {
        unsigned at = (checker->events - 1 - check->before_count) % RING;
        check->before[check->before_count] = &checker->ring[at];
        check->before_position[check->before_count++] = checker->number[at];
    }
}

void trace_checker_end(struct trace_checker *checker)
{
    atomic_store(&checker->ignoring, true);
}

void trace_checker_close(struct trace_checker *checker)
{
    trace_reader_close(checker->reader);
    free(checker);
}
