/* The types of events, the levels, and the table of fields that everything generic works from. */
#include "traces/event.h"

#include <assert.h>
#include <string.h>

#define FIELD_AT(field, kind, member, ...)                                                         \
    {field, TRACE_FIELD_##kind, offsetof(struct trace_event, member),                              \
     sizeof(((struct trace_event *)0)->member), ##__VA_ARGS__}

// clang-format off
const struct trace_field trace_common_fields[] = {
    FIELD_AT("cpu", COUNT, cpu, NULL),
    FIELD_AT("instructions", COUNT, instructions, NULL),
    FIELD_AT("time", COUNT, time, NULL),
    FIELD_AT("rip", LINEAR, rip, NULL),
    {0},
};

static const struct trace_field exit_fields[] = {
    FIELD_AT("reason", REASON, exit.reason, NULL),
    FIELD_AT("qualification", HEX, exit.qualification, NULL),
    FIELD_AT("guest_linear_address", LINEAR, exit.guest_linear_address, NULL),
    FIELD_AT("guest_physical_address", GPA, exit.guest_physical_address, NULL),
    FIELD_AT("operand", HEX, exit.operand, NULL),
    FIELD_AT("value", HEX, exit.value, NULL),
    FIELD_AT("interruption_info", HEX, exit.interruption_info, NULL),
    FIELD_AT("cycles", COUNT, exit.cycles, NULL),
    {0},
};
static const struct trace_field injection_fields[] = {
    FIELD_AT("info", HEX, injection.info, NULL),
    FIELD_AT("error_code", HEX, injection.error_code, NULL),
    {0},
};
static const struct trace_field input_fields[] = {
    FIELD_AT("kind", CHOICE, input.kind, "|console|stop"),
    FIELD_AT("data", BYTES, input.data, NULL),
    {0},
};
static const struct trace_field state_hash_fields[] = {
    FIELD_AT("registers", HEX, state_hash.registers, NULL),
    FIELD_AT("memory", HEX, state_hash.memory, NULL),
    FIELD_AT("pages", COUNT, state_hash.pages, NULL),
    {0},
};
static const struct trace_field end_fields[] = {
    FIELD_AT("reason", CHOICE, end.reason,
             "none|power-off|reset|debug-exit|triple-fault|halted|instruction-limit|requested|"
             "entry-failure|unhandled-exit|engine-error"),
    FIELD_AT("status", COUNT, end.status, NULL),
    {0},
};
static const struct trace_field walk_fields[] = {
    FIELD_AT("linear", LINEAR, walk.linear, NULL),
    FIELD_AT("guest_physical_address", GPA, walk.guest_physical_address, NULL),
    FIELD_AT("host_physical_address", HPA, walk.host_physical_address, NULL),
    FIELD_AT("access", HEX, walk.access, NULL),
    FIELD_AT("status", CHOICE, walk.status, "ok|page-fault|ept-violation|ept-misconfiguration"),
    FIELD_AT("error_code", HEX, walk.error_code, NULL),
    FIELD_AT("guest_references", COUNT, walk.guest_references, NULL),
    FIELD_AT("ept_references", COUNT, walk.ept_references, NULL),
    FIELD_AT("page_shift", COUNT, walk.page_shift, NULL),
    {0},
};
static const struct trace_field flush_fields[] = {
    FIELD_AT("kind", CHOICE, flush.kind,
             "|cr3|control-register|invlpg|invpcid|invvpid|invept|transition"),
    FIELD_AT("invalidation_type", COUNT, flush.type, NULL),
    FIELD_AT("address", LINEAR, flush.address, NULL),
    {0},
};
static const struct trace_field block_fields[] = {
    FIELD_AT("size", COUNT, block.instructions, NULL),
    {0},
};
static const struct trace_field access_fields[] = {
    FIELD_AT("kind", CHOICE, access.write, "read|write"),
    FIELD_AT("size", COUNT, access.size, NULL),
    FIELD_AT("linear", LINEAR, access.linear, NULL),
    FIELD_AT("value", HEX, access.value, NULL),
    {0},
};
static const struct trace_field checkpoint_fields[] = {
    FIELD_AT("number", COUNT, checkpoint.number, NULL),
    {0},
};
static const struct trace_field no_fields[] = {{0}};

static const struct {
    const char *name;
    const struct trace_field *fields;
    enum trace_level level;
} types[TRACE_EVENT_TYPES] = {
    [0] = {NULL, no_fields, TRACE_LEVELS},
    [TRACE_EXIT] = {"exit", exit_fields, TRACE_LEVEL_EXITS},
    [TRACE_INJECTION] = {"injection", injection_fields, TRACE_LEVEL_EXITS},
    [TRACE_INPUT] = {"input", input_fields, TRACE_LEVEL_INPUTS},
    [TRACE_STATE_HASH] = {"state-hash", state_hash_fields, TRACE_LEVEL_INPUTS},
    [TRACE_END] = {"end", end_fields, TRACE_LEVEL_INPUTS},
    [TRACE_WALK] = {"walk", walk_fields, TRACE_LEVEL_TRANSLATIONS},
    [TRACE_FLUSH] = {"flush", flush_fields, TRACE_LEVEL_TRANSLATIONS},
    [TRACE_BLOCK] = {"block", block_fields, TRACE_LEVEL_BLOCKS},
    [TRACE_ACCESS] = {"access", access_fields, TRACE_LEVEL_MEMORY},
    [TRACE_CHECKPOINT] = {"checkpoint", checkpoint_fields, TRACE_LEVEL_INPUTS},
};
// clang-format on

const struct trace_field *trace_fields(unsigned type)
{
    return type < TRACE_EVENT_TYPES ? types[type].fields : no_fields;
}

const char *trace_event_name(unsigned type)
{
    return type < TRACE_EVENT_TYPES ? types[type].name : NULL;
}

unsigned trace_event_find(const char *name)
{
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
        if (strcmp(types[type].name, name) == 0)
            return type;
    return 0;
}

uint32_t trace_level_types(enum trace_level level)
{
    uint32_t bits = 0;

    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
        if (types[type].level <= level)
            bits |= 1u << type;
    return bits;
}

uint64_t trace_field_get(const struct trace_event *event, const struct trace_field *field)
{
    const void *at = (const uint8_t *)event + field->offset;

    assert(field->kind != TRACE_FIELD_BYTES);
    switch (field->size) {
    case 1:
        return *(const uint8_t *)at;
    case 2:
        return *(const uint16_t *)at;
    case 4:
        return *(const uint32_t *)at;
    default:
        return *(const uint64_t *)at;
    }
}

void trace_field_set(struct trace_event *event, const struct trace_field *field, uint64_t value)
{
    assert(field->kind != TRACE_FIELD_BYTES);
    memcpy((uint8_t *)event + field->offset, &value, field->size);
}
