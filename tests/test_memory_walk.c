/*
 * The two-dimensional walk against the naive second walker of memory_naive_walker.h: over random
 * tables, registers and accesses both must agree in outcome, error code, exit qualification,
 * references, and in every accessed and dirty flag that they leave in memory.
 *
 * Host memory is 16 frames. Frames 0-7 hold EPT entries, frames 8-15 guest entries (all 16 where
 * EPT is off); only the first 16 entries of each frame are used, and every address leads into the
 * 16 frames, so that tables alias each other in all possible ways.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/mmu.h"
#include "tests/memory_naive_walker.h"
#include "tests/memory_random.h"

#define USED      16 /* entries of a frame */
#define WALKS     300000
#define SEQUENCES 30000

/* ---- Random machines --------------------------------------------------------------------- */

static unsigned noise; /* percent of entries with something wrong */

static uint64_t random_address(const struct machine *machine)
{
    uint64_t address = random64() % FRAMES << 12;
    if (chance(noise) && chance(30))
        address |= 1ull << (12 + random64() % 40);
    return address;
}

static uint64_t random_guest_entry(const struct machine *machine)
{
    uint64_t entry = random_address(machine) | 7 | (random64() & 0x160);

    if (chance(10))
        entry = (entry & ~0xff000ull) | 0x80; /* a large page */
    if (chance(noise)) {
        static const uint8_t flips[] = {0, 0, 1, 1, 2, 2, 5, 6, 7, 63, 63, 13, 51, 52, 62};
        entry ^= 1ull << flips[random64() % sizeof(flips)];
    }
    if (chance(5))
        entry ^= random64() & 0x0ff0000000000e00; /* ignored bits, mostly */
    return entry;
}

static uint64_t random_guest_entries_32bit(const struct machine *machine)
{
    uint64_t two = 0;
    for (unsigned i = 0; i < 2; i++) {
        uint32_t entry = (uint32_t)random_address(machine) | 7 | (random64() & 0x160);
        if (chance(10))
            entry = (entry & ~0x3ff000u) | 0x80;
        if (chance(noise))
            entry ^= 1u << random64() % 22;
        two = two << 32 | entry;
    }
    return two;
}

static uint64_t random_ept_entry(const struct machine *machine, bool leaf)
{
    uint64_t entry = random_address(machine) | 7 | (random64() & 0x300);

    if (machine->ept && leaf)
        entry |= 8ull << 12; /* guest pages are in frames 8-15 */
    else
        entry &= ~(8ull << 12);
    if (leaf)
        entry |= 6 << 3;
    if (chance(3))
        entry = (entry & ~0xff000ull) | 0x80 | 6 << 3;
    if (chance(noise)) {
        static const uint8_t flips[] = {0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 12, 51};
        entry ^= 1ull << flips[random64() % sizeof(flips)];
    }
    if (chance(noise / 4 + 1))
        entry &= ~7ull;
    return entry;
}

/* EPT: frame 0 is the PML4 table, 1-2 PDPT, 3-4 PD, 5-7 PT in the regular case. */
static void random_memory(struct machine *machine)
{
    memset(machine->memory, 0, MEMORY_SIZE);
    for (unsigned frame = 0; frame < FRAMES; frame++) {
        uint64_t *entries = (uint64_t *)(machine->memory + frame * FRAME_SIZE);
        for (unsigned i = 0; i < USED; i++) {
            if (machine->ept && frame < 8)
                entries[i] = random_ept_entry(machine, frame >= 5);
            else if (bit(machine->regs.cr4, 5))
                entries[i] = random_guest_entry(machine);
            else
                entries[i] = random_guest_entries_32bit(machine);
        }
        if (machine->ept && frame < 5 && !chance(noise)) {
            static const unsigned first[] = {1, 3, 3, 5, 5}, count[] = {2, 2, 2, 3, 3};
            for (unsigned i = 0; i < USED; i++)
                entries[i] = (entries[i] & ~0xf000ull) | (first[frame] + random64() % count[frame])
                                                             << 12;
        }
    }
}

static void random_machine(struct machine *machine)
{
    static const uint8_t widths[] = {32, 36, 36, 39, 46, 52};
    static const uint8_t noises[] = {0, 1, 2, 5, 20};

    noise = noises[random64() % sizeof(noises)];
    machine->maxphyaddr = widths[random64() % sizeof(widths)];
    machine->ept = chance(70);
    machine->execute_only = chance(50);
    machine->ept_1g = chance(80);
    machine->page_1g = chance(80);
    machine->eptp = 6 | 3 << 3 | (chance(50) ? 1 << 6 : 0);

    struct paging_registers *regs = &machine->regs;
    memset(regs, 0, sizeof(*regs));
    regs->cr0 = 1 | (chance(93) ? 1ull << 31 : 0) | (random64() & 1 << 16);
    regs->cr4 = random64() & (1 << 4 | 1 << 7 | 1 << 20 | 1 << 21);
    regs->efer = random64() & 1 << 11;
    if (chance(75))
        regs->cr4 |= 1 << 5;
    if (regs->cr4 & 1 << 5 && regs->cr0 >> 31 && chance(70))
        regs->efer |= 1 << 8 | 1 << 10;
    if (regs->efer & 1 << 10 && chance(20))
        regs->cr4 |= 1 << 12;
    regs->cr3 = random_address(machine);
    for (unsigned i = 0; i < 4; i++)
        regs->pdpte[i] = random_address(machine) | chance(95);
    random_memory(machine);
}

static uint64_t random_linear(const struct machine *machine)
{
    const struct paging_registers *regs = &machine->regs;
    uint64_t linear = random64() & 0xfff;

    if (!bit(regs->cr0, 31))
        return linear | (random64() % USED) << 12 | (chance(20) ? 1 << 21 : 0);
    if (!bit(regs->cr4, 5))
        return linear | (random64() % (2 * USED)) << 12 | (random64() % (2 * USED)) << 22;
    linear |= (random64() % USED) << 12 | (random64() % USED) << 21;
    if (!bit(regs->efer, 10))
        return linear | (random64() % 4) << 30;
    linear |= (random64() % USED) << 30 | (random64() % USED) << 39;
    return bit(regs->cr4, 12) ? linear | (random64() % USED) << 48 : linear;
}

static unsigned random_access(void)
{
    unsigned access = random64() % 3;
    return access | (random64() & (ACCESS_USER | ACCESS_AC)) | (chance(10) ? ACCESS_IMPLICIT : 0);
}

/* ---- Comparison -------------------------------------------------------------------------- */

struct bench {
    struct physmem physmem;
    struct mmu mmu;
    struct machine machine;
};

static void bench_open(struct bench *bench)
{
    cr_assert_eq(physmem_init(&bench->physmem, MEMORY_SIZE), 0);
    mmu_init(&bench->mmu, &bench->physmem);
    bench->machine.memory = aligned_alloc(FRAME_SIZE, MEMORY_SIZE);
    cr_assert_not_null(bench->machine.memory);
}

static void bench_close(struct bench *bench)
{
    mmu_destroy(&bench->mmu);
    physmem_destroy(&bench->physmem);
    free(bench->machine.memory);
}

static void forget_everything(struct mmu *mmu)
{
    mmu_invept(mmu, 2, 0);
    mmu_invvpid(mmu, 2, 0, 0);
    mmu_flush_vpid0(mmu);
}

static void bench_load(struct bench *bench)
{
    const struct machine *machine = &bench->machine;
    struct mmu *mmu = &bench->mmu;

    memcpy(bench->physmem.base, machine->memory, MEMORY_SIZE);
    mmu->maxphyaddr = (uint8_t)machine->maxphyaddr;
    mmu->execute_only_supported = machine->execute_only;
    mmu->ept_1g_supported = machine->ept_1g;
    mmu->page_1g_supported = machine->page_1g;
    mmu_set_ept(mmu, machine->ept, machine->eptp, (uint16_t)(random64() % 3));
    mmu_load(mmu, &machine->regs, false);
    forget_everything(mmu);
}

static void describe(const struct bench *bench, uint64_t linear, unsigned access,
                     const struct outcome *naive, enum mmu_status status,
                     const struct translation *translation, const struct mmu_fault *fault)
{
    const struct paging_registers *regs = &bench->machine.regs;
    printf("cr0 %lx cr3 %lx cr4 %lx efer %lx ept %d eptp %lx width %u xo %d 1g %d/%d\n"
           "linear %lx access %x\n"
           "naive: status %d error %x gpa %lx qualification %lx hpa %lx shift %u rwx %d%d%d refs "
           "%u+%u\n"
           "mmu:   status %d error %x gpa %lx qualification %lx hpa %lx shift %u rwx %d%d%d\n",
           regs->cr0, regs->cr3, regs->cr4, regs->efer, bench->machine.ept, bench->machine.eptp,
           bench->machine.maxphyaddr, bench->machine.execute_only, bench->machine.page_1g,
           bench->machine.ept_1g, linear, access, naive->status, naive->error_code, naive->gpa,
           naive->qualification, naive->hpa, naive->page_shift, naive->readable, naive->writable,
           naive->executable, naive->guest_references, naive->ept_references, status,
           fault->error_code, status == MMU_OK ? translation->gpa : fault->gpa,
           fault->qualification, translation->hpa, translation->page_shift, translation->readable,
           translation->writable, translation->executable);
}

static bool same_outcome(const struct outcome *naive, enum mmu_status status, uint64_t linear,
                         const struct translation *translation, const struct mmu_fault *fault)
{
    if (status != naive->status)
        return false;
    if (status == MMU_OK)
        return translation->hpa == naive->hpa && translation->gpa == naive->gpa;
    if (fault->status != status || fault->linear != linear)
        return false;
    if (status == MMU_PAGE_FAULT)
        return fault->error_code == naive->error_code;
    return fault->gpa == naive->gpa &&
           (status == MMU_EPT_MISCONFIG || fault->qualification == naive->qualification);
}

static bool same_rights(const struct outcome *naive, const struct translation *translation)
{
    return translation->readable == naive->readable && translation->writable == naive->writable &&
           translation->executable == naive->executable &&
           translation->page_shift == naive->page_shift;
}

/* The last report of a walk to an observer. */
static struct mmu_walk_report reported;
static unsigned reports;

static void note_walk(void *context, const struct mmu_walk_report *report)
{
    reported = *report;
    reports++;
}

static void ignore_flush(void *context, enum mmu_flush kind, unsigned type, uint64_t address)
{
}

/* What an observer was told of an access that walked. */
static bool same_report(const struct outcome *naive, uint64_t linear, unsigned access)
{
    bool same = reported.linear == linear && reported.access == access &&
                reported.status == naive->status &&
                reported.guest_references == naive->guest_references &&
                reported.ept_references == naive->ept_references;

    switch (naive->status) {
    case MMU_OK:
        return same && reported.gpa == naive->gpa && reported.hpa == naive->hpa &&
               reported.page_shift == naive->page_shift && reported.error_code == 0;
    case MMU_PAGE_FAULT:
        return same && reported.error_code == naive->error_code && reported.gpa == 0;
    default:
        return same && reported.error_code == (uint32_t)naive->qualification &&
               reported.gpa == naive->gpa && reported.hpa == 0;
    }
}

/* Nothing cached: everything must agree, down to the number of references. */
Test(memory_walk, agrees_with_the_naive_walker)
{
    static const struct mmu_observer observer = {.walk = note_walk, .flush = ignore_flush};
    static struct bench bench;
    unsigned statuses[4] = {0};

    random_seed(0x5eed0001);
    bench_open(&bench);
    bench.mmu.observer = &observer;
    for (unsigned i = 0; i < WALKS; i++) {
        if (i % 4 == 0)
            random_machine(&bench.machine);
        bench_load(&bench);
        uint64_t linear = random_linear(&bench.machine);
        unsigned access = random_access() | (chance(5) ? ACCESS_PROBE : 0);
        struct translation translation = {0};
        struct mmu_fault fault = {0};
        struct mmu_stats before = bench.mmu.stats;
        reports = 0;

        struct outcome naive = naive_translate(&bench.machine, linear, access);
        enum mmu_status status = mmu_translate(&bench.mmu, linear, access, &translation, &fault);
        bool same = same_outcome(&naive, status, linear, &translation, &fault) &&
                    (status != MMU_OK || same_rights(&naive, &translation));
        uint64_t guest = bench.mmu.stats.guest_references - before.guest_references;
        uint64_t ept = bench.mmu.stats.ept_references - before.ept_references;
        if (access & ACCESS_PROBE)
            same &= memcmp(&before, &bench.mmu.stats, sizeof(before)) == 0;
        else
            same &= guest == naive.guest_references && ept == naive.ept_references;
        same &= reports == bench.mmu.stats.walks - before.walks;
        if (reports)
            same &= same_report(&naive, linear, access);
        if (!same)
            describe(&bench, linear, access, &naive, status, &translation, &fault);
        cr_assert(same, "walk %u differs (references %lu+%lu)", i, (unsigned long)guest,
                  (unsigned long)ept);
        cr_assert_eq(memcmp(bench.physmem.base, bench.machine.memory, MEMORY_SIZE), 0,
                     "walk %u: accessed or dirty flags differ", i);
        statuses[status]++;
    }
    printf("ok %u, page faults %u, EPT violations %u, EPT misconfigurations %u\n", statuses[0],
           statuses[1], statuses[2], statuses[3]);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_gt(statuses[i], WALKS / 50, "the cases are one-sided");
    bench_close(&bench);
}

/*
 * With caches, and tables that nobody changes: outcomes and flags must still agree. A hit may say
 * less of the rights that would need flags to be set, but never more.
 */
Test(memory_walk, caches_change_nothing_while_tables_stay)
{
    static struct bench bench;
    uint64_t hits = 0;

    random_seed(0x5eed0002);
    bench_open(&bench);
    for (unsigned i = 0; i < SEQUENCES; i++) {
        random_machine(&bench.machine);
        bench_load(&bench);
        uint64_t linear[3];
        for (unsigned j = 0; j < 3; j++)
            linear[j] = random_linear(&bench.machine);
        for (unsigned j = 0; j < 12; j++) {
            uint64_t address = linear[random64() % 3] ^ (random64() & 0xfff);
            unsigned access = random_access();
            struct translation translation = {0};
            struct mmu_fault fault = {0};

            struct outcome naive = naive_translate(&bench.machine, address, access);
            if (naive.aliased)
                break; /* the walk has changed the tables */
            enum mmu_status status =
                mmu_translate(&bench.mmu, address, access, &translation, &fault);
            bool same = same_outcome(&naive, status, address, &translation, &fault);
            if (same && status == MMU_OK)
                same = translation.page_shift == naive.page_shift &&
                       translation.readable == naive.readable &&
                       translation.writable <= naive.writable &&
                       translation.executable == naive.executable;
            if (!same)
                describe(&bench, address, access, &naive, status, &translation, &fault);
            cr_assert(same, "sequence %u, access %u differs", i, j);
            cr_assert_eq(memcmp(bench.physmem.base, bench.machine.memory, MEMORY_SIZE), 0,
                         "sequence %u, access %u: accessed or dirty flags differ", i, j);
        }
    }
    hits = bench.mmu.stats.tlb_hits;
    printf("%lu hits, %lu misses\n", (unsigned long)hits,
           (unsigned long)bench.mmu.stats.tlb_misses);
    cr_assert_gt(hits, SEQUENCES);
    bench_close(&bench);
}
