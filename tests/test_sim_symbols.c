/*
 * Symbols from everything that has some: an ELF file (this suite), maps as text, and kernels' own
 * tables, made here in every layout that Linux has had, plain and in bzImages.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <lz4.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "sim/symbols/symbols.h"

#define BASE      0xffffffff81000000ull
#define SYMBOLS   2000u
#define NAME_SIZE 48
#define IMAGE     (1u << 20)

static char path[] = "/tmp/vtxsim-symbols-XXXXXX";

static void begin(void)
{
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    close(fd);
}

static void end(void)
{
    unlink(path);
}

TestSuite(sim_symbols, .init = begin, .fini = end);

static void write_file(const void *data, size_t size)
{
    FILE *file = fopen(path, "we");

    cr_assert(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static struct symbols *load(void)
{
    char message[512] = "";
    struct symbols *symbols = NULL;
    int error = symbols_load(&symbols, path, message, sizeof(message));

    cr_assert_eq(error, 0, "%s", message);
    return symbols;
}

static void expect_failure(int error, const char *told)
{
    char message[512] = "";
    struct symbols *symbols;

    cr_assert_eq(symbols_load(&symbols, path, message, sizeof(message)), error, "%s", message);
    cr_assert(strstr(message, path) && strstr(message, told), "%s", message);
}

static void expect_name(const struct symbols *symbols, uint64_t address, const char *name,
                        uint64_t into)
{
    uint64_t found_into = UINT64_MAX;
    const char *found = symbols_find(symbols, address, &found_into);

    if (!name) {
        cr_assert_null(found, "0x%" PRIx64 " is %s", address, found);
        return;
    }
    cr_assert(found && strcmp(found, name) == 0, "0x%" PRIx64 " is %s, not %s", address, found,
              name);
    cr_assert_eq(found_into, into);
}

Test(sim_symbols, map)
{
    static const char text[] = "0000000000000000 A fixed_percpu_data\n"
                               "ffffffff81000000 t local_alias\n"
                               "ffffffff81000000 T _text\n"
                               "ffffffff81000100 T start_kernel\n"
                               "ffffffff81000200 T next [module]\n";
    struct symbols *symbols;
    uint64_t start, stop;

    write_file(text, sizeof(text) - 1);
    symbols = load();
    expect_name(symbols, BASE - 1, NULL, 0);
    expect_name(symbols, BASE, "_text", 0);
    expect_name(symbols, BASE + 0x1ff, "start_kernel", 0xff);
    expect_name(symbols, BASE + 0x200, "next", 0);
    expect_name(symbols, BASE + 0x200 + 4096, NULL, 0);
    expect_name(symbols, 0, NULL, 0);
    cr_assert(symbols_range(symbols, "start_kernel", &start, &stop));
    cr_assert(start == BASE + 0x100 && stop == BASE + 0x200);
    cr_assert_not(symbols_range(symbols, "start_kerne", &start, &stop));
    symbols_set_offset(symbols, 0x200000);
    expect_name(symbols, BASE + 0x200110, "start_kernel", 0x10);
    cr_assert(symbols_range(symbols, "start_kernel", &start, &stop));
    cr_assert_eq(start, BASE + 0x200100);
    symbols_free(symbols);
}

/* A function of this program has its name at its address, and not behind its end. */
Test(sim_symbols, elf)
{
    uint64_t start, stop, load_address = getauxval(AT_ENTRY);
    struct symbols *symbols;
    char message[512];

    cr_assert_eq(symbols_load(&symbols, "/proc/self/exe", message, sizeof(message)), 0, "%s",
                 message);
    cr_assert(symbols_range(symbols, "_start", &start, &stop));
    symbols_set_offset(symbols, load_address - start); /* this program is position-independent */
    cr_assert(symbols_range(symbols, "expect_failure", &start, &stop));
    cr_assert_eq(start, (uint64_t)(uintptr_t)expect_failure);
    expect_name(symbols, start, "expect_failure", 0);
    expect_name(symbols, stop - 1, "expect_failure", stop - 1 - start);
    symbols_free(symbols);
}

Test(sim_symbols, what_has_none)
{
    static const struct {
        const char *content;
        int error;
        const char *told;
    } cases[] = {
        {"", -ENOENT, "System.map"},
        {"hello, world\n", -ENOENT, "System.map"},
        {"0000000000000000 T _text\n", -ENOENT, "System.map"},
        {"ffffffff81000000 T _text\nffffffff8100", -EBADMSG, "damaged"},
        {"\x7f"
         "ELF",
         -ENOENT, "System.map"},
        {"BZh91AY&SY", -ENOTSUP, "bzip2"},
        {"\x1f\x8b\x08 and so on", -EBADMSG, "damaged"},
        {"\x28\xb5\x2f\xfd", -EBADMSG, "damaged"},
        {"\xfd"
         "7zXZ",
         -ENOENT, "no symbols"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        write_file(cases[i].content, strlen(cases[i].content));
        expect_failure(cases[i].error, cases[i].told);
    }
    unlink(path);
    expect_failure(-ENOENT, "No such file");
}

/* --- Kernels
 * ----------------------------------------------------------------------------------------- */

/* Where the tables are. */
struct layout {
    bool addresses_behind; /* Linux 6.4 and later */
    bool sequences;        /* seqs_of_names before the tokens: 6.1.y, 6.2, 6.3 */
    bool per_cpu;          /* CONFIG_KALLSYMS_ABSOLUTE_PERCPU */
};

struct kernel {
    uint8_t image[IMAGE];
    size_t size;
    struct {
        char name[NAME_SIZE]; /* with the type in front */
        uint64_t address;
    } symbol[SYMBOLS];
};

static void put(struct kernel *kernel, const void *data, size_t size)
{
    cr_assert_leq(kernel->size + size, IMAGE);
    memcpy(kernel->image + kernel->size, data, size);
    kernel->size += size;
}

static void align(struct kernel *kernel)
{
    kernel->size = (kernel->size + 7) & ~(size_t)7;
}

static void put_addresses(struct kernel *kernel, const struct layout *layout)
{
    uint64_t base = BASE;

    for (unsigned i = 0; i < SYMBOLS; i++) {
        uint64_t address = kernel->symbol[i].address;
        uint32_t offset = !layout->per_cpu  ? (uint32_t)(address - base)
                          : address >= base ? (uint32_t)(base - 1 - address)
                                            : (uint32_t)address;

        put(kernel, &offset, 4);
    }
    align(kernel);
    put(kernel, &base, 8);
}

/* Tokens: each printable character stands for itself, the others for "ab", "ac", ... */
static void make_tokens(char tokens[256][4])
{
    for (unsigned i = 0; i < 256; i++)
        if (i > ' ' && i < 127)
            snprintf(tokens[i], 4, "%c", i);
        else
            snprintf(tokens[i], 4, "%c%c", 'a' + i / 26, 'a' + i % 26);
}

/* The name in tokens, two characters at a time where there is a token. Returns how many. */
static unsigned code_name(char tokens[256][4], const char *name, uint8_t *out)
{
    unsigned count = 0;

    while (*name) {
        unsigned token = (unsigned char)*name, length = 1;

        for (unsigned i = 0; i < 256; i++)
            if (strlen(tokens[i]) == 2 && strncmp(tokens[i], name, 2) == 0) {
                token = i;
                length = 2;
            }
        out[count++] = (uint8_t)token;
        name += length;
    }
    return count;
}

static void put_names(struct kernel *kernel, const struct layout *layout)
{
    uint32_t count = SYMBOLS, markers[SYMBOLS / 256 + 1];
    static const uint8_t sequences[3 * SYMBOLS] = {1};
    char tokens[256][4];
    size_t start, table;

    make_tokens(tokens);
    put(kernel, &count, 4);
    align(kernel);
    start = kernel->size;
    for (unsigned i = 0; i < SYMBOLS; i++) {
        uint8_t coded[2 * NAME_SIZE];
        uint8_t length = (uint8_t)code_name(tokens, kernel->symbol[i].name, coded);

        if (i % 256 == 0)
            markers[i / 256] = (uint32_t)(kernel->size - start);
        put(kernel, &length, 1);
        put(kernel, coded, length);
    }
    align(kernel);
    put(kernel, markers, (SYMBOLS + 255) / 256 * 4);
    align(kernel);
    if (layout->sequences)
        put(kernel, sequences, sizeof(sequences));
    align(kernel);
    table = kernel->size;
    for (unsigned i = 0; i < 256; i++)
        put(kernel, tokens[i], strlen(tokens[i]) + 1);
    align(kernel);
    for (unsigned i = 0, at = 0; i < 256; i++) {
        uint16_t place = (uint16_t)at;

        put(kernel, &place, 2);
        at += (unsigned)strlen((char *)kernel->image + table + at) + 1;
    }
    align(kernel);
}

/* Random names at growing addresses between random bytes. */
static void make_kernel(struct kernel *kernel, const struct layout *layout, unsigned seed)
{
    uint64_t address = BASE;

    srandom(seed);
    memset(kernel, 0, sizeof(*kernel));
    for (unsigned i = 0; i < SYMBOLS; i++) {
        bool number = layout->per_cpu && i < 20;
        unsigned length = 3 + (unsigned)random() % 12;
        char *name = kernel->symbol[i].name;

        *name++ = number ? 'A' : 'T';
        name += sprintf(name, "s%u_", i);
        while (length-- > 0)
            *name++ = (char)('a' + random() % 26);
        kernel->symbol[i].address = number ? i * 64 : (address += 16 + (uint64_t)random() % 999);
    }
    for (unsigned i = 0; i < 10000 + (unsigned)random() % 1000; i++)
        kernel->image[kernel->size++] = (uint8_t)random();
    align(kernel);
    if (!layout->addresses_behind)
        put_addresses(kernel, layout);
    put_names(kernel, layout);
    if (layout->addresses_behind)
        put_addresses(kernel, layout);
    for (unsigned i = 0; i < 5000; i++)
        kernel->image[kernel->size++] = (uint8_t)random();
}

static void expect_kernel(const struct kernel *kernel, const char *what)
{
    struct symbols *symbols = load();

    for (unsigned i = 0; i < SYMBOLS; i++) {
        uint64_t into = UINT64_MAX, address = kernel->symbol[i].address;
        const char *name = symbols_find(symbols, address, &into);

        if (address < BASE) {
            cr_assert_null(name);
            continue;
        }
        cr_assert(name && strcmp(name, kernel->symbol[i].name + 1) == 0 && into == 0,
                  "%s: symbol %u is %s, not %s", what, i, name, kernel->symbol[i].name + 1);
    }
    symbols_free(symbols);
}

Test(sim_symbols, kernel_tables)
{
    static const struct layout layouts[] = {
        {false, false, true}, {false, true, true},  {true, false, true},
        {true, false, false}, {false, true, false},
    };
    struct kernel *kernel = malloc(sizeof(*kernel));

    for (unsigned i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
        char what[32];

        snprintf(what, sizeof(what), "layout %u", i);
        make_kernel(kernel, &layouts[i], i + 1);
        write_file(kernel->image, kernel->size);
        expect_kernel(kernel, what);
    }
    write_file(kernel->image, kernel->size / 2); /* the tokens are missing */
    expect_failure(-ENOENT, "CONFIG_KALLSYMS");
    free(kernel);
}

static size_t pack_gzip(const uint8_t *data, size_t size, uint8_t *out, size_t room)
{
    z_stream stream = {.next_in = (uint8_t *)data,
                       .avail_in = (uInt)size,
                       .next_out = out,
                       .avail_out = (uInt)room};

    cr_assert_eq(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    cr_assert_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return room - stream.avail_out;
}

static size_t pack_xz(const uint8_t *data, size_t size, uint8_t *out, size_t room)
{
    size_t used = 0;

    cr_assert_eq(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, data, size, out, &used, room),
                 LZMA_OK);
    return used;
}

static size_t pack_zstd(const uint8_t *data, size_t size, uint8_t *out, size_t room)
{
    return ZSTD_compress(out, room, data, size, 3);
}

static size_t pack_lz4(const uint8_t *data, size_t size, uint8_t *out, size_t room)
{
    static const uint8_t magic[4] = {0x02, 0x21, 0x4c, 0x18};
    size_t first = size / 3; /* two blocks */
    size_t used = 4;

    memcpy(out, magic, 4);
    for (size_t at = 0; at < size;) {
        size_t part = at ? size - at : first;
        int got = LZ4_compress_default((const char *)data + at, (char *)out + used + 4, (int)part,
                                       (int)(room - used - 4));
        uint32_t length = (uint32_t)got;

        cr_assert_gt(got, 0);
        memcpy(out + used, &length, 4);
        used += 4 + length;
        at += part;
    }
    return used;
}

/* The boot protocol's header names the place and length of what is compressed, to which the build
 * appends the size. */
static void write_bzimage(const uint8_t *payload, size_t size)
{
    uint8_t *image = calloc(1, size + 0x2000);
    uint32_t offset = 0x123, length = (uint32_t)size + 4;
    uint16_t version = 0x020f;

    image[0x1f1] = 3;
    memcpy(image + 0x202, "HdrS", 4);
    memcpy(image + 0x206, &version, 2);
    memcpy(image + 0x248, &offset, 4);
    memcpy(image + 0x24c, &length, 4);
    memcpy(image + 4 * 512 + offset, payload, size);
    write_file(image, 4 * 512 + offset + size + 4);
    free(image);
}

Test(sim_symbols, compressed)
{
    static const struct {
        const char *name;
        size_t (*pack)(const uint8_t *data, size_t size, uint8_t *out, size_t room);
    } formats[] = {{"gzip", pack_gzip}, {"xz", pack_xz}, {"zstd", pack_zstd}, {"lz4", pack_lz4}};
    static const struct layout layout = {.sequences = true, .per_cpu = true};
    struct kernel *kernel = malloc(sizeof(*kernel));
    uint8_t *packed = malloc(2 * IMAGE);

    make_kernel(kernel, &layout, 7);
    for (unsigned i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
        size_t size = formats[i].pack(kernel->image, kernel->size, packed, 2 * IMAGE);

        write_file(packed, size);
        expect_kernel(kernel, formats[i].name);
        write_bzimage(packed, size);
        expect_kernel(kernel, formats[i].name);
        /* Cut off: told, not crashed on. */
        write_file(packed, size / 2);
        expect_failure(strcmp(formats[i].name, "lz4") ? -EBADMSG : -ENOENT,
                       strcmp(formats[i].name, "lz4") ? "damaged" : "no symbols");
    }
    free(packed);
    free(kernel);
}

/* Damage anywhere in the tables: other names or none, and nothing worse (under the sanitizers). */
Test(sim_symbols, damaged)
{
    static const struct layout layouts[] = {{false, true, true}, {true, false, false}};
    struct kernel *kernels = malloc(2 * sizeof(*kernels)), *damaged = malloc(sizeof(*damaged));
    uint8_t *packed = malloc(2 * IMAGE);

    for (unsigned i = 0; i < 2; i++)
        make_kernel(&kernels[i], &layouts[i], 100 + i);
    for (unsigned i = 0; i < 120; i++) {
        const struct kernel *kernel = &kernels[i % 2];
        struct symbols *symbols;
        char message[512];

        srandom(i);
        memcpy(damaged, kernel, sizeof(*damaged));
        for (unsigned changes = 1 + (unsigned)random() % 4; changes > 0; changes--)
            damaged->image[(size_t)random() % kernel->size] = (uint8_t)random();
        if (i % 3 == 0)
            damaged->size = (size_t)random() % kernel->size;
        if (i % 5 == 0) {
            size_t size = pack_lz4(damaged->image, damaged->size + 100, packed, 2 * IMAGE);

            packed[(size_t)random() % size] ^= 1u << random() % 8;
            write_bzimage(packed, size);
        } else {
            write_file(damaged->image, damaged->size + 1);
        }
        if (symbols_load(&symbols, path, message, sizeof(message)) == 0) {
            for (size_t number = 0; number < symbols_count(symbols); number++)
                cr_assert_lt(strlen(symbols_get(symbols, number).name), 1024);
            symbols_free(symbols);
        }
    }
    free(packed);
    free(damaged);
    free(kernels);
}

/* A kernel that moved is found by what its functions do, unless there is too little to go by. */
Test(sim_symbols, guess)
{
    static const char text[] = "ffffffff81000000 T _text\n"
                               "ffffffff81000100 T native_write_msr\n"
                               "ffffffff81000180 T io_serial_in\n"
                               "ffffffff81000200 T native_cpuid\n"
                               "ffffffff81000280 T other\n"
                               "ffffffff81201100 T trap\n"
                               "ffffffff81800000 T far_away\n";
    const uint64_t moved = 0x1f400000;
    struct symbols_guess *guess;
    struct symbols *symbols;

    write_file(text, sizeof(text) - 1);
    symbols = load();
    guess = symbols_guess_begin(symbols);
    symbols_guess_add(guess, BASE + moved + 0x105, SYMBOLS_HINT_MSR);
    symbols_guess_add(guess, 0x7c00, SYMBOLS_HINT_IO); /* not the kernel's */
    cr_assert_not(symbols_guess_end(guess));
    cr_assert_eq(symbols_offset(symbols), 0);

    guess = symbols_guess_begin(symbols);
    symbols_guess_add(guess, BASE + moved + 0x105, SYMBOLS_HINT_MSR);
    symbols_guess_add(guess, BASE + moved + 0x10d, SYMBOLS_HINT_MSR);
    symbols_guess_add(guess, BASE + moved + 0x185, SYMBOLS_HINT_IO);
    symbols_guess_add(guess, BASE + moved + 0x209, SYMBOLS_HINT_CPUID);
    cr_assert(symbols_guess_end(guess));
    cr_assert_eq(symbols_offset(symbols), moved);
    expect_name(symbols, BASE + moved + 0x209, "native_cpuid", 9);
    symbols_free(symbols);
}
