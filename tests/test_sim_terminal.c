/* The terminal: which keys are whose, and that the mode before always comes back. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "sim/terminal.h"

/* A sanitizer's search for leaks cannot stop the threads of a forked child. */
const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

Test(sim_terminal, filter)
{
    static const struct {
        const char *typed, *guest, *keys; /* keys: first letters of end, pause, ... in order */
    } cases[] = {
        {"ls\r\003\032", "ls\r\003\032", ""},
        {"a\001xb", "ab", "e"},
        {"\001p\001p", "", "pp"},
        {"\001s\001d\001h\001?", "", "sdhh"},
        {"\001\001x", "\001x", ""},
        {"\001\001\001x", "\001", "e"},
        {"x\001", "x", ""},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct terminal_filter filter = {0};
        char guest[16] = "", keys[16] = "";

        for (const char *next = cases[i].typed; *next; next++) {
            char byte = *next;
            bool for_guest;
            enum terminal_key key = terminal_filter(&filter, &byte, &for_guest);

            if (for_guest)
                strncat(guest, &byte, 1);
            if (key != KEY_NONE)
                strncat(keys, &"epsdh"[key - KEY_END], 1);
            cr_assert(!for_guest || key == KEY_NONE);
        }
        cr_assert_str_eq(guest, cases[i].guest);
        cr_assert_str_eq(keys, cases[i].keys);
    }
}

static int open_terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);

    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    return master;
}

/* In a child whose controlling terminal is the pty: raw mode, a key, then an end of some kind. */
static void child(const char *name, char how)
{
    char key;
    int fd;

    setsid();
    fd = open(name, O_RDWR);
    if (!terminal_is_ours(fd) || terminal_set_raw(fd) || terminal_set_raw(fd))
        _exit(99);
    if (write(fd, "ready", 5) != 5 || read(fd, &key, 1) != 1 || key != '\003')
        _exit(98);
    switch (how) {
    case 'e':
        exit(0);
    case 'r':
        terminal_restore();
        terminal_restore();
        _exit(0);
    case 's':
        raise(SIGFPE);
    }
    _exit(97);
}

Test(sim_terminal, mode_comes_back)
{
    static const char ways[] = "ers";

    for (const char *how = ways; *how; how++) {
        int master = open_terminal(), slave, status;
        struct termios before, raw, after;
        char name[64], text[8] = "";
        pid_t pid;

        snprintf(name, sizeof(name), "%s", ptsname(master));
        slave = open(name, O_RDWR | O_NOCTTY);
        cr_assert_eq(tcgetattr(slave, &before), 0);
        pid = fork();
        if (pid == 0) {
            signal(SIGFPE, SIG_DFL);
            child(name, *how);
        }
        cr_assert_eq(read(master, text, 5), 5);
        cr_assert_str_eq(text, "ready");
        cr_assert_eq(tcgetattr(slave, &raw), 0);
        cr_assert_eq(raw.c_lflag & (ECHO | ICANON | ISIG), 0);
        cr_assert_eq(write(master, "\003", 1), 1); /* Ctrl-C is a key, at once and without echo */
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        if (*how == 's')
            cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGFPE, "status %#x", status);
        else
            cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
        cr_assert_eq(tcgetattr(slave, &after), 0);
        cr_assert(before.c_lflag == after.c_lflag && before.c_iflag == after.c_iflag,
                  "'%c': the mode did not come back", *how);
        close(slave);
        close(master);
    }
}
