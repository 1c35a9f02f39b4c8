/*
 * What this machine's KVM can do, found out by small guests: capabilities look the same on a
 * processor with VT-x, on kvm_pvm, which emulates what runs at CPL 0, and in an emulator.
 */
#ifndef VTXSIM_SIM_KVM_PROBE_H
#define VTXSIM_SIM_KVM_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What KVM runs on; known at once. */
struct kvm_identity {
    /* "vmx" or "svm" by the processor, "pvm" where kvm_pvm does without them; "bochs", and "-tcg"
     * behind the name, where an emulator is the processor. */
    char environment[16];
    char hypervisor[13]; /* signature of a hypervisor or emulator below this kernel; "": none */
    int api_version;
    unsigned tsc_khz; /* of guests; 0: unknown */
    bool tsc_scaling;
};

#define KVM_PROBES_MAX 32

struct kvm_finding {
    const char *feature; /* "SSE at CPL 0" */
    bool present;
    char seen[96]; /* what came instead */
};

struct kvm_report {
    struct kvm_identity identity;
    unsigned count;
    struct kvm_finding finding[KVM_PROBES_MAX];
};

/* Runs all probes (milliseconds; seconds in an emulator). Returns 0, or -errno with a message when
 * there is no KVM to ask. */
int kvm_probe(struct kvm_report *report, char *message, size_t size);
/* The same once for the whole process. NULL when there is no KVM to ask. */
const struct kvm_report *kvm_report(void);
/* By one probe, once for the whole process. NULL when there is no KVM to ask. */
const struct kvm_identity *kvm_identity(void);

unsigned kvm_missing(const struct kvm_report *report);

/* What a message about a guest that failed says about this KVM: "; this KVM (pvm) lacks A, B" with
 * as many as fit, or "" if nothing is missing. */
void kvm_explain(char *text, size_t size);

#endif
