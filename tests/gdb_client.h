/*
 * A client of the remote serial protocol, as bare as it gets, and a server for it: a process that
 * debugs the guest gdb.elf.
 */
#ifndef VTXSIM_TESTS_GDB_CLIENT_H
#define VTXSIM_TESTS_GDB_CLIENT_H

#include <arpa/inet.h>
#include <elf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "sim/gdb/gdb.h"
#include "sim/timeline.h"
#include "tests/sim_machine.h"

#define REPLY_MAX       40000
#define SECONDS_MAX     60 /* then a test that hangs is ended */
#define PATIENCE_MILLIS 30000

static int client_fd = -1;
static pid_t server_pid;
static uint8_t received[4096]; /* not looked at yet */
static size_t received_first, received_count;
static char reply[REPLY_MAX]; /* the last packet received */
static size_t reply_size;

/* --- The server ----------------------------------------------------------------------------------
 */

static uint16_t port_of(FILE *errors)
{
    char line[256];

    while (fgets(line, sizeof(line), errors)) {
        char *colon = strrchr(line, ':');

        if (strstr(line, "target remote") && colon)
            return (uint16_t)atoi(colon + 1);
    }
    cr_assert_fail("the server does not say where it listens");
    return 0;
}

static _Noreturn void serve(bool backwards, const struct machine_setting *settings)
{
    struct gdb_server *server;
    struct timeline *timeline = NULL;
    struct machine machine = {0};
    char message[512];

    alarm(SECONDS_MAX);
    if (backwards && timeline_start(&timeline))
        _exit(90);
    machine_create(&machine, "gdb.elf", settings);
    if (gdb_server_create(&server, "0", message, sizeof(message)))
        _exit(91);
    gdb_server_attach(server, machine.vm, timeline);
    if (vm_run(machine.vm))
        _exit(92);
    int status = vm_get_stop(machine.vm)->guest_status;
    gdb_server_destroy(server);
    machine_destroy(&machine);
    if (timeline)
        timeline_end(timeline);
    _exit(status);
}

static void client_connect(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};

    int on = 1;

    client_fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(client_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    cr_assert_eq(connect(client_fd, (const struct sockaddr *)&address, sizeof(address)), 0);
}

/* Starts a server and connects to it. */
static void client_start(bool backwards, const struct machine_setting *settings)
{
    int errors[2];

    alarm(SECONDS_MAX);
    cr_assert_eq(pipe(errors), 0);
    server_pid = fork();
    if (server_pid == 0) {
        dup2(errors[1], STDERR_FILENO);
        close(errors[0]);
        close(errors[1]);
        serve(backwards, settings);
    }
    close(errors[1]);
    FILE *file = fdopen(errors[0], "r");
    client_connect(port_of(file));
    fclose(file);
}

/* How the server ended: the guest's status. */
static int client_end(void)
{
    int status;

    close(client_fd);
    received_first = received_count = 0;
    cr_assert_eq(waitpid(server_pid, &status, 0), server_pid);
    cr_assert(WIFEXITED(status), "the server died of signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* --- Packets -------------------------------------------------------------------------------------
 */

static uint8_t next_byte(void)
{
    struct pollfd poller = {.fd = client_fd, .events = POLLIN};

    if (received_first == received_count) {
        cr_assert_gt(poll(&poller, 1, PATIENCE_MILLIS), 0, "no answer");
        ssize_t count = recv(client_fd, received, sizeof(received), 0);
        cr_assert_gt(count, 0, "the connection was closed");
        received_first = 0;
        received_count = (size_t)count;
    }
    return received[received_first++];
}

static void send_bytes(const void *data, size_t size)
{
    cr_assert_eq(send(client_fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void send_packet(const void *data, size_t size)
{
    char *packet = malloc(size + 5);
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += ((const uint8_t *)data)[i];
    *packet = '$';
    memcpy(packet + 1, data, size);
    snprintf(packet + 1 + size, 4, "#%02x", sum);
    send_bytes(packet, size + 4);
    free(packet);
}

/* The next packet, acknowledged; its checksum must be right. */
static void receive(void)
{
    uint8_t byte, sum = 0;
    bool escaped = false;
    char digits[3] = "";

    while (next_byte() != '$')
        ;
    for (reply_size = 0; (byte = next_byte()) != '#';) {
        sum += byte;
        if (byte == '}' && !escaped) {
            escaped = true;
            continue;
        }
        cr_assert_lt(reply_size, REPLY_MAX - 1);
        reply[reply_size++] = (char)(escaped ? byte ^ 0x20 : byte);
        escaped = false;
    }
    reply[reply_size] = '\0';
    digits[0] = (char)next_byte();
    digits[1] = (char)next_byte();
    cr_assert_eq(strtoul(digits, NULL, 16), sum, "checksum of \"%s\"", reply);
    send_bytes("+", 1);
}

/* Sends a packet and returns the answer. */
static const char *ask(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *ask(const char *format, ...)
{
    char packet[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(packet, sizeof(packet), format, arguments);
    va_end(arguments);
    send_packet(packet, strlen(packet));
    receive();
    return reply;
}

static void expect_ok(const char *answer)
{
    cr_assert_str_eq(answer, "OK");
}

/* A number at a place of the answer: `bytes` bytes in the target's order. */
static uint64_t number_at(const char *digits, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i-- > 0;) {
        const char byte[3] = {digits[2 * i], digits[2 * i + 1], '\0'};
        value = value << 8 | strtoul(byte, NULL, 16);
    }
    return value;
}

static uint64_t memory(uint64_t address, unsigned bytes)
{
    ask("m%llx,%x", (unsigned long long)address, bytes);
    cr_assert_eq(reply_size, 2 * bytes, "memory at 0x%llx: %s", (unsigned long long)address, reply);
    return number_at(reply, bytes);
}

/* What "monitor COMMAND" says. */
static const char *monitor(const char *command)
{
    static char text[REPLY_MAX];
    char packet[512] = "qRcmd,", *end = packet + strlen(packet);
    size_t size = 0;

    for (const char *c = command; *c; c++)
        end += sprintf(end, "%02x", *c);
    send_packet(packet, strlen(packet));
    for (receive(); *reply == 'O' && strcmp(reply, "OK"); receive())
        for (size_t i = 1; i + 1 < reply_size; i += 2)
            text[size++] = (char)number_at(reply + i, 1);
    text[size] = '\0';
    expect_ok(reply);
    return text;
}

static uint64_t instructions(void)
{
    return strtoull(monitor("instructions"), NULL, 10);
}

/* --- Registers by their names in the description -------------------------------------------------
 */

static unsigned register_number(const char *name)
{
    static char description[REPLY_MAX]; /* the same for all servers */
    char wanted[64];
    unsigned number = 0;
    size_t size = 0;

    for (bool more = !*description; more; more = *reply == 'm') {
        ask("qXfer:features:read:target.xml:%zx,fff", size);
        memcpy(description + size, reply + 1, reply_size - 1);
        size += reply_size - 1;
        description[size] = '\0';
    }
    snprintf(wanted, sizeof(wanted), "<reg name=\"%s\"", name);
    const char *place = strstr(description, wanted);
    cr_assert_not_null(place, "no register %s", name);
    for (const char *reg = description; (reg = strstr(reg, "<reg ")) && reg < place; reg++)
        number++;
    return number;
}

static uint64_t get_register(const char *name)
{
    ask("p%x", register_number(name));
    return number_at(reply, reply_size > 16 ? 8 : (unsigned)reply_size / 2);
}

/* --- Symbols of the guest ------------------------------------------------------------------------
 */

static uint64_t symbol(const char *name)
{
    static uint8_t image[1 << 18];
    char path[600];
    FILE *file;

    machine_guest_path(path, "gdb.elf");
    file = fopen(path, "re");
    cr_assert_not_null(file);
    size_t size = fread(image, 1, sizeof(image), file);
    fclose(file);
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)image;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + head->e_shoff);
    cr_assert(size > sizeof(*head) && head->e_shoff < size);
    for (unsigned i = 0; i < head->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbols = (const Elf64_Sym *)(image + sections[i].sh_offset);
        const char *names = (const char *)image + sections[sections[i].sh_link].sh_offset;
        for (size_t n = 0; n < sections[i].sh_size / sizeof(*symbols); n++)
            if (!strcmp(names + symbols[n].st_name, name))
                return symbols[n].st_value;
    }
    cr_assert_fail("no symbol %s", name);
    return 0;
}

#endif
