/* VMCS dumps. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/vmcs_dump.h"

/* The field that a line starts with, or VMCS_FIELD_COUNT; *high if it is an upper half. */
static enum vmcs_field find_field(const char *name, bool *high)
{
    char *end;
    unsigned long encoding = strtoul(name, &end, 0);
    enum vmcs_field field;

    *high = false;
    if (isdigit((unsigned char)*name)) {
        if (*end || encoding > UINT16_MAX)
            return VMCS_FIELD_COUNT;
        field = vmcs_field_lookup((uint32_t)encoding & ~VMCS_ENCODING_HIGH);
        *high = encoding & VMCS_ENCODING_HIGH;
        if (*high && field < VMCS_FIELD_COUNT &&
            VMCS_ENCODING_WIDTH(vmcs_encodings[field]) != VMCS_WIDTH_64)
            return VMCS_FIELD_COUNT;
        return field;
    }
    for (field = 0; field < VMCS_FIELD_COUNT; field++)
        if (strcmp(vmcs_field_name(field), name) == 0)
            break;
    return field;
}

/* Returns NULL, or what is wrong with the value. */
static const char *set_field(struct vmcs *vmcs, enum vmcs_field field, bool high, const char *text)
{
    uint64_t value;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)*text) || *end || errno)
        return "the value is not a number: write it as 0x12 or 18";
    if (value > (high ? UINT32_MAX : vmcs_field_mask(field)))
        return "the value does not fit the field";
    if (high)
        value = value << 32 | (uint32_t)vmcs_get(vmcs, field);
    else if (vmcs_get(vmcs, field) >> 32 && value <= UINT32_MAX)
        value |= vmcs_get(vmcs, field) & ~(uint64_t)UINT32_MAX; /* its upper half came first */
    vmcs_set(vmcs, field, value);
    return NULL;
}

/* Cuts spaces off both ends. */
static char *trim(char *text)
{
    char *end = text + strlen(text);

    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

/* Returns NULL, or what is wrong with the line. */
static const char *read_line(struct vmcs *vmcs, char *line)
{
    enum vmcs_field field;
    char *equals;
    bool high;

    line[strcspn(line, "#")] = '\0';
    line = trim(line);
    if (!*line)
        return NULL;
    equals = strchr(line, '=');
    if (!equals)
        return "this is not FIELD = VALUE";
    *equals = '\0';
    field = find_field(trim(line), &high);
    if (field == VMCS_FIELD_COUNT)
        return "there is no such field: vtxsim check-entry --fields lists names and encodings";
    return set_field(vmcs, field, high, trim(equals + 1));
}

int vmcs_dump_read(struct vmcs *vmcs, const char *path, char *message, size_t size)
{
    FILE *file = fopen(path, "re");
    const char *wrong = NULL;
    size_t allocated = 0;
    unsigned number = 0;
    char *line = NULL;
    int error = 0;

    *vmcs = (struct vmcs){0};
    vmcs_clear(vmcs, 0);
    errno = file ? 0 : errno;
    while (file && !wrong && getline(&line, &allocated, file) >= 0) {
        number++;
        wrong = read_line(vmcs, line);
    }
    if (wrong) {
        snprintf(message, size, "%s:%u: %s", path, number, wrong);
        error = -EINVAL;
    } else if (!file || ferror(file)) {
        error = -errno;
        snprintf(message, size, "%s: cannot read the VMCS dump: %s", path, strerror(errno));
    }
    free(line);
    if (file)
        fclose(file);
    return error;
}

void vmcs_dump_write(const struct vmcs *vmcs, bool all, FILE *file)
{
    for (enum vmcs_field field = 0; field < VMCS_FIELD_COUNT; field++)
        if (all || vmcs_get(vmcs, field))
            fprintf(file, "%-36s = %#-18" PRIx64 " # 0x%04x, %u bits%s\n", vmcs_field_name(field),
                    vmcs_get(vmcs, field), vmcs_field_encoding(field), vmcs_field_width(field),
                    vmcs_field_natural(field) ? " (natural width)" : "");
}
