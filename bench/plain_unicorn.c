/*
 * Runs a flat 64-bit bench guest in Unicorn as it comes, without anything of vtxsim: the reference
 * of bench_sim_cpu. It is a program of its own because vtxsim's engine replaces functions of the
 * library in its whole process.
 *
 * No guest paging, no hooks but the one for the guest's end through port 0xf4, memory in one region
 * of huge pages where the host has them: the fastest that plain Unicorn can be.
 *
 * Usage: plain_unicorn IMAGE; prints processor and wall-clock nanoseconds of the run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include <unicorn/unicorn.h>

#define MEMORY_SIZE (256u << 20)
#define LOAD_AT     0x100000
#define IMAGE_MAX   4096

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "plain_unicorn: %s\n", what);
    exit(1);
}

static double nanoseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void end(uc_engine *uc, uint32_t port, int size, uint32_t value, void *finished)
{
    *(bool *)finished = port == 0xf4;
    uc_emu_stop(uc);
}

static uint8_t *load(const char *path)
{
    uint8_t *memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        die("no memory");
    madvise(memory, MEMORY_SIZE, MADV_HUGEPAGE);
    FILE *file = fopen(path, "rb");
    if (!file || !fread(memory + LOAD_AT, 1, IMAGE_MAX, file))
        die("the image cannot be read");
    fclose(file);
    return memory;
}

int main(int argc, char **argv)
{
    uc_engine *uc;
    uc_hook hook;
    bool finished = false;

    if (argc != 2)
        die("usage: plain_unicorn IMAGE");
    uint8_t *memory = load(argv[1]);
    if (uc_open(UC_ARCH_X86, UC_MODE_64, &uc) ||
        uc_ctl_set_cpu_model(uc, UC_CPU_X86_ICELAKE_SERVER) ||
        uc_mem_map_ptr(uc, 0, MEMORY_SIZE, UC_PROT_ALL, memory) ||
        uc_hook_add(uc, &hook, UC_HOOK_INSN, end, &finished, 1, 0, UC_X86_INS_OUT))
        die("Unicorn could not be started");

    double wall = nanoseconds(CLOCK_MONOTONIC), thread = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    uc_err error = uc_emu_start(uc, LOAD_AT, 0, 0, 0);
    thread = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - thread;
    wall = nanoseconds(CLOCK_MONOTONIC) - wall;
    if (error || !finished)
        die(error ? uc_strerror(error) : "the guest did not come to its end");
    printf("%.0f %.0f\n", thread, wall);
    uc_close(uc);
    return 0;
}
