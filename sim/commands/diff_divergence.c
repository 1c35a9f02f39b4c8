/* The report of the instruction at which two runs part. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "sim/commands/diff_divergence.h"
#include "sim/event_text.h"

#define LINE_TEXT_SIZE (3 * RUNNER_LINE + 1)

/* --- Registers --- */

struct register_row {
    const char *name;
    size_t offset; /* in struct cpu_state */
    uint8_t size;
    bool always; /* shown also where both have the same */
};

#define ROW(name, member, always)                                                                 \
    {                                                                                             \
        name, offsetof(struct cpu_state, member), sizeof(((struct cpu_state *)0)->member), always \
    }
#define SEGMENT_ROWS(name, number)                                                      \
    ROW(name, seg[number].selector, false), ROW(name ".base", seg[number].base, false), \
        ROW(name ".limit", seg[number].limit, false),                                   \
        ROW(name ".access-rights", seg[number].access_rights, false)

// clang-format off
static const struct register_row rows[] = {
    ROW("rip", rip, true), ROW("rflags", rflags, true),
    ROW("rax", gpr[GPR_RAX], true), ROW("rcx", gpr[GPR_RCX], true),
    ROW("rdx", gpr[GPR_RDX], true), ROW("rbx", gpr[GPR_RBX], true),
    ROW("rsp", gpr[GPR_RSP], true), ROW("rbp", gpr[GPR_RBP], true),
    ROW("rsi", gpr[GPR_RSI], true), ROW("rdi", gpr[GPR_RDI], true),
    ROW("r8", gpr[GPR_R8], true), ROW("r9", gpr[GPR_R9], true),
    ROW("r10", gpr[GPR_R10], true), ROW("r11", gpr[GPR_R11], true),
    ROW("r12", gpr[GPR_R12], true), ROW("r13", gpr[GPR_R13], true),
    ROW("r14", gpr[GPR_R14], true), ROW("r15", gpr[GPR_R15], true),
    SEGMENT_ROWS("es", SEG_ES), SEGMENT_ROWS("cs", SEG_CS), SEGMENT_ROWS("ss", SEG_SS),
    SEGMENT_ROWS("ds", SEG_DS), SEGMENT_ROWS("fs", SEG_FS), SEGMENT_ROWS("gs", SEG_GS),
    SEGMENT_ROWS("ldtr", SEG_LDTR), SEGMENT_ROWS("tr", SEG_TR),
    ROW("gdtr.base", gdtr.base, false), ROW("gdtr.limit", gdtr.limit, false),
    ROW("idtr.base", idtr.base, false), ROW("idtr.limit", idtr.limit, false),
    ROW("cr0", cr0, false), ROW("cr2", cr2, false), ROW("cr3", cr3, false),
    ROW("cr4", cr4, false), ROW("xcr0", xcr0, false),
    ROW("dr0", dr[0], false), ROW("dr1", dr[1], false), ROW("dr2", dr[2], false),
    ROW("dr3", dr[3], false), ROW("dr6", dr6, false), ROW("dr7", dr7, false),
    ROW("efer", efer, false), ROW("star", star, false), ROW("lstar", lstar, false),
    ROW("cstar", cstar, false), ROW("fmask", fmask, false),
    ROW("kernel-gs-base", kernel_gs_base, false), ROW("tsc-aux", tsc_aux, false),
    ROW("sysenter-cs", sysenter_cs, false), ROW("sysenter-esp", sysenter_esp, false),
    ROW("sysenter-eip", sysenter_eip, false),
    ROW("interruptibility", interruptibility, false),
};
// clang-format on
#define ROWS (sizeof(rows) / sizeof(*rows))

static uint64_t row_value(const struct register_row *row, const struct cpu_state *state)
{
    uint64_t value = 0;

    memcpy(&value, (const char *)state + row->offset, row->size); /* hosts are little-endian */
    return value;
}

/* Registers of x87 and SSE are shown only where they differ. */
struct fpu_row {
    const char *name;
    unsigned number; /* of the registers; the second is 16 bytes behind the first, and so on */
    unsigned offset, size; /* in the image of FXSAVE */
};
static const struct fpu_row fpu_rows[] = {
    {"fcw", 1, 0, 2},    {"fsw", 1, 2, 2},  {"ftw", 1, 4, 1},
    {"mxcsr", 1, 24, 4}, {"st", 8, 32, 10}, {"xmm", 16, 160, 16},
};
#define FPU_ROWS      (sizeof(fpu_rows) / sizeof(*fpu_rows))
#define FPU_REGISTER  16
#define FPU_TEXT_SIZE (2 * FPU_REGISTER + 1)

/* The value of register `number` of a row, high digits first. */
static void fpu_text(char text[FPU_TEXT_SIZE], const struct fpu_row *row, unsigned number,
                     const uint8_t *image)
{
    const uint8_t *value = image + row->offset + (size_t)number * FPU_REGISTER;

    for (unsigned i = 0; i < row->size; i++)
        snprintf(text + 2 * i, 3, "%02x", value[row->size - 1 - i]);
}

/* Calls `take` with the name and both values of every one that differs. */
static void for_each_fpu_difference(const struct divergence *divergence, void *context,
                                    void (*take)(void *context, const char *name, const char *a,
                                                 const char *b))
{
    char name[8], a[FPU_TEXT_SIZE], b[FPU_TEXT_SIZE];

    for (unsigned i = 0; i < FPU_ROWS; i++) {
        for (unsigned number = 0; number < fpu_rows[i].number; number++) {
            fpu_text(a, &fpu_rows[i], number, divergence->fpu_after[0]);
            fpu_text(b, &fpu_rows[i], number, divergence->fpu_after[1]);
            snprintf(name, sizeof(name), fpu_rows[i].number > 1 ? "%s%u" : "%s", fpu_rows[i].name,
                     number);
            if (strcmp(a, b) != 0)
                take(context, name, a, b);
        }
    }
}

static void print_fpu_row(void *context, const char *name, const char *a, const char *b)
{
    printf("* %-18s %s   %s\n", name, a, b);
}

static void print_registers(const struct divergence *divergence)
{
    const struct cpu_state *state = divergence->after;

    printf("  %-18s %-18s %s\n", "", "A", "B");
    for (unsigned i = 0; i < ROWS; i++) {
        uint64_t a = row_value(&rows[i], &state[0]), b = row_value(&rows[i], &state[1]);

        if (rows[i].always || a != b)
            printf("%c %-18s %016" PRIx64 "   %016" PRIx64 "\n", a == b ? ' ' : '*', rows[i].name,
                   a, b);
    }
    for_each_fpu_difference(divergence, NULL, print_fpu_row);
}

/* --- Text --- */

static void line_text(char text[LINE_TEXT_SIZE], const uint8_t line[RUNNER_LINE], bool present)
{
    if (!present) {
        snprintf(text, LINE_TEXT_SIZE, "(no memory is there)");
        return;
    }
    for (unsigned i = 0; i < RUNNER_LINE; i++)
        snprintf(text + 3 * i, 4, "%02x ", line[i]);
    text[3 * RUNNER_LINE - 1] = '\0';
}

static void print_line_pair(const char *when, const uint8_t line[2][RUNNER_LINE],
                            const bool present[2])
{
    bool same = present[0] == present[1] && memcmp(line[0], line[1], RUNNER_LINE) == 0;
    char text[LINE_TEXT_SIZE];

    for (unsigned side = 0; side < 2; side++) {
        line_text(text, line[side], present[side]);
        printf("%c   %-7s %c  %s\n", same ? ' ' : '*', when, 'A' + (int)side, text);
    }
}

static void print_lines(const struct divergence *divergence)
{
    for (unsigned i = 0; i < divergence->line_count; i++) {
        const struct divergence_line *line = &divergence->line[i];

        printf("  memory at %016" PRIx64 "\n", line->linear);
        print_line_pair("before", line->before, line->present);
        print_line_pair("after", line->after, line->present);
    }
}

static void print_instruction(const struct divergence_instruction *instruction, bool last,
                              const struct symbols *symbols)
{
    char symbol[EVENT_TEXT_SIZE], bytes[2 * INSTRUCTION_BYTES + 1] = "";

    event_symbol_text(symbols, instruction->rip, symbol, sizeof(symbol));
    for (unsigned i = 0; i < instruction->text.size; i++)
        snprintf(bytes + 2 * i, 3, "%02x", instruction->bytes[i]);
    printf("%c %016" PRIx64 "  %-20s  %s%s%s\n", last ? '>' : ' ', instruction->rip, bytes,
           instruction->text.text, *symbol ? "  ; " : "", symbol);
}

static void print_pages(const char *text, const uint64_t *page, uint64_t count)
{
    printf("%s %" PRIu64 " page%s of guest memory differ%s", text, count, count == 1 ? "" : "s",
           count == 1 ? "s" : "");
    for (uint64_t i = 0; i < count && i < DIVERGENCE_PAGES; i++)
        printf("%s%#" PRIx64, i ? ", " : ": ", page[i]);
    puts(count > DIVERGENCE_PAGES ? ", ..." : "");
}

static void print_found(const struct divergence *divergence, const struct symbols *symbols)
{
    printf("the first instruction after which the runs differ is number %" PRIu64 " (%" PRIu64
           " have retired, and nothing differs)\n",
           divergence->instructions, divergence->instructions - 1);
    for (unsigned i = 0; i < divergence->history_count; i++)
        print_instruction(&divergence->history[i], i + 1 == divergence->history_count, symbols);
    puts("registers after it:");
    print_registers(divergence);
    for (unsigned side = 0; side < 2; side++)
        if (divergence->ended[side])
            printf("the guest of %c stops there\n", 'A' + (int)side);
    print_lines(divergence);
    print_pages("before it", divergence->page, divergence->pages);
}

void divergence_print(const struct divergence *divergence, const struct symbols *symbols)
{
    switch (divergence->kind) {
    case DIVERGENCE_NONE:
        puts("executed again, the runs never differ in registers: what differs is memory (--memory "
             "finds it) or time");
        break;
    case DIVERGENCE_START:
        puts("the runs begin with different registers:");
        print_registers(divergence);
        break;
    case DIVERGENCE_FOUND:
        print_found(divergence, symbols);
        break;
    }
    if (divergence->memory_differs) {
        printf("memory differs after %" PRIu64 " instructions for the first time:\n",
               divergence->memory_instructions);
        print_pages(" ", divergence->memory_page, divergence->memory_pages);
    }
    printf("(both runs executed again in %.1f s, %.1f s of it up to %" PRIu64
           " instructions, where they are equal; %" PRIu64 " places compared)\n",
           divergence->seconds, divergence->approach_seconds, divergence->agreed,
           divergence->stops);
}

/* --- JSON --- */

static json_t *hex_json(uint64_t value)
{
    char text[19];

    snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return json_string(text);
}

static void add_fpu_row(void *context, const char *name, const char *a, const char *b)
{
    json_object_set_new(context, name, json_pack("{s:s, s:s, s:b}", "a", a, "b", b, "differs", 1));
}

static json_t *registers_json(const struct divergence *divergence)
{
    const struct cpu_state *state = divergence->after;
    json_t *object = json_object();

    for (unsigned i = 0; i < ROWS; i++) {
        uint64_t a = row_value(&rows[i], &state[0]), b = row_value(&rows[i], &state[1]);

        if (rows[i].always || a != b)
            json_object_set_new(object, rows[i].name,
                                json_pack("{s:o, s:o, s:b}", "a", hex_json(a), "b", hex_json(b),
                                          "differs", a != b));
    }
    for_each_fpu_difference(divergence, object, add_fpu_row);
    return object;
}

static json_t *line_json(const uint8_t line[2][RUNNER_LINE], const bool present[2])
{
    json_t *object = json_object();
    char text[LINE_TEXT_SIZE];

    for (unsigned side = 0; side < 2; side++) {
        line_text(text, line[side], present[side]);
        json_object_set_new(object, side ? "b" : "a",
                            present[side] ? json_string(text) : json_null());
    }
    return object;
}

static json_t *lines_json(const struct divergence *divergence)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < divergence->line_count; i++) {
        const struct divergence_line *line = &divergence->line[i];

        json_array_append_new(list, json_pack("{s:o, s:o, s:o}", "linear", hex_json(line->linear),
                                              "before", line_json(line->before, line->present),
                                              "after", line_json(line->after, line->present)));
    }
    return list;
}

static json_t *history_json(const struct divergence *divergence, const struct symbols *symbols)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < divergence->history_count; i++) {
        const struct divergence_instruction *instruction = &divergence->history[i];
        char symbol[EVENT_TEXT_SIZE];
        json_t *object = json_pack("{s:o, s:s}", "rip", hex_json(instruction->rip), "text",
                                   instruction->text.text);

        event_symbol_text(symbols, instruction->rip, symbol, sizeof(symbol));
        if (*symbol)
            json_object_set_new(object, "symbol", json_string(symbol));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *pages_json(const uint64_t *page, uint64_t count)
{
    json_t *list = json_array();

    for (uint64_t i = 0; i < count && i < DIVERGENCE_PAGES; i++)
        json_array_append_new(list, hex_json(page[i]));
    return json_pack("{s:I, s:o}", "count", (json_int_t)count, "first", list);
}

json_t *divergence_json(const struct divergence *divergence, const struct symbols *symbols)
{
    static const char *const kinds[] = {"none", "start", "found"};
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:f, s:f}", "result", kinds[divergence->kind], "agreed_instructions",
        (json_int_t)divergence->agreed, "places_compared", (json_int_t)divergence->stops, "seconds",
        divergence->seconds, "approach_seconds", divergence->approach_seconds);

    if (divergence->kind == DIVERGENCE_FOUND) {
        json_object_set_new(object, "instructions",
                            json_integer((json_int_t)divergence->instructions));
        json_object_set_new(object, "executed", history_json(divergence, symbols));
        json_object_set_new(object, "memory", lines_json(divergence));
        json_object_set_new(object, "pages_before",
                            pages_json(divergence->page, divergence->pages));
        json_object_set_new(object, "stopped",
                            json_pack("{s:b, s:b}", "a", (int)divergence->ended[0], "b",
                                      (int)divergence->ended[1]));
    }
    if (divergence->kind != DIVERGENCE_NONE)
        json_object_set_new(object, "registers", registers_json(divergence));
    if (divergence->memory_differs)
        json_object_set_new(
            object, "memory_difference",
            json_pack("{s:I, s:o}", "instructions", (json_int_t)divergence->memory_instructions,
                      "pages", pages_json(divergence->memory_page, divergence->memory_pages)));
    return object;
}
