/* vtxsim run: from the options to the exit status. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/commands/commands.h"
#include "sim/commands/report.h"
#include "sim/commands/session.h"
#include "sim/commands/settings.h"
#include "sim/gdb/gdb.h"
#include "sim/log.h"

static const char run_doc[] =
    "Run an image, or a Linux kernel, under simulated VMX."
    "\vThe guest's console is standard input and output; on a terminal Ctrl-A h lists the keys for "
    "the simulator. SIGUSR1 pauses and resumes; SIGINT and SIGTERM end the run. Arguments of the "
    "image that begin with a dash go behind --.\n\n"
    "Exit status: the guest's own (0 after power-off, from port 0xf4: value * 2 + 1), else 2 wrong "
    "options, 124 instruction limit, 125 guest stopped abnormally, 126 the engine, the trace or an "
    "output failed, 127 the run could not start, 128 + N ended by signal N.";

/* Lets a debugger in, if the configuration wants that. Returns 0 or -errno with a message. */
static int open_debugger(struct gdb_server **server, struct vm *vm, const struct vm_config *config,
                         char *message, size_t size)
{
    int error;

    if (!config->gdb)
        return 0;
    error = gdb_server_create(server, config->gdb, message, size);
    if (!error)
        gdb_server_attach(*server, vm, NULL);
    return error;
}

/* Creates and runs the VM. Returns the exit status. */
static int run(const struct vm_config *config)
{
    struct gdb_server *debugger = NULL;
    char message[CONFIG_MESSAGE_SIZE] = "";
    struct session_result result = {0};
    struct session *session;
    struct vm *vm;
    int status, error;

    error = session_create(&session, config->json);
    if (error) {
        command_error("cannot prepare the session: %s", strerror(-error));
        return STATUS_NO_START;
    }
    error = vm_create(&vm, config, &session_callbacks, session, message, sizeof(message));
    if (error) {
        command_error("%s", *message ? message : strerror(-error));
        session_destroy(session);
        return STATUS_NO_START;
    }
    error = vm_load(vm, message, sizeof(message));
    if (!error)
        error = open_debugger(&debugger, vm, config, message, sizeof(message));
    if (!error) {
        error = session_run(session, vm, &result);
        if (error)
            snprintf(message, sizeof(message), "cannot start the VM's thread: %s",
                     strerror(-error));
    }
    if (error) {
        command_error("%s", *message ? message : strerror(-error));
        status = STATUS_NO_START;
    } else {
        status = report_run(vm, config, &result);
    }
    gdb_server_destroy(debugger);
    vm_destroy(vm);
    session_destroy(session);
    return status;
}

static int open_log(const struct vm_config *config)
{
    char message[CONFIG_MESSAGE_SIZE];
    int error = log_set_levels(config->log_level, message, sizeof(message));

    if (error)
        command_error("log-level: %s", message);
    if (error || !config->log_file)
        return error;
    error = log_open_file(config->log_file, config->log_size, config->log_keep);
    if (error)
        command_error("log-file: cannot write %s: %s", config->log_file, strerror(-error));
    return error;
}

int command_run(int argc, char **argv)
{
    struct argp_option options[SETTINGS_OPTIONS];
    const struct argp argp = {options, settings_parse, "[IMAGE [ARGUMENT...]]", run_doc, NULL, NULL,
                              NULL};
    char message[CONFIG_MESSAGE_SIZE];
    struct settings_request request = {0};
    struct vm_config config;
    int status;

    settings_options(options);
    argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (vm_config_build(&config, request.file, request.options, request.count, message,
                        sizeof(message))) {
        command_error("%s", message);
        free(request.options);
        return STATUS_USAGE;
    }
    free(request.options);
    status = open_log(&config) ? STATUS_NO_START : run(&config);
    log_close();
    vm_config_destroy(&config);
    return status;
}
