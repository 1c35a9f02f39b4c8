/* What vtxsim replay tells. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <capstone/capstone.h>
#include <jansson.h>

#include "cpu/cpu.h"
#include "cpu/modes.h"
#include "sim/commands/replay_report.h"
#include "sim/debug.h"
#include "sim/event_text.h"

#define INSTRUCTION_MAX 15 /* bytes */
#define CONSOLE_LINES   5  /* shown of the console so far */

/* --- Registers
 * ------------------------------------------------------------------------------------ */

#define AT(field) offsetof(struct cpu_state, field)

// clang-format off
static const struct {
    const char *name;
    size_t offset;
} registers[] = {
    {"rax", AT(gpr[GPR_RAX])}, {"rbx", AT(gpr[GPR_RBX])}, {"rcx", AT(gpr[GPR_RCX])},
    {"rdx", AT(gpr[GPR_RDX])}, {"rsi", AT(gpr[GPR_RSI])}, {"rdi", AT(gpr[GPR_RDI])},
    {"rbp", AT(gpr[GPR_RBP])}, {"rsp", AT(gpr[GPR_RSP])}, {"r8", AT(gpr[GPR_R8])},
    {"r9", AT(gpr[GPR_R9])}, {"r10", AT(gpr[GPR_R10])}, {"r11", AT(gpr[GPR_R11])},
    {"r12", AT(gpr[GPR_R12])}, {"r13", AT(gpr[GPR_R13])}, {"r14", AT(gpr[GPR_R14])},
    {"r15", AT(gpr[GPR_R15])}, {"rip", AT(rip)}, {"rflags", AT(rflags)},
    {"cr0", AT(cr0)}, {"cr2", AT(cr2)}, {"cr3", AT(cr3)}, {"cr4", AT(cr4)}, {"xcr0", AT(xcr0)},
    {"efer", AT(efer)}, {"dr0", AT(dr[0])}, {"dr1", AT(dr[1])}, {"dr2", AT(dr[2])},
    {"dr3", AT(dr[3])}, {"dr6", AT(dr6)}, {"dr7", AT(dr7)}, {"star", AT(star)},
    {"lstar", AT(lstar)}, {"cstar", AT(cstar)}, {"fmask", AT(fmask)},
    {"kernel_gs_base", AT(kernel_gs_base)}, {"tsc_aux", AT(tsc_aux)},
    {"sysenter_cs", AT(sysenter_cs)}, {"sysenter_esp", AT(sysenter_esp)},
    {"sysenter_eip", AT(sysenter_eip)}, {"pat", AT(pat)}, {"apic_base", AT(apic_base)},
};
#define REGISTERS (sizeof(registers) / sizeof(*registers))
// clang-format on

static const char *const segment_names[SEG_COUNT] = {"es", "cs", "ss",   "ds",
                                                     "fs", "gs", "ldtr", "tr"};

static uint64_t register_value(const struct cpu_state *state, unsigned number)
{
    uint64_t value;

    memcpy(&value, (const char *)state + registers[number].offset, sizeof(value));
    return value;
}

static void print_registers(FILE *file, const struct cpu_state *state)
{
    for (unsigned i = 0; i < REGISTERS; i++)
        fprintf(file, "%s%15s 0x%016" PRIx64 "%s", i % 3 ? "" : " ", registers[i].name,
                register_value(state, i), i % 3 == 2 || i + 1 == REGISTERS ? "\n" : "");
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const struct segment *segment = &state->seg[i];
        fprintf(file, "  %14s %04x base 0x%016" PRIx64 " limit 0x%08x rights 0x%05x\n",
                segment_names[i], segment->selector, segment->base, segment->limit,
                segment->access_rights);
    }
    fprintf(file, "  %14s      base 0x%016" PRIx64 " limit 0x%04x\n", "gdtr", state->gdtr.base,
            state->gdtr.limit);
    fprintf(file, "  %14s      base 0x%016" PRIx64 " limit 0x%04x\n", "idtr", state->idtr.base,
            state->idtr.limit);
}

static json_t *hexadecimal(uint64_t value)
{
    return json_sprintf("0x%" PRIx64, value);
}

static json_t *registers_json(const struct cpu_state *state)
{
    json_t *object = json_object();

    for (unsigned i = 0; i < REGISTERS; i++)
        json_object_set_new(object, registers[i].name, hexadecimal(register_value(state, i)));
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const struct segment *segment = &state->seg[i];
        json_object_set_new(
            object, segment_names[i],
            json_pack("{s:o, s:o, s:o, s:o}", "selector", hexadecimal(segment->selector), "base",
                      hexadecimal(segment->base), "limit", hexadecimal(segment->limit),
                      "access_rights", hexadecimal(segment->access_rights)));
    }
    json_object_set_new(object, "gdtr",
                        json_pack("{s:o, s:o}", "base", hexadecimal(state->gdtr.base), "limit",
                                  hexadecimal(state->gdtr.limit)));
    json_object_set_new(object, "idtr",
                        json_pack("{s:o, s:o}", "base", hexadecimal(state->idtr.base), "limit",
                                  hexadecimal(state->idtr.limit)));
    return object;
}

/* --- The next instruction
 * ------------------------------------------------------------------------- */

static cs_mode decoder_mode(const struct cpu *cpu)
{
    switch (cpu_mode(cpu)) {
    case MODE_64BIT:
        return CS_MODE_64;
    case MODE_REAL:
    case MODE_UNREAL:
    case MODE_PROTECTED_16:
    case MODE_VIRTUAL_8086:
        return CS_MODE_16;
    default:
        return cpu->state.seg[SEG_CS].access_rights & AR_DB ? CS_MODE_32 : CS_MODE_16;
    }
}

/* "0f a2  cpuid" */
static void instruction_text(struct vm *vm, char *text, size_t size)
{
    const struct cpu *cpu = vm_debug_cpu(vm);
    uint64_t linear = cpu->state.rip + (cpu_64bit(cpu) ? 0 : cpu->state.seg[SEG_CS].base);
    uint8_t bytes[INSTRUCTION_MAX];
    size_t count = vm_debug_read(vm, linear, bytes, sizeof(bytes)), used = 0;
    csh capstone;
    cs_insn *insn = NULL;

    if (count && cs_open(CS_ARCH_X86, decoder_mode(cpu), &capstone) == CS_ERR_OK) {
        if (cs_disasm(capstone, bytes, count, cpu->state.rip, 1, &insn)) {
            for (unsigned i = 0; i < insn->size; i++)
                used += (size_t)snprintf(text + used, size - used, "%02x ", insn->bytes[i]);
            snprintf(text + used, size - used, " %s%s%s", insn->mnemonic, *insn->op_str ? " " : "",
                     insn->op_str);
            cs_free(insn, 1);
        }
        cs_close(&capstone);
    }
    if (!insn)
        snprintf(text, size, count ? "(no instruction that Capstone knows)" : "(not mapped)");
}

/* --- A place
 * -------------------------------------------------------------------------------------- */

static void print_event(FILE *file, const char *what, uint64_t number,
                        const struct trace_event *event)
{
    char text[EVENT_TEXT_SIZE];

    event_fields_text(event, NULL, text, sizeof(text));
    fprintf(file,
            "  %-7s #%" PRIu64 " at %" PRIu64 " instructions, %" PRIu64 " cycles, RIP 0x%" PRIx64
            ": %s %s\n",
            what, number, event->instructions, event->time, event->rip,
            trace_event_name(event->type), text);
}

static struct run_statistics run_of(struct vm *vm)
{
    struct exit_statistics exits;
    struct run_statistics run;

    vm_get_statistics(vm, &run, &exits);
    return run;
}

/* The last lines of the console. */
static void print_console(FILE *file, const struct replay_place *place)
{
    const char *start = place->console + place->console_size;
    unsigned lines = 0;

    while (start > place->console && (start[-1] != '\n' || lines++ < CONSOLE_LINES))
        start--;
    fprintf(file, "  console %" PRIu64 " bytes so far%s\n", place->console_total,
            place->console_size ? ":" : "");
    while (start < place->console + place->console_size) {
        const char *end =
            memchr(start, '\n', (size_t)(place->console + place->console_size - start));
        if (!end)
            end = place->console + place->console_size;
        fprintf(file, "    | %.*s\n", (int)(end - start), start);
        start = end + 1;
    }
}

void replay_print_place(FILE *file, struct replay *replay, const struct replay_place *place)
{
    struct vm *vm = replay_vm(replay);
    const struct cpu *cpu = vm_debug_cpu(vm);
    struct run_statistics run = run_of(vm);
    struct trace_check check;
    char text[256];

    replay_get_check(replay, &check);
    instruction_text(vm, text, sizeof(text));
    fprintf(file,
            "%s %s: %" PRIu64 " instructions, %" PRIu64
            " cycles (%.9f s), %s mode\n  next    0x%" PRIx64 ": %s\n",
            place->option, place->text, run.instructions, run.simulated_cycles,
            (double)run.simulated_cycles / (double)run.tsc_hz, cpu_mode_name(cpu_mode(cpu)),
            cpu->state.rip, text);
    if (check.before_count)
        print_event(file, "before", check.before_position[0], check.before[0]);
    if (check.expected)
        print_event(file, "after", check.position, check.expected);
    print_registers(file, &cpu->state);
    fprintf(file, "  hash    registers %016" PRIx64, vm_debug_hash_registers(vm));
    if (place->hash_memory)
        fprintf(file, ", memory %016" PRIx64, vm_debug_hash_memory(vm));
    fputc('\n', file);
    print_console(file, place);
}

/* The console may hold anything; JSON wants UTF-8. */
static json_t *console_json(const struct replay_place *place)
{
    json_t *text = json_stringn(place->console, place->console_size);
    char *clean;

    if (text)
        return text;
    clean = malloc(place->console_size + 1);
    if (!clean)
        return json_null();
    for (size_t i = 0; i < place->console_size; i++)
        clean[i] = (signed char)place->console[i] < 0 ? '?' : place->console[i];
    text = json_stringn(clean, place->console_size);
    free(clean);
    return text;
}

json_t *replay_place_json(struct replay *replay, const struct replay_place *place)
{
    struct vm *vm = replay_vm(replay);
    const struct cpu *cpu = vm_debug_cpu(vm);
    struct run_statistics run = run_of(vm);
    struct trace_check check;
    char text[256];
    json_t *object;

    replay_get_check(replay, &check);
    instruction_text(vm, text, sizeof(text));
    object = json_pack("{s:s, s:s, s:I, s:I, s:f, s:s, s:s, s:o, s:I, s:o, s:o}", "option",
                       place->option, "place", place->text, "instructions",
                       (json_int_t)run.instructions, "cycles", (json_int_t)run.simulated_cycles,
                       "seconds", (double)run.simulated_cycles / (double)run.tsc_hz, "mode",
                       cpu_mode_name(cpu_mode(cpu)), "instruction", text, "registers",
                       registers_json(&cpu->state), "console_bytes",
                       (json_int_t)place->console_total, "console", console_json(place),
                       "registers_hash", json_sprintf("%016" PRIx64, vm_debug_hash_registers(vm)));
    if (place->hash_memory)
        json_object_set_new(object, "memory_hash",
                            json_sprintf("%016" PRIx64, vm_debug_hash_memory(vm)));
    if (check.before_count)
        json_object_set_new(object, "before",
                            event_json(check.before_position[0], check.before[0], NULL));
    if (check.expected)
        json_object_set_new(object, "after", event_json(check.position, check.expected, NULL));
    return object;
}

/* --- The verdict
 * ---------------------------------------------------------------------------------- */

const char *replay_state_name(enum trace_check_state state)
{
    static const char *const names[] = {
        [TRACE_CHECK_RUNNING] = "stopped",     [TRACE_CHECK_EQUAL] = "equal",
        [TRACE_CHECK_DIFFERENT] = "different", [TRACE_CHECK_CUT] = "cut",
        [TRACE_CHECK_DAMAGED] = "damaged",
    };
    return names[state];
}

/* A line a field, marked where they differ. */
static void print_fields(FILE *file, const struct trace_field *field,
                         const struct trace_event *expected, const struct trace_event *happened)
{
    char a[EVENT_TEXT_SIZE], b[EVENT_TEXT_SIZE];

    for (; field->name; field++) {
        event_field_text(expected, field, a, sizeof(a));
        event_field_text(happened, field, b, sizeof(b));
        fprintf(file, "  %c %-24s %-32s %s\n", strcmp(a, b) ? '*' : ' ', field->name, a, b);
    }
}

static void print_one(FILE *file, const char *what, uint64_t number,
                      const struct trace_event *event)
{
    if (event)
        print_event(file, what, number, event);
    else
        fprintf(file, "  %-7s #%" PRIu64 " nothing: it ends here\n", what, number);
}

void replay_print_difference(FILE *file, const char *trace, const struct trace_check *check)
{
    const struct trace_event *expected = check->expected, *happened = check->happened;
    const struct trace_field *field =
        expected && happened ? trace_event_compare(expected, happened) : NULL;

    fprintf(file,
            "vtxsim: %s: event %" PRIu64 " differs%s%s; %" PRIu64 " events before it are equal\n",
            trace, check->position, field ? " in " : "", field ? field->name : "", check->events);
    for (unsigned i = check->before_count; i > 0; i--)
        print_event(file, "equal", check->before_position[i - 1], check->before[i - 1]);
    print_one(file, "trace", check->position, expected);
    print_one(file, "replay", check->position, happened);
    if (!expected || !happened)
        return;
    fprintf(file, "    %-24s %-32s %s\n", "field", "trace", "replay");
    fprintf(file, "  %c %-24s %-32s %s\n", expected->type != happened->type ? '*' : ' ', "type",
            trace_event_name(expected->type), trace_event_name(happened->type));
    print_fields(file, trace_common_fields, expected, happened);
    if (expected->type == happened->type)
        print_fields(file, trace_fields(expected->type), expected, happened);
}

json_t *replay_check_json(const struct trace_check *check)
{
    const struct trace_event *expected = check->expected, *happened = check->happened;
    json_t *object =
        json_pack("{s:s, s:I, s:I}", "state", replay_state_name(check->state), "events",
                  (json_int_t)check->events, "position", (json_int_t)check->position);
    json_t *before;

    if (check->state != TRACE_CHECK_DIFFERENT)
        return object;
    before = json_array();
    for (unsigned i = check->before_count; i > 0; i--)
        json_array_append_new(
            before, event_json(check->before_position[i - 1], check->before[i - 1], NULL));
    json_object_set_new(object, "before", before);
    if (expected)
        json_object_set_new(object, "trace", event_json(check->position, expected, NULL));
    if (happened)
        json_object_set_new(object, "replay", event_json(check->position, happened, NULL));
    if (expected && happened)
        json_object_set_new(object, "field",
                            json_string(trace_event_compare(expected, happened)->name));
    return object;
}
