/* VMCS: VMREAD and VMWRITE, and what the table of fields says about each. */
#include "cpu/vmcs.h"

#include <assert.h>

/* VM-instruction error numbers (SDM "VM-Instruction Error Numbers"). */
#define ERROR_UNSUPPORTED_COMPONENT 12
#define ERROR_READ_ONLY_COMPONENT   13

static const char *const names[VMCS_FIELD_COUNT] = {
#define X(name, encoding, access) #name,
    VMCS_FIELDS(X)
#undef X
};

enum { RW, RO };
static const uint8_t accesses[VMCS_FIELD_COUNT] = {
#define X(name, encoding, access) access,
    VMCS_FIELDS(X)
#undef X
};

/* From encoding to field + 1 (0: no such field). Width and type select one of 16 rows; no row has
 * an index above 63. */
#define ROW_SIZE 64u
#define SLOT(encoding)                                                               \
    ((VMCS_ENCODING_WIDTH(encoding) * 4 + VMCS_ENCODING_TYPE(encoding)) * ROW_SIZE + \
     VMCS_ENCODING_INDEX(encoding))
static const uint8_t fields[16 * ROW_SIZE] = {
#define X(name, encoding, access) [SLOT(encoding)] = VMCS_##name + 1,
    VMCS_FIELDS(X)
#undef X
};
_Static_assert(VMCS_FIELD_COUNT < UINT8_MAX, "a field's number fits the lookup table");

void vmcs_clear(struct vmcs *vmcs, uint32_t revision)
{
    vmcs->revision = revision;
    vmcs->launched = false;
    vmcs->dirty = VMCS_DIRTY_ALL;
}

enum vmcs_field vmcs_field_lookup(uint32_t encoding)
{
    if ((encoding & (VMCS_ENCODING_RESERVED | VMCS_ENCODING_HIGH)) ||
        VMCS_ENCODING_INDEX(encoding) >= ROW_SIZE)
        return VMCS_FIELD_COUNT;
    uint8_t found = fields[SLOT(encoding)];
    return found ? (enum vmcs_field)(found - 1) : VMCS_FIELD_COUNT;
}

/* The field of an encoding whose access type is "full" or, for 64-bit fields, "high". */
static enum vmcs_field lookup_access(uint32_t encoding)
{
    if ((encoding & VMCS_ENCODING_HIGH) && VMCS_ENCODING_WIDTH(encoding) != VMCS_WIDTH_64)
        return VMCS_FIELD_COUNT;
    return vmcs_field_lookup(encoding & ~VMCS_ENCODING_HIGH);
}

unsigned vmcs_vmread(const struct vmcs *vmcs, uint32_t encoding, uint64_t *value)
{
    enum vmcs_field field = lookup_access(encoding);
    if (field == VMCS_FIELD_COUNT)
        return ERROR_UNSUPPORTED_COMPONENT;
    *value = vmcs_get(vmcs, field) >> (encoding & VMCS_ENCODING_HIGH ? 32 : 0);
    return 0;
}

unsigned vmcs_vmwrite(struct vmcs *vmcs, uint32_t encoding, uint64_t value,
                      bool may_write_read_only)
{
    enum vmcs_field field = lookup_access(encoding);
    if (field == VMCS_FIELD_COUNT)
        return ERROR_UNSUPPORTED_COMPONENT;
    if (vmcs_field_read_only(field) && !may_write_read_only)
        return ERROR_READ_ONLY_COMPONENT;
    if (encoding & VMCS_ENCODING_HIGH)
        value = value << 32 | (uint32_t)vmcs_get(vmcs, field);
    vmcs_set(vmcs, field, value);
    return 0;
}

const char *vmcs_field_name(enum vmcs_field field)
{
    assert(field < VMCS_FIELD_COUNT);
    return names[field];
}

uint32_t vmcs_field_encoding(enum vmcs_field field)
{
    assert(field < VMCS_FIELD_COUNT);
    return vmcs_encodings[field];
}

unsigned vmcs_field_width(enum vmcs_field field)
{
    static const uint8_t bits[] = {[VMCS_WIDTH_16] = 16,
                                   [VMCS_WIDTH_64] = 64,
                                   [VMCS_WIDTH_32] = 32,
                                   [VMCS_WIDTH_NATURAL] = 64};
    return bits[VMCS_ENCODING_WIDTH(vmcs_field_encoding(field))];
}

bool vmcs_field_natural(enum vmcs_field field)
{
    return VMCS_ENCODING_WIDTH(vmcs_field_encoding(field)) == VMCS_WIDTH_NATURAL;
}

bool vmcs_field_read_only(enum vmcs_field field)
{
    assert(field < VMCS_FIELD_COUNT);
    return accesses[field] == RO;
}
