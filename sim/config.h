/*
 * The configuration of a run: defaults, then a configuration file, then options, then a check of
 * the whole. docs/configuration.md describes every setting.
 */
#ifndef VTXSIM_SIM_CONFIG_H
#define VTXSIM_SIM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "traces/event.h"

enum vm_backend { BACKEND_UNICORN, BACKEND_KVM };
enum vm_timing { TIMING_FAST, TIMING_DETAILED };
enum vm_clock { VM_CLOCK_SIMULATED, VM_CLOCK_HOST };

/* Strings owned by the list. */
struct string_list {
    char **item;
    unsigned count;
};

/* Strings are owned; NULL where the user gave none. */
struct vm_config {
    char *name; /* of the VM, for logs and output; never NULL */

    /* What runs: kernel (with initrd and append) or image (with arguments and modules). */
    char *kernel, *initrd, *append;
    char *image;
    struct string_list image_arguments;
    struct string_list modules; /* Multiboot: "path" or "path words of its command line" */
    unsigned flat_mode; /* a flat image starts in 16-, 32- or 64-bit mode; 0: the loader's choice */

    /* The machine. */
    char *cpu; /* profile name ("skylake-client") or path; never NULL */
    unsigned cpus;
    uint64_t memory;   /* bytes, a multiple of 4 KiB */
    bool test_device;  /* kvm-unit-tests' pc-testdev */
    uint64_t seed;     /* of everything random */
    int64_t rtc_epoch; /* CMOS clock at power-on: seconds since 1970 */

    /* How it is simulated. */
    enum vm_backend backend;
    enum vm_timing timing;
    enum vm_clock clock;
    uint64_t max_instructions; /* 0: no limit */
    char *inject_flip;         /* "COUNT:REGISTER:BIT" (sim/inject_flip.h) */
    uint64_t hash_every; /* instructions between two state hashes of a trace; 0: none */

    /* VMX controls that vtxsim's own handler sets for its guest. */
    bool ept, vpid, unrestricted_guest;
    uint64_t ept_page_size; /* 4096, 2 MiB or 1 GiB: the largest page that EPT may use */
    bool ept_lazy;          /* EPT entries appear at the first EPT violation */
    uint64_t ept_withdraw;  /* withdraw EPT entries at random about every so many instructions */
    uint64_t ept_withdraw_seed;
    bool full_exits;     /* every VM exit leaves the engine and re-enters with all checks */
    int64_t exit_cycles; /* cycles of exit and entry; -1: the CPU profile's */

    /* What is told about it. */
    char *trace;     /* path of the trace file */
    enum trace_level trace_level;
    char *log_level; /* as for log_set_levels; never NULL */
    char *log_file;
    uint64_t log_size; /* rotate before the file exceeds it; 0: never */
    unsigned log_keep; /* rotated files kept */
    char *gdb;         /* where to listen for a debugger, as for gdb_server_create; NULL: nowhere */
    bool json;         /* results as one JSON document */
};

/* Longest message that the functions below write. */
#define CONFIG_MESSAGE_SIZE 512

/* The defaults. Returns 0 or -ENOMEM. */
int vm_config_init(struct vm_config *config);
int vm_config_copy(struct vm_config *copy, const struct vm_config *config);
void vm_config_destroy(struct vm_config *config);

/* An option as the user wrote it. */
struct config_option {
    const char *name, *value;
};

/*
 * Builds a configuration: defaults, then the file (NULL: none), then the options, then
 * vm_config_check. What options say replaces what the file says, lists too; an image given as an
 * option replaces the file's kernel and the other way round. Returns 0, or -errno with a message
 * that names the cause and the remedy (for files: with name and line); config is then empty.
 */
int vm_config_build(struct vm_config *config, const char *file, const struct config_option *options,
                    unsigned count, char *message, size_t size);

/*
 * Sets one value by its name in the configuration file ("memory", "ept-page-size"), which is also
 * that of the long option. Lists are appended to. Returns 0, or -EINVAL, -ENOENT (no such
 * setting), -ENOMEM with a message.
 */
int vm_config_set(struct vm_config *config, const char *name, const char *value, char *message,
                  size_t size);
/* Reads a configuration file (libconfig syntax). */
int vm_config_read_file(struct vm_config *config, const char *path, char *message, size_t size);
/* Checks what single values cannot tell: settings that exclude or need each other. */
int vm_config_check(const struct vm_config *config, char *message, size_t size);

/*
 * The settings that decide what happens in the run, as a JSON object for the head of a trace:
 * equal for runs that must be equal. Names of output files are not in it; input files (the CPU
 * profile is one) are there with path, size and a hash. free() it; NULL without memory.
 */
char *vm_config_describe(const struct vm_config *config);

/*
 * The reverse: the configuration of the run that is described. Its input files are looked for at
 * their paths, then in `find` (folders, and files under any name): the first of the right size and
 * hash is taken. Returns 0, or -errno with a message (which file is missing or differs, and how to
 * name it); config is then empty.
 */
int vm_config_from_description(struct vm_config *config, const char *description,
                               const char *const *find, unsigned find_count, char *message,
                               size_t size);

enum config_kind {
    CONFIG_TEXT,   /* char * */
    CONFIG_LIST,   /* struct string_list */
    CONFIG_NUMBER, /* uint64_t or int64_t: decimal or 0x... */
    CONFIG_COUNT,  /* unsigned: the same */
    CONFIG_SIZE,   /* a number with an optional suffix K, M, G, T (powers of 1024) */
    CONFIG_SWITCH, /* on or off */
    CONFIG_CHOICE, /* enum: one of the words in `choices` */
    CONFIG_SPECIAL /* whatever `parse` makes of it */
};
enum config_group { CONFIG_GUEST, CONFIG_MACHINE, CONFIG_SIMULATION, CONFIG_VMX, CONFIG_OUTPUT };

/* A setting: one row for the file, the option, the help and the documentation. */
struct config_setting {
    const char *name;     /* "memory" */
    char key;             /* short option or 0 */
    const char *argument; /* "SIZE"; NULL: a switch that the bare option turns on */
    const char *help; /* NULL: for tests, not in the help */
    enum config_group group;
    enum config_kind kind;
    size_t offset;             /* in struct vm_config */
    uint64_t minimum, maximum; /* numbers and sizes */
    const char *choices;       /* "fast|detailed": the place is the value */
    /* CONFIG_SPECIAL: parses and stores; CONFIG_TEXT: checks. NULL: nothing to do. */
    int (*parse)(struct vm_config *config, const char *value, char *message, size_t size);
};
extern const struct config_setting config_settings[];
extern const unsigned config_setting_count;
/* NULL if there is none. */
const struct config_setting *config_setting_find(const char *name);

#endif
