/*
 * Sessions with GDB and LLDB, as a user has them: a guest with symbols is recorded, and debugged in
 * its replay.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS_MAX 100 /* then a session that hangs is ended */

static char build[512], guest[600], folder[] = "/tmp/vtxsim-session-XXXXXX", output[1 << 16];

static void begin(void)
{
    ssize_t length = readlink("/proc/self/exe", build, sizeof(build) - 1);

    cr_assert_gt(length, 0);
    build[length] = '\0';
    *strrchr(build, '/') = '\0';
    *strrchr(build, '/') = '\0';
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* the engine's library keeps some */
    setenv("BUILD", build, 1);
    snprintf(guest, sizeof(guest), "%s/guests/gdb.elf", build);
    alarm(SECONDS_MAX);
}

static void end(void)
{
    cr_assert_eq(chdir("/"), 0);
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", folder);
    cr_expect_eq(system(command), 0);
}

TestSuite(sim_gdb_session, .init = begin, .fini = end);

static int shell(const char *command)
{
    int status = system(command);

    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Starts the server and returns its port. */
static unsigned serve(const char *command, pid_t *pid)
{
    char line[256] = "";
    int errors[2];

    cr_assert_eq(pipe(errors), 0);
    *pid = fork();
    if (*pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        dup2(errors[1], STDERR_FILENO);
        close(errors[0]);
        close(errors[1]);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(99);
    }
    close(errors[1]);
    FILE *file = fdopen(errors[0], "r");
    while (fgets(line, sizeof(line), file) && !strstr(line, "target remote"))
        ;
    /* It stays open: what else the server says must not end it. */
    char *colon = strrchr(line, ':');
    cr_assert_not_null(colon, "%s: %s", command, line);
    return (unsigned)atoi(colon + 1);
}

/* Runs GDB with commands; what it says is in `output`. */
static void debug(const char *symbols, unsigned port, const char *const *commands)
{
    FILE *script = fopen("script", "w");

    fputs("set pagination off\nset confirm off\nset width 0\n", script);
    fprintf(script, "file %s\ntarget remote 127.0.0.1:%u\n", symbols, port);
    for (; *commands; commands++)
        fprintf(script, "%s\n", *commands);
    fclose(script);
    FILE *gdb = popen("gdb -nx -batch -x script 2>&1", "r");
    output[fread(output, 1, sizeof(output) - 1, gdb)] = '\0';
    pclose(gdb);
}

/* The texts must stand in the output one behind the other. */
static void expect(const char *const *texts)
{
    const char *place = output;

    for (; *texts; texts++) {
        const char *found = strstr(place, *texts);

        cr_assert_not_null(found, "\"%s\" is missing; from where it should come:\n%s\n--- all:\n%s",
                           *texts, place, output);
        place = found + strlen(*texts);
    }
}

static void need_gdb(void)
{
    if (shell("gdb --version >/dev/null 2>&1"))
        cr_skip_test("there is no gdb on this machine");
}

Test(sim_gdb_session, a_replay_back_to_the_write)
{
    static const char *const commands[] = {
        "break write_value",
        "continue",
        "print n",
        "backtrace",
        "finish",
        "print value",
        "stepi",
        "info registers cr0 efer lstar fs_base",
        "print $xmm3.v4_float",
        "print $st1",
        "delete",
        "break finish",
        "continue",
        "print value",
        "watch value",
        "reverse-continue", /* to the write that made the value */
        "print round",
        "print value",
        "stepi",
        "print value",
        "reverse-stepi",
        "print value",
        "reverse-finish",
        "delete",
        "monitor to 0",
        "reverse-continue",
        "monitor instructions",
        "tbreak do_round if n == 77",
        "continue",
        "print n",
        "print debug_hits",
        "monitor walk $rip",
        "delete",
        "continue",
        "kill",
        NULL,
    };
    static const char *const said[] = {
        "write_value (n=3)",
        "$1 = 3",
        "#1 ",
        "do_round (n=n@entry=3)",
        "$2 = 9",
        "cr0 ",
        "[ PE ET NE PG ]",
        "[ LME LMA NXE ]",
        "0xffffffff81234560",
        "$3 = {1, 2, 3, 4}",
        "$4 = 3.14159265358979",
        "finish ()",
        "$5 = 37249", /* 193 squared */
        "Old value = 37249",
        "New value = 33489",
        "write_value (n=",
        "$6 = 193",
        "$7 = 33489",
        "$8 = 37249",
        "$9 = 33489",
        "do_round (n=n@entry=193)",
        "goes to instruction 0",
        "0 instructions retired",
        "do_round (n=n@entry=77)",
        "$10 = 77",
        "$11 = 77",
        "PML4E",
        "EPT PDE",
        "page of ",
        "No more reverse-execution history",
        NULL,
    };
    pid_t pid;
    int status;

    need_gdb();
    shell("$BUILD/vtxsim run --memory 32M --trace t.vtx $BUILD/guests/gdb.elf >/dev/null 2>&1");
    debug(guest, serve("exec $BUILD/vtxsim replay --gdb 0 t.vtx >console", &pid), commands);
    expect(said);
    cr_expect_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", (unsigned)status);
    /* However often the guest has gone there and back, its console came out once. */
    cr_expect_eq(shell("test $(tr -d '.\\n' <console | wc -c) -eq 0 &&"
                       " test $(tr -d '\\n' <console | wc -c) -eq 200"),
                 0);
}

Test(sim_gdb_session, a_run)
{
    static const char *const commands[] = {
        "print $cs",
        "info registers rip cr0",
        "tbreak guest_main",
        "continue",
        "next",
        "info threads",
        "set var total = 1000",
        "tbreak finish",
        "continue",
        "print total",
        "detach",
        NULL,
    };
    static const char *const said[] = {
        "start32 ()",
        "[ PE ET NE ]",
        "guest_main ()",
        "processor 0, CPL 0",
        "finish ()",
        "$2 = 21100",
        "[Inferior 1 (Remote target) detached]",
        NULL,
    };
    pid_t pid;
    int status;

    need_gdb();
    debug(guest,
          serve("exec $BUILD/vtxsim run --memory 32M --gdb 127.0.0.1:0 $BUILD/guests/gdb.elf "
                ">console",
                &pid),
          commands);
    expect(said);
    cr_expect_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status 0x%x", (unsigned)status);
}

/* A kernel as distributions ship it, without symbols but its own: from start_kernel on, and back to
 * who wrote a variable. */
Test(sim_gdb_session, a_linux_kernel)
{
    static const char *const commands[] = {
        "break start_kernel",
        "continue",
        "stepi",
        "backtrace 2",
        "delete",
        "watch *(int *)&system_state",
        "continue",
        "continue",
        "print *(int *)&system_state",
        "reverse-continue",
        "x/i $rip",
        "print *(int *)&system_state",
        "info registers cr3 lstar",
        "backtrace",
        "kill",
        NULL,
    };
    static const char *const said[] = {
        "in start_kernel ()",
        "#1 ",
        "start_kernel ()",
        "New value = 1",
        "rest_init ()",
        "New value = 2",
        "$1 = 2",
        "New value = 1",
        "in kernel_init ()",
        "<system_state>",
        "$2 = 1",
        "ret_from_fork",
        NULL,
    };
    pid_t pid;
    int status;

    need_gdb();
    if (shell("test -r $BUILD/linux/vmlinuz-cloud -a -r $BUILD/linux/initrd"))
        cr_skip_test("there is no kernel in the build folder: ./bootstrap linux fetches one");
    cr_assert_eq(shell("$BUILD/vtxsim symbols --elf -o kernel.sym $BUILD/linux/vmlinuz-cloud"), 0);
    cr_assert_eq(shell("$BUILD/vtxsim run --kernel $BUILD/linux/vmlinuz-cloud --initrd "
                       "$BUILD/linux/initrd --append 'console=ttyS0 nokaslr' --trace t.vtx "
                       "</dev/null >/dev/null 2>&1"),
                 0);
    debug("kernel.sym", serve("exec $BUILD/vtxsim replay --quiet --gdb 0 t.vtx", &pid), commands);
    expect(said);
    cr_expect_eq(waitpid(pid, &status, 0), pid);
}

/* LLDB speaks the protocol too, in another dialect. */
Test(sim_gdb_session, lldb)
{
    static const char *const said[] = {
        "gdb.elf`write_value(n=3)",
        "frame #1",
        "do_round",
        "xmm3 = {0x00 0x00 0x80 0x3f",
        "lstar = 0xffffffff81234560",
        "cr3 = 0x0000000000070000",
        "instruction step into",
        "Watchpoint created",
        "stop reason = breakpoint 1.1",
        "write_value(n=13)",
        "old value: 0x0000000000000009",
        "new value: 0x00000000000000a9",
        "instructions retired",
        "rbx = 0x0000000000001234",
        NULL,
    };
    pid_t pid;
    int status;

    if (shell("lldb --version >/dev/null 2>&1"))
        cr_skip_test("there is no lldb on this machine");
    FILE *script = fopen("script", "w");
    unsigned port = serve("exec $BUILD/vtxsim run --memory 32M --gdb 0 $BUILD/guests/gdb.elf "
                          ">console",
                          &pid);
    fprintf(script,
            "target create %s/guests/gdb.elf\ngdb-remote %u\nbreakpoint set -n write_value\n"
            "continue\nbt\nregister read xmm3 lstar cr3\nstepi\nstepi\n"
            "watchpoint set expression -w write -s 8 -- &value\ncontinue\ncontinue\n"
            "process plugin packet monitor instructions\nregister write rbx 0x1234\n"
            "register read rbx\nkill\n",
            build, port);
    fclose(script);
    FILE *lldb = popen("lldb --batch -s script 2>&1", "r");
    output[fread(output, 1, sizeof(output) - 1, lldb)] = '\0';
    pclose(lldb);
    expect(said);
    cr_expect_eq(waitpid(pid, &status, 0), pid);
}

/* What the option takes, and how it ends without a debugger. */
Test(sim_gdb_session, the_option)
{
    static const struct {
        const char *command;
        int status;
        const char *says;
    } cases[] = {
        {"run --gdb x", 127, "no place to listen"},
        {"run --gdb 65536", 127, "no place to listen"},
        {"run --gdb 192.0.2.1:0", 127, "cannot listen at 192.0.2.1"},
        {"run --gdb 0 --backend kvm", 2, "cannot be debugged"},
        {"replay --gdb 0 --to 5", 2, "leave --to"},
        {"replay --gdb y", 127, "no place to listen"},
        {"run --gdb 0 & sleep 1; kill -INT $!; wait $!; #", 130, "target remote 127.0.0.1:"},
        {"replay --gdb 0 & sleep 1; kill -TERM $!; wait $!; #", 143, "target remote 127.0.0.1:"},
    };
    char command[1024];

    cr_assert_eq(shell("$BUILD/vtxsim run --memory 32M --trace t.vtx $BUILD/guests/gdb.elf "
                       ">/dev/null 2>&1"),
                 1);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *end = strpbrk(cases[i].command, "&#");
        int length = end ? (int)(end - cases[i].command) : (int)strlen(cases[i].command);
        bool run = cases[i].command[1] == 'u';

        snprintf(command, sizeof(command), "$BUILD/vtxsim %.*s %s >console 2>errors %s", length,
                 cases[i].command, run ? "--memory 32M $BUILD/guests/gdb.elf" : "t.vtx",
                 end ? end : "");
        cr_expect_eq(shell(command), cases[i].status, "%s: %d", cases[i].command, shell(command));
        snprintf(command, sizeof(command), "grep -q -e '%s' errors", cases[i].says);
        cr_expect_eq(shell(command), 0, "%s does not say \"%s\"", cases[i].command, cases[i].says);
    }
}
