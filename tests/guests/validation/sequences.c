/*
 * Runs random instruction sequences (generator.h). Words of the command line: seed=N, count=N,
 * mode=user|kernel|compat|compat16, sse, verbose (all registers and the code, beside their hash),
 * only=N,N,... (these numbers, verbose).
 */
#include "generator.h"
#include "harness.h"

#define ARITHMETIC 0x8d5ull
#define RF         0x10000ull
#define DF         0x400ull

static struct sequence sequence;

/* The value of "name=" in the command line; bare words have the value 1. */
static bool find_word(const char *line, const char *name, const char **value)
{
    for (; *line; line++) {
        const char *a = line, *b = name;

        while (*b && *a == *b)
            a++, b++;
        if (!*b && (*a == '=' || *a == ' ' || !*a)) {
            *value = *a == '=' ? a + 1 : "1";
            return true;
        }
        while (line[1] && *line != ' ')
            line++;
    }
    return false;
}

static uint64_t parse(const char *text)
{
    uint64_t value = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return value;
}

static uint64_t number(const char *line, const char *name, uint64_t fallback)
{
    const char *text;

    return find_word(line, name, &text) ? parse(text) : fallback;
}

static const char *const mode_names[] = {"user", "kernel", "compat", "compat16"};
static const uint64_t mode_flags[] = {RUN_USER, 0, RUN_COMPAT | RUN_USER, RUN_COMPAT16};

static bool same_word(const char *text, const char *word)
{
    while (*word && *text == *word)
        text++, word++;
    return !*word && (*text == ' ' || !*text);
}

static enum sequence_mode chosen_mode(const char *line)
{
    const char *text;

    if (find_word(line, "mode", &text))
        for (unsigned i = 0; i < SEQUENCE_MODES; i++)
            if (same_word(text, mode_names[i]))
                return i;
    return SEQUENCE_USER;
}

/* Flags that are defined where the run ended. */
static uint64_t defined_at(uint64_t offset)
{
    for (unsigned i = 0; i <= sequence.instructions; i++)
        if (sequence.starts[i] == offset)
            return sequence.defined[i];
    /* Behind an INT n, which changes none; or elsewhere, after a jump. */
    for (unsigned i = sequence.instructions; i > 0; i--)
        if (sequence.starts[i - 1] < offset)
            return sequence.defined[i - 1];
    return 0;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 32;
}

static void show_code(void)
{
    say_end();
    say("    code");
    for (unsigned i = 0; i < sequence.instructions; i++) {
        say(" ");
        for (unsigned at = sequence.starts[i]; at < sequence.starts[i + 1]; at++) {
            say_hex(sequence.code[at] >> 4);
            say_hex(sequence.code[at] & 15);
        }
    }
}

static void run_sequence(uint64_t n, enum sequence_mode mode, bool sse, uint64_t seed, bool verbose)
{
    struct run in, out;
    uint64_t mask, hash, memory;

    sequence_generate(&sequence, mode, sse, seed, n);
    run_prepare(&in, sequence.code, sequence.size, mode_flags[mode], seed + n);
    for (unsigned i = 0; i < REGISTERS; i++)
        if (i != RSP && (mode < SEQUENCE_COMPAT || i < R8))
            in.gpr[i] = mix(seed ^ n, i) >> (i & 3) * 16;
    if (mode >= SEQUENCE_COMPAT)
        for (unsigned i = 0; i < R8; i++)
            in.gpr[i] = (uint32_t)in.gpr[i];
    run_enter(&in, &out);
    /* Upper halves of registers are undefined after compatibility mode; R8 to R15 cannot change. */
    if (mode >= SEQUENCE_COMPAT)
        for (unsigned i = 0; i < R8; i++)
            out.gpr[i] = (uint32_t)out.gpr[i];
    /* After a wild CALL or JMP the mask is that of the last instruction. */
    mask = ~ARITHMETIC & ~RF;
    if (out.rip - in.rip <= sequence.size + 2u)
        mask |= defined_at(out.rip - in.rip);
    memory = run_hash_memory();
    hash = mix(mix(mix(0, out.vector), out.error), out.rip);
    if (out.vector == 14)
        hash = mix(hash, out.cr2);
    for (unsigned i = 0; i < REGISTERS; i++)
        hash = mix(hash, out.gpr[i]);
    hash = mix(mix(hash, out.rflags & mask), memory);
    say(mode_names[mode]);
    say(" ");
    say_unsigned(n);
    say(":");
    run_show_event(&in, &out);
    say(" ");
    say_hex(hash);
    if (verbose) {
        run_show_registers(&in, &out, mask);
        say(" memory ");
        say_hex(memory);
        show_code();
    }
    say_end();
}

void guest_main(const char *arguments)
{
    uint64_t seed = number(arguments, "seed", 1), count = number(arguments, "count", 250);
    const char *only;
    enum sequence_mode mode = chosen_mode(arguments);
    bool verbose = number(arguments, "verbose", 0) != 0, sse = number(arguments, "sse", 0) != 0;

    say("seed ");
    say_unsigned(seed);
    say(", ");
    say(mode_names[mode]);
    say(sse ? ", SSE2" : "");
    say_end();
    if (!find_word(arguments, "only", &only)) {
        for (uint64_t n = 0; n < count; n++)
            run_sequence(n, mode, sse, seed, verbose);
        return;
    }
    while (*only && *only != ' ') {
        run_sequence(parse(only), mode, sse, seed, true);
        while (*only && *only != ' ' && *only++ != ',')
            ;
    }
}
