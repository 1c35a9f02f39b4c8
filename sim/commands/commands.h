/* The commands of vtxsim, a file each, and what they share. */
#ifndef VTXSIM_SIM_COMMANDS_COMMANDS_H
#define VTXSIM_SIM_COMMANDS_COMMANDS_H

#ifndef VTXSIM_VERSION /* the build system's */
#define VTXSIM_VERSION "(unknown version)"
#endif

/* Exit statuses that are not the guest's own (docs/configuration.md). */
enum exit_status {
    STATUS_USAGE = 2,      /* options or configuration */
    STATUS_LIMIT = 124,    /* --max-instructions */
    STATUS_ABNORMAL = 125, /* triple fault, halted for ever, failed VM entry, ... */
    STATUS_ERROR = 126,    /* the engine, the trace or an output failed */
    STATUS_NO_START = 127, /* nothing could be run: unreadable image, no memory, ... */
    STATUS_SIGNAL = 128,   /* plus the signal's number; Ctrl-A x counts as SIGINT */
};

/* Each gets its own name in argv[0] ("vtxsim run") and returns the exit status. */
int command_run(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_validate(int argc, char **argv);
int command_cpus(int argc, char **argv);
int command_kvm_probe(int argc, char **argv);
int command_check_entry(int argc, char **argv);
int command_diff(int argc, char **argv);
int command_trace(int argc, char **argv);
int command_symbols(int argc, char **argv);

/* "vtxsim: message" on standard error. */
void command_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
