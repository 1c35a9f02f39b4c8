/* The comparison of two traces as two streams of events that are kept in step. */
#include "traces/diff.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "traces/align.h"

#define PROGRESS_EVENTS (1u << 16)
/* So many pairs of equal events in a row, and both sides are in step again. */
#define IN_STEP         8u
/* Events that are looked ahead at first, and by how much more each time that was not enough. */
#define WINDOW_FIRST    32u
#define WINDOW_FACTOR   4u

/* --- Whole files --- */

static int map_file(const char *path, const uint8_t **data, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), error = 0;
    struct stat status;

    if (fd < 0)
        return -errno;
    *data = NULL;
    if (fstat(fd, &status) < 0)
        error = -errno;
    else if (!S_ISREG(status.st_mode))
        error = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
    else if ((*size = (size_t)status.st_size) > 0) {
        *data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (*data == MAP_FAILED)
            error = -errno;
    }
    close(fd);
    return error;
}

int trace_files_equal(const char *const path[2], unsigned *failed)
{
    const uint8_t *data[2] = {NULL, NULL};
    size_t size[2];
    int error = 0, equal;

    for (*failed = 0; *failed < 2; (*failed)++)
        if ((error = map_file(path[*failed], &data[*failed], &size[*failed])))
            break;
    if (error) {
        if (*failed == 1 && data[0])
            munmap((void *)data[0], size[0]);
        return error;
    }
    equal = size[0] == size[1];
    if (equal && size[0] > 0) {
        madvise((void *)data[0], size[0], MADV_SEQUENTIAL);
        madvise((void *)data[1], size[1], MADV_SEQUENTIAL);
        equal = memcmp(data[0], data[1], size[0]) == 0;
    }
    for (unsigned side = 0; side < 2; side++)
        if (data[side])
            munmap((void *)data[side], size[side]);
    return equal;
}

/* --- Streams of the events that are compared --- */

/* Events that have been read and not yet been dealt with. */
struct side {
    struct trace_reader *reader;
    struct trace_event *event;
    uint64_t *number;
    struct align_key *key; /* valid for the first `keys` of them */
    unsigned begin, end, capacity, keys;
    uint64_t left_out;
    int result; /* of the last read */
};

struct diff {
    const struct trace_diff_request *request;
    const struct trace_comparison *comparison;
    struct trace_diff_result *result;
    struct side side[2];
    struct aligner *aligner;
    unsigned window, patience; /* patience: the most that is looked ahead at present */
    bool differs, ended;       /* a difference was found; somebody has had enough */
    uint64_t compared;
};

static unsigned side_count(const struct side *side)
{
    return side->end - side->begin;
}

static const struct trace_event *side_event(const struct side *side, unsigned index)
{
    return &side->event[side->begin + index];
}

/* The number of an event of the window, or of what comes behind it. */
static uint64_t side_number(const struct side *side, unsigned index)
{
    return index < side_count(side) ? side->number[side->begin + index]
                                    : trace_reader_position(side->reader);
}

static void side_make_room(struct side *side, unsigned wanted)
{
    if (side->begin + wanted <= side->capacity)
        return;
    memmove(side->event, side->event + side->begin, side_count(side) * sizeof(*side->event));
    memmove(side->number, side->number + side->begin, side_count(side) * sizeof(*side->number));
    side->end -= side->begin;
    side->begin = 0;
}

/* Reads until there are so many, or no more. Returns how many there are, at most `wanted`. */
static unsigned side_fill(struct diff *diff, struct side *side, unsigned wanted)
{
    side_make_room(side, wanted);
    while (side_count(side) < wanted && side->result == 1) {
        struct trace_event *event = &side->event[side->end];

        side->result = trace_reader_next(side->reader, event);
        if (side->result != 1)
            break;
        if (!trace_is_compared(diff->comparison, event)) {
            side->left_out++;
            continue;
        }
        side->number[side->end++] = trace_reader_position(side->reader) - 1;
    }
    return side_count(side) < wanted ? side_count(side) : wanted;
}

static int side_init(struct side *side, struct trace_reader *reader, unsigned window)
{
    side->reader = reader;
    side->result = 1;
    side->capacity = 2 * window;
    side->event = calloc(side->capacity, sizeof(*side->event));
    side->number = calloc(side->capacity, sizeof(*side->number));
    side->key = calloc(window, sizeof(*side->key));
    return side->event && side->number && side->key ? 0 : -ENOMEM;
}

static void side_destroy(struct side *side)
{
    free(side->event);
    free(side->number);
    free(side->key);
}

/* --- What is found --- */

static struct trace_class_agreement *class_of(struct diff *diff, const struct trace_event *event)
{
    return &diff->result->class[trace_class(event)];
}

static void note_progress(struct diff *diff)
{
    if (++diff->compared % PROGRESS_EVENTS == 0 && diff->request->progress)
        diff->ended |= !diff->request->progress(diff->request->context, diff->compared);
}

static void note_equal(struct diff *diff)
{
    class_of(diff, side_event(&diff->side[0], 0))->equal++;
    diff->result->equal++;
    for (unsigned i = 0; i < 2; i++) {
        if (!diff->differs)
            diff->result->last_equal[i] = side_number(&diff->side[i], 0) + 1;
        diff->side[i].begin++;
    }
    note_progress(diff);
}

static void note_difference(struct diff *diff, const struct trace_difference *difference)
{
    diff->differs = true;
    diff->ended |= !diff->request->found(diff->request->context, difference);
    note_progress(diff);
}

static void note_changed(struct diff *diff, uint32_t fields)
{
    struct trace_difference difference = {
        .change = TRACE_CHANGED,
        .fields = fields,
        .number = {side_number(&diff->side[0], 0), side_number(&diff->side[1], 0)},
        .event = {*side_event(&diff->side[0], 0), *side_event(&diff->side[1], 0)},
    };
    struct trace_class_agreement *class = class_of(diff, &difference.event[0]);

    class->changed++;
    for (unsigned i = 0; i < TRACE_CLASS_FIELDS; i++)
        class->field[i] += fields >> i & 1;
    diff->result->changed++;
    diff->side[0].begin++;
    diff->side[1].begin++;
    note_difference(diff, &difference);
}

static void note_only(struct diff *diff, unsigned which)
{
    struct trace_difference difference = {
        .change = TRACE_ONLY_ONE,
        .side = which,
        .number = {side_number(&diff->side[0], 0), side_number(&diff->side[1], 0)},
    };

    difference.event[which] = *side_event(&diff->side[which], 0);
    class_of(diff, &difference.event[which])->only[which]++;
    diff->result->only[which]++;
    diff->side[which].begin++;
    note_difference(diff, &difference);
}

/* Deals with the first event of each side together. */
static void take_pair(struct diff *diff)
{
    uint32_t fields = trace_compare(diff->comparison, side_event(&diff->side[0], 0),
                                    side_event(&diff->side[1], 0));

    if (fields)
        note_changed(diff, fields);
    else
        note_equal(diff);
}

/* --- Alignment --- */

static struct align_key key_of(const struct diff *diff, const struct trace_event *event)
{
    return (struct align_key){trace_compared_hash(diff->comparison, event), trace_class(event),
                              event->rip};
}

/* Looks ahead up to `window` events on each side. Returns the number of steps. */
static unsigned align(struct diff *diff, unsigned window, const uint8_t **steps)
{
    unsigned count[2];

    for (unsigned i = 0; i < 2; i++) {
        struct side *side = &diff->side[i];

        count[i] = side_fill(diff, side, window);
        for (unsigned k = 0; k < count[i]; k++)
            side->key[k] = key_of(diff, side_event(side, k));
    }
    return align_keys(diff->aligner, diff->side[0].key, count[0], diff->side[1].key, count[1],
                      steps);
}

/* The steps before the first run of equal ones that is long enough; `count` if there is none. */
static unsigned steps_to_agreement(const uint8_t *steps, unsigned count)
{
    unsigned run = 0;

    for (unsigned i = 0; i < count; i++) {
        run = steps[i] == ALIGN_EQUAL ? run + 1 : 0;
        if (run == IN_STEP)
            return i + 1 - IN_STEP;
    }
    return count;
}

/*
 * The first events differ: finds out which belong together, looking ahead no further than needed,
 * and deals with those up to where both sides agree again. Where they do not, the first half of the
 * window is settled (what comes behind might align the rest differently), and the next search
 * begins modestly: most likely the two have nothing in common any more.
 */
static void resolve(struct diff *diff)
{
    const uint8_t *steps;
    unsigned count, settled, window = WINDOW_FIRST;

    for (;;) {
        if (window > diff->patience)
            window = diff->patience;
        count = align(diff, window, &steps);
        settled = steps_to_agreement(steps, count);
        if (settled < count || window == diff->patience)
            break;
        window *= WINDOW_FACTOR;
    }
    diff->patience = settled < count ? diff->window : WINDOW_FIRST;
    if (settled == count && side_count(&diff->side[0]) >= window &&
        side_count(&diff->side[1]) >= window)
        settled = (count + 1) / 2;
    for (unsigned i = 0; i < settled && !diff->ended; i++) {
        if (steps[i] == ALIGN_ONLY_A || steps[i] == ALIGN_ONLY_B)
            note_only(diff, steps[i] == ALIGN_ONLY_B);
        else
            take_pair(diff);
    }
}

/* --- Frames --- */

/* Passes over leading frames that are equal. All of a frame's events count as equal, those that
 * are not compared included. */
static void skip_frames(struct diff *diff)
{
    const struct trace_frame *frame[2];
    struct trace_diff_result *result = diff->result;
    int64_t count[2], same = 0;
    uint64_t place;

    for (unsigned i = 0; i < 2; i++)
        if ((count[i] = trace_reader_frames(diff->side[i].reader, &frame[i])) <= 0)
            return;
    while (same < count[0] && same < count[1] &&
           frame[0][same].checksum == frame[1][same].checksum &&
           frame[0][same].first == frame[1][same].first &&
           frame[0][same].count == frame[1][same].count &&
           trace_reader_frame_equals(diff->side[0].reader, &frame[0][same], diff->side[1].reader,
                                     &frame[1][same]))
        same++;
    if (same == 0)
        return;
    place = frame[0][same - 1].first + frame[0][same - 1].count;
    for (unsigned i = 0; i < 2; i++) {
        int error = trace_reader_seek(diff->side[i].reader, TRACE_INDEX_EVENT, place);

        if (error)
            diff->side[i].result = error;
        result->last_equal[i] = place;
    }
    result->frames_skipped = (uint64_t)same;
    result->events_skipped = result->equal = place;
}

/* --- The whole --- */

static void diff_events(struct diff *diff)
{
    while (!diff->ended) {
        unsigned left = side_fill(diff, &diff->side[0], 1);
        unsigned right = side_fill(diff, &diff->side[1], 1);

        /* The end of a damaged side says nothing about what the other has. */
        if ((!left && diff->side[0].result != 0) || (!right && diff->side[1].result != 0) ||
            (!left && !right))
            return;
        if (!left || !right)
            note_only(diff, left == 0);
        else if (trace_compare(diff->comparison, side_event(&diff->side[0], 0),
                               side_event(&diff->side[1], 0)) == 0)
            note_equal(diff);
        else
            resolve(diff);
    }
}

int trace_diff(struct trace_reader *const reader[2], const struct trace_diff_request *request,
               struct trace_diff_result *result)
{
    unsigned window = request->window ? request->window : TRACE_DIFF_WINDOW;
    struct diff diff = {.request = request,
                        .comparison = request->comparison,
                        .result = result,
                        .window = window,
                        .patience = window};
    int error = 0;

    *result = (struct trace_diff_result){.end = {1, 1}};
    for (unsigned i = 0; i < 2; i++) {
        if (trace_reader_position(reader[i]) != 0)
            error = -EINVAL;
        if (side_init(&diff.side[i], reader[i], window))
            error = -ENOMEM;
    }
    diff.aligner = aligner_create(window);
    if (!diff.aligner)
        error = -ENOMEM;
    if (!error) {
        if (!request->every_frame)
            skip_frames(&diff);
        diff_events(&diff);
    }
    for (unsigned i = 0; i < 2; i++) {
        result->left_out[i] = diff.side[i].left_out;
        result->end[i] = diff.side[i].result;
        side_destroy(&diff.side[i]);
    }
    aligner_destroy(diff.aligner);
    return error;
}
