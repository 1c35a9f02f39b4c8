#include "sim/loaders/loader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/loaders/internal.h"

struct format {
    enum loader_format format;
    const char *name;
    bool (*matches)(const struct load *load);
    int (*load)(struct load *load);
};

/* In the order of detection: the surest signature first. */
static const struct format formats[] = {
    {LOADER_BZIMAGE, "bzImage", bzimage_matches, bzimage_load},
    {LOADER_MULTIBOOT, "Multiboot", multiboot_matches, multiboot_load},
    {LOADER_ELF64, "ELF64", elf64_matches, elf64_load},
    {LOADER_FLAT, "flat image", flat_matches, flat_load},
};
#define FORMAT_COUNT (sizeof(formats) / sizeof(formats[0]))

/* Formats that people try and that would run as garbage: told by their first bytes. */
static const struct {
    const char *magic;
    size_t size;
    const char *what;
} unsupported[] = {
    {"\x1f\x8b", 2, "a gzip file: unpack it with gunzip first"},
    {"\x28\xb5\x2f\xfd", 4, "a zstd file: unpack it with zstd -d first"},
    {"\xfd"
     "7zXZ",
     5, "an xz file: unpack it with unxz first"},
    {"QFI\xfb", 4, "a qcow2 disk image: vtxsim boots kernels and boot sectors, not disks"},
    {"#!", 2, "a script, not a guest image"},
};

const char *loader_format_name(enum loader_format format)
{
    for (size_t i = 0; i < FORMAT_COUNT; i++)
        if (formats[i].format == format)
            return formats[i].name;
    return "automatic";
}

/* NULL with a message where the content tells nothing. */
static const struct format *find_format(struct load *load)
{
    const struct loader_options *options = load->options;
    enum loader_format wanted = options->format;

    if (wanted == LOADER_AUTO && options->flat_mode)
        wanted = LOADER_FLAT;
    for (size_t i = 0; i < FORMAT_COUNT; i++)
        if (wanted == LOADER_AUTO ? formats[i].matches(load) : formats[i].format == wanted)
            return &formats[i];

    for (size_t i = 0; wanted == LOADER_AUTO && i < sizeof(unsupported) / sizeof(*unsupported); i++)
        if (load->image_size >= unsupported[i].size &&
            !memcmp(load->image, unsupported[i].magic, unsupported[i].size)) {
            load_fail(load, ENOEXEC, "this is %s", unsupported[i].what);
            return NULL;
        }
    load_fail(load, ENOEXEC,
              "the format is unknown: no bzImage, Multiboot or ELF header and no boot-sector "
              "signature. If this is raw code, say how it starts: --flat-mode 16, 32 or 64");
    return NULL;
}

/* Refuses options that the format would silently ignore. */
static int check_options(struct load *load, const struct format *format)
{
    const struct loader_options *options = load->options;
    bool is_linux = format->format == LOADER_BZIMAGE || format->format == LOADER_ELF64;
    bool multiboot = format->format == LOADER_MULTIBOOT;

    if (options->initrd.name && !is_linux && !multiboot)
        return load_fail(load, EINVAL, "a %s takes no initrd: leave --initrd out", format->name);
    if (options->module_count && !multiboot)
        return load_fail(load, EINVAL, "a %s takes no modules: leave --module out", format->name);
    if (options->arguments && strlen(options->arguments) >= COMMAND_LINE_MAX)
        return load_fail(load, EINVAL, "the command line has %zu bytes, at most %d are possible",
                         strlen(options->arguments), COMMAND_LINE_MAX - 1);
    return 0;
}

int loader_load(const struct loader_options *options, const struct loader_target *target,
                struct loader_entry *entry, char *message, size_t size)
{
    struct load load = {
        .options = options,
        .target = target,
        .entry = entry,
        .name = options->image.name,
        .message = message,
        .message_size = size,
    };
    struct contents image;
    int error = contents_read(&load, &options->image, &image);

    if (error)
        return error;
    memset(entry, 0, sizeof(*entry));
    load.image = image.data;
    load.image_size = image.size;

    const struct format *format = find_format(&load);
    error = format ? check_options(&load, format) : -ENOEXEC;
    if (!error) {
        entry->format = format->format;
        error = format->load(&load);
    }
    contents_release(&image);
    return error;
}
