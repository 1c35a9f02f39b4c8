/* Statistics of a run: the table for people, JSON for programs. */
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sim/exit_statistics.h"

#define REASONS (EXIT_REASON_COUNT + 1)

static const char *reason_name(unsigned reason)
{
    return reason == EXIT_REASON_COUNT ? "UNKNOWN" : exit_reason_name(reason);
}

uint64_t exit_statistics_total(const struct exit_statistics *statistics, uint64_t *cycles)
{
    uint64_t count = 0;

    *cycles = 0;
    for (unsigned reason = 0; reason < REASONS; reason++) {
        count += statistics->reason[reason].count;
        *cycles += statistics->reason[reason].cycles;
    }
    return count;
}

/* The reasons that occurred, most frequent first (equal ones by number). Returns how many. */
static unsigned sort_reasons(const struct exit_statistics *statistics, unsigned order[REASONS])
{
    unsigned used = 0;

    for (unsigned reason = 0; reason < REASONS; reason++) {
        unsigned place = used;

        if (statistics->reason[reason].count == 0)
            continue;
        for (; place > 0 &&
               statistics->reason[order[place - 1]].count < statistics->reason[reason].count;
             place--)
            order[place] = order[place - 1];
        order[place] = reason;
        used++;
    }
    return used;
}

static double mean(const struct exit_count *count)
{
    return count->count ? (double)count->cycles / (double)count->count : 0;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static double simulated_seconds(const struct run_statistics *run)
{
    return run->tsc_hz ? (double)run->simulated_cycles / (double)run->tsc_hz : 0;
}

static double mips(const struct run_statistics *run)
{
    return run->host_seconds > 0 ? (double)run->instructions / run->host_seconds / 1e6 : 0;
}

void exit_statistics_print_exits(const struct exit_statistics *statistics, FILE *file)
{
    unsigned order[REASONS], used = sort_reasons(statistics, order);
    uint64_t cycles, total = exit_statistics_total(statistics, &cycles);

    fprintf(file, "%-24s %12s %8s %8s %10s %12s %10s %16s\n", "VM exit", "count", "share", "cycles",
            "min", "mean", "max", "total cycles");
    for (unsigned i = 0; i < used; i++) {
        const struct exit_count *count = &statistics->reason[order[i]];

        fprintf(file, "%-24s %12" PRIu64 " %7.2f%% %7.2f%% %10u %12.1f %10u %16" PRIu64 "\n",
                reason_name(order[i]), count->count, share(count->count, total),
                share(count->cycles, cycles), count->min, mean(count), count->max, count->cycles);
    }
    fprintf(file, "%-24s %12" PRIu64 " %7.2f%% %7.2f%% %10s %12.1f %10s %16" PRIu64 "\n", "all",
            total, total ? 100.0 : 0.0, cycles ? 100.0 : 0.0, "",
            total ? (double)cycles / (double)total : 0.0, "", cycles);
}

static void print_total(FILE *file, const char *name, uint64_t value)
{
    fprintf(file, "%-32s %16" PRIu64 "\n", name, value);
}

/* The counts that make up the totals: name in the table, name in JSON, place in the struct. */
static const struct {
    const char *label, *key;
    size_t offset;
} counters[] = {
    {"instructions", "instructions", offsetof(struct run_statistics, instructions)},
    {"  in user mode (CPL 3)", "user_instructions",
     offsetof(struct run_statistics, user_instructions)},
    {"exits settled in place", "exits_in_place", offsetof(struct run_statistics, exits_in_place)},
    {"exits that left the engine", "exits_full", offsetof(struct run_statistics, exits_full)},
    {"engine entries", "engine_entries", offsetof(struct run_statistics, engine_entries)},
    {"interrupts injected", "interrupts_injected",
     offsetof(struct run_statistics, interrupts_injected)},
    {"exceptions injected", "exceptions_injected",
     offsetof(struct run_statistics, exceptions_injected)},
    {"TLB hits", "tlb_hits", offsetof(struct run_statistics, tlb_hits)},
    {"TLB misses", "tlb_misses", offsetof(struct run_statistics, tlb_misses)},
    {"TLB flushes", "tlb_flushes", offsetof(struct run_statistics, tlb_flushes)},
    {"walks", "walks", offsetof(struct run_statistics, walks)},
    {"  guest paging references", "guest_references",
     offsetof(struct run_statistics, guest_references)},
    {"  EPT references", "ept_references", offsetof(struct run_statistics, ept_references)},
    {"page faults", "page_faults", offsetof(struct run_statistics, page_faults)},
    {"EPT violations", "ept_violations", offsetof(struct run_statistics, ept_violations)},
    {"EPT misconfigurations", "ept_misconfigurations",
     offsetof(struct run_statistics, ept_misconfigs)},
    {"EPT entries withdrawn", "ept_withdrawn", offsetof(struct run_statistics, ept_withdrawn)},
    {"blocks translated", "blocks_translated", offsetof(struct run_statistics, blocks_translated)},
    {"  of instructions", "instructions_translated",
     offsetof(struct run_statistics, instructions_translated)},
    {"translation cache (bytes)", "translation_cache_bytes",
     offsetof(struct run_statistics, translation_cache_bytes)},
    {"translation cache flushes", "translation_cache_flushes",
     offsetof(struct run_statistics, translation_cache_flushes)},
    {"trace records", "trace_events", offsetof(struct run_statistics, trace_events)},
    {"trace (bytes)", "trace_bytes", offsetof(struct run_statistics, trace_bytes)},
    {"simulated cycles", "simulated_cycles", offsetof(struct run_statistics, simulated_cycles)},
};
#define COUNTERS (sizeof(counters) / sizeof(*counters))

static uint64_t counter_value(const struct run_statistics *run, unsigned i)
{
    return *(const uint64_t *)((const char *)run + counters[i].offset);
}

void exit_statistics_print(const struct exit_statistics *statistics,
                           const struct run_statistics *run, FILE *file)
{
    exit_statistics_print_exits(statistics, file);
    fputc('\n', file);
    for (unsigned i = 0; i < COUNTERS; i++)
        print_total(file, counters[i].label, counter_value(run, i));
    fprintf(file, "%-32s %16.6f s\n", "simulated time", simulated_seconds(run));
    fprintf(file, "%-32s %16.6f s\n", "host time", run->host_seconds);
    fprintf(file, "%-32s %16.2f\n", "million instructions a second", mips(run));
    if (run->timing)
        fprintf(file, "timing: %s%s\n", run->timing,
                strcmp(run->timing, "fast") == 0
                    ? " (TLB hits are those of accesses that reached the model)"
                    : "");
}

json_t *exit_statistics_exits_json(const struct exit_statistics *statistics)
{
    unsigned order[REASONS], used = sort_reasons(statistics, order);
    uint64_t cycles, total = exit_statistics_total(statistics, &cycles);
    json_t *exits = json_array();

    for (unsigned i = 0; i < used; i++) {
        const struct exit_count *count = &statistics->reason[order[i]];

        json_array_append_new(
            exits, json_pack("{s:s, s:i, s:I, s:f, s:I, s:f, s:I, s:I}", "name",
                             reason_name(order[i]), "reason", (int)order[i], "count",
                             (json_int_t)count->count, "share", share(count->count, total), "min",
                             (json_int_t)count->min, "mean", mean(count), "max",
                             (json_int_t)count->max, "cycles", (json_int_t)count->cycles));
    }
    return exits;
}

json_t *exit_statistics_json(const struct exit_statistics *statistics,
                             const struct run_statistics *run)
{
    json_t *totals = json_object();
    uint64_t cycles, exits = exit_statistics_total(statistics, &cycles);

    for (unsigned i = 0; i < COUNTERS; i++)
        json_object_set_new(totals, counters[i].key,
                            json_integer((json_int_t)counter_value(run, i)));
    json_object_set_new(totals, "exits", json_integer((json_int_t)exits));
    json_object_set_new(totals, "exit_cycles", json_integer((json_int_t)cycles));
    json_object_set_new(totals, "tsc_hz", json_integer((json_int_t)run->tsc_hz));
    json_object_set_new(totals, "simulated_seconds", json_real(simulated_seconds(run)));
    json_object_set_new(totals, "host_seconds", json_real(run->host_seconds));
    json_object_set_new(totals, "mips", json_real(mips(run)));
    if (run->timing)
        json_object_set_new(totals, "timing", json_string(run->timing));
    return json_pack("{s:o, s:o}", "exits", exit_statistics_exits_json(statistics), "totals", totals);
}
