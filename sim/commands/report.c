/* The end of a run. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sim/commands/commands.h"
#include "sim/commands/report.h"

enum { GUEST_STATUS = -1, SIGNAL_STATUS = -2 };

static const struct {
    const char *key, *text;
    int status;
} reasons[] = {
    [VM_STOP_NONE] = {"none", "the run ended early", STATUS_ERROR},
    [VM_STOP_POWER_OFF] = {"power-off", "", GUEST_STATUS},
    [VM_STOP_RESET] = {"reset", "", GUEST_STATUS},
    [VM_STOP_DEBUG_EXIT] = {"debug-exit", "", GUEST_STATUS},
    [VM_STOP_TRIPLE_FAULT] = {"triple-fault", "triple fault", STATUS_ABNORMAL},
    [VM_STOP_HALTED] = {"halted", "halted, and no interrupt can wake it", STATUS_ABNORMAL},
    [VM_STOP_INSTRUCTION_LIMIT] = {"instruction-limit", "instruction limit reached", STATUS_LIMIT},
    [VM_STOP_REQUESTED] = {"requested", "stopped by the user", SIGNAL_STATUS},
    [VM_STOP_ENTRY_FAILURE] = {"entry-failure", "VM entry failed", STATUS_ABNORMAL},
    [VM_STOP_UNHANDLED_EXIT] = {"unhandled-exit", "VM exit that nothing handles", STATUS_ABNORMAL},
    [VM_STOP_ENGINE_ERROR] = {"engine-error", "the execution engine failed", STATUS_ERROR},
};

/* The messages that are due, and the status. */
static int judge(const struct vm_config *config, const struct vm_stop *stop,
                 const struct run_statistics *run, const struct session_result *result)
{
    int status = reasons[stop->reason].status;

    if (status == GUEST_STATUS)
        status = stop->guest_status;
    if (status == SIGNAL_STATUS)
        status = STATUS_SIGNAL + (result->signal ? result->signal : SIGINT);

    if (result->output_error) {
        command_error("the guest's console cannot be written: %s", strerror(-result->output_error));
        status = STATUS_ERROR;
    } else if (*stop->message) {
        command_error("%s: %s", config->name, stop->message);
    } else if (*reasons[stop->reason].text) {
        command_error("%s: %s", config->name, reasons[stop->reason].text);
    }
    if (result->run_error && status != STATUS_ERROR) {
        command_error("%s: the run failed: %s", config->name, strerror(-result->run_error));
        status = STATUS_ERROR;
    }
    if (run->trace_error) {
        command_error("%s: the trace ends early: %s; what was written up to then is readable",
                      config->trace, strerror(-run->trace_error));
        status = STATUS_ERROR;
    }
    return status;
}

static json_t *settings_json(const struct vm_config *config)
{
    char *text = vm_config_describe(config);
    json_t *settings = text ? json_loads(text, 0, NULL) : NULL;

    free(text);
    return settings ? settings : json_object();
}

static int print_json(const struct vm_config *config, const struct vm_stop *stop,
                      const struct run_statistics *run, const struct exit_statistics *exits,
                      int status)
{
    json_t *document = json_pack(
        "{s:s, s:s, s:o, s:{s:s, s:i, s:s, s:i}}", "vtxsim", VTXSIM_VERSION, "name", config->name,
        "settings", settings_json(config), "stop", "reason", reasons[stop->reason].key,
        "guest_status", stop->guest_status, "message", stop->message, "exit_status", status);
    json_t *statistics = exit_statistics_json(exits, run);

    json_object_update(document, statistics);
    json_decref(statistics);
    errno = 0;
    json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    json_decref(document);
    putchar('\n');
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return errno ? -errno : -EIO;
}

int report_run(struct vm *vm, const struct vm_config *config, const struct session_result *result)
{
    const struct vm_stop *stop = vm_get_stop(vm);
    struct exit_statistics exits;
    struct run_statistics run;
    int status, error;

    vm_get_statistics(vm, &run, &exits);
    status = judge(config, stop, &run, result);
    if (!config->json) {
        exit_statistics_print(&exits, &run, stderr);
        return status;
    }
    error = print_json(config, stop, &run, &exits, status);
    if (error) {
        command_error("standard output: %s: the results are lost", strerror(-error));
        status = STATUS_ERROR;
    }
    return status;
}
