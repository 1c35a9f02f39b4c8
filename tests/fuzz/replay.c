/* Gives the files of the folders that are named to a fuzzing target, without a fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    struct stat status;
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    size_t size;

    if (!file || fstat(fileno(file), &status) != 0) {
        perror(path);
        return 1;
    }
    data = malloc((size_t)status.st_size + 1);
    size = fread(data, 1, (size_t)status.st_size, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned files = 0, failed = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);

        for (struct dirent *entry; folder && (entry = readdir(folder));) {
            char path[4096];

            snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            if (entry->d_name[0] != '.') {
                failed += (unsigned)replay(path);
                files++;
            }
        }
        if (folder)
            closedir(folder);
    }
    printf("%u files\n", files);
    return files == 0 || failed;
}
