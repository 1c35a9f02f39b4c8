/*
 * Event delivery and instructions on damaged machines: valid tables, page tables and registers with
 * a few random bytes changed. Whatever comes out must be one of the outcomes that the interface
 * promises, with the state that goes with it.
 */
#include "cpu_tables.h"

static struct machine machine;

static void set_up(void)
{
    machine_init(&machine);
    machine_enable_ept(&machine);
}

static void tear_down(void)
{
    machine_destroy(&machine);
}

TestSuite(robustness, .init = set_up, .fini = tear_down);

#define SEED       0x1d7e57u
#define ITERATIONS 60000u

static const enum cpu_mode modes[] = {MODE_REAL,          MODE_UNREAL,       MODE_PROTECTED_16,
                                      MODE_PROTECTED_32,  MODE_VIRTUAL_8086, MODE_PAE,
                                      MODE_COMPATIBILITY, MODE_64BIT};

static void prepare(uint64_t *seed)
{
    enum cpu_mode mode = modes[random_next(seed) % (sizeof(modes) / sizeof(modes[0]))];
    unsigned cpl = mode == MODE_VIRTUAL_8086 ? 3 : mode <= MODE_UNREAL ? 0 : random_next(seed) % 4;
    bool long_mode = mode == MODE_COMPATIBILITY || mode == MODE_64BIT;

    machine_build_tables(&machine);
    machine_set_mode(&machine, mode, cpl);
    if (long_mode)
        tables_build_64bit(&machine);
    else
        tables_build_legacy(&machine, random_next(seed) & 1);
    machine.cpu.state.rip = USER_CODE;
    machine.cpu.state.gpr[GPR_RSP] = USER_STACK;
    machine.cpu.state.rflags |= random_next(seed) & 0x277fd5;
    if (mode != MODE_VIRTUAL_8086)
        machine.cpu.state.rflags &= ~RFLAGS_VM;
}

/* Tables and the bottom of the page tables. */
static void damage_memory(uint64_t *seed)
{
    static const uint32_t regions[] = {GDT_ADDRESS,    IDT_ADDRESS,  TSS_ADDRESS, PML4_ADDRESS,
                                       PDPT64_ADDRESS, PDPT_ADDRESS, PD_ADDRESS,  PD32_ADDRESS,
                                       PT_ADDRESS,     PT32_ADDRESS};
    uint32_t region = regions[random_next(seed) % (sizeof(regions) / sizeof(regions[0]))];
    uint8_t *byte = physmem_at(&machine.physmem, region + random_next(seed) % 0x200);

    *byte = (uint8_t)random_next(seed);
}

/* Table registers, stack and hidden parts; canonical where the processor would not have loaded
 * anything else. */
static void damage_registers(uint64_t *seed)
{
    struct cpu_state *state = &machine.cpu.state;
    uint64_t value = random_next(seed);
    int64_t canonical = (int64_t)(value << 16) >> 16;

    switch (random_next(seed) % 8) {
    case 0:
        state->gpr[GPR_RSP] = random_next(seed) & 1 ? value : value & 0xffff;
        break;
    case 1:
        state->idtr.limit = (uint16_t)value;
        break;
    case 2:
        state->gdtr.limit = (uint16_t)value;
        break;
    case 3:
        state->seg[SEG_TR].limit = (uint32_t)value & 0x1ff;
        break;
    case 4:
        state->idtr.base = (uint64_t)canonical;
        break;
    case 5:
        state->gdtr.base = (uint64_t)canonical;
        break;
    case 6:
        state->seg[SEG_TR].base = (uint64_t)canonical;
        break;
    default:
        state->seg[SEG_SS].limit = (uint32_t)value;
        break;
    }
}

static struct event random_event(uint64_t *seed)
{
    static const enum event_type types[] = {EVENT_EXTERNAL_INTERRUPT,
                                            EVENT_NMI,
                                            EVENT_HARDWARE_EXCEPTION,
                                            EVENT_SOFTWARE_INTERRUPT,
                                            EVENT_PRIVILEGED_SOFTWARE_EXCEPTION,
                                            EVENT_SOFTWARE_EXCEPTION};
    struct event event = {.type = types[random_next(seed) % 6]};

    event.vector = (uint8_t)random_next(seed);
    if (event.type == EVENT_NMI)
        event.vector = VECTOR_NMI;
    if (event.type == EVENT_HARDWARE_EXCEPTION) {
        event.vector &= 31;
        event.has_error_code = vector_has_error_code(event.vector);
        event.error_code = (uint32_t)random_next(seed);
        event.cr2 = random_next(seed);
        event.debug = random_next(seed);
    }
    event.instruction_length = event.type >= EVENT_SOFTWARE_INTERRUPT ? 2 : 0;
    return event;
}

#define CHECK(condition, ...)            \
    do {                                 \
        if (!(condition))                \
            cr_assert_fail(__VA_ARGS__); \
    } while (0)

/* "Processor state that is normally updated as part of delivery through the IDT (CS, RIP, SS, RSP,
 * RFLAGS) is not modified." */
static void check_unchanged(const struct cpu_state *before, unsigned i)
{
    const struct cpu_state *after = &machine.cpu.state;

    CHECK(!memcmp(before->gpr, after->gpr, sizeof(before->gpr)) && before->rip == after->rip &&
              before->rflags == after->rflags &&
              !memcmp(before->seg, after->seg, sizeof(before->seg)) && before->cr0 == after->cr0,
          "iteration %u", i);
}

static void check_delivered(const struct event *event, unsigned i)
{
    const struct cpu *cpu = &machine.cpu;
    const struct cpu_state *state = &cpu->state;
    uint32_t cs = state->seg[SEG_CS].access_rights;

    CHECK(!cpu->delivery_in_progress, "iteration %u", i);
    if (!cpu_protected(cpu))
        return;
    CHECK(!(state->rflags & (RFLAGS_TF | RFLAGS_NT | RFLAGS_VM | RFLAGS_RF)), "iteration %u", i);
    CHECK((state->seg[SEG_CS].selector & 3) == cpu_cpl(cpu), "iteration %u: RPL of CS", i);
    CHECK((cs & (AR_P | AR_S | AR_CODE)) == (AR_P | AR_S | AR_CODE), "iteration %u", i);
    CHECK(cs & AR_ACCESSED, "iteration %u", i);
    if (cpu_long_mode(cpu)) {
        CHECK(cpu_mode(cpu) == MODE_64BIT && cpu_canonical(cpu, state->rip), "iteration %u", i);
        CHECK(state->gpr[GPR_RSP] % 8 == 0, "iteration %u: the stack is aligned", i);
    } else {
        CHECK(state->rip <= state->seg[SEG_CS].limit, "iteration %u", i);
    }
}

Test(robustness, delivery)
{
    unsigned outcomes[3][2] = {{0}};
    uint64_t seed = SEED;

    cr_log_info("seed 0x%x", SEED);
    for (unsigned i = 0; i < ITERATIONS; i++) {
        struct event event;
        struct cpu_state before;
        enum delivery_result result;
        unsigned damages = random_next(&seed) % 4;

        prepare(&seed);
        for (unsigned j = 0; j < damages; j++) {
            if (random_next(&seed) & 1)
                damage_memory(&seed);
            else
                damage_registers(&seed);
        }
        machine_sync_mmu(&machine);
        mmu_invept(&machine.cpu.mmu, 2, 0);
        if (random_next(&seed) & 1) {
            machine_enter_vmx(&machine, 0, SECONDARY_EPT | SECONDARY_UNRESTRICTED_GUEST);
            vmcs_set(&machine.vmcs, VMCS_EXCEPTION_BITMAP,
                     random_next(&seed) & random_next(&seed) & random_next(&seed));
        }
        event = random_event(&seed);
        before = machine.cpu.state;
        result = cpu_deliver(&machine.cpu, &event, random_next(&seed) & 1);
        outcomes[result][machine.cpu.non_root]++;
        if (result == DELIVERED)
            check_delivered(&event, i);
        else
            check_unchanged(&before, i);
        CHECK(result != DELIVERY_SHUTDOWN || !machine.cpu.non_root, "iteration %u", i);
    }
    /* The damage was neither too little nor too much to see every outcome. */
    cr_assert_gt(outcomes[DELIVERED][0], ITERATIONS / 10);
    cr_assert_gt(outcomes[DELIVERED][1], ITERATIONS / 10);
    cr_assert_gt(outcomes[DELIVERY_EXIT][1], ITERATIONS / 100);
    cr_assert_gt(outcomes[DELIVERY_SHUTDOWN][0], ITERATIONS / 1000);
}

/* MSRs of any number with any value: reads and writes agree about what exists. */
Test(robustness, msrs)
{
    uint64_t seed = SEED;

    machine_set_mode(&machine, MODE_64BIT, 0);
    for (unsigned i = 0; i < ITERATIONS * 4; i++) {
        static const uint32_t bases[] = {0, 0xc0000000, 0x40000000, 0xfffff000};
        uint32_t msr = bases[random_next(&seed) & 3] + (uint32_t)(random_next(&seed) & 0xfff);
        uint64_t value = random_next(&seed) >> (random_next(&seed) & 63), read = ~value;
        bool written = cpu_msr_write(&machine.cpu, msr, value);

        if (written && cpu_msr_read(&machine.cpu, msr, &read) && msr != MSR_EFER &&
            msr != MSR_MISC_ENABLE && msr != MSR_BIOS_SIGN_ID && msr != MSR_TSC)
            CHECK(read == value, "MSR 0x%x holds 0x%lx, not 0x%lx", msr, read, value);
    }
}

/* CPUID leaves of any number. */
Test(robustness, cpuid)
{
    uint64_t seed = SEED;

    machine_set_mode(&machine, MODE_64BIT, 0);
    for (unsigned i = 0; i < ITERATIONS * 4; i++) {
        uint32_t bits = random_next(&seed) & 31, registers[4];
        uint32_t leaf = (uint32_t)random_next(&seed) >> bits | (uint32_t)(random_next(&seed) << 31);

        cpuid_query(&machine.cpu, leaf, (uint32_t)random_next(&seed), registers);
    }
}
