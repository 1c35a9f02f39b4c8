/* What VM entries and VM exits have in common. */
#ifndef VTXSIM_CPU_VMX_TRANSITION_H
#define VTXSIM_CPU_VMX_TRANSITION_H

#include "cpu/vmx.h"

/* CR0 bits that VM transitions never change: ET, 15:6, 17, 28:19, NW, CD and the upper half (SDM
 * "Loading Guest Control Registers, Debug Registers, and MSRs" and its counterpart for the host).
 */
#define CR0_KEPT_BY_TRANSITIONS (0xffffffff00000000ull | CR0_CD | CR0_NW | 0x1ffaffc0ull | CR0_ET)

/* DR7 as a load by a VM transition leaves it: bit 10 is 1, bits 12, 14 and 15 are 0. */
#define DR7_FIXED_ONES  (1ull << 10)
#define DR7_FIXED_ZEROS (1ull << 12 | 3ull << 14)

/*
 * Loads MSRs from a list in host-physical memory. Returns 0, or the number (from 1) of the first
 * entry that cannot be loaded: reserved bits, an MSR that VM transitions do not load, or a value
 * for which WRMSR raises #GP.
 */
uint32_t vmx_load_msr_list(struct cpu *cpu, uint64_t address, uint32_t count);
/* Stores MSRs into a list. Returns 0 or the number of the first entry that cannot be stored. */
uint32_t vmx_store_msr_list(struct cpu *cpu, uint64_t address, uint32_t count);

/* Gives cpu->state's paging registers to the mmu. Without VPIDs a transition drops the mappings of
 * VPID 0. */
void vmx_load_paging(struct cpu *cpu, bool flush);

#endif
