/*
 * The demo kernel's story, from 64-bit mode on: what the processor is, exceptions, paging on
 * demand, interrupts, devices, hypercalls, a user program; and the count at the end.
 */
#include "demo.h"

#define MSR_STAR  0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084

/* docs/hypercalls.md */
#define HYPERCALL_VERSION       0
#define HYPERCALL_MEMORY_MAP    1
#define HYPERCALL_SHARE         2
#define HYPERCALL_UNSHARE       3
#define HYPERCALL_IO            4
#define HYPERCALL_CONSOLE_WRITE 5
#define MEMORY_RAM              1

static uint64_t system_calls;

static uint64_t read_cr(unsigned number)
{
    uint64_t value;

    if (number == 0)
        __asm__ volatile("movq %%cr0, %0" : "=r"(value));
    else if (number == 3)
        __asm__ volatile("movq %%cr3, %0" : "=r"(value));
    else
        __asm__ volatile("movq %%cr4, %0" : "=r"(value));
    return value;
}

static void show_processor(void)
{
    union {
        struct cpuid leaf[3];
        char text[49];
    } brand = {0};
    struct cpuid vendor = cpuid(0), version = cpuid(1);
    char name[13] = {0};

    __builtin_memcpy(name, &vendor.ebx, 4);
    __builtin_memcpy(name + 4, &vendor.edx, 4);
    __builtin_memcpy(name + 8, &vendor.ecx, 4);
    if (cpuid(0x80000000).eax >= 0x80000004)
        for (unsigned i = 0; i < 3; i++)
            brand.leaf[i] = cpuid(0x80000002 + i);

    tell("long mode", "CR0 %08x  CR3 %08x  CR4 %08x  EFER %04x", read_cr(0), read_cr(3), read_cr(4),
         read_msr(0xc0000080));
    tell("", "CPUID: %s, signature %x, %s", name, (uint64_t)version.eax, brand.text);
    uint64_t before = read_tsc();
    cpuid(0);
    uint64_t cycles = read_tsc() - before;
    check(cycles > 0, "", "the time-stamp counter runs");
}

static bool faulted(uint64_t vector)
{
    return last_fault.vector == vector;
}

static void try_exceptions(void)
{
    TRY("xorl %%edx, %%edx; movl $1, %%eax; divl %%edx", "c"(0));
    check(faulted(0), "exceptions", "division by zero: #DE");
    TRY("ud2", "c"(0));
    check(faulted(6), "", "undefined instruction: #UD");
    TRY("movq (%%rcx), %%rax", "c"(0x8000000000000000));
    check(faulted(13), "", "address that is not canonical: #GP");
    TRY("movw %%cx, %%fs", "c"(0xfff8));
    check(faulted(13) && last_fault.error == 0xfff8, "",
          "selector beyond the GDT: #GP, error code %x", last_fault.error);
    TRY("movb $1, (%%rcx)", "c"(DEMAND_END));
    check(faulted(14) && last_fault.error == 2 && last_fault.address == DEMAND_END, "",
          "store to a page that is not there: #PF, error code %x", last_fault.error);

    uint64_t before = interrupts[3] + interrupts[VECTOR_SOFTWARE];
    __asm__ volatile("int3; int %0" : : "i"(VECTOR_SOFTWARE) : "memory");
    check(interrupts[3] + interrupts[VECTOR_SOFTWARE] == before + 2, "", "INT3 and INT n");
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop; nop; nop; nop" ::: "memory");
    check(single_steps == 5, "", "single-stepping on a stack of its own (IST): %u steps",
          single_steps);
}

static void use_demand_paging(void)
{
    uint64_t before = interrupts[14], sum = 0;

    for (uint64_t page = 0; page < 16; page++)
        *(volatile uint64_t *)(DEMAND_START + page * 4096 + 8 * page) = page + 1;
    for (uint64_t page = 0; page < 16; page++)
        sum += *(volatile uint64_t *)(DEMAND_START + page * 4096 + 8 * page);
    check(interrupts[14] - before == 16 && sum == 136, "paging",
          "16 pages mapped by the page-fault handler at their first use");
}

static void wait_for_timers(void)
{
    uint64_t before;

    timer_start(1000);
    before = interrupts[VECTOR_TIMER];
    while (interrupts[VECTOR_TIMER] < before + 10)
        __asm__ volatile("sti; hlt; cli");
    check(true, "interrupts", "10 ticks of the 8254 through the 8259, waited for with HLT");
    if (cpuid(1).edx >> 9 & 1)
        check(apic_timer_wait(100000), "", "one shot of the local APIC's timer");
}

struct hypercall {
    int64_t result;
    uint64_t rbx, rcx, rdx;
};

static struct hypercall hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    struct hypercall call = {number, a, b, c};

    last_fault.vector = NO_FAULT;
    __asm__ volatile("leaq 1f(%%rip), %%rdi; movq %%rdi, resume_at; vmcall; 1:"
                     : "+a"(call.result), "+b"(call.rbx), "+c"(call.rcx), "+d"(call.rdx)
                     : "S"(0)
                     : "rdi", "memory");
    resume_at = 0;
    return call;
}

static void try_hypercalls(void)
{
    static char page[4096] __attribute__((aligned(4096)));
    static const char text[] = "                (this line was written by a hypercall)\r\n";
    struct hypercall call = hypercall(HYPERCALL_VERSION, 0, 0, 0);
    uint64_t ram = 0, ranges = 0;

    if (faulted(6)) {
        tell("hypercalls", "VMCALL raises #UD: nobody to call here");
        return;
    }
    check(call.result > 0, "hypercalls", "VMCALL: interface version %u", call.result);
    while ((call = hypercall(HYPERCALL_MEMORY_MAP, ranges, 0, 0)).result >= 0) {
        ram += call.rdx == MEMORY_RAM ? call.rcx : 0;
        ranges++;
    }
    check(ram >= 1 << 20, "", "memory map: %u ranges, %u MiB of RAM", ranges, ram >> 20);

    bool shared = hypercall(HYPERCALL_SHARE, (uint64_t)page, sizeof(page), 0).result == 0;
    bool twice = hypercall(HYPERCALL_SHARE, (uint64_t)page, sizeof(page), 0).result >= 0;
    bool unshared = hypercall(HYPERCALL_UNSHARE, (uint64_t)page, sizeof(page), 0).result == 0;
    check(shared && !twice && unshared, "",
          "a page shared with the host, not twice, and taken back");
    call = hypercall(HYPERCALL_IO, UART + 5, 1, 0);
    check(call.result == 0 && (call.rbx & 0x20), "", "the UART's status read by an I/O request");
    hypercall(HYPERCALL_CONSOLE_WRITE, (uint64_t)text, sizeof(text) - 1, 0);
    call = hypercall(0x7fff, 0, 0, 0);
    check(call.result < 0, "", "an unknown number gets an error code");
}

/* Called by entry.S. */
uint64_t system_call(uint64_t number, uint64_t a, uint64_t b);
uint64_t system_call(uint64_t number, uint64_t a, uint64_t b)
{
    system_calls++;
    switch (number) {
    case SYSCALL_WRITE:
        if (a < USER_CODE || a >= USER_STACK_TOP || b > USER_STACK_TOP - a)
            return -1;
        put_text((const char *)a, b);
        return b;
    case SYSCALL_TICKS:
        return interrupts[VECTOR_TIMER];
    case SYSCALL_EXPECT:
        last_fault.vector = NO_FAULT;
        resume_at = a;
        return 0;
    case SYSCALL_FAULT:
        resume_at = 0;
        return last_fault.vector << 32 | last_fault.error;
    case SYSCALL_EXIT:
        leave_user(a);
    }
    return -1;
}

static void run_user_program(void)
{
    uint64_t size = user_program_end - user_program, calls = system_calls;

    write_msr(MSR_STAR, (uint64_t)(SELECTOR_USER_BASE | 3) << 48 | (uint64_t)SELECTOR_CODE64 << 32);
    write_msr(MSR_LSTAR, (uint64_t)syscall_entry);
    write_msr(MSR_FMASK, 0x700); /* TF, IF, DF */
    for (uint64_t at = 0; at < size; at += 4096) {
        char *page = map_new_page(USER_CODE + at, PAGE_USER);
        for (uint64_t i = 0; i < 4096 && at + i < size; i++)
            page[i] = user_program[at + i];
    }
    int status = enter_user(USER_CODE, USER_STACK_TOP);
    failures += status & 0xff;
    check(status >> 8 == 42, "", "the program ended with status %u after %u system calls",
          (uint64_t)status >> 8, system_calls - calls);
}

/* Called by boot.S with the number of checks that failed before. */
void kernel_main(unsigned boot_failures);
void kernel_main(unsigned boot_failures)
{
    uint64_t exceptions = 0;

    checks = 2;
    failures = boot_failures;
    traps_init();
    show_processor();
    try_exceptions();
    use_demand_paging();
    wait_for_timers();
    show_clock();
    show_pci();
    try_hypercalls();
    run_user_program();
    timer_stop();

    for (unsigned i = 0; i < 32; i++)
        exceptions += interrupts[i];
    tell("the end", "%u exceptions, %u timer interrupts, %u system calls, %u pages mapped",
         exceptions, interrupts[VECTOR_TIMER] + interrupts[VECTOR_APIC], system_calls,
         pages_mapped);
    if (failures)
        tell("", "%u checks FAILED", (uint64_t)failures);
    else
        tell("", "all is well: powering off");
    power_off(!failures);
}
