/*
 * What an exit to user space costs on this machine's KVM, from the instruction to the one behind
 * it, beside the same exit in the simulation. On KVM an exit is two entries: KVM finishes the
 * instruction before the exit is recorded.
 *
 * Each is the time of a loop with the instruction less that of the same loop with NOPs in its
 * place, divided by the number of exits; all loops take turns, and the figures are medians. Time is
 * that of the vCPU's thread, so that neighbours on the machine do not count. No trace is open,
 * except where the output says so.
 *
 * Usage: bench_sim_kvm [ROUNDS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/guest_run.h"
#include "sim/kvm/probe.h"

#define EXITS          10000u
#define DEFAULT_ROUNDS 5
#define MAX_ROUNDS     99

/* mov $EXITS, %esi; mov $0xd0000000, %ebx; mov $0x1b, %ecx
 * 1: INSTRUCTION; dec %esi; jnz 1b; xor %eax, %eax; out %eax, $0xf4; hlt */
#define INSTRUCTION_OFFSET 15
static const uint8_t code[] = {
    0xbe, EXITS & 0xff, EXITS >> 8, 0,    0,    0xbb, 0,    0,    0,    0xd0, 0xb9, 0x1b, 0, 0,
    0,    0x90,         0x90,       0xff, 0xce, 0x75, 0xfa, 0x31, 0xc0, 0xe7, 0xf4, 0xf4,
};

static struct kind {
    const char *name;
    uint8_t instruction[2];
    double kvm[MAX_ROUNDS], traced[MAX_ROUNDS], simulated[MAX_ROUNDS];
} kinds[] = {
    {"OUT", {0xe6, 0x80}, {0}, {0}, {0}},
    {"store to a device", {0x88, 0x03}, {0}, {0}, {0}},
    {"load from a device", {0x8a, 0x03}, {0}, {0}, {0}},
    {"RDMSR", {0x0f, 0x32}, {0}, {0}, {0}},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static double run(const uint8_t *instruction, const char *backend, const char *trace)
{
    uint8_t bytes[sizeof code];
    const struct guest_image image = {bytes, sizeof bytes};
    const struct config_option options[] = {{"backend", backend}, {"trace", trace}};
    memcpy(bytes, code, sizeof bytes);
    if (instruction)
        memcpy(bytes + INSTRUCTION_OFFSET, instruction, 2);
    return guest_run(&image, options, trace ? 2 : 1).elapsed.thread;
}

static double cost(const struct kind *kind, const char *backend, const char *trace)
{
    return (run(kind->instruction, backend, trace) - run(NULL, backend, trace)) / EXITS;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : DEFAULT_ROUNDS;
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: %s [ROUNDS (1 to %d)]\n", argv[0], MAX_ROUNDS);
        return 2;
    }
    if (!kvm_identity()) {
        puts("SKIP: this machine has no KVM that may be used (see vtxsim kvm-probe)");
        return 0;
    }
    char *trace = temporary_file();
    for (unsigned round = 0; round < rounds; round++)
        for (struct kind *kind = kinds; kind < kinds + KINDS; kind++) {
            kind->kvm[round] = cost(kind, "kvm", NULL);
            kind->traced[round] = cost(kind, "kvm", trace);
            kind->simulated[round] = cost(kind, "unicorn", NULL);
        }
    printf("%-20s %14s %14s %14s %8s\n", "ns an exit", kvm_identity()->environment, "traced",
           "simulation", "ratio");
    for (struct kind *kind = kinds; kind < kinds + KINDS; kind++) {
        double kvm = median(kind->kvm, rounds), simulated = median(kind->simulated, rounds);
        printf("%-20s %14.0f %14.0f %14.0f %8.1f\n", kind->name, kvm, median(kind->traced, rounds),
               simulated, kvm / simulated);
    }
    remove(trace);
    free(trace);
    return 0;
}
