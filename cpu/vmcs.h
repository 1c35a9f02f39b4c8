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
#define VMCS_DIRTY_ALL      0xfu

struct vmcs {
    uint32_t revision;
    uint32_t abort_indicator;
    bool launched;
    uint32_t dirty; /* VMCS_DIRTY_* */
    uint64_t value[VMCS_FIELD_COUNT];
};

/* The parts of an encoding (SDM "Structure of VMCS Component Encoding"). */
#define VMCS_ENCODING_HIGH     1u /* access type "high": bits 63:32 of a 64-bit field */
#define VMCS_ENCODING_INDEX(e) (((e) >> 1) & 0x1ffu)
#define VMCS_ENCODING_TYPE(e)  (((e) >> 10) & 3u)
#define VMCS_ENCODING_WIDTH(e) (((e) >> 13) & 3u)
#define VMCS_ENCODING_RESERVED 0xffff9000u
enum vmcs_type { VMCS_TYPE_CONTROL, VMCS_TYPE_INFORMATION, VMCS_TYPE_GUEST, VMCS_TYPE_HOST };
enum vmcs_width { VMCS_WIDTH_16, VMCS_WIDTH_64, VMCS_WIDTH_32, VMCS_WIDTH_NATURAL };

/* The columns of the table that every VMCS access needs; here, so that accesses to a named field
 * compile to one store. */
static const uint16_t vmcs_encodings[VMCS_FIELD_COUNT] = {
#define X(name, encoding, access) encoding,
    VMCS_FIELDS(X)
#undef X
};
static const uint8_t vmcs_dirty_groups[VMCS_FIELD_COUNT] = {
#define X(name, encoding, access)                                                           \
    VMCS_##name == VMCS_GUEST_RIP || VMCS_##name == VMCS_GUEST_RFLAGS ? VMCS_DIRTY_RIP      \
    : VMCS_ENCODING_TYPE(encoding) == VMCS_TYPE_CONTROL               ? VMCS_DIRTY_CONTROLS \
    : VMCS_ENCODING_TYPE(encoding) == VMCS_TYPE_GUEST                 ? VMCS_DIRTY_GUEST    \
    : VMCS_ENCODING_TYPE(encoding) == VMCS_TYPE_HOST                  ? VMCS_DIRTY_HOST     \
                                                                      : 0,
    VMCS_FIELDS(X)
#undef X
};

/* All bits that a field of this width holds. */
static inline uint64_t vmcs_field_mask(enum vmcs_field field)
{
    switch ((enum vmcs_width)VMCS_ENCODING_WIDTH(vmcs_encodings[field])) {
    case VMCS_WIDTH_16:
        return UINT16_MAX;
    case VMCS_WIDTH_32:
        return UINT32_MAX;
    default:
        return UINT64_MAX;
    }
}

/* VMCLEAR: launch state "clear", every group dirty. Field values stay: the owner of a new
 * struct vmcs zeroes it. */
void vmcs_clear(struct vmcs *vmcs, uint32_t revision);

static inline uint64_t vmcs_get(const struct vmcs *vmcs, enum vmcs_field field)
{
    return vmcs->value[field];
}

/* The processor's own write (VM exit): the value fits the field, and no group becomes dirty. */
static inline void vmcs_store(struct vmcs *vmcs, enum vmcs_field field, uint64_t value)
{
    vmcs->value[field] = value;
}

/* Software's write: truncates to the field's width and marks the group dirty. */
static inline void vmcs_set(struct vmcs *vmcs, enum vmcs_field field, uint64_t value)
{
    vmcs->value[field] = value & vmcs_field_mask(field);
    vmcs->dirty |= vmcs_dirty_groups[field];
}

/* VMREAD and VMWRITE by encoding, high halves of 64-bit fields included. Return 0, or the
 * VM-instruction error number (12: unsupported component, 13: read-only component). */
unsigned vmcs_vmread(const struct vmcs *vmcs, uint32_t encoding, uint64_t *value);
unsigned vmcs_vmwrite(struct vmcs *vmcs, uint32_t encoding, uint64_t value,
                      bool may_write_read_only);

const char *vmcs_field_name(enum vmcs_field field); /* "GUEST_CS_SELECTOR" */
uint32_t vmcs_field_encoding(enum vmcs_field field);
unsigned vmcs_field_width(enum vmcs_field field); /* in bits: 16, 32, 64; natural = 64 */
bool vmcs_field_natural(enum vmcs_field field);
bool vmcs_field_read_only(enum vmcs_field field); /* VM-exit information */
/* The field with this encoding (full access), or VMCS_FIELD_COUNT. */
enum vmcs_field vmcs_field_lookup(uint32_t encoding);

#endif
