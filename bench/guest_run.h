/*
 * Runs of the guests in tests/guests/bench through the public library interface (sim/vm.h), timed.
 */
#ifndef VTXSIM_BENCH_GUEST_RUN_H
#define VTXSIM_BENCH_GUEST_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "sim/config.h"

/* Nanoseconds. Other programs may have had the processor meanwhile: `thread` is what the calling
 * thread alone used, `process` what this process did with all of its threads. */
struct elapsed {
    double wall, process, thread;
};
struct elapsed elapsed_now(void);
struct elapsed elapsed_since(struct elapsed start);

double median(double *values, unsigned count); /* sorts them */

/* A guest image in memory. */
struct guest_image {
    uint8_t *bytes;
    size_t size;
};

/* Reads bench-NAME.bin of the build folder and sets its number of rounds. Ends the program with a
 * message if it cannot. free() bytes. */
struct guest_image guest_image_read(const char *name, uint64_t rounds);
/* The same guest as a Multiboot image, for other machines. */
struct guest_image guest_image_read_multiboot(const char *name, uint64_t rounds);
/* Puts NOPs in place of the only instruction with these bytes. */
void guest_image_replace_by_nops(struct guest_image *image, const void *bytes, size_t size);

struct guest_run {
    struct elapsed elapsed; /* in vm_run: not creation, loading, destruction */
    uint64_t instructions, exits;
};

/* Loads the image at 1 MiB in 64-bit mode, runs it to its end through port 0xf4. Options: as in
 * sim/config.h. Ends the program with a message if anything fails. */
struct guest_run guest_run(const struct guest_image *image, const struct config_option *options,
                           unsigned count);

/* An empty file in the folder for temporary files; remove it and free() its name. */
char *temporary_file(void);

#endif
