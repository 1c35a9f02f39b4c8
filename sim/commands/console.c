/* The console's buffer. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "sim/commands/console.h"

void console_init(struct console *console, int fd)
{
    *console = (struct console){.fd = fd, .last = '\n'};
    pthread_mutex_init(&console->mutex, NULL);
}

void console_destroy(struct console *console)
{
    pthread_mutex_destroy(&console->mutex);
}

static void write_out(struct console *console)
{
    const char *next = console->buffer;

    while (console->count > 0 && !console->error) {
        ssize_t written = write(console->fd, next, console->count);

        if (written < 0 && errno != EINTR)
            console->error = -errno;
        if (written > 0) {
            next += written;
            console->count -= (size_t)written;
            console->last = next[-1];
        }
    }
    console->count = 0;
}

int console_write(struct console *console, const void *data, size_t size)
{
    const char *next = data;
    int error;

    pthread_mutex_lock(&console->mutex);
    while (size > 0) {
        size_t part = sizeof(console->buffer) - console->count;

        if (part > size)
            part = size;
        memcpy(console->buffer + console->count, next, part);
        console->count += part;
        next += part;
        size -= part;
        if (console->count == sizeof(console->buffer) || memchr(next - part, '\n', part))
            write_out(console);
    }
    error = console->error;
    pthread_mutex_unlock(&console->mutex);
    return error;
}

int console_flush(struct console *console)
{
    int error;

    if (pthread_mutex_trylock(&console->mutex))
        return 0;
    write_out(console);
    error = console->error;
    pthread_mutex_unlock(&console->mutex);
    return error;
}
