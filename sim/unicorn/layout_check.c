/*
 * Is this the library that layout.h describes? Checked once for each engine, so that another
 * version (or another build) is refused with a clear message instead of corrupting the guest.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/unicorn/engine_state.h"

#define CPU_SEARCH_BYTES 0x400

/* A register is written through the public interface and must show up at its offset. */
struct probe {
    const char *name;
    int reg;      /* UC_X86_REG_*, or 0: */
    uint32_t msr; /* this MSR */
    uint64_t value;
    uint32_t offset; /* in env */
};

static const struct probe probes[] = {
    {"RAX", UC_X86_REG_RAX, 0, 0x1122334455667788, 0},
    {"R15", UC_X86_REG_R15, 0, 0x2132435465768798, 15 * 8},
    {"RIP", UC_X86_REG_RIP, 0, 0x00001234deadbeef, offsetof(struct env, eip)},
    {"GDTR", UC_X86_REG_GDTR, 0, 0x0000567812345678, offsetof(struct env, gdt.base)},
    {"IDTR", UC_X86_REG_IDTR, 0, 0x0000567812345678, offsetof(struct env, idt.base)},
    {"CR2", UC_X86_REG_CR2, 0, 0x00007654fedcba98, offsetof(struct env, cr[2])},
    {"KERNEL_GS_BASE", 0, 0xc0000102, 0x0000123443214321, ENV_KERNEL_GS_BASE},
    {"TSC_AUX", 0, 0xc0000103, 0x4321, ENV_TSC_AUX},
    {"DR0", UC_X86_REG_DR0, 0, 0x0000000012344321, ENV_DR},
};

static bool probe_holds(uc_engine *uc, struct env *env, const struct probe *probe)
{
    uint64_t *place = &ENV_FIELD(env, probe->offset, uint64_t);
    uint64_t saved = *place;
    if (probe->msr) {
        uc_x86_msr msr = {.rid = probe->msr, .value = probe->value};
        uc_reg_write(uc, UC_X86_REG_MSR, &msr);
    } else if (probe->reg == UC_X86_REG_GDTR || probe->reg == UC_X86_REG_IDTR) {
        uc_x86_mmr mmr = {.base = probe->value, .limit = 0xfff};
        uc_reg_write(uc, probe->reg, &mmr);
    } else {
        uc_reg_write(uc, probe->reg, &probe->value);
    }
    bool holds = *place == probe->value;
    *place = saved;
    return holds;
}

/* Offset in CPUState of its pointer to env; 0 if there is none. */
static unsigned env_pointer_offset(void *cs)
{
    for (unsigned offset = 8; offset < CPU_SEARCH_BYTES; offset += 8)
        if (CS_FIELD(cs, offset, void *) == env_of(cs))
            return offset;
    return 0;
}

/* Next to that pointer is the one to icount_decr. */
static bool pointers_hold(void *cs, struct env *env)
{
    unsigned offset = env_pointer_offset(cs);
    return offset && CS_FIELD(cs, offset + 8, uint8_t *) == (uint8_t *)env + ENV_ICOUNT_DECR;
}

struct translation_block **unicorn_jump_cache(void *cs)
{
    return &CS_FIELD(cs, env_pointer_offset(cs) + 16, struct translation_block *);
}

int unicorn_layout_check(void *uc, void *cs, char *message, unsigned size)
{
    static const char remedy[] = "vtxsim needs the Unicorn 2.1.1 that ./bootstrap build provides";
    unsigned major, minor;
    unsigned version = uc_version(&major, &minor);
    if (major != 2 || minor != 1 || (version >> 8 & 0xff) != 1) {
        snprintf(message, size, "libunicorn is version %u.%u.%u: %s", major, minor,
                 version >> 8 & 0xff, remedy);
        return -ENOTSUP;
    }
    struct env *env = env_of(cs);
    if (!pointers_hold(cs, env)) {
        snprintf(message, size, "libunicorn 2.1.1 has an unknown layout of CPUState: %s", remedy);
        return -ENOTSUP;
    }
    for (unsigned i = 0; i < sizeof probes / sizeof *probes; i++) {
        if (probe_holds(uc, env, &probes[i]))
            continue;
        snprintf(message, size, "libunicorn 2.1.1 does not keep %s where expected: %s",
                 probes[i].name, remedy);
        return -ENOTSUP;
    }
    return 0;
}
