/* VMCS dumps: what is written is read again; what is wrong is told with its line. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim/vmcs_dump.h"

static char path[] = "/tmp/vtxsim-dump-XXXXXX";
static char message[256];
static struct vmcs vmcs;

static void begin(void)
{
    close(mkstemp(path));
}

static void end(void)
{
    unlink(path);
}

TestSuite(sim_vmcs_dump, .init = begin, .fini = end);

static int read_text(const char *text)
{
    FILE *file = fopen(path, "w");

    cr_assert(file && fputs(text, file) >= 0);
    fclose(file);
    return vmcs_dump_read(&vmcs, path, message, sizeof(message));
}

Test(sim_vmcs_dump, round_trip)
{
    static struct vmcs written;
    unsigned seed = (unsigned)time(NULL);

    fprintf(stderr, "seed %u\n", seed);
    srand(seed);
    for (unsigned i = 0; i < 20; i++) {
        FILE *file = fopen(path, "w");

        for (enum vmcs_field field = 0; field < VMCS_FIELD_COUNT; field++)
            vmcs_set(&written, field,
                     rand() % 3
                         ? ((uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand()) >>
                               rand() % 64
                         : 0);
        vmcs_dump_write(&written, i % 2, file);
        fclose(file);
        cr_assert_eq(vmcs_dump_read(&vmcs, path, message, sizeof(message)), 0, "%s", message);
        cr_assert_arr_eq(vmcs.value, written.value, sizeof(vmcs.value));
    }
}

Test(sim_vmcs_dump, lines)
{
    cr_assert_eq(read_text("# by name, by encoding, in halves (either first)\n"
                           "\n"
                           "  GUEST_CR0=0x80000031   # comment\n"
                           "0x6804 = 0x20\n"
                           "0x2010 = 0x11111111\n"
                           "0x2011 = 0x22222222\n"
                           "0x2801 = 0xffffffff\n"
                           "0x2800 = 0xfffff000\n"
                           "GUEST_ES_SELECTOR = 16"),
                 0, "%s", message);
    cr_assert_eq(vmcs_get(&vmcs, VMCS_GUEST_CR0), 0x80000031);
    cr_assert_eq(vmcs_get(&vmcs, VMCS_GUEST_CR4), 0x20);
    cr_assert_eq(vmcs_get(&vmcs, VMCS_TSC_OFFSET), 0x2222222211111111);
    cr_assert_eq(vmcs_get(&vmcs, VMCS_VMCS_LINK_POINTER), 0xfffffffffffff000);
    cr_assert_eq(vmcs_get(&vmcs, VMCS_GUEST_ES_SELECTOR), 16);
    cr_assert_eq(vmcs_get(&vmcs, VMCS_GUEST_CR3), 0);
}

Test(sim_vmcs_dump, bad_lines)
{
    static const struct {
        const char *text, *told;
    } cases[] = {
        {"\nGUEST_CR0\n", ":2: this is not"},
        {"GUEST_CR9 = 0\n", ":1: there is no such field"},
        {"guest_cr0 = 0\n", ":1: there is no such field"},
        {"0x6801 = 0\n", ":1: there is no such field"}, /* natural width has no upper half */
        {"0x16800 = 0\n", ":1: there is no such field"},
        {"0x6800x = 0\n", ":1: there is no such field"},
        {"= 0\n", ":1: there is no such field"},
        {"GUEST_CR0 = \n", ":1: the value is not a number"},
        {"GUEST_CR0 = -1\n", ":1: the value is not a number"},
        {"GUEST_CR0 = 12q\n", ":1: the value is not a number"},
        {"GUEST_CR0 = 0x10000000000000000\n", ":1: the value is not a number"},
        {"GUEST_ES_SELECTOR = 0x10000\n", ":1: the value does not fit"},
        {"GUEST_ES_LIMIT = 0x100000000\n", ":1: the value does not fit"},
        {"0x2011 = 0x100000000\n", ":1: the value does not fit"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_assert_eq(read_text(cases[i].text), -EINVAL, "%s", cases[i].text);
        cr_assert(strstr(message, cases[i].told), "%s: \"%s\"", cases[i].text, message);
    }
    cr_assert_eq(vmcs_dump_read(&vmcs, "/nonexistent", message, sizeof(message)), -ENOENT);
    cr_assert_eq(vmcs_dump_read(&vmcs, "/", message, sizeof(message)), -EISDIR);
}
