/*
 * Modes other than 64-bit: compatibility mode here, and in low.S the way down through protected
 * mode, PAE and 32-bit paging, virtual-8086 and 16-bit protected mode to real mode and back. Each
 * logs its faults in low memory; what they must be stands in a table.
 */
#include "torture.h"

void low_run(void); /* low.S, in low memory */
extern char low_start[], low_end[];
extern const char low_image[];

struct log_entry {
    uint32_t mode, vector, error, address; /* address: IP, CR2 of a page fault, or a value read */
};

/* What the modes must log, in the order of low.S. */
#define FAULTS32(mode)                                                                     \
    {mode, 0, 0, 0}, {mode, 6, 0, 0}, {mode, 3, 0, 0}, {mode, 4, 0, 0}, {mode, 5, 0, 0},   \
        {mode, 13, 0xfff8, 0}, {mode, 11, 0x30, 0}, {mode, 12, 0x30, 0}, {mode, 48, 0, 0}, \
        {mode, 6, 0, 0}, {mode, 13, 0x30, 0},                                              \
    {                                                                                      \
        mode, 0, 0, 0                                                                      \
    }
#define FAULTS_PAGING(mode, fetch, split)                                           \
    FAULTS32(mode), {mode, 14, 0, LOW_HOLE + 0x10}, {mode, 14, 2, LOW_HOLE + 0x20}, \
        {mode, 14, 3, LOW_RO + 0x30}, {mode, 14, fetch, LOW_HOLE + 0x40},           \
    {                                                                               \
        mode, 14, 2, split                                                          \
    }

static const struct log_entry expected[] = {
    FAULTS32(0x32),
    FAULTS_PAGING(0x36, 0x10, LOW_HOLE - 2), /* EFER.NXE tells fetches apart */
    FAULTS_PAGING(0x35, 0, LOW_HOLE),
    {0x86, 13, 0, 0}, /* CLI, STI, PUSHF, HLT, INT n: IOPL is 0 */
    {0x86, 13, 0, 0},
    {0x86, 13, 0, 0},
    {0x86, 13, 0, 0},
    {0x86, 13, 0, 0},
    {0x86, 0, 0, 0},
    {0x86, 6, 0, 0},
    {0x86, 13, 0, 0}, /* MOV from CR0 */
    {0x86, 13, 0, 0}, /* HLT, to leave */
    {0x16, 0, 0, 0},
    {0x16, 6, 0, 0},
    {0x16, 13, 0xfff8, 0},
    {0x16, 48, 0, 0},
    {0x10, 0xff, 0, 0x5a5a5a5a}, /* unreal mode */
    {0x10, 0xff, 0, 0x5a5a5a5a},
    {0x10, 0, 0, 0},
    {0x10, 3, 0, 0},
    {0x10, 4, 0, 0},
    {0x10, 5, 0, 0},
    {0x10, 6, 0, 0},
    {0x10, 33, 0, 0},
    {0x32, 6, 0, 0},
};
#define EXPECTED (sizeof(expected) / sizeof(expected[0]))

static void way_down_and_up(void)
{
    volatile uint32_t *count = (volatile uint32_t *)LOW_LOG;
    const struct log_entry *log = (const struct log_entry *)(LOW_LOG + 16);
    static unsigned told;

    memcpy((void *)LOW_CODE, low_image, low_end - low_start);
    *count = 0;
    __asm__ volatile("cli");
    cpuid(0);
    low_run();
    traps_reload();
    __asm__ volatile("movl %0, %%ds; movl %0, %%es; movl %0, %%ss; sti" : : "r"(SELECTOR_DATA));

    expect(*count == EXPECTED, "number of faults in the other modes");
    for (unsigned i = 0; i < *count && i < EXPECTED; i++) {
        const struct log_entry *e = &expected[i];
        bool ok = log[i].mode == e->mode && log[i].vector == e->vector &&
                  log[i].error == e->error && (!e->address || log[i].address == e->address);
        expect(ok, "a fault in another mode");
        if (!ok && !told++)
            print("    entry %u: mode %x, vector %u, error code %x, address %x\n", (uint64_t)i,
                  (uint64_t)log[i].mode, (uint64_t)log[i].vector, (uint64_t)log[i].error,
                  (uint64_t)log[i].address);
        seen((uint64_t)log[i].mode << 32 | log[i].vector);
        seen((uint64_t)log[i].error << 32 | log[i].address);
    }
}

/* 32-bit code under the 64-bit IDT. */
#define COMPATIBILITY(expected_vector, text)                                            \
    do {                                                                                \
        fault.vector = NO_FAULT;                                                        \
        __asm__ volatile("leaq 99f(%%rip), %%rax; movq %%rax, resume_at; pushq %0;"     \
                         "leaq 1f(%%rip), %%rax; pushq %%rax; lretq; .code32; 1: " text \
                         "; 99: ljmp %1, $2f; .code64; 2:"                              \
                         :                                                              \
                         : "i"(SELECTOR_CODE32), "i"(SELECTOR_CODE64)                   \
                         : "rax", "rbx", "rcx", "rdx", "cc", "memory");                 \
        resume_at = 0;                                                                  \
        expect(fault.vector == expected_vector, "a fault in compatibility mode");       \
        seen(fault.vector);                                                             \
        seen(fault.error);                                                              \
        seen(fault.rip);                                                                \
    } while (0)

static void compatibility_mode(void)
{
    COMPATIBILITY(0, "xorl %%ecx, %%ecx; xorl %%edx, %%edx; divl %%ecx");
    COMPATIBILITY(6, "ud2");
    COMPATIBILITY(13, "movl $0xfff8, %%eax; movl %%eax, %%fs");
    COMPATIBILITY(3, "call 4f; 4: popl %%ecx; int3");
    COMPATIBILITY(4, "movb $0x7f, %%al; addb $1, %%al; into");
    COMPATIBILITY(0, "movl $0x80000000, %%eax; cltd; movl $-1, %%ecx; idivl %%ecx");
    COMPATIBILITY(0, "aam $0");
    COMPATIBILITY(13, "lcall $0x10, $0");
}

void torture_modes(void)
{
    compatibility_mode();
    way_down_and_up();
}
