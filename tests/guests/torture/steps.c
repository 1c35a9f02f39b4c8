/* Single steps: every instruction boundary is seen once, in order, whatever the instruction is. */
#include "torture.h"

#define RFLAGS_TF 0x100ull
#define TARGET    0x40000000000ull
#define MAX_STEPS 200

static uint64_t steps;

/* Counts, and gives up where TF should have ended long ago. */
static void on_step(const struct frame *frame)
{
    seen(frame->rip);
    if (++steps == MAX_STEPS)
        ((struct frame *)frame)->rflags &= ~RFLAGS_TF;
}

#define STEP_ON  "pushfq; orq $0x100, (%%rsp); popfq; "
#define STEP_OFF "; pushfq; andq $~0x100, (%%rsp); popfq; nop"

#define STEPPED(name, text)                                                                 \
    static void name(void)                                                                  \
    {                                                                                       \
        __asm__ volatile(STEP_ON text STEP_OFF                                              \
                         :                                                                  \
                         :                                                                  \
                         : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "cc", "memory"); \
    }

STEPPED(nothing, "nop")
STEPPED(arithmetic, "movl $3, %%ecx; addl $5, %%ecx; imull %%ecx, %%ecx; bswap %%ecx; nop")
STEPPED(branches, "movl $5, %%ecx; 1: decl %%ecx; jnz 1b; call 2f; jmp 3f; 2: ret; 3: nop")
STEPPED(string, "leaq frames, %%rdi; movq %%rdi, %%rsi; movl $7, %%ecx; rep movsb; nop")
STEPPED(no_string, "xorl %%ecx, %%ecx; leaq frames, %%rdi; rep stosb; nop")
STEPPED(stack_segment, "movl %%ss, %%eax; movl %%eax, %%ss; nop; nop")
STEPPED(exiting, "xorl %%eax, %%eax; xorl %%ecx, %%ecx; cpuid; movq %%cr0, %%rax; nop")
STEPPED(software_interrupt, "int $0x83; nop")
STEPPED(page_fault, "movq $0x40000000000, %%rcx; movl (%%rcx), %%eax; movl %%eax, 4(%%rcx); nop")

static const struct {
    void (*run)(void);
    unsigned steps; /* with those of the end; INT n and the instruction after IRET count as one */
} cases[] = {
    {nothing, 4},       {arithmetic, 8}, {branches, 18},          {string, 14},    {no_string, 7},
    {stack_segment, 6}, {exiting, 8},    {software_interrupt, 4}, {page_fault, 7},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static bool map_target(uint64_t address, uint64_t error)
{
    if (address >> 12 != TARGET >> 12 || error & 1)
        return false;
    page_map(TARGET, 40, PAGE_P | PAGE_W | PAGE_NX);
    return true;
}

void torture_steps(void)
{
    step_hook = on_step;
    page_fault_hook = map_target;
    for (unsigned i = 0; i < 60; i++) {
        unsigned which = random() % CASES;
        *page_entry(TARGET) = 0;
        page_flush(TARGET);
        steps = 0;
        cases[which].run();
        if (steps != cases[which].steps)
            print("case %u: %u steps, not %u\n", (uint64_t)which, steps,
                  (uint64_t)cases[which].steps);
        expect(steps == cases[which].steps, "number of steps");
        seen(steps);
    }
    step_hook = 0;
    page_fault_hook = 0;
}
