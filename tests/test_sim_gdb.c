/* The debugger's server, packet by packet. */
#include "tests/gdb_client.h"

#define ROUNDS 200 /* of the guest */

TestSuite(sim_gdb);

/* --- Packets -------------------------------------------------------------------------------------
 */

Test(sim_gdb, answers_packets)
{
    static const struct {
        const char *packet, *answer;
    } cases[] = {
        {"?", "T05thread:1;"},
        {"qAttached", "1"},
        {"qC", "QC1"},
        {"qfThreadInfo", "m1"},
        {"qsThreadInfo", "l"},
        {"Hg0", "OK"},
        {"Hc-1", "OK"},
        {"T1", "OK"},
        {"vCont?", "vCont;c;C;s;S;r"},
        {"vMustReplyEmpty", ""},
        {"qXfer:features:read:other.xml:0,100", "E00"},
        {"qXfer:features:read:target.xml:100000,100", "l"},
        {"qXfer:features:read:target.xml:0", "E16"},
        {"qXfer:features:read:target.xml:0,5", "m<?xml"},
        {"", ""},
        {"x", ""},
        {"m", "E16"},
        {"m1", "E16"},
        {"m1,", "E16"},
        {"mx,1", "E16"},
        {"m11111111111111111,1", "E16"},
        {"m0,0", ""},
        {"M100000,2:11", "E16"},
        {"M100000,1:1x", "E16"},
        {"M100000,1", "E16"},
        {"M100000,ffffffffffffffff:00", "E16"},
        {"X100000,5:ab", "E16"},
        {"G00", "E16"},
        {"G", "E16"},
        {"p", "E16"},
        {"pffff", "E16"},
        {"P0", "E16"},
        {"P0=", "E16"},
        {"P0=00", "E16"},
        {"Pfff=0000000000000000", "E16"},
        {"Z", "E16"},
        {"Z0", "E16"},
        {"Z0,", "E16"},
        {"Z2,1000,0", "E16"},
        {"Z2,ffffffffffffffff,2", "E16"},
        {"Z5,1000,1", ""},
        {"z0,1234,1", "OK"},
        {"vCont;x", "E16"},
        {"vCont;r1:1", "E16"},
        {"qRcmd,zz", "E16"},
        {"bx", ""},
        {"?", "T05thread:1;"},
    };

    client_start(false, NO_SETTINGS);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {

        continue;
        cr_expect_str_eq(ask("%s", cases[i].packet), cases[i].answer, "%s: %s", cases[i].packet,
                         reply);
    }
    cr_expect(strstr(ask("qSupported:swbreak+"), "PacketSize="), "%s", reply);
    cr_expect(!strstr(reply, "Reverse"), "without a timeline there is no way back");
    expect_ok(ask("D"));
    cr_expect_eq(client_end(), 1);
}

Test(sim_gdb, insists_on_checksums_until_told_not_to)
{
    client_start(false, NO_SETTINGS);
    send_bytes("$?#00", 5);
    cr_expect_eq(next_byte(), '-');
    send_bytes("$?#3f", 5);
    cr_expect_eq(next_byte(), '+');
    receive();
    send_bytes("-", 1); /* once more */
    receive();
    cr_expect_str_eq(reply, "T05thread:1;");
    send_bytes("$m100000,4", 10); /* the rest is lost: the next packet begins */
    cr_expect_str_eq(ask("qC"), "QC1");
    send_bytes("$qC#zz", 6);
    cr_expect_eq(next_byte(), '-');

    expect_ok(ask("QStartNoAckMode"));
    send_bytes("$qC#00$qAttached#8f", 19);
    cr_expect_eq(next_byte(), '$', "the first has a wrong sum, nothing says so now");
    cr_expect_eq(next_byte(), '1');
    expect_ok(ask("D"));
    cr_expect_eq(client_end(), 1);
}

Test(sim_gdb, survives_what_is_no_packet)
{
    static const char starts[] = "?gGpPmMXzZHTqv!bA*Q";
    unsigned seed = (unsigned)getpid();
    static char packet[40000];

    client_start(false, NO_SETTINGS);
    memset(packet, 'a', sizeof(packet));
    packet[0] = 'm';
    send_packet(packet, sizeof(packet)); /* longer than the server takes */
    receive();
    cr_expect_str_eq(reply, "E1c");

    for (unsigned round = 0; round < 2000; round++) {
        size_t size = (size_t)rand_r(&seed) % 64;

        for (size_t i = 0; i < size; i++) {
            static const char usual[] = "0123456789abcdef,:;=";
            packet[i] = rand_r(&seed) % 8 ? usual[(size_t)rand_r(&seed) % (sizeof(usual) - 1)]
                                          : (char)(rand_r(&seed) | 4); /* not 3, # or $ */
            if (packet[i] == '$' || packet[i] == '#' || packet[i] == '}')
                packet[i] = 'q';
        }
        packet[0] = starts[(size_t)rand_r(&seed) % (sizeof(starts) - 1)];
        if (packet[0] == 'v' || packet[0] == 'b') /* not to run away */
            packet[1] = 'x';
        send_packet(packet, size);
        receive();
    }
    for (unsigned i = 0; i < sizeof(packet); i++) { /* not - either: it would be answered */
        packet[i] = (char)rand_r(&seed);
        if (packet[i] == 3 || packet[i] == '$' || packet[i] == '-')
            packet[i] = 'q';
    }
    send_bytes(packet, sizeof(packet)); /* noise between packets */
    cr_expect_str_eq(ask("qC"), "QC1", "seed %u", seed);
    expect_ok(ask("k"));
    client_end();
}

/* --- Registers and memory ------------------------------------------------------------------------
 */

static void run_to(uint64_t address)
{
    expect_ok(ask("Z1,%llx,1", (unsigned long long)address));
    ask("c");
    cr_assert_eq(strncmp(reply, "T05thread:1;", 12), 0, "%s", reply);
    expect_ok(ask("z1,%llx,1", (unsigned long long)address));
    cr_assert_eq(get_register("rip"), address);
}

Test(sim_gdb, shows_registers_of_all_kinds)
{
    client_start(false, NO_SETTINGS);
    cr_expect_eq(get_register("cr0") & 1, 1); /* Multiboot: protected mode */
    cr_expect_eq(get_register("efer"), 0);
    run_to(symbol("registers_set"));

    static const struct {
        const char *name;
        uint64_t value;
    } cases[] = {
        {"r11", 0x1122334455667788},
        {"cs", 8},
        {"cr0", 0x80000031},
        {"cr3", 0x70000},
        {"efer", 0x500 | 0x800},
        {"dr7", 0x401},
        {"lstar", 0xffffffff81234560},
        {"kernel_gs_base", 0xffff888012345000},
        {"apic_base", 0xfee00900},
        {"pat", 0x0007040600070406},
        {"fctrl", 0x37f},
        {"fstat", 6 << 11}, /* two are on the stack */
        {"ftag", 0x0fff},
        {"mxcsr", 0x1f80},
        {"st0", 0x8000000000000000}, /* 1: the mantissa */
        {"st1", 0xc90fdaa22168c235}, /* pi */
        {"fs_base", 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t value = get_register(cases[i].name);
        cr_expect_eq(value, cases[i].value, "%s is 0x%llx", cases[i].name,
                     (unsigned long long)value);
    }
    cr_expect_eq(get_register("dr0"), symbol("guarded"));
    ask("p%x", register_number("xmm3"));
    cr_expect_str_eq(reply, "0000803f000000400000404000008040");
    ask("p%x", register_number("st0"));
    cr_expect_eq(number_at(reply + 16, 2), 0x3fff);

    /* g holds them all in the same order. */
    unsigned count = register_number("r11"), offset = 0;
    for (unsigned i = 0; i < count; i++)
        offset += (unsigned)strlen(ask("p%x", i));
    ask("g");
    cr_expect_eq(number_at(reply + offset, 8), 0x1122334455667788);
    ask("?");
    expect_ok(ask("D"));
    cr_expect_eq(client_end(), 1);
}

Test(sim_gdb, writes_registers_that_may_be_written)
{
    static const struct {
        const char *name, *value, *answer;
    } cases[] = {
        {"rbx", "8877665544332211", "OK"},     {"xmm5", "000102030405060708090a0b0c0d0e0f", "OK"},
        {"st1", "000000000000008000c0", "OK"}, /* -2 */
        {"mxcsr", "801f0000", "OK"},           {"fctrl", "7f020000", "OK"},
        {"lstar", "0000000000000080", "E16"}, /* not canonical */
        {"cr4", "ffffffffffffffff", "E16"},   /* reserved bits */
        {"cr0", "0000008000000000", "E16"},   /* paging without protection */
        {"cr8", "0300000000000000", "OK"},     {"star", "1122334455667788", "OK"},
        {"dr3", "0040000000000000", "OK"},     {"gs_base", "0000000080ffffff", "OK"},
        {"eflags", "46080000", "OK"},
    };

    client_start(false, NO_SETTINGS);
    run_to(symbol("registers_set"));
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        unsigned number = register_number(cases[i].name);
        char before[64];

        snprintf(before, sizeof(before), "%s", ask("p%x", number));
        cr_expect_str_eq(ask("P%x=%s", number, cases[i].value), cases[i].answer, "%s",
                         cases[i].name);
        bool right = strcmp(cases[i].answer, "OK") == 0;
        cr_expect_str_eq(ask("p%x", number), right ? cases[i].value : before, "%s", cases[i].name);
    }
    /* What was written is what the guest runs with: over the first write of `value` 9. */
    run_to(symbol("write_value"));
    expect_ok(ask("P%x=0500000000000000", register_number("rdi")));
    run_to(symbol("guarded"));
    cr_expect_eq(memory(symbol("value"), 8), 25);
    expect_ok(ask("k"));
    client_end();
}

Test(sim_gdb, reads_and_writes_memory)
{
    uint64_t sources = symbol("sources"), end = 32 << 20;

    client_start(false, NO_SETTINGS);
    run_to(symbol("do_round"));
    cr_expect_eq(memory(sources + 8 * 15, 8), 16);
    cr_expect_eq(memory(sources - 4096, 1), memory(sources - 4096, 8) & 0xff);
    cr_expect_str_eq(ask("m8000000000000000,4"), "E0e"); /* not canonical */
    cr_expect_str_eq(ask("m%llx,4", (unsigned long long)end), "E0e");
    cr_expect_str_eq(ask("m100000000,4"), "E0e"); /* not mapped */
    cr_expect_str_eq(ask("mfee00000,4"), "E0e");  /* a device is not touched */
    ask("m%llx,10", (unsigned long long)end - 4);
    cr_expect_eq(reply_size, 8, "the part that is there: %s", reply);
    cr_expect_str_eq(ask("M%llx,8:0102030405060708", (unsigned long long)end - 4), "E0e");

    expect_ok(ask("M%llx,4:12345678", (unsigned long long)sources + 2));
    cr_expect_eq(memory(sources + 2, 4), 0x78563412);
    uint8_t binary[64] = "X";
    int head = sprintf((char *)binary, "X%llx,4:", (unsigned long long)sources + 2);
    memcpy(binary + head, "}\x03}\x04}\x5d\x01", 7); /* '#', '$', '}', 1 */
    send_packet(binary, (size_t)head + 7);
    receive();
    expect_ok(reply);
    cr_expect_eq(memory(sources + 2, 4), 0x017d2423);

    /* Code that is written is code that runs: guarded returns at once. */
    expect_ok(ask("M%llx,1:c3", (unsigned long long)symbol("guarded")));
    uint64_t total = memory(symbol("total"), 8);
    run_to(symbol("copy"));
    cr_expect_eq(memory(symbol("total"), 8), total + 100 * 101 / 2);
    expect_ok(ask("k"));
    client_end();
}

/* --- Running -------------------------------------------------------------------------------------
 */

Test(sim_gdb, breakpoints_do_not_show)
{
    uint64_t guarded = symbol("guarded"), write_value = symbol("write_value"), stops = 0;
    uint64_t before, code;

    client_start(false, NO_SETTINGS);
    ask("qSupported:swbreak+;hwbreak+");
    run_to(symbol("do_round"));
    code = memory(guarded, 8);
    before = instructions();
    expect_ok(ask("Z0,%llx,1", (unsigned long long)guarded)); /* DR0 is there too */
    expect_ok(ask("Z1,%llx,1", (unsigned long long)write_value));
    expect_ok(ask("Z1,%llx,1", (unsigned long long)write_value));
    cr_expect_eq(memory(guarded, 8), code);
    for (; strncmp(ask("c"), "T05thread:1;replaylog:end", 25); stops++) {
        uint64_t rip = get_register("rip"), now = instructions();

        cr_assert_gt(now, before);
        before = now;
        cr_assert_str_eq(ask("?"),
                         rip == guarded ? "T05thread:1;swbreak:;" : "T05thread:1;hwbreak:;");
        cr_assert(rip == guarded || rip == write_value);
        if (rip == guarded) /* the guest's own breakpoint has come before */
            cr_assert_eq(memory(symbol("debug_hits"), 8), memory(symbol("round"), 8) + 1);
    }
    cr_expect_eq(stops, ROUNDS + ROUNDS / 10);
    cr_expect_str_eq(ask("c"), "W01");
    cr_expect_eq(client_end(), 1, "the guest counted hits of its own breakpoint");
}

Test(sim_gdb, watchpoints_stop_behind_the_access)
{
    const struct {
        char type;
        const char *variable;
        unsigned offset, size, hits;
        const char *name;
    } cases[] = {
        {'2', "value", 0, 8, 20, "watch"},
        {'2', "bytes", 5, 1, 4, "watch"},  /* a part of a store that is not aligned */
        {'2', "bytes", 11, 4, 0, "watch"}, /* beside it */
        {'3', "value", 0, 8, 0, "rwatch"},
        {'4', "value", 0, 8, 20, "awatch"},
        {'3', "sources", 40, 8, 1, "rwatch"}, /* by REP MOVS */
        {'2', "copies", 40, 8, 1, "watch"},
        {'4', "total", 0, 8, 4 * ROUNDS, "awatch"}, /* two sums a round, loaded and stored */
        {'2', "gates", 0, 4096, 1, "watch"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t address = symbol(cases[i].variable) + cases[i].offset;
        unsigned hits = 0;
        char expected[64];

        snprintf(expected, sizeof(expected), "T05thread:1;%s:%llx;", cases[i].name,
                 (unsigned long long)address);
        client_start(false, NO_SETTINGS);
        if (strcmp(cases[i].variable, "gates"))
            run_to(symbol("do_round"));
        expect_ok(ask("Z%c,%llx,%x", cases[i].type, (unsigned long long)address, cases[i].size));
        for (; !strcmp(ask("c"), expected); hits++)
            ;
        cr_expect_str_eq(reply, "T05thread:1;replaylog:end;", "%s: %s", cases[i].variable, reply);
        if (strcmp(cases[i].variable, "gates"))
            cr_expect_eq(hits, cases[i].hits, "%s%c: %u", cases[i].variable, cases[i].type, hits);
        else
            cr_expect_geq(hits, cases[i].hits);
        ask("c");
        cr_expect_eq(client_end(), 1);
    }
}

/* The processor's own access: the return address that the guest's debug exception pushes. */
Test(sim_gdb, watchpoints_see_event_delivery)
{
    char expected[64];

    client_start(false, NO_SETTINGS);
    run_to(symbol("guarded")); /* the first has been delivered */
    uint64_t slot = (get_register("rsp") & ~15ull) - 40;
    cr_assert_eq(memory(slot, 8), symbol("guarded"));
    expect_ok(ask("Z2,%llx,8", (unsigned long long)slot));
    snprintf(expected, sizeof(expected), "T05thread:1;watch:%llx;", (unsigned long long)slot);
    for (unsigned n = 2; n < 20; n++) {
        do /* others use the stack as well */
            cr_assert_str_eq(ask("c"), expected);
        while (get_register("rip") != symbol("debug_handler"));
        cr_assert_eq(memory(symbol("debug_hits"), 8), n - 1);
    }
    expect_ok(ask("D"));
    cr_expect_eq(client_end(), 1);
}

Test(sim_gdb, steps)
{
    client_start(false, NO_SETTINGS);
    run_to(symbol("do_round"));
    uint64_t before = instructions();
    for (unsigned i = 0; i < 300; i++)
        cr_assert_str_eq(ask(i % 2 ? "s" : "vCont;s:1"), "T05thread:1;");
    cr_expect_eq(instructions(), before + 300);

    /* A breakpoint on the way of a step, and where one stands already. */
    run_to(symbol("do_round"));
    uint64_t rip = get_register("rip");
    expect_ok(ask("Z0,%llx,1", (unsigned long long)rip));
    ask("s");
    cr_expect_neq(get_register("rip"), rip);
    cr_expect_str_eq(ask("c"), "T05thread:1;");
    cr_expect_eq(get_register("rip"), rip, "the next round");
    expect_ok(ask("z0,%llx,1", (unsigned long long)rip));

    /* Out of a range. */
    ask("vCont;r%llx,%llx:1", (unsigned long long)rip, (unsigned long long)rip + 8);
    uint64_t now = get_register("rip");
    cr_expect(now < rip || now >= rip + 8);

    before = instructions();
    char command[32];
    snprintf(command, sizeof(command), "to %llu", (unsigned long long)before + 1000);
    cr_expect(strstr(monitor(command), "the next continue goes to instruction"));
    cr_expect_str_eq(ask("c"), "T05thread:1;");
    cr_expect_eq(instructions(), before + 1000);
    cr_expect_str_eq(monitor("to 100"),
                     "this run goes forwards only: record it, and debug its replay\n");
    expect_ok(ask("D"));
    cr_expect_eq(client_end(), 1);
}

static char *slurp(const char *path, size_t *size)
{
    char *data = malloc(1 << 20);
    FILE *file = fopen(path, "re");

    cr_assert_not_null(file, "%s", path);
    *size = fread(data, 1, 1 << 20, file);
    fclose(file);
    unlink(path);
    return data;
}

/* The same run, byte for byte, with hundreds of stops. */
Test(sim_gdb, a_trace_does_not_show_the_debugger)
{
    static const char *const levels[] = {"exits", "translations", "memory"};
    char plain[] = "/tmp/vtxsim-gdb-XXXXXX", debugged[] = "/tmp/vtxsim-gdb-XXXXXX";
    struct machine machine = {0};
    size_t size, size2;

    for (unsigned i = 0; i < 3; i++) {
        close(mkstemp(strcpy(plain, "/tmp/vtxsim-gdb-XXXXXX")));
        close(mkstemp(strcpy(debugged, "/tmp/vtxsim-gdb-XXXXXX")));
        machine_create(&machine, "gdb.elf", SETTINGS({"trace", plain}, {"trace-level", levels[i]}));
        machine_run(&machine);
        machine_destroy(&machine);

        client_start(false, SETTINGS({"trace", debugged}, {"trace-level", levels[i]}));
        expect_ok(ask("Z0,%llx,1", (unsigned long long)symbol("do_round")));
        expect_ok(ask("Z0,%llx,1", (unsigned long long)symbol("guarded")));
        expect_ok(ask("Z2,%llx,8", (unsigned long long)symbol("total")));
        expect_ok(ask("Z3,%llx,8", (unsigned long long)symbol("sources")));
        for (unsigned n = 0; !strstr(ask(n % 10 < 4 ? "s" : "c"), "replaylog:end"); n++)
            ;
        ask("c");
        cr_assert_eq(client_end(), 1);

        char *data = slurp(plain, &size), *data2 = slurp(debugged, &size2);
        cr_expect(size == size2 && !memcmp(data, data2, size), "level %s", levels[i]);
        free(data);
        free(data2);
    }
}

Test(sim_gdb, interrupts_and_lets_go)
{
    client_start(false, NO_SETTINGS);
    run_to(symbol("do_round"));
    /* For ever: a jump to itself in place of the next instruction. */
    uint64_t rip = get_register("rip");
    expect_ok(ask("M%llx,2:ebfe", (unsigned long long)rip));
    for (unsigned i = 0; i < 5; i++) {
        send_packet("c", 1);
        usleep(20000);
        send_bytes("\x03", 1);
        receive();
        cr_assert_str_eq(reply, "T02thread:1;");
        cr_expect_eq(get_register("rip"), rip);
    }
    expect_ok(ask("k"));
    client_end();
}

Test(sim_gdb, monitor_tells_what_gdb_has_no_words_for)
{
    static const struct {
        const char *command, *says;
    } cases[] = {
        {"help", "monitor walk ADDRESS"},
        {"registers", "64-bit mode, CPL 0, VMX non-root operation"},
        {"registers", "GDTR "},
        {"walk 0x100000", "guest-physical 000000100000"},
        {"walk 0x100000", "EPT PDE"},
        {"walk $rip", "PML4E"},
        {"walk 0x100000000", "page fault"},
        {"walk 0x8000000000000000", "not canonical"},
        {"walk", "ADDRESS"},
        {"walk x", "no number"},
        {"exits", "EXTERNAL_INTERRUPT"},
        {"vmcs", "GUEST_CR0"},
        {"time", "simulated cycles"},
        {"instructions", "instructions retired"},
        {"nonsense", "there is no command"},
        {"", "there is no command"},
    };

    client_start(false, NO_SETTINGS);
    run_to(symbol("guarded"));
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        cr_expect(strstr(monitor(cases[i].command), cases[i].says), "%s: %s", cases[i].command,
                  monitor(cases[i].command));
    expect_ok(ask("D"));
    cr_expect_eq(client_end(), 1);
}
