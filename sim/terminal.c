/* Raw mode and the prefix key. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "sim/terminal.h"

#define PREFIX_KEY ('a' & 0x1f) /* Ctrl-A */

static struct termios cooked;
static int raw_fd = -1;
static volatile sig_atomic_t is_raw;

const char terminal_help[] = "Ctrl-A x  end\n"
                             "Ctrl-A p  pause, resume\n"
                             "Ctrl-A s  statistics\n"
                             "Ctrl-A d  log everything, or as before\n"
                             "Ctrl-A h  this help\n"
                             "Ctrl-A Ctrl-A  a Ctrl-A for the guest\n";

bool terminal_is_ours(int fd)
{
    return isatty(fd) && tcgetpgrp(fd) == getpgrp();
}

void terminal_restore(void)
{
    int saved = errno;

    if (is_raw) {
        is_raw = 0;
        tcsetattr(raw_fd, TCSANOW, &cooked);
    }
    errno = saved;
}

/* A fault of our own: the handler was reset to the default, which then ends the process. */
static void restore_and_die(int number)
{
    terminal_restore();
    raise(number);
}

/* Handlers that somebody else has installed (a sanitizer) stay; they end by exit. */
static void restore_on_faults(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction ours = {.sa_handler = restore_and_die, .sa_flags = SA_RESETHAND}, before;

    sigemptyset(&ours.sa_mask);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(numbers[i], &ours, NULL);
}

int terminal_set_raw(int fd)
{
    static bool prepared;
    struct termios raw;

    if (!is_raw && tcgetattr(fd, &cooked) < 0)
        return -errno;
    raw = cooked;
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (!prepared) {
        atexit(terminal_restore);
        restore_on_faults();
        prepared = true;
    }
    raw_fd = fd;
    if (tcsetattr(fd, TCSANOW, &raw) < 0)
        return -errno;
    is_raw = 1;
    return 0;
}

static enum terminal_key key_of(char byte)
{
    switch (byte) {
    case 'x':
        return KEY_END;
    case 'p':
        return KEY_PAUSE;
    case 's':
        return KEY_STATISTICS;
    case 'd':
        return KEY_DEBUG;
    default:
        return KEY_HELP;
    }
}

enum terminal_key terminal_filter(struct terminal_filter *filter, char *byte, bool *for_guest)
{
    bool prefix = filter->prefix;

    filter->prefix = !prefix && *byte == PREFIX_KEY;
    *for_guest = prefix ? *byte == PREFIX_KEY : !filter->prefix;
    return prefix && !*for_guest ? key_of(*byte) : KEY_NONE;
}
