/* One bit of one register, inverted. */
#include "sim/inject_flip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/vm_internal.h"

static const char *const registers[GPR_COUNT] = {
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

int inject_flip_parse(struct inject_flip *flip, const char *text)
{
    const char *name, *bit;
    char *end;

    *flip = (struct inject_flip){.at = UINT64_MAX};
    if (!text)
        return 0;
    errno = 0;
    flip->at = strtoull(text, &end, 10);
    name = end + 1;
    if (errno || end == text || *end != ':' || *text == '-' || !(bit = strchr(name, ':')))
        return -EINVAL;
    for (flip->gpr = 0; flip->gpr < GPR_COUNT; flip->gpr++)
        if (strlen(registers[flip->gpr]) == (size_t)(bit - name) &&
            strncmp(registers[flip->gpr], name, (size_t)(bit - name)) == 0)
            break;
    flip->bit = (unsigned)strtoul(bit + 1, &end, 10);
    return flip->gpr < GPR_COUNT && end != bit + 1 && !*end && flip->bit < 64 ? 0 : -EINVAL;
}

void inject_flip_boundary(struct vcpu *vcpu, uint64_t instructions)
{
    struct inject_flip *flip = &vcpu->vm->flip;

    if (instructions < flip->at)
        return;
    vcpu->engine_operations->pull(vcpu);
    vcpu->cpu.state.gpr[flip->gpr] ^= 1ull << flip->bit;
    vcpu->engine_operations->push(vcpu);
    flip->at = UINT64_MAX;
    vm_reconsider(vcpu->vm); /* the deadline stands here */
}
