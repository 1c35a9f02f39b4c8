/* Reads CPU profiles (libconfig syntax); docs/cpu-profiles.md describes the settings. */
#include "cpu/profile.h"

#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/cpuid.h"
#include "cpu/vmx_capabilities.h"

#define FILE_SIZE_MAX (1u << 20)

/* What is being read, and where the complaint goes. */
struct loader {
    const char *path;
    char *message;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static int
complain(const struct loader *loader, const config_setting_t *setting, const char *format, ...)
{
    unsigned line = setting ? config_setting_source_line(setting) : 0;
    int used = line ? snprintf(loader->message, loader->size, "%s:%u: ", loader->path, line)
                    : snprintf(loader->message, loader->size, "%s: ", loader->path);
    va_list arguments;

    if (used < 0 || (size_t)used >= loader->size)
        return -EINVAL;
    va_start(arguments, format);
    vsnprintf(loader->message + used, loader->size - used, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

/* libconfig reads 0x80000000 and above as negative 32-bit numbers unless they end in L. */
static int get_number(const struct loader *loader, const config_setting_t *setting, uint64_t min,
                      uint64_t max, uint64_t *value)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
        *value = (uint32_t)config_setting_get_int(setting);
        break;
    case CONFIG_TYPE_INT64:
        *value = (uint64_t)config_setting_get_int64(setting);
        break;
    default:
        return complain(loader, setting,
                        "%s must be a number, such as 100 or 0x64 (with L at "
                        "the end if it needs more than 32 bits)",
                        config_setting_name(setting));
    }
    if (*value < min || *value > max)
        return complain(loader, setting, "%s is %" PRIu64 ", but must be %" PRIu64 " to %" PRIu64,
                        config_setting_name(setting), *value, min, max);
    return 0;
}

struct number {
    const char *name;
    size_t offset, size; /* of the field in struct cpu_profile */
    uint64_t min, max;
    bool optional;
};
#define FIELD(field) offsetof(struct cpu_profile, field), sizeof(((struct cpu_profile *)0)->field)
// clang-format off
static const struct number numbers[] = {
    { "tsc_hz",              FIELD(tsc_hz),              100000000, 10000000000, false },
    { "crystal_hz",          FIELD(crystal_hz),          1000000, 1000000000, false },
    { "maxphyaddr",          FIELD(maxphyaddr),          36, 52, false },
    { "maxlinaddr",          FIELD(maxlinaddr),          48, 48, false },
    { "exit_cycles",         FIELD(exit_cycles),         0, 1000000, false },
    { "entry_checks_cycles", FIELD(entry_checks_cycles), 0, 1000000, false },
    { "pause_cycles",        FIELD(pause_cycles),        0, 100000, false },
    { "rdtsc_cycles",        FIELD(rdtsc_cycles),        0, 100000, false },
    { "microcode",           FIELD(microcode),           0, UINT32_MAX, true },
    { "arch_capabilities",   FIELD(arch_capabilities),   0, UINT64_MAX, true },
};
// clang-format on

static void store(void *field, size_t size, uint64_t value)
{
    memcpy(field, &value, size); /* little-endian: the low bytes */
}

static int read_numbers(const struct loader *loader, const config_t *config,
                        struct cpu_profile *profile)
{
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const struct number *number = &numbers[i];
        const config_setting_t *setting = config_lookup(config, number->name);
        uint64_t value;
        int error;

        if (!setting && number->optional)
            continue;
        if (!setting)
            return complain(loader, NULL, "%s is missing: add a line such as %s = %" PRIu64 ";",
                            number->name, number->name, number->min);
        error = get_number(loader, setting, number->min, number->max, &value);
        if (error)
            return error;
        store((char *)profile + number->offset, number->size, value);
    }
    return 0;
}

static int read_string(const struct loader *loader, const config_t *config, const char *name,
                       char *value, size_t size)
{
    const config_setting_t *setting = config_lookup(config, name);
    const char *string = setting ? config_setting_get_string(setting) : NULL;

    if (!setting)
        return complain(loader, NULL, "%s is missing: add a line such as %s = \"...\";", name,
                        name);
    if (!string)
        return complain(loader, setting, "%s must be a string in double quotes", name);
    if (strlen(string) >= size)
        return complain(loader, setting, "%s is too long: %zu characters at most", name, size - 1);
    strcpy(value, string);
    return 0;
}

/* One leaf: [ leaf, subleaf, EAX, EBX, ECX, EDX ]. */
static int read_leaf(const struct loader *loader, const config_setting_t *row,
                     struct cpuid_leaf *leaf)
{
    uint32_t *const field[] = {&leaf->leaf, &leaf->subleaf, &leaf->eax,
                               &leaf->ebx,  &leaf->ecx,     &leaf->edx};

    if (!config_setting_is_array(row) || config_setting_length(row) != 6)
        return complain(loader, row,
                        "a CPUID leaf is [ leaf, subleaf, EAX, EBX, ECX, EDX ]: six numbers");
    for (unsigned i = 0; i < 6; i++) {
        uint64_t value;
        int error = get_number(loader, config_setting_get_elem(row, i), 0, UINT32_MAX, &value);

        if (error)
            return complain(loader, row, "number %u of a CPUID leaf must be 0 to 0xffffffff",
                            i + 1);
        *field[i] = (uint32_t)value;
    }
    return 0;
}

static int check_leaves(const struct loader *loader, const config_setting_t *list,
                        const struct cpu_profile *profile)
{
    static const uint32_t needed[] = {0, 1, 0x80000000, 0x80000001};

    for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        unsigned j = 0;

        while (j < profile->cpuid_count && profile->cpuid[j].leaf != needed[i])
            j++;
        if (j == profile->cpuid_count)
            return complain(loader, list, "cpuid has no leaf 0x%" PRIx32 ": add it", needed[i]);
    }
    return 0;
}

static int read_cpuid(const struct loader *loader, const config_t *config,
                      struct cpu_profile *profile)
{
    const config_setting_t *list = config_lookup(config, "cpuid");
    int count = list ? config_setting_length(list) : 0;

    if (!list || !config_setting_is_list(list))
        return complain(loader, list, "cpuid must be a list of leaves: cpuid = ( [ ... ], ... );");
    if (count > PROFILE_CPUID_MAX)
        return complain(loader, list, "cpuid has %d leaves, but at most %d are possible", count,
                        PROFILE_CPUID_MAX);
    for (int i = 0; i < count; i++) {
        int error = read_leaf(loader, config_setting_get_elem(list, i), &profile->cpuid[i]);

        if (error)
            return error;
    }
    profile->cpuid_count = count;
    return check_leaves(loader, list, profile);
}

#define VMX_MSRS ((int)(sizeof(((struct cpu_profile *)0)->vmx_msr) / sizeof(uint64_t)))

static int read_vmx_msrs(const struct loader *loader, const config_t *config,
                         struct cpu_profile *profile)
{
    const config_setting_t *array = config_lookup(config, "vmx_msr");

    if (!array || !config_setting_is_array(array) || config_setting_length(array) != VMX_MSRS)
        return complain(loader, array,
                        "vmx_msr must be an array of the %d numbers of IA32_VMX_BASIC (0x480) to "
                        "IA32_VMX_VMFUNC (0x491), 0 for those that the processor lacks",
                        VMX_MSRS);
    for (int i = 0; i < VMX_MSRS; i++) {
        int error = get_number(loader, config_setting_get_elem(array, i), 0, UINT64_MAX,
                               &profile->vmx_msr[i]);

        if (error)
            return complain(loader, array, "number %d of vmx_msr is not a number", i + 1);
    }
    return 0;
}

/* The brand string's 48 bytes in leaves 0x80000002 to 0x80000004. */
static int add_brand_leaves(const struct loader *loader, struct cpu_profile *profile)
{
    char text[48] = {0};

    if (profile->cpuid_count + 3 > PROFILE_CPUID_MAX)
        return complain(loader, NULL, "cpuid has too many leaves: leave room for three more");
    memcpy(text, profile->brand, strlen(profile->brand));
    for (unsigned i = 0; i < 3; i++) {
        struct cpuid_leaf *leaf = &profile->cpuid[profile->cpuid_count++];

        *leaf = (struct cpuid_leaf){.leaf = 0x80000002 + i};
        memcpy(&leaf->eax, text + 16 * i, 16);
    }
    return 0;
}

static void set_name(struct cpu_profile *profile, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t length = strlen(base);

    if (length > 4 && !strcmp(base + length - 4, ".cfg"))
        length -= 4;
    snprintf(profile->name, sizeof(profile->name), "%.*s", (int)length, base);
}

static int read_profile(const struct loader *loader, const config_t *config,
                        struct cpu_profile *profile)
{
    int error = read_string(loader, config, "brand", profile->brand, sizeof(profile->brand));

    if (!error)
        error = read_numbers(loader, config, profile);
    if (!error)
        error = read_cpuid(loader, config, profile);
    if (!error)
        error = read_vmx_msrs(loader, config, profile);
    if (!error)
        error = add_brand_leaves(loader, profile);
    return error;
}

/* What the guest sees fits together only after both halves are cut down: IA32_VMX_CR4_FIXED1 tells
 * of the CR4 bits that CPUID does. */
static void prepare(struct cpu_profile *profile)
{
    uint64_t *cr4_fixed1 = &profile->vmx_msr[MSR_VMX_CR4_FIXED1 - MSR_VMX_FIRST];

    cpuid_prepare(profile);
    *cr4_fixed1 = profile->cr4_allowed | profile->vmx_msr[MSR_VMX_CR4_FIXED0 - MSR_VMX_FIRST];
    vmx_capabilities_restrict(profile);
}

/* The whole file as a string in *text (free() it). libconfig would read it itself, but ends the
 * process when a read fails, as that of a folder does. */
static int read_file(const char *path, char **text)
{
    FILE *file = fopen(path, "r");
    size_t length;
    int error = 0;

    if (!file)
        return -errno;
    *text = malloc(FILE_SIZE_MAX + 1);
    if (!*text) {
        fclose(file);
        return -ENOMEM;
    }
    errno = 0;
    length = fread(*text, 1, FILE_SIZE_MAX + 1, file);
    if (ferror(file))
        error = errno ? -errno : -EIO;
    else if (length > FILE_SIZE_MAX)
        error = -EFBIG;
    fclose(file);
    if (error)
        free(*text);
    else
        (*text)[length] = 0;
    return error;
}

static int parse(const struct loader *loader, const char *text, struct cpu_profile *profile)
{
    config_t config;
    int error;

    config_init(&config);
    if (config_read_string(&config, text)) {
        error = read_profile(loader, &config, profile);
    } else {
        error = -EINVAL;
        snprintf(loader->message, loader->size, "%s:%d: %s; correct the line (name = value;)",
                 loader->path, config_error_line(&config), config_error_text(&config));
    }
    config_destroy(&config);
    return error;
}

int cpu_profile_load(struct cpu_profile *profile, const char *path, char *message, size_t size)
{
    const struct loader loader = {path, message, size};
    char *text = NULL;
    int error = read_file(path, &text);

    if (error) {
        complain(&loader, NULL, "%s; name a CPU profile that exists and can be read",
                 strerror(-error));
        return error;
    }
    memset(profile, 0, sizeof(*profile));
    error = parse(&loader, text, profile);
    free(text);
    if (error)
        return error;
    set_name(profile, path);
    prepare(profile);
    return 0;
}

int cpu_profile_find(const char *name, char *path, size_t size)
{
    const char *folder = getenv("VTXSIM_CPUS");
    int length;

    if (strchr(name, '/'))
        length = snprintf(path, size, "%s", name);
    else
        length = snprintf(path, size, "%s/%s.cfg", folder ? folder : VTXSIM_CPU_DIR, name);
    if (length < 0 || (size_t)length >= size)
        return -ENAMETOOLONG;
    return access(path, R_OK) == 0 ? 0 : -ENOENT;
}
