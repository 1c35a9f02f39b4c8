/* What the numbers in an event mean, in the words of the SDM. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "cpu/event.h"
#include "cpu/exit.h"
#include "memory/mmu.h"
#include "sim/event_text.h"

#define QUALIFICATION_NMI_UNBLOCKED (1ull << 12) /* of EPT violations */

/* Text that grows at its end, and is cut where there is no room. */
struct text {
    char *at;
    size_t room; /* with the terminating 0 */
};

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text->at, text->room, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    if ((size_t)length >= text->room)
        length = (int)text->room - 1;
    text->at += length;
    text->room -= (size_t)length;
}

static const char *register_name(unsigned number)
{
    static const char *const names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                        "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};

    return names[number & 15];
}

/* Bits of the three formats of interruption information that are alike: vector, type. */
static void say_interruption(struct text *text, uint32_t info)
{
    static const char *const types[] = {
        "external interrupt", "reserved",           "NMI",
        "hardware exception", "software interrupt", "privileged software exception",
        "software exception", "other event",
    };
    unsigned type = info >> INTR_INFO_TYPE_SHIFT & 7, vector = info & INTR_INFO_VECTOR;
    const char *name = type == EVENT_EXTERNAL_INTERRUPT ? NULL : event_vector_name(vector);

    if (!(info & INTR_INFO_VALID)) {
        say(text, "not valid");
        return;
    }
    if (type == EVENT_NMI)
        say(text, "NMI");
    else if (name)
        say(text, "%s %s", types[type], name);
    else
        say(text, "%s %u (0x%x)", types[type], vector, vector);
}

/* SDM "Exit Qualification for I/O Instructions". */
static void say_io(struct text *text, const struct trace_exit *exit)
{
    uint64_t qualification = exit->qualification;
    unsigned size = (unsigned)(qualification & 7) + 1;
    bool in = qualification >> 3 & 1;

    say(text, "%s%s%s port 0x%x, %u byte%s", qualification >> 5 & 1 ? "rep " : "",
        in ? "in" : "out",
        qualification >> 4 & 1 ? (in ? "s from" : "s to")
        : in                   ? " from"
                               : " to",
        (unsigned)(qualification >> 16 & 0xffff), size, size == 1 ? "" : "s");
}

/* SDM "Exit Qualification for Control-Register Accesses". */
static void say_cr(struct text *text, const struct trace_exit *exit)
{
    unsigned number = exit->qualification & 15, type = exit->qualification >> 4 & 3;
    const char *gpr = register_name(exit->qualification >> 8 & 15);

    if (type == 0)
        say(text, "MOV to CR%u from %s", number, gpr);
    else if (type == 1)
        say(text, "MOV from CR%u to %s", number, gpr);
    else if (type == 2)
        say(text, "CLTS");
    else
        say(text, "LMSW 0x%x", (unsigned)(exit->qualification >> 16 & 0xffff));
}

/* SDM "Exit Qualification for MOV DR". */
static void say_dr(struct text *text, const struct trace_exit *exit)
{
    unsigned number = exit->qualification & 7;
    const char *gpr = register_name(exit->qualification >> 8 & 15);
    bool from = exit->qualification >> 4 & 1;

    say(text, "MOV %s DR%u %s %s", from ? "from" : "to", number, from ? "to" : "from", gpr);
}

static void say_msr(struct text *text, const struct trace_exit *exit)
{
    const char *name = event_msr_name(exit->operand);

    say(text, "MSR 0x%" PRIx64 "%s%s", exit->operand, name ? " " : "", name ? name : "");
}

static void say_cpuid(struct text *text, const struct trace_exit *exit)
{
    say(text, "leaf 0x%x, subleaf 0x%x", (unsigned)exit->operand, (unsigned)(exit->operand >> 32));
}

/* SDM "Exit Qualification for EPT Violations": what the page allows and whose access it was. */
static void say_ept_rights(struct text *text, uint64_t qualification)
{
    if (qualification >> 3 & 7)
        say(text, ", page is %s%s%s", qualification >> 3 & 1 ? "r" : "-",
            qualification >> 4 & 1 ? "w" : "-", qualification >> 5 & 1 ? "x" : "-");
    else
        say(text, ", page is not present");
    if ((qualification >> 7 & 3) == 1)
        say(text, ", by a guest page walk");
    if (qualification & QUALIFICATION_NMI_UNBLOCKED)
        say(text, ", NMI unblocked by IRET");
}

static void say_ept_violation(struct text *text, const struct trace_exit *exit)
{
    static const char *const accesses[] = {"read", "write", "fetch"};
    const char *before = "";

    for (unsigned i = 0; i < 3; i++) {
        if (!(exit->qualification >> i & 1))
            continue;
        say(text, "%s%s", before, accesses[i]);
        before = "+";
    }
    say_ept_rights(text, exit->qualification);
}

/* SDM "Exit Qualification for Task Switches". */
static void say_task_switch(struct text *text, const struct trace_exit *exit)
{
    static const char *const sources[] = {"CALL", "IRET", "JMP", "task gate in the IDT"};

    say(text, "%s to TSS selector 0x%x", sources[exit->qualification >> 30 & 3],
        (unsigned)(exit->qualification & 0xffff));
}

static void say_interrupted(struct text *text, const struct trace_exit *exit)
{
    if (!(exit->interruption_info & INTR_INFO_VALID))
        return;
    say_interruption(text, exit->interruption_info);
    if ((exit->interruption_info & (INTR_INFO_VECTOR | 7u << INTR_INFO_TYPE_SHIFT)) ==
        (14 | EVENT_HARDWARE_EXCEPTION << INTR_INFO_TYPE_SHIFT))
        say(text, " at 0x%" PRIx64, exit->qualification);
}

static void (*const exits[EXIT_REASON_COUNT])(struct text *, const struct trace_exit *) = {
    [EXIT_EXCEPTION_OR_NMI] = say_interrupted,
    [EXIT_EXTERNAL_INTERRUPT] = say_interrupted,
    [EXIT_TASK_SWITCH] = say_task_switch,
    [EXIT_CPUID] = say_cpuid,
    [EXIT_CR_ACCESS] = say_cr,
    [EXIT_MOV_DR] = say_dr,
    [EXIT_IO] = say_io,
    [EXIT_RDMSR] = say_msr,
    [EXIT_WRMSR] = say_msr,
    [EXIT_EPT_VIOLATION] = say_ept_violation,
};

static void say_exit(struct text *text, const struct trace_event *event)
{
    unsigned basic = event->exit.reason & 0xffff;

    if (basic < EXIT_REASON_COUNT && exits[basic])
        exits[basic](text, &event->exit);
    else if (event->exit.reason & EXIT_REASON_ENTRY_FAILURE)
        say(text, "VM entry failed");
}

static void say_walk(struct text *text, const struct trace_event *event)
{
    static const char *const accesses[] = {"read", "write", "fetch", "access"};
    uint32_t access = event->walk.access, error = event->walk.error_code;

    say(text, "%s %s", access & ACCESS_USER ? "user" : "supervisor",
        accesses[access & ACCESS_TYPE_MASK]);
    if (access & ACCESS_IMPLICIT)
        say(text, ", implicit");
    if (event->walk.status == MMU_PAGE_FAULT)
        say(text, ", %s%s", error & 1 ? "not permitted" : "not present",
            error & 8 ? ", reserved bit set" : "");
    if (event->walk.status == MMU_EPT_VIOLATION)
        say_ept_rights(text, error);
}

void event_explain(const struct trace_event *event, char *buffer, size_t size)
{
    struct text text = {buffer, size};

    *buffer = '\0';
    if (event->type == TRACE_EXIT)
        say_exit(&text, event);
    else if (event->type == TRACE_INJECTION)
        say_interruption(&text, event->injection.info);
    else if (event->type == TRACE_WALK)
        say_walk(&text, event);
}
