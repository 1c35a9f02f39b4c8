/* The settings that decide what a run does, for the head of its trace. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sim/config.h"

/* {"file": "vmlinuz", "size": N, "xxh64": "..."}: a path says nothing, the content decides. */
static json_t *describe_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    json_t *described = json_pack("{s:s}", "file", slash ? slash + 1 : path);
    FILE *file = fopen(path, "rbe");
    unsigned char *buffer = malloc(1 << 16);
    XXH64_state_t state;
    uint64_t total = 0;
    char digits[17];
    size_t length;

    XXH64_reset(&state, 0);
    while (file && buffer && (length = fread(buffer, 1, 1 << 16, file)) > 0) {
        XXH64_update(&state, buffer, length);
        total += length;
    }
    if (file && buffer && !ferror(file)) {
        snprintf(digits, sizeof(digits), "%016" PRIx64, XXH64_digest(&state));
        json_object_set_new(described, "size", json_integer((json_int_t)total));
        json_object_set_new(described, "xxh64", json_string(digits));
    }
    if (file)
        fclose(file);
    free(buffer);
    return described;
}

/* A module is its file's path and the words after it. */
static json_t *describe_module(const char *module)
{
    size_t length = strcspn(module, " ");
    char *path = strndup(module, length);
    json_t *described = path ? describe_file(path) : NULL;

    if (module[length])
        json_object_set_new(described, "arguments", json_string(module + length + 1));
    free(path);
    return described;
}

static bool is_input_file(const struct vm_config *config, const char *text)
{
    return text == config->kernel || text == config->initrd || text == config->image ||
           (text == config->cpu && strchr(text, '/'));
}

static json_t *describe_list(const struct vm_config *config, const struct string_list *list)
{
    json_t *described = json_array();

    for (unsigned i = 0; i < list->count; i++)
        json_array_append_new(described, list == &config->modules ? describe_module(list->item[i])
                                                                  : json_string(list->item[i]));
    return described;
}

static json_t *describe_choice(const char *choices, unsigned place)
{
    for (; place > 0; place--)
        choices += strcspn(choices, "|") + 1;
    return json_stringn(choices, strcspn(choices, "|"));
}

/* NULL where there is nothing to say. */
static json_t *describe_setting(const struct vm_config *config,
                                const struct config_setting *setting)
{
    const void *field = (const char *)config + setting->offset;
    const char *text;

    switch (setting->kind) {
    case CONFIG_TEXT:
        text = *(char *const *)field;
        if (!text)
            return NULL;
        return is_input_file(config, text) ? describe_file(text) : json_string(text);
    case CONFIG_LIST:
        return ((const struct string_list *)field)->count ? describe_list(config, field) : NULL;
    case CONFIG_SWITCH:
        return json_boolean(*(const bool *)field);
    case CONFIG_CHOICE:
        return describe_choice(setting->choices, *(const unsigned *)field);
    case CONFIG_COUNT:
        return json_integer(*(const unsigned *)field);
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
        return json_integer((json_int_t) * (const uint64_t *)field);
    case CONFIG_SPECIAL:
        break;
    }
    return NULL;
}

char *vm_config_describe(const struct vm_config *config)
{
    json_t *object = json_object();
    char *text;

    for (unsigned i = 0; i < config_setting_count; i++) {
        const struct config_setting *setting = &config_settings[i];

        if (setting->group == CONFIG_OUTPUT || setting->offset == offsetof(struct vm_config, name))
            continue;
        json_object_set_new(object, setting->name, describe_setting(config, setting));
    }
    /* Those with a parser of their own. */
    json_object_set_new(object, "flat-mode", json_integer(config->flat_mode));
    json_object_set_new(object, "ept-page-size", json_integer((json_int_t)config->ept_page_size));
    json_object_set_new(object, "ept-withdraw", json_integer((json_int_t)config->ept_withdraw));
    json_object_set_new(object, "ept-withdraw-seed",
                        json_integer((json_int_t)config->ept_withdraw_seed));
    text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(object);
    return text;
}
