/*
 * The two-dimensional walk against a second walker, written here from the SDM's text and as naively
 * as possible: over random tables, registers and accesses both must agree in outcome, error code,
 * exit qualification, references, and in every accessed and dirty flag that they leave in memory.
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

#define FRAMES      16
#define USED        16 /* entries of a frame */
#define MEMORY_SIZE (FRAMES * FRAME_SIZE)
#define WALKS       300000
#define SEQUENCES   30000

/* ---- Random numbers ---------------------------------------------------------------------------
 */

static uint64_t random_state;

static uint64_t random64(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static bool chance(unsigned percent)
{
    return random64() % 100 < percent;
}

static void random_seed(uint64_t seed)
{
    const char *given = getenv("TEST_SEED");
    random_state = given ? strtoull(given, NULL, 0) : seed;
    printf("seed %#lx (TEST_SEED)\n", (unsigned long)random_state);
}

/* ---- The naive walker -------------------------------------------------------------------------
 */

struct machine {
    uint8_t *memory; /* MEMORY_SIZE bytes */
    struct paging_registers regs;
    uint64_t eptp;
    bool ept, execute_only, ept_1g, page_1g;
    unsigned maxphyaddr;
};

struct outcome {
    enum mmu_status status;
    uint32_t error_code;
    uint64_t gpa, qualification, hpa;
    unsigned page_shift;
    bool readable, writable, executable;
    unsigned guest_references, ept_references;
    bool aliased; /* a flag was set in an entry of the other kind */
};

struct naive {
    struct machine *machine;
    uint64_t linear;
    unsigned type;
    bool user, ac, implicit, has_linear, update;
    struct outcome outcome;
};

static bool bit(uint64_t value, unsigned n)
{
    return value >> n & 1;
}

static bool any_bit(uint64_t value, unsigned high, unsigned low)
{
    for (unsigned n = low; n <= high; n++) {
        if (bit(value, n))
            return true;
    }
    return false;
}

static uint64_t load(const struct machine *machine, uint64_t hpa, unsigned size)
{
    uint64_t value = 0;
    if (hpa >= MEMORY_SIZE)
        return size == 8 ? UINT64_MAX : UINT32_MAX;
    memcpy(&value, machine->memory + hpa, size);
    return value;
}

static void or_into(struct naive *naive, uint64_t hpa, uint64_t flags)
{
    if (hpa >= MEMORY_SIZE || !naive->update)
        return;
    bool guest_flags = flags & (1 << 5 | 1 << 6), ept_frame = hpa < 8 * FRAME_SIZE;
    naive->outcome.aliased |= naive->machine->ept && guest_flags == ept_frame;
    uint64_t value;
    memcpy(&value, naive->machine->memory + hpa, 2);
    value |= flags;
    memcpy(naive->machine->memory + hpa, &value, 2);
}

struct ept_outcome {
    uint64_t hpa;
    bool r, w, x, dirty_clear;
    unsigned shift;
};

/* "EPT Misconfigurations" and the tables of the formats of EPT entries. */
static bool ept_entry_bad(const struct machine *machine, uint64_t entry, unsigned level)
{
    unsigned type = entry >> 3 & 7;

    if (bit(entry, 1) && !bit(entry, 0))
        return true;
    if (bit(entry, 2) && !bit(entry, 0) && !machine->execute_only)
        return true;
    if (machine->maxphyaddr < 52 && any_bit(entry, 51, machine->maxphyaddr))
        return true;
    if (level == 4)
        return any_bit(entry, 7, 3);
    if (level == 3 && bit(entry, 7) && (!machine->ept_1g || any_bit(entry, 29, 12)))
        return true;
    if (level == 2 && bit(entry, 7) && any_bit(entry, 20, 12))
        return true;
    if (level == 1 || bit(entry, 7))
        return type == 2 || type == 3 || type == 7;
    return any_bit(entry, 6, 3);
}

static enum mmu_status naive_ept_fail(struct naive *naive, uint64_t gpa, enum mmu_status status,
                                      bool reads, bool writes, bool fetches,
                                      const struct ept_outcome *rights, bool final)
{
    naive->outcome.status = status;
    naive->outcome.gpa = gpa;
    if (status == MMU_EPT_VIOLATION) {
        uint64_t q = reads | writes << 1 | fetches << 2;
        q |= rights->r << 3 | rights->w << 4 | rights->x << 5;
        if (naive->has_linear)
            q |= 1 << 7 | final << 8;
        naive->outcome.qualification = q;
    }
    return status;
}

/* reads/writes/fetches: as reported; needs_*: what must be permitted. */
static enum mmu_status naive_ept(struct naive *naive, uint64_t gpa, bool reads, bool writes,
                                 bool fetches, bool final, struct ept_outcome *out)
{
    struct machine *machine = naive->machine;
    static const struct ept_outcome nothing;
    bool flags = bit(machine->eptp, 6);
    uint64_t table = machine->eptp & 0x000ffffffffff000, entry = 0, entry_hpa = 0;
    unsigned level;

    if (!machine->ept) {
        *out = (struct ept_outcome){gpa, true, true, true, false, 48};
        return MMU_OK;
    }
    *out = (struct ept_outcome){.r = true, .w = true, .x = true};
    if (gpa >> 48)
        return naive_ept_fail(naive, gpa, MMU_EPT_VIOLATION, reads, writes, fetches, &nothing,
                              final);
    for (level = 4;; level--) {
        out->shift = level == 4 ? 39 : level == 3 ? 30 : level == 2 ? 21 : 12;
        entry_hpa = table + (gpa >> out->shift) % 512 * 8;
        entry = load(machine, entry_hpa, 8);
        naive->outcome.ept_references++;
        if (!any_bit(entry, 2, 0))
            return naive_ept_fail(naive, gpa, MMU_EPT_VIOLATION, reads, writes, fetches, &nothing,
                                  final);
        if (ept_entry_bad(machine, entry, level))
            return naive_ept_fail(naive, gpa, MMU_EPT_MISCONFIG, 0, 0, 0, &nothing, final);
        if (flags)
            or_into(naive, entry_hpa, 1 << 8);
        out->r &= bit(entry, 0);
        out->w &= bit(entry, 1);
        out->x &= bit(entry, 2);
        if (level == 1 || (level <= 3 && bit(entry, 7)))
            break;
        table = entry & 0x000ffffffffff000;
    }
    if ((reads && !out->r) || (writes && !out->w) || (fetches && !out->x))
        return naive_ept_fail(naive, gpa, MMU_EPT_VIOLATION, reads, writes, fetches, out, final);
    if (flags && writes)
        or_into(naive, entry_hpa, 1 << 9);
    out->dirty_clear = flags && !bit(entry, 9) && !(writes && naive->update);
    uint64_t size = 1ull << out->shift;
    out->hpa = (entry & 0x000ffffffffff000) / size * size + gpa % size;
    return MMU_OK;
}

static enum mmu_status naive_page_fault(struct naive *naive, bool present, bool reserved)
{
    const struct paging_registers *regs = &naive->machine->regs;
    bool fetch_told = bit(regs->cr4, 20) || (bit(regs->cr4, 5) && bit(regs->efer, 11));

    naive->outcome.status = MMU_PAGE_FAULT;
    naive->outcome.error_code = present | (naive->type == ACCESS_WRITE) << 1 |
                                (naive->user && !naive->implicit) << 2 | reserved << 3 |
                                (naive->type == ACCESS_FETCH && fetch_told) << 4;
    return MMU_PAGE_FAULT;
}

/* "32-Bit Paging": only PDEs that map a 4-MByte page have reserved bits. */
static bool reserved_32bit(const struct machine *machine, uint64_t entry, bool large)
{
    unsigned m = machine->maxphyaddr < 40 ? machine->maxphyaddr : 40;
    return large && any_bit(entry, 21, m - 19);
}

static bool reserved_64bit(const struct machine *machine, uint64_t entry, unsigned level,
                           bool large, bool pae)
{
    if (machine->maxphyaddr < 52 && any_bit(entry, 51, machine->maxphyaddr))
        return true;
    if (pae && any_bit(entry, 62, 52))
        return true;
    if (bit(entry, 63) && !bit(machine->regs.efer, 11))
        return true;
    if (level >= 4)
        return bit(entry, 7);
    if (level == 3 && bit(entry, 7))
        return !machine->page_1g || any_bit(entry, 29, 13);
    return level == 2 && large && any_bit(entry, 20, 13);
}

/* "Determination of Access Rights". */
static bool naive_allowed(const struct naive *naive, unsigned type, bool w, bool u, bool nx)
{
    const struct paging_registers *regs = &naive->machine->regs;
    bool wp = bit(regs->cr0, 16), smep = bit(regs->cr4, 20), smap = bit(regs->cr4, 21);

    if (naive->user && !naive->implicit) {
        if (!u)
            return false;
        if (type == ACCESS_WRITE)
            return w;
        return type == ACCESS_READ || !nx;
    }
    if (type == ACCESS_FETCH)
        return !nx && !(u && smep);
    if (u && smap && (naive->implicit || !naive->ac))
        return false;
    return type == ACCESS_READ || w || !wp;
}

/* A guest entry's flags: a read and write of its guest-physical address. */
static enum mmu_status naive_set_flags(struct naive *naive, uint64_t gpa, uint64_t hpa,
                                       uint64_t entry, uint64_t flags,
                                       const struct ept_outcome *rights)
{
    if ((entry & flags) == flags)
        return MMU_OK;
    if (!rights->w)
        return naive_ept_fail(naive, gpa, MMU_EPT_VIOLATION, true, true, false, rights, false);
    or_into(naive, hpa, flags);
    return MMU_OK;
}

static enum mmu_status naive_walk(struct naive *naive)
{
    struct machine *machine = naive->machine;
    const struct paging_registers *regs = &machine->regs;
    bool on = bit(regs->cr0, 31), pae = bit(regs->cr4, 5), lma = bit(regs->efer, 10);
    bool long_mode = on && pae && lma;
    unsigned size = pae ? 8 : 4, level, guest_shift = 48;
    bool w = true, u = true, nx = false, dirty = true;
    uint64_t gpa = naive->linear, table = regs->cr3;
    bool ept_flags = machine->ept && bit(machine->eptp, 6);
    struct ept_outcome ept;
    enum mmu_status status;

    if (on) {
        level = !long_mode ? 2 : bit(regs->cr4, 12) ? 5 : 4;
        if (!pae)
            table = (uint32_t)table;
        if (pae && !lma) {
            table = regs->pdpte[naive->linear >> 30 & 3];
            if (!bit(table, 0))
                return naive_page_fault(naive, false, false);
        }
        for (;; level--) {
            unsigned shift = pae ? 12 + 9 * (level - 1) : level == 2 ? 22 : 12;
            uint64_t index = (naive->linear >> shift) % (pae ? 512 : 1024);
            uint64_t entry_gpa = (table & 0x000ffffffffff000) + index * size;
            status = naive_ept(naive, entry_gpa, true, ept_flags, false, false, &ept);
            if (status != MMU_OK)
                return status;
            uint64_t entry = load(machine, ept.hpa, size);
            naive->outcome.guest_references++;
            if (!bit(entry, 0))
                return naive_page_fault(naive, false, false);
            bool large = (level == 2 && bit(entry, 7) && (pae || bit(regs->cr4, 4))) ||
                         (level == 3 && bit(entry, 7) && machine->page_1g);
            if (pae ? reserved_64bit(machine, entry, level, large, !lma)
                    : reserved_32bit(machine, entry, large))
                return naive_page_fault(naive, true, true);
            w &= bit(entry, 1);
            u &= bit(entry, 2);
            nx |= pae && bit(entry, 63);
            if (level > 1 && !large) {
                status = naive_set_flags(naive, entry_gpa, ept.hpa, entry, 1 << 5, &ept);
                if (status != MMU_OK)
                    return status;
                table = entry;
                continue;
            }
            if (!naive_allowed(naive, naive->type, w, u, nx))
                return naive_page_fault(naive, true, false);
            uint64_t flags = naive->type == ACCESS_WRITE ? 1 << 5 | 1 << 6 : 1 << 5;
            status = naive_set_flags(naive, entry_gpa, ept.hpa, entry, flags, &ept);
            if (status != MMU_OK)
                return status;
            dirty = bit(naive->update ? entry | flags : entry, 6);
            guest_shift = shift;
            gpa = (entry & 0x000ffffffffff000) >> shift << shift;
            if (shift == 22)
                gpa |= (entry >> 13 & 0xff) << 32;
            gpa |= naive->linear % (1ull << shift);
            break;
        }
    }
    status = naive_ept(naive, gpa, naive->type == ACCESS_READ, naive->type == ACCESS_WRITE,
                       naive->type == ACCESS_FETCH, true, &ept);
    if (status != MMU_OK)
        return status;
    struct outcome *outcome = &naive->outcome;
    outcome->status = MMU_OK;
    outcome->gpa = gpa;
    outcome->hpa = ept.hpa;
    outcome->page_shift = guest_shift < ept.shift ? guest_shift : ept.shift;
    if (outcome->page_shift == 48)
        outcome->page_shift = 12; /* neither paging nor EPT */
    outcome->readable = ept.r && (!on || naive_allowed(naive, ACCESS_READ, w, u, nx));
    outcome->writable =
        ept.w && !ept.dirty_clear && dirty && (!on || naive_allowed(naive, ACCESS_WRITE, w, u, nx));
    outcome->executable = ept.x && (!on || naive_allowed(naive, ACCESS_FETCH, w, u, nx));
    return MMU_OK;
}

static struct outcome naive_translate(struct machine *machine, uint64_t linear, unsigned access)
{
    struct naive naive = {.machine = machine,
                          .linear = linear,
                          .type = access & ACCESS_TYPE_MASK,
                          .user = access & ACCESS_USER,
                          .ac = access & ACCESS_AC,
                          .implicit = access & ACCESS_IMPLICIT,
                          .update = !(access & ACCESS_PROBE),
                          .has_linear = true};
    naive_walk(&naive);
    return naive.outcome;
}

/* ---- Random machines --------------------------------------------------------------------------
 */

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

/* ---- Comparison -------------------------------------------------------------------------------
 */

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

/* Nothing cached: everything must agree, down to the number of references. */
Test(memory_walk, agrees_with_the_naive_walker)
{
    static struct bench bench;
    unsigned statuses[4] = {0};

    random_seed(0x5eed0001);
    bench_open(&bench);
    for (unsigned i = 0; i < WALKS; i++) {
        if (i % 4 == 0)
            random_machine(&bench.machine);
        bench_load(&bench);
        uint64_t linear = random_linear(&bench.machine);
        unsigned access = random_access() | (chance(5) ? ACCESS_PROBE : 0);
        struct translation translation = {0};
        struct mmu_fault fault = {0};
        struct mmu_stats before = bench.mmu.stats;

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
