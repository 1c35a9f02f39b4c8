/* Configuration: values and their limits, the file and its messages, what options replace. */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/config.h"

static char message[CONFIG_MESSAGE_SIZE];
static struct vm_config config;
static char path[] = "/tmp/vtxsim-config-XXXXXX";

static void begin(void)
{
    cr_assert_eq(vm_config_init(&config), 0);
    close(mkstemp(path));
}

static void end(void)
{
    vm_config_destroy(&config);
    unlink(path);
}

TestSuite(sim_config, .init = begin, .fini = end);

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");

    cr_assert(file && fputs(text, file) >= 0);
    fclose(file);
}

Test(sim_config, good_values)
{
    static const struct {
        const char *name, *value;
        size_t offset;
        unsigned width;
        uint64_t expected;
    } cases[] = {
#define CASE(name, field, value, expected) \
    {name, value, offsetof(struct vm_config, field), sizeof(config.field), expected}
        CASE("memory", memory, "512M", 512ull << 20),
        CASE("memory", memory, "1g", 1ull << 30),
        CASE("memory", memory, "2GiB", 2ull << 30),
        CASE("memory", memory, "4096KB", 4ull << 20),
        CASE("memory", memory, "0x10000000", 256ull << 20),
        CASE("memory", memory, "1048576", 1ull << 20),
        CASE("memory", memory, "256G", 256ull << 30),
        CASE("seed", seed, "18446744073709551615", UINT64_MAX),
        CASE("seed", seed, "0xDEADbeef", 0xdeadbeef),
        CASE("cpus", cpus, "8", 8),
        CASE("max-instructions", max_instructions, "1000000", 1000000),
        CASE("hash-every", hash_every, "50000000", 50000000),
        CASE("exit-cycles", exit_cycles, "0", 0),
        CASE("ept", ept, "off", 0),
        CASE("ept", ept, "Yes", 1),
        CASE("full-exits", full_exits, "on", 1),
        CASE("backend", backend, "kvm", BACKEND_KVM),
        CASE("timing", timing, "detailed", TIMING_DETAILED),
        CASE("clock", clock, "host", VM_CLOCK_HOST),
        CASE("ept-page-size", ept_page_size, "4K", 4096),
        CASE("ept-page-size", ept_page_size, "1G", 1ull << 30),
        CASE("flat-mode", flat_mode, "64", 64),
        CASE("ept-withdraw", ept_withdraw, "5000", 5000),
        CASE("ept-withdraw", ept_withdraw_seed, "5000:0x10", 16),
        CASE("log-size", log_size, "0", 0),
        CASE("log-keep", log_keep, "0", 0),
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t value = 0;

        cr_assert_eq(
            vm_config_set(&config, cases[i].name, cases[i].value, message, sizeof(message)), 0,
            "%s", message);
        memcpy(&value, (char *)&config + cases[i].offset, cases[i].width);
        cr_assert_eq(value, cases[i].expected, "%s = %s gave %llu", cases[i].name, cases[i].value,
                     (unsigned long long)value);
    }
}

Test(sim_config, bad_values)
{
    static const struct {
        const char *name, *value, *told;
    } cases[] = {
        {"memory", "", "empty"},
        {"memory", "12Q", "suffix"},
        {"memory", "-1", "not a size"},
        {"memory", " 1G", "not a size"},
        {"memory", "1.5G", "not a size"},
        {"memory", "0x", "not a size"},
        {"memory", "1GiBs", "not a size"},
        {"memory", "18446744073709551616", "not a size"},
        {"memory", "18014398509481984K", "not a size"}, /* 2^64 */
        {"memory", "16777216T", "not a size"},
        {"memory", "1023K", "choose 1M to 256G"},
        {"memory", "257G", "choose 1M to 256G"},
        {"memory", "0", "choose 1M to 256G"},
        {"cpus", "0", "choose 1 to 8"},
        {"cpus", "9", "choose 1 to 8"},
        {"cpus", "4294967297", "choose 1 to 8"}, /* 1 in 32 bits */
        {"cpus", "one", "not a number"},
        {"seed", "-1", "not a number"},
        {"seed", "+1", "not a number"},
        {"seed", "1 ", "not a number"},
        {"seed", "18446744073709551616", "not a number"},
        {"exit-cycles", "-1", "not a number"},
        {"exit-cycles", "1000000001", "choose 0 to 1000000000"},
        {"ept", "perhaps", "neither on nor off"},
        {"backend", "qemu", "unicorn|kvm"},
        {"timing", "fast|detailed", "choose one of"},
        {"clock", "hos", "simulated|host"},
        {"flat-mode", "8", "16|32|64"},
        {"ept-page-size", "4k", "4K|2M|1G"},
        {"ept-withdraw", "0", "at least 1"},
        {"ept-withdraw", "5:", "5000:7"},
        {"ept-withdraw", "5:6:7", "5000:7"},
        {"log-level", "loud", "choose debug"},
        {"kernel", "", "empty"},
        {"memroy", "1G", "there is no setting \"memroy\""},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct vm_config before = config;
        int error = vm_config_set(&config, cases[i].name, cases[i].value, message, sizeof(message));

        cr_assert_lt(error, 0, "%s = \"%s\" was taken", cases[i].name, cases[i].value);
        cr_assert(strstr(message, cases[i].name) && strstr(message, cases[i].told),
                  "%s = \"%s\": \"%s\"", cases[i].name, cases[i].value, message);
        cr_assert_eq(memcmp(&before, &config, sizeof(config)), 0, "a bad value changes nothing");
    }
}

Test(sim_config, file)
{
    write_file("// A test.\n"
               "kernel = \"vmlinuz\";\n"
               "append = \"console=ttyS0\";\n"
               "memory = 536870912;\n"
               "seed = 0xffffffffffL;\n"
               "ept-page-size = \"4K\";\n"
               "vpid = false;\n"
               "module = [\"one\", \"two words\"];\n"
               "arguments = \"single\";\n");
    cr_assert_eq(vm_config_read_file(&config, path, message, sizeof(message)), 0, "%s", message);
    cr_assert_str_eq(config.kernel, "vmlinuz");
    cr_assert_str_eq(config.append, "console=ttyS0");
    cr_assert_eq(config.memory, 512ull << 20);
    cr_assert_eq(config.seed, 0xffffffffff);
    cr_assert_eq(config.ept_page_size, 4096);
    cr_assert(!config.vpid && config.ept);
    cr_assert_eq(config.modules.count, 2);
    cr_assert_str_eq(config.modules.item[1], "two words");
    cr_assert_eq(config.image_arguments.count, 1);
}

Test(sim_config, bad_files)
{
    static const struct {
        const char *text, *line, *told;
    } cases[] = {
        {"memory = \"512M\";\nmemroy = 1;\n", ":2: ", "\"memroy\""},
        {"\n\nmemory = 1;\n", ":3: ", "out of range"},
        {"memory = -1;\n", ":1: ", "not a size"},
        {"memory = 1.5;\n", ":1: ", "not a size"},
        {"memory = true;\n", ":1: ", "not a size"},
        {"memory = { size = 1; };\n", ":1: ", "single value"},
        {"memory = [1, 2];\n", ":1: ", "single value"},
        {"module = (\"a\",\n(\"b\"));\n", ":2: ", "single value"},
        {"seed = 1\nmemory = = 2;\n", ":2: ", "syntax"},
        {"kernel = \"never closed;\n", ":", "syntax"},
        {"\x7f"
         "ELF\2\1\1",
         ":1: ", "syntax"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        write_file(cases[i].text);
        cr_assert_lt(vm_config_read_file(&config, path, message, sizeof(message)), 0);
        cr_assert(strncmp(message, path, strlen(path)) == 0 && strstr(message, cases[i].line) &&
                      strstr(message, cases[i].told),
                  "case %u: \"%s\"", i, message);
    }
    cr_assert_eq(vm_config_read_file(&config, "/nonexistent.cfg", message, sizeof(message)),
                 -ENOENT);
    cr_assert(strstr(message, "/nonexistent.cfg"));
    cr_assert_eq(vm_config_read_file(&config, "/", message, sizeof(message)), -EISDIR);
}

static int build(const struct config_option *options, unsigned count)
{
    vm_config_destroy(&config);
    return vm_config_build(&config, path, options, count, message, sizeof(message));
}

Test(sim_config, options_replace_the_file)
{
    static const struct config_option image[] = {
        {"image", "test.flat"}, {"arguments", "one"}, {"arguments", "two"}, {"memory", "64M"}};
    static const struct config_option kernel[] = {{"kernel", "vmlinux"}, {"append", ""}};
    static const struct config_option module[] = {{"module", "new"}};

    write_file("kernel = \"vmlinuz\"; initrd = \"initrd\"; append = \"quiet\"; memory = \"1G\"; "
               "seed = 5;");
    cr_assert_eq(build(image, 4), 0, "%s", message);
    cr_assert(!config.kernel && !config.initrd && !config.append);
    cr_assert_str_eq(config.image, "test.flat");
    cr_assert_eq(config.image_arguments.count, 2);
    cr_assert_str_eq(config.image_arguments.item[1], "two");
    cr_assert(config.memory == 64ull << 20 && config.seed == 5);

    cr_assert_eq(build(kernel, 2), 0, "%s", message);
    cr_assert_str_eq(config.kernel, "vmlinux");
    cr_assert_str_eq(config.initrd, "initrd");
    cr_assert_str_eq(config.append, "");

    write_file("image = \"boot\"; module = [\"a\", \"b\"]; arguments = [\"x\"];");
    cr_assert_eq(build(module, 1), 0, "%s", message);
    cr_assert_eq(config.modules.count, 1);
    cr_assert_str_eq(config.modules.item[0], "new");
    cr_assert_eq(config.image_arguments.count, 1);
    cr_assert_eq(build(kernel, 1), 0, "%s", message);
    cr_assert(!config.image && !config.modules.count && !config.image_arguments.count);
}

Test(sim_config, contradictions)
{
    static const struct {
        const char *text, *told;
    } cases[] = {
        {"", "nothing to run"},
        {"kernel = \"k\"; image = \"i\";", "only one"},
        {"image = \"i\"; append = \"x\";", "append"},
        {"initrd = \"i\";", "nothing to run"},
        {"kernel = \"k\"; arguments = \"x\";", "--append"},
        {"kernel = \"k\"; module = \"m\";", "--initrd"},
        {"kernel = \"k\"; flat-mode = 16;", "flat-mode"},
        {"image = \"i\"; memory = 1048577;", "multiple of 4K"},
        {"image = \"i\"; cpus = 2;", "one processor"},
        {"image = \"i\"; backend = \"kvm\"; max-instructions = 9;", "does not count"},
        {"image = \"i\"; backend = \"kvm\"; trace = \"t\"; trace-level = \"blocks\";", "exits only"},
        {"image = \"i\"; backend = \"kvm\"; ept-lazy = true;", "the kernel's"},
        {"image = \"i\"; timing = \"detailed\";", "not in this release"},
        {"image = \"i\"; ept = false;", "unrestricted-guest"},
        {"image = \"i\"; ept = false; unrestricted-guest = false; ept-lazy = true;", "ept-lazy"},
        {"image = \"i\"; log-size = 100;", "log-size"},
        {"image = \"i\"; trace = \"f\"; log-file = \"f\";", "same file"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        write_file(cases[i].text);
        cr_assert_eq(build(NULL, 0), -EINVAL, "%s", cases[i].text);
        cr_assert(strstr(message, cases[i].told), "%s: \"%s\"", cases[i].text, message);
    }
    write_file("image = \"i\"; ept = false; unrestricted-guest = false;");
    cr_assert_eq(build(NULL, 0), 0, "%s", message);
}

Test(sim_config, copy)
{
    static const struct config_option options[] = {
        {"image", "boot"}, {"arguments", "x"}, {"module", "m"}, {"trace", "t.vtx"}};
    struct vm_config copy;
    char *a, *b;

    write_file("");
    cr_assert_eq(build(options, 4), 0);
    cr_assert_eq(vm_config_copy(&copy, &config), 0);
    a = vm_config_describe(&config);
    vm_config_destroy(&config);
    b = vm_config_describe(&copy);
    cr_assert_str_eq(a, b);
    cr_assert_str_eq(copy.trace, "t.vtx");
    cr_assert_str_eq(copy.image_arguments.item[0], "x");
    vm_config_destroy(&copy);
    free(a);
    free(b);
}

/* The description tells runs apart that may differ, and only those. */
Test(sim_config, description)
{
    static const struct {
        const char *name, *value;
        bool same;
    } cases[] = {
        {"trace", "other.vtx", true},   {"log-level", "debug", true},
        {"json", "on", true},           {"log-file", "log", true},
        {"name", "other", true},        {"memory", "512M", false},
        {"seed", "1", false},           {"append", "quiet", false},
        {"ept-page-size", "4K", false}, {"ept-withdraw", "7:1", false},
        {"clock", "host", false},       {"exit-cycles", "5", false},
        {"cpu", "haswell", false},      {"flat-mode", "32", false},
        {"module", "m x", false},       {"arguments", "y", false},
        {"image", "/bin/sh", false},    {"vpid", "off", false},
    };
    char *first = vm_config_describe(&config), *before, *after;
    json_t *object = json_loads(first, 0, NULL);

    cr_assert(json_is_object(object));
    cr_assert_eq(json_integer_value(json_object_get(object, "memory")), 256 << 20);
    json_decref(object);
    free(first);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        before = vm_config_describe(&config);
        cr_assert_eq(
            vm_config_set(&config, cases[i].name, cases[i].value, message, sizeof(message)), 0);
        after = vm_config_describe(&config);
        cr_assert_eq(strcmp(before, after) == 0, cases[i].same, "%s", cases[i].name);
        free(before);
        free(after);
    }
    /* Content counts, not where it lies. */
    write_file("one");
    vm_config_set(&config, "image", path, message, sizeof(message));
    before = vm_config_describe(&config);
    write_file("two");
    after = vm_config_describe(&config);
    cr_assert_str_neq(before, after);
    free(before);
    free(after);
}
