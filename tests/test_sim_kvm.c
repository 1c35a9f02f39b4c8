/*
 * The KVM backend. What it can show depends on the machine: without a usable /dev/kvm, or with one
 * that lacks what a guest needs, a test says so and is skipped.
 */
#include "sim_machine.h"

/* Skips the test, with the reason, where no guest can run on KVM at all. */
static void need_kvm(void)
{
    static const struct vm_callbacks callbacks = {0};
    const struct config_option options[] = {{"backend", "kvm"}, {"image", "none"}};
    char message[CONFIG_MESSAGE_SIZE] = "";
    struct vm_config config;
    struct vm *vm;
    cr_assert_eq(vm_config_build(&config, NULL, options, 2, message, sizeof message), 0);
    int error = vm_create(&vm, &config, &callbacks, NULL, message, sizeof message);
    vm_config_destroy(&config);
    if (error) {
        fprintf(stderr, "SKIP: %s\n", message);
        cr_skip_test("%s", message);
    }
    vm_destroy(vm);
}

/* A device that is none, or that may not be opened: one message with the cause and the remedy. */
Test(sim_kvm, says_why_there_is_none)
{
    static const struct {
        const char *path, *message;
    } cases[] = {
        {"/nonexistent/kvm", "there is no KVM on this machine"},
        {"/dev/null", "is no KVM device"},
        {"/", "Is a directory"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const struct vm_callbacks callbacks = {0};
        const struct config_option options[] = {{"backend", "kvm"}, {"image", "none"}};
        char message[CONFIG_MESSAGE_SIZE] = "";
        struct vm_config config;
        struct vm *vm;
        setenv("VTXSIM_KVM_DEVICE", cases[i].path, 1);
        cr_assert_eq(vm_config_build(&config, NULL, options, 2, message, sizeof message), 0);
        cr_assert_neq(vm_create(&vm, &config, &callbacks, NULL, message, sizeof message), 0);
        cr_assert(strstr(message, cases[i].message), "%s: %s", cases[i].path, message);
        cr_assert(strstr(message, "--backend unicorn"), "%s", message);
        vm_config_destroy(&config);
    }
}

/* Sequences of exceptions and self-modifying code that even the weakest KVM can do. */
Test(sim_kvm, runs_a_guest)
{
    struct machine machine = {0};
    need_kvm();
    machine_create(&machine, "engine-code.multiboot", SETTINGS({"backend", "kvm"}));
    machine_run(&machine);
    machine_expect_success(&machine, "engine-code on KVM");
    machine_destroy(&machine);
}
