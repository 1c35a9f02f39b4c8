/* The packets, by what they begin with. What is not known is answered by an empty packet. */
#include <stdlib.h>
#include <string.h>

#include "sim/gdb/registers.h"
#include "sim/gdb/server.h"
#include "sim/gdb/text.h"
#include "sim/vm_internal.h"

/* Error numbers mean nothing to GDB; these are errno's. */
#define ERROR_ARGUMENT "E16"
#define ERROR_ADDRESS  "E0e"
#define ERROR_SPACE    "E1c"

#define OUTPUT_MAX \
    (LINK_PACKET_MAX / 2 - 8) /* bytes of text in one packet, as hexadecimal digits */

void server_reply(struct gdb_server *server, const char *text)
{
    link_send(&server->link, text, strlen(text));
}

static void reply_hex(struct gdb_server *server, const char *prefix, const void *data, size_t size)
{
    char text[LINK_PACKET_MAX + 1];

    strcpy(text, prefix);
    put_bytes(text + strlen(prefix), data, size);
    server_reply(server, text);
}

/* --- Registers -----------------------------------------------------------------------------------
 */

static void read_registers(struct gdb_server *server, const char *arguments)
{
    char text[LINK_PACKET_MAX + 1], *end = text;
    uint8_t value[REGISTER_BYTES_MAX];

    (void)arguments;
    for (unsigned i = 0; i < register_count(); i++) {
        register_read(server->vm, i, value);
        end = put_bytes(end, value, register_size(i));
    }
    server_reply(server, text);
}

static void registers_changed(struct gdb_server *server)
{
    vm_debug_changed(server->vm);
    server->modified = true;
}

static void write_registers(struct gdb_server *server, const char *arguments)
{
    uint8_t value[REGISTER_BYTES_MAX];
    bool all = true;

    for (unsigned i = 0; i < register_count(); i++) {
        if (!take_bytes(&arguments, value, register_size(i))) {
            server_reply(server, ERROR_ARGUMENT);
            return;
        }
        all = register_write(server->vm, i, value) && all;
    }
    registers_changed(server);
    server_reply(server, all ? "OK" : ERROR_ARGUMENT);
}

static void read_register(struct gdb_server *server, const char *arguments)
{
    uint8_t value[REGISTER_BYTES_MAX];
    uint64_t number;

    if (!take_number(&arguments, &number) || number >= register_count()) {
        server_reply(server, ERROR_ARGUMENT);
        return;
    }
    register_read(server->vm, (unsigned)number, value);
    reply_hex(server, "", value, register_size((unsigned)number));
}

static void write_register(struct gdb_server *server, const char *arguments)
{
    uint8_t value[REGISTER_BYTES_MAX];
    uint64_t number;

    if (!take_number(&arguments, &number) || number >= register_count() ||
        !take_char(&arguments, '=') ||
        !take_bytes(&arguments, value, register_size((unsigned)number)) ||
        !register_write(server->vm, (unsigned)number, value)) {
        server_reply(server, ERROR_ARGUMENT);
        return;
    }
    registers_changed(server);
    server_reply(server, "OK");
}

/* --- Memory --------------------------------------------------------------------------------------
 */

static void read_memory(struct gdb_server *server, const char *arguments)
{
    uint8_t data[LINK_PACKET_MAX / 2];
    uint64_t address, size;

    if (!take_range(&arguments, &address, &size)) {
        server_reply(server, ERROR_ARGUMENT);
        return;
    }
    if (size > sizeof(data))
        size = sizeof(data);
    size_t done = vm_debug_read(server->vm, address, data, size);
    if (size && !done)
        server_reply(server, ERROR_ADDRESS);
    else
        reply_hex(server, "", data, done);
}

static void store(struct gdb_server *server, uint64_t address, const void *data, size_t size)
{
    size_t done = vm_debug_write(server->vm, address, data, size);

    server->modified = server->modified || done;
    server_reply(server, done == size ? "OK" : ERROR_ADDRESS);
}

static void write_memory(struct gdb_server *server, const char *arguments)
{
    uint8_t data[LINK_PACKET_MAX / 2];
    uint64_t address, size;

    if (!take_range(&arguments, &address, &size) || size > sizeof(data) ||
        !take_char(&arguments, ':') || !take_bytes(&arguments, data, size))
        server_reply(server, ERROR_ARGUMENT);
    else
        store(server, address, data, size);
}

static void write_binary(struct gdb_server *server, const char *arguments)
{
    uint64_t address, size;

    if (!take_range(&arguments, &address, &size) || !take_char(&arguments, ':') ||
        size != (size_t)(server->link.packet + server->link.size - arguments))
        server_reply(server, ERROR_ARGUMENT);
    else
        store(server, address, arguments, size);
}

/* --- Points --------------------------------------------------------------------------------------
 */

/* "TYPE,ADDRESS,SIZE", and for breakpoints conditions that were not asked for. Returns NULL, or the
 * answer to what cannot be. */
static const char *take_point(const char *arguments, struct gdb_point *point)
{
    uint64_t type;

    if (!take_number(&arguments, &type) || !take_char(&arguments, ',') ||
        !take_range(&arguments, &point->address, &point->size))
        return ERROR_ARGUMENT;
    if (type >= POINT_TYPES)
        return "";
    point->type = (enum point_type)type;
    bool watch = type >= POINT_WRITE;
    return watch && (!point->size || point->address + point->size - 1 < point->address)
               ? ERROR_ARGUMENT
               : NULL;
}

static struct gdb_point *find_point(struct gdb_server *server, const struct gdb_point *point)
{
    for (unsigned i = 0; i < server->wishes.point_count; i++) {
        struct gdb_point *have = &server->wishes.point[i];

        if (have->type == point->type && have->address == point->address &&
            have->size == point->size)
            return have;
    }
    return NULL;
}

static void set_point(struct gdb_server *server, const char *arguments)
{
    struct wishes *wishes = &server->wishes;
    struct gdb_point point;
    const char *answer = take_point(arguments, &point);

    if (!answer && find_point(server, &point)) {
        answer = "OK";
    } else if (!answer && wishes->point_count == POINTS_MAX) {
        answer = ERROR_SPACE;
    } else if (!answer) {
        wishes->point[wishes->point_count++] = point;
        answer = "OK";
    }
    server_reply(server, answer);
}

static void clear_point(struct gdb_server *server, const char *arguments)
{
    struct wishes *wishes = &server->wishes;
    struct gdb_point point, *have;
    const char *answer = take_point(arguments, &point);

    have = answer ? NULL : find_point(server, &point);
    if (have)
        *have = wishes->point[--wishes->point_count];
    server_reply(server, answer ? answer : "OK");
}

/* --- Running -------------------------------------------------------------------------------------
 */

/* An address to go on at, perhaps. */
static void take_rip(struct gdb_server *server, const char *arguments)
{
    uint64_t rip;

    if (!take_number(&arguments, &rip))
        return;
    vm_debug_cpu(server->vm)->state.rip = rip;
    registers_changed(server);
}

static void go(struct gdb_server *server, const char *arguments)
{
    take_rip(server, arguments);
    server_resume(server, GOAL_RUN, 0);
}

static void step(struct gdb_server *server, const char *arguments)
{
    take_rip(server, arguments);
    server_resume(server, GOAL_STEP, server->now + 1);
}

/* "SIGNAL" or "SIGNAL;ADDRESS": the guest knows no signals. */
static void go_with_signal(struct gdb_server *server, const char *arguments)
{
    const char *address = strchr(arguments, ';');

    go(server, address ? address + 1 : "");
}

static void step_with_signal(struct gdb_server *server, const char *arguments)
{
    const char *address = strchr(arguments, ';');

    step(server, address ? address + 1 : "");
}

static void run_back(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_resume(server, GOAL_SCAN, server->now);
}

static void step_back(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server->wishes.report = (struct report){.reason = VM_DEBUG_COUNT};
    if (server->now)
        server_resume(server, GOAL_PLACE, server->now - 1);
    else
        run_back(server, "");
}

/* "FIRST,END:THREAD" */
static void step_range(struct gdb_server *server, const char *arguments)
{
    struct wishes *wishes = &server->wishes;

    if (!take_range(&arguments, &wishes->range_first, &wishes->range_end))
        server_reply(server, ERROR_ARGUMENT);
    else
        server_resume(server, GOAL_RANGE, server->now + 1);
}

/* "ACTION:THREAD;...": with one processor the first action is the one. */
static void resume_by_action(struct gdb_server *server, const char *arguments)
{
    switch (*arguments) {
    case 'c':
    case 'C':
        server_resume(server, GOAL_RUN, 0);
        break;
    case 's':
    case 'S':
        server_resume(server, GOAL_STEP, server->now + 1);
        break;
    case 'r':
        step_range(server, arguments + 1);
        break;
    default:
        server_reply(server, ERROR_ARGUMENT);
    }
}

static void tell_actions(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "vCont;c;C;s;S;r");
}

static void tell_stop(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_tell_stop(server);
}

static void detach(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "OK");
    link_hang_up(&server->link); /* the guest goes on by itself */
    server->wishes.point_count = 0;
    server_resume(server, GOAL_NOBODY, 0);
}

static void end_guest(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    vm_stop(server->vm);
    detach(server, "");
}

/* --- Questions -----------------------------------------------------------------------------------
 */

static void reply_ok(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "OK");
}

static void negotiate(struct gdb_server *server, const char *arguments)
{
    char text[256];

    server->wishes.swbreak = strstr(arguments, "swbreak+");
    server->wishes.hwbreak = strstr(arguments, "hwbreak+");
    snprintf(text, sizeof(text),
             "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;swbreak+;hwbreak+;"
             "vContSupported+%s",
             LINK_PACKET_MAX, server->timeline ? ";ReverseStep+;ReverseContinue+" : "");
    server_reply(server, text);
}

static void stop_acknowledging(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "OK");
    server->link.no_ack = true;
}

/* "target.xml:OFFSET,LENGTH" */
static void read_description(struct gdb_server *server, const char *arguments)
{
    static const char annex[] = "target.xml:";
    char part[LINK_PACKET_MAX / 2 + 1];
    uint64_t offset, length;

    if (strncmp(arguments, annex, sizeof(annex) - 1)) {
        server_reply(server, "E00");
        return;
    }
    arguments += sizeof(annex) - 1;
    if (!server->description)
        server->description = register_description();
    if (!server->description || !take_range(&arguments, &offset, &length)) {
        server_reply(server, ERROR_ARGUMENT);
        return;
    }
    size_t total = strlen(server->description);
    if (offset > total)
        offset = total;
    if (length > sizeof(part) - 1)
        length = sizeof(part) - 1; /* it may double by escapes */
    if (length > total - offset)
        length = total - offset;
    part[0] = offset + length < total ? 'm' : 'l';
    memcpy(part + 1, server->description + offset, length);
    link_send(&server->link, part, length + 1);
}

static void tell_thread(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "QC1");
}

static void list_threads(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "m1");
}

static void end_threads(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "l");
}

static void describe_thread(struct gdb_server *server, const char *arguments)
{
    char text[80];

    (void)arguments;
    snprintf(text, sizeof(text), "processor 0, CPL %u", cpu_cpl(vm_debug_cpu(server->vm)));
    reply_hex(server, "", text, strlen(text));
}

static void tell_attached(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "1");
}

/* For LLDB: "x86_64-unknown-none" in hexadecimal. */
#define TRIPLE "triple:7838365f36342d756e6b6e6f776e2d6e6f6e65;ptrsize:8;endian:little;"

static void tell_host(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, TRIPLE);
}

static void tell_process(struct gdb_server *server, const char *arguments)
{
    (void)arguments;
    server_reply(server, "pid:1;" TRIPLE);
}

/* "monitor": what the command says is shown before it is known to be done. */
static void run_command(struct gdb_server *server, const char *arguments)
{
    char command[256], *output = NULL;
    size_t length = strlen(arguments) / 2, size = 0;
    FILE *file;

    if (length >= sizeof(command) || !take_bytes(&arguments, (uint8_t *)command, length)) {
        server_reply(server, ERROR_ARGUMENT);
        return;
    }
    command[length] = '\0';
    file = open_memstream(&output, &size);
    if (!file) {
        server_reply(server, ERROR_SPACE);
        return;
    }
    monitor_execute(server, command, file);
    fclose(file);
    for (size_t done = 0; done < size; done += OUTPUT_MAX)
        reply_hex(server, "O", output + done, size - done < OUTPUT_MAX ? size - done : OUTPUT_MAX);
    free(output);
    server_reply(server, "OK");
}

/* --- The table -----------------------------------------------------------------------------------
 */

static const struct {
    const char *begin;
    bool whole; /* no arguments follow */
    void (*answer)(struct gdb_server *server, const char *arguments);
} packets[] = {
    {"?", true, tell_stop},
    {"!", true, reply_ok},
    {"g", false, read_registers},
    {"G", false, write_registers},
    {"p", false, read_register},
    {"P", false, write_register},
    {"m", false, read_memory},
    {"M", false, write_memory},
    {"X", false, write_binary},
    {"Z", false, set_point},
    {"z", false, clear_point},
    {"vCont?", true, tell_actions},
    {"vCont;", false, resume_by_action},
    {"vKill", false, end_guest},
    {"bc", true, run_back},
    {"bs", true, step_back},
    {"c", false, go},
    {"C", false, go_with_signal},
    {"s", false, step},
    {"S", false, step_with_signal},
    {"D", false, detach},
    {"k", true, end_guest},
    {"H", false, reply_ok},
    {"T", false, reply_ok},
    {"qSupported", false, negotiate},
    {"QStartNoAckMode", true, stop_acknowledging},
    {"QThreadSuffixSupported", true, reply_ok},
    {"QListThreadsInStopReply", true, reply_ok},
    {"qXfer:features:read:", false, read_description},
    {"qfThreadInfo", true, list_threads},
    {"qsThreadInfo", true, end_threads},
    {"qThreadExtraInfo,", false, describe_thread},
    {"qThreadStopInfo", false, tell_stop},
    {"qC", true, tell_thread},
    {"qAttached", false, tell_attached},
    {"qHostInfo", true, tell_host},
    {"qProcessInfo", true, tell_process},
    {"qRcmd,", false, run_command},
};

void server_answer(struct gdb_server *server)
{
    const char *packet = server->link.packet;

    if (server->link.too_long) {
        server_reply(server, ERROR_SPACE);
        return;
    }
    for (unsigned i = 0; i < sizeof(packets) / sizeof(*packets); i++) {
        size_t length = strlen(packets[i].begin);

        if (strncmp(packet, packets[i].begin, length) || (packets[i].whole && packet[length]))
            continue;
        packets[i].answer(server, packet + length);
        return;
    }
    server_reply(server, "");
}
