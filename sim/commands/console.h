/* The guest's console on its way out: gathered into lines, so that a byte is not a system call. */
#ifndef VTXSIM_SIM_COMMANDS_CONSOLE_H
#define VTXSIM_SIM_COMMANDS_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct console {
    pthread_mutex_t mutex;
    int fd;
    int error; /* -errno of the first write that failed: what comes later is dropped */
    char last; /* byte written */
    size_t count;
    char buffer[8192];
};

void console_init(struct console *console, int fd);
void console_destroy(struct console *console);
/* Writes out at the end of a line and when the buffer is full. Returns 0 or -errno. */
int console_write(struct console *console, const void *data, size_t size);
/* Writes out what is there, unless another thread is just doing so. Returns 0 or -errno. */
int console_flush(struct console *console);

#endif
