/* From a trace to a VM that executes its run again. */
#include "sim/replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "traces/reader.h"

struct replay {
    char *path;
    struct vm *vm;
    struct trace_checker *checker; /* NULL: nothing is checked */
    struct trace_reader *inputs;   /* reads ahead for the next input */
};

static bool next_input(void *context, struct trace_event *input)
{
    struct replay *replay = context;

    return trace_reader_next_of(replay->inputs, TRACE_INPUT, input) == 1;
}

static void end_run(void *context)
{
    struct replay *replay = context;

    vm_stop(replay->vm);
}

/* The trace's folder, then those that the user names. Returns NULL without memory. */
static const char **list_places(const struct replay_options *options, const char *folder)
{
    const char **places = calloc(options->find_count + 1, sizeof(*places));

    if (!places)
        return NULL;
    places[0] = folder;
    for (unsigned i = 0; i < options->find_count; i++)
        places[i + 1] = options->find[i];
    return places;
}

static int read_config(const struct replay *replay, const struct replay_options *options,
                       struct vm_config *config, char *message, size_t size)
{
    char *folder = strdup(replay->path), *slash;
    const char **places;
    int error = -ENOMEM;

    if (folder) {
        slash = strrchr(folder, '/');
        strcpy(slash ? slash + 1 : folder, slash ? "" : ".");
    }
    places = folder ? list_places(options, folder) : NULL;
    if (places)
        error = vm_config_from_description(config, trace_reader_options(replay->inputs), places,
                                           options->find_count + 1, message, size);
    free(places);
    free(folder);
    return error;
}

/* Runs that nobody can repeat. */
static int check_repeatable(const struct vm_config *config, char *message, size_t size)
{
    const char *why = NULL;

    if (config->backend != BACKEND_UNICORN)
        why = "it was recorded on KVM, where nothing makes two runs alike: hold it against another "
              "run with vtxsim diff";
    else if (config->clock == VM_CLOCK_HOST)
        why = "its guest saw the host's clock (--clock host): record with --clock simulated";
    if (!why)
        return 0;
    snprintf(message, size, "this run cannot be repeated: %s", why);
    return -ENOTSUP;
}

static int create_vm(struct replay *replay, const struct replay_options *options, char *message,
                     size_t size)
{
    struct vm_config config;
    int error = read_config(replay, options, &config, message, size);

    if (error)
        return error;
    error = check_repeatable(&config, message, size);
    if (!error)
        error =
            vm_create(&replay->vm, &config, &options->callbacks, options->context, message, size);
    if (!error)
        error = vm_load(replay->vm, message, size);
    vm_config_destroy(&config);
    return error;
}

static int attach_checker(struct replay *replay, const struct replay_options *options,
                          char *message, size_t size)
{
    struct trace_reader *reader;
    int error = trace_reader_open(&reader, replay->path, message, size);

    if (!error)
        error = trace_checker_open(&replay->checker, reader, options->ignored, end_run, replay);
    if (!error)
        error = vm_attach_sink(replay->vm, trace_checker_sink(replay->checker));
    return error;
}

static int open_parts(struct replay *replay, const struct replay_options *options, char *message,
                      size_t size)
{
    char cause[REPLAY_MESSAGE_SIZE] = "";
    int error = trace_reader_open(&replay->inputs, replay->path, message, size);

    if (error)
        return error;
    error = create_vm(replay, options, cause, sizeof(cause));
    if (!error && options->check)
        error = attach_checker(replay, options, cause, sizeof(cause));
    if (error)
        snprintf(message, size, "%s cannot be replayed: %s", replay->path,
                 *cause ? cause : strerror(-error));
    else
        vm_feed_inputs(replay->vm, next_input, replay);
    return error;
}

int replay_open(struct replay **result, const char *path, const struct replay_options *options,
                char *message, size_t size)
{
    struct replay *replay = calloc(1, sizeof(*replay));
    int error = -ENOMEM;

    snprintf(message, size, "no memory is left");
    if (!replay)
        return error;
    replay->path = strdup(path);
    if (replay->path)
        error = open_parts(replay, options, message, size);
    if (error)
        replay_close(replay);
    else
        *result = replay;
    return error;
}

struct vm *replay_vm(struct replay *replay)
{
    return replay->vm;
}

int replay_run(struct replay *replay)
{
    struct trace_check check;

    if (replay->checker) {
        replay_get_check(replay, &check);
        if (check.state != TRACE_CHECK_RUNNING) /* not one event to replay */
            return 0;
    }
    return vm_run(replay->vm);
}

void replay_stop(struct replay *replay)
{
    if (replay->checker)
        trace_checker_end(replay->checker);
    vm_stop(replay->vm);
}

void replay_get_check(const struct replay *replay, struct trace_check *check)
{
    trace_checker_get(replay->checker, check);
}

void replay_close(struct replay *replay)
{
    if (replay->vm)
        vm_destroy(replay->vm);
    if (replay->checker)
        trace_checker_close(replay->checker);
    if (replay->inputs)
        trace_reader_close(replay->inputs);
    free(replay->path);
    free(replay);
}
