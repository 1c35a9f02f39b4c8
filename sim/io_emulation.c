#include "cpu/breakpoints.h"
#include "sim/io_emulation.h"

#include <string.h>

#include "cpu/modes.h"

/* Repetitions before the guest gets a chance of an interrupt. */
#define REPETITIONS_MAX 4096

static uint64_t size_mask(unsigned size)
{
    return size == 8 ? UINT64_MAX : (1ull << (8 * size)) - 1;
}

struct io_access io_access_of(const struct insn *insn, const struct cpu_state *state)
{
    bool in = insn->kind == INSN_IN || insn->kind == INSN_INS;
    bool string = insn->kind == INSN_INS || insn->kind == INSN_OUTS;
    struct io_access access = {
        .port = insn->has_immediate ? insn->immediate : (uint16_t)state->gpr[GPR_RDX],
        .size = insn->port_size,
        .in = in,
        .string = string,
        .rep = string && insn->rep,
        .immediate = insn->has_immediate,
        .segment = insn->segment,
        .address_size = insn->address_size,
    };
    if (string) {
        bool code64 = (state->efer & EFER_LMA) && (state->seg[SEG_CS].access_rights & AR_L);
        uint64_t offset = state->gpr[in ? GPR_RDI : GPR_RSI] & size_mask(insn->address_size);
        if (!code64)
            access.linear = (uint32_t)(offset + state->seg[insn->segment].base);
        else
            access.linear =
                insn->segment >= SEG_FS ? offset + state->seg[insn->segment].base : offset;
    }
    return access;
}

static void add_to_register(struct cpu *cpu, enum gpr gpr, int64_t delta, unsigned address_size)
{
    uint64_t mask = size_mask(address_size);
    uint64_t old = cpu->state.gpr[gpr], value = (old + (uint64_t)delta) & mask;
    /* A 32-bit result clears the upper half; a 16-bit one leaves the rest alone. */
    cpu->state.gpr[gpr] = address_size == 2 ? (old & ~mask) | value : value;
}

/* The operand may be a device's register itself: then the bus answers instead of memory. */
static bool is_device(struct bus *bus, enum mmu_status status, const struct mmu_fault *fault)
{
    return status == MMU_EPT_VIOLATION && bus_find_mmio(bus, fault->gpa);
}

static enum mmu_status input(struct cpu *cpu, struct bus *bus, const struct io_access *access,
                             uint64_t linear, unsigned flags, struct mmu_fault *fault)
{
    /* The destination must be writable before the device is read. */
    struct translation translation;
    enum mmu_status status =
        mmu_translate(&cpu->mmu, linear, flags | ACCESS_WRITE, &translation, fault);
    bool device = is_device(bus, status, fault);
    if (status && !device)
        return status;
    uint32_t value = bus_port_read(bus, access->port, access->size);
    if (!device)
        return mmu_write(&cpu->mmu, linear, &value, access->size, flags | ACCESS_WRITE, fault);
    bus_mmio_write(bus, fault->gpa, access->size, value);
    return MMU_OK;
}

static enum mmu_status output(struct cpu *cpu, struct bus *bus, const struct io_access *access,
                              uint64_t linear, unsigned flags, struct mmu_fault *fault)
{
    uint32_t value = 0;
    enum mmu_status status =
        mmu_read(&cpu->mmu, linear, &value, access->size, flags | ACCESS_READ, fault);
    if (is_device(bus, status, fault))
        value = (uint32_t)bus_mmio_read(bus, fault->gpa, access->size);
    else if (status)
        return status;
    bus_port_write(bus, access->port, access->size, value);
    return MMU_OK;
}

static enum mmu_status transfer(struct cpu *cpu, struct bus *bus, const struct io_access *access,
                                uint64_t linear, struct mmu_fault *fault)
{
    unsigned flags = cpu_cpl(cpu) == 3 ? ACCESS_USER : 0;
    if (cpu->state.rflags & RFLAGS_AC)
        flags |= ACCESS_AC;
    return access->in ? input(cpu, bus, access, linear, flags, fault)
                      : output(cpu, bus, access, linear, flags, fault);
}

static enum mmu_status emulate_string(struct cpu *cpu, struct bus *bus,
                                      const struct io_access *access, bool *again,
                                      struct mmu_fault *fault)
{
    enum gpr pointer = access->in ? GPR_RDI : GPR_RSI;
    uint64_t mask = size_mask(access->address_size);
    int64_t step = cpu->state.rflags & RFLAGS_DF ? -(int64_t)access->size : access->size;
    uint64_t count = access->rep ? cpu->state.gpr[GPR_RCX] & mask : 1;
    uint64_t offset0 = cpu->state.gpr[pointer] & mask;
    uint64_t base = access->linear - offset0;

    /* Each is a single step, and a breakpoint on the port is told after each. */
    bool traps = (cpu->state.rflags & RFLAGS_TF) ||
                 breakpoints_met(&cpu->state, BREAKPOINT_IO, access->port, access->size);
    unsigned most = traps ? 1 : REPETITIONS_MAX;
    for (unsigned done = 0; count && done < most; done++) {
        uint64_t linear = base + (cpu->state.gpr[pointer] & mask);
        if (!cpu_64bit(cpu))
            linear = (uint32_t)linear;
        enum mmu_status status = transfer(cpu, bus, access, linear, fault);
        if (status)
            return status;
        add_to_register(cpu, pointer, step, access->address_size);
        count--;
        if (access->rep)
            add_to_register(cpu, GPR_RCX, -1, access->address_size);
    }
    *again = count != 0;
    return MMU_OK;
}

enum mmu_status io_emulate(struct cpu *cpu, struct bus *bus, const struct io_access *access,
                           bool *again, struct mmu_fault *fault)
{
    *again = false;
    if (access->string)
        return emulate_string(cpu, bus, access, again, fault);
    uint64_t *rax = &cpu->state.gpr[GPR_RAX];
    if (!access->in) {
        bus_port_write(bus, access->port, access->size, (uint32_t)(*rax & size_mask(access->size)));
        return MMU_OK;
    }
    uint32_t value = bus_port_read(bus, access->port, access->size);
    uint64_t mask = size_mask(access->size);
    *rax = access->size == 4 ? value : (*rax & ~mask) | (value & mask);
    return MMU_OK;
}
