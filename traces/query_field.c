/* Names of fields in queries. */
#include "traces/query_field.h"

#include <stdio.h>
#include <string.h>

/* Basic exit reasons and bits as the SDM numbers them. */
#define REASON_CPUID 10
#define REASON_IO    30
#define REASON_RDMSR 31
#define REASON_WRMSR 32
#define INFO_VALID   (1u << 31)
#define PAGE_MASK    0xfffull

static bool exits_with(const struct trace_event *event, unsigned reason)
{
    return event->type == TRACE_EXIT && (event->exit.reason & 0xffff) == reason;
}

static bool get_port(const struct trace_event *event, uint64_t *value)
{
    *value = event->exit.qualification >> 16 & 0xffff;
    return exits_with(event, REASON_IO);
}

static bool get_msr(const struct trace_event *event, uint64_t *value)
{
    *value = event->exit.operand;
    return exits_with(event, REASON_RDMSR) || exits_with(event, REASON_WRMSR);
}

static bool get_leaf(const struct trace_event *event, uint64_t *value)
{
    *value = (uint32_t)event->exit.operand;
    return exits_with(event, REASON_CPUID);
}

static bool get_subleaf(const struct trace_event *event, uint64_t *value)
{
    *value = event->exit.operand >> 32;
    return exits_with(event, REASON_CPUID);
}

static bool get_vector(const struct trace_event *event, uint64_t *value)
{
    uint32_t info = event->type == TRACE_INJECTION ? event->injection.info
                    : event->type == TRACE_EXIT    ? event->exit.interruption_info
                                                   : 0;

    *value = info & 0xff;
    return info & INFO_VALID;
}

static bool get_page(const struct trace_event *event, uint64_t *value)
{
    uint64_t address = event->type == TRACE_WALK ? event->walk.guest_physical_address
                                                 : event->exit.guest_physical_address;

    *value = address & ~PAGE_MASK;
    return event->type == TRACE_WALK || (event->type == TRACE_EXIT && address);
}

static const struct {
    const char *name;
    bool (*get)(const struct trace_event *event, uint64_t *value);
} parts[] = {
    {"port", get_port},       {"msr", get_msr},       {"leaf", get_leaf},
    {"subleaf", get_subleaf}, {"vector", get_vector}, {"page", get_page},
};
#define PARTS (sizeof(parts) / sizeof(*parts))

static const struct trace_field *find_in(const struct trace_field *fields, const char *name)
{
    for (; fields->name; fields++)
        if (strcmp(fields->name, name) == 0)
            return fields;
    return NULL;
}

static bool find_in_tables(const char *name, struct query_field *field)
{
    const struct trace_field *common = find_in(trace_common_fields, name);
    bool found = false;

    field->kind = QUERY_TABLE;
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++) {
        field->field[type] = common ? common : find_in(trace_fields(type), name);
        found |= field->field[type] != NULL;
    }
    return found;
}

bool query_field_find(const char *name, struct query_field *field)
{
    memset(field, 0, sizeof(*field));
    for (unsigned i = 0; i < PARTS; i++) {
        if (strcmp(parts[i].name, name) != 0)
            continue;
        field->kind = QUERY_PART;
        field->part = parts[i].get;
        return true;
    }
    if (strcmp(name, "event") == 0 || strcmp(name, "type") == 0) {
        field->kind = *name == 'e' ? QUERY_NUMBER : QUERY_TYPE;
        return true;
    }
    return find_in_tables(name, field);
}

bool query_field_value(const struct query_field *field, uint64_t number,
                       const struct trace_event *event, uint64_t *value)
{
    switch (field->kind) {
    case QUERY_NUMBER:
        *value = number;
        return true;
    case QUERY_TYPE:
        *value = event->type;
        return true;
    case QUERY_PART:
        return field->part(event, value);
    case QUERY_TABLE:
        break;
    }
    if (!field->field[event->type])
        return false;
    *value = trace_field_get(event, field->field[event->type]);
    return true;
}

static void append(char *text, size_t size, const char *name)
{
    size_t length = strlen(name), used = strlen(text);
    const char *at = text;

    while ((at = strstr(at, name))) { /* fields of several types are told once */
        if ((at == text || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
            return;
        at += length;
    }
    snprintf(text + used, size - used, "%s%s", used ? " " : "", name);
}

void query_field_list(char *text, size_t size)
{
    *text = '\0';
    append(text, size, "event");
    append(text, size, "type");
    for (const struct trace_field *field = trace_common_fields; field->name; field++)
        append(text, size, field->name);
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
        for (const struct trace_field *field = trace_fields(type); field->name; field++)
            append(text, size, field->name);
    for (unsigned i = 0; i < PARTS; i++)
        append(text, size, parts[i].name);
}
