/*
 * The instruction that an exit belongs to. KVM tells what an instruction wants, not which it is,
 * and where KVM emulates a write it has moved RIP behind the instruction already.
 */
#include "sim/kvm/kvm.h"

#include <string.h>

unsigned kvm_read_code(struct kvm_engine *engine, uint64_t linear, uint8_t *bytes, unsigned size)
{
    struct mmu *mmu = &engine->vcpu->cpu.mmu;
    struct mmu_fault fault;
    unsigned count = 0;
    while (count < size && mmu_read(mmu, linear + count, bytes + count, 1,
                                    ACCESS_READ | ACCESS_PROBE, &fault) == MMU_OK)
        count++;
    return count;
}

struct code_bytes {
    uint8_t byte[INSN_LENGTH_MAX];
    unsigned count;
};

/* What is not mapped reads as a byte that no instruction of the model has. */
static uint8_t fetch(void *context, unsigned index)
{
    const struct code_bytes *code = context;
    return index < code->count ? code->byte[index] : 0x90;
}

static enum code_size code_size(const struct cpu_state *state)
{
    uint32_t rights = state->seg[SEG_CS].access_rights;
    if ((state->efer & EFER_LMA) && (rights & AR_L))
        return CODE64;
    return rights & AR_DB ? CODE32 : CODE16;
}

static bool decode_at(struct kvm_engine *engine, uint64_t rip, struct insn *insn)
{
    const struct cpu_state *state = &engine->vcpu->cpu.state;
    enum code_size code = code_size(state);
    uint64_t linear = state->seg[SEG_CS].base + rip;
    struct code_bytes bytes;
    bytes.count = kvm_read_code(engine, code == CODE64 ? linear : (uint32_t)linear, bytes.byte,
                                sizeof bytes.byte);
    return insn_decode(insn, code, fetch, &bytes) && insn->length <= bytes.count;
}

bool kvm_decode(struct kvm_engine *engine, struct insn *insn)
{
    return decode_at(engine, engine->vcpu->cpu.state.rip, insn);
}

bool kvm_decode_before(struct kvm_engine *engine, struct insn *insn, kvm_insn_matches *matches,
                       const void *context)
{
    struct cpu_state *state = &engine->vcpu->cpu.state;
    uint64_t behind = state->rip;
    for (unsigned length = 1; length <= INSN_LENGTH_MAX && length <= behind; length++) {
        if (decode_at(engine, behind - length, insn) && insn->length == length &&
            matches(insn, state, context)) {
            state->rip = behind - length;
            return true;
        }
    }
    return false;
}
