/*
 * CR-access exits. CR0.NE must be 1 and CR4.VMXE must be 1 in VMX operation, and caching is none of
 * the guest's business; the guest sees what it wrote in the read shadows. CR8 is the local APIC's.
 *
 * A MOV that changes one of these bits exits as a whole, so the handler performs the rest of it
 * too: the legal transitions of paging and long mode, as the processor would (cpu/modes.h).
 */
#include "sim/exits_cr.h"

#include "cpu/modes.h"
#include "cpu/vmx_controls.h"
#include "sim/vm_internal.h"

/* SDM table "Exit Qualification for Control-Register Accesses". */
enum cr_access_type { ACCESS_MOV_TO, ACCESS_MOV_FROM, ACCESS_CLTS, ACCESS_LMSW };

static uint64_t visible_cr0(const struct vmcs *vmcs)
{
    uint64_t mask = vmcs_get(vmcs, VMCS_CR0_MASK);
    return (vmcs_get(vmcs, VMCS_GUEST_CR0) & ~mask) | (vmcs_get(vmcs, VMCS_CR0_READ_SHADOW) & mask);
}

static uint64_t visible_cr4(const struct vmcs *vmcs)
{
    uint64_t mask = vmcs_get(vmcs, VMCS_CR4_MASK);
    return (vmcs_get(vmcs, VMCS_GUEST_CR4) & ~mask) | (vmcs_get(vmcs, VMCS_CR4_READ_SHADOW) & mask);
}

static struct mode_registers guest_registers(const struct vmcs *vmcs)
{
    uint32_t tr = (uint32_t)vmcs_get(vmcs, VMCS_GUEST_TR_ACCESS_RIGHTS);
    return (struct mode_registers){
        .cr0 = visible_cr0(vmcs),
        .cr3 = vmcs_get(vmcs, VMCS_GUEST_CR3),
        .cr4 = visible_cr4(vmcs),
        .efer = vmcs_get(vmcs, VMCS_GUEST_EFER),
        .cs_long = vmcs_get(vmcs, VMCS_GUEST_CS_ACCESS_RIGHTS) & AR_L,
        .tss_16bit = (tr & 0xd) == 1, /* types 1 and 3 */
    };
}

/* PDPTEs are part of the guest state when EPT translates a guest with PAE paging. */
static bool load_pdptes(struct vcpu *vcpu, const struct mode_registers *to)
{
    if (!cpu_pae_paging(to->cr0, to->cr4, to->efer))
        return true;
    uint64_t pdpte[4];
    if (guest_memory_read(&vcpu->vm->memory, to->cr3 & 0xffffffe0ull, pdpte, sizeof pdpte))
        return false;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t reserved = 0x1e6ull | (~0ull << vcpu->cpu.profile->maxphyaddr);
        if ((pdpte[i] & 1) && (pdpte[i] & reserved))
            return false;
        vmcs_set(&vcpu->vmcs, VMCS_GUEST_PDPTE0 + (enum vmcs_field)i, pdpte[i]);
    }
    return true;
}

/* Moves the guest to these registers, or injects the #GP that the processor would raise. */
static void change_registers(struct vcpu *vcpu, struct mode_registers to)
{
    struct vmcs *vmcs = &vcpu->vmcs;
    struct mode_registers from = guest_registers(vmcs);
    to.efer &= ~EFER_LMA;
    if ((to.cr0 & CR0_PG) && (to.efer & EFER_LME))
        to.efer |= EFER_LMA;
    if (mode_transition_check(&from, &to) || !load_pdptes(vcpu, &to)) {
        vcpu_inject_exception(vcpu, VECTOR_GP, 0);
        return;
    }
    vmcs_set(vmcs, VMCS_CR0_READ_SHADOW, to.cr0);
    vmcs_set(vmcs, VMCS_CR4_READ_SHADOW, to.cr4);
    vmcs_set(vmcs, VMCS_GUEST_CR0, (to.cr0 & ~(CR0_CD | CR0_NW)) | CR0_NE);
    vmcs_set(vmcs, VMCS_GUEST_CR4, to.cr4 | CR4_VMXE);
    vmcs_set(vmcs, VMCS_GUEST_EFER, to.efer);
    uint64_t entry = vmcs_get(vmcs, VMCS_ENTRY_CONTROLS) & ~(uint64_t)ENTRY_IA32E_MODE_GUEST;
    vmcs_set(vmcs, VMCS_ENTRY_CONTROLS,
             to.efer & EFER_LMA ? entry | ENTRY_IA32E_MODE_GUEST : entry);
    /* Rights may have changed with WP, SMEP and the like: what was cached goes. */
    mmu_invvpid(&vcpu->cpu.mmu, 1, (uint16_t)vmcs_get(vmcs, VMCS_VPID), 0);
    vcpu->engine_operations->flush_tlb(vcpu);
    vcpu_skip_instruction(vcpu);
}

static bool is_64bit(const struct vmcs *vmcs)
{
    return (vmcs_get(vmcs, VMCS_GUEST_EFER) & EFER_LMA) &&
           (vmcs_get(vmcs, VMCS_GUEST_CS_ACCESS_RIGHTS) & AR_L);
}

static void mov_to_cr(struct vcpu *vcpu, unsigned reg, uint64_t value)
{
    struct vmcs *vmcs = &vcpu->vmcs;
    struct mode_registers to = guest_registers(vmcs);
    if (!is_64bit(vmcs))
        value = (uint32_t)value;
    switch (reg) {
    case 0:
        to.cr0 = value | CR0_ET;
        break;
    case 3: /* only with CR3-load exiting, which the handler does not ask for */
        to.cr3 = value & ~CR3_NOFLUSH;
        vmcs_set(vmcs, VMCS_GUEST_CR3, to.cr3);
        break;
    case 4:
        if (value & ~vcpu->cpu.profile->cr4_allowed) {
            vcpu_inject_exception(vcpu, VECTOR_GP, 0);
            return;
        }
        to.cr4 = value;
        break;
    case 8:
        if (value & ~0xfull) {
            vcpu_inject_exception(vcpu, VECTOR_GP, 0);
            return;
        }
        platform_write_cr8(vcpu->vm->platform, vcpu->index, value);
        vcpu_skip_instruction(vcpu);
        return;
    }
    change_registers(vcpu, to);
}

static void mov_from_cr(struct vcpu *vcpu, unsigned reg, unsigned gpr)
{
    uint64_t value = reg == 8 ? platform_read_cr8(vcpu->vm->platform, vcpu->index)
                              : vmcs_get(&vcpu->vmcs, VMCS_GUEST_CR3);
    vcpu_set_gpr(vcpu, gpr, value);
    vcpu_skip_instruction(vcpu);
}

enum vcpu_action exit_cr_access(struct vcpu *vcpu)
{
    const struct vmcs *vmcs = &vcpu->vmcs;
    uint64_t qualification = vmcs_get(vmcs, VMCS_EXIT_QUALIFICATION);
    unsigned reg = qualification & 15, gpr = qualification >> 8 & 15;
    struct mode_registers to = guest_registers(vmcs);
    switch (qualification >> 4 & 3) {
    case ACCESS_MOV_TO:
        vcpu->record.exit.value = vcpu_gpr(vcpu, gpr);
        mov_to_cr(vcpu, reg, vcpu->record.exit.value);
        break;
    case ACCESS_MOV_FROM:
        mov_from_cr(vcpu, reg, gpr);
        vcpu->record.exit.value = vcpu_gpr(vcpu, gpr);
        break;
    case ACCESS_CLTS:
        to.cr0 &= ~CR0_TS;
        change_registers(vcpu, to);
        break;
    case ACCESS_LMSW: /* sets MP, EM, TS; sets PE but never clears it */
        to.cr0 = (to.cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (qualification >> 16 & 15);
        change_registers(vcpu, to);
        break;
    }
    return VCPU_RESUME;
}
