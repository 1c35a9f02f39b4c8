/*
 * Code that changes: patched in place, ahead of itself, across a page boundary, and through another
 * address of the same memory. What runs must be what was written last.
 */
#include "torture.h"

#define CODE       0x30000000000ull /* four pages, readable, writable, executable */
#define ALIAS      0x38000000000ull /* the same frames */
#define FRAME      32
#define SPAN       (4 * 4096)
#define OPERATIONS 120

typedef uint64_t function(void);

/* MOV EAX, value; RET */
static void write_function(uint8_t *at, uint32_t value)
{
    at[0] = 0xb8;
    memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
}

static void call_expecting(uint64_t address, uint64_t value, const char *what)
{
    uint64_t got = ((function *)address)();

    expect(got == value, what);
    seen(got);
}

static void patch_here(uint64_t r)
{
    uint64_t offset = r % (SPAN - 16);
    uint32_t first = r >> 16, second = ~first;

    write_function((uint8_t *)CODE + offset, first);
    call_expecting(CODE + offset, first, "new code");
    memcpy((uint8_t *)CODE + offset + 1, &second, 4);
    call_expecting(CODE + offset, second, "patched code");
}

/* The same on a boundary, so that the instruction lies on two pages. */
static void patch_on_boundary(uint64_t r)
{
    uint64_t offset = (1 + r % 3) * 4096 - 1 - (r >> 8) % 5;

    write_function((uint8_t *)CODE + offset, r >> 16);
    call_expecting(CODE + offset, (uint32_t)(r >> 16), "code on two pages");
    ((volatile uint8_t *)CODE)[offset + 4] ^= 0x55; /* on the second page, or the first */
    call_expecting(CODE + offset, (uint32_t)(r >> 16) ^ 0x55000000, "its second page patched");
}

/* Written at one address, run at the other; the SDM asks for a serializing instruction between. */
static void patch_through_alias(uint64_t r)
{
    uint64_t offset = r % (SPAN - 16);

    write_function((uint8_t *)CODE + offset, r >> 8);
    call_expecting(CODE + offset, (uint32_t)(r >> 8), "code before");
    write_function((uint8_t *)ALIAS + offset, r >> 16);
    cpuid(0);
    call_expecting(CODE + offset, (uint32_t)(r >> 16), "code written through an alias");
    write_function(frames[FRAME] + offset, r >> 24);
    cpuid(0);
    call_expecting(CODE + offset, (uint32_t)(r >> 24), "code written at its own address");
    call_expecting(ALIAS + offset, (uint32_t)(r >> 24), "the same code at its alias");
}

/* Writes over the immediate operand of the instruction that follows directly. */
static void patch_ahead(uint64_t r)
{
    uint64_t offset = r % (SPAN - 32);
    uint8_t *at = (uint8_t *)CODE + offset;
    uint32_t value = r >> 20;
    static const uint8_t code[] = {
        0xc7, 0x05, 0x01, 0,    0,    0, 0, 0, 0, 0, /* MOV [RIP+1], value */
        0xb8, 0x11, 0x11, 0x11, 0x11,                /* MOV EAX, 11111111h */
        0xc3,
    };

    memcpy(at, code, sizeof(code));
    memcpy(at + 6, &value, 4);
    call_expecting(CODE + offset, value, "the next instruction patched");
    call_expecting(CODE + offset, value, "and run again");
}

/* A string store over what comes after it: NOPs in place of increments. */
static void overwrite_ahead(uint64_t r)
{
    uint64_t offset = r % (SPAN - 64), nops = 2 * ((r >> 32) % 10 + 1);
    uint8_t *at = (uint8_t *)CODE + offset;
    static const uint8_t head[] = {
        0x48, 0x8d, 0x3d, 0x0b, 0, 0, 0, /* LEA RDI, [RIP+11] */
        0xb9, 0,    0,    0,    0,       /* MOV ECX, nops */
        0xb0, 0x90,                      /* MOV AL, NOP */
        0xf3, 0xaa,                      /* REP STOSB */
        0x31, 0xc0,                      /* XOR EAX, EAX */
    };
    unsigned size = sizeof(head);

    memcpy(at, head, size);
    at[8] = nops;
    for (unsigned i = 0; i < 12; i++) { /* INC EAX */
        at[size++] = 0xff;
        at[size++] = 0xc0;
    }
    at[size] = 0xc3;
    uint64_t got;
    __asm__ volatile("call *%1" : "=a"(got) : "r"(CODE + offset) : "rcx", "rdi", "cc", "memory");
    expect(got == 12 - nops / 2, "instructions overwritten ahead");
    seen(got);
}

void torture_code(void)
{
    static void (*const operations[])(uint64_t) = {
        patch_here, patch_on_boundary, patch_through_alias, patch_ahead, overwrite_ahead};

    for (unsigned i = 0; i < 4; i++) {
        page_map(CODE + i * 4096, FRAME + i, PAGE_P | PAGE_W);
        page_map(ALIAS + i * 4096, FRAME + i, PAGE_P | PAGE_W);
    }
    for (unsigned i = 0; i < OPERATIONS; i++) {
        uint64_t r = random();
        operations[r % 5](r >> 3);
    }
}
