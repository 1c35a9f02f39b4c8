/*
 * vtxsim diff as a user meets it: whole guests that differ by one seeded change, of which the first
 * differing instruction is known.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/profile.h"
#include "traces/reader.h"

#define ARGUMENTS_MAX 24
#define SECONDS_MAX   "100" /* then a hanging command is killed */

static char build[512]; /* the build folder */
static char folder[] = "/tmp/vtxsim-sim-diff-XXXXXX";
static char output[1 << 20], errors[1 << 16]; /* of the last command */

static void begin(void)
{
    ssize_t length = readlink("/proc/self/exe", build, sizeof(build) - 1);

    cr_assert_gt(length, 0);
    build[length] = '\0';
    *strrchr(build, '/') = '\0';
    *strrchr(build, '/') = '\0';
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void end(void)
{
    DIR *entries = opendir(".");
    const struct dirent *entry;

    while ((entry = readdir(entries)))
        if (*entry->d_name != '.')
            unlink(entry->d_name);
    closedir(entries);
    cr_assert_eq(chdir("/"), 0);
    rmdir(folder);
}

TestSuite(sim_diff, .init = begin, .fini = end, .timeout = 300);

static void slurp(const char *path, char *data, size_t size)
{
    FILE *file = fopen(path, "re");

    cr_assert_not_null(file, "%s", path);
    data[fread(data, 1, size - 1, file)] = '\0';
    fclose(file);
}

/* Runs vtxsim; "@x" is the guest x in the build folder. Returns the status as a shell gives it. */
static int run(const char *const *arguments)
{
    static char program[600], guests[ARGUMENTS_MAX][600];
    char *argv[ARGUMENTS_MAX + 4] = {"timeout", SECONDS_MAX, program};
    int status;
    pid_t pid;

    snprintf(program, sizeof(program), "%s/vtxsim", build);
    for (unsigned i = 0; arguments[i]; i++) {
        cr_assert_lt(i, ARGUMENTS_MAX);
        snprintf(guests[i], sizeof(guests[i]), "%s/guests/%s", build, arguments[i] + 1);
        argv[i + 3] = *arguments[i] == '@' ? guests[i] : (char *)arguments[i];
    }
    pid = fork();
    if (pid == 0) {
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666), STDOUT_FILENO);
        dup2(open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* the engine's library keeps some */
        execvp("timeout", argv);
        _exit(99);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    slurp("out", output, sizeof(output));
    slurp("err", errors, sizeof(errors));
    cr_assert(!strstr(errors, "Sanitizer") && !strstr(errors, "runtime error"), "%s", errors);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static json_t *parse_output(void)
{
    json_error_t error;
    json_t *document = json_loads(output, 0, &error);

    cr_assert_not_null(document, "%s: %s", error.text, output);
    return document;
}

/* "instruction/registers/rax" */
static json_t *find(json_t *document, const char *path)
{
    char words[128], *rest;

    snprintf(words, sizeof(words), "%s", path);
    for (char *word = strtok_r(words, "/", &rest); word && document;
         word = strtok_r(NULL, "/", &rest))
        document = json_object_get(document, word);
    return document;
}

static json_int_t number(json_t *document, const char *path)
{
    cr_assert(json_is_integer(find(document, path)), "no %s in %s", path, output);
    return json_integer_value(find(document, path));
}

static bool differs(json_t *document, const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "instruction/registers/%s/differs", name);
    return json_is_true(find(document, path));
}

static uint64_t register_of(json_t *document, const char *name, char side)
{
    char path[64];

    snprintf(path, sizeof(path), "instruction/registers/%s/%c", name, side);
    cr_assert(json_is_string(find(document, path)), "no %s", path);
    return strtoull(json_string_value(find(document, path)), NULL, 16);
}

/* The instruction after which the registers differ. */
static const char *last_text(json_t *document)
{
    json_t *executed = find(document, "instruction/executed");

    cr_assert(json_is_array(executed), "%s", output);
    return json_string_value(
        json_object_get(json_array_get(executed, json_array_size(executed) - 1), "text"));
}

/* One bit of one register: the very instruction count, that register and no other. */
Test(sim_diff, flips)
{
    static const struct {
        const char *guest, *limit, *flip, *name;
        json_int_t at;
        unsigned bit;
    } cases[] = {
        {"@bench-random.multiboot", "300000", "3:r15:63", "r15", 3, 63},
        {"@bench-random.multiboot", "300000", "12345:rbx:0", "rbx", 12345, 0},
        {"@bench-random.multiboot", "300000", "84446:rdx:20", "rdx", 84446, 20},
        {"@bench-random.multiboot", "300000", "299999:r8:40", "r8", 299999, 40},
        {"@bench-compute.multiboot", "300000", "100000:rax:40", "rax", 100000, 40},
        {"@torture.multiboot", "1000000", "600000:rsp:4", "rsp", 600000, 4},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *registers[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rip",
                                   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
        json_t *document;

        RUN("run", "-M", "32M", "-n", cases[i].limit, "-t", "a.vtx", cases[i].guest);
        RUN("run", "-M", "32M", "-n", cases[i].limit, "-t", "b.vtx", "--inject-flip", cases[i].flip,
            cases[i].guest);
        cr_assert_eq(RUN("diff", "--json", "a.vtx", "b.vtx"), 1, "%s: %s%s", cases[i].flip, output,
                     errors);
        document = parse_output();
        cr_assert_eq(number(document, "instruction/instructions"), cases[i].at, "%s: found at %lld",
                     cases[i].flip, (long long)number(document, "instruction/instructions"));
        for (unsigned k = 0; k < sizeof(registers) / sizeof(*registers); k++)
            cr_assert_eq(differs(document, registers[k]), strcmp(registers[k], cases[i].name) == 0,
                         "%s: %s", cases[i].flip, registers[k]);
        cr_assert_eq(register_of(document, cases[i].name, 'a') ^
                         register_of(document, cases[i].name, 'b'),
                     1ull << cases[i].bit);
        cr_assert_eq(number(document, "instruction/pages_before/count"), 0);
        json_decref(document);
    }
}

/* State hashes say where to begin: the runs agree there, and the place is the same. */
Test(sim_diff, from_a_state_hash)
{
    json_t *document;

    RUN("run", "-M", "32M", "-n", "300000", "--hash-every", "10000", "-t", "a.vtx",
        "@bench-random.multiboot");
    RUN("run", "-M", "32M", "-n", "300000", "--hash-every", "10000", "-t", "b.vtx", "--inject-flip",
        "123456:rbx:7", "@bench-random.multiboot");
    cr_assert_eq(RUN("diff", "--json", "--memory", "a.vtx", "b.vtx"), 1, "%s", errors);
    document = parse_output();
    cr_assert_eq(number(document, "instruction/agreed_instructions"), 120000);
    cr_assert_eq(number(document, "instruction/instructions"), 123456);
    cr_assert_eq(number(document, "first/a/instructions"), 130000);
    json_decref(document);
}

/* One byte of the command line: the first instruction that takes it into a register. */
Test(sim_diff, one_input_byte)
{
    const char *text;
    json_t *document;

    RUN("run", "-M", "32M", "-n", "3000000", "-t", "a.vtx", "@torture.multiboot", "rounds=1");
    RUN("run", "-M", "32M", "-n", "3000000", "-t", "b.vtx", "@torture.multiboot", "rounds=3");
    cr_assert_eq(RUN("diff", "--json", "--memory", "a.vtx", "b.vtx"), 1, "%s", errors);
    document = parse_output();
    text = last_text(document);
    cr_assert(strncmp(text, "mov", 3) == 0 && strstr(text, "byte ptr ["), "%s", text);
    cr_assert_eq(number(document, "instruction/pages_before/count"), 1);
    cr_assert_eq(number(document, "instruction/memory_difference/instructions"), 0);
    cr_assert_eq(number(document, "instruction/memory_difference/pages/count"), 1);
    cr_assert_eq(json_array_size(find(document, "options")), 1);
    json_decref(document);
}

/* A copy of a CPU profile, with one word replaced by another of the same length in the first line
 * that holds it. */
static void copy_profile(const char *to, const char *word, const char *other)
{
    static char text[1 << 16];
    char path[4096], *at;
    FILE *file;

    cr_assert_eq(cpu_profile_find("skylake-client", path, sizeof(path)), 0);
    slurp(path, text, sizeof(text));
    at = strstr(text, word);
    cr_assert_not_null(at);
    memcpy(at, other, strlen(other));
    file = fopen(to, "we");
    fputs(text, file);
    fclose(file);
}

/* One bit of CPUID, in a register that no event shows: the CPUID instruction that tells it. */
Test(sim_diff, one_cpuid_bit)
{
    json_t *document;

    /* Leaf 0, EBX: a letter of the vendor's name. */
    copy_profile("one.cfg", "0x756e6547", "0x756e6547");
    copy_profile("two.cfg", "0x756e6547", "0x756e6557");
    RUN("run", "-M", "32M", "-n", "20000", "-c", "./one.cfg", "-t", "a.vtx",
        "@bench-cpuid.multiboot");
    RUN("run", "-M", "32M", "-n", "20000", "-c", "./two.cfg", "-t", "b.vtx",
        "@bench-cpuid.multiboot");
    cr_assert_eq(RUN("diff", "--json", "a.vtx", "b.vtx"), 1, "%s%s", output, errors);
    document = parse_output();
    cr_assert_str_eq(last_text(document), "cpuid");
    cr_assert(differs(document, "rbx") && !differs(document, "rax") && !differs(document, "rcx") &&
              !differs(document, "rdx"));
    cr_assert_eq(register_of(document, "rbx", 'a') ^ register_of(document, "rbx", 'b'), 0x10);
    json_decref(document);
}

static void copy_guest(const char *guest, const char *to)
{
    char command[1200];

    snprintf(command, sizeof(command), "cp %s/guests/%s %s", build, guest, to);
    cr_assert_eq(system(command), 0);
}

/* What does not make events differ, and how that can be asked for. */
Test(sim_diff, same)
{
    RUN("run", "-M", "32M", "-n", "50000", "-t", "a.vtx", "@bench-random.multiboot");
    RUN("run", "-M", "32M", "-n", "50000", "-t", "b.vtx", "@bench-random.multiboot");
    RUN("run", "-M", "32M", "-n", "50000", "--seed", "7", "-t", "c.vtx", "@bench-random.multiboot");
    RUN("run", "-M", "32M", "-n", "50000", "--trace-level", "blocks", "-t", "d.vtx",
        "@bench-random.multiboot");
    cr_assert_eq(RUN("diff", "a.vtx", "b.vtx"), 0);
    cr_assert_str_eq(output, "the files are equal\n");
    cr_assert_eq(RUN("diff", "a.vtx", "c.vtx"), 0, "%s", output);
    cr_assert(strstr(output, "seed") && strstr(output, "no event differs"), "%s", output);
    cr_assert_eq(RUN("diff", "--headers", "a.vtx", "c.vtx"), 1);
    cr_assert_eq(RUN("diff", "a.vtx", "d.vtx"), 0, "levels: %s", output);
    cr_assert_eq(RUN("diff", "--json", "a.vtx", "d.vtx"), 0);
    json_decref(parse_output());
    RUN("run", "-M", "32M", "-n", "50000", "--hash-every", "10000", "-t", "e.vtx",
        "@bench-random.multiboot");
    cr_assert_eq(RUN("diff", "a.vtx", "e.vtx"), 0, "intervals of state hashes: %s", output);
    copy_guest("bench-random.bin", "image");
    RUN("run", "-n", "50000", "--flat-mode", "64", "-t", "a.vtx", "@bench-random.bin");
    RUN("run", "-n", "50000", "--flat-mode", "64", "-t", "b.vtx", "image");
    cr_assert_eq(RUN("diff", "--headers", "a.vtx", "b.vtx"), 0, "a file's path: %s", output);
}

/* Runs that differ before the first instruction, and by where they stop. */
Test(sim_diff, start_and_end)
{
    json_t *document;

    RUN("run", "-n", "20000", "--flat-mode", "64", "-t", "a.vtx", "@bench-random.bin");
    RUN("run", "-n", "20000", "--flat-mode", "32", "-t", "b.vtx", "@bench-random.bin");
    RUN("run", "-n", "30000", "--flat-mode", "64", "-t", "c.vtx", "@bench-random.bin");
    cr_assert_eq(RUN("diff", "--json", "a.vtx", "b.vtx"), 1);
    document = parse_output();
    cr_assert_str_eq(json_string_value(find(document, "instruction/result")), "start");
    cr_assert(differs(document, "efer") && differs(document, "cr3") && !differs(document, "rip"));
    json_decref(document);

    cr_assert_eq(RUN("diff", "--json", "a.vtx", "c.vtx"), 1);
    document = parse_output();
    cr_assert_eq(number(document, "instruction/instructions"), 20000);
    cr_assert(json_is_true(find(document, "instruction/stopped/a")));
    cr_assert(json_is_false(find(document, "instruction/stopped/b")));
    json_decref(document);
}

/* Events that differ, and are not wanted. */
Test(sim_diff, ignored)
{
    RUN("run", "-M", "32M", "-n", "50000", "-t", "a.vtx", "@bench-cpuid.multiboot");
    RUN("run", "-M", "32M", "-n", "50000", "--exit-cycles", "100", "-t", "b.vtx",
        "@bench-cpuid.multiboot");
    cr_assert_eq(RUN("diff", "--no-replay", "a.vtx", "b.vtx"), 1);
    cr_assert(strstr(output, "* cycles"), "%s", output);
    cr_assert_null(strstr(output, "the runs differ"));
    cr_assert_eq(RUN("diff", "--no-replay", "--ignore", "cpuid,interrupt,state-hash,end",
                     "--ignore-field", "rip", "a.vtx", "b.vtx"),
                 0, "%s", output);
    cr_assert_eq(RUN("diff", "--no-replay", "--all", "--json", "a.vtx", "b.vtx"), 1);
    cr_assert(strstr(output, "\"classes\"") && strstr(output, "CPUID"), "%s", output);
}

/* Runs that cannot be executed again: the events are told all the same. */
Test(sim_diff, no_image)
{
    char from[600];

    snprintf(from, sizeof(from), "%s/guests/bench-cpuid.multiboot", build);
    copy_guest("bench-cpuid.multiboot", "image");
    RUN("run", "-M", "32M", "-n", "5000", "-t", "a.vtx", "image");
    RUN("run", "-M", "32M", "-n", "5000", "--inject-flip", "1000:rsp:5", "-t", "b.vtx", "image");
    unlink("image");
    cr_assert_eq(RUN("diff", "a.vtx", "b.vtx"), 1);
    cr_assert(strstr(output, "* registers") && strstr(output, "not executed again") &&
                  strstr(output, "image"),
              "%s", output);
    cr_assert_eq(RUN("diff", "--find", from, "--json", "a.vtx", "b.vtx"), 1);
    json_decref(parse_output());
    cr_assert(strstr(output, "\"instructions\": 1000,"), "%s", output);
}

/* A place in the file that is an event's, not an index's. */
static uint64_t middle_of_events(const char *path)
{
    const struct trace_frame *frames;
    struct trace_reader *reader;
    uint64_t place;

    cr_assert_eq(trace_reader_open(&reader, path, NULL, 0), 0);
    cr_assert_gt(trace_reader_frames(reader, &frames), 0);
    place = frames[0].offset + frames[0].compressed_size / 2;
    trace_reader_close(reader);
    return place;
}

Test(sim_diff, wrong_use)
{
    static const struct {
        const char *arguments[6], *told;
    } cases[] = {
        {{"diff"}, "two traces"},
        {{"diff", "a.vtx"}, "two traces"},
        {{"diff", "a.vtx", "a.vtx", "a.vtx"}, "not more"},
        {{"diff", "a.vtx", "none"}, "none"},
        {{"diff", "a.vtx", "."}, "directory"},
        {{"diff", "a.vtx", "junk"}, "junk"},
        {{"diff", "junk", "junk"}, "junk"},
        {{"diff", "a.vtx", "damaged"}, "damaged"},
        {{"diff", "--ignore", "frobs", "a.vtx", "a.vtx"}, "frobs"},
        {{"diff", "--ignore-field", "frob", "a.vtx", "a.vtx"}, "frob"},
        {{"diff", "-C", "-1", "a.vtx", "a.vtx"}, "--context"},
        {{"diff", "--symbols", "none", "a.vtx", "a.vtx"}, "none"},
        {{"run", "--inject-flip", "5:rip:3", "@demo.img"}, "inject-flip"},
        {{"run", "--inject-flip", "5:rax:64", "@demo.img"}, "inject-flip"},
    };
    static char trace[1 << 16];
    struct stat status;
    FILE *file;

    RUN("run", "-M", "32M", "-n", "50000", "-t", "a.vtx", "@bench-cpuid.multiboot");
    cr_assert_eq(stat("a.vtx", &status), 0);
    file = fopen("a.vtx", "re");
    cr_assert_eq(fread(trace, 1, sizeof(trace), file), (size_t)status.st_size);
    fclose(file);
    for (unsigned i = 0; i < 16; i++) /* a single bit of a zstd frame may mean nothing */
        trace[middle_of_events("a.vtx") - i] ^= 0x55;
    file = fopen("damaged", "we");
    fwrite(trace, 1, (size_t)status.st_size, file);
    fclose(file);
    file = fopen("junk", "we");
    fputs("this is no trace\n", file);
    fclose(file);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_assert_eq(run(cases[i].arguments), 2, "case %u: %s%s", i, output, errors);
        cr_assert(strstr(errors, cases[i].told), "case %u: %s", i, errors);
    }
}
