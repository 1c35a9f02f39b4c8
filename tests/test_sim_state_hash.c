/*
 * State hashes: equal for equal states, different for states that differ in one bit; no page that
 * is written escapes them; and taking them changes nothing.
 */
#include "sim_machine.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sim/debug.h"
#include "tests/memory_random.h"
#include "traces/sink.h"

TestSuite(sim_state_hash, .timeout = 120);

#define HASHES 4096 /* that are kept */

struct hashes {
    struct trace_sink sink;
    struct trace_event events[HASHES];
    unsigned count;
};

static void note_hash(struct trace_sink *sink, const struct trace_event *event)
{
    struct hashes *hashes = (struct hashes *)sink;

    cr_assert_eq(event->type, TRACE_STATE_HASH);
    if (hashes->count < HASHES)
        hashes->events[hashes->count++] = *event;
}

static struct run_statistics run(const char *guest, const char *every, struct hashes *hashes,
                                 vm_debug_hook *hook, void *context, char **console)
{
    struct machine machine = {0};

    machine_create(&machine, guest,
                   SETTINGS({"hash-every", every}, {"max-instructions", "10000000"}));
    hashes->sink = (struct trace_sink){.types = 1u << TRACE_STATE_HASH, .event = note_hash};
    hashes->count = 0;
    cr_assert_eq(vm_attach_sink(machine.vm, &hashes->sink), 0);
    if (hook) {
        vm_debug_attach(machine.vm, hook, context);
        vm_debug_stop_at(machine.vm, 0);
    }
    machine_run(&machine);
    struct run_statistics statistics = machine_statistics(&machine, NULL);
    if (console)
        *console = strndup(machine.console, machine.console_size);
    machine_destroy(&machine);
    return statistics;
}

static bool same_hash(const struct trace_event *a, const struct trace_event *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* With registers: those of the same state, however often and where hashes are taken besides. */
Test(sim_state_hash, equal_states_have_equal_hashes)
{
    static struct hashes often, again, seldom, none;
    char *console[3];
    struct run_statistics runs[3] = {
        run("torture.multiboot rounds=1", "1000", &often, NULL, NULL, &console[0]),
        run("torture.multiboot rounds=1", "30000", &seldom, NULL, NULL, &console[1]),
        run("torture.multiboot rounds=1", "0", &none, NULL, NULL, &console[2]),
    };

    run("torture.multiboot rounds=1", "1000", &again, NULL, NULL, NULL);
    cr_assert_eq(often.count, runs[0].instructions / 1000 + 1);
    cr_assert_eq(often.count, again.count);
    for (unsigned i = 0; i < often.count; i++)
        cr_assert(same_hash(&often.events[i], &again.events[i]), "hash %u", i);

    cr_assert_gt(seldom.count, 50);
    for (unsigned i = 0; i + 1 < seldom.count; i++) {
        const struct trace_event *event = &often.events[30 * (i + 1) - 1];
        cr_assert_eq(seldom.events[i].instructions, 30000ul * (i + 1));
        cr_assert_eq(seldom.events[i].state_hash.registers, event->state_hash.registers, "at %lu",
                     event->instructions);
        cr_assert_eq(seldom.events[i].time, event->time);
    }
    cr_assert_eq(often.events[often.count - 1].state_hash.registers,
                 seldom.events[seldom.count - 1].state_hash.registers);
    cr_assert_eq(none.count, 0);
    for (unsigned i = 1; i < 3; i++) {
        cr_assert_eq(runs[i].instructions, runs[0].instructions);
        cr_assert_eq(runs[i].simulated_cycles, runs[0].simulated_cycles);
        cr_assert_str_eq(console[i], console[0]);
    }
}

/* --- One bit differs
 * ------------------------------------------------------------------------------------------ */

#define MEDDLED_AT 12345
#define UNUSED_RAM 0x1f00123 /* no guest here uses the end of its 32 MiB; mapped at its address */

static void flip(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    const char *what = context;
    struct cpu_state *state = &vm_debug_cpu(vm)->state;
    uint8_t byte;

    if (stop->reason == VM_DEBUG_END)
        return;
    if (stop->instructions < MEDDLED_AT) {
        vm_debug_stop_at(vm, MEDDLED_AT);
        return;
    }
    if (!strcmp(what, "memory")) {
        cr_assert_eq(vm_debug_read(vm, UNUSED_RAM, &byte, 1), 1);
        byte ^= 0x10;
        cr_assert_eq(vm_debug_write(vm, UNUSED_RAM, &byte, 1), 1);
    } else if (!strcmp(what, "LSTAR")) {
        state->lstar ^= 1 << 12;
    } else if (!strcmp(what, "DR3")) {
        state->dr[3] ^= 1;
    } else if (!strcmp(what, "CR2")) {
        state->cr2 ^= 1ull << 46;
    } else if (!strcmp(what, "FS.base")) {
        state->seg[SEG_FS].base ^= 8;
    } else if (!strcmp(what, "XMM5")) {
        uint8_t image[FXSAVE_BYTES];
        vm_debug_read_fpu(vm, image);
        image[160 + 5 * 16 + 13] ^= 4;
        vm_debug_write_fpu(vm, image);
    }
    vm_debug_changed(vm);
}

Test(sim_state_hash, one_bit_changes_them)
{
    static const char *const changes[] = {"nothing", "memory", "LSTAR", "DR3", "CR2", "FS.base", "XMM5"};
    static struct hashes plain, changed;

    run("engine-random.multiboot", "1000", &plain, NULL, NULL, NULL);
    for (unsigned i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        bool memory = i == 1, registers = i > 1;
        run("engine-random.multiboot", "1000", &changed, flip, (void *)changes[i], NULL);
        cr_assert_eq(changed.count, plain.count, "%s", changes[i]);
        for (unsigned j = 0; j < plain.count; j++) {
            const struct trace_event *a = &plain.events[j], *b = &changed.events[j];
            bool after = a->instructions > MEDDLED_AT;
            cr_assert_eq(a->state_hash.memory != b->state_hash.memory, after && memory, "%s at %lu",
                         changes[i], a->instructions);
            cr_assert_eq(a->state_hash.registers != b->state_hash.registers, after && registers,
                         "%s at %lu", changes[i], a->instructions);
        }
    }
}

/* --- What is written
 * ------------------------------------------------------------------------------------------ */

struct watcher {
    uint8_t *copy; /* of guest memory at the last stop */
    uint64_t stops, changed, marked;
};

/* Every page that has changed since the last stop is marked. */
static void look_for_changes(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    struct watcher *watcher = context;
    const struct memory_slot *ram = guest_memory_find(&vm->memory, 0);
    uint8_t *memory = physmem_at(&vm->physmem, ram->hpa);

    if (stop->reason == VM_DEBUG_END) /* the last hash has taken the marks */
        return;
    for (uint64_t page = 0; page < ram->size; page += FRAME_SIZE) {
        uint64_t frame = (ram->hpa + page) / FRAME_SIZE;
        uint64_t *word = &vm->physmem.written[frame / 64], bit = 1ull << frame % 64;

        watcher->marked += (*word & bit) != 0;
        if (memcmp(memory + page, watcher->copy + page, FRAME_SIZE)) {
            watcher->changed++;
            cr_assert(*word & bit, "at %lu: the page at %#lx was written and is not marked",
                      stop->instructions, page);
            memcpy(watcher->copy + page, memory + page, FRAME_SIZE);
        }
        *word &= ~bit;
    }
    vm->vcpu.engine_operations->watch_writes(&vm->vcpu);
    watcher->stops++;
    vm_debug_stop_at(vm, stop->instructions + 1 + random64() % 10000);
}

Test(sim_state_hash, no_written_page_is_missed)
{
    static const char *const guests[] = {"torture.multiboot rounds=1",
                                         "engine-interrupts.multiboot", "engine-code.multiboot",
                                         "engine-steps.multiboot"};
    static struct hashes hashes;

    random_seed(0x5eed0021);
    for (unsigned i = 0; i < sizeof(guests) / sizeof(*guests); i++) {
        struct watcher watcher = {.copy = calloc(32, 1 << 20)};
        run(guests[i], "1000000000000", &hashes, look_for_changes, &watcher, NULL);
        printf("%s: %lu stops, %lu pages changed, %lu marked\n", guests[i], watcher.stops,
               watcher.changed, watcher.marked);
        cr_assert_gt(watcher.changed, watcher.stops);
        cr_assert_lt(watcher.marked, 3 * watcher.changed + 100);
        free(watcher.copy);
    }
}

/* The hash of memory as state_hash.h describes it, from the marks just before it is taken. */
static void compute(void *context, struct vm *vm, const struct vm_debug_stop *stop)
{
    uint64_t *hash = context, *words = malloc(2 * 8192 * sizeof(*words));
    const struct memory_slot *ram = guest_memory_find(&vm->memory, 0);
    size_t count = 0;

    if (stop->reason == VM_DEBUG_END || stop->instructions != 9999) {
        vm_debug_stop_at(vm, 9999);
        free(words);
        return;
    }
    for (uint64_t gpa = 0; gpa < ram->size; gpa += FRAME_SIZE) {
        uint64_t frame = (ram->hpa + gpa) / FRAME_SIZE;

        if (!(vm->physmem.written[frame / 64] >> frame % 64 & 1))
            continue;
        words[count++] = gpa;
        words[count++] = XXH3_64bits(physmem_at(&vm->physmem, ram->hpa + gpa), FRAME_SIZE);
    }
    *hash = XXH64(words, count * sizeof(*words), 0);
    free(words);
}

Test(sim_state_hash, is_what_the_format_says)
{
    static struct hashes hashes;
    uint64_t expected = 0;

    /* It writes nothing. */
    run("bad-infinite-loop.img", "10000", &hashes, compute, &expected, NULL);
    cr_assert_eq(hashes.events[0].state_hash.memory, expected);
    cr_assert_gt(hashes.events[0].state_hash.pages, 0);
    cr_assert_eq(hashes.events[1].state_hash.pages, 0);
    cr_assert_eq(hashes.events[1].state_hash.memory, XXH64("", 0, expected));
}
