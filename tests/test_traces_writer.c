/*
 * Traces: what is written is what is read, byte for byte the same for the same records, readable
 * up to the last whole frame however a file is cut, and an error where it is damaged.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <zstd.h>

#include "traces/reader.h"
#include "traces/writer.h"

#define FRAME   4096 /* docs/trace-format.md: records in every frame but the last */
#define OPTIONS "{\"memory\": 536870912}"

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void random_begin(void)
{
    const char *given = getenv("VTXSIM_TEST_SEED");

    random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2 + 1;
    fprintf(stderr, "VTXSIM_TEST_SEED=%llu\n", (unsigned long long)random_state);
}

/* Values of every length, often the same as before, sometimes the extremes. */
static uint64_t random_value(void)
{
    switch (random_next() % 5) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return random_next() % 4;
    default:
        return random_next() >> random_next() % 64;
    }
}

static struct trace_exit *random_records(unsigned count)
{
    struct trace_exit *records = calloc(count ? count : 1, sizeof(*records));
    uint64_t instructions = 0, now = 0;

    for (unsigned i = 0; i < count; i++) {
        /* Mostly a plausible run; one record in sixteen is anything at all. */
        bool wild = random_next() % 16 == 0;

        instructions += random_next() % 5000;
        now += random_next() % 9000;
        records[i] = (struct trace_exit){
            .instructions = wild ? random_value() : instructions,
            .time = wild ? random_value() : now,
            .rip = random_value(),
            .qualification = random_value(),
            .guest_linear_address = random_value(),
            .guest_physical_address = random_value(),
            .value = random_value(),
            .reason = (uint32_t)(wild ? random_value() : random_next() % 65),
            .interruption_info = (uint32_t)random_value(),
            .cycles = (uint32_t)random_value(),
            .cpu = (uint16_t)(wild ? random_value() : random_next() % 2),
        };
    }
    return records;
}

static void expect_equal(const struct trace_exit *a, const struct trace_exit *b, unsigned index)
{
    bool equal = a->instructions == b->instructions && a->time == b->time && a->rip == b->rip &&
                 a->qualification == b->qualification &&
                 a->guest_linear_address == b->guest_linear_address &&
                 a->guest_physical_address == b->guest_physical_address && a->value == b->value &&
                 a->reason == b->reason && a->interruption_info == b->interruption_info &&
                 a->cycles == b->cycles && a->cpu == b->cpu;

    cr_assert(equal, "record %u differs from what was written", index);
}

static char folder[] = "/tmp/vtxsim-trace-XXXXXX";
static char path[64], other[64];

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/a.vtx", folder);
    snprintf(other, sizeof(other), "%s/b.vtx", folder);
}

static void remove_folder(void)
{
    unlink(path);
    unlink(other);
    rmdir(folder);
}

TestSuite(traces_writer, .init = make_folder, .fini = remove_folder);

static void write_trace(const char *to, const struct trace_exit *records, unsigned count)
{
    struct trace_writer *writer;
    struct stat status;

    cr_assert_eq(trace_writer_open(&writer, to, OPTIONS), 0);
    for (unsigned i = 0; i < count; i++)
        trace_write_exit(writer, &records[i]);
    cr_assert_eq(trace_writer_events(writer), count);
    cr_assert_eq(trace_writer_error(writer), 0);
    cr_assert_eq(trace_writer_finish(writer), 0);
    cr_assert(stat(to, &status) == 0 && trace_writer_bytes(writer) == (uint64_t)status.st_size);
    cr_assert_eq(trace_writer_close(writer), 0);
}

static uint8_t *slurp(const char *from, size_t *size)
{
    FILE *file = fopen(from, "rb");
    struct stat status;
    uint8_t *data;

    cr_assert(file && fstat(fileno(file), &status) == 0);
    *size = (size_t)status.st_size;
    data = malloc(*size + 1);
    cr_assert_eq(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

static void spill(const char *to, const void *data, size_t size)
{
    FILE *file = fopen(to, "wb");

    cr_assert(file && fwrite(data, 1, size, file) == size);
    fclose(file);
}

/* Reads all; each record must be the one written. Returns how many, and the final answer. */
static unsigned read_trace(const char *from, const struct trace_exit *records, int *result)
{
    struct trace_reader *reader;
    struct trace_exit exit;
    unsigned count = 0;

    *result = trace_reader_open(&reader, from);
    if (*result)
        return 0;
    while ((*result = trace_reader_next(reader, &exit)) == 1)
        expect_equal(&exit, &records[count], count), count++;
    cr_assert_eq(trace_reader_next(reader, &exit), *result, "the last answer must stay");
    trace_reader_close(reader);
    return count;
}

Test(traces_writer, round_trip)
{
    static const unsigned counts[] = {0, 1, FRAME - 1, FRAME, FRAME + 1, 10 * FRAME + 17};

    random_begin();
    for (unsigned i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        struct trace_exit *records = random_records(counts[i]);
        struct trace_reader *reader;
        int result;

        write_trace(path, records, counts[i]);
        cr_assert_eq(read_trace(path, records, &result), counts[i]);
        cr_assert_eq(result, 0, "%u records end with %d", counts[i], result);
        cr_assert_eq(trace_reader_open(&reader, path), 0);
        cr_assert_str_eq(trace_reader_options(reader), OPTIONS);
        trace_reader_close(reader);
        free(records);
    }
}

Test(traces_writer, same_records_same_bytes)
{
    const unsigned count = 6 * FRAME + 5;
    struct trace_exit *records;
    struct trace_writer *writer;
    uint8_t *a, *b;
    size_t a_size, b_size;

    random_begin();
    records = random_records(count);
    write_trace(path, records, count);
    /* The second time with pauses, so that the threads meet differently. */
    cr_assert_eq(trace_writer_open(&writer, other, OPTIONS), 0);
    for (unsigned i = 0; i < count; i++) {
        if (i % 5000 == 4999)
            usleep(3000);
        trace_write_exit(writer, &records[i]);
    }
    cr_assert_eq(trace_writer_close(writer), 0);
    a = slurp(path, &a_size);
    b = slurp(other, &b_size);
    cr_assert_eq(a_size, b_size);
    cr_assert_arr_eq(a, b, a_size);
    free(a);
    free(b);
    free(records);
}

/* A decoder written from docs/trace-format.md alone, on top of zstd's one-shot interface. */
static uint64_t spec_varint(const uint8_t **in)
{
    uint64_t value = 0;

    for (unsigned shift = 0;; shift += 7) {
        uint64_t byte = *(*in)++;

        value += (byte % 128) << shift;
        if (byte < 128)
            return value;
    }
}

static uint64_t spec_signed(const uint8_t **in)
{
    uint64_t coded = spec_varint(in);

    return coded % 2 ? -(coded / 2) - 1 : coded / 2;
}

static unsigned spec_frame(const uint8_t *in, const struct trace_exit *records)
{
    static struct trace_exit by_reason[128];
    static uint64_t counters[64][2];
    uint64_t first = spec_varint(&in), count = spec_varint(&in);

    memset(by_reason, 0, sizeof(by_reason));
    memset(counters, 0, sizeof(counters));
    for (uint64_t i = 0; i < count; i++) {
        uint8_t present = *in++;
        uint32_t reason = (uint32_t)spec_varint(&in);
        struct trace_exit now = by_reason[reason % 128];

        now.reason = reason;
        now.cpu += present & 1 ? spec_signed(&in) : 0;
        now.rip += present & 2 ? spec_signed(&in) : 0;
        now.qualification += present & 4 ? spec_signed(&in) : 0;
        now.guest_linear_address += present & 8 ? spec_signed(&in) : 0;
        now.guest_physical_address += present & 16 ? spec_signed(&in) : 0;
        now.value += present & 32 ? spec_signed(&in) : 0;
        now.interruption_info += present & 64 ? spec_signed(&in) : 0;
        now.cycles += present & 128 ? spec_signed(&in) : 0;
        now.instructions = counters[now.cpu % 64][0] += spec_signed(&in);
        now.time = counters[now.cpu % 64][1] += spec_signed(&in);
        by_reason[reason % 128] = now;
        expect_equal(&now, &records[first + i], (unsigned)(first + i));
    }
    return (unsigned)count;
}

Test(traces_writer, format_as_specified)
{
    const unsigned count = 2 * FRAME + 100;
    static uint8_t plain[1 << 20];
    struct trace_exit *records;
    unsigned found = 0, frames = 0;
    size_t size, at = 0;
    uint8_t *file;

    random_begin();
    records = random_records(count);
    write_trace(path, records, count);
    file = slurp(path, &size);
    while (memcmp(file + at, "\x5e\x2a\x4d\x18", 4) != 0) {
        size_t packed = ZSTD_findFrameCompressedSize(file + at, size - at);
        size_t length = ZSTD_decompress(plain, sizeof(plain), file + at, packed);

        cr_assert(!ZSTD_isError(length));
        if (frames++ == 0)
            cr_assert_arr_eq(plain, "VTXTRACE\1\0\0\0\25\0\0\0" OPTIONS, 16 + strlen(OPTIONS));
        else
            found += spec_frame(plain, records);
        at += packed;
    }
    cr_assert_eq(found, count);
    cr_assert_eq(frames, 4);
    cr_assert_eq(size - at, 8 + 8 * frames + 9, "the seek table ends the file");
    cr_assert_arr_eq(file + size - 4, "\xb1\xea\x92\x8f", 4);
    free(file);
    free(records);
}

Test(traces_writer, cut_anywhere)
{
    const unsigned count = 3 * FRAME + 50;
    struct trace_exit *records;
    size_t size, ends[8];
    unsigned frames = 0;
    uint8_t *file;

    random_begin();
    records = random_records(count);
    write_trace(path, records, count);
    file = slurp(path, &size);
    for (size_t at = 0; memcmp(file + at, "\x5e\x2a\x4d\x18", 4) != 0; frames++)
        ends[frames] = at += ZSTD_findFrameCompressedSize(file + at, size - at);

    for (unsigned i = 0; i < 400; i++) {
        /* Random lengths, and those around every boundary. */
        size_t length = i < 5 * frames        ? ends[i / 5] + i % 5 - 2
                        : i < 5 * frames + 40 ? size - 1 - (i - 5 * frames)
                                              : random_next() % size;
        unsigned whole = 0, expected;
        int result;

        while (whole < frames && ends[whole] <= length)
            whole++;
        expected = whole == 0 ? 0 : whole == frames ? count : (whole - 1) * FRAME;
        spill(other, file, length);
        cr_assert_eq(read_trace(other, records, &result), expected, "cut at %zu", length);
        cr_assert_eq(result, -ENODATA, "cut at %zu: %d", length, result);
    }
    free(file);
    free(records);
}

/* A changed bit is found (or lies where nothing depends on it); no record is ever a wrong one. */
Test(traces_writer, damage_is_told)
{
    const unsigned count = FRAME + 200;
    struct trace_exit *records;
    unsigned told = 0;
    uint8_t *file;
    size_t size;

    random_begin();
    records = random_records(count);
    write_trace(path, records, count);
    file = slurp(path, &size);
    for (unsigned i = 0; i < 300; i++) {
        size_t at = i < 60 ? i : random_next() % size;
        uint8_t flipped = 1u << random_next() % 8;
        int result;

        file[at] ^= flipped;
        spill(other, file, size);
        read_trace(other, records, &result);
        told += result != 0;
        file[at] ^= flipped;
    }
    cr_assert_geq(told, 285, "only %u of 300 damaged traces were told", told);
    free(file);
    free(records);
}

Test(traces_writer, not_a_trace)
{
    static const char text[] = "This is not a trace, whatever its name says.";
    uint8_t packed[256];
    size_t size;
    int result;

    random_begin();
    read_trace("/nonexistent/trace.vtx", NULL, &result);
    cr_assert_eq(result, -ENOENT);
    spill(path, text, sizeof(text));
    read_trace(path, NULL, &result);
    cr_assert_eq(result, -EBADMSG);
    /* Good zstd with something else in it. */
    size = ZSTD_compress(packed, sizeof(packed), text, sizeof(text), 1);
    spill(path, packed, size);
    read_trace(path, NULL, &result);
    cr_assert_eq(result, -EBADMSG);
    size = ZSTD_compress(packed, sizeof(packed), "VTXTRACE\2\0\0\0\0\0\0\0", 16, 1);
    spill(path, packed, size);
    read_trace(path, NULL, &result);
    cr_assert_eq(result, -ENOTSUP);
}

Test(traces_writer, unwritable)
{
    struct trace_writer *writer;

    cr_assert_eq(trace_writer_open(&writer, "/nonexistent/trace.vtx", OPTIONS), -ENOENT);
    cr_assert_eq(trace_writer_open(&writer, folder, OPTIONS), -EISDIR);
    cr_assert_eq(trace_writer_open(&writer, "/dev/full", OPTIONS), -ENOSPC);
}

/* A disk that fills in the middle (here: a limit on the file's size) ends the trace cleanly. */
Test(traces_writer, disk_full_while_running)
{
    const unsigned count = 40 * FRAME;
    const struct rlimit limit = {200000, RLIM_INFINITY};
    struct trace_exit *records;
    struct trace_writer *writer;
    struct stat status;
    uint64_t bytes;
    unsigned found;
    int result;

    random_begin();
    records = random_records(count);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(trace_writer_open(&writer, path, OPTIONS), 0);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (unsigned i = 0; i < count; i++)
        trace_write_exit(writer, &records[i]);
    cr_assert_eq(trace_writer_error(writer), -EFBIG);
    bytes = trace_writer_bytes(writer);
    cr_assert_eq(trace_writer_close(writer), -EFBIG);
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq((uint64_t)status.st_size, bytes, "the file ends with a whole frame");
    found = read_trace(path, records, &result);
    cr_assert_eq(result, -ENODATA);
    cr_assert(found > 0 && found % FRAME == 0);
    free(records);
}
