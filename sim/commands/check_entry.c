/* vtxsim check-entry: why a VM entry with this VMCS fails - every reason, not only the first. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/vmx.h"
#include "cpu/vmx_capabilities.h"
#include "memory/physmem.h"
#include "sim/commands/commands.h"
#include "sim/vmcs_dump.h"

#define STATUS_REJECTED  1
#define LINK_POINTER_MAX (1ull << 40) /* memory is sparse, but address space is not endless */

struct request {
    const char *cpu, *path;
    bool host32, resume, fields;
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;

    switch (key) {
    case 'c':
        request->cpu = argument;
        return 0;
    case '3':
        request->host32 = true;
        return 0;
    case 'r':
        request->resume = true;
        return 0;
    case 'f':
        request->fields = true;
        return 0;
    case ARGP_KEY_ARG:
        if (request->path)
            argp_error(state, "one file at a time");
        request->path = argument;
        return 0;
    case ARGP_KEY_END:
        if (!request->path && !request->fields)
            argp_error(state, "name the file with the VMCS");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char check_doc[] =
    "Check whether a VM entry with the VMCS in FILE succeeds, and print every check that fails."
    "\vFILE has a field on each line, by name or by encoding: GUEST_CR0 = 0x80000031, or 0x6800 = "
    "0x80000031; # starts a comment, and fields that are not there are 0. There is no memory to "
    "look "
    "into: a VMCS link pointer other than 0 is taken to lead to a VMCS.\n\n"
    "Exit status: 0 the entry succeeds, 1 it fails, 2 wrong options or file.";

/* What the entry does instead of succeeding (SDM "VM Entries"). */
static void print_outcome(enum vmentry_status status, const struct vmentry_report *report)
{
    const struct vmentry_failure *first = &report->failure[0];

    switch (status) {
    case VMENTRY_FAILED_CONTROLS:
        printf("the VM entry fails: VMfailValid, VM-instruction error %u (invalid control "
               "fields)\n",
               VMENTRY_ERROR_CONTROLS);
        break;
    case VMENTRY_FAILED_HOST:
        printf("the VM entry fails: VMfailValid, VM-instruction error %u (invalid host-state "
               "fields)\n",
               VMENTRY_ERROR_HOST_STATE);
        break;
    default:
        printf("the VM entry fails: VM exit, reason %#x (%s), qualification %u\n",
               EXIT_ENTRY_GUEST_STATE | EXIT_REASON_ENTRY_FAILURE,
               exit_reason_name(EXIT_ENTRY_GUEST_STATE), first->qualification);
        break;
    }
}

static int print_report(enum vmentry_status status, const struct vmentry_report *report)
{
    for (unsigned i = 0; i < report->count; i++) {
        const struct vmentry_failure *failure = &report->failure[i];

        printf("%s = %#" PRIx64 ": %s\n    SDM \"%s\"\n", vmcs_field_name(failure->field),
               failure->value, failure->text, failure->section);
    }
    if (report->count == 0) {
        puts("all checks hold: the VM entry succeeds");
        return 0;
    }
    printf("%u check%s not hold; ", report->count, report->count == 1 ? " does" : "s do");
    print_outcome(status, report);
    return STATUS_REJECTED;
}

static int load_profile(struct cpu_profile *profile, const char *name)
{
    char path[PATH_MAX], message[512];

    if (cpu_profile_find(name, path, sizeof(path))) {
        command_error("there is no CPU profile %s: vtxsim cpus lists those there are", name);
        return -ENOENT;
    }
    if (cpu_profile_load(profile, path, message, sizeof(message))) {
        command_error("%s", message);
        return -EINVAL;
    }
    return 0;
}

/* Memory that reaches to where the VMCS link pointer leads, with a revision identifier there. */
static int make_memory(struct physmem *physmem, const struct vmcs *vmcs)
{
    uint64_t link = vmcs_get(vmcs, VMCS_VMCS_LINK_POINTER);
    bool leads = link && link % FRAME_SIZE == 0 && link < LINK_POINTER_MAX;
    int error = physmem_init(physmem, leads ? link + FRAME_SIZE : FRAME_SIZE);

    if (!error && leads)
        memcpy(physmem_at(physmem, link), &vmcs->revision, sizeof(vmcs->revision));
    return error;
}

/* A processor with nothing around it, in the mode in which the hypervisor runs. */
static int check(const struct request *request, struct vmcs *vmcs)
{
    struct cpu_profile profile;
    struct physmem physmem;
    struct vmentry_report *report;
    struct cpu *cpu;
    int status = STATUS_ERROR;

    if (load_profile(&profile, request->cpu))
        return STATUS_USAGE;
    cpu = calloc(1, sizeof(*cpu));
    report = calloc(1, sizeof(*report));
    vmcs->revision = VMX_BASIC_REVISION(vmx_capability(&profile, MSR_VMX_BASIC));
    vmcs->launched = request->resume;
    if (cpu && report && make_memory(&physmem, vmcs) == 0) {
        cpu->profile = &profile;
        cpu->vmcs = vmcs;
        cpu->mmu.physmem = &physmem;
        cpu->mmu.maxphyaddr = profile.maxphyaddr;
        cpu->state.efer = request->host32 ? 0 : EFER_LME | EFER_LMA;
        status = print_report(vmentry_check(cpu, report), report);
        physmem_destroy(&physmem);
    } else {
        command_error("out of memory");
    }
    free(report);
    free(cpu);
    return status;
}

int command_check_entry(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"cpu", 'c', "PROFILE", 0, "CPU profile (default skylake-client)", 0},
        {"host32", '3', NULL, 0, "The hypervisor is not in IA-32e mode", 0},
        {"resume", 'r', NULL, 0, "VMRESUME instead of VMLAUNCH", 0},
        {"fields", 'f', NULL, 0, "List the fields with their encodings", 0},
        {0},
    };
    static const struct argp argp = {options, parse_option, "FILE", check_doc, NULL, NULL, NULL};
    struct request request = {.cpu = "skylake-client"};
    struct vmcs vmcs = {0};
    char message[512];
    int status = 0;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (request.fields) {
        vmcs_dump_write(&vmcs, true, stdout);
    } else if (vmcs_dump_read(&vmcs, request.path, message, sizeof(message))) {
        command_error("%s", message);
        return STATUS_USAGE;
    } else {
        status = check(&request, &vmcs);
    }
    if (fflush(stdout)) {
        command_error("standard output: %s", strerror(errno));
        status = STATUS_ERROR;
    }
    return status;
}
