/* vtxsim symbols: the names of an image's addresses, as System.map or ELF. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/commands/commands.h"
#include "sim/symbols/symbols.h"

struct request {
    const char *image, *output;
    uint64_t offset;
    bool elf;
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    char *end;

    switch (key) {
    case 'o':
        request->output = argument;
        return 0;
    case 'e':
        request->elf = true;
        return 0;
    case 'O':
        errno = 0;
        request->offset = strtoull(argument, &end, 0);
        if (errno || !*argument || *end)
            argp_error(state, "\"%s\" is not a number", argument);
        return 0;
    case ARGP_KEY_ARG:
        if (request->image)
            argp_error(state, "one image only: \"%s\" is too much", argument);
        request->image = argument;
        return 0;
    case ARGP_KEY_END:
        if (!request->image)
            argp_error(state, "name the image");
        if (request->elf && !request->output)
            argp_error(state, "--elf needs a file: give --output FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Returns 0 or -errno. */
static int write_symbols(const struct symbols *symbols, FILE *file)
{
    errno = 0;
    for (size_t i = 0; i < symbols_count(symbols) && !ferror(file); i++) {
        struct symbol symbol = symbols_get(symbols, i);

        fprintf(file, "%016" PRIx64 " %c %s\n", symbol.address, symbol.type, symbol.name);
    }
    if (fflush(file) == 0 && !ferror(file))
        return 0;
    return errno ? -errno : -EIO;
}

int command_symbols(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "FILE", 0, "Write there instead of to standard output", 0},
        {"elf", 'e', NULL, 0, "Write an ELF file without code, for a debugger", 0},
        {"symbols-offset", 'O', "N", 0, "Add N to every address (KASLR)", 0},
        {0},
    };
    static const struct argp argp = {
        options,
        parse_option,
        "IMAGE",
        "Print the symbols of an image in the form of System.map, or as an ELF file."
        "\vThe image is a vmlinux or another ELF file with symbols, or a Linux kernel (bzImage or "
        "vmlinux, compressed or not) without: such a kernel has a table of its own, unless it was "
        "built without CONFIG_KALLSYMS.",
        NULL,
        NULL,
        NULL};
    struct request request = {0};
    struct symbols *symbols;
    char message[512];
    FILE *file = stdout;
    int error;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (symbols_load(&symbols, request.image, message, sizeof(message))) {
        command_error("%s", message);
        return STATUS_NO_START;
    }
    symbols_set_offset(symbols, request.offset);
    if (request.output)
        file = fopen(request.output, "we");
    if (!file)
        error = -errno;
    else
        error = request.elf ? symbols_write_elf(symbols, file) : write_symbols(symbols, file);
    if (file && file != stdout && fclose(file) && !error)
        error = -errno;
    symbols_free(symbols);
    if (!error)
        return 0;
    if (error != -EPIPE)
        command_error("%s: %s", request.output ? request.output : "standard output",
                      strerror(-error));
    return STATUS_ERROR;
}
