/*
 * The connection to a debugger: packets in and out, with checksums, acknowledgements and escapes
 * (GDB manual, "Overview" of the remote serial protocol).
 *
 *   $data#cc    cc: sum of data modulo 256; + or - answers it, unless both have agreed not to
 *   0x03        interrupt, outside of packets
 *   }x          in data: the byte x ^ 0x20
 */
#ifndef VTXSIM_SIM_GDB_LINK_H
#define VTXSIM_SIM_GDB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_PACKET_MAX 0x4000 /* bytes of data in a packet, either way */

enum link_event {
    LINK_NOTHING,   /* the time is up */
    LINK_PACKET,    /* link->packet holds one */
    LINK_INTERRUPT, /* the user presses Ctrl-C */
    LINK_CLOSED,    /* the debugger has gone */
};

struct gdb_link {
    int listener, fd; /* fd: -1 while nobody is connected */
    bool no_ack;

    char packet[LINK_PACKET_MAX + 1]; /* the last received, without escapes; 0 behind it */
    size_t size;
    bool too_long; /* it did not fit: cut */

    enum { LINK_OUTSIDE, LINK_INSIDE, LINK_SUM_HIGH, LINK_SUM_LOW } place;
    bool escaped;
    uint8_t sum;
    unsigned given; /* more than a byte holds: what came is no checksum */

    uint8_t input[4096]; /* received, not looked at */
    size_t input_first, input_count;
    uint8_t *sent; /* the last packet as it went out, to be repeated on - */
    size_t sent_size;
};

/* Listens at "PORT" or "ADDRESS:PORT"; *port: the one that it became. Returns 0 or -errno with a
 * message. */
int link_listen(struct gdb_link *link, const char *where, char *message, size_t size);
void link_close(struct gdb_link *link);

/* Takes a debugger that waits to be let in. Returns false if there is none within so many
 * milliseconds (-1: no limit). */
bool link_accept(struct gdb_link *link, int milliseconds);
void link_hang_up(struct gdb_link *link);

/* What comes next, waiting at most so many milliseconds (-1: no limit) for it. */
enum link_event link_receive(struct gdb_link *link, int milliseconds);
/* Sends a packet. A connection that breaks shows at the next link_receive. */
void link_send(struct gdb_link *link, const void *data, size_t size);

/* True if anything has arrived, a debugger that waits to be let in too. */
bool link_pending(const struct gdb_link *link);
/* While on, the process gets SIGIO when anything arrives. */
void link_signal(struct gdb_link *link, bool on);

#endif
