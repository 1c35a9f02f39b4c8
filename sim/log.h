/*
 * Logging: four levels for each part of the simulator, changeable while it runs, to the terminal
 * or to a file that is rotated by size.
 */
#ifndef VTXSIM_SIM_LOG_H
#define VTXSIM_SIM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_OFF
};
enum log_part {
    LOG_VM,
    LOG_VMX,
    LOG_CPU,
    LOG_MEMORY,
    LOG_DEVICE,
    LOG_LOADER,
    LOG_ENGINE,
    LOG_TRACE,
    LOG_PART_COUNT
};

/* Levels by part; read on every call, so a change acts at once (also from another thread). */
extern _Atomic unsigned char log_threshold[LOG_PART_COUNT];

/* "info", or "warning,vmx=debug,memory=info". Returns 0, or -EINVAL with a message. */
int log_set_levels(const char *text, char *message, size_t size);
/* The same check, without a change. */
int log_check_levels(const char *text, char *message, size_t size);
/* To a file instead of standard error: rotated to path.1 ... path.keep when it would exceed
 * max_size bytes (0: never). Returns 0 or -errno. */
int log_open_file(const char *path, uint64_t max_size, unsigned keep);
void log_close(void);
/* Simulated time for the line's stamp (cycles and cycles a second); NULL: none. */
void log_set_clock(uint64_t (*now)(void *), void *context, uint64_t hz);

void log_write(enum log_part part, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define LOG_AT(part, level, ...)                 \
    do {                                         \
        if ((level) >= log_threshold[part])      \
            log_write(part, level, __VA_ARGS__); \
    } while (0)
#define LOG_DEBUG(part, ...)   LOG_AT(part, LOG_LEVEL_DEBUG, __VA_ARGS__)
#define LOG_INFO(part, ...)    LOG_AT(part, LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_WARNING(part, ...) LOG_AT(part, LOG_LEVEL_WARNING, __VA_ARGS__)
#define LOG_ERROR(part, ...)   LOG_AT(part, LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
