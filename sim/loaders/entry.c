/* From an entry to the processor state, and the tables that this state refers to. */
#include <string.h>

#include "sim/loaders/internal.h"

#define SELECTOR_CODE 0x10 /* __BOOT_CS of the Linux boot protocol */
#define SELECTOR_DATA 0x18 /* __BOOT_DS */

#define PAGE_SIZE     4096ull
#define PTE_P_RW      0x3ull
#define PTE_PAGE_SIZE 0x80ull
#define TABLE_ENTRIES 512
#define MAPPED_GIB    4

#define AR_FLAT_CODE32 (AR_G | AR_DB | AR_P | AR_S | AR_CODE | AR_WRITABLE | AR_ACCESSED)
#define AR_FLAT_CODE64 (AR_G | AR_L | AR_P | AR_S | AR_CODE | AR_WRITABLE | AR_ACCESSED)
#define AR_FLAT_DATA   (AR_G | AR_DB | AR_P | AR_S | AR_WRITABLE | AR_ACCESSED)
#define AR_REAL_CODE   (AR_P | AR_S | AR_CODE | AR_WRITABLE | AR_ACCESSED)
#define AR_REAL_DATA   (AR_P | AR_S | AR_WRITABLE | AR_ACCESSED)
#define AR_BUSY_TSS    (AR_P | 0xb)
#define AR_LDT         (AR_P | 0x2)

/* A descriptor with base 0 and the largest limit. */
static uint64_t flat_descriptor(uint32_t access_rights)
{
    return (uint64_t)access_rights << 40 | 0xfull << 48 | 0xffff;
}

static int write_gdt(struct load *load)
{
    struct loader_entry *entry = load->entry;
    uint64_t gdt[4] = {0};

    gdt[SELECTOR_CODE / 8] =
        flat_descriptor(entry->mode == LOADER_LONG64 ? AR_FLAT_CODE64 : AR_FLAT_CODE32);
    gdt[SELECTOR_DATA / 8] = flat_descriptor(AR_FLAT_DATA);
    entry->code_selector = SELECTOR_CODE;
    entry->data_selector = SELECTOR_DATA;
    entry->gdtr.limit = sizeof(gdt) - 1;
    return layout_place_low(load, gdt, sizeof(gdt), "the GDT", &entry->gdtr.base);
}

/* One PML4, one page-directory-pointer table, a page directory of 2 MiB pages for each GiB. */
static int write_page_tables(struct load *load)
{
    static const uint64_t zero[(2 + MAPPED_GIB) * TABLE_ENTRIES];
    uint64_t table[TABLE_ENTRIES] = {0};
    uint64_t pml4;
    int error = layout_place_low(load, zero, sizeof(zero), "the page tables", &pml4);
    uint64_t pdpt = pml4 + PAGE_SIZE, directory = pdpt + PAGE_SIZE;

    table[0] = pdpt | PTE_P_RW;
    if (!error)
        error = guest_write(load, pml4, table, sizeof(table[0]));
    for (unsigned i = 0; i < MAPPED_GIB; i++)
        table[i] = (directory + i * PAGE_SIZE) | PTE_P_RW;
    if (!error)
        error = guest_write(load, pdpt, table, MAPPED_GIB * sizeof(table[0]));
    for (unsigned gib = 0; gib < MAPPED_GIB && !error; gib++) {
        for (unsigned i = 0; i < TABLE_ENTRIES; i++)
            table[i] = ((uint64_t)gib << 30 | (uint64_t)i << 21) | PTE_PAGE_SIZE | PTE_P_RW;
        error = guest_write(load, directory + gib * PAGE_SIZE, table, sizeof(table));
    }
    load->entry->cr3 = pml4;
    return error;
}

int entry_write_tables(struct load *load)
{
    int error = write_gdt(load);

    if (!error && load->entry->mode == LOADER_LONG64)
        error = write_page_tables(load);
    return error;
}

static void set_data_segments(struct cpu_state *state, struct segment segment)
{
    static const enum segment_register data[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};

    for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++)
        state->seg[data[i]] = segment;
}

void loader_entry_to_state(const struct loader_entry *entry, struct cpu_state *state)
{
    uint16_t code = entry->code_selector, data = entry->data_selector;

    memcpy(state->gpr, entry->gpr, sizeof(state->gpr));
    state->rip = entry->rip;
    state->rflags = RFLAGS_FIXED;
    state->cr0 = CR0_ET;
    state->cr3 = entry->cr3;
    state->cr4 = 0;
    state->efer = 0;
    state->gdtr = entry->gdtr;
    state->idtr = (struct descriptor_table){0, 0};
    state->seg[SEG_LDTR] = (struct segment){0, 0xffff, AR_LDT, 0};
    /* VM entry wants a busy TSS in TR, in every mode. */
    state->seg[SEG_TR] = (struct segment){0, 0xffff, AR_BUSY_TSS, 0};

    switch (entry->mode) {
    case LOADER_REAL16:
        state->idtr.limit = 0x3ff; /* the real-mode vector table */
        state->seg[SEG_CS] = (struct segment){code * 16u, 0xffff, AR_REAL_CODE, code};
        set_data_segments(state, (struct segment){data * 16u, 0xffff, AR_REAL_DATA, data});
        break;
    case LOADER_PROTECTED32:
        state->cr0 |= CR0_PE;
        state->seg[SEG_CS] = (struct segment){0, UINT32_MAX, AR_FLAT_CODE32, code};
        set_data_segments(state, (struct segment){0, UINT32_MAX, AR_FLAT_DATA, data});
        break;
    case LOADER_LONG64:
        state->cr0 |= CR0_PE | CR0_PG;
        state->cr4 = CR4_PAE;
        state->efer = EFER_LME | EFER_LMA;
        state->seg[SEG_CS] = (struct segment){0, UINT32_MAX, AR_FLAT_CODE64, code};
        set_data_segments(state, (struct segment){0, UINT32_MAX, AR_FLAT_DATA, data});
        break;
    }
}
