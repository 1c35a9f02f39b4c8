/* Backwards: what the debugger's server makes of checkpoints. */
#include "tests/gdb_client.h"

#define ROUNDS 200 /* of the guest */

TestSuite(sim_gdb_reverse);

static void expect_stop(const char *answer)
{
    cr_assert_str_eq(answer, "T05thread:1;");
}

static void go_to(uint64_t address)
{
    expect_ok(ask("Z1,%llx,1", (unsigned long long)address));
    expect_stop(ask("c"));
    expect_ok(ask("z1,%llx,1", (unsigned long long)address));
}

static void end(void)
{
    ask("k");
    client_end();
}

/* All registers as text. */
static char *registers(void)
{
    return strdup(ask("g"));
}

Test(sim_gdb_reverse, steps_lead_back_through_the_same_states)
{
    enum { STEPS = 12 };
    char *states[STEPS];

    client_start(true, NO_SETTINGS);
    cr_assert(strstr(ask("qSupported"), "ReverseStep+;ReverseContinue+"));
    go_to(symbol("write_value")); /* from here: the guest's debug exception, an exit, ... */
    for (unsigned i = 0; i < STEPS; i++) {
        states[i] = registers();
        expect_stop(ask("s"));
    }
    for (unsigned i = STEPS; i-- > 0;) {
        expect_stop(ask("bs"));
        char *state = registers();
        cr_assert_str_eq(state, states[i], "%u steps from the beginning", i);
        free(state);
    }
    for (unsigned i = 0; i < STEPS; i++) { /* and forwards again */
        char *state = registers();
        cr_assert_str_eq(state, states[i]);
        free(state);
        free(states[i]);
        expect_stop(ask("s"));
    }
    end();
}

Test(sim_gdb_reverse, begin_and_end_are_told)
{
    client_start(true, NO_SETTINGS);
    cr_expect_str_eq(ask("bs"), "T05thread:1;replaylog:begin;");
    cr_expect_str_eq(ask("bc"), "T05thread:1;replaylog:begin;");
    for (unsigned i = 0; i < 3; i++) {
        expect_stop(ask("s"));
        expect_stop(ask("s"));
        expect_stop(ask("bs"));
        cr_expect_str_eq(ask("bc"), "T05thread:1;replaylog:begin;");
        cr_expect_eq(instructions(), 0);
    }
    for (unsigned i = 0; i < 3; i++) { /* the end is no place from which one cannot return */
        cr_expect_str_eq(ask("c"), "T05thread:1;replaylog:end;");
        uint64_t all = instructions();
        expect_stop(ask("bs"));
        cr_expect_eq(instructions(), all - 1);
    }
    cr_expect_str_eq(ask("c"), "T05thread:1;replaylog:end;");
    cr_expect_str_eq(ask("c"), "W01");
    cr_expect_eq(client_end(), 1);
}

/* Watched from the end, `value` has been written 20 times: the last is found first. */
Test(sim_gdb_reverse, finds_the_writes_of_a_variable)
{
    uint64_t value = symbol("value"), round = symbol("round");
    char expected[64];

    client_start(true, NO_SETTINGS);
    go_to(symbol("write_value"));
    uint64_t first = instructions();
    go_to(symbol("finish"));
    cr_assert_eq(memory(value, 8), 193 * 193);
    expect_ok(ask("Z2,%llx,8", (unsigned long long)value));
    snprintf(expected, sizeof(expected), "T05thread:1;watch:%llx;", (unsigned long long)value);
    for (unsigned n = ROUNDS - 7; n > ROUNDS - 60; n -= 10) {
        cr_assert_str_eq(ask("bc"), expected);
        cr_assert_eq(memory(round, 8), n);
        uint64_t before = memory(value, 8), count = instructions();
        cr_assert_eq(before, (n - 10) * (n - 10), "in front of the write");
        if (n % 30 == 3) { /* over it, and back */
            cr_assert_str_eq(ask("s"), expected);
            cr_assert_eq(memory(value, 8), n * n);
            cr_assert_str_eq(ask("bc"), expected);
            cr_assert_eq(instructions(), count);
        }
    }
    char command[32];
    snprintf(command, sizeof(command), "to %llu", (unsigned long long)first + 20);
    monitor(command);
    expect_stop(ask("bc"));
    cr_assert_str_eq(ask("bc"), expected);
    cr_assert_eq(memory(value, 8), 0);
    cr_assert_str_eq(ask("bc"), "T05thread:1;replaylog:begin;");
    cr_expect_str_eq(ask("c"), expected, "forwards it stops behind the first");
    cr_expect_eq(memory(value, 8), 9);
    end();
}

Test(sim_gdb_reverse, finds_breakpoints)
{
    uint64_t do_round = symbol("do_round"), guarded = symbol("guarded");

    client_start(true, NO_SETTINGS);
    ask("qSupported:swbreak+");
    go_to(symbol("finish"));
    expect_ok(ask("Z0,%llx,1", (unsigned long long)do_round));
    expect_ok(ask("Z0,%llx,1", (unsigned long long)guarded));
    for (unsigned n = ROUNDS; n-- > ROUNDS - 3;) {
        cr_assert_str_eq(ask("bc"), "T05thread:1;swbreak:;");
        cr_assert_eq(get_register("rip"), guarded);
        cr_assert_eq(memory(symbol("debug_hits"), 8), n + 1, "behind the guest's own");
        cr_assert_str_eq(ask("bc"), "T05thread:1;swbreak:;");
        cr_assert_eq(get_register("rip"), do_round);
        cr_assert_eq(get_register("rdi"), n);
    }
    cr_assert_str_eq(ask("c"), "T05thread:1;swbreak:;");
    cr_assert_eq(get_register("rip"), guarded);
    end();
}

/* Any place, in any order, is always the same. */
Test(sim_gdb_reverse, a_count_names_one_state)
{
    enum { PLACES = 10 };
    unsigned seed = (unsigned)getpid();
    uint64_t count[PLACES];
    char *states[PLACES] = {NULL};

    client_start(true, NO_SETTINGS);
    cr_assert_str_eq(ask("c"), "T05thread:1;replaylog:end;");
    uint64_t all = instructions();
    for (unsigned i = 0; i < PLACES; i++)
        count[i] = 1 + (uint64_t)rand_r(&seed) % (all - 2);
    for (unsigned round = 0; round < 3 * PLACES; round++) {
        unsigned i = (unsigned)rand_r(&seed) % PLACES;
        char command[32];

        snprintf(command, sizeof(command), "to %llu", (unsigned long long)count[i]);
        monitor(command);
        expect_stop(ask(round % 2 ? "c" : "bc"));
        cr_assert_eq(instructions(), count[i], "seed %u", seed);
        char *state = registers();
        if (states[i])
            cr_assert_str_eq(state, states[i], "count %llu", (unsigned long long)count[i]);
        free(states[i]);
        states[i] = state;
    }
    for (unsigned i = 0; i < PLACES; i++)
        free(states[i]);
    end();
}

/* What the user changes is part of the history from there on. */
Test(sim_gdb_reverse, changes_stay_where_they_were_made)
{
    uint64_t value = symbol("value");

    client_start(true, NO_SETTINGS);
    go_to(symbol("copy"));
    uint64_t here = instructions();
    expect_ok(ask("M%llx,8:0100000000000000", (unsigned long long)value));
    go_to(symbol("write_value"));
    cr_expect_eq(memory(value, 8), 1);
    expect_stop(ask("bs"));
    cr_expect_eq(memory(value, 8), 1);
    char command[32];
    snprintf(command, sizeof(command), "to %llu", (unsigned long long)here - 1);
    monitor(command);
    expect_stop(ask("bc"));
    cr_expect_eq(memory(value, 8), 93 * 93, "before the change");
    end();
}

/* A debugger that comes back finds the guest where the one before left it. */
Test(sim_gdb_reverse, comes_and_goes)
{
    client_start(true, NO_SETTINGS);
    go_to(symbol("do_round"));
    uint64_t rip = get_register("rip");
    expect_ok(ask("M%llx,2:ebfe", (unsigned long long)rip)); /* it stays here */
    for (unsigned i = 0; i < 3; i++) {
        struct sockaddr_in address;
        socklen_t size = sizeof(address);

        getpeername(client_fd, (struct sockaddr *)&address, &size);
        expect_ok(ask("D"));
        close(client_fd);
        received_first = received_count = 0;
        usleep(20000);
        client_connect(ntohs(address.sin_port));
        expect_stop(ask("?"));
        cr_expect_eq(get_register("rip"), rip);
        cr_expect_str_eq(ask("bs"), "T05thread:1;replaylog:begin;", "what was before is unknown");
        expect_stop(ask("s"));
        expect_stop(ask("s"));
        expect_stop(ask("bs"));
    }
    end();
}
