/* The settings that decide what a run does, as JSON for the head of its trace; and back. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cpu/profile.h"
#include "sim/config.h"
#include "sim/engine.h"

#define HASH_DIGITS 17 /* with the 0 */

/* --- Input files
 * ---------------------------------------------------------------------------------- */

/* Size and XXH64 of what a file holds. Returns 0 or -errno. */
static int hash_file(const char *path, uint64_t *size, char digits[HASH_DIGITS])
{
    FILE *file = fopen(path, "rbe");
    unsigned char *buffer = malloc(1 << 16);
    XXH64_state_t state;
    size_t length;
    int error = file ? 0 : -errno;

    *size = 0;
    XXH64_reset(&state, 0);
    while (file && buffer && (length = fread(buffer, 1, 1 << 16, file)) > 0) {
        XXH64_update(&state, buffer, length);
        *size += length;
    }
    if (!buffer)
        error = -ENOMEM;
    else if (file && ferror(file))
        error = errno ? -errno : -EIO;
    if (file)
        fclose(file);
    free(buffer);
    snprintf(digits, HASH_DIGITS, "%016" PRIx64, XXH64_digest(&state));
    return error;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* {"file": "vmlinuz", "path": "/boot/vmlinuz", "size": N, "xxh64": "..."}: the content decides; the
 * path says where to look for it. */
static json_t *describe_file(const char *path)
{
    json_t *described = json_pack("{s:s, s:s}", "file", last_part(path), "path", path);
    char digits[HASH_DIGITS];
    uint64_t size;

    if (hash_file(path, &size, digits) == 0) {
        json_object_set_new(described, "size", json_integer((json_int_t)size));
        json_object_set_new(described, "xxh64", json_string(digits));
    }
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

/* A profile that is given by its name is a file of this installation, which may change. */
static json_t *describe_profile(const char *profile)
{
    char path[4096];
    json_t *described;

    if (cpu_profile_find(profile, path, sizeof(path)))
        return json_pack("{s:s}", "profile", profile);
    described = describe_file(path);
    json_object_set_new(described, "profile", json_string(profile));
    return described;
}

/* --- Describing
 * ----------------------------------------------------------------------------------- */

static bool is_input_file(const struct vm_config *config, const char *text)
{
    return text == config->kernel || text == config->initrd || text == config->image;
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
        if (text == config->cpu)
            return describe_profile(text);
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

/* Runs of an engine on hardware differ by the hardware. */
static void describe_environment(json_t *object, enum vm_backend backend)
{
    const struct engine_operations *engine = engine_find(backend);
    const char *environment = engine && engine->environment ? engine->environment() : NULL;

    if (environment)
        json_object_set_new(object, "environment", json_string(environment));
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
    describe_environment(object, config->backend);
    text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(object);
    return text;
}

/* --- And back
 * ------------------------------------------------------------------------------------- */

/* A description being read. */
struct reading {
    struct vm_config *config;
    const char *const *find; /* folders and files */
    unsigned find_count;
    char *message;
    size_t size;
};

static int bad_description(const struct reading *reading, const char *name)
{
    snprintf(reading->message, reading->size,
             "the description of the run has a setting \"%s\" that this version does not "
             "understand: use the version of vtxsim that made it",
             name);
    return -ENOTSUP;
}

static int set(const struct reading *reading, const char *name, const char *value)
{
    return vm_config_set(reading->config, name, value, reading->message, reading->size);
}

/* What was wrong with the candidates for a file, for the message. */
struct rejected {
    char text[CONFIG_MESSAGE_SIZE];
    size_t length;
};

static void reject(struct rejected *rejected, const char *path, const char *why)
{
    size_t room = sizeof(rejected->text) - rejected->length;
    int length = snprintf(rejected->text + rejected->length, room, "%s%s %s",
                          rejected->length ? "; " : "", path, why);

    if (length > 0)
        rejected->length += (size_t)length < room ? (size_t)length : room - 1;
}

/* True if the file at path is the one that is described. */
static bool is_described(const json_t *file, const char *path, struct rejected *rejected)
{
    const char *expected = json_string_value(json_object_get(file, "xxh64"));
    char digits[HASH_DIGITS], why[160];
    uint64_t size;
    int error = hash_file(path, &size, digits);

    if (error) {
        reject(rejected, path, strerror(-error));
        return false;
    }
    if (!expected || ((json_int_t)size == json_integer_value(json_object_get(file, "size")) &&
                      strcmp(digits, expected) == 0))
        return true;
    snprintf(why, sizeof(why), "differs (%" PRIu64 " bytes, XXH64 %s)", size, digits);
    reject(rejected, path, why);
    return false;
}

/* The file at one of the places to look: a folder, or the file itself under any name. */
static bool is_found(const json_t *file, const char *place, char path[4096],
                     struct rejected *rejected)
{
    const char *name = json_string_value(json_object_get(file, "file"));
    struct stat status;
    bool folder = stat(place, &status) == 0 && S_ISDIR(status.st_mode);
    int length = snprintf(path, 4096, folder ? "%s/%s" : "%s", place, name);

    if (length < 0 || length >= 4096)
        return false;
    if (!folder && access(path, F_OK) != 0) /* a file for another of the inputs perhaps */
        return false;
    return is_described(file, path, rejected);
}

/* Looks for an input file, at its own path first. Returns 0 with its path, or -ENOENT. */
static int find_file(const struct reading *reading, const char *setting, const json_t *file,
                     char path[4096])
{
    const char *recorded = json_string_value(json_object_get(file, "path"));
    const char *hash = json_string_value(json_object_get(file, "xxh64"));
    struct rejected rejected = {0};

    if (!recorded || !json_is_string(json_object_get(file, "file")))
        return bad_description(reading, setting);
    snprintf(path, 4096, "%s", recorded);
    if (is_described(file, path, &rejected))
        return 0;
    for (unsigned i = 0; i < reading->find_count; i++)
        if (is_found(file, reading->find[i], path, &rejected))
            return 0;
    snprintf(reading->message, reading->size,
             "%s: the file of the run (%s, %lld bytes, XXH64 %s) is not there: %s; name its "
             "folder, or the file, with --find",
             setting, last_part(recorded),
             (long long)json_integer_value(json_object_get(file, "size")), hash ? hash : "unknown",
             rejected.text);
    return -ENOENT;
}

/* A file; a module's words are put behind it. */
static int read_file(const struct reading *reading, const char *name, const json_t *file)
{
    const char *words = json_string_value(json_object_get(file, "arguments"));
    const char *profile = json_string_value(json_object_get(file, "profile"));
    char path[4096], *value;
    int error, length;

    if (profile && !json_object_get(file, "path"))
        return set(reading, name, profile);
    error = find_file(reading, name, file, path);
    if (error)
        return error;
    length = asprintf(&value, words ? "%s %s" : "%s", path, words);
    if (length < 0)
        return -ENOMEM;
    error = set(reading, name, value);
    free(value);
    return error;
}

/* Numbers, and those settings whose parser wants to see something else. */
static int read_integer(const struct reading *reading, const char *name, json_int_t value)
{
    struct vm_config *config = reading->config;
    const struct config_setting *setting = config_setting_find(name);
    char text[64];

    if (strcmp(name, "ept-withdraw-seed") == 0) {
        config->ept_withdraw_seed = (uint64_t)value;
        return 0;
    }
    if (!setting)
        return bad_description(reading, name);
    if (setting->kind == CONFIG_SPECIAL && value == 0)
        return 0; /* as by default */
    if (value < 0 && setting->maximum <= INT64_MAX)
        return 0; /* the default, which nobody could write */
    if (strcmp(name, "ept-page-size") == 0 && value > 0)
        snprintf(text, sizeof(text), "%s",
                 value == 4096      ? "4K"
                 : value == 2 << 20 ? "2M"
                 : value == 1 << 30 ? "1G"
                                    : "?");
    else
        snprintf(text, sizeof(text), "%" PRIu64, (uint64_t)value);
    return set(reading, name, text);
}

static int read_value(const struct reading *reading, const char *name, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return set(reading, name, json_string_value(value));
    case JSON_TRUE:
    case JSON_FALSE:
        return set(reading, name, json_is_true(value) ? "on" : "off");
    case JSON_INTEGER:
        return read_integer(reading, name, json_integer_value(value));
    case JSON_OBJECT:
        return read_file(reading, name, value);
    default:
        return bad_description(reading, name);
    }
}

static int read_setting(const struct reading *reading, const char *name, const json_t *value)
{
    if (!json_is_array(value))
        return read_value(reading, name, value);
    for (size_t i = 0; i < json_array_size(value); i++) {
        int error = read_value(reading, name, json_array_get(value, i));
        if (error)
            return error;
    }
    return 0;
}

int vm_config_from_description(struct vm_config *config, const char *description,
                               const char *const *find, unsigned find_count, char *message,
                               size_t size)
{
    const struct reading reading = {config, find, find_count, message, size};
    json_t *object = json_loads(description, 0, NULL), *value;
    const char *name;
    int error = vm_config_init(config);

    if (!json_is_object(object)) {
        snprintf(message, size,
                 "the description of the run is not a JSON object: is it a trace "
                 "that vtxsim run has written?");
        error = error ? error : -EBADMSG;
    }
    if (!error && json_object_get(object, "environment")) {
        snprintf(message, size,
                 "the run was one on hardware (backend %s), where time is the host's: it cannot be "
                 "repeated; record one with --backend unicorn",
                 json_string_value(json_object_get(object, "backend")));
        error = -ENOTSUP;
    }
    json_object_foreach(object, name, value)
    {
        if (!error)
            error = read_setting(&reading, name, value);
    }
    json_decref(object);
    if (!error)
        error = vm_config_check(config, message, size);
    if (error)
        vm_config_destroy(config);
    return error;
}
