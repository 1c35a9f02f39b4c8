/* The rounds, the checksum, the end. Words of the command line: rounds=N. */
#include "torture.h"

#define DEFAULT_ROUNDS 80

static const struct {
    const char *name;
    void (*run)(void);
} chapters[] = {
    {"faults", torture_faults},      {"paging", torture_paging},
    {"changing code", torture_code}, {"single steps", torture_steps},
    {"strings", torture_strings},    {"interrupts", torture_interrupts},
    {"modes", torture_modes},
};
#define CHAPTERS (sizeof(chapters) / sizeof(chapters[0]))

static uint64_t sums[CHAPTERS];
static unsigned chapter;
static uint64_t failures;
static uint64_t random_state = 0x9e3779b97f4a7c15;

uint64_t random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

void seen(uint64_t value)
{
    sums[chapter] = (sums[chapter] ^ value) * 0x100000001b3;
    sums[chapter] ^= sums[chapter] >> 29;
}

void expect(bool ok, const char *what)
{
    static const char *told[32];
    unsigned i = 0;

    if (ok)
        return;
    failures++;
    while (i < 32 && told[i] && told[i] != what)
        i++;
    if (i == 32 || told[i])
        return;
    told[i] = what;
    print("%s: wrong: %s; last fault: vector %u, error code %x, CR2 %x, RIP %x\n",
          chapters[chapter].name, what, fault.vector, fault.error, fault.cr2, fault.rip);
}

/* The number after "rounds=" on the Multiboot command line. */
static uint64_t read_rounds(const uint32_t *multiboot)
{
    const char *text = multiboot[0] & 4 ? (const char *)(uint64_t)multiboot[4] : "";
    uint64_t rounds = 0;

    for (; *text; text++) {
        if (__builtin_memcmp(text, "rounds=", 7))
            continue;
        for (text += 7; *text >= '0' && *text <= '9'; text++)
            rounds = rounds * 10 + *text - '0';
        break;
    }
    return rounds ? rounds : DEFAULT_ROUNDS;
}

/* Called by entry.S with the address of the Multiboot information. */
void torture_main(const uint32_t *multiboot);
void torture_main(const uint32_t *multiboot)
{
    uint64_t rounds = read_rounds(multiboot), sum = 0, cr;

    __asm__ volatile("movq %%cr0, %0" : "=r"(cr));
    __asm__ volatile("movq %0, %%cr0" : : "r"(cr | 1 << 16)); /* WP */
    traps_init();
    timer_start();
    print("torture: %u rounds\n", rounds);
    __asm__ volatile("sti");

    for (uint64_t round = 1; round <= rounds; round++) {
        for (chapter = 0; chapter < CHAPTERS; chapter++)
            chapters[chapter].run();
        if (round % ((rounds + 9) / 10) == 0)
            print("round %4u\n", round);
    }
    __asm__ volatile("cli");
    expect(ticks > 0, "no timer interrupt came");
    for (unsigned i = 0; i < CHAPTERS; i++) {
        print("%16s  %016x\n", chapters[i].name, sums[i]);
        sum = (sum ^ sums[i]) * 0x100000001b3;
    }
    print("%16s  %016x, %u wrong\n", "checksum", sum, failures);
    out32(0xf4, failures ? 1 : 0);
}

void *memset(void *to, int value, unsigned long size)
{
    void *at = to;

    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, unsigned long size)
{
    void *at = to;

    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
    return to;
}

int memcmp(const void *a, const void *b, unsigned long size)
{
    const uint8_t *x = a, *y = b;

    for (; size; size--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}
