/*
 * Which instruction accesses a device, at which linear address? KVM tells the guest-physical
 * address. A load is in the middle of its instruction; a store has been emulated when KVM exits,
 * and RIP is behind the instruction by then. Of the instructions that can end there, the one meant
 * stores so many bytes, of this value where it tells, at a linear address that translates to that
 * guest-physical address.
 */
#include <capstone/capstone.h>
#include <string.h>

#include "sim/kvm/kvm.h"

/* The general register, and the shift of its part, of a register of Capstone. */
static bool find_register(x86_reg reg, enum gpr *gpr, unsigned *shift)
{
    // clang-format off
    static const x86_reg registers[GPR_COUNT][5] = {
        {X86_REG_RAX, X86_REG_EAX, X86_REG_AX, X86_REG_AL, X86_REG_AH},
        {X86_REG_RCX, X86_REG_ECX, X86_REG_CX, X86_REG_CL, X86_REG_CH},
        {X86_REG_RDX, X86_REG_EDX, X86_REG_DX, X86_REG_DL, X86_REG_DH},
        {X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL, X86_REG_BH},
        {X86_REG_RSP, X86_REG_ESP, X86_REG_SP, X86_REG_SPL},
        {X86_REG_RBP, X86_REG_EBP, X86_REG_BP, X86_REG_BPL},
        {X86_REG_RSI, X86_REG_ESI, X86_REG_SI, X86_REG_SIL},
        {X86_REG_RDI, X86_REG_EDI, X86_REG_DI, X86_REG_DIL},
        {X86_REG_R8, X86_REG_R8D, X86_REG_R8W, X86_REG_R8B},
        {X86_REG_R9, X86_REG_R9D, X86_REG_R9W, X86_REG_R9B},
        {X86_REG_R10, X86_REG_R10D, X86_REG_R10W, X86_REG_R10B},
        {X86_REG_R11, X86_REG_R11D, X86_REG_R11W, X86_REG_R11B},
        {X86_REG_R12, X86_REG_R12D, X86_REG_R12W, X86_REG_R12B},
        {X86_REG_R13, X86_REG_R13D, X86_REG_R13W, X86_REG_R13B},
        {X86_REG_R14, X86_REG_R14D, X86_REG_R14W, X86_REG_R14B},
        {X86_REG_R15, X86_REG_R15D, X86_REG_R15W, X86_REG_R15B},
    };
    // clang-format on
    for (unsigned i = 0; i < GPR_COUNT; i++)
        for (unsigned part = 0; part < 5; part++)
            if (reg != X86_REG_INVALID && registers[i][part] == reg) {
                *gpr = i;
                *shift = part == 4 ? 8 : 0;
                return true;
            }
    return false;
}

static uint64_t register_value(const struct cpu_state *state, x86_reg reg)
{
    enum gpr gpr;
    unsigned shift;
    if (reg == X86_REG_RIP)
        return state->rip; /* that behind the instruction */
    return find_register(reg, &gpr, &shift) ? state->gpr[gpr] >> shift : 0;
}

static uint64_t low_bytes(uint64_t value, unsigned size)
{
    return size >= 8 ? value : value & ((1ull << 8 * size) - 1);
}

static enum segment_register segment_of(const x86_op_mem *memory)
{
    switch (memory->segment) {
    case X86_REG_ES:
        return SEG_ES;
    case X86_REG_CS:
        return SEG_CS;
    case X86_REG_SS:
        return SEG_SS;
    case X86_REG_FS:
        return SEG_FS;
    case X86_REG_GS:
        return SEG_GS;
    default:
        break;
    }
    bool stack = memory->base == X86_REG_RSP || memory->base == X86_REG_RBP ||
                 memory->base == X86_REG_ESP || memory->base == X86_REG_EBP ||
                 memory->base == X86_REG_BP;
    return stack && memory->segment == X86_REG_INVALID ? SEG_SS : SEG_DS;
}

static bool is_string(const cs_insn *insn)
{
    switch (insn->id) {
    case X86_INS_STOSB:
    case X86_INS_STOSW:
    case X86_INS_STOSD:
    case X86_INS_STOSQ:
    case X86_INS_MOVSB:
    case X86_INS_MOVSW:
    case X86_INS_MOVSD:
    case X86_INS_MOVSQ:
        return true;
    default:
        return false;
    }
}

/* Where a memory operand was when the instruction began. */
static uint64_t linear_address(const struct cpu_state *state, const cs_insn *insn,
                               const cs_x86_op *operand, const struct kvm_access *access)
{
    const x86_op_mem *memory = &operand->mem;
    bool code64 = (state->efer & EFER_LMA) && (state->seg[SEG_CS].access_rights & AR_L);
    enum segment_register segment = segment_of(memory);
    uint64_t offset = register_value(state, memory->base) +
                      register_value(state, memory->index) * (uint64_t)memory->scale +
                      (uint64_t)memory->disp;
    if (access->write && is_string(insn)) /* the pointer has moved */
        offset += state->rflags & RFLAGS_DF ? access->size : -(uint64_t)access->size;
    offset = low_bytes(offset, insn->detail->x86.addr_size);
    if (code64)
        return offset + (segment >= SEG_FS ? state->seg[segment].base : 0);
    return (uint32_t)(offset + state->seg[segment].base);
}

static bool translates_to(struct cpu *cpu, uint64_t linear, const struct kvm_access *access)
{
    struct translation translation;
    struct mmu_fault fault;
    unsigned kind = (access->write ? ACCESS_WRITE : ACCESS_READ) | ACCESS_PROBE | ACCESS_AC;
    if ((uint64_t)((int64_t)(linear << 16) >> 16) != linear)
        return false;
    return mmu_translate(&cpu->mmu, linear, kind, &translation, &fault) == MMU_EPT_VIOLATION &&
           fault.gpa == access->gpa;
}

/* The value of the other operand, where it is plain to see. */
static bool value_fits(const struct cpu_state *state, const cs_insn *insn,
                       const struct kvm_access *access)
{
    const cs_x86 *x86 = &insn->detail->x86;
    uint64_t value;
    if (insn->id != X86_INS_MOV || x86->op_count != 2)
        return true;
    if (x86->operands[1].type == X86_OP_IMM)
        value = (uint64_t)x86->operands[1].imm;
    else if (x86->operands[1].type == X86_OP_REG)
        value = register_value(state, x86->operands[1].reg);
    else
        return true;
    return low_bytes(value, access->size) == low_bytes(access->value, access->size);
}

/* Capstone takes MOVNTI for a load. */
static bool has_direction(const cs_insn *insn, const cs_x86_op *operand, bool write)
{
    if (write)
        return (operand->access & CS_AC_WRITE) || insn->id == X86_INS_MOVNTI;
    return operand->access & CS_AC_READ;
}

/* The size of the operand that is accessed, 0 if there is none. */
static unsigned operand_size(struct cpu *cpu, const cs_insn *insn, const struct kvm_access *access,
                             uint64_t *linear)
{
    const cs_x86 *x86 = &insn->detail->x86;
    for (unsigned i = 0; i < x86->op_count; i++) {
        const cs_x86_op *operand = &x86->operands[i];
        if (operand->type != X86_OP_MEM || !has_direction(insn, operand, access->write))
            continue;
        uint64_t address = linear_address(&cpu->state, insn, operand, access);
        if (!translates_to(cpu, address, access))
            continue;
        if (access->write && !value_fits(&cpu->state, insn, access))
            continue;
        *linear = address;
        return operand->size;
    }
    return 0;
}

static cs_mode mode_of(const struct cpu_state *state)
{
    uint32_t rights = state->seg[SEG_CS].access_rights;
    if ((state->efer & EFER_LMA) && (rights & AR_L))
        return CS_MODE_64;
    return rights & AR_DB ? CS_MODE_32 : CS_MODE_16;
}

/* KVM has moved RIP behind a store. */
static bool search_before(struct kvm_engine *engine, csh capstone, cs_insn *insn,
                          const struct kvm_access *access, uint64_t *linear)
{
    struct cpu *cpu = &engine->vcpu->cpu;
    uint64_t behind = cpu->state.rip;
    uint8_t bytes[INSN_LENGTH_MAX];
    for (unsigned length = 1; length <= INSN_LENGTH_MAX && length <= behind; length++) {
        const uint8_t *code = bytes;
        uint64_t address = behind - length;
        size_t size = kvm_read_code(engine, cpu->state.seg[SEG_CS].base + address, bytes, length);
        if (size == length && cs_disasm_iter(capstone, &code, &size, &address, insn) &&
            insn->size == length && operand_size(cpu, insn, access, linear) == access->size) {
            cpu->state.rip = behind - length;
            return true;
        }
    }
    return false;
}

/* Loads, and stores of a string instruction that has more to repeat. */
static bool search_here(struct kvm_engine *engine, csh capstone, cs_insn *insn,
                        const struct kvm_access *access, uint64_t *linear)
{
    struct cpu *cpu = &engine->vcpu->cpu;
    uint8_t bytes[INSN_LENGTH_MAX];
    const uint8_t *code = bytes;
    uint64_t address = cpu->state.rip;
    size_t size = kvm_read_code(engine, cpu->state.seg[SEG_CS].base + address, bytes, sizeof bytes);
    if (!cs_disasm_iter(capstone, &code, &size, &address, insn) ||
        (access->write && !is_string(insn)))
        return false;
    cpu->state.rip += insn->size; /* what addresses relative to RIP count from */
    bool found = operand_size(cpu, insn, access, linear); /* Capstone misreads 66 F3 A5 */
    cpu->state.rip -= insn->size;
    return found;
}

bool kvm_find_access(struct kvm_engine *engine, const struct kvm_access *access, uint64_t *linear)
{
    csh capstone;
    bool found = false;
    if (cs_open(CS_ARCH_X86, mode_of(&engine->vcpu->cpu.state), &capstone) != CS_ERR_OK)
        return false;
    cs_option(capstone, CS_OPT_DETAIL, CS_OPT_ON);
    cs_insn *insn = cs_malloc(capstone);
    if (insn) {
        found = (access->write && search_before(engine, capstone, insn, access, linear)) ||
                search_here(engine, capstone, insn, access, linear);
        cs_free(insn, 1);
    }
    cs_close(&capstone);
    return found;
}
