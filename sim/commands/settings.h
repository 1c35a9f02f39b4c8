/* The settings of a run (sim/config.h) as options of a command, with the image as operand. */
#ifndef VTXSIM_SIM_COMMANDS_SETTINGS_H
#define VTXSIM_SIM_COMMANDS_SETTINGS_H

#include <argp.h>
#include <stdbool.h>

#include "sim/config.h"

#define SETTINGS_OPTIONS 64 /* rows: settings, headings, --config, end */

/* The options in their order; operands are the image and its arguments. All zero at the start; free
 * `options`. */
struct settings_request {
    const char *file; /* of --config; NULL: none */
    struct config_option *options;
    unsigned count;
    bool image;
};

/* Makes argp's rows, a heading before each group. */
void settings_options(struct argp_option options[SETTINGS_OPTIONS]);
/* argp's parser: its input is a struct settings_request. */
error_t settings_parse(int key, char *argument, struct argp_state *state);

#endif
