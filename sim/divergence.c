/* The search for the first instruction at which two runs part. */
#include "sim/divergence.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* An interval is searched at so many places at first; then the part with the difference is. */
#define PARTS        16u
/* Having to do again what took no longer than this is no reason for a checkpoint. */
#define MARK_SECONDS 0.01
/* Behind the place where the runs are said to differ, ever larger intervals are looked at. */
#define BEYOND_FIRST 1024u

struct search {
    const struct divergence_request *request;
    struct divergence *divergence;
    struct runners *runners;
    uint64_t low, high; /* the runs agree at low; high is where the search goes to */
    bool differs;       /* they do at high */
    double unmarked;    /* seconds that the runs took since the last checkpoint */
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int mark(struct search *search)
{
    search->unmarked = 0;
    return runners_mark(search->runners);
}

/* Back to where the runs agree. */
static int go_back(struct search *search, uint64_t instructions)
{
    int error = runners_back(search->runners, instructions);

    return error ? error : runners_go(search->runners, instructions);
}

static bool both_ended(const struct search *search)
{
    return runners_place(search->runners, 0)->ended && runners_place(search->runners, 1)->ended;
}

/* Compares the next place. Moves low there if the runs agree, else high. */
static int try_place(struct search *search, uint64_t place)
{
    double start = now();
    int error = runners_go(search->runners, place);

    if (error)
        return error;
    search->unmarked += now() - start;
    search->divergence->stops++;
    if (!runners_agree(search->runners)) {
        search->high = place;
        search->differs = true;
        return go_back(search, search->low);
    }
    search->low = place;
    return search->unmarked > MARK_SECONDS ? mark(search) : 0;
}

static uint64_t step_of(const struct search *search)
{
    uint64_t step = (search->high - search->low) / PARTS;

    return step ? step : 1;
}

/*
 * Narrows down until one instruction lies between agreement and difference. Returns 0 with differs
 * false if there is no difference up to where both guests have stopped.
 */
static int narrow(struct search *search)
{
    uint64_t step = step_of(search), beyond = BEYOND_FIRST;
    int error = 0;

    while (!error && search->high - search->low > (search->differs ? 1 : 0)) {
        uint64_t place = search->high - search->low < step ? search->high : search->low + step;

        if (place < search->high || !search->differs)
            error = try_place(search, place);
        if (search->low < place) /* the difference is before it */
            step = step_of(search);
        if (error || search->differs || search->low != search->high)
            continue;
        if (both_ended(search))
            return 0;
        search->high += beyond;
        beyond *= 2;
        step = step_of(search);
    }
    return error;
}

/* --- What is told of the place --- */

static int note_instruction(struct search *search)
{
    struct divergence *divergence = search->divergence;
    struct divergence_instruction *instruction = &divergence->history[divergence->history_count++];
    int error = runners_look(search->runners);
    const uint8_t *bytes;
    unsigned count;

    if (error)
        return error;
    count = runners_code(search->runners, 0, &bytes);
    instruction->rip = runners_state(search->runners, 0)->rip;
    memcpy(instruction->bytes, bytes, count);
    instruction_describe(&instruction->text, runners_state(search->runners, 0), bytes, count);
    return 0;
}

/* Executes the instructions before the difference one by one; then the runs stand before it. */
static int note_history(struct search *search)
{
    unsigned before = search->request->before;
    uint64_t at;
    int error;

    if (before > DIVERGENCE_BEFORE_MAX)
        before = DIVERGENCE_BEFORE_MAX;
    at = search->low > before ? search->low - before : 0;
    if (at < search->divergence->agreed)
        at = search->divergence->agreed;
    error = go_back(search, at);
    for (; !error && at < search->low; at++) {
        error = note_instruction(search);
        if (!error)
            error = runners_go(search->runners, at + 1);
    }
    return error ? error : note_instruction(search);
}

/* The registers where both stand now. */
static int note_states(struct search *search)
{
    struct divergence *divergence = search->divergence;
    int error = runners_look(search->runners);

    for (unsigned side = 0; side < 2 && !error; side++) {
        divergence->after[side] = *runners_state(search->runners, side);
        memcpy(divergence->fpu_after[side], runners_fpu(search->runners, side), FXSAVE_BYTES);
        divergence->ended[side] = runners_place(search->runners, side)->ended;
    }
    return error;
}

/* The lines that the instruction's operands are in, as long as there is room. */
static void choose_lines(struct divergence *divergence)
{
    const struct divergence_instruction *instruction =
        &divergence->history[divergence->history_count - 1];

    for (unsigned i = 0; i < instruction->text.memory_count; i++) {
        uint64_t first = instruction->text.memory[i].linear & ~(uint64_t)(RUNNER_LINE - 1);
        uint64_t last = instruction->text.memory[i].linear + instruction->text.memory[i].size - 1;

        for (uint64_t at = first; at <= last && divergence->line_count < DIVERGENCE_LINES;
             at += RUNNER_LINE)
            divergence->line[divergence->line_count++].linear = at;
    }
}

static int read_lines(struct search *search, bool after)
{
    struct divergence *divergence = search->divergence;
    int error = 0;

    for (unsigned i = 0; i < divergence->line_count && !error; i++)
        error = runners_read(search->runners, divergence->line[i].linear,
                             after ? divergence->line[i].after : divergence->line[i].before,
                             divergence->line[i].present);
    return error;
}

static int describe(struct search *search)
{
    struct divergence *divergence = search->divergence;
    int error = note_history(search);

    if (error)
        return error;
    choose_lines(divergence);
    error = read_lines(search, false);
    if (!error)
        error = runners_compare_pages(search->runners, divergence->page, DIVERGENCE_PAGES,
                                      &divergence->pages);
    if (!error)
        error = runners_go(search->runners, search->high);
    if (!error)
        error = note_states(search);
    return error ? error : read_lines(search, true);
}

/* --- The steps of the search --- */

/* From the beginning of the runs to the place where they are known to agree. */
static int approach(struct search *search)
{
    double start = now();
    int error = runners_go(search->runners, search->request->from);

    search->divergence->approach_seconds = now() - start;
    search->divergence->agreed = search->low = search->request->from;
    if (error || !runners_agree(search->runners))
        return error;
    error = runners_keep_chain(search->runners);
    return error ? error : mark(search);
}

/* What was said to be equal is not: then the search is for the beginning of that. */
static int start_over(struct search *search)
{
    int error;

    search->high = search->request->from;
    search->differs = true;
    search->divergence->agreed = search->low = 0;
    error = go_back(search, 0);
    return error ? error : runners_keep_chain(search->runners);
}

static int find_registers(struct search *search)
{
    struct divergence *divergence = search->divergence;
    uint64_t to = search->request->to;
    int error = mark(search); /* before the first instruction */

    if (error)
        return error;
    if (!runners_agree(search->runners)) {
        divergence->kind = DIVERGENCE_START;
        return note_states(search);
    }
    search->high = to > search->request->from ? to : search->request->from + 1;
    error = approach(search);
    if (!error && !runners_agree(search->runners))
        error = start_over(search);
    if (!error)
        error = narrow(search);
    if (error || !search->differs)
        return error;
    divergence->kind = DIVERGENCE_FOUND;
    divergence->instructions = search->high;
    return describe(search);
}

/* Memory that differs before the registers do. */
static int find_memory(struct search *search)
{
    struct divergence *divergence = search->divergence;
    uint64_t high =
        divergence->kind == DIVERGENCE_FOUND ? divergence->instructions - 1 : search->high;
    int error = go_back(search, divergence->agreed);

    if (!error)
        error = runners_watch_memory(search->runners, true);
    if (error)
        return error;
    search->low = divergence->agreed;
    search->high = high;
    search->differs = !runners_agree(search->runners);
    if (search->differs)
        search->high = search->low;
    else
        error = narrow(search);
    if (error || !search->differs)
        return error;
    divergence->memory_differs = true;
    divergence->memory_instructions = search->high;
    error = runners_go(search->runners, search->high);
    return error ? error
                 : runners_compare_pages(search->runners, divergence->memory_page, DIVERGENCE_PAGES,
                                         &divergence->memory_pages);
}

int divergence_find(const struct divergence_request *request, struct divergence *divergence,
                    char *message, size_t size)
{
    struct search search = {.request = request, .divergence = divergence};
    double start = now();
    int error;

    *divergence = (struct divergence){0};
    *message = '\0';
    error = runners_start(&search.runners, &request->runners, message, size);
    if (!error) {
        error = find_registers(&search);
        if (!error && request->memory && divergence->kind != DIVERGENCE_START)
            error = find_memory(&search);
        if (error)
            snprintf(message, size, "%s", runners_message(search.runners));
        runners_end(search.runners);
    }
    if (error && !*message)
        snprintf(message, size, "the runs cannot be executed again: %s", strerror(-error));
    divergence->seconds = now() - start;
    return error;
}
