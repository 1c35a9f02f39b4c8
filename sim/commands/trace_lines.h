/* Events as lines, for dump and grep. */
#ifndef VTXSIM_SIM_COMMANDS_TRACE_LINES_H
#define VTXSIM_SIM_COMMANDS_TRACE_LINES_H

#include "sim/commands/trace.h"

void trace_print_heading(const struct trace_view *view, FILE *file);
/* A line of text or, as the request says, a JSON object. */
void trace_print_event(const struct trace_view *view, uint64_t number,
                       const struct trace_event *event, FILE *file);
/* A number given to an option; what is none ends the program with a message. */
uint64_t trace_parse_count(struct argp_state *state, const char *text);

#endif
