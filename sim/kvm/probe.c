/* The probes: what each guest must answer, and running them; what is made of the answers. */
#define _GNU_SOURCE /* SIGEV_THREAD_ID, gettid */

#include "sim/kvm/probe.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/state.h"
#include "sim/kvm/kvm.h"
#include "sim/kvm/probe_machine.h"

/* --- The guests: probe_guests.S -----------------------------------------------------------------
 */

#define GUEST(name) extern const uint8_t kvm_probe_##name[];
GUEST(real_mode)
GUEST(protected)
GUEST(long_mode)
GUEST(sse)
GUEST(x87)
GUEST(popcnt)
GUEST(cmpxchg16b)
GUEST(lar)
GUEST(verw)
GUEST(interrupt)
GUEST(int3)
GUEST(vmcall)
GUEST(single_step)
GUEST(breakpoint)
GUEST(resume_flag)
GUEST(reserved_bit)
GUEST(self_modifying)
GUEST(user_code_selector)
GUEST(user_sse)
GUEST(user_interrupt)
GUEST(user_syscall)

// clang-format off
static const struct probe probes[] = {
    {"real mode", kvm_probe_real_mode, REAL, 0x1234, 0, 0},
    {"protected mode without paging", kvm_probe_protected, PROTECTED, 0x5678, 0, 0},
    {"32-bit paging", kvm_probe_protected, PAGING_32, 0x5678, 0, 0},
    {"PAE paging", kvm_probe_protected, PAE, 0x5678, 0, 0},
    {"64-bit mode", kvm_probe_long_mode, LONG, 0x12345678, 0, 0},
    {"CR4.PCIDE", kvm_probe_long_mode, LONG, 0x12345678, 0, CR4_PCIDE},
    {"CR4.SMEP and CR4.SMAP", kvm_probe_long_mode, LONG, 0x12345678, 0, CR4_SMEP | CR4_SMAP},
    {"SSE at CPL 0", kvm_probe_sse, LONG, 77, 0, 0},
    {"x87 at CPL 0", kvm_probe_x87, LONG, 1, 0, 0},
    {"POPCNT at CPL 0", kvm_probe_popcnt, LONG, 8, 0, 0},
    {"CMPXCHG16B at CPL 0", kvm_probe_cmpxchg16b, LONG, 1, 0, 0},
    {"LAR at CPL 0", kvm_probe_lar, LONG, 0x9b, 0, 0},
    {"VERW at CPL 0", kvm_probe_verw, LONG, 1, 0, 0},
    {"INT n at CPL 0", kvm_probe_interrupt, LONG, 0x99, 0x99, 0},
    {"INT3 at CPL 0", kvm_probe_int3, LONG, 3, 0, 0},
    {"VMCALL at CPL 0", kvm_probe_vmcall, LONG, 1, 0, 0},
    {"single-step trap at CPL 0", kvm_probe_single_step, LONG, 1, 0, 0},
    {"breakpoint registers at CPL 0", kvm_probe_breakpoint, LONG, 1, 0, 0},
    {"RFLAGS.RF in the frame of a fault", kvm_probe_resume_flag, LONG, 1, 0, 0},
    {"P in the error code of a reserved-bit page fault", kvm_probe_reserved_bit, LONG, 9, 0, 0},
    {"self-modifying code", kvm_probe_self_modifying, LONG, 42, 0, 0},
    {"CS as loaded, at CPL 3", kvm_probe_user_code_selector, USER, USER_CODE_SELECTOR, 0, 0},
    {"SSE at CPL 3", kvm_probe_user_sse, USER, 77, 0, 0},
    {"INT n at CPL 3", kvm_probe_user_interrupt, USER, 0x99, 0, 0},
    {"SYSCALL", kvm_probe_user_syscall, USER, CODE_SELECTOR, 0, 0},
};
// clang-format on
#define PROBES (sizeof probes / sizeof *probes)
_Static_assert(PROBES <= KVM_PROBES_MAX, "a report has room for all findings");

/* --- Running one --------------------------------------------------------------------------------
 */

/* A guest that does not answer is ended by a signal: the first after long, the others when it takes
 * them many times as long as it has taken the first; in the thread's CPU time, so that a busy host
 * makes no difference. */
#define PATIENCE_FIRST  2000000000ull /* nanoseconds */
#define PATIENCE_LEAST  30000000ull
#define PATIENCE_FACTOR 50
#define END_SIGNAL      (SIGRTMIN + 3)

static _Thread_local struct kvm_run *volatile probed;

static void end_probe(int signal)
{
    struct kvm_run *run = probed;
    if (run)
        run->immediate_exit = 1;
}

static uint64_t cpu_time(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static struct timespec time_of(uint64_t nanoseconds)
{
    return (struct timespec){(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
}

static int run_with_patience(int cpu, struct kvm_run *run, uint64_t patience)
{
    struct sigaction action = {.sa_handler = end_probe}, before;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = END_SIGNAL};
    const struct itimerspec when = {time_of(patience), time_of(patience)};
    sigset_t set, mask;
    timer_t timer;
    event._sigev_un._tid = gettid();
    sigemptyset(&set);
    sigaddset(&set, END_SIGNAL);
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer))
        return -errno;
    probed = run;
    sigaction(END_SIGNAL, &action, &before);
    pthread_sigmask(SIG_UNBLOCK, &set, &mask);
    timer_settime(timer, 0, &when, NULL);
    int result = ioctl(cpu, KVM_RUN, 0) < 0 ? -errno : 0;
    timer_delete(timer);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    sigaction(END_SIGNAL, &before, NULL);
    probed = NULL;
    return result;
}

/* Judges the exit that the guest ended with. */
static void judge(const struct probe *probe, const struct kvm_run *run, int result,
                  struct kvm_finding *finding)
{
    char *seen = finding->seen;
    size_t size = sizeof finding->seen;
    bool io = !result && run->exit_reason == KVM_EXIT_IO;
    uint32_t value = 0;
    if (io)
        memcpy(&value, (const uint8_t *)run + run->io.data_offset, sizeof value);
    if (result == -EINTR)
        snprintf(seen, size, "no answer");
    else if (result)
        snprintf(seen, size, "KVM cannot run it: %s", strerror(-result));
    else if (io && run->io.port == 0x10)
        snprintf(seen, size, "0x%x instead of 0x%x", value, probe->answer);
    else if (io)
        snprintf(seen, size, "an exception");
    else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        snprintf(seen, size, "KVM cannot emulate it");
    else if (run->exit_reason == KVM_EXIT_SHUTDOWN)
        snprintf(seen, size, "triple fault");
    else
        snprintf(seen, size, "exit %u of KVM", run->exit_reason);
    finding->present = io && run->io.port == 0x10 && value == probe->answer;
}

/* One virtual machine for all; each probe has a processor of its own. */
struct bench {
    int device, vm;
    uint8_t *memory;
    struct kvm_cpuid2 *cpuid;
    unsigned processors;
    uint64_t patience; /* nanoseconds */
    struct kvm_identity identity;
};

#define CPUID_ENTRIES 256u

static int open_bench(struct bench *bench, char *message, size_t size)
{
    *bench = (struct bench){.memory = MAP_FAILED, .patience = PATIENCE_FIRST};
    int error = kvm_open(&bench->device, &bench->vm, message, size);
    if (error)
        return error;
    bench->identity.api_version = ioctl(bench->device, KVM_GET_API_VERSION, 0);
    bench->identity.tsc_scaling =
        ioctl(bench->device, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
    bench->cpuid = calloc(1, sizeof *bench->cpuid + CPUID_ENTRIES * sizeof *bench->cpuid->entries);
    bench->memory =
        mmap(NULL, PROBE_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {.memory_size = PROBE_MEMORY_SIZE,
                                                 .userspace_addr = (uintptr_t)bench->memory};
    if (bench->memory != MAP_FAILED && bench->cpuid) {
        bench->cpuid->nent = CPUID_ENTRIES;
        if (ioctl(bench->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0 &&
            ioctl(bench->device, KVM_GET_SUPPORTED_CPUID, bench->cpuid) == 0)
            return 0;
    }
    snprintf(message, size, "backend kvm: a probe cannot be made: %s", strerror(errno));
    return -errno;
}

static void close_bench(struct bench *bench)
{
    if (bench->vm >= 0)
        close(bench->vm);
    if (bench->device >= 0)
        close(bench->device);
    if (bench->memory != MAP_FAILED)
        munmap(bench->memory, PROBE_MEMORY_SIZE);
    free(bench->cpuid);
}

static void run_guest(struct bench *bench, const struct probe *probe, int cpu, struct kvm_run *run,
                      struct kvm_finding *finding)
{
    probe_fill_memory(bench->memory, probe);
    int refused = ioctl(cpu, KVM_SET_CPUID2, bench->cpuid) < 0 ? -errno : 0;
    if (!refused)
        refused = probe_set_registers(cpu, probe);
    if (refused) {
        snprintf(finding->seen, sizeof finding->seen, "KVM refuses the registers: %s",
                 strerror(-refused));
        return;
    }
    uint64_t started = cpu_time();
    judge(probe, run, run_with_patience(cpu, run, bench->patience), finding);
    uint64_t patience = PATIENCE_FACTOR * (cpu_time() - started);
    if (bench->patience == PATIENCE_FIRST)
        bench->patience = patience > PATIENCE_FIRST   ? PATIENCE_FIRST
                          : patience < PATIENCE_LEAST ? PATIENCE_LEAST
                                                      : patience;
}

static int run_probe(struct bench *bench, const struct probe *probe, struct kvm_finding *finding,
                     char *message, size_t size)
{
    struct kvm_run *run = NULL;
    size_t run_size;
    int cpu = -1;
    int error = kvm_create_processor(bench->device, bench->vm, bench->processors++, &cpu, &run,
                                     &run_size, message, size);
    *finding = (struct kvm_finding){.feature = probe->feature};
    if (!error) {
        bench->identity.tsc_khz = (unsigned)ioctl(cpu, KVM_GET_TSC_KHZ, 0);
        run_guest(bench, probe, cpu, run, finding);
        munmap(run, run_size);
    }
    if (cpu >= 0)
        close(cpu);
    return error;
}

/* --- The report ---------------------------------------------------------------------------------
 */

#define HYPERVISOR_OF_TCG "TCGTCGTCGTCG"
/* CS of user code, as the guests of kvm_pvm see it. */
#define PVM_USER_SELECTOR 0x33u

static void find_hypervisor(struct kvm_identity *identity)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx >> 31))
        return;
    __cpuid(0x40000000, eax, ebx, ecx, edx);
    memcpy(identity->hypervisor, (const unsigned[]){ebx, ecx, edx}, 12);
}

static bool is_intel(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_INTEL_ebx;
}

/* Bochs shows the CPUID of the processor that it emulates; its BIOS has its name. */
static bool is_bochs(void)
{
    char vendor[64] = "";
    FILE *file = fopen("/sys/class/dmi/id/bios_vendor", "re");
    if (!file)
        return false;
    bool read = fgets(vendor, sizeof vendor, file);
    fclose(file);
    return read && strstr(vendor, "Bochs");
}

/* kvm_pvm is known by the selector that its guests' user code runs with. */
static void identify(struct kvm_identity *identity, const struct kvm_finding *selector)
{
    char pvm[16];
    snprintf(pvm, sizeof pvm, "0x%x ", PVM_USER_SELECTOR);
    find_hypervisor(identity);
    bool tcg = !strcmp(identity->hypervisor, HYPERVISOR_OF_TCG);
    const char *processor = !strncmp(selector->seen, pvm, strlen(pvm)) ? "pvm"
                            : is_intel()                               ? "vmx"
                                                                       : "svm";
    if (is_bochs())
        snprintf(identity->environment, sizeof identity->environment, "bochs");
    else
        snprintf(identity->environment, sizeof identity->environment, "%s%s", processor,
                 tcg ? "-tcg" : "");
}

int kvm_probe(struct kvm_report *report, char *message, size_t size)
{
    struct bench bench;
    *report = (struct kvm_report){0};
    int error = open_bench(&bench, message, size);
    for (unsigned i = 0; i < PROBES && !error; i++)
        error = run_probe(&bench, &probes[i], &report->finding[report->count++], message, size);
    report->identity = bench.identity;
    for (unsigned i = 0; i < PROBES && !error; i++)
        if (probes[i].guest == kvm_probe_user_code_selector)
            identify(&report->identity, &report->finding[i]);
    close_bench(&bench);
    return error;
}

static int probe_identity(struct kvm_identity *identity)
{
    static const struct probe selector = {
        .guest = kvm_probe_user_code_selector, .mode = USER, .answer = USER_CODE_SELECTOR};
    struct bench bench;
    struct kvm_finding finding;
    char message[256];
    int error = open_bench(&bench, message, sizeof message);
    if (!error)
        error = run_probe(&bench, &selector, &finding, message, sizeof message);
    *identity = bench.identity;
    if (!error)
        identify(identity, &finding);
    close_bench(&bench);
    return error;
}

static struct kvm_report the_report;
static struct kvm_identity the_identity;
static bool have_report, have_identity;

static void probe_once(void)
{
    char message[256];
    have_report = kvm_probe(&the_report, message, sizeof message) == 0;
}

static void identify_once(void)
{
    have_identity = probe_identity(&the_identity) == 0;
}

const struct kvm_report *kvm_report(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, probe_once);
    return have_report ? &the_report : NULL;
}

const struct kvm_identity *kvm_identity(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, identify_once);
    return have_identity ? &the_identity : NULL;
}

unsigned kvm_missing(const struct kvm_report *report)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < report->count; i++)
        missing += !report->finding[i].present;
    return missing;
}

void kvm_explain(char *text, size_t size)
{
    const struct kvm_report *report = kvm_report();
    size_t length = 0;
    *text = '\0';
    for (unsigned i = 0; report && i < report->count; i++) {
        const struct kvm_finding *finding = &report->finding[i];
        if (finding->present || length + strlen(finding->feature) + 40 > size)
            continue;
        if (length)
            length += (size_t)snprintf(text + length, size - length, ", %s", finding->feature);
        else
            length = (size_t)snprintf(text, size, "; this KVM (%s) lacks %s",
                                      report->identity.environment, finding->feature);
    }
}
