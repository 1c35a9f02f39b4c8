/*
 * Hypercalls: what a guest asks of the VM handler by VMCALL. docs/hypercalls.md describes the
 * interface to guests.
 */
#ifndef VTXSIM_SIM_HYPERCALLS_H
#define VTXSIM_SIM_HYPERCALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/slots.h"
#include "models/bus.h"

#define HYPERCALL_INTERFACE_VERSION 1

enum hypercall_number {
    HYPERCALL_VERSION,
    HYPERCALL_MEMORY_MAP,
    HYPERCALL_SHARE,
    HYPERCALL_UNSHARE,
    HYPERCALL_IO,
    HYPERCALL_CONSOLE_WRITE,
    HYPERCALL_COUNT
};

enum hypercall_error {
    HYPERCALL_OK = 0,
    HYPERCALL_UNKNOWN = -1,      /* no such number */
    HYPERCALL_DENIED = -2,       /* the caller is not in ring 0 */
    HYPERCALL_BAD_ARGUMENT = -3, /* an argument is not one of those allowed */
    HYPERCALL_BAD_RANGE = -4,    /* not page-aligned, empty, or not wholly in RAM */
    HYPERCALL_NO_ENTRY = -5,     /* no such entry or shared range */
    HYPERCALL_OVERLAP = -6,      /* part of the range is shared already */
    HYPERCALL_FULL = -7,         /* the table of shared ranges is full */
    HYPERCALL_TOO_WIDE = -8,     /* a result does not fit the caller's 32-bit registers */
};

/* Types in the memory map. */
enum hypercall_memory {
    HYPERCALL_MEMORY_RAM = 1,
    HYPERCALL_MEMORY_ROM = 2,
    HYPERCALL_MEMORY_MMIO = 3,
    HYPERCALL_MEMORY_SHARED = 4, /* a part of RAM that the guest has shared */
};

#define HYPERCALL_CONSOLE_MAX 4096
#define SHARED_RANGES_MAX     64

/* The ranges of guest-physical memory that a guest has shared, in the order of sharing. */
struct share_table {
    unsigned count;
    struct {
        uint64_t gpa, size;
    } range[SHARED_RANGES_MAX];
};

/* A caller and what its call may reach. */
struct hypercall_context {
    uint64_t *gpr; /* by enum gpr: arguments, and results on return */
    unsigned cpl;
    bool mode64; /* 64-bit mode; otherwise registers have 32 bits */
    const struct guest_memory *memory;
    struct bus *bus;
    struct share_table *shared;
    void (*console_write)(void *context, const void *data, size_t size);
    void *context;
};

/*
 * Performs the hypercall in gpr[]. Whatever the guest passes, the outcome is a result or an error
 * code in RAX; without success no other register changes. Returns what RAX got, for logging.
 */
int64_t hypercall_perform(const struct hypercall_context *context);

/* "memory map", ...; "unknown" for other numbers. */
const char *hypercall_name(uint64_t number);

#endif
