/* The symbols that go with a trace: from which file, and where KASLR has put them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cpu/exit.h"
#include "sim/commands/commands.h"
#include "sim/commands/trace.h"

/* Events that are looked at to find where the kernel is: all, or samples. */
#define GUESS_EVENTS        1000000
#define GUESS_SAMPLES       64
#define GUESS_SAMPLE_EVENTS 4000

static bool hint_of(const struct trace_event *event, enum symbols_hint *hint)
{
    if (event->type == TRACE_BLOCK) {
        *hint = SYMBOLS_HINT_BLOCK;
        return true;
    }
    if (event->type != TRACE_EXIT)
        return false;
    switch (event->exit.reason & 0xffff) {
    case EXIT_IO:
        *hint = SYMBOLS_HINT_IO;
        return true;
    case EXIT_CPUID:
        *hint = SYMBOLS_HINT_CPUID;
        return true;
    case EXIT_RDMSR:
    case EXIT_WRMSR:
        *hint = SYMBOLS_HINT_MSR;
        return true;
    default:
        return false;
    }
}

static void add_hints(struct symbols_guess *guess, struct trace_reader *reader, uint64_t count)
{
    struct trace_event event;
    enum symbols_hint hint;

    for (uint64_t i = 0; i < count && trace_reader_next(reader, &event) == 1; i++)
        if (hint_of(&event, &hint))
            symbols_guess_add(guess, event.rip, hint);
}

/* Looks at all of a short trace and at samples of a long one. */
static void gather_hints(struct symbols_guess *guess, struct trace_reader *reader)
{
    const struct trace_frame *frames;
    int64_t count = trace_reader_frames(reader, &frames);
    uint64_t events = count > 0 ? frames[count - 1].first + frames[count - 1].count : 0;

    if (events <= GUESS_EVENTS) {
        add_hints(guess, reader, GUESS_EVENTS);
        return;
    }
    for (uint64_t i = 0; i < GUESS_SAMPLES; i++)
        if (trace_reader_seek(reader, TRACE_INDEX_EVENT, events / GUESS_SAMPLES * i) == 0)
            add_hints(guess, reader, GUESS_SAMPLE_EVENTS);
}

/* With a reader of its own. */
static bool guess_offset(struct symbols *symbols, const char *path)
{
    struct symbols_guess *guess = symbols_guess_begin(symbols);
    struct trace_reader *reader;

    if (!guess)
        return false;
    if (trace_reader_open(&reader, path, NULL, 0) == 0) {
        gather_hints(guess, reader);
        trace_reader_close(reader);
    }
    return symbols_guess_end(guess);
}

/* Where the run's kernel or image was. */
static bool find_image(struct trace_view *view, char *path, size_t size)
{
    json_t *options = json_loads(trace_reader_options(view->reader), 0, NULL);
    json_t *image = json_object_get(options, "kernel") ?: json_object_get(options, "image");
    const char *found = json_string_value(json_object_get(image, "path"));

    snprintf(path, size, "%s", found ?: "");
    json_decref(options);
    return *path;
}

/* Returns 0 or an exit status after a message. */
static int set_offset(struct trace_view *view, const char *file)
{
    const char *offset = view->request->symbols_offset;
    uint64_t value;
    char *end;

    if (!offset || strcmp(offset, "auto") == 0) {
        if (!guess_offset(view->symbols, view->request->path) && offset)
            command_error("%s: where the kernel of %s was cannot be told from this trace; give "
                          "--symbols-offset, or boot with nokaslr",
                          view->request->path, file);
        return 0;
    }
    errno = 0;
    value = strtoull(offset, &end, 0);
    if (errno || !*offset || *end) {
        command_error("symbols-offset: \"%s\" is neither a number nor auto", offset);
        return STATUS_USAGE;
    }
    symbols_set_offset(view->symbols, value);
    return 0;
}

int trace_view_open_symbols(struct trace_view *view)
{
    const char *file = view->request->symbols;
    char message[512], path[4096];

    if (!file)
        return 0;
    if (strcmp(file, "auto") == 0) {
        if (!find_image(view, path, sizeof(path))) {
            command_error("%s: it does not tell where its image was: name the file with --symbols",
                          view->request->path);
            return STATUS_NO_START;
        }
        file = path;
    }
    if (symbols_load(&view->symbols, file, message, sizeof(message))) {
        command_error("%s", message);
        return STATUS_NO_START;
    }
    return set_offset(view, file);
}
