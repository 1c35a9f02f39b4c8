/* Reading files, and the messages about them. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/loaders/internal.h"

/* A kernel with all its debugging information stays well below. */
#define FILE_SIZE_MAX (4ull << 30)

int load_fail(struct load *load, int error, const char *format, ...)
{
    va_list arguments;
    int used = snprintf(load->message, load->message_size, "%s: ", load->name);

    if (used >= 0 && (size_t)used < load->message_size) {
        va_start(arguments, format);
        vsnprintf(load->message + used, load->message_size - used, format, arguments);
        va_end(arguments);
    }
    return -error;
}

static int read_whole(struct load *load, int fd, uint8_t *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = read(fd, data + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return load_fail(load, errno, "cannot be read: %s", strerror(errno));
        if (got == 0)
            return load_fail(load, EIO, "became shorter while it was read: try again");
        done += got;
    }
    return 0;
}

static int read_open(struct load *load, int fd, struct contents *contents)
{
    struct stat status;
    int error;

    if (fstat(fd, &status))
        return load_fail(load, errno, "cannot be examined: %s", strerror(errno));
    if (S_ISDIR(status.st_mode))
        return load_fail(load, EISDIR, "is a directory: name a file in it");
    if (!S_ISREG(status.st_mode))
        return load_fail(load, EINVAL, "is not a regular file: copy its content into one");
    if (status.st_size == 0)
        return load_fail(load, ENOEXEC, "is empty: was it built or downloaded completely?");
    if ((uint64_t)status.st_size > FILE_SIZE_MAX)
        return load_fail(load, EFBIG, "has %llu MiB, more than the %llu MiB that images may have",
                         (unsigned long long)status.st_size >> 20, FILE_SIZE_MAX >> 20);

    contents->size = status.st_size;
    contents->owned = malloc(contents->size);
    if (!contents->owned)
        return load_fail(load, ENOMEM, "needs %zu MiB of host memory, which there are not",
                         contents->size >> 20);
    contents->data = contents->owned;
    error = read_whole(load, fd, contents->owned, contents->size);
    if (error)
        contents_release(contents);
    return error;
}

static int contents_open(struct load *load, const struct loader_file *file,
                         struct contents *contents)
{
    if (file->data || file->size) {
        if (!file->size)
            return load_fail(load, ENOEXEC, "is empty");
        contents->data = file->data;
        contents->size = file->size;
        return 0;
    }
    /* O_NONBLOCK: a FIFO without a writer must not hang. */
    int fd = open(file->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return load_fail(load, errno, "cannot be opened: %s%s", strerror(errno),
                         errno == ENOENT ? ". Check the path" : "");
    int error = read_open(load, fd, contents);
    close(fd);
    return error;
}

int contents_read(struct load *load, const struct loader_file *file, struct contents *contents)
{
    const char *image_name = load->name;

    memset(contents, 0, sizeof(*contents));
    load->name = file->name ? file->name : "image"; /* messages are about this file */
    int error = contents_open(load, file, contents);
    load->name = image_name ? image_name : "image";
    return error;
}

void contents_release(struct contents *contents)
{
    free(contents->owned);
    memset(contents, 0, sizeof(*contents));
}
