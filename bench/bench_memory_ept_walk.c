/*
 * What a two-dimensional walk costs, beside a chase of as many dependent loads over the same lines.
 *
 *   chase   loads of the very entries that the walk references, in its order, the address of each
 *           computed from the value before it: what memory alone takes
 *   cold    mmu_translate with TLB, paging-structure caches and guest-physical mappings invalidated
 *   warm    mmu_translate that misses the TLB only; the lines have just been used
 *   hit     mmu_translate that hits the TLB: 512 addresses in turn (4 for 1-GByte pages)
 *
 * for addresses at random in a range: one page (all lines in the first-level cache), 1 GiB, and
 * 128 TiB (each address has tables of its own). Chase, cold and warm are timed one by one with the
 * time-stamp counter between fences, in turns, less what timing nothing takes. A figure is the mean
 * of the middle half of its samples, so that interrupts and neighbours do not count and the
 * counter's coarse steps average out; the hit's is the median of rounds.
 *
 * Usage: bench_memory_ept_walk [--json]
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#include "memory/mmu.h"

#define PHYSMEM_SIZE (16ull << 30)
#define TABLES_HPA   (1ull << 30) /* guest tables: guest-physical memory from 0 .. */
#define DATA_GPA     (1ull << 40) /* .. and the pages, which are never touched */
#define DATA_HPA     (2ull << 30)
#define ADDRESSES    2048
#define SAMPLES      20000
#define HIT_ROUNDS   25
#define HITS         512
#define HITS_1G      4 /* few 1-GByte pages fit */
#define HITS_A_ROUND 10240
#define COLD_GOAL    1.5
#define HIT_GOAL     4.0

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Every instruction before has completed (stores may still drain), none after has begun. */
static inline uint64_t ticks(void)
{
    _mm_lfence();
    uint64_t now = __rdtsc();
    _mm_lfence();
    return now;
}

static double ns_per_tick(void)
{
    double start = now_ns();
    uint64_t first = ticks();
    while (now_ns() - start < 20e6)
        continue;
    return (now_ns() - start) / (double)(ticks() - first);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle_mean(double *samples, unsigned count)
{
    double sum = 0;

    qsort(samples, count, sizeof(*samples), compare_doubles);
    for (unsigned i = count / 4; i < count - count / 4; i++)
        sum += samples[i];
    return sum / (count - 2 * (count / 4));
}

/* ---- The guest --------------------------------------------------------------------------- */

struct scene {
    struct physmem physmem;
    struct ept ept;
    struct mmu mmu;
    unsigned guest_shift, ept_shift;
    uint64_t next_table; /* guest-physical */
    uint64_t addresses[ADDRESSES];
    struct walk_log logs[ADDRESSES];
    unsigned references;
    const uint64_t *starts[ADDRESSES]; /* the chase: host-virtual address of its first entry, .. */
    uint64_t *deltas; /* .. and what to add to each entry's value to find the next */
};

static uint64_t table_new(struct scene *scene)
{
    uint64_t gpa = scene->next_table;
    uint64_t page = gpa >> scene->ept_shift << scene->ept_shift;
    struct ept_mapping mapping;

    scene->next_table += FRAME_SIZE;
    if (!ept_lookup(&scene->ept, gpa, &mapping))
        assert(ept_map(&scene->ept, page, TABLES_HPA + page, scene->ept_shift, EPT_ALL,
                       EPT_TYPE_WB) == 0);
    return gpa;
}

static void guest_map(struct scene *scene, uint64_t linear)
{
    uint64_t table = scene->mmu.regs.cr3;
    unsigned shift = 39;

    for (; shift > scene->guest_shift; shift -= 9) {
        uint64_t *entry =
            physmem_at(&scene->physmem, TABLES_HPA + table + (linear >> shift) % 512 * 8);
        if (!*entry)
            *entry = table_new(scene) | PTE_PRESENT | PTE_WRITE | PTE_USER;
        table = *entry & PTE_ADDRESS;
    }
    uint64_t gpa = DATA_GPA | (linear & ((1ull << 39) - 1) & (UINT64_MAX << shift));
    uint64_t byte = DATA_GPA | (linear & ((1ull << 39) - 1));
    uint64_t page = byte >> scene->ept_shift << scene->ept_shift;
    uint64_t *entry = physmem_at(&scene->physmem, TABLES_HPA + table + (linear >> shift) % 512 * 8);
    *entry = gpa | PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_DIRTY | (shift > 12 ? PTE_LARGE : 0);
    assert(ept_map(&scene->ept, page, DATA_HPA, scene->ept_shift, EPT_ALL, EPT_TYPE_WB) == 0);
}

static uint64_t random64(void)
{
    static uint64_t state = 0x5eed;
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static void scene_open(struct scene *scene, unsigned guest_shift, unsigned ept_shift,
                       uint64_t range)
{
    memset(scene, 0, sizeof(*scene));
    scene->guest_shift = guest_shift;
    scene->ept_shift = ept_shift;
    assert(physmem_init(&scene->physmem, PHYSMEM_SIZE) == 0);
    assert(ept_create(&scene->ept, &scene->physmem, false) == 0);
    mmu_init(&scene->mmu, &scene->physmem);
    scene->mmu.maxphyaddr = 48;
    struct paging_registers regs = {.cr0 = PAGING_CR0_PG | 1,
                                    .cr3 = table_new(scene),
                                    .cr4 = PAGING_CR4_PAE,
                                    .efer = PAGING_EFER_LMA};
    mmu_set_ept(&scene->mmu, true, scene->ept.eptp, 1);
    mmu_load(&scene->mmu, &regs, false);

    for (unsigned i = 0; i < ADDRESSES; i++) {
        scene->addresses[i] = random64() % range;
        guest_map(scene, scene->addresses[i]);
    }
    for (unsigned i = 0; i < ADDRESSES; i++) { /* sets the accessed flags */
        struct translation translation;
        struct mmu_fault fault;
        assert(mmu_translate(&scene->mmu, scene->addresses[i], ACCESS_READ, &translation, &fault) ==
               MMU_OK);
    }
    for (unsigned i = 0; i < ADDRESSES; i++) {
        struct translation translation;
        struct mmu_fault fault;
        assert(mmu_walk_explain(&scene->mmu, scene->addresses[i], ACCESS_READ, &scene->logs[i],
                                &translation, &fault) == MMU_OK);
        scene->references = scene->logs[i].count;
    }
}

static void scene_close(struct scene *scene)
{
    free(scene->deltas);
    mmu_destroy(&scene->mmu);
    physmem_destroy(&scene->physmem);
}

/* ---- The chase --------------------------------------------------------------------------- */

static void chase_build(struct scene *scene)
{
    scene->deltas = malloc(ADDRESSES * scene->references * sizeof(*scene->deltas));
    assert(scene->deltas);
    for (unsigned n = 0; n < ADDRESSES; n++) {
        const struct walk_log *log = &scene->logs[n];
        scene->starts[n] = physmem_at(&scene->physmem, log->reference[0].hpa);
        for (unsigned i = 0; i < log->count; i++) {
            const struct walk_reference *next = &log->reference[i + 1 < log->count ? i + 1 : 0];
            scene->deltas[n * scene->references + i] =
                (uint64_t)(scene->physmem.base + next->hpa) - log->reference[i].entry;
        }
    }
}

/* ---- Samples, in ticks ------------------------------------------------------------------- */

static double chase_sample(const struct scene *scene, unsigned n)
{
    const uint64_t *deltas = &scene->deltas[n * scene->references];
    const uint64_t *line = scene->starts[n];
    unsigned links = scene->references;

    uint64_t start = ticks();
    for (unsigned i = 0; i < links; i++)
        line = (const uint64_t *)(*line + deltas[i]);
    __asm__ volatile("" : : "r"(line));
    return (double)(ticks() - start);
}

static double translate_sample(struct scene *scene, unsigned n)
{
    struct translation translation;
    struct mmu_fault fault;

    uint64_t start = ticks();
    enum mmu_status status =
        mmu_translate(&scene->mmu, scene->addresses[n], ACCESS_READ, &translation, &fault);
    uint64_t end = ticks();
    assert(status == MMU_OK && !translation.tlb_hit);
    return (double)(end - start);
}

static double cold_sample(struct scene *scene, unsigned n)
{
    mmu_invept(&scene->mmu, 2, 0);
    return translate_sample(scene, n);
}

/* The same address twice, and in between the TLB's pages alone are dropped. */
static double warm_sample(struct scene *scene, unsigned n)
{
    static const struct tlb_scope everything = {.any_pcid = true, .any_address = true};

    cold_sample(scene, n);
    tlb_invalidate(&scene->mmu.tlb, TLB_PAGE_ARRAYS, &everything);
    return translate_sample(scene, n);
}

static double nothing_sample(void)
{
    uint64_t start = ticks();
    return (double)(ticks() - start);
}

/* Nanoseconds a hit; fails if not all were hits. */
static double hit_ns(struct scene *scene)
{
    struct mmu *mmu = &scene->mmu;
    struct translation translation;
    struct mmu_fault fault;
    double rounds[HIT_ROUNDS];
    unsigned count = scene->guest_shift == 30 && scene->ept_shift == 30 ? HITS_1G : HITS;

    for (unsigned i = 0; i < count; i++)
        mmu_translate(mmu, scene->addresses[i], ACCESS_READ, &translation, &fault);
    uint64_t misses = mmu->stats.tlb_misses;
    for (unsigned round = 0; round < HIT_ROUNDS; round++) {
        double start = now_ns();
        for (unsigned pass = 0; pass < HITS_A_ROUND / count; pass++) {
            for (unsigned i = 0; i < count; i++)
                mmu_translate(mmu, scene->addresses[i], ACCESS_READ, &translation, &fault);
        }
        rounds[round] = (now_ns() - start) / HITS_A_ROUND;
    }
    assert(mmu->stats.tlb_misses == misses);
    qsort(rounds, HIT_ROUNDS, sizeof(*rounds), compare_doubles);
    return rounds[HIT_ROUNDS / 2];
}

/* ---- Results ----------------------------------------------------------------------------- */

struct figures {
    unsigned references, warm_references;
    double chase, cold, warm, hit; /* ns */
};

static struct figures measure(struct scene *scene, double ns_a_tick)
{
    static double chase[SAMPLES], cold[SAMPLES], warm[SAMPLES], nothing[SAMPLES];
    struct figures figures = {.references = scene->references};
    const struct mmu_stats *stats = &scene->mmu.stats;

    for (unsigned i = 0; i < SAMPLES; i++) {
        unsigned n = i % ADDRESSES;
        uint64_t before = stats->guest_references + stats->ept_references;
        cold[i] = cold_sample(scene, (n + ADDRESSES / 2) % ADDRESSES);
        assert(stats->guest_references + stats->ept_references - before == scene->references);
        chase[i] = chase_sample(scene, n);
        nothing[i] = nothing_sample();
    }
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t before = stats->guest_references + stats->ept_references;
        warm[i] = warm_sample(scene, i % ADDRESSES);
        figures.warm_references = (unsigned)(stats->guest_references + stats->ept_references -
                                             before - scene->references);
    }
    double timing = middle_mean(nothing, SAMPLES);
    figures.chase = (middle_mean(chase, SAMPLES) - timing) * ns_a_tick;
    figures.cold = (middle_mean(cold, SAMPLES) - timing) * ns_a_tick;
    figures.warm = (middle_mean(warm, SAMPLES) - timing) * ns_a_tick;
    figures.hit = hit_ns(scene);
    return figures;
}

static const struct page_size {
    const char *name;
    unsigned shift;
} page_sizes[] = {{"4K", 12}, {"2M", 21}, {"1G", 30}};

static const struct range {
    const char *name;
    uint64_t size;
} ranges[] = {{"1 page", 1ull << 12}, {"1 GiB", 1ull << 30}, {"128 TiB", 1ull << 47}};

static void print_figures(const struct page_size *guest, const struct page_size *ept,
                          const struct range *range, const struct figures *f, bool json, bool first)
{
    double ratio = f->cold / f->chase;

    if (json) {
        printf("%s\n  {\"guest_page\": \"%s\", \"ept_page\": \"%s\", \"range\": \"%s\", "
               "\"references\": %u, \"chase_ns\": %.1f, \"cold_ns\": %.1f, \"ratio\": %.2f, "
               "\"warm_references\": %u, \"warm_ns\": %.1f, \"hit_ns\": %.2f}",
               first ? "[" : ",", guest->name, ept->name, range->name, f->references, f->chase,
               f->cold, ratio, f->warm_references, f->warm, f->hit);
        return;
    }
    if (first)
        printf("guest/EPT  range    references  chase ns  cold ns  ratio   warm ns (references)  "
               "hit ns\n");
    printf("%5s/%-3s  %-8s %10u  %8.1f %8.1f  %5.2f%c  %8.1f (%u) %15.2f%c\n", guest->name,
           ept->name, range->name, f->references, f->chase, f->cold, ratio,
           ratio <= COLD_GOAL ? ' ' : '!', f->warm, f->warm_references, f->hit,
           f->hit < HIT_GOAL ? ' ' : '!');
}

int main(int argc, char **argv)
{
    static struct scene scene;
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0, first = true;
    double ns_a_tick = ns_per_tick();

    for (unsigned g = 0; g < 3; g++) {
        for (unsigned e = 0; e < 3; e++) {
            for (unsigned r = 0; r < 3; r++) {
                scene_open(&scene, page_sizes[g].shift, page_sizes[e].shift, ranges[r].size);
                chase_build(&scene);
                struct figures figures = measure(&scene, ns_a_tick);
                print_figures(&page_sizes[g], &page_sizes[e], &ranges[r], &figures, json, first);
                first = false;
                scene_close(&scene);
            }
        }
    }
    if (json)
        printf("\n]\n");
    else
        printf("! misses a goal: cold <= %.1f x chase, hit < %.0f ns\n", COLD_GOAL, HIT_GOAL);
    return 0;
}
