/*
 * What a run did: VM exits by reason with their simulated cycles, and the totals of the machine;
 * as a table in the manner of `perf kvm stat` and as JSON.
 */
#ifndef VTXSIM_SIM_EXIT_STATISTICS_H
#define VTXSIM_SIM_EXIT_STATISTICS_H

#include <stdint.h>
#include <stdio.h>

#include "cpu/exit.h"

struct exit_count {
    uint64_t count;
    uint64_t cycles;   /* simulated cycles of all of them */
    uint32_t min, max; /* meaningful once count > 0 */
};

/* All zero at the start. The last element counts reasons that the SDM does not define. */
struct exit_statistics {
    struct exit_count reason[EXIT_REASON_COUNT + 1];
};

/* The totals of a run, filled by the VM handler. Counts are 0 where the backend has no such thing.
 */
struct run_statistics {
    uint64_t instructions;      /* retired */
    uint64_t user_instructions; /* of them at CPL 3 */

    /* Translation (memory/mmu.h: struct mmu_stats). */
    uint64_t tlb_hits, tlb_misses;
    uint64_t walks, guest_references, ept_references;
    uint64_t page_faults, ept_violations, ept_misconfigs;
    uint64_t tlb_flushes;
    uint64_t ept_withdrawn; /* EPT entries withdrawn by --ept-withdraw */

    /* The engine's translation cache. */
    uint64_t blocks_translated, instructions_translated;
    uint64_t translation_cache_bytes, translation_cache_flushes;
    uint64_t engine_entries; /* times that the engine was (re-)entered */

    /* VM exits by how they were settled. */
    uint64_t exits_in_place, exits_full;
    uint64_t interrupts_injected, exceptions_injected;

    uint64_t simulated_cycles, tsc_hz;
    double host_seconds;

    uint64_t trace_events, trace_bytes; /* 0 without a trace; bytes final once it is closed */
    int trace_error;                    /* 0, or -errno: the trace lacks its end */
    const char *timing;                 /* "fast" or "detailed": which counts are exact */
};

/* Counts one exit. reason: as in the VMCS, or its low 16 bits. */
static inline void exit_statistics_add(struct exit_statistics *statistics, uint32_t reason,
                                       uint32_t cycles)
{
    uint32_t basic = reason & 0xffff;
    struct exit_count *count =
        &statistics->reason[basic < EXIT_REASON_COUNT ? basic : EXIT_REASON_COUNT];

    if (count->count++ == 0 || cycles < count->min)
        count->min = cycles;
    if (cycles > count->max)
        count->max = cycles;
    count->cycles += cycles;
}

/* Sum over all reasons. */
uint64_t exit_statistics_total(const struct exit_statistics *statistics, uint64_t *cycles);

/* The table of exits (sorted by count), then the totals. */
void exit_statistics_print(const struct exit_statistics *statistics,
                           const struct run_statistics *run, FILE *file);

/* The table of exits alone. */
void exit_statistics_print_exits(const struct exit_statistics *statistics, FILE *file);

struct json_t;
/* {"exits": [...], "totals": {...}} as a new jansson object; NULL without memory. */
struct json_t *exit_statistics_json(const struct exit_statistics *statistics,
                                    const struct run_statistics *run);
/* [{"name": ..., "reason": ..., "count": ...}, ...] as a new jansson array. */
struct json_t *exit_statistics_exits_json(const struct exit_statistics *statistics);

#endif
