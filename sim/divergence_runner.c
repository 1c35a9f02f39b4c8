/*
 * The processes of two runs. Each runner is a timeline (sim/timeline.h) whose current process
 * stands in the debugger's hook and carries out orders; what it finds out it leaves in memory that
 * all share.
 */
#include "sim/divergence_runner.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sim/debug.h"
#include "sim/log.h"
#include "sim/replay.h"
#include "sim/timeline.h"
#include "sim/vm_internal.h"

#define TICK_MILLISECONDS 100

enum order_kind {
    ORDER_GO,
    ORDER_MARK,
    ORDER_BACK,
    ORDER_CHAIN,
    ORDER_MEMORY,
    ORDER_LOOK,
    ORDER_READ,
    ORDER_PAGES,
};
struct order {
    enum order_kind kind;
    uint64_t argument;
};

/* What both sides of a runner see. */
struct shared {
    _Atomic uint64_t progress;
    bool chain, memory; /* wanted in places: also by copies that were made before that was said */
    char message[REPLAY_MESSAGE_SIZE];
    struct runner_place place;
    struct cpu_state state;
    uint8_t fpu[FXSAVE_BYTES];
    uint8_t code[INSTRUCTION_BYTES];
    unsigned code_size;
    uint8_t line[RUNNER_LINE];
    bool line_present;
    uint64_t pages; /* of guest memory, in the order of their addresses */
    uint64_t most_pages;
};

struct runner {
    pid_t pid; /* the parent of the timeline */
    int orders;
    struct shared *shared;
    struct runner_page {
        uint64_t gpa, hash;
    } * page; /* shared, too; most_pages */
};

struct runners {
    struct runner runner[2];
    struct runners_options options;
};

/* --- In the runner's process --------------------------------------------------------------------
 */

struct worker {
    struct trace_sink sink; /* its blocks are what the chain is made of */
    struct runner *runner;
    struct shared *shared;
    struct timeline *timeline;
    struct replay *replay;
    struct vm *vm;
    uint64_t chain;
};

static void answer(const struct worker *worker, int error)
{
    (void)!write(worker->runner->orders, &error, sizeof(error));
}

static void add_block(struct trace_sink *sink, uint64_t rip, uint64_t instructions, uint32_t size)
{
    struct worker *worker = (struct worker *)sink; /* its first member */
    const struct vcpu *vcpu = &worker->vm->vcpu;
    uint64_t words[GPR_COUNT + 2];

    memcpy(words, vcpu->engine_operations->general_registers(vcpu), GPR_COUNT * sizeof(*words));
    words[GPR_COUNT] = rip;
    words[GPR_COUNT + 1] = instructions;
    worker->chain = XXH3_64bits_withSeed(words, sizeof(words), worker->chain);
}

static void take_event(struct trace_sink *sink, const struct trace_event *event)
{
    (void)sink;
    (void)event;
}

static void note_progress(void *context, uint64_t instructions, uint64_t cycles)
{
    struct worker *worker = context;

    (void)cycles;
    atomic_store_explicit(&worker->shared->progress, instructions, memory_order_relaxed);
}

static void note_place(struct worker *worker, uint64_t instructions, bool ended)
{
    worker->shared->place = (struct runner_place){
        .instructions = instructions,
        .registers = vm_debug_hash_registers(worker->vm),
        .chain = worker->chain,
        .memory = worker->shared->memory ? vm_debug_hash_memory(worker->vm) : 0,
        .ended = ended,
    };
}

static void hash_pages(struct worker *worker)
{
    const struct guest_memory *memory = &worker->vm->memory;
    struct shared *shared = worker->shared;

    shared->pages = 0;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct memory_slot *slot = &memory->slots[i];

        if (slot->kind == SLOT_MMIO)
            continue;
        for (uint64_t at = 0; at < slot->size && shared->pages < shared->most_pages;
             at += FRAME_SIZE)
            worker->runner->page[shared->pages++] = (struct runner_page){
                slot->gpa + at,
                XXH3_64bits(guest_memory_at(memory, slot->gpa + at, FRAME_SIZE), FRAME_SIZE)};
    }
}

/* Blocks are translated anew, this time with the call that tells of them. */
static void keep_chain(struct worker *worker)
{
    if (!worker->shared->chain || worker->sink.block)
        return;
    worker->sink.types = 1u << TRACE_BLOCK;
    worker->sink.block = add_block;
    worker->vm->vcpu.engine_operations->flush_code(&worker->vm->vcpu);
}

static void look(struct worker *worker)
{
    struct shared *shared = worker->shared;
    const struct cpu_state *state = &vm_debug_cpu(worker->vm)->state;

    shared->state = *state;
    worker->vm->vcpu.engine_operations->read_fpu(&worker->vm->vcpu, shared->fpu);
    shared->code_size = (unsigned)vm_debug_read(worker->vm, state->rip + state->seg[SEG_CS].base,
                                                shared->code, sizeof(shared->code));
}

/* Stands here and carries out orders until one lets the guest run. */
static void stand(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    struct worker *worker = context;
    struct shared *shared = worker->shared;
    bool ended = stop->reason == VM_DEBUG_END;
    uint8_t message[TIMELINE_MESSAGE_MAX];
    struct order order;
    size_t size;

    note_place(worker, stop->instructions, ended);
    answer(worker, 0);
    while (read(worker->runner->orders, &order, sizeof(order)) == sizeof(order)) {
        int error = 0;

        switch (order.kind) {
        case ORDER_GO:
            if (!ended && order.argument > stop->instructions) {
                vm_debug_stop_at(vm, order.argument);
                return;
            }
            note_place(worker, stop->instructions, ended);
            break;
        case ORDER_MARK:
            error = timeline_checkpoint(worker->timeline, stop->instructions, message, &size);
            if (error == 1) { /* woken: this answers the one who has sent the traveller */
                error = 0;
                keep_chain(worker);
                note_place(worker, stop->instructions, ended);
            }
            break;
        case ORDER_BACK:
            error = timeline_travel(worker->timeline, order.argument, message, 0);
            break;
        case ORDER_CHAIN:
            shared->chain = true;
            keep_chain(worker);
            break;
        case ORDER_MEMORY:
            shared->memory = order.argument;
            note_place(worker, stop->instructions, ended);
            break;
        case ORDER_LOOK:
            look(worker);
            break;
        case ORDER_READ:
            shared->line_present =
                vm_debug_read(vm, order.argument, shared->line, RUNNER_LINE) == RUNNER_LINE;
            break;
        case ORDER_PAGES:
            hash_pages(worker);
            break;
        }
        answer(worker, error);
    }
    _exit(0);
}

static int open_run(struct worker *worker, const char *path, const struct runners_options *options)
{
    const struct replay_options replay = {
        .find = options->find,
        .find_count = options->find_count,
        .callbacks = {.progress = note_progress},
        .context = worker,
    };
    struct shared *shared = worker->shared;
    int error =
        replay_open(&worker->replay, path, &replay, shared->message, sizeof(shared->message));

    if (error)
        return error;
    worker->vm = replay_vm(worker->replay);
    worker->sink = (struct trace_sink){.event = take_event};
    return vm_attach_sink(worker->vm, &worker->sink);
}

/* Ends with the process that wants to know, whichever way that ends. */
static _Noreturn void work(struct runner *runner, const char *path,
                           const struct runners_options *options)
{
    struct worker worker = {.runner = runner, .shared = runner->shared};
    int error;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_set_levels("off", NULL, 0);
    error = timeline_start(&worker.timeline);
    if (!error)
        error = open_run(&worker, path, options);
    if (error) {
        answer(&worker, error);
        _exit(1);
    }
    vm_debug_attach(worker.vm, stand, &worker);
    vm_debug_stop_at(worker.vm, 0);
    error = replay_run(worker.replay);
    answer(&worker, error ? error : -EIO);
    _exit(1);
}

/* --- In the process that gives orders -----------------------------------------------------------
 */

/* Waits for the answer to an order. */
static int await(struct runners *runners, unsigned side)
{
    struct runner *runner = &runners->runner[side];
    const struct runners_options *options = &runners->options;
    struct pollfd fd = {.fd = runner->orders, .events = POLLIN};
    int error;

    while (poll(&fd, 1, TICK_MILLISECONDS) <= 0) {
        if (options->progress &&
            !options->progress(options->context, atomic_load_explicit(&runner->shared->progress,
                                                                      memory_order_relaxed)))
            return -ECANCELED;
        if (waitpid(runner->pid, NULL, WNOHANG) == runner->pid) {
            runner->pid = 0;
            break; /* it may have answered before */
        }
    }
    if (recv(runner->orders, &error, sizeof(error), MSG_DONTWAIT) != sizeof(error))
        error = -ECHILD;
    return error;
}

static int give_orders(struct runners *runners, enum order_kind kind, uint64_t argument)
{
    const struct order order = {kind, argument};
    int error[2];

    for (unsigned side = 0; side < 2; side++)
        if (send(runners->runner[side].orders, &order, sizeof(order), MSG_NOSIGNAL) !=
            sizeof(order))
            return -errno;
    for (unsigned side = 0; side < 2; side++)
        error[side] = await(runners, side);
    return error[0] ? error[0] : error[1];
}

int runners_go(struct runners *runners, uint64_t instructions)
{
    return give_orders(runners, ORDER_GO, instructions);
}

int runners_mark(struct runners *runners)
{
    int error = give_orders(runners, ORDER_MARK, 0);

    return error == -ENOMEM || error == -EAGAIN ? 0 : error;
}

int runners_back(struct runners *runners, uint64_t instructions)
{
    return give_orders(runners, ORDER_BACK, instructions);
}

int runners_keep_chain(struct runners *runners)
{
    return give_orders(runners, ORDER_CHAIN, 0);
}

int runners_watch_memory(struct runners *runners, bool on)
{
    return give_orders(runners, ORDER_MEMORY, on);
}

int runners_look(struct runners *runners)
{
    return give_orders(runners, ORDER_LOOK, 0);
}

const struct runner_place *runners_place(const struct runners *runners, unsigned side)
{
    return &runners->runner[side].shared->place;
}

bool runners_agree(const struct runners *runners)
{
    const struct runner_place *a = runners_place(runners, 0), *b = runners_place(runners, 1);

    return a->instructions == b->instructions && a->registers == b->registers &&
           a->chain == b->chain && a->memory == b->memory && a->ended == b->ended;
}

const struct cpu_state *runners_state(const struct runners *runners, unsigned side)
{
    return &runners->runner[side].shared->state;
}

const uint8_t *runners_fpu(const struct runners *runners, unsigned side)
{
    return runners->runner[side].shared->fpu;
}

unsigned runners_code(const struct runners *runners, unsigned side, const uint8_t **bytes)
{
    *bytes = runners->runner[side].shared->code;
    return runners->runner[side].shared->code_size;
}

int runners_read(struct runners *runners, uint64_t linear, uint8_t line[2][RUNNER_LINE],
                 bool present[2])
{
    int error = give_orders(runners, ORDER_READ, linear);

    for (unsigned side = 0; side < 2 && !error; side++) {
        memcpy(line[side], runners->runner[side].shared->line, RUNNER_LINE);
        present[side] = runners->runner[side].shared->line_present;
    }
    return error;
}

/* A page that only one run has differs, too. */
int runners_compare_pages(struct runners *runners, uint64_t *gpa, unsigned most, uint64_t *count)
{
    const struct runner *runner = runners->runner;
    int error = give_orders(runners, ORDER_PAGES, 0);
    uint64_t at[2] = {0, 0};

    *count = 0;
    if (error)
        return error;
    while (at[0] < runner[0].shared->pages || at[1] < runner[1].shared->pages) {
        uint64_t place[2];

        for (unsigned side = 0; side < 2; side++)
            place[side] = at[side] < runner[side].shared->pages ? runner[side].page[at[side]].gpa
                                                                : UINT64_MAX;
        if (place[0] != place[1] || runner[0].page[at[0]].hash != runner[1].page[at[1]].hash)
            if ((*count)++ < most)
                gpa[*count - 1] = place[0] < place[1] ? place[0] : place[1];
        at[0] += place[0] <= place[1];
        at[1] += place[1] <= place[0];
    }
    return 0;
}

/* --- Start and end ------------------------------------------------------------------------------
 */

/* Address space for the hashes of all pages that a guest can have; only what is used is memory. */
#define PAGES_MOST (1ull << 28)

static void *map_shared(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static int start_runner(struct runners *runners, unsigned side)
{
    struct runner *runner = &runners->runner[side];
    int ends[2];

    runner->shared = map_shared(sizeof(*runner->shared));
    runner->page = map_shared(PAGES_MOST * sizeof(*runner->page));
    if (!runner->shared || !runner->page)
        return -ENOMEM;
    runner->shared->most_pages = PAGES_MOST;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    fflush(NULL); /* or both processes write it */
    runner->pid = fork();
    if (runner->pid == 0) {
        close(ends[0]);
        runner->orders = ends[1];
        work(runner, runners->options.path[side], &runners->options);
    }
    runner->orders = ends[0];
    close(ends[1]);
    return runner->pid > 0 ? 0 : -errno;
}

int runners_start(struct runners **result, const struct runners_options *options, char *message,
                  size_t size)
{
    struct runners *runners = calloc(1, sizeof(*runners));
    int error = 0;

    if (!runners)
        return -ENOMEM;
    runners->options = *options;
    runners->runner[0].orders = runners->runner[1].orders = -1;
    for (unsigned side = 0; side < 2 && !error; side++)
        error = start_runner(runners, side);
    for (unsigned side = 0; side < 2 && !error; side++)
        error = await(runners, side);
    if (!error) {
        *result = runners;
        return 0;
    }
    snprintf(message, size, "%s", runners_message(runners));
    runners_end(runners);
    return error;
}

const char *runners_message(const struct runners *runners)
{
    for (unsigned side = 0; side < 2; side++)
        if (runners->runner[side].shared && *runners->runner[side].shared->message)
            return runners->runner[side].shared->message;
    return "";
}

void runners_end(struct runners *runners)
{
    for (unsigned side = 0; side < 2; side++) {
        struct runner *runner = &runners->runner[side];

        if (runner->orders >= 0) {
            shutdown(runner->orders, SHUT_RDWR);
            close(runner->orders);
        }
        if (runner->pid > 0) {
            kill(runner->pid, SIGKILL); /* all of its timeline goes with it */
            waitpid(runner->pid, NULL, 0);
        }
        if (runner->shared)
            munmap(runner->shared, sizeof(*runner->shared));
        if (runner->page)
            munmap(runner->page, PAGES_MOST * sizeof(*runner->page));
    }
    free(runners);
}
