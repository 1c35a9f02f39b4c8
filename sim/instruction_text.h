/* An instruction as people read it, and the memory that its operands name. */
#ifndef VTXSIM_SIM_INSTRUCTION_TEXT_H
#define VTXSIM_SIM_INSTRUCTION_TEXT_H

#include <stdint.h>

#include "cpu/state.h"

#define INSTRUCTION_BYTES    15
#define INSTRUCTION_OPERANDS 3

struct instruction_text {
    unsigned size;  /* bytes; 0: they are no instruction */
    char text[196]; /* "mov rax, qword ptr [rdi + 8]" */
    struct {
        uint64_t linear;
        unsigned size;              /* bytes */
    } memory[INSTRUCTION_OPERANDS]; /* named by operands, or the top of the stack */
    unsigned memory_count;
};

/* Decodes the instruction at RIP of a state. bytes: what is there, at most INSTRUCTION_BYTES. */
void instruction_describe(struct instruction_text *text, const struct cpu_state *state,
                          const uint8_t *bytes, unsigned count);

#endif
