/*
 * The virtual-machine control structure (SDM volume 3, "Virtual Machine Control Structures").
 *
 * Every field of the SDM's appendix "Field Encoding in VMCS" has a compact index, enum vmcs_field,
 * generated from one table (cpu/vmcs_fields.h), in which its encoding, width and access stand.
 */
#ifndef VTXSIM_CPU_VMCS_H
#define VTXSIM_CPU_VMCS_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/vmcs_fields.h"

enum vmcs_field {
#define X(name, encoding, access) VMCS_##name,
    VMCS_FIELDS(X)
#undef X
        VMCS_FIELD_COUNT
};

/* Which parts were written since the last VM entry: an entry that finds only DIRTY_RIP resumes the
 * guest without repeating the checks, as processors that cache the VMCS do. */
#define VMCS_DIRTY_RIP      (1u << 0) /* RIP and RFLAGS */
#define VMCS_DIRTY_CONTROLS (1u << 1)
#define VMCS_DIRTY_GUEST    (1u << 2)
#define VMCS_DIRTY_HOST     (1u << 3)

struct vmcs {
    uint32_t revision;
    uint32_t abort_indicator;
    bool launched;
    uint32_t dirty;
    uint64_t value[VMCS_FIELD_COUNT];
};

void vmcs_clear(struct vmcs *vmcs, uint32_t revision); /* VMCLEAR: launch state "clear" */

static inline uint64_t vmcs_get(const struct vmcs *vmcs, enum vmcs_field field)
{
    return vmcs->value[field];
}

/* Software's write: truncates to the field's width and marks the group dirty. */
void vmcs_set(struct vmcs *vmcs, enum vmcs_field field, uint64_t value);

/* VMREAD and VMWRITE by encoding, high halves of 64-bit fields included. Return 0, or the
 * VM-instruction error number (12: unsupported component, 13: read-only component). */
unsigned vmcs_vmread(const struct vmcs *vmcs, uint32_t encoding, uint64_t *value);
unsigned vmcs_vmwrite(struct vmcs *vmcs, uint32_t encoding, uint64_t value,
                      bool may_write_read_only);

const char *vmcs_field_name(enum vmcs_field field);     /* "GUEST_CS_SELECTOR" */
uint32_t vmcs_field_encoding(enum vmcs_field field);
unsigned vmcs_field_width(enum vmcs_field field);        /* in bits: 16, 32, 64; natural = 64 */
bool vmcs_field_natural(enum vmcs_field field);
/* The field with this encoding (full access), or VMCS_FIELD_COUNT. */
enum vmcs_field vmcs_field_lookup(uint32_t encoding);

#endif
