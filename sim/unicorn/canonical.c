/*
 * Non-canonical addresses in 64-bit mode.
 *
 * Data: the library asks for a translation of any address; one that is not canonical raises #SS(0)
 * if the operand is on the stack, else #GP(0) (SDM "Canonical Addressing").
 *
 * Branches: near RET and indirect JMP and CALL raise #GP(0) themselves, with nothing changed (SDM
 * "RET", "JMP", "CALL"). Translated code has changed RIP and RSP when the target can be looked at:
 * both are put back.
 */
#include <capstone/capstone.h>

#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

size_t unicorn_fetch(struct unicorn_engine *engine, uint8_t *bytes)
{
    const struct env *env = engine->env;
    uint64_t rip = env->hflags & HF_CS64 ? env->eip : (uint32_t)(env->segs[SEG_CS].base + env->eip);
    unsigned access = ACCESS_FETCH | ((env->hflags & 3) == 3 ? ACCESS_USER : 0);
    struct mmu_fault fault;
    size_t in_page = 4096 - (rip & 4095);
    size_t size = in_page < INSN_LENGTH_MAX ? in_page : INSN_LENGTH_MAX;
    if (mmu_read(&engine->cpu->mmu, rip, bytes, size, access, &fault))
        return 0;
    if (size < INSN_LENGTH_MAX && !mmu_read(&engine->cpu->mmu, rip + size, bytes + size,
                                            INSN_LENGTH_MAX - size, access, &fault))
        return INSN_LENGTH_MAX;
    return size;
}

/* --- Data ---------------------------------------------------------------------------------- */

/* An explicit operand has its address in RSP or RBP and no FS or GS; PUSH, POP and their kin have
 * the stack besides. */
static bool operand_is_on_stack(const cs_insn *insn, bool implicit)
{
    const cs_x86 *x86 = &insn->detail->x86;
    for (unsigned i = 0; i < x86->op_count; i++) {
        const x86_op_mem *memory = &x86->operands[i].mem;
        if (x86->operands[i].type != X86_OP_MEM)
            continue;
        bool stack = memory->base == X86_REG_RSP || memory->base == X86_REG_ESP ||
                     memory->base == X86_REG_RBP || memory->base == X86_REG_EBP;
        return stack && memory->segment != X86_REG_FS && memory->segment != X86_REG_GS;
    }
    return implicit;
}

static bool is_near(uint64_t a, uint64_t b)
{
    return a - b + 64 < 128;
}

static bool is_stack_access(struct unicorn_engine *engine, uint64_t linear)
{
    uint8_t bytes[INSN_LENGTH_MAX];
    size_t size = unicorn_fetch(engine, bytes);
    csh capstone;
    cs_insn *insn;
    bool stack = false;
    if (!size || cs_open(CS_ARCH_X86, CS_MODE_64, &capstone))
        return false;
    cs_option(capstone, CS_OPT_DETAIL, CS_OPT_ON);
    if (cs_disasm(capstone, bytes, size, engine->env->eip, 1, &insn)) {
        bool implicit = cs_reg_write(capstone, insn, X86_REG_RSP) ||
                        cs_insn_group(capstone, insn, X86_GRP_CALL) ||
                        cs_insn_group(capstone, insn, X86_GRP_RET);
        stack = (implicit && is_near(linear, engine->env->regs[GPR_RSP])) ||
                operand_is_on_stack(insn, implicit);
        cs_free(insn, 1);
    }
    cs_close(&capstone);
    return stack;
}

_Noreturn void unicorn_noncanonical_data(struct unicorn_engine *engine, uint64_t linear,
                                         uintptr_t return_address)
{
    if (return_address)
        cpu_restore_state_x86_64(engine->cs, return_address, true);
    enum vector vector = VECTOR_GP;
    if (engine->env->hflags & HF_CS64 && is_stack_access(engine, linear))
        vector = VECTOR_SS;
    raise_exception_err_x86_64(engine->env, vector, 0);
}

/* --- Branches ------------------------------------------------------------------------------ */

/* True for an indirect near branch, with what it has added to RSP. Two bytes more than `size` may
 * be read. */
static bool is_branch(const uint8_t *bytes, size_t size, int64_t *stack_change)
{
    size_t i = 0;
    while (i < size && (bytes[i] == 0x66 || bytes[i] == 0x67 || bytes[i] == 0xf2 ||
                        bytes[i] == 0xf3 || bytes[i] == 0x2e || bytes[i] == 0x3e))
        i++;
    if (i < size && (bytes[i] & 0xf0) == 0x40) /* REX */
        i++;
    if (i >= size)
        return false;
    uint8_t opcode = bytes[i], extension = bytes[i + 1] >> 3 & 7;
    *stack_change = 0;
    switch (opcode) {
    case 0xc3:
        *stack_change = 8;
        return true;
    case 0xc2:
        *stack_change = 8 + (bytes[i + 1] | bytes[i + 2] << 8);
        return true;
    case 0xff:
        if (extension == 2) /* CALL */
            *stack_change = -8;
        return extension == 2 || extension == 4;
    }
    return false;
}

void unicorn_check_branch(struct unicorn_engine *engine, uintptr_t return_address)
{
    struct env *env = engine->env;
    uint8_t bytes[INSN_LENGTH_MAX + 2] = {0};
    uint64_t eip = env->eip, budget = env->bnd_regs[0];
    uint32_t cc_op = env->cc_op;
    int64_t stack_change;
    if (!(env->hflags & HF_CS64) || unicorn_is_canonical(eip) ||
        !cpu_restore_state_x86_64(engine->cs, return_address, true))
        return;
    if (is_branch(bytes, unicorn_fetch(engine, bytes), &stack_change)) {
        env->regs[GPR_RSP] -= (uint64_t)stack_change;
        raise_exception_err_x86_64(env, VECTOR_GP, 0);
    }
    /* Code has run over the edge of the canonical addresses: the fetch faults. */
    env->eip = eip;
    env->bnd_regs[0] = budget;
    env->cc_op = cc_op;
}
