/* Hypercalls. Every argument is the guest's and so may be anything. */
#include "sim/hypercalls.h"
#include "cpu/state.h"

/* Arguments as the caller's mode has them: 64 bits, or 32. */
struct call {
    const struct hypercall_context *context;
    uint64_t rbx, rcx, rdx, rsi;
};

/* Sets RBX, RCX and RDX, or changes nothing if one of them does not fit. */
static int64_t give(const struct call *call, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
    uint64_t *gpr = call->context->gpr;

    if (!call->context->mode64 && (rbx | rcx | rdx) > UINT32_MAX)
        return HYPERCALL_TOO_WIDE;
    gpr[GPR_RBX] = rbx;
    gpr[GPR_RCX] = rcx;
    gpr[GPR_RDX] = rdx;
    return HYPERCALL_OK;
}

/* Whether a range is not empty and wholly in slots of RAM. */
static bool in_ram(const struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
    if (size == 0 || gpa > UINT64_MAX - size)
        return false;
    while (size > 0) {
        const struct memory_slot *slot = guest_memory_find(memory, gpa);
        uint64_t part;

        if (!slot || slot->kind != SLOT_RAM)
            return false;
        part = slot->gpa + slot->size - gpa;
        if (part >= size)
            return true;
        gpa += part;
        size -= part;
    }
    return true;
}

static int64_t call_version(const struct call *call)
{
    (void)call;
    return HYPERCALL_INTERFACE_VERSION;
}

/* The slots in ascending order, then the shared ranges. */
static int64_t call_memory_map(const struct call *call)
{
    static const enum hypercall_memory types[] = {
        [SLOT_RAM] = HYPERCALL_MEMORY_RAM,
        [SLOT_ROM] = HYPERCALL_MEMORY_ROM,
        [SLOT_MMIO] = HYPERCALL_MEMORY_MMIO,
    };
    const struct guest_memory *memory = call->context->memory;
    const struct share_table *shared = call->context->shared;
    uint64_t index = call->rbx;

    if (index < memory->count) {
        const struct memory_slot *slot = &memory->slots[index];

        return give(call, slot->gpa, slot->size, types[slot->kind]);
    }
    index -= memory->count;
    if (index < shared->count)
        return give(call, shared->range[index].gpa, shared->range[index].size,
                    HYPERCALL_MEMORY_SHARED);
    return HYPERCALL_NO_ENTRY;
}

static int64_t call_share(const struct call *call)
{
    struct share_table *shared = call->context->shared;
    uint64_t gpa = call->rbx, size = call->rcx;

    if (gpa % FRAME_SIZE || size % FRAME_SIZE || !in_ram(call->context->memory, gpa, size))
        return HYPERCALL_BAD_RANGE;
    for (unsigned i = 0; i < shared->count; i++)
        if (gpa < shared->range[i].gpa + shared->range[i].size && shared->range[i].gpa < gpa + size)
            return HYPERCALL_OVERLAP;
    if (shared->count == SHARED_RANGES_MAX)
        return HYPERCALL_FULL;
    shared->range[shared->count].gpa = gpa;
    shared->range[shared->count].size = size;
    shared->count++;
    return HYPERCALL_OK;
}

/* A range is unshared as it was shared: no part of one, no two at once. */
static int64_t call_unshare(const struct call *call)
{
    struct share_table *shared = call->context->shared;
    unsigned i = 0;

    while (i < shared->count &&
           (shared->range[i].gpa != call->rbx || shared->range[i].size != call->rcx))
        i++;
    if (i == shared->count)
        return HYPERCALL_NO_ENTRY;
    shared->count--;
    for (; i < shared->count; i++)
        shared->range[i] = shared->range[i + 1];
    return HYPERCALL_OK;
}

static int64_t call_io(const struct call *call)
{
    uint64_t port = call->rbx, size = call->rcx, write = call->rdx, value = call->rsi;

    if ((size != 1 && size != 2 && size != 4) || port > 0x10000 - size || write > 1)
        return HYPERCALL_BAD_ARGUMENT;
    if (write) {
        if (value >> (8 * size))
            return HYPERCALL_BAD_ARGUMENT;
        bus_port_write(call->context->bus, (uint16_t)port, (unsigned)size, (uint32_t)value);
        return HYPERCALL_OK;
    }
    value = bus_port_read(call->context->bus, (uint16_t)port, (unsigned)size);
    call->context->gpr[GPR_RBX] = value;
    return HYPERCALL_OK;
}

static int64_t call_console_write(const struct call *call)
{
    uint8_t text[HYPERCALL_CONSOLE_MAX];
    uint64_t gpa = call->rbx, size = call->rcx;

    if (size > HYPERCALL_CONSOLE_MAX)
        return HYPERCALL_BAD_ARGUMENT;
    if (size == 0)
        return HYPERCALL_OK;
    if (!in_ram(call->context->memory, gpa, size) ||
        guest_memory_read(call->context->memory, gpa, text, size))
        return HYPERCALL_BAD_RANGE;
    call->context->console_write(call->context->context, text, size);
    return HYPERCALL_OK;
}

static const struct {
    const char *name;
    int64_t (*perform)(const struct call *call);
} calls[HYPERCALL_COUNT] = {
    [HYPERCALL_VERSION] = {"version", call_version},
    [HYPERCALL_MEMORY_MAP] = {"memory map", call_memory_map},
    [HYPERCALL_SHARE] = {"share", call_share},
    [HYPERCALL_UNSHARE] = {"unshare", call_unshare},
    [HYPERCALL_IO] = {"I/O", call_io},
    [HYPERCALL_CONSOLE_WRITE] = {"console write", call_console_write},
};

const char *hypercall_name(uint64_t number)
{
    return number < HYPERCALL_COUNT ? calls[number].name : "unknown";
}

int64_t hypercall_perform(const struct hypercall_context *context)
{
    uint64_t mask = context->mode64 ? UINT64_MAX : UINT32_MAX;
    uint64_t *gpr = context->gpr, number = gpr[GPR_RAX] & mask;
    struct call call = {context, gpr[GPR_RBX] & mask, gpr[GPR_RCX] & mask, gpr[GPR_RDX] & mask,
                        gpr[GPR_RSI] & mask};
    int64_t result = HYPERCALL_UNKNOWN;

    if (context->cpl != 0)
        result = HYPERCALL_DENIED;
    else if (number < HYPERCALL_COUNT)
        result = calls[number].perform(&call);
    gpr[GPR_RAX] = (uint64_t)result & mask;
    return result;
}
