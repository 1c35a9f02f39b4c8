/*
 * The image loaders against guest memory that notices every write outside RAM. Images are made
 * here; what the loaders leave in memory is read back by offsets from the specifications, not
 * through the structures that the loaders use.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sim/loaders/loader.h"

#define MIB        (1ull << 20)
#define GIB        (1ull << 30)
#define IMAGE_SIZE 0x3000

/* ---- guest memory ---- */

static uint8_t *memory; /* guest-physical 0 to 6 GiB, sparse */
static unsigned bad_writes;

static int write_memory(void *context, uint64_t gpa, const void *data, size_t size)
{
    uint64_t ram = *(uint64_t *)context;
    uint64_t low = ram < 3 * GIB ? ram : 3 * GIB, high = 4 * GIB + ram - low;

    if (!((gpa <= low && size <= low - gpa) ||
          (gpa >= 4 * GIB && gpa <= high && size <= high - gpa))) {
        bad_writes++;
        return -EFAULT;
    }
    memcpy(memory + gpa, data, size);
    return 0;
}

static void make_memory(void)
{
    memory = mmap(NULL, 6 * GIB, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert(ne(ptr, memory, MAP_FAILED));
    bad_writes = 0;
}

TestSuite(loaders, .init = make_memory);

static char message[512];
static struct loader_entry entry;

static int load(const struct loader_options *options, uint64_t ram)
{
    struct loader_target target = {&ram, ram, write_memory};

    message[0] = '\0';
    return loader_load(options, &target, &entry, message, sizeof(message));
}

static uint64_t read_le(uint64_t gpa, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, memory + gpa, size);
    return value;
}

/* ---- images ---- */

static void put_le(uint8_t *at, uint64_t value, unsigned size)
{
    memcpy(at, &value, size);
}

/* ELF with a segment at 2 MiB (0x1000 bytes of it in the file, from 0x1000 on) and one at 4 MiB. */
static void make_elf64(uint8_t *image)
{
    Elf64_Ehdr header = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = 0xffffffff80000010,
        .e_phoff = sizeof(header),
        .e_ehsize = sizeof(header),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2,
    };
    Elf64_Phdr segments[2] = {
        {PT_LOAD, PF_R | PF_X, 0x1000, 0xffffffff80000000, 2 * MIB, 0x1000, 0x8000, 0x1000},
        {PT_LOAD, PF_R | PF_W, 0x2000, 0xffffffff80200000, 4 * MIB, 0x1000, 0x1000, 0x1000},
    };

    memset(image, 0, IMAGE_SIZE);
    memcpy(image, &header, sizeof(header));
    memcpy(image + sizeof(header), segments, sizeof(segments));
    memset(image + 0x1000, 0xa1, 0x1000);
    memset(image + 0x2000, 0xa2, 0x1000);
}

/* Multiboot in ELF32, as kvm-unit-tests has it: header without addresses, 64-bit code inside. */
static void make_multiboot_elf(uint8_t *image)
{
    Elf32_Ehdr header = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_386,
        .e_version = EV_CURRENT,
        .e_entry = 0x400100,
        .e_phoff = sizeof(header),
        .e_ehsize = sizeof(header),
        .e_phentsize = sizeof(Elf32_Phdr),
        .e_phnum = 2,
    };
    Elf32_Phdr segments[2] = {
        {PT_LOAD, 0x100, 0x4000b0, 0x4000b0, 0x1f00, 0x1f00, PF_R | PF_X, 4},
        {PT_LOAD, 0x2000, 0x422000, 0x422000, 0x1000, 0xc00000, PF_R | PF_W, 0x1000},
    };

    memset(image, 0, IMAGE_SIZE);
    memcpy(image, &header, sizeof(header));
    memcpy(image + sizeof(header), segments, sizeof(segments));
    memset(image + 0x100, 0xb1, 0x1f00);
    memset(image + 0x2000, 0xb2, 0x1000);
    put_le(image + 0x200, 0x1badb002, 4);
    put_le(image + 0x204, 0, 4);
    put_le(image + 0x208, -0x1badb002u, 4);
}

/* Multiboot with addresses in the header, which is at 0x100: file offset 0 goes to 1 MiB. */
static void make_multiboot_flat(uint8_t *image)
{
    uint32_t header[] = {0x1badb002, 0x10003,  -(0x1badb002u + 0x10003),
                         0x100100,   0x100000, 0x102000,
                         0x180000,   0x100120};

    memset(image, 0xc1, IMAGE_SIZE);
    memcpy(image + 0x100, header, sizeof(header));
}

/* A bzImage of protocol 2.15 with 0x2800 - 16 bytes of code after four setup sectors. */
static void make_bzimage(uint8_t *image)
{
    static const struct {
        uint16_t offset;
        uint8_t size;
        uint64_t value;
    } fields[] = {
        {0x1f1, 1, 3},          /* setup_sects */
        {0x1f4, 4, 0x280 - 1},  /* syssize, in paragraphs */
        {0x1fe, 2, 0xaa55},     /* boot_flag */
        {0x200, 2, 0x6aeb},     /* jump: the header ends at 0x26c */
        {0x202, 4, 0x53726448}, /* header */
        {0x206, 2, 0x020f},     /* version */
        {0x20e, 2, 0x0100},     /* kernel_version, from 0x200 on */
        {0x211, 1, 1},          /* loadflags: LOADED_HIGH */
        {0x214, 4, 0x100000},   /* code32_start */
        {0x22c, 4, 0x7fffffff}, /* initrd_addr_max */
        {0x230, 4, 0x200000},   /* kernel_alignment */
        {0x234, 1, 1},          /* relocatable_kernel */
        {0x236, 2, 3},          /* xloadflags: 64-bit entry, may lie above 4 GiB */
        {0x238, 4, 100},        /* cmdline_size */
        {0x258, 8, 0x1000000},  /* pref_address */
        {0x260, 4, 0x800000},   /* init_size */
    };

    memset(image, 0xd1, IMAGE_SIZE);
    memset(image + 0x1f1, 0, 0x26c - 0x1f1);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        put_le(image + fields[i].offset, fields[i].value, fields[i].size);
    strcpy((char *)image + 0x300, "6.1.0-test (somebody@somewhere)");
}

/* A boot sector, and code behind it. */
static void make_boot_sector(uint8_t *image)
{
    memset(image, 0xe1, IMAGE_SIZE);
    put_le(image + 510, 0xaa55, 2);
}

static const struct {
    const char *name;
    void (*make)(uint8_t *image);
    enum loader_format format;
} kinds[] = {
    {"elf64", make_elf64, LOADER_ELF64},
    {"multiboot elf", make_multiboot_elf, LOADER_MULTIBOOT},
    {"multiboot flat", make_multiboot_flat, LOADER_MULTIBOOT},
    {"bzimage", make_bzimage, LOADER_BZIMAGE},
    {"boot sector", make_boot_sector, LOADER_FLAT},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static uint8_t image[IMAGE_SIZE];
static const uint8_t initrd[] = "the initial RAM disk, which is no multiple of a page";

static struct loader_options options_for(const char *name)
{
    return (struct loader_options){.image = {name, image, sizeof(image)}};
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

static struct loader_options linux_options(const char *name)
{
    struct loader_options options = options_for(name);

    options.initrd = (struct loader_file){"initrd", initrd, sizeof(initrd)};
    options.arguments = "console=ttyS0 quiet";
    options.acpi_rsdp = 0xe1230;
    options.seed = 1;
    return options;
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

Test(loaders, malformed_images_get_a_message)
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

Test(loaders, options_that_contradict_the_image)
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

Test(loaders, files_that_cannot_be_read)
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

Test(loaders, truncated_everywhere, .timeout = 120)
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
Test(loaders, random_damage, .timeout = 120)
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
