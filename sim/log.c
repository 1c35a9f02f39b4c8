/* Logging: one formatted line, one write. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/log.h"

#define LINE_SIZE 2048 /* longer lines are cut */

_Atomic unsigned char log_threshold[LOG_PART_COUNT] = {
    LOG_LEVEL_WARNING, LOG_LEVEL_WARNING, LOG_LEVEL_WARNING, LOG_LEVEL_WARNING,
    LOG_LEVEL_WARNING, LOG_LEVEL_WARNING, LOG_LEVEL_WARNING, LOG_LEVEL_WARNING,
};
_Static_assert(LOG_PART_COUNT == 8, "every part starts at LOG_LEVEL_WARNING");

static const char *const level_names[] = {"debug", "info", "warning", "error", "off"};
#define LEVEL_COUNT (sizeof(level_names) / sizeof(*level_names))
static const char *const part_names[LOG_PART_COUNT] = {"vm",     "vmx",    "cpu",    "memory",
                                                       "device", "loader", "engine", "trace"};

/* What a line starts with, plain and in colours. */
static const char *const level_labels[2][LEVEL_COUNT - 1] = {
    {"DEBUG", "INFO", "WARNING", "ERROR"},
    {"\033[2mDEBUG\033[0m", "\033[32mINFO\033[0m", "\033[33mWARNING\033[0m",
     "\033[1;31mERROR\033[0m"},
};

static struct {
    pthread_mutex_t mutex;
    int fd; /* -1: standard error */
    char *path;
    uint64_t size, max_size;
    unsigned keep;
    bool failed; /* and that has been told */
    uint64_t (*now)(void *);
    void *context;
    uint64_t hz;
} sink = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static int find_name(const char *const *names, unsigned count, const char *text, size_t length)
{
    for (unsigned i = 0; i < count; i++)
        if (strlen(names[i]) == length && strncasecmp(names[i], text, length) == 0)
            return (int)i;
    return -1;
}

/* One element, "level" or "part=level", of length bytes. */
static int parse_level(const char *text, size_t length, unsigned char levels[LOG_PART_COUNT],
                       char *message, size_t size)
{
    const char *equals = memchr(text, '=', length);
    const char *name = equals ? equals + 1 : text;
    int level = find_name(level_names, LEVEL_COUNT, name, length - (size_t)(name - text));
    int part = equals ? find_name(part_names, LOG_PART_COUNT, text, (size_t)(equals - text)) : 0;

    if (part < 0) {
        snprintf(message, size,
                 "no part of the simulator is called \"%.*s\": choose vm, vmx, cpu, memory, "
                 "device, loader, engine or trace",
                 (int)(equals - text), text);
        return -EINVAL;
    }
    if (level < 0) {
        snprintf(message, size,
                 "\"%.*s\" is not a log level: choose debug, info, warning, error or off, for all "
                 "(\"info\") or for a part (\"vmx=debug\")",
                 (int)(length - (size_t)(name - text)), name);
        return -EINVAL;
    }
    if (equals)
        levels[part] = (unsigned char)level;
    else
        memset(levels, level, LOG_PART_COUNT);
    return 0;
}

/* Every element in turn; those before it hold for parts that it does not name. */
static int parse_levels(const char *text, unsigned char levels[LOG_PART_COUNT], char *message,
                        size_t size)
{
    for (;;) {
        size_t length = strcspn(text, ",");
        int error = parse_level(text, length, levels, message, size);

        if (error || !text[length])
            return error;
        text += length + 1;
    }
}

int log_check_levels(const char *text, char *message, size_t size)
{
    unsigned char levels[LOG_PART_COUNT];

    return parse_levels(text, levels, message, size);
}

int log_set_levels(const char *text, char *message, size_t size)
{
    unsigned char levels[LOG_PART_COUNT];
    int error;

    for (unsigned part = 0; part < LOG_PART_COUNT; part++)
        levels[part] = atomic_load(&log_threshold[part]);
    error = parse_levels(text, levels, message, size);
    for (unsigned part = 0; !error && part < LOG_PART_COUNT; part++)
        atomic_store(&log_threshold[part], levels[part]);
    return error;
}

static int open_log(const char *path, int flags, uint64_t *size)
{
    struct stat status;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0666);

    if (fd < 0)
        return -errno;
    *size = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    return fd;
}

static void close_file(void)
{
    if (sink.fd >= 0)
        close(sink.fd);
    free(sink.path);
    sink.path = NULL;
    sink.fd = -1;
    sink.failed = false;
}

int log_open_file(const char *path, uint64_t max_size, unsigned keep)
{
    char *copy = strdup(path);
    uint64_t size;
    int fd;

    if (!copy)
        return -ENOMEM;
    fd = open_log(path, 0, &size);
    if (fd < 0) {
        free(copy);
        return fd;
    }
    pthread_mutex_lock(&sink.mutex);
    close_file();
    sink.fd = fd;
    sink.path = copy;
    sink.size = size;
    sink.max_size = max_size;
    sink.keep = keep;
    pthread_mutex_unlock(&sink.mutex);
    return 0;
}

void log_close(void)
{
    pthread_mutex_lock(&sink.mutex);
    close_file();
    pthread_mutex_unlock(&sink.mutex);
}

void log_set_clock(uint64_t (*now)(void *), void *context, uint64_t hz)
{
    pthread_mutex_lock(&sink.mutex);
    sink.now = now;
    sink.context = context;
    sink.hz = hz;
    pthread_mutex_unlock(&sink.mutex);
}

/* Tells once on standard error why the file gets no more lines (or grows beyond its size). */
static void tell_failure(const char *what, int error)
{
    if (!sink.failed)
        dprintf(STDERR_FILENO, "vtxsim: log file %s: %s: %s\n", sink.path, what, strerror(error));
    sink.failed = true;
}

static void rotated_name(char *name, size_t size, unsigned number)
{
    if (number)
        snprintf(name, size, "%s.%u", sink.path, number);
    else
        snprintf(name, size, "%s", sink.path);
}

/* path -> path.1 -> ... -> path.keep, whose old content is lost. */
static void rotate(void)
{
    size_t length = strlen(sink.path) + 12;
    char *from = malloc(length), *to = malloc(length);
    uint64_t size;
    int fd;

    for (unsigned number = sink.keep; from && to && number > 0; number--) {
        rotated_name(from, length, number - 1);
        rotated_name(to, length, number);
        if (rename(from, to) < 0 && errno != ENOENT)
            tell_failure("cannot rotate", errno);
    }
    free(from);
    free(to);
    /* A file that could not be renamed starts again too: its size is what was asked for. */
    fd = open_log(sink.path, O_TRUNC, &size);
    if (fd < 0) {
        tell_failure("cannot reopen", -fd);
        return;
    }
    close(sink.fd);
    sink.fd = fd;
    sink.size = 0;
}

static void write_line(const char *line, size_t length)
{
    if (sink.fd < 0) {
        (void)!write(STDERR_FILENO, line, length);
        return;
    }
    if (sink.max_size && sink.size > 0 && sink.size + length > sink.max_size)
        rotate();
    if (write(sink.fd, line, length) == (ssize_t)length)
        sink.size += length;
    else
        tell_failure("cannot write", errno);
}

/* Where the guest or a file chose part of the message: nothing that moves the cursor. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
}

/* The start of a line: "[    1.234567] INFO vmx: ". */
static size_t format_start(char *line, size_t size, enum log_part part, enum log_level level)
{
    const char *label = level_labels[sink.fd < 0 && isatty(STDERR_FILENO)][level];
    int length;

    if (sink.now && sink.hz) {
        uint64_t now = sink.now(sink.context);
        uint64_t micros = (uint64_t)((unsigned __int128)(now % sink.hz) * 1000000 / sink.hz);

        length = snprintf(line, size, "[%5llu.%06llu] %s %s: ", (unsigned long long)(now / sink.hz),
                          (unsigned long long)micros, label, part_names[part]);
    } else {
        length = snprintf(line, size, "%s %s: ", label, part_names[part]);
    }
    return (size_t)length;
}

void log_write(enum log_part part, enum log_level level, const char *format, ...)
{
    char line[LINE_SIZE];
    size_t start, length;
    va_list arguments;
    int saved = errno;

    if (level >= LOG_LEVEL_OFF)
        return;
    pthread_mutex_lock(&sink.mutex);
    start = format_start(line, sizeof(line) - 1, part, level);
    va_start(arguments, format);
    vsnprintf(line + start, sizeof(line) - 1 - start, format, arguments);
    va_end(arguments);
    make_printable(line + start);
    length = start + strlen(line + start);
    line[length++] = '\n';
    write_line(line, length);
    pthread_mutex_unlock(&sink.mutex);
    errno = saved;
}
