/* Numbers and bytes in packets. */
#include "sim/gdb/text.h"

#include <ctype.h>
#include <stdlib.h>

bool take_number(const char **text, uint64_t *value)
{
    const char *start = *text;

    for (*value = 0; isxdigit((unsigned char)**text); ++*text) {
        int c = tolower((unsigned char)**text);

        if (*value >> 60)
            return false;
        *value = *value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return *text > start;
}

bool take_char(const char **text, char c)
{
    return **text == c && ++*text;
}

bool take_range(const char **text, uint64_t *address, uint64_t *size)
{
    return take_number(text, address) && take_char(text, ',') && take_number(text, size);
}

bool take_bytes(const char **text, uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char digits[3] = {(*text)[0], (*text)[0] ? (*text)[1] : '\0', '\0'};

        if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]))
            return false;
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
        *text += 2;
    }
    return true;
}

char *put_bytes(char *to, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    *to = '\0';
    return to;
}
