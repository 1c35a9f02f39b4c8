/* Memory and registers for the probes' guests: flat segments, pages at their own addresses. */
#include "sim/kvm/probe_machine.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpu/msr.h"
#include "cpu/state.h"

/* --- Memory of the guest ------------------------------------------------------------------------
 */

enum {
    PML4 = 0x1000,
    PDPT = 0x2000,
    PD = 0x3000,
    GDT = 0x4000,
    IDT = 0x5000,
    TSS = 0x6000,
    PD_32 = 0x7000,
    PDPT_PAE = 0x8000,
    STACK = 0xa000,
    USER_STACK = 0xc000,
    CODE = 0x10000,
    HANDLERS = 0x20000,
};

#define PAGE_FLAGS     (1u | 2u | 4u) /* present, writable, user */
#define LARGE_PAGE     0x80u
/* Bit 13 of an entry for a page of 1 GiB; where there are none, bit 7 is reserved. */
#define RESERVED_PDPTE (LARGE_PAGE | 1u << 13)

/* Vectors with a handler of their own in probe_guests.S; all others have number 0. */
static const struct {
    uint8_t vector, handler;
} handled[] = {{1, 1}, {3, 2}, {6, 3}, {14, 4}, {0x80, 5}};
#define SYSCALL_HANDLER (HANDLERS + 6 * 16)

static uint64_t *quads(uint8_t *memory, unsigned address)
{
    return (uint64_t *)(memory + address);
}

static void make_page_tables(uint8_t *memory, bool kernel_only)
{
    uint32_t flags = kernel_only ? PAGE_FLAGS & ~4u : PAGE_FLAGS;
    quads(memory, PML4)[0] = PDPT | flags;
    quads(memory, PDPT)[0] = PD | flags;
    quads(memory, PDPT)[1] = RESERVED_PDPTE | flags;
    quads(memory, PD)[0] = LARGE_PAGE | flags;
    *(uint32_t *)(memory + PD_32) = LARGE_PAGE | flags;
    quads(memory, PDPT_PAE)[0] = PD | 1;
}

static void make_tables(uint8_t *memory)
{
    uint64_t *gdt = quads(memory, GDT);
    gdt[1] = 0x00af9b000000ffff; /* 64-bit code */
    gdt[2] = 0x00cf93000000ffff;
    gdt[4] = 0x00cff3000000ffff;
    gdt[5] = 0x00affb000000ffff;
    gdt[6] = 0x0000890000000067 | (uint64_t)TSS << 16;
    memcpy(memory + TSS + 4, &(uint64_t){STACK}, 8); /* RSP0 */
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t handler = HANDLERS;
        for (unsigned i = 0; i < sizeof handled / sizeof *handled; i++)
            if (handled[i].vector == vector)
                handler = HANDLERS + 16u * handled[i].handler;
        uint64_t gate = vector == 0x80 ? 0xee00 : 0x8e00;
        quads(memory, IDT)[2 * vector] =
            (handler & 0xffff) | CODE_SELECTOR << 16 | gate << 32 | (handler >> 16) << 48;
    }
    memcpy(memory + CODE, kvm_probe_code, (size_t)(kvm_probe_code_end - kvm_probe_code));
    memcpy(memory + HANDLERS, kvm_probe_handlers,
           (size_t)(kvm_probe_handlers_end - kvm_probe_handlers));
}

void probe_fill_memory(uint8_t *memory, const struct probe *probe)
{
    make_page_tables(memory, probe->cr4 & CR4_SMEP); /* which forbids to execute users' pages */
    make_tables(memory);
}

/* --- Registers ----------------------------------------------------------------------------------
 */

static struct kvm_segment flat(unsigned selector, bool code, bool mode64, bool big)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = (uint16_t)selector,
        .type = code ? 0xb : 3,
        .present = 1,
        .dpl = selector & 3,
        .db = big,
        .s = 1,
        .l = mode64,
        .g = 1,
    };
}

static void set_protected(struct kvm_sregs *sregs, const struct probe *probe)
{
    bool mode64 = probe->mode >= LONG, user = probe->mode == USER;
    sregs->cs = flat(user ? USER_CODE_SELECTOR : CODE_SELECTOR, true, mode64, !mode64);
    sregs->ss = sregs->ds = sregs->es = sregs->fs = sregs->gs =
        flat(user ? USER_DATA_SELECTOR : DATA_SELECTOR, false, false, true);
    sregs->tr = (struct kvm_segment){
        .base = TSS, .limit = 0x67, .selector = TSS_SELECTOR, .type = 0xb, .present = 1};
    sregs->ldt = (struct kvm_segment){.unusable = 1};
    sregs->gdt = (struct kvm_dtable){.base = GDT, .limit = 7 * 8 - 1};
    sregs->idt = (struct kvm_dtable){.base = IDT, .limit = 0xfff};
    sregs->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP;
    sregs->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | probe->cr4;
    if (probe->mode == PAGING_32) {
        sregs->cr3 = PD_32;
        sregs->cr4 |= CR4_PSE;
    } else if (probe->mode == PAE) {
        sregs->cr3 = PDPT_PAE;
        sregs->cr4 |= CR4_PAE;
    } else if (mode64) {
        sregs->cr3 = PML4;
        sregs->cr4 |= CR4_PAE;
        sregs->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    }
    if (probe->mode >= PAGING_32)
        sregs->cr0 |= CR0_PG;
}

int probe_set_registers(int cpu, const struct probe *probe)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {
        .rax = probe->eax,
        .rip = CODE + (uint64_t)(probe->guest - kvm_probe_code),
        .rsp = probe->mode == USER ? USER_STACK : STACK,
        .rflags = RFLAGS_FIXED | (probe->mode == USER ? RFLAGS_IF : 0),
    };
    if (ioctl(cpu, KVM_GET_SREGS, &sregs) < 0)
        return -errno;
    if (probe->mode == REAL) {
        sregs.cs.selector = CODE >> 4;
        sregs.cs.base = CODE;
        regs.rip -= CODE;
    } else {
        set_protected(&sregs, probe);
    }
    if (ioctl(cpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(cpu, KVM_SET_REGS, &regs) < 0)
        return -errno;
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry[2];
    } msrs = {{.nmsrs = 2},
              {{.index = MSR_STAR, .data = (uint64_t)CODE_SELECTOR << 32},
               {.index = MSR_LSTAR, .data = SYSCALL_HANDLER}}};
    return ioctl(cpu, KVM_SET_MSRS, &msrs) < 0 ? -errno : 0;
}
