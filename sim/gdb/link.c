/* Sockets and packets. */
#define _GNU_SOURCE
#include "sim/gdb/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INTERRUPT_BYTE 0x03
#define NO_SUM         0x100u

/* --- Listening ----------------------------------------------------------------------------------
 */

union place {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

/*
 * "[ADDRESS]:PORT", "ADDRESS:PORT", ":PORT" or "PORT". Addresses are numbers: asking for names
 * would need libraries that a statically linked program does not have.
 */
static bool parse_place(const char *where, union place *place)
{
    const char *colon = strrchr(where, ':'), *digits = colon ? colon + 1 : where;
    size_t length = colon ? (size_t)(colon - where) : 0;
    char address[INET6_ADDRSTRLEN + 1] = "127.0.0.1", *end;
    unsigned long port = strtoul(digits, &end, 10);

    if (length > 1 && where[0] == '[' && where[length - 1] == ']') {
        where++;
        length -= 2;
    }
    if (length >= sizeof(address) || port > UINT16_MAX || *end || end == digits)
        return false;
    if (length)
        snprintf(address, sizeof(address), "%.*s", (int)length, where);
    if (strcmp(address, "localhost") == 0)
        strcpy(address, "127.0.0.1");
    *place = (union place){0};
    if (inet_pton(AF_INET, address, &place->four.sin_addr) == 1) {
        place->four.sin_family = AF_INET;
        place->four.sin_port = htons((uint16_t)port);
        return true;
    }
    place->six.sin6_family = AF_INET6;
    place->six.sin6_port = htons((uint16_t)port);
    return inet_pton(AF_INET6, address, &place->six.sin6_addr) == 1;
}

static int listen_at(const union place *place)
{
    int on = 1, fd = socket(place->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, &place->any, sizeof(*place)) || listen(fd, 1)) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

static void tell_address(int fd)
{
    char address[INET6_ADDRSTRLEN];
    union place place;
    socklen_t length = sizeof(place);

    getsockname(fd, &place.any, &length);
    if (place.any.sa_family == AF_INET6)
        fprintf(stderr, "vtxsim: waiting for a debugger: target remote [%s]:%u\n",
                inet_ntop(AF_INET6, &place.six.sin6_addr, address, sizeof(address)),
                ntohs(place.six.sin6_port));
    else
        fprintf(stderr, "vtxsim: waiting for a debugger: target remote %s:%u\n",
                inet_ntop(AF_INET, &place.four.sin_addr, address, sizeof(address)),
                ntohs(place.four.sin_port));
}

int link_listen(struct gdb_link *link, const char *where, char *message, size_t size)
{
    union place place;

    *link = (struct gdb_link){.listener = -1, .fd = -1};
    if (!parse_place(where, &place)) {
        snprintf(message, size,
                 "\"%s\" is no place to listen: give a port (1234, or 0 for any), or an address "
                 "and a port (0.0.0.0:1234)",
                 where);
        return -EINVAL;
    }
    int fd = listen_at(&place);
    if (fd < 0) {
        snprintf(message, size, "cannot listen at %s: %s%s", where, strerror(-fd),
                 fd == -EADDRINUSE ? "; another port, or 0, may be free" : "");
        return fd;
    }
    link->listener = fd;
    tell_address(fd);
    return 0;
}

void link_hang_up(struct gdb_link *link)
{
    if (link->fd >= 0) {
        shutdown(link->fd, SHUT_RDWR); /* checkpoints have it too */
        close(link->fd);
    }
    free(link->sent);
    link->fd = -1;
    link->sent = NULL;
    link->sent_size = link->input_first = link->input_count = 0;
    link->place = LINK_OUTSIDE;
    link->no_ack = false;
}

void link_close(struct gdb_link *link)
{
    link_hang_up(link);
    if (link->listener >= 0)
        close(link->listener);
    link->listener = -1;
}

/* True when fd can be read, or has an end to be read. */
static bool wait_for(int fd, int milliseconds)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, milliseconds) > 0;
}

bool link_accept(struct gdb_link *link, int milliseconds)
{
    int on = 1;

    if (!wait_for(link->listener, milliseconds))
        return false;
    link_hang_up(link);
    link->fd = accept4(link->listener, NULL, NULL, SOCK_CLOEXEC);
    if (link->fd < 0)
        return false;
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return true;
}

bool link_pending(const struct gdb_link *link)
{
    return link->input_first < link->input_count ||
           wait_for(link->fd >= 0 ? link->fd : link->listener, 0);
}

static void signal_of(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    fcntl(fd, F_SETOWN, getpid());
    fcntl(fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC);
}

void link_signal(struct gdb_link *link, bool on)
{
    signal_of(link->fd >= 0 ? link->fd : link->listener, on);
}

/* --- Packets -------------------------------------------------------------------------------------
 */

static void write_out(const struct gdb_link *link, const void *data, size_t size)
{
    while (size && link->fd >= 0) {
        ssize_t written = send(link->fd, data, size, MSG_NOSIGNAL);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return;
        data = (const uint8_t *)data + written;
        size -= (size_t)written;
    }
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void store(struct gdb_link *link, uint8_t byte)
{
    link->too_long |= link->size >= LINK_PACKET_MAX;
    if (!link->too_long)
        link->packet[link->size++] = (char)byte;
}

/* A byte between $ and #. */
static void take_data(struct gdb_link *link, uint8_t byte)
{
    link->sum += byte;
    if (byte == '}' && !link->escaped) {
        link->escaped = true;
        return;
    }
    store(link, link->escaped ? byte ^ 0x20 : byte);
    link->escaped = false;
}

static enum link_event finish_packet(struct gdb_link *link)
{
    link->place = LINK_OUTSIDE;
    link->packet[link->size] = '\0';
    bool right = link->sum == link->given;
    if (!link->no_ack)
        write_out(link, right ? "+" : "-", 1);
    return right ? LINK_PACKET : LINK_NOTHING;
}

static enum link_event take_outside(struct gdb_link *link, uint8_t byte)
{
    if (byte == INTERRUPT_BYTE)
        return LINK_INTERRUPT;
    if (byte == '-' && !link->no_ack)
        write_out(link, link->sent, link->sent_size);
    if (byte != '$')
        return LINK_NOTHING; /* acknowledgements, and noise */
    link->place = LINK_INSIDE;
    link->size = 0;
    link->sum = 0;
    link->too_long = link->escaped = false;
    return LINK_NOTHING;
}

static enum link_event take_byte(struct gdb_link *link, uint8_t byte)
{
    int digit = hex_digit(byte);

    if (link->place == LINK_OUTSIDE)
        return take_outside(link, byte);
    if (byte == '$') /* nowhere else than at a beginning: the end of the last one was lost */
        return link->place = LINK_OUTSIDE, take_outside(link, byte);
    switch (link->place) {
    case LINK_INSIDE:
        if (byte == '#')
            link->place = LINK_SUM_HIGH;
        else
            take_data(link, byte);
        return LINK_NOTHING;
    case LINK_SUM_HIGH:
        link->given = digit < 0 ? NO_SUM : (unsigned)digit << 4;
        link->place = LINK_SUM_LOW;
        return LINK_NOTHING;
    default:
        link->given |= digit < 0 ? NO_SUM : (unsigned)digit;
        return finish_packet(link);
    }
}

enum link_event link_receive(struct gdb_link *link, int milliseconds)
{
    for (;;) {
        while (link->input_first < link->input_count) {
            enum link_event event = take_byte(link, link->input[link->input_first++]);

            if (event != LINK_NOTHING)
                return event;
        }
        if (link->fd < 0)
            return LINK_CLOSED;
        if (!wait_for(link->fd, milliseconds))
            return LINK_NOTHING;
        ssize_t count = recv(link->fd, link->input, sizeof(link->input), 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return LINK_CLOSED;
        link->input_first = 0;
        link->input_count = (size_t)count;
    }
}

void link_send(struct gdb_link *link, const void *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = data;
    uint8_t *packet = malloc(2 * size + 4), *to = packet, sum = 0;

    if (!packet)
        return;
    *to++ = '$';
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = from[i];

        if (byte == '$' || byte == '#' || byte == '}' || byte == '*') {
            *to++ = '}';
            sum += '}';
            byte ^= 0x20;
        }
        *to++ = byte;
        sum += byte;
    }
    *to++ = '#';
    *to++ = (uint8_t)digits[sum >> 4];
    *to++ = (uint8_t)digits[sum & 15];
    write_out(link, packet, (size_t)(to - packet));
    free(link->sent);
    link->sent = packet;
    link->sent_size = (size_t)(to - packet);
}
