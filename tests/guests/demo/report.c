/* What the demo found out, a line a finding. */
#include <stdarg.h>

#include "demo.h"

#define HEADING_WIDTH  16
#define VERDICT_COLUMN 80

unsigned checks, failures;

static void put_line(const char *heading, const char *format, va_list list)
{
    print("%s", heading);
    while (print_column < HEADING_WIDTH)
        put_text(" ", 1);
    print_list(format, list);
}

void tell(const char *heading, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    put_line(heading, format, list);
    va_end(list);
    print("\n");
}

bool check(bool ok, const char *heading, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    put_line(heading, format, list);
    va_end(list);
    while (print_column < VERDICT_COLUMN)
        put_text(" ", 1);
    print("%s\n", ok ? "ok" : "FAILED");
    checks++;
    failures += !ok;
    return ok;
}
