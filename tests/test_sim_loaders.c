/*
 * The image loaders with good images. What they leave in memory is read back by offsets from the
 * specifications, not through the structures that the loaders use.
 */
#include "tests/sim_images.h"

TestSuite(loaders, .init = make_memory);

static uint64_t read_le(uint64_t gpa, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, memory + gpa, size);
    return value;
}

/* ---- what the processor starts with ---- */

/* The segment that a descriptor in guest memory describes (SDM "Segment Descriptors"). */
static struct segment segment_from_gdt(const struct loader_entry *e, uint16_t selector)
{
    uint64_t d = read_le(e->gdtr.base + (selector & ~7u), 8);
    struct segment segment = {.selector = selector};

    segment.base = (d >> 16 & 0xffffff) | (d >> 56) << 24;
    segment.access_rights = d >> 40 & 0xf0ff;
    segment.limit = (d & 0xffff) | (d >> 32 & 0xf0000);
    if (segment.access_rights & AR_G)
        segment.limit = segment.limit << 12 | 0xfff;
    return segment;
}

/* 4-level paging, from the SDM's text; UINT64_MAX where nothing is mapped. */
static uint64_t translate(uint64_t cr3, uint64_t linear)
{
    uint64_t table = cr3;

    for (int shift = 39; shift >= 12; shift -= 9) {
        uint64_t e = read_le(table + (linear >> shift & 511) * 8, 8);
        if ((e & 3) != 3)
            return UINT64_MAX;
        if (shift == 12 || (shift < 39 && (e & 0x80)))
            return (e & 0x000ffffffffff000 & ~((1ull << shift) - 1)) |
                   (linear & ((1ull << shift) - 1));
        table = e & 0x000ffffffffff000;
    }
    return UINT64_MAX;
}

static void check_state(const struct loader_entry *e)
{
    static const enum segment_register data[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};
    struct cpu_state state;

    memset(&state, 0xff, sizeof(state));
    loader_entry_to_state(e, &state);
    cr_assert(eq(u64, state.rflags, 2));
    cr_assert(eq(u64, state.rip, e->rip));
    /* SDM "Checks on Guest Segment Registers": TR is a busy TSS, LDTR an LDT. */
    cr_assert(eq(u32, state.seg[SEG_TR].access_rights & 0x100ff, 0x8b));
    cr_assert(eq(u32, state.seg[SEG_LDTR].access_rights & 0x100ff, 0x82));
    if (e->mode == LOADER_REAL16) {
        cr_assert(eq(u64, state.cr0 & (CR0_PE | CR0_PG), 0));
        cr_assert(eq(u64, state.seg[SEG_CS].base, state.seg[SEG_CS].selector * 16u));
        return;
    }

    struct segment code = segment_from_gdt(e, state.seg[SEG_CS].selector);
    cr_assert(eq(u64, state.seg[SEG_CS].base, code.base));
    cr_assert(eq(u32, state.seg[SEG_CS].limit, code.limit));
    cr_assert(eq(u32, state.seg[SEG_CS].access_rights, code.access_rights));
    for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        struct segment in_table = segment_from_gdt(e, state.seg[data[i]].selector);
        cr_assert(eq(u32, state.seg[data[i]].limit, in_table.limit));
        cr_assert(eq(u32, state.seg[data[i]].access_rights, in_table.access_rights));
    }
    if (e->mode == LOADER_PROTECTED32) {
        cr_assert(eq(u64, state.cr0 & (CR0_PE | CR0_PG), CR0_PE));
        cr_assert(eq(u32, code.access_rights & (AR_L | AR_DB), AR_DB));
        return;
    }
    cr_assert(eq(u64, state.cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG));
    cr_assert(eq(u64, state.efer, EFER_LME | EFER_LMA));
    cr_assert(eq(u64, state.cr4, CR4_PAE));
    cr_assert(eq(u32, code.access_rights & (AR_L | AR_DB), AR_L));
    for (uint64_t linear = 0; linear < 4 * GIB; linear += 0x1fe5f7)
        cr_assert(eq(u64, translate(state.cr3, linear), linear));
    cr_assert(eq(u64, translate(state.cr3, 4 * GIB), UINT64_MAX));
}

Test(loaders, flat_modes)
{
    static const struct {
        unsigned bits;
        uint64_t address;
        enum loader_mode mode;
        uint64_t loaded_at, rip;
        uint16_t cs;
    } cases[] = {
        {0, 0, LOADER_REAL16, 0x7c00, 0x7c00, 0},
        {16, 0, LOADER_REAL16, 0x7c00, 0x7c00, 0},
        {16, 0x1000, LOADER_REAL16, 0x1000, 0x1000, 0},
        {16, 0x20010, LOADER_REAL16, 0x20010, 0, 0x2001},
        {32, 0, LOADER_PROTECTED32, MIB, MIB, 0x10},
        {64, 0, LOADER_LONG64, MIB, MIB, 0x10},
        {64, 0x7c00, LOADER_LONG64, 0x7c00, 0x7c00, 0x10},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct loader_options options = options_for("boot");
        make_boot_sector(image);
        options.flat_mode = cases[i].bits;
        options.flat_address = cases[i].address;
        cr_assert(zero(int, load(&options, 64 * MIB)), "case %zu: %s", i, message);
        cr_expect(eq(int, entry.mode, cases[i].mode), "case %zu", i);
        cr_expect(eq(u64, entry.rip, cases[i].rip), "case %zu", i);
        cr_expect(eq(u16, entry.code_selector, cases[i].cs), "case %zu", i);
        cr_expect(zero(int, memcmp(memory + cases[i].loaded_at, image, sizeof(image))));
        check_state(&entry);
    }
}

/* ---- Multiboot (specification 0.6.96, "Boot information format") ---- */

static void check_multiboot_info(uint64_t info, uint64_t ram, const char *command_line)
{
    uint64_t flags = read_le(info, 4), available = 0;
    uint64_t low = ram < 3 * GIB ? ram : 3 * GIB;

    cr_assert(eq(u64, entry.gpr[GPR_RAX], 0x2badb002));
    cr_assert(eq(u64, flags & (1 | 4 | 0x40), 1 | 4 | 0x40));
    cr_assert(eq(u64, read_le(info + 8, 4), (low - MIB) / 1024));
    cr_assert(eq(str, (char *)memory + read_le(info + 16, 4), (char *)command_line));

    uint64_t map = read_le(info + 48, 4), end = map + read_le(info + 44, 4), last = 0;
    while (map < end) {
        uint64_t start = read_le(map + 4, 8), length = read_le(map + 12, 8);
        cr_assert(ge(u64, start, last), "ranges are sorted and do not overlap");
        last = start + length;
        if (read_le(map + 20, 4) == 1)
            available += length;
        map += read_le(map, 4) + 4;
    }
    cr_assert(eq(u64, map, end));
    cr_assert(eq(u64, available, ram - MIB + 0x9f000));
}

Test(loaders, multiboot)
{
    struct loader_module modules[] = {{{"env", "NR_CPUS=1\n", 10}, NULL},
                                      {{"second", initrd, sizeof(initrd)}, "with words"}};
    struct loader_options options = options_for("test.flat");

    make_multiboot_elf(image);
    options.arguments = "-v all";
    options.modules = modules;
    options.module_count = 2;
    cr_assert(zero(int, load(&options, 5 * GIB)), "%s", message);
    cr_assert(eq(int, entry.format, LOADER_MULTIBOOT));
    cr_assert(eq(int, entry.mode, LOADER_PROTECTED32));
    cr_assert(eq(u64, entry.rip, 0x400100));
    cr_assert(zero(int, memcmp(memory + 0x4000b0, image + 0x100, 0x1f00)));
    cr_assert(zero(int, memcmp(memory + 0x422000, image + 0x2000, 0x1000)));
    check_state(&entry);

    uint64_t info = entry.gpr[GPR_RBX], list;
    check_multiboot_info(info, 5 * GIB, "test.flat -v all");
    cr_assert(eq(u64, read_le(info + 20, 4), 2));
    list = read_le(info + 24, 4);
    cr_assert(eq(u64, read_le(list + 4, 4) - read_le(list, 4), 10));
    cr_assert(zero(int, memcmp(memory + read_le(list, 4), "NR_CPUS=1\n", 10)));
    cr_assert(zero(int, memcmp(memory + read_le(list + 16, 4), initrd, sizeof(initrd))));
    cr_assert(eq(str, (char *)memory + read_le(list + 24, 4), "second with words"));
    cr_assert(zero(u64, read_le(list, 4) % 4096), "modules are page-aligned");

    /* Addresses from the header. */
    options = options_for("flat");
    make_multiboot_flat(image);
    cr_assert(zero(int, load(&options, 64 * MIB)), "%s", message);
    cr_assert(eq(u64, entry.rip, 0x100120));
    cr_assert(zero(int, memcmp(memory + MIB, image, 0x2000)));
    cr_assert(zero(u64, read_le(MIB + 0x2000, 8)), "load_end_addr ends the image");
    check_multiboot_info(entry.gpr[GPR_RBX], 64 * MIB, "flat");
}

/* ---- Linux (Documentation/arch/x86/{boot,zero-page}.rst) ---- */

static void check_boot_params(uint64_t params, uint64_t ram, const char *command_line)
{
    unsigned entries = read_le(params + 0x1e8, 1);
    uint64_t usable = 0, last = 0;

    cr_assert(eq(u64, read_le(params + 0x210, 1), 0xff), "type_of_loader");
    cr_assert(eq(u64, read_le(params + 0x070, 8), 0xe1230), "acpi_rsdp_addr");
    cr_assert(eq(str, (char *)memory + read_le(params + 0x228, 4), (char *)command_line));
    for (unsigned i = 0; i < entries; i++) {
        uint64_t at = params + 0x2d0 + i * 20, start = read_le(at, 8), length = read_le(at + 8, 8);
        cr_assert(ge(u64, start, last));
        last = start + length;
        if (read_le(at + 16, 4) == 1)
            usable += length;
    }
    cr_assert(eq(u64, usable, ram - MIB + 0x9f000));

    uint64_t address = read_le(params + 0x218, 4), size = read_le(params + 0x21c, 4);
    cr_assert(eq(u64, size, sizeof(initrd)));
    cr_assert(zero(u64, address % 4096));
    cr_assert(zero(int, memcmp(memory + address, initrd, sizeof(initrd))));
}

Test(loaders, elf64)
{
    struct loader_options options = linux_options("vmlinux");

    make_elf64(image);
    cr_assert(zero(int, load(&options, 5 * GIB)), "%s", message);
    cr_assert(eq(int, entry.mode, LOADER_LONG64));
    cr_assert(eq(u64, entry.rip, 2 * MIB + 0x10), "the entry point is made physical");
    cr_assert(zero(int, memcmp(memory + 2 * MIB, image + 0x1000, 0x1000)));
    cr_assert(zero(int, memcmp(memory + 4 * MIB, image + 0x2000, 0x1000)));
    check_boot_params(entry.gpr[GPR_RSI], 5 * GIB, "console=ttyS0 quiet");
    check_state(&entry);
}

Test(loaders, bzimage)
{
    struct loader_options options = linux_options("bzImage");
    uint8_t seeds[3][32];

    make_bzimage(image);
    for (unsigned i = 0; i < 3; i++) {
        options.seed = i / 2 + 1; /* 1, 1, 2 */
        cr_assert(zero(int, load(&options, 5 * GIB)), "%s", message);
        uint64_t params = entry.gpr[GPR_RSI], node = read_le(params + 0x250, 8);
        cr_assert(eq(u64, read_le(node + 8, 4), 9), "SETUP_RNG_SEED");
        cr_assert(eq(u64, read_le(node + 12, 4), 32));
        memcpy(seeds[i], memory + node + 16, 32);
        check_boot_params(params, 5 * GIB, "console=ttyS0 quiet");
        cr_assert(zero(int, memcmp(memory + params + 0x202, image + 0x202, 8)), "header is copied");
        cr_assert(zero(u64, read_le(params + 0x1ef, 1)), "sentinel");
    }
    cr_assert(zero(int, memcmp(seeds[0], seeds[1], 32)));
    cr_assert(memcmp(seeds[0], seeds[2], 32) != 0);
    cr_assert(eq(int, entry.mode, LOADER_LONG64));
    cr_assert(eq(u64, entry.rip, 0x1000200));
    cr_assert(zero(int, memcmp(memory + 0x1000000, image + 0x800, 0x2800 - 16)));
    cr_assert(strstr(entry.description, "Linux 6.1.0-test") != NULL, "%s", entry.description);
    check_state(&entry);

    options.linux_entry32 = true;
    cr_assert(zero(int, load(&options, 5 * GIB)), "%s", message);
    cr_assert(eq(int, entry.mode, LOADER_PROTECTED32));
    cr_assert(eq(u64, entry.rip, 0x1000000));
    check_state(&entry);

    /* A kernel that takes its initrd below 32 MiB only, and one that cannot be relocated. */
    put_le(image + 0x22c, 0x1ffffff, 4);
    cr_assert(zero(int, load(&options, 5 * GIB)), "%s", message);
    cr_assert(le(u64, read_le(entry.gpr[GPR_RSI] + 0x218, 4) + sizeof(initrd), 0x2000000));
    put_le(image + 0x234, 0, 1);
    cr_assert(zero(int, load(&options, 5 * GIB)), "%s", message);
    cr_assert(eq(u64, entry.rip, 0x100000));
}
