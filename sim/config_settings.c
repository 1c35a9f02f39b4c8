/* The settings: one table for the configuration file, the options and their help. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sim/config.h"
#include "sim/inject_flip.h"
#include "sim/log.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)

static int parse_flat_mode(struct vm_config *config, const char *value, char *message, size_t size);
static int parse_ept_page_size(struct vm_config *config, const char *value, char *message,
                               size_t size);
static int parse_ept_withdraw(struct vm_config *config, const char *value, char *message,
                              size_t size);
static int check_log_level(struct vm_config *config, const char *value, char *message, size_t size);
static int check_inject_flip(struct vm_config *config, const char *value, char *message,
                             size_t size);

#define FIELD(name) .offset = offsetof(struct vm_config, name)

// clang-format off
const struct config_setting config_settings[] = {
    {"kernel", 'k', "FILE", "Linux kernel: bzImage or ELF64 vmlinux", CONFIG_GUEST, CONFIG_TEXT,
     FIELD(kernel)},
    {"initrd", 'i', "FILE", "Initial RAM disk of the kernel (Multiboot: the first module)",
     CONFIG_GUEST, CONFIG_TEXT, FIELD(initrd)},
    {"append", 'a', "TEXT", "Command line of the kernel", CONFIG_GUEST, CONFIG_TEXT, FIELD(append)},
    {"image", 0, "FILE", "Flat, Multiboot 1 or ELF64 image (also the first operand)",
     CONFIG_GUEST, CONFIG_TEXT, FIELD(image)},
    {"arguments", 0, "TEXT", "An argument of the image (also the operands after it)",
     CONFIG_GUEST, CONFIG_LIST, FIELD(image_arguments)},
    {"module", 'm', "FILE [WORDS]", "Multiboot module with its command line; may be repeated",
     CONFIG_GUEST, CONFIG_LIST, FIELD(modules)},
    {"flat-mode", 0, "16|32|64", "Mode in which a flat image starts",
     CONFIG_GUEST, CONFIG_SPECIAL, .parse = parse_flat_mode},

    {"cpu", 'c', "PROFILE", "CPU profile: name (see vtxsim cpus) or file",
     CONFIG_MACHINE, CONFIG_TEXT, FIELD(cpu)},
    {"cpus", 0, "N", "Processors (in this release 1)", CONFIG_MACHINE, CONFIG_COUNT, FIELD(cpus), 1, 8},
    {"memory", 'M', "SIZE", "Memory of the guest, as in 512M or 4G (default 256M)",
     CONFIG_MACHINE, CONFIG_SIZE, FIELD(memory), 1 * MIB, 256 * GIB},
    {"seed", 's', "N", "Seed of everything random (default 0)",
     CONFIG_MACHINE, CONFIG_NUMBER, FIELD(seed), 0, UINT64_MAX},
    {"rtc-epoch", 0, "SECONDS", "CMOS clock at power-on: seconds since 1970 (default 1767225600)",
     CONFIG_MACHINE, CONFIG_NUMBER, FIELD(rtc_epoch), 0, 253402300799},
    {"test-device", 0, NULL, "Add the test device that kvm-unit-tests expects",
     CONFIG_MACHINE, CONFIG_SWITCH, FIELD(test_device)},
    {"name", 0, "TEXT", "Name of the VM, for logs and output (default vm0)",
     CONFIG_MACHINE, CONFIG_TEXT, FIELD(name)},

    {"backend", 0, "unicorn|kvm", "What executes guest instructions (default unicorn)",
     CONFIG_SIMULATION, CONFIG_CHOICE, FIELD(backend), .choices = "unicorn|kvm"},
    {"timing", 0, "fast|detailed", "Depth of the TLB model (default fast)",
     CONFIG_SIMULATION, CONFIG_CHOICE, FIELD(timing), .choices = "fast|detailed"},
    {"clock", 0, "simulated|host", "Where the guest's time comes from (default simulated); "
     "runs with the host's are not repeatable",
     CONFIG_SIMULATION, CONFIG_CHOICE, FIELD(clock), .choices = "simulated|host"},
    {"max-instructions", 'n', "N", "Stop after N instructions (0: no limit)",
     CONFIG_SIMULATION, CONFIG_NUMBER, FIELD(max_instructions), 0, UINT64_MAX},
    {"hash-every", 0, "N", "Instructions between two hashes of registers and memory in a trace "
     "(default 100000000; 0: none)",
     CONFIG_SIMULATION, CONFIG_NUMBER, FIELD(hash_every), 0, UINT64_MAX},

    {"inject-flip", 0, "COUNT:REGISTER:BIT", NULL,
     CONFIG_SIMULATION, CONFIG_TEXT, FIELD(inject_flip), .parse = check_inject_flip},

    {"ept", 0, "on|off", "VMX control \"enable EPT\" (default on)",
     CONFIG_VMX, CONFIG_SWITCH, FIELD(ept)},
    {"vpid", 0, "on|off", "VMX control \"enable VPID\" (default on)",
     CONFIG_VMX, CONFIG_SWITCH, FIELD(vpid)},
    {"unrestricted-guest", 0, "on|off", "VMX control \"unrestricted guest\" (default on)",
     CONFIG_VMX, CONFIG_SWITCH, FIELD(unrestricted_guest)},
    {"ept-page-size", 0, "4K|2M|1G", "Largest page that the EPT tables use (default 2M)",
     CONFIG_VMX, CONFIG_SPECIAL, .parse = parse_ept_page_size},
    {"ept-lazy", 0, NULL, "Make EPT entries at the first EPT violation",
     CONFIG_VMX, CONFIG_SWITCH, FIELD(ept_lazy)},
    {"ept-withdraw", 0, "N[:SEED]", "Withdraw EPT entries at random about every N "
     "instructions: the guest must not notice",
     CONFIG_VMX, CONFIG_SPECIAL, .parse = parse_ept_withdraw},
    {"full-exits", 0, NULL, "Let every VM exit leave the engine and enter again with all checks",
     CONFIG_VMX, CONFIG_SWITCH, FIELD(full_exits)},
    {"exit-cycles", 0, "N", "Cycles of a VM exit with its VM entry (default: the CPU profile's)",
     CONFIG_VMX, CONFIG_NUMBER, FIELD(exit_cycles), 0, 1000000000},

    {"trace", 't', "FILE", "Write a trace of the run",
     CONFIG_OUTPUT, CONFIG_TEXT, FIELD(trace)},
    {"trace-level", 0, "LEVEL", "inputs, exits, translations, blocks or memory: how much the "
     "trace holds (default exits)", CONFIG_OUTPUT, CONFIG_CHOICE, FIELD(trace_level),
     .choices = "inputs|exits|translations|blocks|memory"},
    {"log-level", 'l', "LEVELS", "debug, info, warning, error or off; for single parts as in "
     "\"warning,vmx=debug\" (default warning)",
     CONFIG_OUTPUT, CONFIG_TEXT, FIELD(log_level), .parse = check_log_level},
    {"log-file", 0, "FILE", "Log to a file instead of standard error",
     CONFIG_OUTPUT, CONFIG_TEXT, FIELD(log_file)},
    {"log-size", 0, "SIZE", "Rotate the log file before it exceeds SIZE (default 64M; 0: never)",
     CONFIG_OUTPUT, CONFIG_SIZE, FIELD(log_size), 0, 1 * TIB},
    {"log-keep", 0, "N", "Rotated log files kept (default 4)",
     CONFIG_OUTPUT, CONFIG_COUNT, FIELD(log_keep), 0, 1000},
    {"gdb", 0, "PORT", "Wait for GDB or LLDB at [ADDRESS:]PORT (default 127.0.0.1; port 0: any) "
     "before the first instruction",
     CONFIG_OUTPUT, CONFIG_TEXT, FIELD(gdb)},
    {"json", 'j', NULL, "Print the results as one JSON document on standard output; the guest's "
     "console goes to standard error",
     CONFIG_OUTPUT, CONFIG_SWITCH, FIELD(json)},
};
// clang-format on
const unsigned config_setting_count = sizeof(config_settings) / sizeof(*config_settings);

const struct config_setting *config_setting_find(const char *name)
{
    for (unsigned i = 0; i < config_setting_count; i++)
        if (strcmp(config_settings[i].name, name) == 0)
            return &config_settings[i];
    return NULL;
}

/* Digits (decimal, or hexadecimal after 0x) that fit 64 bits. Returns what follows, or NULL. */
static const char *parse_digits(const char *text, uint64_t *value)
{
    bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    char *end;

    if (!(hexadecimal ? isxdigit((unsigned char)text[2]) : isdigit((unsigned char)text[0])))
        return NULL;
    errno = 0;
    *value = strtoull(text, &end, hexadecimal ? 16 : 10);
    return errno ? NULL : end;
}

static int parse_number(const char *name, const char *text, uint64_t *value, char *message,
                        size_t size)
{
    const char *end = parse_digits(text, value);

    if (end && !*end)
        return 0;
    snprintf(message, size,
             "%s: \"%s\" is not a number: write a whole number of at most 64 bits without a sign, "
             "as in 1000 or 0x3e8",
             name, text);
    return -EINVAL;
}

static int parse_size(const char *name, const char *text, uint64_t *value, char *message,
                      size_t size)
{
    static const char suffixes[] = "KMGT";
    const char *end = parse_digits(text, value), *suffix;
    unsigned shift = 0;

    if (end && *end) {
        suffix = strchr(suffixes, toupper((unsigned char)*end));
        if (suffix && (!end[1] || strcasecmp(end + 1, "iB") == 0 || strcasecmp(end + 1, "B") == 0))
            shift = 10 * (unsigned)(suffix - suffixes + 1);
        else
            end = NULL;
    }
    if (end && *value <= UINT64_MAX >> shift) {
        *value <<= shift;
        return 0;
    }
    snprintf(message, size,
             "%s: \"%s\" is not a size: write a whole number of bytes, or one with the suffix K, "
             "M, G or T, as in 512M",
             name, text);
    return -EINVAL;
}

static void print_size(char text[32], uint64_t value)
{
    static const char suffixes[] = " KMGT";
    unsigned power = 0;

    while (power < 4 && value && value % 1024 == 0) {
        value /= 1024;
        power++;
    }
    snprintf(text, 32, power ? "%" PRIu64 "%c" : "%" PRIu64, value, suffixes[power]);
}

static int check_range(const struct config_setting *setting, const char *text, uint64_t value,
                       char *message, size_t size)
{
    char minimum[32], maximum[32];

    if (value >= setting->minimum && value <= setting->maximum)
        return 0;
    if (setting->kind == CONFIG_SIZE) {
        print_size(minimum, setting->minimum);
        print_size(maximum, setting->maximum);
    } else {
        snprintf(minimum, sizeof(minimum), "%" PRIu64, setting->minimum);
        snprintf(maximum, sizeof(maximum), "%" PRIu64, setting->maximum);
    }
    snprintf(message, size, "%s: %s is out of range: choose %s to %s", setting->name, text, minimum,
             maximum);
    return -EINVAL;
}

static int parse_switch(const char *name, const char *text, bool *value, char *message, size_t size)
{
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};

    for (unsigned i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *value = i % 2;
            return 0;
        }
    }
    snprintf(message, size, "%s: \"%s\" is neither on nor off", name, text);
    return -EINVAL;
}

/* The place of a word among "one|two|three", or -1. */
static int find_choice(const char *choices, const char *word)
{
    size_t length = strlen(word);

    for (int place = 0;; place++) {
        size_t end = strcspn(choices, "|");

        if (end == length && strncmp(choices, word, length) == 0)
            return place;
        if (!choices[end])
            return -1;
        choices += end + 1;
    }
}

static int parse_choice(const char *name, const char *choices, const char *text, unsigned *value,
                        char *message, size_t size)
{
    int place = find_choice(choices, text);

    if (place < 0) {
        snprintf(message, size, "%s: \"%s\" is not known: choose one of %s", name, text, choices);
        return -EINVAL;
    }
    *value = (unsigned)place;
    return 0;
}

static int set_text(char **text, const char *value, char *message, size_t size)
{
    char *copy = strdup(value);

    if (!copy) {
        snprintf(message, size, "out of memory");
        return -ENOMEM;
    }
    free(*text);
    *text = copy;
    return 0;
}

static int append_text(struct string_list *list, const char *value, char *message, size_t size)
{
    char **grown = realloc(list->item, (list->count + 1) * sizeof(*grown));

    if (!grown) {
        snprintf(message, size, "out of memory");
        return -ENOMEM;
    }
    list->item = grown;
    list->item[list->count] = NULL;
    return set_text(&list->item[list->count++], value, message, size);
}

static int parse_flat_mode(struct vm_config *config, const char *value, char *message, size_t size)
{
    unsigned choice;
    int error = parse_choice("flat-mode", "16|32|64", value, &choice, message, size);

    if (!error)
        config->flat_mode = 16u << choice;
    return error;
}

static int parse_ept_page_size(struct vm_config *config, const char *value, char *message,
                               size_t size)
{
    unsigned choice;
    int error = parse_choice("ept-page-size", "4K|2M|1G", value, &choice, message, size);

    if (!error)
        config->ept_page_size = 4096ull << 9 * choice;
    return error;
}

static int parse_ept_withdraw(struct vm_config *config, const char *value, char *message,
                              size_t size)
{
    uint64_t every, seed = 0;
    const char *end = parse_digits(value, &every);

    if (end && *end == ':')
        end = parse_digits(end + 1, &seed);
    if (!end || *end || every == 0) {
        snprintf(message, size,
                 "ept-withdraw: \"%s\" is not a rate: write the number of instructions, at least "
                 "1, and if wanted a seed, as in 5000 or 5000:7",
                 value);
        return -EINVAL;
    }
    config->ept_withdraw = every;
    config->ept_withdraw_seed = seed;
    return 0;
}

static int check_log_level(struct vm_config *config, const char *value, char *message, size_t size)
{
    int length = snprintf(message, size, "log-level: ");

    return log_check_levels(value, message + length, size - (size_t)length);
}

static int check_inject_flip(struct vm_config *config, const char *value, char *message,
                             size_t size)
{
    struct inject_flip flip;

    if (inject_flip_parse(&flip, value) == 0)
        return 0;
    snprintf(message, size,
             "inject-flip: \"%s\" is no place: write a number of instructions, a general-purpose "
             "register and a bit from 0 to 63, as in 1000000:rax:5",
             value);
    return -EINVAL;
}

int vm_config_set(struct vm_config *config, const char *name, const char *value, char *message,
                  size_t size)
{
    const struct config_setting *setting = config_setting_find(name);
    void *field;
    uint64_t number;
    int error;

    if (!setting) {
        snprintf(message, size, "there is no setting \"%s\": see vtxsim run --help", name);
        return -ENOENT;
    }
    field = (char *)config + setting->offset;
    if (!*value && setting->kind != CONFIG_LIST && strcmp(name, "append") != 0) {
        snprintf(message, size, "%s: the value is empty", name);
        return -EINVAL;
    }
    switch (setting->kind) {
    case CONFIG_TEXT:
        error = setting->parse ? setting->parse(config, value, message, size) : 0;
        return error ? error : set_text(field, value, message, size);
    case CONFIG_LIST:
        return append_text(field, value, message, size);
    case CONFIG_SWITCH:
        return parse_switch(name, value, field, message, size);
    case CONFIG_CHOICE:
        return parse_choice(name, setting->choices, value, field, message, size);
    case CONFIG_SPECIAL:
        return setting->parse(config, value, message, size);
    case CONFIG_NUMBER:
    case CONFIG_COUNT:
    case CONFIG_SIZE:
        break;
    }
    error = setting->kind == CONFIG_SIZE ? parse_size(name, value, &number, message, size)
                                         : parse_number(name, value, &number, message, size);
    if (!error)
        error = check_range(setting, value, number, message, size);
    if (error)
        return error;
    if (setting->kind == CONFIG_COUNT)
        *(unsigned *)field = (unsigned)number;
    else
        *(uint64_t *)field = number;
    return 0;
}
