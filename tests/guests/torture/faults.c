/* Each fault of 64-bit mode in the kernel and in ring 3, with its error code and address. */
#include "torture.h"

#define PAGE_ABSENT   0x10000000000 /* 1 TiB: never mapped */
#define PAGE_READONLY 0x10000001000
#define PAGE_DATA     0x10000002000 /* writable, not executable; what follows is absent */
#define USER_CODE     0x18000000000
#define USER_STACK    0x18000002000 /* the end of the page before */

/* Operands that the instruction below may use: RCX an address, RBX a number. */
struct kernel_case {
    void (*run)(uint64_t rcx, uint64_t rbx);
    uint8_t vector;
    uint64_t rcx, rbx;
    uint64_t error, cr2;
};

#define CASE(name, text)                         \
    static void name(uint64_t rcx, uint64_t rbx) \
    {                                            \
        TRY(text, "c"(rcx), "b"(rbx));           \
    }

CASE(divide, "xorl %%edx, %%edx; movl $7, %%eax; divq %%rbx")
CASE(divide_overflow, "movabsq $-0x8000000000000000, %%rax; cqo; idivq %%rbx")
CASE(undefined, "ud2")
CASE(lock_register, ".byte 0xf0, 0x01, 0xc0")
CASE(load, "movq (%%rcx), %%rax")
CASE(store, "movl %%ebx, (%%rcx)")
CASE(read_modify_write, "lock xaddl %%edx, (%%rcx)")
CASE(fetch, "jmp *%%rcx")
CASE(load_segment, "movl %%ebx, %%fs")
CASE(load_stack_segment, "movl %%ebx, %%ss")
CASE(breakpoint, "int3")

/* RBP makes it an access to the stack segment. */
static void load_from_stack(uint64_t rcx, uint64_t rbx)
{
    fault.vector = NO_FAULT;
    __asm__ volatile("leaq 99f(%%rip), %%rax; movq %%rax, resume_at; movq %%rbp, %%r9;"
                     "movq %%rcx, %%rbp; movq (%%rbp), %%rax; 99: movq %%r9, %%rbp"
                     :
                     : "c"(rcx), "b"(rbx)
                     : "rax", "r9", "memory");
    resume_at = 0;
}

static const struct kernel_case kernel_cases[] = {
    {divide, 0, 0, 0, 0, 0},
    {divide, NO_FAULT, 0, 3, 0, 0},
    {divide_overflow, 0, 0, -1ull, 0, 0},
    {undefined, 6, 0, 0, 0, 0},
    {lock_register, 6, 0, 0, 0, 0},
    {load, 14, PAGE_ABSENT + 0x123, 0, 0, PAGE_ABSENT + 0x123},
    {load, NO_FAULT, PAGE_READONLY + 8, 0, 0, 0},
    {load, 14, PAGE_DATA + 0xffc, 0, 0, PAGE_DATA + 0x1000},
    {load, 13, 0x8000000000000000, 0, 0, 0},
    {store, 14, PAGE_ABSENT + 0xffe, 0, 2, PAGE_ABSENT + 0xffe},
    {store, 14, PAGE_READONLY + 0x10, 0, 3, PAGE_READONLY + 0x10},
    {store, 14, PAGE_DATA + 0xffd, 0, 2, PAGE_DATA + 0x1000},
    {store, NO_FAULT, PAGE_DATA + 0xffc, 0x1234, 0, 0},
    {read_modify_write, 14, PAGE_READONLY + 0x20, 0, 3, PAGE_READONLY + 0x20},
    {read_modify_write, NO_FAULT, PAGE_DATA + 0x20, 0, 0, 0},
    {load_from_stack, 14, PAGE_ABSENT + 0x88, 0, 0, PAGE_ABSENT + 0x88},
    {fetch, 14, PAGE_ABSENT + 0x10, 0, 0x10, PAGE_ABSENT + 0x10},
    {fetch, 14, PAGE_DATA + 0x30, 0, 0x11, PAGE_DATA + 0x30},
    {fetch, 13, 0x8000000000000000, 0, 0, 0},
    {load_segment, 13, 0, 0xfff8, 0xfff8, 0},
    {load_segment, 11, 0, SELECTOR_ABSENT, SELECTOR_ABSENT, 0},
    {load_segment, NO_FAULT, 0, SELECTOR_DATA, 0, 0},
    {load_stack_segment, 13, 0, SELECTOR_CODE64, SELECTOR_CODE64, 0},
    {load_stack_segment, 12, 0, SELECTOR_ABSENT, SELECTOR_ABSENT, 0},
    {breakpoint, 3, 0, 0, 0, 0},
};
#define KERNEL_CASES (sizeof(kernel_cases) / sizeof(kernel_cases[0]))

/* Machine code for ring 3: INT VECTOR_EXIT ends what does not fault. */
struct user_case {
    const char *code;
    uint8_t size, vector;
    uint64_t error, cr2;
};

#define EXIT "\xcd\x80"
static const struct user_case user_cases[] = {
    {"\x90" EXIT, 3, VECTOR_EXIT, 0, 0},
    {"\xf4", 1, 13, 0, 0},                                   /* HLT */
    {"\xfa", 1, 13, 0, 0},                                   /* CLI */
    {"\xfb", 1, 13, 0, 0},                                   /* STI */
    {"\xe4\x71", 2, 13, 0, 0},                               /* IN AL, 71h */
    {"\x0f\x20\xc0", 3, 13, 0, 0},                           /* MOV RAX, CR0 */
    {"\x0f\x22\xd8", 3, 13, 0, 0},                           /* MOV CR3, RAX */
    {"\x0f\x30", 2, 13, 0, 0},                               /* WRMSR */
    {"\x0f\x01\x38", 3, 13, 0, 0},                           /* INVLPG */
    {"\x0f\x00\xd8", 3, 13, 0, 0},                           /* LTR */
    {"\x0f\x0b", 2, 6, 0, 0},                                /* UD2 */
    {"\xcc", 1, 3, 0, 0},                                    /* INT3 */
    {"\xcd\x81" EXIT, 4, VECTOR_EXIT, 0, 0},                 /* INT VECTOR_NEST */
    {"\x31\xc9\xf7\xf1", 4, 0, 0, 0},                        /* DIV by zero */
    {"\x8b\x04\x25\x00\x00\x10\x00", 7, 14, 5, 0x100000},    /* load from the kernel */
    {"\x89\x04\x25\x04\x00\x10\x00", 7, 14, 7, 0x100004},    /* store to it */
    {"\xb8\x00\x00\x10\x00\xff\xe0", 7, 14, 0x15, 0x100000}, /* jump to it */
    {"\x89\x05\x00\x00\x00\x00", 6, 14, 7, USER_CODE + 6},   /* store to its own code */
    {"\xff\xe4", 2, 14, 0x15, USER_STACK - 64},              /* jump to its stack */
    {"\x31\xe4\x50", 3, 14, 6, -8ull},                       /* PUSH at address 0: wraps */
    {"\x54\x58\x50\x58" EXIT, 6, VECTOR_EXIT, 0, 0},         /* PUSH RSP, POP RAX, ... */
};
#define USER_CASES (sizeof(user_cases) / sizeof(user_cases[0]))

static void see_fault(uint64_t vector, uint64_t error, uint64_t cr2, const char *what)
{
    expect(fault.vector == vector, what);
    if (vector < 32) {
        expect(fault.error == error && fault.cr2 == cr2, what);
        seen(fault.error);
        seen(fault.cr2);
    }
    seen(fault.vector);
    seen(fault.rip);
}

static void run_user_case(const struct user_case *c)
{
    memset(frames[2], 0x90, 64);
    memcpy(frames[2], c->code, c->size);
    fault.rip = 0;
    /* Code that was written through another address: serialize. */
    cpuid(0);
    run_user((void *)USER_CODE, USER_STACK - 64, 0x202);
    see_fault(c->vector, c->error, c->cr2, "a fault in ring 3");
}

void torture_faults(void)
{
    page_map(PAGE_READONLY, 0, PAGE_P | PAGE_NX);
    page_map(PAGE_DATA, 1, PAGE_P | PAGE_W | PAGE_NX);
    page_map(USER_CODE, 2, PAGE_P | PAGE_U);
    page_map(USER_CODE + 0x1000, 3, PAGE_P | PAGE_W | PAGE_U | PAGE_NX);

    for (unsigned i = 0; i < 400; i++) {
        uint64_t r = random();
        if (r & 3) {
            const struct kernel_case *c = &kernel_cases[(r >> 8) % KERNEL_CASES];
            fault.rip = 0;
            c->run(c->rcx, c->rbx);
            see_fault(c->vector, c->error, c->cr2, "a fault in the kernel");
        } else {
            run_user_case(&user_cases[(r >> 8) % USER_CASES]);
        }
    }
}
