/*
 * A VMCS as text: one field a line, `GUEST_CR0 = 0x80000031`. Fields go by their names in
 * cpu/vmcs_fields.h or by their encodings (`0x6800 = 0x80000031`); # starts a comment. Fields that
 * are not there are 0.
 */
#ifndef VTXSIM_SIM_VMCS_DUMP_H
#define VTXSIM_SIM_VMCS_DUMP_H

#include <stddef.h>
#include <stdio.h>

#include "cpu/vmcs.h"

/*
 * Reads a dump into a VMCS, launch state "clear". Returns 0, -EINVAL (what is wrong, with name and
 * line), or -errno of reading; a message for each.
 */
int vmcs_dump_read(struct vmcs *vmcs, const char *path, char *message, size_t size);
/* Writes the fields that are not 0, or all of them, with their encodings in comments. */
void vmcs_dump_write(const struct vmcs *vmcs, bool all, FILE *file);

#endif
