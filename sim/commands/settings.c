/* The settings of a run as options of a command. */
#include "sim/commands/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/commands/commands.h"

#define KEY_CONFIG  0x1000
#define KEY_SETTING 0x1100 /* + number of the setting, for those without a letter */

static void add_option(struct argp_state *state, const char *name, const char *value)
{
    struct settings_request *request = state->input;
    struct config_option *grown =
        realloc(request->options, (request->count + 1) * sizeof(*request->options));

    if (!grown)
        argp_failure(state, STATUS_NO_START, ENOMEM, "options");
    request->options = grown;
    request->options[request->count++] = (struct config_option){name, value};
}

static int setting_key(unsigned number)
{
    return config_settings[number].key ? config_settings[number].key : KEY_SETTING + (int)number;
}

error_t settings_parse(int key, char *argument, struct argp_state *state)
{
    struct settings_request *request = state->input;

    if (key == KEY_CONFIG) {
        request->file = argument;
        return 0;
    }
    if (key == ARGP_KEY_ARG) {
        add_option(state, request->image ? "arguments" : "image", argument);
        request->image = true;
        return 0;
    }
    for (unsigned i = 0; i < config_setting_count; i++) {
        if (key != setting_key(i))
            continue;
        if (strcmp(config_settings[i].name, "image") == 0)
            request->image = true;
        add_option(state, config_settings[i].name, argument ? argument : "on");
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

void settings_options(struct argp_option options[SETTINGS_OPTIONS])
{
    static const char *const headings[] = {
        [CONFIG_GUEST] = "What runs:",
        [CONFIG_MACHINE] = "The machine:",
        [CONFIG_SIMULATION] = "The simulation:",
        [CONFIG_VMX] = "VMX:",
        [CONFIG_OUTPUT] = "Output:",
    };
    struct argp_option *next = options;
    int group = -1;

    *next++ = (struct argp_option){
        "config", KEY_CONFIG, "FILE", 0, "Read settings from a file; options replace them", 1};
    for (unsigned i = 0; i < config_setting_count; i++) {
        const struct config_setting *setting = &config_settings[i];
        int number = (int)setting->group + 2;

        if (number != group)
            *next++ = (struct argp_option){.doc = headings[setting->group], .group = number};
        group = number;
        *next++ = (struct argp_option){
            setting->name,
            setting_key(i),
            setting->argument ? setting->argument : "on|off",
            (setting->argument ? 0 : OPTION_ARG_OPTIONAL) | (setting->help ? 0 : OPTION_HIDDEN),
            setting->help,
            number,
        };
    }
    *next = (struct argp_option){0};
}
