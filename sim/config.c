/* The configuration of a run: its life, the configuration file, and the check of the whole. */
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/config.h"

#define FILE_MAX          (1024 * 1024)
#define DEFAULT_RTC_EPOCH 1767225600 /* 2026-01-01 00:00:00 UTC */

static int set_message(int error, char *message, size_t size, const char *text)
{
    snprintf(message, size, "%s", text);
    return error;
}

int vm_config_init(struct vm_config *config)
{
    *config = (struct vm_config){
        .name = strdup("vm0"),
        .cpu = strdup("skylake-client"),
        .log_level = strdup("warning"),
        .cpus = 1,
        .memory = 256ull << 20,
        .rtc_epoch = DEFAULT_RTC_EPOCH,
        .ept = true,
        .vpid = true,
        .unrestricted_guest = true,
        .ept_page_size = 2ull << 20,
        .exit_cycles = -1,
        .hash_every = 100000000,
        .log_size = 64ull << 20,
        .log_keep = 4,
        .trace_level = TRACE_LEVEL_EXITS,
    };
    if (config->name && config->cpu && config->log_level)
        return 0;
    vm_config_destroy(config);
    return -ENOMEM;
}

static void *setting_field(const struct config_setting *setting, const struct vm_config *config)
{
    return (char *)config + setting->offset;
}

static void list_clear(struct string_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        free(list->item[i]);
    free(list->item);
    *list = (struct string_list){NULL, 0};
}

static int list_copy(struct string_list *copy, const struct string_list *list)
{
    *copy = (struct string_list){NULL, 0};
    if (list->count == 0)
        return 0;
    copy->item = calloc(list->count, sizeof(*copy->item));
    if (!copy->item)
        return -ENOMEM;
    for (; copy->count < list->count; copy->count++) {
        copy->item[copy->count] = strdup(list->item[copy->count]);
        if (!copy->item[copy->count])
            return -ENOMEM;
    }
    return 0;
}

int vm_config_copy(struct vm_config *copy, const struct vm_config *config)
{
    int error = 0;

    *copy = *config;
    for (unsigned i = 0; i < config_setting_count; i++) {
        const struct config_setting *setting = &config_settings[i];
        void *to = setting_field(setting, copy), *from = setting_field(setting, config);

        /* All are given values of their own, even after an error, so that destroy is safe. */
        if (setting->kind == CONFIG_LIST && list_copy(to, from))
            error = -ENOMEM;
        if (setting->kind == CONFIG_TEXT && *(char **)from) {
            *(char **)to = strdup(*(char **)from);
            if (!*(char **)to)
                error = -ENOMEM;
        }
    }
    if (error)
        vm_config_destroy(copy);
    return error;
}

void vm_config_destroy(struct vm_config *config)
{
    for (unsigned i = 0; i < config_setting_count; i++) {
        void *field = setting_field(&config_settings[i], config);

        if (config_settings[i].kind == CONFIG_LIST)
            list_clear(field);
        if (config_settings[i].kind == CONFIG_TEXT)
            free(*(char **)field);
    }
    *config = (struct vm_config){0};
}

/* The text of a scalar in the file, in buffer if it needs one; NULL for groups and such. */
static const char *scalar_text(const config_setting_t *value, char *buffer, size_t size)
{
    switch (config_setting_type(value)) {
    case CONFIG_TYPE_STRING:
        return config_setting_get_string(value);
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(value) ? "on" : "off";
    case CONFIG_TYPE_INT:
        snprintf(buffer, size, "%d", config_setting_get_int(value));
        return buffer;
    case CONFIG_TYPE_INT64:
        snprintf(buffer, size, "%lld", config_setting_get_int64(value));
        return buffer;
    case CONFIG_TYPE_FLOAT:
        snprintf(buffer, size, "%g", config_setting_get_float(value));
        return buffer;
    default:
        return NULL;
    }
}

/* One value, or one of a list. Messages get the file's name and the line in front. */
static int set_from_file(struct vm_config *config, const char *path, const char *name,
                         const config_setting_t *value, char *message, size_t size)
{
    char buffer[64], cause[CONFIG_MESSAGE_SIZE];
    const char *text = scalar_text(value, buffer, sizeof(buffer));
    int error;

    if (text) {
        error = vm_config_set(config, name, text, cause, sizeof(cause));
    } else {
        snprintf(cause, sizeof(cause), "%s: write a single value, as in memory = \"512M\"", name);
        error = -EINVAL;
    }
    if (error)
        snprintf(message, size, "%s:%u: %s", path, config_setting_source_line(value), cause);
    return error;
}

static int set_all_from_file(struct vm_config *config, const char *path,
                             const config_setting_t *root, char *message, size_t size)
{
    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *value = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(value);
        const struct config_setting *known = config_setting_find(name);
        bool list = config_setting_is_array(value) || config_setting_is_list(value);
        int error = 0;

        if (known && known->kind == CONFIG_LIST && list) {
            for (int j = 0; j < config_setting_length(value) && !error; j++)
                error = set_from_file(config, path, name,
                                      config_setting_get_elem(value, (unsigned)j), message, size);
        } else if (!known) {
            snprintf(message, size, "%s:%u: there is no setting \"%s\": see vtxsim run --help",
                     path, config_setting_source_line(value), name);
            error = -ENOENT;
        } else {
            error = set_from_file(config, path, name, value, message, size);
        }
        if (error)
            return error;
    }
    return 0;
}

/* The whole file as a string in *text; free() it. libconfig's own reading of files ends the process
 * when the file cannot be read (a folder). */
static int read_text(const char *path, char **text, char *message, size_t size)
{
    char *data = malloc(FILE_MAX + 1);
    FILE *file = fopen(path, "re");
    size_t length = file && data ? fread(data, 1, FILE_MAX + 1, file) : 0;
    int error = 0;

    if (!file || ferror(file)) {
        error = -errno;
        snprintf(message, size, "%s: cannot read the configuration file: %s", path,
                 strerror(errno));
    } else if (!data) {
        error = set_message(-ENOMEM, message, size, "out of memory");
    } else if (length > FILE_MAX || memchr(data, '\0', length)) {
        error = -EINVAL;
        snprintf(message, size,
                 "%s: not a configuration file (longer than %d KiB, or with zero bytes): write "
                 "settings as name = value;",
                 path, FILE_MAX / 1024);
    }
    if (file)
        fclose(file);
    if (error) {
        free(data);
        return error;
    }
    data[length] = '\0';
    *text = data;
    return 0;
}

int vm_config_read_file(struct vm_config *config, const char *path, char *message, size_t size)
{
    config_t parsed;
    char *text;
    int error = read_text(path, &text, message, size);

    if (error)
        return error;
    config_init(&parsed);
    if (config_read_string(&parsed, text)) {
        error = set_all_from_file(config, path, config_root_setting(&parsed), message, size);
    } else {
        snprintf(message, size, "%s:%d: %s: write settings as name = value; (libconfig's syntax)",
                 path, config_error_line(&parsed), config_error_text(&parsed));
        error = -EINVAL;
    }
    config_destroy(&parsed);
    free(text);
    return error;
}

static bool option_given(const struct config_option *options, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(options[i].name, name) == 0)
            return true;
    return false;
}

static void clear_text(char **text)
{
    free(*text);
    *text = NULL;
}

/* Takes out of the file's settings what the options replace as a whole. */
static void make_room(struct vm_config *config, const struct config_option *options, unsigned count)
{
    bool kernel = option_given(options, count, "kernel");
    bool image = option_given(options, count, "image");

    if (kernel || image || option_given(options, count, "arguments"))
        list_clear(&config->image_arguments);
    if (kernel || image || option_given(options, count, "module"))
        list_clear(&config->modules);
    if (kernel)
        clear_text(&config->image);
    if (image) {
        clear_text(&config->kernel);
        clear_text(&config->append);
        clear_text(&config->initrd);
    }
}

int vm_config_build(struct vm_config *config, const char *file, const struct config_option *options,
                    unsigned count, char *message, size_t size)
{
    int error = vm_config_init(config);

    if (error)
        return set_message(error, message, size, "out of memory");
    if (file)
        error = vm_config_read_file(config, file, message, size);
    if (!error)
        make_room(config, options, count);
    for (unsigned i = 0; i < count && !error; i++)
        error = vm_config_set(config, options[i].name, options[i].value, message, size);
    if (!error)
        error = vm_config_check(config, message, size);
    if (error)
        vm_config_destroy(config);
    return error;
}

/* What may not stand together, or not in this release, with the remedy. */
int vm_config_check(const struct vm_config *config, char *message, size_t size)
{
    const struct {
        bool wrong;
        const char *text;
    } rules[] = {
        {!config->kernel && !config->image,
         "nothing to run: name an image, or a Linux kernel with --kernel FILE"},
        {config->kernel && config->image,
         "kernel and image: only one of them can run; leave out --kernel or the image"},
        {config->append && !config->kernel,
         "append goes with kernel: write the arguments of an image after its name"},
        {config->initrd && !config->kernel && !config->image,
         "initrd goes with kernel: add --kernel FILE"},
        {config->kernel && config->image_arguments.count,
         "arguments go with image: write the kernel's command line with --append TEXT"},
        {config->kernel && config->modules.count,
         "modules go with a Multiboot image: give a Linux kernel its files with --initrd FILE"},
        {config->kernel && config->flat_mode,
         "flat-mode goes with a flat image: leave it out for a kernel"},
        {config->memory % 4096 != 0, "memory: the size is not a multiple of 4K"},
        {config->cpus != 1, "cpus: this release simulates one processor; leave --cpus at 1"},
        {config->backend == BACKEND_KVM && config->inject_flip,
         "inject-flip: KVM does not count instructions; use --backend unicorn"},
        {config->backend == BACKEND_KVM && config->max_instructions,
         "max-instructions: KVM does not count instructions; leave it out, or use --backend "
         "unicorn"},
        {config->backend == BACKEND_KVM && config->gdb,
         "gdb: guests on KVM cannot be debugged; use --backend unicorn"},
        {config->backend == BACKEND_KVM && config->trace && config->trace_level > TRACE_LEVEL_EXITS,
         "trace-level: KVM tells of exits only; use inputs or exits, or --backend unicorn"},
        {config->backend == BACKEND_KVM && (config->ept_lazy || config->ept_withdraw),
         "ept-lazy and ept-withdraw: with KVM the EPT tables are the kernel's; leave them out, or "
         "use --backend unicorn"},
        {config->timing == TIMING_DETAILED,
         "timing: detailed is not in this release; use --timing fast"},
        {config->unrestricted_guest && !config->ept,
         "unrestricted-guest needs EPT: add --unrestricted-guest=off to --ept=off"},
        {(config->ept_lazy || config->ept_withdraw) && !config->ept,
         "ept-lazy and ept-withdraw need EPT: leave --ept on"},
        {config->log_size && config->log_size < 4096,
         "log-size: at least 4K, or 0 for a log file that is never rotated"},
        {config->trace && config->log_file && strcmp(config->trace, config->log_file) == 0,
         "trace and log-file name the same file: choose two"},
    };

    for (unsigned i = 0; i < sizeof(rules) / sizeof(*rules); i++)
        if (rules[i].wrong)
            return set_message(-EINVAL, message, size, rules[i].text);
    return 0;
}
