/* What a run is reported as: exit status, sentences, table, JSON. */
#ifndef VTXSIM_SIM_COMMANDS_REPORT_H
#define VTXSIM_SIM_COMMANDS_REPORT_H

#include "sim/commands/session.h"
#include "sim/vm.h"

/*
 * Prints why the run ended, then the table on standard error or, as the configuration says, the
 * JSON document on standard output. Returns the exit status.
 */
int report_run(struct vm *vm, const struct vm_config *config, const struct session_result *result);

#endif
