/*
 * Instruction counts: the engine counts by blocks, and still stops after any number of
 * instructions, with the state that the processor has there. What is compared with is the same
 * guest stopped after every single instruction, and of that each step is decoded again by Capstone.
 */
#include <capstone/capstone.h>

#include "sim_machine.h"

#define STEPS  60000
#define BEFORE 8 /* bytes of code kept before RIP and from it */
#define FROM   16

static const char *const guests[] = {
    "engine-faults.multiboot",
    "engine-interrupts.multiboot",
    "engine-steps.multiboot",
    "torture.multiboot rounds=1",
};
#define GUESTS (sizeof(guests) / sizeof(*guests))

/* Exits cost nothing: then what stops a run changes nothing for the guest. */
static const struct machine_setting *const settings = SETTINGS({"exit-cycles", "0"});

/* The guest after each instruction. */
static struct step {
    struct machine_registers registers;
    uint8_t code[BEFORE + FROM];
    uint8_t mode; /* 64 or 32 if the code could be read, else 0 */
} steps[STEPS];

static uint64_t reached; /* instructions at the last boundary */
static uint64_t random_state, longest_stride;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* --- Reading guest memory without the model: no paging, or four levels
 * -------------------------------- */

static bool read_byte(const struct machine *machine, uint64_t linear, uint8_t *byte)
{
    const struct vm *vm = machine->vm;
    const struct cpu_state *state = &vm->vcpu.cpu.state;
    uint64_t gpa = linear, entry;

    if (state->cr0 & CR0_PG) {
        if (!(state->efer & EFER_LMA))
            return false;
        entry = state->cr3;
        for (unsigned shift = 39;; shift -= 9) {
            uint64_t table = entry & 0x000ffffffffff000, mask = (1ull << shift) - 1;

            if (guest_memory_read(&vm->memory, table + (linear >> shift & 511) * 8, &entry, 8) ||
                !(entry & 1))
                return false;
            if (shift == 12 || (entry & 0x80)) {
                gpa = (entry & 0x000ffffffffff000 & ~mask) | (linear & mask);
                break;
            }
        }
    }
    return guest_memory_read(&vm->memory, gpa, byte, 1) == 0;
}

static uint8_t read_code(const struct machine *machine, uint8_t code[BEFORE + FROM])
{
    const struct cpu_state *state = &machine->vm->vcpu.cpu.state;
    uint64_t start = state->seg[SEG_CS].base + state->rip - BEFORE;
    uint32_t rights = state->seg[SEG_CS].access_rights;

    for (unsigned i = 0; i < BEFORE + FROM; i++)
        if (!read_byte(machine, start + i, &code[i]))
            return 0;
    return rights & AR_L ? 64 : rights & AR_DB ? 32 : 0;
}

/* --- Recording and comparing
 * -------------------------------------------------------------------------- */

static void record(struct machine *machine, uint64_t instructions)
{
    struct step *step = &steps[instructions];

    if (instructions >= STEPS - 1) {
        vm_stop(machine->vm);
        machine_next_boundary(machine, STEPS);
        return;
    }
    cr_assert_eq(instructions, reached + 1, "from %lu to %lu instructions", reached, instructions);
    reached = instructions;
    step->registers = machine_registers(machine);
    step->mode = read_code(machine, step->code);
    machine_next_boundary(machine, 1);
}

static void expect_equal(const struct machine_registers *got, uint64_t instructions)
{
    const struct machine_registers *wanted = &steps[instructions].registers;
    const uint64_t *a = (const uint64_t *)got, *b = (const uint64_t *)wanted;

    for (unsigned i = 0; i < sizeof(*got) / sizeof(*a); i++)
        cr_assert_eq(
            a[i], b[i],
            "after %lu instructions word %u of the registers is 0x%lx, in steps 0x%lx; RIP "
            "0x%lx, in steps 0x%lx",
            instructions, i, a[i], b[i], got->rip, wanted->rip);
}

static void compare(struct machine *machine, uint64_t instructions)
{
    struct machine_registers registers;
    uint64_t stride = 1 + next_random() % longest_stride;

    cr_assert_eq(instructions, reached, "stopped at %lu, not at %lu", instructions, reached);
    if (instructions >= STEPS - 1) {
        vm_stop(machine->vm);
        return;
    }
    registers = machine_registers(machine);
    expect_equal(&registers, instructions);
    reached = instructions + stride;
    if (reached >= STEPS)
        reached = STEPS - 1;
    machine_next_boundary(machine, reached - instructions);
}

/* Runs a guest with the first boundary after so many instructions; returns how many it executed. */
static uint64_t run(const char *guest, void (*at_boundary)(struct machine *, uint64_t),
                    uint64_t first)
{
    struct machine machine = {.at_boundary = at_boundary};
    const struct vm_stop *stop;
    uint64_t instructions;

    machine_create(&machine, guest, settings);
    machine_next_boundary(&machine, first);
    machine_run(&machine);
    stop = vm_get_stop(machine.vm);
    cr_assert(stop->reason == VM_STOP_REQUESTED || stop->reason == VM_STOP_DEBUG_EXIT, "%s: %s",
              guest, stop->message);
    instructions = machine_instructions(&machine);
    machine_destroy(&machine);
    return instructions;
}

static uint64_t run_in_steps(const char *guest)
{
    memset(steps, 0, sizeof(steps));
    reached = 0;
    return run(guest, record, 1);
}

/* --- The tests
 * ---------------------------------------------------------------------------------------- */

/* At the stub of an exception or interrupt, or behind its first instruction, a PUSH. */
static bool is_in_stub(const struct step *step)
{
    const uint8_t *code = step->code + BEFORE;
    uint64_t offset = step->registers.rip % 16;

    return (offset == 0 && (code[0] == 0x6a || code[0] == 0x68)) ||
           (offset == 2 && code[-2] == 0x6a) || (offset == 5 && code[-5] == 0x68);
}

static bool may_go_anywhere(csh capstone, const cs_insn *insn)
{
    return cs_insn_group(capstone, insn, CS_GRP_JUMP) ||
           cs_insn_group(capstone, insn, CS_GRP_CALL) ||
           cs_insn_group(capstone, insn, CS_GRP_RET) ||
           cs_insn_group(capstone, insn, CS_GRP_IRET) ||
           cs_insn_group(capstone, insn, CS_GRP_INT) || insn->id == X86_INS_LOOP ||
           insn->id == X86_INS_SYSCALL || insn->id == X86_INS_SYSRET;
}

static bool is_repeated(const cs_insn *insn)
{
    return insn->detail->x86.prefix[0] == 0xf3 || insn->detail->x86.prefix[0] == 0xf2;
}

static void decode_steps(const char *guest, uint64_t count)
{
    csh capstone[2];
    uint64_t straight = 0, events = 0;

    cr_assert_eq(cs_open(CS_ARCH_X86, CS_MODE_32, &capstone[0]), CS_ERR_OK);
    cr_assert_eq(cs_open(CS_ARCH_X86, CS_MODE_64, &capstone[1]), CS_ERR_OK);
    cs_option(capstone[0], CS_OPT_DETAIL, CS_OPT_ON);
    cs_option(capstone[1], CS_OPT_DETAIL, CS_OPT_ON);
    for (uint64_t i = 1; i + 1 < count; i++) {
        const struct step *step = &steps[i], *next = &steps[i + 1];
        csh handle = capstone[step->mode == 64];
        cs_insn *insn;

        if (!step->mode || !next->mode || next->registers.cs != step->registers.cs ||
            !cs_disasm(handle, step->code + BEFORE, FROM, step->registers.rip, 1, &insn))
            continue;
        if (next->registers.rip == step->registers.rip + insn->size)
            straight++;
        else if (is_in_stub(next))
            events++;
        else if (!is_repeated(insn) || next->registers.rip != step->registers.rip)
            cr_assert(may_go_anywhere(handle, insn),
                      "%s: instruction %lu, %s %s at 0x%lx, goes to 0x%lx", guest, i,
                      insn->mnemonic, insn->op_str, step->registers.rip, next->registers.rip);
        cs_free(insn, 1);
    }
    cs_close(&capstone[0]);
    cs_close(&capstone[1]);
    cr_assert_gt(straight, count / 3, "%s: %lu plain instructions among %lu", guest, straight,
                 count);
    cr_assert_gt(events, 5, "%s: %lu events", guest, events);
}

/* Each step is one instruction, and stops at any distance are at the same places as the steps. */
static void check_guest(const char *guest)
{
    static const uint64_t strides[] = {3, 50, 700};
    uint64_t executed = run_in_steps(guest), again;

    decode_steps(guest, executed < STEPS ? executed : STEPS);
    for (unsigned i = 0; i < sizeof(strides) / sizeof(*strides); i++) {
        random_state = 0x2545f4914f6cdd1d + i;
        longest_stride = strides[i];
        reached = 1 + next_random() % longest_stride;
        again = run(guest, compare, reached);
        cr_assert_eq(again, executed, "%s: %lu instructions, in steps %lu", guest, again, executed);
    }
}

Test(sim_engine_counts, strides_over_faults, .timeout = 60)
{
    check_guest(guests[0]);
}

Test(sim_engine_counts, strides_over_interrupts, .timeout = 60)
{
    check_guest(guests[1]);
}

Test(sim_engine_counts, strides_over_single_steps, .timeout = 60)
{
    check_guest(guests[2]);
}

Test(sim_engine_counts, strides_over_torture, .timeout = 60)
{
    check_guest(guests[3]);
}

/* --max-instructions: exactly so many, with the state that steps have there. */
static void expect_limit(const char *guest, uint64_t limit)
{
    struct machine machine = {0};
    struct machine_registers registers;
    char text[32];

    snprintf(text, sizeof(text), "%lu", limit);
    machine_create(&machine, guest, SETTINGS({"exit-cycles", "0"}, {"max-instructions", text}));
    machine_run(&machine);
    cr_assert_eq(vm_get_stop(machine.vm)->reason, VM_STOP_INSTRUCTION_LIMIT, "limit %lu: %s", limit,
                 vm_get_stop(machine.vm)->message);
    cr_assert_eq(machine_instructions(&machine), limit, "limit %lu: %lu instructions", limit,
                 machine_instructions(&machine));
    registers = machine_registers(&machine);
    expect_equal(&registers, limit);
    machine_destroy(&machine);
}

Test(sim_engine_counts, limits, .timeout = 120)
{
    const char *guest = guests[3];

    run_in_steps(guest);
    for (uint64_t limit = 1; limit <= 60; limit++)
        expect_limit(guest, limit);
    random_state = 88172645463325252;
    for (unsigned i = 0; i < 40; i++)
        expect_limit(guest, 1 + next_random() % (STEPS - 2));
}

/* What a count must be without asking anything that counts: a loop of one instruction. */
Test(sim_engine_counts, known_count, .timeout = 60)
{
    struct machine machine = {0};
    struct machine_registers registers;

    machine_create(&machine, "bad-infinite-loop.img", SETTINGS({"max-instructions", "1000001"}));
    machine_run(&machine);
    cr_assert_eq(machine_instructions(&machine), 1000001);
    registers = machine_registers(&machine);
    cr_assert_eq(registers.rip, 0x7c01); /* CLI, and JMP to itself a million times */
    machine_destroy(&machine);
}
