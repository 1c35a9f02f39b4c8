/*
 * Port I/O on behalf of the guest, once it is decided that the access may happen: IN and OUT, and
 * the string forms with their repetition.
 */
#ifndef VTXSIM_SIM_IO_EMULATION_H
#define VTXSIM_SIM_IO_EMULATION_H

#include "cpu/decode.h"
#include "cpu/instructions.h"
#include "models/bus.h"

struct io_access io_access_of(const struct insn *insn, const struct cpu_state *state);

/*
 * Performs the access on cpu->state: RAX or memory, RCX, RSI, RDI; RIP stays. Returns MMU_OK, or
 * the status of a memory operand that faulted, with the registers at the repetition that did. A
 * long repetition is done in pieces: *again is set when RCX is not exhausted, and the instruction
 * is then to be restarted (so that interrupts get in between).
 */
enum mmu_status io_emulate(struct cpu *cpu, struct bus *bus, const struct io_access *access,
                           bool *again, struct mmu_fault *fault);

#endif
