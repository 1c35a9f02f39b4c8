/* Symbols written as an ELF file, and read again by another implementation: libelf. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/symbols/symbols.h"

#define CODE_BASE 0xffffffff81000000ull
#define SYMBOLS   500u

static char map_path[] = "/tmp/vtxsim-map-XXXXXX", elf_path[] = "/tmp/vtxsim-elf-XXXXXX";

static void begin(void)
{
    close(mkstemp(map_path));
    close(mkstemp(elf_path));
}

static void end(void)
{
    unlink(map_path);
    unlink(elf_path);
}

TestSuite(sim_symbols_elf, .init = begin, .fini = end);

static struct symbols *load(const char *path)
{
    struct symbols *symbols = NULL;
    char message[512];

    cr_assert_eq(symbols_load(&symbols, path, message, sizeof(message)), 0, "%s", message);
    return symbols;
}

/* Code, data and code again, with offsets of per-CPU variables before them. */
static void write_map(void)
{
    static const char types[] = "TtDdBbWRTt";
    FILE *file = fopen(map_path, "w");

    fputs("0000000000000000 A per_cpu_start\n0000000000001000 A per_cpu_end\n", file);
    for (unsigned i = 0; i < SYMBOLS; i++)
        fprintf(file, "%016llx %c symbol_%u\n", (unsigned long long)(CODE_BASE + i * 0x100),
                types[i * 10 / SYMBOLS], i);
    fclose(file);
}

Test(sim_symbols_elf, come_back_as_they_were)
{
    write_map();
    struct symbols *before = load(map_path);
    symbols_set_offset(before, 0x1200000);
    FILE *file = fopen(elf_path, "w");
    cr_assert_eq(symbols_write_elf(before, file), 0);
    fclose(file);

    struct symbols *after = load(elf_path);
    cr_assert_eq(symbols_count(after), symbols_count(before));
    for (unsigned i = 0; i < symbols_count(before); i++) {
        struct symbol a = symbols_get(before, i), b = symbols_get(after, i);

        cr_assert_str_eq(a.name, b.name);
        cr_assert_eq(a.address, b.address, "%s", a.name);
    }
    symbols_free(before);
    symbols_free(after);
}

Test(sim_symbols_elf, stand_in_sections_of_their_kind)
{
    GElf_Shdr header;
    Elf_Scn *section = NULL;
    unsigned seen = 0;

    write_map();
    struct symbols *symbols = load(map_path);
    FILE *file = fopen(elf_path, "w");
    cr_assert_eq(symbols_write_elf(symbols, file), 0);
    fclose(file);
    size_t count = symbols_count(symbols);
    cr_assert_geq(count, SYMBOLS);
    symbols_free(symbols);

    int fd = open(elf_path, O_RDONLY);
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    while ((section = elf_nextscn(elf, section)) && gelf_getshdr(section, &header)) {
        if (header.sh_type != SHT_SYMTAB)
            continue;
        Elf_Data *data = elf_getdata(section, NULL);
        for (unsigned i = 1; i < header.sh_size / header.sh_entsize; i++) {
            GElf_Sym symbol;
            GElf_Shdr place;

            cr_assert_not_null(gelf_getsym(data, (int)i, &symbol));
            const char *name = elf_strptr(elf, header.sh_link, symbol.st_name);
            bool local = GELF_ST_BIND(symbol.st_info) == STB_LOCAL;
            cr_assert_eq(i < header.sh_info, local, "local symbols come first: %s", name);
            seen++;
            if (symbol.st_shndx == SHN_ABS) {
                cr_assert_eq(strncmp(name, "per_cpu", 7), 0, "%s", name);
                continue;
            }
            gelf_getshdr(elf_getscn(elf, symbol.st_shndx), &place);
            bool code = GELF_ST_TYPE(symbol.st_info) == STT_FUNC;
            cr_assert_eq((place.sh_flags & SHF_EXECINSTR) != 0, code, "%s", name);
            cr_assert(symbol.st_value >= place.sh_addr &&
                          symbol.st_value < place.sh_addr + place.sh_size,
                      "%s", name);
        }
    }
    cr_expect_eq(seen, count);
    elf_end(elf);
    close(fd);
}
