/* The machine that a probe's guest finds: memory, tables, registers. */
#ifndef VTXSIM_SIM_KVM_PROBE_MACHINE_H
#define VTXSIM_SIM_KVM_PROBE_MACHINE_H

#include <stdint.h>

/* All code of probe_guests.S. */
extern const uint8_t kvm_probe_code[], kvm_probe_code_end[];
extern const uint8_t kvm_probe_handlers[], kvm_probe_handlers_end[];

enum mode { REAL, PROTECTED, PAGING_32, PAE, LONG, USER };

struct probe {
    const char *feature;
    const uint8_t *guest;
    enum mode mode;
    uint32_t answer;
    uint32_t eax; /* at the start */
    uint64_t cr4; /* besides what the mode needs */
};

#define CODE_SELECTOR      0x08u
#define DATA_SELECTOR      0x10u
#define USER_DATA_SELECTOR 0x23u
#define USER_CODE_SELECTOR 0x2bu
#define TSS_SELECTOR       0x30u

/* From guest-physical 0. */
#define PROBE_MEMORY_SIZE 0x40000u

void probe_fill_memory(uint8_t *memory, const struct probe *probe);
/* Returns 0, or -errno where KVM refuses them. */
int probe_set_registers(int cpu, const struct probe *probe);

#endif
