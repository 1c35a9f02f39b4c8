/* Random numbers of the property tests: reproducible, with a seed that is printed. */
#ifndef VTXSIM_TESTS_MEMORY_RANDOM_H
#define VTXSIM_TESTS_MEMORY_RANDOM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t random_state;

static inline uint64_t random64(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline bool chance(unsigned percent)
{
    return random64() % 100 < percent;
}

static inline void random_seed(uint64_t seed)
{
    const char *given = getenv("TEST_SEED");
    random_state = given ? strtoull(given, NULL, 0) : seed;
    printf("seed %#lx (TEST_SEED)\n", (unsigned long)random_state);
}

#endif
