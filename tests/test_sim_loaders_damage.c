/* The image loaders with images that are malformed, cut short or damaged at random. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim_images.h"

TestSuite(loaders_damage, .init = make_memory);

/* ---- malformed images ---- */

struct malformed {
    const char *what;
    unsigned kind; /* of kinds[] */
    size_t offset;
    uint64_t value;
    unsigned size;
    int error;
    const char *says;
};

#define PHDR(field, n) (sizeof(Elf64_Ehdr) + (n) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, field))
#define PHDR32(field)  (sizeof(Elf32_Ehdr) + offsetof(Elf32_Phdr, field))

Test(loaders_damage, malformed_images_get_a_message)
{
    static const struct malformed cases[] = {
        {"beyond the file", 0, PHDR(p_offset, 0), 0x2fff, 8, ENOEXEC, "truncated"},
        {"offset wraps", 0, PHDR(p_offset, 0), -0x800ull, 8, ENOEXEC, "truncated"},
        {"more in file than memory", 0, PHDR(p_memsz, 0), 0x800, 8, ENOEXEC, "damaged"},
        {"outside RAM", 0, PHDR(p_paddr, 1), 64 * MIB - 0x800, 8, ENOSPC, "--memory"},
        {"in the PCI hole", 0, PHDR(p_paddr, 1), 3 * GIB, 8, ENOSPC, "--memory"},
        {"address wraps", 0, PHDR(p_paddr, 1), -0x800ull, 8, ENOSPC, "--memory"},
        {"size wraps", 0, PHDR(p_memsz, 1), -0x1000ull, 8, ENOSPC, "--memory"},
        {"segments overlap", 0, PHDR(p_paddr, 1), 2 * MIB + 0x7fff, 8, ENOSPC, "overlaps"},
        {"over the firmware", 0, PHDR(p_paddr, 1), 0xffff0, 8, ENOSPC, "ACPI"},
        {"all of low memory", 0, PHDR(p_memsz, 0), 61 * MIB, 8, ENOSPC, "overlaps"},
        {"entry nowhere", 0, offsetof(Elf64_Ehdr, e_entry), 0x1234, 8, ENOEXEC, "entry point"},
        {"other processor", 0, offsetof(Elf64_Ehdr, e_machine), EM_AARCH64, 2, ENOEXEC,
         "processor"},
        {"no segments", 0, offsetof(Elf64_Ehdr, e_phnum), 0, 2, ENOEXEC, "no segment"},
        {"headers beyond the file", 0, offsetof(Elf64_Ehdr, e_phoff), 0x2ff0, 8, ENOEXEC,
         "damaged"},
        {"dynamic program", 0, PHDR(p_type, 1), PT_INTERP, 4, ENOEXEC, "operating system"},
        {"32-bit without Multiboot", 1, 0x200, 0, 4, ENOEXEC, "Multiboot"},
        {"video mode", 1, 0x204, 4 | (-0x1badb006ull << 32), 8, ENOEXEC, "video mode"},
        {"unknown flag", 1, 0x204, 8 | (-0x1badb00aull << 32), 8, ENOEXEC, "does not define"},
        {"ELF beyond 3 GiB", 1, PHDR32(p_paddr), 0xfffff000, 4, ENOSPC, "--memory"},
        {"load above header", 2, 0x110, 0x100200, 4, ENOEXEC, "load address"},
        {"before the file", 2, 0x110, 0x0ff000, 4, ENOEXEC, "load address"},
        {"load end beyond file", 2, 0x114, 0x104000, 4, ENOEXEC, "truncated"},
        {"load end below load", 2, 0x114, 0x1000, 4, ENOEXEC, "below its start"},
        {"bss beyond RAM", 2, 0x118, 0xffffffff, 4, ENOSPC, "--memory"},
        {"entry outside", 2, 0x11c, 0x180000, 4, ENOEXEC, "entry point"},
        {"old protocol", 3, 0x206, 0x0205, 2, ENOEXEC, "boot protocol"},
        {"zImage", 3, 0x211, 0, 1, ENOEXEC, "zImage"},
        {"more code than file", 3, 0x1f4, 0x281, 4, ENOEXEC, "truncated"},
        {"absurd code size", 3, 0x1f4, 0xffffffff, 4, ENOEXEC, "truncated"},
        {"no code", 3, 0x1f4, 0, 4, ENOEXEC, "damaged"},
        {"prefers a bad address", 3, 0x258, 0x1000, 8, ENOEXEC, "damaged"},
        {"prefers an absurd address", 3, 0x258, -1ull, 8, ENOEXEC, "damaged"},
        {"decompresses beyond RAM", 3, 0x260, 0x4000000, 4, ENOSPC, "--memory"},
        {"short command line", 3, 0x238, 5, 4, EINVAL, "--append"},
        {"initrd has no place", 3, 0x22c, 0x100000, 4, ENOSPC, "initrd"},
        {"no signature", 4, 510, 0, 2, ENOEXEC, "--flat-mode"},
        {"gzip", 4, 0, 0x8b1f, 510, ENOEXEC, NULL}, /* size > 8: see below */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct malformed *c = &cases[i];
        bool is_linux =
            kinds[c->kind].format == LOADER_BZIMAGE || kinds[c->kind].format == LOADER_ELF64;
        struct loader_options options = is_linux ? linux_options("broken") : options_for("broken");

        kinds[c->kind].make(image);
        cr_assert(zero(int, load(&options, 64 * MIB)), "%s: %s", kinds[c->kind].name, message);
        if (c->size > 8) {
            put_le(image + 510, 0, 2);
            put_le(image, c->value, 2);
        } else {
            put_le(image + c->offset, c->value, c->size);
        }
        cr_expect(eq(int, load(&options, 64 * MIB), -c->error), "%s: %s", c->what, message);
        cr_expect(zero(int, strncmp(message, "broken: ", 8)), "%s: %s", c->what, message);
        cr_expect(strstr(message, c->says ? c->says : "gunzip") != NULL, "%s: %s", c->what,
                  message);
    }
    cr_assert(zero(uint, bad_writes));
}

Test(loaders_damage, options_that_contradict_the_image)
{
    struct loader_module module = {{"m", initrd, sizeof(initrd)}, NULL};
    struct loader_options options = options_for("boot");
    char *words = calloc(1, 5000);

    make_boot_sector(image);
    options.initrd = module.file;
    cr_expect(eq(int, load(&options, 64 * MIB), -EINVAL));
    options = options_for("boot");
    options.flat_mode = 24;
    cr_expect(eq(int, load(&options, 64 * MIB), -EINVAL));
    options.flat_mode = 16;
    options.flat_address = 0x12345;
    cr_expect(eq(int, load(&options, 64 * MIB), -EINVAL));
    options.flat_address = 0x9ff00;
    cr_expect(eq(int, load(&options, 64 * MIB), -ENOSPC));

    make_elf64(image);
    options = options_for("vmlinux");
    options.modules = &module;
    options.module_count = 1;
    cr_expect(eq(int, load(&options, 64 * MIB), -EINVAL));
    options = options_for("vmlinux");
    options.arguments = memset(words, 'x', 4999);
    cr_expect(eq(int, load(&options, 64 * MIB), -EINVAL));
    options = options_for("vmlinux");
    options.format = LOADER_BZIMAGE;
    cr_expect(eq(int, load(&options, 64 * MIB), -ENOEXEC));
    options.format = LOADER_MULTIBOOT;
    cr_expect(eq(int, load(&options, 64 * MIB), -ENOEXEC));
    free(words);
}

Test(loaders_damage, files_that_cannot_be_read)
{
    char folder[] = "/tmp/vtxsim-loaders-XXXXXX", path[64];
    const struct {
        const char *name;
        int error;
    } cases[] = {
        {"missing", ENOENT}, {"empty", ENOEXEC}, {"", EISDIR}, {"fifo", EINVAL}, {"huge", EFBIG}};

    cr_assert(ne(ptr, mkdtemp(folder), NULL));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct loader_options options = {.image = {path, NULL, 0}};
        snprintf(path, sizeof(path), "%s/%s", folder, cases[i].name);
        if (cases[i].error == EINVAL)
            cr_assert(zero(int, mkfifo(path, 0600)));
        if (cases[i].error == ENOEXEC || cases[i].error == EFBIG)
            close(open(path, O_CREAT | O_WRONLY, 0600));
        if (cases[i].error == EFBIG)
            cr_assert(zero(int, truncate(path, 100 * GIB)));
        cr_expect(eq(int, load(&options, 64 * MIB), -cases[i].error), "%s: %s", path, message);
        cr_expect(zero(int, strncmp(message, path, strlen(path))), "%s", message);
        unlink(path);
    }
    rmdir(folder);
}

/* ---- any image whatsoever ---- */

/* Loads exactly `size` bytes, so that the sanitizer sees a read of one more. */
static void load_any(const uint8_t *bytes, size_t size, const char *what)
{
    uint8_t *copy = malloc(size ? size : 1);
    struct loader_options options = {.image = {"any", copy, size}, .arguments = "words"};

    memcpy(copy, bytes, size);
    int error = load(&options, 64 * MIB);
    cr_assert(le(int, error, 0));
    if (error)
        cr_assert(zero(int, strncmp(message, "any: ", 5)), "%s: %s", what, message);
    else if (entry.mode != LOADER_REAL16)
        cr_assert(lt(u64, entry.rip, 64 * MIB), "%s", what);
    cr_assert(zero(uint, bad_writes), "%s", what);
    free(copy);
}

Test(loaders_damage, truncated_everywhere, .timeout = 120)
{
    char what[64];

    for (size_t kind = 0; kind < KINDS; kind++) {
        kinds[kind].make(image);
        for (size_t size = 1; size < IMAGE_SIZE; size += size < 0x400 ? 1 : 61) {
            snprintf(what, sizeof(what), "%s, %zu bytes", kinds[kind].name, size);
            load_any(image, size, what);
        }
    }
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* Interesting values beside random ones: limits, wrap-arounds, page and RAM ends. */
static uint64_t random_value(uint64_t *state)
{
    static const uint64_t special[] = {0,       1,        -1ull,      -0x1000ull, 0x7fffffff,
                                       1 << 20, 64 << 20, 0xc0000000, 0x9f000,    0x80000000};
    uint64_t r = random_next(state);

    return r % 3 ? r >> (r % 61) : special[r / 3 % (sizeof(special) / sizeof(special[0]))];
}

/* Headers with a few fields changed. Repeat a failure with VTXSIM_TEST_SEED. */
Test(loaders_damage, random_damage, .timeout = 120)
{
    const char *given = getenv("VTXSIM_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL), state;
    char what[64];
    unsigned loaded = 0;

    printf("VTXSIM_TEST_SEED=%llu\n", (unsigned long long)seed);
    state = seed * 2 + 1;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned kind = round % KINDS;
        size_t size = IMAGE_SIZE;

        kinds[kind].make(image);
        for (unsigned changes = random_next(&state) % 4 + 1; changes; changes--) {
            uint64_t value = random_value(&state);
            unsigned width = 1u << random_next(&state) % 4;
            put_le(image + random_next(&state) % 0x280, value, width);
        }
        if (random_next(&state) % 8 == 0)
            size = random_next(&state) % IMAGE_SIZE + 1;
        snprintf(what, sizeof(what), "seed %llu round %u (%s)", (unsigned long long)seed, round,
                 kinds[kind].name);
        load_any(image, size, what);
        loaded += !message[0];
    }
    cr_assert(gt(uint, loaded, 1000), "most damage would hide behind the first check");
}
