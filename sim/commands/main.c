/* vtxsim COMMAND: finds the command and runs it. */
#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sim/commands/commands.h"

static const struct {
    const char *name; /* as the command sees itself */
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"vtxsim run", command_run, "run an image or a Linux kernel under simulated VMX"},
    {"vtxsim replay", command_replay, "execute the run of a trace again, to any point of it"},
    {"vtxsim diff", command_diff, "compare two traces, down to the first instruction"},
    {"vtxsim validate", command_validate, "hold the simulation against KVM, or two processors"},
    {"vtxsim cpus", command_cpus, "list the CPU profiles"},
    {"vtxsim kvm-probe", command_kvm_probe, "find out what this machine's KVM can do"},
    {"vtxsim check-entry", command_check_entry, "print every reason why a VM entry fails"},
    {"vtxsim trace", command_trace, "look into a trace: stat, dump, grep, export"},
    {"vtxsim symbols", command_symbols, "print the symbols of a kernel or an ELF file"},
};
#define COMMANDS    (sizeof(commands) / sizeof(*commands))
#define NAME_OFFSET (sizeof("vtxsim ") - 1)

void command_error(const char *format, ...)
{
    va_list arguments;

    fputs("vtxsim: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static void print_usage(FILE *file)
{
    fputs("Usage: vtxsim COMMAND [OPTION...]\n\n", file);
    for (unsigned i = 0; i < COMMANDS; i++)
        fprintf(file, "  %-12s %s\n", commands[i].name + NAME_OFFSET, commands[i].summary);
    fputs("\nvtxsim COMMAND --help tells more; vtxsim --version prints the version.\n", file);
}

/* Files that are opened must not become standard input or output by accident. */
static void open_standard_files(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    open_standard_files();
    signal(SIGPIPE, SIG_IGN); /* writing fails with EPIPE, which is told */
    argp_err_exit_status = STATUS_USAGE;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_usage(stdout);
        return fflush(stdout) ? STATUS_ERROR : 0;
    }
    if (strcmp(name, "--version") == 0) {
        puts("vtxsim " VTXSIM_VERSION);
        return fflush(stdout) ? STATUS_ERROR : 0;
    }
    for (unsigned i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name + NAME_OFFSET) != 0)
            continue;
        argv[1] = (char *)commands[i].name;
        return commands[i].run(argc - 1, argv + 1);
    }
    if (*name)
        command_error("there is no command \"%s\"", name);
    print_usage(stderr);
    return STATUS_USAGE;
}
