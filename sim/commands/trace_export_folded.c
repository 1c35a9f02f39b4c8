/* Folded stacks, the input of flame graphs: "frame;frame;frame weight" on a line. */
#include "sim/commands/trace_export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/commands/commands.h"
#include "sim/commands/tally.h"
#include "sim/event_text.h"

#define KERNEL_HALF (1ull << 63)

static int begin_folded(struct trace_exporter *exporter)
{
    bool blocks = exporter->weight == WEIGHT_INSTRUCTIONS;
    enum trace_level level = trace_reader_level(exporter->view->reader);

    exporter->state = calloc(1, sizeof(struct tally));
    if (!exporter->state)
        return -ENOMEM;
    if (trace_level_types(level) >> (blocks ? TRACE_BLOCK : TRACE_EXIT) & 1)
        return 0;
    command_error("%s: its level \"%s\" has no %s: record with --trace-level %s",
                  exporter->view->request->path, trace_level_name(level),
                  blocks ? "blocks" : "VM exits", blocks ? "blocks" : "exits");
    return -ENODATA;
}

/* What is one frame: the symbol's start, or the very address where there is none. */
static uint64_t place_of(const struct symbols *symbols, uint64_t rip)
{
    uint64_t into;

    return symbols && symbols_find(symbols, rip, &into) ? rip - into : rip;
}

static int add_folded(struct trace_exporter *exporter, uint64_t number,
                      const struct trace_event *event)
{
    uint64_t key[2] = {0, place_of(exporter->view->symbols, event->rip)}, weight = 1;
    bool blocks = exporter->weight == WEIGHT_INSTRUCTIONS;

    if (event->type != (blocks ? TRACE_BLOCK : TRACE_EXIT))
        return 0;
    if (blocks) {
        weight = event->block.instructions;
    } else {
        key[0] = event->exit.reason;
        if (exporter->weight == WEIGHT_CYCLES)
            weight = event->exit.cycles;
    }
    return tally_add(exporter->state, key, weight, event);
}

/* Frames are separated by semicolons, and the weight by the last blank. */
static void put_frame(FILE *file, const char *name)
{
    for (; *name; name++)
        fputc(*name == ';' || *name == ' ' ? '_' : *name, file);
}

static void put_row(struct trace_exporter *exporter, const struct tally_row *row)
{
    const char *name = NULL;
    uint64_t into;

    if (exporter->weight == WEIGHT_INSTRUCTIONS)
        fputs(row->key[1] & KERNEL_HALF ? "upper half;" : "lower half;", exporter->out);
    else
        fprintf(exporter->out, "%s;", event_reason_name((uint32_t)row->key[0]));
    if (exporter->view->symbols)
        name = symbols_find(exporter->view->symbols, row->key[1], &into);
    if (name)
        put_frame(exporter->out, name);
    else
        fprintf(exporter->out, "0x%" PRIx64, row->key[1]);
    fprintf(exporter->out, " %" PRIu64 "\n", row->weight);
}

static int finish_folded(struct trace_exporter *exporter)
{
    struct tally *tally = exporter->state;

    if (!tally)
        return 0;
    tally_sort(tally, true);
    for (size_t i = 0; i < tally->count; i++)
        put_row(exporter, &tally->row[i]);
    tally_free(tally);
    free(tally);
    return 0;
}

const struct trace_export_format trace_export_folded = {"folded", begin_folded, add_folded,
                                                        finish_folded};
