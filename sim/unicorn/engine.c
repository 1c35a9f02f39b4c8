/* The Unicorn engine: creation, running, and leaving. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "sim/unicorn/engine_state.h"
#include "sim/unicorn/originals.h"
#include "sim/vm_internal.h"

/* Large enough that a Linux boot needs no flush; the library clears it whole when it is created and
 * at every flush (its default is 1 GiB). */
#define CODE_BUFFER_BYTES            (80u << 20)
/*
 * The library's own handling of a full buffer is not trusted: it is emptied before that. When must
 * not depend on the addresses in the code, whose coding has several lengths: what counts is how
 * many instructions were translated, at more bytes each than they take on average (120 to 150).
 */
#define CODE_BYTES_PER_INSTRUCTION   160
#define TRACED_BYTES_PER_INSTRUCTION 300 /* with a call for each load and store */
#define CODE_BUFFER_FULL_PERCENT     80
#define CODE_BUFFER_DANGER_PERCENT   95

#define MXCSR_AT_RESET 0x1f80u

_Thread_local struct unicorn_engine *unicorn_current;

/* The CPU object of the engine that this thread is creating. */
static _Thread_local void *created_cpu;

EXPORT void qemu_init_vcpu_x86_64(void *cs)
{
    created_cpu = cs;
    ORIGINAL(qemu_init_vcpu_x86_64)(cs);
}

/*
 * The library sizes its soft TLB by the host's clock, which would make the number of fills differ
 * between equal runs: inside an engine it gets simulated time.
 */
EXPORT int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    if (unicorn_current) {
        uint64_t nanoseconds = vm_nanoseconds(unicorn_current->vcpu->vm);
        time->tv_sec = (time_t)(nanoseconds / 1000000000);
        time->tv_usec = (suseconds_t)(nanoseconds / 1000 % 1000000);
        return 0;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

/* The library keeps flags in env->eflags outside its main loop. The engine does not: what it pushes
 * is already the form for inside. */
EXPORT void x86_cpu_exec_enter_x86_64(void *cs)
{
    if (!unicorn_current)
        ORIGINAL(x86_cpu_exec_enter_x86_64)(cs);
}

EXPORT void x86_cpu_exec_exit_x86_64(void *cs)
{
    if (!unicorn_current)
        ORIGINAL(x86_cpu_exec_exit_x86_64)(cs);
}

static void engine_destroy(struct vcpu *vcpu)
{
    struct unicorn_engine *engine = vcpu->engine;
    if (!engine)
        return;
    if (engine->uc)
        uc_close(engine->uc);
    free(engine->code_pages);
    free(engine->decoded.entries);
    free(engine);
    vcpu->engine = NULL;
}

/* An exception that came neither from the model nor through the functions in events.c. */
static void unexpected_interrupt(uc_engine *uc, uint32_t number, void *context)
{
    struct unicorn_engine *engine = context;
    snprintf(engine->vcpu->engine_message, sizeof engine->vcpu->engine_message,
             "Unicorn raised exception %u by itself at RIP 0x%llx", number,
             (unsigned long long)engine->env->eip);
    uc_emu_stop(uc);
}

static uc_err open_library(struct unicorn_engine *engine)
{
    uc_hook hook;
    uc_err error = uc_open(UC_ARCH_X86, UC_MODE_64, &engine->uc);
    if (error == UC_ERR_OK)
        error = uc_ctl_set_cpu_model(engine->uc, UC_CPU_X86_ICELAKE_SERVER);
    if (error == UC_ERR_OK)
        error = uc_ctl_set_tcg_buffer_size(engine->uc, CODE_BUFFER_BYTES);
    if (error == UC_ERR_OK)
        error = uc_ctl_exits_enable(engine->uc);
    if (error == UC_ERR_OK)
        error = uc_hook_add(engine->uc, &hook, UC_HOOK_INTR, unexpected_interrupt, engine, 1, 0);
    return error;
}

static int engine_create(struct vcpu *vcpu, char *message, size_t size)
{
    struct unicorn_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return -ENOMEM;
    vcpu->engine = engine;
    engine->vcpu = vcpu;
    engine->cpu = &vcpu->cpu;
    engine->code_page_count = vcpu->cpu.mmu.physmem->size >> FRAME_SHIFT;
    engine->code_pages = calloc(engine->code_page_count, 1);
    const uint32_t mxcsr = MXCSR_AT_RESET; /* the library has 0 */
    created_cpu = NULL;
    uc_err error = open_library(engine);
    if (!engine->code_pages || error != UC_ERR_OK || !created_cpu) {
        snprintf(message, size, "Unicorn could not be started: %s",
                 error ? uc_strerror(error) : "it created no processor or memory is short");
        engine_destroy(vcpu);
        return -ENOMEM;
    }
    uc_reg_write(engine->uc, UC_X86_REG_MXCSR, &mxcsr);
    engine->cs = created_cpu;
    engine->env = env_of(created_cpu);
    engine->jump_cache = unicorn_jump_cache(created_cpu);
    int result = unicorn_layout_check(engine->uc, engine->cs, message, (unsigned)size);
    if (!result && (error = unicorn_mmu_create(engine))) {
        snprintf(message, size, "Unicorn could not map the memory: %s", uc_strerror(error));
        result = -ENOMEM;
    }
    if (result) {
        engine_destroy(vcpu);
        return result;
    }
    /* x86_cpu_exec_interrupt is called only while a request is there. */
    CS_FIELD(engine->cs, CS_INTERRUPT_REQUEST, uint32_t) = 2;
    /* The first overflow of a never flushed code buffer corrupts it. */
    tb_flush_x86_64(engine->cs);
    return 0;
}

bool unicorn_code_buffer_full(const struct unicorn_engine *engine)
{
    if (!engine->tcg)
        return false;
    uint64_t bytes =
        engine->tracing.accesses ? TRACED_BYTES_PER_INSTRUCTION : CODE_BYTES_PER_INSTRUCTION;
    uint64_t instructions =
        engine->statistics.instructions_translated - engine->instructions_at_flush;
    uint64_t capacity = tcg_code_capacity_x86_64(engine->tcg);
    return instructions * bytes * 100 > capacity * CODE_BUFFER_FULL_PERCENT ||
           tcg_code_size_x86_64(engine->tcg) * 100 > capacity * CODE_BUFFER_DANGER_PERCENT;
}

static int engine_run(struct vcpu *vcpu)
{
    struct unicorn_engine *engine = vcpu->engine;
    unicorn_current = engine;
    unicorn_tracing_begin(engine);
    unicorn_push(engine, STATE_ALL);
    if (unicorn_code_buffer_full(engine))
        tb_flush_x86_64(engine->cs);

    if (vcpu->vm->debug.points.changed)
        unicorn_debug_points_changed(engine);
    engine->leaving = false;
    engine->diverted = false;
    engine->breakpoints.rf_seen = false; /* RF may be set anew by the VM entry */
    engine->statistics.entries++;
    vcpu->engine_message[0] = '\0';
    uc_err error = uc_emu_start(engine->uc, vcpu->cpu.state.rip, 0, 0, 0);
    unicorn_current = NULL;
    if (error != UC_ERR_OK || !engine->leaving) {
        if (!vcpu->engine_message[0])
            snprintf(vcpu->engine_message, sizeof vcpu->engine_message,
                     "Unicorn stopped at RIP 0x%llx: %s", (unsigned long long)engine->env->eip,
                     error ? uc_strerror(error) : "no reason given");
        unicorn_pull(engine, STATE_ALL);
        return -EIO;
    }
    return 0;
}

/* Async-signal-safe: generated code sees a negative counter at its next block. */
static void engine_kick(struct vcpu *vcpu)
{
    struct unicorn_engine *engine = vcpu->engine;
    __atomic_store_n(&ENV_FIELD(engine->env, ENV_ICOUNT_DECR + 2, uint16_t), 0xffff,
                     __ATOMIC_RELEASE);
}

static uint64_t engine_instructions(const struct vcpu *vcpu)
{
    return unicorn_instructions(vcpu->engine);
}

static uint64_t engine_user_instructions(const struct vcpu *vcpu)
{
    const struct unicorn_engine *engine = vcpu->engine;
    uint64_t running = engine->in_user ? unicorn_instructions(engine) - engine->user_since : 0;
    return engine->user_instructions + running;
}

static void engine_set_deadline(struct vcpu *vcpu, uint64_t instructions)
{
    unicorn_set_budget(vcpu->engine, instructions);
}

static void engine_advance(struct vcpu *vcpu, uint64_t instructions)
{
    struct unicorn_engine *engine = vcpu->engine;
    engine->env->bnd_regs[0] -= instructions;
    engine->instruction_base -= instructions;
}

static void engine_retire(struct vcpu *vcpu)
{
    struct unicorn_engine *engine = vcpu->engine;
    engine->env->bnd_regs[0] -= 1;
}

static void engine_flush_tlb(struct vcpu *vcpu)
{
    vcpu->cpu.changed |= CPU_CHANGED_TLB;
    if (unicorn_current == vcpu->engine)
        unicorn_flush_tlb(vcpu->engine);
}

static void engine_pull(struct vcpu *vcpu)
{
    unicorn_pull(vcpu->engine, STATE_ALL);
}

static void engine_push(struct vcpu *vcpu)
{
    struct unicorn_engine *engine = vcpu->engine;
    unicorn_push(engine, STATE_ALL);
    engine->diverted = true;
}

static void engine_flush_code(struct vcpu *vcpu)
{
    struct unicorn_engine *engine = vcpu->engine;
    unicorn_tracing_begin(engine);
    engine->breakpoints.code_changed = true;
    engine->diverted = true;
}

static const uint64_t *engine_general_registers(const struct vcpu *vcpu)
{
    const struct unicorn_engine *engine = vcpu->engine;
    return engine->env->regs;
}

static void engine_watch_writes(struct vcpu *vcpu)
{
    unicorn_watch_writes(vcpu->engine);
}

static void engine_points_changed(struct vcpu *vcpu)
{
    unicorn_debug_points_changed(vcpu->engine);
}

static void engine_read_fpu(struct vcpu *vcpu, uint8_t image[FXSAVE_BYTES])
{
    unicorn_read_fpu(vcpu->engine, image);
}

static void engine_write_fpu(struct vcpu *vcpu, const uint8_t image[FXSAVE_BYTES])
{
    unicorn_write_fpu(vcpu->engine, image);
}

static void engine_get_statistics(const struct vcpu *vcpu, struct engine_statistics *statistics)
{
    const struct unicorn_engine *engine = vcpu->engine;
    *statistics = engine->statistics;
    if (engine->tcg)
        statistics->code_cache_bytes = tcg_code_size_x86_64(engine->tcg);
}

const struct engine_operations unicorn_engine = {
    .name = "unicorn",
    .create = engine_create,
    .destroy = engine_destroy,
    .run = engine_run,
    .kick = engine_kick,
    .instructions = engine_instructions,
    .user_instructions = engine_user_instructions,
    .set_deadline = engine_set_deadline,
    .advance = engine_advance,
    .retire = engine_retire,
    .flush_tlb = engine_flush_tlb,
    .pull = engine_pull,
    .push = engine_push,
    .flush_code = engine_flush_code,
    .general_registers = engine_general_registers,
    .watch_writes = engine_watch_writes,
    .points_changed = engine_points_changed,
    .read_fpu = engine_read_fpu,
    .write_fpu = engine_write_fpu,
    .get_statistics = engine_get_statistics,
};
