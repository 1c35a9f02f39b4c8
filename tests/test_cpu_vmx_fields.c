/* VMCS fields against the SDM's rule for encodings (appendix "Field Encoding in VMCS"), and VMREAD
 * and VMWRITE by encoding. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "cpu/exit.h"
#include "cpu/vmcs.h"

/* The number of fields of each width and type, counted in the SDM's tables (columns: control,
 * VM-exit information, guest state, host state). */
static const unsigned expected_counts[4][4] = {
    [VMCS_WIDTH_16] = {5, 0, 11, 7},
    [VMCS_WIDTH_64] = {37, 1, 13, 4},
    [VMCS_WIDTH_32] = {19, 8, 23, 1},
    [VMCS_WIDTH_NATURAL] = {8, 6, 23, 15},
};

Test(vmx_fields, encodings_say_width_and_type)
{
    static const unsigned widths[4] = {16, 64, 32, 64};
    unsigned counts[4][4] = {0};
    for (enum vmcs_field field = 0; field < VMCS_FIELD_COUNT; field++) {
        uint32_t encoding = vmcs_field_encoding(field);
        const char *name = vmcs_field_name(field);
        unsigned width = encoding >> 13 & 3, type = encoding >> 10 & 3;
        cr_assert_eq(encoding & 0xffff9001, 0, "%s: reserved bits in %#x", name, encoding);
        cr_assert_eq(vmcs_field_lookup(encoding), field, "%s", name);
        cr_assert_eq(vmcs_field_width(field), widths[width], "%s", name);
        cr_assert_eq(vmcs_field_natural(field), width == 3, "%s", name);
        cr_assert_eq(vmcs_field_read_only(field), type == 1, "%s", name);
        cr_assert_eq(!strncmp(name, "GUEST_", 6) && type != 1,
                     type == 2 && strncmp(name, "VMCS_", 5) && strncmp(name, "PML_", 4) &&
                         strncmp(name, "PREEMPTION_", 11),
                     "%s", name);
        cr_assert_eq(!strncmp(name, "HOST_", 5), type == 3, "%s", name);
        counts[width][type]++;
    }
    for (unsigned i = 0; i < 16; i++)
        cr_expect_eq(counts[i / 4][i % 4], expected_counts[i / 4][i % 4],
                     "width %u, type %u: %u fields, expected %u", i / 4, i % 4,
                     counts[i / 4][i % 4], expected_counts[i / 4][i % 4]);
}

/* Encodings that every hypervisor has by heart, written down apart from the table. */
Test(vmx_fields, well_known_encodings)
{
    static const struct {
        enum vmcs_field field;
        uint32_t encoding;
    } known[] = {
        {VMCS_VPID, 0x0000},
        {VMCS_GUEST_CS_SELECTOR, 0x0802},
        {VMCS_HOST_TR_SELECTOR, 0xc0c},
        {VMCS_EPTP, 0x201a},
        {VMCS_GUEST_PHYSICAL_ADDRESS, 0x2400},
        {VMCS_VMCS_LINK_POINTER, 0x2800},
        {VMCS_HOST_EFER, 0x2c02},
        {VMCS_PIN_BASED_CONTROLS, 0x4000},
        {VMCS_SECONDARY_CONTROLS, 0x401e},
        {VMCS_VM_INSTRUCTION_ERROR, 0x4400},
        {VMCS_EXIT_REASON, 0x4402},
        {VMCS_GUEST_CS_ACCESS_RIGHTS, 0x4816},
        {VMCS_PREEMPTION_TIMER_VALUE, 0x482e},
        {VMCS_CR0_MASK, 0x6000},
        {VMCS_EXIT_QUALIFICATION, 0x6400},
        {VMCS_GUEST_LINEAR_ADDRESS, 0x640a},
        {VMCS_GUEST_CR0, 0x6800},
        {VMCS_GUEST_RSP, 0x681c},
        {VMCS_GUEST_RIP, 0x681e},
        {VMCS_GUEST_RFLAGS, 0x6820},
        {VMCS_HOST_RSP, 0x6c14},
        {VMCS_HOST_RIP, 0x6c16},
    };
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        cr_expect_eq(vmcs_field_encoding(known[i].field), known[i].encoding, "%s",
                     vmcs_field_name(known[i].field));
}

Test(vmx_fields, unknown_encodings_are_refused)
{
    struct vmcs vmcs = {0};
    unsigned known = 0;
    for (uint32_t encoding = 0; encoding < 0x20000; encoding++) {
        bool found = vmcs_field_lookup(encoding) != VMCS_FIELD_COUNT;
        bool full_found = vmcs_field_lookup(encoding & ~1u) != VMCS_FIELD_COUNT;
        bool high = encoding & 1, wide = (encoding >> 13 & 3) == VMCS_WIDTH_64;
        uint64_t value;
        unsigned error = vmcs_vmread(&vmcs, encoding, &value);
        cr_assert_eq(error, full_found && (!high || wide) ? 0 : 12, "%#x", encoding);
        cr_assert_eq(vmcs_vmwrite(&vmcs, encoding, 0, true), error, "%#x", encoding);
        known += found;
    }
    cr_assert_eq(known, VMCS_FIELD_COUNT);
    cr_assert_eq(vmcs_field_lookup(0x80000000), VMCS_FIELD_COUNT);
    cr_assert_eq(vmcs_field_lookup(0xffffffff), VMCS_FIELD_COUNT);
}

static uint32_t expected_dirty(uint32_t encoding)
{
    static const uint32_t groups[4] = {VMCS_DIRTY_CONTROLS, 0, VMCS_DIRTY_GUEST, VMCS_DIRTY_HOST};
    return encoding == 0x681e || encoding == 0x6820 ? VMCS_DIRTY_RIP : groups[encoding >> 10 & 3];
}

Test(vmx_fields, vmwrite_truncates_and_marks_dirty)
{
    for (enum vmcs_field field = 0; field < VMCS_FIELD_COUNT; field++) {
        uint32_t encoding = vmcs_field_encoding(field);
        const char *name = vmcs_field_name(field);
        unsigned width = vmcs_field_width(field);
        uint64_t all = 0xfedcba9876543210ull,
                 kept = width == 64 ? all : all & ((1ull << width) - 1);
        bool read_only = vmcs_field_read_only(field);
        struct vmcs vmcs = {0};
        uint64_t value = 0;

        cr_assert_eq(vmcs_vmwrite(&vmcs, encoding, all, false), read_only ? 13 : 0, "%s", name);
        cr_assert_eq(vmcs_get(&vmcs, field), read_only ? 0 : kept, "%s", name);
        cr_assert_eq(vmcs.dirty, expected_dirty(encoding), "%s", name);
        cr_assert_eq(vmcs_vmwrite(&vmcs, encoding, all, true), 0, "%s", name);
        cr_assert_eq(vmcs_vmread(&vmcs, encoding, &value), 0, "%s", name);
        cr_assert_eq(value, kept, "%s", name);
        for (enum vmcs_field other = 0; other < VMCS_FIELD_COUNT; other++)
            cr_assert(other == field || vmcs_get(&vmcs, other) == 0, "%s changed %s", name,
                      vmcs_field_name(other));
        if ((encoding >> 13 & 3) != VMCS_WIDTH_64)
            continue;
        cr_assert_eq(vmcs_vmread(&vmcs, encoding | 1, &value), 0, "%s", name);
        cr_assert_eq(value, all >> 32, "%s", name);
        cr_assert_eq(vmcs_vmwrite(&vmcs, encoding | 1, 0xffffffff0badcafeull, true), 0, "%s", name);
        cr_assert_eq(vmcs_get(&vmcs, field), 0x0badcafe76543210ull, "%s", name);
    }
}

/* The basic reasons of the SDM's appendix "VMX Basic Exit Reasons" that have a name. */
Test(vmx_fields, exit_reasons_have_names)
{
    static const struct {
        uint32_t reason;
        const char *name;
    } expected[] = {
        {0, "EXCEPTION_NMI"},
        {1, "EXTERNAL_INTERRUPT"},
        {2, "TRIPLE_FAULT"},
        {10, "CPUID"},
        {12, "HLT"},
        {28, "CR_ACCESS"},
        {29, "DR_ACCESS"},
        {30, "IO_INSTRUCTION"},
        {31, "MSR_READ"},
        {32, "MSR_WRITE"},
        {33, "INVALID_STATE"},
        {0x80000021, "INVALID_STATE"},
        {37, "MONITOR_TRAP_FLAG"},
        {48, "EPT_VIOLATION"},
        {49, "EPT_MISCONFIG"},
        {52, "PREEMPTION_TIMER"},
        {55, "XSETBV"},
        {64, "XRSTORS"},
        {35, "UNKNOWN"},
        {38, "UNKNOWN"},
        {42, "UNKNOWN"},
        {70, "UNKNOWN"},
        {0xffff, "UNKNOWN"},
    };
    for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        cr_expect_str_eq(exit_reason_name(expected[i].reason), expected[i].name);
}
