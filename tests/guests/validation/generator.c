/* See generator.h. An instruction's row below makes its bytes and tells what becomes of flags. */
#include "generator.h"

#include "harness.h"

#define CF  0x001
#define PF  0x004
#define AF  0x010
#define ZF  0x040
#define SF  0x080
#define OF  0x800
#define ALL (CF | PF | AF | ZF | SF | OF)

static struct sequence *out;
static enum sequence_mode mode;
static uint64_t state;
static unsigned defined; /* flags after what has been made */
static bool with_sse;

/* ---- random numbers (splitmix64) ---- */

static uint64_t random64(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static unsigned below(unsigned limit)
{
    return (unsigned)((random64() >> 32) * limit >> 32);
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

/* Small ones, signs' edges, anything. */
static uint64_t random_value(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     ~0ull};

    switch (below(4)) {
    case 0:
        return edges[below(sizeof(edges) / sizeof(*edges))];
    case 1:
        return below(256);
    default:
        return random64();
    }
}

/* ---- bytes ---- */

static void byte(unsigned value)
{
    out->code[out->size++] = (uint8_t)value;
}

static void bytes(uint64_t value, unsigned count)
{
    for (; count; count--, value >>= 8)
        byte((unsigned)value & 0xff);
}

static bool is_long(void)
{
    return mode == SEQUENCE_USER || mode == SEQUENCE_KERNEL;
}

/* An instruction starts here. */
static void begin(void)
{
    out->starts[out->instructions] = (uint16_t)out->size;
    out->defined[out->instructions] = (uint16_t)defined;
    out->instructions++;
}

/* Operand sizes in bytes. The default operand size needs no prefix. */
static unsigned random_size(void)
{
    static const uint8_t sizes[] = {1, 2, 4, 4, 8, 8};

    return sizes[below(is_long() ? 6 : 4)];
}

static unsigned random_wide_size(void)
{
    unsigned size = random_size();

    return size == 1 ? 4 : size;
}

static void operand_size_prefix(unsigned size)
{
    if (mode == SEQUENCE_COMPAT16 ? size == 4 : size == 2)
        byte(0x66);
}

/* REX where it is possible and needed: W, R (register), X (index), B (base or rm). */
static void rex(unsigned size, unsigned reg, unsigned index, unsigned base, bool byte_registers)
{
    unsigned prefix = 0x40 | (size == 8 ? 8u : 0) | (reg > 7 ? 4u : 0) | (index > 7 ? 2u : 0) |
                      (base > 7 ? 1u : 0);

    if (is_long() && (prefix != 0x40 || byte_registers))
        byte(prefix);
}

/* Any but RSP, which stays the stack's. */
static unsigned random_register(void)
{
    unsigned reg;

    do
        reg = below(is_long() ? 16 : 8);
    while (reg == RSP);
    return reg;
}

/* MOV reg, value: 32 bits of it, or 64. */
static void load_register(unsigned reg, uint64_t value)
{
    bool wide = is_long() && value > 0xffffffff;

    begin();
    operand_size_prefix(4);
    rex(wide ? 8 : 4, 0, 0, reg, false);
    byte(0xb8 + (reg & 7));
    bytes(value, wide ? 8 : 4);
}

/* ---- memory ---- */

/* Where an operand may lie, most often where nothing happens. */
static uint64_t random_address(unsigned size)
{
    switch (below(24)) {
    case 0:
        return PAGE_READ_ONLY + below(WINDOW - 16);
    case 1:
        return PAGE_SUPERVISOR + below(WINDOW - 16);
    case 2:
        return PAGE_NX + below(WINDOW - 16);
    case 3:
        return PAGE_ABSENT + below(0x1000 - 16);
    case 4:
        return PAGE_ABSENT - 1 - below(size); /* the second page is absent */
    case 5:
        return is_long() ? 0x800000000000 + random64() % 0xffff000000000000 : PAGE_ABSENT;
    case 6:
        return is_long() ? 0x7fffffffffff - below(size) : PAGE_ABSENT + 8;
    case 7:
    case 8:
        return DATA_MIDDLE - below(size + 1); /* on both pages */
    default:
        return DATA_MIDDLE - WINDOW + 64 + below(2 * WINDOW - 128);
    }
}

struct operand {
    bool memory;
    unsigned reg; /* or base */
    bool indexed;
    unsigned index, scale;
    int displacement;
};

/* A memory operand, and the instructions that load its registers. `address_of` 0: a random one. */
static struct operand memory_operand_at(uint64_t address)
{
    struct operand operand = {.memory = true};
    uint64_t index = 0;

    operand.reg = random_register();
    if (one_in(3)) {
        operand.indexed = true;
        do
            operand.index = random_register();
        while (operand.index == operand.reg);
        operand.scale = below(4);
        index = below(64);
        load_register(operand.index, index);
    }
    operand.displacement = one_in(2) ? 0 : (int)below(256) - 128;
    if (one_in(4))
        operand.displacement *= 1000;
    address -= (index << operand.scale) + (uint64_t)(int64_t)operand.displacement;
    load_register(operand.reg, is_long() ? address : (uint32_t)address);
    return operand;
}

static struct operand memory_operand(unsigned size)
{
    return memory_operand_at(random_address(size));
}

static struct operand register_operand(void)
{
    return (struct operand){.reg = random_register()};
}

static struct operand any_operand(unsigned size)
{
    return one_in(2) ? memory_operand(size) : register_operand();
}

/* ModRM, SIB and displacement. */
static void modrm(unsigned reg, const struct operand *operand)
{
    unsigned mod, base = operand->reg & 7;

    if (!operand->memory) {
        byte(0xc0 | (reg & 7) << 3 | base);
        return;
    }
    mod = operand->displacement >= -128 && operand->displacement < 128 ? 1 : 2;
    if (operand->displacement == 0 && base != RBP && one_in(2))
        mod = 0;
    if (operand->indexed || base == RSP) {
        byte(mod << 6 | (reg & 7) << 3 | 4);
        byte(operand->scale << 6 | (operand->indexed ? operand->index & 7 : 4) << 3 | base);
    } else {
        byte(mod << 6 | (reg & 7) << 3 | base);
    }
    bytes((uint64_t)(int64_t)operand->displacement, mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/* Prefixes, opcode (1 to 3 bytes, first one highest) and ModRM. Addresses have 32 bits in 16-bit
 * code, too. */
static void instruction(unsigned mandatory, unsigned size, unsigned opcode, unsigned reg,
                        const struct operand *operand)
{
    if (mode == SEQUENCE_COMPAT16 && operand->memory)
        byte(0x67);
    operand_size_prefix(size);
    if (mandatory)
        byte(mandatory);
    rex(size, reg, operand->indexed ? operand->index : 0, operand->reg, size == 1);
    if (opcode > 0xffff)
        byte(opcode >> 16);
    if (opcode > 0xff)
        byte(opcode >> 8 & 0xff);
    byte(opcode & 0xff);
    modrm(reg, operand);
}

static void flags(unsigned now_defined, unsigned now_undefined)
{
    defined = (defined | now_defined) & ~now_undefined;
}

/* An instruction that reads flags follows: they must be defined. TEST-like code does that. */
static void define_flags(unsigned needed)
{
    struct operand operand;

    if ((defined & needed) == needed)
        return;
    begin();
    operand = register_operand();
    instruction(0, 4, 0x39, random_register(), &operand); /* CMP */
    flags(ALL, 0);
}

/* ---- the instructions ---- */

static unsigned opcode_of(unsigned opcode, unsigned size)
{
    return opcode + (size > 1);
}

static void immediate(unsigned size)
{
    bytes(random_value(), size == 8 ? 4 : size);
}

/* A register that byte instructions can name alike with and without REX: in 32-bit code 4 to 7 are
 * AH to BH, which is fine, too - AH.. of registers that are no pointers any more. */
static unsigned any_register(void)
{
    return random_register();
}

static void lock_prefix(const struct operand *operand)
{
    if (operand->memory ? one_in(4) : one_in(60))
        byte(0xf0);
}

static void make_alu(void)
{
    unsigned kind = below(8), size = random_size();
    bool carry = kind == 2 || kind == 3, logic = kind == 1 || kind == 4 || kind == 6;
    struct operand operand = any_operand(size);

    if (carry)
        define_flags(CF);
    begin();
    switch (below(4)) {
    case 0:
        if (kind != 7)
            lock_prefix(&operand);
        instruction(0, size, opcode_of(kind << 3, size), any_register(), &operand);
        break;
    case 1:
        instruction(0, size, opcode_of(kind << 3 | 2, size), any_register(), &operand);
        break;
    case 2:
        instruction(0, size, opcode_of(0x80, size), kind, &operand);
        immediate(size);
        break;
    default:
        size = size == 1 ? 4 : size;
        instruction(0, size, 0x83, kind, &operand);
        bytes(random_value(), 1);
    }
    flags(ALL, logic ? AF : 0);
}

static void make_accumulator(void)
{
    unsigned kind = below(9), size = random_size();

    if (kind == 2 || kind == 3)
        define_flags(CF);
    begin();
    operand_size_prefix(size);
    rex(size, 0, 0, 0, false);
    byte(opcode_of(kind == 8 ? 0xa8 : kind << 3 | 4, size));
    immediate(size);
    flags(ALL, kind == 1 || kind == 4 || kind == 6 || kind == 8 ? AF : 0);
}

static void make_test(void)
{
    unsigned size = random_size();
    struct operand operand = any_operand(size);

    begin();
    if (one_in(2)) {
        instruction(0, size, opcode_of(0x84, size), any_register(), &operand);
    } else {
        instruction(0, size, opcode_of(0xf6, size), 0, &operand);
        immediate(size);
    }
    flags(ALL, AF);
}

static void make_unary(void)
{
    unsigned kind = below(4), size = random_size();
    struct operand operand = any_operand(size);

    begin();
    lock_prefix(&operand);
    instruction(0, size, opcode_of(kind < 2 ? 0xfe : 0xf6, size), kind, &operand);
    if (kind == 3)
        flags(ALL, 0);
    else if (kind < 2)
        flags(ALL & ~CF, 0);
}

static void make_multiply(void)
{
    unsigned size = random_size();
    struct operand operand = any_operand(size);

    begin();
    switch (below(4)) {
    case 0:
        size = size == 1 ? 4 : size;
        instruction(0, size, 0x0faf, any_register(), &operand);
        break;
    case 1:
        size = size == 1 ? 4 : size;
        instruction(0, size, 0x69, any_register(), &operand);
        immediate(size);
        break;
    case 2:
        size = size == 1 ? 4 : size;
        instruction(0, size, 0x6b, any_register(), &operand);
        bytes(random_value(), 1);
        break;
    default:
        instruction(0, size, opcode_of(0xf6, size), 4 + below(2), &operand);
    }
    flags(CF | OF, SF | ZF | AF | PF);
}

/* Often with a dividend that does not overflow. */
static void make_divide(void)
{
    unsigned size = random_size();
    struct operand operand = any_operand(size);

    if (!one_in(3) && !(operand.memory && (operand.reg == RDX || operand.reg == RAX)) &&
        !(operand.indexed && (operand.index == RDX || operand.index == RAX)))
        load_register(size == 1 ? RAX : RDX, below(3));
    begin();
    instruction(0, size, opcode_of(0xf6, size), 6 + below(2), &operand);
    flags(0, ALL);
}

/* Rotates and shifts: SDM "RCL/RCR/ROL/ROR", "SAL/SAR/SHL/SHR". */
static void make_shift(void)
{
    static const uint8_t kinds[] = {0, 1, 2, 3, 4, 5, 7};
    unsigned kind = kinds[below(sizeof(kinds))], size = random_size(), way = below(3), count;
    unsigned bits = size * 8;
    struct operand operand = any_operand(size);

    if (kind == 2 || kind == 3)
        define_flags(CF);
    if (way == 2 && one_in(2) && operand.reg != RCX && !(operand.indexed && operand.index == RCX))
        load_register(RCX, below(80));
    begin();
    instruction(0, size, opcode_of(way == 0 ? 0xd0 : way == 1 ? 0xc0 : 0xd2, size), kind, &operand);
    count = 1;
    if (way == 1) {
        count = below(256);
        byte(count);
        count &= size == 8 ? 63 : 31;
    }
    if (way == 2) {
        /* Unknown: what it may leave as it is stays as defined as it was. */
        flags(0, OF | (kind >= 4 ? AF : 0) | (kind >= 4 && kind != 7 && bits < 32 ? CF : 0));
        return;
    }
    if (count == 0)
        return;
    if (kind < 4)
        flags(CF | (count == 1 ? OF : 0), count == 1 ? 0 : OF);
    else
        flags(ALL, AF | (count == 1 ? 0 : OF) | (kind != 7 && count >= bits ? CF : 0));
}

static void make_double_shift(void)
{
    unsigned size = random_wide_size(), count;
    struct operand operand = any_operand(size);
    bool right = one_in(2);

    if (one_in(2) && size != 2) {
        begin();
        instruction(0, size, right ? 0x0fad : 0x0fa5, any_register(), &operand);
        flags(0, OF | AF);
        return;
    }
    count = 1 + below(size == 2 ? 15 : size * 8 - 1);
    begin();
    instruction(0, size, right ? 0x0fac : 0x0fa4, any_register(), &operand);
    byte(count);
    flags(ALL, AF | (count == 1 ? 0 : OF));
}

static void make_bit_test(void)
{
    unsigned kind = below(4), size = random_wide_size(), offset;
    struct operand operand = any_operand(size);

    if (one_in(2)) {
        begin();
        if (kind)
            lock_prefix(&operand);
        instruction(0, size, 0x0fba, 4 + kind, &operand);
        bytes(random_value(), 1);
    } else {
        do
            offset = random_register();
        while (operand.memory &&
               (offset == operand.reg || (operand.indexed && offset == operand.index)));
        load_register(offset, below(256)); /* bits: within reach */
        begin();
        if (kind)
            lock_prefix(&operand);
        instruction(0, size, 0x0fa3 | kind << 3, offset, &operand);
    }
    flags(CF, OF | SF | AF | PF);
}

static void make_bit_scan(void)
{
    unsigned size = random_wide_size();
    struct operand operand = register_operand();

    begin(); /* not 0, or the result is undefined: OR reg, imm8 */
    instruction(0, size, 0x83, 1, &operand);
    byte(1 + below(127));
    flags(ALL, AF);
    begin();
    instruction(0, size, one_in(2) ? 0x0fbc : 0x0fbd, any_register(), &operand);
    flags(ZF, CF | OF | SF | AF | PF);
}

static void make_move(void)
{
    unsigned size = random_size(), way = below(6);
    struct operand operand = any_operand(size);

    begin();
    switch (way) {
    case 0:
        instruction(0, size, opcode_of(0x88, size), any_register(), &operand);
        break;
    case 1:
        instruction(0, size, opcode_of(0x8a, size), any_register(), &operand);
        break;
    case 2:
        instruction(0, size, opcode_of(0xc6, size), 0, &operand);
        immediate(size);
        break;
    case 3: /* MOVZX, MOVSX */
        size = size == 1 ? 4 : size;
        instruction(0, size, (one_in(2) ? 0x0fb6u : 0x0fbeu) + below(2), any_register(), &operand);
        break;
    case 4: /* MOVSXD; in 32-bit code ARPL, which changes ZF */
        if (is_long()) {
            instruction(0, 8, 0x63, any_register(), &operand);
        } else {
            instruction(0, 4, 0x63, any_register(), &operand);
            flags(ZF, 0);
        }
        break;
    default: /* LEA */
        size = size == 1 ? 4 : size;
        if (!operand.memory) {
            out->instructions--;
            operand = memory_operand(8);
            begin();
        }
        instruction(0, size, 0x8d, any_register(), &operand);
    }
}

static void make_exchange(void)
{
    unsigned size = random_size();
    struct operand operand = any_operand(size);

    begin();
    switch (below(4)) {
    case 0:
        lock_prefix(&operand);
        instruction(0, size, opcode_of(0x86, size), any_register(), &operand);
        return;
    case 1:
        lock_prefix(&operand);
        instruction(0, size, opcode_of(0x0fc0, size), any_register(), &operand);
        flags(ALL, 0);
        return;
    case 2:
        lock_prefix(&operand);
        instruction(0, size, opcode_of(0x0fb0, size), any_register(), &operand);
        flags(ALL, 0);
        return;
    default:
        if (operand.memory) {
            lock_prefix(&operand);
            instruction(0, 4, 0x0fc7, 1, &operand); /* CMPXCHG8B */
            flags(ZF, 0);
        } else {
            size = is_long() && one_in(2) ? 8 : 4;
            operand_size_prefix(size);
            rex(size, 0, 0, operand.reg, false);
            byte(0x0f);
            byte(0xc8 + (operand.reg & 7)); /* BSWAP */
        }
    }
}

/* The flags that a condition reads (tttn without its lowest bit). */
static const uint16_t condition_flags[] = {OF, CF, ZF, CF | ZF, SF, PF, SF | OF, ZF | SF | OF};

static void make_condition(void)
{
    unsigned condition = below(16), size = random_wide_size();
    struct operand operand = any_operand(size);

    define_flags(condition_flags[condition / 2]);
    begin();
    switch (below(3)) {
    case 0:
        instruction(0, size, 0x0f40 + condition, any_register(), &operand);
        break;
    case 1:
        instruction(0, 1, 0x0f90 + condition, below(8), &operand);
        break;
    default: /* over a MOV reg, imm32 */
        byte(0x70 + condition);
        byte(mode == SEQUENCE_COMPAT16 ? 6 : 5);
        begin();
        operand_size_prefix(4);
        byte(0xb8 + RDX);
        bytes(random_value(), 4);
    }
}

static void make_flags(void)
{
    static const struct {
        uint8_t code;
        uint16_t needs, defines;
    } rows[] = {
        {0xf5, CF, CF},                    /* CMC */
        {0xf8, 0, CF},                     /* CLC */
        {0xf9, 0, CF},                     /* STC */
        {0x9f, SF | ZF | AF | PF | CF, 0}, /* LAHF */
        {0x9e, 0, SF | ZF | AF | PF | CF}, /* SAHF */
    };
    unsigned row = below(sizeof(rows) / sizeof(*rows));

    define_flags(rows[row].needs);
    begin();
    byte(rows[row].code);
    flags(rows[row].defines, 0);
}

/* CBW, CWD and their kin, XLAT, decimal adjustment in 32-bit code, LOOP and JRCXZ to the next. */
static void make_single(void)
{
    unsigned size = random_wide_size();

    switch (below(4)) {
    case 0:
        begin();
        operand_size_prefix(size);
        rex(size, 0, 0, 0, false);
        byte(0x98 + below(2));
        return;
    case 1:
        load_register(RBX, DATA_MIDDLE - 0x80);
        begin();
        if (mode == SEQUENCE_COMPAT16)
            byte(0x67);
        byte(0xd7);
        return;
    case 2:
        begin();
        byte(one_in(2) ? 0xe2 : 0xe3);
        byte(0);
        return;
    default:
        if (is_long()) {
            load_register(RAX, random_value());
            return;
        }
        switch (below(3)) {
        case 0: /* DAA, DAS */
            define_flags(CF | AF);
            begin();
            byte(one_in(2) ? 0x27 : 0x2f);
            flags(ALL, OF);
            return;
        case 1: /* AAA, AAS */
            define_flags(AF);
            begin();
            byte(one_in(2) ? 0x37 : 0x3f);
            flags(AF | CF, OF | SF | ZF | PF);
            return;
        default: /* AAM, with #DE for 0; AAD */
            begin();
            byte(one_in(2) ? 0xd4 : 0xd5);
            bytes(one_in(6) ? 0 : random_value(), 1);
            flags(SF | ZF | PF, OF | AF | CF);
        }
    }
}

/* In 16-bit code the stack has 32 bits, too: SS is as flat as everywhere. */
static void make_stack(void)
{
    unsigned reg = random_register();
    struct operand operand;

    switch (below(7)) {
    case 0:
        begin();
        rex(4, 0, 0, reg, false);
        byte(0x50 + (reg & 7));
        return;
    case 1:
        begin();
        rex(4, 0, 0, reg, false);
        byte(0x58 + (reg & 7));
        return;
    case 2:
        begin();
        byte(0x6a);
        bytes(random_value(), 1);
        return;
    case 3:
        operand = any_operand(8);
        begin();
        if (one_in(2))
            instruction(0, mode == SEQUENCE_COMPAT16 ? 2 : 4, 0xff, 6, &operand); /* PUSH */
        else
            instruction(0, mode == SEQUENCE_COMPAT16 ? 2 : 4, 0x8f, 0, &operand); /* POP */
        return;
    case 4:
        define_flags(ALL);
        begin();
        byte(0x9c); /* PUSHF */
        begin();
        byte(0x58 + RDX);
        begin(); /* AND EDX, ~IF: some environments show it in ring 3 */
        operand_size_prefix(4);
        bytes(0xe281, 2);
        bytes(0xfffffdff, 4);
        flags(ALL, AF);
        begin();
        byte(0x50 + RDX);
        begin();
        byte(0x58 + RDX);
        return;
    case 5: /* CALL the next, POP */
        begin();
        byte(0xe8);
        bytes(0, mode == SEQUENCE_COMPAT16 ? 2 : 4);
        begin();
        byte(0x58 + RDX);
        return;
    default: /* ENTER, LEAVE */
        begin();
        byte(0xc8);
        bytes(below(64), 2);
        byte(0);
        begin();
        byte(0xc9);
    }
}

static void make_string(void)
{
    static const uint8_t opcodes[] = {0xa4, 0xaa, 0xac, 0xa6, 0xae}; /* MOVS STOS LODS CMPS SCAS */
    unsigned kind = below(5), size = random_size(), prefix = below(3);
    bool compares = kind >= 3, backwards = one_in(4);

    load_register(RSI, random_address(size));
    load_register(RDI, random_address(size));
    if (prefix || one_in(2))
        load_register(RCX, below(24));
    if (backwards) {
        begin();
        byte(0xfd);
    }
    begin();
    if (mode == SEQUENCE_COMPAT16)
        byte(0x67);
    operand_size_prefix(size);
    if (prefix)
        byte(prefix == 1 ? 0xf3 : 0xf2);
    rex(size, 0, 0, 0, false);
    byte(opcode_of(opcodes[kind], size));
    if (compares && !prefix)
        flags(ALL, 0);
    /* With a count of 0 flags stay: as defined as they were. */
    if (backwards) {
        begin();
        byte(0xfc);
    }
}

/* What ring 3 may not do, what nobody may do, and what ends a sequence in other ways. */
static void make_forbidden(void)
{
    static const struct {
        uint8_t size, code[16];
        bool ring3; /* in ring 0 it would do something */
    } rows[] = {
        {2, {0x0f, 0x0b}, false},       /* UD2 */
        {3, {0x0f, 0xff, 0xc0}, false}, /* UD0 */
        {3, {0xf0, 0x89, 0xc0}, false}, /* LOCK MOV */
        {3, {0xf0, 0x90, 0x90}, false}, /* LOCK NOP */
        {2, {0xcd, 0x21}, true},        /* INT through a gate of ring 0 */
        {2, {0xcd, 0xf0}, true},        /* INT through a gate of ring 3 */
        {1, {0xcc}, true},              /* INT3 */
        {1, {0xf4}, true},              /* HLT */
        {1, {0xfa}, true},              /* CLI */
        {3, {0x0f, 0x20, 0xc0}, true},  /* MOV EAX, CR0 */
        {3, {0x0f, 0x22, 0xd8}, true},  /* MOV CR3, EAX */
        {3, {0x0f, 0x21, 0xc0}, true},  /* MOV EAX, DR0 */
        {2, {0x0f, 0x30}, true},        /* WRMSR */
        {2, {0x0f, 0x32}, true},        /* RDMSR */
        {2, {0x0f, 0x08}, true},        /* INVD */
        {2, {0x0f, 0x06}, true},        /* CLTS */
        {2, {0xe4, 0x80}, true},        /* IN */
        {2, {0xe6, 0x80}, true},        /* OUT */
        {15,
         {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90},
         false}, /* 15 bytes: allowed */
        {16,
         {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
          0x90},
         false}, /* 16 bytes */
    };
    unsigned row = below(sizeof(rows) / sizeof(*rows));

    if (rows[row].ring3 && mode == SEQUENCE_KERNEL)
        return;
    begin();
    for (unsigned i = 0; i < rows[row].size; i++)
        byte(rows[row].code[i]);
}

/* Branches to where no code may be. */
static void make_wild_jump(void)
{
    static const uint64_t targets[] = {PAGE_ABSENT, PAGE_NX, 0x8000000000000000, PAGE_RESERVED};
    unsigned reg = random_register();

    load_register(reg, targets[below(is_long() ? 4 : 2)]);
    begin();
    operand_size_prefix(mode == SEQUENCE_COMPAT16 ? 4 : 0);
    rex(4, 0, 0, reg, false);
    byte(0xff);
    byte((one_in(2) ? 0xe0 : 0xd0) | (reg & 7)); /* JMP, CALL */
}

/* SSE2 on whole registers: loads, integer arithmetic, stores. */
static void make_sse(void)
{
    static const uint8_t opcodes[] = {
        0xfc, 0xfd, 0xfe, 0xd4, 0xf8, 0xf9, 0xfa, 0xfb, 0xdb, 0xdf, 0xeb, 0xef, 0xd5, 0xe5, 0xe4,
        0xf4, 0xf5, 0xf6, 0x60, 0x61, 0x62, 0x6c, 0x68, 0x69, 0x6a, 0x6d, 0x63, 0x67, 0x6b, 0x74,
        0x75, 0x76, 0x64, 0x65, 0x66, 0xe0, 0xe3, 0xda, 0xde, 0xea, 0xee, 0xdc, 0xdd, 0xec, 0xed,
        0xd8, 0xd9, 0xe8, 0xe9, 0xd1, 0xd2, 0xd3, 0xe1, 0xe2, 0xf1, 0xf2, 0xf3};
    struct operand operand = memory_operand_at(DATA_MIDDLE - WINDOW + 64 + below(WINDOW)), other;
    unsigned a = below(8), b = below(8);

    begin();
    instruction(0xf3, 4, 0x0f6f, a, &operand); /* MOVDQU */
    other = memory_operand_at(DATA_MIDDLE - WINDOW + 64 + below(WINDOW));
    begin();
    instruction(0xf3, 4, 0x0f6f, b, &other);
    for (unsigned i = 0; i < 3; i++) {
        struct operand source = {.reg = b};

        begin();
        instruction(0x66, 4, 0x0f00 | opcodes[below(sizeof(opcodes))], a, &source);
    }
    if (one_in(4)) { /* aligned: most often #GP */
        operand = memory_operand(16);
        begin();
        instruction(0x66, 4, 0x0f7f, a, &operand);
    } else {
        operand = memory_operand(16);
        begin();
        instruction(0xf3, 4, 0x0f7f, a, &operand);
    }
}

static const struct {
    void (*make)(void);
    unsigned weight;
} makers[] = {
    {make_alu, 20},      {make_accumulator, 5}, {make_test, 5},      {make_unary, 8},
    {make_multiply, 10}, {make_divide, 5},      {make_shift, 14},    {make_double_shift, 5},
    {make_bit_test, 6},  {make_bit_scan, 4},    {make_move, 12},     {make_exchange, 8},
    {make_condition, 8}, {make_flags, 5},       {make_single, 6},    {make_stack, 8},
    {make_string, 8},    {make_forbidden, 1},   {make_wild_jump, 1},
};
#define MAKERS (sizeof(makers) / sizeof(*makers))

static void make_one(void)
{
    unsigned total = 0, choice;

    if (with_sse && one_in(3)) {
        make_sse();
        return;
    }
    for (unsigned i = 0; i < MAKERS; i++)
        total += makers[i].weight;
    choice = below(total);
    for (unsigned i = 0; i < MAKERS; i++) {
        if (choice < makers[i].weight) {
            makers[i].make();
            return;
        }
        choice -= makers[i].weight;
    }
}

void sequence_generate(struct sequence *sequence, enum sequence_mode of_mode, bool sse,
                       uint64_t seed, uint64_t number)
{
    unsigned rows;

    out = sequence;
    mode = of_mode;
    with_sse = sse;
    state = seed * 0xd1342543de82ef95 + number;
    random64();
    out->size = out->instructions = 0;
    defined = ALL; /* the harness starts with all of them 0 */
    rows = 3 + below(12);
    for (unsigned i = 0; i < rows && out->instructions < SEQUENCE_INSTRUCTIONS - 16; i++)
        make_one();
    out->starts[out->instructions] = (uint16_t)out->size;
    out->defined[out->instructions] = (uint16_t)defined;
}
