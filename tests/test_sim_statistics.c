/* Statistics: random exits held against a naive account, in the table and in JSON. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/exit_statistics.h"

#define EXITS 5000
static struct {
    uint32_t reason, cycles;
} happened[EXITS];

static void make_exits(struct exit_statistics *statistics)
{
    static const uint32_t reasons[] = {EXIT_CPUID,
                                       EXIT_IO,
                                       EXIT_IO,
                                       EXIT_IO,
                                       EXIT_EPT_VIOLATION,
                                       EXIT_EPT_VIOLATION,
                                       EXIT_EXCEPTION_OR_NMI,
                                       EXIT_ENTRY_GUEST_STATE | EXIT_REASON_ENTRY_FAILURE,
                                       35, /* none that the SDM has */
                                       500};
    const char *given = getenv("VTXSIM_TEST_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);

    fprintf(stderr, "VTXSIM_TEST_SEED=%u\n", seed);
    srand(seed);
    memset(statistics, 0, sizeof(*statistics));
    for (unsigned i = 0; i < EXITS; i++) {
        happened[i].reason = reasons[(unsigned)rand() % (sizeof(reasons) / sizeof(*reasons))];
        happened[i].cycles = rand() % 20 == 0 ? UINT32_MAX : (uint32_t)rand() % 3000;
        exit_statistics_add(statistics, happened[i].reason, happened[i].cycles);
    }
}

struct account {
    uint64_t count, cycles;
    uint32_t min, max;
};

static struct account account_for(uint32_t basic)
{
    struct account account = {.min = UINT32_MAX};

    for (unsigned i = 0; i < EXITS; i++) {
        uint32_t reason = happened[i].reason & 0xffff;

        if ((reason < EXIT_REASON_COUNT ? reason : EXIT_REASON_COUNT) != basic)
            continue;
        account.count++;
        account.cycles += happened[i].cycles;
        if (happened[i].cycles < account.min)
            account.min = happened[i].cycles;
        if (happened[i].cycles > account.max)
            account.max = happened[i].cycles;
    }
    return account;
}

static const struct run_statistics run = {
    .instructions = 3000000,
    .user_instructions = 1000000,
    .walks = 77,
    .simulated_cycles = 6000000000,
    .tsc_hz = 4000000000,
    .host_seconds = 0.5,
    .timing = "fast",
};

Test(sim_statistics, json)
{
    struct exit_statistics statistics;
    json_t *document, *exits, *totals, *exit;
    uint64_t sum = 0, last = UINT64_MAX;
    size_t index;

    make_exits(&statistics);
    document = exit_statistics_json(&statistics, &run);
    exits = json_object_get(document, "exits");
    totals = json_object_get(document, "totals");
    json_array_foreach(exits, index, exit)
    {
        uint32_t reason = (uint32_t)json_integer_value(json_object_get(exit, "reason"));
        struct account account = account_for(reason);

        cr_assert_eq(json_integer_value(json_object_get(exit, "count")), account.count);
        cr_assert_eq(json_integer_value(json_object_get(exit, "cycles")), account.cycles);
        cr_assert_eq(json_integer_value(json_object_get(exit, "min")), account.min);
        cr_assert_eq(json_integer_value(json_object_get(exit, "max")), account.max);
        cr_assert(fabs(json_real_value(json_object_get(exit, "mean")) -
                       (double)account.cycles / (double)account.count) < 0.01);
        cr_assert_leq(account.count, last, "not sorted by count");
        last = account.count;
        sum += account.count;
        if (reason == EXIT_EPT_VIOLATION)
            cr_assert_str_eq(json_string_value(json_object_get(exit, "name")), "EPT_VIOLATION");
    }
    cr_assert_eq(sum, EXITS);
    cr_assert_eq(json_array_size(exits), 7);
    cr_assert_eq(json_integer_value(json_object_get(totals, "exits")), EXITS);
    cr_assert_eq(json_integer_value(json_object_get(totals, "instructions")), 3000000);
    cr_assert_eq(json_integer_value(json_object_get(totals, "walks")), 77);
    cr_assert_eq(json_real_value(json_object_get(totals, "simulated_seconds")), 1.5);
    cr_assert_eq(json_real_value(json_object_get(totals, "mips")), 6.0);
    json_decref(document);
}

Test(sim_statistics, table)
{
    struct exit_statistics statistics;
    char *text, *rest, *line;
    unsigned rows = 0;
    uint64_t count = 0;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    make_exits(&statistics);
    exit_statistics_print(&statistics, &run, file);
    fclose(file);
    cr_assert(strstr(text, "instructions                              3000000\n"));
    cr_assert(strstr(text, "simulated time                           1.500000 s\n"));
    cr_assert(strstr(text, "million instructions a second                6.00\n"));
    rest = text;
    strsep(&rest, "\n");
    while ((line = strsep(&rest, "\n")) && *line) {
        struct account account = {0};
        unsigned long long of_reason, cycles;
        unsigned min, max;
        double share, time_share, mean;
        char name[32];

        if (sscanf(line, "all %llu 100.00%% 100.00%% %lf %llu", &of_reason, &mean, &cycles) == 3) {
            cr_assert_eq(of_reason, EXITS);
            continue;
        }
        cr_assert_eq(sscanf(line, "%31s %llu %lf%% %lf%% %u %lf %u %llu", name, &of_reason, &share,
                            &time_share, &min, &mean, &max, &cycles),
                     8, "row \"%s\"", line);
        for (unsigned reason = 0; reason < EXIT_REASON_COUNT; reason++)
            if (strcmp(exit_reason_name(reason), name) == 0 && account.count != of_reason)
                account = account_for(reason);
        if (strcmp(name, "UNKNOWN") != 0) {
            cr_assert_eq(account.count, of_reason, "%s", line);
            cr_assert(account.min == min && account.max == max && account.cycles == cycles, "%s",
                      line);
            cr_assert(fabs(share - 100.0 * (double)account.count / EXITS) < 0.006);
        }
        count += of_reason;
        rows++;
    }
    cr_assert_eq(count, EXITS);
    cr_assert_eq(rows, 7);
    free(text);
}

/* Nothing happened: no division by zero, no rows. */
Test(sim_statistics, empty)
{
    static const struct exit_statistics none;
    static const struct run_statistics nothing;
    json_t *document = exit_statistics_json(&none, &nothing);
    char *text;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    exit_statistics_print(&none, &nothing, file);
    fclose(file);
    cr_assert(!strstr(text, "nan") && !strstr(text, "inf"));
    cr_assert_eq(json_array_size(json_object_get(document, "exits")), 0);
    json_decref(document);
    free(text);
}
