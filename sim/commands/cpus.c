/* vtxsim cpus: the CPU profiles with what matters to a run. */
#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/profile.h"
#include "sim/commands/commands.h"

static int is_profile(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return length > 4 && strcmp(entry->d_name + length - 4, ".cfg") == 0;
}

/* The folder in which cpu_profile_find looks for names. */
static int find_folder(char *folder, size_t size)
{
    char *slash;

    if (cpu_profile_find("any", folder, size) == -ENAMETOOLONG)
        return -ENAMETOOLONG;
    slash = strrchr(folder, '/');
    *slash = '\0';
    return 0;
}

static int print_profile(const char *folder, const char *file)
{
    char path[PATH_MAX + NAME_MAX + 2], message[512];
    struct cpu_profile profile;

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    if (cpu_profile_load(&profile, path, message, sizeof(message))) {
        command_error("%s", message);
        return STATUS_ERROR;
    }
    printf("%-20s %8.0f %7u %8u  %s\n", profile.name, (double)profile.tsc_hz / 1e6,
           profile.exit_cycles, profile.maxphyaddr, profile.brand);
    return 0;
}

int command_cpus(int argc, char **argv)
{
    static const struct argp argp = {.doc = "List the CPU profiles: name, TSC frequency in MHz, "
                                            "cycles of a VM exit with its VM entry, width of "
                                            "physical addresses, brand string."};
    char folder[PATH_MAX];
    struct dirent **entries;
    int count, status = 0;

    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    if (find_folder(folder, sizeof(folder)) ||
        (count = scandir(folder, &entries, is_profile, alphasort)) < 0) {
        command_error("%s: cannot list the CPU profiles: %s; set VTXSIM_CPUS to their folder",
                      folder, strerror(errno));
        return STATUS_ERROR;
    }
    printf("%-20s %8s %7s %8s  %s\n", "NAME", "TSC MHz", "EXIT", "PHYSADDR", "BRAND");
    for (int i = 0; i < count; i++) {
        if (print_profile(folder, entries[i]->d_name))
            status = STATUS_ERROR;
        free(entries[i]);
    }
    free(entries);
    if (fflush(stdout)) {
        command_error("standard output: %s", strerror(errno));
        status = STATUS_ERROR;
    }
    return status;
}
