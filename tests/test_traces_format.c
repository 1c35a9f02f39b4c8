/*
 * The format as docs/trace-format.md specifies it: a decoder that was written from that text alone,
 * with nothing of traces/ but the structures that it fills, must find in random traces what was
 * put into them.
 */
#include <xxhash.h>
#include <zstd.h>

#include "tests/traces_random.h"

TestSuite(traces_format, .init = make_folder, .fini = remove_folder);

struct bytes {
    const uint8_t *at, *end;
};

static uint64_t take_fixed(struct bytes *bytes, unsigned size)
{
    uint64_t value = 0;

    cr_assert(bytes->end - bytes->at >= size);
    for (unsigned i = 0; i < size; i++)
        value += (uint64_t)*bytes->at++ << (8 * i);
    return value;
}

static uint64_t take_varint(struct bytes *bytes)
{
    uint64_t value = 0, byte, shift = 0;

    do {
        byte = take_fixed(bytes, 1);
        value += byte % 128 << shift;
        shift += 7;
    } while (byte >= 128);
    return value;
}

static uint64_t take_signed(struct bytes *bytes)
{
    uint64_t v = take_varint(bytes);

    return v % 2 ? -(v / 2) - 1 : v / 2;
}

/* The tables "Types and fields". */
#define DATA 48 /* the size of `bytes` */
struct field {
    unsigned size;
    size_t offset;
};
#define FIELD(size, member)                        \
    {                                              \
        size, offsetof(struct trace_event, member) \
    }
static const struct field fields[][10] = {
    [1] = {FIELD(4, exit.reason), FIELD(8, exit.qualification), FIELD(8, exit.guest_linear_address),
           FIELD(8, exit.guest_physical_address), FIELD(8, exit.operand), FIELD(8, exit.value),
           FIELD(4, exit.interruption_info), FIELD(4, exit.cycles)},
    [2] = {FIELD(4, injection.info), FIELD(4, injection.error_code)},
    [3] = {FIELD(1, input.kind), FIELD(DATA, input.data)},
    [4] = {FIELD(8, state_hash.registers), FIELD(8, state_hash.memory), FIELD(4, state_hash.pages)},
    [5] = {FIELD(4, end.reason), FIELD(4, end.status)},
    [6] = {FIELD(8, walk.linear), FIELD(8, walk.guest_physical_address),
           FIELD(8, walk.host_physical_address), FIELD(4, walk.access), FIELD(4, walk.status),
           FIELD(4, walk.error_code), FIELD(1, walk.guest_references),
           FIELD(1, walk.ept_references), FIELD(1, walk.page_shift)},
    [7] = {FIELD(1, flush.kind), FIELD(1, flush.type), FIELD(8, flush.address)},
    [8] = {FIELD(4, block.instructions)},
    [9] = {FIELD(1, access.write), FIELD(1, access.size), FIELD(8, access.linear),
           FIELD(8, access.value)},
    [10] = {FIELD(8, checkpoint.number)},
};

static const uint64_t golden = 0x9e3779b97f4a7c15;

/* Everything that "is zero at the beginning of a frame". */
struct frame {
    struct bytes column[16 * 64];
    uint64_t cpu;
    struct {
        uint64_t instructions, surplus;
    } counter[64];
    uint64_t rip[16 * 64];
    uint64_t site[1024][10];

    uint64_t runs; /* predicted blocks before the next written one; -1: until the end */
    bool has_runs, spelled, behind_block;
    struct trace_event block, block_before;
    struct {
        uint64_t rip;
        uint32_t size;
    } first[1 << 13], second[1 << 13];
};

static uint64_t take_column_varint(struct frame *frame, unsigned id)
{
    return frame->column[id].at ? take_varint(&frame->column[id]) : 0;
}

static uint64_t take_column_signed(struct frame *frame, unsigned id)
{
    return frame->column[id].at ? take_signed(&frame->column[id]) : 0;
}

static void decode_data(struct frame *frame, struct trace_event *event, unsigned id)
{
    if (!frame->column[id].at)
        return;
    event->input.size = (uint8_t)take_fixed(&frame->column[id], 1);
    cr_assert_leq(event->input.size, DATA);
    for (unsigned i = 0; i < event->input.size; i++)
        event->input.data[i] = (uint8_t)take_fixed(&frame->column[id], 1);
}

static void decode_event(struct frame *frame, struct trace_event *event, unsigned type)
{
    const unsigned id = 64 * type;
    uint64_t reason, kind, *site;

    if (frame->behind_block)
        frame->counter[frame->block.cpu % 64].instructions = frame->block.instructions;
    frame->behind_block = false;
    event->cpu = (uint16_t)(frame->cpu += take_column_signed(frame, id));
    frame->cpu = event->cpu;
    event->instructions = frame->counter[event->cpu % 64].instructions +=
        take_column_signed(frame, id + 1);
    if (type == 9)
        event->time = take_column_varint(frame, id + 2);
    else
        event->time = event->instructions + (frame->counter[event->cpu % 64].surplus +=
                                             take_column_signed(frame, id + 2));
    reason = type == 1 ? (uint32_t)take_column_signed(frame, id + 4) : 0;
    kind = 64 * type + reason % 64;
    event->rip = frame->rip[kind] += take_column_signed(frame, id + 3);
    site = frame->site[(event->rip ^ kind << 32) * golden >> 54];
    for (unsigned i = 0; fields[type][i].size; i++) {
        const struct field *field = &fields[type][i];

        if (field->size == DATA) {
            decode_data(frame, event, id + 4 + i);
            continue;
        }
        if (type == 1 && i == 0)
            site[i] = reason;
        else
            site[i] += take_column_signed(frame, id + 4 + i);
        memcpy((uint8_t *)event + field->offset, &site[i], field->size);
        site[i] = 0;
        memcpy(&site[i], (uint8_t *)event + field->offset, field->size);
    }
}

static void take_runs(struct frame *frame)
{
    struct bytes *runs = &frame->column[64 * 8 + 15];
    uint64_t v;

    frame->has_runs = true;
    frame->runs = UINT64_MAX;
    if (runs->at == runs->end)
        return;
    v = take_varint(runs);
    frame->runs = v / 2;
    frame->spelled = v % 2;
}

static void decode_block(struct frame *frame, struct trace_event *event)
{
    const struct trace_event *last = &frame->block;
    uint64_t slot = (last->rip + 3 * frame->block_before.rip) * golden >> 51;
    const unsigned id = 64 * 8;

    if (!frame->has_runs)
        take_runs(frame);
    event->cpu = last->cpu;
    event->instructions = last->instructions + last->block.instructions;
    if (frame->runs > 0) {
        frame->runs--;
        event->rip = frame->first[slot].rip;
        event->block.instructions = frame->first[slot].size;
    } else {
        event->cpu += (uint16_t)take_column_signed(frame, id);
        event->instructions += take_column_signed(frame, id + 1);
        event->time = take_column_varint(frame, id + 2);
        event->rip = frame->second[slot].rip;
        event->block.instructions = frame->second[slot].size;
        if (frame->spelled) {
            event->rip = last->rip + take_column_signed(frame, id + 3);
            event->block.instructions = (uint32_t)take_column_varint(frame, id + 4);
        }
        if (event->rip != frame->first[slot].rip ||
            event->block.instructions != frame->first[slot].size) {
            memcpy(&frame->second[slot], &frame->first[slot], sizeof(frame->first[slot]));
            frame->first[slot].rip = event->rip;
            frame->first[slot].size = event->block.instructions;
        }
        take_runs(frame);
    }
    frame->block_before = frame->block;
    frame->block = *event;
    frame->behind_block = true;
}

static struct {
    uint64_t count, instructions, time, checksum;
    size_t packed, content;
} found[4096];

/* Compares the frame's events with those that were written; returns how many it has. */
static uint64_t decode_frame(struct bytes content, const struct trace_event *events,
                             uint64_t expected_first, unsigned number)
{
    struct frame *frame = calloc(1, sizeof(*frame));
    uint64_t first = take_varint(&content), count = take_varint(&content), columns, done = 0;
    const uint8_t *data = content.at;

    cr_assert_eq(first, expected_first);
    found[number].count = count;
    found[number].instructions = take_varint(&content);
    found[number].time = take_varint(&content);
    columns = take_varint(&content);
    for (int pass = 0; pass < 2; pass++) { /* the columns begin where their list ends */
        struct bytes list = content;

        for (uint64_t i = 0; i < columns; i++) {
            uint64_t id = take_varint(&list), size = take_varint(&list);

            if (pass == 0)
                continue;
            cr_assert(id < 16 * 64 && !frame->column[id].at);
            frame->column[id] = (struct bytes){data, data + size};
            data += size;
        }
        if (pass == 0)
            data = list.at;
    }
    cr_assert_eq(data, content.end);
    while (done < count) {
        uint64_t type = take_varint(&frame->column[0]), run = take_varint(&frame->column[0]);

        for (; run > 0; run--, done++) {
            struct trace_event event = {.type = (uint8_t)type};

            if (type == 8)
                decode_block(frame, &event);
            else
                decode_event(frame, &event, (unsigned)type);
            expect_equal(&event, &events[first + done], first + done);
        }
    }
    for (unsigned id = 0; id < 16 * 64; id++)
        cr_assert_eq(frame->column[id].at, frame->column[id].end, "column %u has more", id);
    free(frame);
    return count;
}

static void check_index(struct bytes index, unsigned frames)
{
    struct bytes checked = index;
    uint64_t instructions = 0, time = 0;

    cr_assert_eq(take_varint(&index), frames - 1);
    for (unsigned i = 0; i < frames; i++) {
        cr_assert_eq(take_varint(&index), found[i].packed);
        cr_assert_eq(take_varint(&index), found[i].content);
        if (i == 0)
            continue;
        cr_assert_eq(take_varint(&index), found[i].count);
        cr_assert_eq(instructions += take_signed(&index), found[i].instructions);
        cr_assert_eq(time += take_signed(&index), found[i].time);
        cr_assert_eq(take_fixed(&index, 8), found[i].checksum);
    }
    checked.end = index.at;
    cr_assert_eq(take_fixed(&index, 8), XXH64(checked.at, (size_t)(checked.end - checked.at), 0));
    cr_assert_eq(index.at, index.end);
}

static void check_seek_table(struct bytes table, unsigned frames, size_t index_size)
{
    for (unsigned i = 0; i < frames; i++) {
        cr_assert_eq(take_fixed(&table, 4), found[i].packed);
        cr_assert_eq(take_fixed(&table, 4), found[i].content);
    }
    cr_assert_eq(take_fixed(&table, 4), index_size);
    cr_assert_eq(take_fixed(&table, 4), 0);
    cr_assert_eq(take_fixed(&table, 4), frames + 1);
    cr_assert_eq(take_fixed(&table, 1), 0);
    cr_assert_eq(take_fixed(&table, 4), 0x8f92eab1);
    cr_assert_eq(table.at, table.end);
}

static struct bytes take_skippable(struct bytes *file, uint32_t magic)
{
    struct bytes frame;
    uint64_t size;

    cr_assert_eq(take_fixed(file, 4), magic);
    size = take_fixed(file, 4);
    frame = (struct bytes){file->at, file->at + size};
    cr_assert_leq(frame.end, file->end);
    file->at = frame.end;
    return frame;
}

static void check_trace(const struct trace_event *events, unsigned count)
{
    static const char header[] = "VTXTRACE\3\0\0\0\4\0\0\0\25\0\0\0" OPTIONS;
    uint64_t done = 0;
    unsigned frames = 0;
    struct bytes file, index;
    size_t size;
    uint8_t *data = slurp(path, &size);

    file = (struct bytes){data, data + size};
    while (memcmp(file.at, "\x28\xb5\x2f\xfd", 4) == 0) {
        size_t packed = ZSTD_findFrameCompressedSize(file.at, (size_t)(file.end - file.at));
        size_t length = (size_t)ZSTD_getFrameContentSize(file.at, packed);
        uint8_t *content = malloc(length);

        cr_assert_eq(file.at[4] & 4, 4, "frame %u lacks a checksum", frames);
        cr_assert_eq(ZSTD_decompress(content, length, file.at, packed), length);
        found[frames].packed = packed;
        found[frames].content = length;
        found[frames].checksum = XXH64(content, length, 0);
        if (frames == 0)
            cr_assert(length == sizeof(header) - 1 && memcmp(content, header, length) == 0);
        else
            done += decode_frame((struct bytes){content, content + length}, events, done, frames);
        free(content);
        file.at += packed;
        frames++;
    }
    cr_assert_eq(done, count);
    index = take_skippable(&file, 0x184d2a51);
    check_index(index, frames);
    check_seek_table(take_skippable(&file, 0x184d2a5e), frames, (size_t)(index.end - index.at) + 8);
    cr_assert_eq(file.at, file.end);
    free(data);
}

Test(traces_format, as_specified)
{
    static const unsigned counts[] = {0, 1, 3000, 150000};

    for (unsigned i = 0; i < 8; i++) {
        struct trace_event *events = random_events(counts[i / 2], i % 2);

        write_trace(path, events, counts[i / 2]);
        check_trace(events, counts[i / 2]);
        free(events);
    }
}
