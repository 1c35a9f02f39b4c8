/*
 * The registers as a debugger numbers them, and their description (GDB manual, "Target
 * Descriptions"). The layout is that of 64-bit mode whatever mode the guest is in: GDB cannot
 * change it while it is connected.
 */
#ifndef VTXSIM_SIM_GDB_REGISTERS_H
#define VTXSIM_SIM_GDB_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;

#define REGISTER_BYTES_MAX 16

unsigned register_count(void);
/* "rip"; number < register_count(). */
const char *register_name(unsigned number);
/* Bytes of a register in the target's byte order. */
unsigned register_size(unsigned number);
void register_read(struct vm *vm, unsigned number, uint8_t value[REGISTER_BYTES_MAX]);
/* Returns false if the processor cannot hold that value; nothing has changed then. Call
 * vm_debug_changed afterwards. */
bool register_write(struct vm *vm, unsigned number, const uint8_t value[REGISTER_BYTES_MAX]);

/* The target description as XML; free() it. NULL without memory. */
char *register_description(void);

#endif
