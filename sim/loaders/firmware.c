/*
 * The firmware's handlers and tables. Hardware interrupts are acknowledged, IRQ 0 counts time;
 * INT 11h and 12h answer from the BIOS data area. The services that a PC's firmware would have
 * beyond these report themselves as not supported (carry flag, AH = 86h).
 */
#include "sim/loaders/firmware.h"

#include <stddef.h>
#include <string.h>

#include "sim/loaders/internal.h"

#define CODE_SEGMENT 0xf000
#define CODE_OFFSET  0xf000 /* CODE_SEGMENT * 16 + CODE_OFFSET == FIRMWARE_CODE_START */
#define RESET_OFFSET 0xfff0

/* Handlers, each at its own offset from CODE_OFFSET. */
enum handler {
    HANDLER_IRET = 0x00,
    HANDLER_TIMER = 0x10,
    HANDLER_MASTER = 0x40,
    HANDLER_SLAVE = 0x50,
    HANDLER_EQUIPMENT = 0x60,
    HANDLER_MEMORY_SIZE = 0x70,
    HANDLER_UNSUPPORTED = 0x80,
    HANDLER_RESET = 0x90,
    HANDLERS_SIZE = 0xa0
};

// clang-format off
static const uint8_t code[HANDLERS_SIZE] = {
    [HANDLER_IRET] =
        0xcf,                                                 /* iret */
    [HANDLER_TIMER] =
        0x1e, 0x50,                                           /* push ds; push ax */
        0x31, 0xc0, 0x8e, 0xd8,                               /* xor ax, ax; mov ds, ax */
        0x66, 0xff, 0x06, 0x6c, 0x04,                         /* inc dword [0x46c] */
        0x66, 0x81, 0x3e, 0x6c, 0x04, 0xb0, 0x00, 0x18, 0x00, /* cmp dword [0x46c], a day */
        0x72, 0x0a,                                           /* jb the next but three */
        0xa3, 0x6c, 0x04, 0xa3, 0x6e, 0x04,                   /* mov [0x46c], ax; mov [0x46e], ax */
        0xfe, 0x06, 0x70, 0x04,                               /* inc byte [0x470] */
        0xcd, 0x1c,                                           /* int 0x1c: the user's timer */
        0xb0, 0x20, 0xe6, 0x20,                               /* mov al, 0x20; out 0x20, al */
        0x58, 0x1f, 0xcf,                                     /* pop ax; pop ds; iret */
    [HANDLER_MASTER] =
        0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf,             /* EOI to the master; iret */
    [HANDLER_SLAVE] =
        0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf, /* EOI to both; iret */
    [HANDLER_EQUIPMENT] =
        0x1e, 0x31, 0xc0, 0x8e, 0xd8,                         /* push ds; xor ax, ax; mov ds, ax */
        0xa1, 0x10, 0x04, 0x1f, 0xcf,                         /* mov ax, [0x410]; pop ds; iret */
    [HANDLER_MEMORY_SIZE] =
        0x1e, 0x31, 0xc0, 0x8e, 0xd8,                         /* push ds; xor ax, ax; mov ds, ax */
        0xa1, 0x13, 0x04, 0x1f, 0xcf,                         /* mov ax, [0x413]; pop ds; iret */
    [HANDLER_UNSUPPORTED] =
        0x55, 0x89, 0xe5,                                     /* push bp; mov bp, sp */
        0x80, 0x4e, 0x06, 0x01,                               /* or byte [bp+6], CF */
        0x5d, 0xb4, 0x86, 0xcf,                               /* pop bp; mov ah, 0x86; iret */
    [HANDLER_RESET] =
        0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee,                   /* mov dx, 0xcf9; mov al, 6; out */
        0xeb, 0xfe,                                           /* jmp to itself */
};

static const uint8_t reset_vector[16] = {
    0xea, HANDLER_RESET, CODE_OFFSET >> 8, 0x00, CODE_SEGMENT >> 8, /* jmp far HANDLER_RESET */
    '0', '1', '/', '0', '1', '/', '2', '5', 0,
    0xfc, 0,                                                        /* model: PC/AT */
};
// clang-format on

/* Vectors that are not HANDLER_IRET. */
static const struct vector_range {
    uint8_t first, last;
    uint8_t handler;
} vector_ranges[] = {
    {0x08, 0x08, HANDLER_TIMER},       {0x09, 0x0f, HANDLER_MASTER},
    {0x11, 0x11, HANDLER_EQUIPMENT},   {0x12, 0x12, HANDLER_MEMORY_SIZE},
    {0x13, 0x15, HANDLER_UNSUPPORTED}, {0x19, 0x19, HANDLER_RESET},
    {0x70, 0x77, HANDLER_SLAVE},
};

/* The BIOS data area by 16-bit words. */
static const struct data_word {
    uint16_t address, value;
} data_words[] = {
    {0x400, 0x3f8},                /* COM1 */
    {0x40e, LOW_MEMORY_END >> 4},  /* segment of the extended BIOS data area */
    {0x410, 0x0202},               /* equipment: FPU, one serial port */
    {0x413, LOW_MEMORY_END >> 10}, /* KiB of memory below it */
    {0x41a, 0x1e},                 /* keyboard buffer: head, tail; it is empty */
    {0x41c, 0x1e},  {0x480, 0x1e}, /* its start and end */
    {0x482, 0x3e},
};

static int write_vectors(const struct loader_target *target)
{
    uint16_t vectors[256][2];

    for (unsigned i = 0; i < 256; i++) {
        vectors[i][0] = CODE_OFFSET + HANDLER_IRET;
        vectors[i][1] = CODE_SEGMENT;
    }
    for (size_t i = 0; i < sizeof(vector_ranges) / sizeof(vector_ranges[0]); i++)
        for (unsigned v = vector_ranges[i].first; v <= vector_ranges[i].last; v++)
            vectors[v][0] = CODE_OFFSET + vector_ranges[i].handler;
    return target->write(target->context, 0, vectors, sizeof(vectors));
}

static int write_data_area(const struct loader_target *target)
{
    const uint8_t extended_kib = (FIRMWARE_START - LOW_MEMORY_END) >> 10;
    int error = target->write(target->context, LOW_MEMORY_END, &extended_kib, 1);

    for (size_t i = 0; i < sizeof(data_words) / sizeof(data_words[0]) && !error; i++)
        error = target->write(target->context, data_words[i].address, &data_words[i].value, 2);
    return error;
}

int firmware_install(const struct loader_target *target)
{
    int error = write_vectors(target);

    if (!error)
        error = write_data_area(target);
    if (!error)
        error = target->write(target->context, FIRMWARE_CODE_START, code, sizeof(code));
    if (!error)
        error = target->write(target->context, CODE_SEGMENT * 16ull + RESET_OFFSET, reset_vector,
                              sizeof(reset_vector));
    return error;
}
