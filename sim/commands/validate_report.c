#include "sim/commands/validate_report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <capstone/capstone.h>
#include <jansson.h>

#include "sim/event_text.h"

static const char *const register_names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                      "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                      "r12", "r13", "r14", "r15"};

bool validate_agrees(const struct validate_report *report)
{
    return !report->differences && !report->ends_differ && !report->console_differs;
}

static const char *class_name(unsigned class)
{
    unsigned reason;
    unsigned type = trace_class_type(class, &reason);

    return type == TRACE_EXIT ? event_reason_name(reason) : trace_event_name(type);
}

static uint64_t class_total(const struct trace_class_agreement *class)
{
    return class->equal + class->changed + class->only[0] + class->only[1];
}

static double share(const struct trace_class_agreement *class)
{
    return 100.0 * (double)class->equal / (double)class_total(class);
}

static const char *end_name(enum vm_stop_reason reason)
{
    static const char *const names[] = {
        [VM_STOP_NONE] = "none",
        [VM_STOP_POWER_OFF] = "power-off",
        [VM_STOP_RESET] = "reset",
        [VM_STOP_DEBUG_EXIT] = "debug-exit",
        [VM_STOP_TRIPLE_FAULT] = "triple-fault",
        [VM_STOP_HALTED] = "halted",
        [VM_STOP_INSTRUCTION_LIMIT] = "instruction-limit",
        [VM_STOP_REQUESTED] = "requested",
        [VM_STOP_ENTRY_FAILURE] = "entry-failure",
        [VM_STOP_UNHANDLED_EXIT] = "unhandled-exit",
        [VM_STOP_ENGINE_ERROR] = "engine-error",
    };
    return names[reason];
}

static void disassemble(const struct validate_state *state, char *text, size_t size)
{
    cs_insn *insn;
    csh handle;

    snprintf(text, size, "(unreadable)");
    if (!state->code_size || cs_open(CS_ARCH_X86,
                                     state->code_bits == 64   ? CS_MODE_64
                                     : state->code_bits == 32 ? CS_MODE_32
                                                              : CS_MODE_16,
                                     &handle))
        return;
    if (cs_disasm(handle, state->code, state->code_size, state->rip, 1, &insn) == 1) {
        snprintf(text, size, "%s %s", insn->mnemonic, insn->op_str);
        cs_free(insn, 1);
    }
    cs_close(&handle);
}

/* --- Text --- */

static void print_classes(const struct validate_report *report)
{
    printf("%-24s %10s %10s %12s %12s %9s\n", "EVENT", "AGREE", "DIFFER", "ONLY FIRST",
           "ONLY SECOND", "AGREEMENT");
    for (unsigned i = 1; i < TRACE_CLASSES; i++) {
        const struct trace_class_agreement *class = &report->result.class[i];

        if (class_total(class))
            printf("%-24s %10" PRIu64 " %10" PRIu64 " %12" PRIu64 " %12" PRIu64 " %8.2f%%\n",
                   class_name(i), class->equal, class->changed, class->only[0], class->only[1],
                   share(class));
    }
}

static void print_sides(const struct validate_report *report)
{
    for (unsigned side = 0; side < 2; side++) {
        const struct validate_end *end = &report->end[side];

        printf("%-24s %s, status %d, after %.2f s%s, %" PRIu64 " bytes on the console\n",
               report->name[side], end_name(end->reason), end->guest_status, end->seconds,
               end->timed_out ? " (the time limit)" : "", report->console_size[side]);
        if (report->ends_differ && *end->message)
            printf("%-24s %s\n", "", end->message);
    }
}

static void print_left_out(const struct validate_report *report)
{
    const struct trace_comparison *comparison = &report->comparison;

    if (comparison->applied_count || report->profiles)
        printf("\nnot compared:\n");
    if (report->profiles)
        puts("  costs: time, cycles and state hashes are not compared, because profiles differ in "
             "what a VM exit costs");
    for (unsigned i = 0; i < comparison->applied_count; i++)
        printf("  %s: %s, because %s\n", comparison->applied[i]->name, comparison->applied[i]->what,
               comparison->applied[i]->why);
}

static void print_row(bool marked, const char *name, const char *first, const char *second)
{
    printf("%c %-23s %-38s %s\n", marked ? '*' : ' ', name, first, second);
}

static void print_event(const struct validate_report *report)
{
    const struct trace_difference *first = &report->first;
    const struct trace_event *event = first->event;
    const struct trace_field *field;
    char text[2][EVENT_TEXT_SIZE];
    unsigned shown = first->change == TRACE_ONLY_ONE ? first->side : 0;

    for (unsigned i = 0; (field = trace_class_field(event[shown].type, i)); i++) {
        for (unsigned side = 0; side < 2; side++) {
            snprintf(text[side], sizeof(text[side]), "-");
            if (first->change == TRACE_CHANGED || side == first->side)
                event_field_text(&event[side], field, text[side], sizeof(text[side]));
        }
        print_row(first->change == TRACE_CHANGED && first->fields >> i & 1, field->name, text[0],
                  text[1]);
    }
    for (unsigned side = 0; side < 2; side++) {
        *text[side] = '\0';
        if (first->change == TRACE_CHANGED || side == first->side)
            event_explain(&event[side], text[side], sizeof(text[side]));
    }
    if (*text[0] || *text[1])
        print_row(false, "meaning", text[0], text[1]);
}

static void print_register(const struct validate_report *report, const char *name, uint64_t first,
                           uint64_t second)
{
    bool both = report->state[0].valid && report->state[1].valid;
    char text[2][24] = {"-", "-"};

    for (unsigned side = 0; side < 2; side++)
        if (report->state[side].valid)
            snprintf(text[side], sizeof(text[side]), "0x%016" PRIx64, side ? second : first);
    print_row(both && first != second, name, text[0], text[1]);
}

static void print_state(const struct validate_report *report)
{
    const struct validate_state *state = report->state;
    char text[2][200];

    for (unsigned side = 0; side < 2; side++) {
        snprintf(text[side], sizeof(text[side]), "-");
        if (state[side].valid)
            disassemble(&state[side], text[side], sizeof(text[side]));
    }
    print_row(strcmp(text[0], text[1]) != 0, "instruction", text[0], text[1]);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        print_register(report, register_names[i], state[0].gpr[i], state[1].gpr[i]);
    print_register(report, "rip", state[0].rip, state[1].rip);
    print_register(report, "rflags", state[0].rflags, state[1].rflags);
    print_register(report, "cr0", state[0].cr0, state[1].cr0);
    print_register(report, "cr3", state[0].cr3, state[1].cr3);
    print_register(report, "cr4", state[0].cr4, state[1].cr4);
    print_register(report, "efer", state[0].efer, state[1].efer);
}

static void print_first(const struct validate_report *report)
{
    const struct trace_difference *first = &report->first;
    unsigned shown = first->change == TRACE_ONLY_ONE ? first->side : 0;

    printf("\nthe first disagreement: %s, event %" PRIu64 " of the first and %" PRIu64
           " of the second\n",
           class_name(trace_class(&first->event[shown])), first->number[0], first->number[1]);
    if (first->change == TRACE_ONLY_ONE)
        printf("only %s has it\n", report->name[first->side]);
    print_row(false, "", report->name[0], report->name[1]);
    print_event(report);
    if (report->state[0].valid || report->state[1].valid)
        print_state(report);
}

void validate_report_print(const struct validate_report *report)
{
    print_sides(report);
    if (report->ends_differ)
        puts("the runs ended in different ways");
    putchar('\n');
    print_classes(report);
    if (report->console_differs)
        printf("\nthe console differs from byte %" PRIu64 " on:\n  %-24s %s\n  %-24s %s\n",
               report->console_equal, report->name[0], report->console_line[0], report->name[1],
               report->console_line[1]);
    else
        printf("%-24s %10" PRIu64 " bytes agree\n", "console", report->console_equal);
    print_left_out(report);
    if (report->differences)
        print_first(report);
    printf("\n%s\n", validate_agrees(report) ? "all that is compared agrees" : "they do not agree");
}

/* --- JSON --- */

static json_t *side_json(const struct validate_report *report, unsigned side)
{
    const struct validate_end *end = &report->end[side];

    return json_pack("{s:s, s:s, s:s, s:i, s:f, s:b, s:s, s:I}", "name", report->name[side],
                     "backend", report->backend[side], "stop", end_name(end->reason),
                     "guest_status", end->guest_status, "seconds", end->seconds, "timed_out",
                     end->timed_out, "message", end->message, "console_bytes",
                     (json_int_t)report->console_size[side]);
}

static json_t *classes_json(const struct validate_report *report)
{
    json_t *list = json_array();

    for (unsigned i = 1; i < TRACE_CLASSES; i++) {
        const struct trace_class_agreement *class = &report->result.class[i];

        if (class_total(class))
            json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I, s:I}", "event",
                                                  class_name(i), "agree", (json_int_t) class->equal,
                                                  "differ", (json_int_t) class->changed,
                                                  "only_first", (json_int_t) class->only[0],
                                                  "only_second", (json_int_t) class->only[1]));
    }
    return list;
}

static json_t *left_out_json(const struct validate_report *report)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < report->comparison.applied_count; i++) {
        const struct trace_normalization *row = report->comparison.applied[i];

        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", row->name, "what",
                                              row->what, "why", row->why));
    }
    return list;
}

static json_t *hex_json(uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return json_string(text);
}

static json_t *state_json(const struct validate_state *state)
{
    json_t *object;
    char text[200];

    if (!state->valid)
        return json_null();
    object = json_object();
    disassemble(state, text, sizeof(text));
    json_object_set_new(object, "instruction", json_string(text));
    for (unsigned i = 0; i < GPR_COUNT; i++)
        json_object_set_new(object, register_names[i], hex_json(state->gpr[i]));
    json_object_set_new(object, "rip", hex_json(state->rip));
    json_object_set_new(object, "rflags", hex_json(state->rflags));
    json_object_set_new(object, "cr0", hex_json(state->cr0));
    json_object_set_new(object, "cr3", hex_json(state->cr3));
    json_object_set_new(object, "cr4", hex_json(state->cr4));
    json_object_set_new(object, "efer", hex_json(state->efer));
    return object;
}

static json_t *first_json(const struct validate_report *report)
{
    const struct trace_difference *first = &report->first;
    json_t *list = json_array();

    if (!report->differences)
        return json_null();
    for (unsigned side = 0; side < 2; side++) {
        bool there = first->change == TRACE_CHANGED || first->side == side;

        json_array_append_new(
            list, json_pack("{s:o, s:o}", "event",
                            there ? event_json(first->number[side], &first->event[side], NULL)
                                  : json_null(),
                            "state", state_json(&report->state[side])));
    }
    return list;
}

int validate_report_print_json(const struct validate_report *report, int status)
{
    json_t *document = json_pack(
        "{s:b, s:i, s:[o, o], s:o, s:b, s:I, s:b, s:o, s:o}", "agree", validate_agrees(report),
        "exit_status", status, "sides", side_json(report, 0), side_json(report, 1), "events",
        classes_json(report), "console_agrees", !report->console_differs, "console_equal_bytes",
        (json_int_t)report->console_equal, "ends_agree", !report->ends_differ, "not_compared",
        left_out_json(report), "first_disagreement", first_json(report));
    int error = document ? json_dumpf(document, stdout, JSON_INDENT(2)) : -1;

    json_decref(document);
    putchar('\n');
    return error || fflush(stdout) ? -EIO : 0;
}
