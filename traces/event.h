/*
 * What a trace records: typed events in the order in which they happened.
 *
 * Each type belongs to a level (--trace-level); a trace of one level holds its types and those of
 * all levels below it. The same run gives the same events, whatever the host does meanwhile.
 */
#ifndef VTXSIM_TRACES_EVENT_H
#define VTXSIM_TRACES_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers are part of the format. */
enum trace_event_type {
    TRACE_EXIT = 1,    /* a VM exit, once it has been handled */
    TRACE_INJECTION,   /* an event that a VM entry injects */
    TRACE_INPUT,       /* what came from outside: all that a replay needs besides the options */
    TRACE_STATE_HASH,  /* registers and memory, every so many instructions */
    TRACE_END,         /* why the guest stopped: the last event of a whole run */
    TRACE_WALK,        /* a translation that the TLB did not have */
    TRACE_FLUSH,       /* an invalidation of TLB entries */
    TRACE_BLOCK,       /* a basic block begins */
    TRACE_ACCESS,      /* a load or store of the guest */
    TRACE_CHECKPOINT,  /* the state of the machine was saved */
    TRACE_EVENT_TYPES, /* one more than the last */
};

enum trace_level {
    TRACE_LEVEL_INPUTS,       /* input, state hash, end, checkpoint */
    TRACE_LEVEL_EXITS,        /* + exit, injection */
    TRACE_LEVEL_TRANSLATIONS, /* + walk, flush */
    TRACE_LEVEL_BLOCKS,       /* + block */
    TRACE_LEVEL_MEMORY,       /* + access */
    TRACE_LEVELS,
};

struct trace_exit {
    uint64_t qualification;
    uint64_t guest_linear_address;
    uint64_t guest_physical_address;
    uint64_t operand; /* what selects: MSR (RCX), CPUID leaf | subleaf << 32, hypercall number */
    uint64_t value;   /* what was given or taken: port data, MSR value, EAX of CPUID, ... */
    uint32_t reason;  /* as in the VMCS field */
    uint32_t interruption_info;
    uint32_t cycles; /* simulated, charged for this exit */
};

struct trace_injection {
    uint32_t info; /* as in the VMCS field VM-entry interruption information */
    uint32_t error_code;
};

enum trace_input_kind {
    TRACE_INPUT_CONSOLE = 1, /* bytes typed on the console */
    TRACE_INPUT_STOP,        /* the user ended the run */
};
#define TRACE_INPUT_MAX 48
struct trace_input {
    uint8_t kind;
    uint8_t size; /* of data */
    uint8_t data[TRACE_INPUT_MAX];
};

/* Hashes chain: each covers what came before through `memory`. How: docs/trace-format.md. */
struct trace_state_hash {
    uint64_t registers;
    uint64_t memory; /* of the pages written since the last state hash, on top of its `memory` */
    uint32_t pages;  /* how many those were */
};

struct trace_end {
    uint32_t reason; /* enum vm_stop_reason */
    uint32_t status; /* the guest's exit status */
};

struct trace_walk {
    uint64_t linear;
    uint64_t guest_physical_address;
    uint64_t host_physical_address;
    uint32_t access;     /* ACCESS_* of memory/mmu.h */
    uint32_t status;     /* enum mmu_status */
    uint32_t error_code; /* of a page fault; low bits of the qualification of an EPT violation */
    uint8_t guest_references, ept_references;
    uint8_t page_shift;
};

enum trace_flush_kind {
    TRACE_FLUSH_CR3 = 1, /* MOV to CR3 */
    TRACE_FLUSH_CONTROL, /* MOV to CR0 or CR4, WRMSR to EFER */
    TRACE_FLUSH_INVLPG,
    TRACE_FLUSH_INVPCID,
    TRACE_FLUSH_INVVPID,
    TRACE_FLUSH_INVEPT,
    TRACE_FLUSH_TRANSITION, /* VM entry or VM exit without VPID */
};
struct trace_flush {
    uint64_t address; /* INVLPG, INVPCID type 0, INVVPID type 0: linear; INVEPT: EPTP */
    uint8_t kind;
    uint8_t type; /* of INVPCID, INVVPID, INVEPT */
};

struct trace_block {
    uint32_t instructions; /* that the block has; fewer execute where a fault leaves it */
};

struct trace_access {
    uint64_t linear;
    uint64_t value; /* its low 8 bytes */
    uint8_t size;   /* bytes */
    uint8_t write; /* 0 or 1 */
};

struct trace_checkpoint {
    uint64_t number; /* of the checkpoint, from 0; it is stored beside the trace */
};

struct trace_event {
    uint8_t type; /* enum trace_event_type */
    uint16_t cpu;
    uint64_t instructions; /* retired by this processor before the event */
    uint64_t time;         /* simulated cycles; 0 for blocks and accesses */
    uint64_t rip;
    union {
        struct trace_exit exit;
        struct trace_injection injection;
        struct trace_input input;
        struct trace_state_hash state_hash;
        struct trace_end end;
        struct trace_walk walk;
        struct trace_flush flush;
        struct trace_block block;
        struct trace_access access;
        struct trace_checkpoint checkpoint;
    };
};

/* How a field is shown, and what it means to those who compare. */
enum trace_field_kind {
    TRACE_FIELD_COUNT,   /* decimal */
    TRACE_FIELD_HEX,     /* bits */
    TRACE_FIELD_LINEAR,  /* an address of the guest: symbols apply */
    TRACE_FIELD_GPA,     /* a guest-physical address */
    TRACE_FIELD_HPA,     /* a host-physical address: differs between backends */
    TRACE_FIELD_REASON,  /* of a VM exit */
    TRACE_FIELD_CHOICE,  /* one of `choices`, "a|b|c", counted from 0 */
    TRACE_FIELD_BYTES,   /* `size` is the most; the byte before holds how many there are */
};

/* One field of a type of event. */
struct trace_field {
    const char *name; /* "qualification" */
    enum trace_field_kind kind;
    uint16_t offset; /* in struct trace_event */
    uint8_t size;    /* 1, 2, 4 or 8 bytes; TRACE_FIELD_BYTES: TRACE_INPUT_MAX */
    const char *choices;
};

/* The fields that every type has (cpu, instructions, time, rip), then those of the type; each list
 * ends with a NULL name. Empty for a type that does not exist. */
extern const struct trace_field trace_common_fields[];
const struct trace_field *trace_fields(unsigned type);
/* "exit"; NULL for a type that does not exist. */
const char *trace_event_name(unsigned type);
/* The type with this name, or 0. */
unsigned trace_event_find(const char *name);

/* The value of a field that is not TRACE_FIELD_BYTES. */
uint64_t trace_field_get(const struct trace_event *event, const struct trace_field *field);
void trace_field_set(struct trace_event *event, const struct trace_field *field, uint64_t value);

/* Bits 1 << type of the events that a level holds. */
uint32_t trace_level_types(enum trace_level level);

#endif
