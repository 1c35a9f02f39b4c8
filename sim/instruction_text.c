/* Instructions in words, by Capstone. */
#include "sim/instruction_text.h"

#include <stdbool.h>
#include <stdio.h>

#include <capstone/capstone.h>

/* Above and below the stack pointer: what a push writes, what a pop reads. */
#define STACK_BYTES 8

static bool is_64bit(const struct cpu_state *state)
{
    return (state->efer & EFER_LMA) && (state->seg[SEG_CS].access_rights & AR_L);
}

static cs_mode mode_of(const struct cpu_state *state)
{
    if (is_64bit(state))
        return CS_MODE_64;
    return state->seg[SEG_CS].access_rights & AR_DB ? CS_MODE_32 : CS_MODE_16;
}

/* All names of the general-purpose registers that can be part of an address. */
static const struct {
    x86_reg name[3]; /* 64, 32 and 16 bits wide */
    enum gpr gpr;
} address_registers[] = {
    {{X86_REG_RAX, X86_REG_EAX, X86_REG_AX}, GPR_RAX},
    {{X86_REG_RCX, X86_REG_ECX, X86_REG_CX}, GPR_RCX},
    {{X86_REG_RDX, X86_REG_EDX, X86_REG_DX}, GPR_RDX},
    {{X86_REG_RBX, X86_REG_EBX, X86_REG_BX}, GPR_RBX},
    {{X86_REG_RSP, X86_REG_ESP, X86_REG_SP}, GPR_RSP},
    {{X86_REG_RBP, X86_REG_EBP, X86_REG_BP}, GPR_RBP},
    {{X86_REG_RSI, X86_REG_ESI, X86_REG_SI}, GPR_RSI},
    {{X86_REG_RDI, X86_REG_EDI, X86_REG_DI}, GPR_RDI},
    {{X86_REG_R8, X86_REG_R8D, X86_REG_R8W}, GPR_R8},
    {{X86_REG_R9, X86_REG_R9D, X86_REG_R9W}, GPR_R9},
    {{X86_REG_R10, X86_REG_R10D, X86_REG_R10W}, GPR_R10},
    {{X86_REG_R11, X86_REG_R11D, X86_REG_R11W}, GPR_R11},
    {{X86_REG_R12, X86_REG_R12D, X86_REG_R12W}, GPR_R12},
    {{X86_REG_R13, X86_REG_R13D, X86_REG_R13W}, GPR_R13},
    {{X86_REG_R14, X86_REG_R14D, X86_REG_R14W}, GPR_R14},
    {{X86_REG_R15, X86_REG_R15D, X86_REG_R15W}, GPR_R15},
};

static uint64_t register_value(const struct cpu_state *state, const cs_insn *insn, x86_reg name)
{
    if (name == X86_REG_RIP || name == X86_REG_EIP)
        return state->rip + insn->size;
    for (unsigned i = 0; i < sizeof(address_registers) / sizeof(*address_registers); i++)
        for (unsigned width = 0; width < 3; width++)
            if (address_registers[i].name[width] == name)
                return state->gpr[address_registers[i].gpr] &
                       (UINT64_MAX >> (width ? 64 - 64 / (1u << width) : 0));
    return 0;
}

static uint64_t segment_base(const struct cpu_state *state, const x86_op_mem *memory)
{
    static const struct {
        x86_reg name;
        enum segment_register segment;
    } segments[] = {{X86_REG_ES, SEG_ES}, {X86_REG_CS, SEG_CS}, {X86_REG_SS, SEG_SS},
                    {X86_REG_DS, SEG_DS}, {X86_REG_FS, SEG_FS}, {X86_REG_GS, SEG_GS}};
    bool on_stack = memory->base == X86_REG_RSP || memory->base == X86_REG_ESP ||
                    memory->base == X86_REG_EBP || memory->base == X86_REG_BP;
    enum segment_register chosen = on_stack ? SEG_SS : SEG_DS;

    for (unsigned i = 0; i < sizeof(segments) / sizeof(*segments); i++)
        if (segments[i].name == memory->segment)
            chosen = segments[i].segment;
    if (is_64bit(state) && chosen != SEG_FS && chosen != SEG_GS)
        return 0;
    return state->seg[chosen].base;
}

static uint64_t linear_address(const struct cpu_state *state, const cs_insn *insn,
                               const x86_op_mem *memory)
{
    unsigned width = insn->detail->x86.addr_size;
    uint64_t offset = register_value(state, insn, memory->base) +
                      register_value(state, insn, memory->index) * (uint64_t)memory->scale +
                      (uint64_t)memory->disp;

    if (width < 8)
        offset &= (1ull << 8 * width) - 1;
    return segment_base(state, memory) + offset;
}

static void add_memory(struct instruction_text *text, uint64_t linear, unsigned size)
{
    if (text->memory_count == INSTRUCTION_OPERANDS)
        return;
    text->memory[text->memory_count].linear = linear;
    text->memory[text->memory_count++].size = size;
}

static void list_memory(struct instruction_text *text, const struct cpu_state *state,
                        const cs_insn *insn)
{
    const cs_x86 *x86 = &insn->detail->x86;

    for (unsigned i = 0; i < x86->op_count; i++)
        if (x86->operands[i].type == X86_OP_MEM && insn->id != X86_INS_LEA &&
            insn->id != X86_INS_NOP)
            add_memory(text, linear_address(state, insn, &x86->operands[i].mem),
                       x86->operands[i].size);
    for (unsigned i = 0; i < insn->detail->regs_read_count; i++) {
        uint16_t name = insn->detail->regs_read[i];

        if (name == X86_REG_RSP || name == X86_REG_ESP || name == X86_REG_SP) {
            const x86_op_mem stack = {.base = name, .scale = 1, .disp = -STACK_BYTES};

            add_memory(text, linear_address(state, insn, &stack), 2 * STACK_BYTES);
        }
    }
}

void instruction_describe(struct instruction_text *text, const struct cpu_state *state,
                          const uint8_t *bytes, unsigned count)
{
    cs_insn *insn;
    csh handle;

    *text = (struct instruction_text){.text = "(no instruction can be read there)"};
    if (cs_open(CS_ARCH_X86, mode_of(state), &handle) != CS_ERR_OK)
        return;
    cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON);
    if (cs_disasm(handle, bytes, count, state->rip, 1, &insn) == 1) {
        text->size = insn->size;
        snprintf(text->text, sizeof(text->text), "%s%s%s", insn->mnemonic, *insn->op_str ? " " : "",
                 insn->op_str);
        list_memory(text, state, insn);
        cs_free(insn, 1);
    }
    cs_close(&handle);
}
