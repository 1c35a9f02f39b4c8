/*
 * The user's terminal: raw mode for the guest's console, and the keys that are not for the guest.
 */
#ifndef VTXSIM_SIM_TERMINAL_H
#define VTXSIM_SIM_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* True if fd is a terminal on which this process is in the foreground. */
bool terminal_is_ours(int fd);

/*
 * Passes keys through at once, without echo, with Ctrl-C and Ctrl-Z as keys; output processing
 * stays. The mode before comes back by terminal_restore, at exit and on signals that end the
 * process by a fault. One terminal at a time. Returns 0 or -errno.
 */
int terminal_set_raw(int fd);
/* Async-signal-safe; nothing happens if the terminal is not in raw mode. */
void terminal_restore(void);

/* What the user wants of the simulator: Ctrl-A and a letter. */
enum terminal_key {
    KEY_NONE,
    KEY_END,        /* x */
    KEY_PAUSE,      /* p: pause or resume */
    KEY_STATISTICS, /* s */
    KEY_DEBUG,      /* d: everything to the log, or as before */
    KEY_HELP,       /* h, and letters that mean nothing */
};

/* Zero at the start. */
struct terminal_filter {
    bool prefix; /* Ctrl-A has come, its letter has not */
};

/*
 * Takes one byte of input. Returns a key for the simulator; with KEY_NONE, *for_guest tells whether
 * *byte goes to the guest (Ctrl-A twice sends one).
 */
enum terminal_key terminal_filter(struct terminal_filter *filter, char *byte, bool *for_guest);

extern const char terminal_help[];

#endif
