/* The VM handler's answer to control-register accesses that the guest/host masks reserve. */
#ifndef VTXSIM_SIM_EXITS_CR_H
#define VTXSIM_SIM_EXITS_CR_H

#include "sim/vcpu.h"

/* Bits that the handler keeps from the guest; the rest of CR0 and CR4 is the guest's own. */
#define HANDLER_CR0_MASK (CR0_NE | CR0_NW | CR0_CD)
#define HANDLER_CR4_MASK CR4_VMXE

enum vcpu_action exit_cr_access(struct vcpu *vcpu);

#endif
