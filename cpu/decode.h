/*
 * Decoding of the instructions that the processor model executes itself: those that VMX can
 * intercept, the fast system calls, and IRET. Everything else is INSN_OTHER and left to the engine.
 */
#ifndef VTXSIM_CPU_DECODE_H
#define VTXSIM_CPU_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/state.h"

#define INSN_LENGTH_MAX 15

enum insn_kind {
    INSN_OTHER,
    INSN_CPUID,
    INSN_RDMSR,
    INSN_WRMSR,
    INSN_RDTSC,
    INSN_RDTSCP,
    INSN_RDPMC,
    INSN_RDPID,
    INSN_RDRAND,
    INSN_RDSEED,
    INSN_HLT,
    INSN_PAUSE,
    INSN_INVD,
    INSN_WBINVD,
    INSN_XSETBV,
    INSN_MONITOR,
    INSN_MWAIT,
    INSN_INVLPG,
    INSN_INVPCID,
    INSN_MOV_TO_CR,
    INSN_MOV_FROM_CR,
    INSN_MOV_TO_DR,
    INSN_MOV_FROM_DR,
    INSN_CLTS,
    INSN_LMSW,
    INSN_SMSW,
    INSN_DESCRIPTOR_TABLE, /* SGDT ... LTR: insn.table */
    INSN_IN,
    INSN_OUT,
    INSN_INS,
    INSN_OUTS,
    INSN_SYSCALL,
    INSN_SYSRET,
    INSN_SYSENTER,
    INSN_SYSEXIT,
    INSN_IRET, /* not intercepted, but ends blocking by NMI */
    INSN_INT1, /* ICEBP */
    INSN_VMX,  /* insn.vmx_reason */
    INSN_UNDEFINED, /* #UD: encodings that an engine may take for something else */
};

struct insn {
    uint8_t kind;         /* enum insn_kind */
    uint8_t length;       /* bytes, prefixes included */
    uint8_t operand_size; /* 2, 4 or 8 by prefixes and mode */
    uint8_t address_size; /* 2, 4 or 8 */
    uint8_t rep;          /* 0, 0xf2 or 0xf3 */
    bool lock;
    uint8_t reg;        /* ModRM.reg with REX.R */
    uint8_t rm;         /* ModRM.rm with REX.B; a register if !memory */
    bool memory;        /* has a memory operand */
    uint8_t segment;    /* of the memory operand, overrides applied */
    int8_t base, index; /* GPRs, -1: none */
    uint8_t scale;      /* 0..3: 1, 2, 4, 8 */
    bool rip_relative;
    int64_t displacement;
    uint8_t immediate; /* port number of IN/OUT imm8 */
    bool has_immediate;
    uint8_t port_size;  /* IN, OUT, INS, OUTS: 1, 2 or 4 */
    uint8_t table;      /* enum descriptor_instruction */
    uint8_t vmx_reason; /* enum exit_reason of the VMX instructions */
};

/* How code is decoded: by CS.D and CS.L. */
enum code_size { CODE16, CODE32, CODE64 };

/* Gives the index-th byte of the instruction, 0..14. May not return (fetch fault: longjmp). */
typedef uint8_t insn_fetch(void *context, unsigned index);

/*
 * Decodes one instruction as far as is needed to tell whether it is one of ours, and if so all of
 * it; then returns true. Bytes are fetched in order, and none that the processor would not fetch.
 */
bool insn_decode(struct insn *insn, enum code_size code, insn_fetch *fetch, void *context);

/* True if an instruction that starts with this byte may be one of ours. */
bool insn_first_byte_matters(uint8_t byte, enum code_size code);

/* The memory operand's offset in its segment, and its linear address. */
uint64_t insn_offset(const struct insn *insn, const struct cpu_state *state);
uint64_t insn_linear(const struct insn *insn, const struct cpu_state *state);

/* The VM-exit instruction-information field for this instruction (SDM "Information for VM Exits
 * Due to Instruction Execution"): descriptor-table, INVEPT-like, VMX and RDRAND formats. */
uint32_t insn_exit_information(const struct insn *insn);

#endif
