/* "monitor": what GDB has no words for. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/modes.h"
#include "sim/exit_statistics.h"
#include "sim/gdb/registers.h"
#include "sim/gdb/server.h"
#include "sim/vm_internal.h"
#include "sim/vmcs_dump.h"

/* --- Registers -----------------------------------------------------------------------------------
 */

static void print_general(const struct cpu_state *state, FILE *file)
{
    static const char *const names[GPR_COUNT] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                                 "RSI", "RDI", "R8",  "R9",  "R10", "R11",
                                                 "R12", "R13", "R14", "R15"};

    for (unsigned i = 0; i < GPR_COUNT; i++)
        fprintf(file, "%-3s %016" PRIx64 "%s", names[i], state->gpr[i], i % 4 == 3 ? "\n" : "  ");
    fprintf(file, "RIP %016" PRIx64 "  RFLAGS %08" PRIx64 "\n", state->rip, state->rflags);
}

static void print_segments(const struct cpu_state *state, FILE *file)
{
    static const char *const names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};

    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const struct segment *segment = &state->seg[i];

        fprintf(file, "%-4s %04x  base %016" PRIx64 "  limit %08x  access %05x%s\n", names[i],
                segment->selector, segment->base, segment->limit, segment->access_rights,
                segment->access_rights & AR_UNUSABLE ? " unusable" : "");
    }
    fprintf(file, "GDTR       base %016" PRIx64 "  limit %08x\n", state->gdtr.base,
            state->gdtr.limit);
    fprintf(file, "IDTR       base %016" PRIx64 "  limit %08x\n", state->idtr.base,
            state->idtr.limit);
}

static void print_blocking(uint32_t interruptibility, FILE *file)
{
    static const char *const names[] = {"STI", "MOV SS", "SMI", "NMI"};

    fputs("blocking", file);
    for (unsigned i = 0; i < 4; i++)
        if (interruptibility >> i & 1)
            fprintf(file, " by %s", names[i]);
    fputs(interruptibility ? "\n" : " nothing\n", file);
}

static void monitor_registers(struct gdb_server *server, const char *argument, FILE *file)
{
    const struct cpu *cpu = vm_debug_cpu(server->vm);
    const struct cpu_state *state = &cpu->state;

    (void)argument;
    fprintf(file, "%s mode, CPL %u, VMX %s operation\n", cpu_mode_name(cpu_mode(cpu)), cpu_cpl(cpu),
            cpu->non_root ? "non-root" : "root");
    print_general(state, file);
    print_segments(state, file);
    fprintf(file, "CR0 %08" PRIx64 " (the guest reads %08" PRIx64 ")  CR2 %016" PRIx64 "\n",
            state->cr0,
            (state->cr0 & ~vmcs_get(cpu->vmcs, VMCS_CR0_MASK)) |
                (vmcs_get(cpu->vmcs, VMCS_CR0_READ_SHADOW) & vmcs_get(cpu->vmcs, VMCS_CR0_MASK)),
            state->cr2);
    fprintf(file, "CR3 %016" PRIx64 "  CR4 %08" PRIx64 " (the guest reads %08" PRIx64 ")\n",
            state->cr3, state->cr4,
            (state->cr4 & ~vmcs_get(cpu->vmcs, VMCS_CR4_MASK)) |
                (vmcs_get(cpu->vmcs, VMCS_CR4_READ_SHADOW) & vmcs_get(cpu->vmcs, VMCS_CR4_MASK)));
    fprintf(file, "EFER %04" PRIx64 "  DR6 %08" PRIx64 "  DR7 %08" PRIx64 "\n", state->efer,
            state->dr6, state->dr7);
    fprintf(file, "EPTP %016" PRIx64 "  VPID %" PRIu64 "  pending debug %04" PRIx64 "  ",
            cpu->mmu.ept_enabled ? cpu->mmu.eptp : 0, (uint64_t)cpu->mmu.vpid,
            state->pending_debug);
    print_blocking(state->interruptibility, file);
}

/* --- The two-dimensional walk --------------------------------------------------------------------
 */

static void print_reference(const struct walk_reference *reference, FILE *file)
{
    static const char *const guest[] = {"", "PTE", "PDE", "PDPTE", "PML4E", "PML5E"};
    static const char *const ept[] = {"",          "EPT PTE",   "EPT PDE",
                                      "EPT PDPTE", "EPT PML4E", "EPT PML5E"};
    const char *name = (reference->ept ? ept : guest)[reference->level % 6];

    fprintf(file, "%s%-9s at %012" PRIx64 " = %016" PRIx64, reference->ept ? "    " : "", name,
            reference->hpa, reference->entry);
    if (reference->ept)
        fprintf(file, "  for guest-physical %012" PRIx64 "%s\n", reference->gpa,
                reference->guest_level ? "" : ", the result");
    else
        fprintf(file, "  guest-physical %012" PRIx64 "\n", reference->gpa);
}

static void print_result(enum mmu_status status, const struct translation *translation,
                         const struct mmu_fault *fault, FILE *file)
{
    switch (status) {
    case MMU_OK:
        fprintf(file,
                "guest-physical %012" PRIx64 ", host-physical %012" PRIx64 ", page of %" PRIu64
                " KiB, %s%s%s\n",
                translation->gpa, translation->hpa, (UINT64_C(1) << translation->page_shift) >> 10,
                translation->readable ? "r" : "-", translation->writable ? "w" : "-",
                translation->executable ? "x" : "-");
        break;
    case MMU_PAGE_FAULT:
        fprintf(file, "page fault, error code %04x\n", fault->error_code);
        break;
    case MMU_EPT_VIOLATION:
        fprintf(file,
                "EPT violation at guest-physical %012" PRIx64 ", qualification %04" PRIx64 "\n",
                fault->gpa, fault->qualification);
        break;
    case MMU_EPT_MISCONFIG:
        fprintf(file, "EPT misconfiguration at guest-physical %012" PRIx64 "\n", fault->gpa);
        break;
    }
}

/* A number as C has it, or "$" and the name of a register. Returns false, having said so, if it is
 * neither. */
static bool parse_number(struct gdb_server *server, const char *argument, uint64_t *value,
                         FILE *file)
{
    uint8_t bytes[REGISTER_BYTES_MAX];
    char *end;

    for (unsigned i = 0; *argument == '$' && i < register_count(); i++) {
        if (strcmp(register_name(i), argument + 1))
            continue;
        register_read(server->vm, i, bytes);
        memcpy(value, bytes, sizeof(*value));
        return true;
    }
    errno = 0;
    *value = strtoull(argument, &end, 0);
    if (isdigit((unsigned char)*argument) && !*end && !errno)
        return true;
    fprintf(file, "\"%s\" is no number: write it as 0x12, 18 or $rip\n", argument);
    return false;
}

static void monitor_walk(struct gdb_server *server, const char *argument, FILE *file)
{
    struct cpu *cpu = vm_debug_cpu(server->vm);
    struct translation translation;
    struct mmu_fault fault;
    struct walk_log log;
    uint64_t linear;

    if (!parse_number(server, argument, &linear, file))
        return;
    if (!cpu_canonical(cpu, linear)) {
        fprintf(file, "0x%" PRIx64 " is not canonical\n", linear);
        return;
    }
    enum mmu_status status =
        mmu_walk_explain(&cpu->mmu, cpu_linear(cpu, linear),
                         ACCESS_READ | ACCESS_AC | (cpu_cpl(cpu) == 3 ? ACCESS_USER : 0), &log,
                         &translation, &fault);
    fprintf(file, "a read of 0x%" PRIx64 " at CPL %u, without TLB: %u references\n", linear,
            cpu_cpl(cpu), log.count);
    for (unsigned i = 0; i < log.count; i++)
        print_reference(&log.reference[i], file);
    print_result(status, &translation, &fault, file);
}

/* --- The rest ------------------------------------------------------------------------------------
 */

static void monitor_exits(struct gdb_server *server, const char *argument, FILE *file)
{
    struct exit_statistics exits;
    struct run_statistics run;

    (void)argument;
    vm_get_statistics(server->vm, &run, &exits);
    exit_statistics_print(&exits, &run, file);
}

static void monitor_vmcs(struct gdb_server *server, const char *argument, FILE *file)
{
    (void)argument;
    fputs("# guest-state fields: as of the last VM exit\n", file);
    vmcs_dump_write(vm_debug_cpu(server->vm)->vmcs, false, file);
}

static void monitor_instructions(struct gdb_server *server, const char *argument, FILE *file)
{
    const struct vcpu *vcpu = &server->vm->vcpu;

    (void)argument;
    fprintf(file, "%" PRIu64 " instructions retired, %" PRIu64 " of them at CPL 3\n", server->now,
            vcpu->engine_operations->user_instructions(vcpu));
}

static void monitor_time(struct gdb_server *server, const char *argument, FILE *file)
{
    uint64_t cycles = vcpu_cycles(&server->vm->vcpu);

    (void)argument;
    fprintf(file, "%" PRIu64 " simulated cycles, %.9f s\n", cycles,
            (double)vm_cycles_to_nanoseconds(server->vm, cycles) / 1e9);
}

static void monitor_to(struct gdb_server *server, const char *argument, FILE *file)
{
    uint64_t count;

    if (!parse_number(server, argument, &count, file))
        return;
    if (count < server->now && !server->timeline) {
        fputs("this run goes forwards only: record it, and debug its replay\n", file);
        return;
    }
    server->destination = count;
    server->destination_set = true;
    fprintf(file, "the next continue goes to instruction %" PRIu64 "\n", count);
}

static void monitor_help(struct gdb_server *server, const char *argument, FILE *file);

static const struct {
    const char *name, *argument, *help;
    void (*execute)(struct gdb_server *server, const char *argument, FILE *file);
} commands[] = {
    {"registers", "", "all registers, with what VMX adds to them", monitor_registers},
    {"walk", " ADDRESS", "how a linear address is translated, reference by reference",
     monitor_walk},
    {"exits", "", "VM exits and totals so far", monitor_exits},
    {"vmcs", "", "the VMCS", monitor_vmcs},
    {"instructions", "", "how many have retired: this names the place", monitor_instructions},
    {"time", "", "the simulated time", monitor_time},
    {"to", " N", "let the next continue go to where N instructions have retired", monitor_to},
    {"help", "", "this", monitor_help},
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

static void monitor_help(struct gdb_server *server, const char *argument, FILE *file)
{
    (void)server;
    (void)argument;
    for (unsigned i = 0; i < COMMANDS; i++) {
        int length = (int)strlen(commands[i].name);

        fprintf(file, "monitor %s%-*s  %s\n", commands[i].name, 14 - length, commands[i].argument,
                commands[i].help);
    }
}

void monitor_execute(struct gdb_server *server, char *command, FILE *file)
{
    char *name = command + strspn(command, " "), *argument = name + strcspn(name, " ");

    if (*argument)
        *argument++ = '\0';
    argument += strspn(argument, " ");
    for (unsigned i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name))
            continue;
        bool wanted = *commands[i].argument;

        if (wanted != (*argument != '\0'))
            fprintf(file, "monitor %s%s: %s\n", name, commands[i].argument, commands[i].help);
        else
            commands[i].execute(server, argument, file);
        return;
    }
    fprintf(file, "there is no command \"%s\"; monitor help lists those that there are\n", name);
}
