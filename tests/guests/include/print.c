/* Text on the serial port. */
#include <stdarg.h>

#include "print.h"
#include "x86.h"

#define UART 0x3f8

unsigned print_column;

static void put(char c)
{
    if (c == '\n')
        put('\r');
    while (!(in8(UART + 5) & 0x20))
        ;
    out8(UART, c);
    print_column = c == '\n' ? 0 : c == '\r' ? print_column : print_column + 1;
}

void put_text(const char *text, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        put(text[i]);
}

static void put_padded(const char *text, unsigned length, unsigned width, char fill)
{
    while (width > length) {
        put(fill);
        width--;
    }
    put_text(text, length);
}

static void put_number(uint64_t value, unsigned base, unsigned width, char fill)
{
    char text[20];
    unsigned at = sizeof(text);

    do {
        text[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    put_padded(text + at, sizeof(text) - at, width, fill);
}

static unsigned text_length(const char *text)
{
    unsigned length = 0;

    while (text[length])
        length++;
    return length;
}

void print_list(const char *format, va_list list)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        char fill = *++format == '0' ? '0' : ' ';
        unsigned width = 0;
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + *format - '0';
        const char *text;
        switch (*format) {
        case 's':
            text = va_arg(list, const char *);
            put_padded(text, text_length(text), width, ' ');
            break;
        case 'c':
            put(va_arg(list, int));
            break;
        case 'u':
            put_number(va_arg(list, uint64_t), 10, width, fill);
            break;
        case 'x':
            put_number(va_arg(list, uint64_t), 16, width, fill);
            break;
        default:
            put(*format);
        }
    }
}

void print(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    print_list(format, list);
    va_end(list);
}
