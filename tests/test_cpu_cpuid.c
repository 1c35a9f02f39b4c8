/*
 * CPUID as guests see it, and the CPU profiles that it comes from: SDM "CPUID-CPU Identification",
 * with the features that vtxsim does not implement listed here once more, by name.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cpu/vmx_capabilities.h"
#include "cpu_machine.h"

static struct machine machine;

static void set_up(void)
{
    machine_init(&machine);
    machine_set_mode(&machine, MODE_64BIT, 0);
}

static void tear_down(void)
{
    machine_destroy(&machine);
}

TestSuite(cpuid, .init = set_up, .fini = tear_down);

enum { EAX, EBX, ECX, EDX };

static uint32_t query(uint32_t leaf, uint32_t subleaf, unsigned reg)
{
    uint32_t registers[4];

    cpuid_query(&machine.cpu, leaf, subleaf, registers);
    return registers[reg];
}

struct feature {
    const char *name;
    uint32_t leaf;
    unsigned reg, bit;
};

/* What the engine or the processor model lacks. */
static const struct feature absent[] = {
    {"VME", 1, EDX, 1},
    {"DS", 1, EDX, 21},
    {"ACPI", 1, EDX, 22},
    {"HTT", 1, EDX, 28},
    {"TM", 1, EDX, 29},
    {"PBE", 1, EDX, 31},
    {"DTES64", 1, ECX, 2},
    {"MONITOR", 1, ECX, 3},
    {"DS-CPL", 1, ECX, 4},
    {"VMX", 1, ECX, 5},
    {"SMX", 1, ECX, 6},
    {"EIST", 1, ECX, 7},
    {"TM2", 1, ECX, 8},
    {"FMA", 1, ECX, 12},
    {"xTPR", 1, ECX, 14},
    {"PDCM", 1, ECX, 15},
    {"DCA", 1, ECX, 18},
    {"AVX", 1, ECX, 28},
    {"F16C", 1, ECX, 29},
    {"SGX", 7, EBX, 2},
    {"HLE", 7, EBX, 4},
    {"AVX2", 7, EBX, 5},
    {"RTM", 7, EBX, 11},
    {"RDT-M", 7, EBX, 12},
    {"MPX", 7, EBX, 14},
    {"RDT-A", 7, EBX, 15},
    {"AVX512F", 7, EBX, 16},
    {"AVX512DQ", 7, EBX, 17},
    {"PT", 7, EBX, 25},
    {"AVX512CD", 7, EBX, 28},
    {"SHA", 7, EBX, 29},
    {"AVX512BW", 7, EBX, 30},
    {"PKU", 7, ECX, 3},
    {"OSPKE", 7, ECX, 4},
    {"WAITPKG", 7, ECX, 5},
    {"CET_SS", 7, ECX, 7},
    {"LA57", 7, ECX, 16},
    {"RDPID", 7, ECX, 22},
    {"FLUSH_L1D", 7, EDX, 28},
    {"XSAVEC", 0xd, EAX, 31},
    {"ARAT's neighbours", 6, EAX, 1},
};

/* What a current kernel relies on. */
static const struct feature present[] = {
    {"FPU", 1, EDX, 0},
    {"PSE", 1, EDX, 3},
    {"TSC", 1, EDX, 4},
    {"MSR", 1, EDX, 5},
    {"PAE", 1, EDX, 6},
    {"CX8", 1, EDX, 8},
    {"APIC", 1, EDX, 9},
    {"SEP", 1, EDX, 11},
    {"MTRR", 1, EDX, 12},
    {"PGE", 1, EDX, 13},
    {"PAT", 1, EDX, 16},
    {"CLFSH", 1, EDX, 19},
    {"FXSR", 1, EDX, 24},
    {"SSE2", 1, EDX, 26},
    {"SSE4.2", 1, ECX, 20},
    {"x2APIC", 1, ECX, 21},
    {"TSC deadline", 1, ECX, 24},
    {"AES", 1, ECX, 25},
    {"XSAVE", 1, ECX, 26},
    {"RDRAND", 1, ECX, 30},
    {"hypervisor", 1, ECX, 31},
    {"PCID", 1, ECX, 17},
    {"FSGSBASE", 7, EBX, 0},
    {"SMEP", 7, EBX, 7},
    {"INVPCID", 7, EBX, 10},
    {"SMAP", 7, EBX, 20},
    {"UMIP", 7, ECX, 2},
    {"NX", 0x80000001, EDX, 20},
    {"LM", 0x80000001, EDX, 29},
    {"1G", 0x80000001, EDX, 26},
    {"SYSCALL", 0x80000001, EDX, 11},
    {"RDTSCP", 0x80000001, EDX, 27},
    {"invariant TSC", 0x80000007, EDX, 8},
};

Test(cpuid, advertises_what_works)
{
    for (unsigned i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
        cr_assert_not(query(absent[i].leaf, 0, absent[i].reg) >> absent[i].bit & 1, "%s",
                      absent[i].name);
    for (unsigned i = 0; i < sizeof(present) / sizeof(present[0]); i++)
        cr_assert(query(present[i].leaf, 0, present[i].reg) >> present[i].bit & 1, "%s",
                  present[i].name);
    /* XSAVE: x87 and SSE; XSAVEOPT and XGETBV with ECX = 1, not XSAVEC and XSAVES. */
    cr_assert_eq(query(0xd, 0, EAX), 3);
    cr_assert_eq(query(0xd, 0, EBX), 576);
    cr_assert_eq(query(0xd, 0, ECX), 576);
    cr_assert_eq(query(0xd, 1, EAX), 5);
    /* No performance monitoring, no Intel PT, no SGX. */
    cr_assert_eq(query(0xa, 0, EAX), 0);
    cr_assert_eq(query(0x14, 0, EAX), 0);
    cr_assert_eq(query(0x12, 0, EAX), 0);
}

Test(cpuid, computed_bits)
{
    struct cpu *cpu = &machine.cpu;

    cr_assert_not(query(1, 0, ECX) & 1u << 27, "OSXSAVE follows CR4");
    cpu->state.cr4 |= CR4_OSXSAVE;
    cr_assert(query(1, 0, ECX) & 1u << 27);
    cpu->state.apic_base &= ~APIC_BASE_ENABLE;
    cr_assert_not(query(1, 0, EDX) & 1u << 9, "a disabled local APIC is not advertised");
    cpu->state.seg[SEG_CS].access_rights &= ~AR_L;
    cr_assert_not(query(0x80000001, 0, EDX) & 1u << 11, "SYSCALL is for 64-bit mode");
    cr_assert(cpu_msr_write(cpu, MSR_MISC_ENABLE, MISC_ENABLE_LIMIT_CPUID | 1));
    cr_assert_eq(query(0, 0, EAX), 2);
    cr_assert(cpu_msr_write(cpu, MSR_MISC_ENABLE, MISC_ENABLE_XD_DISABLE | 1));
    cr_assert_not(query(0x80000001, 0, EDX) & 1u << 20);
    cr_assert_not(cpu_msr_write(cpu, MSR_EFER, EFER_NXE | EFER_LME));
}

Test(cpuid, identification)
{
    char text[49] = "";

    for (unsigned i = 0; i < 12; i++) {
        uint32_t value = query(0x80000002 + i / 4, 0, i % 4);

        memcpy(text + 4 * i, &value, 4);
    }
    cr_assert_str_eq(text, machine.profile.brand);
    cr_assert_str_eq(machine.profile.name, "skylake-client");
    cr_assert_eq(query(0, 0, EAX), 0x16);
    cr_assert_eq(query(1, 0, EAX), 0x506e3);
    /* "vtxsimvtxsim" */
    cr_assert_eq(query(0x40000000, 0, EAX), 0x40000001);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t value = query(0x40000000, 0, EBX + i);

        memcpy(text + 4 * i, &value, 4);
    }
    cr_assert_eq(memcmp(text, "vtxsimvtxsim", 12), 0);
    cr_assert_eq(query(0x40000001, 0, EAX), CPUID_INTERFACE_VERSION);
    /* TSC = crystal * EBX / EAX. */
    cr_assert_eq((uint64_t)query(0x15, 0, ECX) * query(0x15, 0, EBX) / query(0x15, 0, EAX),
                 machine.profile.tsc_hz);
    cr_assert_eq(query(0x80000008, 0, EAX), 39 | 48 << 8);
}

/* "If a value entered for CPUID.EAX is higher than the maximum input value ... the data for the
 * highest basic information leaf is returned"; a subleaf that is not there returns zeros. */
Test(cpuid, leaves_out_of_range)
{
    static const uint32_t leaves[] = {0x17,       0x1000,     0x3fffffff, 0x40000002,
                                      0x7fffffff, 0x80000009, 0xffffffff};

    for (unsigned i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
        for (unsigned reg = 0; reg < 4; reg++)
            cr_assert_eq(query(leaves[i], 0, reg), query(0x16, 0, reg), "leaf 0x%x", leaves[i]);
    cr_assert_eq(query(4, 4, EAX), 0);
    cr_assert_eq(query(4, 0xffffffff, EAX), 0);
    cr_assert_eq(query(0xd, 2, EAX), 0);
    cr_assert_eq(query(1, 77, EAX), query(1, 0, EAX), "leaf 1 ignores ECX");
}

static bool is_computed(uint32_t leaf)
{
    return leaf <= 1 || leaf == 4 || leaf == 0xb || leaf == 0xd || leaf == 0x80000001;
}

/* What is not computed is the profile's, in every mode; the order of its leaves is of no matter. */
Test(cpuid, leaves_of_the_profile)
{
    struct cpu_profile turned = machine.profile;
    const unsigned count = turned.cpuid_count;

    for (unsigned i = 0; i < count; i++)
        turned.cpuid[i] = machine.profile.cpuid[count - 1 - i];
    cpuid_prepare(&turned);
    machine_set_mode(&machine, MODE_REAL, 0);
    machine.cpu.profile = &turned;
    for (unsigned i = 0; i < count; i++) {
        const struct cpuid_leaf *leaf = &machine.profile.cpuid[i];

        cr_assert_eq(memcmp(leaf, &turned.cpuid[i], sizeof(*leaf)), 0, "leaf 0x%x", leaf->leaf);
        for (unsigned reg = 0; reg < 4 && !is_computed(leaf->leaf); reg++)
            cr_assert_eq(query(leaf->leaf, leaf->subleaf, reg), (&leaf->eax)[reg], "leaf 0x%x",
                         leaf->leaf);
    }
    cr_assert_eq(turned.features, machine.profile.features);
}

/* Old processors have no leaf 7. */
Test(cpuid, missing_leaf)
{
    struct cpu_profile old = machine.profile;

    for (unsigned i = 0; i < old.cpuid_count; i++)
        if (old.cpuid[i].leaf == 7)
            old.cpuid[i].leaf = 0x1f; /* which vtxsim does not know, and removes */
    cpuid_prepare(&old);
    cr_assert_not(profile_has(&old, FEATURE_SMEP));
    cr_assert_not(old.cr4_allowed & CR4_SMEP);
    cr_assert(profile_has(&old, FEATURE_PCID));
    machine.cpu.profile = &old;
    cr_assert_eq(query(7, 0, EBX), 0);
    cr_assert_eq(query(0, 0, EAX), 0x16);
}

/* Leaves 1, 4 and 0BH agree about how many processors there are. */
Test(cpuid, topology)
{
    for (uint32_t count = 1; count <= 8; count++)
        for (uint32_t id = 0; id < count; id++) {
            unsigned shift;

            machine.cpu.cpu_count = count;
            machine.cpu.apic_id = id;
            cr_assert_eq(query(1, 0, EBX) >> 24, id);
            cr_assert_geq(query(1, 0, EBX) >> 16 & 0xff, count);
            cr_assert_eq(query(1, 0, EDX) >> 28 & 1, count > 1);
            cr_assert_eq(query(0xb, 0, EBX), 1);
            cr_assert_eq(query(0xb, 0, ECX), 0x100);
            cr_assert_eq(query(0xb, 1, EBX), count);
            cr_assert_eq(query(0xb, 1, ECX), 0x201);
            cr_assert_eq(query(0xb, 2, ECX), 2, "invalid level, ECX[7:0] is kept");
            cr_assert_eq(query(0xb, 5, EDX), id);
            shift = query(0xb, 1, EAX);
            cr_assert_eq(id >> shift, 0);
            cr_assert(shift == 0 || count > 1u << (shift - 1), "not wider than needed");
            cr_assert_eq(query(4, 4, EAX), 0, "no more caches");
            cr_assert_eq(query(4, 0, EAX) >> 26, (1u << shift) - 1, "cores");
            cr_assert_eq(query(4, 0, EAX) >> 14 & 0xfff, 0, "L1 is private");
            cr_assert_eq(query(4, 3, EAX) >> 14 & 0xfff, (1u << shift) - 1, "L3 is shared");
        }
}

Test(cpuid, instruction)
{
    struct cpu *cpu = &machine.cpu;

    cpu->state.gpr[GPR_RAX] = 0xffffffff00000000;
    cpu->state.gpr[GPR_RCX] = 0xffffffff00000000;
    cr_assert_eq(insn_cpuid(cpu), OUTCOME_DONE);
    cr_assert_eq(cpu->state.gpr[GPR_RAX], 0x16);
    cr_assert_eq(cpu->state.gpr[GPR_RBX], 0x756e6547);
    machine_enter_vmx(&machine, 0, 0);
    cpu->instruction_length = 2;
    cr_assert_eq(insn_cpuid(cpu), OUTCOME_EXIT, "unconditionally, at any CPL");
    cr_assert_eq(cpu->exit.reason, EXIT_CPUID);
    cr_assert_eq(cpu->exit.instruction_length, 2);
}

/* --- Profiles -------------------------------------------------------------------------------- */

static void check_profile(const char *path)
{
    struct cpu_profile profile;
    char message[512];
    uint64_t crystal;
    uint32_t registers[4];

    cr_assert_eq(cpu_profile_load(&profile, path, message, sizeof(message)), 0, "%s", message);
    machine.cpu.profile = &profile;
    cpuid_query(&machine.cpu, 0x15, 0, registers);
    crystal = registers[ECX];
    if (profile.max_basic_leaf >= 0x15)
        cr_assert_eq(crystal * registers[EBX] / registers[EAX], profile.tsc_hz, "%s", path);
    cpuid_query(&machine.cpu, 0x80000008, 0, registers);
    cr_assert_eq(registers[EAX] & 0xff, profile.maxphyaddr, "%s", path);
    cr_assert(profile_has(&profile, FEATURE_LM) && profile_has(&profile, FEATURE_NX), "%s", path);
    cr_assert_not(profile_has(&profile, FEATURE_VMX), "%s", path);
    cr_assert(profile.exit_cycles > 400 && profile.exit_cycles < 2000, "%s", path);
    cr_assert_eq(vmx_capability(&profile, MSR_VMX_CR4_FIXED1), profile.cr4_allowed | CR4_VMXE, "%s",
                 path);
    machine.cpu.profile = &machine.profile;
}

Test(cpuid, all_profiles_load)
{
    char folder[4096];
    struct dirent *entry;
    unsigned count = 0;
    DIR *directory;

    cr_assert_eq(cpu_profile_find("skylake-client", folder, sizeof(folder)), 0);
    *strrchr(folder, '/') = 0;
    directory = opendir(folder);
    cr_assert(directory);
    while ((entry = readdir(directory))) {
        char path[8192];

        if (!strstr(entry->d_name, ".cfg"))
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        check_profile(path);
        count++;
    }
    closedir(directory);
    cr_assert_geq(count, 5);
}

/* The default profile's text with one piece replaced. */
static char *edited_profile(const char *from, const char *to)
{
    static char text[65536], edited[70000];
    char path[4096], *found;
    size_t length;
    FILE *file;

    cr_assert_eq(cpu_profile_find("skylake-client", path, sizeof(path)), 0);
    file = fopen(path, "r");
    length = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[length] = 0;
    found = strstr(text, from);
    cr_assert(found, "%s", from);
    snprintf(edited, sizeof(edited), "%.*s%s%s", (int)(found - text), text, to,
             found + strlen(from));
    return edited;
}

static const struct {
    const char *from, *to;
    const char *message[3]; /* what it must tell */
} bad_profiles[] = {
    {"tsc_hz = 4008000000L", "tsc_hz = 1", {"tsc_hz", "is 1", "must be 100000000"}},
    {"tsc_hz = 4008000000L", "tsc_hz = \"fast\"", {"tsc_hz", "must be a number"}},
    {"tsc_hz", "tsc_herz", {"tsc_hz is missing", "add a line"}},
    {"maxphyaddr = 39", "maxphyaddr = 64", {"maxphyaddr", "36 to 52"}},
    {"brand = \"", "brand = 5; // \"", {"brand", "double quotes"}},
    {"brand = \"", "brand = \"0123456789012345678901234567890123456789", {"brand", "48"}},
    {"exit_cycles = 632;", "exit_cycles 632;", {"syntax error"}},
    {"cpuid = (", "cpuid = 1; x = (", {"cpuid must be a list"}},
    {"[ 0x00000001, 0,", "[ 0x00000001,", {"six numbers"}},
    {"[ 0x80000001, 0,", "[ 0x80000003, 0,", {"no leaf 0x80000001"}},
    {"vmx_msr = [", "vmx_msr = [ 0L,", {"vmx_msr must be an array of the 18"}},
    {"crystal_hz = 24000000", "crystal_hz = 24.0", {"crystal_hz", "must be a number"}},
    {"brand", "}", {"syntax error"}},
};

static bool names_a_line(const char *message, const char *path)
{
    return !strncmp(message, path, strlen(path)) && message[strlen(path)] == ':' &&
           strtoul(message + strlen(path) + 1, NULL, 10) > 0;
}

Test(cpuid, bad_profiles)
{
    char path[] = "/tmp/vtxsim-profile-XXXXXX", message[512];
    struct cpu_profile profile;
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    for (unsigned i = 0; i < sizeof(bad_profiles) / sizeof(bad_profiles[0]); i++) {
        const char *text = edited_profile(bad_profiles[i].from, bad_profiles[i].to);

        cr_assert_eq(ftruncate(fd, 0), 0);
        cr_assert_eq(pwrite(fd, text, strlen(text), 0), (ssize_t)strlen(text));
        memset(message, 0, sizeof(message));
        cr_assert_eq(cpu_profile_load(&profile, path, message, sizeof(message)), -EINVAL, "%s",
                     bad_profiles[i].to);
        for (unsigned j = 0; j < 3 && bad_profiles[i].message[j]; j++)
            cr_assert(strstr(message, bad_profiles[i].message[j]), "%s", message);
        cr_assert(strstr(message, "missing") || names_a_line(message, path), "%s", message);
        /* A short buffer gets a short message, and nothing beyond it. */
        memset(message, 'x', sizeof(message));
        cpu_profile_load(&profile, path, message, 10);
        cr_assert(memchr(message, 0, 10) && message[10] == 'x');
    }
    close(fd);
    unlink(path);
    cr_assert_eq(cpu_profile_load(&profile, path, message, sizeof(message)), -ENOENT);
    cr_assert(strstr(message, path));
    cr_assert_eq(cpu_profile_load(&profile, "/", message, sizeof(message)), -EISDIR);
    cr_assert_eq(cpu_profile_load(&profile, "/dev/zero", message, sizeof(message)), -EFBIG);
    cr_assert_eq(cpu_profile_load(&profile, "/dev/null", message, sizeof(message)), -EINVAL);
}

Test(cpuid, find_profile)
{
    char path[4096];

    cr_assert_eq(cpu_profile_find("no-such-cpu", path, sizeof(path)), -ENOENT);
    cr_assert(strstr(path, "/no-such-cpu.cfg"));
    cr_assert_eq(cpu_profile_find("./x.cfg", path, sizeof(path)), -ENOENT);
    cr_assert_str_eq(path, "./x.cfg");
    cr_assert_eq(cpu_profile_find("skylake-client", path, 10), -ENAMETOOLONG);
    setenv("VTXSIM_CPUS", "/nowhere", 1);
    cr_assert_eq(cpu_profile_find("skylake-client", path, sizeof(path)), -ENOENT);
    cr_assert_str_eq(path, "/nowhere/skylake-client.cfg");
    unsetenv("VTXSIM_CPUS");
}
