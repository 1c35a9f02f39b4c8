/* SDM volume 3, "Checks on Guest Segment Registers". */
#include "cpu/vmentry_checks.h"

#define SELECTOR_RPL 3u
#define SELECTOR_TI  4u

#define TYPE_DATA_RW              3 /* read/write, accessed, expand-up */
#define TYPE_DATA_RW_EXPAND_DOWN  7
#define TYPE_CODE                 9 /* execute-only, accessed */
#define TYPE_CODE_READ            11
#define TYPE_CODE_CONFORMING      13
#define TYPE_CODE_READ_CONFORMING 15
#define TYPE_LDT                  2
#define TYPE_TSS16_BUSY           3
#define TYPE_TSS_BUSY             11

#define AR_RESERVED_LOW  0x0f00u
#define AR_RESERVED_HIGH 0xfffe0000u

#define VIRTUAL_8086_LIMIT 0xffff

static enum vmcs_field selector_field(enum segment_register segment)
{
    return VMCS_GUEST_ES_SELECTOR + segment;
}

static enum vmcs_field rights_field(enum segment_register segment)
{
    return VMCS_GUEST_ES_ACCESS_RIGHTS + segment;
}

static uint32_t rights(const struct vmentry_checks *checks, enum segment_register segment)
{
    return (uint32_t)checked(checks, rights_field(segment));
}

static bool usable(const struct vmentry_checks *checks, enum segment_register segment)
{
    return !(rights(checks, segment) & AR_UNUSABLE);
}

static void check_selectors(struct vmentry_checks *checks)
{
    uint64_t ss = checked(checks, VMCS_GUEST_SS_SELECTOR);
    uint64_t cs = checked(checks, VMCS_GUEST_CS_SELECTOR);
    require(checks, !(checked(checks, VMCS_GUEST_TR_SELECTOR) & SELECTOR_TI),
            VMCS_GUEST_TR_SELECTOR, "TI of the selector of TR must be 0");
    if (usable(checks, SEG_LDTR))
        require(checks, !(checked(checks, VMCS_GUEST_LDTR_SELECTOR) & SELECTOR_TI),
                VMCS_GUEST_LDTR_SELECTOR, "TI of the selector of a usable LDTR must be 0");
    if (!checks->virtual_8086 && !checks->unrestricted)
        require(checks, !((ss ^ cs) & SELECTOR_RPL), VMCS_GUEST_SS_SELECTOR,
                "RPL of SS must equal RPL of CS without \"unrestricted guest\"");
}

static void check_bases(struct vmentry_checks *checks)
{
    if (checks->virtual_8086) {
        for (unsigned i = SEG_ES; i <= SEG_GS; i++)
            require(checks,
                    checked(checks, VMCS_GUEST_ES_BASE + i) == checked(checks, selector_field(i))
                                                                   << 4,
                    VMCS_GUEST_ES_BASE + i,
                    "virtual-8086 mode requires a base of the selector times 16");
    }
    require(checks, canonical(checks, checked(checks, VMCS_GUEST_TR_BASE)), VMCS_GUEST_TR_BASE,
            "the base of TR must be canonical");
    require(checks, canonical(checks, checked(checks, VMCS_GUEST_FS_BASE)), VMCS_GUEST_FS_BASE,
            "the base of FS must be canonical");
    require(checks, canonical(checks, checked(checks, VMCS_GUEST_GS_BASE)), VMCS_GUEST_GS_BASE,
            "the base of GS must be canonical");
    if (usable(checks, SEG_LDTR))
        require(checks, canonical(checks, checked(checks, VMCS_GUEST_LDTR_BASE)),
                VMCS_GUEST_LDTR_BASE, "the base of a usable LDTR must be canonical");
    require(checks, checked(checks, VMCS_GUEST_CS_BASE) <= UINT32_MAX, VMCS_GUEST_CS_BASE,
            "bits 63:32 of the base of CS must be 0");
    static const enum segment_register data[] = {SEG_SS, SEG_DS, SEG_ES};
    for (unsigned i = 0; i < 3; i++) {
        enum vmcs_field base = VMCS_GUEST_ES_BASE + data[i];
        if (usable(checks, data[i]))
            require(checks, checked(checks, base) <= UINT32_MAX, base,
                    "bits 63:32 of the base of a usable SS, DS or ES must be 0");
    }
}

static void check_virtual_8086(struct vmentry_checks *checks)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        require(checks, checked(checks, VMCS_GUEST_ES_LIMIT + i) == VIRTUAL_8086_LIMIT,
                VMCS_GUEST_ES_LIMIT + i, "virtual-8086 mode requires a limit of 0xffff");
        require(checks, rights(checks, i) == VIRTUAL_8086_RIGHTS, rights_field(i),
                "virtual-8086 mode requires access rights of 0xf3");
    }
}

/* P, G and reserved bits: the same for every usable register. */
static void check_common_rights(struct vmentry_checks *checks, enum segment_register segment)
{
    enum vmcs_field field = rights_field(segment);
    uint32_t ar = rights(checks, segment);
    uint64_t limit = checked(checks, VMCS_GUEST_ES_LIMIT + segment);
    require(checks, ar & AR_P, field, "a usable segment requires P = 1");
    require(checks, !(ar & AR_RESERVED_LOW), field,
            "bits 11:8 of a usable segment's access rights must be 0");
    require(checks, implies((limit & 0xfff) != 0xfff, !(ar & AR_G)), field,
            "G = 1 requires limit bits 11:0 to be all 1");
    require(checks, implies(limit >> 20, ar & AR_G), field, "limit bits 31:20 require G = 1");
    require(checks, !(ar & AR_RESERVED_HIGH), field,
            "bits 31:17 of a usable segment's access rights must be 0");
}

static void check_code_dpl(struct vmentry_checks *checks)
{
    uint32_t ar = rights(checks, SEG_CS);
    unsigned dpl = AR_DPL(ar), ss_dpl = AR_DPL(rights(checks, SEG_SS));
    switch (ar & AR_TYPE_MASK) {
    case TYPE_DATA_RW:
        require(checks, dpl == 0, VMCS_GUEST_CS_ACCESS_RIGHTS, "CS of type 3 requires DPL 0");
        break;
    case TYPE_CODE:
    case TYPE_CODE_READ:
        require(checks, dpl == ss_dpl, VMCS_GUEST_CS_ACCESS_RIGHTS,
                "non-conforming CS requires CS.DPL = SS.DPL");
        break;
    case TYPE_CODE_CONFORMING:
    case TYPE_CODE_READ_CONFORMING:
        require(checks, dpl <= ss_dpl, VMCS_GUEST_CS_ACCESS_RIGHTS,
                "conforming CS requires CS.DPL <= SS.DPL");
        break;
    default:
        break;
    }
}

static void check_code(struct vmentry_checks *checks)
{
    const enum vmcs_field field = VMCS_GUEST_CS_ACCESS_RIGHTS;
    uint32_t ar = rights(checks, SEG_CS), type = ar & AR_TYPE_MASK;
    bool code = type == TYPE_CODE || type == TYPE_CODE_READ || type == TYPE_CODE_CONFORMING ||
                type == TYPE_CODE_READ_CONFORMING;
    require(checks, code || (checks->unrestricted && type == TYPE_DATA_RW), field,
            "CS requires type 9, 11, 13 or 15, or 3 with \"unrestricted guest\"");
    require(checks, ar & AR_S, field, "CS requires S = 1");
    check_code_dpl(checks);
    check_common_rights(checks, SEG_CS);
    require(checks, !(checks->ia32e && ar & AR_L && ar & AR_DB), field,
            "CS.L = 1 in IA-32e mode requires CS.D = 0");
}

static void check_stack(struct vmentry_checks *checks)
{
    const enum vmcs_field field = VMCS_GUEST_SS_ACCESS_RIGHTS;
    uint32_t ar = rights(checks, SEG_SS), type = ar & AR_TYPE_MASK;
    unsigned rpl = checked(checks, VMCS_GUEST_SS_SELECTOR) & SELECTOR_RPL;
    if (usable(checks, SEG_SS)) {
        require(checks, type == TYPE_DATA_RW || type == TYPE_DATA_RW_EXPAND_DOWN, field,
                "a usable SS requires type 3 or 7");
        require(checks, ar & AR_S, field, "a usable SS requires S = 1");
        check_common_rights(checks, SEG_SS);
    }
    if (!checks->unrestricted)
        require(checks, AR_DPL(ar) == rpl, field,
                "SS.DPL must equal RPL of SS without \"unrestricted guest\"");
    bool dpl_0 = (rights(checks, SEG_CS) & AR_TYPE_MASK) == TYPE_DATA_RW || !(checks->cr0 & CR0_PE);
    require(checks, implies(dpl_0, AR_DPL(ar) == 0), field,
            "SS.DPL must be 0 with CS of type 3 or CR0.PE = 0");
}

static void check_data(struct vmentry_checks *checks, enum segment_register segment)
{
    enum vmcs_field field = rights_field(segment);
    uint32_t ar = rights(checks, segment), type = ar & AR_TYPE_MASK;
    unsigned rpl = checked(checks, selector_field(segment)) & SELECTOR_RPL;
    if (!usable(checks, segment))
        return;
    require(checks, type & AR_ACCESSED, field, "a usable data segment must be accessed");
    require(checks, implies(type & AR_CODE, type & AR_WRITABLE), field,
            "a code segment in DS, ES, FS or GS must be readable");
    require(checks, ar & AR_S, field, "a usable data segment requires S = 1");
    if (!checks->unrestricted && type <= TYPE_CODE_READ)
        require(checks, AR_DPL(ar) >= rpl, field,
                "DPL of a data segment must not be less than its RPL");
    check_common_rights(checks, segment);
}

static void check_tr(struct vmentry_checks *checks)
{
    const enum vmcs_field field = VMCS_GUEST_TR_ACCESS_RIGHTS;
    uint32_t ar = rights(checks, SEG_TR), type = ar & AR_TYPE_MASK;
    require(checks, type == TYPE_TSS_BUSY || (type == TYPE_TSS16_BUSY && !checks->ia32e), field,
            "TR requires type 11 (busy TSS), or 3 outside IA-32e mode");
    require(checks, !(ar & AR_S), field, "TR requires S = 0");
    require(checks, !(ar & AR_UNUSABLE), field, "TR must be usable");
    check_common_rights(checks, SEG_TR);
}

static void check_ldtr(struct vmentry_checks *checks)
{
    const enum vmcs_field field = VMCS_GUEST_LDTR_ACCESS_RIGHTS;
    uint32_t ar = rights(checks, SEG_LDTR);
    if (!usable(checks, SEG_LDTR))
        return;
    require(checks, (ar & AR_TYPE_MASK) == TYPE_LDT, field, "a usable LDTR requires type 2");
    require(checks, !(ar & AR_S), field, "a usable LDTR requires S = 0");
    check_common_rights(checks, SEG_LDTR);
}

void vmentry_check_guest_segments(struct vmentry_checks *checks)
{
    checks->section = "Checks on Guest Segment Registers";
    check_selectors(checks);
    check_bases(checks);
    if (checks->virtual_8086) {
        check_virtual_8086(checks);
    } else {
        check_code(checks);
        check_stack(checks);
        check_data(checks, SEG_DS);
        check_data(checks, SEG_ES);
        check_data(checks, SEG_FS);
        check_data(checks, SEG_GS);
    }
    check_tr(checks);
    check_ldtr(checks);
}
