#define _GNU_SOURCE
#include "bench/guest_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim/vm.h"

#define ROUNDS_OFFSET 8
#define NOP           0x90
#define OPTIONS_MAX   8
#define IMAGE_MAX     16384

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static double nanoseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

struct elapsed elapsed_now(void)
{
    return (struct elapsed){.wall = nanoseconds(CLOCK_MONOTONIC),
                            .process = nanoseconds(CLOCK_PROCESS_CPUTIME_ID),
                            .thread = nanoseconds(CLOCK_THREAD_CPUTIME_ID)};
}

struct elapsed elapsed_since(struct elapsed start)
{
    struct elapsed now = elapsed_now();
    return (struct elapsed){.wall = now.wall - start.wall,
                            .process = now.process - start.process,
                            .thread = now.thread - start.thread};
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

char *temporary_file(void)
{
    const char *folder = getenv("TMPDIR");
    char *path;
    if (asprintf(&path, "%s/vtxsim-bench-XXXXXX", folder ? folder : "/tmp") < 0)
        die("temporary file", "no memory");
    int descriptor = mkstemp(path);
    if (descriptor < 0)
        die(path, "cannot be created");
    close(descriptor);
    return path;
}

static struct guest_image read_image(const char *name, const char *format)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/bench-%s.%s", BENCH_GUESTS, name, format);
    FILE *file = fopen(path, "rb");
    if (!file)
        die(path, "cannot be opened; ./bootstrap build makes it");
    struct guest_image image = {.bytes = malloc(IMAGE_MAX)};
    if (!image.bytes)
        die(path, "no memory");
    image.size = fread(image.bytes, 1, IMAGE_MAX, file);
    if (!feof(file) || image.size < ROUNDS_OFFSET + sizeof(uint64_t))
        die(path, "is no guest of this benchmark");
    fclose(file);
    return image;
}

struct guest_image guest_image_read(const char *name, uint64_t rounds)
{
    struct guest_image image = read_image(name, "bin");
    memcpy(image.bytes + ROUNDS_OFFSET, &rounds, sizeof rounds);
    return image;
}

/* There the code starts somewhere behind the header: with the same bytes, rounds included. */
struct guest_image guest_image_read_multiboot(const char *name, uint64_t rounds)
{
    struct guest_image flat = read_image(name, "bin"), image = read_image(name, "multiboot");
    uint8_t *start = memmem(image.bytes, image.size, flat.bytes, ROUNDS_OFFSET + sizeof rounds);
    if (!start)
        die(name, "its Multiboot image does not hold the flat one");
    memcpy(start + ROUNDS_OFFSET, &rounds, sizeof rounds);
    free(flat.bytes);
    return image;
}

void guest_image_replace_by_nops(struct guest_image *image, const void *bytes, size_t size)
{
    uint8_t *at = memmem(image->bytes, image->size, bytes, size);
    if (!at || memmem(at + 1, (size_t)(image->bytes + image->size - at - 1), bytes, size))
        die("guest image", "does not hold the instruction exactly once");
    memset(at, NOP, size);
}

static void check(int error, const char *what, const char *message)
{
    if (error)
        die(what, message);
}

struct guest_run guest_run(const struct guest_image *image, const struct config_option *options,
                           unsigned count)
{
    char *path = temporary_file(), message[CONFIG_MESSAGE_SIZE] = "";
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(image->bytes, 1, image->size, file) != image->size || fclose(file))
        die(path, "cannot be written");

    struct config_option all[OPTIONS_MAX] = {{"image", path}, {"flat-mode", "64"}};
    if (count > OPTIONS_MAX - 2)
        die("guest_run", "too many options");
    memcpy(all + 2, options, count * sizeof *options);

    struct vm_config config;
    struct vm *vm;
    check(vm_config_build(&config, NULL, all, count + 2, message, sizeof message), "configuration",
          message);
    check(vm_create(&vm, &config, NULL, NULL, message, sizeof message), "vm_create", message);
    check(vm_load(vm, message, sizeof message), "vm_load", message);
    struct elapsed start = elapsed_now();
    int error = vm_run(vm);
    struct guest_run run = {.elapsed = elapsed_since(start)};
    if (error || vm_get_stop(vm)->reason != VM_STOP_DEBUG_EXIT)
        die("vm_run", vm_get_stop(vm)->message);

    struct run_statistics totals;
    struct exit_statistics exits;
    vm_get_statistics(vm, &totals, &exits);
    run.instructions = totals.instructions;
    uint64_t cycles;
    run.exits = exit_statistics_total(&exits, &cycles);
    vm_destroy(vm);
    vm_config_destroy(&config);
    remove(path);
    free(path);
    return run;
}
