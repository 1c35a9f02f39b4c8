/* Decoding of intercepted instructions. SDM volume 2, "Instruction Format" and "Opcode Map". */
#include "cpu/decode.h"

#include "cpu/exit.h"
#include "cpu/instructions.h"

struct decoder {
    insn_fetch *fetch;
    void *context;
    unsigned position;
    enum code_size code;
    uint8_t rex;
    bool operand_override, address_override;
    int8_t segment_override; /* -1: none */
    struct insn *insn;
};

static uint8_t next_byte(struct decoder *d)
{
    /* A sixteenth byte cannot be part of an instruction; the engine raises #GP for such. */
    if (d->position >= INSN_LENGTH_MAX)
        return 0;
    return d->fetch(d->context, d->position++);
}

bool insn_first_byte_matters(uint8_t byte, enum code_size code)
{
    switch (byte) {
    case 0x0f:                                  /* two-byte opcodes */
    case 0x26: case 0x2e: case 0x36: case 0x3e: /* segment overrides */
    case 0x64: case 0x65:
    case 0x66: case 0x67: case 0xf0: case 0xf2: case 0xf3:
    case 0x6c: case 0x6d: case 0x6e: case 0x6f: /* INS, OUTS */
    case 0xe4: case 0xe5: case 0xe6: case 0xe7: /* IN, OUT imm8 */
    case 0xec: case 0xed: case 0xee: case 0xef: /* IN, OUT DX */
    case 0xcf:                                  /* IRET */
    case 0xf1:                                  /* INT1 */
    case 0xf4:                                  /* HLT */
        return true;
    default:
        return code == CODE64 && (byte & 0xf0) == 0x40; /* REX */
    }
}

/* Consumes prefixes and returns the first opcode byte. */
static uint8_t decode_prefixes(struct decoder *d)
{
    for (;;) {
        uint8_t byte = next_byte(d);
        if (d->code == CODE64 && (byte & 0xf0) == 0x40) {
            d->rex = byte;
            byte = next_byte(d);
            /* A REX prefix counts only directly before the opcode. */
            if (!insn_first_byte_matters(byte, d->code) || byte == 0x0f ||
                (byte >= 0x6c && byte <= 0x6f) || byte == 0xcf || byte == 0xf1 || byte == 0xf4 ||
                (byte & 0xf4) == 0xe4)
                return byte;
            d->rex = 0;
        }
        switch (byte) {
        case 0x26: d->segment_override = SEG_ES; break;
        case 0x2e: d->segment_override = SEG_CS; break;
        case 0x36: d->segment_override = SEG_SS; break;
        case 0x3e: d->segment_override = SEG_DS; break;
        case 0x64: d->segment_override = SEG_FS; break;
        case 0x65: d->segment_override = SEG_GS; break;
        case 0x66: d->operand_override = true; break;
        case 0x67: d->address_override = true; break;
        case 0xf0: d->insn->lock = true; break;
        case 0xf2: case 0xf3: d->insn->rep = byte; break;
        default:
            if (d->code == CODE64 && (byte & 0xf0) == 0x40) {
                d->position--; /* another REX */
                continue;
            }
            return byte;
        }
        if (d->position >= INSN_LENGTH_MAX)
            return 0;
    }
}

static void set_sizes(struct decoder *d)
{
    struct insn *insn = d->insn;
    switch (d->code) {
    case CODE16:
        insn->operand_size = d->operand_override ? 4 : 2;
        insn->address_size = d->address_override ? 4 : 2;
        break;
    case CODE32:
        insn->operand_size = d->operand_override ? 2 : 4;
        insn->address_size = d->address_override ? 2 : 4;
        break;
    case CODE64:
        insn->operand_size = (d->rex & 8) ? 8 : d->operand_override ? 2 : 4;
        insn->address_size = d->address_override ? 4 : 8;
        break;
    }
}

static int64_t signed_bytes(struct decoder *d, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)next_byte(d) << (8 * i);
    unsigned shift = 64 - 8 * count;
    return (int64_t)(value << shift) >> shift;
}

/* SDM table "16-Bit Addressing Forms with the ModR/M Byte". */
static void decode_address16(struct decoder *d, uint8_t mod, uint8_t rm)
{
    static const int8_t base[8] = {GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP,
                                   GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX};
    static const int8_t index[8] = {GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI, -1, -1, -1, -1};
    struct insn *insn = d->insn;
    insn->base = base[rm];
    insn->index = index[rm];
    if (mod == 0 && rm == 6) {
        insn->base = -1;
        insn->displacement = signed_bytes(d, 2);
    } else if (mod) {
        insn->displacement = signed_bytes(d, mod == 1 ? 1 : 2);
    }
}

/* SDM table "32-Bit Addressing Forms with the ModR/M Byte", and its SIB table. */
static void decode_address32(struct decoder *d, uint8_t mod, uint8_t rm)
{
    struct insn *insn = d->insn;
    if (rm == 4) {
        uint8_t sib = next_byte(d);
        insn->scale = sib >> 6;
        insn->index = (int8_t)(((sib >> 3) & 7) | ((d->rex & 2) << 2));
        if (insn->index == GPR_RSP)
            insn->index = -1;
        insn->base = (int8_t)((sib & 7) | ((d->rex & 1) << 3));
        if ((sib & 7) == 5 && mod == 0) {
            insn->base = -1;
            insn->displacement = signed_bytes(d, 4);
            return;
        }
    } else if (rm == 5 && mod == 0) {
        insn->rip_relative = d->code == CODE64;
        insn->displacement = signed_bytes(d, 4);
        return;
    } else {
        insn->base = (int8_t)(rm | ((d->rex & 1) << 3));
    }
    if (mod)
        insn->displacement = signed_bytes(d, mod == 1 ? 1 : 4);
}

static void decode_modrm(struct decoder *d)
{
    struct insn *insn = d->insn;
    uint8_t modrm = next_byte(d);
    uint8_t mod = modrm >> 6, rm = modrm & 7;
    insn->reg = ((modrm >> 3) & 7) | ((d->rex & 4) << 1);
    insn->rm = rm | ((d->rex & 1) << 3);
    insn->memory = mod != 3;
    if (!insn->memory)
        return;
    if (insn->address_size == 2)
        decode_address16(d, mod, rm);
    else
        decode_address32(d, mod, rm);
    bool stack = insn->base == GPR_RBP || insn->base == GPR_RSP;
    insn->segment = d->segment_override >= 0 ? (uint8_t)d->segment_override
                    : stack                  ? SEG_SS
                                             : SEG_DS;
    /* In 64-bit mode only FS and GS overrides mean anything. */
    if (d->code == CODE64 && insn->segment < SEG_FS)
        insn->segment = stack ? SEG_SS : SEG_DS;
}

static bool finish(struct decoder *d, enum insn_kind kind)
{
    d->insn->kind = kind;
    d->insn->length = (uint8_t)d->position;
    return kind != INSN_OTHER;
}

static bool finish_vmx(struct decoder *d, enum exit_reason reason)
{
    d->insn->vmx_reason = reason;
    return finish(d, INSN_VMX);
}

/* 0F 00: SLDT, STR, LLDT, LTR, VERR, VERW. */
static bool decode_group6(struct decoder *d)
{
    static const uint8_t table[4] = {INSN_SLDT, INSN_STR, INSN_LLDT, INSN_LTR};
    decode_modrm(d);
    unsigned op = d->insn->reg & 7;
    if (op > 3)
        return finish(d, INSN_OTHER);
    d->insn->table = table[op];
    return finish(d, INSN_DESCRIPTOR_TABLE);
}

/* 0F 01 with a register operand: the whole ModRM byte is the opcode. */
static bool decode_group7_register(struct decoder *d, uint8_t modrm)
{
    switch (modrm) {
    case 0xc1: return finish_vmx(d, EXIT_VMCALL);
    case 0xc2: return finish_vmx(d, EXIT_VMLAUNCH);
    case 0xc3: return finish_vmx(d, EXIT_VMRESUME);
    case 0xc4: return finish_vmx(d, EXIT_VMXOFF);
    case 0xc8: return finish(d, INSN_MONITOR);
    case 0xc9: return finish(d, INSN_MWAIT);
    case 0xd1: return finish(d, INSN_XSETBV);
    case 0xd4: return finish_vmx(d, EXIT_VMFUNC);
    case 0xf9: return finish(d, INSN_RDTSCP);
    }
    switch (d->insn->reg & 7) {
    case 4: return finish(d, INSN_SMSW);
    case 6: return finish(d, INSN_LMSW);
    }
    return finish(d, INSN_OTHER);
}

static bool decode_group7(struct decoder *d)
{
    static const uint8_t table[4] = {INSN_SGDT, INSN_SIDT, INSN_LGDT, INSN_LIDT};
    decode_modrm(d);
    struct insn *insn = d->insn;
    if (!insn->memory)
        return decode_group7_register(
            d, (uint8_t)(0xc0 | (insn->reg & 7) << 3 | (insn->rm & 7)));
    switch (insn->reg & 7) {
    case 0: case 1: case 2: case 3:
        insn->table = table[insn->reg & 7];
        return finish(d, INSN_DESCRIPTOR_TABLE);
    case 4: return finish(d, INSN_SMSW);
    case 6: return finish(d, INSN_LMSW);
    case 7: return finish(d, INSN_INVLPG);
    }
    return finish(d, INSN_OTHER);
}

/* 0F C7: VMPTRLD and its neighbours; RDRAND, RDSEED, RDPID. (CMPXCHG8B, XSAVES are not ours.) */
static bool decode_group9(struct decoder *d)
{
    decode_modrm(d);
    struct insn *insn = d->insn;
    unsigned op = insn->reg & 7;
    if (op < 6)
        return finish(d, INSN_OTHER);
    if (!insn->memory) {
        if (insn->rep == 0xf3)
            return finish(d, op == 7 ? INSN_RDPID : INSN_OTHER);
        if (insn->rep == 0)
            return finish(d, op == 6 ? INSN_RDRAND : INSN_RDSEED);
        return finish(d, INSN_OTHER);
    }
    if (op == 7)
        return finish_vmx(d, EXIT_VMPTRST);
    if (insn->rep == 0xf3)
        return finish_vmx(d, EXIT_VMXON);
    return finish_vmx(d, d->operand_override ? EXIT_VMCLEAR : EXIT_VMPTRLD);
}

/* MOV to and from control and debug registers: ModRM.mod is ignored. */
static bool decode_mov_special(struct decoder *d, enum insn_kind kind)
{
    uint8_t modrm = next_byte(d);
    d->insn->reg = ((modrm >> 3) & 7) | ((d->rex & 4) << 1);
    d->insn->rm = (modrm & 7) | ((d->rex & 1) << 3);
    return finish(d, kind);
}

static bool decode_0f38(struct decoder *d)
{
    uint8_t opcode = next_byte(d);
    if ((opcode == 0xf0 || opcode == 0xf1) && d->insn->rep != 0xf2) { /* MOVBE; F2: CRC32 */
        decode_modrm(d);
        return finish(d, d->insn->memory ? INSN_OTHER : INSN_UNDEFINED);
    }
    if (!d->operand_override || opcode < 0x80 || opcode > 0x82)
        return finish(d, INSN_OTHER);
    decode_modrm(d);
    if (!d->insn->memory)
        return finish(d, INSN_OTHER);
    if (opcode == 0x82)
        return finish(d, INSN_INVPCID);
    return finish_vmx(d, opcode == 0x80 ? EXIT_INVEPT : EXIT_INVVPID);
}

static bool decode_0f(struct decoder *d)
{
    uint8_t opcode = next_byte(d);
    switch (opcode) {
    case 0x00: return decode_group6(d);
    case 0x01: return decode_group7(d);
    case 0x05: return finish(d, INSN_SYSCALL);
    case 0x06: return finish(d, INSN_CLTS);
    case 0x07: return finish(d, INSN_SYSRET);
    case 0x08: return finish(d, INSN_INVD);
    case 0x09: return finish(d, INSN_WBINVD);
    case 0x20: return decode_mov_special(d, INSN_MOV_FROM_CR);
    case 0x21: return decode_mov_special(d, INSN_MOV_FROM_DR);
    case 0x22: return decode_mov_special(d, INSN_MOV_TO_CR);
    case 0x23: return decode_mov_special(d, INSN_MOV_TO_DR);
    case 0x30: return finish(d, INSN_WRMSR);
    case 0x31: return finish(d, INSN_RDTSC);
    case 0x32: return finish(d, INSN_RDMSR);
    case 0x33: return finish(d, INSN_RDPMC);
    case 0x34: return finish(d, INSN_SYSENTER);
    case 0x35: return finish(d, INSN_SYSEXIT);
    case 0x37: return finish_vmx(d, EXIT_GETSEC);
    case 0x38: return decode_0f38(d);
    case 0x78: case 0x79:
        if (d->operand_override || d->insn->rep) /* EXTRQ, INSERTQ: not Intel's */
            return finish(d, INSN_OTHER);
        decode_modrm(d);
        return finish_vmx(d, opcode == 0x79 ? EXIT_VMWRITE : EXIT_VMREAD);
    case 0xa2: return finish(d, INSN_CPUID);
    case 0xc7: return decode_group9(d);
    }
    return finish(d, INSN_OTHER);
}

static bool decode_port(struct decoder *d, enum insn_kind kind, uint8_t opcode, bool immediate)
{
    struct insn *insn = d->insn;
    insn->port_size = !(opcode & 1) ? 1 : insn->operand_size == 2 ? 2 : 4;
    if (immediate) {
        insn->has_immediate = true;
        insn->immediate = next_byte(d);
    }
    insn->segment = kind == INSN_OUTS && d->segment_override >= 0 ? (uint8_t)d->segment_override
                    : kind == INSN_INS                            ? SEG_ES
                                                                  : SEG_DS;
    return finish(d, kind);
}

bool insn_decode(struct insn *insn, enum code_size code, insn_fetch *fetch, void *context)
{
    struct decoder d = {.fetch = fetch, .context = context, .code = code,
                        .segment_override = -1, .insn = insn};
    *insn = (struct insn){.base = -1, .index = -1};
    uint8_t opcode = decode_prefixes(&d);
    set_sizes(&d);
    switch (opcode) {
    case 0x0f: return decode_0f(&d);
    case 0x6c: case 0x6d: return decode_port(&d, INSN_INS, opcode, false);
    case 0x6e: case 0x6f: return decode_port(&d, INSN_OUTS, opcode, false);
    case 0x90:
        /* REX.B makes it XCHG R8, RAX even with F3. */
        return finish(&d, insn->rep == 0xf3 && !(d.rex & 1) ? INSN_PAUSE : INSN_OTHER);
    case 0xcf: return finish(&d, INSN_IRET);
    case 0xe4: case 0xe5: return decode_port(&d, INSN_IN, opcode, true);
    case 0xe6: case 0xe7: return decode_port(&d, INSN_OUT, opcode, true);
    case 0xec: case 0xed: return decode_port(&d, INSN_IN, opcode, false);
    case 0xee: case 0xef: return decode_port(&d, INSN_OUT, opcode, false);
    case 0xf1: return finish(&d, INSN_INT1);
    case 0xf4: return finish(&d, INSN_HLT);
    }
    return finish(&d, INSN_OTHER);
}

uint64_t insn_offset(const struct insn *insn, const struct cpu_state *state)
{
    uint64_t offset = (uint64_t)insn->displacement;
    if (insn->base >= 0)
        offset += state->gpr[insn->base];
    if (insn->index >= 0)
        offset += state->gpr[insn->index] << insn->scale;
    if (insn->rip_relative)
        offset += state->rip + insn->length;
    if (insn->address_size == 2)
        return offset & 0xffff;
    return insn->address_size == 4 ? (uint32_t)offset : offset;
}

uint64_t insn_linear(const struct insn *insn, const struct cpu_state *state)
{
    bool code64 = (state->efer & EFER_LMA) && (state->seg[SEG_CS].access_rights & AR_L);
    uint64_t offset = insn_offset(insn, state);
    if (code64)
        return insn->segment >= SEG_FS ? offset + state->seg[insn->segment].base : offset;
    return (uint32_t)(offset + state->seg[insn->segment].base);
}

uint32_t insn_exit_information(const struct insn *insn)
{
    uint32_t info = 0;
    if (insn->kind == INSN_RDRAND || insn->kind == INSN_RDSEED)
        return (uint32_t)insn->rm << 3 |
               (uint32_t)(insn->operand_size == 2 ? 0 : insn->operand_size == 4 ? 1 : 2) << 11;

    bool table = insn->kind == INSN_DESCRIPTOR_TABLE;
    bool gdt_idt = table && insn->table <= INSN_LIDT;
    info |= (uint32_t)(insn->address_size >> 2) << 7; /* 2, 4, 8 -> 0, 1, 2 */
    if (insn->memory) {
        info |= insn->scale;
        info |= (uint32_t)insn->segment << 15;
        info |= insn->index >= 0 ? (uint32_t)insn->index << 18 : 1u << 22;
        info |= insn->base >= 0 ? (uint32_t)insn->base << 23 : 1u << 27;
    } else {
        info |= (uint32_t)insn->rm << 3 | 1u << 10;
    }
    if (gdt_idt)
        info |= (uint32_t)(insn->operand_size != 2) << 11 | (uint32_t)insn->table << 28;
    else if (table)
        info |= (uint32_t)(insn->table - INSN_SLDT) << 28;
    else
        info |= (uint32_t)insn->reg << 28;
    return info;
}
