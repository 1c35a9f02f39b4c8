/*
 * Coding of records. Most exits repeat what the last exit for the same reason said, so a record is
 * a byte that tells which fields differ from that one, and the differences.
 */
#include "traces/format.h"

/* Fields of the presence byte: bit i tells that fields[i] follows. */
enum field {
    FIELD_CPU,
    FIELD_RIP,
    FIELD_QUALIFICATION,
    FIELD_LINEAR,
    FIELD_PHYSICAL,
    FIELD_VALUE,
    FIELD_INTERRUPTION,
    FIELD_CYCLES,
    FIELD_COUNT
};

uint8_t *trace_put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)value | 0x80;
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

const uint8_t *trace_get_varint(const uint8_t *in, const uint8_t *end, uint64_t *value)
{
    uint64_t result = 0;

    for (unsigned shift = 0; in < end; shift += 7) {
        uint8_t byte = *in++;

        if (shift == 63 && byte > 1)
            return NULL;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = result;
            return in;
        }
    }
    return NULL;
}

/* Signed differences with the sign in bit 0, so that small ones of either sign stay short. */
static uint64_t difference(uint64_t value, uint64_t from)
{
    uint64_t delta = value - from;

    return delta << 1 ^ (delta >> 63 ? UINT64_MAX : 0);
}

static uint64_t apply(uint64_t from, uint64_t coded)
{
    return from + (coded >> 1 ^ (coded & 1 ? UINT64_MAX : 0));
}

static void gather(const struct trace_exit *exit, uint64_t fields[FIELD_COUNT])
{
    fields[FIELD_CPU] = exit->cpu;
    fields[FIELD_RIP] = exit->rip;
    fields[FIELD_QUALIFICATION] = exit->qualification;
    fields[FIELD_LINEAR] = exit->guest_linear_address;
    fields[FIELD_PHYSICAL] = exit->guest_physical_address;
    fields[FIELD_VALUE] = exit->value;
    fields[FIELD_INTERRUPTION] = exit->interruption_info;
    fields[FIELD_CYCLES] = exit->cycles;
}

/* Appends field `bit` if it differs from the one before it. */
static inline uint8_t *put_field(uint8_t *out, uint8_t *present, enum field bit, uint64_t now,
                                 uint64_t before)
{
    if (now == before)
        return out;
    *present |= 1u << bit;
    return trace_put_varint(out, difference(now, before));
}

uint8_t *trace_encode(struct trace_predictor *predictor, const struct trace_exit *exit,
                      uint8_t *out)
{
    struct trace_exit *last = &predictor->reason[exit->reason % TRACE_REASON_SLOTS];
    struct trace_counters *counters = &predictor->cpu[exit->cpu % TRACE_CPU_SLOTS];
    uint8_t *start = out++, present = 0;

    out = trace_put_varint(out, exit->reason);
    out = put_field(out, &present, FIELD_CPU, exit->cpu, last->cpu);
    out = put_field(out, &present, FIELD_RIP, exit->rip, last->rip);
    out = put_field(out, &present, FIELD_QUALIFICATION, exit->qualification, last->qualification);
    out = put_field(out, &present, FIELD_LINEAR, exit->guest_linear_address,
                    last->guest_linear_address);
    out = put_field(out, &present, FIELD_PHYSICAL, exit->guest_physical_address,
                    last->guest_physical_address);
    out = put_field(out, &present, FIELD_VALUE, exit->value, last->value);
    out = put_field(out, &present, FIELD_INTERRUPTION, exit->interruption_info,
                    last->interruption_info);
    out = put_field(out, &present, FIELD_CYCLES, exit->cycles, last->cycles);
    out = trace_put_varint(out, difference(exit->instructions, counters->instructions));
    out = trace_put_varint(out, difference(exit->time, counters->time));
    *start = present;

    *last = *exit;
    counters->instructions = exit->instructions;
    counters->time = exit->time;
    return out;
}

const uint8_t *trace_decode(struct trace_predictor *predictor, const uint8_t *in,
                            const uint8_t *end, struct trace_exit *exit)
{
    uint64_t fields[FIELD_COUNT], reason, coded;
    struct trace_counters *counters;
    struct trace_exit *last;
    uint8_t present;

    if (in >= end)
        return NULL;
    present = *in++;
    in = trace_get_varint(in, end, &reason);
    if (!in || reason > UINT32_MAX)
        return NULL;
    last = &predictor->reason[reason % TRACE_REASON_SLOTS];
    gather(last, fields);
    for (unsigned i = 0; i < FIELD_COUNT; i++) {
        if (!(present & 1u << i))
            continue;
        in = trace_get_varint(in, end, &coded);
        if (!in)
            return NULL;
        fields[i] = apply(fields[i], coded);
    }
    if (fields[FIELD_CPU] > UINT16_MAX || fields[FIELD_INTERRUPTION] > UINT32_MAX ||
        fields[FIELD_CYCLES] > UINT32_MAX)
        return NULL;
    *exit = (struct trace_exit){
        .rip = fields[FIELD_RIP],
        .qualification = fields[FIELD_QUALIFICATION],
        .guest_linear_address = fields[FIELD_LINEAR],
        .guest_physical_address = fields[FIELD_PHYSICAL],
        .value = fields[FIELD_VALUE],
        .reason = (uint32_t)reason,
        .interruption_info = (uint32_t)fields[FIELD_INTERRUPTION],
        .cycles = (uint32_t)fields[FIELD_CYCLES],
        .cpu = (uint16_t)fields[FIELD_CPU],
    };

    counters = &predictor->cpu[exit->cpu % TRACE_CPU_SLOTS];
    in = trace_get_varint(in, end, &coded);
    if (!in)
        return NULL;
    exit->instructions = counters->instructions = apply(counters->instructions, coded);
    in = trace_get_varint(in, end, &coded);
    if (!in)
        return NULL;
    exit->time = counters->time = apply(counters->time, coded);
    *last = *exit;
    return in;
}
