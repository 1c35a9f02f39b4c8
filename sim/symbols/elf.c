/* Symbols of an ELF file's symbol table. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include <gelf.h>

#include "sim/symbols/internal.h"

/* The letter that nm prints. */
static char type_of(Elf *elf, const GElf_Sym *symbol)
{
    Elf_Scn *section = elf_getscn(elf, symbol->st_shndx);
    GElf_Shdr header;
    char letter = 'A';

    if (symbol->st_shndx < SHN_LORESERVE && section && gelf_getshdr(section, &header))
        letter = header.sh_flags & SHF_EXECINSTR ? 'T'
                 : header.sh_type == SHT_NOBITS  ? 'B'
                 : header.sh_flags & SHF_WRITE   ? 'D'
                                                 : 'R';
    if (GELF_ST_BIND(symbol->st_info) == STB_WEAK)
        return 'W';
    return GELF_ST_BIND(symbol->st_info) == STB_LOCAL ? (char)tolower(letter) : letter;
}

static bool is_address(const GElf_Sym *symbol)
{
    unsigned type = GELF_ST_TYPE(symbol->st_info);

    return symbol->st_shndx != SHN_UNDEF && symbol->st_shndx != SHN_ABS &&
           (type == STT_NOTYPE || type == STT_OBJECT || type == STT_FUNC);
}

static int read_section(struct symbols *symbols, Elf *elf, Elf_Scn *section,
                        const GElf_Shdr *header)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t count = data && header->sh_entsize ? data->d_size / header->sh_entsize : 0;
    GElf_Sym symbol;

    for (size_t i = 0; i < count && gelf_getsym(data, (int)i, &symbol); i++) {
        const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);

        /* Labels of the assembler are no names. */
        if (!is_address(&symbol) || !name || !*name || strncmp(name, ".L", 2) == 0)
            continue;
        if (symbols_add(symbols, symbol.st_value, symbol.st_size, type_of(elf, &symbol), name,
                        strlen(name)))
            return -ENOMEM;
    }
    return 0;
}

int symbols_read_elf(struct symbols *symbols, const uint8_t *data, size_t size)
{
    Elf_Scn *section = NULL;
    int error = 0;
    Elf *elf;

    if (size < SELFMAG || memcmp(data, ELFMAG, SELFMAG) != 0)
        return -ENOENT;
    elf_version(EV_CURRENT);
    elf = elf_memory((char *)data, size);
    if (!elf)
        return -EBADMSG;
    while (!error && (section = elf_nextscn(elf, section))) {
        GElf_Shdr header;

        if (gelf_getshdr(section, &header) && header.sh_type == SHT_SYMTAB)
            error = read_section(symbols, elf, section, &header);
    }
    elf_end(elf);
    return error ? error : symbols->count ? 0 : -ENOENT;
}
