/*
 * What a debugger has to do with: functions to break at, variables to watch, registers with known
 * contents, and a breakpoint register of the guest's own. Built with symbols.
 */
#include <stdint.h>

#include "x86.h"

#define ROUNDS 200

struct gate {
    uint16_t offset0, selector, type, offset1;
    uint32_t offset2, unused;
};

struct table {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

volatile uint64_t round, value, total, debug_hits;
volatile uint8_t bytes[32] __attribute__((aligned(16)));
volatile uint64_t copies[16], sources[16];
static struct gate gates[256];

void debug_handler(void);
__asm__("debug_handler:\n"
        "incq debug_hits\n"
        "orl $0x10000, 16(%rsp)\n" /* RF: over the breakpoint */
        "iretq\n");

__attribute__((noinline)) void write_value(uint64_t n)
{
    value = n * n;
}

__attribute__((noinline)) void guarded(void)
{
    total += 1;
}

/* A store of 8 bytes in which byte 5 is one of them, at an address that is not aligned. */
__attribute__((noinline)) void write_bytes(uint64_t n)
{
    __asm__ volatile("movq %1, %0" : "=m"(bytes[3]) : "r"(n * 0x0101010101010101) : "memory");
}

__attribute__((noinline)) void copy(void)
{
    const volatile void *from = sources;
    volatile void *to = copies;
    uint64_t count = 16;

    __asm__ volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
}

__attribute__((noinline)) void do_round(uint64_t n)
{
    round = n;
    total += n;
    if (n % 10 == 3)
        write_value(n);
    if (n % 50 == 7)
        write_bytes(n);
    if (n == 100)
        copy();
    guarded();
    out8(0xe9, '.');
}

static void guard(void)
{
    uint64_t handler = (uint64_t)debug_handler;
    const struct table idt = {sizeof(gates) - 1, (uint64_t)gates};

    gates[1] = (struct gate){(uint16_t)handler,         8, 0x8e00, (uint16_t)(handler >> 16),
                             (uint32_t)(handler >> 32), 0};
    __asm__ volatile("lidt %0" : : "m"(idt));
    __asm__ volatile("movq %0, %%dr0" : : "r"((uint64_t)guarded));
    __asm__ volatile("movq %0, %%dr7" : : "r"(0x401ull)); /* execution */
}

/* Known contents for the debugger to find, at the place that the label names. */
static void set_registers(void)
{
    static const uint32_t floats[4] = {0x3f800000, 0x40000000, 0x40400000, 0x40800000};

    write_msr(0xc0000082, 0xffffffff81234560);
    write_msr(0xc0000102, 0xffff888012345000);
    __asm__ volatile("movq %%cr4, %%rax\n"
                     "orq $0x600, %%rax\n"
                     "movq %%rax, %%cr4\n"
                     "fninit\n"
                     "fldpi\n"
                     "fld1\n"
                     "movups %0, %%xmm3\n"
                     "movq $0x1122334455667788, %%r11\n"
                     "registers_set: nop\n"
                     ".globl registers_set\n"
                     :
                     : "m"(floats)
                     : "rax", "r11", "memory");
}

__attribute__((noinline)) void finish(void)
{
    out32(0xf4, debug_hits == ROUNDS ? 0 : 1);
}

void guest_main(void)
{
    for (unsigned i = 0; i < 16; i++)
        sources[i] = i + 1;
    guard();
    set_registers();
    for (uint64_t n = 0; n < ROUNDS; n++)
        do_round(n);
    finish();
}

static uint8_t stack[8192] __attribute__((aligned(16), used));
__asm__(".globl _start\n"
        "_start: movl $0x10, %eax\n"
        "movl %eax, %ss\n"
        "movl %eax, %ds\n"
        "movl %eax, %es\n"
        "movq $stack + 8192, %rsp\n"
        "call guest_main\n"
        "1: hlt\n"
        "jmp 1b\n");
