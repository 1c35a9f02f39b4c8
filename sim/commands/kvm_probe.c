/* vtxsim kvm-probe: what this machine's KVM can do. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "sim/commands/commands.h"
#include "sim/kvm/probe.h"

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    bool *json = state->input;

    if (key != 'j')
        return ARGP_ERR_UNKNOWN;
    *json = true;
    return 0;
}

static void print_table(const struct kvm_report *report)
{
    printf("environment     %s\n", report->identity.environment);
    printf("below it        %s\n",
           *report->identity.hypervisor ? report->identity.hypervisor : "no hypervisor");
    printf("missing         %u of %u features\n", kvm_missing(report), report->count);
    printf("API version     %d\n", report->identity.api_version);
    printf("guest TSC       %u kHz, %s\n\n", report->identity.tsc_khz,
           report->identity.tsc_scaling ? "can be scaled" : "cannot be scaled");
    for (unsigned i = 0; i < report->count; i++) {
        const struct kvm_finding *finding = &report->finding[i];

        printf("%-50s %s%s%s\n", finding->feature, finding->present ? "yes" : "no",
               finding->present ? "" : ": ", finding->present ? "" : finding->seen);
    }
}

static void print_json(const struct kvm_report *report)
{
    json_t *features = json_array();
    json_t *document;

    for (unsigned i = 0; i < report->count; i++) {
        const struct kvm_finding *finding = &report->finding[i];
        json_t *feature =
            json_pack("{s:s, s:b}", "feature", finding->feature, "present", finding->present);

        if (!finding->present)
            json_object_set_new(feature, "seen", json_string(finding->seen));
        json_array_append_new(features, feature);
    }
    document =
        json_pack("{s:s, s:s, s:i, s:i, s:b, s:o}", "environment", report->identity.environment,
                  "hypervisor", report->identity.hypervisor, "api_version",
                  report->identity.api_version, "tsc_khz", (int)report->identity.tsc_khz,
                  "tsc_scaling", report->identity.tsc_scaling, "features", features);
    json_dumpf(document, stdout, JSON_INDENT(2));
    json_decref(document);
    putchar('\n');
}

int command_kvm_probe(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "Print one JSON document", 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .doc = "Find out by small guests what this machine's KVM can do. Exit status: 0, or 127 "
               "when there is no KVM to ask."};
    char message[512] = "";
    struct kvm_report report;
    bool json = false;

    argp_parse(&argp, argc, argv, 0, NULL, &json);
    if (kvm_probe(&report, message, sizeof(message))) {
        command_error("%s", message);
        return STATUS_NO_START;
    }
    if (json)
        print_json(&report);
    else
        print_table(&report);
    if (fflush(stdout)) {
        command_error("standard output: %s", strerror(errno));
        return STATUS_ERROR;
    }
    return 0;
}
