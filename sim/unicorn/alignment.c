/*
 * Operands of SSE instructions that must be aligned to 16 bytes: #GP(0) otherwise (SDM "MOVAPS" and
 * the table "Exceptions Type 4" with its kin, for legacy encodings).
 *
 * The library translates such an access as two of 8 bytes and checks nothing. When the second of
 * them is translated, the demand for alignment is added to the first: translated code tests it
 * together with the soft TLB's tag, at no cost, and takes the slow path when it does not hold.
 */
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

/* Of the memory operation. */
#define ALIGN_16   (4u << 4)
#define ALIGN_MASK (7u << 4)

/* Mandatory prefix and opcode of an SSE instruction. */
struct opcode {
    uint8_t prefix; /* 0, 0x66, 0xf2, 0xf3 */
    uint8_t escape; /* 0, 0x38, 0x3a */
    uint8_t byte;
};

static bool read_opcode(struct env *env, uint64_t pc, struct opcode *opcode)
{
    *opcode = (struct opcode){0};
    for (unsigned i = 0; i < INSN_LENGTH_MAX - 2; i++) {
        uint8_t byte = (uint8_t)cpu_ldub_code_x86_64(env, pc + i);
        if (byte == 0xf2 || byte == 0xf3 || (byte == 0x66 && !opcode->prefix))
            opcode->prefix = byte;
        if (byte != 0x0f)
            continue;
        opcode->byte = (uint8_t)cpu_ldub_code_x86_64(env, pc + i + 1);
        if (opcode->byte == 0x38 || opcode->byte == 0x3a) {
            opcode->escape = opcode->byte;
            opcode->byte = (uint8_t)cpu_ldub_code_x86_64(env, pc + i + 2);
        }
        return true;
    }
    return false;
}

/* Of the instructions that access 16 bytes in two halves. */
static bool needs_alignment(struct opcode opcode)
{
    uint8_t byte = opcode.byte;
    if (opcode.escape)
        return opcode.escape == 0x38 || (byte & 0xfc) != 0x60; /* PCMPESTRM ... PCMPISTRI */
    switch (opcode.prefix) {
    case 0xf3:
        return byte == 0x12 || byte == 0x16 || byte == 0x5b || byte == 0x70;
    case 0xf2:
        return byte == 0x70 || byte == 0x7c || byte == 0x7d || byte == 0xd0 || byte == 0xe6;
    case 0x66:
        break;
    default:
        if (byte == 0x5a) /* CVTPS2PD: 8 bytes */
            return false;
    }
    bool sse = byte == 0x14 || byte == 0x15 || (byte & 0xf8) == 0x28 ||
               (byte >= 0x50 && byte <= 0x7f) || byte == 0xc2 || byte == 0xc6 || byte >= 0xd0;
    return sse; /* 10h and 11h: MOVUPS, MOVUPD */
}

void unicorn_alignment_next_insn(struct unicorn_engine *engine, uint64_t pc)
{
    engine->alignment = (struct alignment){.pc = pc};
}

void unicorn_alignment_access(struct unicorn_engine *engine, struct tcg_operation *operation,
                              int opcode)
{
    struct alignment *alignment = &engine->alignment;
    struct tcg_operation *first = alignment->first;
    struct opcode sse;
    if (first && alignment->opcode == opcode && first->args[2] == operation->args[2] &&
        read_opcode(engine->env, alignment->pc, &sse) && needs_alignment(sse))
        first->args[2] |= (uint64_t)ALIGN_16 << 4;
    alignment->first = operation;
    alignment->opcode = opcode;
}

static void check(struct env *env, uint64_t address, uint32_t oi, uintptr_t return_address)
{
    if ((MEMORY_OPERATION(oi) & ALIGN_MASK) == ALIGN_16 && (address & 15) && unicorn_current)
        raise_exception_err_ra_x86_64(env, VECTOR_GP, 0, return_address);
}

/* The slow paths of 8-byte accesses. */
EXPORT uint64_t helper_le_ldq_mmu_x86_64(struct env *env, uint64_t address, uint32_t oi,
                                         uintptr_t return_address)
{
    check(env, address, oi, return_address);
    return ORIGINAL(helper_le_ldq_mmu_x86_64)(env, address, oi, return_address);
}

EXPORT void helper_le_stq_mmu_x86_64(struct env *env, uint64_t address, uint64_t value, uint32_t oi,
                                     uintptr_t return_address)
{
    check(env, address, oi, return_address);
    ORIGINAL(helper_le_stq_mmu_x86_64)(env, address, value, oi, return_address);
}
