/*
 * What causes VM exits in VMX non-root operation: SDM volume 3, "Instructions That Cause VM Exits"
 * and "Other Causes of VM Exits", with the exit qualification and instruction information of each
 * ("Basic VM-Exit Information", "Information for VM Exits Due to Instruction Execution").
 */
#include "cpu/vmx.h"

/* Exit qualification for control-register accesses (SDM table of that name). */
enum cr_access { CR_ACCESS_MOV_TO, CR_ACCESS_MOV_FROM, CR_ACCESS_CLTS, CR_ACCESS_LMSW };
#define CR_QUALIFICATION_ACCESS_SHIFT      4
#define CR_QUALIFICATION_LMSW_MEMORY       (1u << 6)
#define CR_QUALIFICATION_GPR_SHIFT         8
#define CR_QUALIFICATION_LMSW_SOURCE_SHIFT 16

/* Exit qualification for MOV DR. */
#define DR_QUALIFICATION_MOV_FROM (1u << 4)

/* Exit qualification for I/O instructions. */
#define IO_QUALIFICATION_IN         (1u << 3)
#define IO_QUALIFICATION_STRING     (1u << 4)
#define IO_QUALIFICATION_REP        (1u << 5)
#define IO_QUALIFICATION_IMMEDIATE  (1u << 6)
#define IO_QUALIFICATION_PORT_SHIFT 16

/* The NMI-unblocking bit where an exit reports it in the qualification (EPT violations). */
#define EPT_QUALIFICATION_NMI_UNBLOCK (1u << 12)
#define EPT_QUALIFICATION_LINEAR      (1u << 7)

/* Instruction information (SDM tables "Format of the VM-Exit Instruction-Information Field"). */
#define INFO_IO_ADDRESS_SIZE_SHIFT 7
#define INFO_IO_SEGMENT_SHIFT      15
#define INFO_RDRAND_REGISTER_SHIFT 3
#define INFO_RDRAND_OPERAND_SHIFT  11

#define TASK_SWITCH_SOURCE_SHIFT 30

#define MSR_BITMAP_HALF  1024u /* bytes for 8192 MSRs */
#define MSR_BITMAP_COUNT 8192u
#define MSR_HIGH_FIRST   0xc0000000u

/* An exit at cpu->state.rip with the information that every exit defines. */
static struct vm_exit *exit_begin(struct cpu *cpu, enum exit_reason reason)
{
    cpu->exit = (struct vm_exit){.reason = reason};
    return &cpu->exit;
}

/* An exit because of the instruction being executed. */
static struct vm_exit *exit_by_instruction(struct cpu *cpu, enum exit_reason reason)
{
    struct vm_exit *exit = exit_begin(cpu, reason);
    exit->instruction_length = cpu->instruction_length;
    return exit;
}

static bool primary_control(const struct cpu *cpu, uint32_t control)
{
    return vmcs_get(cpu->vmcs, VMCS_PRIMARY_CONTROLS) & control;
}

static bool pin_control(const struct cpu *cpu, uint32_t control)
{
    return vmcs_get(cpu->vmcs, VMCS_PIN_BASED_CONTROLS) & control;
}

/* --- Instructions without parameters ---------------------------------------------------------- */

enum condition { NEVER, ALWAYS, IF_PRIMARY, IF_SECONDARY };

static const struct instruction_rule {
    uint8_t condition;
    uint32_t control;
} instruction_rules[EXIT_REASON_COUNT] = {
    /* "Instructions That Cause VM Exits Unconditionally" */
    [EXIT_CPUID] = {ALWAYS, 0},
    [EXIT_GETSEC] = {ALWAYS, 0},
    [EXIT_INVD] = {ALWAYS, 0},
    [EXIT_XSETBV] = {ALWAYS, 0},
    [EXIT_INVEPT] = {ALWAYS, 0},
    [EXIT_INVVPID] = {ALWAYS, 0},
    [EXIT_VMCALL] = {ALWAYS, 0},
    [EXIT_VMCLEAR] = {ALWAYS, 0},
    [EXIT_VMLAUNCH] = {ALWAYS, 0},
    [EXIT_VMPTRLD] = {ALWAYS, 0},
    [EXIT_VMPTRST] = {ALWAYS, 0},
    [EXIT_VMREAD] = {ALWAYS, 0},
    [EXIT_VMRESUME] = {ALWAYS, 0},
    [EXIT_VMWRITE] = {ALWAYS, 0},
    [EXIT_VMXOFF] = {ALWAYS, 0},
    [EXIT_VMXON] = {ALWAYS, 0},
    /* "Instructions That Cause VM Exits Conditionally" */
    [EXIT_HLT] = {IF_PRIMARY, PRIMARY_HLT_EXITING},
    [EXIT_INVPCID] = {IF_PRIMARY, PRIMARY_INVLPG_EXITING},
    [EXIT_MONITOR] = {IF_PRIMARY, PRIMARY_MONITOR_EXITING},
    [EXIT_MWAIT] = {IF_PRIMARY, PRIMARY_MWAIT_EXITING},
    [EXIT_RDPMC] = {IF_PRIMARY, PRIMARY_RDPMC_EXITING},
    [EXIT_RDTSC] = {IF_PRIMARY, PRIMARY_RDTSC_EXITING},
    [EXIT_RDTSCP] = {IF_PRIMARY, PRIMARY_RDTSC_EXITING},
    [EXIT_RDRAND] = {IF_SECONDARY, SECONDARY_RDRAND_EXITING},
    [EXIT_RDSEED] = {IF_SECONDARY, SECONDARY_RDSEED_EXITING},
    [EXIT_WBINVD] = {IF_SECONDARY, SECONDARY_WBINVD_EXITING},
};

static bool instruction_exits(const struct cpu *cpu, enum exit_reason reason)
{
    const struct instruction_rule *rule = &instruction_rules[reason];
    switch (rule->condition) {
    case ALWAYS:
        return true;
    case IF_PRIMARY:
        return primary_control(cpu, rule->control);
    case IF_SECONDARY:
        return vmx_secondary_controls(cpu->vmcs) & rule->control;
    default:
        return false;
    }
}

bool vmx_intercepts(struct cpu *cpu, enum exit_reason reason)
{
    if (!cpu->non_root || !instruction_exits(cpu, reason))
        return false;
    exit_by_instruction(cpu, reason);
    return true;
}

bool vmx_intercepts_operand(struct cpu *cpu, enum exit_reason reason, uint32_t instruction_info,
                            uint64_t displacement)
{
    if (!vmx_intercepts(cpu, reason))
        return false;
    cpu->exit.instruction_info = instruction_info;
    cpu->exit.qualification = displacement;
    return true;
}

bool vmx_intercepts_rdrand(struct cpu *cpu, bool seed, enum gpr destination, unsigned operand_size)
{
    if (!vmx_intercepts(cpu, seed ? EXIT_RDSEED : EXIT_RDRAND))
        return false;
    unsigned size_code = operand_size == 2 ? 0 : operand_size == 4 ? 1 : 2;
    cpu->exit.instruction_info = (uint32_t)destination << INFO_RDRAND_REGISTER_SHIFT |
                                 size_code << INFO_RDRAND_OPERAND_SHIFT;
    return true;
}

bool vmx_intercepts_descriptor_table(struct cpu *cpu, enum descriptor_instruction instruction,
                                     uint32_t instruction_info, uint64_t displacement)
{
    if (!cpu->non_root || !(vmx_secondary_controls(cpu->vmcs) & SECONDARY_DESCRIPTOR_TABLE_EXITING))
        return false;
    struct vm_exit *exit =
        exit_by_instruction(cpu, instruction <= INSN_LIDT ? EXIT_GDTR_IDTR : EXIT_LDTR_TR);
    exit->instruction_info = instruction_info;
    exit->qualification = displacement;
    return true;
}

bool vmx_intercepts_invlpg(struct cpu *cpu, uint64_t linear)
{
    if (!cpu->non_root || !primary_control(cpu, PRIMARY_INVLPG_EXITING))
        return false;
    exit_by_instruction(cpu, EXIT_INVLPG)->qualification = linear;
    return true;
}

/* "PAUSE-loop exiting": counts at CPL 0 only, and gives way to PAUSE exiting. */
static bool pause_loop_exits(struct cpu *cpu, uint64_t tsc)
{
    if (!(vmx_secondary_controls(cpu->vmcs) & SECONDARY_PAUSE_LOOP_EXITING) || cpu_cpl(cpu) != 0)
        return false;
    struct vmx_run *run = &cpu->vmx;
    bool first = run->last_pause == 0 || tsc - run->last_pause > vmcs_get(cpu->vmcs, VMCS_PLE_GAP);
    run->last_pause = tsc;
    if (first) {
        run->first_pause = tsc;
        return false;
    }
    if (tsc - run->first_pause <= vmcs_get(cpu->vmcs, VMCS_PLE_WINDOW))
        return false;
    run->last_pause = 0; /* what follows comes after a VM entry, or is to look like it */
    return true;
}

bool vmx_intercepts_pause(struct cpu *cpu, uint64_t tsc)
{
    if (!cpu->non_root)
        return false;
    if (!primary_control(cpu, PRIMARY_PAUSE_EXITING) && !pause_loop_exits(cpu, tsc))
        return false;
    exit_by_instruction(cpu, EXIT_PAUSE);
    return true;
}

/* --- I/O and MSR bitmaps -----------------------------------------------------------------------
 */

/* A bit of a bitmap in host-physical memory; addresses without memory read as ones. */
static bool bitmap_bit(const struct cpu *cpu, uint64_t bitmap, uint32_t bit)
{
    uint64_t hpa = bitmap + bit / 8;
    const struct physmem *physmem = cpu->mmu.physmem;
    if (!physmem_contains(physmem, hpa, 1))
        return true;
    return *(const uint8_t *)physmem_at(physmem, hpa) >> bit % 8 & 1;
}

static bool io_bitmap_exits(const struct cpu *cpu, uint32_t port, unsigned size)
{
    if (port + size > 0x10000)
        return true;
    for (uint32_t end = port + size; port < end; port++) {
        enum vmcs_field bitmap = port & 0x8000 ? VMCS_IO_BITMAP_B : VMCS_IO_BITMAP_A;
        if (bitmap_bit(cpu, vmcs_get(cpu->vmcs, bitmap), port & 0x7fff))
            return true;
    }
    return false;
}

static bool io_exits(const struct cpu *cpu, const struct io_access *access)
{
    uint32_t controls = (uint32_t)vmcs_get(cpu->vmcs, VMCS_PRIMARY_CONTROLS);
    if (controls & PRIMARY_IO_BITMAPS)
        return io_bitmap_exits(cpu, access->port, access->size);
    return controls & PRIMARY_UNCONDITIONAL_IO_EXITING;
}

bool vmx_intercepts_io(struct cpu *cpu, const struct io_access *access)
{
    if (!cpu->non_root || !io_exits(cpu, access))
        return false;
    struct vm_exit *exit = exit_by_instruction(cpu, EXIT_IO);
    exit->qualification = (uint32_t)(access->size - 1) | (access->in ? IO_QUALIFICATION_IN : 0) |
                          (access->string ? IO_QUALIFICATION_STRING : 0) |
                          (access->rep ? IO_QUALIFICATION_REP : 0) |
                          (access->immediate ? IO_QUALIFICATION_IMMEDIATE : 0) |
                          (uint32_t)access->port << IO_QUALIFICATION_PORT_SHIFT;
    if (access->string) {
        unsigned size_code = access->address_size == 2 ? 0 : access->address_size == 4 ? 1 : 2;
        exit->guest_linear_address = access->linear;
        exit->instruction_info = size_code << INFO_IO_ADDRESS_SIZE_SHIFT |
                                 (uint32_t)access->segment << INFO_IO_SEGMENT_SHIFT;
    }
    return true;
}

/* "MSR-Bitmap Address": read low, read high, write low, write high MSRs, 1 KiB each. */
static bool msr_exits(const struct cpu *cpu, bool write, uint32_t msr)
{
    if (!primary_control(cpu, PRIMARY_MSR_BITMAPS))
        return true;
    bool high = msr >= MSR_HIGH_FIRST;
    uint32_t index = high ? msr - MSR_HIGH_FIRST : msr;
    if (index >= MSR_BITMAP_COUNT)
        return true;
    uint64_t quarter = vmcs_get(cpu->vmcs, VMCS_MSR_BITMAP) + (write ? 2 * MSR_BITMAP_HALF : 0) +
                       (high ? MSR_BITMAP_HALF : 0);
    return bitmap_bit(cpu, quarter, index);
}

bool vmx_intercepts_msr(struct cpu *cpu, bool write, uint32_t msr)
{
    if (!cpu->non_root || !msr_exits(cpu, write, msr))
        return false;
    exit_by_instruction(cpu, write ? EXIT_WRMSR : EXIT_RDMSR);
    return true;
}

/* --- Control and debug registers ---------------------------------------------------------------
 */

uint64_t vmx_guest_visible_cr0(const struct cpu *cpu)
{
    if (!cpu->non_root)
        return cpu->state.cr0;
    uint64_t mask = vmcs_get(cpu->vmcs, VMCS_CR0_MASK);
    return (cpu->state.cr0 & ~mask) | (vmcs_get(cpu->vmcs, VMCS_CR0_READ_SHADOW) & mask);
}

uint64_t vmx_guest_visible_cr4(const struct cpu *cpu)
{
    if (!cpu->non_root)
        return cpu->state.cr4;
    uint64_t mask = vmcs_get(cpu->vmcs, VMCS_CR4_MASK);
    return (cpu->state.cr4 & ~mask) | (vmcs_get(cpu->vmcs, VMCS_CR4_READ_SHADOW) & mask);
}

uint64_t vmx_apply_cr0_mask(const struct cpu *cpu, uint64_t current, uint64_t requested)
{
    uint64_t mask = cpu->non_root ? vmcs_get(cpu->vmcs, VMCS_CR0_MASK) : 0;
    return (requested & ~mask) | (current & mask);
}

uint64_t vmx_apply_cr4_mask(const struct cpu *cpu, uint64_t current, uint64_t requested)
{
    uint64_t mask = cpu->non_root ? vmcs_get(cpu->vmcs, VMCS_CR4_MASK) : 0;
    return (requested & ~mask) | (current & mask);
}

static void exit_cr_access(struct cpu *cpu, unsigned reg, enum cr_access access, enum gpr gpr)
{
    exit_by_instruction(cpu, EXIT_CR_ACCESS)->qualification =
        reg | (unsigned)access << CR_QUALIFICATION_ACCESS_SHIFT |
        (unsigned)gpr << CR_QUALIFICATION_GPR_SHIFT;
}

static bool is_cr3_target(const struct vmcs *vmcs, uint64_t value)
{
    unsigned count = (unsigned)vmcs_get(vmcs, VMCS_CR3_TARGET_COUNT);
    for (unsigned i = 0; i < count; i++) {
        if (vmcs_get(vmcs, VMCS_CR3_TARGET_0 + i) == value)
            return true;
    }
    return false;
}

/* A value differs from the read shadow in a bit that the host owns. */
static bool differs_from_shadow(const struct vmcs *vmcs, enum vmcs_field mask,
                                enum vmcs_field shadow, uint64_t value)
{
    return (value ^ vmcs_get(vmcs, shadow)) & vmcs_get(vmcs, mask);
}

static bool mov_to_cr_exits(const struct cpu *cpu, unsigned reg, uint64_t value)
{
    const struct vmcs *vmcs = cpu->vmcs;
    switch (reg) {
    case 0:
        return differs_from_shadow(vmcs, VMCS_CR0_MASK, VMCS_CR0_READ_SHADOW, value);
    case 3:
        return primary_control(cpu, PRIMARY_CR3_LOAD_EXITING) && !is_cr3_target(vmcs, value);
    case 4:
        return differs_from_shadow(vmcs, VMCS_CR4_MASK, VMCS_CR4_READ_SHADOW, value);
    case 8:
        return primary_control(cpu, PRIMARY_CR8_LOAD_EXITING);
    default:
        return false;
    }
}

bool vmx_intercepts_mov_to_cr(struct cpu *cpu, unsigned reg, enum gpr source, uint64_t value)
{
    if (!cpu->non_root || !mov_to_cr_exits(cpu, reg, value))
        return false;
    exit_cr_access(cpu, reg, CR_ACCESS_MOV_TO, source);
    return true;
}

bool vmx_intercepts_mov_from_cr(struct cpu *cpu, unsigned reg, enum gpr destination)
{
    uint32_t control = reg == 3   ? PRIMARY_CR3_STORE_EXITING
                       : reg == 8 ? PRIMARY_CR8_STORE_EXITING
                                  : 0;
    if (!cpu->non_root || !primary_control(cpu, control))
        return false;
    exit_cr_access(cpu, reg, CR_ACCESS_MOV_FROM, destination);
    return true;
}

bool vmx_intercepts_clts(struct cpu *cpu)
{
    if (!cpu->non_root ||
        !(vmcs_get(cpu->vmcs, VMCS_CR0_MASK) & vmcs_get(cpu->vmcs, VMCS_CR0_READ_SHADOW) & CR0_TS))
        return false;
    exit_cr_access(cpu, 0, CR_ACCESS_CLTS, 0);
    return true;
}

/* LMSW writes CR0 bits 3:0, but never clears PE: PE counts only where the source sets it. */
static bool lmsw_exits(const struct vmcs *vmcs, uint16_t source)
{
    uint64_t mask = vmcs_get(vmcs, VMCS_CR0_MASK);
    uint64_t shadow = vmcs_get(vmcs, VMCS_CR0_READ_SHADOW);
    uint64_t changed = (source ^ shadow) & mask;
    return (changed & (CR0_MP | CR0_EM | CR0_TS)) || (changed & source & CR0_PE);
}

bool vmx_intercepts_lmsw(struct cpu *cpu, uint16_t source, bool memory, uint64_t linear)
{
    if (!cpu->non_root || !lmsw_exits(cpu->vmcs, source))
        return false;
    exit_cr_access(cpu, 0, CR_ACCESS_LMSW, 0);
    cpu->exit.qualification |= (memory ? CR_QUALIFICATION_LMSW_MEMORY : 0) |
                               (uint64_t)source << CR_QUALIFICATION_LMSW_SOURCE_SHIFT;
    if (memory)
        cpu->exit.guest_linear_address = linear;
    return true;
}

bool vmx_intercepts_mov_dr(struct cpu *cpu, unsigned reg, bool write, enum gpr gpr)
{
    if (!cpu->non_root || !primary_control(cpu, PRIMARY_MOV_DR_EXITING))
        return false;
    exit_by_instruction(cpu, EXIT_MOV_DR)->qualification =
        reg | (write ? 0 : DR_QUALIFICATION_MOV_FROM) | (unsigned)gpr << CR_QUALIFICATION_GPR_SHIFT;
    return true;
}

/* --- Exceptions, NMIs, interrupts ----------------------------------------------------------------
 */

/* INT n and external interrupts never consult the exception bitmap; page faults also consult the
 * error-code mask and match ("Exception Bitmap"). */
static bool exception_exits(const struct vmcs *vmcs, const struct event *event)
{
    switch (event->type) {
    case EVENT_EXTERNAL_INTERRUPT:
    case EVENT_NMI:
    case EVENT_SOFTWARE_INTERRUPT:
        return false;
    default:
        break;
    }
    bool listed = vmcs_get(vmcs, VMCS_EXCEPTION_BITMAP) >> (event->vector & 31) & 1;
    if (event->vector != VECTOR_PF)
        return listed;
    bool match = (event->error_code & vmcs_get(vmcs, VMCS_PAGE_FAULT_ERROR_CODE_MASK)) ==
                 vmcs_get(vmcs, VMCS_PAGE_FAULT_ERROR_CODE_MATCH);
    return listed == match;
}

/* An IRET's NMI unblocking is reported unless the exit happens in delivery of another event or is
 * due to a double fault ("Information for VM Exits Due to Vectored Events"). */
static bool reports_nmi_unblocking(const struct cpu *cpu)
{
    return cpu->vmx.nmi_unblocked_by_iret && !cpu->delivery_in_progress;
}

static uint64_t exception_qualification(const struct event *event)
{
    if (event->type != EVENT_HARDWARE_EXCEPTION)
        return 0;
    return event->vector == VECTOR_PF ? event->cr2 : event->vector == VECTOR_DB ? event->debug : 0;
}

bool vmx_intercepts_exception(struct cpu *cpu, const struct event *event)
{
    if (!cpu->non_root || !exception_exits(cpu->vmcs, event))
        return false;
    struct vm_exit *exit = exit_begin(cpu, EXIT_EXCEPTION_OR_NMI);
    exit->qualification = exception_qualification(event);
    exit->interruption_info =
        event->vector | (uint32_t)event->type << INTR_INFO_TYPE_SHIFT | INTR_INFO_VALID;
    if (event->has_error_code) {
        exit->interruption_info |= INTR_INFO_ERROR_CODE;
        exit->interruption_error_code = event->error_code;
    }
    if (reports_nmi_unblocking(cpu) && event->vector != VECTOR_DF)
        exit->interruption_info |= INTR_INFO_NMI_UNBLOCK;
    if (event->type != EVENT_HARDWARE_EXCEPTION)
        exit->instruction_length = event->instruction_length;
    return true;
}

bool vmx_intercepts_nmi(struct cpu *cpu)
{
    if (!cpu->non_root || !pin_control(cpu, PIN_NMI_EXITING))
        return false;
    exit_begin(cpu, EXIT_EXCEPTION_OR_NMI)->interruption_info =
        VECTOR_NMI | EVENT_NMI << INTR_INFO_TYPE_SHIFT | INTR_INFO_VALID;
    return true;
}

bool vmx_intercepts_external_interrupt(struct cpu *cpu, uint8_t vector)
{
    if (!cpu->non_root || !pin_control(cpu, PIN_EXTERNAL_INTERRUPT_EXITING))
        return false;
    struct vm_exit *exit = exit_begin(cpu, EXIT_EXTERNAL_INTERRUPT);
    if (vmcs_get(cpu->vmcs, VMCS_EXIT_CONTROLS) & EXIT_ACKNOWLEDGE_INTERRUPT)
        exit->interruption_info =
            vector | EVENT_EXTERNAL_INTERRUPT << INTR_INFO_TYPE_SHIFT | INTR_INFO_VALID;
    return true;
}

bool vmx_nmi_blocked(const struct cpu *cpu)
{
    bool virtual_nmis = cpu->non_root && pin_control(cpu, PIN_VIRTUAL_NMIS);
    return (cpu->state.interruptibility & BLOCKING_BY_NMI) && !virtual_nmis;
}

bool vmx_intercepts_window(struct cpu *cpu)
{
    if (!cpu->non_root)
        return false;
    const struct cpu_state *state = &cpu->state;
    const uint32_t shadow = BLOCKING_BY_STI | BLOCKING_BY_MOV_SS;
    if (primary_control(cpu, PRIMARY_NMI_WINDOW_EXITING) &&
        !(state->interruptibility & (shadow | BLOCKING_BY_NMI)))
        exit_begin(cpu, EXIT_NMI_WINDOW);
    else if (primary_control(cpu, PRIMARY_INTERRUPT_WINDOW_EXITING) &&
             (state->rflags & RFLAGS_IF) && !(state->interruptibility & shadow))
        exit_begin(cpu, EXIT_INTERRUPT_WINDOW);
    else
        return false;
    return true;
}

bool vmx_intercepts_preemption_timer(struct cpu *cpu, uint64_t tsc)
{
    if (!cpu->non_root || tsc < cpu->vmx.preemption_deadline)
        return false;
    exit_begin(cpu, EXIT_PREEMPTION_TIMER);
    return true;
}

/* --- Exits that no instruction asks for --------------------------------------------------------
 */

void vmx_exit_ept(struct cpu *cpu, const struct mmu_fault *fault)
{
    bool violation = fault->status == MMU_EPT_VIOLATION;
    struct vm_exit *exit = exit_begin(cpu, violation ? EXIT_EPT_VIOLATION : EXIT_EPT_MISCONFIG);
    exit->guest_physical_address = fault->gpa;
    if (!violation)
        return;
    exit->qualification = fault->qualification;
    if (reports_nmi_unblocking(cpu))
        exit->qualification |= EPT_QUALIFICATION_NMI_UNBLOCK;
    if (fault->qualification & EPT_QUALIFICATION_LINEAR)
        exit->guest_linear_address = fault->linear;
}

void vmx_exit_triple_fault(struct cpu *cpu)
{
    exit_begin(cpu, EXIT_TRIPLE_FAULT);
}

void vmx_exit_event(struct cpu *cpu, enum exit_reason reason)
{
    exit_begin(cpu, reason);
}

void vmx_exit_task_switch(struct cpu *cpu, uint16_t selector, unsigned source,
                          uint8_t instruction_length)
{
    struct vm_exit *exit = exit_begin(cpu, EXIT_TASK_SWITCH);
    exit->qualification = selector | (uint64_t)source << TASK_SWITCH_SOURCE_SHIFT;
    exit->instruction_length = instruction_length;
}
