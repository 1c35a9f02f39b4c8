/*
 * The demo's user program: ring 3, its own code page (read and execute), a stack that appears on
 * demand, nothing else. It tells what it may and may not do.
 */
#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

#define HEADING_WIDTH  16
#define VERDICT_COLUMN 80

static uint64_t system_call(uint64_t number, uint64_t a, uint64_t b)
{
    __asm__ volatile("syscall"
                     : "+a"(number), "+D"(a), "+S"(b)
                     :
                     : "rcx", "rdx", "r8", "r9", "r10", "r11", "memory");
    return number;
}

/* Executes an instruction that must fault; the value is vector << 32 | error code. */
#define FAULT_OF(instruction)                                                               \
    ({                                                                                      \
        uint64_t result_;                                                                   \
        __asm__ volatile("leaq 1f(%%rip), %%rdi; movl %1, %%eax; syscall; " instruction     \
                         "; 1: movl %2, %%eax; syscall"                                     \
                         : "=&a"(result_)                                                   \
                         : "i"(SYSCALL_EXPECT), "i"(SYSCALL_FAULT)                          \
                         : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory"); \
        result_;                                                                            \
    })
#define FAULT(vector, error) ((uint64_t)(vector) << 32 | (error))

static unsigned append(char *line, unsigned at, const char *text)
{
    while (*text)
        line[at++] = *text++;
    return at;
}

/* Returns how many checks failed: 0 or 1. */
static unsigned check(bool ok, const char *heading, const char *text)
{
    char line[VERDICT_COLUMN + 16];
    unsigned at = append(line, 0, heading);

    while (at < HEADING_WIDTH)
        line[at++] = ' ';
    at = append(line, at, text);
    while (at < VERDICT_COLUMN)
        line[at++] = ' ';
    at = append(line, at, ok ? "ok\n" : "FAILED\n");
    system_call(SYSCALL_WRITE, (uint64_t)line, at);
    return !ok;
}

static unsigned privilege_level(void)
{
    uint16_t cs;

    __asm__("movw %%cs, %0" : "=r"(cs));
    return cs & 3;
}

/* The sieve of Eratosthenes, on the stack. */
static __attribute__((noinline)) unsigned count_primes(void)
{
    enum { LIMIT = 30000 };
    volatile uint8_t composite[LIMIT];
    unsigned count = 0;

    for (unsigned i = 0; i < LIMIT; i++)
        composite[i] = 0;
    for (unsigned i = 2; i < LIMIT; i++) {
        if (composite[i])
            continue;
        count++;
        for (unsigned j = i * i; j < LIMIT && i < 200; j += i)
            composite[j] = 1;
    }
    return count;
}

static bool wait_for_ticks(uint64_t ticks)
{
    uint64_t end = system_call(SYSCALL_TICKS, 0, 0) + ticks;

    for (uint64_t i = 0; i < 1ull << 30; i++) {
        for (volatile unsigned spin = 0; spin < 1000; spin++)
            ;
        if (system_call(SYSCALL_TICKS, 0, 0) >= end)
            return true;
    }
    return false;
}

__attribute__((section(".start"), noreturn)) void start(void);
void start(void)
{
    unsigned failures = 0;

    failures += check(privilege_level() == 3, "user mode", "SYSRET brought us to ring 3");
    failures += check(FAULT_OF("hlt") == FAULT(13, 0), "", "HLT is for the kernel: #GP");
    failures += check(FAULT_OF("inb $0x71, %%al") == FAULT(13, 0), "", "so are I/O ports: #GP");
    failures += check(FAULT_OF("movl 0x7c00, %%eax") == FAULT(14, 5), "",
                      "and its memory: #PF, error code 5");
    failures += check(FAULT_OF("movl %%eax, 1f(%%rip)") == FAULT(14, 7), "",
                      "our code is read-only: #PF, 7");
    failures += check(FAULT_OF("leaq -8(%%rsp), %%rsi; jmp *%%rsi") == FAULT(14, 0x15), "",
                      "our stack is not executable: #PF, 15");
    failures += check(count_primes() == 3245, "",
                      "the 3245 primes below 30000, on a stack that grows by faults");
    failures += check(wait_for_ticks(5), "", "5 timer interrupts came while we were computing");
    system_call(SYSCALL_EXIT, 42 << 8 | failures, 0);
    for (;;)
        ;
}
