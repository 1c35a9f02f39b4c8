/* Logging: levels by part, changes while another thread writes, rotation at the exact byte. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/log.h"

static char folder[] = "/tmp/vtxsim-log-XXXXXX";
static char path[64];

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/log", folder);
}

static void remove_folder(void)
{
    char name[80];

    log_close();
    for (unsigned i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), i ? "%s.%u" : "%s", path, i);
        unlink(name);
    }
    rmdir(folder);
}

TestSuite(sim_log, .init = make_folder, .fini = remove_folder);

/* Content of path (number 0) or path.number; NULL if there is none. free() it. */
static char *content(unsigned number)
{
    char name[80], *text;
    struct stat status;
    FILE *file;

    snprintf(name, sizeof(name), number ? "%s.%u" : "%s", path, number);
    file = fopen(name, "r");
    if (!file)
        return NULL;
    cr_assert_eq(fstat(fileno(file), &status), 0);
    text = calloc(1, (size_t)status.st_size + 1);
    cr_assert_eq(fread(text, 1, (size_t)status.st_size, file), (size_t)status.st_size);
    fclose(file);
    return text;
}

static void expect_content(unsigned number, const char *expected)
{
    char *text = content(number);

    if (expected)
        cr_assert(text && strcmp(text, expected) == 0, "file %u holds \"%s\", not \"%s\"", number,
                  text ? text : "(nothing)", expected);
    else
        cr_assert_null(text, "file %u should not be there", number);
    free(text);
}

Test(sim_log, levels_by_part)
{
    static const struct {
        const char *text;
        const char *expected; /* levels of vm, vmx, cpu, memory, device, loader, engine, trace */
    } cases[] = {
        {"off", "44444444"},
        {"info", "11111111"},
        {"ERROR", "33333333"},
        {"warning,vmx=debug", "20222222"},
        {"memory=info", "20212222"},
        {"vm=off,trace=error", "40212223"},
        {"debug,cpu=warning,cpu=info", "00100000"},
    };
    static const char *const wrong[] = {"",           "loud",  "info,",       ",info",
                                        "cpus=info",  "cpu=",  "=info",       "cpu=info=debug",
                                        "info debug", "cpu=1", "off,vmx=loud"};
    char message[256];

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char levels[LOG_PART_COUNT + 1] = "";

        cr_assert_eq(log_set_levels(cases[i].text, message, sizeof(message)), 0);
        for (unsigned part = 0; part < LOG_PART_COUNT; part++)
            levels[part] = (char)('0' + log_threshold[part]);
        cr_assert_str_eq(levels, cases[i].expected, "%s", cases[i].text);
    }
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        message[0] = '\0';
        cr_assert_eq(log_set_levels(wrong[i], message, sizeof(message)), -EINVAL, "%s", wrong[i]);
        cr_assert(strstr(message, "choose"), "no remedy in \"%s\"", message);
        cr_assert_eq(log_threshold[LOG_CPU], LOG_LEVEL_INFO, "a wrong text changes nothing");
    }
}

static uint64_t one_and_a_half_seconds(void *context)
{
    (void)context;
    return 4500000000u;
}

Test(sim_log, lines)
{
    char message[256];

    cr_assert_eq(log_open_file(path, 0, 0), 0);
    cr_assert_eq(log_set_levels("info", message, sizeof(message)), 0);
    LOG_DEBUG(LOG_VM, "not to be seen");
    LOG_INFO(LOG_VMX, "CR0 %#x", 0x80000011u);
    log_set_clock(one_and_a_half_seconds, NULL, 3000000000u);
    LOG_WARNING(LOG_DEVICE, "port %u", 0x60u);
    LOG_ERROR(LOG_LOADER, "a\nb\033[2Jc");
    expect_content(0, "INFO vmx: CR0 0x80000011\n"
                      "[    1.500000] WARNING device: port 96\n"
                      "[    1.500000] ERROR loader: a b [2Jc\n");
}

/* A line of exactly `length` bytes, the end of line included. */
static void write_bytes(unsigned length, char fill)
{
    char text[256];
    unsigned start = strlen("ERROR vm: ") + 1;

    memset(text, fill, sizeof(text));
    text[length - start] = '\0';
    LOG_ERROR(LOG_VM, "%s", text);
}

static void expect_rotated(const char *order)
{
    for (unsigned i = 0; order[i]; i++) {
        char *text = content(i);

        cr_assert_not_null(text, "file %u of \"%s\" is missing", i, order);
        cr_assert_eq(text[strlen("ERROR vm: ")], order[i], "file %u: %s", i, text);
        free(text);
    }
    expect_content((unsigned)strlen(order), NULL);
}

Test(sim_log, rotation)
{
    cr_assert_eq(log_open_file(path, 100, 2), 0);
    write_bytes(60, 'a');
    write_bytes(40, 'a'); /* exactly 100: still fits */
    expect_rotated("a");
    write_bytes(20, 'b');
    expect_rotated("ba");
    write_bytes(81, 'c'); /* 101 */
    expect_rotated("cba");
    write_bytes(150, 'd'); /* longer than a file: has one for itself */
    expect_rotated("dcb");
    write_bytes(20, 'e');
    expect_rotated("edc");
    log_close();

    /* Opened again, the file goes on where it ended. */
    cr_assert_eq(log_open_file(path, 100, 2), 0);
    write_bytes(80, 'e');
    expect_rotated("edc");
    write_bytes(20, 'f');
    expect_rotated("fed");
    log_close();

    /* None kept: it starts again. */
    cr_assert_eq(log_open_file(path, 30, 0), 0);
    write_bytes(20, 'g');
    expect_rotated("ged");
}

Test(sim_log, bad_files)
{
    cr_assert_eq(log_open_file("/nonexistent/log", 0, 0), -ENOENT);
    cr_assert_eq(log_open_file(folder, 0, 0), -EISDIR);
}

static atomic_bool stop;

static void *write_lines(void *context)
{
    unsigned thread = *(unsigned *)context, count = 0;

    for (; !stop; count++)
        LOG_INFO(LOG_CPU, "thread %u line %u", thread, count);
    return NULL;
}

/* Two threads write while a third changes levels and the file turns: only whole lines result. */
Test(sim_log, change_while_running)
{
    unsigned numbers[2] = {0, 1}, lines = 0;
    char message[256];
    pthread_t thread[2];

    cr_assert_eq(log_open_file(path, 20000, 3), 0);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, write_lines, &numbers[i]), 0);
    for (unsigned i = 0; i < 50; i++) {
        cr_assert_eq(log_set_levels(i % 2 ? "off" : "cpu=info", message, sizeof(message)), 0);
        usleep(1000);
    }
    stop = true;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    for (unsigned number = 0; number <= 3; number++) {
        char *text = content(number), *rest = text;

        if (!text)
            continue;
        cr_assert_leq(strlen(text), 20000);
        for (char *line; (line = strsep(&rest, "\n")) && *line; lines++) {
            unsigned who, count;
            char end;

            cr_assert_eq(sscanf(line, "INFO cpu: thread %u line %u%c", &who, &count, &end), 2,
                         "torn line \"%s\"", line);
        }
        free(text);
    }
    cr_assert_gt(lines, 0);
}
