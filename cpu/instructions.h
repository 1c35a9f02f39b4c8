/*
 * The instructions that software-visible virtualization is about: those that VMX can intercept,
 * and those that an engine cannot execute without the processor model.
 *
 * Each function performs one instruction on cpu->state in the order that the SDM gives to faults
 * and VM exits (volume 3, "Relative Priority of Faults and VM Exits"). RIP is left alone, except
 * where the instruction is a branch; cpu->instruction_length tells how far the engine (or, after
 * an exit, the VM handler) moves it. General-purpose registers, RIP, RFLAGS and the registers
 * named must be up to date in cpu->state.
 */
#ifndef VTXSIM_CPU_INSTRUCTIONS_H
#define VTXSIM_CPU_INSTRUCTIONS_H

#include "cpu/cpu.h"

enum outcome {
    OUTCOME_DONE,      /* completed */
    OUTCOME_EXCEPTION, /* cpu->fault holds a fault to be delivered; nothing else changed */
    OUTCOME_EXIT,      /* cpu->exit describes a VM exit; nothing else changed */
};

/* Why OUTCOME_EXCEPTION: filled by the functions below. */
struct event *cpu_fault(struct cpu *cpu, enum vector vector, uint32_t error_code);

enum outcome insn_cpuid(struct cpu *cpu);
enum outcome insn_rdmsr(struct cpu *cpu);
enum outcome insn_wrmsr(struct cpu *cpu);
enum outcome insn_rdtsc(struct cpu *cpu);
enum outcome insn_rdtscp(struct cpu *cpu);
enum outcome insn_rdpmc(struct cpu *cpu);
enum outcome insn_rdpid(struct cpu *cpu, enum gpr destination);
/* RDRAND/RDSEED: operand_size 2, 4 or 8; sets RFLAGS as well. */
enum outcome insn_rdrand(struct cpu *cpu, bool seed, enum gpr destination, unsigned operand_size);
/* INT1: always OUTCOME_EXCEPTION, a privileged software exception. */
enum outcome insn_int1(struct cpu *cpu);
enum outcome insn_hlt(struct cpu *cpu); /* done: state.activity = ACTIVITY_HLT */
enum outcome insn_pause(struct cpu *cpu);
enum outcome insn_invd(struct cpu *cpu);
enum outcome insn_wbinvd(struct cpu *cpu);
enum outcome insn_xsetbv(struct cpu *cpu);
enum outcome insn_monitor(struct cpu *cpu);
enum outcome insn_mwait(struct cpu *cpu);
enum outcome insn_invlpg(struct cpu *cpu, uint64_t linear);
enum outcome insn_invpcid(struct cpu *cpu, uint64_t type, uint64_t linear_of_descriptor,
                          uint32_t instruction_info, uint64_t displacement);
/* VMCALL and the other VMX instructions by exit reason; #UD outside VMX operation. */
enum outcome insn_vmx(struct cpu *cpu, enum exit_reason reason, uint32_t instruction_info,
                      uint64_t displacement);

/* Control registers. `reg` is 0, 2, 3, 4 or 8. */
enum outcome insn_mov_to_cr(struct cpu *cpu, unsigned reg, enum gpr source);
enum outcome insn_mov_from_cr(struct cpu *cpu, unsigned reg, enum gpr destination);
enum outcome insn_clts(struct cpu *cpu);
/* LMSW: source is the 16-bit operand; linear is its address if it came from memory. */
enum outcome insn_lmsw(struct cpu *cpu, uint16_t source, bool memory, uint64_t linear);
/* SMSW's value (read shadow applied); UMIP is checked. */
enum outcome insn_smsw(struct cpu *cpu, uint64_t *value);

/* Debug registers. */
enum outcome insn_mov_to_dr(struct cpu *cpu, unsigned reg, enum gpr source);
enum outcome insn_mov_from_dr(struct cpu *cpu, unsigned reg, enum gpr destination);

/* SGDT/SIDT/LGDT/LIDT, SLDT/STR/LLDT/LTR: faults (UMIP, CPL) and descriptor-table exiting only;
 * DONE means that the engine executes it. */
enum descriptor_instruction { INSN_SGDT, INSN_SIDT, INSN_LGDT, INSN_LIDT,
                              INSN_SLDT, INSN_STR, INSN_LLDT, INSN_LTR };
enum outcome insn_descriptor_table(struct cpu *cpu, enum descriptor_instruction instruction,
                                   uint32_t instruction_info, uint64_t displacement);

/* The rest of LLDT and LTR (`task`) once that is DONE: loads LDTR or TR. */
enum outcome insn_load_system_segment(struct cpu *cpu, bool task, uint16_t selector);

/* I/O permission (CPL against IOPL, TSS bitmap), then I/O exiting. DONE: the access may proceed. */
struct io_access {
    uint16_t port;
    uint8_t size; /* 1, 2 or 4 */
    bool in;
    bool string, rep, immediate;
    uint8_t segment, address_size; /* string forms: segment register, address size 2, 4, 8 */
    uint64_t linear;               /* string forms: linear address of the operand */
};
enum outcome insn_io(struct cpu *cpu, const struct io_access *access);

/* Fast system calls. Branches: RIP, RFLAGS, CS, SS (and RSP, RCX, R11) change on DONE. */
enum outcome insn_syscall(struct cpu *cpu);
enum outcome insn_sysret(struct cpu *cpu, unsigned operand_size);
enum outcome insn_sysenter(struct cpu *cpu);
enum outcome insn_sysexit(struct cpu *cpu, unsigned operand_size);

#endif
