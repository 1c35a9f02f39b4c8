/*
 * Debuggers on KVM. A stop at a count of instructions is reached by single steps: KVM counts
 * nothing, so instructions are counted while it steps, and only then.
 */
#include <sys/ioctl.h>

#include "sim/kvm/kvm.h"
#include "sim/vm_internal.h"

static void set_stepping(struct kvm_engine *engine, bool on)
{
    struct kvm_guest_debug debug = {
        .control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP : 0,
    };
    if (engine->stepping == on)
        return;
    engine->stepping = ioctl(engine->cpu, KVM_SET_GUEST_DEBUG, &debug) == 0 && on;
}

void kvm_debug_boundary(struct kvm_engine *engine)
{
    struct vcpu *vcpu = engine->vcpu;
    const struct vm_debug *debug = &vcpu->vm->debug;
    vm_debug_boundary(vcpu, engine->instructions);
    set_stepping(engine, debug->hook && debug->stop_at != UINT64_MAX);
}

void kvm_stepped(struct kvm_engine *engine)
{
    if (engine->stepping)
        engine->instructions++;
}
