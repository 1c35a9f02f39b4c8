/*
 * Symbols as an ELF file, for debuggers: no code and no data, only a symbol table and the sections
 * that it refers to, which have no content (SHT_NOBITS). Each stretch of addresses with symbols of
 * code, or of data, is a section: so a debugger tells functions from variables.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/symbols/symbols.h"

/* Section 0 is none; behind those of addresses stand two tables. */
#define STRETCHES_MAX 1000
#define FIRST_STRETCH 1

/* Names of sections and symbols share one table. */
static const char section_names[] = "\0.text\0.data\0.symtab\0.strtab";
enum { NAME_TEXT = 1, NAME_DATA = 7, NAME_SYMBOLS = 13, NAME_NAMES = 21 };

struct image {
    const struct symbols *symbols;
    FILE *file;
    uint16_t *section; /* of each symbol */
    unsigned stretches;
    Elf64_Shdr header[FIRST_STRETCH + STRETCHES_MAX + 2];
};

/* Offsets, as of per-CPU variables, are not addresses. */
static bool is_address(const struct symbol *symbol)
{
    return symbol->type != 'A' && symbol->type != 'a' && symbol->address;
}

static bool is_code(const struct symbol *symbol)
{
    return strchr("tTwW", symbol->type);
}

static unsigned char bind_of(const struct symbol *symbol)
{
    if (strchr("wWvV", symbol->type))
        return STB_WEAK;
    return symbol->type >= 'A' && symbol->type <= 'Z' ? STB_GLOBAL : STB_LOCAL;
}

/* Gives each symbol its section. */
static void make_stretches(struct image *image)
{
    Elf64_Shdr *header = NULL;
    bool code = false;

    for (size_t i = 0; i < symbols_count(image->symbols); i++) {
        struct symbol symbol = symbols_get(image->symbols, i);

        image->section[i] = SHN_ABS;
        if (!is_address(&symbol))
            continue;
        if (!header || (is_code(&symbol) != code && image->stretches < STRETCHES_MAX)) {
            code = is_code(&symbol);
            header = &image->header[FIRST_STRETCH + image->stretches++];
            *header = (Elf64_Shdr){
                .sh_name = code ? NAME_TEXT : NAME_DATA,
                .sh_type = SHT_NOBITS,
                .sh_flags = SHF_ALLOC | (code ? SHF_EXECINSTR : SHF_WRITE),
                .sh_addr = symbol.address,
                .sh_addralign = 1,
            };
        }
        header->sh_size = symbol.address - header->sh_addr + 1;
        image->section[i] = (uint16_t)(FIRST_STRETCH + image->stretches - 1);
    }
    for (unsigned i = FIRST_STRETCH; i < image->stretches; i++) /* without gaps */
        image->header[i].sh_size = image->header[i + 1].sh_addr - image->header[i].sh_addr;
}

/* Writes the local symbols, or all others. Returns how many those are. */
static uint32_t write_symbols(struct image *image, bool local)
{
    size_t count = symbols_count(image->symbols);
    uint32_t name = sizeof(section_names), written = 0;

    for (size_t i = 0; i < count; i++) {
        struct symbol symbol = symbols_get(image->symbols, i);
        uint64_t next = i + 1 < count ? symbols_get(image->symbols, i + 1).address : symbol.address;
        const Elf64_Sym described = {
            .st_name = name,
            .st_info = ELF64_ST_INFO(bind_of(&symbol), is_code(&symbol) ? STT_FUNC : STT_OBJECT),
            .st_shndx = image->section[i],
            .st_value = symbol.address,
            .st_size = next - symbol.address,
        };

        name += (uint32_t)strlen(symbol.name) + 1;
        if ((bind_of(&symbol) == STB_LOCAL) != local)
            continue;
        fwrite(&described, sizeof(described), 1, image->file);
        written++;
    }
    return written;
}

/* Returns the size of the table. */
static uint64_t write_names(const struct image *image)
{
    uint64_t size = sizeof(section_names);

    fwrite(section_names, sizeof(section_names), 1, image->file);
    for (size_t i = 0; i < symbols_count(image->symbols); i++) {
        const char *name = symbols_get(image->symbols, i).name;

        fwrite(name, strlen(name) + 1, 1, image->file);
        size += strlen(name) + 1;
    }
    for (; size % 8; size++)
        fputc(0, image->file);
    return size;
}

static void write_image(struct image *image)
{
    static const Elf64_Sym nothing;
    unsigned symbols = FIRST_STRETCH + image->stretches, names = symbols + 1;
    uint64_t table_size = (symbols_count(image->symbols) + 1) * sizeof(Elf64_Sym);
    Elf64_Ehdr head = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_ehsize = sizeof(head),
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = (uint16_t)(names + 1),
        .e_shstrndx = (uint16_t)names,
    };

    fwrite(&head, sizeof(head), 1, image->file);
    fwrite(&nothing, sizeof(nothing), 1, image->file);
    uint32_t locals = 1 + write_symbols(image, true); /* must be the first */
    write_symbols(image, false);
    image->header[symbols] = (Elf64_Shdr){
        .sh_name = NAME_SYMBOLS,
        .sh_type = SHT_SYMTAB,
        .sh_offset = sizeof(head),
        .sh_size = table_size,
        .sh_link = names,
        .sh_info = locals,
        .sh_addralign = 8,
        .sh_entsize = sizeof(Elf64_Sym),
    };
    image->header[names] = (Elf64_Shdr){
        .sh_name = NAME_NAMES,
        .sh_type = SHT_STRTAB,
        .sh_offset = sizeof(head) + table_size,
        .sh_size = write_names(image),
        .sh_addralign = 1,
    };
    head.e_shoff = image->header[names].sh_offset + image->header[names].sh_size;
    fwrite(image->header, sizeof(*image->header), names + 1, image->file);
    if (fseek(image->file, 0, SEEK_SET) == 0)
        fwrite(&head, sizeof(head), 1, image->file);
}

int symbols_write_elf(const struct symbols *symbols, FILE *file)
{
    struct image *image = calloc(1, sizeof(*image));
    uint16_t *section = calloc(symbols_count(symbols) + 1, sizeof(*section));
    int error = image && section ? 0 : -ENOMEM;

    if (!error) {
        *image = (struct image){.symbols = symbols, .file = file, .section = section};
        errno = 0;
        make_stretches(image);
        write_image(image);
        if (fflush(file) || ferror(file))
            error = errno ? -errno : -EIO;
    }
    free(section);
    free(image);
    return error;
}
