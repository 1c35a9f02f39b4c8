/*
 * I/O permission: SDM volume 1, "I/O Privilege Level" and "I/O Permission Bit Map", against a naive
 * reading of the map, port by port; and its order with VM exits.
 */
#include "cpu_machine.h"

static struct machine machine;

static void set_up(void)
{
    machine_init(&machine);
}

static void tear_down(void)
{
    machine_destroy(&machine);
}

TestSuite(io, .init = set_up, .fini = tear_down);

#define MAP_BASE 0x80u

/* A 32-bit TSS with a map for `ports` ports, all permitted; the byte after the map is all ones. */
static void build_tss(unsigned ports)
{
    struct segment *tr = &machine.cpu.state.seg[SEG_TR];
    uint32_t map = TSS_ADDRESS + MAP_BASE;

    *tr = (struct segment){.base = TSS_ADDRESS,
                           .limit = MAP_BASE + ports / 8,
                           .access_rights = 0x8b,
                           .selector = 0x50};
    machine_store(&machine, TSS_ADDRESS + 102, &(uint16_t){MAP_BASE}, 2);
    memset(physmem_at(&machine.physmem, map), 0, ports / 8);
    memset(physmem_at(&machine.physmem, map + ports / 8), 0xff, 1);
}

static enum outcome access_port(uint32_t port, uint8_t size)
{
    struct io_access access = {.port = (uint16_t)port, .size = size, .in = true};

    return insn_io(&machine.cpu, &access);
}

/* "If the CPL is greater than IOPL, or in virtual-8086 mode, the map is consulted." */
Test(io, privilege)
{
    for (enum cpu_mode mode = MODE_REAL; mode < MODE_COUNT; mode++)
        for (unsigned cpl = 0; cpl <= 3; cpl++)
            for (uint64_t iopl = 0; iopl <= 3; iopl++) {
                bool v86 = mode == MODE_VIRTUAL_8086, real = mode <= MODE_UNREAL;
                bool allowed = real || (!v86 && cpl <= iopl);

                if ((v86 && cpl != 3) || (real && cpl != 0))
                    continue;
                machine_set_mode(&machine, mode, cpl);
                build_tss(0x400);
                machine.cpu.state.rflags |= iopl << 12;
                cr_assert_eq(access_port(0x80, 1), OUTCOME_DONE, "the map permits it");
                machine_store(&machine, TSS_ADDRESS + MAP_BASE + 0x10, &(uint8_t){1}, 1);
                cr_assert_eq(access_port(0x80, 1), allowed ? OUTCOME_DONE : OUTCOME_EXCEPTION,
                             "%s, CPL %u, IOPL %lu", cpu_mode_name(mode), cpl, iopl);
                if (!allowed) {
                    cr_assert_eq(machine.cpu.fault.vector, VECTOR_GP);
                    cr_assert_eq(machine.cpu.fault.error_code, 0);
                }
            }
}

/* Every port and size of a map with random bits: allowed only if the bits of all its ports are 0
 * and the two bytes that the processor reads lie inside the TSS. */
Test(io, every_port)
{
    uint64_t seed = 0x5eed;
    uint8_t *map;

    cr_log_info("seed 0x%lx", seed);
    machine_set_mode(&machine, MODE_64BIT, 3);
    for (unsigned round = 0; round < 4; round++) {
        unsigned ports = 0x400 + 8 * (unsigned)(random_next(&seed) % 64);
        uint32_t limit;

        build_tss(ports);
        limit = machine.cpu.state.seg[SEG_TR].limit;
        map = physmem_at(&machine.physmem, TSS_ADDRESS + MAP_BASE);
        for (unsigned i = 0; i < ports / 8; i++)
            map[i] = (uint8_t)(random_next(&seed) & random_next(&seed) & random_next(&seed));
        for (uint32_t port = 0; port < ports + 64; port++)
            for (uint8_t size = 1; size <= 4; size *= 2) {
                bool allowed = MAP_BASE + port / 8 + 1 <= limit;

                for (uint32_t p = port; allowed && p < port + size; p++)
                    allowed = !(map[p / 8] >> p % 8 & 1);
                if (access_port(port, size) != (allowed ? OUTCOME_DONE : OUTCOME_EXCEPTION))
                    cr_assert_fail("port 0x%x, size %u, %u ports", port, size, ports);
            }
    }
}

/* The edges of a TSS: "the last byte of the map must be followed by a byte with all bits set", a
 * base at or beyond the limit means that there is no map, and so does a 16-bit TSS. */
Test(io, edges)
{
    struct segment *tr = &machine.cpu.state.seg[SEG_TR];

    machine_set_mode(&machine, MODE_64BIT, 3);
    build_tss(0x10000);
    cr_assert_eq(access_port(0xffff, 1), OUTCOME_DONE);
    cr_assert_eq(access_port(0xfffe, 2), OUTCOME_DONE);
    cr_assert_eq(access_port(0xffff, 2), OUTCOME_EXCEPTION, "the byte of ones");
    tr->limit--;
    cr_assert_eq(access_port(0xffff, 1), OUTCOME_EXCEPTION, "both bytes must be there");
    cr_assert_eq(access_port(0xfff7, 1), OUTCOME_DONE);

    build_tss(0x400);
    tr->limit = 102; /* the map's base is cut off */
    cr_assert_eq(access_port(0, 1), OUTCOME_EXCEPTION);
    tr->limit = 103;
    cr_assert_eq(access_port(0, 1), OUTCOME_EXCEPTION, "base beyond the limit");
    build_tss(0x400);
    machine_store(&machine, TSS_ADDRESS + 102, &(uint16_t){0xffff}, 2);
    cr_assert_eq(access_port(0, 1), OUTCOME_EXCEPTION);
    machine_store(&machine, TSS_ADDRESS + 102, &(uint16_t){(uint16_t)tr->limit}, 2);
    cr_assert_eq(access_port(0, 1), OUTCOME_EXCEPTION);
    build_tss(0x400);
    tr->access_rights = 0x83;
    cr_assert_eq(access_port(0, 1), OUTCOME_EXCEPTION, "a 16-bit TSS has no map");
}

/* The map may lie on a page that is not there: an implicit supervisor read. */
Test(io, page_fault)
{
    machine_set_mode(&machine, MODE_64BIT, 3);
    build_tss(0x10000);
    machine_store64(&machine, machine_pte64(TSS_ADDRESS + 0x1000), 0);
    cr_assert_eq(access_port(0x100, 1), OUTCOME_DONE);
    cr_assert_eq(access_port((0x1000 - MAP_BASE + 5) * 8, 1), OUTCOME_EXCEPTION);
    cr_assert_eq(machine.cpu.fault.vector, VECTOR_PF);
    cr_assert_eq(machine.cpu.fault.error_code, 0, "supervisor, read, not present");
    cr_assert_eq(machine.cpu.fault.cr2, TSS_ADDRESS + 0x1005);
    cr_assert_eq(access_port((0x1000 - MAP_BASE - 1) * 8, 1), OUTCOME_EXCEPTION, "the second byte");
    cr_assert_eq(machine.cpu.fault.cr2, TSS_ADDRESS + 0x1000);
}

/* "General-protection exceptions that are based on checking I/O permission bits in the TSS" come
 * before VM exits ("Relative Priority of Faults and VM Exits"). */
Test(io, before_vm_exits)
{
    struct io_access access = {.port = 0x3f8, .size = 1, .immediate = false};
    struct cpu *cpu = &machine.cpu;

    machine_set_mode(&machine, MODE_64BIT, 3);
    build_tss(0x1000);
    machine_enter_vmx(&machine, PRIMARY_UNCONDITIONAL_IO_EXITING, 0);
    cpu->instruction_length = 1;
    cr_assert_eq(insn_io(cpu, &access), OUTCOME_EXIT);
    cr_assert_eq(cpu->exit.reason, EXIT_IO);
    cr_assert_eq(cpu->exit.qualification, 0x3f8 << 16);
    cr_assert_eq(cpu->exit.instruction_length, 1);
    machine_store(&machine, TSS_ADDRESS + MAP_BASE + 0x3f8 / 8, &(uint8_t){1}, 1);
    cr_assert_eq(insn_io(cpu, &access), OUTCOME_EXCEPTION);
    cr_assert_eq(cpu->fault.vector, VECTOR_GP);
}
