/* GDT, TSS, IDT, and what happens at exceptions and interrupts. */
#include "demo.h"

#define GATE_INTERRUPT  0x8e
#define GATE_USER       0x60 /* DPL 3 */
#define RFLAGS_TF       0x100ull
#define SINGLE_STEP_IST 1

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, zero;
};

struct tss {
    uint32_t zero0;
    uint64_t rsp[3], zero1, ist[7], zero2;
    uint16_t zero3, io_map;
} __attribute__((packed));

struct fault last_fault;
uint64_t resume_at;
uint64_t interrupts[VECTOR_COUNT];
volatile uint64_t single_steps;

static struct tss tss;
static struct gate idt[VECTOR_COUNT];
static char interrupt_stack[8192] __attribute__((aligned(16)));
static char debug_stack[4096] __attribute__((aligned(16)));
static uint64_t gdt[] = {
    0,
    0x00cf9b000000ffff, /* 32-bit code */
    0x00af9b000000ffff, /* 64-bit code */
    0x00cf93000000ffff, /* data */
    0x00cffb000000ffff, /* 32-bit user code: the base that SYSRET adds to */
    0x00cff3000000ffff, /* user data */
    0x00affb000000ffff, /* 64-bit user code */
    0,                  /* TSS, two entries */
    0,
};

static void set_gate(unsigned vector, uint8_t ist, uint8_t type)
{
    uint64_t stub = (uint64_t)interrupt_stubs + vector * 16;

    idt[vector] = (struct gate){stub, SELECTOR_CODE64, ist, type, stub >> 16, stub >> 32, 0};
}

static void load_table(const char *which, const void *base, uint16_t size)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {size - 1, (uint64_t)base};

    if (*which == 'g')
        __asm__ volatile("lgdt %0" : : "m"(pointer));
    else
        __asm__ volatile("lidt %0" : : "m"(pointer));
}

void traps_init(void)
{
    uint64_t base = (uint64_t)&tss;

    tss.rsp[0] = (uint64_t)interrupt_stack + sizeof(interrupt_stack);
    tss.ist[SINGLE_STEP_IST - 1] = (uint64_t)debug_stack + sizeof(debug_stack);
    tss.io_map = sizeof(tss);
    gdt[SELECTOR_TSS / 8] =
        (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    for (unsigned i = 0; i < VECTOR_COUNT; i++)
        set_gate(i, 0, GATE_INTERRUPT);
    set_gate(1, SINGLE_STEP_IST, GATE_INTERRUPT);
    set_gate(3, 0, GATE_INTERRUPT | GATE_USER);
    set_gate(VECTOR_SOFTWARE, 0, GATE_INTERRUPT | GATE_USER);

    load_table("gdt", gdt, sizeof(gdt));
    load_table("idt", idt, sizeof(idt));
    __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
}

static void __attribute__((noreturn)) unexpected(const struct frame *frame, uint64_t cr2)
{
    print("\nunexpected exception %u, error code %x, at %x:%016x, address %x\n", frame->vector,
          frame->error, frame->cs, frame->rip, cr2);
    failures++;
    power_off(false);
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void exception(struct frame *frame)
{
    bool user = frame->cs & 3;
    uint64_t cr2;

    __asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
    if (frame->vector == 14 && !(frame->error & 1) && map_on_demand(cr2, user))
        return;
    if (frame->vector == 1) { /* single step: a few instructions, then on at full speed */
        if (++single_steps == 5)
            frame->rflags &= ~RFLAGS_TF;
        return;
    }
    if (frame->vector == 3)
        return;
    if (!resume_at)
        unexpected(frame, cr2);
    last_fault = (struct fault){frame->vector, frame->error, cr2};
    frame->rip = resume_at;
    resume_at = 0;
}

/* Called by entry.S. */
void interrupt(struct frame *frame);
void interrupt(struct frame *frame)
{
    interrupts[frame->vector]++;
    if (frame->vector < 32)
        exception(frame);
    else
        interrupt_end(frame->vector);
}
