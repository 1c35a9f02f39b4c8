/*
 * Numbers and bytes in packets: hexadecimal digits. The functions that take something move *text
 * behind it; where it is not there they return false, with *text anywhere in what is wrong.
 */
#ifndef VTXSIM_SIM_GDB_TEXT_H
#define VTXSIM_SIM_GDB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number without prefix, of at most 64 bits. */
bool take_number(const char **text, uint64_t *value);
bool take_char(const char **text, char c);
/* "ADDRESS,SIZE" */
bool take_range(const char **text, uint64_t *address, uint64_t *size);
/* `count` bytes of two digits each. */
bool take_bytes(const char **text, uint8_t *bytes, size_t count);
/* Writes two digits a byte, and a 0 that is not counted. Returns where that is. */
char *put_bytes(char *to, const uint8_t *bytes, size_t count);

#endif
