/*
 * What the levels of a trace cost: a Linux boot at each of them, beside the boot with none.
 *
 *   discarded   the events are made and thrown away: the cost of producing them
 *   unhashed    the same, without state hashes
 *   written     they go into a file: with the cost of coding, compression is in the writer's thread
 *
 * Time is that of the thread that runs the guest, in vm_run; the machine's work of this process as
 * a whole is in the JSON output. Boots take turns; figures are medians.
 *
 * Usage: bench_sim_trace [--json] [--images DIR] [--only WORD] [ROUNDS]
 *        DIR holds vmlinuz-cloud and initrd (default build/linux); only kinds with WORD in their
 *        name.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/guest_run.h"
#include "sim/vm.h"
#include "traces/sink.h"

#define DEFAULT_ROUNDS 3
#define MAX_ROUNDS     99

struct kind {
    const char *name;
    const char *level; /* NULL: no trace */
    bool written;
    bool unhashed; /* no state hashes */
    double goal;   /* times the time of a written trace of level exits; 0: none */
    double thread[MAX_ROUNDS], process[MAX_ROUNDS];
    uint64_t instructions, events, bytes;
};

static struct kind kinds[] = {
    {.name = "none"},
    {.name = "exits-unhashed", .level = "exits", .unhashed = true},
    {.name = "exits-discarded", .level = "exits"},
    {.name = "exits-written", .level = "exits", .written = true},
    {.name = "translations-written", .level = "translations", .written = true},
    {.name = "blocks-discarded", .level = "blocks"},
    {.name = "blocks-written", .level = "blocks", .written = true, .goal = 3},
    {.name = "memory-discarded", .level = "memory"},
};
#define KINDS     (sizeof kinds / sizeof *kinds)
#define REFERENCE 3 /* exits-written */

struct discard {
    struct trace_sink sink;
    uint64_t events;
};

static void discard_event(struct trace_sink *sink, const struct trace_event *event)
{
    ((struct discard *)sink)->events++;
}

static void discard_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions,
                          uint32_t size)
{
    ((struct discard *)sink)->events++;
}

static void fail(const char *message)
{
    fprintf(stderr, "bench_sim_trace: %s\n", message);
    exit(1);
}

static enum trace_level level_of(const char *name)
{
    static const char *const names[] = {"inputs", "exits", "translations", "blocks", "memory"};
    unsigned level = 0;
    while (strcmp(names[level], name))
        level++;
    return level;
}

static void boot(struct kind *kind, unsigned round, const char *images, const char *trace)
{
    char kernel[4096], initrd[4096], message[CONFIG_MESSAGE_SIZE];
    struct vm_config config;
    struct vm *vm;
    snprintf(kernel, sizeof kernel, "%s/vmlinuz-cloud", images);
    snprintf(initrd, sizeof initrd, "%s/initrd", images);
    const struct config_option options[] = {
        {"kernel", kernel},
        {"initrd", initrd},
        {"append", "console=ttyS0"},
        {"hash-every", kind->unhashed ? "0" : "100000000"},
        {"trace", trace},
        {"trace-level", kind->level},
    };
    if (vm_config_build(&config, NULL, options, kind->written ? 6 : 4, message, sizeof message) ||
        vm_create(&vm, &config, NULL, NULL, message, sizeof message) ||
        vm_load(vm, message, sizeof message))
        fail(message);
    vm_config_destroy(&config);
    struct discard discard = {.sink = {.event = discard_event, .block = discard_block}};
    if (kind->level && !kind->written) {
        discard.sink.types = trace_level_types(level_of(kind->level));
        vm_attach_sink(vm, &discard.sink);
    }

    struct elapsed start = elapsed_now();
    vm_run(vm);
    struct elapsed elapsed = elapsed_since(start);
    if (vm_get_stop(vm)->reason != VM_STOP_POWER_OFF)
        fail("Linux has not powered the machine off");
    struct run_statistics run;
    struct exit_statistics exits;
    vm_get_statistics(vm, &run, &exits);
    kind->thread[round] = elapsed.thread / 1e9;
    kind->process[round] = elapsed.process / 1e9;
    kind->instructions = run.instructions;
    kind->events = kind->written ? run.trace_events : discard.events;
    kind->bytes = run.trace_bytes;
    vm_destroy(vm);
}

static void print(bool json, unsigned rounds)
{
    json_t *all = json_object();
    double reference = median(kinds[REFERENCE].thread, rounds);
    for (struct kind *kind = kinds; kind < kinds + KINDS; kind++) {
        if (!kind->instructions)
            continue;
        double thread = median(kind->thread, rounds), process = median(kind->process, rounds);
        double bits = 8.0 * (double)kind->bytes / (double)kind->instructions;
        json_object_set_new(all, kind->name,
                            json_pack("{s:f, s:f, s:f, s:I, s:I, s:I, s:f}", "seconds", thread,
                                      "seconds_min", kind->thread[0], "process_seconds", process,
                                      "instructions", (json_int_t)kind->instructions, "events",
                                      (json_int_t)kind->events, "bytes", (json_int_t)kind->bytes,
                                      "bits_per_instruction", bits));
        if (json)
            continue;
        printf("%-21s %7.2f s (minimum %.2f, all threads %.2f)", kind->name, thread,
               kind->thread[0], process);
        if (reference > 0)
            printf(", %5.2f times exits-written", thread / reference);
        printf(", %lu events", (unsigned long)kind->events);
        if (kind->written)
            printf(", %lu bytes, %.4f bits an instruction", (unsigned long)kind->bytes, bits);
        if (kind->goal > 0 && reference > 0)
            printf("; goal %.0f: %s", kind->goal,
                   thread <= kind->goal * reference ? "met" : "MISSED");
        putchar('\n');
    }
    if (json) {
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
        putchar('\n');
    }
    json_decref(all);
}

int main(int argc, char **argv)
{
    const char *images = "build/linux", *only = "";
    bool json = false;
    unsigned rounds = DEFAULT_ROUNDS;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json"))
            json = true;
        else if (!strcmp(argv[i], "--images") && i + 1 < argc)
            images = argv[++i];
        else if (!strcmp(argv[i], "--only") && i + 1 < argc)
            only = argv[++i];
        else
            rounds = (unsigned)atoi(argv[i]);
    }
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: %s [--json] [--images DIR] [--only WORD] [ROUNDS (1 to %d)]\n",
                argv[0], MAX_ROUNDS);
        return 2;
    }
    char *trace = temporary_file();
    for (unsigned round = 0; round < rounds; round++)
        for (struct kind *kind = kinds; kind < kinds + KINDS; kind++)
            if (strstr(kind->name, only))
                boot(kind, round, images, trace);
    print(json, rounds);
    remove(trace);
    free(trace);
    return 0;
}
