/*
 * Instructions that read memory in order to write it.
 *
 * Their read is one for ownership: a #PF that it raises says "write" (SDM "Page-Fault Exceptions",
 * W/R flag). The library reads and writes separately, and its read says "read".
 *
 * They are also the ones that LOCK may stand before, if the operand is memory; before anything else
 * it is #UD (SDM "LOCK"). The library accepts it before many instructions.
 */
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"

enum { PLAIN = 0, MODIFIES = 1, LOCKABLE = 2 | MODIFIES };

/* Opcodes whose ModRM names an operand: bit i of `modifying` is set where ModRM.reg i modifies it.
 */
struct group {
    uint8_t first, last;
    uint8_t modifying;
    uint8_t kind;
};

// clang-format off
static const struct group one_byte[] = {
    {0x80, 0x83, 0x7f, LOCKABLE}, /* ADD ... XOR; 7 is CMP */
    {0x86, 0x87, 0xff, LOCKABLE}, /* XCHG */
    {0xc0, 0xc1, 0xff, MODIFIES}, /* shifts and rotates */
    {0xd0, 0xd3, 0xff, MODIFIES},
    {0xf6, 0xf7, 0x0c, LOCKABLE}, /* NOT, NEG */
    {0xfe, 0xff, 0x03, LOCKABLE}, /* INC, DEC */
};
static const struct group two_bytes[] = {
    {0xa4, 0xa5, 0xff, MODIFIES}, /* SHLD */
    {0xab, 0xab, 0xff, LOCKABLE}, /* BTS */
    {0xac, 0xad, 0xff, MODIFIES}, /* SHRD */
    {0xb0, 0xb1, 0xff, LOCKABLE}, /* CMPXCHG */
    {0xb3, 0xb3, 0xff, LOCKABLE}, /* BTR */
    {0xba, 0xba, 0xe0, LOCKABLE}, /* BTS, BTR, BTC */
    {0xbb, 0xbb, 0xff, LOCKABLE}, /* BTC */
    {0xc0, 0xc1, 0xff, LOCKABLE}, /* XADD */
    {0xc7, 0xc7, 0x02, LOCKABLE}, /* CMPXCHG8B, CMPXCHG16B */
};
// clang-format on

/* ALU operations with memory first: 00h, 01h, 08h, 09h, ... 31h; 38h is CMP. */
static const struct group alu_store = {0x00, 0x37, 0xff, LOCKABLE};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* NULL for opcodes that never modify an operand of ModRM. */
static const struct group *find_group(bool escaped, uint8_t opcode)
{
    const struct group *groups = escaped ? two_bytes : one_byte;
    unsigned count = escaped ? COUNT(two_bytes) : COUNT(one_byte);
    if (!escaped && opcode <= alu_store.last)
        return (opcode & 6) == 0 ? &alu_store : NULL;
    for (unsigned i = 0; i < count; i++)
        if (opcode >= groups[i].first && opcode <= groups[i].last)
            return &groups[i];
    return NULL;
}

static bool is_prefix(uint8_t byte)
{
    return byte == 0xf0 || byte == 0xf2 || byte == 0xf3 || byte == 0x66 || byte == 0x67 ||
           byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 ||
           byte == 0x65;
}

typedef uint8_t read_byte(void *context, unsigned index);

/* What an instruction does with a memory operand. Reads up to its ModRM: `length` bytes. */
static unsigned look(read_byte *read, void *context, bool long_mode, bool *locked, unsigned *length)
{
    unsigned i = 0;
    uint8_t byte;
    *locked = false;
    for (; i < INSN_LENGTH_MAX - 3 && is_prefix(byte = read(context, i)); i++)
        *locked |= byte == 0xf0;
    if (long_mode && (read(context, i) & 0xf0) == 0x40) /* REX */
        i++;
    bool escaped = read(context, i) == 0x0f;
    i += escaped;
    const struct group *group = find_group(escaped, read(context, i++));
    *length = i;
    if (!group)
        return PLAIN;
    byte = read(context, i++);
    *length = i;
    return byte >> 6 != 3 && (group->modifying >> (byte >> 3 & 7) & 1) ? group->kind : PLAIN;
}

bool unicorn_lock_is_invalid(read_byte *read, void *context, bool long_mode, unsigned *length)
{
    bool locked;
    if (!is_prefix(read(context, 0)))
        return false;
    return look(read, context, long_mode, &locked, length) != LOCKABLE && locked;
}

static uint8_t read_fetched(void *context, unsigned index)
{
    return ((const uint8_t *)context)[index];
}

bool unicorn_reads_to_write(struct unicorn_engine *engine)
{
    uint8_t bytes[INSN_LENGTH_MAX] = {0};
    bool locked;
    unsigned length;
    return unicorn_fetch(engine, bytes) &&
           look(read_fetched, bytes, engine->env->hflags & HF_CS64, &locked, &length) != PLAIN;
}
