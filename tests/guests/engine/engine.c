/* Descriptor tables and paging; the cases one after another; what came and what was to come. */
#include "engine.h"

#include "print.h"
#include "x86.h"

#define GATE_INTERRUPT 0x8e
#define GATE_USER      0x60 /* DPL 3 */

#define IST_DOUBLE_FAULT 1
#define IST_LOST         2

#define VIRTUAL_BASE 0x10000000000ull /* PAGE(0) */
#define IDT          (VIRTUAL_BASE + IDT_PAGE * 4096 + 0x800)

#define LAPIC_SPURIOUS 0xf0
#define LAPIC_EOI      0xb0

#define RFLAGS_TF 0x100ull
#define RFLAGS_RF 0x10000ull

#define SEEN_MAX 64

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
    uint8_t io[0x400 / 8 + 1]; /* ports up to 0x3ff */
} __attribute__((packed)) tss;

static uint64_t gdt[] = {
    0,
    0x00af9b000000ffff, /* 64-bit code */
    0x00cf93000000ffff, /* data */
    0x00cff3000000ffff, /* user data */
    0x00affb000000ffff, /* 64-bit user code */
    0x00cf13000000ffff, /* data, not present */
    0,                  /* TSS, two entries */
    0,
};

static struct gate idt_frames[512] __attribute__((aligned(4096)));
static char kernel_stack[8192] __attribute__((aligned(16)));
static char double_fault_stack[8192] __attribute__((aligned(16)));

/* Called once, in the handler of the next NMI. */
void (*nmi_hook)(void);

static const struct guest_case *running;
static struct event seen[SEEN_MAX];
static unsigned seen_count;
static uint64_t failures;

static volatile uint32_t *lapic(unsigned offset)
{
    return (volatile uint32_t *)(0xfee00000ull + offset);
}

static unsigned expected_count(const struct guest_case *c)
{
    return (unsigned)(c[1].events - c->events);
}

/* ---- what a case brings about ---- */

static uint64_t extra_of(uint64_t vector)
{
    uint64_t value = 0;

    if (vector == 14) {
        __asm__ volatile("movq %%cr2, %0" : "=r"(value));
    } else if (vector == 1) {
        __asm__ volatile("movq %%dr6, %0" : "=r"(value));
        __asm__ volatile("movq %0, %%dr6" : : "r"(0xffff0ff0ull));
        value &= 0xe00f;
    }
    return value;
}

static bool has_error_code(uint64_t vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static bool same(const struct event *a, const struct event *b)
{
    return a->vector == b->vector && a->at == b->at && a->extra == b->extra &&
           (!has_error_code(a->vector) || a->error == b->error) && (b->rf < 0 || a->rf == b->rf);
}

void interrupt(struct frame *frame);
void interrupt(struct frame *frame)
{
    const struct event *expected = running->events + seen_count;
    struct event event = {
        .at = frame->rip,
        .error = frame->error,
        .extra = extra_of(frame->vector),
        .vector = (uint32_t)frame->vector,
        .rf = !!(frame->rflags & RFLAGS_RF),
    };

    if (frame->vector >= 0x50 && frame->vector < 0x60)
        *lapic(LAPIC_EOI) = 0;
    if (frame->vector == VECTOR_LEAVE_USER) {
        __asm__ volatile("jmp leave_case" : : "a"(frame->rax));
        __builtin_unreachable();
    }
    if (seen_count < SEEN_MAX)
        seen[seen_count] = event;
    seen_count++;
    if (seen_count > expected_count(running) || !same(&event, expected))
        leave_case();
    if (frame->vector == 2 && nmi_hook) {
        void (*hook)(void) = nmi_hook;
        nmi_hook = 0;
        hook();
    }
    if (expected->next)
        frame->rip = expected->next;
    else if (frame->vector == 1 && (event.extra & 15))
        frame->rflags |= RFLAGS_RF; /* over the breakpoint */
}

/* ---- the cases ---- */

static void print_event(const struct event *event)
{
    print("vector %u, RIP %x, error code %x, extra %x, RF %u", (uint64_t)event->vector, event->at,
          event->error, event->extra, (uint64_t)(event->rf & 1));
}

static void judge(const struct guest_case *c, uint64_t result)
{
    unsigned wanted = expected_count(c), count = seen_count < SEEN_MAX ? seen_count : SEEN_MAX;
    bool right = seen_count == wanted && (!(c->flags & CASE_RESULT) || result == c->result);

    for (unsigned i = 0; i < count && i < wanted; i++)
        right &= same(&seen[i], &c->events[i]);
    if (right)
        return;
    failures++;
    print("WRONG %s (code at %x): RAX %x", c->name, (uint64_t)c->run, result);
    if (c->flags & CASE_RESULT)
        print(" (to be: %x)", c->result);
    print("\n");
    for (unsigned i = 0; i < count || i < wanted; i++) {
        if (i < count && i < wanted && same(&seen[i], &c->events[i]))
            continue;
        print("    event %u: ", (uint64_t)i);
        if (i < count)
            print_event(&seen[i]);
        else
            print("none");
        print("; to be: ");
        if (i < wanted)
            print_event(&c->events[i]);
        else
            print("none");
        print("\n");
    }
}

static void run_case(const struct guest_case *c)
{
    uint64_t rflags = c->flags & CASE_IOPL3 ? 0x3002 : 0x2, result;

    running = c;
    seen_count = 0;
    result = c->flags & CASE_USER ? run_user(c->run, rflags) : run_kernel(c->run);
    __asm__ volatile("cli");
    __asm__ volatile("movq %0, %%dr7" : : "r"(0x400ull));
    __asm__ volatile("movq %0, %%cr8" : : "r"(0ull));
    judge(c, result);
}

/* ---- the start ---- */

static void make_paging(void)
{
    uint64_t *root, *table;

    __asm__("movq %%cr3, %0" : "=r"(root));
    /* All that the start has mapped is for ring 3, too. */
    root[0] |= PAGE_U;
    table = (uint64_t *)(root[0] & ~0xfffull);
    for (unsigned i = 0; i < 4; i++)
        table[i] |= PAGE_U;
    table = (uint64_t *)(table[0] & ~0xfffull);
    for (unsigned i = 0; i < 2048; i++)
        table[i] |= PAGE_U;
    root[VIRTUAL_BASE >> 39] = (uint64_t)page_tables[0] | PAGE_P | PAGE_W | PAGE_U;
    page_tables[0][0] = (uint64_t)page_tables[1] | PAGE_P | PAGE_W | PAGE_U;
    page_tables[1][0] = (uint64_t)page_tables[2] | PAGE_P | PAGE_W | PAGE_U;
    for (unsigned i = 0; i < 2; i++)
        page_tables[2][IDT_PAGE + i] = ((uint64_t)idt_frames + i * 4096) | PAGE_P | PAGE_W;
    __asm__ volatile("movq %0, %%cr3" : : "r"(root) : "memory");
}

static void make_gate(unsigned vector, uint8_t ist, uint8_t type)
{
    uint64_t stub = (uint64_t)interrupt_stubs + vector * 16;

    ((struct gate *)IDT)[vector] =
        (struct gate){stub, SELECTOR_CODE64, ist, type, stub >> 16, stub >> 32, 0};
}

static void load_tables(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(gdt) - 1, (uint64_t)gdt};
    uint64_t base = (uint64_t)&tss;

    gdt[SELECTOR_TSS / 8] =
        (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    __asm__ volatile("lgdt %0; pushq %1; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
                     :
                     : "m"(pointer), "i"(SELECTOR_CODE64)
                     : "rax", "memory");
    __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
    pointer.limit = 256 * 16 - 1;
    pointer.base = IDT;
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void make_tables(void)
{
    tss.rsp[0] = (uint64_t)kernel_stack + sizeof(kernel_stack);
    tss.ist[IST_DOUBLE_FAULT - 1] = (uint64_t)double_fault_stack + sizeof(double_fault_stack);
    tss.ist[IST_LOST - 1] = PAGE(PAGES);
    tss.io_map = (uint16_t)((uint64_t)tss.io - (uint64_t)&tss);
    for (unsigned i = 0; i < sizeof(tss.io); i++)
        tss.io[i] = 0xff;
    tss.io[PORT_ALLOWED / 8] = 0xfe;
    for (unsigned i = 0; i < 256; i++)
        make_gate(i, 0, GATE_INTERRUPT);
    make_gate(8, IST_DOUBLE_FAULT, GATE_INTERRUPT);
    make_gate(3, 0, GATE_INTERRUPT | GATE_USER);
    make_gate(VECTOR_LEAVE_USER, 0, GATE_INTERRUPT | GATE_USER);
    make_gate(VECTOR_USER, 0, GATE_INTERRUPT | GATE_USER);
    make_gate(VECTOR_ABSENT, 0, GATE_INTERRUPT & 0x7f);
    make_gate(VECTOR_LOST_STACK, IST_LOST, GATE_INTERRUPT);
}

/* Called by entry.S. */
void engine_main(void);
void engine_main(void)
{
    uint64_t cr;
    unsigned count = 0;

    __asm__ volatile("movq %%cr0, %0" : "=r"(cr));
    __asm__ volatile("movq %0, %%cr0" : : "r"((cr | 0x10002) & ~4ull)); /* WP, MP, no EM */
    __asm__ volatile("movq %%cr4, %0" : "=r"(cr));
    __asm__ volatile("movq %0, %%cr4" : : "r"(cr | 0x600)); /* OSFXSR, OSXMMEXCPT */
    make_paging();
    make_tables();
    load_tables();
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    *lapic(LAPIC_SPURIOUS) = 0x1ff;
    for (const struct guest_case *c = cases; c->name; c++, count++)
        run_case(c);
    print("%u cases, %u wrong\n", (uint64_t)count, failures);
    out32(0xf4, (uint32_t)failures);
}
