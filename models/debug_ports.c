/* Debug exit, debug console and POST code. */
#include "models/debug_ports.h"

#define EXIT_PORT    0xf4
#define EXIT_SIZE    4
#define CONSOLE_PORT 0xe9
#define POST_PORT    0x80

static uint64_t exit_read(void *device, uint64_t offset, unsigned size)
{
    return 0;
}

static void exit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct debug_ports *ports = device;

    ports->exit(ports->owner, (int)((uint32_t)value << 1 | 1));
}

/* Reading the port number back tells a program that somebody listens. */
static uint64_t console_read(void *device, uint64_t offset, unsigned size)
{
    return CONSOLE_PORT;
}

static void console_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct debug_ports *ports = device;

    ports->print(ports->owner, (uint8_t)value);
}

static uint64_t post_read(void *device, uint64_t offset, unsigned size)
{
    struct debug_ports *ports = device;

    return ports->state.post_code;
}

static void post_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct debug_ports *ports = device;

    ports->state.post_code = (uint8_t)value;
}

static const struct io_operations exit_operations = {exit_read, exit_write, 4};
static const struct io_operations console_operations = {console_read, console_write, 1};
static const struct io_operations post_operations = {post_read, post_write, 1};

int debug_ports_init(struct debug_ports *ports, struct bus *bus,
                     void (*print)(void *owner, uint8_t byte),
                     void (*exit)(void *owner, int status), void *owner)
{
    int error;

    *ports = (struct debug_ports){.print = print, .exit = exit, .owner = owner};
    error = bus_claim_ports(bus, "debug exit", EXIT_PORT, EXIT_SIZE, &exit_operations, ports);
    if (!error)
        error = bus_claim_ports(bus, "debug console", CONSOLE_PORT, 1, &console_operations, ports);
    if (!error)
        error = bus_claim_ports(bus, "POST code", POST_PORT, 1, &post_operations, ports);
    return error;
}
