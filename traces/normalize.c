/* Comparing events field by field, and the table of what backends cannot agree on. */
#include "traces/normalize.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <xxhash.h>

#define COMMON_FIELDS 4
#define BASIC_REASON  0xffffu

/* --- The table --- */

/* Basic exit reasons (SDM appendix "VMX Basic Exit Reasons") that the table names. */
enum {
    EXCEPTION_OR_NMI = 0,
    EXTERNAL_INTERRUPT = 1,
    INTERRUPT_WINDOW = 7,
    NMI_WINDOW = 8,
    CPUID = 10,
    INVD = 13,
    INVLPG = 14,
    RDPMC = 15,
    RDTSC = 16,
    VMCALL = 18,
    CR_ACCESS = 28,
    MOV_DR = 29,
    MWAIT = 36,
    MONITOR = 39,
    PAUSE = 40,
    RDTSCP = 51,
    PREEMPTION_TIMER = 52,
    WBINVD = 54,
    XSETBV = 55,
};

// clang-format off
static const struct trace_exception host_time[] = {
    {0, -1, "time", 0},
    {0, -1, "instructions", 0},
    {TRACE_EXIT, -1, "cycles", 0},
};
static const struct trace_exception engine_events[] = {
    {TRACE_STATE_HASH, -1, NULL, 0},
    {TRACE_CHECKPOINT, -1, NULL, 0},
    {TRACE_WALK, -1, NULL, 0},
    {TRACE_FLUSH, -1, NULL, 0},
    {TRACE_BLOCK, -1, NULL, 0},
    {TRACE_ACCESS, -1, NULL, 0},
};
static const struct trace_exception interrupt_moments[] = {
    {TRACE_INJECTION, -1, NULL, 0},
    {TRACE_EXIT, EXTERNAL_INTERRUPT, NULL, 0},
    {TRACE_EXIT, INTERRUPT_WINDOW, NULL, 0},
    {TRACE_EXIT, NMI_WINDOW, NULL, 0},
    {TRACE_EXIT, PREEMPTION_TIMER, NULL, 0},
};
static const struct trace_exception settled_in_kernel[] = {
    {TRACE_EXIT, EXCEPTION_OR_NMI, NULL, 0},
    {TRACE_EXIT, CPUID, NULL, 0},
    {TRACE_EXIT, INVD, NULL, 0},
    {TRACE_EXIT, INVLPG, NULL, 0},
    {TRACE_EXIT, RDPMC, NULL, 0},
    {TRACE_EXIT, VMCALL, NULL, 0},
    {TRACE_EXIT, MONITOR, NULL, 0},
    {TRACE_EXIT, MWAIT, NULL, 0},
    {TRACE_EXIT, RDTSC, NULL, 0},
    {TRACE_EXIT, RDTSCP, NULL, 0},
    {TRACE_EXIT, CR_ACCESS, NULL, 0},
    {TRACE_EXIT, MOV_DR, NULL, 0},
    {TRACE_EXIT, PAUSE, NULL, 0},
    {TRACE_EXIT, WBINVD, NULL, 0},
    {TRACE_EXIT, XSETBV, NULL, 0},
};

#define EXCEPT(list) list, sizeof(list) / sizeof(*list)
const struct trace_normalization trace_normalizations[] = {
    {"host-time", "kvm", "*", EXCEPT(host_time),
     "time, instructions and cycles are not compared",
     "under KVM time is the host's, and instructions are not counted",
     "KVM API documentation: no exit carries a count of retired instructions"},
    {"engine-events", "kvm", "*", EXCEPT(engine_events),
     "state hashes, checkpoints, walks, flushes, blocks and accesses are left out",
     "they come from the simulated processor; KVM shows exits only",
     "KVM API documentation, \"The kvm_run structure\""},
    {"interrupt-moments", "kvm", "*", EXCEPT(interrupt_moments),
     "injections, and exits for interrupts, their windows and the preemption timer, are left out",
     "at which instruction an interrupt arrives is the host's choice, and the kernel takes such "
     "exits itself",
     "KVM API documentation, KVM_INTERRUPT: injection waits for ready_for_interrupt_injection"},
    {"settled-in-kernel", "kvm", "*", EXCEPT(settled_in_kernel),
     "exits for CPUID, RDTSC, RDPMC, control and debug registers, INVLPG, INVD, WBINVD, PAUSE, "
     "MONITOR, MWAIT, XSETBV, VMCALL and exceptions are left out",
     "KVM settles them in the kernel without telling its user",
     "KVM API documentation, \"The kvm_run structure\": there is no exit reason for them"},
};
// clang-format on
const unsigned trace_normalization_count =
    sizeof(trace_normalizations) / sizeof(*trace_normalizations);

_Static_assert(sizeof(trace_normalizations) / sizeof(*trace_normalizations) <=
                   TRACE_NORMALIZATIONS_MAX,
               "all may apply at once");

/* --- Classes and their fields --- */

unsigned trace_class_of_reason(unsigned reason)
{
    unsigned basic = reason & BASIC_REASON;

    return TRACE_EVENT_TYPES + (basic < TRACE_CLASS_REASONS ? basic : TRACE_CLASS_REASONS - 1);
}

unsigned trace_class(const struct trace_event *event)
{
    return event->type == TRACE_EXIT         ? trace_class_of_reason(event->exit.reason)
           : event->type < TRACE_EVENT_TYPES ? event->type
                                             : 0;
}

unsigned trace_class_type(unsigned trace_class, unsigned *reason)
{
    if (trace_class < TRACE_EVENT_TYPES)
        return trace_class;
    *reason = trace_class - TRACE_EVENT_TYPES;
    return TRACE_EXIT;
}

const struct trace_field *trace_class_field(unsigned type, unsigned index)
{
    const struct trace_field *fields = trace_fields(type);

    if (index < COMMON_FIELDS)
        return &trace_common_fields[index];
    for (index -= COMMON_FIELDS; fields->name && index > 0; index--)
        fields++;
    return fields->name ? fields : NULL;
}

/* --- What is compared --- */

void trace_comparison_init(struct trace_comparison *comparison)
{
    *comparison = (struct trace_comparison){0};
    memset(comparison->bits, 0xff, sizeof(comparison->bits));
    assert(!trace_common_fields[COMMON_FIELDS].name);
}

static bool exception_has_class(const struct trace_exception *exception, unsigned class)
{
    unsigned reason = 0;
    unsigned type = trace_class_type(class, &reason);

    if (exception->type && exception->type != type)
        return false;
    return exception->reason < 0 ||
           (type == TRACE_EXIT && class == trace_class_of_reason((unsigned)exception->reason));
}

int trace_comparison_except(struct trace_comparison *comparison,
                            const struct trace_exception *exception)
{
    const struct trace_field *field;
    bool found = !exception->field;

    for (unsigned class = 0; class < TRACE_CLASSES; class ++) {
        unsigned reason, type = trace_class_type(class, &reason);

        if (!exception_has_class(exception, class))
            continue;
        if (!exception->field)
            comparison->left_out[class] = true;
        for (unsigned i = 0; exception->field && (field = trace_class_field(type, i)); i++) {
            if (strcmp(field->name, exception->field) != 0)
                continue;
            comparison->bits[class][i] &= exception->bits ? ~exception->bits : 0;
            found = true;
        }
    }
    return found ? 0 : -ENOENT;
}

/* "kvm" stands for "kvm/pvm", too. */
static bool is_backend(const char *pattern, const char *backend)
{
    size_t length = strlen(pattern);

    return strcmp(pattern, "*") == 0 || (strncmp(pattern, backend, length) == 0 &&
                                         (backend[length] == '\0' || backend[length] == '/'));
}

void trace_comparison_normalize(struct trace_comparison *comparison, const char *one,
                                const char *other)
{
    for (unsigned i = 0; i < trace_normalization_count; i++) {
        const struct trace_normalization *row = &trace_normalizations[i];

        if (!(is_backend(row->one, one) && is_backend(row->other, other)) &&
            !(is_backend(row->one, other) && is_backend(row->other, one)))
            continue;
        for (unsigned k = 0; k < row->count; k++)
            trace_comparison_except(comparison, &row->exceptions[k]);
        comparison->applied[comparison->applied_count++] = row;
    }
}

/* --- Comparing --- */

static bool bytes_differ(const struct trace_event *a, const struct trace_event *b)
{
    return a->input.size != b->input.size ||
           memcmp(a->input.data, b->input.data, a->input.size) != 0;
}

uint32_t trace_compare(const struct trace_comparison *comparison, const struct trace_event *a,
                       const struct trace_event *b)
{
    const struct trace_field *field;
    const uint64_t *bits[2];
    uint32_t different = 0;

    if (memcmp(a, b, sizeof(*a)) == 0)
        return 0;
    if (a->type != b->type)
        return TRACE_TYPE_DIFFERS;
    bits[0] = comparison->bits[trace_class(a)];
    bits[1] = comparison->bits[trace_class(b)];
    for (unsigned i = 0; (field = trace_class_field(a->type, i)); i++) {
        uint64_t compared = bits[0][i] & bits[1][i];

        if (field->kind == TRACE_FIELD_BYTES
                ? compared && bytes_differ(a, b)
                : (trace_field_get(a, field) ^ trace_field_get(b, field)) & compared)
            different |= 1u << i;
    }
    return different;
}

uint64_t trace_compared_hash(const struct trace_comparison *comparison,
                             const struct trace_event *event)
{
    const uint64_t *bits = comparison->bits[trace_class(event)];
    uint64_t values[TRACE_CLASS_FIELDS + 1] = {event->type};
    const struct trace_field *field;

    for (unsigned i = 0; (field = trace_class_field(event->type, i)); i++)
        if (field->kind != TRACE_FIELD_BYTES)
            values[i + 1] = trace_field_get(event, field) & bits[i];
        else if (bits[i])
            values[i + 1] = XXH64(event->input.data, event->input.size, event->input.size);
    return XXH64(values, sizeof(values), 0);
}
