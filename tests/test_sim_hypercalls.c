/* Hypercalls: what each gives and refuses (docs/hypercalls.md), and any registers at all. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/state.h"
#include "sim/hypercalls.h"

/*
 * The guest's memory: RAM 0-0x9ffff, MMIO to 0xbffff, ROM to 0xfffff, RAM 1 MiB to 2 MiB, adjacent
 * RAM to 2.5 MiB, RAM at 4 GiB.
 */
static struct physmem physmem;
static struct guest_memory memory;
static struct share_table shared;
static struct bus bus;
static uint64_t gpr[GPR_COUNT];
static char console[2 * HYPERCALL_CONSOLE_MAX];
static size_t console_size;
static struct {
    uint64_t offset, value;
    unsigned size, reads, writes;
} device;

static void console_write(void *context, const void *data, size_t size)
{
    cr_assert_eq(context, &console_size);
    cr_assert_leq(size, HYPERCALL_CONSOLE_MAX);
    memcpy(console, data, size);
    console_size = size;
}

static uint64_t device_read(void *context, uint64_t offset, unsigned size)
{
    (void)context;
    device.offset = offset;
    device.size = size;
    device.reads++;
    return 0x12345678;
}

static void device_write(void *context, uint64_t offset, unsigned size, uint64_t value)
{
    (void)context;
    device.offset = offset;
    device.size = size;
    device.value = value;
    device.writes++;
}

static struct hypercall_context context = {
    .gpr = gpr,
    .cpl = 0,
    .mode64 = true,
    .memory = &memory,
    .bus = &bus,
    .shared = &shared,
    .console_write = console_write,
    .context = &console_size,
};

static void begin(void)
{
    static const struct io_operations operations = {device_read, device_write, 4};

    cr_assert_eq(physmem_init(&physmem, 64 << 20), 0);
    guest_memory_init(&memory, &physmem);
    cr_assert_eq(guest_memory_add(&memory, SLOT_RAM, 0, 0xa0000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_MMIO, 0xa0000, 0x20000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_ROM, 0xc0000, 0x40000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_RAM, 0x100000, 0x100000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_RAM, 0x200000, 0x80000), 0);
    cr_assert_eq(guest_memory_add(&memory, SLOT_RAM, 1ull << 32, 0x100000), 0);
    bus_init(&bus);
    cr_assert_eq(bus_claim_ports(&bus, "test", 0x500, 8, &operations, &device), 0);
}

static void end(void)
{
    guest_memory_destroy(&memory);
    physmem_destroy(&physmem);
}

TestSuite(sim_hypercalls, .init = begin, .fini = end);

static int64_t call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx, uint64_t rsi)
{
    int64_t result;

    gpr[GPR_RAX] = number;
    gpr[GPR_RBX] = rbx;
    gpr[GPR_RCX] = rcx;
    gpr[GPR_RDX] = rdx;
    gpr[GPR_RSI] = rsi;
    result = hypercall_perform(&context);
    cr_assert_eq(gpr[GPR_RAX], context.mode64 ? (uint64_t)result : (uint32_t)result);
    return result;
}

Test(sim_hypercalls, who_may_call)
{
    cr_assert_eq(call(0, 0, 0, 0, 0), 1);
    cr_assert_eq(call(6, 0, 0, 0, 0), -1);
    cr_assert_eq(call(UINT64_MAX, 0, 0, 0, 0), -1);
    cr_assert_eq(call(1ull << 32, 0, 0, 0, 0), -1);
    for (context.cpl = 1; context.cpl <= 3; context.cpl++) {
        cr_assert_eq(call(0, 0, 0, 0, 0), -2);
        cr_assert_eq(call(4, 0x500, 1, 1, 0), -2);
        cr_assert_eq(call(99, 0, 0, 0, 0), -2);
    }
    cr_assert_eq(device.writes, 0);
    context.cpl = 0;
    context.mode64 = false;
    cr_assert_eq(call(0xabcdef0100000000, 0, 0, 0, 0), 1, "32-bit callers have 32-bit registers");
    cr_assert_eq(call(6, 0, 0, 0, 0), -1);
    cr_assert_eq(gpr[GPR_RAX], 0xffffffff);
}

Test(sim_hypercalls, memory_map)
{
    static const uint64_t expected[][3] = {
        {0, 0xa0000, 1},         {0xa0000, 0x20000, 3},  {0xc0000, 0x40000, 2},
        {0x100000, 0x100000, 1}, {0x200000, 0x80000, 1}, {1ull << 32, 0x100000, 1},
        {0x5000, 0x2000, 4},
    };

    cr_assert_eq(call(2, 0x5000, 0x2000, 0, 0), 0);
    for (unsigned i = 0; i < 7; i++) {
        cr_assert_eq(call(1, i, 0, 0, 0), 0);
        cr_assert(gpr[GPR_RBX] == expected[i][0] && gpr[GPR_RCX] == expected[i][1] &&
                      gpr[GPR_RDX] == expected[i][2],
                  "entry %u", i);
    }
    cr_assert_eq(call(1, 7, 1, 2, 3), -5);
    cr_assert(gpr[GPR_RBX] == 7 && gpr[GPR_RCX] == 1 && gpr[GPR_RDX] == 2);
    cr_assert_eq(call(1, UINT64_MAX, 0, 0, 0), -5);
    context.mode64 = false;
    cr_assert_eq(call(1, 4, 0, 0, 0), 0);
    cr_assert_eq(call(1, 5, 0, 0, 0), -8);
    cr_assert_eq(gpr[GPR_RBX], 5);
}

Test(sim_hypercalls, share_and_unshare)
{
    static const struct {
        uint64_t gpa, size;
        int64_t share;
    } cases[] = {
        {0x1000, 0x1000, 0},
        {0x1000, 0x1000, -6},
        {0, 0x2000, -6},
        {0x1000, 0x2000, -6},
        {0, 0x1000, 0},
        {0x2000, 0x1000, 0},
        {0x4001, 0x1000, -4},
        {0x4000, 0x1001, -4},
        {0x4000, 0, -4},
        {0x9f000, 0x1000, 0},
        {0x9e000, 0x3000, -4},             /* into MMIO */
        {0xa0000, 0x1000, -4},             /* MMIO */
        {0xc0000, 0x1000, -4},             /* ROM */
        {0xff000, 0x2000, -4},             /* ROM into RAM */
        {0x1ff000, 0x2000, 0},             /* two adjacent slots of RAM */
        {0x27f000, 0x2000, -4},            /* beyond the end */
        {0x300000, 0x1000, -4},            /* nothing there */
        {0xfffffffffffff000, 0x1000, -4},  /* to the very end */
        {0x10000, 0xfffffffffffff000, -4}, /* wraps */
        {0xfffffffffffff000, 0x2000, -4},  /* wraps */
        {1ull << 32, 0x100000, 0},
        {1ull << 63, 0x1000, -4},
    };
    unsigned count;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        cr_assert_eq(call(2, cases[i].gpa, cases[i].size, 0, 0), cases[i].share, "case %u", i);
    count = shared.count;
    cr_assert_eq(call(3, 0x1000, 0x2000, 0, 0), -5, "two ranges are not one");
    cr_assert_eq(call(3, 0x1ff000, 0x1000, 0, 0), -5, "nor is a part");
    cr_assert_eq(shared.count, count);
    cr_assert_eq(call(3, 0x1000, 0x1000, 0, 0), 0);
    cr_assert_eq(call(3, 0x1000, 0x1000, 0, 0), -5);
    cr_assert_eq(call(2, 0x1000, 0x1000, 0, 0), 0);
    while (shared.count < SHARED_RANGES_MAX)
        cr_assert_eq(call(2, 0x100000 + shared.count * 0x2000, 0x1000, 0, 0), 0);
    cr_assert_eq(call(2, 0x1fe000, 0x1000, 0, 0), -7);
}

Test(sim_hypercalls, io)
{
    cr_assert_eq(call(4, 0x502, 2, 1, 0xabcd), 0);
    cr_assert(device.offset == 2 && device.size == 2 && device.value == 0xabcd);
    cr_assert_eq(call(4, 0x504, 4, 0, UINT64_MAX), 0);
    cr_assert(device.offset == 4 && device.size == 4 && gpr[GPR_RBX] == 0x12345678);
    cr_assert_eq(call(4, 0x600, 1, 0, 0), 0);
    cr_assert_eq(gpr[GPR_RBX], 0xff, "unclaimed ports read all-ones");
    cr_assert_eq(call(4, 0xffff, 1, 0, 0), 0);
    device.reads = device.writes = 0;
    cr_assert_eq(call(4, 0xffff, 2, 0, 0), -3);
    cr_assert_eq(call(4, 0x10500, 1, 0, 0), -3);
    cr_assert_eq(call(4, UINT64_MAX, 4, 0, 0), -3);
    cr_assert_eq(call(4, 0x500, 0, 0, 0), -3);
    cr_assert_eq(call(4, 0x500, 3, 0, 0), -3);
    cr_assert_eq(call(4, 0x500, 8, 0, 0), -3);
    cr_assert_eq(call(4, 0x500, 1, 2, 0), -3);
    cr_assert_eq(call(4, 0x500, 1, 1, 0x100), -3);
    cr_assert_eq(call(4, 0x500, 4, 1, 1ull << 32), -3);
    cr_assert(device.reads == 0 && device.writes == 0, "a refused call touches nothing");
}

Test(sim_hypercalls, console)
{
    static const char text[] = "across two slots of RAM";

    cr_assert_eq(guest_memory_write(&memory, 0x200000 - 5, text, sizeof(text)), 0);
    cr_assert_eq(call(5, 0x200000 - 5, sizeof(text), 0, 0), 0);
    cr_assert_str_eq(console, text);
    console_size = 0;
    cr_assert_eq(call(5, 0x123456, 0, 0, 0), 0);
    cr_assert_eq(console_size, 0);
    cr_assert_eq(call(5, 0x100000, HYPERCALL_CONSOLE_MAX + 1, 0, 0), -3);
    cr_assert_eq(call(5, 0xc0000, 16, 0, 0), -4);
    cr_assert_eq(call(5, 0x9ffff, 2, 0, 0), -4);
    cr_assert_eq(call(5, UINT64_MAX, 2, 0, 0), -4);
    cr_assert_eq(console_size, 0);
    cr_assert_eq(call(5, 0x100000, HYPERCALL_CONSOLE_MAX, 0, 0), 0);
    cr_assert_eq(console_size, HYPERCALL_CONSOLE_MAX);
}

/* Any registers: a result or an error code, and only the registers that the ABI names change. */
Test(sim_hypercalls, anything)
{
    const char *given = getenv("VTXSIM_TEST_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);

    fprintf(stderr, "VTXSIM_TEST_SEED=%u\n", seed);
    srand(seed);
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t before[GPR_COUNT],
            values[] = {0,     1,        2,          4,          0x1000,
                        0x500, 0x100000, 1ull << 32, UINT64_MAX, UINT64_MAX - 0xfff};
        int64_t result;

        for (unsigned reg = 0; reg < GPR_COUNT; reg++)
            gpr[reg] = rand() % 3 ? values[(unsigned)rand() % 10]
                                  : (uint64_t)rand() << 40 ^ (uint64_t)rand() << 12;
        gpr[GPR_RAX] = (uint64_t)rand() % 8;
        context.mode64 = rand() % 2;
        memcpy(before, gpr, sizeof(gpr));
        result = hypercall_perform(&context);
        cr_assert(result >= -8 && result <= 1);
        for (unsigned reg = 0; reg < GPR_COUNT; reg++) {
            bool may =
                reg == GPR_RAX ||
                (result >= 0 &&
                 ((before[GPR_RAX] == 4 && reg == GPR_RBX) ||
                  (before[GPR_RAX] == 1 && (reg == GPR_RBX || reg == GPR_RCX || reg == GPR_RDX))));

            cr_assert(may || gpr[reg] == before[reg], "call %llu changed register %u",
                      (unsigned long long)before[GPR_RAX], reg);
        }
        cr_assert_leq(shared.count, SHARED_RANGES_MAX);
    }
}
