/* ELF: the segments of an image (Multiboot and Linux), and the ELF64 format itself. */
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <string.h>

#include "sim/loaders/internal.h"

bool elf_is_image(const struct load *load)
{
    return load->image_size >= SELFMAG && !memcmp(load->image, ELFMAG, SELFMAG);
}

static int load_segment(struct load *load, const GElf_Phdr *segment, size_t number)
{
    if (segment->p_filesz > segment->p_memsz)
        return load_fail(load, ENOEXEC,
                         "segment %zu has more bytes in the file (0x%llx) than in memory (0x%llx): "
                         "the image is damaged",
                         number, (unsigned long long)segment->p_filesz,
                         (unsigned long long)segment->p_memsz);
    if (segment->p_offset > load->image_size ||
        segment->p_filesz > load->image_size - segment->p_offset)
        return load_fail(load, ENOEXEC,
                         "segment %zu reaches beyond the end of the file (0x%zx bytes): the image "
                         "is truncated",
                         number, load->image_size);

    int error = layout_claim(load, segment->p_paddr, segment->p_memsz, "a segment");
    if (!error && segment->p_filesz)
        error =
            guest_write(load, segment->p_paddr, load->image + segment->p_offset, segment->p_filesz);
    return error;
}

/* The entry point is a linear address in most images, a physical one in vmlinux. */
static bool translate_entry(const GElf_Phdr *segment, uint64_t address, uint64_t *entry)
{
    if (address - segment->p_paddr < segment->p_memsz)
        *entry = address;
    else if (address - segment->p_vaddr < segment->p_memsz)
        *entry = address - segment->p_vaddr + segment->p_paddr;
    else
        return false;
    return true;
}

static int load_segments(struct load *load, Elf *elf, uint64_t *entry, uint64_t *start,
                         uint64_t *end)
{
    GElf_Ehdr header;
    GElf_Phdr segment;
    size_t count;
    bool entered = false;

    if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header) || elf_getphdrnum(elf, &count))
        return load_fail(load, ENOEXEC, "the ELF header is damaged: %s", elf_errmsg(-1));
    if (header.e_machine != EM_X86_64 && header.e_machine != EM_386)
        return load_fail(load, ENOEXEC, "is for another processor (ELF machine %u), not for x86",
                         header.e_machine);

    *start = UINT64_MAX;
    *end = 0;
    for (size_t i = 0; i < count; i++) {
        if (!gelf_getphdr(elf, i, &segment))
            return load_fail(
                load, ENOEXEC,
                "program header %zu of %zu cannot be read (%s): the image is truncated "
                "or damaged",
                i, count, elf_errmsg(-1));
        if (segment.p_type == PT_INTERP)
            return load_fail(load, ENOEXEC,
                             "is a program for an operating system (it names a dynamic linker), "
                             "not a kernel");
        if (segment.p_type != PT_LOAD || !segment.p_memsz)
            continue;
        int error = load_segment(load, &segment, i);
        if (error)
            return error;
        if (segment.p_paddr < *start)
            *start = segment.p_paddr;
        if (segment.p_paddr + segment.p_memsz > *end)
            *end = segment.p_paddr + segment.p_memsz;
        if (!entered)
            entered = translate_entry(&segment, header.e_entry, entry);
    }
    if (!*end)
        return load_fail(
            load, ENOEXEC,
            "has no segment to load: it is an object file (link it first), or damaged");
    if (!entered)
        return load_fail(load, ENOEXEC,
                         "the entry point 0x%llx lies in no segment: link with an entry symbol",
                         (unsigned long long)header.e_entry);
    return 0;
}

int elf_load_segments(struct load *load, uint64_t *entry, uint64_t *start, uint64_t *end)
{
    elf_version(EV_CURRENT);
    /* libelf only reads from it: the interface is older than const. */
    Elf *elf = elf_memory((char *)load->image, load->image_size);
    if (!elf)
        return load_fail(load, ENOEXEC, "the ELF header is damaged: %s", elf_errmsg(-1));
    int error = load_segments(load, elf, entry, start, end);
    elf_end(elf);
    return error;
}
