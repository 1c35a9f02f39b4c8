/*
 * A debugger looks into a virtual machine: the server of GDB's remote serial protocol (GDB manual,
 * appendix "GDB Remote Serial Protocol"), which LLDB speaks too. docs/debugging.md tells how it is
 * used.
 *
 * The server lives in the debug hook of the VM (sim/debug.h): while the guest stands it answers the
 * debugger, on the thread of vm_run. With a timeline it also goes backwards: it makes checkpoints
 * on the way forwards, and wakes the nearest one to go back.
 */
#ifndef VTXSIM_SIM_GDB_GDB_H
#define VTXSIM_SIM_GDB_GDB_H

#include <stddef.h>

struct gdb_server;
struct timeline;
struct vm;

/*
 * Listens. where: "PORT", on 127.0.0.1 only, or "ADDRESS:PORT" ("[ADDRESS]:PORT" for IPv6); port 0
 * is any that is free. Tells on standard error where it listens. One server a process. Returns 0,
 * or -EINVAL, -ENOMEM or -errno of the network with a message.
 */
int gdb_server_create(struct gdb_server **server, const char *where, char *message, size_t size);

/*
 * Takes the debug hook of a VM that has not run yet: vm_run will wait for a debugger before the
 * first instruction. With a timeline vm_run must be called on the thread that started that, in a
 * process without other threads; without (NULL) there is no way back.
 */
void gdb_server_attach(struct gdb_server *server, struct vm *vm, struct timeline *timeline);

/*
 * What copies of the process need (sim/timeline.h): `before` is called before the process is copied
 * or ends in favour of a copy, to write out what is buffered.
 */
void gdb_server_on_copies(struct gdb_server *server, void (*before)(void *context), void *context);

/* Closes the connection. After vm_run; the VM still exists. */
void gdb_server_destroy(struct gdb_server *server);

#endif
