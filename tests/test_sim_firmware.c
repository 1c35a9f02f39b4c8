/* What the firmware leaves behind, as a boot sector meets it. */
#include <errno.h>

#include "sim/loaders/firmware.h"

#include "sim_machine.h"

TestSuite(firmware, .timeout = 120);

Test(firmware, serves_a_boot_sector)
{
    const struct machine_setting *const ways[] = {
        NO_SETTINGS,
        SETTINGS({"ept-lazy", "on"}),
        SETTINGS({"full-exits", "on"}),
    };

    for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct machine machine = {0};
        const struct vm_stop *stop;

        machine_create(&machine, "firmware.img", ways[i]);
        stop = vm_get_stop(machine.vm);
        machine_run(&machine);
        cr_assert_eq(stop->reason, VM_STOP_RESET, "way %u: reason %d, check %d, %s", i,
                     stop->reason, stop->guest_status >> 1, stop->message);
        machine_destroy(&machine);
    }
}

/* A target that cannot be written reports it. */
static int refuse(void *context, uint64_t gpa, const void *data, size_t size)
{
    unsigned *writes = context;

    return (*writes)-- ? 0 : -EFAULT;
}

Test(firmware, errors_of_the_target)
{
    for (unsigned good = 0;; good++) {
        unsigned writes = good;
        struct loader_target target = {.context = &writes, .write = refuse};
        int error = firmware_install(&target);

        if (!error) {
            cr_assert_geq(good, 4, "vectors, data area, code, reset vector");
            break;
        }
        cr_assert_eq(error, -EFAULT);
    }
}
