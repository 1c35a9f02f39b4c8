/*
 * What a VM exit costs, from the guest's CPUID to the instruction behind it.
 *
 *   in place   the exit is recorded in the VMCS, counted, traced and handled without a return from
 *              the engine: what happens in a normal run
 *   full       the same, and then the engine is left, guest state is saved into the VMCS, host
 *              state is loaded, all VM-entry checks are made, guest state is loaded, and the engine
 * is entered again
 *
 * Each is the time of a loop with CPUID less that of the same loop with NOPs in its place, divided
 * by the number of exits; all loops take turns, and the figures are medians. A trace is open,
 * except where the output says so. Time is that of this process, so that neighbours on the machine
 * do not count (wall-clock time is in the JSON output).
 *
 * Usage: bench_sim_exit [--json] [ROUNDS]
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/guest_run.h"

#define EXITS          1000000
#define DEFAULT_ROUNDS 7
#define MAX_ROUNDS     99

struct kind {
    const char *name, *text;
    bool trace, full;
    double goal; /* nanoseconds; 0: none */
    double thread[MAX_ROUNDS], others[MAX_ROUNDS], wall[MAX_ROUNDS];
};

static struct kind kinds[] = {
    {"in_place", "settled in place", true, false, 100, {0}, {0}, {0}},
    {"in_place_untraced", "settled in place, no trace", false, false, 0, {0}, {0}, {0}},
    {"full", "leaves and re-enters, all checks", true, true, 1000, {0}, {0}, {0}},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static struct guest_run run(const struct guest_image *image, const struct kind *kind,
                            const char *trace)
{
    struct config_option options[] = {{"full-exits", kind->full ? "on" : "off"}, {"trace", trace}};
    return guest_run(image, options, kind->trace ? 2 : 1);
}

static void measure(struct kind *kind, unsigned round, const struct guest_image *exits,
                    const struct guest_image *nops, const char *trace)
{
    struct guest_run with = run(exits, kind, trace), without = run(nops, kind, trace);
    double count = (double)(with.exits - without.exits);
    double process = (with.elapsed.process - without.elapsed.process) / count;
    kind->thread[round] = (with.elapsed.thread - without.elapsed.thread) / count;
    kind->others[round] = process - kind->thread[round];
    kind->wall[round] = (with.elapsed.wall - without.elapsed.wall) / count;
}

static void print(bool json, unsigned rounds)
{
    json_t *all = json_object();
    for (struct kind *kind = kinds; kind < kinds + KINDS; kind++) {
        double thread = median(kind->thread, rounds), others = median(kind->others, rounds);
        json_object_set_new(all, kind->name,
                            json_pack("{s:f, s:f, s:f, s:f, s:f}", "ns", thread, "ns_min",
                                      kind->thread[0], "other_threads_ns", others, "wall_ns",
                                      median(kind->wall, rounds), "goal_ns", kind->goal));
        if (json)
            continue;
        printf("%-34s %7.1f ns an exit (minimum %.1f)", kind->text, thread, kind->thread[0]);
        if (kind->trace)
            printf(", %.1f ns in the trace's thread", others);
        if (kind->goal > 0)
            printf("; goal %.0f: %s", kind->goal, thread <= kind->goal ? "met" : "MISSED");
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
    static const uint8_t cpuid[] = {0x0f, 0xa2};
    bool json = argc > 1 && !strcmp(argv[1], "--json");
    unsigned rounds = argc > 1 + json ? (unsigned)atoi(argv[1 + json]) : DEFAULT_ROUNDS;
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: %s [--json] [ROUNDS (1 to %d)]\n", argv[0], MAX_ROUNDS);
        return 2;
    }
    struct guest_image exits = guest_image_read("cpuid", EXITS);
    struct guest_image nops = guest_image_read("cpuid", EXITS);
    guest_image_replace_by_nops(&nops, cpuid, sizeof cpuid);
    char *trace = temporary_file();

    for (unsigned round = 0; round < rounds; round++)
        for (struct kind *kind = kinds; kind < kinds + KINDS; kind++)
            measure(kind, round, &exits, &nops, trace);
    print(json, rounds);

    remove(trace);
    free(trace);
    free(exits.bytes);
    free(nops.bytes);
    return 0;
}
