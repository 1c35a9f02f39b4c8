/* Symbols as text: System.map, /proc/kallsyms, the output of nm. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "sim/symbols/internal.h"

/* Hexadecimal digits up to a blank. Returns what follows, or NULL. */
static const char *take_address(const char *at, const char *end, uint64_t *address)
{
    const char *start = at;

    *address = 0;
    for (; at < end && isxdigit((unsigned char)*at); at++)
        *address = *address << 4 |
                   (uint64_t)(isdigit((unsigned char)*at) ? *at - '0'
                                                          : tolower((unsigned char)*at) - 'a' + 10);
    return at > start && at - start <= 16 && at < end && *at == ' ' ? at + 1 : NULL;
}

/* "ffffffff81000000 T _stext", with what else on the line ("[module]") left out. */
static int take_line(struct symbols *symbols, const char *at, const char *end)
{
    uint64_t address;
    const char *name;
    char type;

    at = take_address(at, end, &address);
    if (!at || end - at < 3 || !isalpha((unsigned char)*at) || at[1] != ' ')
        return -EBADMSG;
    type = *at;
    name = at + 2;
    for (at = name; at < end && !isspace((unsigned char)*at);)
        at++;
    if (at == name)
        return -EBADMSG;
    if (address == 0 || toupper((unsigned char)type) == 'U')
        return 0;
    return symbols_add(symbols, address, 0, type, name, (size_t)(at - name));
}

int symbols_read_map(struct symbols *symbols, const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    bool first = true;

    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        int error = newline == at ? 0 : take_line(symbols, at, newline ? newline : end);

        if (error)
            return error == -EBADMSG && first ? -ENOENT : error;
        first = false;
        at = newline ? newline + 1 : end;
    }
    return symbols->count ? 0 : -ENOENT;
}
