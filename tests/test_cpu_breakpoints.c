/*
 * The breakpoint registers: SDM "Debug Registers" against a naive second reading of DR7, which
 * looks at each byte that an access and a breakpoint cover.
 */
#include "cpu/breakpoints.h"
#include "cpu_machine.h"

TestSuite(breakpoints);

struct reading {
    bool enabled;
    unsigned condition, length;
};

/* "Debug Control Register (DR7)", bit by bit. */
static struct reading read_dr7(uint64_t dr7, unsigned n)
{
    static const unsigned lengths[] = {1, 2, 8, 4};
    struct reading reading = {.enabled = (dr7 >> (2 * n) & 1) || (dr7 >> (2 * n + 1) & 1)};

    reading.condition = (unsigned)(dr7 >> (16 + 4 * n)) & 3;
    reading.length = lengths[dr7 >> (18 + 4 * n) & 3];
    return reading;
}

static bool condition_fits(unsigned condition, enum breakpoint_use use, bool de)
{
    switch (condition) {
    case 0:
        return use == BREAKPOINT_FETCH;
    case 1:
        return use == BREAKPOINT_WRITE;
    case 2:
        return use == BREAKPOINT_IO && de;
    default:
        return use == BREAKPOINT_READ || use == BREAKPOINT_WRITE;
    }
}

static unsigned naive(const struct cpu_state *state, enum breakpoint_use use, uint64_t address,
                      unsigned size)
{
    unsigned met = 0;

    for (unsigned n = 0; n < 4; n++) {
        struct reading reading = read_dr7(state->dr7, n);
        uint64_t start = state->dr[n];

        if (!reading.enabled || !condition_fits(reading.condition, use, state->cr4 & CR4_DE))
            continue;
        if (use == BREAKPOINT_FETCH) {
            met |= (address == start) << n;
            continue;
        }
        while (start % reading.length)
            start--;
        for (unsigned i = 0; i < size; i++)
            for (unsigned j = 0; j < reading.length; j++)
                if (address + i == start + j)
                    met |= 1u << n;
    }
    return met;
}

Test(breakpoints, any_dr7_with_accesses_all_around)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    uint64_t seed = 0x5eed0bad;

    for (unsigned round = 0; round < 200000; round++) {
        uint64_t random = random_next(&seed), address = random_next(&seed);
        struct cpu_state state = {.dr7 = random_next(&seed), .cr4 = random & CR4_DE};
        enum breakpoint_use use = random >> 8 & 3;
        unsigned size = use == BREAKPOINT_FETCH ? 1 : sizes[random >> 16 & 3];
        unsigned met;

        for (unsigned n = 0; n < 4; n++)
            state.dr[n] = address + (random_next(&seed) & 31) - 16;
        met = naive(&state, use, address, size);
        cr_assert_eq(breakpoints_met(&state, use, address, size), met,
                     "round %u: DR7 0x%llx, use %d, 0x%llx size %u: %x instead of %x", round,
                     (unsigned long long)state.dr7, (int)use, (unsigned long long)address, size,
                     breakpoints_met(&state, use, address, size), met);
        cr_assert_eq(met & ~breakpoints_enabled(&state, use), 0, "round %u", round);
    }
}

/* Pages are asked about as a whole. */
Test(breakpoints, a_page_that_ends_where_a_breakpoint_begins)
{
    struct cpu_state state = {.dr = {0x5000}, .dr7 = 1 | 0xdull << 16}; /* 4 bytes, write */

    cr_expect_eq(breakpoints_met(&state, BREAKPOINT_WRITE, 0x4000, 4096), 0);
    cr_expect_eq(breakpoints_met(&state, BREAKPOINT_WRITE, 0x5000, 4096), 1);
    cr_expect_eq(breakpoints_met(&state, BREAKPOINT_READ, 0x5000, 4096), 0);
    state.dr[0] = UINT64_MAX; /* covers the last 4 bytes of the address space */
    cr_expect_eq(breakpoints_met(&state, BREAKPOINT_WRITE, 0, 4096), 0);
    cr_expect_eq(breakpoints_met(&state, BREAKPOINT_WRITE, UINT64_MAX, 1), 1);
}

/* SDM "INT n/INTO/INT3/INT1": no privilege is checked, DR6 gets no bit, RIP is behind it. */
Test(breakpoints, int1)
{
    struct machine machine;

    machine_init(&machine);
    machine_set_mode(&machine, MODE_64BIT, 3);
    machine.cpu.instruction_length = 4;
    cr_assert_eq(insn_int1(&machine.cpu), OUTCOME_EXCEPTION);
    cr_expect_eq(machine.cpu.fault.type, EVENT_PRIVILEGED_SOFTWARE_EXCEPTION);
    cr_expect_eq(machine.cpu.fault.vector, VECTOR_DB);
    cr_expect_eq(machine.cpu.fault.instruction_length, 4);
    cr_expect_eq(machine.cpu.fault.debug, 0);
    machine_destroy(&machine);
}
