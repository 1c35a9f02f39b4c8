/*
 * State hashes: what lets two traces, or a trace and its replay, be compared by the million
 * instructions. Every --hash-every instructions, and at the end, an event holds a hash of the
 * registers and one of the memory that was written since the last.
 *
 * The hash of memory chains. With H the hash of the event before (0 for the first), it is XXH64
 * with seed H over 16 bytes for each page of 4 KiB that was written, by ascending address: its
 * guest-physical address, and XXH3 (64 bits) of its content; both little-endian. What the loader
 * put there belongs to the first. Written is what an instruction, the processor (accessed and dirty
 * flags, event delivery) or a device has stored to, even if nothing changed.
 */
#ifndef VTXSIM_SIM_STATE_HASH_H
#define VTXSIM_SIM_STATE_HASH_H

#include <stdint.h>

struct vcpu;
struct vm;

/* Before the run, when its sink is known. */
void state_hash_begin(struct vm *vm);
/* At an instruction boundary, when nothing else is to happen at it: records a hash if it is due. */
void state_hash_boundary(struct vcpu *vcpu, uint64_t instructions);
/* After the run: the last hash. */
void state_hash_end(struct vm *vm);

/*
 * XXH64 over the registers of cpu.state in a fixed order and form: general-purpose registers,
 * RIP, RFLAGS, segments with their hidden parts, descriptor tables, control and debug registers,
 * MSRs that are plain state, interruptibility; x87 and SSE as FXSAVE64 stores them, where the engine shows
 * them.
 */
uint64_t state_hash_registers(struct vcpu *vcpu);

#endif
