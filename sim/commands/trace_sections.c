/* What vtxsim trace stat counts by, a row for each table. */
#include "sim/commands/trace_sections.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cpu/exit.h"
#include "sim/event_text.h"

#define PAGE_SHIFT 12

/* --- VM exits
 * ---------------------------------------------------------------------------------------- */

static unsigned basic_reason(const struct trace_event *event)
{
    return event->exit.reason & 0xffff;
}

static bool key_rip(const struct symbols *symbols, const struct trace_event *event, uint64_t key[2],
                    uint64_t *weight)
{
    key[0] = event->rip;
    key[1] = basic_reason(event);
    *weight = event->exit.cycles;
    return true;
}

/* "0xffffffff81000000  name+0x10" */
static void label_address(const struct symbols *symbols, uint64_t address, char *text, size_t size)
{
    int used = snprintf(text, size, "%#-18" PRIx64 "%s", address, symbols ? "  " : "");

    if (symbols && (size_t)used < size)
        event_symbol_text(symbols, address, text + used, size - (size_t)used);
}

static void label_rip(const struct symbols *symbols, const struct tally_row *row, char *text,
                      size_t size)
{
    char address[256];

    label_address(symbols, row->key[0], address, sizeof(address));
    snprintf(text, size, "%-18s  %s", event_reason_name((uint32_t)row->key[1]), address);
}

/* The symbol's own address; 0 for everything that has none. */
static uint64_t symbol_of(const struct symbols *symbols, uint64_t address)
{
    uint64_t into;

    return symbols_find(symbols, address, &into) ? address - into : 0;
}

static void label_symbol(const struct symbols *symbols, const struct tally_row *row, char *text,
                         size_t size)
{
    uint64_t into;
    const char *name = row->key[0] ? symbols_find(symbols, row->key[0], &into) : NULL;

    snprintf(text, size, "%s", name ? name : "(no symbol)");
}

static bool key_symbol(const struct symbols *symbols, const struct trace_event *event,
                       uint64_t key[2], uint64_t *weight)
{
    key[0] = symbol_of(symbols, event->rip);
    *weight = event->exit.cycles;
    return true;
}

static bool key_page(const struct symbols *symbols, const struct trace_event *event,
                     uint64_t key[2], uint64_t *weight)
{
    unsigned reason = basic_reason(event);

    key[0] = event->exit.guest_physical_address >> PAGE_SHIFT;
    key[1] = reason == EXIT_EPT_VIOLATION ? event->exit.qualification & 7 : 0;
    *weight = event->exit.cycles;
    return reason == EXIT_EPT_VIOLATION || reason == EXIT_EPT_MISCONFIG;
}

static void label_page(const struct symbols *symbols, const struct tally_row *row, char *text,
                       size_t size)
{
    snprintf(text, size, "%#-14" PRIx64 "%s%s%s", row->key[0] << PAGE_SHIFT,
             row->key[1] & 1 ? " read" : "", row->key[1] & 2 ? " write" : "",
             row->key[1] & 4 ? " fetch" : "");
}

/* What an exit is about: port and direction, MSR, CPUID leaf, control register, vector. */
static bool key_operand(const struct symbols *symbols, const struct trace_event *event,
                        uint64_t key[2], uint64_t *weight)
{
    key[0] = basic_reason(event);
    *weight = event->exit.cycles;
    switch (key[0]) {
    case EXIT_IO:
    case EXIT_CR_ACCESS:
    case EXIT_MOV_DR:
        key[1] = event->exit.qualification;
        return true;
    case EXIT_RDMSR:
    case EXIT_WRMSR:
    case EXIT_CPUID:
    case EXIT_VMCALL:
        key[1] = event->exit.operand;
        return true;
    case EXIT_EXCEPTION_OR_NMI:
        key[1] = event->exit.interruption_info & INTR_INFO_VECTOR;
        return true;
    default:
        return false;
    }
}

static void label_operand(const struct symbols *symbols, const struct tally_row *row, char *text,
                          size_t size)
{
    char meaning[256];

    if (row->key[0] == EXIT_VMCALL)
        snprintf(meaning, sizeof(meaning), "hypercall %" PRIu64, row->key[1]);
    else if (row->key[0] == EXIT_EXCEPTION_OR_NMI)
        snprintf(meaning, sizeof(meaning), "vector %" PRIu64 " %s", row->key[1],
                 event_vector_name((unsigned)row->key[1]) ?: "");
    else
        event_explain(&row->sample, meaning, sizeof(meaning));
    snprintf(text, size, "%-18s  %s", event_reason_name((uint32_t)row->key[0]), meaning);
}

/* --- Injections and inputs
 * --------------------------------------------------------------------------- */

static bool key_vector(const struct symbols *symbols, const struct trace_event *event,
                       uint64_t key[2], uint64_t *weight)
{
    key[0] = event->injection.info & 0x7ff;
    return event->injection.info & INTR_INFO_VALID;
}

static void label_meaning(const struct symbols *symbols, const struct tally_row *row, char *text,
                          size_t size)
{
    event_explain(&row->sample, text, size);
}

static bool key_input(const struct symbols *symbols, const struct trace_event *event,
                      uint64_t key[2], uint64_t *weight)
{
    key[0] = event->input.kind;
    *weight = event->input.size;
    return true;
}

static void label_choice(const struct symbols *symbols, const struct tally_row *row, char *text,
                         size_t size)
{
    event_choice_text(&row->sample, text, size);
}

/* --- Translations
 * ------------------------------------------------------------------------------------ */

static bool key_walk(const struct symbols *symbols, const struct trace_event *event,
                     uint64_t key[2], uint64_t *weight)
{
    key[0] = event->walk.status;
    key[1] = (uint64_t)event->walk.guest_references << 16 | event->walk.ept_references << 8 |
             event->walk.page_shift;
    *weight = event->walk.guest_references + event->walk.ept_references;
    return true;
}

static void label_walk(const struct symbols *symbols, const struct tally_row *row, char *text,
                       size_t size)
{
    const struct trace_walk *walk = &row->sample.walk;
    char status[64], page[64] = "";

    label_choice(symbols, row, status, sizeof(status));
    if (walk->page_shift >= 30)
        snprintf(page, sizeof(page), ", %u GiB page", 1u << (walk->page_shift - 30));
    else if (walk->page_shift >= 20)
        snprintf(page, sizeof(page), ", %u MiB page", 1u << (walk->page_shift - 20));
    else if (walk->page_shift >= 10)
        snprintf(page, sizeof(page), ", %u KiB page", 1u << (walk->page_shift - 10));
    snprintf(text, size, "%-17s  %u guest + %u EPT references%s", status, walk->guest_references,
             walk->ept_references, page);
}

static bool key_fault(const struct symbols *symbols, const struct trace_event *event,
                      uint64_t key[2], uint64_t *weight)
{
    key[0] = event->walk.status;
    key[1] = (uint64_t)event->walk.error_code << 32 | event->walk.access;
    return event->walk.status != 0;
}

static void label_fault(const struct symbols *symbols, const struct tally_row *row, char *text,
                        size_t size)
{
    char status[64], meaning[256];

    label_choice(symbols, row, status, sizeof(status));
    event_explain(&row->sample, meaning, sizeof(meaning));
    snprintf(text, size, "%-17s  %s", status, meaning);
}

static bool key_flush(const struct symbols *symbols, const struct trace_event *event,
                      uint64_t key[2], uint64_t *weight)
{
    key[0] = event->flush.kind;
    key[1] = event->flush.type;
    return true;
}

static void label_flush(const struct symbols *symbols, const struct tally_row *row, char *text,
                        size_t size)
{
    char kind[64];

    label_choice(symbols, row, kind, sizeof(kind));
    if (strncmp(kind, "inv", 3) == 0 && strcmp(kind, "invlpg") != 0)
        snprintf(text, size, "%s type %" PRIu64, kind, row->key[1]);
    else
        snprintf(text, size, "%s", kind);
}

/* --- Blocks and accesses
 * ----------------------------------------------------------------------------- */

static bool key_block(const struct symbols *symbols, const struct trace_event *event,
                      uint64_t key[2], uint64_t *weight)
{
    key[0] = event->rip;
    *weight = event->block.instructions;
    return true;
}

static void label_block(const struct symbols *symbols, const struct tally_row *row, char *text,
                        size_t size)
{
    label_address(symbols, row->key[0], text, size);
}

static bool key_function(const struct symbols *symbols, const struct trace_event *event,
                         uint64_t key[2], uint64_t *weight)
{
    key[0] = symbol_of(symbols, event->rip);
    *weight = event->block.instructions;
    return true;
}

static bool key_access(const struct symbols *symbols, const struct trace_event *event,
                       uint64_t key[2], uint64_t *weight)
{
    key[0] = event->access.linear >> PAGE_SHIFT;
    key[1] = event->access.write;
    *weight = event->access.size;
    return true;
}

static void label_access(const struct symbols *symbols, const struct tally_row *row, char *text,
                         size_t size)
{
    char symbol[256];

    event_symbol_text(symbols, row->sample.access.linear, symbol, sizeof(symbol));
    snprintf(text, size, "%#-18" PRIx64 " %s%s%s", row->key[0] << PAGE_SHIFT,
             row->key[1] ? "write" : "read ", *symbol ? "  first: " : "", symbol);
}

// clang-format off
const struct trace_section trace_sections[] = {
    {"rip", "VM exits by instruction", "cycles", true, false, 1 << TRACE_EXIT,
     key_rip, label_rip},
    {"symbol", "VM exits by symbol", "cycles", true, true, 1 << TRACE_EXIT,
     key_symbol, label_symbol},
    {"operand", "VM exits by operand", "cycles", true, false, 1 << TRACE_EXIT,
     key_operand, label_operand},
    {"page", "EPT violations and misconfigurations by guest-physical page", "cycles", true, false,
     1 << TRACE_EXIT, key_page, label_page},
    {"vector", "injected events by vector", NULL, false, false, 1 << TRACE_INJECTION,
     key_vector, label_meaning},
    {"input", "inputs", "bytes", false, false, 1 << TRACE_INPUT, key_input, label_choice},
    {"walk", "walks by references", "references", false, false, 1 << TRACE_WALK,
     key_walk, label_walk},
    {"fault", "walks that failed", NULL, false, false, 1 << TRACE_WALK, key_fault, label_fault},
    {"flush", "flushes", NULL, false, false, 1 << TRACE_FLUSH, key_flush, label_flush},
    {"block", "blocks by instructions executed", "instructions", true, false, 1 << TRACE_BLOCK,
     key_block, label_block},
    {"function", "instructions by symbol", "instructions", true, true, 1 << TRACE_BLOCK,
     key_function, label_symbol},
    {"access", "accesses by linear page", "bytes", false, false, 1 << TRACE_ACCESS,
     key_access, label_access},
};
// clang-format on
const unsigned trace_section_count = sizeof(trace_sections) / sizeof(*trace_sections);
