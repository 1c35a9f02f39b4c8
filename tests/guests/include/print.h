/* Text on the serial port. */
#ifndef GUEST_PRINT_H
#define GUEST_PRINT_H

#include <stdarg.h>
#include <stdint.h>

extern unsigned print_column; /* 0: at the start of a line */

void put_text(const char *text, uint64_t size);
/* %s and %c, %u and %x (uint64_t), with a width: "%20s", "%02u". */
void print(const char *format, ...);
void print_list(const char *format, va_list list);

#endif
