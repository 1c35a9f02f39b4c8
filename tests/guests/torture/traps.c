/* Descriptor tables, exceptions and interrupts, the timer. */
#include "torture.h"

#define GATE_INTERRUPT   0x8e
#define GATE_USER        0x60 /* DPL 3 */
#define IST_DOUBLE_FAULT 1
#define PIC_MASTER       0x20
#define PIC_SLAVE        0xa0
#define TIMER_DIVISOR    60 /* of 1.193 MHz: about 20,000 interrupts a second */
#define NEST_DEPTH       6

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

struct fault fault;
uint64_t resume_at;
volatile uint64_t ticks;
void (*step_hook)(const struct frame *frame);
bool (*page_fault_hook)(uint64_t address, uint64_t error);
uint64_t nested;

static struct tss tss;
static struct gate idt[256];
static char interrupt_stack[16384] __attribute__((aligned(16)));
static char double_fault_stack[8192] __attribute__((aligned(16)));
static unsigned timer_depth;
static uint64_t gdt[] = {
    0,
    0x00af9b000000ffff, /* 64-bit code */
    0x00cf93000000ffff, /* data */
    0x00cf9b000000ffff, /* 32-bit code */
    0x000f9b000000ffff, /* 16-bit code, limit 1 MiB */
    0x00cff3000000ffff, /* user data */
    0x00affb000000ffff, /* 64-bit user code */
    0x00cf13000000ffff, /* data, not present */
    0,                  /* TSS, two entries */
    0,
};

static void set_gate(unsigned vector, uint8_t ist, uint8_t type)
{
    uint64_t stub = (uint64_t)interrupt_stubs + vector * 16;

    idt[vector] = (struct gate){stub, SELECTOR_CODE64, ist, type, stub >> 16, stub >> 32, 0};
}

void set_gate_present(unsigned vector, bool present)
{
    idt[vector].type = present ? idt[vector].type | 0x80 : idt[vector].type & ~0x80;
}

void traps_reload(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(gdt) - 1, (uint64_t)gdt};

    __asm__ volatile("lgdt %0; pushq %1; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
                     :
                     : "m"(pointer), "i"(SELECTOR_CODE64)
                     : "rax", "memory");
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (uint64_t)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
    gdt[SELECTOR_TSS / 8] &= ~(2ull << 40); /* not busy */
    __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
}

void traps_init(void)
{
    uint64_t base = (uint64_t)&tss;

    tss.rsp[0] = (uint64_t)interrupt_stack + sizeof(interrupt_stack);
    tss.ist[IST_DOUBLE_FAULT - 1] = (uint64_t)double_fault_stack + sizeof(double_fault_stack);
    tss.io_map = sizeof(tss);
    gdt[SELECTOR_TSS / 8] =
        (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    for (unsigned i = 0; i < 256; i++)
        set_gate(i, 0, GATE_INTERRUPT);
    set_gate(8, IST_DOUBLE_FAULT, GATE_INTERRUPT);
    set_gate(3, 0, GATE_INTERRUPT | GATE_USER);
    set_gate(VECTOR_EXIT, 0, GATE_INTERRUPT | GATE_USER);
    set_gate(VECTOR_NEST, 0, GATE_INTERRUPT | GATE_USER);
    traps_reload();
}

void timer_start(void)
{
    static const uint8_t commands[][2] = {
        {PIC_MASTER, 0x11},
        {PIC_SLAVE, 0x11},
        {PIC_MASTER + 1, VECTOR_TIMER},
        {PIC_SLAVE + 1, 0x28},
        {PIC_MASTER + 1, 4},
        {PIC_SLAVE + 1, 2},
        {PIC_MASTER + 1, 1},
        {PIC_SLAVE + 1, 1},
        {PIC_MASTER + 1, 0xfe},
        {PIC_SLAVE + 1, 0xff},
        {0x43, 0x34},
        {0x40, TIMER_DIVISOR},
        {0x40, 0},
    };

    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        out8(commands[i][0], commands[i][1]);
}

/* Lets further ticks in while it works, and calls an interrupt of its own. */
static void timer_tick(void)
{
    ticks++;
    out8(PIC_MASTER, 0x20);
    if (timer_depth < 3) {
        timer_depth++;
        __asm__ volatile("sti; nop; nop; int %0; cli" : : "i"(VECTOR_IN_TIMER) : "memory");
        timer_depth--;
    }
}

static void exception(struct frame *frame, uint64_t cr2)
{
    if (frame->vector == 14 && page_fault_hook && page_fault_hook(cr2, frame->error))
        return;
    if (frame->vector == 1 && step_hook) {
        step_hook(frame);
        return;
    }
    fault = (struct fault){frame->vector, frame->error, frame->vector == 14 ? cr2 : 0, frame->rip};
    if (frame->cs & 3)
        leave_user();
    if (frame->vector == 3)
        return;
    if (!resume_at) {
        print("\nunexpected exception %u, error code %x, at %x:%x, CR2 %x\n", frame->vector,
              frame->error, frame->cs, frame->rip, cr2);
        out32(0xf4, 2);
        for (;;)
            __asm__ volatile("cli; hlt");
    }
    frame->rip = resume_at;
    resume_at = 0;
}

/* Called by entry.S with interrupts off. */
void interrupt(struct frame *frame);
void interrupt(struct frame *frame)
{
    uint64_t cr2;

    __asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
    switch (frame->vector) {
    case 0 ... 31:
        exception(frame, cr2);
        break;
    case VECTOR_TIMER:
        timer_tick();
        break;
    case VECTOR_EXIT:
        fault.vector = VECTOR_EXIT;
        fault.rip = frame->rip;
        leave_user();
    case VECTOR_NEST:
        if (++nested % NEST_DEPTH)
            __asm__ volatile("sti; int %0; cli" : : "i"(VECTOR_NEST) : "memory");
        break;
    case VECTOR_IN_TIMER:
        break;
    default:
        fault = (struct fault){frame->vector, 0, 0, frame->rip};
    }
}
