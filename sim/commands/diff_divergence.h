/* The instruction at which two runs part, as text and as JSON. */
#ifndef VTXSIM_SIM_COMMANDS_DIFF_DIVERGENCE_H
#define VTXSIM_SIM_COMMANDS_DIFF_DIVERGENCE_H

#include "sim/divergence.h"
#include "sim/symbols/symbols.h"

struct json_t;

void divergence_print(const struct divergence *divergence, const struct symbols *symbols);
/* A new jansson object. */
struct json_t *divergence_json(const struct divergence *divergence, const struct symbols *symbols);

#endif
