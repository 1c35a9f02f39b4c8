/* Loading: from the configuration to guest memory and the guest state of the first VM entry. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/loaders/firmware.h"
#include "sim/log.h"
#include "sim/vm_internal.h"

static int write_image(void *context, uint64_t gpa, const void *data, size_t size)
{
    struct vm *vm = context;
    return guest_memory_write(&vm->memory, gpa, data, size);
}

static void write_firmware_table(void *context, uint64_t gpa, const void *data, size_t size)
{
    struct vm *vm = context;
    guest_memory_write(&vm->memory, gpa, data, size);
}

/* "PATH WORDS" is cut in two where it stands: the configuration is the VM's own copy. */
static struct loader_module *make_modules(struct string_list *list)
{
    struct loader_module *modules = calloc(list->count ? list->count : 1, sizeof *modules);
    for (unsigned i = 0; modules && i < list->count; i++) {
        char *blank = strchr(list->item[i], ' ');
        modules[i].file.name = list->item[i];
        if (!blank)
            continue;
        *blank = '\0';
        modules[i].arguments = blank + 1;
    }
    return modules;
}

/* The image's arguments, or --append, as one string to be freed. */
static char *join_arguments(const struct vm_config *config)
{
    if (config->kernel)
        return config->append ? strdup(config->append) : NULL;
    size_t length = 1;
    for (unsigned i = 0; i < config->image_arguments.count; i++)
        length += strlen(config->image_arguments.item[i]) + 1;
    char *text = calloc(1, length);
    for (unsigned i = 0; text && i < config->image_arguments.count; i++) {
        strcat(text, i ? " " : "");
        strcat(text, config->image_arguments.item[i]);
    }
    return text;
}

/* MTRRs on, everything write-back by default. */
#define MTRR_AS_FIRMWARE_LEAVES_IT 0xc06

/* The loader's registers become the guest state of the first VM entry. */
static void set_guest_state(struct vm *vm, const struct loader_entry *entry)
{
    struct cpu *cpu = &vm->vcpu.cpu;
    loader_entry_to_state(entry, &cpu->state);
    struct vmcs *vmcs = &vm->vcpu.vmcs;
    vmcs_set(vmcs, VMCS_CR0_READ_SHADOW, cpu->state.cr0);
    vmcs_set(vmcs, VMCS_CR4_READ_SHADOW, cpu->state.cr4);
    cpu->state.cr0 = (cpu->state.cr0 & ~(CR0_CD | CR0_NW)) | CR0_NE;
    cpu->state.cr4 |= CR4_VMXE;
    cpu->state.mtrr_def_type = MTRR_AS_FIRMWARE_LEAVES_IT;
    if (cpu->state.efer & EFER_LMA)
        vmcs_set(vmcs, VMCS_ENTRY_CONTROLS,
                 vmcs_get(vmcs, VMCS_ENTRY_CONTROLS) | ENTRY_IA32E_MODE_GUEST);
    vmexit_save_guest_state(cpu);
    vmexit_load_host_state(cpu); /* VMX root operation, as after any exit */
    vmcs->dirty = VMCS_DIRTY_RIP | VMCS_DIRTY_CONTROLS | VMCS_DIRTY_GUEST | VMCS_DIRTY_HOST;
    LOG_INFO(LOG_CPU, "initial state: RIP 0x%llx, CR0 0x%llx, CR3 0x%llx, CR4 0x%llx, EFER 0x%llx",
             (unsigned long long)cpu->state.rip, (unsigned long long)cpu->state.cr0,
             (unsigned long long)cpu->state.cr3, (unsigned long long)cpu->state.cr4,
             (unsigned long long)cpu->state.efer);
}

int vm_load(struct vm *vm, char *message, size_t size)
{
    struct vm_config *config = &vm->config;
    char *arguments = join_arguments(config);
    struct loader_module *modules = make_modules(&config->modules);
    struct loader_options options = {
        .image = {.name = config->kernel ? config->kernel : config->image},
        .arguments = arguments,
        .initrd = {.name = config->initrd},
        .modules = modules,
        .module_count = config->modules.count,
        .flat_mode = config->flat_mode,
        .seed = vm_random(vm),
        .acpi_rsdp = platform_write_acpi_tables(vm->platform, write_firmware_table, vm),
    };
    const struct loader_target target = {
        .context = vm, .ram_size = config->memory, .write = write_image};
    struct loader_entry entry;
    int error = firmware_install(&target);
    if (error)
        snprintf(message, size, "the firmware's tables cannot be written: %s", strerror(-error));
    else
        error = loader_load(&options, &target, &entry, message, size);
    free(modules);
    free(arguments);
    if (error)
        return error;
    LOG_INFO(LOG_LOADER, "%s", entry.description);
    set_guest_state(vm, &entry);
    return 0;
}
