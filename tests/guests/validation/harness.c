/* Descriptor tables and paging; running cases and telling what they left. */
#include "harness.h"

#include "x86.h"

#define CONSOLE    0xe9
#define DEBUG_EXIT 0xf4

#define GATE_INTERRUPT 0x8e
#define GATE_USER      0x60 /* DPL 3 */
#define IST            1

#define PTE_P        1
#define PTE_W        2
#define PTE_U        4
#define PTE_RESERVED (1ull << 51)
#define PTE_NX       (1ull << 63)

#define RFLAGS_FIXED      0x2
#define RFLAGS_IF         0x200
#define RFLAGS_IOPL3      0x3000
#define RFLAGS_RF         0x10000ull
#define RFLAGS_ARITHMETIC 0x8d5ull

#define LAPIC_EOI 0xfee000b0ull

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, zero;
};

static struct {
    uint32_t zero0;
    uint64_t rsp[3], zero1, ist[7], zero2;
    uint16_t zero3, io_map;
} __attribute__((packed)) tss;

static uint64_t gdt[] = {
    0,
    0x00af9b000000ffff, /* 64-bit code */
    0x00cf93000000ffff, /* data */
    0x00cff3000000ffff, /* user data */
    0x00affb000000ffff, /* 64-bit user code */
    0x00cf9b000000ffff, /* 32-bit code */
    0x00cffb000000ffff, /* 32-bit user code */
    0x400ffb009000ffff, /* 16-bit user code from PAGE_CODE on */
    0x00cf13000000ffff, /* data, not present */
    0,                  /* TSS, two entries */
    0,
};

static struct gate idt[256] __attribute__((aligned(16)));
static char interrupt_stack[16384] __attribute__((aligned(16)));

extern uint64_t area_table[512];
extern struct run *run_result;

/* ---- text ---- */

static char line[1024];
static unsigned line_length;

void say(const char *text)
{
    while (*text && line_length < sizeof(line))
        line[line_length++] = *text++;
}

static void say_number(uint64_t value, unsigned base)
{
    char text[24];
    unsigned at = sizeof(text);

    text[--at] = '\0';
    do {
        text[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    say(text + at);
}

void say_hex(uint64_t value)
{
    say_number(value, 16);
}

void say_unsigned(uint64_t value)
{
    say_number(value, 10);
}

void say_end(void)
{
    say("\n");
    for (unsigned i = 0; i < line_length; i++)
        out8(CONSOLE, (uint8_t)line[i]);
    line_length = 0;
}

/* ---- running ---- */

#define INTERRUPTS_MAX 16
static struct {
    uint64_t vector, rip;
} interrupts[INTERRUPTS_MAX];
static unsigned interrupt_count;

static bool is_interrupt(uint64_t vector)
{
    return vector == 2 || (vector >= VECTOR_PIC && vector < VECTOR_PIC + 16) ||
           (vector >= VECTOR_IPI && vector < VECTOR_IPI + 16);
}

/* Called by the stubs. Returns whether the run is over. */
int interrupt(const struct frame *frame);
int interrupt(const struct frame *frame)
{
    struct run *out = run_result;

    if (is_interrupt(frame->vector) && interrupt_count < INTERRUPTS_MAX) {
        interrupts[interrupt_count].vector = frame->vector;
        interrupts[interrupt_count].rip = frame->rip;
        interrupt_count++;
        if (frame->vector >= VECTOR_IPI)
            *(volatile uint32_t *)LAPIC_EOI = 0;
        else if (frame->vector >= VECTOR_PIC)
            out8(0x20, 0x20);
        return 0;
    }
    for (unsigned i = 0; i < REGISTERS; i++)
        out->gpr[i] = frame->gpr[i];
    out->gpr[RSP] = frame->rsp;
    out->rip = frame->rip;
    out->rflags = frame->rflags;
    out->cs = frame->cs;
    out->ss = frame->ss;
    out->vector = frame->vector;
    out->error = frame->error;
    __asm__ volatile("movq %%cr2, %0" : "=r"(out->cr2));
    if (frame->vector == 1)
        __asm__ volatile("movq %%dr6, %0" : "=r"(out->dr6));
    return 1;
}

/* What lies in memory before a case, and is hashed after it. */
static const struct {
    uint8_t page;
    uint16_t offset;
} windows[] = {
    {0, 0x1000 - WINDOW}, {1, 0}, {2, 0}, {3, 0}, {4, 0}, {7, 0x1000 - WINDOW},
};
#define WINDOWS (sizeof(windows) / sizeof(*windows))

static uint64_t *window(unsigned n)
{
    return (uint64_t *)(frames[windows[n].page] + windows[n].offset);
}

static uint64_t mix(uint64_t value)
{
    value ^= value >> 30;
    value *= 0xbf58476d1ce4e5b9;
    value ^= value >> 27;
    value *= 0x94d049bb133111eb;
    return value ^ value >> 31;
}

uint64_t run_hash_memory(void)
{
    uint64_t hash = 0;

    for (unsigned n = 0; n < WINDOWS; n++)
        for (unsigned i = 0; i < WINDOW / 8; i++)
            hash = (hash ^ window(n)[i]) * 0x9e3779b97f4a7c15 + (hash >> 29);
    return mix(hash);
}

static void fill_memory(uint64_t seed)
{
    for (unsigned n = 0; n < WINDOWS; n++)
        for (unsigned i = 0; i < WINDOW / 8; i++)
            window(n)[i] = seed += 0x9e3779b97f4a7c15;
}

void run_prepare(struct run *run, const uint8_t *code, unsigned size, uint64_t flags, uint64_t seed)
{
    uint8_t *to = frames[(PAGE_CODE - AREA) / 4096];

    for (unsigned i = 0; i < size; i++)
        to[i] = code[i];
    to[size] = 0x0f; /* UD2 */
    to[size + 1] = 0x0b;
    fill_memory(seed);
    for (unsigned i = 0; i < REGISTERS; i++)
        run->gpr[i] = i < R8 ? 0 : 0x0101010101010101ull * (0x80 + i);
    run->gpr[RSP] = STACK_TOP;
    run->gpr[RSI] = PAGE_DATA2;
    run->gpr[RDI] = PAGE_DATA2 + 0x40;
    run->rip = flags & RUN_COMPAT16 ? 0 : PAGE_CODE;
    run->rflags = RFLAGS_FIXED | (flags & RUN_INTERRUPTS ? RFLAGS_IF : 0) |
                  (flags & RUN_IOPL3 ? RFLAGS_IOPL3 : 0);
    run->ss = flags & (RUN_USER | RUN_COMPAT16) ? SELECTOR_USER_DATA : SELECTOR_DATA;
    run->cs = flags & RUN_COMPAT16   ? SELECTOR_USER_CODE16
              : (flags & RUN_COMPAT) ? (flags & RUN_USER ? SELECTOR_USER_CODE32 : SELECTOR_CODE32)
              : (flags & RUN_USER)   ? SELECTOR_USER_CODE64
                                     : SELECTOR_CODE64;
    interrupt_count = 0;
    __asm__ volatile("movq %0, %%cr2" : : "r"(0ull));
    /* Code was written: serialize. */
    __asm__ volatile("movq %%cr3, %%rax; movq %%rax, %%cr3" : : : "rax", "memory");
}

static const char names[REGISTERS][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                         "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

void run_show_event(const struct run *in, const struct run *out)
{
    say(" #");
    say_unsigned(out->vector);
    say("(");
    say_hex(out->error);
    say(")");
    if (out->vector == 14) {
        say(" cr2 ");
        say_hex(out->cr2);
    }
    if (out->vector == 1) {
        say(" dr6 ");
        say_hex(out->dr6);
    }
    say(" at +");
    say_hex(out->rip - in->rip);
}

void run_show_registers(const struct run *in, const struct run *out, uint64_t flags_mask)
{
    uint64_t flags = out->rflags & flags_mask & ~RFLAGS_RF;

    for (unsigned i = 0; i < REGISTERS; i++) {
        if (out->gpr[i] == in->gpr[i])
            continue;
        say(" ");
        say(names[i]);
        say("=");
        say_hex(out->gpr[i]);
    }
    if (flags != (in->rflags & flags_mask)) {
        say(" flags=");
        say_hex(flags);
    }
}

void run_show_interrupts(void)
{
    for (unsigned i = 0; i < interrupt_count; i++) {
        say(" interrupt ");
        say_hex(interrupts[i].vector);
        say(" at +");
        say_hex(interrupts[i].rip - PAGE_CODE);
    }
}

/* Cases may change control and debug registers. */
static struct {
    uint64_t cr0, cr4;
} control;

static void control_save(void)
{
    __asm__ volatile("movq %%cr0, %0" : "=r"(control.cr0));
    __asm__ volatile("movq %%cr4, %0" : "=r"(control.cr4));
}

static void control_restore(void)
{
    __asm__ volatile("movq %0, %%cr0" : : "r"(control.cr0));
    __asm__ volatile("movq %0, %%cr4" : : "r"(control.cr4));
    __asm__ volatile("movq %0, %%dr7" : : "r"(0x400ull));
    __asm__ volatile("movq %0, %%dr6" : : "r"(0xffff0ff0ull));
}

void run_cases(const struct test_case *cases)
{
    for (const struct test_case *c = cases; c->name; c++) {
        struct run in, out;
        uint64_t before, after;

        run_prepare(&in, c->code, (unsigned)(c->end - c->code), c->flags, 1);
        before = run_hash_memory();
        control_save();
        run_enter(&in, &out);
        control_restore();
        after = run_hash_memory();
        say(c->name);
        say(":");
        run_show_interrupts();
        run_show_event(&in, &out);
        run_show_registers(&in, &out, c->flags & RUN_NO_FLAGS ? ~RFLAGS_ARITHMETIC : ~0ull);
        if (before != after) {
            say(" memory ");
            say_hex(after);
        }
        say_end();
    }
}

/* ---- the start ---- */

static void make_paging(void)
{
    static const struct {
        uint8_t page;
        uint64_t flags;
    } rights[] = {
        {0, PTE_P | PTE_W | PTE_U},
        {1, PTE_P | PTE_W | PTE_U},
        {2, PTE_P | PTE_U},
        {3, PTE_P | PTE_W},
        {4, PTE_P | PTE_W | PTE_U | PTE_NX},
        {7, PTE_P | PTE_W | PTE_U},
        {9, PTE_P | PTE_U},
        {11, PTE_P | PTE_W | PTE_U | PTE_RESERVED},
        {12, PTE_P},
    };
    uint64_t *root, *table;

    __asm__("movq %%cr3, %0" : "=r"(root));
    root[0] |= PTE_U;
    table = (uint64_t *)(root[0] & ~0xfffull);
    table[AREA >> 30] |= PTE_U;
    table = (uint64_t *)(table[AREA >> 30] & ~0xfffull);
    table[0] = (uint64_t)area_table | PTE_P | PTE_W | PTE_U;
    for (unsigned i = 0; i < sizeof(rights) / sizeof(*rights); i++)
        area_table[rights[i].page] = (uint64_t)frames[rights[i].page] | rights[i].flags;
    __asm__ volatile("movq %0, %%cr3" : : "r"(root) : "memory");
}

static void make_gate(unsigned vector, uint8_t type)
{
    uint64_t stub = (uint64_t)interrupt_stubs + vector * 16;

    idt[vector] = (struct gate){stub, SELECTOR_CODE64, IST, type, stub >> 16, stub >> 32, 0};
}

static void load_tables(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(gdt) - 1, (uint64_t)gdt};
    uint64_t base = (uint64_t)&tss;

    tss.rsp[0] = tss.ist[IST - 1] = (uint64_t)interrupt_stack + sizeof(interrupt_stack);
    tss.io_map = sizeof(tss);
    gdt[SELECTOR_TSS / 8] =
        (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    for (unsigned i = 0; i < 256; i++)
        make_gate(i, GATE_INTERRUPT);
    make_gate(3, GATE_INTERRUPT | GATE_USER);
    make_gate(4, GATE_INTERRUPT | GATE_USER);
    make_gate(VECTOR_USER, GATE_INTERRUPT | GATE_USER);
    __asm__ volatile("lgdt %0; pushq %1; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
                     :
                     : "m"(pointer), "i"(SELECTOR_CODE64)
                     : "rax", "memory");
    __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (uint64_t)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

/* Multiboot information: flags, and the command line when bit 2 is set. */
static const char *command_line(const uint32_t *information)
{
    return information[0] & 4 ? (const char *)(uint64_t)information[4] : "";
}

void harness_main(const uint32_t *information);
void harness_main(const uint32_t *information)
{
    uint64_t cr;

    __asm__ volatile("movq %%cr0, %0" : "=r"(cr));
    __asm__ volatile("movq %0, %%cr0" : : "r"((cr | 0x10002) & ~0xcull)); /* WP, MP; no EM, TS */
    __asm__ volatile("movq %%cr4, %0" : "=r"(cr));
    __asm__ volatile("movq %0, %%cr4" : : "r"(cr | 0x600)); /* OSFXSR, OSXMMEXCPT */
    make_paging();
    load_tables();
    __asm__ volatile("lldt %w0" : : "r"(0));
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    guest_main(command_line(information));
    out32(DEBUG_EXIT, 0);
}
