/*
 * INT n that interrupts itself, from the kernel and from ring 3, while the timer comes in between;
 * gates that are closed; double faults on a stack of their own; waiting by HLT.
 */
#include "torture.h"

#define USER_CODE  0x50000000000ull
#define USER_STACK 0x50000002000ull

static void nest(void)
{
    uint64_t before = nested;

    __asm__ volatile("int %0" : : "i"(VECTOR_NEST) : "memory");
    expect(nested == before + 6, "nested software interrupts");
    seen(nested - before);
}

static void nest_from_user(void)
{
    static const uint8_t code[] = {0xcd, VECTOR_NEST, 0xcd, VECTOR_NEST, 0xcd, VECTOR_EXIT};
    uint64_t before = nested;

    memcpy(frames[4], code, sizeof(code));
    cpuid(0);
    run_user((void *)USER_CODE, USER_STACK, 0x202);
    expect(fault.vector == VECTOR_EXIT && nested == before + 12, "nested interrupts from ring 3");
    seen(fault.rip);
}

/* The error code names the gate: vector * 8 + 2 (SDM "Error Code"). */
static void closed_gate(void)
{
    static const uint8_t code[] = {0xcd, VECTOR_KERNEL_ONLY};

    memcpy(frames[4], code, sizeof(code));
    cpuid(0);
    run_user((void *)USER_CODE, USER_STACK, 0x202);
    expect(fault.vector == 13 && fault.error == VECTOR_KERNEL_ONLY * 8 + 2 &&
               fault.rip == USER_CODE,
           "INT n through a gate of ring 0");
    seen(fault.error);
    set_gate_present(0x90, false);
    TRY("int $0x90", "c"(0));
    expect(fault.vector == 11 && fault.error == 0x90 * 8 + 2, "INT n through an absent gate");
    seen(fault.error);
    set_gate_present(0x90, true);
}

/* #GP without a gate for it: #NP while delivering, which makes it a double fault. */
static void double_fault(void)
{
    set_gate_present(13, false);
    TRY("movl %%ebx, %%fs", "b"(0xfff8));
    set_gate_present(13, true);
    expect(fault.vector == 8 && fault.error == 0, "a double fault");
    seen(fault.vector);
}

static void wait_for_tick(void)
{
    uint64_t before = ticks;

    for (unsigned i = 0; i < 1000 && ticks == before; i++)
        __asm__ volatile("sti; hlt");
    expect(ticks != before, "HLT until the timer comes");
}

/* The interrupt must not come between STI and the instruction after it. */
static void interrupt_shadow(void)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 200; i++)
        __asm__ volatile("cli; incq %0; sti; cli; incq %0; sti; nop" : "+r"(value));
    expect(value == 400, "STI; CLI");
    seen(value);
}

void torture_interrupts(void)
{
    page_map(USER_CODE, 4, PAGE_P | PAGE_U);
    page_map(USER_CODE + 0x1000, 5, PAGE_P | PAGE_W | PAGE_U | PAGE_NX);
    for (unsigned i = 0; i < 20; i++) {
        nest();
        nest_from_user();
        closed_gate();
        double_fault();
        interrupt_shadow();
        if (i % 10 == 0)
            wait_for_tick();
    }
}
