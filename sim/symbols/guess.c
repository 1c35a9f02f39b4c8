/*
 * Where a Linux kernel went that moved itself. The offset is a multiple of 2 MiB, so there are few;
 * the right one puts instructions into functions whose names say that they execute such.
 */
#include <stdlib.h>
#include <string.h>

#include "sim/symbols/internal.h"

#define SLOT        (2ull << 20) /* CONFIG_PHYSICAL_ALIGN */
#define SLOTS       512u         /* in the 1 GiB that the kernel's image may be in */
#define RIPS_MAX    1024u        /* of each kind of hint */
#define KERNEL_BASE 0xffffffff80000000ull

struct symbols_guess {
    struct symbols *symbols;
    uint64_t old_offset;
    unsigned count[SYMBOLS_HINTS];
    uint64_t rip[SYMBOLS_HINTS][RIPS_MAX];
};

/* Parts of the names of functions that execute such instructions, inlined or not. */
#define WORDS_MAX 6
static const char *const words[SYMBOLS_HINTS][WORDS_MAX] = {
    [SYMBOLS_HINT_MSR] = {"msr", "apic", "intel_", "mce"},
    [SYMBOLS_HINT_IO] = {"io_", "serial", "cmos", "8259", "pit_", "acpi_os"},
    [SYMBOLS_HINT_CPUID] = {"cpuid", "identify_cpu", "get_cpu_", "cpu_"},
};

struct symbols_guess *symbols_guess_begin(struct symbols *symbols)
{
    struct symbols_guess *guess = malloc(sizeof(*guess));

    if (!guess)
        return NULL;
    guess->symbols = symbols;
    guess->old_offset = symbols_offset(symbols);
    memset(guess->count, 0, sizeof(guess->count));
    return guess;
}

void symbols_guess_add(struct symbols_guess *guess, uint64_t rip, enum symbols_hint hint)
{
    uint64_t *seen = guess->rip[hint];
    unsigned count = guess->count[hint];

    if (rip < KERNEL_BASE || count == RIPS_MAX)
        return;
    for (unsigned i = 0; i < count; i++)
        if (seen[i] == rip)
            return;
    seen[guess->count[hint]++] = rip;
}

static bool fits(const struct symbols_guess *guess, uint64_t rip, enum symbols_hint hint)
{
    uint64_t into;
    const char *name = symbols_find(guess->symbols, rip, &into);

    if (!name || hint == SYMBOLS_HINT_BLOCK)
        return name && into == 0;
    for (unsigned word = 0; word < WORDS_MAX; word++)
        if (words[hint][word] && strstr(name, words[hint][word]))
            return true;
    return false;
}

/* How many of the addresses fit under the offset that is set. */
static unsigned score(const struct symbols_guess *guess)
{
    unsigned fitting = 0;

    for (unsigned hint = 0; hint < SYMBOLS_HINTS; hint++)
        for (unsigned i = 0; i < guess->count[hint]; i++)
            fitting += fits(guess, guess->rip[hint][i], hint);
    return fitting;
}

bool symbols_guess_end(struct symbols_guess *guess)
{
    unsigned best = 0, second = 0;
    uint64_t offset = guess->old_offset;
    bool found;

    for (unsigned slot = 0; slot < SLOTS; slot++) {
        unsigned fitting;

        symbols_set_offset(guess->symbols, slot * SLOT);
        fitting = score(guess);
        if (fitting > best) {
            second = best;
            best = fitting;
            offset = slot * SLOT;
        } else if (fitting > second) {
            second = fitting;
        }
    }
    /* Chance explains a few of them under any offset. */
    found = best >= 3 && best >= 2 * second;
    symbols_set_offset(guess->symbols, found ? offset : guess->old_offset);
    free(guess);
    return found;
}
