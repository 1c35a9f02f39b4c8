/*
 * Exceptions, interrupts and the ways out of translated code.
 *
 * The library's own exception delivery is not used: whatever raises an exception ends here, with
 * the state of the instruction restored, and the processor model delivers it.
 */
#include <assert.h>

#include "sim/inject_flip.h"
#include "sim/state_hash.h"
#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"
#include "sim/vm_internal.h"

#define DR6_BS (1ull << 14)

/* CPUState.cflags_next_tb: no wish about the next block. */
#define CFLAGS_DEFAULT UINT32_MAX

/* The library executes at most this many instructions in a block (CF_COUNT_MASK is larger). */
#define EXACT_STOP_MAX 512

_Noreturn void unicorn_resume(struct unicorn_engine *engine)
{
    engine->tracing.executing = false;
    CS_FIELD(engine->cs, CS_EXCEPTION_INDEX, int32_t) = -1;
    cpu_loop_exit_x86_64(engine->cs);
}

static void ask_to_leave(struct unicorn_engine *engine)
{
    unicorn_keep_debug_hits(engine);
    engine->leaving = true;
    uc_emu_stop(engine->uc);
}

_Noreturn void unicorn_leave(struct unicorn_engine *engine)
{
    ask_to_leave(engine);
    unicorn_resume(engine);
}

bool unicorn_settle_exit(struct unicorn_engine *engine)
{
    enum vcpu_action action = vcpu_exit(engine->vcpu);
    if (action ==
        VCPU_ACCESS) { /* page tables, a stack or a string operand in a device's registers */
        vm_set_stop(engine->vcpu->vm, VM_STOP_UNHANDLED_EXIT, 0,
                    "the instruction at RIP 0x%llx accesses a device at guest-physical 0x%llx in a "
                    "way that cannot be performed",
                    (unsigned long long)engine->cpu->state.rip,
                    (unsigned long long)engine->cpu->exit.guest_physical_address);
        engine->vcpu->exit_settled = true;
    }
    return action == VCPU_RESUME;
}

_Noreturn void unicorn_deliver(struct unicorn_engine *engine, const struct event *event)
{
    struct event copy = *event;
    engine->tracing.executing = false;
    unicorn_debug_faulted(engine);
    unicorn_take_debug_hits(engine, &copy);
    enum delivery_result result = cpu_deliver(engine->cpu, &copy, false);
    if (result == DELIVERED) {
        engine->cpu->vmx.nmi_unblocked_by_iret = false; /* the IRET's own fault is behind us */
        unicorn_push(engine, STATE_ALL);
        unicorn_resume(engine);
    }
    assert(result == DELIVERY_EXIT); /* VMX non-root operation: a triple fault exits */
    vcpu_exit(engine->vcpu);
    unicorn_leave(engine);
}

_Noreturn void unicorn_memory_fault(struct unicorn_engine *engine, const struct mmu_fault *fault)
{
    engine->tracing.executing = false;
    unicorn_pull(engine, STATE_ALL);
    if (fault->status == MMU_PAGE_FAULT) {
        struct event event = {.type = EVENT_HARDWARE_EXCEPTION,
                              .vector = VECTOR_PF,
                              .has_error_code = true,
                              .error_code = fault->error_code,
                              .cr2 = fault->linear};
        unicorn_deliver(engine, &event);
    }
    bool nmi_unblocked = engine->cpu->vmx.nmi_unblocked_by_iret;
    vmx_exit_ept(engine->cpu, fault);
    bool settled = unicorn_settle_exit(engine);
    if (nmi_unblocked) /* the IRET starts over */
        engine->cpu->state.interruptibility |= BLOCKING_BY_NMI;
    if (settled)
        unicorn_resume(engine);
    unicorn_leave(engine);
}

/* --- Raised by translated code and by the library's helpers --------------------------------------
 */

static _Noreturn void raise_exception(struct env *env, int vector, int error_code,
                                      uintptr_t return_address)
{
    struct unicorn_engine *engine = unicorn_current;
    if (return_address)
        cpu_restore_state_x86_64(engine->cs, return_address, true);
    unicorn_pull(engine, STATE_ALL);
    struct event event = {.type = EVENT_HARDWARE_EXCEPTION,
                          .vector = (uint8_t)vector,
                          .has_error_code = vector_has_error_code((uint8_t)vector),
                          .error_code = (uint32_t)error_code};
    unicorn_deliver(engine, &event);
}

EXPORT void raise_exception_x86_64(struct env *env, int vector)
{
    raise_exception(env, vector, 0, 0);
}

EXPORT void raise_exception_ra_x86_64(struct env *env, int vector, uintptr_t return_address)
{
    raise_exception(env, vector, 0, return_address);
}

EXPORT void raise_exception_err_x86_64(struct env *env, int vector, int error_code)
{
    raise_exception(env, vector, error_code, 0);
}

EXPORT void raise_exception_err_ra_x86_64(struct env *env, int vector, int error_code,
                                          uintptr_t return_address)
{
    raise_exception(env, vector, error_code, return_address);
}

/* The opcode byte of the software interrupt at RIP, behind its prefixes. */
static uint8_t software_interrupt_opcode(struct unicorn_engine *engine, unsigned length)
{
    const struct cpu_state *state = &engine->cpu->state;
    uint8_t bytes[INSN_LENGTH_MAX];
    struct mmu_fault fault;
    unsigned access = ACCESS_FETCH | (cpu_cpl(engine->cpu) == 3 ? ACCESS_USER : 0);
    if (length > sizeof bytes || mmu_read(&engine->cpu->mmu, state->seg[SEG_CS].base + state->rip,
                                          bytes, length, access, &fault))
        return 0xcd;
    /* INT n has its vector in the last byte; INT3 and INTO are the last byte. */
    uint8_t last = bytes[length - 1];
    bool one_byte = last == 0xcc || last == 0xce;
    return one_byte && (length < 2 || bytes[length - 2] != 0xcd) ? last : 0xcd;
}

/* INT n, INT3, INTO: RIP is at the instruction, the handler returns behind it. */
EXPORT void raise_interrupt_x86_64(struct env *env, int vector, int is_int, int error_code,
                                   int next_eip_addend)
{
    struct unicorn_engine *engine = unicorn_current;
    unicorn_pull(engine, STATE_ALL);
    uint8_t opcode = software_interrupt_opcode(engine, (unsigned)next_eip_addend);
    struct event event = {.type =
                              opcode == 0xcd ? EVENT_SOFTWARE_INTERRUPT : EVENT_SOFTWARE_EXCEPTION,
                          .vector = (uint8_t)vector,
                          .instruction_length = (uint8_t)next_eip_addend};
    unicorn_deliver(engine, &event);
}

/* An exception of an instruction that translation found out: its block ends with it, and the whole
 * block was counted. The instruction did not retire. */
EXPORT void helper_raise_exception_x86_64(struct env *env, int vector)
{
    env->bnd_regs[0] += 1;
    raise_exception(env, vector, 0, 0);
}

EXPORT void helper_raise_interrupt_x86_64(struct env *env, int vector, int next_eip_addend)
{
    raise_interrupt_x86_64(env, vector, 1, 0, next_eip_addend);
}

/* INTO does not end its block: the instructions behind it are not executed when it traps. */
EXPORT void helper_into_x86_64(struct env *env, int next_eip_addend)
{
    if (!(cpu_cc_compute_all_x86_64(env, (int)env->cc_op) & RFLAGS_OF))
        return;
    cpu_restore_state_x86_64(unicorn_current->cs, CALLER, true);
    env->bnd_regs[0] -= 1; /* INTO itself retires, as INT n does */
    raise_interrupt_x86_64(env, VECTOR_OF, 1, 0, next_eip_addend);
}

/* --- Single-step --------------------------------------------------------------------------------
 */

EXPORT void helper_single_step_x86_64(struct env *env)
{
    struct unicorn_engine *engine = unicorn_current;
    unicorn_check_branch(engine, CALLER);
    unicorn_pull(engine, STATE_ALL);
    struct event event = {.type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_DB, .debug = DR6_BS};
    unicorn_deliver(engine, &event);
}

/* Behind every instruction of the funnel: it steps if TF was set before it. */
EXPORT void helper_rechecking_single_step_x86_64(struct env *env)
{
    if (unicorn_current->step_after)
        helper_single_step_x86_64(env);
}

/* --- Between blocks -----------------------------------------------------------------------------
 */

EXPORT void helper_sti_x86_64(struct env *env)
{
    if (!(env->eflags & RFLAGS_IF) && unicorn_current)
        unicorn_current->sti_shadow = true;
    env->eflags |= RFLAGS_IF;
}

/* The window that the handler waits for, if it is open: EXIT_INTERRUPT_WINDOW, EXIT_NMI_WINDOW;
 * else 0, which is no window's reason. */
static enum exit_reason open_window(struct unicorn_engine *engine)
{
    uint64_t controls = vmcs_get(engine->cpu->vmcs, VMCS_PRIMARY_CONTROLS);
    enum exit_reason reason = 0;
    if ((controls & PRIMARY_NMI_WINDOW_EXITING) &&
        !(engine->cpu->state.interruptibility & BLOCKING_BY_NMI))
        reason = EXIT_NMI_WINDOW;
    else if ((controls & PRIMARY_INTERRUPT_WINDOW_EXITING) && (engine->env->eflags & RFLAGS_IF))
        reason = EXIT_INTERRUPT_WINDOW;
    if (!reason || !(engine->env->hflags & HF_INHIBIT_IRQ))
        return reason;
    /* In the shadow of STI or MOV SS: it ends with the next instruction, but a block that ends in
     * an indirect jump would not come by here. */
    unicorn_set_budget(engine, unicorn_instructions(engine) + 1);
    return 0;
}

void unicorn_look_for_window(struct unicorn_engine *engine)
{
    uint64_t controls = vmcs_get(engine->cpu->vmcs, VMCS_PRIMARY_CONTROLS);
    if (controls & (PRIMARY_INTERRUPT_WINDOW_EXITING | PRIMARY_NMI_WINDOW_EXITING))
        unicorn_set_budget(engine, 0);
}

/*
 * Called by the library's main loop before each block that is not entered from another one, and
 * whenever the budget of instructions has run out. This is where events come in.
 */
EXPORT bool x86_cpu_exec_interrupt_x86_64(void *cs, int request)
{
    struct unicorn_engine *engine = unicorn_current;
    if (engine->leaving)
        return false;
    if (!(engine->env->hflags & HF_INHIBIT_IRQ))
        engine->sti_shadow = false;
    unicorn_account_ring(engine);
    unicorn_debug_traps(engine);

    int64_t budget = (int64_t)engine->env->bnd_regs[0];
    bool exit = false;
    enum exit_reason window = open_window(engine);
    if (window) {
        vmx_exit_event(engine->cpu, window);
        exit = true;
    } else if (budget <= 0 || atomic_load(&engine->vcpu->kicked)) {
        exit = vcpu_boundary(engine->vcpu);
    }
    if (exit) {
        unicorn_pull(engine, STATE_ALL);
        vcpu_exit(engine->vcpu);
        ask_to_leave(engine);
        return false;
    }
    unicorn_code_breakpoints(engine);
    if (engine->tracing.accesses && unicorn_code_buffer_full(engine)) {
        tb_flush_x86_64(engine->cs); /* at this level it fills too fast to wait for engine_run */
        unicorn_resume(engine);
    }
    inject_flip_boundary(engine->vcpu, unicorn_instructions(engine));
    state_hash_boundary(engine->vcpu, unicorn_instructions(engine));
    unicorn_debug_watchpoints(engine);
    vm_debug_boundary(engine->vcpu, unicorn_instructions(engine));
    unicorn_debug_breakpoints(engine);
    if (engine->diverted) {
        engine->diverted = false;
        unicorn_resume(engine);
    }
    engine->vcpu->begun_at = vcpu_cycles(engine->vcpu);
    budget = (int64_t)engine->env->bnd_regs[0];
    uint32_t *next_block = &CS_FIELD(cs, CS_CFLAGS_NEXT_TB, uint32_t);
    if (budget > 0 && budget <= EXACT_STOP_MAX && *next_block == CFLAGS_DEFAULT) {
        *next_block = (uint32_t)budget;
        return true;
    }
    return false; /* a block that must be one instruction long was asked for already, or none */
}

/* Nothing in the library may deliver events behind our back. */
EXPORT void x86_cpu_do_interrupt_x86_64(void *cs)
{
    assert(!unicorn_current);
}
