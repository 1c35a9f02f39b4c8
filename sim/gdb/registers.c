/* The registers: one table for their order, their description and the ways to them. */
#include "sim/gdb/registers.h"

#include <stdio.h>
#include <string.h>

#include "cpu/modes.h"
#include "cpu/msr.h"
#include "sim/debug.h"

/* Where a register's value is. */
enum place {
    IN_STATE,    /* struct cpu_state, `which` bytes from its beginning; 8 bytes there */
    IN_SELECTOR, /* of segment register `which` */
    IN_BASE,     /* of segment register `which` */
    IN_TABLE,    /* descriptor-table register: `which` 0 GDTR, 1 IDTR */
    IN_LIMIT,    /* their limits */
    IN_FXSAVE,   /* the image of FXSAVE64, `which` bytes from its beginning */
    IN_TAGS,     /* the x87 tag word, which that image has in short */
    IN_MSR,      /* MSR `which` */
    IN_CR,       /* CR0, CR3, CR4, CR8 and, as 9, EFER: writes have rules */
};
#define CR_EFER 9

struct gdb_register {
    const char *name;
    uint8_t bits;
    enum place place;
    uint32_t which;
    const char *type, *group; /* NULL: by the size; general */
};

struct feature {
    const char *name;
    const struct gdb_register *registers;
    unsigned count;
};

#define STATE(field) IN_STATE, offsetof(struct cpu_state, field)
#define GPR(name, number)                                                                 \
    {                                                                                     \
        name, 64, IN_STATE, offsetof(struct cpu_state, gpr) + 8 * (number), "int64", NULL \
    }
#define POINTER(name, number)                                                                \
    {                                                                                        \
        name, 64, IN_STATE, offsetof(struct cpu_state, gpr) + 8 * (number), "data_ptr", NULL \
    }
#define SELECTOR(name, segment)                       \
    {                                                 \
        name, 32, IN_SELECTOR, segment, "int32", NULL \
    }
#define ST(number)                                                           \
    {                                                                        \
        "st" #number, 80, IN_FXSAVE, 32 + 16 * (number), "i387_ext", "float" \
    }
#define X87(name, byte)                           \
    {                                             \
        name, 32, IN_FXSAVE, byte, "int", "float" \
    }
#define XMM(number)                                                            \
    {                                                                          \
        "xmm" #number, 128, IN_FXSAVE, 160 + 16 * (number), "vec128", "vector" \
    }
#define SYSTEM(name, ...)                     \
    {                                         \
        name, 64, __VA_ARGS__, NULL, "system" \
    }

// clang-format off
static const struct gdb_register core[] = {
    GPR("rax", GPR_RAX), GPR("rbx", GPR_RBX), GPR("rcx", GPR_RCX), GPR("rdx", GPR_RDX),
    GPR("rsi", GPR_RSI), GPR("rdi", GPR_RDI), POINTER("rbp", GPR_RBP), POINTER("rsp", GPR_RSP),
    GPR("r8", GPR_R8), GPR("r9", GPR_R9), GPR("r10", GPR_R10), GPR("r11", GPR_R11),
    GPR("r12", GPR_R12), GPR("r13", GPR_R13), GPR("r14", GPR_R14), GPR("r15", GPR_R15),
    {"rip", 64, STATE(rip), "code_ptr", NULL},
    {"eflags", 32, STATE(rflags), "i386_eflags", NULL},
    SELECTOR("cs", SEG_CS), SELECTOR("ss", SEG_SS), SELECTOR("ds", SEG_DS),
    SELECTOR("es", SEG_ES), SELECTOR("fs", SEG_FS), SELECTOR("gs", SEG_GS),
    ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7),
    X87("fctrl", 0), X87("fstat", 2), {"ftag", 32, IN_TAGS, 0, "int", "float"},
    X87("fiseg", 12), X87("fioff", 8), X87("foseg", 20), X87("fooff", 16), X87("fop", 6),
};

static const struct gdb_register sse[] = {
    XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7),
    XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14), XMM(15),
    {"mxcsr", 32, IN_FXSAVE, 24, "i386_mxcsr", "vector"},
};

static const struct gdb_register segments[] = {
    {"fs_base", 64, IN_BASE, SEG_FS, "int", NULL},
    {"gs_base", 64, IN_BASE, SEG_GS, "int", NULL},
};

static const struct gdb_register system_registers[] = {
    {"cr0", 64, IN_CR, 0, "cr0_flags", "system"},
    SYSTEM("cr2", STATE(cr2)),
    SYSTEM("cr3", IN_CR, 3),
    {"cr4", 64, IN_CR, 4, "cr4_flags", "system"},
    SYSTEM("cr8", IN_CR, 8),
    {"efer", 64, IN_CR, CR_EFER, "efer_flags", "system"},
    SYSTEM("dr0", STATE(dr[0])), SYSTEM("dr1", STATE(dr[1])),
    SYSTEM("dr2", STATE(dr[2])), SYSTEM("dr3", STATE(dr[3])),
    SYSTEM("dr6", STATE(dr6)), SYSTEM("dr7", STATE(dr7)),
    SYSTEM("star", IN_MSR, MSR_STAR), SYSTEM("lstar", IN_MSR, MSR_LSTAR),
    SYSTEM("cstar", IN_MSR, MSR_CSTAR), SYSTEM("fmask", IN_MSR, MSR_FMASK),
    SYSTEM("kernel_gs_base", IN_MSR, MSR_KERNEL_GS_BASE),
    SYSTEM("tsc_aux", IN_MSR, MSR_TSC_AUX),
    SYSTEM("sysenter_cs", IN_MSR, MSR_SYSENTER_CS),
    SYSTEM("sysenter_esp", IN_MSR, MSR_SYSENTER_ESP),
    SYSTEM("sysenter_eip", IN_MSR, MSR_SYSENTER_EIP),
    SYSTEM("apic_base", IN_MSR, MSR_APIC_BASE), SYSTEM("pat", IN_MSR, MSR_PAT),
    SYSTEM("tsc", IN_MSR, MSR_TSC),
    SYSTEM("es_base", IN_BASE, SEG_ES), SYSTEM("cs_base", IN_BASE, SEG_CS),
    SYSTEM("ss_base", IN_BASE, SEG_SS), SYSTEM("ds_base", IN_BASE, SEG_DS),
    SYSTEM("ldtr", IN_SELECTOR, SEG_LDTR), SYSTEM("ldtr_base", IN_BASE, SEG_LDTR),
    SYSTEM("tr", IN_SELECTOR, SEG_TR), SYSTEM("tr_base", IN_BASE, SEG_TR),
    SYSTEM("gdtr_base", IN_TABLE, 0), SYSTEM("gdtr_limit", IN_LIMIT, 0),
    SYSTEM("idtr_base", IN_TABLE, 1), SYSTEM("idtr_limit", IN_LIMIT, 1),
};
// clang-format on

#define FEATURE(name, registers)                                  \
    {                                                             \
        name, registers, sizeof(registers) / sizeof(*(registers)) \
    }

static const struct feature features[] = {
    FEATURE("org.gnu.gdb.i386.core", core),
    FEATURE("org.gnu.gdb.i386.sse", sse),
    FEATURE("org.gnu.gdb.i386.segments", segments),
    FEATURE("org.vtxsim.system", system_registers),
};
#define FEATURES (sizeof(features) / sizeof(*features))

/* --- Access --------------------------------------------------------------------------------------
 */

unsigned register_count(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < FEATURES; i++)
        count += features[i].count;
    return count;
}

static const struct gdb_register *find(unsigned number)
{
    const struct feature *feature = features;

    while (number >= feature->count)
        number -= feature++->count;
    return &feature->registers[number];
}

const char *register_name(unsigned number)
{
    return find(number)->name;
}

unsigned register_size(unsigned number)
{
    return find(number)->bits / 8u;
}

/* Bytes that a register has in the FXSAVE image; GDB shows the rest as zeros. */
static unsigned fxsave_bytes(const struct gdb_register *reg)
{
    switch (reg->which) {
    case 0: /* FCW, FSW, FOP, and the selectors above 32 bits of address */
    case 2:
    case 6:
    case 12:
    case 20:
        return 2;
    default:
        return reg->bits / 8u;
    }
}

#define FXSAVE_TOP(image) ((image)[3] >> 3 & 7u)
enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

static unsigned tag_of(const uint8_t st[10])
{
    static const uint8_t nothing[8];
    unsigned exponent = (st[8] | st[9] << 8) & 0x7fff;

    if (!exponent && !memcmp(st, nothing, 8))
        return TAG_ZERO;
    return !exponent || exponent == 0x7fff || !(st[7] & 0x80) ? TAG_SPECIAL : TAG_VALID;
}

/* Two bits a physical register, from one bit and the values, which stand in stack order. */
static uint16_t full_tags(const uint8_t image[FXSAVE_BYTES])
{
    unsigned tags = 0;

    for (unsigned physical = 0; physical < 8; physical++) {
        unsigned stack = (physical - FXSAVE_TOP(image)) & 7;
        bool used = image[4] >> physical & 1;

        tags |= (used ? tag_of(image + 32 + 16 * stack) : TAG_EMPTY) << 2 * physical;
    }
    return (uint16_t)tags;
}

static uint8_t short_tags(uint16_t tags)
{
    unsigned used = 0;

    for (unsigned physical = 0; physical < 8; physical++)
        used |= ((tags >> 2 * physical & 3) != TAG_EMPTY) << physical;
    return (uint8_t)used;
}

static uint64_t read_cr(const struct cpu *cpu, unsigned which)
{
    switch (which) {
    case 0:
        return cpu->state.cr0;
    case 3:
        return cpu->state.cr3;
    case 4:
        return cpu->state.cr4;
    case 8:
        return cpu->callbacks->read_cr8 ? cpu->callbacks->read_cr8(cpu->machine) : cpu->state.cr8;
    default:
        return cpu->state.efer;
    }
}

static bool write_cr(struct cpu *cpu, unsigned which, uint64_t value)
{
    switch (which) {
    case 0:
        return cpu_write_cr0(cpu, value) == OUTCOME_DONE;
    case 3:
        return cpu_write_cr3(cpu, value) == OUTCOME_DONE;
    case 4:
        return cpu_write_cr4(cpu, value) == OUTCOME_DONE;
    case 8:
        if (value > 15)
            return false;
        if (cpu->callbacks->write_cr8)
            cpu->callbacks->write_cr8(cpu->machine, value);
        else
            cpu->state.cr8 = value;
        return true;
    default:
        return cpu_write_efer(cpu, value) == OUTCOME_DONE;
    }
}

static uint64_t read_word(struct cpu *cpu, const struct gdb_register *reg)
{
    struct cpu_state *state = &cpu->state;
    const struct descriptor_table *table = reg->which ? &state->idtr : &state->gdtr;
    uint64_t value = 0;

    switch (reg->place) {
    case IN_STATE:
        memcpy(&value, (const uint8_t *)state + reg->which, 8);
        return value;
    case IN_SELECTOR:
        return state->seg[reg->which].selector;
    case IN_BASE:
        return state->seg[reg->which].base;
    case IN_TABLE:
        return table->base;
    case IN_LIMIT:
        return table->limit;
    case IN_MSR:
        return cpu_msr_read(cpu, reg->which, &value) ? value : 0;
    default:
        return read_cr(cpu, reg->which);
    }
}

static bool write_word(struct cpu *cpu, const struct gdb_register *reg, uint64_t value)
{
    struct cpu_state *state = &cpu->state;
    struct descriptor_table *table = reg->which ? &state->idtr : &state->gdtr;

    switch (reg->place) {
    case IN_STATE:
        if (reg->which == offsetof(struct cpu_state, rflags))
            value |= RFLAGS_FIXED;
        memcpy((uint8_t *)state + reg->which, &value, 8);
        cpu->changed |= CPU_CHANGED_DEBUG | CPU_CHANGED_CR2;
        return true;
    case IN_SELECTOR: /* the hidden part stays */
        state->seg[reg->which].selector = (uint16_t)value;
        cpu->changed |= CPU_CHANGED_SEGMENTS;
        return true;
    case IN_BASE:
        state->seg[reg->which].base = value;
        cpu->changed |= CPU_CHANGED_SEGMENTS;
        return true;
    case IN_TABLE:
        table->base = value;
        return true;
    case IN_LIMIT:
        table->limit = (uint16_t)value;
        return true;
    case IN_MSR:
        return cpu_msr_write(cpu, reg->which, value);
    default:
        return write_cr(cpu, reg->which, value);
    }
}

void register_read(struct vm *vm, unsigned number, uint8_t value[REGISTER_BYTES_MAX])
{
    const struct gdb_register *reg = find(number);
    uint8_t image[FXSAVE_BYTES];

    memset(value, 0, REGISTER_BYTES_MAX);
    if (reg->place != IN_FXSAVE && reg->place != IN_TAGS) {
        uint64_t word = read_word(vm_debug_cpu(vm), reg);

        memcpy(value, &word, reg->bits / 8);
        return;
    }
    vm_debug_read_fpu(vm, image);
    uint16_t tags = full_tags(image);
    if (reg->place == IN_TAGS)
        memcpy(value, &tags, sizeof(tags));
    else
        memcpy(value, image + reg->which, fxsave_bytes(reg));
}

bool register_write(struct vm *vm, unsigned number, const uint8_t value[REGISTER_BYTES_MAX])
{
    const struct gdb_register *reg = find(number);
    uint8_t image[FXSAVE_BYTES], before[REGISTER_BYTES_MAX];

    register_read(vm, number, before);
    if (!memcmp(before, value, reg->bits / 8))
        return true;
    if (reg->place != IN_FXSAVE && reg->place != IN_TAGS) {
        uint64_t word = 0;

        memcpy(&word, value, reg->bits / 8);
        return write_word(vm_debug_cpu(vm), reg, word);
    }
    vm_debug_read_fpu(vm, image);
    if (reg->place == IN_TAGS)
        image[4] = short_tags((uint16_t)(value[0] | value[1] << 8));
    else
        memcpy(image + reg->which, value, fxsave_bytes(reg));
    vm_debug_write_fpu(vm, image);
    return true;
}

/* --- Description ---------------------------------------------------------------------------------
 */

/* A type of flags: names and their bits, a line each. */
struct flags_type {
    const char *name;
    unsigned bytes;
    struct {
        const char *name;
        uint8_t bit;
    } flag[24];
};

// clang-format off
static const struct flags_type flags_types[] = {
    {"i386_eflags", 4, {{"CF", 0}, {"", 1}, {"PF", 2}, {"AF", 4}, {"ZF", 6}, {"SF", 7}, {"TF", 8},
        {"IF", 9}, {"DF", 10}, {"OF", 11}, {"NT", 14}, {"RF", 16}, {"VM", 17}, {"AC", 18},
        {"VIF", 19}, {"VIP", 20}, {"ID", 21}}},
    {"i386_mxcsr", 4, {{"IE", 0}, {"DE", 1}, {"ZE", 2}, {"OE", 3}, {"UE", 4}, {"PE", 5},
        {"DAZ", 6}, {"IM", 7}, {"DM", 8}, {"ZM", 9}, {"OM", 10}, {"UM", 11}, {"PM", 12},
        {"FZ", 15}}},
    {"cr0_flags", 8, {{"PE", 0}, {"MP", 1}, {"EM", 2}, {"TS", 3}, {"ET", 4}, {"NE", 5},
        {"WP", 16}, {"AM", 18}, {"NW", 29}, {"CD", 30}, {"PG", 31}}},
    {"cr4_flags", 8, {{"VME", 0}, {"PVI", 1}, {"TSD", 2}, {"DE", 3}, {"PSE", 4}, {"PAE", 5},
        {"MCE", 6}, {"PGE", 7}, {"PCE", 8}, {"OSFXSR", 9}, {"OSXMMEXCPT", 10}, {"UMIP", 11},
        {"LA57", 12}, {"VMXE", 13}, {"SMXE", 14}, {"FSGSBASE", 16}, {"PCIDE", 17},
        {"OSXSAVE", 18}, {"SMEP", 20}, {"SMAP", 21}, {"PKE", 22}, {"CET", 23}}},
    {"efer_flags", 8, {{"SCE", 0}, {"LME", 8}, {"LMA", 10}, {"NXE", 11}}},
};
// clang-format on

static const char vector_types[] =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
    "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
    "<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>";

static void describe_flags(const struct flags_type *type, FILE *file)
{
    fprintf(file, "<flags id=\"%s\" size=\"%u\">", type->name, type->bytes);
    for (unsigned i = 0; type->flag[i].name; i++)
        fprintf(file, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", type->flag[i].name,
                type->flag[i].bit, type->flag[i].bit);
    fputs("</flags>", file);
}

static bool uses_type(const struct feature *feature, const char *type)
{
    for (unsigned i = 0; i < feature->count; i++)
        if (feature->registers[i].type && !strcmp(feature->registers[i].type, type))
            return true;
    return false;
}

static void describe_feature(const struct feature *feature, FILE *file)
{
    fprintf(file, "<feature name=\"%s\">", feature->name);
    for (unsigned i = 0; i < sizeof(flags_types) / sizeof(*flags_types); i++)
        if (uses_type(feature, flags_types[i].name))
            describe_flags(&flags_types[i], file);
    if (uses_type(feature, "vec128"))
        fputs(vector_types, file);
    for (unsigned i = 0; i < feature->count; i++) {
        const struct gdb_register *reg = &feature->registers[i];

        fprintf(file, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"", reg->name, reg->bits,
                reg->type ? reg->type : "uint64");
        if (reg->group)
            fprintf(file, " group=\"%s\"", reg->group);
        fputs("/>", file);
    }
    fputs("</feature>", file);
}

char *register_description(void)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    if (!file)
        return NULL;
    fputs("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
          "<target><architecture>i386:x86-64</architecture>",
          file);
    for (unsigned i = 0; i < FEATURES; i++)
        describe_feature(&features[i], file);
    fputs("</target>", file);
    fclose(file);
    return text;
}
