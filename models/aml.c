/* AML opcodes, package lengths, and resource descriptors. */
#include "models/aml.h"

#include <assert.h>
#include <string.h>

enum aml_opcode {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_WORD = 0x0b,
    AML_DWORD = 0x0c,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_EXTENSION = 0x5b,
    AML_EXTENDED_DEVICE = 0x82,
};

enum resource_tag {
    RESOURCE_IRQ = 0x22,  /* small item 4, two bytes: edge-triggered, active high */
    RESOURCE_PORT = 0x47, /* small item 8, seven bytes */
    RESOURCE_END = 0x79,  /* small item 15, one byte: checksum */
    RESOURCE_DWORD_SPACE = 0x87,
    RESOURCE_WORD_SPACE = 0x88,
};

#define PORT_DECODE_16     0x01
#define SPACE_FIXED        0x0c /* minimum and maximum are fixed; positive decode; producer */
#define SPACE_MEMORY_FLAGS 0x01 /* read-write, not cacheable */
#define SPACE_IO_FLAGS     0x03 /* the whole range */

/* Lengths are written in the two-byte form: low nibble, then bits 4-11. */
#define LENGTH_SIZE      2
#define LENGTH_TWO_BYTES 0x40
#define LENGTH_MAX       0xfff

static void put(struct aml *aml, uint32_t value, unsigned size)
{
    assert(aml->size + size <= AML_SIZE_MAX);
    for (unsigned i = 0; i < size; i++)
        aml->data[aml->size++] = (uint8_t)(value >> i * 8);
}

static void put_name(struct aml *aml, const char *name)
{
    for (; *name == '\\'; name++)
        put(aml, '\\', 1);
    assert(strlen(name) == 4);
    for (unsigned i = 0; i < 4; i++)
        put(aml, (uint8_t)name[i], 1);
}

static void put_integer(struct aml *aml, uint8_t value)
{
    if (value <= 1) {
        put(aml, value ? AML_ONE : AML_ZERO, 1);
    } else {
        put(aml, AML_BYTE, 1);
        put(aml, value, 1);
    }
}

static void open_length(struct aml *aml)
{
    assert(aml->depth < AML_DEPTH_MAX);
    aml->open[aml->depth++] = aml->size;
    put(aml, 0, LENGTH_SIZE);
}

void aml_close(struct aml *aml)
{
    size_t start, length;

    assert(aml->depth);
    start = aml->open[--aml->depth];
    length = aml->size - start;
    assert(length <= LENGTH_MAX);
    aml->data[start] = (uint8_t)(LENGTH_TWO_BYTES | (length & 0x0f));
    aml->data[start + 1] = (uint8_t)(length >> 4);
}

void aml_open_scope(struct aml *aml, const char *path)
{
    put(aml, AML_SCOPE, 1);
    open_length(aml);
    put_name(aml, path);
}

void aml_open_device(struct aml *aml, const char *name)
{
    put(aml, AML_EXTENSION, 1);
    put(aml, AML_EXTENDED_DEVICE, 1);
    open_length(aml);
    put_name(aml, name);
}

void aml_name_integer(struct aml *aml, const char *name, uint8_t value)
{
    put(aml, AML_NAME, 1);
    put_name(aml, name);
    put_integer(aml, value);
}

static unsigned hex_digit(char digit)
{
    return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)(digit - 'A') + 10;
}

/* Three letters of five bits and four hexadecimal digits, the most significant byte first. */
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | (uint32_t)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | hex_digit(id[i]);
    put(aml, AML_NAME, 1);
    put_name(aml, name);
    put(aml, AML_DWORD, 1);
    put(aml, __builtin_bswap32(value), 4);
}

void aml_name_package(struct aml *aml, const char *name, const uint8_t *elements, uint8_t count)
{
    put(aml, AML_NAME, 1);
    put_name(aml, name);
    put(aml, AML_PACKAGE, 1);
    open_length(aml);
    put(aml, count, 1);
    for (unsigned i = 0; i < count; i++)
        put_integer(aml, elements[i]);
    aml_close(aml);
}

/* The buffer's size is a word right behind its length, filled in at the end. */
void aml_open_resources(struct aml *aml, const char *name)
{
    put(aml, AML_NAME, 1);
    put_name(aml, name);
    put(aml, AML_BUFFER, 1);
    open_length(aml);
    put(aml, AML_WORD, 1);
    put(aml, 0, 2);
}

void aml_close_resources(struct aml *aml)
{
    size_t content = aml->open[aml->depth - 1] + LENGTH_SIZE + 3;
    size_t size;

    put(aml, RESOURCE_END, 1);
    put(aml, 0, 1); /* no checksum */
    size = aml->size - content;
    aml->data[content - 2] = (uint8_t)size;
    aml->data[content - 1] = (uint8_t)(size >> 8);
    aml_close(aml);
}

void aml_resource_port(struct aml *aml, uint16_t first, uint8_t count)
{
    put(aml, RESOURCE_PORT, 1);
    put(aml, PORT_DECODE_16, 1);
    put(aml, first, 2); /* minimum */
    put(aml, first, 2); /* maximum */
    put(aml, 1, 1);     /* alignment */
    put(aml, count, 1);
}

void aml_resource_irq(struct aml *aml, unsigned line)
{
    put(aml, RESOURCE_IRQ, 1);
    put(aml, 1u << line, 2);
}

void aml_resource_window(struct aml *aml, enum aml_space space, uint32_t first, uint32_t last)
{
    unsigned width = space == AML_SPACE_MEMORY ? 4 : 2;

    put(aml, width == 4 ? RESOURCE_DWORD_SPACE : RESOURCE_WORD_SPACE, 1);
    put(aml, 3 + 5 * width, 2); /* length of what follows */
    put(aml, space, 1);
    put(aml, SPACE_FIXED, 1);
    put(aml,
        space == AML_SPACE_MEMORY ? SPACE_MEMORY_FLAGS
        : space == AML_SPACE_IO   ? SPACE_IO_FLAGS
                                  : 0,
        1);
    put(aml, 0, width); /* granularity */
    put(aml, first, width);
    put(aml, last, width);
    put(aml, 0, width); /* translation */
    put(aml, last - first + 1, width);
}
