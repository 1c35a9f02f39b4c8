/* The tables of vtxsim trace stat. */
#ifndef VTXSIM_SIM_COMMANDS_TRACE_SECTIONS_H
#define VTXSIM_SIM_COMMANDS_TRACE_SECTIONS_H

#include "sim/commands/tally.h"
#include "sim/symbols/symbols.h"

/* A table: which events count, by what, with what weight. */
struct trace_section {
    const char *name;   /* for --by and JSON: "rip" */
    const char *title;  /* "VM exits by RIP" */
    const char *weight; /* "cycles"; NULL: none */
    bool by_weight;     /* the heaviest first, not the most frequent */
    bool needs_symbols;
    uint32_t types; /* bits 1 << type of the events that can count */
    /* False if the event does not count. *weight is 1 at first. */
    bool (*key)(const struct symbols *symbols, const struct trace_event *event, uint64_t key[2],
                uint64_t *weight);
    /* The text of a row. */
    void (*label)(const struct symbols *symbols, const struct tally_row *row, char *text,
                  size_t size);
};

extern const struct trace_section trace_sections[];
extern const unsigned trace_section_count;

#endif
