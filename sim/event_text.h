/*
 * The events of traces as people and programs read them, from the table of fields in
 * traces/event.h, and the names that they are asked for by.
 */
#ifndef VTXSIM_SIM_EVENT_TEXT_H
#define VTXSIM_SIM_EVENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "sim/symbols/symbols.h"
#include "traces/event.h"

#define EVENT_TEXT_SIZE 1024 /* holds whatever the functions below write */

/* "IO_INSTRUCTION", also of a VM entry that failed ("INVALID_STATE"). */
const char *event_reason_name(uint32_t reason);
/* The basic exit reason of that name: as above in any case with - or _ between words, or a common
 * one ("io", "rdmsr", "ept-violation", "exception"). Returns -1 if there is none. */
int event_reason_find(const char *name);
/* "IA32_APIC_BASE", or NULL. */
const char *event_msr_name(uint64_t msr);
/* "#PF" for the vectors of exceptions, else NULL. */
const char *event_vector_name(unsigned vector);

/* The value of one field: a decimal number, 0x..., a name, or quoted bytes. */
void event_field_text(const struct trace_event *event, const struct trace_field *field, char *text,
                      size_t size);
/* The same of the type's first field that has a name for its value ("page-fault"); "" without. */
void event_choice_text(const struct trace_event *event, char *text, size_t size);
/* "start_kernel+0x1c"; "" where there is no symbol or `symbols` is NULL. */
void event_symbol_text(const struct symbols *symbols, uint64_t address, char *text, size_t size);

/* What the event's numbers mean in words: "out to port 0x3f8, 1 byte". "" if they need none. */
void event_explain(const struct trace_event *event, char *text, size_t size);

/* The fields of its own type, without those that are 0: "IO_INSTRUCTION qualification=0x3f80000
 * (out to port 0x3f8, 1 byte) value=0x41 cycles=632". */
void event_fields_text(const struct trace_event *event, const struct symbols *symbols, char *text,
                       size_t size);

struct json_t;
/*
 * A new jansson object: "event" (the number), "type", then every field. Decimal fields are
 * integers, addresses and bits strings "0x...", names strings. With symbols there is "symbol" (of
 * rip), and where there is something to explain "meaning". NULL without memory.
 */
struct json_t *event_json(uint64_t number, const struct trace_event *event,
                          const struct symbols *symbols);

#endif
